/*
 * Every fault of TLS that ends a connection, through a whole worker, where it accepts and where it connects: its
 * verdict and no other is counted, under its name; its alert is on the wire; the connection is closed; what comes
 * behind it is nobody's. Each verdict of err.def that TLS can end by has a row, and so has each line of the tables
 * in lib/tls/README.md.
 *
 * The other end is an honest one, and a meddler (fuzz/meddler.h) changes below the protection what it says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/units.h"
#include "cert_file.h"
#include "hand.h"
#include "meddler.h"
#include "segment.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"

#define EDGE_PORT 443

#define TLS12 0x0303
#define TLS13 0x0304

#define NO_ALERT (-1)

/* Edits come in front of the peer's records by number: of a client's, in TLS 1.2, hello, key exchange,
 * ChangeCipherSpec, Finished; in TLS 1.3 hello, ChangeCipherSpec, Finished. Of a server's: as it says them. */
#define OPEN "\xff" /* behind all of them */

/* What edits are not enough for. */
enum special {
	AS_IT_IS,
	WORN,         /* the peer's key has protected too many records */
	NO_ROOM,      /* TLS's memory is full when the handshake has begun */
	NO_ROOM_AT_ALL,
	NO_RANDOM,    /* the router's generator says no */
	CUT,          /* the peer ends TCP, and has not ended TLS */
	SMTP,         /* the client offers a protocol that we do not speak, */
	P384,         /* a group alone that is not ours */
	HONEST,       /* none yet: the test says the rest */
	BY_TRUST,     /* the pod's certificate is not to be believed: trust */
};

/* By whom: one that comes to the router, or one that the router comes to. */
#define AS_CLIENT 1u
#define AS_POD 2u
#define AS_ANY 3u

struct row {
	const char *how;
	unsigned int as;
	uint16_t version;      /* 0: both */
	enum err verdict;
	int alert;
	const char *edits;
	size_t len;
	unsigned int times;    /* of the last edit, besides once */
	enum special special;
	const char *shows;     /* a client: a pair of tests/support/cert, "" none, where one is asked for */
	enum town_trust trust; /* of a pod */
};

#define EDITS(text) .edits = text, .len = sizeof(text) - 1

/* --- what the router says to the peer --------------------------------------------------------- */

static struct {
	bool to_pods;
	uint8_t bytes[65536];
	size_t len;
	size_t read;
	uint32_t resets;
	uint32_t ends;
} heard;

static uint32_t
two_octets(const uint8_t *from)
{
	return (uint32_t)from[0] << 8 | from[1];
}

/* None is lost or comes twice. */
static void
see(struct town *town, bool from_router, const struct pkt *frame)
{
	struct hand_segment s;

	(void)town;
	if (!from_router || !hand_read_segment(frame, &s) || (s.src_port != EDGE_PORT) != heard.to_pods)
		return;
	CHECK(heard.len + s.payload.len <= sizeof(heard.bytes));
	memcpy(heard.bytes + heard.len, s.payload.ptr, s.payload.len);
	heard.len += s.payload.len;
	/* Behind its end is what answers those who have not heard of it. */
	heard.resets += (s.flags & SEGMENT_RST) != 0 && heard.ends == 0;
	heard.ends += (s.flags & SEGMENT_FIN) != 0;
}

static void
listen_to(bool to_pods)
{
	memset(&heard, 0, sizeof(heard));
	heard.to_pods = to_pods;
	hand.town->saw = see;
}

static struct bytes
not_read(void)
{
	return bytes_make(heard.bytes + heard.read, heard.len - heard.read);
}

/* --- memory ------------------------------------------------------------------------------------------ */

#define FILLERS_MAX 8192
static struct {
	void *block[FILLERS_MAX];
	size_t count;
} fillers;

static void
fill(struct tls_context *context)
{
	struct arena *arena = instance_arena(context->instance);

	for (size_t bytes = 64 * 1024 * 1024; bytes >= 16; bytes /= 2)
		while (fillers.count < FILLERS_MAX &&
		       (fillers.block[fillers.count] = arena_alloc(arena, bytes)) != NULL)
			fillers.count++;
}

static void
empty(struct tls_context *context)
{
	while (fillers.count > 0)
		arena_release(instance_arena(context->instance), fillers.block[--fillers.count]);
}

/* --- a peer and its meddler ---------------------------------------------------------------------- */

static struct {
	struct tls_client *client; /* one of them */
	struct tls_conn *server;
	enum err verdict;
	struct tls_stream stream;  /* of server */
	mbedtls_ssl_export_keys_t *keep_keys;
	struct meddler_secrets secrets;
	struct tls_client_secrets router; /* of it that connects: how its alert can be read */
	struct meddler meddler;
	uint8_t edits[65536];
	uint8_t changed[MEDDLER_BYTES_MAX];
	size_t changed_len;
	struct town_conn *pod;
	struct tls_context *to_fill; /* when its first octets are with the router */
} peer;

static bool
is_over(enum err verdict)
{
	return verdict != ERR_OK && verdict != ERR_MORE && verdict != ERR_TLS_AGAIN && verdict != ERR_TLS_FULL;
}

static bool
is_open(void)
{
	return peer.client != NULL ? tls_client_is_open(peer.client) : tls_is_open(peer.server);
}

/* Takes all that was heard; appends what there is to say. */
static void
take_step(struct tls_out *out)
{
	static uint8_t dropped[65536];
	struct bytes in = not_read();
	struct tls_out plain = { dropped, sizeof(dropped), 0 };

	do {
		if (peer.client != NULL)
			peer.verdict = is_open() ? tls_client_open(peer.client, &in, &plain, out) :
						   tls_client_step(peer.client, &in, out);
		else
			peer.verdict = is_open() ? tls_stream_open(&peer.stream, peer.server, &in, &plain, out) :
						   tls_handshake(peer.server, &in, out);
	} while (peer.verdict != ERR_MORE && !is_over(peer.verdict));
	heard.read = heard.len;
}

static void
send_octets(struct bytes wire)
{
	struct town_conn *c = peer.client != NULL ? hand.client : peer.pod;

	while (wire.len > 0 && c != NULL && c->is_used) {
		size_t n = wire.len < 1400 ? wire.len : 1400;
		struct pkt *p = pkt_alloc(&hand.town->town_payload);

		memcpy(pkt_append(p, (uint32_t)n), wire.ptr, n);
		if (tcp_send(hand.town->town_tcp, c->conn, p, false) != ERR_OK)
			return; /* the router has closed */
		bytes_advance(&wire, n);
	}
}

/* What the meddler has made goes out at once. */
static void
send_changed(void)
{
	struct bytes wire = bytes_make(peer.changed, peer.changed_len);

	if (peer.to_fill != NULL && wire.len > 3) {
		send_octets(bytes_make(wire.ptr, 3));
		bytes_advance(&wire, 3);
		hand_go(20 * MS);
		fill(peer.to_fill);
		peer.to_fill = NULL;
	}
	send_octets(wire);
	peer.changed_len = 0;
}

static void
pass(struct bytes flight)
{
	while (flight.len > 0) {
		size_t len = 5 + two_octets(flight.ptr + 3);

		CHECK(len <= flight.len && peer.changed_len < sizeof(peer.changed) / 2);
		peer.changed_len += meddler_pass(&peer.meddler, bytes_make(flight.ptr, len),
						 peer.changed + peer.changed_len);
		bytes_advance(&flight, len);
	}
}

static void
tell_secrets(void)
{
	const struct tls_client_secrets *all;

	if (peer.client == NULL)
		return;
	all = tls_client_secrets(peer.client);
	peer.secrets.master = all->master;
	memcpy(peer.secrets.handshake, all->client_handshake, sizeof(peer.secrets.handshake));
	memcpy(peer.secrets.application, all->client_application, sizeof(peer.secrets.application));
}

/* Until nothing moves any more. */
static void
talk(void)
{
	static uint8_t flight[65536];
	size_t before;

	do {
		struct tls_out out = { flight, sizeof(flight), 0 };

		before = heard.len;
		if (!is_over(peer.verdict))
			take_step(&out);
		tell_secrets();
		pass(bytes_make(flight, out.used));
		send_changed();
		hand_go(20 * MS);
	} while (heard.len > before);
}

/* What is left of the edits, and behind it, in the same segment, what nobody may take for good. */
static void
finish_talk(const struct row *row)
{
	static const char ask[] = "GET /v1/models HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY "\r\n\r\n";
	static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
	struct bytes text = peer.client != NULL ? BYTES_LITERAL(ask) : BYTES_LITERAL(answer);
	struct tls_forge *writes = &peer.meddler.writes;
	size_t written;

	if (is_open())
		meddler_enter(&peer.meddler, MEDDLER_APPLICATION);
	while ((written = meddler_add(&peer.meddler, peer.changed + peer.changed_len)) > 0)
		peer.changed_len += written;
	if (row->special != CUT && peer.meddler.epoch != MEDDLER_PLAIN)
		peer.changed_len += tls_forge_seal(writes, 23, text, 0, peer.changed + peer.changed_len);
	send_changed();
	if (row->special == CUT)
		tcp_shutdown(hand.town->town_tcp, peer.client != NULL ? hand.client->conn : peer.pod->conn);
	hand_go(100 * MS);
}

/* With the last one as often as the row says. */
static struct bytes
edits_of(const struct row *row)
{
	size_t last = 0, len = row->len;

	CHECK(len + row->times * len <= sizeof(peer.edits));
	if (len > 0)
		memcpy(peer.edits, row->edits, len);
	for (unsigned int i = 0; i < row->times; i++, len += row->len - last)
		memcpy(peer.edits + len, row->edits + last, row->len - last);
	return bytes_make(peer.edits, len);
}

/* --- the router accepts -------------------------------------------------------------------------------- */

static struct worker *
router(void)
{
	return hand.town->worker;
}

/* Of a row's client: the first of them is the town's own, which is open and silent. */
static struct tls_conn *
edge_of_last(void)
{
	struct tls_conn *last = NULL;

	for (uint32_t i = 0; i < router()->config.counts.clients; i++)
		if (router()->clients[i].state != CLIENT_FREE && router()->clients[i].tls != NULL)
			last = router()->clients[i].tls;
	return last;
}

/* old.pem is of the second. */
static struct bytes
both_authorities(void)
{
	static uint8_t text[16384];
	struct bytes ca = cert_file("ca.pem"), backends = cert_file("backends.pem");

	CHECK(ca.len + backends.len <= sizeof(text));
	memcpy(text, ca.ptr, ca.len);
	memcpy(text + ca.len, backends.ptr, backends.len);
	return bytes_make(text, ca.len + backends.len);
}

static int
no_random(void *owner, unsigned char *to, size_t len)
{
	(void)owner, (void)to, (void)len;
	return -1;
}

static void
believe_certificates_only(void)
{
	struct tls_identity *identity = tls_identity_new();
	char text[CERT_TEXT_BYTES];

	assert_int_equal(tls_identity_add(identity, 0, cert_file("edge.pem"), cert_file("edge.key"), CERT_ANY_TIME,
					  text, sizeof(text)), ERR_OK);
	assert_int_equal(tls_identity_add_client_ca(identity, 0, both_authorities(), text, sizeof(text)), ERR_OK);
	tls_context_replace(hand.town->tls, tls_keys_new(identity, NULL));
	tls_identity_free(identity);
	(void)tls_context_sweep(hand.town->tls);
}

static struct tls_client *
client_of(const struct row *row, uint16_t version)
{
	static const char *const smtp[] = { "smtp", NULL };
	static const uint16_t p384[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };
	static const int suites[] = { 0x1301, 0xc02b, 0 };
	struct tls_client_config config = tls_duo_client_config();
	char file[32];

	config.version_min = config.version_max = version;
	config.suites = suites;
	config.now_s = (int64_t)(tls_town_epoch_ns(hand.town) / NSEC_PER_SEC);
	if (row->special == SMTP)
		config.alpn = smtp;
	if (row->special == P384)
		config.groups = p384;
	if (row->shows != NULL && row->shows[0] != '\0') {
		snprintf(file, sizeof(file), "%s.pem", row->shows);
		config.cert_pem = cert_file(file);
		snprintf(file, sizeof(file), "%s.key", row->shows);
		config.key_pem = cert_file(file);
	}
	return tls_client_new(&config);
}

static void
attack_as_client(const struct row *row, uint16_t version)
{
	struct town_plan plan = hand_plan();

	plan.is_h2 = false;
	plan.is_tls = true;
	plan.is_https = true; /* when old.pem has run out */
	hand_begin(&plan);
	hand_go(100 * MS);
	worker_publish_counters(router()); /* and the time */
	if (row->shows != NULL)
		believe_certificates_only();
	hand_connect(1);
	listen_to(false);
	peer.client = client_of(row, version);
	assert_non_null(peer.client);
	meddler_begin(&peer.meddler, edits_of(row), &peer.secrets, AEAD_AES_128_GCM, version == TLS13, true);
	if (row->special == NO_ROOM_AT_ALL)
		fill(hand.town->tls);
	if (row->special == NO_RANDOM)
		mbedtls_ssl_conf_rng(&hand.town->tls->config, no_random, NULL);
	peer.to_fill = row->special == NO_ROOM ? hand.town->tls : NULL;
	talk();
	if (row->special == WORN)
		edge_of_last()->records.receive.sequence = RECORDS_GCM_MAX;
	finish_talk(row);
}

/* --- the router connects -------------------------------------------------------------------------------- */

/* mbedtls_ssl_export_keys_t, in front of the library's own. */
static void
overhear(void *opaque, mbedtls_ssl_key_export_type type, const unsigned char *secret, size_t len,
	 const unsigned char client_random[32], const unsigned char server_random[32], mbedtls_tls_prf_types prf)
{
	CHECK(len <= DERIVE_HASH_BYTES_MAX);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_HANDSHAKE_TRAFFIC_SECRET)
		memcpy(peer.secrets.handshake, secret, len);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_SERVER_APPLICATION_TRAFFIC_SECRET)
		memcpy(peer.secrets.application, secret, len);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_HANDSHAKE_TRAFFIC_SECRET)
		memcpy(peer.router.client_handshake, secret, len);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS1_3_CLIENT_APPLICATION_TRAFFIC_SECRET)
		memcpy(peer.router.client_application, secret, len);
	if (type == MBEDTLS_SSL_KEY_EXPORT_TLS12_MASTER_SECRET) {
		memcpy(peer.secrets.master.secret, secret, len);
		memcpy(peer.secrets.master.client_random, client_random, 32);
		memcpy(peer.secrets.master.server_random, server_random, 32);
	}
	peer.keep_keys(opaque, type, secret, len, client_random, server_random, prf);
}

static void
ask_for_a_backend(void)
{
	char request[512];

	snprintf(request, sizeof(request),
		 "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY "\r\n"
		 "content-length: %zu\r\n\r\n%s",
		 strlen(HAND_CHAT), HAND_CHAT);
	hand_say(bytes_from_text(request));
	for (int i = 0; i < 100 && peer.pod == NULL; i++) {
		hand_go(MS);
		for (uint32_t k = 0; k < TOWN_CONNS_MAX && peer.pod == NULL; k++)
			if (hand.town->conns[k].is_used && hand.town->conns[k].is_backend)
				peer.pod = &hand.town->conns[k];
	}
	assert_non_null(peer.pod);
}

static struct tls_conn *
edge_to_pod(void)
{
	for (uint32_t i = 0; i < router()->config.counts.upstreams; i++)
		if (router()->upstreams[i].state != UPSTREAM_FREE)
			return router()->upstreams[i].tls;
	return NULL;
}

static void
attack_as_pod(const struct row *row, uint16_t version)
{
	struct town_plan plan = hand_plan();
	mbedtls_ssl_context *ssl;

	plan.is_h2 = false;
	plan.is_https = true;
	plan.is_pods_tls_by_hand = true;
	plan.trust[0] = row->trust;
	hand_begin(&plan);
	listen_to(true);
	mbedtls_ssl_conf_max_tls_version(&hand.town->town_tls->config, (mbedtls_ssl_protocol_version)version);
	tls_set_time(hand.town->town_tls, (int64_t)(tls_town_epoch_ns(hand.town) / NSEC_PER_SEC));
	peer.server = tls_accept(hand.town->town_tls, row->trust, false);
	assert_non_null(peer.server);
	ssl = &peer.server->handshake->ssl;
	peer.keep_keys = ssl->MBEDTLS_PRIVATE(f_export_keys);
	mbedtls_ssl_set_export_keys_cb(ssl, overhear, peer.server->handshake);
	meddler_begin(&peer.meddler, edits_of(row), &peer.secrets, AEAD_AES_128_GCM, version == TLS13, false);
	if (row->special == NO_ROOM_AT_ALL)
		fill(hand.town->upstream_tls);
	peer.to_fill = row->special == NO_ROOM ? hand.town->upstream_tls : NULL;
	ask_for_a_backend();
	hand_go(20 * MS);
	talk();
	if (row->special == WORN)
		edge_to_pod()->records.receive.sequence = RECORDS_GCM_MAX;
	if (row->special == HONEST)
		meddler_enter(&peer.meddler, MEDDLER_APPLICATION);
	else
		finish_talk(row);
}

/* --- its alert ------------------------------------------------------------------------------------------- */

/* The content of a sealed record of the router's, with any of the keys that it may have had. */
static bool
unseal(struct bytes record, bool is_13, uint8_t *type, uint8_t *to, int *len)
{
	const struct tls_client_secrets *all = peer.client != NULL ? tls_client_secrets(peer.client) :
								     &peer.router;
	const uint8_t *secrets[] = { all->client_handshake, all->client_application, all->server_handshake,
				     all->server_application };

	for (int k = 0; k < (is_13 ? 4 : 2); k++) {
		struct records r;

		if (is_13)
			records_begin_13(&r, AEAD_AES_128_GCM, secrets[k], secrets[k], 0, false);
		else
			records_begin_12(&r, AEAD_AES_128_GCM, &peer.secrets.master, k == 0);
		for (uint64_t sequence = 0; sequence < 8; sequence++) {
			struct tls_forge forge = tls_forge_make(&r, &r.receive);

			forge.way.sequence = sequence;
			*len = tls_forge_open(&forge, record, type, to);
			if (*len >= 0)
				return true;
		}
	}
	return false;
}

struct alert {
	int number;
	bool is_sealed;
};

/* The only one among its records, behind all others; NO_ALERT: there is none. */
static struct alert
alert_on_the_wire(bool is_13)
{
	static uint8_t text[65536];
	struct alert alert = { NO_ALERT, false };

	for (size_t at = 0; at < heard.len;) {
		struct bytes record = bytes_make(heard.bytes + at, 5 + two_octets(heard.bytes + at + 3));
		uint8_t type = record.ptr[0];
		int len = (int)record.len - 5;
		bool is_sealed = type == 23 || (type == 21 && len != 2);

		CHECK(at + record.len <= heard.len);
		at += record.len;
		memcpy(text, record.ptr + 5, record.len - 5);
		assert_true(!is_sealed || unseal(record, is_13, &type, text, &len));
		assert_int_equal(alert.number, NO_ALERT);
		if (type == 21) {
			assert_int_equal(len, 2);
			alert = (struct alert){ text[1], is_sealed };
		}
	}
	return alert;
}

/* As the client reads it, with the keys that it should have. */
static int
alert_as_read(void)
{
	uint8_t said[4096];
	struct tls_out out = { said, sizeof(said), 0 };

	if (!is_over(peer.verdict))
		take_step(&out);
	if (peer.verdict == ERR_TLS_CLOSED)
		return ALERT_CLOSE_NOTIFY;
	return peer.verdict == ERR_TLS_ALERT ? tls_client_alert(peer.client) : NO_ALERT;
}

/* --- judgement --------------------------------------------------------------------------------------------- */

/* TLS's counters as metrics have them, each by its name. */
static uint64_t
count_all(uint64_t by_verdict[ERR_COUNT])
{
	const struct shm_worker *line = shm_worker(&hand.town->shm, 0);
	uint64_t sum = 0;

	worker_publish_counters(router());
	for (unsigned int e = ERR_MORE + 1; e < ERR_COUNT; e++) {
		by_verdict[e] = atomic_load(&line->counters[e]);
		if (strncmp(err_name((enum err)e), "TLS_", 4) == 0)
			sum += by_verdict[e];
	}
	return sum;
}

static uint64_t
requests(void)
{
	return router()->counters[counter_at(COUNTER_REQUESTS)];
}

/* What the row's fault came under, so does the alert: in TLS 1.3 the peer's records from the third on, and its
 * certificates, are protected, in TLS 1.2 what comes when all is open. */
static bool
is_about_protected(const struct row *row, uint16_t version)
{
	if (row->len > 0)
		return (uint8_t)row->edits[0] >= (version == TLS13 ? 2 : 0xff);
	return version == TLS13 && (row->shows != NULL || row->special == BY_TRUST);
}

static void
say_what_is_there(const struct row *row, bool is_client, uint16_t version, const uint64_t *counted,
		  struct alert alert)
{
	print_message("%s, as a %s of %04x: alert %d%s on the wire, %u ends, %u resets, %llu requests\n", row->how,
		      is_client ? "client" : "pod", version, alert.number, alert.is_sealed ? ", sealed," : "",
		      heard.ends, heard.resets, (unsigned long long)requests());
	for (unsigned int e = ERR_MORE + 1; e < ERR_COUNT; e++)
		if (counted[e] > 0)
			print_message("\t%s %llu\n", err_name((enum err)e), (unsigned long long)counted[e]);
}

static void
judge(const struct row *row, bool is_client, uint16_t version)
{
	bool is_reset = row->special == NO_ROOM_AT_ALL; /* nothing of TLS is there to say it with */
	uint64_t counted[ERR_COUNT];
	uint64_t sum = count_all(counted);
	struct alert alert = alert_on_the_wire(version == TLS13);
	bool is_sealed = row->alert != NO_ALERT && is_about_protected(row, version);

	if (counted[row->verdict] != 1 || sum != 1 || alert.number != row->alert || alert.is_sealed != is_sealed ||
	    heard.ends != !is_reset)
		say_what_is_there(row, is_client, version, counted, alert);
	assert_int_equal(counted[row->verdict], 1);
	assert_int_equal(sum, 1);
	assert_int_equal(alert.number, row->alert);
	assert_int_equal(alert.is_sealed, is_sealed);
	assert_int_equal(heard.ends, !is_reset);
	assert_int_equal(heard.resets, is_reset);
	if (is_client) {
		assert_int_equal(alert_as_read(), row->alert);
		assert_null(hand.client);
		assert_int_equal(router()->clients_used, 1); /* the town's own */
		assert_int_equal(requests(), 0);
	} else {
		assert_int_equal(router()->upstreams_used, 0);
		assert_memory_equal(hand.client->in, "HTTP/1.1 50", 11);
	}
}

/* --- the faults ---------------------------------------------------------------------------------------------- */

#define SAY(type, n, bytes) OPEN "\x05" type n bytes
#define EMPTY_DATA SAY("\x17", "\x00", "")
#define WARNING SAY("\x15", "\x02", "\x01\x5a")
#define UPDATE "\x18\x00\x00\x01"

static const struct row of_records[] = {
	{ "a record of another type", AS_ANY, 0, ERR_TLS_BAD_MESSAGE, 10,
	  EDITS(OPEN "\x06\x06\x14\x03\x03\x00\x01\x01") },
	{ "a content of another type", AS_ANY, TLS13, ERR_TLS_BAD_MESSAGE, 10, EDITS(SAY("\x18", "\x01", "x")) },
	{ "a content without a type", AS_ANY, TLS13, ERR_TLS_BAD_MESSAGE, 10, EDITS(SAY("\x00", "\x00", "")) },
	{ "a message of another type", AS_ANY, 0, ERR_TLS_BAD_MESSAGE, 10,
	  EDITS(SAY("\x16", "\x05", "\x0b\x00\x00\x01x")) },
	{ "an empty message", AS_ANY, 0, ERR_TLS_BAD_MESSAGE, 10, EDITS(SAY("\x16", "\x00", "")) },
	{ "an empty alert", AS_ANY, 0, ERR_TLS_BAD_MESSAGE, 10, EDITS(SAY("\x15", "\x00", "")) },
	{ "data between the parts of a KeyUpdate", AS_ANY, TLS13, ERR_TLS_BAD_MESSAGE, 10,
	  EDITS(SAY("\x16", "\x02", "\x18\x00") SAY("\x17", "\x01", "x")) },
	{ "a message behind a KeyUpdate", AS_ANY, TLS13, ERR_TLS_BAD_MESSAGE, 10,
	  EDITS(SAY("\x16", "\x0a", UPDATE "\x00" UPDATE "\x00")) },
	{ "an alert of three octets", AS_ANY, 0, ERR_TLS_BAD_MESSAGE, 50,
	  EDITS(SAY("\x15", "\x03", "\x01\x00\x00")) },
	{ "a KeyUpdate of two octets", AS_ANY, TLS13, ERR_TLS_BAD_MESSAGE, 50,
	  EDITS(SAY("\x16", "\x06", "\x18\x00\x00\x02\x00\x00")) },
	{ "a KeyUpdate of a third kind", AS_ANY, TLS13, ERR_TLS_BAD_MESSAGE, 47,
	  EDITS(SAY("\x16", "\x05", UPDATE "\x02")) },
	{ "a hello of 16 MB", AS_CLIENT, TLS12, ERR_TLS_BAD_MESSAGE, 47,
	  EDITS(SAY("\x16", "\x05", "\x01\xff\xff\xffx")) },
	{ "a ticket of 16 MB", AS_POD, TLS13, ERR_TLS_BAD_MESSAGE, 47,
	  EDITS(SAY("\x16", "\x05", "\x04\xff\xff\xffx")) },
	{ "a record of another version", AS_ANY, TLS12, ERR_TLS_BAD_RECORD, 70,
	  EDITS(OPEN "\x06\x05\x17\x03\x01\x00\x40") },
	{ "a record that is too long", AS_ANY, 0, ERR_TLS_RECORD_TOO_LONG, 22,
	  EDITS(OPEN "\x06\x05\x17\x03\x03\x48\x01") },
	{ "content that is too long", AS_ANY, 0, ERR_TLS_RECORD_TOO_LONG, 22, EDITS(OPEN "\x0a\x17\xfb" "x") },
	{ "a record in the clear", AS_ANY, 0, ERR_TLS_NOT_AUTHENTIC, 20,
	  EDITS(OPEN "\x06\x25\x17\x03\x03\x00\x20GET / HTTP/1.1\r\nhost: edge......\r\n") },
	{ "a record without a tag", AS_ANY, 0, ERR_TLS_NOT_AUTHENTIC, 20,
	  EDITS(OPEN "\x06\x07\x17\x03\x03\x00\x02xx") },
	{ "empty records", AS_ANY, 0, ERR_TLS_FLOOD, 10, EDITS(EMPTY_DATA), .times = 32 },
	{ "warnings", AS_ANY, 0, ERR_TLS_FLOOD, 10, EDITS(WARNING), .times = 32 },
	{ "a worn key", AS_ANY, 0, ERR_TLS_WORN, 0, EDITS(OPEN), .special = WORN },
	{ "a fatal alert", AS_ANY, 0, ERR_TLS_ALERT, NO_ALERT, EDITS(SAY("\x15", "\x02", "\x02\x50")) },
	{ "an end of TCP alone", AS_CLIENT, 0, ERR_TLS_TRUNCATED, 0, EDITS(OPEN), .special = CUT },
};

static const struct row of_handshakes[] = {
	{ "a fatal alert first", AS_ANY, 0, ERR_TLS_ALERT, NO_ALERT, EDITS("\x00\x05\x15\x02\x02\x28") },
	{ "no TLS at all", AS_ANY, 0, ERR_TLS_BAD_RECORD, 10, EDITS("\x00\x06\x12GET / HTTP/1.1\r\n\r\n") },
	{ "a length beyond any", AS_ANY, 0, ERR_TLS_BAD_RECORD, 22, EDITS("\x00\x06\x05\x16\x03\x03\xff\xff") },
	{ "data first", AS_ANY, 0, ERR_TLS_BAD_MESSAGE, 10, EDITS("\x00\x05\x17\x01x") },
	{ "an old version", AS_ANY, TLS12, ERR_TLS_NO_OVERLAP, 70, EDITS("\x00\x00\x00\x05\x02") },
	{ "a hello cut short", AS_ANY, 0, ERR_TLS_BAD_MESSAGE, 50, EDITS("\x00\x12\x00\x26\x01") },
	{ "a group of strangers", AS_CLIENT, 0, ERR_TLS_NO_OVERLAP, 40, .special = P384 },
	{ "a protocol of strangers", AS_CLIENT, 0, ERR_TLS_NO_PROTOCOL, 120, .special = SMTP },
	{ "warnings first", AS_ANY, 0, ERR_TLS_FLOOD, 10, EDITS("\x00\x05\x15\x02\x01\x5a"), .times = 200 },
	{ "no key exchange", AS_CLIENT, TLS12, ERR_TLS_BAD_MESSAGE, 10, EDITS("\x01\x03") },
	{ "no certificate", AS_POD, TLS12, ERR_TLS_BAD_MESSAGE, 10, EDITS("\x01\x03") },
	{ "no extensions", AS_POD, TLS13, ERR_TLS_BAD_MESSAGE, 10, EDITS("\x02\x03") },
	{ "a suite that was not offered", AS_POD, TLS13, ERR_TLS_BAD_MESSAGE, 47, EDITS("\x00\x00\x00\x48\x07") },
	{ "a Finished that is wrong", AS_CLIENT, TLS12, ERR_TLS_BAD_MESSAGE, 51, EDITS("\x03\x00\x00\x05\x01") },
	{ "a Finished that is wrong", AS_CLIENT, TLS13, ERR_TLS_BAD_MESSAGE, 51, EDITS("\x02\x00\x00\x05\x01") },
	{ "a Finished that was damaged", AS_CLIENT, TLS12, ERR_TLS_BAD_RECORD, 20, EDITS("\x03\x08\x00\x08\x01") },
	{ "a Finished that was damaged", AS_CLIENT, TLS13, ERR_TLS_BAD_RECORD, 20, EDITS("\x02\x08\x00\x08\x01") },
	{ "a damaged record of the handshake", AS_POD, TLS13, ERR_TLS_BAD_RECORD, 20,
	  EDITS("\x02\x08\x00\x08\x01") },
	{ "no memory", AS_CLIENT, 0, ERR_TLS_MEMORY, 80, .special = NO_ROOM },
	{ "no memory", AS_POD, TLS12, ERR_TLS_MEMORY, 80, .special = NO_ROOM },
	/* mbedTLS's own word for keys that it cannot derive. */
	{ "no memory", AS_POD, TLS13, ERR_TLS_MEMORY, 40, .special = NO_ROOM },
	{ "no random numbers", AS_CLIENT, 0, ERR_TLS_REFUSED, 80, .special = NO_RANDOM },
	{ "no memory at all", AS_CLIENT, 0, ERR_TLS_MEMORY, NO_ALERT, .special = NO_ROOM_AT_ALL },
	{ "no certificate", AS_CLIENT, TLS12, ERR_TLS_PEER_WITHOUT, 40, .shows = "" },
	{ "no certificate", AS_CLIENT, TLS13, ERR_TLS_PEER_WITHOUT, 116, .shows = "" },
	{ "a stranger's certificate", AS_CLIENT, 0, ERR_TLS_PEER_UNKNOWN, 48, .shows = "self" },
	{ "an old certificate", AS_CLIENT, 0, ERR_TLS_PEER_EXPIRED, 45, .shows = "old" },
	{ "a stranger's certificate", AS_POD, 0, ERR_TLS_PEER_UNKNOWN, 48,
	  .special = BY_TRUST, .trust = TRUST_UNKNOWN },
	{ "an old certificate", AS_POD, 0, ERR_TLS_PEER_EXPIRED, 45, .special = BY_TRUST, .trust = TRUST_EXPIRED },
	{ "another name", AS_POD, 0, ERR_TLS_PEER_NAME, 42, .special = BY_TRUST, .trust = TRUST_WRONG_NAME },
	{ "another key", AS_POD, 0, ERR_TLS_PEER_PIN, 49, .special = BY_TRUST, .trust = TRUST_WRONG_PIN },
	/* The signature. */
	{ "a certificate that cannot be read", AS_POD, TLS12, ERR_TLS_PEER_UNFIT, 42,
	  EDITS("\x01\x00\x00\x0c\x01") },
	{ "a certificate that cannot be read", AS_POD, TLS13, ERR_TLS_PEER_UNFIT, 42,
	  EDITS("\x03\x00\x00\x0c\x01") },
	{ "a key that was signed by nobody", AS_POD, TLS12, ERR_TLS_PEER_UNFIT, 51,
	  EDITS("\x02\x00\x00\x0c\x01") },
	{ "a signature of nobody", AS_POD, TLS13, ERR_TLS_PEER_UNFIT, 51, EDITS("\x04\x00\x00\x0c\x01") },
	{ "a weak certificate", AS_CLIENT, 0, ERR_TLS_PEER_UNFIT, 43, .shows = "weak" },
	{ "a certificate that cannot be read", AS_CLIENT, TLS12, ERR_TLS_PEER_UNFIT, 42,
	  EDITS("\x01\x00\x00\x0c\x01"), .shows = "wild" },
	{ "a certificate that cannot be read", AS_CLIENT, TLS13, ERR_TLS_PEER_UNFIT, 42,
	  EDITS("\x02\x00\x00\x0c\x01"), .shows = "wild" },
	{ "a signature of nobody", AS_CLIENT, TLS12, ERR_TLS_PEER_UNFIT, 51,
	  EDITS("\x03\x00\x00\x0c\x01"), .shows = "wild" },
	{ "a signature of nobody", AS_CLIENT, TLS13, ERR_TLS_PEER_UNFIT, 51,
	  EDITS("\x03\x00\x00\x0c\x01"), .shows = "wild" },
};

static void
begin_attack(void)
{
	memset(&peer, 0, offsetof(__typeof__(peer), edits));
	peer.changed_len = 0;
	peer.pod = NULL;
	peer.verdict = ERR_TLS_AGAIN;
}

static void
end_attack(bool is_client)
{
	empty(is_client ? hand.town->tls : hand.town->upstream_tls);
	tls_client_free(peer.client);
	tls_conn_free(peer.server);
	hand_finish();
}

static void
attack(const struct row *row, bool is_client, uint16_t version)
{
	begin_attack();
	if (is_client)
		attack_as_client(row, version);
	else
		attack_as_pod(row, version);
	judge(row, is_client, version);
	end_attack(is_client);
}

static void
attack_with_each(const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		for (unsigned int as = AS_CLIENT; as <= AS_POD; as++)
			for (uint16_t version = TLS12; version <= TLS13; version++)
				if ((rows[i].as & as) != 0 && (rows[i].version == 0 || rows[i].version == version))
					attack(&rows[i], as == AS_CLIENT, version);
}

static void
records_that_break_a_rule_end_the_connection(void **state)
{
	(void)state;
	attack_with_each(of_records, COUNT_OF(of_records));
}

static void
handshakes_that_break_a_rule_end_the_connection(void **state)
{
	(void)state;
	attack_with_each(of_handshakes, COUNT_OF(of_handshakes));
}

/* --- what is no fault by itself ----------------------------------------------------------------------------- */

static uint64_t
connects(void)
{
	return router()->counters[counter_at(COUNTER_UPSTREAM_CONNECTS)];
}

/* Behind a whole answer there may be nothing, not even a part of a record, which is no plaintext yet: what it
 * belongs to is nobody's answer, and would be the next one's. */
static void
half_a_record_behind_an_answer_ends_its_connection(void **state)
{
	static const struct row honest = { .how = "nothing", .special = HONEST };
	static const uint8_t half[] = { 23, 3, 3, 0, 100, 1, 2, 3 };

	(void)state;
	for (uint16_t version = TLS12; version <= TLS13; version++)
		for (int has_half = 0; has_half < 2; has_half++) {
			begin_attack();
			attack_as_pod(&honest, version);
			peer.changed_len = tls_forge_seal(&peer.meddler.writes, 23,
							  BYTES_LITERAL("HTTP/1.1 200 OK\r\n"
									"content-length: 2\r\n\r\n{}"),
							  0, peer.changed);
			if (has_half) {
				memcpy(peer.changed + peer.changed_len, half, sizeof(half));
				peer.changed_len += sizeof(half);
			}
			send_changed();
			hand_go(100 * MS);
			assert_memory_equal(hand.client->in, "HTTP/1.1 200", 12);
			assert_int_equal(connects(), 1);
			ask_for_a_backend();
			hand_go(20 * MS);
			assert_int_equal(connects(), 1 + has_half);
			end_attack(false);
		}
}

/* --- what there must be rows of ------------------------------------------------------------------------------ */

static bool
has_row(enum err verdict, unsigned int as)
{
	for (size_t i = 0; i < COUNT_OF(of_records); i++)
		if (of_records[i].verdict == verdict && (of_records[i].as & as) != 0)
			return true;
	for (size_t i = 0; i < COUNT_OF(of_handshakes); i++)
		if (of_handshakes[i].verdict == verdict && (of_handshakes[i].as & as) != 0)
			return true;
	return false;
}

/* Who can never be the one that a verdict is about. */
static unsigned int
who_cannot(enum err verdict)
{
	switch (verdict) {
	case ERR_TLS_NO_PROTOCOL:  /* asks for one */
	case ERR_TLS_PEER_WITHOUT: /* must have one */
	case ERR_TLS_TRUNCATED:    /* is UPSTREAM_LOST where that cuts an answer, and else nothing is lost */
	case ERR_TLS_REFUSED:      /* would have to be without random numbers before its first word */
		return AS_POD;
	case ERR_TLS_PEER_NAME:
	case ERR_TLS_PEER_PIN:
		return AS_CLIENT;
	default:
		return 0;
	}
}

static void
each_verdict_that_ends_a_connection_has_a_row(void **state)
{
	uint32_t verdicts = 0;

	(void)state;
	for (unsigned int e = ERR_MORE + 1; e < ERR_COUNT; e++) {
		enum err verdict = (enum err)e;

		if (strncmp(err_name(verdict), "TLS_", 4) != 0 ||
		    (err_severity(verdict) != ERR_SEVERITY_CONNECTION && verdict != ERR_TLS_TRUNCATED))
			continue;
		verdicts++;
		for (unsigned int as = AS_CLIENT; as <= AS_POD; as++)
			if (has_row(verdict, as) == ((who_cannot(verdict) & as) != 0))
				fail_msg("%s, as %u", err_name(verdict), as);
	}
	assert_in_range(verdicts, 17, ERR_COUNT);
}

static const char *
name_of_alert(int alert)
{
	static const struct {
		int number;
		const char *name;
	} alerts[] = {
		{ NO_ALERT, "none" },
		{ 0, "close_notify" },
		{ 10, "unexpected_message" },
		{ 20, "bad_record_mac" },
		{ 22, "record_overflow" },
		{ 40, "handshake_failure" },
		{ 42, "bad_certificate" },
		{ 43, "unsupported_certificate" },
		{ 45, "certificate_expired" },
		{ 47, "illegal_parameter" },
		{ 48, "unknown_ca" },
		{ 49, "access_denied" },
		{ 50, "decode_error" },
		{ 51, "decrypt_error" },
		{ 70, "protocol_version" },
		{ 80, "internal_error" },
		{ 116, "certificate_required" },
		{ 120, "no_application_protocol" },
	};

	for (size_t i = 0; i < COUNT_OF(alerts); i++)
		if (alerts[i].number == alert)
			return alerts[i].name;
	fail_msg("alert %d has no name", alert);
	return NULL;
}

#define LINES_MAX 64
#define LINE_BYTES 512

/* The lines of the README's table with that head; how many. */
static size_t
lines_of_table(const char *head, char lines[LINES_MAX][LINE_BYTES])
{
	FILE *file = fopen(TLS_README, "r");
	char line[LINE_BYTES];
	size_t count = 0;
	bool is_inside = false;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		is_inside = is_inside ? line[0] == '|' : strncmp(line, head, strlen(head)) == 0;
		if (!is_inside || strncmp(line, head, strlen(head)) == 0 || strncmp(line, "| ---", 5) == 0)
			continue;
		assert_in_range(count, 0, LINES_MAX - 1);
		memcpy(lines[count++], line, sizeof(line));
	}
	fclose(file);
	return count;
}

/* Each line has a row with its verdict and its alert, and each row has a line. */
static void
compare_with_table(const char *head, const struct row *rows, size_t count)
{
	static char lines[LINES_MAX][LINE_BYTES];
	bool has_line[LINES_MAX] = { false };
	size_t line_count = lines_of_table(head, lines);

	assert_true(line_count > 5);
	for (size_t i = 0; i < count; i++) {
		bool is_there = false;
		char end[128];

		snprintf(end, sizeof(end), "| `%s` | %s |\n", err_name(rows[i].verdict),
			 name_of_alert(rows[i].alert));
		for (size_t l = 0; l < line_count; l++) {
			const char *tail = strstr(lines[l], end);

			if (tail != NULL && tail[strlen(end)] == '\0')
				is_there = has_line[l] = true;
		}
		if (!is_there)
			fail_msg("lib/tls/README.md has no line for: %s %s", rows[i].how, end);
	}
	for (size_t l = 0; l < line_count; l++)
		if (!has_line[l])
			fail_msg("no row for: %s", lines[l]);
}

static void
the_tables_of_the_readme_are_these(void **state)
{
	(void)state;
	compare_with_table("| fault |", of_records, COUNT_OF(of_records));
	compare_with_table("| fault of a handshake |", of_handshakes, COUNT_OF(of_handshakes));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_that_break_a_rule_end_the_connection),
		cmocka_unit_test(handshakes_that_break_a_rule_end_the_connection),
		cmocka_unit_test(half_a_record_behind_an_answer_ends_its_connection),
		cmocka_unit_test(each_verdict_that_ends_a_connection_has_a_row),
		cmocka_unit_test(the_tables_of_the_readme_are_these),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
