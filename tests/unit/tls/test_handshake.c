/* Handshakes with mbedTLS's client: versions, segmentation, names, ALPN, suites,
 * tickets, refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "tls_duo.h"
#include "tls_engine.h"
#include "tls/conn.h"
#include "tls/instance.h"

#define TLS12 0x0303
#define TLS13 0x0304

static const char *const edge_only[] = { "edge", NULL };
static const char *const all[] = { "edge", "wild", "chain", "rsa", NULL };
static const uint16_t versions[] = { TLS12, TLS13 };

static struct tls_duo duo;

struct world {
	struct seeded seed;
	struct tls_identity *identity;
	struct tls_context *context;
};

static struct world
world_of(const char *const *names)
{
	static struct seeded seed; /* outlives the context; the tests run one after the other */
	struct world w = { .identity = tls_duo_identity(names) };

	struct tls_client_config config = tls_duo_client_config();

	seed.state = 1;
	w.context = tls_duo_context(w.identity, 4, &seed, 0x11);
	/* PSA takes the memory for its key slots with the first key and keeps it. */
	tls_duo_init(&duo, w.context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	tls_duo_fini(&duo);
	return w;
}

static void
world_end(struct world *w)
{
	tls_context_free(w->context);
	tls_identity_free(w->identity);
}

static struct tls_client_config
client_of_version(uint16_t version)
{
	struct tls_client_config config = tls_duo_client_config();

	config.version_min = config.version_max = version;
	return config;
}

static void
both_versions_work_at_any_segmentation(void **state)
{
	static const size_t pieces[] = { 0, 1, 2, 7, 100, 1460 };
	struct world w = world_of(edge_only);
	size_t blocks = tls_context_memory(w.context).blocks;

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++)
		for (size_t p = 0; p < COUNT_OF(pieces); p++) {
			struct tls_client_config config = client_of_version(versions[v]);
			struct tls_facts facts;

			tls_duo_init(&duo, w.context, &config);
			assert_false(tls_is_open(duo.server));
			assert_true(tls_duo_shake(&duo, pieces[p]));
			assert_true(tls_is_open(duo.server));
			tls_facts(duo.server, &facts);
			assert_int_equal(facts.version, versions[v]);
			assert_false(facts.resumed);
			assert_true(bytes_equal(facts.sni, BYTES_LITERAL("api.sluice.test")));
			assert_true(bytes_equal(facts.alpn, BYTES_LITERAL("http/1.1")));
			assert_true(tls_duo_send_to_server(&duo,
							   BYTES_LITERAL("GET / HTTP/1.1\r\n\r\n"),
							   pieces[p]));
			assert_true(tls_duo_send_to_client(&duo,
							   BYTES_LITERAL("HTTP/1.1 200 OK\r\n\r\n"),
							   pieces[p]));
			tls_duo_fini(&duo);
			assert_int_equal(tls_context_memory(w.context).blocks, blocks);
		}
	world_end(&w);
}

static void
takes_one_bounded_step_a_call(void **state)
{
	struct world w = world_of(edge_only);
	struct tls_client_config config = client_of_version(TLS13);

	(void)state;
	tls_duo_init(&duo, w.context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	/* Hello, its answer, extensions, certificate, proof, finished, tickets: each a call of its
	 * own. */
	assert_in_range(duo.steps, 9, 30);
	tls_duo_fini(&duo);
	world_end(&w);
}

static void
expect_name(struct tls_context *context, const char *host, const char *first_name)
{
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = client_of_version(versions[v]);

		config.host = host;
		tls_duo_init(&duo, context, &config);
		assert_true(tls_duo_shake(&duo, 0));
		assert_true(bytes_equal(tls_client_server_name(duo.client),
					bytes_from_text(first_name)));
		tls_duo_fini(&duo);
	}
}

static void
sni_chooses_exact_names_before_wildcards(void **state)
{
	struct world w = world_of(all);

	(void)state;
	expect_name(w.context, "api.sluice.test", "api.sluice.test");
	expect_name(w.context, "API.Sluice.Test", "api.sluice.test");
	expect_name(w.context, "localhost", "api.sluice.test");
	expect_name(w.context, "chain.sluice.test", "chain.sluice.test");
	expect_name(w.context, "anything.sluice.test", "*.sluice.test");
	world_end(&w);
}

static void
an_unknown_or_absent_name_gets_the_first_certificate(void **state)
{
	struct world w = world_of(all);
	/* TLS 1.2, since mbedTLS's client sends its alert unsealed in 1.3, where no server can read
	 * it. */
	struct tls_client_config config = client_of_version(TLS12);
	struct tls_facts facts;

	(void)state;
	config.host = NULL;
	tls_duo_init(&duo, w.context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	assert_true(
		bytes_equal(tls_client_server_name(duo.client), BYTES_LITERAL("api.sluice.test")));
	tls_facts(duo.server, &facts);
	assert_int_equal(facts.sni.len, 0);
	tls_duo_fini(&duo);

	/* Ours goes on with what it has; the client's check of the name is what ends it. */
	config.host = "two.labels.sluice.test";
	tls_duo_init(&duo, w.context, &config);
	assert_false(tls_duo_shake(&duo, 0));
	assert_int_equal(duo.client_verdict, ERR_TLS_REFUSED);
	assert_int_equal(duo.server_verdict, ERR_TLS_ALERT);
	tls_duo_fini(&duo);
	world_end(&w);
}

static void
the_rsa_certificate_serves_clients_without_ecdsa(void **state)
{
	static const int suites[] = { 0x1301, 0xc02f, 0 };
	static const uint16_t signatures[] = { 0x0804, 0x0401, 0 };
	struct world w = world_of(all);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = client_of_version(versions[v]);

		config.suites = suites;
		config.signatures = signatures;
		tls_duo_init(&duo, w.context, &config);
		assert_true(tls_duo_shake(&duo, 0));
		assert_true(bytes_equal(tls_client_server_name(duo.client),
					BYTES_LITERAL("rsa.sluice.test")));
		tls_duo_fini(&duo);
	}
	world_end(&w);
}

static void
our_order_of_suites_counts(void **state)
{
	static const int suites[] = { 0x1302, 0x1303, 0x1301, 0xc02c, 0xcca9, 0xc02b, 0 };
	struct world w = world_of(edge_only);
	struct tls_client_config config = client_of_version(TLS13);

	(void)state;
	config.suites = suites;
	tls_duo_init(&duo, w.context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	assert_string_equal(tls_client_suite(duo.client), "TLS1-3-AES-128-GCM-SHA256");
	tls_duo_fini(&duo);

	config.version_min = config.version_max = TLS12;
	tls_duo_init(&duo, w.context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	assert_string_equal(tls_client_suite(duo.client),
			    "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256");
	tls_duo_fini(&duo);
	world_end(&w);
}

static void
every_suite_carries_data(void **state)
{
	static const int suites[] = { 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xcca9 };
	struct world w = world_of(edge_only);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(suites); i++) {
		const int one[] = { suites[i], 0 };
		struct tls_client_config config =
			client_of_version(suites[i] < 0x2000 ? TLS13 : TLS12);

		config.suites = one;
		tls_duo_init(&duo, w.context, &config);
		assert_true(tls_duo_shake(&duo, 0));
		assert_true(tls_duo_send_to_server(&duo, BYTES_LITERAL("ping"), 0));
		assert_true(tls_duo_send_to_client(&duo, BYTES_LITERAL("pong"), 0));
		tls_duo_fini(&duo);
	}
	world_end(&w);
}

static void
a_client_with_another_first_group_is_asked_again(void **state)
{
	static const uint16_t groups[] = { 0x0018, 0x0017, 0 }; /* secp384r1, then secp256r1 */
	struct world w = world_of(edge_only);
	struct tls_client_config config = client_of_version(TLS13);

	(void)state;
	config.groups = groups;
	for (size_t piece = 0; piece < 2; piece++) {
		tls_duo_init(&duo, w.context, &config);
		assert_true(tls_duo_shake(&duo, piece));
		assert_true(tls_duo_send_to_server(&duo, BYTES_LITERAL("ping"), 0));
		tls_duo_fini(&duo);
	}
	world_end(&w);
}

static void
no_common_protocol_is_answered_with_its_alert(void **state)
{
	static const char *const only_h2[] = { "h2", NULL };
	static const char *const h2_first[] = { "h2", "http/1.1", NULL };
	struct world w = world_of(edge_only);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = client_of_version(versions[v]);
		struct tls_facts facts;

		config.alpn = only_h2;
		tls_duo_init(&duo, w.context, &config);
		assert_false(tls_duo_shake(&duo, 0));
		assert_int_equal(duo.server_verdict, ERR_TLS_NO_PROTOCOL);
		assert_int_equal(tls_client_alert(duo.client), 120);
		tls_duo_fini(&duo);

		config.alpn = h2_first;
		tls_duo_init(&duo, w.context, &config);
		assert_true(tls_duo_shake(&duo, 0));
		assert_true(bytes_equal(tls_client_alpn(duo.client), BYTES_LITERAL("http/1.1")));
		tls_duo_fini(&duo);

		config.alpn = NULL;
		tls_duo_init(&duo, w.context, &config);
		assert_true(tls_duo_shake(&duo, 0));
		tls_facts(duo.server, &facts);
		assert_int_equal(facts.alpn.len, 0);
		tls_duo_fini(&duo);
	}
	world_end(&w);
}

/* A full handshake; returns the length of the session to resume. */
static size_t
collect_session(struct tls_context *context, uint16_t version, uint8_t *session)
{
	struct tls_client_config config = client_of_version(version);
	size_t len;

	tls_duo_init(&duo, context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	/* The client reads its TLS 1.3 ticket on the way to the data. */
	assert_true(tls_duo_send_to_client(&duo, BYTES_LITERAL("hello"), 0));
	len = tls_client_session(duo.client, session, TLS_CLIENT_SESSION_BYTES_MAX);
	assert_true(len > 0);
	tls_duo_fini(&duo);
	return len;
}

static bool
resumes(struct tls_context *context, uint16_t version, struct bytes session, int64_t at_s)
{
	struct tls_client_config config = client_of_version(version);
	struct tls_facts facts;

	config.session = session;
	config.now_s = at_s;
	config.seed = 99;
	tls_duo_init(&duo, context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	assert_true(tls_duo_send_to_server(&duo, BYTES_LITERAL("ping"), 0));
	assert_true(tls_duo_send_to_client(&duo, BYTES_LITERAL("pong"), 0));
	tls_facts(duo.server, &facts);
	tls_duo_fini(&duo);
	return facts.resumed;
}

static void
a_ticket_resumes_at_every_worker_with_the_same_secret(void **state)
{
	struct world w = world_of(edge_only);
	struct seeded other_seed = { 2 };
	struct seeded third_seed = { 3 };
	struct tls_context *sibling = tls_duo_context(w.identity, 2, &other_seed, 0x11);
	struct tls_context *stranger = tls_duo_context(w.identity, 2, &third_seed, 0x22);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint8_t memory[TLS_CLIENT_SESSION_BYTES_MAX];
		struct bytes session =
			bytes_make(memory, collect_session(w.context, versions[v], memory));

		assert_true(resumes(w.context, versions[v], session, TLS_DUO_NOW_S));
		assert_true(resumes(sibling, versions[v], session, TLS_DUO_NOW_S));
		assert_false(resumes(stranger, versions[v], session, TLS_DUO_NOW_S));
	}
	tls_context_free(sibling);
	tls_context_free(stranger);
	world_end(&w);
}

static void
a_ticket_lives_as_long_as_it_was_given(void **state)
{
	struct world w = world_of(edge_only);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		uint8_t memory[TLS_CLIENT_SESSION_BYTES_MAX];
		struct bytes session;
		int64_t late_s = TLS_DUO_NOW_S + 3599;

		tls_set_time(w.context, TLS_DUO_NOW_S);
		session = bytes_make(memory, collect_session(w.context, versions[v], memory));
		tls_set_time(w.context, late_s);
		assert_true(resumes(w.context, versions[v], session, late_s));
		tls_set_time(w.context, late_s + 1);
		/* The client still offers it: its clock is behind. */
		assert_false(resumes(w.context, versions[v], session, late_s));
		tls_set_time(w.context, late_s + 36000);
		assert_false(resumes(w.context, versions[v], session, late_s));
	}
	world_end(&w);
}

static void
without_a_lifetime_there_are_no_tickets(void **state)
{
	struct seeded seed = { 4 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context_config config = { .conns_max = 1,
					     .entropy = seeded_entropy,
					     .owner = &seed };
	struct tls_client_config client = client_of_version(TLS13);
	uint8_t memory[TLS_CLIENT_SESSION_BYTES_MAX];
	struct tls_context *context;

	(void)state;
	tls_engine_choose(&config);
	context = tls_context_new(&config, identity);
	tls_set_time(context, TLS_DUO_NOW_S);
	tls_duo_init(&duo, context, &client);
	assert_true(tls_duo_shake(&duo, 0));
	assert_true(tls_duo_send_to_client(&duo, BYTES_LITERAL("hello"), 0));
	assert_int_equal(tls_client_session(duo.client, memory, sizeof(memory)), 0);
	tls_duo_fini(&duo);
	tls_context_free(context);
	tls_identity_free(identity);
}

/* A ClientHello in one record, as an old or odd client would send it; extensions may be empty. */
static size_t
hello(uint8_t *to, uint16_t version, const uint16_t *suites, size_t suite_count,
      uint8_t compression)
{
	static const uint8_t extensions[] = {
		0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17, /* groups: secp256r1 */
		0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x04, 0x01, /* signatures */
	};
	size_t body = 2 + 32 + 1 + 2 + 2 * suite_count + 2 + 2 + sizeof(extensions);
	uint8_t *p = to;

	*p++ = 22;
	*p++ = 3;
	*p++ = 1;
	*p++ = (uint8_t)((body + 4) >> 8);
	*p++ = (uint8_t)(body + 4);
	*p++ = 1;
	*p++ = 0;
	*p++ = (uint8_t)(body >> 8);
	*p++ = (uint8_t)body;
	*p++ = (uint8_t)(version >> 8);
	*p++ = (uint8_t)version;
	memset(p, 0x5a, 32);
	p += 32;
	*p++ = 0;
	*p++ = 0;
	*p++ = (uint8_t)(2 * suite_count);
	for (size_t i = 0; i < suite_count; i++) {
		*p++ = (uint8_t)(suites[i] >> 8);
		*p++ = (uint8_t)suites[i];
	}
	*p++ = 1;
	*p++ = compression;
	*p++ = 0;
	*p++ = sizeof(extensions);
	memcpy(p, extensions, sizeof(extensions));
	return (size_t)(p - to) + sizeof(extensions);
}

struct answer {
	enum err verdict;
	uint8_t bytes[8192];
	size_t len;
};

static struct answer
answer_to(struct tls_context *context, struct bytes in)
{
	struct answer answer = { .verdict = ERR_TLS_AGAIN };
	struct tls_out out = { answer.bytes, sizeof(answer.bytes), 0 };
	struct tls_conn *conn = tls_accept(context, 0, false);

	assert_non_null(conn);
	while (answer.verdict == ERR_TLS_AGAIN)
		answer.verdict = tls_engine_handshake(conn, &in, &out);
	/* Dead stays dead, of the same. */
	assert_int_equal(tls_handshake(conn, &in, &out), answer.verdict);
	answer.len = out.used;
	tls_conn_free(conn);
	return answer;
}

static void
expect_alert(struct answer answer, enum err verdict, uint8_t description)
{
	assert_int_equal(answer.verdict, verdict);
	assert_int_equal(answer.len, 7);
	assert_int_equal(answer.bytes[0], 21);
	assert_int_equal(answer.bytes[5], 2);
	assert_int_equal(answer.bytes[6], description);
}

static void
old_versions_and_weak_suites_are_refused_by_name(void **state)
{
	static const uint16_t good[] = { 0xc02b };
	static const uint16_t cbc[] = { 0xc009, 0xc00a, 0xc023, 0xc024 };
	static const uint16_t rsa_exchange[] = { 0x009c, 0x002f, 0x0035 };
	static const uint16_t dhe[] = { 0x009e, 0x0033 };
	struct world w = world_of(edge_only);
	uint8_t record[512];

	(void)state;
	expect_alert(answer_to(w.context, bytes_make(record, hello(record, 0x0302, good, 1, 0))),
		     ERR_TLS_NO_OVERLAP, 70);
	expect_alert(answer_to(w.context, bytes_make(record, hello(record, 0x0301, good, 1, 0))),
		     ERR_TLS_NO_OVERLAP, 70);
	expect_alert(answer_to(w.context, bytes_make(record, hello(record, TLS12, cbc, 4, 0))),
		     ERR_TLS_NO_OVERLAP, 40);
	expect_alert(answer_to(w.context,
			       bytes_make(record, hello(record, TLS12, rsa_exchange, 3, 0))),
		     ERR_TLS_NO_OVERLAP, 40);
	expect_alert(answer_to(w.context, bytes_make(record, hello(record, TLS12, dhe, 2, 0))),
		     ERR_TLS_NO_OVERLAP, 40);
	/* The same hello with an acceptable suite goes on, so it was the suites. */
	assert_int_equal(
		answer_to(w.context, bytes_make(record, hello(record, TLS12, good, 1, 0))).verdict,
		ERR_MORE);
	world_end(&w);
}

static void
bytes_that_are_not_tls_end_the_connection(void **state)
{
	static const uint8_t too_long[] = { 22, 3, 1, 0xff, 0xff, 1, 0, 0, 0 };
	static const uint8_t wrong_type[] = { 23, 3, 3, 0, 1, 0 };
	static const uint8_t empty_hello[] = { 22, 3, 1, 0, 4, 1, 0, 0, 0 };
	struct world w = world_of(edge_only);
	struct answer answer;

	(void)state;
	answer = answer_to(w.context, BYTES_LITERAL("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
	assert_int_equal(answer.verdict, ERR_TLS_BAD_RECORD);
	assert_true(answer.len > 0);
	assert_int_equal(answer_to(w.context, bytes_make(too_long, sizeof(too_long))).verdict,
			 ERR_TLS_BAD_RECORD);
	assert_int_equal(answer_to(w.context, bytes_make(wrong_type, sizeof(wrong_type))).verdict,
			 ERR_TLS_BAD_MESSAGE);
	assert_int_equal(answer_to(w.context, bytes_make(empty_hello, sizeof(empty_hello))).verdict,
			 ERR_TLS_BAD_MESSAGE);
	assert_int_equal(answer_to(w.context, BYTES_LITERAL("\x16\x03")).verdict, ERR_MORE);
	world_end(&w);
}

/* Each byte of the client's flights damaged in turn: never a crash, never open, memory
 * always back. */
static void
a_damaged_flight_never_opens_nor_leaks(void **state)
{
	struct world w = world_of(edge_only);
	size_t blocks = tls_context_memory(w.context).blocks;

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = client_of_version(versions[v]);
		uint8_t record[2048];
		size_t len;

		tls_duo_init(&duo, w.context, &config);
		while (duo.to_server.to == 0 || duo.client_verdict != ERR_MORE) {
			struct bytes in = BYTES_NONE;
			struct tls_out out = tls_duo_back(&duo.to_server, 0);

			duo.client_verdict = tls_client_step(duo.client, &in, &out);
			tls_duo_put(&duo.to_server, out);
		}
		len = duo.to_server.to;
		assert_in_range(len, 50, sizeof(record));
		memcpy(record, duo.to_server.bytes, len);
		tls_duo_fini(&duo);
		for (size_t at = 0; at < len; at++) {
			struct answer answer;

			record[at] ^= 0xff;
			answer = answer_to(w.context, bytes_make(record, len));
			record[at] ^= 0xff;
			assert_int_not_equal(answer.verdict, ERR_OK);
			assert_int_equal(tls_context_memory(w.context).blocks, blocks);
		}
		/* And cut off anywhere: it waits for the rest. */
		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(answer_to(w.context, bytes_make(record, cut)).verdict,
					 ERR_MORE);
	}
	world_end(&w);
}

static void
the_pool_ends_and_comes_back(void **state)
{
	struct world w = world_of(edge_only);
	struct tls_conn *conns[4];

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT_OF(conns); i++)
			assert_non_null(conns[i] = tls_accept(w.context, 0, false));
		assert_null(tls_accept(w.context, 0, false));
		for (size_t i = 0; i < COUNT_OF(conns); i++)
			tls_conn_free(conns[i]);
	}
	world_end(&w);
}

static void
open_connections_leave_their_places_to_other_handshakes(void **state)
{
	static struct tls_duo many[3];
	struct seeded seed = { 5 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context_config config = {
		.conns_max = 4, .handshakes_max = 1, .entropy = seeded_entropy, .owner = &seed
	};
	struct tls_client_config client = tls_duo_client_config();
	struct tls_context *context;
	struct tls_conn *last;

	(void)state;
	tls_engine_choose(&config);
	context = tls_context_new(&config, identity);
	tls_set_time(context, TLS_DUO_NOW_S);
	for (size_t i = 0; i < COUNT_OF(many); i++) {
		tls_duo_init(&many[i], context, &client);
		assert_null(tls_accept(context, 0, false));
		assert_true(tls_duo_shake(&many[i], 0));
	}
	/* One that failed does, too. */
	last = tls_accept(context, 0, false);
	assert_non_null(last);
	while (tls_handshake(last, &BYTES_LITERAL("no TLS"), &(struct tls_out){ .room = 0 }) == ERR_TLS_AGAIN)
		;
	assert_null(tls_accept(context, 0, false)); /* the fourth connection is its */
	tls_conn_free(last);
	assert_non_null(last = tls_accept(context, 0, false));
	tls_conn_free(last);
	for (size_t i = 0; i < COUNT_OF(many); i++) {
		assert_true(tls_duo_exchange(&many[i]));
		tls_duo_fini(&many[i]);
	}
	tls_context_free(context);
	tls_identity_free(identity);
}

static int
no_entropy(void *owner, uint8_t *to, size_t len)
{
	(void)owner;
	(void)to;
	(void)len;
	return -1;
}

static void
without_entropy_there_is_no_context(void **state)
{
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context_config config = { .conns_max = 1, .entropy = no_entropy };

	(void)state;
	assert_null(tls_context_new(&config, identity));
	tls_identity_free(identity);
}

/* What cannot be had is not replaced by something else. */
static void
a_context_computes_by_what_was_asked_for_or_is_not_made(void **state)
{
	static const char *const primitives[] = { "mbedtls", "libcrypto", "no such" };
	static const char *const records[] = { "mbedtls", "ipsec-mb", "vaes", "no such" };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct seeded seed = { 5 };

	(void)state;
	for (size_t p = 0; p < COUNT_OF(primitives); p++)
		for (size_t r = 0; r < COUNT_OF(records); r++) {
			struct tls_context_config config = { .conns_max = 1,
							     .entropy = seeded_entropy,
							     .owner = &seed,
							     .primitives = primitives[p],
							     .records = records[r] };
			struct tls_context *context = tls_context_new(&config, identity);
			struct instance *before;

			assert_int_equal(context != NULL,
					 tls_has_primitives(primitives[p]) && tls_has_records(records[r]));
			if (context == NULL)
				continue;
			assert_string_equal(tls_context_primitives(context), primitives[p]);
			assert_memory_equal(tls_context_ciphers(context), records[r], strlen(records[r]));
			/* mbedTLS is spared its own ciphers alone, and where it is not all that there is. */
			before = instance_enter(context->instance);
			assert_int_equal(instance_keyring() != NULL, p == 1 && r > 0);
			instance_leave(before);
			tls_context_free(context);
		}
	assert_true(tls_has_primitives("mbedtls") && tls_has_records("mbedtls"));
	assert_true(tls_has_primitives(NULL) && tls_has_records(NULL));
	assert_false(tls_has_primitives("no such") || tls_has_records("no such"));
	tls_identity_free(identity);
}

static void
a_full_arena_refuses_new_connections_and_spares_the_old(void **state)
{
	static struct tls_conn *conns[64];
	struct seeded seed = { 6 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context_config config = {
		.conns_max = 64, .arena_bytes = 64 * KIB, .entropy = seeded_entropy, .owner = &seed
	};
	struct tls_client_config client = tls_duo_client_config();
	struct tls_context *context;
	size_t count = 0;

	(void)state;
	tls_engine_choose(&config);
	context = tls_context_new(&config, identity);
	tls_set_time(context, TLS_DUO_NOW_S);
	tls_duo_init(&duo, context, &client);
	assert_true(tls_duo_shake(&duo, 0));
	while (count < COUNT_OF(conns) && (conns[count] = tls_accept(context, 0, false)) != NULL)
		count++;
	assert_in_range(count, 1, 40);
	assert_true(tls_context_memory(context).refusals > 0);
	assert_true(tls_duo_exchange(&duo));
	tls_duo_fini(&duo);
	tls_conn_free(conns[0]);
	assert_non_null(conns[0] = tls_accept(context, 0, false));
	for (size_t i = 0; i < count; i++)
		tls_conn_free(conns[i]);
	tls_context_free(context);
	tls_identity_free(identity);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_versions_work_at_any_segmentation),
		cmocka_unit_test(takes_one_bounded_step_a_call),
		cmocka_unit_test(sni_chooses_exact_names_before_wildcards),
		cmocka_unit_test(an_unknown_or_absent_name_gets_the_first_certificate),
		cmocka_unit_test(the_rsa_certificate_serves_clients_without_ecdsa),
		cmocka_unit_test(our_order_of_suites_counts),
		cmocka_unit_test(every_suite_carries_data),
		cmocka_unit_test(a_client_with_another_first_group_is_asked_again),
		cmocka_unit_test(no_common_protocol_is_answered_with_its_alert),
		cmocka_unit_test(a_ticket_resumes_at_every_worker_with_the_same_secret),
		cmocka_unit_test(a_ticket_lives_as_long_as_it_was_given),
		cmocka_unit_test(without_a_lifetime_there_are_no_tickets),
		cmocka_unit_test(old_versions_and_weak_suites_are_refused_by_name),
		cmocka_unit_test(bytes_that_are_not_tls_end_the_connection),
		cmocka_unit_test(a_damaged_flight_never_opens_nor_leaks),
		cmocka_unit_test(the_pool_ends_and_comes_back),
		cmocka_unit_test(open_connections_leave_their_places_to_other_handshakes),
		cmocka_unit_test(without_entropy_there_is_no_context),
		cmocka_unit_test(a_context_computes_by_what_was_asked_for_or_is_not_made),
		cmocka_unit_test(a_full_arena_refuses_new_connections_and_spares_the_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
