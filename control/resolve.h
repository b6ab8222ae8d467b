#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "config/config.h"
#include "publish.h"
#include "shape.h"

/*
 * resolve: finds the addresses of pods that are told by name, again and again, and has them published.
 *
 * publish notes which entry has which name. A name is looked up at once, then every interval_ns (a failed one
 * ten times as often): glibc's getaddrinfo() tells no time to live. Of several addresses, in the order of their
 * bytes, IPv4 before IPv6, the first is taken; one that is in use stays as long as it is among them, so that an
 * order that changes with each answer changes nothing. A lookup that fails changes nothing either. What was found
 * is in the shared tables alone, where the next life of control finds it: each router looks for itself.
 *
 * Lookups are done by RESOLVE_THREADS threads, which know nothing but a job's name; all else is of control's
 * loop, which waits on resolve_file() as well. Bounds: RESOLVE_JOBS asked at a time, RESOLVE_LOOKS names looked
 * at in a turn; a name whose turn comes while all jobs are taken waits for the next walk. A thread may be held up
 * by a name server that is silent for as long as resolv.conf says; resolve_fini() waits for none.
 */
#define RESOLVE_THREADS 4
#define RESOLVE_JOBS 64
#define RESOLVE_LOOKS 2000
#define RESOLVE_ADDRESSES_MAX 64 /* of an answer; those behind are not looked at */
#define RESOLVE_NAME_BYTES (SHAPE_ADDRESS_BYTES_MAX + 1)

struct resolve_job {
	struct resolve_job *next;
	uint32_t entry;
	uint64_t pod_id;
	char name[RESOLVE_NAME_BYTES];
	const char *why; /* it failed; NULL: it did not */
	uint32_t count;
	uint8_t addresses[RESOLVE_ADDRESSES_MAX][16];
};

/* Fills addresses and count; returns why it cannot, a constant, or NULL. Called by several threads. */
typedef const char *resolve_lookup(void *owner, struct resolve_job *job);

struct resolve_manner {
	uint64_t interval_ns;
	bool has_ip4; /* the dataplane has an address of this kind: pods of the other cannot be reached */
	bool has_ip6;
	resolve_lookup *lookup; /* NULL: getaddrinfo() */
	void *lookup_owner;
};

/* Of one entry of SHM_PODS. */
struct resolve_name {
	uint64_t pod_id; /* 0: none has a name */
	uint64_t asked_at_ns;
	uint64_t good_at_ns; /* the last answer with addresses; 0: none in this life */
	bool is_asked;       /* a job is on its way */
	bool is_failing;     /* as the last answer was; logged */
	char text[RESOLVE_NAME_BYTES];
};

struct resolve_desk; /* where loop and threads meet */

struct resolve {
	struct publish *publish;
	struct resolve_manner manner;
	struct resolve_desk *desk;
	struct resolve_name *names;
	uint32_t capacity;
	uint32_t walk; /* the entry that is looked at next */
	struct resolve_job *free_jobs;
	/* for metrics */
	uint32_t count;   /* names */
	uint32_t failing; /* of them */
	uint64_t good;
	uint64_t bad;
	uint64_t moves;
};

struct resolve_manner resolve_manner_of(const struct config *config);

/* Signals must be blocked as the threads shall have them. ERR_STORE_FAILED: no memory, or no threads. */
enum err resolve_init(struct resolve *r, struct publish *publish, const struct resolve_manner *manner);
void resolve_fini(struct resolve *r);

void resolve_set_interval(struct resolve *r, uint64_t interval_ns);

/* Readable when there are answers. */
int resolve_file(const struct resolve *r);

/* The entry is published for this pod now; empty: it needs no lookup. */
void resolve_note(struct resolve *r, uint32_t entry, uint64_t pod_id, struct bytes name, uint64_t now_ns);

/* Takes answers in, asks what is due. */
void resolve_turn(struct resolve *r, uint64_t now_ns);

/* NULL: the entry has no name. */
const struct resolve_name *resolve_find(const struct resolve *r, uint32_t entry);
