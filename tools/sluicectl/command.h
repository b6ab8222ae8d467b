#pragma once

#include <stdbool.h>
#include <yyjson.h>

#include "client.h"
#include "words.h"

/* command: one command line without its global flags, and what all commands share. */

#define COMMAND_PATH_BYTES 1024
#define COMMAND_WORDS_MAX 64

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_WRONG_USE = 2 };

struct command {
	const char *words[COMMAND_WORDS_MAX];
	int count;
	const char *url;
	const char *token;
	char token_text[512];
	bool json;
	bool help;
	struct client client;
};

typedef void command_show(yyjson_val *root, const struct word_noun *noun);

/* Says why on stderr. Returns EXIT_WRONG_USE. */
int command_wrong_use(const char *why, const char *what);

/* The value of a flag that is not a member, such as --by; NULL: absent. */
const char *command_flag(const struct command *c, int from, const char *name);

/* Prints the answer and frees it; NULL: why there is none has been said. An exit code. */
int command_finish(const struct command *c, yyjson_doc *answer, command_show *show, const struct word_noun *noun);

/* "90s", "15m", "24h", "7d" as seconds. False: no span. */
bool command_parse_span(const char *text, long long *seconds);

/* The commands on nouns: object.c. An exit code. */
int object_run(struct command *c, const struct word_noun *noun);

/* A view that renews itself: top.c. */
int top_run(struct command *c);

/* For the shell's completion: complete.c. */
int complete_run(struct command *c);

/* What sluice.yaml may say, all of it or what has the word: reference.c. */
int reference_print(const char *word);
