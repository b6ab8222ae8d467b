#pragma once

#include "dataplane/admit.h"
#include "dataplane/stream.h"

/* models: the catalogue, as an account sees it: all platform models, and its own instances that run. */

/* The one that the path names, or a refusal. Whoever is asked for one finds the same ones that are listed. */
void models_answer(struct worker *w, struct stream *s, const struct admission *admission);

/* Begins the list. */
void models_list(struct worker *w, struct stream *s, const struct admission *admission);

/* Goes on with it. */
void models_go_on(struct worker *w, struct stream *s);
