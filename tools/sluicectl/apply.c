#include "apply.h"

#include <errno.h>
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "help.h"
#include "meter/money.h"
#include "show.h"
#include "words.h"

#define PATH_BYTES 1024
#define TEXT_BYTES 512
#define LIST_BYTES 4096

const char apply_help[] =
	"Usage: sluicectl apply FILE [--json]\n"
	"\n"
	"Makes everything in a YAML (or JSON) catalogue true; again changes nothing, and nothing is\n"
	"deleted. Keys are made if the account has none of that name, and shown once.\n"
	"\n"
	"  accounts:  [{name: demo, balance: 10}]            # dollars, credited once\n"
	"  plans:     [{name: standard, requests_per_minute: 200}]\n"
	"  prices:    [{name: small, input: 0.15, output: 0.60}]  # dollars per million tokens\n"
	"  regions:   [{name: mv}, {name: fra}]\n"
	"  pods:      [{name: gpu-1, address: 10.0.0.11, port: 8000}]\n"
	"  models:\n"
	"    - name: meta-llama/Llama-3.1-8B-Instruct\n"
	"      price: small\n"
	"      aliases: [llama]\n"
	"      deployments:                                   # in order of preference\n"
	"        - {region: mv, pods: [gpu-1], served_name: llama-3.1-8b}\n"
	"  instances:\n"
	"    - {id: 142, name: my-llama, account: demo, price: small,\n"
	"       deployments: [{region: mv, pods: [gpu-1], base_path: /142}]}\n"
	"  keys:      [{name: demo, account: demo, plan: standard, surface: ecolink}]\n"
	"\n"
	"Tells what was made and what changed; with --json as {\"made\": [{\"noun\", \"name\"}],\n"
	"\"changed\": [{\"noun\", \"name\", \"members\": {MEMBER: [BEFORE, AFTER]}}], \"credited\":\n"
	"[{\"account\", \"amount_nano\"}], \"keys\": [{\"name\", \"account\", \"key\"}], \"unchanged\": N}.\n";

struct apply {
	struct client *client;
	const char *path;
	yyjson_mut_doc *told; /* for --json */
	yyjson_mut_val *made, *changed, *credited, *keys;
	size_t made_count, changed_count, credited_count, unchanged_count;
	bool json;
};

/* --- YAML -------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static bool
complain(const struct apply *a, struct fy_node *node, const char *format, ...)
{
	struct fy_token *token =
		node != NULL && fy_node_is_scalar(node) ? fy_node_get_scalar_token(node) : NULL;
	const struct fy_mark *mark = token != NULL ? fy_token_start_mark(token) : NULL;
	va_list arguments;

	if (mark != NULL)
		fprintf(stderr, "%s:%d:%d: error: ", a->path, mark->line + 1, mark->column + 1);
	else
		fprintf(stderr, "%s: error: ", a->path);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return false;
}

static bool
copy_scalar(const struct apply *a, struct fy_node *node, char *text, size_t size)
{
	size_t len = 0;
	const char *scalar = fy_node_is_scalar(node) ? fy_node_get_scalar(node, &len) : NULL;

	if (!fy_node_is_scalar(node) || len >= size)
		return complain(a, node, "a text of at most %zu bytes is expected here", size - 1);
	memcpy(text, scalar != NULL ? scalar : "", len);
	text[len] = '\0';
	return true;
}

/* A scalar as it is, a list with commas: the form that words take. */
static bool
copy_value(const struct apply *a, struct fy_node *node, char *text, size_t size)
{
	struct fy_node *element;
	void *cursor = NULL;
	size_t len = 0;

	if (!fy_node_is_sequence(node))
		return copy_scalar(a, node, text, size);
	text[0] = '\0';
	while ((element = fy_node_sequence_iterate(node, &cursor)) != NULL) {
		if (len > 0 && len + 1 < size)
			text[len++] = ',';
		if (!copy_scalar(a, element, text + len, size - len))
			return false;
		len += strlen(text + len);
	}
	return true;
}

static struct fy_node *
member(struct fy_node *mapping, const char *name)
{
	return fy_node_mapping_lookup_by_string(mapping, name, (size_t)-1);
}

/* What has a place in the file, of a mapping that has none itself; NULL: it is empty. */
static struct fy_node *
first_scalar(struct fy_node *mapping)
{
	void *cursor = NULL;
	struct fy_node_pair *pair = fy_node_mapping_iterate(mapping, &cursor);

	return pair != NULL ? fy_node_pair_key(pair) : NULL;
}

static bool
copy_member(const struct apply *a, struct fy_node *mapping, const char *name, char *text, size_t size)
{
	struct fy_node *node = member(mapping, name);

	if (node == NULL)
		return complain(a, first_scalar(mapping), "an entry has no \"%s\"", name);
	return copy_scalar(a, node, text, size);
}

/* --- objects ----------------------------------------------------------------------------- */

/* Members of an entry that are not the object's own. */
static bool
is_beside(const struct word_noun *noun, const char *name)
{
	if (strcmp(name, "deployments") == 0 || strcmp(name, "aliases") == 0)
		return strcmp(noun->name, "model") == 0 || strcmp(noun->name, "instance") == 0;
	if (strcmp(name, "balance") == 0)
		return strcmp(noun->name, "account") == 0;
	if (strcmp(name, "id") == 0)
		return strcmp(noun->name, "instance") == 0;
	return strcmp(name, "name") == 0;
}

static bool
complain_unknown(const struct apply *a, struct fy_node *node, const char *owner, const char *name,
		 const char *nearest)
{
	if (nearest == NULL)
		return complain(a, node, "%s has no \"%s\"", owner, name);
	return complain(a, node, "%s has no \"%s\"; did you mean \"%s\"?", owner, name, nearest);
}

static bool
add_member(const struct apply *a, const struct word_noun *noun, struct fy_node_pair *pair,
	   yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct fy_node *key = fy_node_pair_key(pair);
	char name[64], text[LIST_BYTES];
	const struct word *word;

	if (!copy_scalar(a, key, name, sizeof(name)))
		return false;
	word = word_find(noun, name);
	if (word == NULL)
		return is_beside(noun, name) || complain_unknown(a, key, noun->name, name,
								 help_nearest_word(noun, name));
	if (!copy_value(a, fy_node_pair_value(pair), text, sizeof(text)))
		return false;
	if (!word_add(word, text, doc, object))
		return complain(a, fy_node_pair_value(pair), "%s takes %s, not \"%s\"", name,
				word_kind_name(word), text);
	return true;
}

/* The entry as the API's object. NULL: complained. */
static yyjson_mut_doc *
make_object(const struct apply *a, const struct word_noun *noun, struct fy_node *entry)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	struct fy_node_pair *pair;
	void *cursor = NULL;

	yyjson_mut_doc_set_root(doc, object);
	if (!fy_node_is_mapping(entry)) {
		complain(a, entry, "an entry of %s is no mapping", noun->plural);
		yyjson_mut_doc_free(doc);
		return NULL;
	}
	while ((pair = fy_node_mapping_iterate(entry, &cursor)) != NULL) {
		if (!add_member(a, noun, pair, doc, object)) {
			yyjson_mut_doc_free(doc);
			return NULL;
		}
	}
	return doc;
}

/* --- what was done ----------------------------------------------------------------------- */

static yyjson_mut_val *
add_told(struct apply *a, yyjson_mut_val *list, const struct word_noun *noun, const char *name)
{
	yyjson_mut_val *object = yyjson_mut_arr_add_obj(a->told, list);

	yyjson_mut_obj_add_str(a->told, object, "noun", noun->name);
	yyjson_mut_obj_add_strcpy(a->told, object, "name", name);
	return object;
}

static void
tell_made(struct apply *a, const struct word_noun *noun, const char *name)
{
	a->made_count++;
	if (a->json)
		add_told(a, a->made, noun, name);
	else
		printf("made %s %s\n", noun->name, name);
}

/* {member: [before, after]} of what differs. */
static yyjson_mut_val *
find_differences(struct apply *a, yyjson_val *before, yyjson_val *after)
{
	yyjson_mut_val *all = yyjson_mut_obj(a->told);
	yyjson_val *name, *value;
	size_t at, count;

	yyjson_obj_foreach(after, at, count, name, value) {
		yyjson_val *was = yyjson_obj_get(before, yyjson_get_str(name));
		yyjson_mut_val *pair;

		if (was != NULL && yyjson_equals(was, value))
			continue;
		pair = yyjson_mut_obj_add_arr(a->told, all, yyjson_get_str(name));
		yyjson_mut_arr_append(pair, was != NULL ? yyjson_val_mut_copy(a->told, was) :
							  yyjson_mut_null(a->told));
		yyjson_mut_arr_append(pair, yyjson_val_mut_copy(a->told, value));
	}
	return all;
}

static void
tell_changed(struct apply *a, const struct word_noun *noun, const char *name, yyjson_val *before,
	     yyjson_val *after)
{
	yyjson_mut_val *members = find_differences(a, before, after);
	yyjson_doc *copy;

	if (yyjson_mut_obj_size(members) == 0) {
		a->unchanged_count++;
		return;
	}
	a->changed_count++;
	if (a->json) {
		yyjson_mut_obj_add_val(a->told, add_told(a, a->changed, noun, name), "members", members);
		return;
	}
	printf("changed %s %s: ", noun->name, name);
	copy = yyjson_mut_val_imut_copy(members, NULL);
	show_changes(yyjson_doc_get_root(copy), noun);
	yyjson_doc_free(copy);
	putchar('\n');
}

static void
tell_credited(struct apply *a, const char *account, int64_t nano)
{
	char dollars[MONEY_TEXT_BYTES];
	yyjson_mut_val *object;

	a->credited_count++;
	if (a->json) {
		object = yyjson_mut_arr_add_obj(a->told, a->credited);
		yyjson_mut_obj_add_strcpy(a->told, object, "account", account);
		yyjson_mut_obj_add_sint(a->told, object, "amount_nano", nano);
		return;
	}
	money_emit(nano, dollars);
	printf("credited account %s: %s dollars\n", account, dollars);
}

/* --- calls ------------------------------------------------------------------------------- */

static void
tell_not_applied(const struct apply *a, const struct word_noun *noun, const char *reference)
{
	fprintf(stderr, "sluicectl: %s %s of %s was not applied\n", noun->name, reference, a->path);
}

/* The answer, or NULL: said on stderr. */
static yyjson_doc *
post_object(const struct apply *a, const struct word_noun *noun, const char *name, yyjson_mut_doc *object)
{
	char *body = yyjson_mut_write(object, 0, NULL);
	yyjson_doc *answer = client_get(a->client, "POST", noun->plural, body);

	if (answer == NULL)
		tell_not_applied(a, noun, name);
	free(body);
	return answer;
}

/* What the object is before it is put; *before is NULL if it is not there. False: said on stderr. */
static bool
look_before(const struct apply *a, const char *path, yyjson_doc **before)
{
	struct client_answer answer;

	*before = NULL;
	if (!client_call(a->client, "GET", path, NULL, &answer))
		return false;
	if (answer.status == 200) {
		*before = answer.doc;
		return true;
	}
	if (answer.status != 404)
		client_tell_refusal(a->client, &answer);
	yyjson_doc_free(answer.doc);
	return answer.status == 404;
}

static bool
put_object(struct apply *a, const struct word_noun *noun, const char *reference, yyjson_mut_doc *object)
{
	char path[PATH_BYTES], *body = yyjson_mut_write(object, 0, NULL);
	yyjson_doc *before = NULL, *answer = NULL;

	if (client_path(a->client, path, sizeof(path), noun->plural, reference) && look_before(a, path, &before))
		answer = client_get(a->client, "PUT", path, body);
	if (answer == NULL)
		tell_not_applied(a, noun, reference);
	else if (before == NULL)
		tell_made(a, noun, reference);
	else
		tell_changed(a, noun, reference, yyjson_doc_get_root(before), yyjson_doc_get_root(answer));
	free(body);
	yyjson_doc_free(before);
	yyjson_doc_free(answer);
	return answer != NULL;
}

/* --- what entries carry beside their members --------------------------------------------- */

/* The opening balance: a reference of its own makes the second time harmless. */
static char *
make_credit(const char *account, int64_t nano)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	char reference[TEXT_BYTES + 32], *body;

	snprintf(reference, sizeof(reference), "opening balance of %s", account);
	yyjson_mut_doc_set_root(doc, root);
	yyjson_mut_obj_add_sint(doc, root, "amount_nano", nano);
	yyjson_mut_obj_add_str(doc, root, "reference", reference);
	body = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	return body;
}

static bool
credit_once(struct apply *a, const char *account, struct fy_node *balance)
{
	char text[64], path[PATH_BYTES], *body;
	yyjson_doc *answer;
	int64_t nano;

	if (!copy_scalar(a, balance, text, sizeof(text)))
		return false;
	if (!money_parse(text, &nano))
		return complain(a, balance, "\"%s\" is no amount of dollars", text);
	if (nano == 0)
		return true;
	if (!client_path(a->client, path, sizeof(path) - 8, "accounts", account))
		return false;
	memcpy(path + strlen(path), "/top-up", 8);
	body = make_credit(account, nano);
	answer = client_get(a->client, "POST", path, body);
	free(body);
	if (answer != NULL && yyjson_get_bool(yyjson_obj_get(yyjson_doc_get_root(answer), "repeated")))
		a->unchanged_count++;
	else if (answer != NULL)
		tell_credited(a, account, nano);
	yyjson_doc_free(answer);
	return answer != NULL;
}

static bool
apply_deployment(struct apply *a, const char *target_kind, const char *target, size_t at,
		 struct fy_node *entry)
{
	const struct word_noun *noun = word_find_noun("deployment");
	char region[64], name[TEXT_BYTES];
	yyjson_mut_doc *object;
	bool done;

	if (!fy_node_is_mapping(entry))
		return complain(a, entry, "a deployment is no mapping");
	if (!copy_member(a, entry, "region", region, sizeof(region)))
		return false;
	snprintf(name, sizeof(name), "%s@%s", target, region);
	if (member(entry, "name") != NULL && !copy_member(a, entry, "name", name, sizeof(name)))
		return false;
	object = make_object(a, noun, entry);
	if (object == NULL)
		return false;
	word_add(word_find(noun, target_kind), target, object, yyjson_mut_doc_get_root(object));
	if (member(entry, "position") == NULL)
		yyjson_mut_obj_add_uint(object, yyjson_mut_doc_get_root(object), "position", at);
	done = put_object(a, noun, name, object);
	yyjson_mut_doc_free(object);
	return done;
}

static bool
apply_deployments(struct apply *a, const char *target_kind, const char *target,
		  struct fy_node *list)
{
	struct fy_node *entry;
	void *cursor = NULL;

	for (size_t at = 0; (entry = fy_node_sequence_iterate(list, &cursor)) != NULL; at++)
		if (!apply_deployment(a, target_kind, target, at, entry))
			return false;
	return true;
}

static bool
apply_aliases(struct apply *a, const char *model, struct fy_node *list)
{
	const struct word_noun *noun = word_find_noun("alias");
	struct fy_node *element;
	void *cursor = NULL;

	while ((element = fy_node_sequence_iterate(list, &cursor)) != NULL) {
		yyjson_mut_doc *object = yyjson_mut_doc_new(NULL);
		char name[TEXT_BYTES];
		bool done;

		yyjson_mut_doc_set_root(object, yyjson_mut_obj(object));
		yyjson_mut_obj_add_str(object, yyjson_mut_doc_get_root(object), "model", model);
		done = copy_scalar(a, element, name, sizeof(name)) &&
		       put_object(a, noun, name, object);
		yyjson_mut_doc_free(object);
		if (!done)
			return false;
	}
	return true;
}

/* --- entries ----------------------------------------------------------------------------- */

/* Whether the account has a key of this name: 1, 0, or -1 after a complaint. */
static int
has_key(const struct apply *a, const char *account, const char *name)
{
	char path[PATH_BYTES] = "keys";
	yyjson_doc *answer;
	int found;

	if (!client_add_query(a->client, path, sizeof(path), "account", account) ||
	    !client_add_query(a->client, path, sizeof(path), "name", name))
		return -1;
	answer = client_get(a->client, "GET", path, NULL);
	if (answer == NULL)
		return -1;
	found = yyjson_arr_size(yyjson_obj_get(yyjson_doc_get_root(answer), "data")) > 0;
	yyjson_doc_free(answer);
	return found;
}

static void
tell_key(struct apply *a, const char *name, const char *account, const char *key)
{
	yyjson_mut_val *object;

	a->made_count++;
	if (!a->json) {
		printf("key %s of account %s: %s\n", name, account, key);
		return;
	}
	object = yyjson_mut_arr_add_obj(a->told, a->keys);
	yyjson_mut_obj_add_strcpy(a->told, object, "name", name);
	yyjson_mut_obj_add_strcpy(a->told, object, "account", account);
	yyjson_mut_obj_add_strcpy(a->told, object, "key", key);
}

static bool
apply_key(struct apply *a, const struct word_noun *noun, struct fy_node *entry, const char *name)
{
	char account[TEXT_BYTES];
	yyjson_mut_doc *object;
	yyjson_doc *answer;
	int found;

	if (!copy_member(a, entry, "account", account, sizeof(account)))
		return false;
	found = has_key(a, account, name);
	if (found != 0) {
		a->unchanged_count += found > 0;
		return found > 0;
	}
	object = make_object(a, noun, entry);
	if (object == NULL)
		return false;
	answer = post_object(a, noun, name, object);
	yyjson_mut_doc_free(object);
	if (answer == NULL)
		return false;
	tell_key(a, name, account,
		 yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(answer), "key")));
	yyjson_doc_free(answer);
	return true;
}

static bool
apply_beside(struct apply *a, const struct word_noun *noun, struct fy_node *entry,
	     const char *reference)
{
	struct fy_node *balance = member(entry, "balance");
	struct fy_node *aliases = member(entry, "aliases");
	struct fy_node *deployments = member(entry, "deployments");

	if (balance != NULL && !credit_once(a, reference, balance))
		return false;
	if (aliases != NULL && !apply_aliases(a, reference, aliases))
		return false;
	return deployments == NULL || apply_deployments(a, noun->name, reference, deployments);
}

static bool
apply_entry(struct apply *a, const struct word_noun *noun, struct fy_node *entry)
{
	bool is_instance = strcmp(noun->name, "instance") == 0, done;
	char reference[TEXT_BYTES];
	yyjson_mut_doc *object;

	if (!fy_node_is_mapping(entry))
		return complain(a, entry, "an entry of %s is no mapping", noun->plural);
	if (!copy_member(a, entry, is_instance ? "id" : "name", reference, sizeof(reference)))
		return false;
	if (strcmp(noun->name, "key") == 0)
		return apply_key(a, noun, entry, reference);
	object = make_object(a, noun, entry);
	if (object == NULL)
		return false;
	done = put_object(a, noun, reference, object);
	yyjson_mut_doc_free(object);
	return done && apply_beside(a, noun, entry, reference);
}

static bool
apply_noun(struct apply *a, const struct word_noun *noun, struct fy_node *list)
{
	struct fy_node *entry;
	void *cursor = NULL;

	if (!fy_node_is_sequence(list))
		return complain(a, list, "%s is no list", noun->plural);
	while ((entry = fy_node_sequence_iterate(list, &cursor)) != NULL)
		if (!apply_entry(a, noun, entry))
			return false;
	return true;
}

static bool
knows_every_section(const struct apply *a, struct fy_node *root)
{
	struct fy_node_pair *pair;
	void *cursor = NULL;
	char name[64];

	while ((pair = fy_node_mapping_iterate(root, &cursor)) != NULL) {
		const struct word_noun *noun;

		if (!copy_scalar(a, fy_node_pair_key(pair), name, sizeof(name)))
			return false;
		noun = word_find_noun(name);
		if (noun == NULL || strcmp(noun->plural, name) != 0)
			return complain_unknown(a, fy_node_pair_key(pair), "a catalogue", name,
						help_nearest_plural(name));
	}
	return true;
}

static bool
apply_document(struct apply *a, struct fy_node *root)
{
	if (root == NULL || !fy_node_is_mapping(root))
		return complain(a, root, "the catalogue is no mapping");
	if (!knows_every_section(a, root))
		return false;
	for (const struct word_noun *noun = word_nouns; noun->name != NULL; noun++) {
		struct fy_node *list = member(root, noun->plural);

		if (list != NULL && !apply_noun(a, noun, list))
			return false;
	}
	return true;
}

static void
begin_telling(struct apply *a)
{
	yyjson_mut_val *root;

	a->told = yyjson_mut_doc_new(NULL);
	root = yyjson_mut_obj(a->told);
	yyjson_mut_doc_set_root(a->told, root);
	a->made = yyjson_mut_obj_add_arr(a->told, root, "made");
	a->changed = yyjson_mut_obj_add_arr(a->told, root, "changed");
	a->credited = yyjson_mut_obj_add_arr(a->told, root, "credited");
	a->keys = yyjson_mut_obj_add_arr(a->told, root, "keys");
}

/* What was done before a mistake stays done, and is told. */
static void
end_telling(struct apply *a, bool done)
{
	if (a->json) {
		char *text;

		yyjson_mut_obj_add_uint(a->told, yyjson_mut_doc_get_root(a->told), "unchanged",
					a->unchanged_count);
		text = yyjson_mut_write(a->told, YYJSON_WRITE_PRETTY, NULL);
		puts(text != NULL ? text : "");
		free(text);
	} else {
		printf("%s%zu made, %zu changed, %zu credited, %zu as they were\n", done ? "" : "stopped: ",
		       a->made_count, a->changed_count, a->credited_count, a->unchanged_count);
	}
	yyjson_mut_doc_free(a->told);
}

bool
apply_file(struct client *client, const char *path, bool json)
{
	struct apply a = { .client = client, .path = path, .json = json };
	struct fy_document *document;
	bool done;

	if (access(path, R_OK) != 0) {
		fprintf(stderr, "%s: error: cannot be opened: %s\n", path, strerror(errno));
		return false;
	}
	document = fy_document_build_from_file(NULL, path);
	if (document == NULL)
		return complain(&a, NULL, "cannot be read as YAML");
	begin_telling(&a);
	done = apply_document(&a, fy_document_root(document));
	end_telling(&a, done);
	fy_document_destroy(document);
	return done;
}
