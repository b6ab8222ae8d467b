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
	WORD_SECRET, /* a text that is shown once, or never */
	WORD_NUMBER,
	WORD_FLAG,   /* yes, no, true, false */
	WORD_LIST,   /* names with commas between */
	WORD_DOLLARS, /* member is in nano-dollars */
	WORD_TIME     /* "30d" from now, or a Unix time */
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
	const char *needs;   /* names of the words that a new one cannot be without, with spaces between */
	const char *example; /* behind "add": a new one, with all that it needs */
};

extern const struct word_noun word_nouns[]; /* in order of dependency; ends with a NULL name */

/* Whether a list can be narrowed by it. */
bool word_is_filter(const struct word *word);

/* By singular or plural; NULL: none. */
const struct word_noun *word_find_noun(const char *name);
const struct word *word_find(const struct word_noun *noun, const char *name);

/* What a value of the word is, for those who wrote another: "a whole number". */
const char *word_kind_name(const struct word *word);

/* Whether a new one must have it. */
bool word_is_needed(const struct word_noun *noun, const struct word *word);

/* The values of a member that has a few, with spaces between; NULL: it has any. */
const char *word_choices(const struct word_noun *noun, const struct word *word);

/* Of keys and instances only the id tells which; everything else has a unique name. */
bool word_has_name(const struct word_noun *noun);

/* How people are told a member: an amount by its option's name, without "_nano"; else as it is. */
void word_label(const struct word_noun *noun, const char *member, char *text, size_t size);

/* The text with every member of the noun replaced by its option: "input_nano_per_mtoken is missing" becomes
 * "--input is missing". */
void word_translate(const struct word_noun *noun, const char *text, char *result, size_t size);

/* What the API's query has for a value of the word. */
const char *word_query(const struct word *word, const char *text);

/* Puts the member into object. False: the text is no such value. "none" is null for anything. */
bool word_add(const struct word *word, const char *text, yyjson_mut_doc *doc,
	      yyjson_mut_val *object);
