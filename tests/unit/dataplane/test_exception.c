/* Whose a frame on a shared port is, and that it gets there and nowhere else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "dataplane/exception.h"
#include "dataplane/net.h"
#include "frame.h"

#define US "02:00:00:00:00:01"
#define PEER "02:00:00:00:00:02"
#define OTHER "02:00:00:00:00:03"
#define ALL "ff:ff:ff:ff:ff:ff"
#define QUEUE 4
#define NOW_NS (1000 * NSEC_PER_SEC)

struct host {
	struct net net;
	struct pkt_pool pool;
	struct steering steering;
	struct ring kernel;
	void *tcp_memory;
};

/* A host with 10.0.0.1 and fd00::1 that listens at 443 and connects from 4000 to 10.0.0.2:80. */
static struct host *
open_host(uint16_t vlan)
{
	struct host *h = aligned_alloc(CACHE_LINE_BYTES, sizeof(*h));
	struct tcp_config tcp = { .conns_max = 64,
				  .half_open_max = 64,
				  .time_wait_max = 64,
				  .ranges_max = 256,
				  .mss_v4 = 1460,
				  .mss_v6 = 1440,
				  .recv_bytes_max = 65535,
				  .send_bytes_max = 65536,
				  .window_shift = 8,
				  .seed = 7 };
	struct tcp_tuple tuple = { frame_address("10.0.0.1"), frame_address("10.0.0.2"), 4000, 80 };
	struct net_config config = { .count = 1, .kernel_queue = { QUEUE } };
	struct ip_addr any = { { 0 } };
	tcp_conn_t conn;

	memset(h, 0, sizeof(*h));
	pkt_pool_init(&h->pool, 1000);
	steering_init(&h->steering, 1, 1);
	h->tcp_memory = aligned_alloc(CACHE_LINE_BYTES, (tcp_bytes(&tcp) + 63) & ~(size_t)63);
	config.tcp = tcp_init(h->tcp_memory, &tcp, &h->pool, &h->pool, NOW_NS);
	config.steering = &h->steering;
	config.pool = &h->pool;
	config.ip.port_count = 1;
	config.ip.ports[0] = (struct ip_port){ .mac = { { 2, 0, 0, 0, 0, 1 } },
					       .vlan = vlan,
					       .mtu_bytes = 1500,
					       .address_count = 2,
					       .addresses = { { frame_address("10.0.0.1"), 120 },
							      { frame_address("fd00::1"), 64 } } };
	net_init(&h->net, &config, NOW_NS);
	h->net.kernel[0] = &h->kernel;
	assert_int_equal(tcp_listen(config.tcp, &any, 443, 0), ERR_OK);
	assert_int_equal(tcp_connect(config.tcp, &tuple, 0, &conn, NOW_NS), ERR_OK);
	return h;
}

static void
close_host(struct host *h)
{
	net_fini(&h->net);
	tcp_fini(h->net.tcp);
	free(h->tcp_memory);
	assert_int_equal(h->pool.used, 0);
	free(h);
}

static enum exception_owner
judge(struct host *h, const struct frame *f)
{
	struct pkt *p = frame_to_pkt(f, 0, &h->pool);
	enum exception_owner owner = exception_judge(&h->net.ip, h->net.tcp, p);

	pkt_free(p);
	return owner;
}

#define JUDGE(expected) assert_int_equal(judge(h, &f), EXCEPTION_##expected)

static void
tcp_of_listeners_and_connections_is_ours(void **state)
{
	struct host *h = open_host(0);
	struct frame f;

	(void)state;
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 443, 0);
	JUDGE(OURS);
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 443, 10);
	JUDGE(OURS);
	frame_tcp(&f, US, PEER, "10.0.0.2", 80, "10.0.0.1", 4000, 0); /* the answer to our SYN */
	JUDGE(OURS);
	frame_tcp(&f, US, PEER, "10.0.0.2", 81, "10.0.0.1", 4000, 0);
	JUDGE(KERNEL);
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 22, 0);
	JUDGE(KERNEL);
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 179, 0);
	JUDGE(KERNEL);
	/* The same port at an address that is not ours. */
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.9", 443, 0);
	JUDGE(KERNEL);
	close_host(h);
}

static void
put_tag(struct frame *f)
{
	memmove(f->bytes + 16, f->bytes + 12, f->len - 12);
	memcpy(f->bytes + 12, "\x81\x00\x00\x4d", 4);
	f->len += 4;
}

static void
what_is_for_another_station_or_vlan_is_not_given_away(void **state)
{
	struct host *h = open_host(0);
	struct frame f;

	(void)state;
	frame_tcp(&f, OTHER, PEER, "10.0.0.2", 5000, "10.0.0.9", 22, 0);
	JUDGE(OURS); /* and dropped */
	frame_tcp(&f, US, US, "10.0.0.2", 5000, "10.0.0.9", 22, 0);
	JUDGE(OURS);
	close_host(h);
	h = open_host(77);
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 22, 0);
	JUDGE(OURS);
	put_tag(&f);
	JUDGE(KERNEL);
	f.bytes[15] = 78;
	JUDGE(OURS);
	close_host(h);
}

/* The tag moves everything by four bytes, and nothing else changes. */
static void
a_tagged_port_is_shared_as_any_other(void **state)
{
	struct host *h = open_host(77);
	struct frame f;

	(void)state;
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 443, 0);
	put_tag(&f);
	JUDGE(OURS);
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 443, 0);
	put_tag(&f);
	JUDGE(OURS);
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 22, 0);
	put_tag(&f);
	JUDGE(KERNEL);
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	put_tag(&f);
	JUDGE(OURS);
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	put_tag(&f);
	JUDGE(BOTH);
	frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.9", 20);
	put_tag(&f);
	JUDGE(KERNEL);
	close_host(h);
}

static void
other_protocols_are_the_kernels(void **state)
{
	struct host *h = open_host(0);
	struct frame f;

	(void)state;
	frame_ethernet(&f, US, PEER, 0x0800);
	frame_ip(&f, "10.0.0.2", "10.0.0.1", 17);
	frame_append_hex(&f, "0035 0035 0008 0000");
	frame_end(&f);
	JUDGE(KERNEL);
	frame_ethernet(&f, "01:00:5e:00:00:05", PEER, 0x0800); /* OSPF to all routers */
	frame_ip(&f, "10.0.0.2", "224.0.0.5", 89);
	frame_append_hex(&f, "02010000");
	frame_end(&f);
	JUDGE(KERNEL);
	frame_ethernet(&f, "01:80:c2:00:00:0e", PEER, 0x88cc); /* LLDP */
	frame_append_hex(&f, "00000000 00000000");
	JUDGE(KERNEL);
	frame_ethernet(&f, "01:80:c2:00:00:14", PEER, 38); /* IS-IS: a length, not a type */
	frame_append_hex(&f, "fefe0383 00000000");
	JUDGE(KERNEL);
	frame_ethernet(&f, US, PEER, 0x0800); /* a piece of UDP, and one of TCP, which is put together first */
	frame_ip(&f, "10.0.0.2", "10.0.0.1", 17);
	frame_append_hex(&f, "0000000000000000");
	f.bytes[14 + 6] = 0x20;
	frame_end(&f);
	f.bytes[14 + 6] = 0x20;
	JUDGE(KERNEL);
	f.bytes[14 + 9] = 6;
	JUDGE(OURS);
	f.bytes[14 + 9] = 1; /* a long ping, which we answer when it is whole */
	JUDGE(OURS);
	f.bytes[14 + 19] = 9; /* of the kernel's other address */
	JUDGE(KERNEL);
	close_host(h);
}

/* A fragment of IPv6 names in its own header what it is a piece of. */
static void
pieces_of_ip6_go_where_the_whole_would(void **state)
{
	static const struct {
		uint8_t protocol;
		const char *dst;
		enum exception_owner owner;
	} cases[] = {
		{ 6, "fd00::1", EXCEPTION_OURS },   { 58, "fd00::1", EXCEPTION_OURS },
		{ 17, "fd00::1", EXCEPTION_KERNEL }, { 6, "fd00::9", EXCEPTION_KERNEL },
		{ 58, "fd00::9", EXCEPTION_KERNEL }, { 60, "fd00::1", EXCEPTION_BOTH },
		{ 60, "fd00::9", EXCEPTION_KERNEL },
	};
	struct host *h = open_host(0);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct frame f;

		frame_ethernet(&f, US, PEER, 0x86dd);
		frame_ip(&f, "fd00::2", cases[i].dst, 44);
		frame_append(&f, &cases[i].protocol, 1);
		frame_append_hex(&f, "00 0009 00000007 0000000000000000"); /* at 8, more follow */
		frame_end(&f);
		assert_int_equal(judge(h, &f), cases[i].owner);
	}
	close_host(h);
}

static void
questions_about_us_are_ours_and_what_teaches_is_for_both(void **state)
{
	struct host *h = open_host(0);
	struct frame f;

	(void)state;
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.1");
	JUDGE(OURS);
	frame_arp(&f, ALL, 1, PEER, "10.0.0.2", "10.0.0.9");
	JUDGE(BOTH);
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	JUDGE(BOTH);
	frame_nd(&f, "33:33:ff:00:00:01", PEER, "fd00::2", "ff02::1:ff00:1", 135, 0, "fd00::1", PEER);
	JUDGE(OURS);
	frame_nd(&f, "33:33:ff:00:00:09", PEER, "fd00::2", "ff02::1:ff00:9", 135, 0, "fd00::9", PEER);
	JUDGE(BOTH);
	frame_nd(&f, US, PEER, "fd00::2", "fd00::1", 136, 0x60, "fd00::2", PEER);
	JUDGE(BOTH);
	frame_echo(&f, US, PEER, "10.0.0.2", "10.0.0.1", 20);
	JUDGE(OURS);
	f.bytes[14 + 20] = 0; /* a reply: to a ping of the kernel's */
	JUDGE(KERNEL);
	frame_echo(&f, US, PEER, "fd00::2", "fd00::1", 20);
	JUDGE(OURS);
	frame_echo(&f, US, PEER, "fd00::2", "fd00::9", 20);
	JUDGE(KERNEL);
	close_host(h);
}

/* An ICMP error is of who sent what it quotes. */
static void
errors_follow_what_they_quote(void **state)
{
	struct host *h = open_host(0);
	struct frame f;

	(void)state;
	for (int ours = 0; ours < 2; ours++) {
		frame_ethernet(&f, US, PEER, 0x0800);
		frame_ip(&f, "10.0.0.2", "10.0.0.1", 1);
		frame_append_hex(&f, "0303 0000 00000000 4500 0028 0000 4000 4006 0000 0a000001 0a000002");
		frame_append_hex(&f, ours ? "0fa0 0050 00000001" : "0fa1 0050 00000001");
		frame_end(&f);
		assert_int_equal(judge(h, &f), ours ? EXCEPTION_OURS : EXCEPTION_KERNEL);
		/* IPv6: our listener's answer, and one of the kernel's, did not fit. */
		frame_ethernet(&f, US, PEER, 0x86dd);
		frame_ip(&f, "fd00::2", "fd00::1", 58);
		frame_append_hex(&f, "0200 0000 00000500 60000000 0014 06 40");
		frame_append_hex(&f, "fd000000000000000000000000000001 fd000000000000000000000000000002");
		frame_append_hex(&f, ours ? "01bb 1388 00000001" : "0016 1388 00000001");
		frame_end(&f);
		assert_int_equal(judge(h, &f), ours ? EXCEPTION_OURS : EXCEPTION_KERNEL);
	}
	/* About a UDP datagram: the kernel's, since we send none. */
	frame_ethernet(&f, US, PEER, 0x0800);
	frame_ip(&f, "10.0.0.2", "10.0.0.1", 1);
	frame_append_hex(&f, "0303 0000 00000000 4500 001c 0000 4000 4011 0000 0a000001 0a000002");
	frame_append_hex(&f, "0fa0 0050 0008 0000");
	frame_end(&f);
	JUDGE(KERNEL);
	close_host(h);
}

static void
give(struct host *h, const struct frame *f)
{
	net_receive(&h->net, frame_to_pkt(f, 0, &h->pool), NOW_NS);
}

static void
frames_go_where_they_belong_byte_for_byte(void **state)
{
	struct host *h = open_host(0);
	struct frame f, got;
	struct pkt *p;

	(void)state;
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 22, 100);
	give(h, &f);
	assert_int_equal(tcp_stats(h->net.tcp)->segments_in, 0);
	p = ring_get(&h->kernel);
	assert_non_null(p);
	frame_from_pkt(&got, p);
	assert_int_equal(got.len, f.len);
	assert_memory_equal(got.bytes, f.bytes, f.len);
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 443, 0);
	give(h, &f);
	assert_int_equal(tcp_stats(h->net.tcp)->segments_in, 1);
	assert_null(ring_get(&h->kernel));
	/* An answer teaches us, and the kernel gets it as well. */
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	give(h, &f);
	p = ring_get(&h->kernel);
	assert_non_null(p);
	frame_from_pkt(&got, p);
	assert_memory_equal(got.bytes, f.bytes, f.len);
	assert_int_equal(h->net.frames_to_kernel, 2);
	close_host(h);
}

/* src's packet with destination options behind the fragment header, which only its first piece shows. */
static void
give_pieces_behind_options(struct host *h, const struct frame *whole)
{
	static const uint8_t options[7] = { 0, 1, 4 };
	struct frame with = { 0 }, piece;

	frame_append(&with, whole->bytes, 54);
	frame_append(&with, whole->bytes + 14 + 6, 1);
	frame_append(&with, options, sizeof(options));
	frame_append(&with, whole->bytes + 54, whole->len - 54);
	with.bytes[14 + 6] = 60;
	with.bytes[14 + 5] = (uint8_t)(with.bytes[14 + 5] + 8);
	frame_fragment(&piece, &with, 0, 0, 64, true, 7);
	give(h, &piece);
	frame_fragment(&piece, &with, 0, 64, with.len - 54 - 64, false, 7);
	give(h, &piece);
}

static void
pieces_behind_options_meet_at_who_gets_the_first(void **state)
{
	struct host *h = open_host(0);
	struct pkt *p;
	struct frame f;

	(void)state;
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 443, 100);
	give_pieces_behind_options(h, &f);
	assert_int_equal(tcp_stats(h->net.tcp)->segments_in, 1);
	assert_int_equal(h->net.frames_to_kernel, 1); /* the later piece */
	pkt_free(ring_get(&h->kernel));
	/* Not of ours: the kernel gets the whole. */
	frame_tcp(&f, US, PEER, "fd00::2", 5000, "fd00::1", 22, 100);
	give_pieces_behind_options(h, &f);
	assert_int_equal(tcp_stats(h->net.tcp)->segments_in, 1);
	assert_int_equal(h->net.frames_to_kernel, 3);
	while ((p = ring_get(&h->kernel)) != NULL)
		pkt_free(p);
	frame_ethernet(&f, US, PEER, 0x86dd);
	frame_ip(&f, "fd00::2", "fd00::1", 17);
	for (int i = 0; i < 100; i++)
		frame_append_hex(&f, "00");
	frame_end(&f);
	give_pieces_behind_options(h, &f);
	assert_int_equal(h->net.frames_to_kernel, 5);
	while ((p = ring_get(&h->kernel)) != NULL)
		pkt_free(p);
	close_host(h);
}

static void
a_kernel_that_does_not_come_gets_no_more_than_its_queue(void **state)
{
	struct host *h = open_host(0);
	struct frame f;

	(void)state;
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 22, 100);
	for (int i = 0; i < QUEUE + 3; i++)
		give(h, &f);
	assert_int_equal(h->net.frames_to_kernel, QUEUE);
	assert_int_equal(h->net.ip.drops[ERR_EXCEPTION_FULL], 3);
	assert_int_equal(ring_count(&h->kernel), QUEUE);
	/* Ours are not in its way. */
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 443, 0);
	give(h, &f);
	assert_int_equal(tcp_stats(h->net.tcp)->segments_in, 1);
	/* No packet for a copy: the kernel misses it, we do not. */
	frame_arp(&f, US, 2, PEER, "10.0.0.2", "10.0.0.1");
	h->pool.fail_in = 2;
	give(h, &f);
	assert_int_equal(h->net.ip.drops[ERR_EXCEPTION_FULL], 4);
	close_host(h);
}

static void
an_unshared_port_gives_nothing(void **state)
{
	struct host *h = open_host(0);
	struct frame f;

	(void)state;
	h->net.kernel[0] = NULL;
	frame_tcp(&f, US, PEER, "10.0.0.2", 5000, "10.0.0.1", 22, 100);
	give(h, &f);
	assert_int_equal(h->net.frames_to_kernel, 0);
	assert_int_equal(tcp_stats(h->net.tcp)->segments_in, 1); /* which answers with a reset */
	close_host(h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_of_listeners_and_connections_is_ours),
		cmocka_unit_test(what_is_for_another_station_or_vlan_is_not_given_away),
		cmocka_unit_test(a_tagged_port_is_shared_as_any_other),
		cmocka_unit_test(other_protocols_are_the_kernels),
		cmocka_unit_test(pieces_of_ip6_go_where_the_whole_would),
		cmocka_unit_test(questions_about_us_are_ours_and_what_teaches_is_for_both),
		cmocka_unit_test(errors_follow_what_they_quote),
		cmocka_unit_test(frames_go_where_they_belong_byte_for_byte),
		cmocka_unit_test(pieces_behind_options_meet_at_who_gets_the_first),
		cmocka_unit_test(a_kernel_that_does_not_come_gets_no_more_than_its_queue),
		cmocka_unit_test(an_unshared_port_gives_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
