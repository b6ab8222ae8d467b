#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * lanes: what handshakes compute together, eight of a kind at a time, where that costs little more than one.
 * Private to lib/tls; who drives it sees tls_lanes_run() (tls.h).
 *
 * A handshake takes a seat for its operation (lanes_join) and stops. When eight of a kind sit, or the first of
 * them has waited for LANES_WAIT_US, lanes_run() has the engine compute them at once; then they go on. Where they
 * are fewer than a batch pays for, they are sent away then, and each computes alone. A seat can be left at any
 * time.
 *
 * Owner:  an instance. Thread: its own.
 * Time:   of the last lanes_run().
 * Memory: a seat is its handshake's, and what is computed its fiber's, so nothing is allocated and there are as
 *         many as fibers (TLS_FIBERS_MAX). Secrets are copied nowhere but into the engine, which wipes them.
 */
#define LANES 8

/* A batch takes about as long as two or three of its operations alone, some 40 us on X25519 and in signatures:
 * under load eight have come before the wait is over, since others ask while a batch runs. Whoever is told that no
 * others are there does not sit down at all (lanes_pays()). */
#define LANES_WAIT_US 50

/* What goes in, what comes out; each of lanes_bytes(), little-endian of X25519 and powers, else big-endian. */
enum lanes_kind {
	LANES_X25519_PUBLIC, /* scalar; u */
	LANES_X25519_SHARED, /* scalar, u; u. All zero is bad, whatever the engine says of it. */
	LANES_P256_PUBLIC,   /* scalar; x, y */
	LANES_P256_SHARED,   /* scalar, x, y; x. What is no point of the curve is bad. */
	LANES_P256_SIGN,     /* nonce, key, hash; r, s: ECDSA. The hash is below the order; r or s may be zero. */
	LANES_P384_PUBLIC,
	LANES_P384_SHARED,
	LANES_P384_SIGN,
	LANES_POWER_1024, /* base, power, modulus; the power of the base: a half of RSA with 2048 bits. The base is
			     below the modulus, which is odd and has all of its 1024 bits. */
	LANES_KINDS
};

size_t lanes_bytes(enum lanes_kind kind);

#define LANES_BYTES_MAX 128
#define LANES_INPUTS_MAX 3
#define LANES_OUTPUTS_MAX 2

struct lanes_batch {
	const uint8_t *in[LANES_INPUTS_MAX][LANES];
	uint8_t *out[LANES_OUTPUTS_MAX][LANES];
};

/* All lanes have inputs. Bit i of what it returns: lane i is good; of others the outputs say nothing. No lane
 * depends on another, nor the time on a secret. */
typedef uint32_t (*lanes_compute)(const struct lanes_batch *batch);

struct lanes_engine {
	const char *name;
	lanes_compute compute[LANES_KINDS]; /* NULL: that kind is computed elsewhere */
	uint8_t fewest[LANES_KINDS]; /* a batch of fewer costs more than each of them alone */
};

/* crypto_mb's, by lanes_crypto_mb.c; NULL: this build or this processor does not have it. */
const struct lanes_engine *lanes_crypto_mb(void);

struct lanes_work {
	enum lanes_kind kind;
	const uint8_t *in[LANES_INPUTS_MAX];
	uint8_t *out[LANES_OUTPUTS_MAX];
};

struct lanes_line;

struct lanes_seat {
	struct lanes_line *line; /* NULL: in none */
	struct lanes_seat *next;
	struct lanes_seat *previous;
	const struct lanes_work *work;
	void *owner; /* of the handshake; as its owner likes */
	uint64_t since_ns;
	bool is_good;
	bool is_alone; /* sent away */
};

/* Oldest first. */
struct lanes_line {
	struct lanes_seat *first;
	struct lanes_seat *last;
	uint32_t count;
};

struct lanes {
	const struct lanes_engine *engine;
	uint64_t now_ns;
	struct lanes_line waiting[LANES_KINDS];
	struct lanes_line done;
};

void lanes_init(struct lanes *lanes, const struct lanes_engine *engine);

/* Whether the engine has that kind, and so many handshakes, all that there are, could fill enough lanes. */
bool lanes_pays(const struct lanes *lanes, enum lanes_kind kind, uint32_t handshakes);

/* From now on it waits; work, and what it names, stay until the seat is left. */
void lanes_join(struct lanes *lanes, struct lanes_seat *seat, const struct lanes_work *work);
bool lanes_is_waiting(const struct lanes *lanes, const struct lanes_seat *seat);

/* Wherever it is; harmless where it is in no line. */
void lanes_leave(struct lanes_seat *seat);

/* One batch, of a kind that is due, if there is one: the kind whose first has waited longest; those who are due
 * and too few are sent away. Returns how many lanes had an operation; 0: there was no batch. */
uint32_t lanes_run(struct lanes *lanes, uint64_t now_ns);

/* When something is due: 0: now; UINT64_MAX: nobody waits. */
uint64_t lanes_next_at(const struct lanes *lanes);

/* Who has been computed or sent away, and has not been handed out yet, oldest first; NULL: nobody. */
struct lanes_seat *lanes_next_done(struct lanes *lanes);
