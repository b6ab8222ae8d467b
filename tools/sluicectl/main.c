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
#include "command.h"
#include "config/config.h"
#include "help.h"
#include "meter/money.h"
#include "settings.h"
#include "show.h"
#include "words.h"

#define PATH_BYTES COMMAND_PATH_BYTES
#define RECONCILE_TRIES_MAX 600 /* 100 ms each */

int
command_wrong_use(const char *why, const char *what)
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
			return command_wrong_use(value == NULL ? "no such option, or one without its value:" :
							 "no such option:",
					 argv[i]);
		} else if (c->count == COMMAND_WORDS_MAX) {
			return command_wrong_use("too many words", "");
		} else {
			c->words[c->count++] = argv[i];
		}
	}
	if (c->url == NULL)
		c->url = "http://127.0.0.1:9900";
	return -1;
}

/* The value of a flag that is not a member, such as --by; NULL: absent. */
const char *
command_flag(const struct command *c, int from, const char *name)
{
	for (int i = from; i + 1 < c->count; i++)
		if (strcmp(c->words[i], name) == 0)
			return c->words[i + 1];
	return NULL;
}

/* --- answers ----------------------------------------------------------------------------- */

int
command_finish(const struct command *c, yyjson_doc *answer, command_show *show, const struct word_noun *noun)
{
	if (answer == NULL)
		return EXIT_FAILED;
	if (c->json)
		show_json(answer);
	else
		show(yyjson_doc_get_root(answer), noun);
	yyjson_doc_free(answer);
	return EXIT_FINE;
}

static void
show_list(yyjson_val *root, const struct word_noun *noun)
{
	const char *next = yyjson_get_str(yyjson_obj_get(root, "next"));

	show_table(yyjson_obj_get(root, "data"), noun);
	if (next != NULL)
		printf("(there are more: --after %s)\n", next);
}

/* --- other commands ---------------------------------------------------------------------- */

bool
command_parse_span(const char *text, long long *seconds)
{
	char *end = NULL;
	long long value = strtoll(text, &end, 10);
	long long unit = *end == 's'   ? 1
			 : *end == 'm' ? 60
			 : *end == 'h' ? 3600
			 : *end == 'd' ? 86400
				       : 0;

	*seconds = value * unit;
	return end != text && value >= 0 && value <= UINT32_MAX && unit > 0 && end[1] == '\0';
}

/* A span ago, or a Unix time, as decimal Unix time. */
static bool
parse_since(const char *text, char unix_time[24])
{
	char *end = NULL;
	long long value = strtoll(text, &end, 10), span;

	if (command_parse_span(text, &span))
		value = (long long)time(NULL) - span;
	else if (end == text || *end != '\0' || value < 0)
		return false;
	snprintf(unix_time, 24, "%lld", value > 0 ? value : 0);
	return true;
}

static int
usage(struct command *c)
{
	char path[PATH_BYTES] = "usage", since[24];

	for (int i = 1; i < c->count; i += 2) {
		const char *name = c->words[i], *value = i + 1 < c->count ? c->words[i + 1] : NULL;

		if (strncmp(name, "--", 2) != 0)
			return command_wrong_use("unexpected word", name);
		if (!help_has_option(help_find("usage"), name))
			return command_wrong_use("usage has no", name);
		if (value == NULL)
			return command_wrong_use("a value is missing behind", name);
		if (strcmp(name, "--since") == 0 || strcmp(name, "--until") == 0) {
			if (!parse_since(value, since))
				return command_wrong_use("neither a span nor a time:", value);
			value = since;
		}
		if (!client_add_query(&c->client, path, sizeof(path), name + 2, value))
			return command_wrong_use("too long:", value);
	}
	return command_finish(c, client_get(&c->client, "GET", path, NULL), show_list, NULL);
}

/* The newest first, as long as nobody asks for pages. */
static int
audit(struct command *c)
{
	char path[PATH_BYTES] = "audit";
	const struct word_noun *noun; /* plurals are nouns, too */

	if (command_flag(c, 1, "--after") == NULL && command_flag(c, 1, "--order") == NULL &&
	    !client_add_query(&c->client, path, sizeof(path), "order", "newest"))
		return EXIT_FAILED;
	if (command_flag(c, 1, "--limit") == NULL &&
	    !client_add_query(&c->client, path, sizeof(path), "limit", "50"))
		return EXIT_FAILED;
	for (int i = 1; i < c->count; i += 2) {
		const char *name = c->words[i];

		if (!help_has_option(help_find("audit"), name))
			return command_wrong_use("a filter is --noun, --name, --subject, --order, --after or "
						 "--limit, and its value; not", name);
		if (i + 1 == c->count)
			return command_wrong_use("a value is missing behind", name);
		noun = strcmp(name, "--noun") == 0 ? word_find_noun(c->words[i + 1]) : NULL;
		if (!client_add_query(&c->client, path, sizeof(path), name + 2,
				      noun != NULL ? noun->name : c->words[i + 1]))
			return command_wrong_use("too long:", name);
	}
	return command_finish(c, client_get(&c->client, "GET", path, NULL), show_audit, NULL);
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
	char dollars[MONEY_TEXT_BYTES];
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
		money_emit((int64_t)number_of(answer, "/reconcile/difference_cost_nano"), dollars);
		printf("compared; they differ by %llu records, %s dollars, %llu tokens\n",
		       (unsigned long long)number_of(answer, "/reconcile/difference_records"), dollars,
		       (unsigned long long)number_of(answer, "/reconcile/difference_tokens"));
	}
	yyjson_doc_free(answer);
	return differences == 0 ? EXIT_FINE : EXIT_FAILED;
}

static int
tickets(struct command *c)
{
	const char *verb = c->count == 2 ? c->words[1] : "";
	char path[PATH_BYTES];

	if (c->count > 2 || (verb[0] != '\0' && !help_has_option(help_find("tickets"), verb)))
		return command_wrong_use("tickets, tickets rotate, or tickets revoke; not",
					 c->words[c->count - 1]);
	snprintf(path, sizeof(path), verb[0] != '\0' ? "tickets/%s" : "tickets", verb);
	return command_finish(c, client_get(&c->client, verb[0] != '\0' ? "POST" : "GET", path, NULL), show_list,
			      NULL);
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

	if ((c->count == 2 || c->count == 3) && strcmp(c->words[1], "reference") == 0)
		return reference_print(c->words[2]);
	if (c->count == 4 && strcmp(c->words[1], "diff") == 0)
		return settings_diff(c->words[2], c->words[3], c->json);
	if (c->count != 3 || strcmp(c->words[1], "check") != 0)
		return command_wrong_use("config check FILE, config diff [BEFORE] AFTER, "
					 "or config reference [WORD]", "");
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
		return command_wrong_use("reload, reload --confirm-within 60s, reload --confirm, "
					 "or reload --undo", "");
	return settings_reload(&c->client, within_ms, c->json);
}

static int
run(struct command *c)
{
	const char *first = c->words[0];
	const struct word_noun *noun = word_find_noun(first);

	if (noun != NULL)
		return object_run(c, noun);
	if (strcmp(first, "top") == 0)
		return top_run(c);
	if (strcmp(first, "metrics") == 0)
		return metrics(c);
	if (strcmp(first, "reload") == 0)
		return reload(c);
	if (strcmp(first, "config") == 0)
		return settings_diff_running(&c->client, c->words[2], c->json);
	if (strcmp(first, "status") == 0 && c->count > 1)
		return command_wrong_use("unexpected word", c->words[1]);
	if (strcmp(first, "status") == 0)
		return command_finish(c, client_get(&c->client, "GET", "status", NULL), show_status, NULL);
	if (strcmp(first, "openapi") == 0 && c->count == 1) {
		c->json = true;
		return command_finish(c, client_get(&c->client, "GET", "openapi.json", NULL), show_status, NULL);
	}
	if (strcmp(first, "usage") == 0)
		return usage(c);
	if (strcmp(first, "reconcile") == 0)
		return c->count == 1 ? reconcile(c) : command_wrong_use("unexpected word", c->words[1]);
	if (strcmp(first, "tickets") == 0)
		return tickets(c);
	if (strcmp(first, "audit") == 0)
		return audit(c);
	if (strcmp(first, "apply") == 0 && c->count != 2)
		return command_wrong_use("apply needs one FILE", "");
	if (strcmp(first, "apply") == 0)
		return apply_file(&c->client, c->words[1], c->json) ? EXIT_FINE : EXIT_FAILED;
	return help_refuse_command(first);
}

/* Of everything, or of the noun or command that was asked for. */
static int
print_help(const struct command *c)
{
	const struct word_noun *noun = c->count > 0 ? word_find_noun(c->words[0]) : NULL;
	const struct help_command *command = c->count > 0 ? help_find(c->words[0]) : NULL;

	const struct help_verb *verb = noun != NULL && c->count > 1 ? help_find_verb(noun, c->words[1]) : NULL;

	if (verb != NULL)
		help_print_verb(stdout, noun, verb);
	else if (noun != NULL)
		help_print_noun(stdout, noun);
	else if (c->count > 0 && strcmp(c->words[0], "apply") == 0)
		fputs(apply_help, stdout);
	else if (command != NULL)
		help_print_command(stdout, command);
	else
		help_print(c->help ? stdout : stderr);
	return c->help ? EXIT_FINE : EXIT_WRONG_USE;
}

int
main(int argc, char **argv)
{
	static struct command c;
	int code = parse(&c, argc, argv);

	if (code >= 0)
		return code;
	if (c.count == 0 || c.help)
		return print_help(&c);
	if (strcmp(c.words[0], "completion") == 0)
		return complete_run(&c);
	/* Of the configuration's commands one asks control. */
	if (strcmp(c.words[0], "config") == 0 && (c.count != 3 || strcmp(c.words[1], "diff") != 0))
		return config_command(&c);
	if (c.token == NULL || c.token[0] == '\0')
		return command_wrong_use("no token: give --token-file, or set", "SLUICE_ADMIN_TOKEN");
	curl_global_init(CURL_GLOBAL_DEFAULT);
	if (!client_init(&c.client, c.url, c.token))
		return command_wrong_use("the URL or the token is too long", "");
	code = run(&c);
	client_fini(&c.client);
	return code;
}
