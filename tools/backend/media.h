#pragma once

#include "answer.h"

/* media: bodies of answers that are no text of a language model: images, speech, transcripts, video jobs. */

/* The whole body. False: no room. */
bool media_whole(struct answer *answer, struct buffer *to);

/* One more event of a transcript's stream. False: there is none, or no room. */
bool media_next_event(struct answer *answer, struct buffer *to);

/* Whether the job that is asked about is one of this server's. */
bool media_has_job(const struct ask *ask);
