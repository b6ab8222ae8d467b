#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * end: a network interface that frames come from and go to, possibly in another network namespace.
 *
 *   tap:NAME[@SPACE]    is made there and brought up; gone when the relay ends
 *   IFACE[@SPACE]       exists (a veth end, a port); its frames are seen by AF_PACKET
 *
 * SPACE is a name of `ip netns`, a process id, or a path.
 */
struct end {
	int fd;
	bool is_tap;
};

#define END_COMPLAINT_BYTES 200

/* False: complaint says why. An end is open until the process ends. */
bool end_open(struct end *e, const char *text, char complaint[END_COMPLAINT_BYTES]);

/* One frame into `to`. Its length; 0: none is there; more than size: it was cut. -1: the interface is gone. */
long end_receive(const struct end *e, void *to, size_t size);

/* False: the interface did not take it. */
bool end_send(const struct end *e, const void *frame, size_t bytes);
