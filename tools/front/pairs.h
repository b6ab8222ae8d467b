#pragma once

#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/*
 * pairs: two TCP connections tied together; bytes, ends and resets of one become those of the
 * other.
 *
 * Thread: one. Memory: one allocation per pair, at most PAIRS_MAX of them; a client beyond that
 * waits in the listener's queue.
 */
#define PAIRS_MAX 2048

struct pair;

/* Takes the accepted fd (nonblocking) and connects it to the target. Without success fd is reset.
 */
void pair_open(int epoll_fd, int fd, const struct sockaddr_storage *target);

/* One event of epoll whose data.ptr is a side of a pair. */
void pair_handle(void *side, uint32_t events);

/* Frees the pairs that ended; to be called after a burst of events, since a later event of the
 * same burst may still name a pair that ended in it. */
void pairs_collect(void);
