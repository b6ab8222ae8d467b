#pragma once

#include <stdio.h>

#include "words.h"

/* help: what can be typed; the help texts and the shell's completion are made from it. */

struct help_command {
	const char *name;
	const char *options; /* with spaces between: what may follow */
	const char *usage;   /* lines */
};

struct help_verb {
	const char *noun; /* NULL: of all nouns */
	const char *name;
	bool has_reference; /* a name or an id follows */
	const char *usage;  /* behind the verb */
	const char *help;
};

extern const struct help_command help_commands[]; /* ends with a NULL name */
extern const struct help_verb help_verbs[];       /* ends with a NULL name */
extern const char help_global_options[];

/* Whether the command has the option, which begins with --. */
bool help_has_option(const struct help_command *command, const char *option);

/* NULL: no such command. */
const struct help_command *help_find(const char *name);
bool help_has_verb(const struct word_noun *noun, const struct help_verb *verb);
const struct help_verb *help_find_verb(const struct word_noun *noun, const char *name);

void help_print(FILE *to);
void help_print_command(FILE *to, const struct help_command *command);
void help_print_noun(FILE *to, const struct word_noun *noun);
void help_print_verb(FILE *to, const struct word_noun *noun, const struct help_verb *verb);
/* The one that was probably meant; NULL: nothing is near. */
const char *help_nearest_word(const struct word_noun *noun, const char *name);
const char *help_nearest_plural(const char *name);

/* What was meant by a word that there is none of, on stderr. Return EXIT_WRONG_USE. */
int help_refuse_command(const char *name);
int help_refuse_verb(const struct word_noun *noun, const char *name);
int help_refuse_option(const struct word_noun *noun, const char *name);
void help_print_example(FILE *to, const struct word_noun *noun); /* of a new one, as a line */
