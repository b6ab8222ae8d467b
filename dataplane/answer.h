#pragma once

#include "dataplane/admit.h"
#include "dataplane/stream.h"

/* answer: answers of our own, and the fields that every answer carries. */

/* The fields of every answer to this request: its id, rate limits if its key has some, region unless that is
 * empty. */
void answer_fields(struct worker *w, struct h1_writer *writer, const struct admission *admission,
		   struct bytes region);

/* Sends the refusal. admission may be of an unauthenticated request. */
void answer_refusal(struct worker *w, struct stream *s, const struct admission *admission,
		    const struct refusal *refusal);

/* A complete answer with a small body, behind a head that was begun. */
void answer_whole(struct worker *w, struct stream *s, struct h1_writer *writer, struct bytes body);

/* Health, readiness, a preflight, models. */
void answer_local(struct worker *w, struct stream *s, const struct admission *admission);
