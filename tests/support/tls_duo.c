#include "tls_duo.h"

#include <stdio.h>

#include "base/check.h"
#include "cert_file.h"
#include "tls/cert.h"
#include "tls_engine.h"

#define TURNS_MAX 200000

struct tls_identity *
tls_duo_identity(const char *const *names)
{
	struct tls_identity *identity = tls_identity_new();

	CHECK(identity != NULL);
	for (; *names != NULL; names++) {
		char chain[32];
		char key[32];
		char text[CERT_TEXT_BYTES];

		snprintf(chain, sizeof(chain), "%s.pem", *names);
		snprintf(key, sizeof(key), "%s.key", *names);
		CHECK(tls_identity_add(identity, 0, cert_file(chain), cert_file(key), CERT_ANY_TIME, text,
				       sizeof(text)) == ERR_OK);
	}
	return identity;
}

struct ticket_secrets
tls_duo_tickets(uint8_t fill)
{
	struct ticket_secrets tickets = { .layout = TICKET_SECRETS_LAYOUT, .count = 1 };

	memset(tickets.secret[0].name, fill, TICKET_NAME_BYTES);
	memset(tickets.secret[0].key, fill, TICKET_KEY_BYTES);
	return tickets;
}

struct tls_context *
tls_duo_context(const struct tls_identity *identity, uint32_t conns_max, struct seeded *seed,
		uint8_t ticket_secret)
{
	struct tls_context_config config = {
		.conns_max = conns_max,
		.ticket_lifetime_s = 3600,
		.entropy = seeded_entropy,
		.owner = seed,
	};
	struct ticket_secrets tickets = tls_duo_tickets(ticket_secret);
	struct tls_context *context;

	config.tickets = &tickets;
	tls_engine_choose(&config);
	context = tls_context_new(&config, identity);
	CHECK(context != NULL);
	tls_set_time(context, TLS_DUO_NOW_S);
	return context;
}

void
tls_duo_edge_init(struct tls_duo_edge *edge, uint32_t conns_max)
{
	static const char *const names[] = { "edge", NULL };

	edge->seed.state = 1;
	edge->identity = tls_duo_identity(names);
	edge->context = tls_duo_context(edge->identity, conns_max, &edge->seed, 0x11);
}

void
tls_duo_edge_fini(struct tls_duo_edge *edge)
{
	tls_context_free(edge->context);
	tls_identity_free(edge->identity);
}

struct tls_client_config
tls_duo_client_config(void)
{
	static const char *const alpn[] = { "http/1.1", NULL };

	return (struct tls_client_config){
		.seed = 7,
		.now_s = TLS_DUO_NOW_S,
		.ca_pem = cert_file("ca.pem"),
		.host = "api.sluice.test",
		.alpn = alpn,
	};
}

struct tls_client_config
tls_duo_client_of(uint16_t version)
{
	struct tls_client_config config = tls_duo_client_config();

	config.version_min = config.version_max = version;
	return config;
}

void
tls_duo_init(struct tls_duo *duo, struct tls_context *context,
	     const struct tls_client_config *config)
{
	memset(duo, 0, offsetof(struct tls_duo, to_server));
	memset(&duo->record, 0, sizeof(duo->record));
	duo->to_server.from = duo->to_server.to = 0;
	duo->to_client.from = duo->to_client.to = 0;
	duo->server = tls_accept(context, 0, false);
	duo->client = tls_client_new(config);
	CHECK(duo->server != NULL && duo->client != NULL);
	duo->server_verdict = duo->client_verdict = ERR_TLS_AGAIN;
}

void
tls_duo_fini(struct tls_duo *duo)
{
	tls_conn_free(duo->server);
	tls_client_free(duo->client);
}

struct bytes
tls_duo_front(const struct tls_duo_wire *wire, size_t piece)
{
	size_t len = wire->to - wire->from;

	return bytes_make(wire->bytes + wire->from, piece != 0 && piece < len ? piece : len);
}

void
tls_duo_taken(struct tls_duo_wire *wire, struct bytes rest, size_t piece)
{
	wire->from += tls_duo_front(wire, piece).len - rest.len;
	if (wire->from == wire->to)
		wire->from = wire->to = 0;
}

struct tls_out
tls_duo_back(struct tls_duo_wire *wire, size_t piece)
{
	size_t room = sizeof(wire->bytes) - wire->to;

	return (struct tls_out){ wire->bytes + wire->to, piece != 0 && piece < room ? piece : room,
				 0 };
}

void
tls_duo_put(struct tls_duo_wire *wire, struct tls_out written)
{
	wire->to += written.used;
}

static bool
is_final(enum err verdict)
{
	return verdict != ERR_MORE && verdict != ERR_TLS_AGAIN && verdict != ERR_TLS_FULL &&
	       verdict != ERR_TLS_WAITS;
}

bool
tls_duo_step(struct tls_conn *conn, bool is_patient, enum err *verdict, struct tls_duo_wire *from,
	     struct tls_duo_wire *to, size_t piece)
{
	struct bytes in = tls_duo_front(from, piece);
	struct tls_out out = tls_duo_back(to, piece);
	size_t offered = in.len;

	if (is_final(*verdict))
		return false;
	*verdict = is_patient ? tls_handshake(conn, &in, &out) : tls_engine_handshake(conn, &in, &out);
	tls_duo_put(to, out);
	if (in.len != offered)
		tls_duo_taken(from, in, piece);
	return in.len != offered || out.used > 0 || (*verdict != ERR_MORE && *verdict != ERR_TLS_WAITS);
}

static bool
step_server(struct tls_duo *duo, size_t piece)
{
	if (!is_final(duo->server_verdict))
		duo->steps++;
	return tls_duo_step(duo->server, duo->is_patient, &duo->server_verdict, &duo->to_server,
			    &duo->to_client, piece);
}

static bool
step_client(struct tls_duo *duo, size_t piece)
{
	struct bytes in = tls_duo_front(&duo->to_client, piece);
	struct tls_out out = tls_duo_back(&duo->to_server, piece);
	size_t offered = in.len;

	if (is_final(duo->client_verdict))
		return false;
	duo->client_verdict = tls_client_step(duo->client, &in, &out);
	tls_duo_put(&duo->to_server, out);
	if (in.len != offered)
		tls_duo_taken(&duo->to_client, in, piece);
	return in.len != offered || out.used > 0 || duo->client_verdict != ERR_MORE;
}

bool
tls_duo_turn(struct tls_duo *duo, size_t piece)
{
	bool moved = step_client(duo, piece);

	return step_server(duo, piece) || moved;
}

bool
tls_duo_shake(struct tls_duo *duo, size_t piece)
{
	for (int turn = 0;; turn++) {
		bool moved = tls_duo_turn(duo, piece);

		CHECK(turn < TURNS_MAX); /* it goes round in circles */
		if (duo->server_verdict == ERR_OK && duo->client_verdict == ERR_OK)
			return true;
		if (!moved)
			return false;
	}
}

enum err
tls_duo_open(struct tls_duo *duo, struct bytes *in, struct tls_out *plain, struct tls_out *out)
{
	return tls_stream_open(&duo->record, duo->server, in, plain, out);
}

bool
tls_duo_has_plain(const struct tls_duo *duo)
{
	return duo->record.plain_left > 0;
}

enum err
tls_duo_seal(struct tls_duo *duo, struct bytes *plain, struct tls_out *out)
{
	return tls_stream_seal(&duo->record, duo->server, plain, out);
}

enum err
tls_duo_close(struct tls_duo *duo, struct tls_out *out)
{
	tls_close(duo->server);
	return tls_answer(duo->server, out);
}

bool
tls_duo_send_to_server(struct tls_duo *duo, struct bytes text, size_t piece)
{
	uint8_t answer[256];
	struct tls_out plain = { duo->got, sizeof(duo->got), 0 };
	struct tls_out out = { answer, sizeof(answer), 0 };
	struct bytes rest = text;

	while (rest.len > 0) {
		struct tls_out wire = tls_duo_back(&duo->to_server, 0);

		if (tls_client_seal(duo->client, &rest, &wire) != ERR_OK)
			return false;
		tls_duo_put(&duo->to_server, wire);
	}
	while (duo->to_server.to > duo->to_server.from || tls_duo_has_plain(duo)) {
		struct bytes in = tls_duo_front(&duo->to_server, piece);
		enum err verdict = tls_duo_open(duo, &in, &plain, &out);

		if (verdict != ERR_OK && verdict != ERR_MORE)
			return false;
		tls_duo_taken(&duo->to_server, in, piece);
	}
	return out.used == 0 && bytes_equal(bytes_make(duo->got, plain.used), text);
}

bool
tls_duo_send_to_client(struct tls_duo *duo, struct bytes text, size_t piece)
{
	uint8_t answer[256];
	struct tls_out plain = { duo->got, sizeof(duo->got), 0 };
	struct tls_out out = { answer, sizeof(answer), 0 };
	struct bytes rest = text;
	enum err verdict = ERR_OK;

	while (rest.len > 0) {
		struct tls_out wire = tls_duo_back(&duo->to_client, 0);

		if (tls_duo_seal(duo, &rest, &wire) != ERR_OK)
			return false;
		tls_duo_put(&duo->to_client, wire);
	}
	while (duo->to_client.to > duo->to_client.from ||
	       (verdict == ERR_OK && plain.used < text.len)) {
		struct bytes in = tls_duo_front(&duo->to_client, piece);

		verdict = tls_client_open(duo->client, &in, &plain, &out);
		if (verdict != ERR_OK && verdict != ERR_MORE)
			return false;
		tls_duo_taken(&duo->to_client, in, piece);
	}
	return bytes_equal(bytes_make(duo->got, plain.used), text);
}

bool
tls_duo_exchange(struct tls_duo *duo)
{
	return tls_duo_send_to_server(duo, BYTES_LITERAL("ping"), 0) &&
	       tls_duo_send_to_client(duo, BYTES_LITERAL("pong"), 0);
}
