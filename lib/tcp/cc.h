#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tcp_conn;

/*
 * cc: how much may be in flight. The loss detector (input.c, timers.c) says what happened; only
 * these calls write cwnd, ssthresh and acked_bytes. One algorithm is linked in: cc_newreno.c.
 */

/* The connection is established: initial window (RFC 6928). */
void tcp_cc_init(struct tcp_conn *c);

/* bytes of new data were acknowledged, outside of recovery. */
void tcp_cc_acked(struct tcp_conn *c, uint32_t bytes);

/* A loss was found by duplicate ACKs; recovery begins. flight: bytes sent and not acknowledged. */
void tcp_cc_loss(struct tcp_conn *c, uint32_t flight);

/* One more duplicate ACK in recovery, n segments' worth. */
void tcp_cc_duplicate(struct tcp_conn *c, uint32_t n);

/* A partial ACK in recovery (RFC 6582 section 3.2 step 5). */
void tcp_cc_partial(struct tcp_conn *c, uint32_t bytes);

/* Recovery is over. */
void tcp_cc_recovered(struct tcp_conn *c, uint32_t flight);

/* The retransmission timer fired. first: for this piece of data. */
void tcp_cc_rto(struct tcp_conn *c, uint32_t flight, bool first);

/* Nothing was sent for longer than an RTO (RFC 5681 section 4.1). */
void tcp_cc_idle(struct tcp_conn *c);
