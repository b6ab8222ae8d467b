#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/admit.h"

/*
 * hold: what a request may cost, taken from its account's balance before it is let in (check 9), and replaced by
 * what it did cost.
 *
 * The prompt is held for by an estimate, the completion by the request's own bound: max_tokens for each of its
 * answers, or where it does not say what its model or instance has (`hold_tokens`; 0: `limits.hold_tokens`), up to
 * `limits.hold_tokens_max`. What is not counted in tokens is held for by what the request asks for. So an account
 * is never overdrawn by more than the completion tokens of the requests in flight that exceed what was held, and
 * what their prompts were estimated too low.
 *
 * Owner:  the worker. The balances are shared by all workers.
 * Memory: the caller's; what is held is written into the admission.
 */

/* A process that ended held for requests that nobody ends any more. Once, before the workers run. */
void hold_reset(const struct shm *shm);

/* json: of the body, NULL if it is none; form_bytes: of a form, 0. */
int64_t hold_estimate_nano(const struct worker *w, const struct admission *a, const struct json_result *json,
			   uint64_t form_bytes);

/* Check 9. False: nothing is held; *refusal says why. True: hold_settle() or hold_release() ends it. */
bool hold_take(struct worker *w, const struct json_result *json, uint64_t form_bytes, struct admission *a,
	       struct refusal *refusal);

/* The request has cost so much. Once; what it held is free. */
void hold_settle(struct worker *w, struct admission *a, int64_t cost_nano);

/* It ended, or was not let in, without a cost. Does nothing after hold_settle(). */
void hold_release(struct worker *w, struct admission *a);
