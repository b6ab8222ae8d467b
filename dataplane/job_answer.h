#pragma once

#include "dataplane/exchange.h"

/* job_answer: an answer about a video job, in which our id takes the place of the backend's. */

/* Gathers the answer, which is short; of a long one what follows passes as it comes. */
void job_answer_feed(struct worker *w, struct exchange *x, struct bytes payload);

/* To the client: what was gathered, with our id. */
void job_answer_pass(struct worker *w, struct exchange *x);
