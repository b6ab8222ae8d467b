#include "help.h"

#include <string.h>

#include "command.h"
#include "config/value.h"

#define NAMES_MAX 64 /* of nouns and commands, or of one noun's words */

const char help_global_options[] = "--url --token --token-file --json --help";

const struct help_command help_commands[] = {
	{ "status", "", "  sluicectl status            dataplane, tables, pods, ledger\n" },
	{ "top", "--interval --count",
	  "  sluicectl top [--interval SECONDS] [--count N]\n"
	  "                  requests a second, of each worker, and the pods, renewed every 2 s\n" },
	{ "metrics", "",
	  "  sluicectl metrics [WORD]…   counters that have each WORD in their names (tcp, pressure,\n"
	  "                  TCP_SHED); without one, those that are not zero\n" },
	{ "usage", "--by --since --until --account --key --model --instance --pod --region --limit --after",
	  "  sluicectl usage [--by account|key|model|instance|region|pod|hour|request]\n"
	  "                  [--since 24h|UNIX-TIME] [--until 1h|UNIX-TIME] [--account NAME] [--key ID]\n"
	  "                  [--model NAME] [--instance ID] [--pod NAME] [--region NAME] [--limit N]\n"
	  "                  [--after NEXT]   sums of the ledger; costs are in dollars\n" },
	{ "audit", "--noun --name --subject --after --order --limit",
	  "  sluicectl audit [--noun NOUN] [--name NAME] [--subject ID] [--after ID] [--limit N]\n"
	  "                  who changed what, from what to what; the newest first\n" },
	{ "reconcile", "",
	  "  sluicectl reconcile         compares the workers' counters, the spool and the whole ledger;\n"
	  "                  exit code 1: they differ\n" },
	{ "tickets", "rotate revoke",
	  "  sluicectl tickets [rotate | revoke]   secrets of TLS session tickets: their times; a new one from\n"
	  "                  now on; or all tickets that are out are void\n" },
	{ "apply", "", "  sluicectl apply CATALOGUE.yaml   makes a whole catalogue true\n" },
	{ "openapi", "", "  sluicectl openapi           the admin API as an OpenAPI 3.1 document\n" },
	{ "config", "check diff reference",
	  "  sluicectl config check SLUICE.yaml\n"
	  "  sluicectl config reference [WORD]        every key, or those that have WORD in them\n"
	  "  sluicectl config diff [BEFORE] AFTER     what differs, from what runs without BEFORE, and\n"
	  "                  whether a reload takes it over; exit code 0: nothing, 1: something,\n"
	  "                  2: cannot say\n" },
	{ "reload", "--confirm-within --confirm --undo",
	  "  sluicectl reload [--confirm-within 60s]  both programs read sluice.yaml again; then\n"
	  "  sluicectl reload --confirm | --undo      in time, or what was before comes back\n" },
	{ "completion", "bash",
	  "  sluicectl completion bash   for the shell: source <(sluicectl completion bash)\n" },
	{ 0 },
};

const struct help_verb help_verbs[] = {
	{ NULL, "list", false, "[--MEMBER VALUE]… [--limit N] [--after ID]", "all, or those that match" },
	{ NULL, "show", true, "REFERENCE", "one of them" },
	{ NULL, "add", false, "[NAME] --MEMBER VALUE…", "a new one" },
	{ NULL, "set", true, "REFERENCE --MEMBER VALUE…", "change it" },
	{ NULL, "rm", true, "REFERENCE", "delete it; refused while something refers to it" },
	{ "account", "top-up", true, "NAME DOLLARS [--reference TEXT]",
	  "adds to the balance; a reference (an invoice number) makes repeating it harmless" },
	{ "account", "suspend", true, "NAME", "its keys are refused" },
	{ "account", "resume", true, "NAME", "they are let in again" },
	{ "instance", "start", true, "ID", "it is served" },
	{ "instance", "stop", true, "ID", "it is not, until it is started" },
	{ "key", "rotate", true, "ID [--grace 1h]",
	  "a new text; the old one ends at once, or after the grace as a key of its own" },
	{ "key", "revoke", true, "ID", "ends it at once" },
	{ "pod", "drain", true, "NAME", "no new requests; running ones finish" },
	{ "pod", "maint", true, "NAME", "no requests at all, running ones end now; no probes" },
	{ "pod", "ready", true, "NAME", "back to work" },
	{ 0 },
};

const struct help_command *
help_find(const char *name)
{
	for (const struct help_command *h = help_commands; h->name != NULL; h++)
		if (strcmp(h->name, name) == 0)
			return h;
	return NULL;
}

bool
help_has_option(const struct help_command *command, const char *option)
{
	size_t len = strlen(option);

	for (const char *at = command->options; (at = strstr(at, option)) != NULL; at += len)
		if ((at[len] == ' ' || at[len] == '\0') && (at == command->options || at[-1] == ' '))
			return true;
	return false;
}

bool
help_has_verb(const struct word_noun *noun, const struct help_verb *verb)
{
	return verb->noun == NULL || strcmp(verb->noun, noun->name) == 0;
}

const struct help_verb *
help_find_verb(const struct word_noun *noun, const char *name)
{
	for (const struct help_verb *v = help_verbs; v->name != NULL; v++)
		if (help_has_verb(noun, v) && strcmp(v->name, name) == 0)
			return v;
	return NULL;
}

static const char where_from[] =
	"URL (http://127.0.0.1:9900, or unix:/PATH/OF/SOCKET) and token also come from\n"
	"SLUICE_ADMIN_URL and SLUICE_ADMIN_TOKEN. Exit codes: 0 fine, 1 failed, 2 wrong use.\n"
	"Money is in dollars; with --json in nano-dollars, as the members' names say (_nano).\n";

void
help_print(FILE *to)
{
	fputs("Usage: sluicectl [--url URL] [--token TOKEN | --token-file FILE] [--json] COMMAND…\n\n", to);
	for (const struct help_command *h = help_commands; h->name != NULL; h++)
		fputs(h->usage, to);
	fputs("\n", to);
	for (const struct help_verb *v = help_verbs; v->name != NULL; v++)
		if (v->noun == NULL)
			fprintf(to, "  sluicectl NOUN %s %s\n", v->name, v->usage);
	fputs("  sluicectl NOUN --help | COMMAND --help | --help | --version\n\nNouns:\n", to);
	for (const struct word_noun *n = word_nouns; n->name != NULL; n++)
		fprintf(to, "  %-12s %s\n", n->name, n->help);
	fprintf(to, "\n%s", where_from);
}

void
help_print_command(FILE *to, const struct help_command *command)
{
	fprintf(to, "Usage:\n%s\n%s", command->usage, where_from);
}

static void
print_verb(FILE *to, const struct word_noun *noun, const struct help_verb *verb)
{
	static const char reference[] = "REFERENCE";
	bool has_it = strncmp(verb->usage, reference, strlen(reference)) == 0;

	if (verb->noun == NULL && strcmp(verb->name, "add") == 0) {
		fprintf(to, "  sluicectl %s add%s", noun->name,
			word_has_name(noun) ? " NAME" : strcmp(noun->name, "instance") == 0 ? " [ID]" : "");
		for (const struct word *w = noun->words; w->name != NULL; w++)
			if (word_is_needed(noun, w))
				fprintf(to, " --%s …", w->name);
		fprintf(to, " [--MEMBER VALUE]…\n        %s\n", verb->help);
		return;
	}
	fprintf(to, "  sluicectl %s %s %s%s\n        %s\n", noun->name, verb->name,
		!has_it ? "" : word_has_name(noun) ? "NAME" : "ID",
		verb->usage + (has_it ? strlen(reference) : 0), verb->help);
}

static void
print_members(FILE *to, const struct word_noun *noun)
{
	if (noun->words[0].name != NULL)
		fputs("\nMembers:\n", to);
	for (const struct word *w = noun->words; w->name != NULL; w++)
		fprintf(to, "  --%-20s %s%s\n", w->name, word_is_needed(noun, w) ? "needed; " : "", w->help);
}

void
help_print_example(FILE *to, const struct word_noun *noun)
{
	fprintf(to, "for example: sluicectl %s add %s\n", noun->name, noun->example);
}

void
help_print_noun(FILE *to, const struct word_noun *noun)
{
	fprintf(to, "%s: %s\n\n", noun->name, noun->help);
	for (const struct help_verb *v = help_verbs; v->name != NULL; v++)
		if (help_has_verb(noun, v))
			print_verb(to, noun, v);
	print_members(to, noun);
	fputc('\n', to);
	help_print_example(to, noun);
}

void
help_print_verb(FILE *to, const struct word_noun *noun, const struct help_verb *verb)
{
	bool is_add = verb->noun == NULL && strcmp(verb->name, "add") == 0;
	bool is_set = verb->noun == NULL && strcmp(verb->name, "set") == 0;

	fputs("Usage:\n", to);
	print_verb(to, noun, verb);
	if (is_add || is_set)
		print_members(to, noun);
	if (is_add) {
		fputc('\n', to);
		help_print_example(to, noun);
	}
}

/* --- wrong words --------------------------------------------------------------------------- */

/* "account has no verb lst; did you mean list?", or without the question. */
static void
refuse(const char *what, const char *name, const char *const *names)
{
	const char *nearest = value_nearest(name, names);

	fprintf(stderr, "sluicectl: %s %s", what, name);
	if (nearest != NULL)
		fprintf(stderr, "; did you mean %s?", nearest);
}

int
help_refuse_command(const char *name)
{
	const char *names[NAMES_MAX + 1];
	size_t count = 0;

	for (const struct word_noun *n = word_nouns; n->name != NULL && count < NAMES_MAX; n++)
		names[count++] = n->name;
	for (const struct help_command *h = help_commands; h->name != NULL && count < NAMES_MAX; h++)
		names[count++] = h->name;
	names[count] = NULL;
	refuse("no such command:", name, names);
	fputs(" (see sluicectl --help)\n", stderr);
	return EXIT_WRONG_USE;
}

int
help_refuse_verb(const struct word_noun *noun, const char *name)
{
	const char *names[NAMES_MAX + 1];
	char what[64];
	size_t count = 0;

	for (const struct help_verb *v = help_verbs; v->name != NULL && count < NAMES_MAX; v++)
		if (help_has_verb(noun, v))
			names[count++] = v->name;
	names[count] = NULL;
	snprintf(what, sizeof(what), "%s has no verb", noun->name);
	refuse(what, name, names);
	fputs(" (", stderr);
	for (size_t i = 0; i < count; i++)
		fprintf(stderr, "%s%s", i > 0 ? ", " : "", names[i]);
	fprintf(stderr, "; see sluicectl %s --help)\n", noun->name);
	return EXIT_WRONG_USE;
}

const char *
help_nearest_word(const struct word_noun *noun, const char *name)
{
	const char *names[NAMES_MAX + 1];
	size_t count = 0;

	for (const struct word *w = noun->words; w->name != NULL && count < NAMES_MAX; w++)
		names[count++] = w->name;
	names[count] = NULL;
	return value_nearest(name, names);
}

const char *
help_nearest_plural(const char *name)
{
	const char *names[NAMES_MAX + 1];
	size_t count = 0;

	for (const struct word_noun *n = word_nouns; n->name != NULL && count < NAMES_MAX; n++)
		names[count++] = n->plural;
	names[count] = NULL;
	return value_nearest(name, names);
}

int
help_refuse_option(const struct word_noun *noun, const char *name)
{
	const char *nearest = help_nearest_word(noun, name);

	fprintf(stderr, "sluicectl: %s has no --%s", noun->name, name);
	if (nearest != NULL)
		fprintf(stderr, "; did you mean --%s?", nearest);
	fprintf(stderr, " (see sluicectl %s --help)\n", noun->name);
	return EXIT_WRONG_USE;
}
