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
	/* Nor what came to all stations of the link, whatever its IP header says. */
	frame_echo(&f, ALL, PEER, "10.0.0.2", "10.0.0.1", 8);
	station_give(&s, &f);
	frame_echo(&f, "33:33:00:00:00:01", PEER, "fd00::2", "fd00::1", 8);
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ICMP_NOT_ANSWERED], 4);
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

/* T14, the parser's half: what quotes nothing that we could have sent goes no further. */
static void
errors_that_quote_what_we_can_not_have_sent_are_dropped(void **state)
{
	struct station s;
	struct frame f;
	uint64_t dropped = 0;

	start(state, &s);
	for (int row = 0; row < 6; row++) {
		bool v6 = row >= 4;

		(v6 ? error6 : error4)(&f, v6 ? "0104" : "0303", "00000000");
		switch (row) {
		case 0:
			f.bytes[42 + 15] = 9; /* sent by another */
			break;
		case 1:
			f.bytes[33] = 9; /* to another */
			break;
		case 2:
			f.bytes[42 + 7] = 1; /* a later fragment: no ports there */
			break;
		case 3:
			f.bytes[42] = 0x44; /* a header of 16 bytes */
			break;
		case 4:
			f.bytes[62 + 23] = 9;
			break;
		default:
			f.bytes[62] = 0x40; /* of version 4 */
			break;
		}
		frame_end(&f);
		assert_int_equal(station_give(&s, &f), IP_NOTHING);
		assert_int_equal(s.ip.drops[ERR_ICMP_QUOTE], ++dropped);
	}
	error4(&f, "0c00", "00000000"); /* parameter problem: soft */
	assert_int_equal(station_give(&s, &f), IP_ERROR);
	assert_false(s.received.hard);
	station_stop(&s);
}

/* RFC 1191 section 5: the next plateau below the packet that was too large. */
static void
a_router_that_does_not_say_how_narrow_is_guessed(void **state)
{
	static const struct {
		uint16_t refused, mtu;
	} rows[] = { { 1500, 1492 }, { 1492, 1006 }, { 9000, 8166 }, { 1006, 552 }, { 40, 552 },
		     { 65535, 32000 } };
	struct station s;
	struct frame f;

	start(state, &s);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		error4(&f, "0304", "00000000");
		f.bytes[44] = (uint8_t)(rows[i].refused >> 8);
		f.bytes[45] = (uint8_t)rows[i].refused;
		frame_end(&f);
		assert_int_equal(station_give(&s, &f), IP_ERROR);
		assert_int_equal(s.received.mtu_bytes, rows[i].mtu);
	}
	error6(&f, "0200", "000004ff"); /* no IPv6 link is that narrow */
	assert_int_equal(station_give(&s, &f), IP_NOTHING);
	assert_int_equal(s.ip.drops[ERR_ICMP_MALFORMED], 1);
	station_stop(&s);
}

/* --- errors of ours ------------------------------------------------------------------------------ */

/* A SYN from PEER with these extension headers; first: the first one's kind. */
static void
extended(struct frame *f, uint8_t first, const char *headers)
{
	frame_ethernet(f, US, PEER, 0x86dd);
	frame_ip(f, "fd00::2", "fd00::1", first);
	frame_append_hex(f, headers);
	frame_append_hex(f, "1388 01bb 00000001 00000000 5002 ffff 0000 0000");
	f->bytes[19] = (uint8_t)(f->len - 54);
}

static void
know_peer6(struct station *s)
{
	struct frame f;

	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", PEER);
	station_give(s, &f);
	station_says(s);
}

/* T13 */
static void
ipv6_headers_that_are_refused_are_reported_where_they_are_wrong(void **state)
{
	static const struct {
		uint8_t first;
		const char *headers;
		enum err why;
		int code; /* -1: silence */
		uint8_t at;
	} rows[] = {
		{ 43, "0600 0001 00000000", ERR_IP_SOURCE_ROUTE, 0, 42 }, /* RH0 with segments left */
		{ 43, "0600 0000 00000000", ERR_IP_SOURCE_ROUTE, 0, 42 }, /* and without */
		{ 43, "0600 0401 00000000", ERR_IP_SOURCE_ROUTE, 0, 42 },
		{ 60, "0600 8000 01020000", ERR_IP_OPTION, 2, 42 },
		{ 60, "0600 0100 c0020000", ERR_IP_OPTION, 2, 44 },
		{ 60, "0600 4004 00000000", ERR_IP_OPTION, -1, 0 },
		{ 60, "0600 0109 00000000", ERR_IP_MALFORMED, -1, 0 },
		{ 60, "0000 0104 00000000 0600 0104 00000000", ERR_IP_MALFORMED, 1, 40 }, /* hop-by-hop late */
		{ 60, "fd00 0104 00000000", ERR_IP_PROTOCOL, 1, 40 }, /* who knows that? */
		{ 253, "", ERR_IP_PROTOCOL, 1, 6 },
		{ 59, "", ERR_IP_PROTOCOL, -1, 0 },
		{ 17, "", ERR_IP_PROTOCOL, -1, 0 },
	};
	struct station s;
	struct frame f, out;

	start(state, &s);
	know_peer6(&s);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t before = s.ip.drops[rows[i].why];
		struct pkt *p;

		extended(&f, rows[i].first, rows[i].headers);
		assert_int_equal(station_give(&s, &f), IP_NOTHING);
		assert_int_equal(s.ip.drops[rows[i].why], before + 1);
		p = ip_transmit_next(&s.ip);
		assert_int_equal(p != NULL, rows[i].code >= 0);
		if (p == NULL)
			continue;
		frame_from_pkt(&out, p);
		frame_describe(&out, s.said, sizeof(s.said));
		assert_string_equal(s.said, "icmp 4 fd00::1 > fd00::2");
		assert_int_equal(out.bytes[55], rows[i].code);
		assert_memory_equal(out.bytes + 58, "\0\0\0", 3);
		assert_int_equal(out.bytes[61], rows[i].at);
		assert_int_equal(out.len, 62 + f.len - 14); /* all of it, as it came */
		assert_memory_equal(out.bytes + 62, f.bytes + 14, f.len - 14);
	}
	station_stop(&s);
}

/* RFC 4443 section 2.4 e. */
static void
some_are_told_nothing(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	know_peer6(&s);
	/* An error: over destination options that would be refused. */
	frame_ethernet(&f, US, PEER, 0x86dd);
	frame_ip(&f, "fd00::2", "fd00::1", 60);
	frame_append_hex(&f, "3a00 8000 01020000 0104 0000 00000000");
	f.bytes[19] = 16;
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_IP_OPTION], 1);
	/* An option that asks for silence towards groups is told to one station, and dropped unsaid for many. */
	extended(&f, 60, "0600 c204 00010000");
	f.bytes[38] = 0xff;
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_IP_OPTION], 2);
	extended(&f, 43, "0600 0001 00000000");
	memcpy(f.bytes, "\x33\x33\0\0\0\1", 6); /* for many on the link */
	station_give(&s, &f);
	extended(&f, 43, "0600 0001 00000000");
	f.bytes[38] = 0xff; /* for a group */
	station_give(&s, &f);
	extended(&f, 43, "0600 0001 00000000");
	f.bytes[53] = 9; /* for another */
	station_give(&s, &f);
	extended(&f, 43, "0600 0001 00000000");
	f.bytes[22] = 0xff; /* from a group */
	station_give(&s, &f);
	extended(&f, 43, "0600 0001 00000000");
	memset(f.bytes + 22, 0, 16); /* from nobody */
	station_give(&s, &f);
	extended(&f, 43, "0600 0001 00000000");
	memset(f.bytes + 22, 0, 16);
	memset(f.bytes + 32, 0xff, 2); /* from an IPv4 address */
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_IP_SOURCE_ROUTE], 6);
	extended(&f, 43, "0600 0001 00000000");
	station_give_in_pieces(&s, &f, 0, true); /* who only listens */
	assert_string_equal(station_says(&s), "");
	assert_int_equal(s.ip.drops[ERR_ICMP_PROBLEM], 0);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "icmp 4 fd00::1 > fd00::2");
	station_stop(&s);
}

static void
a_long_packet_is_quoted_up_to_what_every_link_carries(void **state)
{
	struct station s;
	struct frame f, out;

	start(state, &s);
	know_peer6(&s);
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 443, 1400);
	f.bytes[20] = 253;
	station_give_in_pieces(&s, &f, 700, false);
	frame_from_pkt(&out, ip_transmit_next(&s.ip));
	assert_int_equal(out.len, 14 + 1280);
	assert_memory_equal(out.bytes + 62, f.bytes + 14, 1232);
	station_stop(&s);
}

/* T26: a million of each kind that is answered; what goes out stays within its rate. */
static void
whatever_comes_what_we_say_has_a_rate(void **state)
{
	struct ip_config config;
	struct station s;
	struct frame f[5];
	uint32_t out[5] = { 0 };

	start(state, &s);
	station_config(&config, false);
	config.rate_per_second = 100;
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	know_peer6(&s);
	station_sleep(&s, NSEC_PER_SEC);
	frame_echo(&f[0], US, PEER, "10.0.0.2", "10.0.0.1", 8);
	frame_echo(&f[1], US, PEER, "fd00::2", "fd00::1", 8);
	frame_arp(&f[2], ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	frame_nd(&f[3], US, PEER, "fd00::2", "fd00::1", 135, 0, "fd00::1", PEER);
	extended(&f[4], 43, "0600 0001 00000000");
	for (uint32_t i = 0; i < 1000000; i++) {
		station_give(&s, &f[i % 5]);
		while (*station_says(&s) != '\0') {
			if (strncmp(s.said, "arp ask", 7) != 0 && strncmp(s.said, "ns ", 3) != 0)
				out[i % 5]++;
		}
		if (i % 1000 == 0)
			station_sleep(&s, NSEC_PER_MSEC); /* a second in all */
	}
	/* As many at once, and as many in the second; both families share a rate. */
	assert_in_range(out[0] + out[1], 199, 201);
	/* The peer, whom we speak with at both its addresses, has ten answers a second for each beside it. */
	assert_in_range(out[2] + out[3], 199, 201 + 2 * 10);
	assert_in_range(out[4], 199, 201);
	assert_int_equal(s.ip.drops[ERR_ICMP_RATE], 600000 - out[0] - out[1] - out[4]);
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
	frame_nd(&f, US, GATEWAY, "fe80::254", "fd00::1", 136, 0x60, "fe80::254", GATEWAY);
	station_give(&s, &f);
	station_says(&s);
	/* In the gateway's name, about the gateway, with another's address: not even a question. */
	for (int i = 0; i < 3; i++) {
		frame_nd(&f, US, OTHER, "fe80::254", "fd00::1", types[i], 0x60, "fe80::254", OTHER);
		station_give(&s, &f);
		assert_string_equal(station_says(&s), "");
	}
	assert_string_equal(station_route(&s, "2001:db8::1"), GATEWAY);
	assert_int_equal(s.ip.drops[ERR_ND_ROUTER], 6);
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
		cmocka_unit_test(errors_that_quote_what_we_can_not_have_sent_are_dropped),
		cmocka_unit_test(a_router_that_does_not_say_how_narrow_is_guessed),
		cmocka_unit_test(ipv6_headers_that_are_refused_are_reported_where_they_are_wrong),
		cmocka_unit_test(some_are_told_nothing),
		cmocka_unit_test(a_long_packet_is_quoted_up_to_what_every_link_carries),
		cmocka_unit_test(whatever_comes_what_we_say_has_a_rate),
		cmocka_unit_test(discovery_from_elsewhere_or_malformed_is_dropped),
		cmocka_unit_test(options_of_no_length_end_the_walk),
		cmocka_unit_test(routers_and_redirects_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
