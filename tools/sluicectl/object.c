/* What can be done with nouns: words to one call of the admin API each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "help.h"
#include "meter/money.h"
#include "show.h"

#define PAGE 1000

static void
show_list(yyjson_val *root, const struct word_noun *noun)
{
	yyjson_val *rows = yyjson_obj_get(root, "data");

	show_table(rows, noun);
	if (yyjson_get_bool(yyjson_obj_get(root, "has_more")))
		printf("(there are more: --after %lld)\n",
		       (long long)yyjson_get_sint(yyjson_obj_get(yyjson_arr_get_last(rows), "id")));
}

static void
show_deleted(yyjson_val *root, const struct word_noun *noun)
{
	(void)root;
	(void)noun;
	puts("deleted");
}

/* --- verbs ------------------------------------------------------------------------------- */

/* The rows of the next page behind those of the pages before. */
static void
append_page(yyjson_mut_doc *all, yyjson_val *page)
{
	yyjson_mut_val *rows = yyjson_mut_obj_get(yyjson_mut_doc_get_root(all), "data");
	yyjson_val *row;
	size_t at, count;

	yyjson_arr_foreach(yyjson_obj_get(page, "data"), at, count, row)
		yyjson_mut_arr_append(rows, yyjson_val_mut_copy(all, row));
}

/* Page after page, as one list. NULL: why has been said. */
static yyjson_doc *
list_all(struct command *c, const char *path)
{
	yyjson_mut_doc *all = yyjson_mut_doc_new(NULL);
	yyjson_doc *answer;
	long long after = 0;
	bool has_more = true;

	yyjson_mut_doc_set_root(all, yyjson_mut_obj(all));
	yyjson_mut_obj_add_str(all, yyjson_mut_doc_get_root(all), "object", "list");
	yyjson_mut_obj_add_bool(all, yyjson_mut_doc_get_root(all), "has_more", false);
	yyjson_mut_obj_add_arr(all, yyjson_mut_doc_get_root(all), "data");
	while (has_more) {
		char page[COMMAND_PATH_BYTES + 64];
		yyjson_val *rows;

		snprintf(page, sizeof(page), "%s%cafter=%lld&limit=%d", path,
			 strchr(path, '?') != NULL ? '&' : '?', after, PAGE);
		answer = client_get(&c->client, "GET", page, NULL);
		if (answer == NULL) {
			yyjson_mut_doc_free(all);
			return NULL;
		}
		rows = yyjson_obj_get(yyjson_doc_get_root(answer), "data");
		append_page(all, yyjson_doc_get_root(answer));
		has_more = yyjson_arr_size(rows) == PAGE;
		after = yyjson_get_sint(yyjson_obj_get(yyjson_arr_get_last(rows), "id"));
		yyjson_doc_free(answer);
	}
	answer = yyjson_mut_doc_imut_copy(all, NULL);
	yyjson_mut_doc_free(all);
	return answer;
}

/* Whether the list can be narrowed so. Exit code, or -1 to go on. */
static int
check_filter(const struct word_noun *noun, const char *name, const char *value)
{
	const struct word *word = strncmp(name, "--", 2) == 0 ? word_find(noun, name + 2) : NULL;

	if (strncmp(name, "--", 2) != 0)
		return command_wrong_use("a filter is --MEMBER VALUE, not", name);
	if (value == NULL)
		return command_wrong_use("a value is missing behind", name);
	if (strcmp(name, "--limit") == 0 || strcmp(name, "--after") == 0 || strcmp(name, "--name") == 0)
		return -1;
	if (word == NULL)
		return help_refuse_option(noun, name + 2);
	if (!word_is_filter(word)) {
		fprintf(stderr, "sluicectl: a list of %s is not narrowed by %s, but by --name", noun->plural,
			name);
		for (const struct word *w = noun->words; w->name != NULL; w++)
			if (word_is_filter(w) && strcmp(w->name, "name") != 0)
				fprintf(stderr, ", --%s", w->name);
		fputc('\n', stderr);
		return EXIT_WRONG_USE;
	}
	if (word->kind == WORD_FLAG && strcmp(word_query(word, value), "true") != 0 &&
	    strcmp(word_query(word, value), "false") != 0) {
		fprintf(stderr, "sluicectl: %s takes %s, not %s\n", name, word_kind_name(word), value);
		return EXIT_WRONG_USE;
	}
	return -1;
}

static int
list(struct command *c, const struct word_noun *noun)
{
	char path[COMMAND_PATH_BYTES];
	bool is_page = false;

	snprintf(path, sizeof(path), "%s", noun->plural);
	for (int i = 2; i < c->count; i += 2) {
		const char *name = c->words[i];
		const struct word *word = strncmp(name, "--", 2) == 0 ? word_find(noun, name + 2) : NULL;

		int code = check_filter(noun, name, i + 1 < c->count ? c->words[i + 1] : NULL);

		if (code >= 0)
			return code;
		is_page = is_page || strcmp(name, "--limit") == 0 || strcmp(name, "--after") == 0;
		if (!client_add_query(&c->client, path, sizeof(path), word != NULL ? word->member : name + 2,
				      word != NULL ? word_query(word, c->words[i + 1]) : c->words[i + 1]))
			return command_wrong_use("too long:", name);
	}
	return command_finish(c, is_page ? client_get(&c->client, "GET", path, NULL) : list_all(c, path),
			      show_list, noun);
}

/* Members from the words behind `from`. Exit code, or -1 to go on. */
static int
add_members(const struct command *c, const struct word_noun *noun, int from, yyjson_mut_doc *doc)
{
	for (int i = from; i < c->count; i += 2) {
		const char *name = c->words[i];
		const struct word *word;

		if (strncmp(name, "--", 2) != 0)
			return command_wrong_use("unexpected word", name);
		word = word_find(noun, name + 2);
		if (word == NULL)
			return help_refuse_option(noun, name + 2);
		if (i + 1 == c->count)
			return command_wrong_use("a value is missing behind", name);
		if (!word_add(word, c->words[i + 1], doc, yyjson_mut_doc_get_root(doc))) {
			fprintf(stderr, "sluicectl: --%s takes %s, not %s\n", word->name, word_kind_name(word),
				c->words[i + 1]);
			return EXIT_WRONG_USE;
		}
	}
	return -1;
}

/* Whether a new one has all that it needs. Exit code, or -1 to go on. */
static int
check_needed(const struct word_noun *noun, yyjson_mut_val *object)
{
	for (const struct word *w = noun->words; w->name != NULL; w++) {
		if (!word_is_needed(noun, w) || yyjson_mut_obj_get(object, w->member) != NULL)
			continue;
		fprintf(stderr, "sluicectl: --%s is missing: %s; ", w->name, w->help);
		help_print_example(stderr, noun);
		return EXIT_WRONG_USE;
	}
	return -1;
}

/* What the object's address says: an HTTP status, or 0: nobody answered. PUT would make what is not there, and
 * change what is. A refusal but for 404 has been told; with `aloud` that, too. */
static long
look_at(struct command *c, const struct word_noun *noun, bool aloud)
{
	char path[COMMAND_PATH_BYTES];
	struct client_answer answer;

	if (!client_path(&c->client, path, sizeof(path), noun->plural, c->words[2])) {
		command_wrong_use("too long:", c->words[2]);
		return 0;
	}
	if (!client_call(&c->client, "GET", path, NULL, &answer))
		return 0;
	if (answer.status != 200 && (aloud || answer.status != 404))
		client_tell_refusal(&c->client, &answer);
	yyjson_doc_free(answer.doc);
	return answer.status;
}

/* PUT serves both, and people mean one. Exit code, or -1 to go on. */
static int
check_there(struct command *c, const struct word_noun *noun, bool is_new)
{
	long status = look_at(c, noun, !is_new);

	if (status == 200 && is_new)
		fprintf(stderr, "sluicectl: there is %s %s already (sluicectl %s set %s changes it)\n", noun->name,
			c->words[2], noun->name, c->words[2]);
	if (status == 404 && !is_new && strcmp(noun->name, "key") != 0)
		fprintf(stderr, "(sluicectl %s add makes a new one)\n", noun->name);
	return status == (is_new ? 404 : 200) ? -1 : EXIT_FAILED;
}

/* Sends the members to <plural>, or with PUT to <plural>/<reference>. */
static int
write_object(struct command *c, const struct word_noun *noun, const char *method,
	     const char *reference, int from, bool is_new)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	char path[COMMAND_PATH_BYTES], *body;
	yyjson_doc *answer;
	int code;

	yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
	code = add_members(c, noun, from, doc);
	if (code < 0 && is_new)
		code = check_needed(noun, yyjson_mut_doc_get_root(doc));
	if (code < 0 && strcmp(method, "PUT") == 0)
		code = check_there(c, noun, is_new);
	if (code < 0) {
		snprintf(path, sizeof(path), "%s", noun->plural);
		if (reference != NULL && strcmp(method, "POST") == 0)
			yyjson_mut_obj_add_str(doc, yyjson_mut_doc_get_root(doc), "name", reference);
		else if (reference != NULL &&
			 !client_path(&c->client, path, sizeof(path), noun->plural, reference))
			code = command_wrong_use("too long:", reference);
	}
	if (code < 0) {
		body = yyjson_mut_write(doc, 0, NULL);
		answer = client_get(&c->client, method, path, body);
		free(body);
		code = command_finish(c, answer, show_object, noun);
	}
	yyjson_mut_doc_free(doc);
	return code;
}

static int
add(struct command *c, const struct word_noun *noun)
{
	bool is_named = word_has_name(noun);
	bool has_reference = c->count > 2 && strncmp(c->words[2], "--", 2) != 0;

	if (is_named && !has_reference) {
		fputs("sluicectl: a name is missing behind add; ", stderr);
		help_print_example(stderr, noun);
		return EXIT_WRONG_USE;
	}
	if (!is_named && has_reference && strcmp(noun->name, "key") == 0)
		return command_wrong_use("keys are known by an id that they get; a label is said by --name, not",
					 c->words[2]);
	if (is_named || !has_reference)
		return write_object(c, noun, "POST", has_reference ? c->words[2] : NULL, has_reference ? 3 : 2,
				    true);
	return write_object(c, noun, "PUT", c->words[2], 3, true); /* an instance whose number is given */
}

static int
set(struct command *c, const struct word_noun *noun)
{
	if (c->count == 3) {
		fprintf(stderr, "sluicectl: what to change is missing: sluicectl %s set %s --MEMBER VALUE…\n\n",
			noun->name, c->words[2]);
		help_print_verb(stderr, noun, help_find_verb(noun, "set"));
		return EXIT_WRONG_USE;
	}
	return write_object(c, noun, "PUT", c->words[2], 3, false);
}

/* A call on one object, without a body of members. */
static int
call_object(struct command *c, const struct word_noun *noun, const char *method,
	    const char *action, const char *body, command_show *show)
{
	char path[COMMAND_PATH_BYTES];
	size_t len;

	if (!client_path(&c->client, path, sizeof(path), noun->plural, c->words[2]))
		return command_wrong_use("too long:", c->words[2]);
	len = strlen(path);
	if ((size_t)snprintf(path + len, sizeof(path) - len, "%s", action) >= sizeof(path) - len)
		return command_wrong_use("too long:", c->words[2]);
	return command_finish(c, client_get(&c->client, method, path, body), show, noun);
}

static int
top_up(struct command *c, const struct word_noun *noun)
{
	const char *reference = command_flag(c, 4, "--reference");
	yyjson_mut_doc *doc;
	int64_t nano;
	char *body;
	int code;

	if (c->count < 4)
		return command_wrong_use("an amount of dollars is missing behind", c->words[2]);
	if (!money_parse(c->words[3], &nano))
		return command_wrong_use("top-up takes dollars such as 25 or 0.15, not", c->words[3]);
	if (c->count > 4 && (c->count > 6 || reference == NULL))
		return command_wrong_use("unexpected word", c->words[4]);
	doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
	yyjson_mut_obj_add_sint(doc, yyjson_mut_doc_get_root(doc), "amount_nano", nano);
	if (reference != NULL)
		yyjson_mut_obj_add_str(doc, yyjson_mut_doc_get_root(doc), "reference", reference);
	body = yyjson_mut_write(doc, 0, NULL);
	code = call_object(c, noun, "POST", "/top-up", body, show_object);
	free(body);
	yyjson_mut_doc_free(doc);
	return code;
}

/* A span of time as the body of a rotation. */
static int
rotate(struct command *c, const struct word_noun *noun)
{
	const char *grace = command_flag(c, 3, "--grace");
	long long grace_s = 0;
	char body[64];

	if (c->count > 3 && (c->count != 5 || grace == NULL || !command_parse_span(grace, &grace_s)))
		return command_wrong_use("key rotate ID [--grace 1h]", "");
	snprintf(body, sizeof(body), "{\"grace_s\":%lld}", grace_s);
	return call_object(c, noun, "POST", "/rotate", body, show_object);
}

/* Verbs that write one member. */
static const struct {
	const char *noun, *verb, *body;
} writes[] = {
	{ "account", "suspend", "{\"suspended\":true}" }, { "account", "resume", "{\"suspended\":false}" },
	{ "instance", "start", "{\"state\":\"running\"}" }, { "instance", "stop", "{\"state\":\"stopped\"}" },
	{ "pod", "drain", "{\"state\":\"drain\"}" },      { "pod", "maint", "{\"state\":\"maint\"}" },
	{ "pod", "ready", "{\"state\":\"ready\"}" },      { 0 },
};

static int
run_own_verb(struct command *c, const struct word_noun *noun, const char *verb)
{
	if (strcmp(verb, "top-up") == 0)
		return top_up(c, noun);
	if (strcmp(verb, "rotate") == 0)
		return rotate(c, noun);
	if (c->count > 3)
		return command_wrong_use("unexpected word", c->words[3]);
	if (strcmp(verb, "revoke") == 0)
		return call_object(c, noun, "POST", "/revoke", "{}", show_object);
	for (int i = 0; writes[i].noun != NULL; i++) {
		if (strcmp(writes[i].noun, noun->name) != 0 || strcmp(writes[i].verb, verb) != 0)
			continue;
		if (look_at(c, noun, true) != 200)
			return EXIT_FAILED;
		return call_object(c, noun, "PUT", "", writes[i].body, show_object);
	}
	return command_wrong_use("no such verb:", verb);
}

int
object_run(struct command *c, const struct word_noun *noun)
{
	const struct help_verb *verb = c->count > 1 ? help_find_verb(noun, c->words[1]) : NULL;

	c->client.noun = noun;
	if (c->count == 1) {
		help_print_noun(stderr, noun);
		return EXIT_WRONG_USE;
	}
	if (verb == NULL)
		return help_refuse_verb(noun, c->words[1]);
	if (verb->has_reference && (c->count < 3 || strncmp(c->words[2], "--", 2) == 0))
		return command_wrong_use("a name or id is missing behind", verb->name);
	if (verb->noun != NULL)
		return run_own_verb(c, noun, verb->name);
	if (strcmp(verb->name, "list") == 0)
		return list(c, noun);
	if (strcmp(verb->name, "add") == 0)
		return add(c, noun);
	if (strcmp(verb->name, "set") == 0)
		return set(c, noun);
	if (c->count > 3)
		return command_wrong_use("unexpected word", c->words[3]);
	if (strcmp(verb->name, "show") == 0)
		return call_object(c, noun, "GET", "", NULL, show_object);
	return call_object(c, noun, "DELETE", "", NULL, show_deleted);
}
