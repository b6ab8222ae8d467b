#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * gauges: how busy a backend says it is, out of the Prometheus text of vLLM or SGLang as it comes in.
 *
 * Pure; what is not one of the names is passed over. Several series of one name (models, engines of one server)
 * are added up, of the cache's use the largest counts.
 *
 * Owner: the caller, one for each text. Bounds: a line longer than GAUGES_LINE_BYTES is passed over.
 */
#define GAUGES_LINE_BYTES 512

struct gauges {
	uint32_t running;        /* requests that are computed */
	uint32_t waiting;        /* requests that wait for it */
	uint32_t cache_permille; /* of the KV cache */
	bool is_there;           /* one of the first two was said */
	/* the line under way */
	char line[GAUGES_LINE_BYTES];
	size_t len;
	bool is_too_long;
};

/* Begins with zeroes. */
void gauges_feed(struct gauges *g, const char *text, size_t len);

/* Behind the last piece, whose line may have no end. */
void gauges_end(struct gauges *g);
