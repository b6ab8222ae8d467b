#pragma once

#include <stddef.h>
#include <stdint.h>

/* seeded: bytes that depend on a number alone (splitmix64), where a program would ask
 * the kernel. */
struct seeded {
	uint64_t state;
};

/* The shape of tls_context_config.entropy; owner is a struct seeded. */
int seeded_entropy(void *owner, uint8_t *to, size_t len);

/* Below limit, which is not 0. */
uint64_t seeded_below(struct seeded *seeded, uint64_t limit);
