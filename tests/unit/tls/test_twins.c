/*
 * Two ends of stock mbedTLS shake hands, and each has a twin: our records, with its keys. What an end says its
 * twin says in the same bytes, and each is read by the other end and by its twin. Every suite that we offer, both
 * ways, by each implementation of the ciphers. mbedTLS has no KeyUpdate: test_records_openssl.c,
 * test_records_rules.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include "base/units.h"
#include "cert_file.h"
#include "seeded.h"
#include "tls/instance.h"
#include "tls_forge.h"

#define ARENA_BYTES (1024u * KIB)
#define NOW_S INT64_C(1893456000)
#define WIRE_BYTES (32 * KIB)
#define PADDED_TO 16 /* the inner plaintext, by mbedTLS in TLS 1.3 */

struct end {
	mbedtls_ssl_config config;
	mbedtls_ssl_context ssl;
	struct bytes in; /* not read yet */
	uint8_t out[WIRE_BYTES]; /* written since the last call */
	size_t out_len;
	struct records twin;
	struct tls_forge forge; /* what it seals, by mbedTLS's ciphers alone */
};

struct suite {
	uint16_t version;
	int number; /* IANA */
	enum aead_cipher cipher;
	const char *chain; /* of the server: its kind of key */
};

static const struct suite suites[] = {
	{ 0x0304, 0x1301, AEAD_AES_128_GCM, "edge" },
	{ 0x0304, 0x1302, AEAD_AES_256_GCM, "edge" },
	{ 0x0304, 0x1303, AEAD_CHACHA20_POLY1305, "edge" },
	{ 0x0303, 0xc02b, AEAD_AES_128_GCM, "edge" },
	{ 0x0303, 0xc02c, AEAD_AES_256_GCM, "edge" },
	{ 0x0303, 0xcca9, AEAD_CHACHA20_POLY1305, "edge" },
	{ 0x0303, 0xc02f, AEAD_AES_128_GCM, "rsa" },
	{ 0x0303, 0xc030, AEAD_AES_256_GCM, "rsa" },
	{ 0x0303, 0xcca8, AEAD_CHACHA20_POLY1305, "rsa" },
};

static _Alignas(64) struct keyring ring;
static struct instance *instance;
static struct seeded seed;
static const struct suite *suite;
static mbedtls_x509_crt chain;
static mbedtls_pk_context key;
static struct end client;
static struct end server;
static uint8_t text[RECORDS_DATA_BYTES_MAX];

/* What the client's end exports. */
static struct records_master master;
static uint8_t client_secret[DERIVE_HASH_BYTES_MAX];
static uint8_t server_secret[DERIVE_HASH_BYTES_MAX];

static int
put(void *opaque, const unsigned char *from, size_t len)
{
	struct end *end = opaque;

	assert_true(end->out_len + len <= sizeof(end->out));
	memcpy(end->out + end->out_len, from, len);
	end->out_len += len;
	return (int)len;
}

static int
get(void *opaque, unsigned char *to, size_t len)
{
	struct end *end = opaque;

	if (end->in.len == 0)
		return MBEDTLS_ERR_SSL_WANT_READ;
	if (len > end->in.len)
		len = end->in.len;
	memcpy(to, end->in.ptr, len);
	bytes_advance(&end->in, len);
	return (int)len;
}

static void
keep_keys(void *opaque, mbedtls_ssl_key_export_type type, const unsigned char *secret, size_t len,
	  const unsigned char client_random[32], const unsigned char server_random[32], mbedtls_tls_prf_types prf)
{
	(void)opaque;
	(void)prf;
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET)
		memcpy(master.secret, secret, len);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET)
		memcpy(client_secret, secret, len);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET)
		memcpy(server_secret, secret, len);
	memcpy(master.client_random, client_random, 32);
	memcpy(master.server_random, server_random, 32);
}

/* mbedTLS wants the 0 behind it, counted. */
static struct bytes
pem_of(const char *ending)
{
	static uint8_t pem[16 * KIB];
	char file[32];
	struct bytes found;

	snprintf(file, sizeof(file), "%s.%s", suite->chain, ending);
	found = cert_file(file);
	assert_true(found.len < sizeof(pem));
	memcpy(pem, found.ptr, found.len);
	pem[found.len] = '\0';
	return bytes_make(pem, found.len + 1);
}

static void
parse_pair(void)
{
	struct bytes pem = pem_of("pem");

	mbedtls_x509_crt_init(&chain);
	assert_int_equal(mbedtls_x509_crt_parse(&chain, pem.ptr, pem.len), 0);
	pem = pem_of("key");
	mbedtls_pk_init(&key);
	assert_int_equal(mbedtls_pk_parse_key(&key, pem.ptr, pem.len, NULL, 0, instance_random, instance), 0);
}

static void
make(struct end *end, bool is_client)
{
	static int offered[2];
	mbedtls_ssl_config *config = &end->config;

	memset(end, 0, sizeof(*end));
	offered[0] = suite->number;
	mbedtls_ssl_config_init(config);
	assert_int_equal(mbedtls_ssl_config_defaults(config,
						     is_client ? MBEDTLS_SSL_IS_CLIENT : MBEDTLS_SSL_IS_SERVER,
						     MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT),
			 0);
	mbedtls_ssl_conf_rng(config, instance_random, instance);
	mbedtls_ssl_conf_authmode(config, MBEDTLS_SSL_VERIFY_NONE);
	mbedtls_ssl_conf_min_tls_version(config, (mbedtls_ssl_protocol_version)suite->version);
	mbedtls_ssl_conf_max_tls_version(config, (mbedtls_ssl_protocol_version)suite->version);
	mbedtls_ssl_conf_ciphersuites(config, offered);
	if (!is_client)
		assert_int_equal(mbedtls_ssl_conf_own_cert(config, &chain, &key), 0);
	mbedtls_ssl_init(&end->ssl);
	assert_int_equal(mbedtls_ssl_setup(&end->ssl, config), 0);
	assert_int_equal(mbedtls_ssl_set_hostname(&end->ssl, NULL), 0);
	mbedtls_ssl_set_bio(&end->ssl, end, put, get, NULL);
	if (is_client)
		mbedtls_ssl_set_export_keys_cb(&end->ssl, keep_keys, NULL);
}

static void
run(struct end *end, struct end *other)
{
	int failed;

	end->out_len = 0;
	failed = mbedtls_ssl_handshake(&end->ssl);
	assert_true(failed == 0 || failed == MBEDTLS_ERR_SSL_WANT_READ);
	other->in = bytes_make(end->out, end->out_len);
}

static void
make_twin(struct end *end, bool is_client)
{
	if (suite->version == 0x0304)
		records_begin_13(&end->twin, suite->cipher, is_client ? client_secret : server_secret,
				 is_client ? server_secret : client_secret, 0, is_client);
	else
		records_begin_12(&end->twin, suite->cipher, &master, is_client);
	end->forge = tls_forge_make(&end->twin, &end->twin.send);
}

static void
begin(void)
{
	parse_pair();
	make(&client, true);
	make(&server, false);
	/* One more than either version takes. */
	for (int turn = 0; turn < 4; turn++) {
		run(&client, &server);
		run(&server, &client);
	}
	assert_true(mbedtls_ssl_is_handshake_over(&client.ssl) && mbedtls_ssl_is_handshake_over(&server.ssl));
	assert_int_equal(client.in.len + server.in.len, 0);
	make_twin(&client, true);
	make_twin(&server, false);
}

static void
drop(struct end *end)
{
	records_end(&end->twin, &ring);
	mbedtls_ssl_free(&end->ssl);
	mbedtls_ssl_config_free(&end->config);
}

static void
end(void)
{
	drop(&client);
	drop(&server);
	mbedtls_pk_free(&key);
	mbedtls_x509_crt_free(&chain);
}

static void
each(void (*test)(struct end *from, struct end *to))
{
	struct instance *before = instance_enter(instance);

	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++) {
		if (!keyring_init_kind(&ring, kind))
			continue;
		for (size_t i = 0; i < 2 * COUNT_OF(suites); i++) {
			suite = &suites[i / 2];
			begin();
			test(i % 2 == 0 ? &client : &server, i % 2 == 0 ? &server : &client);
			end();
		}
		keyring_fini(&ring);
	}
	instance_leave(before);
}

/* A record of our twin's, whose content is of that length. */
static struct bytes
seal(struct end *from, size_t len)
{
	static uint8_t wire[WIRE_BYTES];
	size_t head = records_head_bytes(&from->twin);
	struct piece piece[2] = { { wire + head, len / 3 }, { wire + head + len / 3, len - len / 3 } };
	struct pieces plain = { piece, 2 };

	memcpy(wire + head, text, len);
	assert_int_equal(records_seal(&from->twin, &ring, &plain, wire, wire + head + len, 0), ERR_OK);
	return bytes_make(wire, head + len + records_tail_bytes(&from->twin));
}

static enum err
open_copy(struct end *to, struct bytes record, uint8_t *bytes, struct records_opened *opened)
{
	struct piece piece[2] = { { bytes, 7 }, { bytes + 7, record.len - 7 } };
	struct pieces in = { piece, 2 };

	memcpy(bytes, record.ptr, record.len);
	return records_open(&to->twin, &ring, &in, 0, opened);
}

static void
assert_ours_is_read(struct end *to, struct bytes record, size_t len)
{
	static uint8_t got[RECORDS_DATA_BYTES_MAX];

	to->in = record;
	for (size_t at = 0; at < len;) {
		int more = mbedtls_ssl_read(&to->ssl, got + at, len - at);

		assert_true(more > 0);
		at += (size_t)more;
	}
	assert_memory_equal(got, text, len);
	/* And nothing else was in it. */
	assert_int_equal(mbedtls_ssl_read(&to->ssl, got, 1), MBEDTLS_ERR_SSL_WANT_READ);
	assert_int_equal(to->in.len, 0);
}

static void
assert_theirs_is_read(struct end *to, struct bytes record, size_t len)
{
	static uint8_t bytes[WIRE_BYTES];
	struct records_opened opened;

	assert_int_equal(open_copy(to, record, bytes, &opened), ERR_OK);
	assert_int_equal(opened.kind, len > 0 ? RECORDS_DATA : RECORDS_NOTHING);
	assert_int_equal(opened.taken, record.len);
	assert_int_equal(opened.len, len);
	assert_memory_equal(bytes + opened.offset, text, len);
	assert_false(records_owes(&to->twin));
}

/* mbedTLS has no room for the type behind a whole fragment, and fills what it protects up to PADDED_TO. */
static size_t
padding_of(size_t len)
{
	return suite->version == 0x0304 ? (PADDED_TO - (len + 1) % PADDED_TO) % PADDED_TO : 0;
}

static void
check_data(struct end *from, struct end *to)
{
	static const size_t sizes[] = { 0, 1, 14, 15, 16, 255, 0, 1460, 8191, 16382, 16383, 16384 };
	static uint8_t same[WIRE_BYTES];

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct bytes ours = BYTES_NONE, theirs;
		size_t len = sizes[i];
		int written;

		from->out_len = 0;
		written = mbedtls_ssl_write(&from->ssl, text, len);
		assert_int_equal(written, suite->version == 0x0304 && len == 16384 ? 16383 : len);
		theirs = bytes_make(from->out, from->out_len);
		assert_int_equal(tls_forge_seal(&from->forge, 23, bytes_make(text, (size_t)written),
						padding_of((size_t)written), same),
				 theirs.len);
		assert_memory_equal(same, theirs.ptr, theirs.len);
		if (len == 0) {
			/* Ours never says nothing, and hears it. */
			from->twin.send.sequence++;
			assert_ours_is_read(to, theirs, 0);
		} else {
			ours = seal(from, len);
			if (padding_of(len) == 0 && (size_t)written == len)
				assert_true(bytes_equal(ours, theirs));
			assert_ours_is_read(to, ours, len);
		}
		assert_theirs_is_read(to, theirs, (size_t)written);
	}
}

static void
twins_make_the_same_records_and_read_each_others(void **state)
{
	(void)state;
	each(check_data);
}

/* Of both ways at once: neither counts the other's records. */
static void
check_turns(struct end *from, struct end *to)
{
	for (size_t turn = 0; turn < 20; turn++) {
		struct end *one = turn % 3 == 0 ? to : from;
		struct end *other = one == from ? to : from;

		one->out_len = 0;
		assert_int_equal(mbedtls_ssl_write(&one->ssl, text, 31), 31);
		assert_true(bytes_equal(seal(one, 31), bytes_make(one->out, one->out_len)));
		assert_ours_is_read(other, bytes_make(one->out, one->out_len), 31);
		assert_theirs_is_read(other, bytes_make(one->out, one->out_len), 31);
	}
}

static void
twins_count_each_way_by_itself(void **state)
{
	(void)state;
	each(check_turns);
}

/* What the twin owes. */
static struct bytes
answer(struct end *of, uint8_t said[RECORDS_ANSWER_BYTES_MAX])
{
	size_t written;

	assert_int_equal(records_answer(&of->twin, &ring, said, RECORDS_ANSWER_BYTES_MAX, &written), ERR_OK);
	assert_true(written > 0);
	return bytes_make(said, written);
}

static void
check_damage(struct end *from, struct end *to)
{
	static uint8_t damaged[WIRE_BYTES];
	static uint8_t bytes[WIRE_BYTES];
	uint8_t said[RECORDS_ANSWER_BYTES_MAX];
	struct records_opened opened;
	struct bytes record, ours, theirs;

	record = seal(from, 100);
	memcpy(damaged, record.ptr, record.len);
	damaged[record.len - 1] ^= 1;
	record = bytes_make(damaged, record.len);
	to->out_len = 0;
	to->in = record;
	assert_int_equal(mbedtls_ssl_read(&to->ssl, bytes, sizeof(bytes)), MBEDTLS_ERR_SSL_INVALID_MAC);
	theirs = bytes_make(to->out, to->out_len);
	assert_int_equal(open_copy(to, record, bytes, &opened), ERR_TLS_NOT_AUTHENTIC);
	ours = answer(to, said);
	if (suite->version == 0x0303)
		assert_true(bytes_equal(ours, theirs));
	from->in = ours;
	assert_int_equal(mbedtls_ssl_read(&from->ssl, bytes, sizeof(bytes)), MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
	assert_int_equal(from->ssl.MBEDTLS_PRIVATE(in_msg)[1], MBEDTLS_SSL_ALERT_MSG_BAD_RECORD_MAC);
	assert_int_equal(open_copy(from, theirs, bytes, &opened), ERR_TLS_ALERT);
	assert_false(records_owes(&from->twin));
}

static void
twins_refuse_damage_with_the_same_alert(void **state)
{
	(void)state;
	each(check_damage);
}

static void
check_close(struct end *from, struct end *to)
{
	uint8_t said[RECORDS_ANSWER_BYTES_MAX];
	uint8_t bytes[256];
	struct records_opened opened;
	struct bytes ours, theirs;

	from->out_len = 0;
	assert_int_equal(mbedtls_ssl_close_notify(&from->ssl), 0);
	theirs = bytes_make(from->out, from->out_len);
	records_close(&from->twin);
	ours = answer(from, said);
	if (suite->version == 0x0303)
		assert_true(bytes_equal(ours, theirs));
	to->in = ours;
	assert_int_equal(mbedtls_ssl_read(&to->ssl, bytes, sizeof(bytes)), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
	assert_int_equal(open_copy(to, theirs, bytes, &opened), ERR_TLS_CLOSED);
}

static void
twins_close_alike(void **state)
{
	(void)state;
	each(check_close);
}

static int
set_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7 + i / 251);
	seed.state = 1;
	instance = instance_new(ARENA_BYTES, seeded_entropy, &seed);
	assert_non_null(instance);
	instance_set_time(instance, NOW_S);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	instance_free(instance);
	return 0;
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(twins_make_the_same_records_and_read_each_others),
		cmocka_unit_test(twins_count_each_way_by_itself),
		cmocka_unit_test(twins_refuse_damage_with_the_same_alert),
		cmocka_unit_test(twins_close_alike),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
