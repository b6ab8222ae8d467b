#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tcp;
struct tcp_conn;

/*
 * cc: how much may be in flight. loss.c says what happened. Only these calls and loss.c write cwnd and ssthresh:
 * loss.c for recovery (PRR), for what proved unnecessary (undo), and after a probe that repaired a loss.
 *
 * Slow start with HyStart++, the restart after idle and the timeout are common (cc.c). What a loss costs and how
 * congestion avoidance grows is the algorithm's (struct tcp_cc): CUBIC, or NewReno as a yardstick for tests.
 */
struct tcp_cc {
	/* The new ssthresh after a loss, not yet bounded from below; flight: what was in the network. */
	uint32_t (*reduce)(struct tcp_conn *c, uint32_t flight);
	/* bytes were acknowledged in congestion avoidance. */
	void (*avoid)(struct tcp_conn *c, uint32_t bytes, uint64_t now_ns);
};

extern const struct tcp_cc tcp_cc_cubic;
extern const struct tcp_cc tcp_cc_newreno;

#define TCP_CWND_MAX (UINT32_C(1) << 30)

/* The connection is established: initial window (RFC 6928). */
void tcp_cc_init(struct tcp_conn *c);

/* bytes of new data were acknowledged, outside of fast recovery. rtt_us: a round trip that this ACK measured, or
 * 0. */
void tcp_cc_acked(const struct tcp *t, struct tcp_conn *c, uint32_t bytes, uint32_t rtt_us, uint64_t now_ns);

/* A loss, or ECN's word: ssthresh falls. flight: bytes sent and not acknowledged. */
void tcp_cc_reduce(const struct tcp *t, struct tcp_conn *c, uint32_t flight);

/* The retransmission timer fired. first: for this piece of data. */
void tcp_cc_timeout(const struct tcp *t, struct tcp_conn *c, uint32_t flight, bool first);

/* Nothing was sent for longer than an RTO (RFC 5681 section 4.1). */
void tcp_cc_idle(struct tcp_conn *c);

/* cwnd, grown by bytes. */
void tcp_cc_grow(struct tcp_conn *c, uint32_t bytes);

/* Bytes that may go out in a burst, however fast the path: the initial window. */
uint32_t tcp_cc_burst(const struct tcp_conn *c);
