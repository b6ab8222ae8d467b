#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tls/arena.h"
#include "tls/target.h"

/*
 * sessions: what may be resumed at whom, as bytes that only their maker understands. Private to lib/tls.
 *
 * A session is given to the very target that it was kept for, compared member by member: whoever asks for other
 * pins, another name or another authority has it verified anew. The last one of a target counts; where too many
 * targets meet, the oldest leaves.
 *
 * Owner:  a tls_context.
 * Time:   now_s, Unix seconds; none lives longer than SESSIONS_LIFETIME_S_MAX behind the full handshake that it
 *         comes of, however often it was renewed, nor than the certificates that were shown there.
 * Memory: the arena's: slots at sessions_init(), then up to SESSIONS_BYTES_MAX for each; it wipes what is
 *         released.
 */
#define SESSIONS_LIFETIME_S_MAX 3600
#define SESSIONS_BYTES_MAX 8192 /* of one; what is longer is not kept */
#define SESSIONS_WAYS 4

struct session_ends {
	int64_t expires_at_s;
	int64_t verified_until_s; /* of what is renewed by it, too; not before expires_at_s */
};

struct session_slot {
	struct tls_target target; /* id 0: free */
	struct session_ends ends;
	uint64_t kept; /* number of the keeping */
	uint8_t *saved;
	size_t len;
};

struct sessions {
	struct arena *arena;
	struct session_slot *slots;
	uint32_t slot_count; /* a multiple of SESSIONS_WAYS, or 0: nothing is kept */
	uint64_t keepings;
};

/* What slots_max targets take of the arena at most. */
size_t sessions_bytes(uint32_t slots_max);

/* False: no memory. */
bool sessions_init(struct sessions *sessions, struct arena *arena, uint32_t slots_max);
void sessions_fini(struct sessions *sessions);

/* Where to write len bytes of a session; NULL: it is not to be kept. */
uint8_t *sessions_keep(struct sessions *sessions, const struct tls_target *target, size_t len,
		       const struct session_ends *ends);

/* Empty: there is none, or not any more. Valid until the next call. */
struct bytes sessions_find(struct sessions *sessions, const struct tls_target *target, int64_t now_s,
			   int64_t *verified_until_s);
void sessions_forget(struct sessions *sessions, const struct tls_target *target);

/* Forgets what is of a target that is not wanted any more. */
typedef bool (*sessions_wish)(const void *owner, const struct tls_target *target);
void sessions_sift(struct sessions *sessions, sessions_wish is_wanted, const void *owner);
