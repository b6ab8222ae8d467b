/*
 * A side of a pair owns a socket and a buffer of what was read from it. What epoll asks for is
 * derived from the state after every event: reading while its own buffer has room, writing while
 * the other's buffer has bytes.
 */
#include "pairs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER_BYTES 65536

struct side {
	struct pair *pair;
	struct side *other;
	int fd;
	uint32_t asked; /* of epoll */
	bool is_connected;
	bool has_ended; /* its peer sent FIN */
	bool is_write_ended; /* we sent FIN */
	uint32_t first; /* of the bytes read and not yet written to the other side */
	uint32_t count;
	uint8_t bytes[BUFFER_BYTES];
};

struct pair {
	struct side sides[2];
	int epoll_fd;
	bool is_dead;
	struct pair *next; /* of those that ended */
};

static struct pair *ended;
static uint32_t open_count;

static void
end(struct pair *pair, bool is_reset)
{
	static const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	if (pair->is_dead)
		return;
	for (int i = 0; i < 2; i++) {
		if (is_reset)
			setsockopt(pair->sides[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(pair->sides[i].fd);
	}
	pair->is_dead = true;
	pair->next = ended;
	ended = pair;
	open_count--;
}

void
pairs_collect(void)
{
	while (ended != NULL) {
		struct pair *pair = ended;

		ended = pair->next;
		free(pair);
	}
}

static void
ask(struct side *side)
{
	struct epoll_event event = { .data.ptr = side };

	if (!side->is_connected) {
		event.events = EPOLLOUT;
	} else {
		if (!side->has_ended && side->count < BUFFER_BYTES)
			event.events |= EPOLLIN;
		if (side->other->count > 0)
			event.events |= EPOLLOUT;
	}
	if (event.events != side->asked) {
		epoll_ctl(side->pair->epoll_fd, EPOLL_CTL_MOD, side->fd, &event);
		side->asked = event.events;
	}
}

/* False: the pair must be reset. */
static bool
fill(struct side *side)
{
	ssize_t len;

	if (side->first > 0 && side->count > 0)
		memmove(side->bytes, side->bytes + side->first, side->count);
	side->first = 0;
	len = recv(side->fd, side->bytes + side->count, BUFFER_BYTES - side->count, 0);
	if (len > 0)
		side->count += (uint32_t)len;
	else if (len == 0)
		side->has_ended = true;
	return len >= 0 || errno == EAGAIN || errno == EINTR;
}

static bool
flush(struct side *from)
{
	struct side *to = from->other;

	while (from->count > 0 && to->is_connected) {
		ssize_t len = send(to->fd, from->bytes + from->first, from->count, MSG_NOSIGNAL);

		if (len < 0)
			return errno == EAGAIN || errno == EINTR;
		from->first += (uint32_t)len;
		from->count -= (uint32_t)len;
	}
	if (from->has_ended && from->count == 0 && to->is_connected && !to->is_write_ended) {
		shutdown(to->fd, SHUT_WR);
		to->is_write_ended = true;
	}
	return true;
}

static bool
finish_connect(struct side *side)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(side->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	side->is_connected = error == 0;
	return side->is_connected;
}

static bool
step(struct side *side, uint32_t events)
{
	if (!side->is_connected && !finish_connect(side))
		return false;
	if ((events & EPOLLERR) != 0)
		return false;
	if ((events & (EPOLLIN | EPOLLHUP)) != 0 && !side->has_ended &&
	    side->count < BUFFER_BYTES && !fill(side))
		return false;
	return flush(side) && flush(side->other);
}

void
pair_handle(void *ptr, uint32_t events)
{
	struct side *side = ptr;
	struct pair *pair = side->pair;

	if (pair->is_dead)
		return;
	if (!step(side, events)) {
		end(pair, true);
	} else if (side->is_write_ended && side->other->is_write_ended) {
		end(pair, false);
	} else {
		ask(side);
		ask(side->other);
	}
}

void
pair_open(int epoll_fd, int fd, const struct sockaddr_storage *target)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	int out = socket(target->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct epoll_event event = { .events = 0 };
	socklen_t len = target->ss_family == AF_INET6 ? 28 : 16; /* the kernel's sizes */
	bool is_fine = pair != NULL && out >= 0 && open_count < PAIRS_MAX;

	if (is_fine) {
		pair->epoll_fd = epoll_fd;
		pair->sides[0] = (struct side){ .pair = pair, .fd = fd, .is_connected = true };
		pair->sides[1] = (struct side){ .pair = pair, .fd = out };
		pair->sides[0].other = &pair->sides[1];
		pair->sides[1].other = &pair->sides[0];
		is_fine = connect(out, (const struct sockaddr *)target, len) == 0 ||
			  errno == EINPROGRESS;
	}
	if (!is_fine) {
		close(fd);
		if (out >= 0)
			close(out);
		free(pair);
		return;
	}
	open_count++;
	for (int i = 0; i < 2; i++) {
		event.data.ptr = &pair->sides[i];
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pair->sides[i].fd, &event);
	}
	ask(&pair->sides[0]);
	ask(&pair->sides[1]);
}
