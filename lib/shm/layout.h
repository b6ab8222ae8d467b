#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/units.h"

/*
 * layout: every byte that sluice-control and sluice-dataplane share. The specification is this file.
 *
 *   /dev/shm/<instance>
 *   +-----------------+ 0
 *   | shm_header      | magic, version, sizes, offsets of the sections, pids, heartbeats, generation
 *   +-----------------+ header.offset[SHM_KEY_SLOTS]
 *   | keys            | one line each, by hash (below); open addressing
 *   +-----------------+ header.offset[SHM_MODELS_INDEX], [SHM_INSTANCES_INDEX]
 *   | indexes         | slots of {tag, entry}; open addressing
 *   +-----------------+ header.offset[SHM_KEYS]
 *   | places of keys  | by entry: which slot; 32 bits each
 *   +-----------------+ header.offset[SHM_ACCOUNTS] ...
 *   | entries         | two-version cells (below), one array per table
 *   +-----------------+ header.offset[SHM_BUCKETS], [SHM_BALANCES], [SHM_POD_HEALTH], [SHM_WORKERS]
 *   | hot cells       | one line each; atomics; never part of a publish
 *   +-----------------+
 *
 * A two-version cell:
 *
 *   | version, 8 | body 0 | body 1 | padding to a cache line |
 *
 * `version` counts publishes of the entry. The writer fills body[version & 1], then stores
 * version + 1 (release). A reader loads version (acquire), copies body[(version + 1) & 1], and accepts it if
 * version has not moved; else it tries again, at most SHM_READ_TRIES_MAX times. So readers never block,
 * a writer that dies half-way disturbs nobody, and one change costs one entry. Bodies are whole 8-byte
 * words, so that both sides copy them with atomic loads and stores.
 *
 * Keys are a million where the rest are thousands, and each request reads one that the caches have mostly
 * forgotten. So a key is one cache line, found by its hash alone (keyslot.c):
 *
 *   | state, 8 | turn, 8 | key id, 8 | entry and expiry, 8 | hash, 32 |
 *
 * `state` and the expiry are all that ever changes: a change is one store, or two that need not be seen at once.
 * The rest is written while the
 * state says that nobody lives there, and `turn` is odd meanwhile; a reader that sees the turn move tries again,
 * at most SHM_READ_TRIES_MAX times in a lookup. The home slot is hash * slots / 2^64 of the hash's first word,
 * the walk linear over at most SHM_PROBES_MAX slots, and there are at least twice as many slots as keys.
 *
 * An index slot is one 64-bit word: 0 is empty, SHM_SLOT_TOMBSTONE was deleted, anything else is
 * tag << 32 | entry + 1. The tag is the upper half of the 64-bit hash; its lower bits name the home slot.
 * Probing is linear over at most SHM_PROBES_MAX slots. Slots are at least twice the entries.
 *
 * Offsets, never pointers. All integers are host order: both processes run on one machine. Sizes are
 * asserted; a change of any of them changes SHM_LAYOUT_VERSION, and so does one of err.def or counters.def, by
 * whose order counters lie there: each process would tell them under the other's names.
 */

#define SHM_MAGIC UINT64_C(0x0000454349554c53) /* "SLUICE" little-endian */
#define SHM_LAYOUT_VERSION 14
#define SHM_READ_TRIES_MAX 8
#define SHM_WORKERS_MAX 64
#define SHM_NONE UINT32_MAX /* no entry */
#define SHM_ENTRIES_MAX (UINT32_C(1) << 28) /* of one table */
#define SHM_PROBES_MAX 128
#define SHM_SLOT_TOMBSTONE UINT64_C(0xffffffff00000000)
#define SHM_SLOT_ALIAS UINT64_C(0x80000000) /* in the models index: an entry of SHM_ALIASES */

enum shm_section {
	SHM_KEY_SLOTS,    /* keys, by their hash */
	SHM_MODELS_INDEX, /* model id or alias -> entry of SHM_MODELS */
	SHM_INSTANCES_INDEX, /* instance id -> entry */
	SHM_KEYS, /* entry -> slot of SHM_KEY_SLOTS + 1; 0: never used */
	SHM_ACCOUNTS,
	SHM_PLANS,
	SHM_MODELS,
	SHM_ALIASES, /* names of the models index that are not the model's id */
	SHM_PRICES,
	SHM_INSTANCES,
	SHM_DEPLOYMENTS,
	SHM_PODS,
	SHM_REGIONS,
	SHM_BUCKETS,    /* by key entry */
	SHM_BALANCES,   /* by account entry */
	SHM_POD_HEALTH, /* by pod entry */
	SHM_WORKERS,    /* by worker */
	SHM_SECTION_COUNT
};

/* Entries of each table; from configuration, fixed when the file is made. */
struct shm_capacity {
	uint32_t count[SHM_SECTION_COUNT];
};

struct shm_header {
	uint64_t magic;
	uint32_t layout_version;
	uint32_t worker_count;
	uint64_t file_bytes;
	uint64_t offset[SHM_SECTION_COUNT]; /* from the file's start; CACHE_LINE_BYTES aligned */
	struct shm_capacity capacity;
	uint8_t instance_id[16]; /* random when the file is made; names the file's life */
	uint8_t pepper[32];      /* of the key hash; the file is 0600 for that reason */
	/* liveness; each word has one writer */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t control_beat_at_ns; /* CLOCK_MONOTONIC */
	_Atomic uint64_t generation;     /* publishes that changed anything */
	_Atomic uint64_t reconciled_at_ns; /* last full sync */
	_Atomic uint64_t settings; /* sequence of the newest handover (config/handover.h) */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t dataplane_beat_at_ns;
	_Atomic uint64_t dataplane_epoch; /* starts of the dataplane; names its spool files */
	_Atomic uint64_t settings_taken; /* what all workers have of `settings` */
};

/* --- bodies of the entries; `live` is 0 for a free or deleted entry ------------------ */

#define SHM_NAME_BYTES 192
#define SHM_SHORT_NAME_BYTES 48

struct shm_name {
	uint16_t len;
	char text[SHM_NAME_BYTES - 2];
};

struct shm_short_name {
	uint16_t len;
	char text[SHM_SHORT_NAME_BYTES - 2];
};

/* A key as it is read and published; struct shm_key_slot is how it is kept. */
struct shm_key {
	uint8_t hash[32]; /* HMAC-SHA-256(pepper, key text) */
	uint64_t key_id;
	uint32_t account; /* entry of SHM_ACCOUNTS */
	uint32_t plan;    /* entry of SHM_PLANS */
	uint8_t live;
	uint8_t revoked;
	uint8_t surface; /* enum shm_surface */
	uint8_t reserved;
	uint32_t expires_at_s; /* Unix time from which it is nobody's; 0: never */
};

/* Edges of the API, by the names that sluice.yaml has for them; the numbers are in the store. */
enum shm_surface {
	SHM_SURFACE_ECOLINK,
	SHM_SURFACE_INFER,
	SHM_SURFACE_THIRD,
	SHM_SURFACE_FOURTH,
	SHM_SURFACE_COUNT
};

/* Of a slot's state. 0: empty, nobody has lived here; the tombstone alone: somebody has, and walks go on. */
#define SHM_KEY_LIVE (UINT64_C(1) << 63)
#define SHM_KEY_TOMBSTONE (UINT64_C(1) << 62)
#define SHM_KEY_REVOKED (UINT64_C(1) << 61)
#define SHM_KEY_SURFACE_SHIFT 56 /* 5 bits */
#define SHM_KEY_SURFACE_MASK UINT64_C(31)
#define SHM_KEY_PLAN_SHIFT 28
#define SHM_KEY_ENTRY_MASK (SHM_ENTRIES_MAX - UINT64_C(1)) /* of the plan, and of the account below it */

struct shm_key_slot {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t state;
	_Atomic uint64_t turn;
	_Atomic uint64_t key_id;
	_Atomic uint64_t entry_expiry; /* expires_at_s in the upper half */
	_Atomic uint64_t hash[4];
};

struct shm_account {
	uint64_t account_id;
	uint8_t live;
	uint8_t suspended;
	uint8_t reserved[6];
};

struct shm_plan {
	uint64_t plan_id;
	uint64_t request_ns_per_unit; /* 0: no limit */
	uint64_t request_burst_units;
	uint64_t requests_per_minute; /* as shown in x-ratelimit-limit-requests */
	uint64_t token_ns_per_unit;   /* the same of tokens */
	uint64_t token_burst_units;
	uint64_t tokens_per_minute;
	uint64_t body_bytes_max; /* of a request's body; 0: as the surface has it */
	uint32_t in_flight_max;  /* requests of the account at once; 0: no limit */
	uint8_t live;
	uint8_t reserved[3];
};

#define SHM_TARGET_DEPLOYMENTS_MAX 8

/* Which pod of a deployment gets a request (lib/spread). */
enum shm_policy { SHM_POLICY_ROUND_ROBIN, SHM_POLICY_LEAST_LOADED, SHM_POLICY_PREFIX, SHM_POLICY_COUNT };

/* When a failed try may be followed by another one. */
enum shm_resend {
	SHM_RESEND_UNTIL_FIRST_BYTE, /* until the client has a byte of the answer */
	SHM_RESEND_NEVER_SENT,       /* only if no byte of the request went to a backend */
	SHM_RESEND_COUNT
};

#define SHM_RETRY_AS_CONFIGURED UINT16_MAX

/* Something that can be asked for: what a model and an instance have in common. */
struct shm_target {
	uint32_t price; /* entry of SHM_PRICES or SHM_NONE: model_not_priced */
	uint32_t deployment_count;
	uint32_t deployments[SHM_TARGET_DEPLOYMENTS_MAX]; /* in order of preference of region */
	uint8_t policy; /* enum shm_policy */
	uint8_t resend; /* enum shm_resend */
	uint16_t retry_percent; /* further tries per hundred requests, or SHM_RETRY_AS_CONFIGURED */
	/* 0: as configured */
	uint32_t connect_ms;
	uint32_t response_head_ms;
	uint32_t first_event_ms;
	uint32_t between_events_ms;
	uint32_t request_ms; /* all of it */
	uint32_t hold_tokens; /* of a completion that the request does not bound */
	uint32_t tls_ms;
};

struct shm_model {
	struct shm_name name;
	uint64_t model_id;
	struct shm_target target;
	uint8_t live;
	uint8_t reserved[7];
};

struct shm_alias {
	struct shm_name name;
	uint64_t alias_id;
	uint32_t model; /* entry of SHM_MODELS */
	uint8_t live;
	uint8_t reserved[3];
};

struct shm_price {
	uint64_t price_id;
	uint32_t version;
	uint8_t live;
	uint8_t reserved[3];
	/* nano-dollars */
	uint64_t input_nano_per_mtoken; /* per million tokens */
	uint64_t output_nano_per_mtoken;
	uint64_t request_nano;
	uint64_t image_nano;
	uint64_t second_nano; /* of audio or video */
	uint64_t character_nano_per_million;
	uint64_t byte_nano_per_million;
};

enum shm_instance_state {
	SHM_INSTANCE_RUNNING,
	SHM_INSTANCE_STOPPED,         /* answered 404 model_not_found */
	SHM_INSTANCE_CREDIT_DEPLETED, /* answered 402 credit_depleted */
};

struct shm_instance {
	struct shm_name name; /* what stands before the ':' */
	uint64_t instance_id;
	uint32_t account; /* owner: entry of SHM_ACCOUNTS */
	uint8_t live;
	uint8_t state; /* enum shm_instance_state */
	uint8_t reserved[2];
	struct shm_target target;
};

struct shm_region {
	uint64_t region_id;
	struct shm_short_name name; /* as in x-ecolink-region */
	uint8_t live;
	uint8_t reserved[7];
};

#define SHM_DEPLOYMENT_PODS_MAX 32

/* A target in one region. */
struct shm_deployment {
	uint64_t deployment_id;
	struct shm_name served_name; /* what `model` becomes; empty: unchanged */
	struct shm_name base_path;   /* put before /v1/…: "" or "/142" (no slash at its end) */
	uint32_t region;             /* entry of SHM_REGIONS */
	uint32_t pod_count;
	uint32_t pods[SHM_DEPLOYMENT_PODS_MAX]; /* entries of SHM_PODS */
	uint8_t live;
	uint8_t reserved[7];
};

#define SHM_POD_PINS_MAX 2

/* Whom a pod must be that is spoken to over TLS: known to the authority and of that name, or of a pinned key, or
 * both where both are there. */
struct shm_pod_tls {
	uint8_t pins[SHM_POD_PINS_MAX][32]; /* SHA-256 of its SubjectPublicKeyInfo */
	uint8_t pin_count;
	uint8_t reserved[7];
	struct shm_short_name authority; /* one of tls.authorities; empty: pins alone */
	struct shm_name name;            /* sent as SNI, unless it is an address */
};

enum shm_pod_state { SHM_POD_READY, SHM_POD_DRAIN, SHM_POD_MAINT };

struct shm_pod {
	/* as in shm_pod_place, which is read without the rest */
	uint64_t pod_id;
	uint64_t name_hash;  /* of the name that address was found for; 0: it has none */
	uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d; all 0: its name was never resolved */
	uint16_t port;
	uint8_t live;
	uint8_t state; /* enum shm_pod_state */
	uint8_t running_usage; /* 1: usage in every event may be asked for */
	uint8_t is_tls;
	uint8_t reserved[2];
	/* what is said there */
	struct shm_name host; /* Host field; empty: address and port */
	struct shm_name credential; /* Authorization value for this backend; empty: none */
	struct shm_pod_tls tls;     /* all 0 if it is not */
};

/* Whether and where a pod can be asked: how a pod begins. */
struct shm_pod_place {
	uint64_t pod_id;
	uint64_t name_hash;
	uint8_t address[16];
	uint16_t port;
	uint8_t live;
	uint8_t state;
	uint8_t running_usage;
	uint8_t is_tls;
	uint8_t reserved[2];
};

/* --- hot cells ------------------------------------------------------------------------- */

struct shm_bucket_cell {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t request_full_at_ns; /* limit/bucket.h */
	_Atomic uint64_t token_full_at_ns;
};

/*
 * Money of an account: available = credited - spent - elsewhere - held (shm/balance.h).
 *
 * credited_nano is the sum of everything ever put in, as the store has it: control stores the same number
 * again as often as it likes, where an add could be lost or repeated by a death between the store's commit
 * and the add.
 * spent_nano starts as what the ledger had settled when the cell was made; workers add to it, and control
 * what a crash of theirs has left. Where a death between two stores has put it off, control sets it right
 * by an exchange in which no settlement gets lost (balance_correct()).
 * elsewhere_nano is what other routers on the same database have spent, as far as their ledgers are in it.
 * held_nano is what requests in flight may cost: of nobody when no worker runs, so that the next process
 * begins at 0.
 */
struct shm_balance_cell {
	_Alignas(CACHE_LINE_BYTES) _Atomic int64_t credited_nano; /* control: plain store */
	_Atomic int64_t elsewhere_nano; /* control: plain store */
	_Atomic int64_t spent_nano; /* workers, and control by additions and exchanges: settled */
	_Atomic int64_t held_nano;  /* workers: never negative */
	_Atomic uint32_t in_flight; /* workers: requests that have been let in and have not ended */
};

enum shm_probe_state { SHM_PROBE_UNKNOWN, SHM_PROBE_UP, SHM_PROBE_DOWN };

struct shm_pod_health {
	/* by control's probes */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint32_t probe_state; /* enum shm_probe_state */
	_Atomic uint32_t probe_latency_us;
	/* what it says of itself; counts until gauges_until_ns, and not if that is 0 */
	_Atomic uint32_t running;
	_Atomic uint32_t waiting;
	_Atomic uint32_t cache_permille; /* of its KV cache */
	_Atomic uint64_t gauges_until_ns;
	/* by workers */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t eject_until_ns; /* these four: spread/eject.h */
	_Atomic uint32_t eject_errors;
	_Atomic uint32_t eject_row;
	_Atomic uint32_t eject_prober;
	_Atomic uint32_t in_flight;
	_Atomic uint64_t busy_until_ns; /* it said so itself (429, 503) */
	_Atomic uint64_t first_token;   /* spread_latency_add() */
};

#define SHM_COUNTERS_MAX 448

/* One worker's line: written by it alone. */
struct shm_worker {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t beat_at_ns;
	_Atomic uint64_t pinned_generation;
	_Atomic uint64_t busy_cycles;
	_Atomic uint64_t idle_cycles;
	_Atomic uint64_t usage_written;  /* records in the spool since the epoch began */
	/* What computes for its TLS, for the operator: texts, written before its first beat. */
	_Alignas(CACHE_LINE_BYTES) char tls_primitives[16];
	char tls_ciphers[48];
	/* By enum err, then by enum counter (counters.h). */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t counters[SHM_COUNTERS_MAX];
};

CHECK_STATIC(sizeof(struct shm_header) % CACHE_LINE_BYTES == 0, "sections follow on a line");
CHECK_STATIC(sizeof(struct shm_key_slot) == CACHE_LINE_BYTES, "key");
CHECK_STATIC(SHM_SURFACE_COUNT <= SHM_KEY_SURFACE_MASK + 1 && SHM_KEY_ENTRY_MASK >> SHM_KEY_PLAN_SHIFT == 0 &&
	     2 * SHM_KEY_PLAN_SHIFT == SHM_KEY_SURFACE_SHIFT, "a key's state is one word");
CHECK_STATIC(sizeof(struct shm_account) == 16, "account");
CHECK_STATIC(sizeof(struct shm_plan) == 72, "plan");
CHECK_STATIC(sizeof(struct shm_target) == 72, "target");
CHECK_STATIC(sizeof(struct shm_model) == 280, "model");
CHECK_STATIC(sizeof(struct shm_alias) == 208, "alias");
CHECK_STATIC(sizeof(struct shm_price) == 72, "price");
CHECK_STATIC(sizeof(struct shm_instance) == 280, "instance");
CHECK_STATIC(sizeof(struct shm_region) == 64, "region");
CHECK_STATIC(sizeof(struct shm_deployment) == 536, "deployment");
CHECK_STATIC(sizeof(struct shm_pod) == 736, "pod");
CHECK_STATIC(sizeof(struct shm_pod_place) == 40 && offsetof(struct shm_pod, host) == 40 &&
	     offsetof(struct shm_pod_place, address) == offsetof(struct shm_pod, address) &&
	     offsetof(struct shm_pod_place, port) == offsetof(struct shm_pod, port) &&
	     offsetof(struct shm_pod_place, live) == offsetof(struct shm_pod, live) &&
	     offsetof(struct shm_pod_place, state) == offsetof(struct shm_pod, state) &&
	     offsetof(struct shm_pod_place, running_usage) == offsetof(struct shm_pod, running_usage) &&
	     offsetof(struct shm_pod_place, is_tls) == offsetof(struct shm_pod, is_tls),
	     "a pod begins with its place");
CHECK_STATIC(sizeof(struct shm_bucket_cell) == CACHE_LINE_BYTES, "bucket");
CHECK_STATIC(sizeof(struct shm_balance_cell) == CACHE_LINE_BYTES, "balance");
CHECK_STATIC(sizeof(struct shm_pod_health) == 2 * CACHE_LINE_BYTES, "pod health");
CHECK_STATIC(sizeof(struct shm_worker) == 2 * CACHE_LINE_BYTES + SHM_COUNTERS_MAX * 8, "worker");
