#include "hearer.h"

#include <string.h>

#include "base/check.h"

void
hearer_begin(struct hearer *h, struct tls_conn *conn, struct meddler *meddler)
{
	h->conn = conn;
	h->meddler = meddler;
	h->verdict = ERR_TLS_AGAIN;
	h->piece = SIZE_MAX;
	h->room = 16384;
	h->calls = 0;
	h->said_len = 0;
	h->got_len = 0;
	memset(&h->stream, 0, sizeof(h->stream));
}

bool
hearer_is_final(enum err verdict)
{
	return verdict != ERR_OK && verdict != ERR_MORE && verdict != ERR_TLS_AGAIN && verdict != ERR_TLS_FULL;
}

static void
shake(struct hearer *h, struct bytes *in)
{
	struct tls_out out = { h->said + h->said_len, h->room, 0 };

	CHECK(h->said_len + h->room <= sizeof(h->said));
	h->verdict = tls_handshake(h->conn, in, &out);
	CHECK(out.used <= out.room);
	h->said_len += out.used;
	if (h->verdict == ERR_OK)
		CHECK(!h->meddler->has_tampered);
}

static void
open_data(struct hearer *h, struct bytes *in)
{
	uint8_t said[64];
	struct tls_out out = { said, sizeof(said), 0 };
	struct tls_out plain = { h->got + h->got_len, sizeof(h->got) - h->got_len, 0 };

	if (plain.room > h->room)
		plain.room = h->room;
	h->verdict = tls_stream_open(&h->stream, h->conn, in, &plain, &out);
	CHECK(out.used <= out.room && plain.used <= plain.room);
	h->got_len += plain.used;
	CHECK(h->got_len <= h->meddler->said && memcmp(h->got, h->meddler->data, h->got_len) == 0);
}

void
hearer_hear(struct hearer *h, struct bytes bytes)
{
	do {
		size_t offered = bytes.len < h->piece ? bytes.len : h->piece;
		struct bytes in = bytes_make(bytes.ptr, offered);

		CHECK(h->calls++ < HEARER_CALLS_MAX);
		if (h->got_len == sizeof(h->got))
			return;
		if (tls_is_open(h->conn))
			open_data(h, &in);
		else
			shake(h, &in);
		CHECK(in.len <= offered);
		CHECK(h->verdict != ERR_MORE || in.len == 0);
		bytes_advance(&bytes, offered - in.len);
		if (hearer_is_final(h->verdict))
			return;
	} while (bytes.len > 0 || h->verdict != ERR_MORE);
}

void
hearer_carry(struct hearer *h, struct bytes flight)
{
	static uint8_t changed[MEDDLER_BYTES_MAX];

	while (flight.len > 0 && !hearer_is_final(h->verdict)) {
		size_t len = 5 + ((size_t)flight.ptr[3] << 8 | flight.ptr[4]);
		size_t written;

		CHECK(len <= flight.len);
		written = meddler_pass(h->meddler, bytes_make(flight.ptr, len), changed);
		bytes_advance(&flight, len);
		if (written > 0)
			hearer_hear(h, bytes_make(changed, written));
	}
}

void
hearer_finish(struct hearer *h)
{
	static uint8_t added[MEDDLER_BYTES_MAX];
	size_t written;

	if (tls_is_open(h->conn))
		meddler_enter(h->meddler, MEDDLER_APPLICATION);
	while (!hearer_is_final(h->verdict) && (written = meddler_add(h->meddler, added)) > 0)
		hearer_hear(h, bytes_make(added, written));
	if (tls_is_open(h->conn) && !hearer_is_final(h->verdict) && !h->meddler->has_broken)
		CHECK(h->got_len == h->meddler->said || h->got_len == sizeof(h->got));
}
