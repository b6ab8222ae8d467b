/*
 * Our records against OpenSSL's libssl: two of its ends make a handshake, one of them goes, ours takes its
 * keys and its place. Both versions, each cipher, as server and as client; KeyUpdate, tickets, renegotiation,
 * closing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/units.h"
#include "cert_file.h"
#include "tls/records.h"

#define WIRE_BYTES_MAX (256 * 1024)

static const char *const suites_12[AEAD_CIPHERS] = { "ECDHE-ECDSA-AES128-GCM-SHA256",
						     "ECDHE-ECDSA-AES256-GCM-SHA384",
						     "ECDHE-ECDSA-CHACHA20-POLY1305" };
static const char *const suites_13[AEAD_CIPHERS] = { "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
						     "TLS_CHACHA20_POLY1305_SHA256" };

static _Alignas(64) struct keyring ring;
static struct records r;
static SSL *peer; /* the OpenSSL end that stays */
static uint8_t wire[WIRE_BYTES_MAX]; /* from the peer, not opened yet */
static size_t wire_len;
static size_t tickets;
static uint8_t text[3 * RECORDS_DATA_BYTES_MAX];

/* What the key log says (the NSS format). */
static uint8_t client_secret[48];
static uint8_t server_secret[48];
static uint8_t master_secret[48];

static void
read_hex(const char *hex, uint8_t *to)
{
	for (size_t i = 0; i < 48 && hex[0] != '\0' && hex[1] != '\0'; i++, hex += 2)
		to[i] = (uint8_t)(bytes_hex_digit((uint8_t)hex[0]) << 4 | bytes_hex_digit((uint8_t)hex[1]));
}

static void
take_key(const SSL *ssl, const char *line)
{
	static const struct {
		const char *label;
		uint8_t *to;
	} labels[] = { { "CLIENT_TRAFFIC_SECRET_0 ", client_secret },
		       { "SERVER_TRAFFIC_SECRET_0 ", server_secret },
		       { "CLIENT_RANDOM ", master_secret } };

	(void)ssl;
	for (size_t i = 0; i < COUNT_OF(labels); i++)
		if (strncmp(line, labels[i].label, strlen(labels[i].label)) == 0)
			read_hex(strrchr(line, ' ') + 1, labels[i].to);
}

static SSL *
make(bool is_client, bool is_13, enum aead_cipher cipher)
{
	SSL_CTX *ctx = SSL_CTX_new(is_client ? TLS_client_method() : TLS_server_method());
	int version = is_13 ? TLS1_3_VERSION : TLS1_2_VERSION;
	SSL *ssl;

	assert_non_null(ctx);
	assert_int_equal(SSL_CTX_set_min_proto_version(ctx, version), 1);
	assert_int_equal(SSL_CTX_set_max_proto_version(ctx, version), 1);
	assert_int_equal(is_13 ? SSL_CTX_set_ciphersuites(ctx, suites_13[cipher]) :
				 SSL_CTX_set_cipher_list(ctx, suites_12[cipher]),
			 1);
	if (!is_client) {
		assert_int_equal(SSL_CTX_use_certificate_file(ctx, SUPPORT_CERT_FOLDER "/edge.pem",
							      SSL_FILETYPE_PEM),
				 1);
		assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, SUPPORT_CERT_FOLDER "/edge.key",
							     SSL_FILETYPE_PEM),
				 1);
	}
	SSL_CTX_set_keylog_callback(ctx, take_key);
	ssl = SSL_new(ctx);
	assert_non_null(ssl);
	SSL_CTX_free(ctx);
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (is_client)
		SSL_set_connect_state(ssl);
	else
		SSL_set_accept_state(ssl);
	return ssl;
}

static bool
move(SSL *from, SSL *to)
{
	uint8_t bytes[4096];
	int got = BIO_read(SSL_get_wbio(from), bytes, sizeof(bytes));

	if (got <= 0)
		return false;
	assert_int_equal(BIO_write(SSL_get_rbio(to), bytes, got), got);
	return true;
}

/* A handshake; then ours is the client or the server of it. */
static void
begin(bool is_13, enum aead_cipher cipher, bool is_client)
{
	SSL *client = make(true, is_13, cipher);
	SSL *server = make(false, is_13, cipher);
	struct records_master master;
	bool moved;

	do {
		(void)SSL_do_handshake(client);
		moved = move(client, server);
		(void)SSL_do_handshake(server);
		/* Ours reads the server's tickets itself. */
		if (!SSL_is_init_finished(client) || !is_client)
			moved |= move(server, client);
	} while (moved);
	assert_true(SSL_is_init_finished(client) && SSL_is_init_finished(server));
	if (is_13) {
		/* OpenSSL's server has sent two tickets. */
		records_begin_13(&r, cipher, is_client ? client_secret : server_secret,
				 is_client ? server_secret : client_secret, is_client ? 0 : 2, is_client);
	} else {
		memcpy(master.secret, master_secret, sizeof(master.secret));
		assert_int_equal(SSL_get_client_random(client, master.client_random, 32), 32);
		assert_int_equal(SSL_get_server_random(client, master.server_random, 32), 32);
		records_begin_12(&r, cipher, &master, is_client);
	}
	peer = is_client ? server : client;
	SSL_free(is_client ? client : server);
	wire_len = 0;
	tickets = 0;
}

static void
end(void)
{
	records_end(&r, &ring);
	SSL_free(peer);
}

/* Everything that the peer has sent, opened in pieces of that size; data goes to `to`, whose length comes
 * back. */
static enum err
open_all(uint8_t *to, size_t *len, size_t piece)
{
	static struct piece pieces[WIRE_BYTES_MAX];
	struct records_opened opened;
	int got;

	*len = 0;
	while ((got = BIO_read(SSL_get_wbio(peer), wire + wire_len, (int)(sizeof(wire) - wire_len))) > 0)
		wire_len += (size_t)got;
	for (;;) {
		struct pieces in = { pieces, 0 };
		enum err verdict;

		for (size_t at = 0; at < wire_len; at += piece)
			pieces[in.count++] =
				(struct piece){ wire + at, wire_len - at < piece ? wire_len - at : piece };
		verdict = records_open(&r, &ring, &in, 0, &opened);
		if (verdict != ERR_OK)
			return verdict;
		if (opened.kind == RECORDS_DATA) {
			memcpy(to + *len, wire + opened.offset, opened.len);
			*len += opened.len;
		}
		tickets += opened.kind == RECORDS_TICKET;
		wire_len -= opened.taken;
		memmove(wire, wire + opened.taken, wire_len);
	}
}

static void
answer(void)
{
	uint8_t said[RECORDS_ANSWER_BYTES_MAX];
	size_t written;

	assert_int_equal(records_answer(&r, &ring, said, sizeof(said), &written), ERR_OK);
	if (written > 0)
		assert_int_equal(BIO_write(SSL_get_rbio(peer), said, (int)written), written);
}

static void
assert_arrives_here(size_t len, size_t piece)
{
	static uint8_t got[sizeof(text)];
	size_t got_len;

	assert_int_equal(SSL_write(peer, text, (int)len), len);
	assert_int_equal(open_all(got, &got_len, piece), ERR_MORE);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, text, len);
	answer();
}

static void
assert_arrives_there(size_t len)
{
	static uint8_t record[RECORDS_DATA_BYTES_MAX + 64];
	static uint8_t got[sizeof(text)];
	size_t head = records_head_bytes(&r);
	size_t read = 0;

	for (size_t at = 0; at < len;) {
		size_t take = records_size(&r, len - at, 1460, 0);
		struct piece pieces[2] = { { record + head, take / 2 },
					   { record + head + take / 2, take - take / 2 } };
		struct pieces plain = { pieces, 2 };
		int total = (int)(head + take + records_tail_bytes(&r));

		memcpy(record + head, text + at, take);
		assert_int_equal(records_seal(&r, &ring, &plain, record, record + head + take, 0), ERR_OK);
		assert_int_equal(BIO_write(SSL_get_rbio(peer), record, total), total);
		at += take;
	}
	while (read < len) {
		int n = SSL_read(peer, got + read, (int)(sizeof(got) - read));

		assert_true(n > 0);
		read += (size_t)n;
	}
	assert_int_equal(read, len);
	assert_memory_equal(got, text, len);
}

static void
for_each(void (*test)(bool is_13, bool is_client))
{
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 11 + i / 253);
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++) {
		if (!keyring_init_kind(&ring, kind))
			continue;
		for (unsigned int i = 0; i < 4 * AEAD_CIPHERS; i++) {
			begin(i % 2 == 0, i / 4, i % 4 >= 2);
			test(i % 2 == 0, i % 4 >= 2);
			end();
		}
		keyring_fini(&ring);
	}
}

static void
check_data(bool is_13, bool is_client)
{
	static const size_t sizes[] = { 1, 100, 1460, RECORDS_DATA_BYTES_MAX, sizeof(text) };

	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		assert_arrives_there(sizes[i]);
		assert_arrives_here(sizes[i], i == 3 ? 1 : 1460);
	}
	assert_int_equal(tickets, is_13 && is_client ? 2 : 0);
}

static void
data_arrives_in_both_directions(void **state)
{
	(void)state;
	for_each(check_data);
}

static void
check_updates(bool is_13, bool is_client)
{
	(void)is_client;
	if (!is_13)
		return;
	assert_arrives_here(10, 3);
	/* Theirs, which asks for ours; then ours, which asks for theirs. */
	assert_int_equal(SSL_key_update(peer, SSL_KEY_UPDATE_REQUESTED), 1);
	assert_arrives_here(1000, 7);
	assert_arrives_there(1000);
	records_renew(&r, true);
	answer();
	assert_arrives_there(2000);
	assert_arrives_here(2000, 100);
	assert_int_equal(SSL_key_update(peer, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
	assert_arrives_here(3000, 1);
	assert_arrives_there(3000);
}

static void
keys_are_updated_from_either_side(void **state)
{
	(void)state;
	for_each(check_updates);
}

static void
check_close(bool is_13, bool is_client)
{
	uint8_t bytes[100];
	size_t len;

	(void)is_13;
	(void)is_client;
	assert_arrives_here(10, 10);
	records_close(&r);
	answer();
	assert_int_equal(SSL_read(peer, bytes, sizeof(bytes)), 0);
	assert_int_equal(SSL_get_error(peer, 0), SSL_ERROR_ZERO_RETURN);
	assert_true(SSL_shutdown(peer) >= 0);
	assert_int_equal(open_all(bytes, &len, 5), ERR_TLS_CLOSED);
}

static void
closing_is_understood_both_ways(void **state)
{
	(void)state;
	for_each(check_close);
}

static void
check_alert(bool is_13, bool is_client)
{
	uint8_t bytes[100];
	size_t len;

	(void)is_13;
	(void)is_client;
	/* Damage on the way here: the peer reads our alert, whose name it knows. */
	assert_int_equal(SSL_write(peer, text, 50), 50);
	wire_len = (size_t)BIO_read(SSL_get_wbio(peer), wire, sizeof(wire));
	wire[wire_len - 1] ^= 1;
	assert_int_equal(open_all(bytes, &len, 9), ERR_TLS_NOT_AUTHENTIC);
	answer();
	assert_true(SSL_read(peer, bytes, sizeof(bytes)) <= 0);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_AD_REASON_OFFSET + SSL3_AD_BAD_RECORD_MAC);
	ERR_clear_error();
}

static void
damage_is_told_with_the_right_alert(void **state)
{
	(void)state;
	for_each(check_alert);
}

static void
check_renegotiation(bool is_13, bool is_client)
{
	uint8_t bytes[100];
	size_t len;

	(void)is_client;
	if (is_13)
		return;
	assert_int_equal(SSL_renegotiate(peer), 1);
	(void)SSL_do_handshake(peer);
	assert_int_equal(open_all(bytes, &len, 50), ERR_MORE);
	assert_true(records_owes(&r));
	answer();
	/* OpenSSL then gives up. */
	assert_true(SSL_read(peer, bytes, sizeof(bytes)) <= 0);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
	ERR_clear_error();
}

static void
renegotiation_is_refused(void **state)
{
	(void)state;
	for_each(check_renegotiation);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_arrives_in_both_directions),
		cmocka_unit_test(keys_are_updated_from_either_side),
		cmocka_unit_test(closing_is_understood_both_ways),
		cmocka_unit_test(damage_is_told_with_the_right_alert),
		cmocka_unit_test(renegotiation_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
