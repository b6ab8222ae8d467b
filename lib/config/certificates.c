/* Goes on behind the first fault, as config_parse() does. */
#include "config/certificates.h"

#include <stdio.h>

#include "config/secret.h"

#define LINE_BYTES 1536

struct reading {
	const char *name; /* of the configuration file */
	const struct certificates_judge *judge;
	const struct config_complaints *complaints;
	uint32_t listener;
	bool is_fine;
};

static void
complain(struct reading *r, const char *key, const char *text)
{
	char line[LINE_BYTES];

	snprintf(line, sizeof(line), "%s: error: listeners[%u].%s: %s", r->name, r->listener, key, text);
	r->complaints->line(r->complaints->owner, line);
	r->is_fine = false;
}

/* False: complained. */
static bool
read_file(struct reading *r, const char *key, const char *path, struct bytes *text)
{
	char why[CERTIFICATES_TEXT_BYTES];

	if (secret_read(path, text, why, sizeof(why)) == ERR_OK)
		return true;
	complain(r, key, why);
	return false;
}

static void
read_pair(struct reading *r, uint32_t index, const struct config_certificate *files)
{
	char text[CERTIFICATES_TEXT_BYTES], said[2 * CONFIG_PATH_BYTES + CERTIFICATES_TEXT_BYTES + 8], place[32];
	struct bytes chain = BYTES_NONE, key = BYTES_NONE;

	snprintf(place, sizeof(place), "certificates[%u]", index);
	if (read_file(r, place, files->chain, &chain) && read_file(r, place, files->key, &key) &&
	    r->judge->pair(r->judge->owner, r->listener, chain, key, text) != ERR_OK) {
		snprintf(said, sizeof(said), "%s with %s: %s", files->chain, files->key, text);
		complain(r, place, said);
	}
	secret_free(chain);
	secret_free(key);
}

static void
read_client_ca(struct reading *r, const char *path)
{
	char text[CERTIFICATES_TEXT_BYTES], said[CONFIG_PATH_BYTES + CERTIFICATES_TEXT_BYTES + 4];
	struct bytes pem = BYTES_NONE;

	if (read_file(r, "client_ca", path, &pem) &&
	    r->judge->client_ca(r->judge->owner, r->listener, pem, text) != ERR_OK) {
		snprintf(said, sizeof(said), "%s: %s", path, text);
		complain(r, "client_ca", said);
	}
	secret_free(pem);
}

enum err
certificates_read(const struct config *config, const char *name, const struct certificates_judge *judge,
		  const struct config_complaints *complaints)
{
	struct reading r = { .name = name, .judge = judge, .complaints = complaints, .is_fine = true };

	for (r.listener = 0; r.listener < config->listener_count; r.listener++) {
		const struct config_listener *listener = &config->listeners[r.listener];

		for (uint32_t i = 0; i < listener->certificate_count; i++)
			read_pair(&r, i, &listener->certificates[i]);
		if (listener->client_ca[0] != '\0')
			read_client_ca(&r, listener->client_ca);
	}
	return r.is_fine ? ERR_OK : ERR_CONFIG_INVALID;
}
