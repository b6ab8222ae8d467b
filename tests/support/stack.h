#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "pkt/pkt.h"
#include "tcp/tcp.h"

/*
 * stack: one TCP engine with pools of its own, as a test needs it.
 *
 * Memory: does not move between open and close. The engine's own is malloc, exactly as much as
 *         tcp_bytes() says, so that ASan sees a byte too far.
 */
struct stack_pools {
	uint32_t headers;
	uint32_t bare;
	uint32_t receive;
	uint32_t payload;
};

struct stack {
	struct tcp *tcp;
	void *memory;
	struct pkt_pool pools[4];
	struct pkt_pool *header_pool;
	struct pkt_pool *bare_pool;
	struct pkt_pool *receive_pool; /* what arrives */
	struct pkt_pool *payload_pool; /* what the application sends */
};

/* A configuration that suits most tests: ten of everything, no keep-alive, fixed secrets. */
struct tcp_config stack_config(void);

void stack_open(struct stack *s, const struct tcp_config *config, const struct stack_pools *pools,
		uint64_t now_ns);
/* The engine goes; then every packet must be back in its pool. */
void stack_close(struct stack *s);

bool stack_pools_are_full(const struct stack *s);

/* Bytes [position, position + n) of stream `key` as a payload chain, at most piece_bytes in one
 * buffer (0: as much as fits). NULL when the payload pool is empty. */
struct pkt *stack_payload(struct stack *s, uint64_t key, uint64_t position, uint32_t n,
			  uint32_t piece_bytes);
