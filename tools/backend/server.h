#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "heap.h"
#include "script.h"

/*
 * server: the listening socket, the loop and what all connections share. One thread.
 */
#define SERVER_CONNECTIONS_MAX 16384
#define SERVER_BODY_BYTES_MAX (64 * MIB)

struct server_options {
	const char *listen;
	uint16_t port; /* 0: the kernel's choice, printed at start */
	const char *region;
	const char *log_path; /* NULL: no log */
	bool logs_health;
	uint64_t read_bytes_per_second; /* 0: as fast as they come */
	uint64_t idle_close_ns;         /* 0: never */
	uint64_t requests_max;          /* per connection; then it closes unannounced. 0: no bound */
	struct script script;           /* of every request */
};

struct conn;

struct server {
	const struct server_options *options;
	int epoll;
	int listener;
	int signals;
	int log; /* -1: none */
	uint64_t now_ns;
	struct heap timers;
	uint64_t conn_count;  /* ever */
	uint32_t conns_alive; /* now, at most SERVER_CONNECTIONS_MAX */
	struct conn *first;   /* of those alive */
};

/* Runs until SIGTERM or SIGINT. Returns the exit code. */
int server_run(const struct server_options *options);
