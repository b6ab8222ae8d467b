/* read() into the mapping itself: a FILE would keep a copy of its own, which nobody wipes. */
#include "config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

/* One byte more than is allowed shows that there is too much. */
#define MAPPED_BYTES (SECRET_BYTES_MAX + 1)

static enum err
refuse(char *why, size_t room, const char *path, const char *reason)
{
	snprintf(why, room, "%s: %s", path, reason);
	return ERR_CONFIG_UNREADABLE;
}

static bool
is_regular(int file)
{
	struct stat status;

	return fstat(file, &status) == 0 && S_ISREG(status.st_mode);
}

/* What there is of it, at most MAPPED_BYTES; -1: errno. */
static ssize_t
read_all(int file, uint8_t *to)
{
	size_t len = 0;
	ssize_t got;

	do {
		got = read(file, to + len, MAPPED_BYTES - len);
		if (got < 0 && errno != EINTR)
			return -1;
		len += got > 0 ? (size_t)got : 0;
	} while (got != 0 && len < MAPPED_BYTES);
	return (ssize_t)len;
}

enum err
secret_read(const char *path, struct bytes *text, char *why, size_t room)
{
	/* O_NONBLOCK: a FIFO stops nobody. It is nothing to a regular file. */
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint8_t *memory;
	ssize_t len;

	*text = BYTES_NONE;
	if (file < 0)
		return refuse(why, room, path, strerror(errno));
	if (!is_regular(file)) {
		close(file);
		return refuse(why, room, path, "is not a file");
	}
	memory = mmap(NULL, MAPPED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(memory != MAP_FAILED);
	/* Both are best efforts for a moment; keys that stay are in an arena of lib/tls, whose owner tells. */
	(void)madvise(memory, MAPPED_BYTES, MADV_DONTDUMP);
	(void)mlock(memory, MAPPED_BYTES);
	len = read_all(file, memory);
	close(file);
	*text = bytes_make(memory, len > 0 ? (size_t)len : 0);
	if (len > 0 && len <= SECRET_BYTES_MAX)
		return ERR_OK;
	secret_free(*text);
	*text = BYTES_NONE;
	return refuse(why, room, path,
		      len < 0  ? strerror(errno) :
		      len == 0 ? "is empty" :
				 "is longer than 512 KiB");
}

void
secret_hide_process(void)
{
	CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
}

void
secret_free(struct bytes text)
{
	if (text.ptr == NULL)
		return;
	explicit_bzero((void *)(uintptr_t)text.ptr, MAPPED_BYTES);
	munmap((void *)(uintptr_t)text.ptr, MAPPED_BYTES);
}
