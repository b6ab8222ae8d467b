/* What goes out: data in records of a good size, as long as the key is good for them. */
#include "base/check.h"
#include "tls/protection.h"
#include "tls/records_internal.h"

size_t
records_head_bytes(const struct records *r)
{
	return protection_front_bytes(r);
}

size_t
records_tail_bytes(const struct records *r)
{
	return (r->is_13 ? 1 : 0) + AEAD_TAG_BYTES;
}

enum err
records_seal(struct records *r, struct keyring *ring, const struct pieces *plain, uint8_t *head,
	     uint8_t *tail, uint64_t now_ns)
{
	uint64_t bound = r->is_13 ? protection_max(r) : protection_max(r) - RECORDS_LAST_MAX;

	CHECK(!r->close_sent || r->verdict != ERR_OK);
	if (r->verdict != ERR_OK)
		return (enum err)r->verdict;
	if (r->send.sequence >= bound)
		return ERR_TLS_WORN;
	if (now_ns - r->sealed_at_ns >= RECORDS_IDLE_NS)
		r->flight_bytes = 0;
	if (r->flight_bytes < RECORDS_SMALL_BYTES)
		r->flight_bytes += (uint32_t)pieces_total(plain);
	r->sealed_at_ns = now_ns;
	protection_seal(r, ring, PROTECTION_DATA, plain, head, tail);
	if (r->send.sequence == protection_renew(r))
		records_renew(r, false);
	return ERR_OK;
}

bool
records_is_worn(const struct records *r)
{
	return !r->is_13 && r->send.sequence >= protection_renew(r);
}

size_t
records_size(const struct records *r, size_t queued, size_t segment_bytes, uint64_t now_ns)
{
	size_t around = records_head_bytes(r) + records_tail_bytes(r);
	bool is_idle = now_ns - r->sealed_at_ns >= RECORDS_IDLE_NS;
	size_t most = RECORDS_DATA_BYTES_MAX;

	CHECK(segment_bytes > around);
	if ((is_idle || r->flight_bytes < RECORDS_SMALL_BYTES) && segment_bytes - around < most)
		most = segment_bytes - around;
	return queued < most ? queued : most;
}
