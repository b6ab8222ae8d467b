/*
 * One record: header, nonce, additional data, and the walk of the cipher over the pieces. Additional data are the
 * header in TLS 1.3; in TLS 1.2 the sequence number, type, version, and the length of the content.
 *
 *   TLS 1.3             | 23 03 03 length   | content, type            | tag |
 *   TLS 1.2, GCM        | type 03 03 length | explicit nonce | content | tag |
 *   TLS 1.2, ChaCha20   | type 03 03 length | content                  | tag |
 */
#include "tls/protection.h"

#include <endian.h>
#include <mbedtls/constant_time.h>

#include "base/check.h"

#define VERSION 0x03 /* twice: 0x0303 (RFC 8446 5.1) */
#define AAD_BYTES_MAX 13

static bool
has_explicit(const struct records *r)
{
	return !r->is_13 && r->cipher != AEAD_CHACHA20_POLY1305;
}

size_t
protection_front_bytes(const struct records *r)
{
	return PROTECTION_HEADER_BYTES + (has_explicit(r) ? PROTECTION_EXPLICIT_BYTES : 0);
}

size_t
protection_overhead_bytes(const struct records *r)
{
	return (has_explicit(r) ? PROTECTION_EXPLICIT_BYTES : 0) + AEAD_TAG_BYTES;
}

uint64_t
protection_renew(const struct records *r)
{
	return r->cipher == AEAD_CHACHA20_POLY1305 ? RECORDS_CHACHA_RENEW : RECORDS_GCM_RENEW;
}

uint64_t
protection_max(const struct records *r)
{
	return r->cipher == AEAD_CHACHA20_POLY1305 ? RECORDS_CHACHA_MAX : RECORDS_GCM_MAX;
}

static void
put_16(uint8_t *to, size_t value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

static void
put_64(uint8_t *to, uint64_t value)
{
	value = htobe64(value);
	memcpy(to, &value, sizeof(value));
}

/* RFC 8446 5.3, RFC 7905 section 2: the sequence number over the end of the IV. */
static void
mix_nonce(const struct records_way *way, uint8_t nonce[AEAD_NONCE_BYTES])
{
	uint64_t sequence = htobe64(way->sequence);
	uint64_t end;

	memcpy(&end, way->iv + AEAD_NONCE_BYTES - sizeof(end), sizeof(end));
	end ^= sequence;
	memcpy(nonce, way->iv, AEAD_NONCE_BYTES - sizeof(end));
	memcpy(nonce + AEAD_NONCE_BYTES - sizeof(end), &end, sizeof(end));
}

static size_t
make_aad(const struct records *r, const struct records_way *way, const uint8_t *header, size_t content_len,
	 uint8_t aad[AAD_BYTES_MAX])
{
	if (r->is_13) {
		memcpy(aad, header, PROTECTION_HEADER_BYTES);
		return PROTECTION_HEADER_BYTES;
	}
	put_64(aad, way->sequence);
	memcpy(aad + 8, header, 3);
	put_16(aad + 11, content_len);
	return AAD_BYTES_MAX;
}

void
protection_seal(struct records *r, struct keyring *ring, enum protection_type type,
		const struct pieces *plain, uint8_t *head, uint8_t *tail)
{
	const struct aead_calls *calls = &ring->aead.calls[r->cipher];
	const struct aead_key *key = keyring_get(ring, r->cipher, r->send.key);
	void *engine = ring->aead.engine;
	struct piece_cursor at = pieces_start(plain);
	size_t len = pieces_total(plain);
	uint8_t nonce[AEAD_NONCE_BYTES];
	uint8_t aad[AAD_BYTES_MAX];
	size_t aad_len;

	CHECK(len > 0 && len <= RECORDS_DATA_BYTES_MAX && r->send.sequence < protection_max(r));
	head[0] = r->is_13 ? PROTECTION_DATA : (uint8_t)type;
	head[1] = head[2] = VERSION;
	put_16(head + 3, protection_overhead_bytes(r) + len + (r->is_13 ? 1 : 0));
	if (has_explicit(r)) {
		put_64(head + PROTECTION_HEADER_BYTES, r->send.sequence);
		memcpy(nonce, r->send.iv, PROTECTION_SALT_BYTES);
		memcpy(nonce + PROTECTION_SALT_BYTES, head + PROTECTION_HEADER_BYTES,
		       PROTECTION_EXPLICIT_BYTES);
	} else {
		mix_nonce(&r->send, nonce);
	}
	aad_len = make_aad(r, &r->send, head, len, aad);
	calls->begin(engine, key, &ring->run, nonce, aad, aad_len, true);
	while (len > 0) {
		struct piece run = pieces_next(&at, len);

		len -= run.len;
		/* The type is a part of what is sealed; where it follows in memory, in one go. */
		if (len == 0 && r->is_13 && run.ptr + run.len == tail) {
			*tail++ = (uint8_t)type;
			calls->seal(engine, key, &ring->run, run.ptr, run.len + 1);
			calls->finish(engine, key, &ring->run, tail);
			r->send.sequence++;
			return;
		}
		calls->seal(engine, key, &ring->run, run.ptr, run.len);
	}
	if (r->is_13) {
		*tail = (uint8_t)type;
		calls->seal(engine, key, &ring->run, tail++, 1);
	}
	calls->finish(engine, key, &ring->run, tail);
	r->send.sequence++;
}

static void
wipe(struct piece_cursor at, size_t len)
{
	while (len > 0) {
		struct piece run = pieces_next(&at, len);

		explicit_bzero(run.ptr, run.len);
		len -= run.len;
	}
}

bool
protection_open(struct records *r, struct keyring *ring, const struct pieces *in, const uint8_t *header)
{
	const struct aead_calls *calls = &ring->aead.calls[r->cipher];
	const struct aead_key *key = keyring_get(ring, r->cipher, r->receive.key);
	void *engine = ring->aead.engine;
	size_t len = ((size_t)header[3] << 8 | header[4]) - protection_overhead_bytes(r);
	struct piece_cursor at = pieces_start(in);
	struct piece_cursor start;
	uint8_t nonce[AEAD_NONCE_BYTES];
	uint8_t aad[AAD_BYTES_MAX];
	uint8_t tag[AEAD_TAG_BYTES];
	uint8_t wanted[AEAD_TAG_BYTES];
	size_t aad_len = make_aad(r, &r->receive, header, len, aad);

	(void)pieces_skip(&at, PROTECTION_HEADER_BYTES);
	if (has_explicit(r)) {
		memcpy(nonce, r->receive.iv, PROTECTION_SALT_BYTES);
		(void)pieces_copy(&at, nonce + PROTECTION_SALT_BYTES, PROTECTION_EXPLICIT_BYTES);
	} else {
		mix_nonce(&r->receive, nonce);
	}
	start = at;
	calls->begin(engine, key, &ring->run, nonce, aad, aad_len, false);
	for (size_t left = len; left > 0;) {
		struct piece run = pieces_next(&at, left);

		calls->open(engine, key, &ring->run, run.ptr, run.len);
		left -= run.len;
	}
	calls->finish(engine, key, &ring->run, tag);
	CHECK(pieces_copy(&at, wanted, sizeof(wanted)) == sizeof(wanted));
	if (mbedtls_ct_memcmp(tag, wanted, sizeof(tag)) != 0) {
		wipe(start, len);
		return false;
	}
	r->receive.sequence++;
	return true;
}
