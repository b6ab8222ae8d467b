#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/siphash.h"

/*
 * sources: how many connections come from one network, an IPv4 /24 or an IPv6 /48, and how many of them are in a
 * handshake: what one owner of addresses has at the least, so that counting single addresses would count nobody.
 *
 * Owner:  one worker. Memory: the caller's, sources_slots() slots. A network without a connection takes none,
 *         so that the table cannot be full while there are at most as many connections as it was made for.
 */
struct sources_slot {
	uint64_t source; /* 0: free */
	uint32_t count;
	uint32_t handshakes;
};

struct sources {
	struct sources_slot *slots;
	uint32_t mask;
	struct siphash_key key; /* peers choose their addresses */
};

/* A power of two, at least twice the connections. */
uint32_t sources_slots(uint32_t connections);

/* slots are zeroed memory. */
void sources_init(struct sources *s, struct sources_slot *slots, uint32_t count, const struct siphash_key *key);

/* The network of an address (IPv4 as ::ffff:a.b.c.d); never 0. */
uint64_t sources_of(const uint8_t address[16]);

/* Counts one more. False: there are max already, and nothing has changed. */
bool sources_take(struct sources *s, uint64_t source, uint32_t max);
void sources_give(struct sources *s, uint64_t source);

/* How many of the network's connections are in a handshake: the caller's to count. It must have a connection; the
 * pointer holds until the next call. */
uint32_t *sources_handshakes(struct sources *s, uint64_t source);
