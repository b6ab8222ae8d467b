#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * lock: what a file stands for has one process at a time, and one owner for ever.
 *
 * The lock (flock) goes with the process, however it ends. The owner's name stays in the file: a folder that
 * another instance has filled is refused to this one, also when the other one does not run.
 */

/* owner: less than LOCK_OWNER_BYTES; NULL: whoever comes. False: text says why not, and what helps. */
#define LOCK_OWNER_BYTES 128
bool lock_take(const char *path, const char *owner, char *text, size_t room);
