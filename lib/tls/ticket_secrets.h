#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * ticket_secrets: what session tickets are sealed with: the same at every router of one database. Control makes
 * them, keeps them in the store and hands them to the dataplane as one message over a socket (control/tickets.h
 * and dataplane/tickets.h), as this struct is: both are programs of one machine and one release.
 *
 * The newest that has begun seals; all that are here open. Owner: whoever has it wipes it.
 */
#define TICKET_SECRETS_MAX 16
#define TICKET_NAME_BYTES 16
#define TICKET_KEY_BYTES 32

struct ticket_secret {
	uint64_t number; /* grows with each; 0: a dataplane's own, which has heard of no control */
	uint64_t begins_at_s; /* Unix time from which it seals */
	uint8_t name[TICKET_NAME_BYTES]; /* a ticket bears it in clear */
	uint8_t key[TICKET_KEY_BYTES];
};

struct ticket_secrets {
	uint64_t layout; /* TICKET_SECRETS_LAYOUT */
	uint64_t count;
	struct ticket_secret secret[TICKET_SECRETS_MAX]; /* oldest first; unused ones are zero */
};

/* Raised with each change of the structs. */
#define TICKET_SECRETS_LAYOUT UINT64_C(0x3154454b434954) /* "TICKET1" little-endian */

/* Of a message: as a sender makes it, with at least one secret, and numbers that grow. */
bool ticket_secrets_are_whole(const struct ticket_secrets *secrets, size_t bytes);

/* Which one seals now: the last that has begun, or the first if none has. There is at least one. */
const struct ticket_secret *ticket_secrets_choose(const struct ticket_secrets *secrets, uint64_t now_s);

/* Who sealed a ticket, by the name in front of it; NULL: none of these. */
const struct ticket_secret *ticket_secrets_find(const struct ticket_secrets *secrets,
						const uint8_t name[TICKET_NAME_BYTES]);
