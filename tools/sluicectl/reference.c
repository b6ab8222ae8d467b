/* The reference of sluice.yaml, narrowed: of each key that fits, the sections above it. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "command.h"
#include "config/config.h"

#define DEPTH_MAX 8
#define LINE_BYTES 1024
#define INDENT 4

struct narrowing {
	const char *word; /* NULL: everything */
	char above[DEPTH_MAX][LINE_BYTES]; /* the key's line of each depth */
	bool is_printed[DEPTH_MAX];
	bool is_inside[DEPTH_MAX]; /* it, or one above it, is called by the word */
	size_t depth;
	bool any;
};

static bool
has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (; *text != '\0'; text++)
		if (strncasecmp(text, word, len) == 0)
			return true;
	return false;
}

/* Prints the key's line, and what stands above it, once. */
static void
print_above(struct narrowing *n)
{
	for (size_t i = 0; i <= n->depth; i++) {
		if (!n->is_printed[i])
			puts(n->above[i]);
		n->is_printed[i] = true;
	}
	n->any = true;
}

/* Lines come in pairs: the key with its facts, and "# what it means" behind it. */
static void
take_line(void *owner, const char *text)
{
	struct narrowing *n = owner;
	size_t blanks = strspn(text, " ");

	if (n->word == NULL) {
		puts(text);
		return;
	}
	if (text[blanks] == '#') {
		if (n->is_inside[n->depth] || has_word(text, n->word) || has_word(n->above[n->depth], n->word)) {
			print_above(n);
			puts(text);
		}
		return;
	}
	n->depth = blanks / INDENT < DEPTH_MAX ? blanks / INDENT : DEPTH_MAX - 1;
	snprintf(n->above[n->depth], LINE_BYTES, "%s", text);
	n->is_printed[n->depth] = false;
	n->is_inside[n->depth] = (n->depth > 0 && n->is_inside[n->depth - 1]) || has_word(text, n->word);
}

int
reference_print(const char *word)
{
	static struct narrowing narrowing;
	const struct config_complaints to = { take_line, &narrowing };

	narrowing.word = word;
	config_print_reference(&to);
	if (word == NULL || narrowing.any)
		return EXIT_FINE;
	fprintf(stderr, "sluicectl: no key of sluice.yaml has \"%s\" in its name or meaning\n", word);
	return EXIT_FAILED;
}
