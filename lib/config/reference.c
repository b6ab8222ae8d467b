/* The reference of sluice.yaml, printed from the table that the parser follows. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "config/schema.h"

#define LINE_BYTES 1024
#define DEPTH_MAX 4

static void
describe(const struct key *key, char text[LINE_BYTES])
{
	const char *quote = key->type == KEY_TEXT ? "\"" : "";
	size_t len;

	snprintf(text, LINE_BYTES, "%s", schema_type_name(key->type));
	len = strlen(text);
	if (key->type == KEY_COUNT || key->type == KEY_PORT || key->type == KEY_LIST)
		snprintf(text + len, LINE_BYTES - len, " %" PRIu64 " to %" PRIu64, key->min,
			 key->max);
	for (uint32_t i = 0; key->choices != NULL && key->choices[i] != NULL; i++) {
		len = strlen(text);
		snprintf(text + len, LINE_BYTES - len, "%s%s", i > 0 ? " | " : " ",
			 key->choices[i]);
	}
	len = strlen(text);
	if (key->fallback == NULL)
		snprintf(text + len, LINE_BYTES - len, ", required");
	else if (key->type != KEY_LIST)
		snprintf(text + len, LINE_BYTES - len, ", default %s%s%s", quote, key->fallback,
			 quote);
	len = strlen(text);
	snprintf(text + len, LINE_BYTES - len, ", %s", schema_class_name(key->class));
}

static void
print_table(const struct key *table, int depth, const struct config_complaints *to)
{
	char line[2 * LINE_BYTES];
	char facts[LINE_BYTES];

	for (const struct key *key = table; key->name != NULL && depth < DEPTH_MAX; key++) {
		const struct key *inside =
			key->element != NULL ? key->element->inside : key->inside;

		if (key->type == KEY_SECTION) {
			snprintf(line, sizeof(line), "%*s%s:", depth * 4, "", key->name);
		} else {
			describe(key, facts);
			snprintf(line, sizeof(line), "%*s%s: (%s)", depth * 4, "", key->name,
				 facts);
		}
		to->line(to->owner, line);
		snprintf(line, sizeof(line), "%*s# %s", depth * 4 + 4, "", key->help);
		to->line(to->owner, line);
		if (inside != NULL)
			print_table(inside, depth + 1, to);
	}
}

void
config_print_reference(const struct config_complaints *to)
{
	print_table(schema_root, 0, to);
}
