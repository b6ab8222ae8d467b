#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "impair.h"
#include "spec.h"

/*
 * lane: the frames of one direction on their way, in the order of their arrival.
 *
 * Owner:  the relay's loop.
 * Memory: frames_max + 1 slots of frame_bytes_max, reserved at open and touched as they are used; a frame that
 *         finds none free is dropped and counted.
 */
struct lane_slot {
	struct lane_slot *prev;
	struct lane_slot *next;
	uint64_t arrives_ns;
	uint32_t bytes;
	uint8_t byte[];
};

struct lane_stats {
	uint64_t delivered;
	uint64_t delivered_bytes;
	uint64_t no_slot;      /* frames_max are on the way */
	uint64_t too_long;     /* more than frame_bytes_max: an end with segmentation offload */
	uint64_t send_failed;  /* the interface did not take it */
	uint64_t mtu_reports;  /* ICMP errors made */
	uint64_t late_ns_max;  /* after the moment that the model gave */
	uint64_t late_frames;  /* by more than a millisecond */
};

struct lane {
	struct impair wire;
	bool reports_mtu;
	uint32_t frames_max;
	uint32_t frame_bytes_max;
	uint32_t count;
	uint8_t *memory;
	struct lane_slot *free;
	struct lane_slot *head;
	struct lane_slot *tail;
	struct lane_stats stats;
};

#define LANE_FRAME_BYTES_MAX 9234 /* jumbo frame with a VLAN tag */

/* False: no memory. */
bool lane_open(struct lane *l, const struct spec *spec, uint32_t frames_max, uint32_t frame_bytes_max,
	       uint64_t seed);
void lane_close(struct lane *l);

/* An empty slot to receive into; there is always one while no delivered slot is out. */
struct lane_slot *lane_room(struct lane *l);

/* Sends what was received into the slot of lane_room(). The fate says what became of it; with IMPAIR_TOO_BIG
 * the slot's bytes are there until the next lane_room(). */
enum impair_fate lane_send(struct lane *l, struct lane_slot *slot, uint32_t bytes, uint64_t now_ns);

/* When the next frame arrives; NEVER_NS: none is on the way. */
uint64_t lane_next_at(const struct lane *l);

/* The next frame that has arrived by now, or NULL; lane_put() gives the slot back. */
struct lane_slot *lane_receive(struct lane *l, uint64_t now_ns);
void lane_put(struct lane *l, struct lane_slot *slot);
