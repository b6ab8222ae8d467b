/* Many clients of the kernel's: opens connections from several addresses, holds them, and on "ask N K" sends N
 * requests on connections drawn from all, K at a time. One line of JSON for each; the end of standard input ends
 * it. */
#include <arpa/inet.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "../../clock.h"
#include "base/check.h"
#include "base/prng.h"
#include "base/units.h"
#include "dial.h"
#include "duo.h"

#define ON_WAY_MAX 256u
#define ASKED_AT_ONCE_MAX 64u
#define SILENCE_MS 10000
#define MESSAGE_BYTES 200

struct clients {
	int epoll;
	int *fds;
	uint32_t count;
	struct dial dial;
	uint32_t opened;
	uint32_t connected;
	uint32_t failed;
	struct prng prng;
};

static void
open_one(struct clients *c)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLONESHOT, .data.u32 = c->opened };
	int fd = dial_begin(&c->dial, c->opened);

	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
		err(1, "epoll");
	c->fds[c->opened++] = fd;
}

static void
open_all(struct clients *c)
{
	struct epoll_event events[64];
	uint64_t from_ns = clock_ns();

	while (c->connected + c->failed < c->count) {
		int n;

		while (c->opened < c->count && c->opened - c->connected - c->failed < ON_WAY_MAX)
			open_one(c);
		n = epoll_wait(c->epoll, events, 64, SILENCE_MS);
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++) {
			int error = 0;
			socklen_t size = sizeof(error);

			getsockopt(c->fds[events[i].data.u32], SOL_SOCKET, SO_ERROR, &error, &size);
			if (error == 0)
				c->connected++;
			else
				c->failed++;
		}
	}
	printf("{\"connected\": %u, \"seconds\": %.3f}\n", c->connected,
	       (double)(clock_ns() - from_ns) / 1e9);
	fflush(stdout);
}

/* The next request, on a connection that waits for none. */
static void
ask(struct clients *c, uint64_t *asked_ns)
{
	static const char request[MESSAGE_BYTES];
	struct epoll_event event = { .events = EPOLLIN | EPOLLONESHOT };
	uint32_t i;

	do
		i = prng_below(&c->prng, c->count);
	while (asked_ns[i] != 0);
	asked_ns[i] = clock_ns();
	event.data.u32 = i;
	if (send(c->fds[i], request, sizeof(request), MSG_NOSIGNAL) != (ssize_t)sizeof(request) ||
	    epoll_ctl(c->epoll, EPOLL_CTL_MOD, c->fds[i], &event) != 0)
		err(1, "request");
}

static int
compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static void
ask_all(struct clients *c, uint32_t count, uint32_t at_once)
{
	uint64_t *asked_ns = calloc(c->count, sizeof(*asked_ns));
	uint32_t *waited_us = calloc(count, sizeof(*waited_us));
	struct epoll_event events[64];
	uint64_t from_ns = clock_ns();
	uint32_t answered = 0;
	uint32_t asked = 0;

	CHECK(asked_ns != NULL && waited_us != NULL);
	while (answered < count) {
		int n;

		while (asked < count && asked - answered < at_once) {
			ask(c, asked_ns);
			asked++;
		}
		n = epoll_wait(c->epoll, events, 64, SILENCE_MS);
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++) {
			uint32_t at = events[i].data.u32;
			char answer[MESSAGE_BYTES];

			if (recv(c->fds[at], answer, sizeof(answer), MSG_WAITALL) != (ssize_t)sizeof(answer))
				err(1, "answer");
			waited_us[answered++] = (uint32_t)((clock_ns() - asked_ns[at]) / NSEC_PER_USEC);
			asked_ns[at] = 0;
		}
	}
	qsort(waited_us, answered, sizeof(*waited_us), compare);
	printf("{\"asked\": %u, \"answered\": %u, \"seconds\": %.3f, \"p50_us\": %u, \"p99_us\": %u}\n", asked,
	       answered,
	       (double)(clock_ns() - from_ns) / 1e9, answered == 0 ? 0 : waited_us[answered / 2],
	       answered == 0 ? 0 : waited_us[answered - 1 - answered / 100]);
	fflush(stdout);
	free(asked_ns);
	free(waited_us);
}

int
main(int argc, char **argv)
{
	static struct clients c;
	struct rlimit files;
	char line[64];

	if (argc != 6 || inet_pton(AF_INET, argv[1], &c.dial.server) != 1 ||
	    inet_pton(AF_INET, argv[2], &c.dial.first) != 1) {
		fprintf(stderr, "Usage: bench-clients SERVER FIRST_ADDRESS ADDRESSES CONNECTIONS SEED\n");
		return 2;
	}
	c.dial.addresses = duo_number(argv[3], 1, 250);
	c.count = duo_number(argv[4], ASKED_AT_ONCE_MAX + 1, 1000000);
	prng_init(&c.prng, duo_number(argv[5], 0, UINT32_MAX));
	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		err(1, "number of open files");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) != 0)
		err(1, "number of open files");
	c.fds = calloc(c.count, sizeof(*c.fds));
	c.epoll = epoll_create1(EPOLL_CLOEXEC);
	CHECK(c.fds != NULL && c.epoll >= 0);
	open_all(&c);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		unsigned count;
		unsigned at_once;

		if (sscanf(line, "ask %u %u", &count, &at_once) == 2 && count > 0 && at_once > 0 &&
		    at_once <= ASKED_AT_ONCE_MAX)
			ask_all(&c, count, at_once);
		else
			fprintf(stderr, "bench-clients: \"ask N K\", K up to %u\n", ASKED_AT_ONCE_MAX);
	}
	return 0;
}
