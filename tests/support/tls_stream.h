#pragma once

#include "tls/tls.h"

/*
 * tls_stream: an open connection of ours as a stream of bytes each way, in and out of memory of any size: what
 * tls.h does in the packets of its caller.
 *
 * Owner: a test. Zero is a beginning.
 */
struct tls_stream {
	uint8_t bytes[TLS_WIRE_BYTES_MAX]; /* of the record that is being read */
	size_t len;
	size_t wanted;
	size_t plain_from;
	size_t plain_left;
	uint64_t now_ns;
};

bool tls_is_open(const struct tls_conn *conn);

/* Takes from *in, keeps what is not a whole record, appends plaintext and what TLS has to say, for which *out has
 * room. Verdicts of tls_open(); ERR_TLS_FULL: there is no room for plaintext. */
enum err tls_stream_open(struct tls_stream *s, struct tls_conn *conn, struct bytes *in, struct tls_out *plain,
			 struct tls_out *out);

/* One record, and what is owed before it; ERR_TLS_FULL: *out has no room for them. */
#define TLS_STREAM_OVERHEAD_MAX (TLS_ANSWER_BYTES_MAX + TLS_HEAD_BYTES_MAX + TLS_TAIL_BYTES_MAX)
enum err tls_stream_seal(struct tls_stream *s, struct tls_conn *conn, struct bytes *plain, struct tls_out *out);
