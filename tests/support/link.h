#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkt/pkt.h"

/*
 * link: one direction of a bad wire, in virtual time, all of it from one seed.
 *
 * Carries raw packets and looks at none of them: TCP segments between two
 * engines or whole frames between two workers. The receiver gets a copy in a
 * buffer of its own pool. The sender's packet is held like a NIC holds a
 * descriptor: for a while after it left, and it must come back unchanged,
 * because what is queued for retransmission may be shared with it.
 *
 * What happens to a packet on the way is the model of tools/relay/impair.h, which the relay between real
 * interfaces runs as well; what both ends do to their buffers is here.
 *
 * Owner:  the simulation.
 * Time:   now_ns never goes back.
 * Memory: malloc; at most LINK_FRAMES_MAX packets on the way, the rest is lost and counted.
 */
struct link;

#define LINK_FRAMES_MAX 4096
#define LINK_FRAME_BYTES_MAX 16384

/* All zero: a perfect wire without delay. Rates are parts per million. */
struct link_faults {
	uint64_t delay_ns;
	uint64_t jitter_ns; /* uniform, keeps the order */
	uint32_t loss_ppm;
	/* Gilbert and Elliott: chance to enter and to leave the bad state, and loss in it */
	uint32_t burst_enter_ppm;
	uint32_t burst_leave_ppm;
	uint32_t burst_loss_ppm;
	uint32_t reorder_ppm; /* such a packet takes up to reorder_ns longer and may be overtaken */
	uint64_t reorder_ns;
	uint32_t duplicate_ppm;
	uint32_t corrupt_ppm; /* one bit flips */
	uint32_t repair_ppm;  /* of the corrupted ones: repair() makes the checksum fit again */
	void (*repair)(uint8_t *frame, uint32_t len, const struct pkt_meta *meta);
	uint32_t mark_ppm;    /* ECN: congestion experienced on packets that allow it */
	uint32_t mark_above_bytes; /* mark what finds more than this in the queue; 0: never */
	uint64_t rate_bytes_per_s; /* 0: without end */
	uint32_t queue_bytes_max;  /* in front of the rate; 0: without end */
	uint32_t mtu_bytes; /* longer packets, as the link carries them, are dropped; 0: none */
	uint64_t blackout_from_ns; /* everything sent in [from, until) is lost */
	uint64_t blackout_until_ns;
	uint64_t hold_ns;   /* the sender's packet is released up to this late */
	bool checks_csum;   /* the receiving port verifies: GOOD or BAD instead of UNKNOWN */
	uint32_t split_ppm; /* received in two buffers, cut behind split_min_bytes */
	uint32_t split_min_bytes;
};

struct link_stats {
	uint64_t sent;
	uint64_t delivered;
	uint64_t lost; /* loss, bursts, blackout */
	uint64_t queue_full;
	uint64_t too_big;
	uint64_t corrupted;
	uint64_t duplicated;
	uint64_t reordered;
	uint64_t marked;
	uint64_t no_buffer; /* the receiver's pool was empty */
};

struct link *link_new(const struct link_faults *faults, struct pkt_pool *receive_pool,
		      uint64_t seed);
void link_free(struct link *l);

/* From now on. Packets on the way keep their fate. */
void link_set_faults(struct link *l, const struct link_faults *faults);

/* Takes p. False: it was too long for the link, and whoever finds that out may tell the sender. */
bool link_send(struct link *l, struct pkt *p, uint64_t now_ns);

/* Takes p as if it had been sent: its driver keeps it for a while. */
void link_hold(struct link *l, struct pkt *p, uint64_t now_ns);

/* Packets of the sender that its driver has not given back yet, and when the next one is due. */
uint32_t link_held(const struct link *l);
uint64_t link_release_at(const struct link *l);

/* Gives back what is due. Sending and receiving do it as well. */
void link_release(struct link *l, uint64_t now_ns);

/* Calls visit() for each of them. */
void link_visit_held(const struct link *l, void (*visit)(const struct pkt *p, void *owner), void *owner);

/* When link_receive() has something to do: an arrival or a release. NEVER_NS: nothing. */
uint64_t link_next_at(const struct link *l);

/* The next packet that has arrived by now, or NULL. The caller owns it. */
struct pkt *link_receive(struct link *l, uint64_t now_ns);

/* Everything on the way is lost, everything held is released. */
void link_flush(struct link *l);

struct link_stats link_stats(const struct link *l);
