#pragma once

#include "base/check.h"
#include "base/err.h"
#include "base/pool.h"
#include "base/prng.h"
#include "base/siphash.h"
#include "base/timer.h"
#include "pkt/pkt.h"
#include "tcp/seq.h"
#include "tcp/tcp.h"
#include "wire/tcphdr.h"

/*
 * internal: what the files of this folder share. Nobody outside includes it, except tests.
 *
 * Every object is in the table at most once, under its four-tuple. A connection that
 * is over but whose owner has not closed it yet is in state CLOSED and not in the table.
 */

/* --- limits ---------------------------------------------------------------- */

#define TCP_COPY_BYTES_MAX 256u     /* payload up to here is copied, not referenced */
#define TCP_SEGMENT_PIECES_MAX 8u   /* payload pieces of one segment; drivers stop at 17 */
#define TCP_BURST_SEGMENTS_MAX 64u  /* one connection's segments per output call */
#define TCP_TRANSMIT_QUEUE_MAX 4096u /* segments that wait for tcp_transmit_next() */
#define TCP_CONN_RANGES_MIN 256u    /* queued pieces of one connection, or one per KiB of send_bytes_max */
#define TCP_CONN_RUNS_MIN 64u       /* out-of-order runs of one connection, or one per KiB of its window */
#define TCP_TIMERS_PER_ADVANCE 1024u /* timers that one tcp_advance() fires */
#define TCP_PORT_TRIES_MAX 4096u    /* candidates of one active open */
#define TCP_MSS_MIN 48u             /* a smaller offer is taken as this (as Linux) */
#define TCP_MSS_DEFAULT_V4 536u     /* RFC 9293 MUST-15 */
#define TCP_MSS_DEFAULT_V6 1220u
#define TCP_QUICK_ACKS 16u          /* first segments of a connection, acknowledged at once */
#define TCP_SACK_BLOCKS_MAX 3u      /* what fits beside timestamps */
#define TCP_RECV_BYTES_MAX (UINT32_C(32) << 20) /* a gigabit for 150 ms is 18.75 MB */
#define TCP_TUNE_RTT_MS_MAX 10000 /* a longer round trip than any that a window is tuned to */

/* RFC 5961 section 7: answers to suspicious segments without data, per connection. */
#define TCP_CHALLENGES_MAX 10u
#define TCP_CHALLENGE_WINDOW_NS (5 * NSEC_PER_SEC)

/* What strangers can make a worker send (refuse.c). */
#define TCP_RESETS_PER_SECOND 10000u
#define TCP_RESETS_BURST 1000u
#define TCP_SYN_ACK_REPEATS_PER_SECOND 2000u
#define TCP_SYN_ACK_REPEATS_BURST 200u

/* --- times ----------------------------------------------------------------- */

#define TCP_RTO_INITIAL_NS (1 * NSEC_PER_SEC)      /* RFC 6298 section 2.1 */
#define TCP_RTO_AFTER_SYN_LOSS_NS (3 * NSEC_PER_SEC) /* section 5.7 */
#define TCP_RTO_MAX_NS (60 * NSEC_PER_SEC)
#define TCP_SYN_TIMEOUT_NS (180 * NSEC_PER_SEC)    /* RFC 9293 MUST-23 */
#define TCP_RETRY_NS (5 * NSEC_PER_MSEC)           /* after an empty pool */
#define TCP_PERSIST_SILENT_MAX 3u                  /* then a probe carries a byte */
#define TCP_TIME_WAIT_REUSE_NS (1 * NSEC_PER_SEC)
#define TCP_PAWS_VALID_NS (24 * 86400 * NSEC_PER_SEC) /* RFC 7323 section 5.5 */
#define TCP_COOKIE_STEP_NS (64 * NSEC_PER_SEC)
#define TCP_COOKIE_KEY_STEPS 64u                   /* of one key: 68 minutes */
#define TCP_COOKIE_WATCH_NS (120 * NSEC_PER_SEC)   /* cookies count this long after an eviction */

/* --- objects ----------------------------------------------------------------- */

/* Circular list, in connections and half-open entries. A place is a link's distance from struct tcp in fours
 * of bytes: every link lies in the memory that begins there, and a million connections have two. */
struct tcp_link {
	uint32_t next; /* 0: not on a list */
	uint32_t prev;
};

/* What a timer belongs to (struct timer.kind). */
enum tcp_timer_kind {
	TCP_TIMER_CONN,
	TCP_TIMER_HALF_OPEN,
	TCP_TIMER_TIME_WAIT,
};

enum tcp_state {
	TCP_CLOSED,
	TCP_SYN_SENT,
	TCP_SYN_RCVD, /* of a simultaneous open; a passive one is half-open, not a connection */
	TCP_ESTABLISHED,
	TCP_FIN_WAIT_1,
	TCP_FIN_WAIT_2,
	TCP_CLOSE_WAIT,
	TCP_CLOSING,
	TCP_LAST_ACK,
	TCP_TIME_WAIT, /* only on the way to a struct tcp_time_wait */
	TCP_STATES
};

/* A queued piece of stream: one payload segment, or a part of it. */
struct tcp_range {
	struct tcp_range *next;
	struct pkt *pkt;
	uint32_t seq;
	uint32_t len;
	uint32_t offset; /* in pkt */
};

/* --- what is in flight (flight.c, loss.c) ------------------------------------------ */

enum tcp_sent_flags {
	TCP_SENT_SACKED = 1 << 0,
	TCP_SENT_LOST = 1 << 1,   /* found lost; stays until it is SACKed or acknowledged */
	TCP_SENT_RESENT = 1 << 2, /* and a retransmission of it is in flight */
	TCP_SENT_FIN = 1 << 3,    /* the FIN follows its payload */
};

/* A segment in flight. */
struct tcp_sent {
	uint32_t seq;
	uint32_t sent_us; /* last transmission: worker's clock, modulo 2^32 */
	uint32_t range;   /* index of the range that seq lies in */
	uint16_t len;     /* payload */
	uint8_t flags;    /* enum tcp_sent_flags */
	uint8_t sends;    /* up to UINT8_MAX */
};

#define TCP_BLOCK_BYTES 256u
#define TCP_CHUNK_SENT 15u

/* Segments in the order of their numbers; only the first chunk of a flight has some missing in front. */
struct tcp_chunk {
	struct tcp_chunk *next;
	uint8_t first;  /* sent[first] to sent[stop - 1] are in flight */
	uint8_t stop;
	uint8_t open;   /* of them, neither SACKed nor waiting for retransmission */
	uint8_t resend; /* of them, lost, not SACKed and not sent again yet */
	struct tcp_sent sent[TCP_CHUNK_SENT];
};

enum tcp_flight_mode {
	TCP_FLIGHT_OPEN,     /* no loss known */
	TCP_FLIGHT_RECOVERY, /* fast recovery by PRR, until recover is acknowledged */
	TCP_FLIGHT_REDUCED,  /* the same without a loss: the path said ECN-CE (RFC 3168) */
	TCP_FLIGHT_TIMEOUT,  /* after an RTO, until recover is acknowledged */
};

/* What a connection needs only while something is in flight; lent from the pool of blocks, as chunks are. */
struct tcp_flight {
	struct tcp_chunk *head;
	struct tcp_chunk *tail;
	uint64_t pace_at_ns; /* the pacer's clock: when what was sent so far has left at its rate */
	uint64_t wake_at_ns; /* the pacer stopped output until then; NEVER_NS: it did not */
	/* numbers in [una, nxt) */
	uint32_t sacked_bytes;
	uint32_t sacked_segments;
	uint32_t lost_bytes;      /* flagged LOST, not SACKed */
	uint32_t resent_bytes;    /* flagged RESENT, not SACKed */
	uint32_t duplicate_bytes; /* without SACK: what duplicate ACKs stand for (RFC 5681, RFC 6582) */
	uint32_t fack;            /* end of the highest SACKed segment; una before there is one */
	/* RACK (RFC 8985 section 5.3) */
	uint32_t rack_us;     /* transmission of the segment sent last of those delivered */
	uint32_t rack_end;    /* its end */
	uint32_t rack_rtt_us; /* its round trip */
	uint32_t dsack_round;
	uint64_t rto_at_ns; /* when the RTO is due, whatever the slot waits for until then */
	/* recovery */
	uint32_t recover; /* nxt when it began */
	uint32_t prr_delivered;
	uint32_t prr_out;
	uint32_t prr_flight; /* RecoverFS */
	uint32_t undo_cwnd;
	uint32_t undo_ssthresh;
	uint32_t undo_top;
	uint32_t undo_ts; /* of the first retransmission (RFC 3522) */
	uint32_t timeout_una; /* una at the last RTO */
	uint32_t dupacks;
	uint32_t limited_end; /* cwnd counts as used until this is acknowledged */
	uint32_t ecn_end;     /* the window was reduced for all before this */
	uint8_t mode;         /* enum tcp_flight_mode */
	bool has_rack : 1;    /* the three are set */
	bool dsack_seen : 1;  /* dsack_round is set */
	bool can_undo : 1;    /* undo_cwnd is set */
	bool has_resent : 1;  /* undo_ts is set */
	bool ecn_seen : 1;    /* ecn_end is set */
	bool cwnd_limited : 1;
	/* HyStart++ (RFC 9406) */
	uint8_t round_samples;
	uint8_t css_rounds; /* 0: not in conservative slow start */
	uint32_t round_end;
	uint32_t round_min_us;
	uint32_t last_min_us;
	uint32_t css_base_us;
	/* congestion avoidance: CUBIC's epoch (RFC 9438), or bytes towards NewReno's next step */
	bool in_epoch;
	uint32_t epoch_ms;
	uint32_t k_ms;
	uint32_t origin;     /* W_max of this epoch */
	uint32_t estimate;   /* W_est */
	uint64_t carry;      /* of a division by cwnd */
	uint64_t estimate_carry;
};

/* A run of received bytes beyond a hole, lent from the same pool as ranges. */
struct tcp_run {
	struct pkt *head; /* its payload, through queue_next */
	struct pkt *tail;
	uint32_t pkts;
	uint32_t start;
	uint32_t end;
	/* runs.c; places are indices of the pool + 1, and 0 is none */
	uint32_t left;
	uint32_t right;
	uint32_t count; /* of runs: it and those below it */
	uint32_t newer; /* changed after it */
	uint32_t older;
};

/* What the retransmission slot waits for; they exclude each other. */
enum tcp_rtx_kind {
	TCP_RTX_NONE,
	TCP_RTX_RTO,
	TCP_RTX_PERSIST,  /* window closed, nothing in flight */
	TCP_RTX_OVERRIDE, /* window smaller than a segment, or the owner holds less; nothing in flight */
	TCP_RTX_PROBE,    /* tail loss probe (RFC 8985 section 7) */
	TCP_RTX_REORDER,  /* RACK waits whether a segment was only overtaken */
};

struct tcp_conn {
	/* demux and receive */
	struct tcp_tuple tuple;
	uint8_t state; /* enum tcp_state; tcp_conn_set_state() is the only writer */
	uint8_t snd_shift;
	uint8_t rcv_shift;
	uint8_t rtx_kind; /* enum tcp_rtx_kind */
	uint32_t rcv_nxt;
	uint32_t rcv_adv; /* right edge promised; written by the emitter only */
	uint32_t snd_una;
	uint32_t snd_nxt; /* what the flight tells about ends here */
	uint32_t snd_max; /* highest ever sent + 1: a window probe's byte, and what was rewound, lie behind nxt */
	uint32_t snd_end; /* end of the queue: the FIN's number once it is queued */
	uint32_t snd_wnd;
	uint32_t snd_wl1;
	uint32_t snd_wl2;
	uint32_t snd_wnd_max;
	uint32_t ts_recent;
	uint32_t ts_offset;
	uint32_t ts_recent_at_s; /* worker's clock, modulo 2^32 */
	uint32_t last_ack_sent; /* written by the emitter only */
	uint32_t iss;
	uint32_t irs;
	uint16_t mss_path; /* segment size without options: ours, the peer's and the path's minimum */
	uint16_t mss;      /* payload of a full segment: mss_path less the options always sent */
	uint16_t mss_seen; /* largest payload received: what the peer sends as a full segment */
	uint8_t retries;   /* of the SYN */
	uint8_t keepalive_probes;

	/* flags */
	bool in_table : 1;
	bool orphan : 1;       /* tcp_close() was called: nobody holds the handle */
	bool ts_ok : 1;
	bool sack_ok : 1;
	bool passive : 1;
	bool fin_queued : 1;
	bool fin_seen : 1;     /* peer's FIN received, at fin_seq, maybe beyond a hole */
	bool fin_done : 1;     /* and reached */
	bool more : 1;         /* the last tcp_send() said so */
	bool ack_now : 1;
	bool ack_each : 1;     /* ack_now for a segment out of order: not together with the next one's */
	bool ack_pending : 1;
	bool dsack : 1;        /* dsack_start and dsack_end wait to be reported */
	bool send_anyway : 1;  /* override timer fired: send less than a segment */
	bool send_probe : 1;   /* persist or keep-alive probe is due */
	bool send_tail : 1;    /* tail loss probe is due */
	bool is_probing : 1;   /* a tail loss probe is out */
	bool probe_resent : 1; /* and it was a retransmission */
	bool reordering_seen : 1; /* RACK: this path overtakes */
	bool notify : 1;
	bool soft_error : 1;   /* an ICMP error was seen since the last progress */
	bool syn_retried : 1;  /* one SYN was sent again at once after a bad ACK */
	bool ecn_ok : 1;       /* RFC 3168 was agreed on */
	bool ecn_echo : 1;     /* a mark came in; said until the peer answers by CWR */
	bool ecn_cwr : 1;      /* the window was reduced; the next new segment says so */
	bool path_narrowed : 1; /* a router said that a segment was too large */
	bool needs_more : 1;    /* its owner can use nothing of less than TCP_NEED_BYTES */
	bool held : 1;          /* its owner is about to send more */
	bool pushed : 1;        /* but what is queued goes, as far as windows let it */
	uint8_t challenges;
	uint8_t quick_acks; /* segments still acknowledged at once */
	uint8_t policy;     /* index of config.policies */
	uint8_t listener;   /* index, of a passive one */

	/* congestion control and loss */
	struct tcp_flight *flight; /* NULL: nothing of the stream is in flight */
	uint32_t cwnd;
	uint32_t ssthresh;
	uint32_t cwnd_top;         /* CUBIC's W_max */
	uint32_t probe_end;        /* nxt when the tail loss probe went out */
	uint32_t rtt_min_us;       /* 0: none */
	uint32_t rtt_min_at_ms;    /* worker's clock, modulo 2^32 */
	uint8_t reorder_steps;     /* RACK: the window in quarters of the minimal round trip */
	uint8_t reorder_rounds;    /* recoveries that it is kept for */

	/* time */
	uint8_t backoff;
	uint8_t persist_silent; /* window probes without any answer */
	uint32_t srtt_us;       /* 0: no sample yet */
	uint32_t rttvar_us;
	uint32_t rto_us; /* without backoff */
	uint64_t progress_at_ns;   /* una moved, or the first byte went out */
	uint64_t heard_at_ns;      /* last acceptable segment */
	uint64_t rtx_at_ns;        /* rtx_kind's deadline */
	uint64_t output_at_ns;     /* delayed ACK, or another try after an empty pool */
	uint64_t idle_at_ns;       /* keep-alive, or the end of an orphan's FIN-WAIT-2 */
	uint32_t sent_at_ms;       /* last data, for the restart after idle; worker's clock, modulo 2^32 */
	uint32_t challenge_at_ms;  /* begin of the window that challenges counts in */
	struct timer timer; /* at the earliest deadline, or before it */

	/* queues */
	struct tcp_range *send_head_range;
	struct tcp_range *send_tail_range;
	struct tcp_range *send_next_range; /* the one that snd_nxt lies in; NULL: no payload is unsent */
	uint32_t ranges;
	uint32_t rcv_max;        /* window offered at most; grows (window.c) */
	uint32_t tune_seq;       /* rcv_nxt when the round of measuring began */
	uint32_t tune_at_us;     /* when that was: worker's clock, modulo 2^32 */
	uint32_t tune_rtt_us;    /* the receiver's estimate of the round trip; 0: none */
	uint32_t slow_since_ms;  /* when it began to wait for slow_end: worker's clock, modulo 2^32 */
	uint32_t rcv_unconsumed; /* in order, not yet tcp_consumed() */
	uint32_t rcv_truesize;   /* memory of what is queued here, in order or not */
	struct pkt_queue rcvq;
	uint32_t runs;       /* root of the out-of-order runs (runs.c) */
	uint32_t newest_run; /* the one that changed last */
	uint32_t fin_seq;
	uint32_t dsack_start;
	uint32_t dsack_end;
	uint32_t slow_end; /* what has to be acknowledged and consumed to be not slow (pressure.c) */

	/* owner */
	uint64_t user;
	uint32_t notify_below_bytes;
	struct tcp_link output_link;
	struct tcp_link event_link;
	uint16_t events; /* enum tcp_event_bits collected */
	uint16_t reason; /* enum err */
};

/* SYN received, SYN-ACK sent (RFC 4987 section 3.5). */
struct tcp_half_open {
	struct tcp_tuple tuple;
	uint32_t irs;
	uint32_t iss;
	uint32_t ts_recent;
	uint16_t window;
	uint16_t mss;
	uint8_t shift;
	uint8_t retries;
	bool has_shift : 1;
	bool ts_ok : 1;
	bool sack_ok : 1;
	bool acked : 1; /* the last ACK came, but there was no connection left */
	bool ecn_ok : 1;
	uint8_t challenges;
	struct timer timer;
	struct tcp_link age; /* oldest first */
};

struct tcp_time_wait {
	struct tcp_tuple tuple;
	uint32_t rcv_nxt;
	uint32_t snd_nxt;
	uint32_t ts_recent;
	uint32_t entered_ms; /* worker's clock, modulo 2^32 */
	uint32_t prev;       /* index + 1; oldest first */
	uint32_t next;
	uint16_t window;
	uint16_t ts_ok;
};

CHECK_STATIC(sizeof(struct tcp_sent) == 16, "a segment in flight");
CHECK_STATIC(sizeof(struct tcp_chunk) <= TCP_BLOCK_BYTES, "a block");
CHECK_STATIC(sizeof(struct tcp_flight) <= TCP_BLOCK_BYTES, "a block");
CHECK_STATIC(sizeof(struct tcp_run) == 48, "lent from one pool with ranges");
CHECK_STATIC(sizeof(struct tcp_time_wait) == 64, "one cache line in TIME-WAIT");
CHECK_STATIC(sizeof(struct tcp_half_open) <= 80, "with its share of pool and table, 96 half-open");
CHECK_STATIC(sizeof(struct tcp_conn) <= 368, "with its share of pool and table, 384 for an idle connection");
CHECK_STATIC(ERR_COUNT <= UINT16_MAX, "a reason");

/* --- the table ----------------------------------------------------------------- */

/* A reference in the table: two bits of kind, thirty of pool index. 0: nothing. */
enum tcp_ref_kind {
	TCP_REF_NONE = 0,
	TCP_REF_CONN = 1,
	TCP_REF_HALF_OPEN = 2,
	TCP_REF_TIME_WAIT = 3,
};

#define TCP_BUCKET_REFS 10

struct tcp_bucket {
	uint16_t tag[TCP_BUCKET_REFS];
	uint16_t overflow; /* references of buckets before and of this one that lie further on */
	uint16_t used;
	uint32_t ref[TCP_BUCKET_REFS];
};

CHECK_STATIC(sizeof(struct tcp_bucket) == 64, "one cache line");

struct tcp_table {
	struct tcp_bucket *buckets;
	uint32_t bucket_count;
	uint32_t refs;
	uint32_t refs_max;
	struct siphash_key key;
};

struct tcp_listener {
	bool used;
	uint16_t port;
	struct ip_addr local; /* all zero: any */
	uint64_t user;
};

/* The key of TCP_COOKIE_KEY_STEPS steps. */
struct tcp_cookie_key {
	uint64_t epoch; /* + 1 */
	struct siphash_key key;
};

/* The packet that a connection's output still adds segments to, for a port that cuts it (train.c). */
struct tcp_train {
	struct pkt *pkt; /* NULL: none; never outlives tcp_output() */
	uint32_t seq_end;
	uint32_t mss;   /* payload of each segment but the last */
	uint32_t bytes; /* payload so far */
	uint8_t flags;  /* of all segments, and PSH and FIN of the last */
};

struct tcp {
	struct tcp_config config; /* defaults filled in */
	struct pkt_pool *header_pool;
	struct pkt_pool *bare_pool;
	uint64_t now_ns; /* of the latest call that had one */
	struct siphash_key isn_key;
	struct siphash_key ts_key;
	struct siphash_key cookie_secret; /* the same in all workers */
	struct tcp_cookie_key cookie_keys[2]; /* of an even and an odd epoch */
	struct prng prng;
	struct timer_wheel wheel;
	struct tcp_table table;
	struct pool conns;
	struct pool half_opens;
	struct pool time_waits;
	const struct tcp_cc *cc;
	struct pool ranges;
	struct pool blocks; /* flights and chunks */
	uint32_t conn_ranges_max;
	struct pkt_queue transmit;
	struct tcp_train train;
	struct tcp_link output_list;
	struct tcp_link turn_list; /* those of output_list whose turn is now */
	struct tcp_link event_list;
	struct tcp_link half_open_list;
	struct tcp_link orphan_list; /* through event_link, oldest first */
	uint32_t time_wait_head; /* index + 1 */
	uint32_t time_wait_tail;
	struct timer time_wait_timer;
	uint64_t resets_full_at_ns;
	uint64_t syn_acks_full_at_ns;
	uint64_t evicted_at_ns; /* last eviction of a half-open; 0: never */
	uint64_t looked_at_ns; /* pressure.c: the latest look at the pools */
	bool look_due;         /* something may have filled them since */
	uint32_t walk_at;      /* the connection that its walk comes to next */
	uint32_t walk_left;    /* connections to look at since the edges may move again */
	struct tcp_listener listeners[TCP_LISTENERS_MAX];
	struct tcp_stats stats;
};

/* A received segment on its way through input. */
struct tcp_segment {
	struct tcphdr h;
	struct tcp_tuple tuple; /* as we see it: local is the destination */
	struct pkt *pkt;        /* payload only; NULL once somebody took it */
	uint32_t seq;           /* of the first byte still in pkt */
	uint32_t len;           /* payload bytes still in pkt */
	bool fin;               /* h.flags has it, and it was not trimmed off */
	uint8_t ecn;            /* IP's field */
};

#define TCP_LINK_REACH_BYTES ((size_t)UINT32_MAX * 4)

static inline uint32_t
tcp_link_place(const struct tcp *t, const struct tcp_link *link)
{
	return (uint32_t)((size_t)((const uint8_t *)link - (const uint8_t *)t) / 4);
}

static inline struct tcp_link *
tcp_link_at(const struct tcp *t, uint32_t place)
{
	return (struct tcp_link *)((uintptr_t)t + (uintptr_t)place * 4);
}

static inline void
tcp_link_init(struct tcp *t, struct tcp_link *list)
{
	list->next = tcp_link_place(t, list);
	list->prev = list->next;
}

static inline bool
tcp_link_is_linked(const struct tcp_link *link)
{
	return link->next != 0;
}

/* What follows link on its list; NULL at the end. */
static inline struct tcp_link *
tcp_link_next(const struct tcp *t, const struct tcp_link *list, const struct tcp_link *link)
{
	struct tcp_link *next = tcp_link_at(t, link->next);

	return next == list ? NULL : next;
}

static inline struct tcp_link *
tcp_link_first(const struct tcp *t, const struct tcp_link *list)
{
	return tcp_link_next(t, list, list);
}

static inline void
tcp_link_append(struct tcp *t, struct tcp_link *list, struct tcp_link *link)
{
	uint32_t self = tcp_link_place(t, link);

	link->prev = list->prev;
	link->next = tcp_link_place(t, list);
	tcp_link_at(t, list->prev)->next = self;
	list->prev = self;
}

static inline void
tcp_link_remove(struct tcp *t, struct tcp_link *link)
{
	if (link->next == 0)
		return;
	tcp_link_at(t, link->next)->prev = link->prev;
	tcp_link_at(t, link->prev)->next = link->next;
	link->next = 0;
	link->prev = 0;
}

/* Puts all of `from` in front of what `to` has; from is empty then. */
static inline void
tcp_link_prepend_all(struct tcp *t, struct tcp_link *to, struct tcp_link *from)
{
	if (tcp_link_first(t, from) == NULL)
		return;
	tcp_link_at(t, from->prev)->next = to->next;
	tcp_link_at(t, to->next)->prev = from->prev;
	to->next = from->next;
	tcp_link_at(t, to->next)->prev = tcp_link_place(t, to);
	tcp_link_init(t, from);
}

#define TCP_OWNER_OF(ptr, type, member) \
	((type *)(void *)((uint8_t *)(ptr) - offsetof(type, member)))

/* Sequence numbers that s takes. */
static inline uint32_t
tcp_segment_numbers(const struct tcp_segment *s)
{
	return s->len + (s->h.flags & TCPHDR_SYN ? 1 : 0) + (s->h.flags & TCPHDR_FIN ? 1 : 0);
}

static inline bool
tcp_tuple_equal(const struct tcp_tuple *a, const struct tcp_tuple *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

CHECK_STATIC(sizeof(struct tcp_tuple) == 36, "no padding: compared and hashed as bytes");

/* Bytes of stream queued and not acknowledged, the virtual ones not counted. */
static inline uint32_t
tcp_conn_queued(const struct tcp_conn *c)
{
	return c->send_head_range == NULL ? 0 : c->snd_end - c->send_head_range->seq;
}

/* One past the last number that will ever be sent as things stand: the FIN counts. */
static inline uint32_t
tcp_conn_send_limit(const struct tcp_conn *c)
{
	return c->snd_end + (c->fin_queued ? 1 : 0);
}

static inline bool
tcp_conn_is_synchronized(const struct tcp_conn *c)
{
	return c->state >= TCP_ESTABLISHED;
}

static inline uint32_t
tcp_conn_timestamp(const struct tcp_conn *c, uint64_t now_ns)
{
	return (uint32_t)(now_ns / NSEC_PER_MSEC) + c->ts_offset;
}

/* --- lookup.c ------------------------------------------------------------------- */

uint32_t tcp_table_buckets(uint32_t refs_max);
size_t tcp_table_bytes(uint32_t refs_max);
void tcp_table_init(struct tcp_table *table, void *memory, uint32_t refs_max,
		    struct siphash_key key);
/* The reference of what has this tuple; 0 if nothing. */
uint32_t tcp_table_find(const struct tcp *t, const struct tcp_tuple *tuple);
/* In steps, for a burst: the hash, its bucket on the way to the cache, what is probably meant, and what is. */
uint64_t tcp_table_hash(const struct tcp *t, const struct tcp_tuple *tuple);
void tcp_table_prefetch(const struct tcp *t, uint64_t hash_value);
uint32_t tcp_table_peek(const struct tcp *t, uint64_t hash_value);
uint32_t tcp_table_find_hashed(const struct tcp *t, const struct tcp_tuple *tuple, uint64_t hash_value);
/* The tuple must not be in the table. */
void tcp_table_insert(struct tcp *t, const struct tcp_tuple *tuple, uint32_t ref);
/* ref must be there under its tuple. */
void tcp_table_remove(struct tcp *t, const struct tcp_tuple *tuple, uint32_t ref);

static inline uint32_t
tcp_ref_make(enum tcp_ref_kind kind, uint32_t index)
{
	return (uint32_t)kind << 30 | index;
}

static inline enum tcp_ref_kind
tcp_ref_kind(uint32_t ref)
{
	return (enum tcp_ref_kind)(ref >> 30);
}

static inline uint32_t
tcp_ref_index(uint32_t ref)
{
	return ref & (POOL_COUNT_MAX - 1);
}

/* The mapped form, ::ffff:a.b.c.d. */
static inline bool
tcp_address_is_v4(const struct ip_addr *a)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a->byte, prefix, sizeof(prefix)) == 0;
}

/* --- conn.c --------------------------------------------------------------------- */

/* In the table, state CLOSED, nothing sent. NULL when the pool is empty. */
struct tcp_conn *tcp_conn_open(struct tcp *t, const struct tcp_tuple *tuple, uint32_t iss,
			       uint64_t now_ns);
void tcp_conn_set_state(struct tcp_conn *c, enum tcp_state state);
/* What the peer's SYN or SYN-ACK said, and what we answered: sequence numbers, shifts, segment sizes. */
void tcp_conn_set_peer(struct tcp *t, struct tcp_conn *c, const struct tcphdr *syn, uint64_t now_ns);
void tcp_conn_set_mss(struct tcp_conn *c, uint32_t mss_path);
/* Our segment size towards an address, without options. */
uint16_t tcp_conn_own_mss(const struct tcp *t, const struct ip_addr *remote);
/* SYN_SENT or SYN_RCVD is over. */
void tcp_conn_established(struct tcp *t, struct tcp_conn *c, uint64_t now_ns);
/* Ends a connection without a word: out of the table, queues freed. reason ERR_OK: an orderly end.
 * An orphan is freed, c is gone. */
void tcp_conn_end(struct tcp *t, struct tcp_conn *c, enum err reason);
/* The same, after a reset to the peer. */
void tcp_conn_reset(struct tcp *t, struct tcp_conn *c, enum err reason);
/* Collects an event for the owner. */
void tcp_conn_notify(struct tcp *t, struct tcp_conn *c, uint32_t bits);
/* WRITABLE, if it was asked for and its moment has come. */
void tcp_conn_notify_writable(struct tcp *t, struct tcp_conn *c);
/* Has output run for c at the end of the burst. */
void tcp_conn_touch(struct tcp *t, struct tcp_conn *c);
/* Frees what the queue has up to ack (a number of the stream). */
void tcp_conn_release(struct tcp *t, struct tcp_conn *c, uint32_t ack);
/* Nobody holds the handle any more. */
void tcp_conn_orphan(struct tcp *t, struct tcp_conn *c);
bool tcp_address_is_usable(const struct ip_addr *address);

/* --- input.c --------------------------------------------------------------------- */

/* One segment for a connection. Takes s->pkt or leaves it there for the caller to free. */
enum err tcp_input_conn(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s, uint64_t now_ns);
/* Leave to answer a dataless segment (RFC 5961 section 7). */
bool tcp_challenge_allowed(struct tcp_conn *c, uint64_t now_ns);

/* --- listen.c -------------------------------------------------------------------- */

struct tcp_listener *tcp_listener_find(const struct tcp *t, const struct ip_addr *local, uint16_t port);
/* A segment for no object of the table. */
enum err tcp_input_listen(struct tcp *t, struct tcp_segment *s, uint64_t now_ns);
enum err tcp_input_half_open(struct tcp *t, struct tcp_half_open *h, struct tcp_segment *s,
			     uint64_t now_ns);
void tcp_half_open_expired(struct tcp *t, struct tcp_half_open *h, uint64_t now_ns);
void tcp_half_open_free(struct tcp *t, struct tcp_half_open *h);
/* The number that a SYN-ACK for the SYN s has, as of now. */
uint32_t tcp_syn_ack_iss(struct tcp *t, const struct tcp_segment *s, uint64_t now_ns);

/* --- refuse.c -------------------------------------------------------------------- */

/* Answers a segment that belongs to nothing (RFC 9293 section 3.10.7.1) by a reset, never a reset; not more
 * than TCP_RESETS_PER_SECOND. */
void tcp_input_refuse(struct tcp *t, const struct tcp_segment *s);
/* Leave to send a SYN-ACK that nobody asked for again. */
bool tcp_syn_ack_may_repeat(struct tcp *t, uint64_t now_ns);

/* --- cookie.c --------------------------------------------------------------------- */

/* A key of its own for each use of a secret; number: of the key among those of one use. */
struct siphash_key tcp_key_derive(const struct siphash_key *secret, const char *use, uint64_t number);
/* RFC 6528. */
uint32_t tcp_isn_make(const struct tcp *t, const struct tcp_tuple *tuple, uint64_t now_ns);
/* Added to the millisecond clock; one per pair of hosts. */
uint32_t tcp_ts_offset(const struct tcp *t, const struct tcp_tuple *tuple);
uint32_t tcp_cookie_make(struct tcp *t, const struct tcp_tuple *tuple, uint32_t irs,
			 uint16_t mss, uint64_t now_ns);
/* True and *mss if iss is a cookie that we may have sent in the last two steps. */
bool tcp_cookie_check(struct tcp *t, const struct tcp_tuple *tuple, uint32_t irs,
		      uint32_t iss, uint64_t now_ns, uint16_t *mss);
/* A timestamp at most 64 ms in the past whose low bits tell shift and SACK. */
uint32_t tcp_cookie_ts_make(uint32_t timestamp, bool has_shift, uint8_t shift, bool sack_ok, bool ecn_ok);
void tcp_cookie_ts_read(uint32_t echo, bool *has_shift, uint8_t *shift, bool *sack_ok, bool *ecn_ok);

/* --- timewait.c ------------------------------------------------------------------- */

/* c goes on as TIME-WAIT object under its tuple; c itself ends (tcp_conn_end). */
void tcp_time_wait_enter(struct tcp *t, struct tcp_conn *c, uint64_t now_ns);
void tcp_time_wait_free(struct tcp *t, struct tcp_time_wait *w);
void tcp_time_wait_expired(struct tcp *t, uint64_t now_ns);
/* *reopen: a SYN that may start a new incarnation; w is gone, pass the segment to listen. */
enum err tcp_input_time_wait(struct tcp *t, struct tcp_time_wait *w, struct tcp_segment *s,
			     uint64_t now_ns, bool *reopen);
/* Whether an active open may take over the tuple now. */
bool tcp_time_wait_is_reusable(const struct tcp_time_wait *w, uint64_t now_ns);

/* --- reass.c ----------------------------------------------------------------------- */

/* Memory that c's received data pins, counted for c and for the worker. */
static inline void
tcp_conn_pin(struct tcp *t, struct tcp_conn *c, uint32_t bytes)
{
	c->rcv_truesize += bytes;
	t->stats.recv_truesize += bytes;
}

static inline void
tcp_conn_unpin(struct tcp *t, struct tcp_conn *c, uint32_t bytes)
{
	c->rcv_truesize -= bytes;
	t->stats.recv_truesize -= bytes;
}

/* Payload inside the window: into rcvq, or beyond a hole. Takes s->pkt on ERR_OK. *out_of_order: it
 * lies beyond a hole or in front of what does. */
enum err tcp_reass_insert(struct tcp *t, struct tcp_conn *c, struct tcp_segment *s, bool *out_of_order);
void tcp_reass_free(struct tcp *t, struct tcp_conn *c);
/* Copies together what is queued for the owner, where a buffer has room for the next one's bytes. *steps: how many
 * packets may be looked at; what is left of it. */
void tcp_reass_squeeze(struct tcp *t, struct tcp_conn *c, uint32_t *steps);
/* Fills h with up to max SACK blocks, a pending DSACK first (RFC 2018, RFC 2883). */
void tcp_reass_sack(const struct tcp *t, const struct tcp_conn *c, struct tcphdr *h, uint32_t max);

/* --- runs.c: nothing but the set; packets and counts are reass.c's ------------------- */

uint32_t tcp_runs_count(const struct tcp *t, const struct tcp_conn *c);
/* The lowest, the highest, and what starts at seq or is the last before it, or is the first after it; or NULL.
 * Each in as many steps as the logarithm of their number. */
struct tcp_run *tcp_runs_first(const struct tcp *t, const struct tcp_conn *c);
struct tcp_run *tcp_runs_last(const struct tcp *t, const struct tcp_conn *c);
struct tcp_run *tcp_runs_before(const struct tcp *t, const struct tcp_conn *c, uint32_t seq);
struct tcp_run *tcp_runs_after(const struct tcp *t, const struct tcp_conn *c, uint32_t seq);
/* In the order of the latest change. */
struct tcp_run *tcp_runs_newest(const struct tcp *t, const struct tcp_conn *c);
struct tcp_run *tcp_runs_older(const struct tcp *t, const struct tcp_run *run);
/* Disjoint from all others; the pool must have one. It is the newest. */
struct tcp_run *tcp_runs_add(struct tcp *t, struct tcp_conn *c, uint32_t start, uint32_t end);
/* It is the newest. Whoever moves its ends keeps it disjoint from the others. */
void tcp_runs_changed(struct tcp *t, struct tcp_conn *c, struct tcp_run *run);
void tcp_runs_remove(struct tcp *t, struct tcp_conn *c, struct tcp_run *run);
/* All of them. */
void tcp_runs_forget(struct tcp *t, struct tcp_conn *c);
void tcp_runs_check(const struct tcp *t, const struct tcp_conn *c);

/* --- window.c ---------------------------------------------------------------------- */

static inline const struct tcp_policy *
tcp_conn_policy(const struct tcp *t, const struct tcp_conn *c)
{
	return &t->config.policies[c->policy];
}

/* What a SYN or SYN-ACK of a connection with this policy offers. */
uint16_t tcp_window_first(const struct tcp *t, uint32_t policy);
/* The numbers of the peer are known: the window of the first data, and the first round of measuring. */
void tcp_window_begin(const struct tcp *t, struct tcp_conn *c, uint64_t now_ns);
/* The policy's first window, if it is larger than what there is. */
void tcp_window_raise(const struct tcp *t, struct tcp_conn *c);
/* A segment of data echoed this timestamp of ours. */
void tcp_window_measure(struct tcp_conn *c, uint32_t echo, uint64_t now_ns);
/* The owner has consumed: the buffer may grow. */
void tcp_window_consumed(struct tcp *t, struct tcp_conn *c);
/* The window field of a segment that leaves now, scaled unless it has SYN; moves rcv_adv. */
uint16_t tcp_window_offer(const struct tcp *t, struct tcp_conn *c, bool syn);
/* Whether the window has opened enough to say so without another reason to send. */
bool tcp_window_update_due(const struct tcp *t, const struct tcp_conn *c);
/* Since a round of measuring ended: the owner consumes nothing, or there is nothing. */
uint64_t tcp_window_idle_ns(const struct tcp_conn *c, uint64_t now_ns);

/* --- pressure.c --------------------------------------------------------------------- */

/* Once per loop: the level of pressure, and what it asks for. */
void tcp_pressure_look(struct tcp *t, uint64_t now_ns);
/* When to look again though nothing else happens. */
uint64_t tcp_pressure_next_at(const struct tcp *t);

/* --- ack.c ---------------------------------------------------------------------------- */

/* What an acceptable segment's ACK, window and SACK blocks say. True: the connection is gone. */
bool tcp_ack_process(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, uint64_t now_ns);

/* --- flight.c ------------------------------------------------------------------------- */

/* What one ACK says that the peer has received, for the first time, of what is in flight. */
struct tcp_delivery {
	uint32_t bytes;      /* acknowledged or SACKed */
	uint32_t segments;
	uint32_t sacked_bytes; /* of bytes: by SACK */
	uint32_t sent_us;    /* of the segment among them that was sent last */
	uint32_t sent_end;
	uint8_t sent_sends;
	bool was_resent;     /* some segment among them was sent more than once */
	bool was_overtaken;  /* one sent once arrived behind a higher one: the path reorders */
};

/* Whether one more segment may be noted. False: others need the room more; what is in flight will be acknowledged,
 * and there is some again. */
bool tcp_flight_may_grow(const struct tcp *t, const struct tcp_conn *c);
/* Room to note one more segment. False: the pool is empty. */
bool tcp_flight_reserve(struct tcp *t, struct tcp_conn *c);
/* Notes that [snd_nxt, snd_nxt + len) was sent now, and the FIN with it. Needs tcp_flight_reserve(). */
void tcp_flight_append(struct tcp_conn *c, uint32_t len, bool fin, uint32_t range, uint64_t now_ns);
/* Forgets what is below ack. The head, if it is cut, lies in range then. */
void tcp_flight_acked(struct tcp *t, struct tcp_conn *c, uint32_t ack, uint32_t range, struct tcp_delivery *d);
/* Marks the segments that lie inside [start, end) whole. Nothing if the block is not inside of (una, nxt]. */
void tcp_flight_sack(struct tcp_conn *c, uint32_t start, uint32_t end, struct tcp_delivery *d);
/* Ends the flight: nothing is known about what was sent beyond una any more. */
void tcp_flight_free(struct tcp *t, struct tcp_conn *c);
/* The first segment that was lost and not sent again; NULL if there is none. *chunk: where it is. */
struct tcp_sent *tcp_flight_next_lost(const struct tcp_flight *f, struct tcp_chunk **chunk);
struct tcp_sent *tcp_flight_head(const struct tcp_flight *f, struct tcp_chunk **chunk);
struct tcp_sent *tcp_flight_tail(const struct tcp_flight *f, struct tcp_chunk **chunk);
/* sent, of chunk, went out again. */
void tcp_flight_resent(struct tcp_flight *f, struct tcp_chunk *chunk, struct tcp_sent *sent, uint64_t now_ns);
void tcp_flight_lost(struct tcp_flight *f, struct tcp_chunk *chunk, struct tcp_sent *sent);
/* Nothing counts as lost any more: the retransmission was unnecessary. */
void tcp_flight_unlose(struct tcp_flight *f);
/* Nothing counts as SACKed any more: the peer may have thrown it away (RFC 2018 section 8). */
void tcp_flight_unsack(struct tcp_conn *c);
/* Bytes that are in the network as far as one can know ("pipe", RFC 6675 section 4). */
uint32_t tcp_flight_pipe(const struct tcp_conn *c);
void tcp_flight_check(const struct tcp_conn *c);

static inline uint32_t
tcp_sent_end(const struct tcp_sent *sent)
{
	return sent->seq + sent->len + (sent->flags & TCP_SENT_FIN ? 1 : 0);
}

static inline uint32_t
tcp_clock_us(uint64_t now_ns)
{
	return (uint32_t)(now_ns / NSEC_PER_USEC);
}

/* --- loss.c ----------------------------------------------------------------------------- */

/* Everything that follows from an ACK for loss and congestion: una has moved, blocks are marked. acked: by how
 * much una moved. duplicate: as RFC 5681 section 2 says. */
void tcp_loss_acked(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, const struct tcp_delivery *d,
		    uint32_t acked, bool duplicate, uint64_t now_ns);
/* The RTO fired for what is in flight. */
void tcp_loss_timeout(struct tcp *t, struct tcp_conn *c, uint64_t now_ns);
/* TCP_RTX_REORDER fired. */
void tcp_loss_reorder_expired(struct tcp *t, struct tcp_conn *c, uint64_t now_ns);
/* Sets the retransmission slot for what is in flight: probe or RTO; or clears it. */
void tcp_loss_arm(const struct tcp *t, struct tcp_conn *c, uint64_t now_ns);
/* The RTO runs from now. */
void tcp_loss_restart(struct tcp_conn *c, uint64_t now_ns);
/* What an ACK that moved una by acked means for a tail loss probe, in flight or not (RFC 8985 section 7.4). */
void tcp_loss_probe_acked(const struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s, uint32_t acked);
/* Whether the first SACK block reports a duplicate (RFC 2883). */
bool tcp_loss_is_dsack(const struct tcp_conn *c, const struct tcp_segment *s);
/* Whether the pacer lets a segment go; notes when it will. */
bool tcp_loss_may_send(struct tcp_conn *c, uint64_t now_ns);
/* len bytes go out now: pacing and PRR count them. */
void tcp_loss_sent(struct tcp_conn *c, uint32_t len, bool again, uint64_t now_ns);
/* All that is in flight will be sent as if new, cut anew; that is no sign of congestion. */
void tcp_loss_rewind(struct tcp *t, struct tcp_conn *c);

/* --- output.c ----------------------------------------------------------------------- */

/* Sends what is due. It and tcp_output_ack() are the only emitters of live connections. */
void tcp_output(struct tcp *t, struct tcp_conn *c, uint64_t now_ns);
/* Sends the ACK that ack_each asked for, before the next segment is looked at; without a packet it stays due. */
void tcp_output_ack(struct tcp *t, struct tcp_conn *c, uint64_t now_ns);

/* --- emit.c -------------------------------------------------------------------------- */

/* A header packet for tuple with len bytes of room behind the header; NULL when the pool is empty. */
struct pkt *tcp_emit_header(struct tcp *t, const struct tcp_tuple *tuple, struct tcphdr *h);
/* Checksums p and queues it. */
void tcp_emit_queue(struct tcp *t, struct pkt *p);
/* A segment without payload and without a connection. */
bool tcp_emit_bare(struct tcp *t, const struct tcp_tuple *tuple, struct tcphdr *h);
bool tcp_checksum_is_good(const struct pkt *p);

/* --- train.c -------------------------------------------------------------------------- */

/* Chains len bytes of stream from seq, which lies in r, behind p by reference. False: pool empty; what was added
 * hangs on p. */
bool tcp_train_attach(struct tcp *t, struct pkt *p, const struct tcp_range *r, uint32_t seq, uint32_t len);
/* Queues p, which holds the segment of h with len bytes of new data; or keeps it, if more segments of mss
 * bytes may go into it. mss 0: they may not. */
void tcp_train_begin(struct tcp *t, struct pkt *p, const struct tcphdr *h, uint32_t len, uint32_t mss);
/* Adds a segment to what is kept: len bytes of stream from h->seq, which lies in r. False: it does not fit
 * behind it, or a pool is empty; nothing changed. */
bool tcp_train_add(struct tcp *t, const struct tcphdr *h, const struct tcp_range *r, uint32_t len, uint32_t mss,
		   uint8_t ecn);
/* Queues what is kept. */
void tcp_train_end(struct tcp *t);

/* --- timers.c ------------------------------------------------------------------------ */

/* Links the timer at c's earliest deadline, unless it fires before that anyway. */
void tcp_conn_arm(struct tcp *t, struct tcp_conn *c);
void tcp_conn_expired(struct tcp *t, struct tcp_conn *c, uint64_t now_ns);
void tcp_rto_arm(struct tcp_conn *c, enum tcp_rtx_kind kind, uint64_t now_ns);

/* --- rtt.c ----------------------------------------------------------------------------- */

void tcp_rtt_sample(const struct tcp *t, struct tcp_conn *c, uint64_t sample_us, uint64_t now_ns);
/* With backoff. */
uint64_t tcp_rto_ns(const struct tcp_conn *c);

/* --- ecn.c ------------------------------------------------------------------- */

bool tcp_ecn_is_offered(const struct tcphdr *syn);
bool tcp_ecn_is_taken(const struct tcphdr *syn_ack);

/* An acceptable segment: the path's mark, the peer's CWR. */
void tcp_ecn_received(struct tcp *t, struct tcp_conn *c, const struct tcp_segment *s);

/* An ACK says that something of the flight was marked, for which the window was not yet reduced. */
bool tcp_ecn_wants_reduction(const struct tcp_conn *c, const struct tcp_segment *s);

/* The window was reduced for all that is in flight, whatever the reason. */
void tcp_ecn_reduced(struct tcp_conn *c);

/* IP's field of a segment with payload; *h may get CWR, which has left then. */
uint8_t tcp_ecn_of_data(const struct tcp_conn *c, struct tcphdr *h);
