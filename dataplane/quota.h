#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/admit.h"

/*
 * quota: what a key may use up in tokens and its account may have in flight, by the key's plan. Both are off
 * unless the plan says otherwise.
 *
 * Tokens are taken when a request is let in, by an estimate: that of its prompt, and the completion as far as
 * the request itself bounds it. When it ends, the estimate is replaced by what was used, which may leave the key
 * in debt: then it waits longer. An estimate takes half of the burst at most: no request is too large for ever,
 * nor waits for a bucket that is full to the brim, which that of a busy key never is.
 *
 * Owner:  the worker. The cells are shared by all workers.
 * Memory: the caller's; what was taken is written into the admission.
 */

/* Until some request of an account ends; a guess, and short enough to be tried again. */
#define QUOTA_RETRY_NS NSEC_PER_SEC

/* A process that ended counted requests that nobody ends any more. Once, before the workers run. */
void quota_reset(const struct shm *shm);

/* Check 11. json: of the request, NULL if it is not counted in tokens. False: nothing is taken; *refusal says
 * why. True: quota_release() gives back. */
bool quota_take(struct worker *w, const struct json_result *json, struct admission *a, struct refusal *refusal);

/* The request has ended, or was not let in after all; used_tokens of it were served. Does nothing the second
 * time. */
void quota_release(struct worker *w, struct admission *a, uint64_t used_tokens);

/* A request may last longer than a deleted entry rests before it stands for another account (lib/shm, rule 5). */
bool quota_is_same_account(const struct worker *w, const struct admission *a);

struct bucket *quota_token_bucket(const struct shm *shm, uint32_t key_entry);

/* Completion tokens that a request asks for at most, all of its answers together: at most tokens_max for each,
 * default_tokens where it does not say. */
uint64_t quota_completion_tokens(const struct json_result *json, enum json_path path, uint32_t default_tokens,
				 uint32_t tokens_max);

/* Tokens of so much text, when nobody has counted them. */
uint64_t quota_tokens_of_bytes(uint64_t bytes);

/* Prompt tokens of a body likewise: by its text, and a guess for each picture or file. */
uint64_t quota_prompt_tokens(const struct json_result *json);
