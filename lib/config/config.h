#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * config: sluice.yaml as one struct, for the two programs; both read the same file.
 *
 * What keys there are, their bounds, defaults and meanings is one table (schema.c); parser,
 * complaints and the printed reference follow from it. A field here without a row there keeps zero,
 * and tidy complains.
 *
 * Memory: the caller's; no pointers inside, so a struct config may be copied. About 40 KiB: not for
 *         a stack of a fiber. libfyaml allocates while reading and nothing stays.
 * Thread: any; main threads in practice. Never on a packet path.
 */

#define CONFIG_NAME_BYTES 64
#define CONFIG_TEXT_BYTES 128
#define CONFIG_PATH_BYTES 256
#define CONFIG_EAL_EXTRA_MAX 16
#define CONFIG_PORTS_MAX 4
/* Largest values of keys that the dataplane has room for (dataplane/settings.c compares). */
#define CONFIG_HEAD_BYTES_MAX (32 * 1024)
#define CONFIG_LINE_BYTES_MAX (4 * 1024)
#define CONFIG_FIELD_BYTES_MAX (8 * 1024)
#define CONFIG_FIELDS_MAX 100
#define CONFIG_JSON_DEPTH_MAX 128
#define CONFIG_JSON_KEYS_MAX 256
#define CONFIG_EVENT_BYTES_MAX (256 * 1024)
#define CONFIG_EVENT_LINE_BYTES_MAX (1024 * 1024)
#define CONFIG_TRIES_MAX 8
#define CONFIG_RETRY_BURST_MAX 100000
#define CONFIG_TAP_BYTES 16 /* an interface's name in the kernel */
#define CONFIG_ADDRESSES_MAX 8 /* per port */
#define CONFIG_LISTENERS_MAX 8
#define CONFIG_AUTHORITIES_MAX 16
#define CONFIG_AUTHORITY_BYTES 46
#define CONFIG_CERTIFICATES_MAX 8 /* per listener */

enum config_idle { CONFIG_IDLE_POLL, CONFIG_IDLE_SLEEP };
enum config_huge_pages { CONFIG_HUGE_PAGES_AUTO, CONFIG_HUGE_PAGES_YES, CONFIG_HUGE_PAGES_NO };
enum config_records {
	CONFIG_RECORDS_AUTO,
	CONFIG_RECORDS_VAES,
	CONFIG_RECORDS_IPSEC_MB,
	CONFIG_RECORDS_MBEDTLS
};
enum config_primitives {
	CONFIG_PRIMITIVES_AUTO,
	CONFIG_PRIMITIVES_CRYPTO_MB,
	CONFIG_PRIMITIVES_LIBCRYPTO,
	CONFIG_PRIMITIVES_MBEDTLS
};
enum config_offload { CONFIG_OFFLOAD_AUTO, CONFIG_OFFLOAD_ON, CONFIG_OFFLOAD_OFF };
enum config_validate { CONFIG_VALIDATE_STRICT, CONFIG_VALIDATE_MODEL_ONLY };
enum config_errors { CONFIG_ERRORS_OPENAI, CONFIG_ERRORS_CODES };
enum config_reset { CONFIG_RESET_SECONDS, CONFIG_RESET_UNIX };
enum config_level { CONFIG_LEVEL_INFO, CONFIG_LEVEL_WARN, CONFIG_LEVEL_ERROR };

/* An IP address as struct ip_addr holds it: IPv4 as ::ffff:a.b.c.d. */
struct config_address {
	uint8_t ip[16];
	uint8_t prefix_bits; /* of its own family: 0-32 for IPv4, 0-128 for IPv6 */
	bool is_ip4;
	bool is_set; /* false: the key was absent, or "any" where that is allowed */
};

struct config_port {
	char device[CONFIG_TEXT_BYTES]; /* DPDK device string, as after -a or --vdev */
	uint32_t address_count;
	struct config_address addresses[CONFIG_ADDRESSES_MAX]; /* with their networks */
	struct config_address gateway4; /* prefix_bits is not used */
	struct config_address gateway6;
	uint32_t mtu;
	uint32_t vlan; /* tag of every frame, 1-4094; 0: untagged */
	/* What the device does instead of us. */
	struct {
		enum config_offload receive_checksum;
		enum config_offload ip_checksum; /* of IPv4 headers sent */
		enum config_offload tcp_checksum; /* of segments sent */
		enum config_offload tso; /* cutting large packets into segments */
	} offload;
	/* Frames that are not ours, to and from a TAP interface of the kernel. */
	struct {
		char tap[CONFIG_TAP_BYTES]; /* "": dropped */
		uint32_t rate; /* frames per second each way */
		uint32_t queue; /* frames that wait for the other side */
	} exception;
};

struct config_certificate {
	char chain[CONFIG_PATH_BYTES]; /* PEM file, server's certificate first */
	char key[CONFIG_PATH_BYTES]; /* PEM file */
};

/* A bundle of CA certificates that pods refer to. */
struct config_authority {
	char name[CONFIG_AUTHORITY_BYTES];
	char file[CONFIG_PATH_BYTES]; /* PEM */
};

struct config_listener {
	struct config_address address; /* not is_set: every address of every port */
	uint16_t port;
	bool http2; /* offered to clients */
	char client_ca[CONFIG_PATH_BYTES]; /* PEM file; "": clients need no certificate */
	uint32_t certificate_count; /* at least 1 */
	struct config_certificate
		certificates[CONFIG_CERTIFICATES_MAX]; /* chosen by SNI; first is default */
};

/* What one edge of the API looks like: one prefix of paths, with its own form of keys and fields. */
struct config_surface {
	bool enabled;
	char prefix[CONFIG_NAME_BYTES]; /* "/v1" */
	char key_prefix[CONFIG_NAME_BYTES]; /* "eco_" */
	char header_prefix[CONFIG_NAME_BYTES]; /* "x-ecolink-" */
	uint32_t requests_per_minute; /* of a key whose plan does not say; 0: any number */
	uint64_t body_bytes_max; /* of a JSON request */
	uint64_t upload_bytes_max; /* of a form */
	uint64_t file_bytes_max;   /* of the file in it */
	enum config_validate validate;
	enum config_errors errors;
	enum config_reset reset; /* in x-ratelimit-reset */
	char cors[CONFIG_PATH_BYTES]; /* origins with spaces between, "*", or "" */
	bool overhead; /* whether x-sluice-overhead-us is told */
};

struct config {
	/* both programs */
	char instance[CONFIG_NAME_BYTES]; /* the shared file is /dev/shm/<instance> */
	uint32_t workers;
	bool dumpable; /* core dumps may be left */
	struct {
		char path[CONFIG_PATH_BYTES]; /* folder */
		uint64_t segment_bytes;
		uint64_t size_bytes; /* of all segments */
	} spool;
	struct {
		enum config_level level; /* the least that is written */
	} log;

	/* dataplane */
	char cores[CONFIG_TEXT_BYTES]; /* EAL core list, main thread's first; "": EAL decides */
	enum config_idle idle;
	struct {
		enum config_huge_pages huge_pages;
		uint64_t bytes; /* of packets, all workers together */
	} memory;
	uint32_t eal_extra_count;
	char eal_extra[CONFIG_EAL_EXTRA_MAX][CONFIG_TEXT_BYTES];
	uint32_t port_count;
	struct config_port ports[CONFIG_PORTS_MAX];
	uint32_t listener_count;
	struct config_listener listeners[CONFIG_LISTENERS_MAX];
	uint32_t authority_count;
	struct config_authority authorities[CONFIG_AUTHORITIES_MAX]; /* tls.authorities: of backends */
	uint64_t ticket_lifetime_ns; /* tls.ticket_lifetime; 0: no tickets */
	enum config_records records; /* tls.records, tls.primitives: what computes */
	enum config_primitives primitives;
	struct {
		uint32_t clients; /* connections, all workers together */
		uint32_t upstreams; /* connections to backends, all workers together */
		uint32_t upstream_handshakes; /* TLS with backends at once, of each worker */
		uint64_t bodies_bytes; /* request bodies kept for a resend, all workers together */
		uint64_t proxy_bytes_max; /* of one request of the pass-through */
		uint32_t per_source; /* connections of one /24 or /48, all workers together */
		uint32_t handshakes; /* TLS handshakes at once, of each worker */
		uint32_t handshakes_per_source; /* of one /24 or /48, of each worker */
		uint32_t requests; /* of one connection */
		uint64_t request_line_bytes;
		uint64_t head_bytes; /* request line and fields */
		uint64_t field_bytes; /* one field's line */
		uint32_t fields;
		uint32_t json_depth;
		uint32_t json_keys; /* of the top level */
		uint32_t hold_tokens;     /* held for a completion that the request does not bound */
		uint32_t hold_tokens_max; /* held at most for one answer */
		uint64_t body_rate_bytes; /* per second, once timeouts.body_grace is over; 0: any */
		uint64_t event_bytes; /* kept of an event that has not ended */
		uint64_t event_line_bytes;
	} limits;
	/* What clients that choose HTTP/2 may take. */
	struct {
		uint64_t memory_bytes; /* all workers together */
		uint64_t connection_bytes; /* of it, one connection */
		uint32_t streams; /* at once on one connection */
		uint32_t streams_unauthenticated; /* before its first valid key */
		/* of one connection, too */
		uint64_t stream_window_bytes;
		uint64_t connection_window_bytes;
		uint64_t frame_bytes;
		uint64_t header_table_bytes;
		uint64_t progress_bytes; /* taken of a stream within timeouts.http2_window */
		uint32_t resets; /* in ten seconds */
		uint32_t resets_percent; /* of its streams, after resets_after of them */
		uint32_t resets_after;
		uint32_t continuations;
		uint32_t empty_frames; /* in a row */
		uint32_t controls;
		uint32_t acks; /* that wait to be sent */
		uint32_t priorities; /* per stream */
		uint32_t updates; /* per DATA frame of ours */
	} http2;
	/* TCP's policy, by what the peer is. */
	struct {
		struct config_tcp_peer {
			uint64_t keep_alive_ns; /* idle before the first probe; 0: none */
			uint64_t keep_alive_step_ns;
			uint32_t keep_alive_probes;
			uint64_t user_timeout_ns;
			uint64_t receive_start_bytes;
			uint64_t receive_max_bytes;
		} clients, backends;
		uint64_t send_bytes; /* queued per connection */
		uint32_t mss_min; /* a SYN that offers less is dropped; 0: none is */
		uint32_t path_mtu_min; /* IPv4 */
		uint32_t syn_acks; /* sent again for one SYN */
		bool asks_for_ecn; /* where we open */
		uint32_t half_open; /* all workers together; 0: by limits.clients */
		uint32_t time_wait;
		uint64_t time_wait_time_ns;
		uint64_t fin_wait_time_ns; /* orphans in FIN-WAIT-2 */
		uint32_t orphans;
	} tcp;
	struct {
		uint64_t handshake_ns;
		uint64_t head_ns;
		uint64_t body_ns; /* between two pieces of a request body */
		uint64_t body_grace_ns; /* before limits.body_rate counts */
		uint64_t body_total_ns; /* from a request's head to the end of its body */
		uint64_t stall_ns; /* a client that takes nothing of its answer */
		uint64_t idle_ns; /* between two requests */
		uint64_t connect_ns;
		uint64_t connect_tls_ns; /* after connect_ns, to the end of the handshake */
		uint64_t response_head_ns;
		uint64_t first_event_ns;
		uint64_t between_events_ns;
		uint64_t keep_alive_ns; /* between ": keep-alive" comments before the first event; 0: none */
		uint64_t upstream_idle_ns;
		uint64_t request_ns; /* a whole request, from its head to the end of its answer */
		uint64_t http2_idle_ns; /* without a stream */
		uint64_t http2_window_ns; /* without room for what a stream has */
		uint64_t drain_ns; /* what running requests get after a stop was asked for */
	} timeouts;
	/* Which pod, how often, and when it gets no more. */
	struct {
		uint32_t tries; /* per request */
		uint32_t retry_percent; /* tries after the first, per hundred requests */
		uint32_t retry_burst; /* of each worker and model */
		uint32_t eject_errors; /* in a row; 0: never */
		uint64_t eject_time_ns;
		uint64_t eject_time_max_ns;
		uint32_t eject_percent; /* of a deployment's pods at once */
		uint64_t busy_ns; /* a pod that says 429 or 503 is passed over */
	} routing;
	struct {
		struct config_surface ecolink;
		struct config_surface infer;
		struct config_surface third;
		struct config_surface fourth;
	} surfaces;

	/* control */
	struct {
		char path[CONFIG_PATH_BYTES]; /* SQLite file */
		char connection[CONFIG_PATH_BYTES]; /* of PostgreSQL; empty: path */
	} store;
	struct {
		struct config_address address;
		uint16_t port;
		char socket[CONFIG_PATH_BYTES]; /* "": none */
		char token_file[CONFIG_PATH_BYTES];
		char read_only_token_file[CONFIG_PATH_BYTES]; /* "": none */
	} admin;
	struct {
		uint32_t keys;
		uint32_t accounts;
		uint32_t plans;
		uint32_t models;
		uint32_t aliases;
		uint32_t prices;
		uint32_t instances;
		uint32_t deployments;
		uint32_t pods;
		uint32_t regions;
	} capacity;
	struct {
		uint64_t interval_ns;
		uint32_t jitter_percent; /* of the interval, less or more */
		uint64_t timeout_ns;
		uint32_t rise;
		uint32_t fall;
		uint64_t resolve_ns;
		char path[CONFIG_TEXT_BYTES];
	} probes;
};

/* Where complaints go, one call per line, "sluice.yaml:3:9: error: …" without the line's end. */
struct config_complaints {
	void (*line)(void *owner, const char *text);
	void *owner;
};

/* The text of a file called name (used in complaints). Complains about everything it finds and
 * returns ERR_CONFIG_INVALID; *config is whole on success and untouched otherwise. Relative paths
 * become relative to the folder of name. Opens no other file: whether a path exists is its user's
 * business. */
enum err config_parse(struct config *config, const char *name, struct bytes text,
		      const struct config_complaints *complaints);

/* The rules between keys alone, over values that are each fine. Complaints have no place in a file then. */
enum err config_check(const struct config *config, const char *name,
		      const struct config_complaints *complaints);

/* The file's bytes, to be freed, at most 1 MiB. */
enum err config_read(const char *path, struct bytes *text, const struct config_complaints *complaints);

/* Reads the file and parses it; ERR_CONFIG_UNREADABLE also gets a complaint. */
enum err config_load(struct config *config, const char *path,
		     const struct config_complaints *complaints);

/* Every key with type, bounds, default, class and meaning, one call per line: the reference. */
void config_print_reference(const struct config_complaints *to);
