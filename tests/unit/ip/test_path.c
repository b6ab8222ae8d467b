/* What paths carry, and for how long that is believed. */
#include "station.h"

#define SEC NSEC_PER_SEC

static void
start(void **state, struct station *s)
{
	struct ip_config config;

	(void)state;
	station_start(s, false);
	station_config(&config, false);
	config.port_count = 2;
	config.ports[1] = (struct ip_port){ .mac = { { 2, 0, 0, 0, 1, 1 } },
					    .mtu_bytes = 9000,
					    .address_count = 1,
					    .addresses = { { frame_address("10.9.0.1"), 120 } } };
	ip_init(&s->ip, &config, &s->pool, s->now_ns);
}

static uint32_t
path(struct station *s, const char *dst)
{
	struct ip_addr to = frame_address(dst);

	return ip_mtu_to(&s->ip, &to, s->now_ns).path_bytes;
}

static uint32_t
link_to(struct station *s, const char *dst)
{
	struct ip_addr to = frame_address(dst);

	return ip_mtu_to(&s->ip, &to, s->now_ns).link_bytes;
}

static void
narrow(struct station *s, const char *dst, uint32_t mtu_bytes)
{
	struct ip_addr to = frame_address(dst);

	ip_path_narrowed(&s->ip, &to, mtu_bytes, s->now_ns);
}

static void
a_path_is_as_wide_as_its_port_until_more_is_known(void **state)
{
	struct station s;

	start(state, &s);
	assert_int_equal(path(&s, "192.0.2.1"), 1500);
	assert_int_equal(path(&s, "10.9.0.7"), 9000); /* jumbo */
	assert_int_equal(path(&s, "fe80::9"), 1280);  /* no route */
	narrow(&s, "192.0.2.1", 1400);
	narrow(&s, "10.9.0.7", 1500);
	narrow(&s, "2001:db8::1", 1300);
	assert_int_equal(path(&s, "192.0.2.1"), 1400);
	assert_int_equal(link_to(&s, "192.0.2.1"), 1500);
	assert_int_equal(path(&s, "192.0.2.2"), 1500);
	assert_int_equal(path(&s, "10.9.0.7"), 1500);
	assert_int_equal(path(&s, "2001:db8::1"), 1300);
	assert_int_equal(s.ip.drops[ERR_IP_PATH_NARROWED], 3);
	station_stop(&s);
}

static void
a_path_only_gets_narrower_and_is_tried_again_after_ten_minutes(void **state)
{
	struct station s;

	start(state, &s);
	narrow(&s, "192.0.2.1", 1400);
	station_sleep(&s, 599 * SEC);
	narrow(&s, "192.0.2.1", 1450);
	narrow(&s, "192.0.2.1", 1400);
	narrow(&s, "192.0.2.1", 70000);
	assert_int_equal(path(&s, "192.0.2.1"), 1400);
	station_sleep(&s, SEC);
	assert_int_equal(path(&s, "192.0.2.1"), 1500);
	narrow(&s, "192.0.2.1", 1450);
	assert_int_equal(path(&s, "192.0.2.1"), 1450);
	narrow(&s, "192.0.2.1", 1420);
	assert_int_equal(path(&s, "192.0.2.1"), 1420);
	station_stop(&s);
}

/* T14: what a forger can get at most. */
static void
no_path_is_believed_to_be_narrower_than_the_least(void **state)
{
	struct station s;

	start(state, &s);
	narrow(&s, "192.0.2.1", 68);
	narrow(&s, "2001:db8::1", 0);
	assert_int_equal(path(&s, "192.0.2.1"), 552);
	assert_int_equal(path(&s, "2001:db8::1"), 1280);
	s.ip.config.path_mtu_min_v4 = 296;
	narrow(&s, "192.0.2.1", 68);
	assert_int_equal(path(&s, "192.0.2.1"), 296);
	station_stop(&s);
}

static void
more_narrow_paths_than_slots_forget_the_oldest(void **state)
{
	struct station s;
	uint32_t known = 0;

	start(state, &s);
	for (uint32_t i = 0; i < 10000; i++) {
		char dst[20];

		snprintf(dst, sizeof(dst), "198.18.%u.%u", i >> 8, i & 255);
		narrow(&s, dst, 1400);
		assert_int_equal(path(&s, dst), 1400);
		s.now_ns += NSEC_PER_MSEC;
	}
	for (uint32_t i = 0; i < 10000; i++) {
		char dst[20];

		snprintf(dst, sizeof(dst), "198.18.%u.%u", i >> 8, i & 255);
		known += path(&s, dst) == 1400;
	}
	assert_in_range(known, IP_PATHS * 9 / 10, IP_PATHS);
	station_stop(&s);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_is_as_wide_as_its_port_until_more_is_known),
		cmocka_unit_test(a_path_only_gets_narrower_and_is_tried_again_after_ten_minutes),
		cmocka_unit_test(no_path_is_believed_to_be_narrower_than_the_least),
		cmocka_unit_test(more_narrow_paths_than_slots_forget_the_oldest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
