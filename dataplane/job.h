#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "shm/layout.h"

/*
 * job: the id of a video job as a client sees it: the backend's own id and where it lies, sealed, so that any
 * worker of any router with the same store finds the pod again, after a restart too, and nobody can make one.
 *
 *   "video_" base64url( version 1 | account 8 | pod 8 | instance 8 | model's length 1 | model | id | MAC 16 )
 *
 * The MAC is HMAC-SHA-256 under the key hash's pepper, cut; its text begins with a word that no API key does.
 *
 * Owner: the caller. Memory: none; struct job borrows.
 */
#define JOB_ID_BYTES_MAX 256 /* the backend's own id: characters of a path that need no escape */
#define JOB_BYTES_MAX (26 + SHM_NAME_BYTES + JOB_ID_BYTES_MAX + 16)
#define JOB_TEXT_BYTES_MAX (6 + (JOB_BYTES_MAX * 4 + 2) / 3)

struct job {
	uint64_t account_id;
	uint64_t pod_id;
	uint64_t instance_id; /* 0: a platform model's */
	struct bytes model;   /* its name; empty: an instance's */
	struct bytes id;      /* the backend's */
};

/* Bytes written to text; 0: the backend's id cannot stand in a path. */
uint32_t job_seal(const uint8_t pepper[32], const struct job *job, char text[JOB_TEXT_BYTES_MAX]);

/* False: not one of ours. scratch is what *job borrows from. */
bool job_open(const uint8_t pepper[32], struct bytes text, uint8_t scratch[JOB_BYTES_MAX], struct job *job);
