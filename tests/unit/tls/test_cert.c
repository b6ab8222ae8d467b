/* Which certificates and keys are accepted, and what is said about the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "cert_file.h"
#include "tls/cert.h"
#include "tls/tls.h"
#include "tls_duo.h"

static enum err
fine(void *owner, const struct pair *pair)
{
	(void)owner;
	(void)pair;
	return ERR_OK;
}

/* The verdict, after a look at the sentence. */
static enum err
check(struct bytes chain, struct bytes key, int64_t now_s, const char *word)
{
	char text[CERT_TEXT_BYTES] = "untouched";
	enum err verdict = cert_look(chain, key, now_s, fine, NULL, text, sizeof(text));

	if (verdict == ERR_OK)
		assert_string_equal(text, "");
	else if (strstr(text, word) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", text, word);
	return verdict;
}

static enum err
check_files(const char *chain, const char *key, const char *word)
{
	return check(cert_file(chain), cert_file(key), TLS_DUO_NOW_S, word);
}

static void
usable_pairs_are_accepted(void **state)
{
	(void)state;
	assert_int_equal(check_files("edge.pem", "edge.key", ""), ERR_OK);
	assert_int_equal(check_files("wild.pem", "wild.key", ""), ERR_OK);
	assert_int_equal(check_files("rsa.pem", "rsa.key", ""), ERR_OK);
	assert_int_equal(check_files("chain.pem", "chain.key", ""), ERR_OK);
}

static void
a_key_of_another_certificate_is_found(void **state)
{
	(void)state;
	assert_int_equal(check_files("edge.pem", "wild.key", "does not belong"),
			 ERR_TLS_KEY_MISMATCH);
	assert_int_equal(check_files("edge.pem", "rsa.key", "does not belong"),
			 ERR_TLS_KEY_MISMATCH);
	assert_int_equal(check_files("rsa.pem", "edge.key", "does not belong"),
			 ERR_TLS_KEY_MISMATCH);
}

static void
validity_is_checked_against_the_given_time(void **state)
{
	struct bytes chain = cert_file("edge.pem");
	struct bytes key = cert_file("edge.key");

	(void)state;
	assert_int_equal(check(chain, key, INT64_C(4102444800), "expired"),
			 ERR_TLS_CERTIFICATE_EXPIRED); /* 2100 */
	assert_int_equal(check(chain, key, INT64_C(946684800), "not valid yet"),
			 ERR_TLS_CERTIFICATE_EXPIRED); /* 2000 */
	assert_int_equal(check(chain, key, CERT_ANY_TIME, ""), ERR_OK);
}

static void
weak_and_encrypted_keys_are_refused(void **state)
{
	(void)state;
	assert_int_equal(check_files("weak.pem", "weak.key", "2048"), ERR_TLS_BAD_CERTIFICATE);
	assert_int_equal(check_files("edge.pem", "encrypted.key", "private key"), ERR_TLS_BAD_KEY);
}

static void
a_chain_out_of_order_is_refused(void **state)
{
	struct bytes edge = cert_file("edge.pem");
	struct bytes wild = cert_file("wild.pem");
	uint8_t both[4096];

	(void)state;
	memcpy(both, edge.ptr, edge.len);
	memcpy(both + edge.len, wild.ptr, wild.len);
	assert_int_equal(check(bytes_make(both, edge.len + wild.len), cert_file("edge.key"),
			       TLS_DUO_NOW_S, "out of order"),
			 ERR_TLS_BAD_CERTIFICATE);
}

/* In a Certificate message: the DER of a PEM text, and 5. */
static size_t
message_bytes(struct bytes pem)
{
	const char *at = strstr((const char *)pem.ptr, "-----BEGIN CERTIFICATE-----") + 27;
	size_t digits = 0;

	for (; *at != '-' && *at != '='; at++)
		digits += *at != '\n';
	return digits * 6 / 8 + 5;
}

/* The leaf, and the CA's certificate behind it as often as bytes have room. */
static struct bytes
chain_of(size_t bytes)
{
	static uint8_t text[CERT_PEM_BYTES_MAX];
	struct bytes edge = cert_file("edge.pem");
	struct bytes ca = cert_file("ca.pem");
	size_t len = edge.len;

	memcpy(text, edge.ptr, edge.len);
	for (size_t used = message_bytes(edge); used + message_bytes(ca) <= bytes; used += message_bytes(ca)) {
		memcpy(text + len, ca.ptr, ca.len);
		len += ca.len;
	}
	return bytes_make(text, len);
}

static void
a_chain_that_no_message_has_room_for_is_refused(void **state)
{
	static struct tls_duo duo;
	struct bytes key = cert_file("edge.key");
	struct bytes longest = chain_of(CERT_CHAIN_BYTES_MAX);
	struct bytes longer = chain_of(CERT_CHAIN_BYTES_MAX + message_bytes(cert_file("ca.pem")));
	size_t len = longest.len;

	(void)state;
	assert_true(longest.ptr == longer.ptr && len < longer.len && longer.len < CERT_PEM_BYTES_MAX);
	assert_int_equal(check(longer, key, TLS_DUO_NOW_S, "16,000"), ERR_TLS_BAD_CERTIFICATE);
	assert_int_equal(check(bytes_make(longer.ptr, len), key, TLS_DUO_NOW_S, ""), ERR_OK);

	/* What is accepted can be sent, whatever the client thinks of so many. */
	for (uint16_t version = 0x0303; version <= 0x0304; version++) {
		struct tls_client_config config = tls_duo_client_config();
		struct tls_identity *identity = tls_identity_new();
		struct seeded seed = { 1 };
		struct tls_context *context;
		char text[CERT_TEXT_BYTES];

		assert_int_equal(tls_identity_add(identity, 0, bytes_make(longer.ptr, len), key,
						  TLS_DUO_NOW_S, text, sizeof(text)),
				 ERR_OK);
		context = tls_duo_context(identity, 1, &seed, 0x11);
		config.version_min = config.version_max = version;
		tls_duo_init(&duo, context, &config);
		(void)tls_duo_shake(&duo, 0);
		assert_int_not_equal(duo.server_verdict, ERR_TLS_REFUSED);
		tls_duo_fini(&duo);
		tls_context_free(context);
		tls_identity_free(identity);
	}
}

static void
what_clients_are_believed_by_is_bounded(void **state)
{
	struct bytes ca = cert_file("ca.pem");
	char text[CERT_TEXT_BYTES] = "untouched";
	static uint8_t three[16384];

	(void)state;
	for (size_t i = 0; i < 3; i++)
		memcpy(three + i * ca.len, ca.ptr, ca.len);
	assert_int_equal(cert_check_authorities(bytes_make(three, 3 * ca.len), 3, text, sizeof(text)), ERR_OK);
	assert_string_equal(text, "");
	assert_int_equal(cert_check_authorities(bytes_make(three, 3 * ca.len), 2, text, sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_non_null(strstr(text, "more than 2 "));
	assert_int_equal(cert_check_authorities(cert_file("edge.pem"), 2, text, sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_non_null(strstr(text, "no CA's"));
	assert_int_equal(cert_check_authorities(bytes_make(ca.ptr, ca.len / 2), 2, text, sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_non_null(strstr(text, "cannot be read"));
}

static void
text_that_is_no_certificate_or_key_is_refused(void **state)
{
	static uint8_t huge[CERT_PEM_BYTES_MAX + 1];
	struct bytes edge = cert_file("edge.pem");
	struct bytes key = cert_file("edge.key");

	(void)state;
	assert_int_equal(check(BYTES_NONE, key, TLS_DUO_NOW_S, "no PEM"), ERR_TLS_BAD_CERTIFICATE);
	assert_int_equal(check(BYTES_LITERAL("hello"), key, TLS_DUO_NOW_S, "no PEM"),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_int_equal(check(key, key, TLS_DUO_NOW_S, "certificate"), ERR_TLS_BAD_CERTIFICATE);
	assert_int_equal(check(edge, edge, TLS_DUO_NOW_S, "private key"), ERR_TLS_BAD_KEY);
	assert_int_equal(check(edge, BYTES_NONE, TLS_DUO_NOW_S, "private key"), ERR_TLS_BAD_KEY);
	assert_int_equal(check(bytes_make(huge, sizeof(huge)), key, TLS_DUO_NOW_S, "64 KiB"),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_int_equal(check(edge, bytes_make(huge, sizeof(huge)), TLS_DUO_NOW_S, "64 KiB"),
			 ERR_TLS_BAD_KEY);
}

static void
every_cut_and_many_damages_give_a_verdict(void **state)
{
	struct bytes edge = cert_file("edge.pem");
	uint8_t damaged[4096];

	(void)state;
	for (size_t len = 0; len < edge.len - 1; len += 13)
		assert_int_not_equal(check(bytes_make(edge.ptr, len), cert_file("edge.key"),
					   TLS_DUO_NOW_S, ""),
				     ERR_OK);
	for (size_t at = 28; at < edge.len - 27; at += 5) {
		char text[CERT_TEXT_BYTES];

		memcpy(damaged, edge.ptr, edge.len);
		damaged[at] = damaged[at] == 'A' ? 'B' : 'A';
		/* The signature is the issuer's word and is not checked here, so some pass. */
		(void)cert_look(bytes_make(damaged, edge.len), cert_file("edge.key"),
				 TLS_DUO_NOW_S, fine, NULL, text, sizeof(text));
	}
}

static void
the_sentence_is_cut_at_the_room_given(void **state)
{
	char text[8] = "xxxxxxx";

	(void)state;
	assert_int_equal(cert_look(BYTES_NONE, BYTES_NONE, TLS_DUO_NOW_S, fine, NULL, text, 5),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_string_equal(text, "Ther");
	assert_int_equal(text[5], 'x');
	assert_int_equal(cert_look(BYTES_NONE, BYTES_NONE, TLS_DUO_NOW_S, fine, NULL, NULL, 0),
			 ERR_TLS_BAD_CERTIFICATE);
}

static enum err
add(struct tls_identity *identity, uint32_t listener, const char *name, char *text)
{
	char chain[32], key[32];

	snprintf(chain, sizeof(chain), "%s.pem", name);
	snprintf(key, sizeof(key), "%s.key", name);
	return tls_identity_add(identity, listener, cert_file(chain), cert_file(key), TLS_DUO_NOW_S, text,
				CERT_TEXT_BYTES);
}

static void
an_identity_refuses_what_is_unusable(void **state)
{
	struct tls_identity *identity = tls_identity_new();
	char text[CERT_TEXT_BYTES];

	(void)state;
	assert_int_equal(tls_identity_add(identity, 0, cert_file("edge.pem"), cert_file("wild.key"),
					  TLS_DUO_NOW_S, text, sizeof(text)),
			 ERR_TLS_KEY_MISMATCH);
	assert_int_equal(tls_identity_add(identity, 0, cert_file("edge.pem"), cert_file("edge.key"),
					  INT64_C(4102444800), text, sizeof(text)),
			 ERR_TLS_CERTIFICATE_EXPIRED);
	assert_non_null(strstr(text, "get a new one"));
	assert_int_equal(tls_identity_count(identity), 0);
	tls_identity_free(identity);
}

static void
an_identity_has_one_certificate_for_a_name_listener_and_kind(void **state)
{
	struct tls_identity *identity = tls_identity_new();
	char text[CERT_TEXT_BYTES];

	(void)state;
	assert_int_equal(add(identity, 0, "edge", text), ERR_OK);
	assert_int_equal(add(identity, 0, "edge", text), ERR_TLS_DUPLICATE);
	assert_non_null(strstr(text, "api.sluice.test"));
	assert_non_null(strstr(text, "ECDSA"));
	assert_int_equal(add(identity, 0, "rsa", text), ERR_OK); /* has api.sluice.test, too */
	assert_int_equal(add(identity, 0, "wild", text), ERR_OK);
	assert_int_equal(add(identity, 1, "edge", text), ERR_OK);
	assert_int_equal(tls_identity_count(identity), 4);
	tls_identity_free(identity);
}

static void
an_identity_is_bounded(void **state)
{
	static const char *const names[] = { "edge", "rsa", "wild", "chain" };
	struct tls_identity *identity = tls_identity_new();
	struct bytes edge = cert_file("edge.pem");
	static uint8_t padded[CERT_PEM_BYTES_MAX];
	char text[CERT_TEXT_BYTES];
	uint32_t listener = 0;

	(void)state;
	for (; listener < IDENTITY_LISTENERS_MAX; listener++)
		for (size_t i = 0; i < COUNT_OF(names); i++)
			assert_int_equal(add(identity, listener, names[i], text), ERR_OK);
	assert_int_equal(tls_identity_count(identity), IDENTITY_LISTENERS_MAX * COUNT_OF(names));
	tls_identity_free(identity);

	/* Text around a certificate is allowed. */
	memset(padded, '\n', sizeof(padded));
	memcpy(padded, edge.ptr, edge.len);
	identity = tls_identity_new();
	for (listener = 0; listener < IDENTITY_LISTENERS_MAX; listener++)
		assert_int_equal(tls_identity_add(identity, listener, bytes_make(padded, sizeof(padded)),
						  cert_file("edge.key"), TLS_DUO_NOW_S, text, sizeof(text)),
				 ERR_OK);
	tls_identity_free(identity);
}

static void
what_is_told_of_a_certificate_is_what_it_says(void **state)
{
	/* SHA-256 of its DER, and its time, as openssl x509 tells them. */
	static const uint8_t edge_print[] = { 0xdc, 0xcc, 0xc2, 0x24 };
	struct tls_identity *identity = tls_identity_new();
	const struct identity_facts *facts;
	char text[CERT_TEXT_BYTES];

	(void)state;
	assert_int_equal(add(identity, 3, "edge", text), ERR_OK);
	assert_int_equal(add(identity, 3, "rsa", text), ERR_OK);
	facts = tls_identity_facts(identity, 0);
	assert_int_equal(facts->listener, 3);
	assert_false(facts->is_rsa);
	assert_string_equal(facts->name, "api.sluice.test");
	assert_int_equal(facts->not_before_s, INT64_C(1795239817));
	assert_int_equal(facts->not_after_s, INT64_C(2584158217));
	assert_memory_equal(facts->fingerprint, edge_print, 4);
	assert_true(tls_identity_facts(identity, 1)->is_rsa);
	tls_identity_free(identity);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(usable_pairs_are_accepted),
		cmocka_unit_test(a_key_of_another_certificate_is_found),
		cmocka_unit_test(validity_is_checked_against_the_given_time),
		cmocka_unit_test(weak_and_encrypted_keys_are_refused),
		cmocka_unit_test(a_chain_out_of_order_is_refused),
		cmocka_unit_test(a_chain_that_no_message_has_room_for_is_refused),
		cmocka_unit_test(what_clients_are_believed_by_is_bounded),
		cmocka_unit_test(text_that_is_no_certificate_or_key_is_refused),
		cmocka_unit_test(every_cut_and_many_damages_give_a_verdict),
		cmocka_unit_test(the_sentence_is_cut_at_the_room_given),
		cmocka_unit_test(an_identity_refuses_what_is_unusable),
		cmocka_unit_test(an_identity_has_one_certificate_for_a_name_listener_and_kind),
		cmocka_unit_test(an_identity_is_bounded),
		cmocka_unit_test(what_is_told_of_a_certificate_is_what_it_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
