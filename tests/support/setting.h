#pragma once

#include "config/config.h"
#include "config/schema.h"

/*
 * setting: every key of sluice.yaml outside of lists, one after the other, for tests of what a change does.
 */
struct setting {
	const struct key *key;
	char name[96]; /* "limits.requests" */
};

/* Calls visit for each. */
void setting_each(void (*visit)(void *owner, const struct setting *setting), void *owner);

/* Gives the key another value that is allowed beside all others. False: there is none (texts that name a file). */
bool setting_change(const struct setting *setting, struct config *config);
