/* Values are tried until the configuration as a whole is fine with one. */
#include "setting.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "config/value.h"

static void
each_of(const struct key *table, const char *before, void (*visit)(void *owner, const struct setting *setting),
	void *owner)
{
	for (const struct key *key = table; key->name != NULL; key++) {
		struct setting setting = { .key = key };

		CHECK(snprintf(setting.name, sizeof(setting.name), "%s%s%s", before, before[0] != '\0' ? "." : "",
			       key->name) < (int)sizeof(setting.name));
		if (key->type == KEY_SECTION)
			each_of(key->inside, setting.name, visit, owner);
		else if (key->type != KEY_LIST)
			visit(owner, &setting);
	}
}

void
setting_each(void (*visit)(void *owner, const struct setting *setting), void *owner)
{
	each_of(schema_root, "", visit, owner);
}

static void
ignore(void *owner, const char *text)
{
	(void)owner;
	(void)text;
}

/* Whether the text is allowed, and another one than what is there. */
static bool
is_other(const struct setting *setting, const char *text, struct config *config)
{
	static const struct config_complaints complaints = { .line = ignore };
	struct config fresh = *config;
	char complaint[VALUE_COMPLAINT_BYTES], before[CONFIG_PATH_BYTES], after[CONFIG_PATH_BYTES];

	value_print(setting->key, (uint8_t *)config + setting->key->offset, before, sizeof(before));
	if (!value_parse(setting->key, text, "", (uint8_t *)&fresh + setting->key->offset, complaint))
		return false;
	value_print(setting->key, (uint8_t *)&fresh + setting->key->offset, after, sizeof(after));
	if (strcmp(before, after) == 0 || config_check(&fresh, "changed", &complaints) != ERR_OK)
		return false;
	*config = fresh;
	return true;
}

bool
setting_change(const struct setting *setting, struct config *config)
{
	static const char *const texts[] = { "yes",    "no",    "1",     "7",	  "100",  "1000", "8443",
					     "100ms",  "2s",	"20s",	 "1B",	  "1KiB", "24KiB",
					     "128KiB", "1MiB",	"32MiB", "128MiB", "/zz", "zz-",
					     "*",      "other", "127.0.0.9" };

	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (is_other(setting, texts[i], config))
			return true;
	for (size_t i = 0; setting->key->choices != NULL && setting->key->choices[i] != NULL; i++)
		if (is_other(setting, setting->key->choices[i], config))
			return true;
	return false;
}
