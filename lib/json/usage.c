/*
 * Of an answer only two members of the top level matter: usage and choices. Strings are recognised, so that
 * nothing inside one can pass for a member; the rest of the grammar is the backend's affair.
 */
#include "json/scan.h"

#include "base/units.h"

enum usage_state {
	USAGE_BETWEEN, /* outside strings */
	USAGE_STRING,  /* a value's, or a key nobody reads */
	USAGE_STRING_ESCAPE,
	USAGE_KEY, /* a string that may be a key: at depth 1 or in usage */
	USAGE_KEY_ESCAPE,
	USAGE_NUMBER, /* of a counter */
};

enum usage_key { KEY_NONE, KEY_USAGE, KEY_CHOICES, KEY_PROMPT, KEY_COMPLETION, KEY_TOTAL };

/* Beyond it a double no longer counts in ones, and no answer is that long. */
#define USAGE_TOKENS_MAX (UINT64_C(1) << 53)

void
json_usage_init(struct json_usage_scan *s)
{
	*s = (struct json_usage_scan){ .state = USAGE_BETWEEN };
}

static enum usage_key
key_of(const struct json_usage_scan *s)
{
	static const struct {
		const char *text;
		enum usage_key key;
		bool in_usage;
	} known[] = {
		{ "usage", KEY_USAGE, false },
		{ "choices", KEY_CHOICES, false },
		{ "prompt_tokens", KEY_PROMPT, true },
		{ "completion_tokens", KEY_COMPLETION, true },
		{ "total_tokens", KEY_TOTAL, true },
		/* the names of /v1/responses */
		{ "input_tokens", KEY_PROMPT, true },
		{ "output_tokens", KEY_COMPLETION, true },
	};

	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (known[i].in_usage == s->in_usage &&
		    bytes_equal(bytes_make(s->key_text, s->key_len), bytes_from_text(known[i].text)))
			return known[i].key;
	return KEY_NONE;
}

static void
number_complete(struct json_usage_scan *s)
{
	struct json_usage *usage = &s->usage;

	s->state = USAGE_BETWEEN;
	if (s->number_is_odd || s->number > USAGE_TOKENS_MAX) {
		usage->suspect = true;
		return;
	}
	if (s->key == KEY_PROMPT) {
		usage->has_prompt = true;
		usage->prompt_tokens = s->number;
	} else if (s->key == KEY_COMPLETION) {
		usage->has_completion = true;
		usage->completion_tokens = s->number;
	} else {
		usage->has_total = true;
		usage->total_tokens = s->number;
	}
}

static bool
at_key_depth(const struct json_usage_scan *s)
{
	return s->depth == 1 || (s->depth == 2 && s->in_usage);
}

static void
opens(struct json_usage_scan *s, uint8_t c)
{
	if (s->depth == 1 && c == '{' && s->key == KEY_USAGE && !s->usage.present) {
		s->in_usage = true;
		s->usage.present = true;
		s->usage.member_start = s->key_start;
		s->usage.value_start = s->offset;
	}
	s->first_of_choices = s->depth == 1 && c == '[' && s->key == KEY_CHOICES;
	s->depth++;
	s->key = KEY_NONE;
}

static void
closes(struct json_usage_scan *s, uint8_t c)
{
	if (s->first_of_choices && c == ']')
		s->usage.choices_empty = true;
	s->first_of_choices = false;
	if (s->depth > 0)
		s->depth--;
	if (s->depth == 1) {
		if (s->in_usage)
			s->usage.value_end = s->offset + 1;
		s->in_usage = false;
	}
	s->key = KEY_NONE;
}

/* "usage":null, at the n. */
static void
is_null(struct json_usage_scan *s)
{
	s->usage.is_null = true;
	s->usage.member_start = s->key_start;
	s->usage.value_start = s->offset;
	s->usage.value_end = s->offset + 4;
}

static bool
counts(const struct json_usage_scan *s)
{
	return s->in_usage && s->depth == 2 && s->key >= KEY_PROMPT;
}

static void
between_octet(struct json_usage_scan *s, uint8_t c)
{
	if (c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ':')
		return;
	if (c == '{' || c == '[') {
		opens(s, c);
		return;
	}
	if (c == '}' || c == ']') {
		closes(s, c);
		return;
	}
	s->first_of_choices = false;
	if (c == ',') {
		s->key = KEY_NONE;
	} else if (c == '"') {
		s->state = at_key_depth(s) && s->key == KEY_NONE ? USAGE_KEY : USAGE_STRING;
		s->key_len = 0;
		s->key_start = s->offset;
	} else if (c == 'n' && s->depth == 1 && s->key == KEY_USAGE && !s->usage.is_null) {
		is_null(s);
	} else if (counts(s) && ((c >= '0' && c <= '9') || c == '-')) {
		s->state = USAGE_NUMBER;
		s->number_is_odd = c == '-';
		s->number = c == '-' ? 0 : (uint64_t)(c - '0');
	}
}

/* False: the byte behind the number is still to be read. */
static bool
number_octet(struct json_usage_scan *s, uint8_t c)
{
	if (c >= '0' && c <= '9') {
		if (s->number <= USAGE_TOKENS_MAX)
			s->number = s->number * 10 + (uint64_t)(c - '0');
		return true;
	}
	if (c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-') {
		s->number_is_odd = true;
		return true;
	}
	number_complete(s);
	return false;
}

static void
key_octet(struct json_usage_scan *s, uint8_t c)
{
	if (c == '"') {
		s->key = (uint8_t)key_of(s);
		s->state = USAGE_BETWEEN;
	} else if (c == '\\') {
		/* No backend escapes these names; a key with an escape is another one. */
		s->key_len = JSON_KEY_BYTES_MAX;
		s->state = USAGE_KEY_ESCAPE;
	} else if (s->key_len < JSON_KEY_BYTES_MAX) {
		s->key_text[s->key_len++] = (char)c;
	}
}

void
json_usage_feed(struct json_usage_scan *s, struct bytes piece)
{
	for (size_t i = 0; i < piece.len; i++, s->offset++) {
		uint8_t c = piece.ptr[i];

		switch ((enum usage_state)s->state) {
		case USAGE_NUMBER:
			if (number_octet(s, c))
				break;
			/* fallthrough */
		case USAGE_BETWEEN:
			between_octet(s, c);
			break;
		case USAGE_STRING:
			if (c == '"')
				s->state = USAGE_BETWEEN;
			else if (c == '\\')
				s->state = USAGE_STRING_ESCAPE;
			break;
		case USAGE_STRING_ESCAPE:
			s->state = USAGE_STRING;
			break;
		case USAGE_KEY:
			key_octet(s, c);
			break;
		case USAGE_KEY_ESCAPE:
			s->state = USAGE_KEY;
			break;
		}
	}
}
