/* What a ticket is sealed with, and what it is bound to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <mbedtls/gcm.h>

#include "base/units.h"
#include "tls/conn.h"
#include "tls_duo.h"
#include "tls_engine.h"

#define TLS12 0x0303
#define TLS13 0x0304
#define AES_128 0xc02b /* ECDHE-ECDSA of TLS 1.2, by hash SHA-256 */
#define AES_256 0xc02c /* SHA-384 */
#define AES_128_13 0x1301
#define AES_256_13 0x1302

static const uint16_t versions[] = { TLS12, TLS13 };

static struct tls_duo duo;

struct world {
	struct tls_identity *identity;
	struct tls_context *context;
};

static struct world
world_of(uint8_t fill)
{
	static const char *const names[] = { "edge", "wild", NULL };
	static struct seeded seed; /* outlives the context */
	struct world w = { .identity = tls_duo_identity(names) };

	w.context = tls_duo_context(w.identity, 4, &seed, fill);
	return w;
}

static void
world_end(struct world *w)
{
	tls_context_free(w->context);
	tls_identity_free(w->identity);
}

static struct ticket_secrets
two_secrets(uint8_t older, uint8_t newer, uint64_t begins_at_s)
{
	struct ticket_secrets secrets = tls_duo_tickets(older);

	secrets.secret[0].number = 1;
	secrets.secret[1] = tls_duo_tickets(newer).secret[0];
	secrets.secret[1].number = 2;
	secrets.secret[1].begins_at_s = begins_at_s;
	secrets.count = 2;
	return secrets;
}

/* True: resumed. The client's ticket for the next time is in session, of *len bytes. */
static bool
connect_with(const struct world *w, const struct tls_client_config *config, bool offers_h2, uint8_t *session,
	     size_t *len)
{
	struct tls_facts facts;

	tls_duo_init(&duo, w->context, config);
	if (offers_h2) {
		tls_conn_free(duo.server);
		duo.server = tls_accept(w->context, 0, true);
	}
	assert_true(tls_duo_shake(&duo, 0));
	tls_facts(duo.server, &facts);
	assert_true(tls_duo_exchange(&duo));
	if (session != NULL) {
		*len = tls_client_session(duo.client, session, TLS_CLIENT_SESSION_BYTES_MAX);
		assert_true(*len > 0);
	}
	tls_duo_fini(&duo);
	return facts.resumed;
}

static uint8_t memory[TLS_CLIENT_SESSION_BYTES_MAX];

/* config gets the session of a first connection. */
static void
collect(const struct world *w, struct tls_client_config *config)
{
	size_t len;

	config->session = BYTES_NONE;
	assert_false(connect_with(w, config, false, memory, &len));
	config->session = bytes_make(memory, len);
	config->seed++;
}

static bool
resumes(const struct world *w, const struct tls_client_config *config)
{
	return connect_with(w, config, false, NULL, NULL);
}

static void
the_newest_that_has_begun_seals_and_older_ones_still_open(void **state)
{
	struct ticket_secrets both = two_secrets(0x11, 0x22, TLS_DUO_NOW_S);
	struct ticket_secrets newer = tls_duo_tickets(0x22), older = tls_duo_tickets(0x11);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct world w = world_of(0x11);
		struct tls_client_config config = tls_duo_client_of(versions[v]);

		collect(&w, &config);
		tls_set_tickets(w.context, &both);
		assert_true(resumes(&w, &config));
		/* Revoked, or too old. */
		tls_set_tickets(w.context, &newer);
		assert_false(resumes(&w, &config));

		tls_set_tickets(w.context, &both);
		collect(&w, &config);
		tls_set_tickets(w.context, &newer);
		assert_true(resumes(&w, &config));
		tls_set_tickets(w.context, &older);
		assert_false(resumes(&w, &config));
		world_end(&w);
	}
}

static void
one_that_is_to_come_opens_but_does_not_seal(void **state)
{
	struct ticket_secrets both = two_secrets(0x11, 0x22, TLS_DUO_NOW_S + 10);
	struct ticket_secrets older = tls_duo_tickets(0x11), newer = tls_duo_tickets(0x22);
	struct world w = world_of(0x11);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = tls_duo_client_of(versions[v]);

		tls_set_time(w.context, TLS_DUO_NOW_S + 9);
		tls_set_tickets(w.context, &both);
		config.now_s = TLS_DUO_NOW_S + 9;
		collect(&w, &config);
		tls_set_tickets(w.context, &older);
		assert_true(resumes(&w, &config));

		/* A router whose clock is ahead seals with the new one already. */
		tls_set_tickets(w.context, &newer);
		collect(&w, &config);
		tls_set_tickets(w.context, &both);
		assert_true(resumes(&w, &config));

		tls_set_time(w.context, TLS_DUO_NOW_S + 10);
		config.now_s = TLS_DUO_NOW_S + 10;
		collect(&w, &config);
		tls_set_tickets(w.context, &newer);
		assert_true(resumes(&w, &config));
	}
	world_end(&w);
}

/* The client asks for another name of the same length, and, in TLS 1.3, believes that the session is that one's:
 * mbedTLS's would keep it to itself. */
static void
ask_for(struct tls_client_config *config, const char *host)
{
	uint8_t *kept = memmem(memory, config->session.len, config->host, strlen(config->host));

	assert_int_equal(strlen(host), strlen(config->host));
	if (config->version_max == TLS13) {
		assert_non_null(kept);
		memcpy(kept, host, strlen(host));
	}
	config->host = host;
}

static void
a_ticket_is_of_the_name_that_was_asked_for(void **state)
{
	struct world w = world_of(0x11);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = tls_duo_client_of(versions[v]);

		collect(&w, &config);
		ask_for(&config, "API.Sluice.Test");
		assert_true(resumes(&w, &config));
		/* Both are served, by one certificate or another. */
		config.host = "a.sluice.test";
		collect(&w, &config);
		ask_for(&config, "b.sluice.test");
		assert_false(resumes(&w, &config));
		ask_for(&config, "a.sluice.test");
		assert_true(resumes(&w, &config));
	}
	world_end(&w);
}

static void
a_ticket_is_of_the_listeners_that_offer_the_same(void **state)
{
	struct world w = world_of(0x11);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = tls_duo_client_of(versions[v]);

		collect(&w, &config);
		assert_false(connect_with(&w, &config, true, NULL, NULL));
		assert_true(connect_with(&w, &config, false, NULL, NULL));
	}
	world_end(&w);
}

static void
a_session_keeps_its_suite_or_is_not_resumed(void **state)
{
	static const int strong[] = { AES_256, AES_256_13, 0 }, other[] = { AES_128, AES_128_13, 0 };
	struct world w = world_of(0x11);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = tls_duo_client_of(versions[v]);

		config.suites = strong;
		collect(&w, &config);
		assert_true(resumes(&w, &config));
		/* Both are offered now, and we prefer the other one. TLS 1.3 keeps the session's. */
		config.suites = NULL;
		assert_int_equal(resumes(&w, &config), versions[v] == TLS13);
		config.suites = other;
		assert_false(resumes(&w, &config));
	}
	world_end(&w);
}

static void
clocks_of_routers_may_differ_by_a_minute(void **state)
{
	struct world w = world_of(0x11);
	struct tls_client_config config = tls_duo_client_of(TLS12);

	(void)state;
	collect(&w, &config);
	tls_set_time(w.context, TLS_DUO_NOW_S - 60);
	assert_true(resumes(&w, &config));
	tls_set_time(w.context, TLS_DUO_NOW_S - 61);
	assert_false(resumes(&w, &config));
	world_end(&w);
}

/* --- hellos by hand ------------------------------------------------------------------------ */

/* What the client was given, found by its secret's name in what it keeps: two bytes of length are before it. */
static struct bytes
ticket_of(struct bytes session, uint8_t fill)
{
	uint8_t name[TICKET_NAME_BYTES];
	const uint8_t *at;

	memset(name, fill, sizeof(name));
	at = memmem(session.ptr, session.len, name, sizeof(name));
	assert_non_null(at);
	return bytes_make(at, (size_t)at[-2] << 8 | at[-1]);
}

static uint8_t *
put(uint8_t *p, size_t number, int width)
{
	while (width-- > 0)
		*p++ = (uint8_t)(number >> (8 * width));
	return p;
}

static uint8_t *
put_bytes(uint8_t *p, const void *from, size_t len)
{
	memcpy(p, from, len);
	return p + len;
}

/* A hello of TLS 1.2, with the ticket in front of the name. */
static size_t
hello_with(uint8_t *to, struct bytes ticket, const char *host)
{
	static const uint8_t rest[] = { 0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17, /* secp256r1 */
					0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03 };
	size_t name = strlen(host), extensions = 4 + ticket.len + 9 + name + sizeof(rest);
	size_t body = 2 + 32 + 1 + 32 + 6 + 2 + 2 + extensions;
	uint8_t *p = to;

	p = put(p, 0x160303, 3);
	p = put(p, body + 4, 2);
	p = put(p, 1, 1);
	p = put(p, body, 3);
	p = put(p, TLS12, 2);
	memset(p, 0x5a, 32);
	p += 32;
	p = put(p, 32, 1);
	memset(p, 0x5b, 32); /* a session's id, so that the answer says whether it is resumed */
	p += 32;
	p = put(p, 4, 2);
	p = put(p, AES_128, 2);
	p = put(p, AES_128_13, 2); /* means nothing in a hello of TLS 1.2 */
	p = put(p, 0x0100, 2);
	p = put(p, extensions, 2);
	p = put(p, 35, 2);
	p = put(p, ticket.len, 2);
	p = put_bytes(p, ticket.ptr, ticket.len);
	p = put(p, 0, 2);
	p = put(p, name + 5, 2);
	p = put(p, name + 3, 2);
	p = put(p, 0, 1);
	p = put(p, name, 2);
	p = put_bytes(p, host, name);
	p = put_bytes(p, rest, sizeof(rest));
	return (size_t)(p - to);
}

/* The server echoes the session's id, and only then. */
static bool
hello_resumes(const struct world *w, struct bytes ticket, const char *host)
{
	static uint8_t hello[4096], answer[16384];
	struct bytes in = bytes_make(hello, hello_with(hello, ticket, host));
	struct tls_out out = { answer, sizeof(answer), 0 };
	struct tls_conn *conn = tls_accept(w->context, 0, false);
	enum err verdict = ERR_TLS_AGAIN;

	while (verdict == ERR_TLS_AGAIN)
		verdict = tls_engine_handshake(conn, &in, &out);
	tls_conn_free(conn);
	assert_int_equal(verdict, ERR_MORE);
	assert_true(out.used > 5 + 4 + 2 + 32 + 1 + 32 && answer[0] == 22 && answer[5] == 2);
	return answer[5 + 4 + 2 + 32] == 32 && answer[5 + 4 + 2 + 32 + 1] == 0x5b;
}

static void
the_name_may_come_behind_the_ticket(void **state)
{
	struct world w = world_of(0x11);
	struct tls_client_config config = tls_duo_client_of(TLS12);
	struct bytes ticket;

	(void)state;
	collect(&w, &config);
	ticket = ticket_of(config.session, 0x11);
	assert_true(hello_resumes(&w, ticket, "api.sluice.test"));
	assert_false(hello_resumes(&w, ticket, "a.sluice.test"));
	assert_false(hello_resumes(&w, bytes_make(ticket.ptr, ticket.len - 1), "api.sluice.test"));
	world_end(&w);
}

static void
a_ticket_of_one_version_is_nothing_to_the_other(void **state)
{
	struct world w = world_of(0x11);
	struct tls_client_config config = tls_duo_client_of(TLS13);

	(void)state;
	config.suites = (const int[]){ AES_128_13, 0 };
	collect(&w, &config);
	assert_false(hello_resumes(&w, ticket_of(config.session, 0x11), "api.sluice.test"));
	world_end(&w);
}

/* Octet by octet: routers of two releases share secrets, and what one has drawn otherwise must not open. */
static void
a_ticket_is_sealed_as_its_header_draws_it(void **state)
{
	static const char host[] = "api.sluice.test";
	struct ticket_secrets secrets = tls_duo_tickets(0x11);
	const uint8_t *key = secrets.secret[0].key;
	struct world w = world_of(0x11);

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = tls_duo_client_of(versions[v]);
		uint8_t bound[128], text[TICKET_BYTES_MAX], *p = bound;
		mbedtls_gcm_context gcm;
		struct instance *before;
		struct bytes ticket;

		collect(&w, &config);
		ticket = ticket_of(config.session, 0x11);
		p = put_bytes(p, ticket.ptr, 16);
		p = put(p, 2, 1);
		p = put(p, versions[v], 2);
		p = put_bytes(p, w.context->policy, 32);
		p = put(p, strlen(host), 1);
		p = put_bytes(p, host, strlen(host));
		before = instance_enter(w.context->instance);
		mbedtls_gcm_init(&gcm);
		assert_int_equal(mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key, 256), 0);
		assert_int_equal(mbedtls_gcm_auth_decrypt(&gcm, ticket.len - 44, ticket.ptr + 16, 12, bound,
							  (size_t)(p - bound), ticket.ptr + ticket.len - 16, 16,
							  ticket.ptr + 28, text),
				 0);
		mbedtls_gcm_free(&gcm);
		instance_leave(before);
		assert_memory_equal(text, (&(uint64_t){ TLS_DUO_NOW_S }), 8);
		assert_memory_equal(text + 8, (&(uint64_t){ TLS_DUO_NOW_S + 3600 }), 8);
	}
	world_end(&w);
}

/* --- the secrets as a message ---------------------------------------------------------------- */

static void
a_message_is_whole_or_refused(void **state)
{
	struct ticket_secrets good = two_secrets(1, 2, 100), s = good;

	(void)state;
	assert_true(ticket_secrets_are_whole(&s, sizeof(s)));
	assert_false(ticket_secrets_are_whole(&s, sizeof(s) - 1));
	s.layout++;
	assert_false(ticket_secrets_are_whole(&s, sizeof(s)));
	s = good;
	s.count = 0;
	assert_false(ticket_secrets_are_whole(&s, sizeof(s)));
	s.count = TICKET_SECRETS_MAX + 1;
	assert_false(ticket_secrets_are_whole(&s, sizeof(s)));
	s = good;
	s.secret[1].number = 1;
	assert_false(ticket_secrets_are_whole(&s, sizeof(s)));
	s = good;
	s.secret[0].begins_at_s = 101;
	assert_false(ticket_secrets_are_whole(&s, sizeof(s)));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_newest_that_has_begun_seals_and_older_ones_still_open),
		cmocka_unit_test(one_that_is_to_come_opens_but_does_not_seal),
		cmocka_unit_test(a_ticket_is_of_the_name_that_was_asked_for),
		cmocka_unit_test(a_ticket_is_of_the_listeners_that_offer_the_same),
		cmocka_unit_test(a_session_keeps_its_suite_or_is_not_resumed),
		cmocka_unit_test(clocks_of_routers_may_differ_by_a_minute),
		cmocka_unit_test(the_name_may_come_behind_the_ticket),
		cmocka_unit_test(a_ticket_of_one_version_is_nothing_to_the_other),
		cmocka_unit_test(a_ticket_is_sealed_as_its_header_draws_it),
		cmocka_unit_test(a_message_is_whole_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
