/* Every certificate of every listener becomes one identity. */
#include "dataplane/identity.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "config/handover.h"
#include "config/log.h"
#include "config/served.h"
#include "dataplane/clock.h"
#include "tls/cert.h"

#define DAY_S (24 * 3600)

CHECK_STATIC(CERTIFICATES_TEXT_BYTES >= IDENTITY_TEXT_BYTES && CERTIFICATES_TEXT_BYTES >= CERT_TEXT_BYTES,
	     "a sentence has room");
CHECK_STATIC(SERVED_CERTIFICATES_MAX >= IDENTITY_PAIRS_MAX && SERVED_NAME_BYTES >= IDENTITY_NAME_BYTES,
	     "control is told all of it");
CHECK_STATIC(CONFIG_LISTENERS_MAX <= IDENTITY_LISTENERS_MAX &&
		     CONFIG_LISTENERS_MAX * CONFIG_CERTIFICATES_MAX <= IDENTITY_PAIRS_MAX,
	     "what a file may say has room");

struct loading {
	struct tls_identity *identity;
	struct identity_prints served;
	int64_t now_s;
};

static int64_t
unix_s(void)
{
	return (int64_t)(clock_unix_ns() / NSEC_PER_SEC);
}

static enum err
judge_pair(void *owner, uint32_t listener, struct bytes chain, struct bytes key, char *text)
{
	struct loading *l = owner;

	return tls_identity_renew(l->identity, &l->served, listener, chain, key, l->now_s, text,
				  CERTIFICATES_TEXT_BYTES);
}

static enum err
judge_client_ca(void *owner, uint32_t listener, struct bytes pem, char *text)
{
	struct loading *l = owner;

	return tls_identity_add_client_ca(l->identity, listener, pem, text, CERTIFICATES_TEXT_BYTES);
}

struct tls_identity *
identity_load(const struct config *config, const char *name, const struct tls_identity *served,
	      const struct config_complaints *complaints)
{
	struct loading l = { .identity = tls_identity_new(), .now_s = CERT_ANY_TIME };
	const struct certificates_judge judge = { judge_pair, judge_client_ca, &l };

	CHECK(l.identity != NULL);
	if (served != NULL) {
		tls_identity_prints(served, &l.served);
		l.now_s = unix_s();
	}
	if (certificates_read(config, name, &judge, complaints) == ERR_OK)
		return l.identity;
	tls_identity_free(l.identity);
	return NULL;
}

static void
log_one(const struct identity_facts *facts, int64_t now_s)
{
	int64_t left_s = facts->not_after_s - now_s;
	const char *event = left_s <= 0				     ? "certificate_expired" :
			    left_s < SERVED_SOON_DAYS * (int64_t)DAY_S ? "certificate_expires_soon" :
									 "certificate";
	const struct log_field fields[] = { LOG_TEXT("name", facts->name),
					    LOG_NUMBER("listener", facts->listener),
					    LOG_TEXT("kind", facts->is_rsa ? "RSA" : "ECDSA"),
					    LOG_NUMBER("not_after", facts->not_after_s),
					    LOG_NUMBER("days_left", left_s / DAY_S),
					    { 0 } };

	log_write(left_s < SERVED_SOON_DAYS * (int64_t)DAY_S ? LOG_WARN_LEVEL : LOG_INFO_LEVEL, event, fields);
}

void
identity_tell(const struct tls_identity *identity, const char *instance, uint64_t refused, const char *reason)
{
	static struct served served;

	memset(&served, 0, sizeof(served));
	served.refused = refused;
	snprintf(served.reason, sizeof(served.reason), "%s", reason);
	served.count = (uint32_t)tls_identity_count(identity);
	for (uint32_t i = 0; i < served.count; i++) {
		const struct identity_facts *facts = tls_identity_facts(identity, i);
		struct served_certificate *one = &served.certificate[i];

		if (refused == 0)
			log_one(facts, unix_s());
		*one = (struct served_certificate){ .listener = facts->listener,
						    .is_rsa = facts->is_rsa,
						    .not_before_s = facts->not_before_s,
						    .not_after_s = facts->not_after_s };
		memcpy(one->fingerprint, facts->fingerprint, sizeof(one->fingerprint));
		memcpy(one->name, facts->name, sizeof(facts->name));
	}
	if (served_write(HANDOVER_FOLDER, instance, &served) != ERR_OK)
		LOG_WARN("certificates_not_told", LOG_TEXT("folder", HANDOVER_FOLDER));
}
