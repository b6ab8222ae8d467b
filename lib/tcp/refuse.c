/*
 * What strangers can make us send, and how much of it (threats T2, T26). An answer is one segment,
 * longer than what asked for it by an MSS option at most, so nobody gains by lending us a victim's address; the
 * rates below keep the work small as well. A SYN's first answer has no rate: refusing it would be the attack.
 */
#include "tcp/internal.h"

/* GCRA: *full_at_ns is when the bucket will be full again. */
static bool
take(uint64_t *full_at_ns, uint64_t per_second, uint64_t burst, uint64_t now_ns)
{
	uint64_t from_ns = *full_at_ns > now_ns ? *full_at_ns : now_ns;

	if (from_ns - now_ns > (burst - 1) * (NSEC_PER_SEC / per_second))
		return false;
	*full_at_ns = from_ns + NSEC_PER_SEC / per_second;
	return true;
}

bool
tcp_syn_ack_may_repeat(struct tcp *t, uint64_t now_ns)
{
	return take(&t->syn_acks_full_at_ns, TCP_SYN_ACK_REPEATS_PER_SECOND, TCP_SYN_ACK_REPEATS_BURST,
		    now_ns);
}

void
tcp_input_refuse(struct tcp *t, const struct tcp_segment *s)
{
	struct tcphdr h = { 0 };

	if (s->h.flags & TCPHDR_RST)
		return;
	if (!take(&t->resets_full_at_ns, TCP_RESETS_PER_SECOND, TCP_RESETS_BURST, t->now_ns)) {
		t->stats.drops[ERR_TCP_RESET_LIMITED]++;
		return;
	}
	if (s->h.flags & TCPHDR_ACK) {
		h.seq = s->h.ack;
		h.flags = TCPHDR_RST;
	} else {
		h.ack = s->h.seq + tcp_segment_numbers(s);
		h.flags = TCPHDR_RST | TCPHDR_ACK;
	}
	if (tcp_emit_bare(t, &s->tuple, &h))
		t->stats.resets_out++;
}
