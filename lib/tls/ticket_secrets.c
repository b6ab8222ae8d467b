#include "tls/ticket_secrets.h"

#include <string.h>

#include "base/check.h"

bool
ticket_secrets_are_whole(const struct ticket_secrets *secrets, size_t bytes)
{
	if (bytes != sizeof(*secrets) || secrets->layout != TICKET_SECRETS_LAYOUT || secrets->count == 0 ||
	    secrets->count > TICKET_SECRETS_MAX)
		return false;
	for (uint64_t i = 1; i < secrets->count; i++)
		if (secrets->secret[i].number <= secrets->secret[i - 1].number ||
		    secrets->secret[i].begins_at_s < secrets->secret[i - 1].begins_at_s)
			return false;
	return true;
}

const struct ticket_secret *
ticket_secrets_choose(const struct ticket_secrets *secrets, uint64_t now_s)
{
	const struct ticket_secret *chosen = &secrets->secret[0];

	CHECK(secrets->count > 0);
	for (uint64_t i = 1; i < secrets->count; i++)
		if (secrets->secret[i].begins_at_s <= now_s)
			chosen = &secrets->secret[i];
	return chosen;
}

const struct ticket_secret *
ticket_secrets_find(const struct ticket_secrets *secrets, const uint8_t name[TICKET_NAME_BYTES])
{
	for (uint64_t i = secrets->count; i-- > 0;)
		if (memcmp(secrets->secret[i].name, name, TICKET_NAME_BYTES) == 0)
			return &secrets->secret[i];
	return NULL;
}
