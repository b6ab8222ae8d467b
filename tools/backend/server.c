/* One epoll loop: accept, read, write, timers. */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../clock.h"
#include "conn.h"

#define EVENTS_MAX 256

static int
complain(const char *what)
{
	fprintf(stderr, "sluice-sim-backend: %s: %s\n", what, strerror(errno));
	return -1;
}

static int
open_listener(const struct server_options *options)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_PASSIVE,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *address;
	char port[8];
	int one = 1, fd, small = 32 * (int)KIB;

	snprintf(port, sizeof(port), "%u", options->port);
	if (getaddrinfo(options->listen, port, &hints, &address) != 0) {
		fprintf(stderr, "sluice-sim-backend: %s is no address\n", options->listen);
		return -1;
	}
	fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		goto out;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* Slow reading is felt by the peer only if the kernel does not read in its place. */
	if (options->read_bytes_per_second)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 4096) != 0) {
		complain(options->listen);
		close(fd);
		fd = -1;
	}
out:
	freeaddrinfo(address);
	return fd;
}

static uint16_t
port_of(int fd)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	char port[8] = "0";

	if (getsockname(fd, (struct sockaddr *)&address, &size) == 0)
		getnameinfo((struct sockaddr *)&address, size, NULL, 0, port, sizeof(port),
			    NI_NUMERICSERV);
	return (uint16_t)strtoul(port, NULL, 10);
}

static void
accept_all(struct server *server)
{
	while (server->conns_alive < SERVER_CONNECTIONS_MAX) {
		int fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (!conn_open(server, fd))
			close(fd);
	}
}

static int
wait_ms(const struct server *server)
{
	const struct heap_node *first = heap_first(&server->timers);

	if (!first)
		return -1;
	if (first->due_ns <= server->now_ns)
		return 0;
	if (first->due_ns - server->now_ns > 1000 * NSEC_PER_SEC)
		return 1000 * (int)MSEC_PER_SEC;
	return (int)((first->due_ns - server->now_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

static void
expire_timers(struct server *server)
{
	struct heap_node *first;

	while ((first = heap_first(&server->timers)) && first->due_ns <= server->now_ns)
		conn_timer_expired((struct conn *)(void *)first);
}

/* False: it was told to stop. */
static bool
loop_once(struct server *server)
{
	struct epoll_event events[EVENTS_MAX];
	bool goes_on = true;
	int count;

	server->now_ns = clock_ns();
	count = epoll_wait(server->epoll, events, EVENTS_MAX, wait_ms(server));
	server->now_ns = clock_ns();
	/* A connection is closed by its own event or timer only, so no event here is stale. */
	for (int i = 0; i < count; i++)
		if (events[i].data.ptr == &server->signals)
			goes_on = false;
		else if (events[i].data.ptr == &server->listener)
			accept_all(server);
		else
			conn_became_ready(events[i].data.ptr, events[i].events);
	expire_timers(server);
	return goes_on;
}

static int
open_signals(void)
{
	sigset_t ends;

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	return signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool
watch(struct server *server, int *fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };

	return *fd >= 0 && epoll_ctl(server->epoll, EPOLL_CTL_ADD, *fd, &event) == 0;
}

static void
raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int
server_run(const struct server_options *options)
{
	struct server server = { .options = options, .epoll = -1, .listener = -1, .signals = -1,
				 .log = -1 };
	int code = 1;

	raise_file_limit();
	if (!heap_init(&server.timers, SERVER_CONNECTIONS_MAX))
		goto out;
	if (options->log_path) {
		server.log = open(options->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (server.log < 0) {
			complain(options->log_path);
			goto out;
		}
	}
	server.listener = open_listener(options);
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	server.signals = open_signals();
	if (!watch(&server, &server.listener) || !watch(&server, &server.signals))
		goto out;
	printf("listening on %s port %u\n", options->listen, port_of(server.listener));
	fflush(stdout);
	while (loop_once(&server))
		continue;
	while (server.first)
		conn_close(server.first, "shutdown");
	code = 0;
out:
	if (server.listener >= 0)
		close(server.listener);
	if (server.signals >= 0)
		close(server.signals);
	if (server.epoll >= 0)
		close(server.epoll);
	if (server.log >= 0)
		close(server.log);
	heap_fini(&server.timers);
	return code;
}
