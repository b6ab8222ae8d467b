/*
 * TLS clients on the kernel's TCP, with OpenSSL: TLS 1.3, X25519, AES-128-GCM, never resumed, nothing verified.
 * Each connects, shakes hands and asks once.
 *
 *     bench-tls-clients load SERVER FIRST-ADDRESS ADDRESSES SECONDS AT-ONCE    resets it and begins the next one
 *     bench-tls-clients hold SERVER FIRST-ADDRESS ADDRESSES COUNT AT-ONCE      keeps it, and forgets its TLS
 *
 * One line of JSON; those who hold then say for each line of standard input how many are still there, and end
 * with it.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../clock.h"
#include "base/check.h"
#include "dial.h"

#define AT_ONCE_MAX 1024u
#define SILENCE_MS 10000
#define EVENTS 64

static const char request[] = "GET /healthz HTTP/1.1\r\nHost: bench.test\r\n\r\n";

enum phase { CONNECTING, SHAKING, ASKING, READING };

struct conn {
	SSL *ssl;
	int fd;
	enum phase phase;
	uint32_t answer_bytes;
};

struct clients {
	SSL_CTX *context;
	struct conn conns[AT_ONCE_MAX];
	struct dial dial;
	uint32_t at_once;
	int epoll;
	bool holds;
	int *held; /* file descriptors, NULL under load */
	uint64_t begun;
	uint64_t begun_max; /* UINT64_MAX: until the time is up */
	uint64_t done;
	uint64_t failed;
	uint64_t until_ns;
};

static void
watch(struct clients *c, struct conn *conn, uint32_t what, int how)
{
	struct epoll_event event = { .events = what, .data.ptr = conn };

	if (epoll_ctl(c->epoll, how, conn->fd, &event) != 0)
		err(1, "epoll");
}

/* False: no more are wanted. */
static bool
begin(struct clients *c, struct conn *conn)
{
	int yes = 1;

	if (c->begun == c->begun_max || clock_ns() >= c->until_ns)
		return false;
	conn->fd = dial_begin(&c->dial, c->begun);
	if (setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) != 0)
		err(1, "nodelay");
	conn->ssl = SSL_new(c->context);
	CHECK(conn->ssl != NULL && SSL_set_fd(conn->ssl, conn->fd) == 1);
	SSL_set_connect_state(conn->ssl);
	conn->phase = CONNECTING;
	conn->answer_bytes = 0;
	c->begun++;
	watch(c, conn, EPOLLOUT, EPOLL_CTL_ADD);
	return true;
}

static void
end(struct clients *c, struct conn *conn, bool good)
{
	struct linger now = { .l_onoff = 1 };

	SSL_free(conn->ssl);
	conn->ssl = NULL;
	if (good && c->holds) {
		watch(c, conn, 0, EPOLL_CTL_DEL);
		c->held[c->done] = conn->fd;
	} else {
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(conn->fd);
	}
	if (good)
		c->done++;
	else
		c->failed++;
	(void)begin(c, conn);
}

/* Whether OpenSSL waits for the socket, which is then watched. */
static bool
waits(struct clients *c, struct conn *conn, int result)
{
	switch (SSL_get_error(conn->ssl, result)) {
	case SSL_ERROR_WANT_READ: watch(c, conn, EPOLLIN, EPOLL_CTL_MOD); return true;
	case SSL_ERROR_WANT_WRITE: watch(c, conn, EPOLLOUT, EPOLL_CTL_MOD); return true;
	default: return false;
	}
}

/* All servers that are compared answer with the body "ok\n". */
static bool
is_whole(const char *answer, uint32_t len)
{
	return len >= 7 && memcmp(answer + len - 7, "\r\n\r\nok\n", 7) == 0;
}

static void
go_on(struct clients *c, struct conn *conn)
{
	static char answer[4096];
	int result = 1;

	if (conn->phase == CONNECTING)
		conn->phase = SHAKING;
	if (conn->phase == SHAKING && (result = SSL_do_handshake(conn->ssl)) == 1)
		conn->phase = ASKING;
	if (conn->phase == ASKING && (result = SSL_write(conn->ssl, request, sizeof(request) - 1)) > 0)
		conn->phase = READING;
	/* An answer is one record, or a head and a body of their own. */
	while (conn->phase == READING && (result = SSL_read(conn->ssl, answer, sizeof(answer))) > 0) {
		conn->answer_bytes += (uint32_t)result;
		if (is_whole(answer, (uint32_t)result) || (result == 3 && memcmp(answer, "ok\n", 3) == 0)) {
			end(c, conn, true);
			return;
		}
	}
	if (!waits(c, conn, result))
		end(c, conn, false);
}

static void
run(struct clients *c)
{
	struct epoll_event events[EVENTS];

	for (uint32_t i = 0; i < c->at_once; i++)
		(void)begin(c, &c->conns[i]);
	while (c->done + c->failed < c->begun) {
		int n = epoll_wait(c->epoll, events, EVENTS, SILENCE_MS);

		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			go_on(c, events[i].data.ptr);
	}
}

static uint64_t
alive(const struct clients *c)
{
	uint64_t count = 0;
	char byte;

	for (uint64_t i = 0; i < c->done; i++)
		count += recv(c->held[i], &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0 && errno == EAGAIN;
	return count;
}

static SSL_CTX *
make_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	CHECK(context != NULL && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
	      SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1 &&
	      SSL_CTX_set1_groups_list(context, "X25519") == 1);
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	return context;
}

int
main(int argc, char **argv)
{
	static struct clients c = { .begun_max = UINT64_MAX, .until_ns = UINT64_MAX };
	char line[64];
	uint64_t from_ns = clock_ns();

	if (argc != 7 || inet_aton(argv[2], &c.dial.server) == 0 || inet_aton(argv[3], &c.dial.first) == 0) {
		fprintf(stderr, "usage: bench-tls-clients load|hold SERVER FIRST-ADDRESS ADDRESSES SECONDS|COUNT"
				" AT-ONCE\n");
		return 2;
	}
	c.dial.addresses = (uint32_t)strtoul(argv[4], NULL, 10);
	c.at_once = (uint32_t)strtoul(argv[6], NULL, 10);
	CHECK(c.dial.addresses > 0 && c.at_once > 0 && c.at_once <= AT_ONCE_MAX);
	c.holds = strcmp(argv[1], "hold") == 0;
	if (c.holds)
		c.begun_max = strtoull(argv[5], NULL, 10);
	else
		c.until_ns = from_ns + (uint64_t)(strtod(argv[5], NULL) * 1e9);
	c.held = c.holds ? calloc(c.begun_max, sizeof(*c.held)) : NULL;
	c.context = make_context();
	c.epoll = epoll_create1(EPOLL_CLOEXEC);
	run(&c);
	printf("{\"done\": %llu, \"failed\": %llu, \"seconds\": %.3f}\n", (unsigned long long)c.done,
	       (unsigned long long)(c.begun - c.done), (double)(clock_ns() - from_ns) / 1e9);
	fflush(stdout);
	while (c.holds && fgets(line, sizeof(line), stdin) != NULL) {
		printf("{\"alive\": %llu}\n", (unsigned long long)alive(&c));
		fflush(stdout);
	}
	SSL_CTX_free(c.context);
	return 0;
}
