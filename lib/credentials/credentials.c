/* The files are read by config/certificates.c, and judged where they are stored. */
#include "credentials/credentials.h"

#include <stdlib.h>

#include "base/check.h"
#include "config/certificates.h"
#include "config/log.h"
#include "tls/cert.h"

CHECK_STATIC(CREDENTIALS_ANY_TIME == CERT_ANY_TIME, "the same");
CHECK_STATIC(CERTIFICATES_TEXT_BYTES >= CERT_TEXT_BYTES, "a sentence has room");
CHECK_STATIC(CONFIG_LISTENERS_MAX <= IDENTITY_LISTENERS_MAX &&
		     CONFIG_LISTENERS_MAX * CONFIG_CERTIFICATES_MAX <= IDENTITY_PAIRS_MAX &&
		     CONFIG_AUTHORITIES_MAX <= TLS_AUTHORITIES_MAX &&
		     CONFIG_AUTHORITY_BYTES <= TLS_AUTHORITY_NAME_BYTES,
	     "what a file may say has room");

struct loading {
	struct credentials *credentials;
	const struct identity_prints *served;
	int64_t now_s;
};

static enum err
judge_pair(void *owner, uint32_t listener, struct bytes chain, struct bytes key, char *text)
{
	struct loading *l = owner;

	return tls_identity_renew(l->credentials->identity, l->served, listener, chain, key, l->now_s, text,
				  CERTIFICATES_TEXT_BYTES);
}

static enum err
judge_client_ca(void *owner, uint32_t listener, struct bytes pem, char *text)
{
	struct loading *l = owner;

	return tls_identity_add_client_ca(l->credentials->identity, listener, pem, text, CERTIFICATES_TEXT_BYTES);
}

static enum err
judge_authority(void *owner, const char *authority, struct bytes pem, char *text)
{
	struct loading *l = owner;
	uint32_t skipped;
	enum err verdict = tls_authorities_add(l->credentials->authorities, authority, pem, &skipped, text,
					       CERTIFICATES_TEXT_BYTES);

	if (verdict == ERR_OK && skipped > 0)
		LOG_WARN("authorities_skipped", LOG_TEXT("name", authority), LOG_NUMBER("certificates", skipped));
	return verdict;
}

struct credentials *
credentials_load(const struct config *config, const char *name, const struct identity_prints *served,
		 int64_t now_s, const struct config_complaints *complaints)
{
	struct loading l = { .credentials = malloc(sizeof(*l.credentials)), .served = served, .now_s = now_s };
	const struct certificates_judge judge = { judge_pair, judge_client_ca, judge_authority, &l };

	CHECK(l.credentials != NULL);
	l.credentials->identity = tls_identity_new();
	l.credentials->authorities = tls_authorities_new();
	CHECK(l.credentials->identity != NULL && l.credentials->authorities != NULL);
	if (certificates_read(config, name, &judge, complaints) == ERR_OK)
		return l.credentials;
	credentials_free(l.credentials);
	return NULL;
}

void
credentials_free(struct credentials *credentials)
{
	if (credentials == NULL)
		return;
	tls_identity_free(credentials->identity);
	tls_authorities_free(credentials->authorities);
	free(credentials);
}
