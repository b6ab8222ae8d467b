/* Checksums and segments in software. rte_gso is not used: it knows IPv4 only. */
#include "dataplane/offload.h"

#include "base/check.h"
#include "wire/csum.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/order.h"
#include "wire/tcphdr.h"

#define IP4_LENGTH_OFFSET 2
#define IP4_CHECKSUM_OFFSET 10
#define IP6_LENGTH_OFFSET 4
#define TCP_SEQ_OFFSET 4
#define TCP_FLAGS_OFFSET 13

static uint8_t *
tcp_of(const struct pkt *frame)
{
	const struct pkt_meta *meta = pkt_meta(frame);

	return pkt_data(frame) + meta->l2_bytes + meta->l3_bytes;
}

/* Over the chain from offset on, which lies in the first segment. */
static uint64_t
sum_from(const struct pkt *frame, uint32_t offset, uint64_t sum)
{
	bool odd = false;

	for (const struct pkt *p = frame; p != NULL; p = pkt_next(p)) {
		uint32_t n = pkt_len(p) - offset;

		sum = odd ? csum_add_odd(sum, pkt_data(p) + offset, n) :
			    csum_add(sum, pkt_data(p) + offset, n);
		odd ^= n & 1;
		offset = 0;
	}
	return sum;
}

void
offload_finish(struct pkt *frame)
{
	struct pkt_meta *meta = pkt_meta(frame);
	uint32_t before = (uint32_t)meta->l2_bytes + meta->l3_bytes;
	uint8_t *field = tcp_of(frame) + TCPHDR_CHECKSUM_OFFSET;
	uint16_t sum = 0;

	if (meta->l4_csum != PKT_CSUM_PSEUDO)
		return;
	CHECK(meta->tso_mss == 0 && before + meta->l4_bytes <= pkt_len(frame));
	/* A driver that refused the frame may have written to the field: it is not part of the sum. */
	memcpy(field, &sum, sizeof(sum));
	sum = csum_finish(sum_from(
		frame, before,
		csum_pseudo(meta->src.byte, meta->dst.byte, IP_TCP, pkt_total(frame) - before)));
	memcpy(field, &sum, sizeof(sum));
	meta->l4_csum = PKT_CSUM_UNKNOWN;
}

/* The place in a frame's payload up to which segments have been made. */
struct place {
	struct pkt *p;
	uint32_t offset;
};

/* The next n payload bytes behind segment. False: the pool is empty. */
static bool
show(struct pkt *segment, struct place *place, uint32_t n, struct pkt_pool *bare_pool)
{
	while (n > 0) {
		uint32_t here = pkt_len(place->p) - place->offset;
		struct pkt *piece;

		if (here == 0) {
			*place = (struct place){ pkt_next(place->p), 0 };
			continue;
		}
		if (here > n)
			here = n;
		piece = pkt_attach(bare_pool, place->p, place->offset, here);
		if (piece == NULL)
			return false;
		pkt_chain(segment, piece);
		place->offset += here;
		n -= here;
	}
	return true;
}

/* Lengths, number, flags and sums of a segment whose bytes are whole, `sent` bytes behind the frame's first. */
static void
correct(struct pkt *segment, uint32_t sent, bool first, bool last)
{
	struct pkt_meta *meta = pkt_meta(segment);
	uint8_t *ip = pkt_data(segment) + meta->l2_bytes;
	uint8_t *tcp = ip + meta->l3_bytes;
	uint32_t ip_bytes = pkt_total(segment) - meta->l2_bytes;
	uint16_t sum = 0;

	if (ip[0] >> 4 == 4) {
		order_put16(ip + IP4_LENGTH_OFFSET, (uint16_t)ip_bytes);
		memcpy(ip + IP4_CHECKSUM_OFFSET, &sum, sizeof(sum));
		sum = csum_finish(csum_add(0, ip, meta->l3_bytes));
		memcpy(ip + IP4_CHECKSUM_OFFSET, &sum, sizeof(sum));
	} else {
		order_put16(ip + IP6_LENGTH_OFFSET, (uint16_t)(ip_bytes - IP6_HEADER_BYTES));
	}
	order_put32(tcp + TCP_SEQ_OFFSET, order_get32(tcp + TCP_SEQ_OFFSET) + sent);
	/* The end of the data is in the last segment; that we have slowed down is said once (RFC 3168 6.1.2). */
	if (!last)
		tcp[TCP_FLAGS_OFFSET] &= (uint8_t)~(TCPHDR_FIN | TCPHDR_PSH);
	if (!first)
		tcp[TCP_FLAGS_OFFSET] &= (uint8_t)~TCPHDR_CWR;
	sum = (uint16_t)~csum_finish(
		csum_pseudo(meta->src.byte, meta->dst.byte, IP_TCP, ip_bytes - meta->l3_bytes));
	memcpy(tcp + TCPHDR_CHECKSUM_OFFSET, &sum, sizeof(sum));
	meta->l4_csum = PKT_CSUM_PSEUDO;
	meta->tso_mss = 0;
}

bool
offload_split(struct pkt *frame, struct pkt_pool *header_pool, struct pkt_pool *bare_pool,
	      struct pkt_queue *out)
{
	const struct pkt_meta *meta = pkt_meta(frame);
	uint32_t header_bytes = (uint32_t)meta->l2_bytes + meta->l3_bytes + meta->l4_bytes;
	uint32_t payload = pkt_total(frame) - header_bytes;
	struct place place = { frame, header_bytes };

	CHECK(meta->tso_mss > 0 && header_bytes <= pkt_len(frame));
	/* Bounded by what one IP packet holds. */
	for (uint32_t sent = 0; sent < payload;) {
		uint32_t n = payload - sent < meta->tso_mss ? payload - sent : meta->tso_mss;
		struct pkt *segment = pkt_alloc(header_pool);
		uint8_t *to = segment != NULL ? pkt_append(segment, header_bytes) : NULL;

		if (to == NULL) {
			pkt_free(segment);
			pkt_free(frame);
			return false;
		}
		memcpy(to, pkt_data(frame), header_bytes);
		*pkt_meta(segment) = *meta;
		if (!show(segment, &place, n, bare_pool)) {
			pkt_free(segment);
			pkt_free(frame);
			return false;
		}
		correct(segment, sent, sent == 0, sent + n == payload);
		pkt_queue_put(out, segment);
		sent += n;
	}
	pkt_free(frame);
	return true;
}
