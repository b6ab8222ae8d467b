#pragma once

#include <netinet/in.h>
#include <stdint.h>

/* dial: sockets of the kernel's towards the server that is measured, from several addresses in turn, which have
 * more ports than one. What the kernel refuses ends the program. */
struct dial {
	struct in_addr server;
	struct in_addr first; /* of the addresses, which follow each other */
	uint32_t addresses;
};

/* A socket that does not block and is connecting; nth says from which address. */
int dial_begin(const struct dial *dial, uint64_t nth);
