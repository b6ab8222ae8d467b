/* Reads PEM files whole. */
#include "dataplane/authority.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "config/log.h"

#define REASON_BYTES 256

CHECK_STATIC(CONFIG_AUTHORITIES_MAX <= TLS_AUTHORITIES_MAX && CONFIG_AUTHORITY_BYTES <= TLS_AUTHORITY_NAME_BYTES,
	     "what a file may say has room");

/* One byte more than is allowed shows that there is too much. */
static uint8_t *
read_file(const char *path, size_t *len, char *text, size_t room)
{
	FILE *file = fopen(path, "re");
	uint8_t *bytes;

	if (file == NULL) {
		snprintf(text, room, "cannot open %s: %s", path, strerror(errno));
		return NULL;
	}
	bytes = malloc(TLS_AUTHORITY_PEM_BYTES_MAX + 1);
	CHECK(bytes != NULL);
	*len = fread(bytes, 1, TLS_AUTHORITY_PEM_BYTES_MAX + 1, file);
	if (ferror(file) || *len == 0) {
		snprintf(text, room, "%s is empty or unreadable", path);
		free(bytes);
		bytes = NULL;
	}
	fclose(file);
	return bytes;
}

static bool
add(struct tls_authorities *authorities, const struct config_authority *from, char *text, size_t room)
{
	char reason[REASON_BYTES] = "";
	uint32_t skipped;
	size_t len = 0;
	uint8_t *pem = read_file(from->file, &len, text, room);
	enum err verdict;

	if (pem == NULL)
		return false;
	verdict = tls_authorities_add(authorities, from->name, bytes_make(pem, len), &skipped, reason,
				      sizeof(reason));
	free(pem);
	if (verdict != ERR_OK)
		snprintf(text, room, "%s: %s", from->file, reason);
	else if (skipped > 0)
		LOG_WARN("authorities_skipped", LOG_TEXT("file", from->file), LOG_NUMBER("certificates", skipped));
	return verdict == ERR_OK;
}

struct tls_authorities *
authority_load(const struct config *config, char *text, size_t room)
{
	struct tls_authorities *authorities = tls_authorities_new();

	CHECK(authorities != NULL);
	for (uint32_t i = 0; i < config->authority_count; i++) {
		if (add(authorities, &config->authorities[i], text, room))
			continue;
		tls_authorities_free(authorities);
		return NULL;
	}
	return authorities;
}
