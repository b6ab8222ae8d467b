/* Echo within its rate, and errors about our own segments. */
#include "station.h"

static void
start(void **state, struct station *s)
{
	(void)state;
	station_start(s, false);
	station_is_asked_by(s, PEER, "10.0.0.2");
}

/* An error of the type and code about a segment of ours from port 443 to 10.0.0.2:5000, sequence 7. */
static void
error4(struct frame *f, const char *type_and_code, const char *rest)
{
	frame_ethernet(f, US, PEER, 0x0800);
	frame_ip(f, "192.0.2.1", "10.0.0.1", 1);
	frame_append_hex(f, type_and_code);
	frame_append_hex(f, "0000");
	frame_append_hex(f, rest);
	frame_append_hex(f, "45000028000040004006 0000 0a000001 0a000002 01bb 1388 00000007");
	frame_end(f);
}

static void
error6(struct frame *f, const char *type_and_code, const char *rest)
{
	frame_ethernet(f, US, PEER, 0x86dd);
	frame_ip(f, "2001:db8::1", "fd00::1", 58);
	frame_append_hex(f, type_and_code);
	frame_append_hex(f, "0000");
	frame_append_hex(f, rest);
	frame_append_hex(f, "60000000 0014 06 40 fd000000000000000000000000000001"
			    "fd000000000000000000000000000002 01bb 1388 00000007");
	frame_end(f);
}

static void
an_echo_comes_back_as_it_was(void **state)
{
	struct station s;
	struct frame f, back;

	start(state, &s);
	for (size_t n = 0; n < 1400; n += 57) {
		frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", n);
		station_give(&s, &f);
		frame_from_pkt(&back, ip_transmit_next(&s.ip));
		frame_describe(&back, s.said, sizeof(s.said));
		assert_string_equal(s.said, "icmp 0 10.0.0.1 > 10.0.0.2");
		assert_int_equal(back.len, f.len);
		assert_memory_equal(back.bytes + 38, f.bytes + 38, f.len - 38); /* identifier, data */
	}
	station_stop(&s);
}

static void
the_same_over_ipv6_and_in_pieces(void **state)
{
	struct station s;
	struct frame f, back;

	start(state, &s);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", PEER);
	station_give(&s, &f);
	station_says(&s);
	for (size_t n = 0; n < 1400; n += 57) {
		frame_echo(&f, US, PEER, "fd00::2", "fd00::1", n);
		station_give_in_pieces(&s, &f, 63 + n / 2, false);
		frame_from_pkt(&back, ip_transmit_next(&s.ip));
		frame_describe(&back, s.said, sizeof(s.said));
		assert_string_equal(s.said, "icmp 129 fd00::1 > fd00::2");
		assert_int_equal(back.len, f.len);
		assert_memory_equal(back.bytes + 58, f.bytes + 58, f.len - 58);
	}
	station_stop(&s);
}

static void
echoes_for_groups_or_with_a_wrong_checksum_get_no_answer(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_echo(&f, ALL, PEER, "10.0.0.2", "10.0.0.255", 8);
	station_give(&s, &f);
	frame_echo(&f, "33:33:00:00:00:01", PEER, "fd00::2", "ff02::1", 8);
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ICMP_NOT_ANSWERED], 2);
	frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", 8);
	f.bytes[40] ^= 1;
	station_give(&s, &f);
	frame_echo(&f, US, PEER, "fd00::2", "fd00::1", 8);
	f.bytes[60] ^= 1;
	station_give(&s, &f);
	frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", 8);
	f.len -= 9; /* seven bytes of ICMP */
	frame_end(&f);
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ICMP_MALFORMED], 3);
	assert_string_equal(station_says(&s), "");
	station_stop(&s);
}

static void
a_flood_of_echoes_is_answered_at_a_rate(void **state)
{
	struct station s;
	struct frame f;
	uint32_t answers = 0;

	start(state, &s);
	frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", 8);
	for (uint32_t i = 0; i < 10 * IP_RATE_PER_SECOND; i++) {
		station_give(&s, &f);
		answers += *station_says(&s) != '\0';
		station_sleep(&s, NSEC_PER_MSEC / 5); /* two seconds in all */
	}
	assert_in_range(answers, 3 * IP_RATE_PER_SECOND - 2, 3 * IP_RATE_PER_SECOND + 2);
	station_stop(&s);
}

static void
an_error_is_given_to_the_segment_it_quotes(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	error4(&f, "0303", "00000000");
	assert_int_equal(station_give(&s, &f), IP_ERROR);
	assert_int_equal(s.received.local_port, 443);
	assert_int_equal(s.received.remote_port, 5000);
	assert_int_equal(s.received.quoted_seq, 7);
	assert_int_equal(s.received.local.byte[15], 1);
	assert_int_equal(s.received.remote.byte[15], 2);
	assert_true(s.received.hard);
	assert_int_equal(s.received.mtu_bytes, 0);
	error6(&f, "0104", "00000000");
	assert_int_equal(station_give(&s, &f), IP_ERROR);
	assert_int_equal(s.received.remote_port, 5000);
	assert_int_equal(s.received.quoted_seq, 7);
	assert_true(s.received.hard);
	station_stop(&s);
}

static void
only_what_says_that_nobody_listens_is_hard(void **state)
{
	static const struct {
		const char *type_and_code;
		bool v6, hard;
	} rows[] = {
		{ "0300", false, false }, { "0301", false, false }, { "0302", false, true },
		{ "0303", false, true },  { "030d", false, false }, { "0b00", false, false },
		{ "0100", true, false },  { "0101", true, false },  { "0103", true, false },
		{ "0104", true, true },	  { "0300", true, false },  { "0400", true, false },
		{ "0401", true, true },
	};
	struct station s;
	struct frame f;

	start(state, &s);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		(rows[i].v6 ? error6 : error4)(&f, rows[i].type_and_code, "00000000");
		assert_int_equal(station_give(&s, &f), IP_ERROR);
		assert_int_equal(s.received.hard, rows[i].hard);
		assert_int_equal(s.received.mtu_bytes, 0);
	}
	station_stop(&s);
}

static void
a_path_that_is_narrower_says_how_narrow(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	error4(&f, "0304", "00000578");
	assert_int_equal(station_give(&s, &f), IP_ERROR);
	assert_int_equal(s.received.mtu_bytes, 1400);
	assert_false(s.received.hard);
	error6(&f, "0200", "00000500");
	assert_int_equal(station_give(&s, &f), IP_ERROR);
	assert_int_equal(s.received.mtu_bytes, 1280);
	assert_false(s.received.hard);
	station_stop(&s);
}

static void
errors_about_what_is_not_tcp_or_cut_short_are_dropped(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	error4(&f, "0303", "00000000");
	for (size_t len = f.len - 1; len >= 42; len--) {
		f.len = len;
		frame_end(&f);
		assert_int_equal(station_give(&s, &f), IP_NOTHING);
	}
	error4(&f, "0303", "00000000");
	f.bytes[51] = 17; /* UDP */
	frame_end(&f);
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	error4(&f, "0400", "00000000"); /* source quench: RFC 6633 */
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	error4(&f, "0500", "0a0000fe"); /* redirect */
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	error6(&f, "0104", "00000000");
	for (size_t len = f.len - 1; len >= 62; len--) {
		f.len = len;
		frame_end(&f);
		assert_int_equal(station_give(&s, &f), IP_NOTHING);
	}
	assert_int_equal(s.ip.drops[ERR_ICMP_MALFORMED], 0);
	station_stop(&s);
}

/* --- neighbour discovery is of this link ------------------------------------------------------- */

static void
discovery_from_elsewhere_or_malformed_is_dropped(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", PEER);
	f.bytes[21] = 254; /* it has passed a router */
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ND_MALFORMED], 1);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", NULL);
	f.len -= 1;
	frame_end(&f);
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ND_MALFORMED], 2);
	frame_nd(&f, US, PEER, "ff02::5", "fd00::1", 135, 0, "fd00::1", PEER);
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ND_MALFORMED], 3);
	/* With a fragment header (RFC 6980). */
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", PEER);
	memmove(f.bytes + 62, f.bytes + 54, f.len - 54);
	memcpy(f.bytes + 54, "\x3a\0\0\0\0\0\0\1", 8);
	f.bytes[20] = 44;
	f.bytes[19] = (uint8_t)(f.bytes[19] + 8);
	f.len += 8;
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ND_MALFORMED], 4);
	assert_string_equal(station_says(&s), "");
	station_stop(&s);
}

static void
options_of_no_length_end_the_walk(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", NULL);
	frame_append_hex(&f, "0300 000000000000 0101 020000000002");
	frame_end(&f);
	station_give(&s, &f); /* answered, but nothing is learnt */
	assert_string_equal(station_says(&s), "na fd00::1 > fd00::2 about fd00::1 to " PEER
					      " solicited override");
	station_send(&s, "fd00::2");
	assert_string_equal(station_says(&s),
			    "ns fd00::1 > ff02::1:ff00:2 about fd00::2 to 33:33:ff:00:00:02");
	station_stop(&s);
}

/* T27 */
static void
routers_and_redirects_change_nothing(void **state)
{
	static const uint8_t types[] = { 133, 134, 137 };
	struct station s;
	struct frame f;

	start(state, &s);
	for (int i = 0; i < 3; i++) {
		frame_nd(&f, US, OTHER, "fe80::3", "fd00::1", types[i], 0, "fd00::7", OTHER);
		station_give(&s, &f);
		assert_string_equal(station_says(&s), "");
	}
	assert_int_equal(s.ip.drops[ERR_ND_ROUTER], 3);
	station_send(&s, "2001:db8::1");
	assert_string_equal(station_says(&s),
			    "ns fd00::1 > ff02::1:ff00:254 about fe80::254 to 33:33:ff:00:02:54");
	station_stop(&s);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_echo_comes_back_as_it_was),
		cmocka_unit_test(the_same_over_ipv6_and_in_pieces),
		cmocka_unit_test(echoes_for_groups_or_with_a_wrong_checksum_get_no_answer),
		cmocka_unit_test(a_flood_of_echoes_is_answered_at_a_rate),
		cmocka_unit_test(an_error_is_given_to_the_segment_it_quotes),
		cmocka_unit_test(only_what_says_that_nobody_listens_is_hard),
		cmocka_unit_test(a_path_that_is_narrower_says_how_narrow),
		cmocka_unit_test(errors_about_what_is_not_tcp_or_cut_short_are_dropped),
		cmocka_unit_test(discovery_from_elsewhere_or_malformed_is_dropped),
		cmocka_unit_test(options_of_no_length_end_the_walk),
		cmocka_unit_test(routers_and_redirects_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
