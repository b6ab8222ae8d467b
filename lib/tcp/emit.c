/* Header packets, checksums and the transmit queue: the last step of every segment. */
#include "tcp/internal.h"
#include "wire/csum.h"

#define PROTOCOL_TCP 6

/* Over the pseudo header and the chain, unfolded. */
static uint64_t
sum_chain(const struct pkt *p)
{
	const struct pkt_meta *meta = pkt_meta(p);
	uint64_t sum = csum_pseudo(meta->src.byte, meta->dst.byte, PROTOCOL_TCP, pkt_total(p));
	bool odd = false;

	for (; p != NULL; p = pkt_next(p)) {
		sum = odd ? csum_add_odd(sum, pkt_data(p), pkt_len(p)) :
			    csum_add(sum, pkt_data(p), pkt_len(p));
		odd ^= pkt_len(p) & 1;
	}
	return sum;
}

bool
tcp_checksum_is_good(const struct pkt *p)
{
	switch (pkt_meta(p)->l4_csum) {
	case PKT_CSUM_GOOD:
	case PKT_CSUM_NONE:
		return true;
	case PKT_CSUM_BAD:
		return false;
	default:
		return csum_is_good(sum_chain(p));
	}
}

struct pkt *
tcp_emit_header(struct tcp *t, const struct tcp_tuple *tuple, struct tcphdr *h)
{
	struct pkt *p;
	uint8_t *to;

	p = pkt_alloc(t->header_pool);
	if (p == NULL)
		return NULL;
	h->src_port = tuple->local_port;
	h->dst_port = tuple->remote_port;
	to = pkt_append(p, tcphdr_bytes(h));
	CHECK(to != NULL);
	tcphdr_emit(h, to);
	pkt_meta(p)->src = tuple->local;
	pkt_meta(p)->dst = tuple->remote;
	return p;
}

/* What the port adds the rest to. Where it cuts, each segment has a length of its own. */
static uint16_t
pseudo_sum(const struct pkt *p)
{
	const struct pkt_meta *meta = pkt_meta(p);
	uint32_t len = meta->tso_mss > 0 ? 0 : pkt_total(p);

	return (uint16_t)~csum_finish(csum_pseudo(meta->src.byte, meta->dst.byte, PROTOCOL_TCP, len));
}

void
tcp_emit_queue(struct tcp *t, struct pkt *p)
{
	struct pkt_meta *meta = pkt_meta(p);
	uint16_t sum;

	meta->l4_bytes = (uint8_t)((pkt_data(p)[12] >> 4) * 4);
	if (meta->tso_mss > 0 || t->config.checksum_offload) {
		meta->l4_csum = PKT_CSUM_PSEUDO;
		sum = pseudo_sum(p);
	} else {
		sum = csum_finish(sum_chain(p));
	}
	memcpy(pkt_data(p) + TCPHDR_CHECKSUM_OFFSET, &sum, sizeof(sum));
	t->stats.segments_out += meta->tso_mss > 0 ?
					 (pkt_total(p) - meta->l4_bytes + meta->tso_mss - 1) / meta->tso_mss :
					 1;
	pkt_queue_put(&t->transmit, p);
}

bool
tcp_emit_bare(struct tcp *t, const struct tcp_tuple *tuple, struct tcphdr *h)
{
	struct pkt *p;

	if (t->transmit.count >= TCP_TRANSMIT_QUEUE_MAX)
		return false;
	p = tcp_emit_header(t, tuple, h);
	if (p == NULL)
		return false;
	tcp_emit_queue(t, p);
	return true;
}
