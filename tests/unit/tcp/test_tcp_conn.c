/* Two stacks in memory: connections open, carry data both ways, and close in every order. */
#include "pair.h"

static void
a_connection_opens_carries_and_closes(void **state)
{
	(void)state;
	pair_init(NULL);
	establish();
	assert_int_equal(write_stream(&pair.a, 1000, 100), 1000);
	assert_int_equal(write_stream(&pair.b, 100000, 1400), 100000);
	run_for(1 * SEC);
	assert_int_equal(pair.b.received, 1000);
	assert_int_equal(pair.a.received, 100000);
	assert_int_equal(tcp_unacked(pair.a.tcp, pair.a.conn), 0);
	tcp_close(pair.a.tcp, pair.a.conn);
	assert_false(tcp_is_live(pair.a.tcp, pair.a.conn));
	run_for(1 * SEC);
	assert_true(pair.b.events & TCP_EVENT_EOF);
	tcp_close(pair.b.tcp, pair.b.conn);
	run_for(1 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->conns, 0);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
	assert_int_equal(tcp_stats(pair.a.tcp)->time_wait, 1);
	run_for(60 * SEC);
	assert_int_equal(tcp_stats(pair.a.tcp)->time_wait, 0);
	assert_int_equal(tcp_stats(pair.a.tcp)->retransmits, 0);
	assert_int_equal(tcp_stats(pair.b.tcp)->retransmits, 0);
	assert_int_equal(tcp_next_at(pair.a.tcp), NEVER_NS);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_opens_carries_and_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
