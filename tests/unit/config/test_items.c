/* What a change of each key does, key by key; what two files differ in; what one process hands to the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/units.h"
#include "config/handover.h"
#include "config/items.h"
#include "config/value.h"
#include "setting.h"

#define LEAST \
	"ports: [{device: net_tap0, addresses: [192.0.2.1/24]}]\n" \
	"listeners: [{certificates: [{chain: c.pem, key: k.pem}]}]\n"

static char heard[4096];

static void
hear(void *owner, const char *text)
{
	(void)owner;
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s\n", text);
}

static const struct config_complaints complaints = { .line = hear };

static void
parse(struct config *config, const char *text)
{
	heard[0] = '\0';
	assert_int_equal(config_parse(config, "etc/sluice.yaml", bytes_from_text(text), &complaints), ERR_OK);
}

static struct config_items before, after;
static struct config_change changes[2 * CONFIG_ITEMS_MAX];

static uint32_t
compare(const struct config *old, const struct config *fresh)
{
	items_list(old, &before);
	items_list(fresh, &after);
	return items_compare(&before, &after, changes);
}

/* --- each key ------------------------------------------------------------------------------------ */

static void
change_one(void *owner, const struct setting *setting)
{
	struct config config, fresh, running;
	uint32_t *by_class = owner;

	parse(&config, LEAST);
	fresh = running = config;
	if (!setting_change(setting, &fresh))
		fail_msg("there is no other value for %s", setting->name);
	if (compare(&config, &fresh) != 1 || strcmp(changes[0].before->key, setting->name) != 0)
		fail_msg("a change of %s is not that of one key", setting->name);
	assert_string_equal(changes[0].after->class, schema_class_name(setting->key->class));
	assert_int_equal(items_take_over(&running, &fresh, "etc/sluice.yaml", &complaints), ERR_OK);
	if (setting->key->class == KEY_RESTART)
		assert_int_equal(compare(&config, &running), 0);
	else
		assert_int_equal(compare(&fresh, &running), 0);
	by_class[setting->key->class]++;
}

static void
every_key_is_taken_over_by_its_class(void **state)
{
	uint32_t by_class[3] = { 0 };

	(void)state;
	setting_each(change_one, by_class);
	/* So that a table whose classes were lost fails. */
	assert_in_range(by_class[KEY_LIVE], 90, 200);
	assert_in_range(by_class[KEY_DRAIN], 7, 20);
	assert_in_range(by_class[KEY_RESTART], 40, 200);
}

static void
read_back(void *owner, const struct setting *setting)
{
	const struct config *config = owner;
	const struct key *key = setting->key;
	char complaint[VALUE_COMPLAINT_BYTES], text[CONFIG_VALUE_BYTES];
	uint8_t field[sizeof(struct config_address) + CONFIG_PATH_BYTES] = { 0 };

	value_print(key, (const uint8_t *)config + key->offset, text, sizeof(text));
	if (!value_parse(key, text, "", field, complaint))
		fail_msg("%s prints as '%s': %s", setting->name, text, complaint);
	if (key->type != KEY_TEXT && key->type != KEY_PATH)
		assert_memory_equal(field, (const uint8_t *)config + key->offset, key->bytes);
	else
		assert_string_equal((char *)field, (const char *)config + key->offset);
}

static void
what_is_printed_reads_the_same(void **state)
{
	struct config config;

	(void)state;
	parse(&config, LEAST "timeouts: {idle: 90s, connect: 250ms}\nlimits: {bodies: 3MiB, proxy_body: 1025B}\n"
			     "admin: {address: \"::1\"}\n");
	setting_each(read_back, &config);
}

/* A list is compared by its elements. Those at the top are taken over by nobody: what is in them sizes memory. */
static void
no_list_at_the_top_changes_while_we_run(void **state)
{
	(void)state;
	for (const struct key *key = schema_root; key->name != NULL; key++)
		if (key->type == KEY_LIST)
			assert_int_equal(key->class, KEY_RESTART);
}

static void
authorities_are_taken_over_as_a_whole(void **state)
{
	static const char *const lists[] = {
		"tls: {authorities: [{name: a, file: a.pem}, {name: b, file: b.pem}], ticket_lifetime: 3h}\n",
		"tls: {authorities: [{name: b, file: c.pem}], ticket_lifetime: 3h}\n",
		"tls: {authorities: [], ticket_lifetime: 3h}\n",
		"tls: {authorities: [{name: a, file: a.pem}], ticket_lifetime: 3h}\n",
	};
	static struct config running, fresh;
	char text[512];

	(void)state;
	snprintf(text, sizeof(text), "%s%s", LEAST, lists[0]);
	parse(&running, text);
	for (size_t i = 1; i < COUNT_OF(lists); i++) {
		snprintf(text, sizeof(text), "%s%s", LEAST, lists[i]);
		parse(&fresh, text);
		assert_true(compare(&running, &fresh) > 0);
		assert_string_equal(changes[0].before != NULL ? changes[0].before->class : changes[0].after->class,
				    "live");
		assert_int_equal(items_take_over(&running, &fresh, "etc/sluice.yaml", &complaints), ERR_OK);
		assert_int_equal(compare(&running, &fresh), 0);
		assert_int_equal(running.authority_count, fresh.authority_count);
	}
}

static uint32_t
most_of(const struct key *table)
{
	uint32_t count = 0;

	for (const struct key *key = table; key->name != NULL; key++) {
		if (key->type == KEY_SECTION)
			count += most_of(key->inside);
		else if (key->type == KEY_LIST)
			count += (uint32_t)key->max *
				 (key->element->type == KEY_SECTION ? most_of(key->element->inside) : 1);
		else
			count++;
	}
	return count;
}

static void
the_fullest_file_fits_a_list(void **state)
{
	(void)state;
	assert_in_range(most_of(schema_root), 300, CONFIG_ITEMS_MAX);
}

/* --- two files -------------------------------------------------------------------------------------- */

static void
elements_come_and_go(void **state)
{
	struct config old, fresh;

	(void)state;
	parse(&old, "ports: [{device: net_tap0, addresses: [192.0.2.1/24, \"2001:db8::1/64\"]}]\n"
		    "listeners: [{certificates: [{chain: c.pem, key: k.pem}]}]\n");
	parse(&fresh, LEAST "eal_extra: [--no-pci]\n");
	assert_int_equal(compare(&old, &fresh), 2);
	assert_string_equal(changes[0].before->key, "ports[0].addresses[1]");
	assert_string_equal(changes[0].before->value, "2001:db8::1/64");
	assert_null(changes[0].after);
	assert_null(changes[1].before);
	assert_string_equal(changes[1].after->key, "eal_extra[0]");
	assert_string_equal(changes[1].after->class, "restart");
}

static void
a_mixture_that_no_file_may_say_is_refused(void **state)
{
	struct config running, fresh, untouched;

	(void)state;
	/* The second surface needs a restart to go, so that the first one cannot have its paths now. */
	parse(&running, LEAST);
	parse(&fresh, LEAST "surfaces: {infer: {enabled: no}, ecolink: {prefix: /api/v1}}\n");
	untouched = running;
	assert_int_equal(items_take_over(&running, &fresh, "etc/sluice.yaml", &complaints), ERR_CONFIG_INVALID);
	assert_string_equal(heard, "etc/sluice.yaml:1:1: error: prefix: its paths would be those of surface "
				   "ecolink\n");
	assert_memory_equal(&running, &untouched, sizeof(running));
}

/* --- from one process to the other ------------------------------------------------------------------- */

static char folder[] = "/tmp/test_items.XXXXXX";

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int
remove_folder(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/e.settings", folder);
	unlink(path);
	snprintf(path, sizeof(path), "%s/s.yaml", folder);
	unlink(path);
	return rmdir(folder);
}

#define TEXT(text) BYTES_LITERAL(text)

static void
what_was_handed_over_is_read(void **state)
{
	const struct handover given = { .sequence = 7,
					.until_ns = 99,
					.stage = HANDOVER_TRIAL,
					.text = TEXT("tried"),
					.other = TEXT("before") };
	struct handover h;
	char path[64];

	(void)state;
	assert_int_equal(handover_read(folder, "e", &h), ERR_CONFIG_HANDOVER);
	assert_int_equal(handover_write(folder, "e", &given), ERR_OK);
	assert_int_equal(handover_read(folder, "e", &h), ERR_OK);
	assert_int_equal(h.sequence, 7);
	assert_int_equal(h.until_ns, 99);
	assert_int_equal(h.stage, HANDOVER_TRIAL);
	assert_true(bytes_equal(h.text, given.text));
	assert_true(bytes_equal(h.other, given.other));
	handover_free(&h);
	/* Not whole: nothing. */
	snprintf(path, sizeof(path), "%s/e.settings", folder);
	for (off_t len = 0; len < 48 + 5 + 6; len++) {
		assert_int_equal(handover_write(folder, "e", &given), ERR_OK);
		assert_int_equal(truncate(path, len), 0);
		assert_int_equal(handover_read(folder, "e", &h), ERR_CONFIG_HANDOVER);
	}
	assert_int_equal(handover_write("/nowhere", "e", &given), ERR_CONFIG_HANDOVER);
}

/* The folder is everybody's: a file that another user may have written says nothing; a link is not followed. */
static void
what_others_may_have_written_is_refused(void **state)
{
	const struct handover given = { .sequence = 7, .stage = HANDOVER_FIRM, .text = TEXT("ours") };
	char path[64], fresh[64], victim[64];
	struct handover h;
	struct stat status;

	(void)state;
	snprintf(path, sizeof(path), "%s/e.settings", folder);
	snprintf(fresh, sizeof(fresh), "%s/e.settings.new", folder);
	snprintf(victim, sizeof(victim), "%s/s.yaml", folder);
	assert_int_equal(handover_write(folder, "e", &given), ERR_OK);
	for (mode_t mode = 0001; mode < 0100; mode <<= 1) {
		assert_int_equal(chmod(path, 0600 | mode), 0);
		assert_int_equal(handover_read(folder, "e", &h), ERR_CONFIG_HANDOVER);
	}
	assert_int_equal(chmod(path, 0600), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 65534, 65534), 0);
		assert_int_equal(handover_read(folder, "e", &h), ERR_CONFIG_HANDOVER);
		assert_int_equal(chown(path, 0, 0), 0);
	}
	assert_int_equal(rename(path, victim), 0);
	assert_int_equal(symlink(victim, path), 0);
	assert_int_equal(handover_read(folder, "e", &h), ERR_CONFIG_HANDOVER);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(handover_read(folder, "e", &h), ERR_CONFIG_HANDOVER);
	assert_int_equal(unlink(path), 0);
	/* A link where the new file is made: what it points to stays as it is. */
	assert_int_equal(truncate(victim, 0), 0);
	assert_int_equal(symlink(victim, fresh), 0);
	assert_int_equal(handover_write(folder, "e", &given), ERR_OK);
	assert_int_equal(stat(victim, &status), 0);
	assert_int_equal(status.st_size, 0);
	assert_int_equal(handover_read(folder, "e", &h), ERR_OK);
	handover_free(&h);
}

/* Who starts runs what the others run, and never what was tried in vain. */
static void
who_starts_chooses(void **state)
{
	static const struct {
		uint64_t sequence;
		enum handover_stage stage;
		uint64_t now_ns; /* the trial ends at 100 */
		const char *text, *other, *file, *chosen;
	} rows[] = {
		{ 0, HANDOVER_FIRM, 0, "", "", "F", "F" },
		{ 1, HANDOVER_FIRM, 0, "old", "", "F", "F" },
		{ 1, HANDOVER_TRIAL, 99, "tried", "old", "tried", "tried" },
		{ 1, HANDOVER_TRIAL, 99, "tried", "old", "edited since", "tried" },
		{ 1, HANDOVER_TRIAL, 100, "tried", "old", "tried", "old" },
		{ 1, HANDOVER_TRIAL, 100, "tried", "old", "edited since", "edited since" },
		{ 1, HANDOVER_UNDONE, 0, "old", "tried", "tried", "old" },
		{ 1, HANDOVER_UNDONE, 0, "old", "tried", "edited since", "edited since" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		const struct handover h = { .sequence = rows[i].sequence,
					    .until_ns = 100,
					    .stage = rows[i].stage,
					    .text = bytes_from_text(rows[i].text),
					    .other = bytes_from_text(rows[i].other) };
		struct bytes chosen = handover_choose(&h, bytes_from_text(rows[i].file), rows[i].now_ns);

		if (!bytes_equal(chosen, bytes_from_text(rows[i].chosen)))
			fail_msg("row %zu: %.*s", i, (int)chosen.len, (const char *)chosen.ptr);
	}
}

static void
a_process_starts_with_what_was_before_a_trial(void **state)
{
	static const char tried[] = LEAST "instance: e\nlimits: {requests: 7}\n";
	const struct handover given = { .sequence = 3,
					.until_ns = 100,
					.stage = HANDOVER_TRIAL,
					.text = TEXT(tried),
					.other = TEXT(LEAST "instance: e\nlimits: {requests: 8}\n") };
	struct config config;
	struct handover h;
	struct bytes text;
	char path[64];
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "%s/s.yaml", folder);
	file = fopen(path, "w");
	fputs(tried, file);
	fclose(file);
	assert_int_equal(handover_write(folder, "e", &given), ERR_OK);
	assert_int_equal(handover_load(&config, path, folder, 50, &text, &h, &complaints), ERR_OK);
	assert_int_equal(config.limits.requests, 7);
	free((void *)text.ptr);
	handover_free(&h);
	assert_int_equal(handover_load(&config, path, folder, 100, &text, &h, &complaints), ERR_OK);
	assert_int_equal(config.limits.requests, 8);
	assert_true(h.is_used);
	assert_true(bytes_equal(text, given.other));
	free((void *)text.ptr);
	handover_free(&h);
}

/* Each process has keys of its own; nobody restarts the other one for them. */
static void
a_restart_is_of_who_reads_the_key(void **state)
{
	static const struct {
		const char *key, *class, *restart_of;
	} rows[] = {
		{ "limits.requests", "live", NULL },
		{ "admin.port", "restart", "sluice-control" },
		{ "store.path", "restart", "sluice-control" },
		{ "ports[0].mtu", "restart", "sluice-dataplane" },
		{ "spool.size", "restart", "sluice-dataplane" },
		{ "spool.path", "restart", "both programs" },
		{ "instance", "restart", "both programs" },
		{ "capacity.pods", "restart", "both programs with a new shared file" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct config_item item = { .class = items_class(rows[i].class) };

		snprintf(item.key, sizeof(item.key), "%s", rows[i].key);
		if (rows[i].restart_of == NULL)
			assert_null(items_restart_of(&item));
		else
			assert_string_equal(items_restart_of(&item), rows[i].restart_of);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_is_taken_over_by_its_class),
		cmocka_unit_test(what_is_printed_reads_the_same),
		cmocka_unit_test(no_list_at_the_top_changes_while_we_run),
		cmocka_unit_test(authorities_are_taken_over_as_a_whole),
		cmocka_unit_test(the_fullest_file_fits_a_list),
		cmocka_unit_test(elements_come_and_go),
		cmocka_unit_test(a_restart_is_of_who_reads_the_key),
		cmocka_unit_test(a_mixture_that_no_file_may_say_is_refused),
		cmocka_unit_test(what_was_handed_over_is_read),
		cmocka_unit_test(what_others_may_have_written_is_refused),
		cmocka_unit_test(who_starts_chooses),
		cmocka_unit_test(a_process_starts_with_what_was_before_a_trial),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
