#pragma once

#include "dataplane/exchange.h"

/*
 * relay: the answer's side of an exchange, from the backend's bytes to the client's.
 *
 * Reads only while the client has room; every event leaves in the turn in which it came. The usage record
 * is written before the last bytes of the answer go to TCP.
 */

/* Works on what the backend has sent. The exchange may be closed after it. */
void relay_run(struct worker *w, struct exchange *x);

/* The timer fired: a stream whose first event is not due yet gets a comment. False: it is due. */
bool relay_keep_alive(struct worker *w, struct exchange *x);

/* The backend is lost after the answer began: says so if the stream allows, then cuts. A stream whose last event
 * was passed on ends well. */
void relay_cut(struct worker *w, struct exchange *x);
