#pragma once

#include "answer.h"

/* response: bodies of answers of /v1/responses. Their events have types, and usage is in the last one's object. */

/* The whole body. False: no room. */
bool response_whole(struct answer *answer, struct buffer *to);

/* The event at answer->at. False: no room. */
bool response_add_event(struct answer *answer, struct buffer *to);
