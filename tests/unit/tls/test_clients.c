/* Listeners that believe only clients with a certificate: who gets in, what others are told, what tickets are
 * worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "cert_file.h"
#include "cert_forge.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"

#define TLS12 0x0303
#define TLS13 0x0304
#define MTLS 1 /* the listener; 0 believes everybody */

static const uint16_t versions[] = { TLS12, TLS13 };

static struct tls_duo duo;

/* The second certificate of chain.pem, which has signed the first. */
static struct bytes
middle(void)
{
	struct bytes chain = cert_file("chain.pem");
	const char *end = strstr((const char *)chain.ptr, "-----END CERTIFICATE-----");

	assert_non_null(end);
	return bytes_after(chain, (size_t)(end + 26 - (const char *)chain.ptr));
}

/* client_ca empty: clients need no certificate. */
static struct tls_identity *
identity_with(struct bytes client_ca)
{
	struct tls_identity *identity = tls_identity_new();
	char text[CERT_TEXT_BYTES];

	for (uint32_t listener = 0; listener <= MTLS; listener++)
		assert_int_equal(tls_identity_add(identity, listener, cert_file("edge.pem"), cert_file("edge.key"),
						  CERT_ANY_TIME, text, sizeof(text)),
				 ERR_OK);
	if (client_ca.len > 0)
		assert_int_equal(tls_identity_add_client_ca(identity, MTLS, client_ca, text, sizeof(text)),
				 ERR_OK);
	return identity;
}

static struct tls_context *
context_with(struct bytes client_ca)
{
	static struct seeded seed;
	struct tls_identity *identity = identity_with(client_ca);
	struct tls_context *context;

	seed.state = 1;
	context = tls_duo_context(identity, 2, &seed, 0x11);
	tls_identity_free(identity);
	return context;
}

/* pem empty: it has none. */
static bool
shakes(struct tls_context *context, uint32_t listener, uint16_t version, struct bytes pem, struct bytes key,
       struct bytes session)
{
	struct tls_client_config config = tls_duo_client_of(version);

	config.cert_pem = pem;
	config.key_pem = key;
	config.session = session;
	tls_duo_init(&duo, context, &config);
	tls_conn_free(duo.server);
	duo.server = tls_accept(context, listener, false);
	return tls_duo_shake(&duo, 0);
}

static void
expect_refusal(struct tls_context *context, uint16_t version, const char *name, enum err verdict, uint8_t alert)
{
	struct bytes pem = BYTES_NONE, key = BYTES_NONE;
	uint8_t nothing[256];
	struct tls_out plain = { nothing, sizeof(nothing), 0 }, out = { nothing, sizeof(nothing), 0 };
	char file[32];

	if (name != NULL) {
		snprintf(file, sizeof(file), "%s.pem", name);
		pem = cert_file(file);
		snprintf(file, sizeof(file), "%s.key", name);
		key = cert_file(file);
	}
	assert_false(shakes(context, MTLS, version, pem, key, BYTES_NONE));
	assert_int_equal(duo.server_verdict, verdict);
	/* In TLS 1.3 the client believes that it is in until it reads. */
	if (tls_client_is_open(duo.client)) {
		struct bytes in = tls_duo_front(&duo.to_client, 0);

		while (in.len > 0 && tls_client_open(duo.client, &in, &plain, &out) == ERR_OK)
			continue;
	}
	assert_int_equal(tls_client_alert(duo.client), alert);
	tls_duo_fini(&duo);
}

static void
a_certificate_of_a_believed_authority_gets_in(void **state)
{
	static const char *const names[][2] = { { "wild.pem", "wild.key" }, { "rsa.pem", "rsa.key" },
						{ "chain.pem", "chain.key" } };
	struct tls_context *context = context_with(cert_file("ca.pem"));

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++)
		for (size_t i = 0; i < COUNT_OF(names); i++) {
			assert_true(shakes(context, MTLS, versions[v], cert_file(names[i][0]),
					   cert_file(names[i][1]), BYTES_NONE));
			assert_true(tls_duo_exchange(&duo));
			tls_duo_fini(&duo);
		}
	tls_context_free(context);
}

/* On a curve that we do not exchange keys by. */
static void
a_certificate_on_p384_gets_in(void **state)
{
	static const struct cert_plan root = { .subject = "root", .issuer = "root", .key = "wild",
					       .signer = "wild", .is_ca = true };
	static const struct cert_plan leaf = { .subject = "client", .issuer = "root", .key = "p384",
					       .signer = "wild" };
	struct cert_forged forged;
	struct tls_context *context;

	(void)state;
	cert_forge(&root, &forged);
	context = context_with(cert_forge_pem(&forged, 1));
	cert_forge(&leaf, &forged);
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		assert_true(shakes(context, MTLS, versions[v], cert_forge_pem(&forged, 1), cert_file("p384.key"),
				   BYTES_NONE));
		assert_true(tls_duo_exchange(&duo));
		tls_duo_fini(&duo);
	}
	tls_context_free(context);
}

static void
whoever_has_none_or_another_ones_is_told_so(void **state)
{
	struct tls_context *context = context_with(middle());

	(void)state;
	expect_refusal(context, TLS13, NULL, ERR_TLS_PEER_WITHOUT, 116);
	expect_refusal(context, TLS12, NULL, ERR_TLS_PEER_WITHOUT, 40);
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		expect_refusal(context, versions[v], "wild", ERR_TLS_PEER_UNKNOWN, 48);
		assert_true(shakes(context, MTLS, versions[v], cert_file("chain.pem"), cert_file("chain.key"),
				   BYTES_NONE));
		tls_duo_fini(&duo);
		/* Of the listener beside it nobody is asked for anything. */
		assert_true(shakes(context, 0, versions[v], BYTES_NONE, BYTES_NONE, BYTES_NONE));
		tls_duo_fini(&duo);
	}
	/* The server's clock counts. */
	tls_set_time(context, INT64_C(4102444800));
	for (size_t v = 0; v < COUNT_OF(versions); v++)
		expect_refusal(context, versions[v], "chain", ERR_TLS_PEER_EXPIRED, 45);
	tls_context_free(context);
}

/* What a connection leaves to resume from. */
static struct bytes
session_of(struct tls_context *context, uint32_t listener, uint16_t version, bool with_certificate,
	   uint8_t memory[TLS_CLIENT_SESSION_BYTES_MAX])
{
	size_t len;

	assert_true(shakes(context, listener, version, with_certificate ? cert_file("wild.pem") : BYTES_NONE,
			   cert_file("wild.key"), BYTES_NONE));
	assert_true(tls_duo_exchange(&duo));
	len = tls_client_session(duo.client, memory, TLS_CLIENT_SESSION_BYTES_MAX);
	tls_duo_fini(&duo);
	return bytes_make(memory, len);
}

/* Without a certificate: the ticket is all that it has. */
static bool
gets_in_by(struct tls_context *context, uint32_t listener, uint16_t version, struct bytes session)
{
	struct tls_facts facts = { .resumed = false };
	bool open = shakes(context, listener, version, BYTES_NONE, BYTES_NONE, session) &&
		    tls_duo_exchange(&duo);

	if (open)
		tls_facts(duo.server, &facts);
	tls_duo_fini(&duo);
	return open && facts.resumed;
}

static void
a_ticket_is_good_where_the_same_authorities_are_believed(void **state)
{
	struct tls_context *context = context_with(cert_file("ca.pem"));
	uint8_t memory[2][TLS_CLIENT_SESSION_BYTES_MAX];

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct bytes verified = session_of(context, MTLS, versions[v], true, memory[0]);
		struct bytes anybody = session_of(context, 0, versions[v], false, memory[1]);
		struct tls_identity *identity;

		assert_true(gets_in_by(context, MTLS, versions[v], verified));
		assert_true(gets_in_by(context, 0, versions[v], anybody));
		assert_false(gets_in_by(context, MTLS, versions[v], anybody));
		assert_false(gets_in_by(context, 0, versions[v], verified)); /* a full handshake */
		/* Other authorities: those of before are not asked any more. */
		identity = identity_with(middle());
		tls_context_replace(context, tls_keys_new(identity, NULL));
		tls_identity_free(identity);
		assert_false(gets_in_by(context, MTLS, versions[v], verified));
		assert_true(gets_in_by(context, 0, versions[v], anybody));
		identity = identity_with(cert_file("ca.pem"));
		tls_context_replace(context, tls_keys_new(identity, NULL));
		tls_identity_free(identity);
		assert_true(gets_in_by(context, MTLS, versions[v], verified));
		assert_int_equal(tls_context_sweep(context), 1);
	}
	tls_context_free(context);
}

/* As a listener's first ones, others in their place, the same once more, and none. */
static void
listeners_that_believe_others_are_named(void **state)
{
	struct tls_context *context = context_with(cert_file("ca.pem"));
	const struct bytes believed[] = { cert_file("ca.pem"), middle(), middle(), BYTES_NONE, middle() };
	static const uint32_t named[] = { 0, 1u << MTLS, 0, 0, 1u << MTLS };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(believed); i++) {
		struct tls_identity *identity = identity_with(believed[i]);

		assert_int_equal(tls_context_replace(context, tls_keys_new(identity, NULL)), named[i]);
		assert_int_equal(tls_context_sweep(context), 1);
		tls_identity_free(identity);
	}
	tls_context_free(context);
}

/* The end of ca.pem, a second before that of chain.pem, which it has signed in the end. */
#define CA_ENDS_S INT64_C(2584158217)

/* A connection at that time with a session, and a certificate where there is no session: true, if it is open and
 * resumed as it should be. The next session is in memory. */
static bool
comes_again(struct tls_context *context, uint32_t listener, uint16_t version, int64_t now_s, int64_t client_now_s,
	    struct bytes *session, uint32_t *lifetime_s)
{
	static uint8_t memory[TLS_CLIENT_SESSION_BYTES_MAX];
	struct tls_client_config config = tls_duo_client_of(version);
	struct tls_facts facts = { .resumed = false };
	bool is_first = session->len == 0, open;

	tls_set_time(context, now_s);
	config.now_s = client_now_s;
	config.session = *session;
	if (is_first) {
		config.cert_pem = cert_file("chain.pem");
		config.key_pem = cert_file("chain.key");
	}
	tls_duo_init(&duo, context, &config);
	tls_conn_free(duo.server);
	duo.server = tls_accept(context, listener, false);
	open = tls_duo_shake(&duo, 0) && tls_duo_exchange(&duo);
	if (open) {
		tls_facts(duo.server, &facts);
		*session = bytes_make(memory, tls_client_session(duo.client, memory, sizeof(memory)));
		*lifetime_s = tls_client_ticket_lifetime_s(duo.client);
	}
	tls_duo_fini(&duo);
	return open && facts.resumed == !is_first;
}

static void
no_row_of_tickets_outlives_what_was_shown(void **state)
{
	static const struct {
		uint32_t listener;
		int64_t begins_at_s;
		int64_t ends_at_s;
	} rows[] = {
		{ MTLS, CA_ENDS_S - 1000, CA_ENDS_S },
		{ MTLS, TLS_DUO_NOW_S, TLS_DUO_NOW_S + 3600 },
		{ 0, TLS_DUO_NOW_S, TLS_DUO_NOW_S + 3600 },
	};
	struct tls_context *context = context_with(cert_file("ca.pem"));

	(void)state;
	for (size_t i = 0; i < 2 * COUNT_OF(rows); i++) {
		uint16_t version = versions[i % 2];
		uint32_t listener = rows[i / 2].listener, lifetime_s;
		int64_t now_s = rows[i / 2].begins_at_s, ends_at_s = rows[i / 2].ends_at_s;
		struct bytes session = BYTES_NONE;

		assert_true(comes_again(context, listener, version, now_s, now_s, &session, &lifetime_s));
		assert_int_equal(lifetime_s, ends_at_s - now_s);
		while ((now_s += 300) < ends_at_s) {
			assert_true(comes_again(context, listener, version, now_s, now_s, &session,
						&lifetime_s));
			/* TLS 1.2 goes on with the first one. */
			assert_true(version == TLS12 || lifetime_s == ends_at_s - now_s);
		}
		now_s = ends_at_s - 1;
		assert_true(comes_again(context, listener, version, now_s, now_s, &session, &lifetime_s));
		/* By the client's clock it may still be used. */
		assert_false(comes_again(context, listener, version, ends_at_s, now_s, &session, &lifetime_s));
	}
	tls_context_free(context);
}

static void
what_is_no_ca_is_refused_with_what_to_do(void **state)
{
	static uint8_t many[CERT_PEM_BYTES_MAX + 1];
	struct tls_identity *identity = tls_identity_new();
	struct bytes ca = cert_file("ca.pem");
	char text[CERT_TEXT_BYTES];
	size_t len = 0;

	(void)state;
	assert_int_equal(tls_identity_add_client_ca(identity, 0, cert_file("edge.pem"), text, sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_non_null(strstr(text, "no CA's"));
	assert_int_equal(tls_identity_add_client_ca(identity, 0, cert_file("edge.key"), text, sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_non_null(strstr(text, "cannot be read"));
	assert_int_equal(tls_identity_add_client_ca(identity, 0, bytes_make(ca.ptr, ca.len / 2), text,
						    sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_int_equal(tls_identity_add_client_ca(identity, 0, bytes_make(many, sizeof(many)), text,
						    sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_non_null(strstr(text, "64 KiB"));
	for (int i = 0; i <= IDENTITY_CLIENT_CAS_MAX && len + ca.len <= sizeof(many); i++, len += ca.len)
		memcpy(many + len, ca.ptr, ca.len);
	assert_int_equal(tls_identity_add_client_ca(identity, 0, bytes_make(many, len), text, sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_non_null(strstr(text, "more than 64"));
	assert_int_equal(tls_identity_add_client_ca(identity, 0, ca, text, sizeof(text)), ERR_OK);
	tls_identity_free(identity);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_certificate_of_a_believed_authority_gets_in),
		cmocka_unit_test(a_certificate_on_p384_gets_in),
		cmocka_unit_test(whoever_has_none_or_another_ones_is_told_so),
		cmocka_unit_test(listeners_that_believe_others_are_named),
		cmocka_unit_test(a_ticket_is_good_where_the_same_authorities_are_believed),
		cmocka_unit_test(no_row_of_tickets_outlives_what_was_shown),
		cmocka_unit_test(what_is_no_ca_is_refused_with_what_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
