/*
 * A card that finishes what the engine begins: it adds the payload to a checksum of the pseudo header, and cuts a
 * packet of several segments. By bytes and without the engine's code, so that it is a second opinion.
 *
 * Each segment is a packet of the card's own; the engine's stays with the driver until the link gives it back.
 */
#include "sim.h"

#include <string.h>

#include "base/check.h"

#define PACKET_BYTES_MAX 65535
#define SEQ_OFFSET 4
#define FLAGS_OFFSET 13
#define SUM_OFFSET 16

static uint16_t
get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t
get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void
put32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* RFC 9293 section 3.1 without the payload, not inverted. A packet that is cut has no length yet. */
static uint16_t
pseudo_sum(const struct world *w, const struct pkt_meta *meta, uint32_t len)
{
	size_t skip = w->plan.is_v6 ? 0 : 12;
	uint32_t sum = 6 + len;

	for (size_t i = skip; i < 16; i += 2)
		sum += (uint32_t)get16(meta->src.byte + i) + get16(meta->dst.byte + i);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* One segment of the packet: header, payload from `from` on. */
static struct pkt *
cut(struct host *h, const uint8_t *flat, const struct pkt_meta *meta, uint32_t from, uint32_t len, bool is_last)
{
	uint8_t segment[SEGMENT_BYTES_MAX];
	uint32_t header = meta->l4_bytes;
	struct pkt *p;

	CHECK(header + len <= sizeof(segment));
	memcpy(segment, flat, header);
	memcpy(segment + header, flat + header + from, len);
	put32(segment + SEQ_OFFSET, get32(flat + SEQ_OFFSET) + from);
	if (!is_last) /* the last one ends what all of them are */
		segment[FLAGS_OFFSET] &= (uint8_t)~(SEGMENT_FIN | SEGMENT_PSH);
	if (from > 0)
		segment[FLAGS_OFFSET] &= (uint8_t)~SEGMENT_CWR;
	segment_checksum_repair(segment, header + len, &meta->src, &meta->dst);
	p = segment_pkt_from(bytes_make(segment, header + len), 0, &h->card_pool);
	CHECK(p != NULL); /* SIM_CARD_PACKETS are more than a driver holds */
	*pkt_meta(p) = *meta;
	pkt_meta(p)->queue_next = NULL;
	pkt_meta(p)->l4_csum = PKT_CSUM_UNKNOWN;
	pkt_meta(p)->tso_mss = 0;
	return p;
}

bool
card_is_needed(const struct pkt *p)
{
	return pkt_meta(p)->l4_csum == PKT_CSUM_PSEUDO || pkt_meta(p)->tso_mss > 0;
}

void
card_finish(struct world *w, struct host *h, const struct pkt *p, struct pkt_queue *out)
{
	static uint8_t flat[PACKET_BYTES_MAX];
	const struct pkt_meta *meta = pkt_meta(p);
	uint32_t total = pkt_total(p);
	uint32_t payload = total - meta->l4_bytes;
	uint32_t mss = meta->tso_mss > 0 ? meta->tso_mss : payload;
	uint32_t from = 0;

	if (meta->l4_csum != PKT_CSUM_PSEUDO || total > PACKET_BYTES_MAX || meta->l4_bytes < 20 ||
	    meta->l4_bytes > total)
		sim_fail(w, "host %u: a packet that no card can finish", h->index);
	if (meta->tso_mss > 0 && (payload <= mss || payload > w->plan.config[h->index].tso_bytes_max ||
				  pkt_segments(p) > w->plan.config[h->index].tso_pieces_max + 1u))
		sim_fail(w, "host %u: %u bytes in %u pieces to be cut at %u", h->index, payload,
			 pkt_segments(p), mss);
	pkt_copy_out(p, 0, flat, total);
	if (get16(flat + SUM_OFFSET) != pseudo_sum(w, meta, meta->tso_mss > 0 ? 0 : total))
		sim_fail(w, "host %u: a wrong sum of the pseudo header", h->index);
	do {
		uint32_t len = payload - from < mss ? payload - from : mss;

		pkt_queue_put(out, cut(h, flat, meta, from, len, from + len == payload));
		from += len;
	} while (from < payload);
}
