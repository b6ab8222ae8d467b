/* Records in packets of all sizes: opened where they lie, when they are whole and not before. */
#include "../tcp/pair.h"

#include "dataplane/inflow.h"
#include "dataplane/worker.h"
#include "tls_duo.h"

static struct worker worker;
static struct inflow in;
static struct tls_duo duo;
static struct tls_duo_edge edge;
static uint8_t text[3 * TLS_RECORD_BYTES_MAX];
static uint8_t got[sizeof(text)];

static void
begin(uint16_t version)
{
	struct tls_client_config config = tls_duo_client_of(version);

	pair_init(NULL);
	establish();
	pair.b.reading = false;
	memset(&worker, 0, sizeof(worker));
	worker.tcp = pair.b.tcp;
	worker.now_ns = pair.now_ns;
	worker.config.payload_pool = &pair.b.payload;
	memset(&in, 0, sizeof(in));
	tls_duo_edge_init(&edge, 1);
	tls_duo_init(&duo, edge.context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7 + i / 251);
}

static void
end(void)
{
	inflow_end(&worker, &in);
	inflow_end_turn(&worker);
	tls_duo_fini(&duo);
	tls_duo_edge_fini(&edge);
	pair_fini();
}

/* The client's n bytes of text, in as many records as it takes, wait on the wire of duo. */
static struct bytes
seal(size_t n)
{
	struct bytes plain = bytes_make(text, n);

	while (plain.len > 0) {
		struct tls_out out = tls_duo_back(&duo.to_server, 0);

		assert_int_equal(tls_client_seal(duo.client, &plain, &out), ERR_OK);
		tls_duo_put(&duo.to_server, out);
	}
	return tls_duo_front(&duo.to_server, 0);
}

/* In packets of at most `piece` bytes, each a segment of its own. */
static void
send(struct bytes wire, size_t piece)
{
	while (wire.len > 0) {
		size_t n = wire.len < piece ? wire.len : piece;
		struct pkt *p = pkt_alloc(&pair.a.payload);

		memcpy(pkt_append(p, (uint32_t)n), wire.ptr, n);
		assert_int_equal(tcp_send(pair.a.tcp, pair.a.conn, p, false), ERR_OK);
		bytes_advance(&wire, n);
		side_output(&pair.a);
		carry(&pair.a, &pair.b);
		side_output(&pair.b);
		carry(&pair.b, &pair.a);
	}
	run_for(100 * MS);
	worker.now_ns = pair.now_ns;
}

/* Everything there is, behind *len bytes, until the verdict that comes back. */
static enum err
read_more(size_t *len)
{
	struct bytes piece;
	enum err verdict;

	for (; (verdict = inflow_plain(&worker, &in, pair.b.conn, duo.server, &piece)) == ERR_OK;
	     *len += piece.len) {
		assert_true(piece.len > 0 && *len + piece.len <= sizeof(got));
		memcpy(got + *len, piece.ptr, piece.len);
	}
	return verdict;
}

static enum err
read_all(size_t *len)
{
	*len = 0;
	return read_more(len);
}

static void
records_arrive_whatever_packets_they_come_in(void **state)
{
	static const size_t sizes[] = { 1, 100, 1400, 5000, TLS_RECORD_BYTES_MAX, sizeof(text) };
	static const size_t pieces[] = { 97, 257, 700, 1448 };

	(void)state;
	for (uint16_t version = 0x0303; version <= 0x0304; version++)
		for (size_t p = 0; p < COUNT_OF(pieces); p++) {
			begin(version);
			for (size_t i = 0; i < COUNT_OF(sizes); i++) {
				struct bytes wire = seal(sizes[i]);
				size_t len = 0;

				send(wire, pieces[p]);
				tls_duo_taken(&duo.to_server, BYTES_NONE, 0);
				for (int round = 0; round < 10 && len < sizes[i]; round++) {
					assert_int_equal(read_more(&len), ERR_MORE);
					run_for(100 * MS); /* the window opens */
				}
				assert_int_equal(len, sizes[i]);
				assert_memory_equal(got, text, len);
				assert_int_equal(tcp_unconsumed(pair.b.tcp, pair.b.conn), 0);
				assert_null(in.received);
			}
			end();
		}
}

static void
what_is_not_whole_stays_with_tcp(void **state)
{
	struct bytes wire;
	size_t len;

	(void)state;
	begin(0x0304);
	wire = seal(TLS_RECORD_BYTES_MAX);
	for (size_t at = 0; at < wire.len; at += 600) {
		assert_int_equal(read_all(&len), ERR_MORE);
		assert_int_equal(len, 0);
		assert_true(in.received == NULL || pkt_total(in.received) <= 600);
		assert_int_equal(conn_at(&pair.b)->needs_more, at > 0);
		send(bytes_make(wire.ptr + at, wire.len - at < 600 ? wire.len - at : 600), 600);
	}
	assert_int_equal(read_all(&len), ERR_MORE);
	assert_int_equal(len, TLS_RECORD_BYTES_MAX);
	assert_memory_equal(got, text, len);
	assert_false(conn_at(&pair.b)->needs_more);
	end();
}

/* A byte at a time: a record is walked through once, when it is whole, and what it pins is a few packets. */
static void
single_bytes_become_few_packets(void **state)
{
	struct bytes wire;
	size_t len;

	(void)state;
	begin(0x0304);
	wire = seal(3000);
	for (size_t at = 0; at < wire.len; at++) {
		assert_int_equal(read_all(&len), ERR_MORE);
		assert_int_equal(len, 0);
		send(bytes_make(wire.ptr + at, 1), 1);
		assert_in_range(conn_at(&pair.b)->rcvq.count, 0, 4);
	}
	assert_int_equal(read_all(&len), ERR_MORE);
	assert_int_equal(len, 3000);
	assert_memory_equal(got, text, len);
	end();
}

/* What others can see is not written into: the sender still has it, to send it again. */
static void
bytes_of_others_are_copied_first(void **state)
{
	struct pkt *mine;
	struct bytes wire;
	size_t len;

	(void)state;
	begin(0x0304);
	wire = seal(1000);
	mine = pkt_alloc(&pair.a.payload);
	memcpy(pkt_append(mine, (uint32_t)wire.len), wire.ptr, wire.len);
	pkt_ref(mine);
	assert_int_equal(tcp_send(pair.a.tcp, pair.a.conn, mine, false), ERR_OK);
	run_for(100 * MS);
	assert_int_equal(read_all(&len), ERR_MORE);
	assert_int_equal(len, 1000);
	assert_memory_equal(pkt_data(mine), wire.ptr, wire.len);
	pkt_free(mine);
	end();
}

static void
without_memory_for_that_the_connection_ends(void **state)
{
	struct pkt_pool none;
	struct pkt *mine;
	struct bytes wire;
	size_t len;

	(void)state;
	begin(0x0304);
	pkt_pool_init(&none, 0);
	worker.config.payload_pool = &none;
	wire = seal(1000);
	mine = pkt_alloc(&pair.a.payload);
	memcpy(pkt_append(mine, (uint32_t)wire.len), wire.ptr, wire.len);
	pkt_ref(mine);
	assert_int_equal(tcp_send(pair.a.tcp, pair.a.conn, mine, false), ERR_OK);
	run_for(100 * MS);
	assert_int_equal(read_all(&len), ERR_POOL_EMPTY);
	assert_int_equal(read_all(&len), ERR_POOL_EMPTY);
	pkt_free(mine);
	end();
}

/* Half a record, the beginning of one behind another, plaintext that nobody wants yet: all of it is TCP's to
 * squeeze and to end the connection for, whenever nobody reads. */
static void
nothing_is_hidden_from_memory_pressure_between_turns(void **state)
{
	static const size_t sizes[] = { 5000, 100, TLS_RECORD_BYTES_MAX };
	struct bytes wire, piece;
	size_t len = 0, sent = 0;

	(void)state;
	begin(0x0304);
	for (size_t i = 0; i < COUNT_OF(sizes); i++)
		wire = seal(sizes[i]);
	while (len < 5000 + 100 + TLS_RECORD_BYTES_MAX) {
		size_t n = wire.len - sent < 1448 ? wire.len - sent : 1448;

		if (n > 0)
			send(bytes_make(wire.ptr + sent, n), n);
		sent += n;
		if (inflow_peek_plain(&worker, &in, pair.b.conn, duo.server, &piece) == ERR_OK) {
			uint32_t used = (uint32_t)piece.len / 2 + 1;

			memcpy(got + len, piece.ptr, used);
			inflow_use_plain(&worker, &in, pair.b.conn, used);
			len += used;
		}
		inflow_end_turn(&worker);
		assert_null(in.received);
		assert_int_equal(conn_at(&pair.b)->rcv_truesize > 0,
				 tcp_unconsumed(pair.b.tcp, pair.b.conn) > 0);
		tcp_check(pair.b.tcp);
	}
	assert_memory_equal(got, text, 5000);
	assert_memory_equal(got + 5000, text, 100);
	assert_memory_equal(got + 5100, text, TLS_RECORD_BYTES_MAX);
	assert_int_equal(tcp_unconsumed(pair.b.tcp, pair.b.conn), 0);
	end();
}

/* A session that ends while somebody reads what it was lent. */
static void
what_was_lent_outlives_the_session(void **state)
{
	struct bytes piece;

	(void)state;
	begin(0x0303);
	send(seal(3000), 1448);
	assert_int_equal(inflow_plain(&worker, &in, pair.b.conn, duo.server, &piece), ERR_OK);
	inflow_end(&worker, &in);
	assert_memory_equal(piece.ptr, text, piece.len);
	end();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_arrive_whatever_packets_they_come_in),
		cmocka_unit_test(what_is_not_whole_stays_with_tcp),
		cmocka_unit_test(single_bytes_become_few_packets),
		cmocka_unit_test(bytes_of_others_are_copied_first),
		cmocka_unit_test(without_memory_for_that_the_connection_ends),
		cmocka_unit_test(nothing_is_hidden_from_memory_pressure_between_turns),
		cmocka_unit_test(what_was_lent_outlives_the_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
