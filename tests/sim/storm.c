/*
 * What a storm of handshakes does to streams that are there: the whole worker, with clients and
 * backends around it that cost nothing. The clock is virtual, but what the worker does takes as long
 * as its thread works for it, so that neither the machine's other work nor the clients' own is in it.
 * That thread is its own, as a worker's is, and does its turns while the town's waits: clients compute
 * more than it does, and would leave it a processor whose caches are theirs. tools/bench tls-storm
 * prints it.
 *
 *   storm STREAMS RATE SECONDS
 *
 * Prints, first without the storm and then with it: streams; handshakes offered and done in a second; gaps between
 * a stream's events in us, p50, p99 and the longest.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "defaults.h"
#include "town.h"

#define EVENT_NS (50 * NSEC_PER_MSEC) /* between two events of a stream */
#define GAPS_MAX 4000000u
#define CHAT_END "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"
#define CHAT "{\"model\":\"town-model\",\"stream\":true," CHAT_END
#define EVENT "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"some words\"}}]}\n\n"

static struct {
	struct town *town;
	uint32_t streams;
	uint64_t every_ns;      /* a handshake; 0: none now */
	uint64_t next_at_ns;
	uint64_t done;
	uint64_t offered;
	uint64_t last_ns[TOWN_CONNS_MAX]; /* event of a client's */
	uint32_t gaps_ns[GAPS_MAX];
	uint32_t gap_count;
	bool is_counting;
	/* Between the threads: what the worker's is to do, and how long that took. */
	void (*part)(struct town *t);
	uint64_t took_ns;
	atomic_bool is_workers_turn;
	atomic_bool is_over;
} storm;

static uint64_t
meter(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* Both threads spin: a wait in the kernel would leave the processor to others, and its caches. */
static void *
be_worker(void *nothing)
{
	while (!atomic_load_explicit(&storm.is_over, memory_order_relaxed)) {
		uint64_t began_ns;

		if (!atomic_load_explicit(&storm.is_workers_turn, memory_order_acquire))
			continue;
		began_ns = meter();
		storm.part(storm.town);
		storm.took_ns = meter() - began_ns;
		atomic_store_explicit(&storm.is_workers_turn, false, memory_order_release);
	}
	return nothing;
}

static uint64_t
work(struct town *t, void (*part)(struct town *t))
{
	CHECK(t == storm.town);
	storm.part = part;
	atomic_store_explicit(&storm.is_workers_turn, true, memory_order_release);
	while (atomic_load_explicit(&storm.is_workers_turn, memory_order_acquire))
		continue;
	return storm.took_ns;
}

/* --- what the town asks of its people ------------------------------------------------------- */

void
plan_make_town(struct town *t, uint64_t seed)
{
	(void)t, (void)seed;
}

void
town_text(const struct town *t, uint32_t request, uint32_t what, char *to, uint32_t bytes)
{
	(void)t, (void)request, (void)what;
	memset(to, 'x', bytes);
}

void
h2_client_free(struct town_h2 *h)
{
	CHECK(h == NULL);
}

static struct town_conn *
join(struct town *t, bool is_stream)
{
	struct ip_addr address = town_address(t, false);
	struct tcp_tuple tuple = { .remote = town_address(t, true), .remote_port = 443 };
	struct town_conn *c;
	tcp_conn_t conn;

	if (!is_stream)
		address.byte[14] = (uint8_t)(address.byte[14] + 1 + storm.offered % (TOWN_NETWORKS - 1));
	tuple.local = address;
	CHECK(tcp_connect(t->town_tcp, &tuple, 0, &conn, t->now_ns) == ERR_OK);
	c = conn_get(t, conn, false);
	c->piece_bytes = 16000;
	c->client = is_stream;
	c->tls.stock = conn_tls(t);
	return c;
}

void
client_begin(struct town *t, uint32_t index)
{
	static const char request[] = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
				      "Authorization: Bearer eco_town0000000000000000\r\n"
				      "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s";
	struct town_conn *c = join(t, true);
	char text[512];
	int len = snprintf(text, sizeof(text), request, strlen(CHAT), CHAT);

	(void)index;
	conn_write(t, c, text, (uint32_t)len);
	c->send_at_ns = t->now_ns;
}

/* The one conn that wakes: when the next one joins. */
void
client_wake(struct town *t, struct town_conn *c)
{
	while (storm.every_ns > 0 && storm.next_at_ns <= t->now_ns) {
		storm.next_at_ns += storm.every_ns;
		storm.offered++;
		join(t, false);
	}
	c->wake_at_ns = storm.every_ns > 0 ? storm.next_at_ns : UINT64_MAX;
}

void
client_lost(struct town *t, struct town_conn *c)
{
	CHECK(c->client == 0); /* a stream lives */
	conn_put(t, c);
}

/* An event, or several if they came together. */
void
client_received(struct town *t, struct town_conn *c)
{
	uint32_t index = (uint32_t)(c - t->conns);

	if (c->in_len > 0 && c->client == 1) {
		if (storm.is_counting && storm.last_ns[index] != 0 && storm.gap_count < GAPS_MAX)
			storm.gaps_ns[storm.gap_count++] = (uint32_t)(t->now_ns - storm.last_ns[index]);
		storm.last_ns[index] = t->now_ns;
	}
	c->in_len = 0;
	if (c->client == 0 && c->tls_open) {
		storm.done++;
		tcp_abort(t->town_tcp, c->conn);
		conn_put(t, c);
	}
}

/* The stream begins, and goes on for as long as there is room for. */
void
backend_received(struct town *t, struct town_conn *c)
{
	static const char head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" EVENT;

	if (c->in_len == 0 || memmem(c->in, c->in_len, CHAT_END, strlen(CHAT_END)) == NULL)
		return;
	c->in_len = 0;
	conn_write(t, c, head, sizeof(head) - 1);
	c->piece_bytes = sizeof(EVENT) - 1;
	while (c->out_len + sizeof(EVENT) < TOWN_TEXT_BYTES_MAX)
		conn_write(t, c, EVENT, sizeof(EVENT) - 1);
	c->gap_ns = EVENT_NS;
	/* Not all at once. */
	c->send_at_ns = t->now_ns + prng_below(&t->prng, (uint32_t)EVENT_NS);
}

/* --- measuring --------------------------------------------------------------------------------- */

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double
quantile_us(double part)
{
	return storm.gaps_ns[(uint32_t)(part * (double)(storm.gap_count - 1))] / 1e3;
}

static void
measure(uint64_t rate, uint64_t ns)
{
	struct town *t = storm.town;
	uint64_t began_ns = t->now_ns, done = storm.done;

	storm.every_ns = rate > 0 ? NSEC_PER_SEC / rate : 0;
	storm.next_at_ns = t->now_ns;
	t->conns[0].wake_at_ns = t->now_ns;
	storm.offered = 0;
	/* Until it is as it stays. */
	town_go(t, t->now_ns + 200 * NSEC_PER_MSEC, false);
	storm.gap_count = 0;
	storm.is_counting = true;
	town_go(t, t->now_ns + ns, false);
	storm.is_counting = false;
	qsort(storm.gaps_ns, storm.gap_count, sizeof(storm.gaps_ns[0]), compare);
	CHECK(storm.gap_count > 0);
	printf("%u %llu %.0f %.1f %.1f %.1f\n", storm.streams, (unsigned long long)rate,
	       (double)(storm.done - done) * 1e9 / (double)(t->now_ns - began_ns), quantile_us(0.5),
	       quantile_us(0.99), quantile_us(1));
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	struct town *t = calloc(1, sizeof(*t));
	uint64_t rate = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
	double seconds = argc == 4 ? strtod(argv[3], NULL) : 0;
	pthread_t worker;

	storm.streams = argc == 4 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
	if (storm.streams == 0 || storm.streams > 600 || rate == 0 || rate > 100000 || seconds <= 0 ||
	    seconds > 10) {
		fputs("Usage: storm STREAMS RATE SECONDS\n", stderr);
		return 2;
	}
	CHECK(t != NULL);
	storm.town = t;
	t->plan = (struct town_plan){ .seed = 3, .is_tls = true, .start_ns = 1000 * NSEC_PER_SEC, .pods = 1,
				      .first_pods = 1, .retry_percent = 100, .retry_burst = 1000,
				      .eject_percent = 100, .networks = TOWN_NETWORKS };
	t->plan.link[0].delay_ns = t->plan.link[1].delay_ns = 100 * NSEC_PER_USEC;
	prng_init(&t->prng, t->plan.seed);
	t->now_ns = t->plan.start_ns;
	town_open(t);
	for (uint32_t i = 0; i < storm.streams; i++) {
		client_begin(t, i);
		town_go(t, t->now_ns + NSEC_PER_MSEC, false);
	}
	t->work = work;
	t->worker->config.clock = meter;
	CHECK(pthread_create(&worker, NULL, be_worker, NULL) == 0);
	town_go(t, t->now_ns + NSEC_PER_SEC / 2, false);
	measure(0, (uint64_t)(seconds * 1e9));
	measure(rate, (uint64_t)(seconds * 1e9));
	atomic_store_explicit(&storm.is_over, true, memory_order_relaxed);
	CHECK(pthread_join(worker, NULL) == 0);
	return 0;
}
