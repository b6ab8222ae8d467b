/* The descriptor is looked at, not the name: what has the name may change meanwhile. */
#include "config/owned.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
is_ours_alone(int file)
{
	struct stat status;

	return fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
	       (status.st_mode & 077) == 0;
}

int
owned_open(int folder, const char *name, int flags)
{
	/* O_NONBLOCK: somebody's FIFO stops nobody. It is nothing to a regular file. */
	int file = openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (file >= 0 && !is_ours_alone(file)) {
		close(file);
		file = -1;
		errno = EPERM;
	} else if (file < 0 && errno == ELOOP) {
		errno = EPERM;
	}
	return file;
}

int
owned_make(int folder, const char *name)
{
	if (unlinkat(folder, name, 0) != 0 && errno != ENOENT)
		return -1;
	return openat(folder, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}
