/* Both kinds of diff compare two lists of keys; where a list comes from is all that differs. */
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"
#include "show.h"

enum { SAME = 0, DIFFERENT = 1, TROUBLE = 2 };

#define TAKEN_LOOKS_MAX 100 /* for the dataplane's word, LOOK_NS apart: it looks every few milliseconds */
#define LOOK_NS (50 * NSEC_PER_MSEC)

static struct config_items lists[2];
static struct config_change changes[2 * CONFIG_ITEMS_MAX];

static void
complain(void *owner, const char *text)
{
	(void)owner;
	fprintf(stderr, "%s\n", text);
}

/* --- lists ------------------------------------------------------------------------------------- */

/* as: the name that relative paths are relative to. */
static bool
list_file(const char *file, const char *as, struct config_items *items)
{
	static const struct config_complaints complaints = { complain, NULL };
	static struct config config;
	struct bytes text;
	enum err verdict = config_read(file, &text, &complaints);

	if (verdict != ERR_OK)
		return false;
	verdict = config_parse(&config, file, text, &complaints);
	if (verdict == ERR_OK && strcmp(file, as) != 0)
		verdict = config_parse(&config, as, text, &complaints);
	free((void *)text.ptr);
	if (verdict == ERR_OK)
		items_list(&config, items);
	return verdict == ERR_OK;
}

static void
list_answer(yyjson_val *data, struct config_items *items)
{
	yyjson_arr_iter iter;
	yyjson_val *value;

	items->count = 0;
	yyjson_arr_iter_init(data, &iter);
	while ((value = yyjson_arr_iter_next(&iter)) != NULL && items->count < CONFIG_ITEMS_MAX) {
		struct config_item *item = &items->item[items->count];
		const char *key = yyjson_get_str(yyjson_obj_get(value, "key"));
		const char *text = yyjson_get_str(yyjson_obj_get(value, "value"));
		const char *class = yyjson_get_str(yyjson_obj_get(value, "class"));

		if (key == NULL || text == NULL || class == NULL || items_class(class) == NULL)
			continue;
		snprintf(item->key, sizeof(item->key), "%s", key);
		snprintf(item->value, sizeof(item->value), "%s", text);
		item->class = items_class(class);
		items->count++;
	}
}

/* --- output -------------------------------------------------------------------------------------- */

/* restart_of: NULL, a reload takes it over. */
static void
print_change(const char *key, const char *before, const char *after, const char *class, const char *restart_of)
{
	printf("%-34s %s -> %s  (%s%s%s)\n", key, before != NULL ? before : "absent",
	       after != NULL ? after : "absent", class, restart_of != NULL ? " of " : "",
	       restart_of != NULL ? restart_of : "");
}

static void
add_value(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, const struct config_item *item)
{
	if (item != NULL)
		yyjson_mut_obj_add_str(doc, object, name, item->value);
	else
		yyjson_mut_obj_add_null(doc, object, name);
}

static void
print_json(uint32_t count)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *all = yyjson_mut_arr(doc);
	char *text;

	for (uint32_t i = 0; i < count; i++) {
		const struct config_item *item = changes[i].after != NULL ? changes[i].after : changes[i].before;
		yyjson_mut_val *object = yyjson_mut_obj(doc);

		yyjson_mut_obj_add_str(doc, object, "key", item->key);
		add_value(doc, object, "before", changes[i].before);
		add_value(doc, object, "after", changes[i].after);
		yyjson_mut_obj_add_str(doc, object, "class", item->class);
		if (items_restart_of(item) != NULL)
			yyjson_mut_obj_add_str(doc, object, "restart_of", items_restart_of(item));
		else
			yyjson_mut_obj_add_null(doc, object, "restart_of");
		yyjson_mut_arr_append(all, object);
	}
	yyjson_mut_obj_add_val(doc, root, "changes", all);
	yyjson_mut_doc_set_root(doc, root);
	text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY, NULL);
	puts(text != NULL ? text : "");
	free(text);
	yyjson_mut_doc_free(doc);
}

static int
compare(bool json)
{
	uint32_t count = items_compare(&lists[0], &lists[1], changes);

	if (json)
		print_json(count);
	for (uint32_t i = 0; i < count && !json; i++) {
		const struct config_item *item = changes[i].after != NULL ? changes[i].after : changes[i].before;

		print_change(item->key, changes[i].before != NULL ? changes[i].before->value : NULL,
			     changes[i].after != NULL ? changes[i].after->value : NULL, item->class,
			     items_restart_of(item));
	}
	if (count == 0 && !json)
		puts("nothing differs");
	return count > 0 ? DIFFERENT : SAME;
}

int
settings_diff(const char *before, const char *after, bool json)
{
	/* As if both lay in one folder: a copy elsewhere is no difference. */
	bool fine = list_file(before, before, &lists[0]);

	return list_file(after, before, &lists[1]) && fine ? compare(json) : TROUBLE;
}

int
settings_diff_running(struct client *client, const char *file, bool json)
{
	yyjson_doc *answer = client_get(client, "GET", "config", NULL);
	yyjson_val *root = yyjson_doc_get_root(answer);
	const char *as = yyjson_get_str(yyjson_obj_get(root, "file"));
	bool fine = as != NULL && list_file(file, as, &lists[1]);

	if (fine)
		list_answer(yyjson_obj_get(root, "data"), &lists[0]);
	yyjson_doc_free(answer);
	return fine ? compare(json) : TROUBLE;
}

/* --- reload ---------------------------------------------------------------------------------------- */

/* Complaints have the form of a compiler's, which editors know. */
static yyjson_doc *
call(struct client *client, const char *path, const char *body)
{
	struct client_answer answer;
	yyjson_val *root, *complaint;
	yyjson_arr_iter iter;

	if (!client_call(client, "POST", path, body, &answer))
		return NULL;
	if (answer.status == 200 && answer.doc != NULL)
		return answer.doc;
	root = yyjson_doc_get_root(answer.doc);
	yyjson_arr_iter_init(yyjson_obj_get(root, "complaints"), &iter);
	while ((complaint = yyjson_arr_iter_next(&iter)) != NULL)
		fprintf(stderr, "%s\n", yyjson_is_str(complaint) ? yyjson_get_str(complaint) : "");
	root = yyjson_obj_get(yyjson_obj_get(root, "error"), "message");
	fprintf(stderr, "sluicectl: %s Nothing has changed.\n",
		yyjson_is_str(root) ? yyjson_get_str(root) : "control gave no reason.");
	yyjson_doc_free(answer.doc);
	return NULL;
}

static bool
is_taken(yyjson_val *root)
{
	return yyjson_get_uint(yyjson_obj_get(root, "dataplane_sequence")) ==
	       yyjson_get_uint(yyjson_obj_get(root, "sequence"));
}

/* Asks until the dataplane has what control handed over. NULL: nobody answers any more. */
static yyjson_doc *
wait_for_dataplane(struct client *client, yyjson_doc *answer)
{
	for (int i = 0; answer != NULL && i < TAKEN_LOOKS_MAX; i++) {
		yyjson_val *root = yyjson_doc_get_root(answer);
		struct timespec pause = { 0, LOOK_NS };

		if (is_taken(root) || !yyjson_get_bool(yyjson_obj_get(root, "dataplane_alive")) ||
		    yyjson_obj_get(root, "dataplane_refused") != NULL)
			break;
		yyjson_doc_free(answer);
		nanosleep(&pause, NULL);
		answer = client_get(client, "GET", "reload", NULL);
	}
	return answer;
}

/* What the reload changed, and what of it waits for a restart. */
static void
print_changes(yyjson_val *all)
{
	yyjson_val *change;
	yyjson_arr_iter iter;
	size_t waiting = 0;

	yyjson_arr_iter_init(all, &iter);
	while ((change = yyjson_arr_iter_next(&iter)) != NULL) {
		const char *restart_of = yyjson_get_str(yyjson_obj_get(change, "restart_of"));

		print_change(yyjson_get_str(yyjson_obj_get(change, "key")),
			     yyjson_get_str(yyjson_obj_get(change, "before")),
			     yyjson_get_str(yyjson_obj_get(change, "after")),
			     yyjson_get_str(yyjson_obj_get(change, "class")), restart_of);
		waiting += restart_of != NULL;
	}
	if (yyjson_arr_size(all) == 0)
		puts("nothing differs");
	if (waiting > 0)
		printf("%zu of %zu wait for a restart and hold as before until then\n", waiting,
		       yyjson_arr_size(all));
}

/* done: what has become of a trial; NULL: a reload, whose changes are told. */
static int
finish(struct client *client, yyjson_doc *answer, const char *done, bool json)
{
	yyjson_val *root;
	const char *why;
	bool fine;

	answer = wait_for_dataplane(client, answer);
	if (answer == NULL)
		return DIFFERENT;
	root = yyjson_doc_get_root(answer);
	fine = is_taken(root) || !yyjson_get_bool(yyjson_obj_get(root, "dataplane_alive"));
	why = yyjson_get_str(yyjson_obj_get(root, "dataplane_refused"));
	if (json)
		show_json(answer);
	else if (done != NULL)
		puts(done);
	else
		print_changes(yyjson_obj_get(root, "changes"));
	if (!json && done == NULL && fine)
		show_certificates(root, true);
	if (!json && yyjson_obj_get(root, "confirm_within_ms") != NULL)
		printf("on trial: `sluicectl reload --confirm` within %llu s, or what was before comes back\n",
		       (unsigned long long)yyjson_get_uint(yyjson_obj_get(root, "confirm_within_ms")) / 1000);
	if (!fine)
		fprintf(stderr, "sluicectl: the dataplane has not taken it: %s\n",
			why != NULL ? why : "its log says why");
	else if (!json && !is_taken(root))
		puts("the dataplane does not run; it will read the file when it starts");
	yyjson_doc_free(answer);
	return fine ? SAME : DIFFERENT;
}

int
settings_reload(struct client *client, unsigned long long confirm_within_ms, bool json)
{
	char body[64] = "{}";

	if (confirm_within_ms > 0)
		snprintf(body, sizeof(body), "{\"confirm_within_ms\":%llu}", confirm_within_ms);
	return finish(client, call(client, "reload", body), NULL, json);
}

int
settings_end_trial(struct client *client, const char *action, bool json)
{
	char path[32];

	snprintf(path, sizeof(path), "reload/%s", action);
	return finish(client, call(client, path, "{}"),
		      strcmp(action, "undo") == 0 ? "undone: what was before the trial runs again" :
						    "confirmed: what was on trial stays", json);
}
