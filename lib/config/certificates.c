/* Goes on behind the first fault, as config_parse() does. */
#include "config/certificates.h"

#include <stdio.h>

#include "config/secret.h"

#define LINE_BYTES 1536

struct reading {
	const char *name; /* of the configuration file */
	const struct certificates_judge *judge;
	const struct config_complaints *complaints;
	const char *list; /* of the element that is looked at */
	uint32_t element;
	bool is_fine;
};

static void
complain(struct reading *r, const char *key, const char *text)
{
	char line[LINE_BYTES];

	snprintf(line, sizeof(line), "%s: error: %s[%u].%s: %s", r->name, r->list, r->element, key, text);
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
	    r->judge->pair(r->judge->owner, r->element, chain, key, text) != ERR_OK) {
		snprintf(said, sizeof(said), "%s with %s: %s", files->chain, files->key, text);
		complain(r, place, said);
	}
	secret_free(chain);
	secret_free(key);
}

static void
complain_of(struct reading *r, const char *key, const char *path, const char *text)
{
	char said[CONFIG_PATH_BYTES + CERTIFICATES_TEXT_BYTES + 4];

	snprintf(said, sizeof(said), "%s: %s", path, text);
	complain(r, key, said);
}

static void
read_client_ca(struct reading *r, const char *path)
{
	char text[CERTIFICATES_TEXT_BYTES];
	struct bytes pem = BYTES_NONE;

	if (read_file(r, "client_ca", path, &pem) &&
	    r->judge->client_ca(r->judge->owner, r->element, pem, text) != ERR_OK)
		complain_of(r, "client_ca", path, text);
	secret_free(pem);
}

static void
read_authority(struct reading *r, const struct config_authority *authority)
{
	char text[CERTIFICATES_TEXT_BYTES];
	struct bytes pem = BYTES_NONE;

	if (read_file(r, "file", authority->file, &pem) &&
	    r->judge->authority(r->judge->owner, authority->name, pem, text) != ERR_OK)
		complain_of(r, "file", authority->file, text);
	secret_free(pem);
}

enum err
certificates_read(const struct config *config, const char *name, const struct certificates_judge *judge,
		  const struct config_complaints *complaints)
{
	struct reading r = { .name = name, .judge = judge, .complaints = complaints, .is_fine = true };

	r.list = "listeners";
	for (r.element = 0; r.element < config->listener_count; r.element++) {
		const struct config_listener *listener = &config->listeners[r.element];

		for (uint32_t i = 0; i < listener->certificate_count; i++)
			read_pair(&r, i, &listener->certificates[i]);
		if (listener->client_ca[0] != '\0')
			read_client_ca(&r, listener->client_ca);
	}
	r.list = "tls.authorities";
	for (r.element = 0; r.element < config->authority_count; r.element++)
		read_authority(&r, &config->authorities[r.element]);
	return r.is_fine ? ERR_OK : ERR_CONFIG_INVALID;
}
