/* Non-blocking sockets with the kernel's own buffers and CUBIC; no Nagle, as our stack has none. */
#include "sock.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../clock.h"
#include "base/check.h"
#include "base/units.h"

const char sock_name[] = "linux";
const bool sock_outlives_us = true;

struct sock {
	int listener;
	int fd;
	uint32_t state;
	bool is_over;
	struct tcp_info info; /* as it was last */
};

static void
fail(struct sock *s, int number)
{
	switch (number) {
	case ECONNREFUSED:
		s->state |= SOCK_REFUSED;
		break;
	case ETIMEDOUT:
		s->state |= SOCK_TIMEOUT;
		break;
	case EHOSTUNREACH:
	case ENETUNREACH:
		s->state |= SOCK_UNREACHABLE;
		break;
	default:
		s->state |= SOCK_RESET;
	}
}

static bool
prepare(int fd)
{
	int yes = 1;

	return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) == 0 &&
	       setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", sizeof("cubic") - 1) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) == 0;
}

static bool
start(struct sock *s, const struct sock_config *config, const struct addrinfo *found)
{
	int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (config->peer == NULL)
		s->listener = fd;
	else
		s->fd = fd;
	if (fd < 0 || !prepare(fd))
		return false;
	if (config->peer == NULL)
		return bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 4) == 0;
	return connect(fd, found->ai_addr, found->ai_addrlen) == 0 || errno == EINPROGRESS;
}

struct sock *
sock_open(const struct sock_config *config, char complaint[SOCK_COMPLAINT_BYTES])
{
	struct addrinfo hints = { .ai_family = config->peer == NULL ? AF_INET6 : AF_UNSPEC,
				  .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
	struct sock *s = calloc(1, sizeof(*s));
	struct addrinfo *found = NULL;
	char port[8];
	int rc;

	CHECK(s != NULL);
	s->fd = -1;
	s->listener = -1;
	snprintf(port, sizeof(port), "%u", config->port);
	rc = getaddrinfo(config->peer, port, &hints, &found);
	if (rc != 0 || !start(s, config, found)) {
		snprintf(complaint, SOCK_COMPLAINT_BYTES, "%s: %s", config->peer == NULL ? "listen" : config->peer,
			 rc != 0 ? gai_strerror(rc) : strerror(errno));
		sock_free(s);
		s = NULL;
	}
	if (found != NULL)
		freeaddrinfo(found);
	return s;
}

static void
take_connection(struct sock *s)
{
	s->fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (s->fd < 0)
		return;
	CHECK(prepare(s->fd));
	s->state |= SOCK_CONNECTED;
}

static void
finish_connect(struct sock *s)
{
	socklen_t size = sizeof(int);
	int number = 0;

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &number, &size) == 0 && number == 0)
		s->state |= SOCK_CONNECTED;
	else
		fail(s, number);
}

void
sock_turn(struct sock *s, uint64_t until_ns, bool wants_read, bool wants_write)
{
	bool is_connecting = s->fd >= 0 && (s->state & SOCK_CONNECTED) == 0;
	struct pollfd poll_fd = { .fd = s->fd >= 0 ? s->fd : s->listener };
	uint64_t now_ns = clock_ns();
	struct timespec rest = { 0 };

	if (s->is_over || (s->state & SOCK_FAILED) != 0) {
		poll_fd.fd = -1;
	} else if (s->fd < 0 || (wants_read && !is_connecting)) {
		poll_fd.events |= POLLIN;
	}
	if (is_connecting || wants_write)
		poll_fd.events |= POLLOUT;
	if (until_ns > now_ns && until_ns != NEVER_NS) {
		rest.tv_sec = (time_t)((until_ns - now_ns) / NSEC_PER_SEC);
		rest.tv_nsec = (long)((until_ns - now_ns) % NSEC_PER_SEC);
	}
	/* A reset is seen by a poll that wants nothing, again and again: who waits for nothing is not to spin. */
	if (poll_fd.events == 0)
		poll_fd.fd = -1;
	if (ppoll(&poll_fd, 1, until_ns == NEVER_NS ? NULL : &rest, NULL) <= 0 || s->is_over)
		return;
	if (s->fd < 0)
		take_connection(s);
	else if (is_connecting)
		finish_connect(s);
}

uint32_t
sock_state(const struct sock *s)
{
	return s->state;
}

static void
note_info(struct sock *s)
{
	socklen_t size = sizeof(s->info);

	if (s->fd >= 0)
		getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &s->info, &size);
}

size_t
sock_send(struct sock *s, const uint8_t *from, size_t n)
{
	ssize_t sent;

	if ((s->state & SOCK_CONNECTED) == 0 || (s->state & SOCK_FAILED) != 0)
		return 0;
	sent = send(s->fd, from, n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		fail(s, errno);
	return sent < 0 ? 0 : (size_t)sent;
}

size_t
sock_receive(struct sock *s, uint8_t *to, size_t size)
{
	ssize_t n;

	if (s->fd < 0 || s->is_over || (s->state & SOCK_CONNECTED) == 0 || (s->state & SOCK_EOF) != 0)
		return 0;
	n = recv(s->fd, to, size, 0);
	/* Zero is also what comes when another call was told of the reset. */
	if (n == 0 && (s->state & SOCK_FAILED) == 0)
		s->state |= SOCK_EOF;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		fail(s, errno);
	return n < 0 ? 0 : (size_t)n;
}

void
sock_shutdown(struct sock *s)
{
	if (s->fd >= 0)
		shutdown(s->fd, SHUT_WR);
}

void
sock_close(struct sock *s)
{
	note_info(s);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->is_over = true;
}

void
sock_abort(struct sock *s)
{
	struct linger now = { .l_onoff = 1 };

	if (s->fd >= 0)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	sock_close(s);
}

bool
sock_is_drained(const struct sock *s)
{
	(void)s; /* the kernel goes on by itself */
	return true;
}

void
sock_print(const struct sock *s, FILE *out)
{
	fprintf(out, ", \"retransmits\": %u, \"rtt_us\": %u, \"cwnd\": %u, \"mss\": %u",
		s->info.tcpi_total_retrans, s->info.tcpi_rtt, s->info.tcpi_snd_cwnd, s->info.tcpi_snd_mss);
}

void
sock_free(struct sock *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->listener >= 0)
		close(s->listener);
	free(s);
}
