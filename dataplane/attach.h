#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "shm/table.h"

/*
 * attach: the shared file that sluice-control made, mapped into this process, which is the only dataplane of it:
 * what it begins anew at start (holds, counts, slots) is nobody else's.
 *
 * Thread: the main thread, at start. The mapping stays until the process ends: control may die and come
 * back behind it.
 */

/* ERR_SHM_ABSENT: no such file (yet). Others: text gets one sentence with the way out. */
enum err attach_open(struct shm *shm, const char *instance, uint32_t worker_count, char *text,
		     size_t room);
