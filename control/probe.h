#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/prng.h"
#include "config/config.h"
#include "gauges.h"
#include "publish.h"
#include "store.h"

/*
 * probe: asks every pod whether it is well, and tells the workers through its health cell.
 *
 * A GET over the kernel's network, a connection of its own each time. An answer of 200 to 299 is good.
 * `rise` good ones in a row bring a pod up, `fall` bad ones take it down; the first one of a new pod
 * decides at once. Pods in maintenance are left alone. An interval is up to a tenth shorter or longer by chance,
 * so that many pods do not fall due together for ever.
 *
 * Where a pod has a metrics_path, it is asked so often, too, for what vLLM or SGLang say of their load (gauges.h).
 * It counts until PROBE_GAUGES_LIVES intervals have passed without news.
 *
 * An https pod is asked over TLS, and believed for the same reasons as by the workers: its authority's file, its
 * name, its pins. libcurl reads the file, the first time behind a reload.
 *
 * A pod is asked where the shared tables have it; one whose name was never resolved is not asked. After a
 * change of address it is asked at once (probe_again()), and an answer of the old one says nothing.
 *
 * What a probe is like is kept in memory and read again from the store in slices: a round a second, and sooner
 * when tables have changed. While the store is away, probes go on as they are.
 *
 * Owner: control's loop, which waits on probe_multi() as well. Bounds: PROBE_FLIGHTS_MAX at once; a pod
 * whose turn comes while all are in the air waits for one. PROBE_LOOKS pods are looked at in a turn, and the next
 * one goes on behind them: of 100,000 pods each is looked at once a second. An answer's body beyond
 * PROBE_BODY_MAX is cut.
 */
#define PROBE_FLIGHTS_MAX 256
#define PROBE_LOOKS 2000
#define PROBE_BODY_MAX 65536
#define PROBE_GAUGES_BYTES_MAX (4 * 1024 * 1024) /* of an answer with metrics */
#define PROBE_GAUGES_LIVES 3
#define PROBE_ROWS 500 /* of a slice */
#define PROBE_PATH_BYTES 132

struct probe_defaults {
	const char *path;
	uint64_t interval_ns;
	uint32_t jitter_percent; /* at most 50 */
	uint64_t timeout_ns;
	uint32_t rise;
	uint32_t fall;
	const struct config *config; /* its tls.authorities: */
	uint64_t authorities_at_ns;  /* what was read of their files before then is of another configuration */
};

struct probe_flight {
	CURL *easy;
	struct curl_slist *headers;
	struct curl_slist *place; /* where the name of the URL is, for https */
	uint32_t entry; /* of the pod */
	uint64_t pod_id;
	uint8_t address[16];
	uint16_t port;
	uint64_t body_bytes;
	bool is_flying;
	bool is_for_gauges; /* no health probe */
	struct gauges gauges;
};

/* As its row says; 0 and empty: as configured. */
struct probe_manner {
	uint8_t state; /* enum shm_pod_state */
	uint32_t interval_ms;
	uint32_t timeout_ms;
	uint32_t rise;
	uint32_t fall;
	char metrics_path[PROBE_PATH_BYTES]; /* empty: not asked */
	char path[PROBE_PATH_BYTES];
};

/* Of one entry of SHM_PODS. What a look needs comes first. */
struct probe_pod {
	uint64_t pod_id; /* 0: not probed */
	uint64_t due_at_ns;
	uint64_t gauges_due_at_ns;
	uint32_t streak; /* results in a row that contradict the state */
	bool is_flying;
	bool is_flying_for_gauges;
	bool is_known; /* its row has been read */
	struct probe_manner manner;
};

struct probe {
	struct store *store;
	struct publish *publish;
	struct probe_defaults defaults;
	CURLM *multi;
	struct statement *rows;
	int64_t after_id;       /* rows up to it were read in this round */
	uint64_t read_at_ns;    /* the next slice */
	uint64_t begun_at_ns;   /* this round */
	uint64_t seen_rows;     /* of publish's, when a round was begun for it */
	struct prng prng;
	struct probe_flight flights[PROBE_FLIGHTS_MAX];
	struct probe_pod *pods;
	uint32_t walk;          /* the entry that is looked at next */
	/* for metrics */
	uint64_t good;
	uint64_t bad;
	uint64_t transitions;
	uint64_t gauges_good;
	uint64_t gauges_bad;
};

/* defaults.path and defaults.config must outlive the probe. ERR_STORE_FAILED: no memory, or the store refused. */
enum err probe_init(struct probe *p, struct store *store, struct publish *publish,
		    const struct probe_defaults *defaults);
/* The path stays where the configuration is. */
struct probe_defaults probe_defaults_of(const struct config *config, uint64_t now_ns);

/* Other ones from now on, for probes that begin. */
void probe_set_defaults(struct probe *p, const struct probe_defaults *defaults);
void probe_fini(struct probe *p);

/* The pod of this entry has another address. */
void probe_again(struct probe *p, uint32_t entry);

CURLM *probe_multi(struct probe *p);

/* Starts what is due, takes in what is done. */
void probe_turn(struct probe *p, uint64_t now_ns);
