/* When a client's answer goes on. */
#include "../tcp/pair.h"

#include "dataplane/bounds.h"
#include "dataplane/client.h"
#include "dataplane/worker.h"

#define RANGES 300u
#define STALL_NS (60 * NSEC_PER_SEC)
#define BODY_NS (30 * NSEC_PER_SEC)

/* A worker with two connections of clients: what one has queued, the other lacks. */
static struct world {
	struct worker worker;
	struct client client;
	struct exchange exchange;
} world;

static tcp_conn_t other;

static void
world_open(void)
{
	struct tcp_config config = config_default();

	config.ranges_max = RANGES;
	pair_init(&config);
	establish();
	other = pair.b.conn;
	start_connect();
	settle();
	memset(&world, 0, sizeof(world));
	world.worker.tcp = pair.b.tcp;
	world.worker.now_ns = pair.now_ns;
	world.worker.config.times.stall_ns = STALL_NS;
	timer_wheel_init(&world.worker.timers, &world, pair.now_ns);
	world.client.conn = pair.b.conn;
	world.client.state = CLIENT_HEAD;
	world.client.stream.client = &world.client;
	world.client.stream.listing = true;
	client_wait(&world.worker, &world.client);
}

static void
queue_pieces(tcp_conn_t conn, uint32_t pieces)
{
	pair.b.conn = conn;
	assert_int_equal(write_stream(&pair.b, pieces, 1), pieces);
}

static bool
has_room(void)
{
	return client_has_room(&world.worker, &world.client);
}

static bool
is_told(void)
{
	struct tcp_event event;
	bool told = false;

	while (tcp_event_next(pair.b.tcp, &event))
		told = told || (event.conn == world.client.conn && event.bits & TCP_EVENT_WRITABLE);
	return told;
}

/* Whether the client's timer expires in so long, and no earlier. */
static bool
expires_in(uint64_t ns)
{
	struct worker *w = &world.worker;

	w->now_ns += ns - 2 * NSEC_PER_MSEC;
	if (timer_advance(&w->timers, w->now_ns) != NULL)
		return false;
	w->now_ns += 4 * NSEC_PER_MSEC;
	return timer_advance(&w->timers, w->now_ns) == &world.client.timer;
}

/* TCP would say at once, each time it is asked, that nothing of it is on the way. */
static void
descriptors_that_others_have_are_waited_for_by_the_clock(void **state)
{
	struct worker *w = &world.worker;
	struct client *c = &world.client;

	(void)state;
	world_open();
	assert_true(has_room());
	queue_pieces(other, RANGES - CLIENT_PIECES_MIN + 1);
	assert_false(has_room());
	assert_false(is_told());
	/* Expiry resumes the listing, which finds no room either. */
	assert_true(expires_in(CLIENT_STARVED_NS));
	client_timer_expired(w, c);
	assert_true(expires_in(CLIENT_STARVED_NS));
	assert_false(is_told());
	/* A relay that ended meanwhile is not resumed, and who takes what he is sent is watched as ever. */
	c->stream.listing = false;
	client_timer_expired(w, c);
	assert_true(expires_in(STALL_NS / 4));
	assert_true(c->state == CLIENT_WAIT);
	tcp_abort(pair.b.tcp, other);
	assert_true(has_room());
	pair_fini();
}

/* What it has under way itself comes back by itself. */
static void
descriptors_of_its_own_are_waited_for_by_their_acknowledgment(void **state)
{
	(void)state;
	world_open();
	queue_pieces(world.client.conn, RANGES - CLIENT_PIECES_MIN + 1);
	assert_false(has_room());
	assert_false(is_told());
	assert_true(expires_in(STALL_NS / 4));
	side_output(&pair.b);
	carry(&pair.b, &pair.a);
	side_output(&pair.a);
	carry(&pair.a, &pair.b);
	assert_true(is_told());
	pair_fini();
}

/* A request may be answered while its body still comes. */
static void
a_body_is_not_slow_while_others_are(void **state)
{
	struct worker *w = &world.worker;
	struct client *c = &world.client;

	(void)state;
	world_open();
	w->config.times.body_ns = BODY_NS;
	world.exchange.state = EXCHANGE_HEAD;
	c->stream.listing = false;
	c->stream.exchange = &world.exchange;
	c->state = CLIENT_BODY;
	queue_pieces(other, RANGES - CLIENT_PIECES_MIN + 1);
	assert_false(has_room());
	assert_true(expires_in(CLIENT_STARVED_NS));
	client_timer_expired(w, c);
	assert_true(c->state == CLIENT_BODY);
	assert_true(expires_in(BODY_NS));
	/* The backend takes nothing. */
	world.exchange.admission.never_resend = true;
	world.exchange.body.bytes = BODY_UNSENT_BYTES_MAX;
	client_timer_expired(w, c);
	assert_true(c->state == CLIENT_BODY);
	assert_true(world.exchange.body_waits);
	assert_true(expires_in(BODY_NS));
	world.exchange.reader.offset = 1;
	assert_true(exchange_takes_body(&world.exchange));
	assert_false(world.exchange.body_waits);
	pair_fini();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors_that_others_have_are_waited_for_by_the_clock),
		cmocka_unit_test(descriptors_of_its_own_are_waited_for_by_their_acknowledgment),
		cmocka_unit_test(a_body_is_not_slow_while_others_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
