#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#include "control.h"

/*
 * admin: the admin API's HTTP server: who may call (the bearer of the token), how much may be sent.
 *
 * Owner: control's loop, which waits on admin_file() too and calls admin_turn(). Bounds below.
 */
#define ADMIN_BODY_MAX (1024 * 1024)
#define ADMIN_CONNECTIONS_MAX 64
#define ADMIN_IDLE_S 30
#define ADMIN_TOKEN_MAX 256

struct admin {
	struct control *control;
	struct MHD_Daemon *daemon;
	char token[ADMIN_TOKEN_MAX];
	size_t token_len;
};

/* The token in the file, which is made with a random one if it is not there. False: why is logged. */
bool admin_read_token(struct admin *admin, const char *path);

/* ip: 16 bytes, IPv4 mapped. False: cannot listen; why is logged. */
bool admin_init(struct admin *admin, struct control *control, const uint8_t ip[16], uint16_t port);
void admin_fini(struct admin *admin);

int admin_file(const struct admin *admin);
void admin_turn(struct admin *admin);
