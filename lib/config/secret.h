#pragma once

#include <stddef.h>

#include "base/bytes.h"
#include "base/err.h"

/*
 * secret: a file that may hold a private key, in memory that is locked (where the kernel's limit allows it), left
 * out of core dumps, and wiped; and the process that has it, which nobody should look into.
 *
 * Thread: any; main threads in practice. Memory: a mapping for each file, as long as it is kept.
 */
#define SECRET_BYTES_MAX (512 * 1024) /* a bundle of CA certificates, which is read in the same way */

/* ERR_CONFIG_UNREADABLE: why says why, of at most room bytes. Else *text is to be given to secret_free(). */
enum err secret_read(const char *path, struct bytes *text, char *why, size_t room);

/* From now on this process leaves no core dump, and none but root may trace it or read its memory: what lies in no
 * locked memory (a store's cache, packets with what was asked and answered) is in nobody else's file either. */
void secret_hide_process(void);

/* Of secret_read(); or empty. */
void secret_free(struct bytes text);
