#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "link.h"
#include "segment.h"
#include "stack.h"
#include "tcp/internal.h"
#include "tcp/tcp.h"

/*
 * sim: several TCP engines, bad links between all of them, applications that
 * know every byte they should see, one seed, virtual time.
 *
 *   plan.c    seed -> which faults, how large, which connections (swarm: each seed a subset)
 *   world.c   the hosts' loops and the clock
 *   app.c     what writes, reads, pauses, half-closes, aborts
 *   oracle.c  what a listener on the wire can tell about right and wrong
 *   watch.c   what a host may do at all, whatever the segments say
 *   card.c    what the engine leaves to the card: checksums and cutting
 *   router.c  what hops on the way report: the size that fits
 *
 * A seed fails by sim_fail(), which ends the process: the state of the world at that
 * moment is what a debugger should see.
 */

#define SIM_HOSTS_MAX 3
#define SIM_PAIRS_MAX 64
#define SIM_ENDS_MAX (2 * SIM_PAIRS_MAX)
#define SIM_CARD_PACKETS 65536
#define SIM_REPORTS_MAX 16 /* ICMP errors on their way to one host; routers limit them as well */

/* --- what a seed chose ----------------------------------------------------------- */

enum end_manner {
	END_POLITE,     /* sends all, shuts down, reads to the end, closes */
	END_POLITE_LAST, /* the same, but waits for the other's end first */
	END_RUDE,       /* closes behind its last byte, read or not */
	END_ABORTS,     /* resets after abort_after_ns */
};

struct end_plan {
	enum end_manner manner;
	uint64_t total_bytes;
	uint32_t write_bytes_max;
	uint32_t piece_bytes_max; /* buffers of one write */
	uint32_t read_bytes_max;  /* per turn */
	uint32_t pause_ppm;       /* after a write or a read */
	uint64_t pause_ns_max;
	uint64_t abort_after_ns;
	uint32_t notify_below_bytes; /* 0: polls for room instead */
	bool consumes_late;          /* the window opens only after a pause */
	bool says_more;
	bool holds; /* tcp_hold() and tcp_push() between writes */
	/* A conversation on a connection that is used again and again: the client writes so much, the server
	 * answers with as much, and so on. 0: both write when they want. */
	uint32_t talk_bytes;
	/* Behind so many bytes it says nothing until then, counted from the beginning. 0: never. */
	uint64_t nap_at_bytes;
	uint64_t nap_until_ns;
};

struct pair_plan {
	uint32_t client_host;
	uint32_t server_host;
	uint64_t start_ns; /* after the beginning */
	bool simultaneous; /* both ends connect */
	uint16_t client_port; /* 0: any */
	struct end_plan end[2];
};

enum plan_wrap {
	WRAP_NONE,
	WRAP_CLIENT, /* the first pair's client starts just below 2^32 */
	WRAP_SERVER, /* its server does */
};

struct plan {
	uint64_t seed;
	enum plan_wrap wrap;
	uint32_t hosts;
	bool is_v6;
	bool is_hostile; /* corruption that checksums do not show: content is not compared */
	bool may_fail;   /* connections may legally end by error */
	uint64_t start_ns;
	uint64_t faults_end_ns; /* after the beginning */
	struct tcp_config config[SIM_HOSTS_MAX];
	struct stack_pools pools[SIM_HOSTS_MAX];
	bool is_watched[SIM_HOSTS_MAX]; /* the engine feels pressure when its receive pool runs low */
	struct link_faults faults[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; /* blackouts after the beginning */
	/* hosts */
	uint32_t receive_burst_max;
	uint32_t transmit_burst_max;
	uint32_t stall_ppm; /* per turn */
	uint64_t stall_ns_max;
	uint32_t drought_ppm; /* per turn: one pool is taken away for a while */
	uint64_t drought_ns_max;
	uint32_t fail_ppm; /* per turn: one of the next few allocations fails */
	uint32_t icmp_ppm; /* per turn: a report about what may have been sent, true or forged */
	uint32_t report_ppm; /* too long for a link: the router tells; the rest vanishes in a black hole */
	uint32_t wrong_core_ppm; /* per segment: another worker gets it, and its owner a turn later */
	bool has_bursts; /* segments go in by tcp_input_burst() */
	uint32_t ring_slots; /* packets that the driver of a host holds at most; 0: any number */
	uint32_t pairs;
	struct pair_plan pair[SIM_PAIRS_MAX];
};

void plan_make(struct plan *plan, uint64_t seed);
/* Other links, pairs and faults for the same hosts. */
void plan_again(struct plan *plan, uint64_t seed);
void plan_print(const struct plan *plan);

/* --- the world ------------------------------------------------------------------- */

/* One direction of one pair, as seen on the wire (oracle.c). */
struct flow {
	bool is_known; /* its SYN went by */
	bool fin_known;
	bool has_edge;
	bool has_before;
	uint32_t isn;
	uint32_t isn_before; /* of an earlier SYN-ACK: a cookie of another minute */
	uint32_t end;  /* highest sequence number sent + 1 */
	uint32_t fin_seq;
	uint32_t edge; /* furthest right edge that this side offered to the other */
	uint32_t ack;  /* highest acknowledgment that this side sent */
	uint32_t ts_last;
	uint64_t ts_at_ns; /* when that was */
	uint16_t mss;  /* offered */
	bool has_wscale;
	bool has_ts;
	bool has_sack_ok;
	bool has_ecn; /* offered or taken */
	bool has_ecn_before; /* with isn_before */
	bool has_ce;  /* a mark of congestion reached this side */
	uint8_t wscale;
};

struct end {
	struct pair *pair;
	const struct end_plan *plan;
	uint32_t host;
	uint32_t side; /* 0 client, 1 server */
	tcp_conn_t conn;
	bool is_open;    /* the handle lives */
	bool is_settled; /* connected or accepted */
	bool is_over;    /* was open and is not any more, or never will be */
	bool has_shut;
	bool has_eof;
	bool has_drained; /* everything that ever comes has been read */
	bool has_error;
	bool wants_writable;
	enum err reason;
	uint64_t sent_bytes;
	uint64_t received_bytes;
	uint32_t unconsumed_bytes;
	uint64_t opened_at_ns;
	uint64_t write_at_ns;
	uint64_t poll_ns; /* how long the latest write that failed waits */
	uint64_t read_at_ns;
	uint64_t consume_at_ns;
};

struct pair {
	const struct pair_plan *plan;
	uint32_t index;
	uint64_t key[2]; /* content by sending side */
	bool is_started;
	bool is_watched; /* nobody else uses its ports: the oracle knows what must be in it */
	struct tcp_tuple tuple; /* the client's view */
	struct flow flow[2];    /* by sending side */
	struct end end[2];
};

/* An ICMP error on its way back. */
struct report {
	uint64_t at_ns;
	struct tcp_tuple tuple; /* as the sender sees it */
	uint32_t seq;
	uint32_t mtu_bytes;
};

/* What a host may say follows from what it heard, was asked for and waited for. */
struct budget {
	uint64_t acks_earned; /* by segments that take sequence numbers, by calls and by timers */
	uint64_t acks_sent;   /* segments that only acknowledge */
};

struct host {
	struct stack stack;
	uint32_t index;
	struct ip_addr address;
	uint64_t turn_at_ns;     /* more to do at once */
	uint64_t stalled_until_ns;
	uint64_t drought_until_ns;
	struct pkt *stolen; /* what the drought took */
	uint64_t turns;
	struct report report[SIM_REPORTS_MAX];
	uint32_t reports;
	struct budget budget;
	struct pkt_pool card_pool;
	struct pkt_queue forwarded; /* on the ring from another worker */
};

struct world {
	struct plan plan;
	struct prng prng;
	uint64_t now_ns;
	uint64_t start_ns;
	bool is_calm; /* faults are over */
	bool is_verbose;
	uint32_t hosts;
	struct host host[SIM_HOSTS_MAX];
	struct link *link[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; /* from, to */
	struct pair pair[SIM_PAIRS_MAX];
	uint64_t segments;
	uint64_t turns;
};

/* Runs one seed to its end. */
void world_run(uint64_t seed, bool is_verbose);

/* The parts of that. w is zero but for its plan. */
void world_open(struct world *w);
void world_close(struct world *w);
/* To the end of all its pairs, and judges it. */
void world_live(struct world *w);
/* The next moment at which something happens; NEVER_NS: there is none. */
uint64_t world_step(struct world *w);
/* The same hosts, and what the plan now says of links and pairs. */
void world_go_on(struct world *w);

/* One world for so many real seconds, faults come and go. */
int soak_run(uint64_t seed, uint32_t seconds);
/* Idle connections for so many virtual days. */
int idle_run(uint64_t seed, uint32_t days);

/* Says what is wrong and when, then ends the process. */
void sim_fail(const struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

uint16_t sim_port_of(uint32_t host);

/* --- app.c ------------------------------------------------------------------------ */

void app_begin(struct world *w);
void app_event(struct world *w, struct host *h, const struct tcp_event *event);
/* What is due on this host. */
void app_run(struct world *w, struct host *h);
uint64_t app_next_at(const struct world *w, const struct host *h);
bool app_is_done(const struct world *w);
/* Ends whatever still runs. */
void app_abort_all(struct world *w);
/* Ends the ends whose peer was never there (or is not any more, if all); says how many. */
uint32_t app_abort_forgotten(struct world *w, bool all);
/* All that must have happened when everything is over. */
void app_judge(struct world *w);

/* --- oracle.c ----------------------------------------------------------------------- */

/* A segment leaves a host. */
void oracle_sent(struct world *w, struct host *h, const struct pkt *p);
/* One reaches a host. */
void oracle_arrived(struct world *w, const struct pkt *p);

/* --- watch.c ------------------------------------------------------------------------ */

/* tcp_input(), or tcp_input_burst() of up to TCP_INPUT_BURST_MAX, watched. */
void watch_input(struct world *w, struct host *h, struct pkt *p);
void watch_burst(struct world *w, struct host *h, struct pkt *const *packets, uint32_t count);
/* tcp_output_ready(), watched. */
void watch_output(struct world *w, struct host *h);
/* A call of the application that may have something said. */
void watch_call(struct host *h);
/* tcp_advance() comes now. */
void watch_timers(struct world *w, struct host *h);
/* A segment leaves. */
void watch_sent(struct world *w, struct host *h, const struct pkt *p);
/* A turn is over. */
void watch_turn(struct world *w, struct host *h);

/* Basic blocks that the engine has run, where it was compiled to count them (tcp_sim_steps); else 0. */
extern uint64_t sim_steps;

/* --- card.c -------------------------------------------------------------------------- */

bool card_is_needed(const struct pkt *p);
/* The segments that p, which host h sends, becomes. p stays the caller's. */
void card_finish(struct world *w, struct host *h, const struct pkt *p, struct pkt_queue *out);

/* --- router.c ------------------------------------------------------------------------ */

/* p, sent by h, is too long for the link to `to`. */
void router_too_long(struct world *w, struct host *h, uint32_t to, const struct pkt *p);
/* Reports that have arrived. */
void router_deliver(struct world *w, struct host *h);
uint64_t router_next_at(const struct host *h);
