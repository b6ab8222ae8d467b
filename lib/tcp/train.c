/*
 * Several segments in one packet, for ports that cut packets (TSO). Everything before decides about one segment
 * at a time, and notes each: windows, the pacer and the scoreboard know nothing of this. Segments that one output
 * call makes, one right behind the other and with the same header but for the number, PSH and FIN, leave
 * together; the port, or dataplane/offload.c, makes the same segments of the packet that would have left without.
 */
#include "tcp/internal.h"

#define AT_THE_END (TCPHDR_PSH | TCPHDR_FIN) /* flags that a cut packet has in its last segment only */

/* Each segment of a packet has the header of the first: so nothing that is said once. */
static bool
may_repeat(const struct tcphdr *h)
{
	return !(h->flags & (AT_THE_END | TCPHDR_SYN | TCPHDR_CWR)) && h->sack_count == 0;
}

bool
tcp_train_attach(struct tcp *t, struct pkt *p, const struct tcp_range *r, uint32_t seq, uint32_t len)
{
	while (len > 0) {
		uint32_t skip = seq - r->seq;
		uint32_t n = r->len - skip < len ? r->len - skip : len;

		if (!pkt_extend(p, r->pkt, r->offset + skip, n)) {
			struct pkt *piece = pkt_attach(t->bare_pool, r->pkt, r->offset + skip, n);

			if (piece == NULL)
				return false;
			pkt_chain(p, piece);
		}
		seq += n;
		len -= n;
		r = r->next;
	}
	return true;
}

void
tcp_train_begin(struct tcp *t, struct pkt *p, const struct tcphdr *h, uint32_t len, uint32_t mss)
{
	tcp_train_end(t);
	if (len == 0 || len != mss || 2 * mss > t->config.tso_bytes_max || !may_repeat(h)) {
		tcp_emit_queue(t, p);
		return;
	}
	t->train = (struct tcp_train){
		.pkt = p, .seq_end = h->seq + len, .mss = mss, .bytes = len, .flags = h->flags
	};
}

static bool
belongs_behind(const struct tcp *t, const struct tcphdr *h, uint32_t len, uint32_t mss, uint8_t ecn)
{
	const struct tcp_train *train = &t->train;

	return train->pkt != NULL && mss == train->mss && len > 0 && h->seq == train->seq_end &&
	       (h->flags & ~AT_THE_END) == train->flags && h->sack_count == 0 &&
	       ecn == pkt_meta(train->pkt)->ecn && train->bytes + len <= t->config.tso_bytes_max;
}

bool
tcp_train_add(struct tcp *t, const struct tcphdr *h, const struct tcp_range *r, uint32_t len, uint32_t mss,
	      uint8_t ecn)
{
	struct tcp_train *train = &t->train;
	uint32_t total;

	if (!belongs_behind(t, h, len, mss, ecn))
		return false;
	total = pkt_total(train->pkt);
	if (!tcp_train_attach(t, train->pkt, r, h->seq, len) ||
	    pkt_segments(train->pkt) - 1 > t->config.tso_pieces_max) {
		pkt_trim(train->pkt, pkt_total(train->pkt) - total);
		tcp_train_end(t);
		return false;
	}
	train->seq_end += len;
	train->bytes += len;
	pkt_data(train->pkt)[TCPHDR_FLAGS_OFFSET] |= h->flags & AT_THE_END;
	if (len < mss || h->flags & AT_THE_END)
		tcp_train_end(t);
	return true;
}

void
tcp_train_end(struct tcp *t)
{
	struct tcp_train *train = &t->train;
	struct pkt *p = train->pkt;

	if (p == NULL)
		return;
	if (train->bytes > train->mss)
		pkt_meta(p)->tso_mss = (uint16_t)train->mss;
	train->pkt = NULL;
	tcp_emit_queue(t, p);
}
