#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "meter/usage.h"
#include "publish.h"

/*
 * tally: what requests were, for /metrics: by model, region and status, and the distributions that OpenTelemetry
 * has names for (semantic conventions for generative AI, metrics).
 *
 * Counted from the records that a transaction has put into the ledger, after its commit: each request once,
 * whoever died when, since the ledger has no row twice. A start of control begins at 0, as counters may. Instances
 * of users are one model, "instance", accounts and keys are nothing of it: what a customer can make more of is no
 * label.
 *
 * Owner: control's loop. Memory: fixed. Bounds: TALLY_REQUESTS_MAX and TALLY_MODELS_MAX lines; beyond, a request
 * counts with the model "other".
 */
#define TALLY_REQUESTS_MAX 4096 /* models times regions times statuses */
#define TALLY_MODELS_MAX 1024   /* models times operations */
#define TALLY_BUCKETS_MAX 16    /* one more is for what is larger */

#define TALLY_MODEL_NONE UINT64_C(0)              /* refused before its model was known */
#define TALLY_MODEL_INSTANCE UINT64_MAX
#define TALLY_MODEL_OTHER (UINT64_MAX - 1)

struct tally_histogram {
	uint64_t count[TALLY_BUCKETS_MAX + 1]; /* of each bucket alone */
	uint64_t sum;
};

/* Upper bounds of buckets, each included, in the unit that is counted. */
struct tally_buckets {
	uint32_t count;
	uint64_t bound[TALLY_BUCKETS_MAX];
};

enum tally_measure {
	TALLY_INPUT_TOKENS,
	TALLY_OUTPUT_TOKENS,
	TALLY_DURATION_US,
	TALLY_FIRST_TOKEN_US,
	TALLY_PER_TOKEN_US,
	TALLY_MEASURES
};

struct tally_request {
	uint64_t model; /* an id, or one of the above */
	uint16_t status;
	uint16_t region_len;
	char region[USAGE_NAME_BYTES - 2];
	uint64_t count; /* 0: a free slot */
};

struct tally_model {
	uint64_t model;
	uint8_t operation; /* enum usage_operation */
	bool is_used;
	struct tally_histogram measure[TALLY_MEASURES];
};

struct tally {
	uint32_t request_count;
	uint32_t model_count;
	uint64_t outcome[USAGE_OUTCOME_COUNT];
	uint64_t source[USAGE_SOURCE_COUNT];
	/* open addressing, at most half full */
	struct tally_request requests[2 * TALLY_REQUESTS_MAX];
	struct tally_model models[2 * TALLY_MODELS_MAX];
};

const struct tally_buckets *tally_buckets(enum tally_measure measure);
void tally_observe(struct tally_histogram *histogram, const struct tally_buckets *buckets, uint64_t value);

void tally_count(struct tally *tally, const struct usage_record *record);

/* As Prometheus text. Names of models are those that publish has now; one that is gone is "#<id>". */
void tally_emit(const struct tally *tally, const struct publish *publish, FILE *out);
