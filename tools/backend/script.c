/* Words with values, by the table of script.def. */
#include "script.h"

#include <inttypes.h>
#include <stdio.h>

enum kind { NUMBER, TIME, FLAG };

struct word {
	const char *name;
	enum kind kind;
	size_t offset;
	uint64_t preset;
	uint64_t least;
	uint64_t most;
	const char *meaning;
};

static const struct word words[] = {
#define SCRIPT(field, kind, preset, least, most, meaning) \
	{ #field, kind, offsetof(struct script, field), preset, least, most, meaning },
#include "script.def"
#undef SCRIPT
};

static uint64_t *
value_of(struct script *script, const struct word *word)
{
	return (uint64_t *)(void *)((uint8_t *)script + word->offset);
}

void
script_init(struct script *script)
{
	for (size_t i = 0; i < COUNT_OF(words); i++)
		*value_of(script, &words[i]) = words[i].preset;
}

static const struct word *
find(struct bytes name)
{
	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (bytes_equal(name, bytes_from_text(words[i].name)))
			return &words[i];
	return NULL;
}

static bool
unit_ns(struct bytes unit, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = { { "ns", 1 }, { "us", NSEC_PER_USEC }, { "ms", NSEC_PER_MSEC },
		      { "s", NSEC_PER_SEC } };

	for (size_t i = 0; i < COUNT_OF(units); i++)
		if (bytes_equal(unit, bytes_from_text(units[i].name))) {
			*ns = units[i].ns;
			return true;
		}
	return false;
}

static bool
parse_value(const struct word *word, struct bytes text, uint64_t *value)
{
	uint64_t number = 0, unit = 1;
	size_t i = 0;

	for (; i < text.len && text.ptr[i] >= '0' && text.ptr[i] <= '9'; i++)
		if (__builtin_mul_overflow(number, 10u, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(text.ptr[i] - '0'), &number))
			return false;
	if (i == 0)
		return false;
	if (word->kind == TIME) {
		if (!unit_ns(bytes_after(text, i), &unit))
			return false;
	} else if (i != text.len) {
		return false;
	}
	if (__builtin_mul_overflow(number, unit, &number))
		return false;
	if (number < word->least || number > word->most)
		return false;
	*value = number;
	return true;
}

static bool
parse_word(struct script *script, struct bytes text)
{
	const uint8_t *equals = memchr(text.ptr, '=', text.len);
	size_t name_len = equals ? (size_t)(equals - text.ptr) : text.len;
	const struct word *word = find(bytes_make(text.ptr, name_len));

	if (!word)
		return false;
	if (!equals) {
		if (word->kind != FLAG)
			return false;
		*value_of(script, word) = 1;
		return true;
	}
	return parse_value(word, bytes_after(text, name_len + 1), value_of(script, word));
}

static bool
is_between_words(uint8_t c)
{
	return c == ' ' || c == ',' || c == '\t' || c == '\n';
}

bool
script_parse(struct script *script, struct bytes text, struct bytes *wrong)
{
	struct script next = *script;

	while (text.len) {
		size_t len = 0;

		while (len < text.len && !is_between_words(text.ptr[len]))
			len++;
		if (len && !parse_word(&next, bytes_make(text.ptr, len))) {
			*wrong = bytes_make(text.ptr, len);
			return false;
		}
		bytes_advance(&text, len < text.len ? len + 1 : len);
	}
	*script = next;
	return true;
}

bool
script_find(struct bytes message, struct bytes *text)
{
	static const char opening[] = "[[sim ";
	const uint8_t *from, *to;

	if (!message.len)
		return false;
	from = memmem(message.ptr, message.len, opening, sizeof(opening) - 1);
	if (!from)
		return false;
	from += sizeof(opening) - 1;
	to = memmem(from, (size_t)(message.ptr + message.len - from), "]]", 2);
	if (!to)
		return false;
	*text = bytes_make(from, (size_t)(to - from));
	return true;
}

void
script_help(void)
{
	static const char *const value_name[] = { [NUMBER] = "=N", [TIME] = "=TIME", [FLAG] = "" };

	for (size_t i = 0; i < COUNT_OF(words); i++) {
		const struct word *word = &words[i];
		char name[40];

		snprintf(name, sizeof(name), "%s%s", word->name, value_name[word->kind]);
		printf("  %-22s %s", name, word->meaning);
		if (word->kind == NUMBER && word->preset != SCRIPT_NONE)
			printf(" (%" PRIu64 ")", word->preset);
		printf("\n");
	}
}
