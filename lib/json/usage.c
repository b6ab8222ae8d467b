/*
 * Of an answer only a few members of the top level matter: usage, choices, how long what was made is, how
 * many of it there are, and the id of a job; and, of an event of /v1/responses, its type and the usage of its
 * `response`.
 * Strings are recognised, so that nothing inside one can pass for a member; the rest of the grammar is the
 * backend's affair.
 */
#include "json/usage.h"

#include "base/units.h"

enum usage_state {
	USAGE_BETWEEN, /* outside strings */
	USAGE_STRING,  /* a value's, or a key nobody reads */
	USAGE_STRING_ESCAPE,
	USAGE_KEY, /* a string that may be a key: at depth 1 or in usage */
	USAGE_KEY_ESCAPE,
	USAGE_NUMBER, /* of a counter, or a length */
	USAGE_ID,     /* inside the id's string */
	USAGE_TYPE,   /* inside the type's */
	USAGE_NULL,   /* inside what may become null, the usage's value */
};

enum usage_key {
	KEY_NONE,
	KEY_USAGE,
	KEY_CHOICES,
	KEY_DATA,
	KEY_RESPONSE,
	KEY_TYPE,
	KEY_ID,
	KEY_LENGTH,
	KEY_PROMPT,
	KEY_COMPLETION,
	KEY_TOTAL
};

/* No answer is that long: what says so is a counter gone wrong. */
#define USAGE_TOKENS_MAX (UINT64_C(1) << 32)
/* A year: nothing that is made in one request lasts longer. */
#define LENGTH_SECONDS_MAX UINT64_C(31557600)

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
		{ "data", KEY_DATA, false },
		{ "response", KEY_RESPONSE, false },
		{ "type", KEY_TYPE, false },
		{ "id", KEY_ID, false },
		{ "duration", KEY_LENGTH, false },
		{ "seconds", KEY_LENGTH, false },
		{ "seconds", KEY_LENGTH, true },
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

/* What usage says of itself goes before what stands beside it. */
static void
length_complete(struct json_usage_scan *s)
{
	struct json_usage *usage = &s->usage;
	uint64_t milli = s->fraction_milli;

	for (uint8_t digits = s->fraction_digits > 0 ? s->fraction_digits - 1 : 0; digits < 3; digits++)
		milli *= 10;
	if (s->number_is_odd || s->number > LENGTH_SECONDS_MAX) {
		usage->suspect = true;
		return;
	}
	if ((usage->has_length && !s->in_usage) || (s->number_is_quoted && s->offset == s->key_start + 1))
		return;
	usage->has_length = true;
	usage->milliseconds = s->number * 1000 + milli;
}

static void
number_complete(struct json_usage_scan *s)
{
	struct json_usage *usage = &s->usage;

	s->state = USAGE_BETWEEN;
	if (s->key == KEY_LENGTH) {
		length_complete(s);
		return;
	}
	if (s->number_is_odd || s->fraction_digits > 0 || s->number > USAGE_TOKENS_MAX) {
		usage->suspect = true;
		usage->odd_prompt = usage->odd_prompt || s->key == KEY_PROMPT;
		usage->odd_completion = usage->odd_completion || s->key == KEY_COMPLETION;
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

/* Where the member `usage` is looked for. */
static uint32_t
usage_depth(const struct json_usage_scan *s)
{
	return s->in_response ? 2 : 1;
}

static bool
at_key_depth(const struct json_usage_scan *s)
{
	return s->depth == usage_depth(s) || (s->in_usage && s->depth == usage_depth(s) + 1);
}

/* The top level's own usage goes before the one of its `response`. */
static void
usage_opens(struct json_usage_scan *s)
{
	struct json_usage *usage = &s->usage;

	if (usage->present && (s->in_response || !s->usage_is_nested))
		return;
	s->in_usage = true;
	s->usage_is_nested = s->in_response;
	usage->present = true;
	usage->is_complete = false;
	usage->has_prompt = usage->has_completion = usage->has_total = false;
	usage->odd_prompt = usage->odd_completion = false;
	usage->prompt_tokens = usage->completion_tokens = usage->total_tokens = 0;
	if (s->in_response)
		return;
	usage->member_start = s->key_start;
	usage->value_start = s->offset;
	usage->value_end = 0;
}

static void
opens(struct json_usage_scan *s, uint8_t c)
{
	if (s->depth == usage_depth(s) && c == '{' && s->key == KEY_USAGE)
		usage_opens(s);
	s->first_of_choices = s->depth == 1 && c == '[' && s->key == KEY_CHOICES;
	if (s->depth == 1) {
		s->in_data = c == '[' && s->key == KEY_DATA;
		s->in_response = c == '{' && s->key == KEY_RESPONSE;
	}
	if (s->depth == 2 && c == '{' && s->in_data && s->usage.data_count < UINT32_MAX)
		s->usage.data_count++;
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
	if (s->in_usage && s->depth == usage_depth(s)) {
		s->in_usage = false;
		s->usage.is_complete = true;
		if (!s->in_response)
			s->usage.value_end = s->offset + 1;
	}
	if (s->depth == 1)
		s->in_response = false;
	s->key = KEY_NONE;
}

/* False: it is not null, and the byte is still to be read. A torn one is none: to the place where it would have
 * ended another event may reach. */
static bool
null_octet(struct json_usage_scan *s, uint8_t c)
{
	static const char null[] = "null";

	if (c != (uint8_t)null[s->key_len]) {
		s->state = USAGE_BETWEEN;
		return false;
	}
	if (++s->key_len == sizeof(null) - 1) {
		s->state = USAGE_BETWEEN;
		s->usage.is_null = true;
		s->usage.member_start = s->key_start;
		s->usage.value_end = s->offset + 1;
		s->usage.value_start = s->usage.value_end - s->key_len;
	}
	return true;
}

static bool
counts(const struct json_usage_scan *s)
{
	return (s->in_usage && s->depth == usage_depth(s) + 1 && s->key >= KEY_LENGTH) ||
	       (s->depth == 1 && s->key == KEY_LENGTH);
}

static void
number_begins(struct json_usage_scan *s, bool is_quoted)
{
	s->state = USAGE_NUMBER;
	s->number = 0;
	s->fraction_digits = 0;
	s->fraction_milli = 0;
	s->number_is_odd = false;
	s->number_is_quoted = is_quoted;
}

/* The quote of a string: a key, a value that matters, or one that does not. */
static void
quote(struct json_usage_scan *s)
{
	if (at_key_depth(s) && s->key == KEY_NONE) {
		s->state = USAGE_KEY;
		s->key_len = 0;
		s->key_start = s->offset;
	} else if (s->depth == 1 && s->key == KEY_LENGTH) {
		number_begins(s, true);
		s->key_start = s->offset;
	} else if (s->depth == 1 && s->key == KEY_ID && !s->usage.has_id) {
		s->state = USAGE_ID;
		s->usage.id_start = s->offset + 1;
		s->usage.id_len = 0;
	} else if (s->depth == 1 && s->key == KEY_TYPE) {
		s->state = USAGE_TYPE;
		s->key_len = 0;
	} else {
		s->state = USAGE_STRING;
	}
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
		quote(s);
	} else if (c == 'n' && s->depth == 1 && s->key == KEY_USAGE && !s->usage.is_null) {
		s->state = USAGE_NULL;
		s->key_len = 1;
	} else if (counts(s) && ((c >= '0' && c <= '9') || c == '-')) {
		number_begins(s, false);
		s->number_is_odd = c == '-';
		s->number = c == '-' ? 0 : (uint64_t)(c - '0');
	}
}

static void
fraction_digit(struct json_usage_scan *s, uint8_t c)
{
	if (s->fraction_digits > 3)
		return;
	s->fraction_milli = (uint16_t)(s->fraction_milli * 10 + (c - '0'));
	s->fraction_digits++;
}

/* False: the byte behind the number is still to be read. */
static bool
number_octet(struct json_usage_scan *s, uint8_t c)
{
	if (c >= '0' && c <= '9') {
		if (s->fraction_digits > 0)
			fraction_digit(s, c);
		else if (s->number <= USAGE_TOKENS_MAX)
			s->number = s->number * 10 + (uint64_t)(c - '0');
		return true;
	}
	if (c == '.' && s->fraction_digits == 0) {
		s->fraction_digits = 1;
		return true;
	}
	if (s->number_is_quoted && c != '"') {
		/* Words, or an escape: no length. Read on as the string that it is. */
		s->state = c == '\\' ? USAGE_STRING_ESCAPE : USAGE_STRING;
		return true;
	}
	if (c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-') {
		s->number_is_odd = true;
		return true;
	}
	number_complete(s);
	return s->number_is_quoted;
}

static void
id_octet(struct json_usage_scan *s, uint8_t c)
{
	struct json_usage *usage = &s->usage;

	if (c == '"') {
		s->state = USAGE_BETWEEN;
		usage->id_end = s->offset;
		usage->has_id = usage->id_len > 0;
	} else if (c == '\\' || usage->id_len == JSON_ID_BYTES_MAX) {
		s->state = c == '\\' ? USAGE_STRING_ESCAPE : USAGE_STRING;
	} else {
		usage->id[usage->id_len++] = (char)c;
	}
}

/* The last event of /v1/responses: nothing else says that a stream of it is whole. */
static bool
is_last_type(struct bytes type)
{
	return bytes_equal(type, BYTES_LITERAL("response.completed")) ||
	       bytes_equal(type, BYTES_LITERAL("response.incomplete")) ||
	       bytes_equal(type, BYTES_LITERAL("response.failed"));
}

static void
type_octet(struct json_usage_scan *s, uint8_t c)
{
	if (c == '"') {
		s->state = USAGE_BETWEEN;
		s->usage.is_last_event = is_last_type(bytes_make(s->key_text, s->key_len));
	} else if (c == '\\' || s->key_len == JSON_USAGE_KEY_BYTES_MAX) {
		s->state = c == '\\' ? USAGE_STRING_ESCAPE : USAGE_STRING;
	} else {
		s->key_text[s->key_len++] = (char)c;
	}
}

/* Bytes of a string up to the next one that may end it: most of an answer is the inside of strings. */
static size_t
string_run(struct bytes piece)
{
	const uint8_t *quote_at = memchr(piece.ptr, '"', piece.len);
	size_t n = quote_at != NULL ? (size_t)(quote_at - piece.ptr) : piece.len;
	const uint8_t *backslash = memchr(piece.ptr, '\\', n);

	return backslash != NULL ? (size_t)(backslash - piece.ptr) : n;
}

static void
key_octet(struct json_usage_scan *s, uint8_t c)
{
	if (c == '"') {
		s->key = (uint8_t)key_of(s);
		s->state = USAGE_BETWEEN;
	} else if (c == '\\') {
		/* No backend escapes these names; a key with an escape is another one. */
		s->key_len = JSON_USAGE_KEY_BYTES_MAX;
		s->state = USAGE_KEY_ESCAPE;
	} else if (s->key_len < JSON_USAGE_KEY_BYTES_MAX) {
		s->key_text[s->key_len++] = (char)c;
	}
}

void
json_usage_feed(struct json_usage_scan *s, struct bytes piece)
{
	for (size_t i = 0; i < piece.len; i++, s->offset++) {
		uint8_t c = piece.ptr[i];

		if (s->state == USAGE_STRING) {
			size_t n = string_run(bytes_after(piece, i));

			i += n;
			s->offset += n;
			if (i == piece.len)
				return;
			c = piece.ptr[i];
		}
		switch ((enum usage_state)s->state) {
		case USAGE_NUMBER:
			if (!number_octet(s, c))
				between_octet(s, c);
			break;
		case USAGE_NULL:
			if (!null_octet(s, c))
				between_octet(s, c);
			break;
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
		case USAGE_ID:
			id_octet(s, c);
			break;
		case USAGE_TYPE:
			type_octet(s, c);
			break;
		}
	}
}
