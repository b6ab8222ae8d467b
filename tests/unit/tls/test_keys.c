/* Certificates and keys that are replaced while handshakes and connections are there; what is left of old ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "cert_file.h"
#include "memory.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"
#include "tls_engine.h"

static const char *const edge_only[] = { "edge", NULL };
static const char *const rsa_only[] = { "rsa", NULL };
static const uint16_t versions[] = { 0x0303, 0x0304 };

static struct tls_duo duo;
static struct tls_duo other;

static void
replace(struct tls_context *context, const char *const *names)
{
	struct tls_identity *identity = tls_duo_identity(names);
	struct tls_keys *keys = tls_keys_new(identity, NULL);

	tls_identity_free(identity);
	assert_non_null(keys);
	tls_context_replace(context, keys);
}

/* Both certificates are for api.sluice.test; their first names differ. */
static void
expect_certificate(const struct tls_duo *of, const char *name)
{
	struct bytes got = tls_client_server_name(of->client);

	assert_int_equal(got.len, strlen(name));
	assert_memory_equal(got.ptr, name, got.len);
}

static void
new_handshakes_get_new_certificates_and_open_connections_do_not_notice(void **state)
{
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context *context = tls_duo_context(identity, 2, &seed, 0x11);

	(void)state;
	tls_identity_free(identity);
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = tls_duo_client_of(versions[v]);

		replace(context, edge_only);
		tls_duo_init(&duo, context, &config);
		assert_true(tls_duo_shake(&duo, 0));
		expect_certificate(&duo, "api.sluice.test");
		replace(context, rsa_only);
		/* Nobody needs the old ones. */
		assert_int_equal(tls_context_sweep(context), 1);
		tls_duo_init(&other, context, &config);
		assert_true(tls_duo_shake(&other, 0));
		expect_certificate(&other, "rsa.sluice.test");
		assert_true(tls_duo_exchange(&duo));
		assert_true(tls_duo_exchange(&other));
		tls_duo_fini(&duo);
		tls_duo_fini(&other);
	}
	tls_context_free(context);
}

/* At every step of a handshake. */
static void
a_handshake_ends_with_the_keys_that_it_began_with(void **state)
{
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context *context = tls_duo_context(identity, 2, &seed, 0x11);

	(void)state;
	tls_identity_free(identity);
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		struct tls_client_config config = tls_duo_client_of(versions[v]);
		bool reached_the_end = false;

		for (int at = 0; !reached_the_end; at++) {
			tls_duo_init(&duo, context, &config);
			for (int turn = 0; turn < at; turn++)
				reached_the_end = !tls_duo_turn(&duo, 0);
			replace(context, rsa_only);
			assert_int_equal(tls_context_sweep(context), tls_is_open(duo.server) ? 1 : 2);
			assert_true(tls_duo_shake(&duo, 0));
			expect_certificate(&duo, "api.sluice.test");
			assert_int_equal(tls_context_sweep(context), 1);
			assert_true(tls_duo_exchange(&duo));
			tls_duo_fini(&duo);
			replace(context, edge_only);
			assert_int_equal(tls_context_sweep(context), 1);
		}
	}
	tls_context_free(context);
}

static void
a_handshake_that_fails_or_is_given_up_holds_no_keys(void **state)
{
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_duo_identity(edge_only);
	struct tls_context *context = tls_duo_context(identity, 2, &seed, 0x11);
	struct tls_conn *silent = tls_accept(context, 0, false);
	struct tls_conn *broken = tls_accept(context, 0, false);
	struct bytes in = BYTES_LITERAL("GET / HTTP/1.1\r\n\r\n");
	uint8_t answer[256];
	struct tls_out out = { answer, sizeof(answer), 0 };
	enum err verdict = ERR_TLS_AGAIN;

	(void)state;
	tls_identity_free(identity);
	while (verdict == ERR_TLS_AGAIN)
		verdict = tls_engine_handshake(broken, &in, &out);
	assert_int_equal(verdict, ERR_TLS_BAD_RECORD);
	replace(context, rsa_only);
	assert_int_equal(tls_context_sweep(context), 2);
	tls_conn_free(silent);
	assert_int_equal(tls_context_sweep(context), 1);
	tls_conn_free(broken);
	tls_context_free(context);
}

static void
keys_give_back_what_signing_took_of_the_workers_memory(void **state)
{
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_duo_identity(rsa_only);
	struct tls_context *context = tls_duo_context(identity, 2, &seed, 0x11);
	struct tls_client_config config = tls_duo_client_of(0x0304);
	size_t blocks = 0;

	(void)state;
	tls_identity_free(identity);
	for (int i = 0; i < 4; i++) {
		tls_duo_init(&duo, context, &config);
		assert_true(tls_duo_shake(&duo, 0));
		tls_duo_fini(&duo);
		replace(context, rsa_only);
		assert_int_equal(tls_context_sweep(context), 1);
		/* Once: PSA's slots. */
		if (i > 0)
			assert_int_equal(tls_context_memory(context).blocks, blocks);
		blocks = tls_context_memory(context).blocks;
	}
	tls_context_free(context);
}

static void
add(struct tls_identity *identity, uint32_t listener, const char *chain, const char *key)
{
	char text[CERT_TEXT_BYTES];

	assert_int_equal(tls_identity_add(identity, listener, cert_file(chain), cert_file(key), CERT_ANY_TIME,
					  text, sizeof(text)),
			 ERR_OK);
}

static void
each_listener_has_its_own_certificates_and_default(void **state)
{
	static const struct {
		uint32_t listener;
		const char *host;
		const char *shown;
	} rows[] = {
		{ 0, "api.sluice.test", "api.sluice.test" },
		{ 0, "chain.sluice.test", "*.sluice.test" },
		{ 1, "api.sluice.test", "rsa.sluice.test" },
		{ 1, "chain.sluice.test", "chain.sluice.test" },
	};
	struct seeded seed = { 1 };
	struct tls_identity *identity = tls_identity_new();
	struct tls_context *context;

	(void)state;
	add(identity, 1, "rsa.pem", "rsa.key");
	add(identity, 0, "edge.pem", "edge.key");
	add(identity, 1, "chain.pem", "chain.key");
	add(identity, 0, "wild.pem", "wild.key");
	context = tls_duo_context(identity, 2, &seed, 0x11);
	tls_identity_free(identity);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct tls_client_config config = tls_duo_client_config();

		config.host = rows[i].host;
		tls_duo_init(&duo, context, &config);
		tls_conn_free(duo.server);
		duo.server = tls_accept(context, rows[i].listener, false);
		assert_true(tls_duo_shake(&duo, 0));
		expect_certificate(&duo, rows[i].shown);
		tls_duo_fini(&duo);
	}
	/* Without a name: what stands first. */
	for (uint32_t listener = 0; listener < 2; listener++) {
		struct tls_client_config config = tls_duo_client_config();

		config.host = NULL;
		tls_duo_init(&duo, context, &config);
		tls_conn_free(duo.server);
		duo.server = tls_accept(context, listener, false);
		assert_true(tls_duo_shake(&duo, 0));
		expect_certificate(&duo, listener == 0 ? "api.sluice.test" : "rsa.sluice.test");
		tls_duo_fini(&duo);
	}
	tls_context_free(context);
}

/* --- what is left in memory -------------------------------------------------------------------- */

#define TEXT_BYTES 4096

/* A file of this folder that nobody else in the process has read. */
static size_t
read_file(const char *name, uint8_t text[TEXT_BYTES])
{
	char path[512];
	FILE *file;
	size_t len;

	cert_path(name, path, sizeof(path));
	file = fopen(path, "rbe");
	assert_non_null(file);
	setvbuf(file, NULL, _IONBF, 0);
	len = fread(text, 1, TEXT_BYTES, file);
	fclose(file);
	assert_in_range(len, 100, TEXT_BYTES - 1);
	return len;
}

static int
value_of(uint8_t digit)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = digit != '\0' ? strchr(digits, digit) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

/* What stands between the first line and the last one of a PEM text, without base64. */
static size_t
decode(const uint8_t *text, size_t len, uint8_t der[TEXT_BYTES])
{
	const uint8_t *at = memchr(text, '\n', len);
	uint32_t bits = 0;
	size_t used = 0;
	int have = 0;

	for (; at < text + len && *at != '=' && *at != '-'; at++) {
		int value = value_of(*at);

		if (value < 0)
			continue;
		bits = bits << 6 | (uint32_t)value;
		have += 6;
		if (have >= 8) {
			have -= 8;
			der[used++] = (uint8_t)(bits >> have);
		}
	}
	return used;
}

struct traces {
	struct memory_pattern scalar; /* edge.key's private number */
	struct memory_pattern limbs;
	struct memory_pattern line;   /* of the text */
};

/* PKCS #8 of P-256: the private number is the first OCTET STRING of 32 bytes. */
static void
learn(struct traces *traces)
{
	uint8_t text[TEXT_BYTES], der[TEXT_BYTES];
	size_t len = read_file("edge.key", text);
	size_t der_len = decode(text, len, der);
	size_t at = 0;

	while (at + 34 < der_len && !(der[at] == 0x04 && der[at + 1] == 0x20))
		at++;
	assert_true(at + 34 < der_len);
	memory_mask(&traces->scalar, der + at + 2, 32);
	memory_reverse(&traces->scalar, &traces->limbs);
	/* The second line: the first one is alike in all keys. */
	memory_mask(&traces->line, (uint8_t *)memchr(text + 30, '\n', len) + 1, 32);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(der, sizeof(der));
}

static size_t
left(const struct traces *traces)
{
	return memory_count(&traces->scalar) + memory_count(&traces->limbs) + memory_count(&traces->line);
}

static struct tls_identity *
edge_from_file(void)
{
	struct tls_identity *identity = tls_identity_new();
	uint8_t chain[TEXT_BYTES], key[TEXT_BYTES];
	size_t chain_len = read_file("edge.pem", chain);
	size_t key_len = read_file("edge.key", key);
	char text[CERT_TEXT_BYTES];

	assert_int_equal(tls_identity_add(identity, 0, bytes_make(chain, chain_len), bytes_make(key, key_len),
					  CERT_ANY_TIME, text, sizeof(text)),
			 ERR_OK);
	explicit_bzero(key, sizeof(key));
	return identity;
}

/* Runs first: no other test may have read the file. */
static void
nothing_of_a_key_is_left_when_it_is_gone(void **state)
{
	struct seeded seed = { 1 };
	struct tls_client_config config = tls_duo_client_of(0x0304);
	struct tls_identity *identity;
	struct tls_context *context;
	struct traces traces;

	(void)state;
	if (!memory_is_plain())
		skip();
	learn(&traces);
	assert_int_equal(left(&traces), 0);
	identity = edge_from_file();
	assert_int_equal(memory_count(&traces.line), 1);
	assert_int_equal(memory_count(&traces.scalar) + memory_count(&traces.limbs), 0);
	context = tls_duo_context(identity, 2, &seed, 0x11);
	tls_identity_free(identity);
	assert_int_equal(memory_count(&traces.line), 0);
	assert_int_equal(memory_count(&traces.limbs), 1);
	tls_duo_init(&duo, context, &config);
	assert_true(tls_duo_shake(&duo, 0));
	replace(context, rsa_only);
	/* Wiped with the last handshake, not when somebody sweeps. */
	assert_int_equal(left(&traces), 0);
	assert_int_equal(tls_context_sweep(context), 1);
	tls_duo_fini(&duo);
	/* And as a whole: those that were in use to the end. */
	identity = edge_from_file();
	tls_context_replace(context, tls_keys_new(identity, NULL));
	tls_identity_free(identity);
	assert_int_equal(left(&traces), 1);
	tls_context_free(context);
	assert_int_equal(left(&traces), 0);
}

static void
nothing_of_a_key_that_is_refused_is_left(void **state)
{
	uint8_t chain[TEXT_BYTES], key[TEXT_BYTES];
	struct tls_identity *identity;
	char text[CERT_TEXT_BYTES];
	struct traces traces;
	size_t len, key_len;

	(void)state;
	if (!memory_is_plain())
		skip();
	learn(&traces);
	identity = tls_identity_new();
	len = read_file("wild.pem", chain);
	key_len = read_file("edge.key", key);
	assert_int_equal(tls_identity_add(identity, 0, bytes_make(chain, len), bytes_make(key, key_len),
					  CERT_ANY_TIME, text, sizeof(text)),
			 ERR_TLS_KEY_MISMATCH);
	explicit_bzero(key, sizeof(key));
	assert_int_equal(left(&traces), 0);
	tls_identity_free(identity);
}

static void
keys_are_locked_and_in_no_core_dump(void **state)
{
	struct tls_identity *identity;
	struct tls_keys *keys;
	struct memory_flags flags;

	(void)state;
	if (!memory_is_plain())
		skip();
	identity = edge_from_file();
	keys = tls_keys_new(identity, NULL);
	flags = memory_flags(identity_key_pem(identity, 0).ptr);
	assert_true(flags.is_undumped);
	assert_int_equal(flags.is_locked, tls_identity_is_locked(identity));
	flags = memory_flags(keys->pairs);
	assert_true(flags.is_undumped);
	assert_int_equal(flags.is_locked, tls_identity_is_locked(identity));
	assert_true(flags.is_locked);
	tls_keys_free(keys);
	tls_identity_free(identity);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_of_a_key_is_left_when_it_is_gone),
		cmocka_unit_test(nothing_of_a_key_that_is_refused_is_left),
		cmocka_unit_test(keys_are_locked_and_in_no_core_dump),
		cmocka_unit_test(new_handshakes_get_new_certificates_and_open_connections_do_not_notice),
		cmocka_unit_test(a_handshake_ends_with_the_keys_that_it_began_with),
		cmocka_unit_test(a_handshake_that_fails_or_is_given_up_holds_no_keys),
		cmocka_unit_test(keys_give_back_what_signing_took_of_the_workers_memory),
		cmocka_unit_test(each_listener_has_its_own_certificates_and_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
