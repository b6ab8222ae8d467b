#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/units.h"

/*
 * usage: one finished request, as it goes to the ledger. Fixed size, so that a spool segment is an array
 * of them. Little-endian host order; written by a worker, read by sluice-control only.
 */

#define USAGE_RECORD_BYTES 256
#define USAGE_NAME_BYTES 64

enum usage_outcome {
	USAGE_OK,
	USAGE_CLIENT_ABORT,
	USAGE_UPSTREAM_ERROR,
	USAGE_TIMEOUT,
	USAGE_CRASHED, /* this process died while it ran */
	USAGE_REFUSED, /* for money; no backend got it */
	USAGE_OUTCOME_COUNT
};

enum usage_source {
	USAGE_FINAL,     /* the backend's own usage */
	USAGE_RUNNING,   /* its last running count of a cut stream */
	USAGE_ESTIMATED, /* counted events and an estimate of the prompt */
	USAGE_SOURCE_COUNT
};

/* What a request is counted in beside tokens, by its endpoint. */
enum usage_unit {
	USAGE_NO_UNIT, /* tokens only */
	USAGE_REQUESTS,
	USAGE_IMAGES,
	USAGE_MILLISECONDS, /* of audio or video */
	USAGE_CHARACTERS,   /* of text that was spoken */
	USAGE_BYTES,        /* of audio whose length nobody told */
	USAGE_UNIT_COUNT
};

/* What was asked for; what is shown of it is control's (tally.c). Append only: spools have the numbers. */
enum usage_operation {
	USAGE_OTHER, /* an instance's own API, questions about jobs; refusals */
	USAGE_CHAT,
	USAGE_COMPLETION,
	USAGE_RESPONSE,
	USAGE_EMBEDDINGS,
	USAGE_RERANK,
	USAGE_IMAGE,
	USAGE_SPEECH,
	USAGE_TRANSCRIPTION,
	USAGE_VIDEO,
	USAGE_OPERATION_COUNT
};

struct usage_record {
	uint32_t crc32c;      /* of everything behind it */
	uint16_t record_bytes; /* USAGE_RECORD_BYTES */
	uint8_t outcome;      /* enum usage_outcome */
	uint8_t source;       /* enum usage_source */
	uint64_t sequence;    /* from 1, without gaps, per (epoch, worker) */
	uint8_t request_id[16];
	uint64_t key_id;
	uint64_t account_id;
	uint64_t model_id;    /* 0 for an instance */
	uint64_t instance_id; /* 0 for a platform model */
	uint64_t pod_id;
	uint64_t price_id;
	uint32_t price_version;
	uint16_t status;      /* what the client was answered */
	uint8_t stream;       /* 1: SSE */
	uint8_t suspect;      /* 1: the backend's usage was absurd */
	uint64_t prompt_tokens;
	uint64_t completion_tokens;
	int64_t cost_nano;    /* debited from the balance cell too, unless another account has that by now */
	uint64_t finished_at_unix_ns;
	uint64_t queue_us;      /* admission to first upstream byte sent */
	uint64_t first_byte_us; /* admission to first byte of the answer */
	uint64_t total_us;
	uint64_t request_bytes;
	uint64_t response_bytes;
	uint16_t region_len;
	char region[USAGE_NAME_BYTES - 2];
	uint16_t worker;
	uint8_t unit; /* enum usage_unit */
	uint8_t operation; /* enum usage_operation */
	uint8_t reserved[4];
	uint64_t units;
	uint64_t connect_us; /* of the last try, until its connection was there; 0: a kept one */
	uint64_t behind_sequence; /* on the tab: the last one in the spool when this was noted; else 0 */
};

CHECK_STATIC(sizeof(struct usage_record) == USAGE_RECORD_BYTES, "usage record");
