#pragma once

#include <stdint.h>

#include "base/units.h"
#include "pkt/pkt.h"
#include "tcp/tcp.h"

/*
 * duo: two TCP engines back to back in memory, for measurements. The port between them is a burst of packets,
 * its checksums as good as a port's that verifies.
 *
 * Time: virtual. What the work costs is read from the processor's counter, outside lib/.
 */
#define DUO_BURST 32u

struct duo_side {
	struct tcp *tcp;
	void *memory;
	size_t memory_bytes;
	struct pkt_pool headers;
	struct pkt_pool bare;
	struct pkt_pool payload;
};

struct duo_burst {
	struct pkt *pkt[DUO_BURST];
	uint32_t count;
};

/* packets: in each of the three pools. */
void duo_open(struct duo_side *s, const struct tcp_config *config, uint32_t packets, uint64_t now_ns);
void duo_close(struct duo_side *s);

/* What the pools have lent: packets that somebody holds. */
uint32_t duo_packets_held(const struct duo_side *s);

/* Up to DUO_BURST of the segments that s has to send. */
void duo_collect(struct duo_side *s, struct duo_burst *burst);
/* Gives them to s; the burst is empty then. */
void duo_deliver(struct duo_side *s, struct duo_burst *burst, uint64_t now_ns);

/* 10.a.b.c, numbered from 10.0.0.1. */
struct ip_addr duo_address(uint32_t number);

/* Secrets of seed, no limits but those of the argument. */
struct tcp_config duo_config(uint32_t conns, uint64_t seed);

/* Of an argument; says what is wrong and exits with 2 if it is no number from min to max. */
uint32_t duo_number(const char *text, uint32_t min, uint32_t max);
/* Prints text to where it belongs and returns code. */
int duo_usage(const char *text, int code);

/* Resident memory of this process. */
size_t duo_resident_bytes(void);

/* The processor's cycle counter, and how many it counts in a nanosecond. */
uint64_t duo_cycles(void);
double duo_cycles_per_ns(void);
