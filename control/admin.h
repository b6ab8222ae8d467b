#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/units.h"
#include "control.h"
#include "tokens.h"

/*
 * admin: the admin API's HTTP server: who calls (tokens.h), how much may be sent.
 *
 * Owner: control's loop, which waits on admin_file() too and calls admin_turn(). Bounds below.
 */
#define ADMIN_BODY_MAX (1024 * 1024)
#define ADMIN_CONNECTIONS_MAX 128 /* of TCP, and as many of the UNIX socket */
#define ADMIN_STRANGERS_MAX 64    /* of them that have shown no token yet: the oldest leaves for the next */
#define ADMIN_STRANGER_NS (5 * NSEC_PER_SEC) /* for a token to be shown */
#define ADMIN_IDLE_S 30

/* A connection that has shown no token yet. */
struct admin_stranger {
	struct MHD_Connection *connection;
	uint64_t since_ns;
};

struct admin {
	struct control *control;
	struct MHD_Daemon *daemons[2]; /* TCP, UNIX socket */
	size_t daemon_count;
	int epoll_file;          /* theirs are in it */
	const char *socket_path; /* NULL: none was made */
	struct tokens tokens;
	uint32_t stranger_count; /* the oldest first */
	struct admin_stranger strangers[ADMIN_STRANGERS_MAX];
};

/* As tokens_read(). */
bool admin_read_tokens(struct admin *admin, const char *path, const char *read_only_path);

/* ip: 16 bytes, IPv4 mapped; socket_path: "" for no UNIX socket. False: cannot listen; why is logged. */
bool admin_init(struct admin *admin, struct control *control, const uint8_t ip[16], uint16_t port,
		const char *socket_path);
void admin_fini(struct admin *admin);

int admin_file(const struct admin *admin);
void admin_turn(struct admin *admin);
