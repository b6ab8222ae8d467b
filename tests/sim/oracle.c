/*
 * Right and wrong as anybody can see it on the wire, without looking into an engine: what a
 * segment claims must agree with everything both sides said before.
 */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "stream.h"

#define TIMESTAMP_HALF_NS (24 * 86400 * NSEC_PER_SEC)

static int32_t
distance(uint32_t to, uint32_t from)
{
	return (int32_t)(to - from);
}

static struct pair *
pair_of(struct world *w, const struct segment *s, uint32_t *side)
{
	/* The newest first: ports may have been used before. */
	for (uint32_t i = w->plan.pairs; i-- > 0;) {
		struct pair *p = &w->pair[i];
		const struct tcp_tuple *t = &p->tuple;

		if (!p->is_started)
			continue;
		if (t->local_port == s->src_port && t->remote_port == s->dst_port &&
		    memcmp(&t->local, &s->src, 16) == 0 && memcmp(&t->remote, &s->dst, 16) == 0) {
			*side = 0;
			return p;
		}
		if (t->local_port == s->dst_port && t->remote_port == s->src_port &&
		    memcmp(&t->local, &s->dst, 16) == 0 && memcmp(&t->remote, &s->src, 16) == 0) {
			*side = 1;
			return p;
		}
	}
	return NULL;
}

static void
wrong(const struct world *w, const struct pair *p, const struct segment *s, uint32_t side,
      const char *what)
{
	char text[400];

	segment_format(s, p->flow[side].isn, p->flow[1 - side].isn, text, sizeof(text));
	sim_fail(w, "pair %u, %s sends: %s\n  %s", p->index, side == 0 ? "client" : "server", text,
		 what);
}

/* A server whose answers waited long in its queue may have offered two numbers; the one that the client took
 * or that the server goes on from is the one. */
static void
settle_isn(struct flow *f, uint32_t number)
{
	uint32_t other = f->isn_before;
	bool has_ecn = f->has_ecn;

	if (!f->has_before || f->end != f->isn + 1 ||
	    (uint32_t)(number - other - 1) >= (uint32_t)(number - f->isn - 1))
		return;
	f->isn_before = f->isn;
	f->isn = other;
	f->end = other + 1;
	f->has_ecn = f->has_ecn_before;
	f->has_ecn_before = has_ecn;
}

/* RFC 3168 section 6.1.1. Of two that open at once, each has offered before it answers. */
static void
see_syn_ecn(const struct world *w, struct pair *p, const struct segment *s, uint32_t side)
{
	const uint32_t flags = s->flags & (SEGMENT_ECE | SEGMENT_CWR);
	bool is_answer = (s->flags & SEGMENT_ACK) != 0;

	if (s->ecn != 0)
		wrong(w, p, s, side, "its SYN may be marked");
	if (is_answer && !p->plan->simultaneous && flags != 0 && flags != SEGMENT_ECE)
		wrong(w, p, s, side, "answers ECN by more than ECE");
	if (is_answer && flags != 0 && !p->flow[1 - side].has_ecn)
		wrong(w, p, s, side, "takes ECN that was not offered");
	if (!is_answer && flags != 0 && flags != (SEGMENT_ECE | SEGMENT_CWR))
		wrong(w, p, s, side, "offers half of ECN");
	p->flow[side].has_ecn |= flags != 0;
}

static void
see_syn(struct world *w, struct pair *p, const struct segment *s, uint32_t side)
{
	struct flow *f = &p->flow[side];

	if (f->is_known && s->seq != f->isn) {
		if (side == 1 && (p->end[1].is_over || (f->has_before && s->seq != f->isn_before))) {
			/* Over, and an old SYN opens it again; or its third number. */
			p->is_watched = false;
			return;
		}
		/* A cookie changes with its clock, as long as nothing was built on it. */
		if (side == 0 || p->plan->simultaneous || f->end != f->isn + 1)
			wrong(w, p, s, side, "its SYN has another sequence number than before");
		*f = (struct flow){
			.has_before = true,
			.isn_before = f->isn,
			.has_ecn_before = f->has_ecn,
			.has_ce = f->has_ce,
		};
	}
	if (!f->is_known) {
		f->is_known = true;
		f->isn = s->seq;
		f->end = s->seq + 1;
		f->ts_last = s->ts_val;
		f->ts_at_ns = w->now_ns;
	}
	if (!s->has_mss)
		wrong(w, p, s, side, "its SYN has no MSS (MUST-14)");
	if (s->payload.len > 0)
		wrong(w, p, s, side, "its SYN carries data");
	f->mss = s->mss;
	f->has_wscale = s->has_wscale;
	f->wscale = s->wscale;
	f->has_ts = s->has_ts;
	f->has_sack_ok = s->has_sack_ok;
	see_syn_ecn(w, p, s, side);
	if ((s->flags & SEGMENT_ACK) != 0) {
		const struct flow *g = &p->flow[1 - side];

		if (!g->is_known || s->ack != g->isn + 1)
			wrong(w, p, s, side, "its SYN acknowledges something else than a SYN");
		if ((s->has_wscale && !g->has_wscale) || (s->has_ts && !g->has_ts) ||
		    (s->has_sack_ok && !g->has_sack_ok))
			wrong(w, p, s, side, "answers with an option that was not offered");
		/* An old SYN may be answered once more when everything is over: that promises nothing less. */
		if (!f->has_edge || distance(s->ack + s->window, f->edge) > 0)
			f->edge = s->ack + s->window;
		if (!f->has_edge || distance(s->ack, f->ack) > 0)
			f->ack = s->ack;
		f->has_edge = true;
	}
}

static uint32_t
window_of(const struct flow *f, const struct flow *g, const struct segment *s)
{
	if (f->has_wscale && g->has_wscale && (s->flags & SEGMENT_SYN) == 0)
		return (uint32_t)s->window << (f->wscale > 14 ? 14 : f->wscale);
	return s->window;
}

static void
see_ack(struct world *w, struct pair *p, const struct segment *s, uint32_t side)
{
	struct flow *f = &p->flow[side];
	const struct flow *g = &p->flow[1 - side];
	uint32_t edge = s->ack + window_of(f, g, s);
	bool ack_back;
	bool edge_back;

	if ((s->flags & SEGMENT_ACK) == 0)
		wrong(w, p, s, side, "has no ACK");
	if (!g->is_known || distance(s->ack, g->isn) < 1 || distance(s->ack, g->end) > 0)
		wrong(w, p, s, side, "acknowledges what was never sent");
	/* Behind the other side's FIN nothing can come: the window says nothing any more. */
	ack_back = f->has_edge && distance(s->ack, f->ack) < 0;
	edge_back = f->has_edge && distance(edge, f->edge) < 0 && !(g->fin_known && s->ack == g->fin_seq + 1);
	if (side == 1 && p->end[1].is_over && (ack_back || edge_back)) {
		/* Over, and an old SYN or a cookie's old ACK opens it again, with the number that it had. */
		p->is_watched = false;
		return;
	}
	if (ack_back)
		wrong(w, p, s, side, "takes an acknowledgment back");
	if (edge_back)
		wrong(w, p, s, side, "takes offered window back");
	f->ack = s->ack;
	f->edge = edge;
	f->has_edge = true;
}

static void
see_options(struct world *w, struct pair *p, const struct segment *s, uint32_t side)
{
	struct flow *f = &p->flow[side];
	const struct flow *g = &p->flow[1 - side];
	uint32_t mss = g->mss != 0 ? g->mss : w->plan.is_v6 ? 1220 : 536;

	if (s->has_mss || s->has_wscale || s->has_sack_ok)
		wrong(w, p, s, side, "has an option of a SYN");
	if (s->has_ts != (f->has_ts && g->has_ts))
		wrong(w, p, s, side, "has timestamps unlike negotiated");
	/* Beyond 24.8 days half of the numbers have passed, and nobody can tell. */
	if (s->has_ts && w->now_ns - f->ts_at_ns < TIMESTAMP_HALF_NS && distance(s->ts_val, f->ts_last) < 0)
		wrong(w, p, s, side, "its timestamp went back");
	if (s->has_ts) {
		f->ts_last = s->ts_val;
		f->ts_at_ns = w->now_ns;
	}
	if (s->payload.len + s->options.len > (mss < 48 ? 48 : mss))
		wrong(w, p, s, side, "is larger than the receiver's MSS");
	if (s->sacks > 0 && !(f->has_sack_ok && g->has_sack_ok))
		wrong(w, p, s, side, "has SACK unlike negotiated");
	for (uint32_t i = 0; i < s->sacks; i++) {
		const struct segment_sack *k = &s->sack[i];

		/* RFC 2883: the first block may repeat something acknowledged. */
		if (distance(k->right, k->left) <= 0 || distance(k->right, g->end) > 0 ||
		    (i > 0 && distance(k->left, s->ack) <= 0))
			wrong(w, p, s, side, "has an impossible SACK block");
	}
}

/* RFC 3168 sections 6.1.2 to 6.1.6: before see_data(), which moves the end. */
static void
see_ecn(const struct world *w, const struct pair *p, const struct segment *s, uint32_t side)
{
	const struct flow *f = &p->flow[side];
	const struct flow *g = &p->flow[1 - side];
	bool is_new = s->payload.len > 0 && distance(s->seq, f->end) >= 0;
	bool is_probe = g->has_edge && distance(s->seq + (uint32_t)s->payload.len, g->edge) > 0;

	if ((s->ecn != 0 || (s->flags & (SEGMENT_ECE | SEGMENT_CWR)) != 0) && !(f->has_ecn && g->has_ecn))
		wrong(w, p, s, side, "has ECN unlike negotiated");
	if (s->ecn != 0 && (s->ecn != SEGMENT_ECT0 || !is_new || is_probe))
		wrong(w, p, s, side, "may be marked, and is not new data");
	if ((s->flags & SEGMENT_CWR) != 0 && !is_new)
		wrong(w, p, s, side, "has CWR, and is not new data");
	if ((s->flags & SEGMENT_ECE) != 0 && !f->has_ce)
		wrong(w, p, s, side, "echoes a mark that never came");
}

static void
see_data(struct world *w, struct pair *p, const struct segment *s, uint32_t side)
{
	struct flow *f = &p->flow[side];
	const struct flow *g = &p->flow[1 - side];
	uint32_t position = s->seq - f->isn - 1;
	uint32_t end = s->seq + (uint32_t)s->payload.len;

	if (s->payload.len > 0) {
		if (position + s->payload.len > p->end[side].sent_bytes)
			wrong(w, p, s, side, "carries data that nobody wrote");
		if (stream_match(p->key[side], position, s->payload.ptr, s->payload.len) !=
		    s->payload.len)
			wrong(w, p, s, side, "carries other bytes than the stream has there");
		if (!g->has_edge || distance(end, g->edge) > 1)
			wrong(w, p, s, side, "goes beyond the offered window");
		if (f->fin_known && distance(end, f->fin_seq) > 0)
			wrong(w, p, s, side, "carries data behind its FIN");
	}
	if ((s->flags & SEGMENT_FIN) != 0) {
		if (f->fin_known && f->fin_seq != end)
			wrong(w, p, s, side, "its FIN moved");
		if (end - f->isn - 1 != p->end[side].sent_bytes)
			wrong(w, p, s, side, "its FIN is not behind what was written");
		f->fin_known = true;
		f->fin_seq = end;
		end++;
	}
	if (distance(end, f->end) > 0)
		f->end = end;
}

void
oracle_sent(struct world *w, struct host *h, const struct pkt *p)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct segment s;
	struct pair *pair;
	uint32_t side;

	if (!segment_parse_pkt(p, flat, &s))
		sim_fail(w, "host %u sends something that is no TCP segment", h->index);
	if (!segment_checksum_is_good(bytes_make(flat, pkt_total(p)), &s.src, &s.dst))
		sim_fail(w, "host %u sends a wrong checksum", h->index);
	if (memcmp(&s.src, &h->address, 16) != 0)
		sim_fail(w, "host %u sends from an address that it does not have", h->index);
	if (w->plan.is_hostile || s.options_bad) {
		if (s.options_bad)
			sim_fail(w, "host %u sends options that do not parse", h->index);
		return;
	}
	pair = pair_of(w, &s, &side);
	if (pair == NULL || !pair->is_watched || (s.flags & SEGMENT_RST) != 0)
		return;
	if (h->index != pair->end[side].host)
		sim_fail(w, "pair %u: host %u speaks for another", pair->index, h->index);
	if ((s.flags & SEGMENT_SYN) != 0) {
		see_syn(w, pair, &s, side);
		return;
	}
	settle_isn(&pair->flow[side], s.seq);
	settle_isn(&pair->flow[1 - side], s.ack);
	if (!pair->flow[side].is_known)
		wrong(w, pair, &s, side, "speaks before its SYN");
	see_ack(w, pair, &s, side);
	see_options(w, pair, &s, side);
	see_ecn(w, pair, &s, side);
	see_data(w, pair, &s, side);
}

void
oracle_arrived(struct world *w, const struct pkt *p)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct segment s;
	struct pair *pair;
	uint32_t side;

	if (pkt_meta(p)->ecn != SEGMENT_CE || !segment_parse_pkt(p, flat, &s))
		return;
	pair = pair_of(w, &s, &side);
	if (pair != NULL)
		pair->flow[1 - side].has_ce = true;
}
