#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * eject: what answers say of one pod's health, shared by all workers.
 *
 *   EJECT_IN --errors in a row--> EJECT_OUT --its time--> EJECT_HALF_OPEN --a good probe--> EJECT_IN
 *                                      ^-----------a bad probe, twice as long----'
 *
 * Half open, one request at a time is let through as a probe: eject_probe() gives the slot, and whoever got it
 * gives it back with eject_release(), however the request ends. Good and bad are told apart from who asks: any
 * good answer brings the pod back in; a bad one counts only in EJECT_IN, or from the probe.
 *
 * Owner:  shared; touch it through these calls only. Two workers that report at once lose one report at most.
 * Time:   now_ns of one epoch for all workers.
 */
struct eject {
	_Atomic uint64_t until_ns; /* 0: EJECT_IN; in the past: EJECT_HALF_OPEN */
	_Atomic uint32_t errors;   /* in a row */
	_Atomic uint32_t row;      /* ejections without a good answer between them */
	_Atomic uint32_t prober;   /* 0: the slot is free; else 1 + the worker that has it */
};

struct eject_limits {
	uint32_t errors;  /* in a row, that eject; 0: nothing does */
	uint64_t time_ns; /* of the first ejection; doubles */
	uint64_t time_ns_max;
};

enum eject_state { EJECT_IN, EJECT_HALF_OPEN, EJECT_OUT };

enum eject_state eject_state(const struct eject *e, uint64_t now_ns);

/* How long it has been half open. */
uint64_t eject_half_open_ns(const struct eject *e, uint64_t now_ns);

/* Takes the slot. False: not half open (any more), or another request has it. */
bool eject_probe(struct eject *e, uint16_t worker, uint64_t now_ns);
void eject_release(struct eject *e);

/* True: it was out, or half open, and is in again. */
bool eject_good(struct eject *e);

/* True: the pod has to go, for *for_ns. Nothing but its errors has changed: whether it may is the caller's to
 * say, who calls eject_out(). */
bool eject_bad(struct eject *e, const struct eject_limits *limits, bool is_probe, uint64_t now_ns,
	       uint64_t *for_ns);
void eject_out(struct eject *e, uint64_t until_ns);

/* It may not go after all: as if eject_out() had not been called. */
void eject_undo(struct eject *e);
