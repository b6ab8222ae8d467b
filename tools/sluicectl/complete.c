/* The candidates are made here, one a line, from the words before the cursor; the shell only asks. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "help.h"

#define NAMES_MAX "1000"
#define ASK_S 2 /* a shell that waits for a dead control is worse than one without names */

static const char bash_script[] =
	"# sluicectl completion for bash: nouns, verbs, options, and names from the admin API\n"
	"_sluicectl()\n"
	"{\n"
	"\tlocal cur=\"${COMP_WORDS[COMP_CWORD]}\" IFS=$'\\n'\n"
	"\tCOMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" completion words \\\n"
	"\t\t\"${COMP_WORDS[@]:1:COMP_CWORD-1}\" 2>/dev/null </dev/null)\" -- \"$cur\"))\n"
	"}\n"
	"complete -o default -F _sluicectl sluicectl\n";

/* Words with spaces between, one a line. */
static void
put_words(const char *words)
{
	while (*words != '\0') {
		size_t len = strcspn(words, " ");

		if (len > 0)
			printf("%.*s\n", (int)len, words);
		words += len + (words[len] == ' ');
	}
}

static void
put_nouns(const char *beside)
{
	for (const struct word_noun *n = word_nouns; n->name != NULL; n++)
		puts(n->name);
	put_words(beside);
}

static void
put_options(const struct word_noun *noun)
{
	for (const struct word *w = noun->words; w->name != NULL; w++)
		printf("--%s\n", w->name);
}

static void
put_filters(const struct word_noun *noun)
{
	for (const struct word *w = noun->words; w->name != NULL; w++)
		if (word_is_filter(w) && strcmp(w->name, "name") != 0)
			printf("--%s\n", w->name);
	put_words("--name --limit --after");
}

/* Of what has no name, the ids. Without an answer, nothing. */
static void
put_names(struct command *c, const struct word_noun *noun)
{
	char path[64];
	struct client_answer answer = { 0 };
	yyjson_val *row;
	size_t at, count;

	snprintf(path, sizeof(path), "%s?limit=" NAMES_MAX, noun->plural);
	if (c->token == NULL || !client_init(&c->client, c->url, c->token))
		return;
	c->client.timeout_s = ASK_S;
	if (client_call(&c->client, "GET", path, NULL, &answer)) {
		yyjson_arr_foreach(yyjson_ptr_get(yyjson_doc_get_root(answer.doc), "/data"), at, count, row) {
			const char *name = yyjson_get_str(yyjson_obj_get(row, "name"));

			if (word_has_name(noun))
				puts(name != NULL ? name : "");
			else
				printf("%lld\n", (long long)yyjson_get_sint(yyjson_obj_get(row, "id")));
		}
		yyjson_doc_free(answer.doc);
	}
	client_fini(&c->client);
}

/* What may follow "--option". */
static void
put_values(struct command *c, const struct word_noun *noun, const char *option)
{
	const struct word *word = word_find(noun, option);
	const struct word_noun *target = word_find_noun(option);

	if (word != NULL && word_choices(noun, word) != NULL)
		put_words(word_choices(noun, word));
	else if (target != NULL)
		put_names(c, target);
}

/* words[0] is the noun. */
static void
complete_noun(struct command *c, const struct word_noun *noun, const char *const *words, int count)
{
	const struct help_verb *verb = count > 1 ? help_find_verb(noun, words[1]) : NULL;

	if (count == 1) {
		for (const struct help_verb *v = help_verbs; v->name != NULL; v++)
			if (help_has_verb(noun, v))
				puts(v->name);
		return;
	}
	if (verb == NULL)
		return;
	if (verb->has_reference && count == 2)
		put_names(c, noun);
	else if (strncmp(words[count - 1], "--", 2) == 0)
		put_values(c, noun, words[count - 1] + 2);
	else if (strcmp(verb->name, "list") == 0)
		put_filters(noun);
	else if (verb->noun == NULL && strcmp(verb->name, "show") != 0 && strcmp(verb->name, "rm") != 0)
		put_options(noun);
}

static void
complete_command(struct command *c, const struct help_command *command, const char *last)
{
	const struct word_noun *noun = strncmp(last, "--", 2) == 0 ? word_find_noun(last + 2) : NULL;

	if (noun != NULL)
		put_names(c, noun);
	else if (strcmp(last, "--by") == 0)
		put_words("account key model instance region pod hour request");
	else if (strcmp(last, "--noun") == 0)
		put_nouns("settings");
	else
		put_words(command->options);
}

int
complete_run(struct command *c)
{
	const char *const *words = c->words + 2;
	int count = c->count - 2;
	const struct word_noun *noun;
	const struct help_command *command;

	if (c->count == 2 && strcmp(c->words[1], "bash") == 0) {
		fputs(bash_script, stdout);
		return EXIT_FINE;
	}
	if (c->count < 2 || strcmp(c->words[1], "words") != 0)
		return command_wrong_use("completion bash", "");
	noun = count > 0 ? word_find_noun(words[0]) : NULL;
	command = count > 0 ? help_find(words[0]) : NULL;
	if (noun != NULL) {
		complete_noun(c, noun, words, count);
	} else if (command != NULL) {
		complete_command(c, command, words[count - 1]);
	} else if (count == 0) {
		put_nouns("");
		for (const struct help_command *h = help_commands; h->name != NULL; h++)
			puts(h->name);
		put_words(help_global_options);
	}
	return EXIT_FINE;
}
