/* Reads PEM files whole; every certificate of every listener becomes one identity set. */
#include "dataplane/identity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tls/cert.h"

#define FILE_BYTES_MAX (256 * 1024)

static uint8_t *
read_file(const char *path, size_t *len, char *text, size_t room)
{
	FILE *file = fopen(path, "re");
	uint8_t *bytes;

	if (file == NULL) {
		snprintf(text, room, "cannot open %s: %s", path, strerror(errno));
		return NULL;
	}
	bytes = malloc(FILE_BYTES_MAX);
	CHECK(bytes != NULL);
	*len = fread(bytes, 1, FILE_BYTES_MAX, file);
	if (ferror(file) || *len == 0 || *len == FILE_BYTES_MAX) {
		snprintf(text, room, "%s is empty, unreadable or larger than %d KiB", path,
			 FILE_BYTES_MAX / 1024);
		explicit_bzero(bytes, FILE_BYTES_MAX);
		free(bytes);
		bytes = NULL;
	}
	fclose(file);
	return bytes;
}

static bool
add_pair(struct tls_identity *identity, uint32_t listener, const struct config_certificate *files, char *text,
	 size_t room)
{
	char reason[IDENTITY_TEXT_BYTES] = "";
	uint8_t *chain, *key = NULL;
	size_t chain_len = 0, key_len = 0;
	enum err verdict = ERR_TLS_BAD_CERTIFICATE;

	chain = read_file(files->chain, &chain_len, text, room);
	if (chain != NULL)
		key = read_file(files->key, &key_len, text, room);
	if (key != NULL) {
		verdict = tls_identity_add(identity, listener, bytes_make(chain, chain_len),
					   bytes_make(key, key_len), CERT_ANY_TIME, reason, sizeof(reason));
		if (verdict != ERR_OK)
			snprintf(text, room, "%s with %s: %s", files->chain, files->key, reason);
		explicit_bzero(key, FILE_BYTES_MAX);
	}
	free(key);
	free(chain);
	return verdict == ERR_OK;
}

struct tls_identity *
identity_load(const struct config *config, char *text, size_t room)
{
	struct tls_identity *identity = tls_identity_new();

	CHECK(identity != NULL);
	for (uint32_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];

		for (uint32_t c = 0; c < listener->certificate_count; c++) {
			if (add_pair(identity, i, &listener->certificates[c], text, room))
				continue;
			tls_identity_free(identity);
			return NULL;
		}
	}
	return identity;
}
