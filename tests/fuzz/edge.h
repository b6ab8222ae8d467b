#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/*
 * edge: the whole worker (sim/town.h) between one client and one backend that are strings of bytes.
 *
 * The client sends its bytes and reads until the router ends the connection or nothing more comes;
 * the backend answers every request with the same bytes. Time is virtual and runs until all timers
 * have fired. In the end nothing may be left in the worker.
 */
#define EDGE_KEY "eco_town0000000000000000"
#define EDGE_MODEL "town-model"
#define EDGE_SERVED "served/name"
#define EDGE_BYTES_MAX (128 * 1024)
#define EDGE_REQUESTS_MAX 256

struct edge_plan {
	struct bytes client;
	uint32_t client_piece; /* bytes per segment */
	struct bytes answer;
	uint32_t answer_piece;
	bool is_h2; /* the client speaks HTTP/2 from its first octet */
};

struct edge_result {
	size_t len; /* what the client got */
	uint8_t text[EDGE_BYTES_MAX];
	bool is_closed; /* by the router, before the client left */
	uint32_t requests;
	struct {
		size_t start;
		size_t len;
	} request[EDGE_REQUESTS_MAX]; /* what backends got, in their order of arrival */
	size_t requests_len;
	uint8_t requests_text[EDGE_BYTES_MAX];
};

void edge_run(const struct edge_plan *plan, struct edge_result *result);
