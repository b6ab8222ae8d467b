#include "tls_pairing.h"

#include <mbedtls/sha256.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>

#include "base/check.h"
#include "cert_file.h"
#include "tls/conn.h"
#include "tls_engine.h"

#define TURNS_MAX 200000
#define PEM_BYTES 8192

static struct bytes
pem_of(const char *name)
{
	char file[32];

	snprintf(file, sizeof(file), "%s.pem", name);
	return cert_file(file);
}

/* Two authorities in one bundle. */
static struct bytes
both(struct bytes one, struct bytes other)
{
	static uint8_t text[PEM_BYTES];

	CHECK(one.len + other.len <= sizeof(text));
	memcpy(text, one.ptr, one.len);
	memcpy(text + one.len, other.ptr, other.len);
	return bytes_make(text, one.len + other.len);
}

static void
add_authority(struct tls_authorities *authorities, const char *name, struct bytes believed)
{
	struct bytes pem = believed.len > 0	   ? believed :
			   strcmp(name, "ca") == 0 ? both(pem_of("ca"), pem_of("backends")) :
						     pem_of(name);
	uint32_t skipped;
	char text[256];

	CHECK(authorities != NULL);
	CHECK(tls_authorities_add(authorities, name, pem, &skipped, text, sizeof(text)) == ERR_OK);
}

void
pairing_believe(struct pairing *p, const char *const *names)
{
	struct tls_keys *keys;

	tls_authorities_free(p->authorities);
	p->authorities = tls_authorities_new();
	for (; *names != NULL; names++)
		add_authority(p->authorities, *names, BYTES_NONE);
	keys = tls_keys_new(NULL, p->authorities);
	CHECK(keys != NULL);
	tls_context_replace(p->ours, keys);
}

static void
start_server(struct pairing *p, const char *chain, uint8_t ticket_secret)
{
	const char *names[] = { chain, NULL };

	p->identity = tls_duo_identity(names);
	p->theirs = tls_duo_context(p->identity, 2, &p->seed, ticket_secret);
}

static void
stop_server(struct pairing *p)
{
	tls_context_free(p->theirs);
	tls_identity_free(p->identity);
}

void
pairing_open(struct pairing *p, const struct pairing_options *options)
{
	struct tls_context_config config = { .conns_max = 2,
					     .connects_max = 2,
					     .sessions_max = options->sessions_max,
					     .entropy = seeded_entropy,
					     .owner = &p->seed };

	memset(p, 0, offsetof(struct pairing, to_server));
	p->seed.state = 3;
	p->authorities = tls_authorities_new();
	p->authority = options->authority;
	add_authority(p->authorities, p->authority, options->believed);
	config.authorities = p->authorities;
	tls_engine_choose(&config);
	p->ours = tls_context_new(&config, NULL);
	CHECK(p->ours != NULL);
	start_server(p, options->chain, 0x11);
	pairing_set_time(p, options->now_s != 0 ? options->now_s : TLS_PAIRING_NOW_S);
}

void
pairing_close(struct pairing *p)
{
	tls_context_free(p->ours);
	tls_authorities_free(p->authorities);
	stop_server(p);
}

void
pairing_set_time(struct pairing *p, int64_t now_s)
{
	tls_set_time(p->ours, now_s);
	tls_set_time(p->theirs, now_s);
}

void
pairing_restart_server(struct pairing *p, const char *chain, uint8_t ticket_secret)
{
	stop_server(p);
	start_server(p, chain, ticket_secret);
}

struct tls_target
pairing_target(const char *name)
{
	struct tls_target target = { .id = 7, .authority = PAIRING_AUTHORITY };

	snprintf(target.name, sizeof(target.name), "%s", name);
	return target;
}

static int
blind(void *owner, uint8_t *to, size_t len)
{
	(void)owner;
	memset(to, 7, len);
	return 0;
}

struct tls_target
pairing_pinned(const char *name)
{
	struct tls_target target = { .id = 8, .authority = TLS_NO_AUTHORITY, .pin_count = 1 };
	struct instance *instance = instance_new(256 * 1024, blind, NULL);
	struct instance *before;
	struct bytes pem = pem_of(name);
	mbedtls_x509_crt crt;
	static char text[PEM_BYTES];

	CHECK(instance != NULL && pem.len < sizeof(text));
	memcpy(text, pem.ptr, pem.len);
	text[pem.len] = '\0';
	before = instance_enter(instance);
	mbedtls_x509_crt_init(&crt);
	CHECK(mbedtls_x509_crt_parse(&crt, (const unsigned char *)text, pem.len + 1) == 0);
	CHECK(mbedtls_sha256(crt.pk_raw.p, crt.pk_raw.len, target.pins[0], 0) == 0);
	mbedtls_x509_crt_free(&crt);
	instance_leave(before);
	instance_free(instance);
	return target;
}

/* --- a connection of each --------------------------------------------------------------------- */

void
pairing_connect(struct pairing *p, const struct tls_target *target)
{
	struct tls_target named = *target;

	if (p->only_12)
		mbedtls_ssl_conf_max_tls_version(&p->theirs->config, MBEDTLS_SSL_VERSION_TLS1_2);
	p->to_server.from = p->to_server.to = 0;
	p->to_client.from = p->to_client.to = 0;
	p->at_server = p->at_client = (struct tls_stream){ .len = 0 };
	if (named.authority == PAIRING_AUTHORITY)
		named.authority = tls_find_authority(p->ours, bytes_from_text(p->authority));
	p->client = tls_connect(p->ours, &named);
	p->server = tls_accept(p->theirs, 0, false);
	CHECK(p->server != NULL);
	p->client_verdict = p->client != NULL ? ERR_TLS_AGAIN : ERR_TLS_MEMORY;
	p->server_verdict = ERR_TLS_AGAIN;
}

void
pairing_part(struct pairing *p)
{
	tls_conn_free(p->client);
	tls_conn_free(p->server);
}

bool
pairing_turn(struct pairing *p, size_t piece)
{
	bool moved = tls_duo_step(p->client, false, &p->client_verdict, &p->to_client, &p->to_server, piece);

	return tls_duo_step(p->server, false, &p->server_verdict, &p->to_server, &p->to_client, piece) || moved;
}

bool
pairing_shake(struct pairing *p, size_t piece)
{
	for (int turn = 0;; turn++) {
		bool moved = pairing_turn(p, piece);

		CHECK(turn < TURNS_MAX); /* it goes round in circles */
		if (p->client_verdict == ERR_OK && p->server_verdict == ERR_OK)
			return true;
		if (!moved)
			return false;
	}
}

static bool
carry(struct pairing *p, struct tls_conn *from, struct tls_conn *to, struct tls_duo_wire *wire, size_t piece)
{
	struct tls_stream *sender = to == p->server ? &p->at_client : &p->at_server;
	struct tls_stream *reader = to == p->server ? &p->at_server : &p->at_client;
	struct bytes text = BYTES_LITERAL("a word");
	struct tls_out plain = { p->got, sizeof(p->got), 0 };
	struct tls_out out = tls_duo_back(wire, 0);
	uint8_t answer[256];
	struct tls_out said = { answer, sizeof(answer), 0 };

	if (tls_stream_seal(sender, from, &text, &out) != ERR_OK)
		return false;
	tls_duo_put(wire, out);
	while (wire->to > wire->from || reader->plain_left > 0) {
		struct bytes in = tls_duo_front(wire, piece);
		enum err verdict = tls_stream_open(reader, to, &in, &plain, &said);

		if (verdict != ERR_OK && verdict != ERR_MORE)
			return false;
		tls_duo_taken(wire, in, piece);
	}
	return said.used == 0 && bytes_equal(bytes_make(p->got, plain.used), BYTES_LITERAL("a word"));
}

bool
pairing_exchange(struct pairing *p, size_t piece)
{
	return carry(p, p->client, p->server, &p->to_server, piece) &&
	       carry(p, p->server, p->client, &p->to_client, piece);
}

enum err
pairing_read(struct pairing *p)
{
	struct bytes in = tls_duo_front(&p->to_client, 0);
	struct tls_out plain = { p->got, sizeof(p->got), 0 };
	uint8_t answer[256];
	struct tls_out said = { answer, sizeof(answer), 0 };
	enum err verdict = tls_stream_open(&p->at_client, p->client, &in, &plain, &said);

	tls_duo_taken(&p->to_client, in, 0);
	return verdict;
}
