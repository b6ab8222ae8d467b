#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * sock: one TCP connection of this process, over the stack that is linked in: sock_ours.c is lib/tcp and lib/ip
 * on an AF_PACKET socket, sock_linux.c is the kernel's. What runs above is the same for both.
 *
 * Thread: one. Time: CLOCK_MONOTONIC, which all processes of a machine share.
 */
struct sock;

struct sock_config {
	const char *interface; /* ours: frames go there; it must have no address of the kernel's */
	const char *address;   /* ours: "10.0.0.1/24"; the kernel's come with the namespace */
	const char *peer;      /* to connect to; NULL: listens */
	uint16_t port;
	/* ours */
	uint32_t window_bytes;
	uint32_t send_bytes;
	uint8_t window_shift;
	uint16_t mtu_bytes;
};

enum sock_bits {
	SOCK_CONNECTED = 1 << 0,
	SOCK_EOF = 1 << 1, /* after everything that was received has been taken */
	SOCK_RESET = 1 << 2,
	SOCK_REFUSED = 1 << 3,
	SOCK_TIMEOUT = 1 << 4,
	SOCK_UNREACHABLE = 1 << 5,
};

#define SOCK_FAILED (SOCK_RESET | SOCK_REFUSED | SOCK_TIMEOUT | SOCK_UNREACHABLE)
#define SOCK_COMPLAINT_BYTES 200

extern const char sock_name[];
/* The stack goes on when this process has ended. */
extern const bool sock_outlives_us;

/* Begins to connect or to listen. NULL: complaint says why. */
struct sock *sock_open(const struct sock_config *config, char complaint[SOCK_COMPLAINT_BYTES]);

/* Lets the network move; returns when something has happened, or at until_ns. wants_*: what the caller is
 * waiting for. */
void sock_turn(struct sock *s, uint64_t until_ns, bool wants_read, bool wants_write);

uint32_t sock_state(const struct sock *s);

/* How many of the n bytes were taken; 0: no room. */
size_t sock_send(struct sock *s, const uint8_t *from, size_t n);

/* How many bytes were received; 0: none are there. */
size_t sock_receive(struct sock *s, uint8_t *to, size_t size);

void sock_shutdown(struct sock *s);

/* Neither is to be followed by any call but sock_turn() and those below. */
void sock_close(struct sock *s);
void sock_abort(struct sock *s);

/* After close or abort: nothing is left to be sent by this process. */
bool sock_is_drained(const struct sock *s);

/* Counters of the stack as members of a JSON object, with a comma in front of each. */
void sock_print(const struct sock *s, FILE *out);

void sock_free(struct sock *s);
