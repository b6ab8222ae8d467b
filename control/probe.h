#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "publish.h"
#include "store.h"

/*
 * probe: asks every pod whether it is well, and tells the workers through its health cell.
 *
 * A GET over the kernel's network, a connection of its own each time. An answer of 200 to 299 is good.
 * `rise` good ones in a row bring a pod up, `fall` bad ones take it down; the first one of a new pod
 * decides at once. Pods in maintenance are left alone.
 *
 * Owner: control's loop, which waits on probe_multi() as well. Bounds: PROBE_FLIGHTS_MAX at once; a pod
 * whose turn comes while all are in the air waits for one. An answer's body beyond PROBE_BODY_MAX is cut.
 */
#define PROBE_FLIGHTS_MAX 256
#define PROBE_BODY_MAX 65536

struct probe_defaults {
	const char *path;
	uint64_t interval_ns;
	uint64_t timeout_ns;
	uint32_t rise;
	uint32_t fall;
};

struct probe_flight {
	CURL *easy;
	struct curl_slist *headers;
	uint32_t entry; /* of the pod */
	uint64_t pod_id;
	uint64_t body_bytes;
	bool is_flying;
};

/* Of one entry of SHM_PODS. */
struct probe_pod {
	uint64_t pod_id; /* 0: not probed */
	uint64_t due_at_ns;
	uint32_t streak; /* results in a row that contradict the state */
	bool is_flying;
};

struct probe {
	struct store *store;
	struct publish *publish;
	struct probe_defaults defaults;
	CURLM *multi;
	struct statement *row;
	struct probe_flight flights[PROBE_FLIGHTS_MAX];
	struct probe_pod *pods;
	uint32_t turn;
	/* for metrics */
	uint64_t good;
	uint64_t bad;
	uint64_t transitions;
};

/* defaults.path must outlive the probe. ERR_STORE_FAILED: no memory, or the store refused. */
enum err probe_init(struct probe *p, struct store *store, struct publish *publish,
		    const struct probe_defaults *defaults);
/* The path stays where the configuration is. */
struct probe_defaults probe_defaults_of(const struct config *config);

/* Other ones from now on, for probes that begin. */
void probe_set_defaults(struct probe *p, const struct probe_defaults *defaults);
void probe_fini(struct probe *p);

CURLM *probe_multi(struct probe *p);

/* Starts what is due, takes in what is done. */
void probe_turn(struct probe *p, uint64_t now_ns);
