/* One file of fixed size: both programs run on one machine. */
#include "config/served.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "config/config.h"
#include "config/owned.h"

#define MAGIC UINT64_C(0x3144455652455354) /* "TSERVED1" little-endian */

struct whole {
	uint64_t magic;
	struct served served;
};

static void
name_file(const char *folder, const char *instance, const char *end, char path[CONFIG_PATH_BYTES])
{
	CHECK(snprintf(path, CONFIG_PATH_BYTES, "%s/%s.served%s", folder, instance, end) < CONFIG_PATH_BYTES);
}

enum err
served_write(const char *folder, const char *instance, const struct served *served)
{
	char path[CONFIG_PATH_BYTES], fresh[CONFIG_PATH_BYTES];
	struct whole whole;
	bool fine;
	int file;

	memset(&whole, 0, sizeof(whole));
	whole.magic = MAGIC;
	whole.served = *served;
	name_file(folder, instance, "", path);
	name_file(folder, instance, ".new", fresh);
	file = owned_make(AT_FDCWD, fresh);
	if (file < 0)
		return ERR_CONFIG_HANDOVER;
	fine = write(file, &whole, sizeof(whole)) == (ssize_t)sizeof(whole);
	fine = close(file) == 0 && fine;
	return fine && rename(fresh, path) == 0 ? ERR_OK : ERR_CONFIG_HANDOVER;
}

/* Of another release, say. */
static bool
is_sound(const struct whole *whole)
{
	const struct served *served = &whole->served;

	if (whole->magic != MAGIC || served->count > SERVED_CERTIFICATES_MAX ||
	    memchr(served->reason, '\0', sizeof(served->reason)) == NULL)
		return false;
	for (uint32_t i = 0; i < served->count; i++)
		if (memchr(served->certificate[i].name, '\0', SERVED_NAME_BYTES) == NULL)
			return false;
	return true;
}

enum err
served_read(const char *folder, const char *instance, struct served *served)
{
	char path[CONFIG_PATH_BYTES];
	struct whole whole;
	bool fine;
	int file;

	memset(served, 0, sizeof(*served));
	name_file(folder, instance, "", path);
	file = owned_open(AT_FDCWD, path, O_RDONLY);
	if (file < 0)
		return ERR_CONFIG_HANDOVER;
	fine = read(file, &whole, sizeof(whole)) == (ssize_t)sizeof(whole) && is_sound(&whole);
	close(file);
	if (!fine)
		return ERR_CONFIG_HANDOVER;
	*served = whole.served;
	return ERR_OK;
}
