#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/check.h"

/* The first owner signs; the others must be it. */
static bool
is_owners(int file, const char *path, const char *owner, char *text, size_t room)
{
	char found[LOCK_OWNER_BYTES + 1] = "";
	size_t len = strlen(owner);
	ssize_t n = pread(file, found, sizeof(found) - 1, 0);

	CHECK(len > 0 && len < LOCK_OWNER_BYTES);
	if (n == 0)
		n = pwrite(file, owner, len, 0) == (ssize_t)len ? pread(file, found, sizeof(found) - 1, 0) : -1;
	if (n < 0) {
		snprintf(text, room, "%s: %s", path, strerror(errno));
		return false;
	}
	if (strcmp(found, owner) == 0)
		return true;
	snprintf(text, room,
		 "%s says that this is of instance \"%s\", and this is \"%s\": give it another place, or, if the "
		 "instance has a new name, remove that file",
		 path, found, owner);
	return false;
}

bool
lock_take(const char *path, const char *owner, char *text, size_t room)
{
	int file = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (file < 0 || flock(file, LOCK_EX | LOCK_NB) != 0) {
		snprintf(text, room, "%s: %s", path,
			 errno == EWOULDBLOCK ? "another sluice-control uses it" : strerror(errno));
	} else if (owner == NULL || is_owners(file, path, owner, text, room)) {
		return true; /* stays open for the process's life */
	}
	if (file >= 0)
		close(file);
	return false;
}
