/* sluicectl: the operator's command line. Words in, one call of the admin API, an answer to read. */
#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "apply.h"
#include "client.h"
#include "config/config.h"
#include "money.h"
#include "settings.h"
#include "show.h"
#include "words.h"

#define PATH_BYTES 1024
#define WORDS_MAX 64
#define RECONCILE_TRIES_MAX 600 /* 100 ms each */

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_WRONG_USE = 2 };

struct command {
	const char *words[WORDS_MAX]; /* without the global flags */
	int count;
	const char *url;
	const char *token;
	char token_text[512];
	bool json;
	bool help;
	struct client client;
};

/* --- help -------------------------------------------------------------------------------- */

static void
print_usage(FILE *to)
{
	fputs("Usage: sluicectl [--url URL] [--token TOKEN | --token-file FILE] [--json] COMMAND…\n"
	      "\n"
	      "  sluicectl status\n"
	      "  sluicectl metrics [WORD]…   counters that have each WORD in their names (tcp, pressure,\n"
	      "                  TCP_SHED); without one, those that are not zero\n"
	      "  sluicectl usage [--by account|key|model|instance|region|pod|hour|request]\n"
	      "                  [--since 24h|UNIX-TIME] [--until 1h|UNIX-TIME] [--account NAME]\n"
	      "                  [--limit N]\n"
	      "  sluicectl reconcile         compares the workers' counters, the spool and the whole ledger;\n"
	      "                  exit code 1: they differ\n"
	      "  sluicectl apply CATALOGUE.yaml\n"
	      "  sluicectl audit [--noun NOUN] [--name NAME] [--subject ID] [--after ID] [--limit N]\n"
	      "                  who changed what, from what to what; the newest first\n"
	      "  sluicectl openapi           the admin API as an OpenAPI 3.1 document\n"
	      "  sluicectl config check SLUICE.yaml | config reference\n"
	      "  sluicectl config diff [BEFORE] AFTER     what differs, from what runs without BEFORE, and\n"
	      "                  whether a reload takes it over; exit code 0: nothing, 1: something,\n"
	      "                  2: cannot say\n"
	      "  sluicectl reload [--confirm-within 60s]  both programs read sluice.yaml again; then\n"
	      "  sluicectl reload --confirm | --undo      in time, or what was before comes back\n"
	      "\n"
	      "  sluicectl NOUN list [--account NAME]…   all, or those that match\n"
	      "  sluicectl NOUN show NAME\n"
	      "  sluicectl NOUN add [NAME] --MEMBER VALUE…  a new one\n"
	      "  sluicectl NOUN set NAME --MEMBER VALUE…    change it, or make it\n"
	      "  sluicectl NOUN rm NAME\n"
	      "  sluicectl NOUN --help\n"
	      "  sluicectl --help | --version\n"
	      "\n"
	      "Nouns:\n",
	      to);
	for (const struct word_noun *n = word_nouns; n->name != NULL; n++)
		fprintf(to, "  %-12s %s\n", n->name, n->help);
	fputs("\n"
	      "URL (http://127.0.0.1:9900, or unix:/PATH/OF/SOCKET) and token also come from\n"
	      "SLUICE_ADMIN_URL and SLUICE_ADMIN_TOKEN. Exit codes: 0 fine, 1 failed, 2 wrong use.\n",
	      to);
}

static void
print_noun_usage(FILE *to, const struct word_noun *noun)
{
	const char *reference = strcmp(noun->name, "key") == 0 || strcmp(noun->name, "instance") == 0
					? "ID"
					: "NAME";

	fprintf(to, "%s: %s\n\n", noun->name, noun->help);
	fprintf(to, "  sluicectl %s list | show %s | set %s … | rm %s\n", noun->name, reference,
		reference, reference);
	fprintf(to, "  sluicectl %s add %s…\n", noun->name,
		strcmp(noun->name, "key") == 0 ? "" : reference[0] == 'I' ? "[ID] " : "NAME ");
	if (strcmp(noun->name, "account") == 0)
		fputs("  sluicectl account top-up NAME DOLLARS [--reference TEXT]\n"
		      "      a reference (an invoice number) makes repeating it harmless\n",
		      to);
	if (strcmp(noun->name, "key") == 0)
		fputs("  sluicectl key rotate ID    a new text for it; the old one ends at once\n"
		      "  sluicectl key revoke ID\n",
		      to);
	if (strcmp(noun->name, "pod") == 0)
		fputs("  sluicectl pod drain NAME   no new requests; running ones finish\n"
		      "  sluicectl pod maint NAME   no requests at all, running ones end now; no probes\n"
		      "  sluicectl pod ready NAME\n",
		      to);
	if (noun->words[0].name != NULL)
		fputs("\nMembers:\n", to);
	for (const struct word *w = noun->words; w->name != NULL; w++)
		fprintf(to, "  --%-20s %s\n", w->name, w->help);
}

static int
wrong_use(const char *why, const char *what)
{
	fprintf(stderr, "sluicectl: %s%s%s (see sluicectl --help)\n", why, what[0] != '\0' ? " " : "",
		what);
	return EXIT_WRONG_USE;
}

/* --- arguments --------------------------------------------------------------------------- */

static bool
read_token_file(struct command *c, const char *path)
{
	FILE *file = fopen(path, "re");

	if (file == NULL || fgets(c->token_text, sizeof(c->token_text), file) == NULL) {
		fprintf(stderr, "sluicectl: %s: %s\n", path, file == NULL ? strerror(errno) : "is empty");
		if (file != NULL)
			fclose(file);
		return false;
	}
	fclose(file);
	c->token_text[strcspn(c->token_text, "\r\n")] = '\0';
	c->token = c->token_text;
	return true;
}

/* Takes the global flags out, wherever they stand. An exit code, or -1 to go on. */
static int
parse(struct command *c, int argc, char **argv)
{
	c->url = getenv("SLUICE_ADMIN_URL");
	c->token = getenv("SLUICE_ADMIN_TOKEN");
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--json") == 0) {
			c->json = true;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			c->help = true;
		} else if (c->count == 0 && strcmp(argv[i], "--version") == 0) {
			puts("sluicectl " SLUICE_VERSION);
			return EXIT_FINE;
		} else if (strcmp(argv[i], "--url") == 0 && value != NULL) {
			c->url = value;
			i++;
		} else if (strcmp(argv[i], "--token") == 0 && value != NULL) {
			c->token = value;
			i++;
		} else if (strcmp(argv[i], "--token-file") == 0 && value != NULL) {
			if (!read_token_file(c, value))
				return EXIT_FAILED;
			i++;
		} else if (c->count == 0 && argv[i][0] == '-') {
			return wrong_use(value == NULL ? "no such option, or one without its value:" :
							 "no such option:",
					 argv[i]);
		} else if (c->count == WORDS_MAX) {
			return wrong_use("too many words", "");
		} else {
			c->words[c->count++] = argv[i];
		}
	}
	if (c->url == NULL)
		c->url = "http://127.0.0.1:9900";
	return -1;
}

/* The value of a flag that is not a member, such as --by; NULL: absent. */
static const char *
flag(const struct command *c, int from, const char *name)
{
	for (int i = from; i + 1 < c->count; i++)
		if (strcmp(c->words[i], name) == 0)
			return c->words[i + 1];
	return NULL;
}

/* --- answers ----------------------------------------------------------------------------- */

static int
finish(const struct command *c, yyjson_doc *answer, void show(yyjson_val *root))
{
	if (answer == NULL)
		return EXIT_FAILED;
	if (c->json)
		show_json(answer);
	else
		show(yyjson_doc_get_root(answer));
	yyjson_doc_free(answer);
	return EXIT_FINE;
}

static void
show_list(yyjson_val *root)
{
	show_table(yyjson_obj_get(root, "data"));
	if (yyjson_get_bool(yyjson_obj_get(root, "has_more")))
		puts("(there are more)");
}

static void
show_deleted(yyjson_val *root)
{
	(void)root;
	puts("deleted");
}

/* --- verbs ------------------------------------------------------------------------------- */

static int
list(struct command *c, const struct word_noun *noun)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s", noun->plural);
	for (int i = 2; i < c->count; i += 2) {
		const char *name = c->words[i];

		if (strncmp(name, "--", 2) != 0 || i + 1 == c->count)
			return wrong_use("a filter is --MEMBER VALUE, not", name);
		if (!client_add_query(&c->client, path, sizeof(path), name + 2, c->words[i + 1]))
			return wrong_use("too long:", name);
	}
	return finish(c, client_get(&c->client, "GET", path, NULL), show_list);
}

/* Members from the words behind `from`. Exit code, or -1 to go on. */
static int
add_members(const struct command *c, const struct word_noun *noun, int from, yyjson_mut_doc *doc)
{
	for (int i = from; i < c->count; i += 2) {
		const char *name = c->words[i];
		const struct word *word;

		if (strncmp(name, "--", 2) != 0)
			return wrong_use("unexpected word", name);
		word = word_find(noun, name + 2);
		if (word == NULL) {
			fprintf(stderr, "sluicectl: %s has no %s\n\n", noun->name, name);
			print_noun_usage(stderr, noun);
			return EXIT_WRONG_USE;
		}
		if (i + 1 == c->count)
			return wrong_use("a value is missing behind", name);
		if (!word_add(word, c->words[i + 1], doc, yyjson_mut_doc_get_root(doc)))
			return wrong_use("not a value of that kind:", c->words[i + 1]);
	}
	return -1;
}

/* Sends the members to <plural> or <plural>/<reference>. */
static int
write_object(struct command *c, const struct word_noun *noun, const char *method,
	     const char *reference, int from)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	char path[PATH_BYTES], *body;
	yyjson_doc *answer;
	int code;

	yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
	code = add_members(c, noun, from, doc);
	if (code < 0) {
		snprintf(path, sizeof(path), "%s", noun->plural);
		if (reference != NULL && strcmp(method, "POST") == 0)
			yyjson_mut_obj_add_str(doc, yyjson_mut_doc_get_root(doc), "name", reference);
		else if (reference != NULL &&
			 !client_path(&c->client, path, sizeof(path), noun->plural, reference))
			code = wrong_use("too long:", reference);
	}
	if (code < 0) {
		body = yyjson_mut_write(doc, 0, NULL);
		answer = client_get(&c->client, method, path, body);
		free(body);
		code = finish(c, answer, show_object);
	}
	yyjson_mut_doc_free(doc);
	return code;
}

static int
add(struct command *c, const struct word_noun *noun)
{
	bool is_named = strcmp(noun->name, "key") != 0 && strcmp(noun->name, "instance") != 0;
	bool has_reference = c->count > 2 && strncmp(c->words[2], "--", 2) != 0;

	if (is_named && !has_reference)
		return wrong_use("a name is missing behind", "add");
	if (!is_named && has_reference && strcmp(noun->name, "key") == 0)
		return wrong_use("keys get their id by themselves; label it with", "--name");
	if (!is_named && has_reference) /* an instance whose number is given */
		return write_object(c, noun, "PUT", c->words[2], 3);
	return write_object(c, noun, "POST", has_reference ? c->words[2] : NULL,
			    has_reference ? 3 : 2);
}

/* A call on one object, without a body of members. */
static int
call_object(struct command *c, const struct word_noun *noun, const char *method,
	    const char *action, const char *body, void show(yyjson_val *root))
{
	char path[PATH_BYTES];
	size_t len;

	if (!client_path(&c->client, path, sizeof(path), noun->plural, c->words[2]))
		return wrong_use("too long:", c->words[2]);
	len = strlen(path);
	if ((size_t)snprintf(path + len, sizeof(path) - len, "%s", action) >= sizeof(path) - len)
		return wrong_use("too long:", c->words[2]);
	return finish(c, client_get(&c->client, method, path, body), show);
}

static int
top_up(struct command *c, const struct word_noun *noun)
{
	const char *reference = flag(c, 4, "--reference");
	yyjson_mut_doc *doc;
	int64_t nano;
	char *body;
	int code;

	if (c->count < 4 || !money_parse(c->words[3], &nano))
		return wrong_use("top-up needs an amount of dollars", "");
	if (c->count > 4 && (c->count > 6 || reference == NULL))
		return wrong_use("unexpected word", c->words[4]);
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

static int
run_noun(struct command *c, const struct word_noun *noun)
{
	const char *verb = c->count > 1 ? c->words[1] : "";
	bool is_account = strcmp(noun->name, "account") == 0;
	bool is_key = strcmp(noun->name, "key") == 0;
	bool is_pod = strcmp(noun->name, "pod") == 0;

	if (c->help || verb[0] == '\0') {
		print_noun_usage(c->help ? stdout : stderr, noun);
		return c->help ? EXIT_FINE : EXIT_WRONG_USE;
	}
	if (strcmp(verb, "list") == 0)
		return list(c, noun);
	if (strcmp(verb, "add") == 0)
		return add(c, noun);
	if (c->count < 3)
		return wrong_use("a name or id is missing behind", verb);
	if (strcmp(verb, "show") == 0)
		return call_object(c, noun, "GET", "", NULL, show_object);
	if (strcmp(verb, "set") == 0)
		return write_object(c, noun, "PUT", c->words[2], 3);
	if (strcmp(verb, "rm") == 0)
		return call_object(c, noun, "DELETE", "", NULL, show_deleted);
	if (is_account && strcmp(verb, "top-up") == 0)
		return top_up(c, noun);
	if (is_key && strcmp(verb, "rotate") == 0)
		return call_object(c, noun, "POST", "/rotate", "{}", show_object);
	if (is_key && strcmp(verb, "revoke") == 0)
		return call_object(c, noun, "POST", "/revoke", "{}", show_object);
	if (is_pod && (strcmp(verb, "drain") == 0 || strcmp(verb, "maint") == 0 ||
		       strcmp(verb, "ready") == 0)) {
		char body[64];

		snprintf(body, sizeof(body), "{\"state\":\"%s\"}", verb);
		return call_object(c, noun, "PUT", "", body, show_object);
	}
	return wrong_use("no such verb:", verb);
}

/* --- other commands ---------------------------------------------------------------------- */

/* "90s", "15m", "24h", "7d" ago, or a Unix time, as decimal Unix time. */
static bool
parse_since(const char *text, char unix_time[24])
{
	char *end = NULL;
	long long value = strtoll(text, &end, 10);
	long long unit = *end == 's'   ? 1
			 : *end == 'm' ? 60
			 : *end == 'h' ? 3600
			 : *end == 'd' ? 86400
				       : 0;

	if (end == text || value < 0 || (*end != '\0' && (unit == 0 || end[1] != '\0')))
		return false;
	if (unit > 0)
		value = (long long)time(NULL) - value * unit;
	snprintf(unix_time, 24, "%lld", value > 0 ? value : 0);
	return true;
}

static int
usage(struct command *c)
{
	char path[PATH_BYTES] = "usage", since[24];

	for (int i = 1; i < c->count; i += 2) {
		const char *name = c->words[i], *value = i + 1 < c->count ? c->words[i + 1] : NULL;

		if (strncmp(name, "--", 2) != 0 || value == NULL)
			return wrong_use(value == NULL ? "a value is missing behind" : "unexpected word", name);
		if (strcmp(name, "--since") == 0 || strcmp(name, "--until") == 0) {
			if (!parse_since(value, since))
				return wrong_use("neither a span nor a time:", value);
			value = since;
		} else if (strcmp(name, "--by") != 0 && strcmp(name, "--account") != 0 &&
			   strcmp(name, "--limit") != 0) {
			return wrong_use("usage has no", name);
		}
		if (!client_add_query(&c->client, path, sizeof(path), name + 2, value))
			return wrong_use("too long:", value);
	}
	return finish(c, client_get(&c->client, "GET", path, NULL), show_list);
}

/* The newest first, as long as nobody asks for pages. */
static int
audit(struct command *c)
{
	char path[PATH_BYTES] = "audit";

	if (flag(c, 1, "--after") == NULL && flag(c, 1, "--order") == NULL &&
	    !client_add_query(&c->client, path, sizeof(path), "order", "newest"))
		return EXIT_FAILED;
	if (flag(c, 1, "--limit") == NULL && !client_add_query(&c->client, path, sizeof(path), "limit", "50"))
		return EXIT_FAILED;
	for (int i = 1; i < c->count; i += 2) {
		const char *name = c->words[i];

		if (strncmp(name, "--", 2) != 0 || i + 1 == c->count)
			return wrong_use("a filter is --noun, --name, --subject, --after or --limit, and its "
					 "value; not", name);
		if (!client_add_query(&c->client, path, sizeof(path), name + 2, c->words[i + 1]))
			return wrong_use("too long:", name);
	}
	return finish(c, client_get(&c->client, "GET", path, NULL), show_audit);
}

static uint64_t
number_of(yyjson_doc *answer, const char *path)
{
	return yyjson_get_uint(yyjson_ptr_get(yyjson_doc_get_root(answer), path));
}

/* Asks for a round, and waits until it is over: a ledger that has records to take takes them first. */
static int
reconcile(struct command *c)
{
	static const struct timespec pause = { .tv_nsec = 100000000 };
	yyjson_doc *answer = client_get(&c->client, "POST", "reconcile", NULL);
	uint64_t rounds, differences;
	int tries = 0;

	if (answer == NULL)
		return EXIT_FAILED;
	rounds = number_of(answer, "/rounds");
	do {
		yyjson_doc_free(answer);
		nanosleep(&pause, NULL);
		answer = client_get(&c->client, "GET", "status", NULL);
		if (answer == NULL)
			return EXIT_FAILED;
	} while (number_of(answer, "/reconcile/rounds") == rounds && ++tries < RECONCILE_TRIES_MAX);
	differences = number_of(answer, "/reconcile/difference_records") |
		      number_of(answer, "/reconcile/difference_cost_nano") |
		      number_of(answer, "/reconcile/difference_tokens");
	if (number_of(answer, "/reconcile/rounds") == rounds) {
		fputs("sluicectl: not over yet; sluicectl status tells when\n", stderr);
		differences = 1;
	} else if (c->json) {
		char *text = yyjson_val_write(yyjson_ptr_get(yyjson_doc_get_root(answer), "/reconcile"),
					      YYJSON_WRITE_PRETTY, NULL);

		puts(text != NULL ? text : "");
		free(text);
	} else {
		printf("compared; they differ by %llu records, %llu nano-dollars, %llu tokens\n",
		       (unsigned long long)number_of(answer, "/reconcile/difference_records"),
		       (unsigned long long)number_of(answer, "/reconcile/difference_cost_nano"),
		       (unsigned long long)number_of(answer, "/reconcile/difference_tokens"));
	}
	yyjson_doc_free(answer);
	return differences == 0 ? EXIT_FINE : EXIT_FAILED;
}

static int
metrics(struct command *c)
{
	char *text = client_metrics(&c->client);
	bool any;

	if (text == NULL)
		return EXIT_FAILED;
	any = show_metrics(text, c->words + 1, c->count - 1, c->json);
	free(text);
	if (!any)
		fputs("sluicectl: no counter has that name\n", stderr);
	return any ? EXIT_FINE : EXIT_FAILED;
}

static void
print_line(void *owner, const char *text)
{
	fprintf(owner, "%s\n", text);
}

static int
config_command(const struct command *c)
{
	static struct config config;
	struct config_complaints complaints = { print_line, stderr };

	if (c->count == 2 && strcmp(c->words[1], "reference") == 0) {
		complaints.owner = stdout;
		config_print_reference(&complaints);
		return EXIT_FINE;
	}
	if (c->count == 4 && strcmp(c->words[1], "diff") == 0)
		return settings_diff(c->words[2], c->words[3], c->json);
	if (c->count != 3 || strcmp(c->words[1], "check") != 0)
		return wrong_use("config check FILE, config diff [BEFORE] AFTER, or config reference", "");
	if (config_load(&config, c->words[2], &complaints) != ERR_OK)
		return EXIT_FAILED;
	printf("%s: fine\n", c->words[2]);
	return EXIT_FINE;
}

/* "90s", "5m" or "1h" in milliseconds; 0: neither. */
static unsigned long long
parse_span_ms(const char *text)
{
	char *end = NULL;
	unsigned long long value = strtoull(text, &end, 10);
	unsigned long long unit = *end == 's' ? 1000 : *end == 'm' ? 60000 : *end == 'h' ? 3600000 : 0;

	return unit > 0 && end[1] == '\0' && value <= 3600 ? value * unit : 0;
}

static int
reload(struct command *c)
{
	unsigned long long within_ms = 0;

	if (c->count == 2 && (strcmp(c->words[1], "--confirm") == 0 || strcmp(c->words[1], "--undo") == 0))
		return settings_end_trial(&c->client, c->words[1] + 2, c->json);
	if (c->count == 3 && strcmp(c->words[1], "--confirm-within") == 0)
		within_ms = parse_span_ms(c->words[2]);
	if (c->count != 1 && within_ms == 0)
		return wrong_use("reload, reload --confirm-within 60s, reload --confirm, or reload --undo", "");
	return settings_reload(&c->client, within_ms, c->json);
}

static int
run(struct command *c)
{
	const char *first = c->words[0];
	const struct word_noun *noun = word_find_noun(first);

	if (noun != NULL)
		return run_noun(c, noun);
	if (strcmp(first, "metrics") == 0)
		return metrics(c);
	if (strcmp(first, "reload") == 0)
		return reload(c);
	if (strcmp(first, "config") == 0)
		return settings_diff_running(&c->client, c->words[2], c->json);
	if (strcmp(first, "status") == 0 && c->count > 1)
		return wrong_use("unexpected word", c->words[1]);
	if (strcmp(first, "status") == 0)
		return finish(c, client_get(&c->client, "GET", "status", NULL), show_status);
	if (strcmp(first, "openapi") == 0 && c->count == 1) {
		c->json = true;
		return finish(c, client_get(&c->client, "GET", "openapi.json", NULL), show_status);
	}
	if (strcmp(first, "usage") == 0)
		return usage(c);
	if (strcmp(first, "reconcile") == 0)
		return c->count == 1 ? reconcile(c) : wrong_use("unexpected word", c->words[1]);
	if (strcmp(first, "audit") == 0)
		return audit(c);
	if (strcmp(first, "apply") == 0 && c->count != 2)
		return wrong_use("apply needs one FILE", "");
	if (strcmp(first, "apply") == 0)
		return apply_file(&c->client, c->words[1], c->json) ? EXIT_FINE : EXIT_FAILED;
	return wrong_use("no such command:", first);
}

int
main(int argc, char **argv)
{
	static struct command c;
	int code = parse(&c, argc, argv);

	if (code >= 0)
		return code;
	if (c.count == 0 || (c.help && word_find_noun(c.words[0]) == NULL)) {
		if (c.help && c.count > 0 && strcmp(c.words[0], "apply") == 0)
			fputs(apply_help, stdout);
		else
			print_usage(c.help ? stdout : stderr);
		return c.help ? EXIT_FINE : EXIT_WRONG_USE;
	}
	if (c.help)
		return run(&c);
	/* Of the configuration's commands one asks control. */
	if (strcmp(c.words[0], "config") == 0 && (c.count != 3 || strcmp(c.words[1], "diff") != 0))
		return config_command(&c);
	if (c.token == NULL || c.token[0] == '\0')
		return wrong_use("no token: give --token-file, or set", "SLUICE_ADMIN_TOKEN");
	curl_global_init(CURL_GLOBAL_DEFAULT);
	if (!client_init(&c.client, c.url, c.token))
		return wrong_use("the URL or the token is too long", "");
	code = run(&c);
	client_fini(&c.client);
	return code;
}
