/*
 * front: runs a command in namespaces of its own (network, mount; user, unless root), and leads TCP
 * connections to ports of this machine into them.
 *
 *     sluice-front --listen 127.0.0.1:8443=10.77.0.2:443 … -- COMMAND …
 *
 * A socket belongs to the network namespace in which it was made. So the listening sockets are made
 * first, then the process leaves for new namespaces: what it accepts comes from the host, what it
 * connects to is inside. Nothing of the host changes, and with this process and its command
 * everything made inside is gone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pairs.h"

#define LISTENERS_MAX 16
#define EVENTS_MAX 64
#define ACCEPTS_PER_TURN 64

struct listener {
	int fd;
	struct sockaddr_storage target;
};

static struct listener listeners[LISTENERS_MAX];
static size_t listener_count;

static int
fail(const char *what)
{
	fprintf(stderr, "sluice-front: %s: %s\n", what, strerror(errno));
	return 1;
}

static int
usage(FILE *to)
{
	fputs("Usage: sluice-front [--listen ADDRESS:PORT=ADDRESS:PORT]... -- COMMAND...\n"
	      "Runs COMMAND in user, network and mount namespaces of its own; connections to the\n"
	      "first address of a pair end at the second one, inside. IPv6 addresses in "
	      "brackets.\n"
	      "Exit codes: COMMAND's, 1 failed, 2 wrong use.\n",
	      to);
	return to == stdout ? 0 : 2;
}

/* "192.0.2.1:80" or "[2001:db8::1]:80". */
static bool
parse_endpoint(char *text, struct sockaddr_storage *out)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	char *colon = strrchr(text, ':');
	char *end = NULL;
	long port;

	memset(out, 0, sizeof(*out));
	if (colon == NULL)
		return false;
	*colon = '\0';
	port = strtol(colon + 1, &end, 10);
	if (port < 1 || port > 65535 || *end != '\0')
		return false;
	if (text[0] == '[' && colon > text && colon[-1] == ']') {
		colon[-1] = '\0';
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		return inet_pton(AF_INET6, text + 1, &in6->sin6_addr) == 1;
	}
	in4->sin_family = AF_INET;
	in4->sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, text, &in4->sin_addr) == 1;
}

static int
open_listener(char *text)
{
	struct sockaddr_storage here;
	struct listener *listener = &listeners[listener_count];
	char *equals = strchr(text, '=');
	char name[128];
	int one = 1;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, "="), text);
	if (equals == NULL || listener_count == LISTENERS_MAX)
		return usage(stderr);
	*equals = '\0';
	if (!parse_endpoint(text, &here) || !parse_endpoint(equals + 1, &listener->target))
		return usage(stderr);
	listener->fd = socket(here.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (here.ss_family == AF_INET6 && listener->fd < 0 && errno == EAFNOSUPPORT) {
		fprintf(stderr, "sluice-front: no IPv6 here, not listening on %s\n", name);
		return 0;
	}
	if (listener->fd < 0)
		return fail(name);
	setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (here.ss_family == AF_INET6)
		setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(listener->fd, (struct sockaddr *)&here,
		 here.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
					      sizeof(struct sockaddr_in)) != 0) {
		if (here.ss_family == AF_INET6 && errno == EADDRNOTAVAIL) {
			fprintf(stderr, "sluice-front: no IPv6 here, not listening on %s\n", name);
			close(listener->fd);
			return 0;
		}
		return fail(name);
	}
	if (listen(listener->fd, 512) != 0)
		return fail(name);
	listener_count++;
	return 0;
}

static bool
write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool is_fine = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return is_fine;
}

/* The caller becomes root of a world with one user. */
static bool
map_user(uid_t uid, gid_t gid)
{
	char uids[64];
	char gids[64];

	snprintf(uids, sizeof(uids), "0 %u 1", uid);
	snprintf(gids, sizeof(gids), "0 %u 1", gid);
	return write_file("/proc/self/setgroups", "deny") &&
	       write_file("/proc/self/uid_map", uids) && write_file("/proc/self/gid_map", gids);
}

/* Root with its capabilities needs no user namespace; everyone else, and root of many containers,
 * does. */
static int
leave_host(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (uid != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) != 0) {
			fprintf(stderr,
				"sluice-front: this machine does not let its users make namespaces "
				"(%s); "
				"allow it (sysctl kernel.unprivileged_userns_clone and "
				"user.max_user_namespaces) or run as root\n",
				strerror(errno));
			return 1;
		}
		if (!map_user(uid, gid))
			return fail("cannot map the user into the new namespace");
	}
	/* Shared memory of this world only, so that names do not meet those of the host. */
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, NULL) != 0)
		return fail("cannot mount /dev/shm");
	return 0;
}

static pid_t
start(char **command, const sigset_t *blocked)
{
	pid_t parent = getpid();
	pid_t child = fork();

	if (child != 0)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	sigprocmask(SIG_UNBLOCK, blocked, NULL);
	execvp(command[0], command);
	fail(command[0]);
	_exit(127);
}

static void
accept_some(int epoll_fd, const struct listener *listener)
{
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		pair_open(epoll_fd, fd, &listener->target);
	}
}

/* Signals to us are the command's; its end is ours. True: it ended, with *status. */
static bool
handle_signal(int fd, pid_t child, int *status)
{
	struct signalfd_siginfo signal;

	while (read(fd, &signal, sizeof(signal)) == sizeof(signal)) {
		if (signal.ssi_signo != SIGCHLD)
			kill(child, (int)signal.ssi_signo);
		else if (waitpid(child, status, WNOHANG) == child)
			return true;
	}
	return false;
}

static bool
is_listener(const void *ptr)
{
	const struct listener *listener = ptr;

	return listener >= listeners && listener < listeners + LISTENERS_MAX;
}

static int
serve(int epoll_fd, int signal_fd, pid_t child)
{
	struct epoll_event events[EVENTS_MAX];
	int status = 0;

	for (;;) {
		int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);

		for (int i = 0; i < count; i++) {
			if (events[i].data.ptr == NULL) {
				if (handle_signal(signal_fd, child, &status))
					return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
			} else if (is_listener(events[i].data.ptr)) {
				accept_some(epoll_fd, events[i].data.ptr);
			} else {
				pair_handle(events[i].data.ptr, events[i].events);
			}
		}
		pairs_collect();
	}
}

int
main(int argc, char **argv)
{
	struct epoll_event event = { .events = EPOLLIN };
	sigset_t blocked;
	int next = 1;
	int rc = 0;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout);
	for (; next + 1 < argc && strcmp(argv[next], "--listen") == 0; next += 2) {
		rc = open_listener(argv[next + 1]);
		if (rc != 0)
			return rc;
	}
	if (next + 1 >= argc || strcmp(argv[next], "--") != 0)
		return usage(stderr);
	rc = leave_host();
	if (rc != 0)
		return rc;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGHUP);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int signal_fd = signalfd(-1, &blocked, SFD_NONBLOCK | SFD_CLOEXEC);

	if (epoll_fd < 0 || signal_fd < 0)
		return fail("epoll");
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signal_fd, &event);
	for (size_t i = 0; i < listener_count; i++) {
		event.data.ptr = &listeners[i];
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listeners[i].fd, &event);
	}
	pid_t child = start(argv + next + 1, &blocked);

	return child < 0 ? fail("fork") : serve(epoll_fd, signal_fd, child);
}
