#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "dataplane/job.h"
#include "dataplane/overhead.h"
#include "dataplane/refusal.h"
#include "http/h1.h"
#include "http/multipart.h"
#include "json/validate.h"
#include "limit/bucket.h"
#include "meter/usage.h"
#include "shm/table.h"

/*
 * admit: who asks, for what, and whether they may. Reads shared-memory tables; takes one unit of the key's
 * request bucket, and what hold.h and quota.h say; changes nothing else.
 *
 * The order of the checks is part of the API. It decides which refusal a request gets that deserves several,
 * and who has no key learns nothing but that.
 *
 *   1   the head's grammar, which is the client's (h1_server.c, h2.c, http/h1.h)
 *       health, and a browser's preflight where CORS is configured, are answered here
 *   2   the key: 401
 *   3   the request limit: 429. A unit is taken, however the request ends.
 *   4   path, method, declared size, coding: 404, 405, 413, 415
 *   5   the body's fields: 400 (json/validate.h)
 *   6   the model: 404
 *   7   of an instance its owner and its credit: 401, 402
 *   8   a price: 402
 *   9   the balance: 402 (hold.h). What is held is given back, or replaced by the cost, when the request ends.
 *   10  room for the usage record: 503, for what is served is charged
 *   11  requests in flight and tokens: 429 (quota.h). What is taken is given back when the request ends.
 *
 * Owner: the worker. Memory: the caller's.
 */
enum route_kind {
	ROUTE_UNKNOWN,
	ROUTE_CHAT,          /* JSON */
	ROUTE_JSON,          /* JSON, other things than chat that are counted in tokens */
	ROUTE_IMAGES,        /* JSON; counted in images */
	ROUTE_SPEECH,        /* JSON; counted in seconds or characters; audio comes back */
	ROUTE_TRANSCRIPTION, /* a form; counted in seconds or bytes */
	ROUTE_VIDEO,         /* JSON; a job's id comes back, ours instead of the backend's */
	ROUTE_VIDEO_JOB,     /* a question about a job, to the pod that has it */
	ROUTE_PROXY,         /* an instance's own API, verbatim */
	ROUTE_MODELS,        /* our own list */
	ROUTE_MODEL,         /* one of it */
	ROUTE_PREFLIGHT,     /* what a page may ask for (cors.h) */
	ROUTE_HEALTH,
	ROUTE_READY,
};

/* What a request's body is to us. */
enum body_kind {
	BODY_IS_NONE, /* dropped: nothing of it is needed */
	BODY_IS_JSON, /* collected, scanned, edited */
	BODY_IS_FORM, /* scanned; goes on as soon as the model is known and the length was told */
	BODY_IS_RAW,  /* passed on as it comes */
};

/* True if the answer is our own. */
static inline bool
route_is_local(enum route_kind route)
{
	return route >= ROUTE_MODELS;
}

/* True if what is served is counted in tokens. */
static inline bool
route_has_tokens(enum route_kind route)
{
	return route == ROUTE_CHAT || route == ROUTE_JSON;
}

#define REQUEST_ID_TEXT_BYTES 32

struct admission {
	enum shm_surface surface;
	enum route_kind route;
	bool authenticated;
	struct bytes cors_origin; /* what the page that asks is told; the worker's memory; empty: nothing */
	uint8_t request_id[16];
	char request_id_text[REQUEST_ID_TEXT_BYTES];
	struct bytes upstream_path; /* static memory: what a plain backend serves */
	struct bytes path_rest;     /* behind a route that is a prefix; borrows from the head */
	enum body_kind body_kind;
	enum json_path rules; /* of its fields, where a surface validates strictly */
	enum usage_operation operation;
	bool completes;  /* the answer may have completion tokens */
	bool asks_usage; /* a stream may be asked for its usage: the API has stream_options here */
	uint64_t body_bytes_max;
	uint64_t plan_body_bytes_max; /* lowers it; 0: it does not */
	uint64_t file_bytes_max; /* of the file in a form */
	bool never_resend; /* a try of which a byte was sent is not sent again */
	/* the key */
	uint32_t key_entry;
	uint32_t account_entry;
	uint64_t key_id;
	uint64_t account_id;
	struct bucket_limit limit; /* ns_per_unit 0: none */
	uint64_t requests_per_minute;
	struct bucket_limit token_limit; /* ns_per_unit 0: none */
	uint64_t tokens_per_minute;
	uint32_t in_flight_max; /* 0: any number */
	int64_t held_nano; /* hold_take() */
	/* what quota_take() has taken */
	bool is_in_flight;
	uint64_t taken_tokens;
	/* the target, from admit_body() */
	uint32_t target_entry; /* of the model, or of the instance if instance_id is set */
	uint64_t model_id;
	uint64_t instance_id;
	struct shm_target target;
	struct shm_name target_name; /* what is served under, unless the deployment says otherwise */
	bool says_length;            /* of the video that it asks for */
	uint64_t job_pod_id;         /* the only pod that can answer; 0: any */
	struct shm_price price;
	struct overhead overhead; /* noted where a surface tells it */
};

struct worker;

/* A request of which nothing is known yet but its new id, and the surface that its path leads to. */
void admit_begin(struct worker *w, struct bytes path, struct admission *admission);

/* Checks 2-4 of a request head. False: *refusal says why. */
bool admit_head(struct worker *w, const struct h1_request *request, struct admission *admission,
		struct refusal *refusal);

/* Checks 5-11 of a complete JSON body, of a form of which the model is known or which is complete, of a
 * pass-through. */
bool admit_body(struct worker *w, const struct json_result *json, struct admission *admission,
		struct refusal *refusal);
bool admit_form(struct worker *w, const struct multipart_result *form, uint64_t form_bytes,
		struct admission *admission, struct refusal *refusal);
bool admit_proxy(struct worker *w, struct admission *admission, struct refusal *refusal);

/* The same for a question about a job, by its id. Asking costs nothing, so that money is not looked at. */
bool admit_job(struct worker *w, const struct job *job, struct admission *admission, struct refusal *refusal);

/* The refusal for a verdict of the JSON scanner. */
void admit_refuse_json(enum err verdict, const struct json_result *json, struct refusal *refusal);
void admit_refuse_form(enum err verdict, const struct multipart_result *form, struct refusal *refusal);

/* `<name>:<id>`, the id being the digits behind the last ':'. False: it has no such form. */
bool admit_split_instance(struct bytes model, struct bytes *name, uint64_t *instance_id);

struct bucket *admit_request_bucket(const struct shm *shm, uint32_t key_entry);
