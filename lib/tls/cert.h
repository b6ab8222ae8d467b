#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * cert: would a worker accept this certificate chain with this key, and if not, why?
 *
 * For tls_identity_add() (identity.h).
 *
 * Owner:  none, no state. Thread: any.
 * Time:   now_s, Unix seconds; CERT_ANY_TIME leaves validity unchecked.
 * Memory: a private heap for the length of the call, so never on the packet path.
 */
#define CERT_PEM_BYTES_MAX (64u * 1024) /* of a chain, and of a key */
#define CERT_CHAIN_BYTES_MAX 16000 /* of its DER and 5 for each certificate: a message of one record (16,384), and
				      what else is in it */
#define CERT_ANY_TIME INT64_MIN
#define CERT_TEXT_BYTES 512 /* room that holds every sentence */

/*
 * PEM text of a chain, leaf first, and of its key: ECDSA on P-256 or P-384, or RSA of 2048 to 4096
 * bits.
 *   ERR_TLS_BAD_CERTIFICATE  unreadable, out of order, too long, without a name, or of another kind
 *   ERR_TLS_BAD_KEY          unreadable, encrypted, or of another kind
 *   ERR_TLS_KEY_MISMATCH     not the key of the leaf
 *   ERR_TLS_CERTIFICATE_EXPIRED  some certificate of the chain is not valid at now_s
 *   ERR_TLS_MEMORY           the kernel gave none
 * text gets a sentence that says what is wrong and what to do, cut at room and ended by NUL; an empty one for
 * ERR_OK. A pair (pair.h) that is fine is shown to visit, whose verdict is returned.
 */
struct pair;
typedef enum err (*cert_visit)(void *owner, const struct pair *pair);
enum err cert_look(struct bytes chain_pem, struct bytes key_pem, int64_t now_s, cert_visit visit, void *owner,
		   char *text, size_t room);

/* Of CA certificates, at most so many, of any time. ERR_TLS_BAD_CERTIFICATE, ERR_TLS_MEMORY; text as above. */
enum err cert_check_authorities(struct bytes pem, uint32_t count_max, char *text, size_t room);
