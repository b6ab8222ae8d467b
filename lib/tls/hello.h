#pragma once

#include "base/bytes.h"
#include "base/err.h"

/*
 * hello: what a ticket must be compared with, out of a ClientHello, in whatever order its extensions stand.
 *
 * mbedTLS of TLS 1.2 opens a ticket when it comes by it, which may be before it has read the server's name.
 */
struct hello {
	struct bytes suites; /* two bytes each */
	struct bytes sni;    /* empty: none, or none that is a host name of at most HELLO_SNI_BYTES_MAX */
};

#define HELLO_SNI_BYTES_MAX 255 /* a longer host name does not exist (RFC 1035 2.3.4) */

/* message is the handshake message with its header of four bytes. The parts point into it. ERR_TLS_BAD_MESSAGE: it
 * is no ClientHello. */
enum err hello_parse(struct bytes message, struct hello *hello);

bool hello_offers(const struct hello *hello, uint16_t suite);
