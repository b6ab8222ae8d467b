/* Policies: keep-alive, user timeout and window are those of the connection's kind of peer, and can be changed. */
#include "pair.h"

static bool
lose_all(const struct tcphdr *h, uint32_t n, uint32_t len)
{
	(void)h;
	(void)n;
	(void)len;
	return true;
}

/* As the product has them: clients 60 s and four times 15, pooled backends 30 s and three times 5. */
static struct tcp_config
product_config(void)
{
	struct tcp_config config = config_default();

	config.policies[TCP_POLICY_ACCEPTED].keepalive_ns = 60 * SEC;
	config.policies[TCP_POLICY_CONNECTED].keepalive_ns = 30 * SEC;
	config.policies[TCP_POLICY_CONNECTED].keepalive_step_ns = 5 * SEC;
	config.policies[TCP_POLICY_CONNECTED].keepalive_probes = 3;
	config.policies[2].user_timeout_ns = 5 * SEC;
	config.policies[2].recv_bytes_start = 4 * KIB;
	config.policies[3].keepalive_ns = 10 * SEC;
	return config;
}

static void
each_side_probes_by_its_own_policy(void **state)
{
	struct tcp_config config = product_config();
	uint32_t sent;

	(void)state;
	pair_init(&config);
	establish();
	pair.b.lose = lose_all; /* b can hear and not be heard */
	sent = pair.a.sent;
	run_for(30 * SEC + 100 * MS);
	assert_int_equal(pair.a.sent - sent, 1);
	run_for(5 * SEC + 100 * MS);
	assert_int_equal(pair.a.sent - sent, 2);
	run_for(5 * SEC + 100 * MS);
	assert_int_equal(pair.a.sent - sent, 3);
	assert_false(pair.a.events & TCP_EVENT_ERROR);
	run_for(5 * SEC + 100 * MS); /* a reset, which b believes */
	assert_int_equal(pair.a.reason, ERR_TCP_TIMEOUT);
	assert_int_equal(pair.a.sent - sent, 4);
	assert_int_equal(pair.b.reason, ERR_TCP_RESET);
	pair_fini();
}

static void
an_accepted_one_has_four_probes_in_a_minute(void **state)
{
	struct tcp_config config = product_config();
	uint32_t sent;

	(void)state;
	config.policies[TCP_POLICY_CONNECTED].keepalive_ns = 0;
	pair_init(&config);
	establish();
	sent = pair.b.sent;
	pair.a.lose = lose_all;
	run_for(59 * SEC);
	assert_int_equal(pair.b.sent - sent, 0);
	for (uint32_t probe = 1; probe <= 4; probe++) {
		run_for((probe == 1 ? 2 : 15) * SEC);
		assert_int_equal(pair.b.sent - sent, probe);
	}
	assert_false(pair.b.events & TCP_EVENT_ERROR);
	run_for(15 * SEC);
	assert_int_equal(pair.b.reason, ERR_TCP_TIMEOUT);
	pair_fini();
}

static void
keep_alive_can_be_turned_on_and_off(void **state)
{
	struct tcp_config config = product_config();
	uint32_t sent;

	(void)state;
	config.policies[TCP_POLICY_ACCEPTED].keepalive_ns = 0; /* MUST-25: off by default */
	config.policies[TCP_POLICY_CONNECTED].keepalive_ns = 0;
	pair_init(&config);
	establish();
	sent = pair.a.sent;
	run_for(3600 * SEC);
	assert_int_equal(pair.a.sent - sent, 0);
	tcp_set_policy(pair.a.tcp, pair.a.conn, 3);
	run_for(11 * SEC);
	assert_int_equal(pair.a.sent - sent, 1);
	run_for(50 * SEC); /* answered each time */
	assert_in_range(pair.a.sent - sent, 4, 6);
	tcp_set_policy(pair.a.tcp, pair.a.conn, 2);
	sent = pair.a.sent;
	run_for(3600 * SEC);
	assert_int_equal(pair.a.sent - sent, 0);
	assert_false(pair.a.events & TCP_EVENT_ERROR);
	pair_fini();
}

static void
the_user_timeout_is_the_policys(void **state)
{
	struct tcp_config config = product_config();

	(void)state;
	pair_init(&config);
	establish();
	tcp_set_policy(pair.a.tcp, pair.a.conn, 2);
	pair.a.lose = lose_all;
	write_stream(&pair.a, 10, 10);
	run_for(4900 * MS);
	assert_false(pair.a.events & TCP_EVENT_ERROR);
	run_for(200 * MS);
	assert_int_equal(pair.a.reason, ERR_TCP_TIMEOUT);
	pair_fini();
}

/* MUST-36, MUST-37: an answered probe keeps the connection, whatever the user timeout; patience with slow readers
 * is the owner's. */
static void
a_closed_window_outlives_the_user_timeout(void **state)
{
	struct tcp_config config = product_config();

	(void)state;
	pair_init(&config);
	establish();
	tcp_set_policy(pair.a.tcp, pair.a.conn, 2);
	pair.b.reading = false;
	write_stream(&pair.a, 100000, 1400);
	run_for(600 * SEC);
	assert_false(pair.a.events & TCP_EVENT_ERROR);
	assert_int_equal(conn_at(&pair.a)->snd_wnd, 0);
	pair.b.reading = true;
	take_all(&pair.b, pair.b.conn);
	run_for(1 * SEC);
	assert_int_equal(pair.b.received, 100000);
	pair_fini();
}

/* Chosen before the SYN leaves: the window of the first data is the policy's, never less than the SYN said. */
static void
a_policy_may_be_chosen_before_the_connection_is(void **state)
{
	struct tcp_config config = product_config();

	(void)state;
	config.policies[3].recv_bytes_start = 128 * KIB;
	pair_init(&config);
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
	start_connect();
	tcp_set_policy(pair.a.tcp, pair.a.conn, 2);
	settle();
	assert_int_equal(conn_at(&pair.a)->rcv_max, 65535);
	start_connect();
	tcp_set_policy(pair.a.tcp, pair.a.conn, 3);
	settle();
	assert_int_equal(conn_at(&pair.a)->rcv_max, 128 * KIB);
	assert_true(conn_at(&pair.a)->idle_at_ns != NEVER_NS);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_side_probes_by_its_own_policy),
		cmocka_unit_test(an_accepted_one_has_four_probes_in_a_minute),
		cmocka_unit_test(keep_alive_can_be_turned_on_and_off),
		cmocka_unit_test(the_user_timeout_is_the_policys),
		cmocka_unit_test(a_closed_window_outlives_the_user_timeout),
		cmocka_unit_test(a_policy_may_be_chosen_before_the_connection_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
