#pragma once

/*
 * owned: files in folders that everybody may write to (/dev/shm), believed only if nobody else can have made or
 * changed them: a regular file of this process's user that no group and no other user may read or write. So both
 * programs run as one user.
 *
 * Both return a descriptor that is closed on exec, or -1 with errno; EPERM: it is somebody else's.
 */

/* What is there. flags: O_RDONLY or O_RDWR. No link is followed. */
int owned_open(int folder, const char *name, int flags);

/* A new file in place of what has the name, link or not. */
int owned_make(int folder, const char *name);
