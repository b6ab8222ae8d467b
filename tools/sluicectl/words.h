#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <yyjson.h>

/*
 * words: the nouns of the command line and what can be said of each, and how a said value becomes a
 * member of the API's object. The catalogue of `sluicectl apply` uses the same words.
 */
enum word_kind {
	WORD_TEXT,
	WORD_NUMBER,
	WORD_FLAG,   /* yes, no, true, false */
	WORD_LIST,   /* names with commas between */
	WORD_DOLLARS /* member is in nano-dollars */
};

struct word {
	const char *name;   /* --name on the command line, name: in a catalogue */
	const char *member; /* of the API's object */
	enum word_kind kind;
	const char *help;
};

struct word_noun {
	const char *name;
	const char *plural;
	const char *help;
	const struct word *words; /* ends with a NULL name */
};

extern const struct word_noun word_nouns[]; /* in order of dependency; ends with a NULL name */

/* By singular or plural; NULL: none. */
const struct word_noun *word_find_noun(const char *name);
const struct word *word_find(const struct word_noun *noun, const char *name);

/* Puts the member into object. False: the text is no such value. "none" is null for anything. */
bool word_add(const struct word *word, const char *text, yyjson_mut_doc *doc,
	      yyjson_mut_val *object);
