#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "base/units.h"
#include "tls/ticket_secrets.h"

/*
 * tickets: the secrets of session tickets as control hands them over (control/tickets.h): over a UNIX socket,
 * since keys are in no shared memory.
 *
 * Control need not be there. A start waits TICKETS_WAIT_NS for one that lives, so that clients that come back
 * after a restart are known again; without it the secrets are this process's own, and its tickets are good here
 * only. What was handed over last stays until there is more; a connection that ends is made again.
 *
 * Thread: the main thread. Memory: locked, in the fleet.
 */
#define TICKETS_WAIT_NS (1 * NSEC_PER_SEC)
#define TICKETS_AGAIN_NS (100 * NSEC_PER_MSEC)

struct tickets {
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* of control's socket */
	int file; /* -1: not connected */
	uint64_t again_at_ns;
};

/* folder: HANDOVER_FOLDER, or a test's. */
void tickets_init(struct tickets *t, const char *folder, const char *instance);

/* Secrets of nobody but this process. False: no random numbers. */
bool tickets_make_own(struct ticket_secrets *secrets);

/* True: something new was handed over. Connects if it is time; waits for nobody. */
bool tickets_read(struct tickets *t, struct ticket_secrets *secrets, uint64_t now_ns);

void tickets_fini(struct tickets *t);
