/* Every key that may change while workers run reaches what they read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/h2_session.h"
#include "dataplane/settings.h"
#include "dataplane/worker.h"
#include "setting.h"

#define LEAST \
	"ports: [{device: net_tap0, addresses: [192.0.2.1/24]}]\n" \
	"listeners: [{certificates: [{chain: c.pem, key: k.pem}]}]\n"

static void
complain(void *owner, const char *text)
{
	(void)owner;
	fail_msg("%s", text);
}

static void
parse(struct config *config, const char *text)
{
	static const struct config_complaints complaints = { .line = complain };

	assert_int_equal(config_parse(config, "sluice.yaml", bytes_from_text(text), &complaints), ERR_OK);
}

/* Not the workers': control's, and what the main thread and the loop around a worker look at themselves
 * (tests/e2e/suites/reload.py). */
static bool
is_of_others(const char *name)
{
	static const char *const others[] = { "idle", "timeouts.drain", "log.level" };

	for (size_t i = 0; i < COUNT_OF(others); i++)
		if (strcmp(name, others[i]) == 0)
			return true;
	return strncmp(name, "probes.", 7) == 0;
}

static struct settings_texts texts;

/* The same texts are at the same place, so that bytes can be compared. */
static void
fill(const struct config *config, struct worker_config *worker)
{
	memset(worker, 0, sizeof(*worker));
	settings_fill(config, worker);
	assert_true(settings_keep(&texts, worker));
}

static void
change_one(void *owner, const struct setting *setting)
{
	struct worker_config before, after;
	struct config config;
	uint32_t *reached = owner;
	struct worker *w;

	if (setting->key->class == KEY_RESTART || is_of_others(setting->name))
		return;
	/* 1 MiB for HTTP/2, since it is taken each time. */
	parse(&config, LEAST "http2: {memory: 1MiB}\n");
	fill(&config, &before);
	assert_true(setting_change(setting, &config));
	fill(&config, &after);
	if (memcmp(&before, &after, sizeof(before)) == 0)
		fail_msg("%s is %s, and workers do not hear of it", setting->name,
			 schema_class_name(setting->key->class));
	w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->config = before;
	w->h2 = h2_shared_new(&before.h2);
	assert_non_null(w->h2);
	worker_adopt(w, &after);
	if (memcmp(&w->config, &after, sizeof(after)) != 0 ||
	    memcmp(&w->h2->limits, &after.h2, sizeof(after.h2)) != 0)
		fail_msg("%s is not adopted by a worker", setting->name);
	h2_shared_free(w->h2);
	free(w);
	(*reached)++;
}

static void
every_key_that_may_change_reaches_the_workers(void **state)
{
	uint32_t reached = 0;

	(void)state;
	setting_each(change_one, &reached);
	assert_in_range(reached, 90, 200);
}

static void
what_sizes_memory_stays(void **state)
{
	struct worker_config before, after;
	struct config config;
	struct worker *w = calloc(1, sizeof(*w));

	(void)state;
	assert_non_null(w);
	parse(&config, LEAST);
	fill(&config, &before);
	after = before;
	after.counts.clients = 7;
	after.listener_count = 3;
	w->config = before;
	worker_adopt(w, &after);
	assert_memory_equal(&w->config, &before, sizeof(before));
	free(w);
}

static void
texts_are_kept_once_and_not_without_end(void **state)
{
	static struct settings_texts few;
	struct worker_config worker = { .index = 0 };
	struct config config;
	const char *first;

	(void)state;
	parse(&config, LEAST);
	settings_fill(&config, &worker);
	assert_true(settings_keep(&few, &worker));
	first = worker.surfaces[0].cors;
	for (int i = 0; i < 1000; i++) {
		settings_fill(&config, &worker);
		assert_true(settings_keep(&few, &worker));
		assert_ptr_equal(worker.surfaces[0].cors, first);
	}
	for (uint32_t i = few.count; i < SETTINGS_TEXTS_MAX; i++) {
		snprintf(config.surfaces.ecolink.cors, sizeof(config.surfaces.ecolink.cors), "https://%u.example",
			 i);
		settings_fill(&config, &worker);
		assert_true(settings_keep(&few, &worker));
	}
	assert_string_equal(first, "");
	snprintf(config.surfaces.ecolink.cors, sizeof(config.surfaces.ecolink.cors), "*");
	settings_fill(&config, &worker);
	assert_false(settings_keep(&few, &worker));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_key_that_may_change_reaches_the_workers),
		cmocka_unit_test(what_sizes_memory_stays),
		cmocka_unit_test(texts_are_kept_once_and_not_without_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
