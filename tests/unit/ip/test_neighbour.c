/* Who is asked, who is believed, what waits, and for how long. */
#include "station.h"

#define SEC NSEC_PER_SEC

static void
start(void **state, struct station *s)
{
	(void)state;
	station_start(s, false);
}

static void
a_packet_waits_until_its_neighbour_has_answered(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_send(&s, "10.0.0.2");
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " ALL);
	assert_string_equal(station_says(&s), "");
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "tcp 10.0.0.1:443 > 10.0.0.2:5000");
	assert_string_equal(station_says(&s), "");
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_stop(&s);
}

static void
the_same_over_ipv6(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_send(&s, "fd00::2");
	assert_string_equal(station_says(&s),
			    "ns fd00::1 > ff02::1:ff00:2 about fd00::2 to 33:33:ff:00:00:02");
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 136, 0x60, "fd00::2", PEER);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "tcp fd00::1:443 > fd00::2:5000");
	assert_string_equal(station_route(&s, "fd00::2"), PEER);
	station_stop(&s);
}

static void
other_networks_are_behind_the_gateway(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_send(&s, "192.0.2.1");
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.254 to " ALL);
	frame_arp(&f, US, 2, GATEWAY, "10.0.0.254", "10.0.0.1");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "tcp 10.0.0.1:443 > 192.0.2.1:5000");
	assert_string_equal(station_route(&s, "198.51.100.1"), GATEWAY);
	station_send(&s, "2001:db8::1");
	assert_string_equal(station_says(&s),
			    "ns fd00::1 > ff02::1:ff00:254 about fe80::254 to 33:33:ff:00:02:54");
	station_stop(&s);
}

static void
the_oldest_of_five_waiting_packets_gives_way(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	for (int i = 0; i < 5; i++)
		station_send(&s, "10.0.0.2");
	assert_int_equal(s.ip.drops[ERR_IP_NEIGHBOUR_QUEUE], 1);
	assert_string_not_equal(station_says(&s), "");
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	station_give(&s, &f);
	for (int i = 0; i < 4; i++)
		assert_string_equal(station_says(&s), "tcp 10.0.0.1:443 > 10.0.0.2:5000");
	assert_string_equal(station_says(&s), "");
	station_stop(&s);
}

static void
who_is_silent_is_asked_three_times_and_left_alone_for_a_while(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_send(&s, "10.0.0.2");
	for (int i = 0; i < 3; i++) {
		assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " ALL);
		assert_int_equal(ip_next_at(&s.ip), s.now_ns + SEC);
		station_sleep(&s, SEC);
	}
	assert_string_equal(station_says(&s), "");
	assert_int_equal(s.ip.drops[ERR_IP_NEIGHBOUR_SILENT], 1);
	assert_int_equal(s.pool.used, 0);
	for (int i = 0; i < 100; i++)
		station_send(&s, "10.0.0.2");
	assert_string_equal(station_says(&s), "");
	assert_int_equal(s.ip.drops[ERR_IP_NEIGHBOUR_SILENT], 101);
	station_sleep(&s, 2 * SEC);
	assert_true(ip_next_at(&s.ip) == NEVER_NS);
	station_send(&s, "10.0.0.2"); /* and again from the start */
	for (int i = 0; i < 3; i++) {
		assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " ALL);
		station_sleep(&s, SEC);
	}
	/* Who comes up and says so is heard. */
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.2");
	station_give(&s, &f);
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_stop(&s);
}

static void
a_silent_gateway_is_asked_again_at_once(void **state)
{
	struct station s;

	start(state, &s);
	for (int i = 0; i < 6; i++) {
		station_send(&s, "192.0.2.1");
		assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.254 to " ALL);
		station_sleep(&s, SEC);
	}
	station_stop(&s);
}

static void
what_arrives_there_confirms_a_neighbour(void **state)
{
	struct ip_addr dst = frame_address("198.51.100.9"), stranger = frame_address("10.0.0.77");
	struct station s;
	struct frame f;

	start(state, &s);
	ip_confirm(&s.ip, &dst, s.now_ns); /* nobody there to confirm */
	station_send(&s, "198.51.100.9");
	station_says(&s);
	ip_confirm(&s.ip, &dst, s.now_ns); /* that has no MAC yet */
	frame_arp(&f, US, 2, GATEWAY, "10.0.0.254", "10.0.0.1");
	station_give(&s, &f);
	station_says(&s);
	/* In use and confirmed, it is asked nothing; neither when it had become stale, was delayed or asked. */
	for (int i = 0; i < 200; i++) {
		assert_string_equal(station_route(&s, "198.51.100.9"), GATEWAY);
		ip_confirm(&s.ip, &dst, s.now_ns);
		ip_confirm(&s.ip, &stranger, s.now_ns);
		assert_string_equal(station_says(&s), "");
		station_sleep(&s, i < 100 ? SEC : 34 * SEC);
	}
	station_sleep(&s, 31 * SEC);
	assert_string_equal(station_route(&s, "198.51.100.9"), GATEWAY);
	station_sleep(&s, 5 * SEC);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.254 to " GATEWAY);
	ip_confirm(&s.ip, &dst, s.now_ns);
	station_sleep(&s, 4 * SEC);
	assert_string_equal(station_says(&s), "");
	station_stop(&s);
}

/* Who speaks to us over TCP says nothing about who has the address. */
static void
what_arrives_does_not_settle_a_doubt(void **state)
{
	struct ip_addr dst = frame_address("10.0.0.2");
	struct station s;
	struct frame f;

	start(state, &s);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	frame_arp(&f, ALL, 2, OTHER, "10.0.0.2", "10.0.0.2");
	station_give(&s, &f);
	station_says(&s);
	ip_confirm(&s.ip, &dst, s.now_ns);
	station_sleep(&s, SEC / 2);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " ALL);
	station_stop(&s);
}

static void
after_a_link_came_up_neighbours_are_checked_and_told(void **state)
{
	struct ip_config config;
	struct station s;
	struct frame f;

	start(state, &s);
	station_config(&config, true);
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	for (int i = 0; i < 4; i++)
		station_sleep(&s, SEC);
	while (*station_says(&s) != '\0')
		;
	station_send(&s, "10.0.0.2");
	station_says(&s);
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	station_give(&s, &f);
	station_says(&s);
	ip_link_up(&s.ip, 0, s.now_ns);
	assert_true(ip_next_at(&s.ip) <= s.now_ns);
	for (int i = 0; i < 3; i++) {
		uint32_t said = 0;

		station_sleep(&s, i == 0 ? 0 : SEC);
		while (*station_says(&s) != '\0')
			said++;
		assert_int_equal(said, i == 0 ? 5 : 3); /* group, two announcements; at first two probes */
	}
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_sleep(&s, 5 * SEC);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " PEER);
	station_stop(&s);
}

static void
an_anycast_address_is_neither_probed_nor_announced_nor_defended(void **state)
{
	struct ip_config config;
	struct station s;
	struct frame f;

	start(state, &s);
	station_config(&config, true);
	config.ports[0].anycast = 3;
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	station_sleep(&s, 0);
	assert_string_equal(station_says(&s), "mld to-exclude :: > ff02::16 group ff02::1:ff00:1");
	assert_string_equal(station_says(&s), "");
	frame_nd(&f, "33:33:00:00:00:01", OTHER, "fd00::1", "ff02::1", 136, 0x20, "fd00::1", OTHER);
	station_give(&s, &f);
	frame_arp(&f, ALL, 1, OTHER, "10.0.0.1", "10.0.0.1");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "");
	assert_int_equal(s.ip.drops[ERR_IP_ADDRESS_CONFLICT], 0);
	frame_nd(&f, "33:33:ff:00:00:01", PEER, "fd00::2", "ff02::1:ff00:1", 135, 0, "fd00::1", PEER);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "na fd00::1 > fd00::2 about fd00::1 to " PEER " solicited");
	station_stop(&s);
}

/* --- multicast listeners --------------------------------------------------------------------- */

static void
query(struct frame *f, const char *src, const char *max_response_ms, const char *group)
{
	frame_ethernet(f, "33:33:00:00:00:01", GATEWAY, 0x86dd);
	frame_ip(f, src, "ff02::1", 0);
	f->bytes[21] = 1;
	frame_append_hex(f, "3a00 0502 0000 0100 8200 0000");
	frame_append_hex(f, max_response_ms);
	frame_append_hex(f, "0000");
	frame_append(f, frame_address(group).byte, 16);
	frame_append_hex(f, "027d 0000");
	frame_end(f);
}

static void
a_query_about_groups_is_answered_once_in_time(void **state)
{
	static const char *const groups[] = { "::", "ff02::1:ff00:1" };
	struct station s;
	struct frame f;

	start(state, &s);
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 100; k++) {
			query(&f, "fe80::254", "03e8", groups[i]);
			station_give(&s, &f);
		}
		assert_in_range(ip_next_at(&s.ip), s.now_ns, s.now_ns + SEC);
		station_sleep(&s, SEC);
		assert_string_equal(station_says(&s), "mld is-exclude :: > ff02::16 group ff02::1:ff00:1");
		assert_string_equal(station_says(&s), "");
		assert_true(ip_next_at(&s.ip) == NEVER_NS);
	}
	station_stop(&s);
}

static void
a_query_from_elsewhere_or_about_others_is_not_answered(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	query(&f, "fd00::2", "03e8", "::");
	station_give(&s, &f);
	query(&f, "fe80::254", "03e8", "::");
	f.bytes[21] = 2;
	station_give(&s, &f);
	query(&f, "fe80::254", "03e8", "::");
	memcpy(f.bytes + 56, "\1\4\0\0\0\0", 6); /* no router alert */
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ICMP_NOT_ANSWERED], 3);
	query(&f, "fe80::254", "03e8", "ff02::1:ff00:7");
	station_give(&s, &f);
	assert_true(ip_next_at(&s.ip) == NEVER_NS);
	query(&f, "fe80::254", "ffff", "::"); /* the longest delay there is, cut to ten seconds */
	station_give(&s, &f);
	assert_in_range(ip_next_at(&s.ip), s.now_ns, s.now_ns + 10 * SEC);
	station_stop(&s);
}

/* RFC 4861 section 7.3.3: reachable 30 s, then stale; used again: 5 s of delay, then three questions. */
static void
an_answer_is_checked_after_a_while(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_send(&s, "10.0.0.2");
	station_says(&s);
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	station_give(&s, &f);
	station_says(&s);
	station_sleep(&s, 30 * SEC);
	station_sleep(&s, 3600 * SEC);
	assert_string_equal(station_says(&s), ""); /* nobody needs it */
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_sleep(&s, 5 * SEC);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " PEER);
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_give(&s, &f);
	station_sleep(&s, 29 * SEC); /* reachable once more */
	assert_string_equal(station_says(&s), "");
	station_sleep(&s, SEC);
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_sleep(&s, 5 * SEC);
	for (int i = 0; i < 3; i++) {
		assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " PEER);
		station_sleep(&s, SEC);
	}
	station_send(&s, "10.0.0.2");
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " ALL);
	station_stop(&s);
}

/* Strangers who say that they are of our network have us ask for nobody. */
static void
who_is_known_and_gateways_are_asked_whatever_else_is_asked(void **state)
{
	struct station s;
	struct frame f;
	char nobody[32];

	start(state, &s);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_sleep(&s, 5 * SEC - 1);
	for (int i = 0; i < 3000; i++) {
		snprintf(nobody, sizeof(nobody), "fd00::%x:%x", i / 100 + 1, i % 100 + 16);
		station_send(&s, nobody);
	}
	assert_true(s.ip.drops[ERR_IP_NEIGHBOUR_RATE] > 0);
	while (*station_says(&s) != '\0')
		;
	station_send(&s, "192.0.2.1");
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.254 to " ALL);
	station_sleep(&s, 1);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " PEER);
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	station_give(&s, &f);
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_stop(&s);
}

static void
who_asks_us_is_known_at_once(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	frame_nd(&f, "33:33:ff:00:00:01", PEER, "fd00::2", "ff02::1:ff00:1", 135, 0, "fd00::1", PEER);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "na fd00::1 > fd00::2 about fd00::1 to " PEER
					      " solicited override");
	assert_string_equal(station_route(&s, "fd00::2"), PEER);
	station_stop(&s);
}

static void
unasked_answers_make_no_entries(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_arp(&f, ALL, 2, PEER, "10.0.0.2", "10.0.0.2");
	station_give(&s, &f);
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	station_give(&s, &f);
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.3"); /* nor do questions about others */
	station_give(&s, &f);
	frame_nd(&f, "33:33:00:00:00:01", PEER, "fd00::2", "ff02::1", 136, 0x20, "fd00::2", PEER);
	station_give(&s, &f);
	for (uint32_t i = 0; i < IP_NEIGHBOURS; i++)
		assert_int_equal(s.ip.neighbours[i].state, IP_NEIGHBOUR_FREE);
	station_stop(&s);
}

/* T16: in ARP's text a group, or another than in the frame around it. A switch would not see through that. */
static void
what_arp_says_of_its_sender_is_what_the_frame_says(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_arp(&f, US, 1, OTHER, "10.0.0.2", "10.0.0.1");
	memcpy(f.bytes + 6, "\2\0\0\0\0\2", 6); /* PEER's frame, OTHER's text */
	station_give(&s, &f);
	frame_arp(&f, US, 1, "03:00:00:00:00:02", "10.0.0.2", "10.0.0.1");
	memcpy(f.bytes + 6, "\2\0\0\0\0\2", 6);
	station_give(&s, &f);
	assert_int_equal(s.ip.drops[ERR_ARP_MALFORMED], 2);
	for (uint32_t i = 0; i < IP_NEIGHBOURS; i++)
		assert_int_equal(s.ip.neighbours[i].state, IP_NEIGHBOUR_FREE);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	frame_arp(&f, US, 2, OTHER, "10.0.0.2", "10.0.0.1");
	memcpy(f.bytes + 6, "\2\0\0\0\0\2", 6);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), ""); /* not even asked about */
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	station_stop(&s);
}

static void
strangers_to_the_network_make_no_entries(void **state)
{
	static const char *const strangers[] = { "192.0.2.7", "10.0.0.255", "10.0.0.0", "224.0.0.1",
						 "0.0.0.0", "127.0.0.1" };
	struct station s;

	start(state, &s);
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		station_is_asked_by(&s, PEER, strangers[i]);
	for (uint32_t i = 0; i < IP_NEIGHBOURS; i++)
		assert_int_equal(s.ip.neighbours[i].state, IP_NEIGHBOUR_FREE);
	station_stop(&s);
}

static void
a_claim_to_a_neighbours_address_is_asked_about_before_it_is_believed(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	frame_arp(&f, ALL, 2, OTHER, "10.0.0.2", "10.0.0.2");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " PEER);
	frame_arp(&f, US, 2, OTHER, "10.0.0.2", "10.0.0.1"); /* who was not asked */
	station_give(&s, &f);
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1"); /* the owner is still there */
	station_give(&s, &f);
	frame_arp(&f, US, 2, OTHER, "10.0.0.2", "10.0.0.1"); /* not asked about again at once */
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "");
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	assert_int_equal(s.ip.drops[ERR_IP_NEIGHBOUR_DOUBTED], 1);
	station_stop(&s);
}

static void
an_address_that_has_moved_is_followed(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	frame_arp(&f, ALL, 1, OTHER, "10.0.0.2", "10.0.0.2");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " PEER);
	station_sleep(&s, SEC / 2); /* nobody answers there */
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " ALL);
	frame_arp(&f, US, 2, OTHER, "10.0.0.2", "10.0.0.1");
	station_give(&s, &f);
	assert_string_equal(station_route(&s, "10.0.0.2"), OTHER);
	station_sleep(&s, 2 * SEC);
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1"); /* unasked, so only a question */
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.2 to " OTHER);
	assert_string_equal(station_route(&s, "10.0.0.2"), OTHER);
	station_stop(&s);
}

static void
an_advertisement_that_does_not_override_does_not_replace(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	station_send(&s, "fd00::2");
	station_says(&s);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 136, 0x40, "fd00::2", PEER); /* the first one counts */
	station_give(&s, &f);
	station_says(&s);
	station_sleep(&s, 30 * SEC);
	station_route(&s, "fd00::2");
	station_sleep(&s, 5 * SEC);
	assert_string_equal(station_says(&s), "ns fd00::1 > fd00::2 about fd00::2 to " PEER);
	frame_nd(&f, US, OTHER, "fd00::2", "fd00::1", 136, 0x40, "fd00::2", OTHER);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "ns fd00::1 > fd00::2 about fd00::2 to " PEER);
	station_sleep(&s, SEC / 2);
	assert_string_equal(station_says(&s),
			    "ns fd00::1 > ff02::1:ff00:2 about fd00::2 to 33:33:ff:00:00:02");
	station_give(&s, &f);
	assert_string_equal(station_route(&s, "fd00::2"), PEER);
	station_stop(&s);
}

/* T16: a hundred thousand false claims. */
static void
a_flood_of_claims_neither_grows_the_cache_nor_moves_the_gateway(void **state)
{
	struct station s;
	struct frame f;
	uint32_t questions = 0;
	uint64_t asked_ns = 0;

	start(state, &s);
	station_send(&s, "192.0.2.1");
	station_says(&s);
	frame_arp(&f, US, 2, GATEWAY, "10.0.0.254", "10.0.0.1");
	station_give(&s, &f);
	station_says(&s);
	for (uint32_t i = 0; i < 100000; i++) {
		struct frame fake;
		char mac[18];

		snprintf(mac, sizeof(mac), "06:00:00:%02x:%02x:%02x", i >> 16, i >> 8 & 255, i & 255);
		frame_arp(&fake, US, 1 + (uint16_t)(i & 1), mac, "10.0.0.254", "10.0.0.1");
		station_give(&s, &fake);
		if (asked_ns != 0 && s.now_ns >= asked_ns + 300 * NSEC_PER_MSEC) {
			station_give(&s, &f); /* the gateway answers late; each of the claims came before */
			asked_ns = 0;
		}
		while (*station_says(&s) != '\0')
			if (strstr(s.said, "arp ask") != NULL) {
				questions++;
				asked_ns = s.now_ns;
			}
		assert_string_equal(station_route(&s, "192.0.2.1"), GATEWAY);
		station_sleep(&s, NSEC_PER_MSEC);
	}
	assert_in_range(questions, 90, 110); /* one a second */
	station_stop(&s);
}

/* Stations of the network that all want to speak: more than there are slots. */
static void
a_flood_of_stations_does_not_evict_who_is_used(void **state)
{
	struct ip_config config;
	struct station s;
	struct frame f;
	uint32_t used = 0;

	start(state, &s);
	station_config(&config, false);
	config.ports[0].addresses[0].prefix_bits = 96 + 8;
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	for (uint32_t i = 0; i < 5000; i++) {
		char address[16];

		s.now_ns += NSEC_PER_MSEC;
		snprintf(address, sizeof(address), "10.7.%u.%u", i >> 8, i & 255);
		frame_arp(&f, ALL, 1, OTHER, address, "10.0.0.1");
		station_give(&s, &f);
		station_says(&s);
		snprintf(address, sizeof(address), "10.8.%u.%u", i >> 8, i & 255);
		station_send(&s, address); /* nobody is there */
		station_says(&s);
	}
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	for (uint32_t i = 0; i < IP_NEIGHBOURS; i++)
		used += s.ip.neighbours[i].state != IP_NEIGHBOUR_FREE;
	assert_in_range(used, 900, IP_NEIGHBOURS);
	station_stop(&s);
}

static void
answers_and_questions_have_a_rate(void **state)
{
	struct ip_config config;
	struct station s;
	struct frame f;
	uint32_t answers = 0, questions = 0;

	start(state, &s);
	station_config(&config, false);
	config.ports[0].addresses[0].prefix_bits = 96 + 8;
	ip_init(&s.ip, &config, &s.pool, s.now_ns);
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	for (uint32_t i = 0; i < 3000; i++) {
		station_give(&s, &f);
		answers += *station_says(&s) != '\0';
	}
	for (uint32_t i = 0; i < 3000; i++) {
		char address[16];

		snprintf(address, sizeof(address), "10.8.%u.%u", i >> 8, i & 255);
		station_send(&s, address);
		questions += *station_says(&s) != '\0';
	}
	assert_int_equal(answers, IP_RATE_PER_SECOND);
	assert_int_equal(questions, IP_RATE_PER_SECOND);
	assert_int_equal(s.ip.drops[ERR_IP_NEIGHBOUR_RATE], 2 * (3000 - IP_RATE_PER_SECOND));
	s.now_ns += SEC;
	station_give(&s, &f);
	assert_string_not_equal(station_says(&s), "");
	station_stop(&s);
}

/* Strangers who use up the rate do not keep whom we speak with, and the gateway, from finding us. */
static void
whom_we_speak_with_is_answered_whatever_strangers_ask(void **state)
{
	struct station s;
	struct frame f;
	uint32_t answers = 0;

	start(state, &s);
	station_is_asked_by(&s, PEER, "10.0.0.2");
	assert_string_equal(station_route(&s, "10.0.0.2"), PEER);
	for (uint32_t i = 0; i < 3000; i++) {
		char address[16];

		snprintf(address, sizeof(address), "10.0.0.%u", 10 + i % 200);
		frame_arp(&f, ALL, 1, OTHER, address, "10.0.0.1");
		station_give(&s, &f);
		answers += *station_says(&s) != '\0';
	}
	assert_int_equal(answers, IP_RATE_PER_SECOND - 1); /* the peer's first took one */
	station_is_asked_by(&s, PEER, "10.0.0.2");
	station_is_asked_by(&s, GATEWAY, "10.0.0.254");
	/* Who only says to be the peer or the gateway is a stranger; and there is a bound to it. */
	frame_arp(&f, ALL, 1, OTHER, "10.0.0.254", "10.0.0.1");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "arp ask 10.0.0.1 about 10.0.0.254 to " GATEWAY);
	assert_string_equal(station_says(&s), "");
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	answers = 0;
	for (uint32_t i = 0; i < 3000; i++) {
		s.now_ns += SEC / 3000 / 1000; /* a millisecond in all */
		station_give(&s, &f);
		answers += *station_says(&s) != '\0';
	}
	assert_in_range(answers, 0, 1); /* the rate's own */
	station_stop(&s);
}

/* The same over IPv6, where a router asks from any of its addresses. */
static void
a_router_is_answered_whatever_address_it_asks_from(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_nd(&f, US, GATEWAY, "fe80::254", "fd00::1", 135, 0, "fd00::1", GATEWAY);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "na fd00::1 > fe80::254 about fd00::1 to " GATEWAY
					      " solicited override");
	for (uint32_t i = 0; i < 3000; i++) {
		frame_nd(&f, US, OTHER, "fd00::2", "fd00::1", 135, 0, "fd00::1", OTHER);
		station_give(&s, &f);
		station_says(&s);
	}
	assert_true(s.ip.drops[ERR_IP_NEIGHBOUR_RATE] > 0);
	s.now_ns += 100 * NSEC_PER_MSEC;
	for (uint32_t i = 0; i < 200; i++) {
		station_give(&s, &f);
		station_says(&s);
	}
	frame_nd(&f, US, GATEWAY, "fd00::fe", "fd00::1", 135, 0, "fd00::1", GATEWAY);
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "na fd00::1 > fd00::fe about fd00::1 to " GATEWAY
					      " solicited override");
	station_give(&s, &f);
	assert_string_equal(station_says(&s), "");
	station_stop(&s);
}

static void
an_empty_pool_is_counted_and_survived(void **state)
{
	struct station s;
	struct frame f;

	start(state, &s);
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	for (int i = 0; i < 2; i++) {
		struct pkt *p = frame_to_pkt(&f, 0, &s.pool);

		s.pool.fail_in = 1;
		ip_input(&s.ip, p, false, s.now_ns, &s.received);
		assert_string_equal(station_says(&s), "");
		frame_nd(&f, "33:33:ff:00:00:01", PEER, "fd00::2", "ff02::1:ff00:1", 135, 0, "fd00::1", PEER);
	}
	assert_int_equal(s.ip.drops[ERR_POOL_EMPTY], 2);
	station_stop(&s);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_packet_waits_until_its_neighbour_has_answered),
		cmocka_unit_test(the_same_over_ipv6),
		cmocka_unit_test(other_networks_are_behind_the_gateway),
		cmocka_unit_test(the_oldest_of_five_waiting_packets_gives_way),
		cmocka_unit_test(who_is_silent_is_asked_three_times_and_left_alone_for_a_while),
		cmocka_unit_test(a_silent_gateway_is_asked_again_at_once),
		cmocka_unit_test(what_arrives_there_confirms_a_neighbour),
		cmocka_unit_test(what_arrives_does_not_settle_a_doubt),
		cmocka_unit_test(after_a_link_came_up_neighbours_are_checked_and_told),
		cmocka_unit_test(an_anycast_address_is_neither_probed_nor_announced_nor_defended),
		cmocka_unit_test(a_query_about_groups_is_answered_once_in_time),
		cmocka_unit_test(a_query_from_elsewhere_or_about_others_is_not_answered),
		cmocka_unit_test(an_answer_is_checked_after_a_while),
		cmocka_unit_test(who_is_known_and_gateways_are_asked_whatever_else_is_asked),
		cmocka_unit_test(who_asks_us_is_known_at_once),
		cmocka_unit_test(unasked_answers_make_no_entries),
		cmocka_unit_test(what_arp_says_of_its_sender_is_what_the_frame_says),
		cmocka_unit_test(strangers_to_the_network_make_no_entries),
		cmocka_unit_test(a_claim_to_a_neighbours_address_is_asked_about_before_it_is_believed),
		cmocka_unit_test(an_address_that_has_moved_is_followed),
		cmocka_unit_test(an_advertisement_that_does_not_override_does_not_replace),
		cmocka_unit_test(a_flood_of_claims_neither_grows_the_cache_nor_moves_the_gateway),
		cmocka_unit_test(a_flood_of_stations_does_not_evict_who_is_used),
		cmocka_unit_test(answers_and_questions_have_a_rate),
		cmocka_unit_test(whom_we_speak_with_is_answered_whatever_strangers_ask),
		cmocka_unit_test(a_router_is_answered_whatever_address_it_asks_from),
		cmocka_unit_test(an_empty_pool_is_counted_and_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
