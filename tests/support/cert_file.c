#include "cert_file.h"

#include <stdio.h>

#include "base/check.h"
#include "base/units.h"

#define FILES_MAX 32
#define FILE_BYTES_MAX 8192

static struct {
	char name[32];
	uint8_t text[FILE_BYTES_MAX];
	size_t len;
} files[FILES_MAX];

void
cert_path(const char *name, char *path, size_t room)
{
	CHECK((size_t)snprintf(path, room, "%s/%s", SUPPORT_CERT_FOLDER, name) < room);
}

struct bytes
cert_file(const char *name)
{
	char path[512];
	size_t i = 0;
	FILE *file;

	for (; i < FILES_MAX && files[i].len > 0; i++)
		if (strcmp(files[i].name, name) == 0)
			return bytes_make(files[i].text, files[i].len);
	CHECK(i < FILES_MAX && strlen(name) < sizeof(files[i].name));
	cert_path(name, path, sizeof(path));
	file = fopen(path, "rb");
	CHECK(file != NULL);
	files[i].len = fread(files[i].text, 1, sizeof(files[i].text), file);
	CHECK(files[i].len > 0 && feof(file));
	fclose(file);
	snprintf(files[i].name, sizeof(files[i].name), "%s", name);
	return bytes_make(files[i].text, files[i].len);
}
