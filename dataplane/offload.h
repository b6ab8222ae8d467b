#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkt/pkt.h"

/*
 * offload: what a port would do to a frame if it could: the TCP checksum, and cutting a large packet into
 * segments. For ports that lack it, and for frames that a port refuses.
 *
 * Owner:  none; pure functions over a frame of ours, with meta.l2_bytes, l3_bytes and l4_bytes, whose headers
 *         lie in its first segment.
 */

/* The whole checksum instead of the pseudo header's, if meta says that this is wanted. Not for a frame with
 * meta.tso_mss. */
void offload_finish(struct pkt *frame);

/*
 * Cuts a frame with meta.tso_mss into segments, each with headers of its own and PKT_CSUM_PSEUDO, and puts them
 * behind `out`; payload is not copied. Takes the frame. False: a pool was empty, the rest of the frame is
 * dropped, and TCP sends it again as it would after a loss.
 */
bool offload_split(struct pkt *frame, struct pkt_pool *header_pool, struct pkt_pool *bare_pool,
		   struct pkt_queue *out);
