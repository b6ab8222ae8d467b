/*
 * Explicit congestion notification (RFC 3168). A queue marks a packet instead of dropping it; the receiver says so
 * in every ACK (ECE) until the sender has reduced its window and told so (CWR).
 *
 * New data alone carries ECT(0): what is sent again, a probe of a closed window or a bare ACK may not
 * (sections 6.1.4 to 6.1.6). A SYN with any other combination of the two flags opens without; one that asks for
 * more accurate feedback (RFC 9768) sets both and is answered like this one.
 */
#include "tcp/internal.h"

#define ECN_ECT0 2u
#define ECN_CE 3u

bool
tcp_ecn_is_offered(const struct tcphdr *syn)
{
	return (syn->flags & (TCPHDR_ECE | TCPHDR_CWR)) == (TCPHDR_ECE | TCPHDR_CWR);
}

bool
tcp_ecn_is_taken(const struct tcphdr *syn_ack)
{
	return (syn_ack->flags & (TCPHDR_ECE | TCPHDR_CWR)) == TCPHDR_ECE;
}

void
tcp_ecn_received(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s)
{
	if (!c->ecn_ok)
		return;
	/* A flight may last for longer than numbers can be compared. */
	if (c->flight != NULL && c->flight->ecn_seen && seq_gt(c->snd_una, c->flight->ecn_end))
		c->flight->ecn_seen = false;
	if (s->h.flags & TCPHDR_CWR)
		c->ecn_echo = false;
	if (s->ecn == ECN_CE && s->len > 0) {
		t->stats.ecn_marks++;
		c->ecn_echo = true;
	}
}

bool
tcp_ecn_wants_reduction(const struct tcp_conn *c, const struct tcp_segment *s)
{
	const struct tcp_flight *f = c->flight;

	/* Once per window: until the peer can have seen our CWR, its ECE is the old one. */
	return c->ecn_ok && s->h.flags & TCPHDR_ECE && !c->ecn_cwr &&
	       (!f->ecn_seen || seq_gt(c->snd_una, f->ecn_end));
}

void
tcp_ecn_reduced(struct tcp_conn *c)
{
	c->ecn_cwr = c->ecn_ok;
	c->flight->ecn_seen = true;
	c->flight->ecn_end = c->snd_nxt;
}

uint8_t
tcp_ecn_of_data(const struct tcp_conn *c, struct tcphdr *h)
{
	if (!c->ecn_ok || seq_lt(h->seq, c->snd_max) || c->snd_wnd == 0)
		return 0;
	if (c->ecn_cwr)
		h->flags |= TCPHDR_CWR;
	return ECN_ECT0;
}
