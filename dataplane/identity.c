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

#define DAY_S (24 * 3600)

CHECK_STATIC(SERVED_CERTIFICATES_MAX >= IDENTITY_PAIRS_MAX && SERVED_NAME_BYTES >= IDENTITY_NAME_BYTES,
	     "control is told all of it");

static int64_t
unix_s(void)
{
	return (int64_t)(clock_unix_ns() / NSEC_PER_SEC);
}

struct credentials *
identity_load(const struct config *config, const char *name, const struct tls_identity *served,
	      const struct config_complaints *complaints)
{
	static struct identity_prints prints;

	prints.count = 0;
	if (served == NULL)
		return credentials_load(config, name, &prints, CREDENTIALS_ANY_TIME, complaints);
	tls_identity_prints(served, &prints);
	return credentials_load(config, name, &prints, unix_s(), complaints);
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
