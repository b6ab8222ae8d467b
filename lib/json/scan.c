/*
 * One pass, byte by byte, with all that is known kept in the struct: so the cut of the input cannot matter.
 * The inside of strings that nobody reads, which is nearly everything, is skipped eight bytes at a time.
 *
 * Three layers: the lexeme (string, number, literal), the grammar (what may come next), and the fields
 * (what the value means to a router).
 */
#include "json/scan.h"

#include "base/check.h"

enum expect {
	EXPECT_VALUE,
	EXPECT_VALUE_OR_END, /* behind '[' */
	EXPECT_KEY_OR_END,   /* behind '{' */
	EXPECT_KEY,          /* behind ',' in an object */
	EXPECT_COLON,
	EXPECT_COMMA_OR_END,
	EXPECT_NOTHING, /* the document is complete */
};

enum lexeme { LEXEME_NONE, LEXEME_STRING, LEXEME_ESCAPE, LEXEME_HEX, LEXEME_LITERAL, LEXEME_NUMBER };

/* Decimal exponents of the leading digit of the smallest and the largest double. */
#define DOUBLE_EXPONENT_MIN (-324)
#define DOUBLE_EXPONENT_MAX 308

/* RFC 8259 section 6. */
enum number_part {
	NUMBER_MINUS,
	NUMBER_ZERO,
	NUMBER_DIGITS,
	NUMBER_POINT,
	NUMBER_FRACTION,
	NUMBER_E,
	NUMBER_E_SIGN,
	NUMBER_EXPONENT,
};

/* How a picture or a file inside a document begins (RFC 2397). */
static const char data_url_scheme[] = "data:";
#define DATA_URL_FOUND (sizeof(data_url_scheme) - 1)
#define DATA_URL_NOT UINT8_MAX

/* Where pictures and files are: {"messages":[{"content":[{"image_url":{"url": here}}]}]}. */
#define DEPTH_OF_MESSAGE 3
#define DEPTH_OF_PART 5

static const char *const literals[] = { "null", "false", "true" };

static const char *const field_names[JSON_FIELD_COUNT] = {
	[JSON_FIELD_MODEL] = "model",
	[JSON_FIELD_STREAM] = "stream",
	[JSON_FIELD_STREAM_OPTIONS] = "stream_options",
	[JSON_FIELD_MESSAGES] = "messages",
	[JSON_FIELD_MAX_TOKENS] = "max_tokens",
	[JSON_FIELD_MAX_COMPLETION_TOKENS] = "max_completion_tokens",
	[JSON_FIELD_MAX_OUTPUT_TOKENS] = "max_output_tokens",
	[JSON_FIELD_N] = "n",
	[JSON_FIELD_BEST_OF] = "best_of",
	[JSON_FIELD_TEMPERATURE] = "temperature",
	[JSON_FIELD_TOP_P] = "top_p",
	[JSON_FIELD_PRESENCE_PENALTY] = "presence_penalty",
	[JSON_FIELD_FREQUENCY_PENALTY] = "frequency_penalty",
	[JSON_FIELD_STOP] = "stop",
	[JSON_FIELD_SEED] = "seed",
	[JSON_FIELD_RESPONSE_FORMAT] = "response_format",
	[JSON_FIELD_TOOLS] = "tools",
	[JSON_FIELD_TOOL_CHOICE] = "tool_choice",
	[JSON_FIELD_PROMPT] = "prompt",
	[JSON_FIELD_INPUT] = "input",
	[JSON_FIELD_DOCUMENTS] = "documents",
	[JSON_FIELD_SIZE] = "size",
	[JSON_FIELD_SECONDS] = "seconds",
	[JSON_FIELD_DURATION] = "duration",
};
CHECK_STATIC(JSON_FIELD_COUNT <= 32, "json_scan.seen has a bit for each");

const char *
json_field_name(enum json_field field)
{
	CHECK((unsigned int)field < JSON_FIELD_COUNT);
	return field_names[field];
}

void
json_scan_init(struct json_scan *s)
{
	memset(s, 0, sizeof(*s));
	s->expect = EXPECT_VALUE;
	s->field = JSON_FIELD_COUNT;
	s->result.culprit = JSON_FIELD_COUNT;
	s->depth_max = JSON_DEPTH_MAX;
	s->keys_max = JSON_TOP_LEVEL_KEYS_MAX;
}

void
json_scan_bound(struct json_scan *s, uint32_t depth_max, uint32_t keys_max)
{
	CHECK(depth_max <= JSON_DEPTH_MAX && keys_max <= JSON_TOP_LEVEL_KEYS_MAX);
	s->depth_max = (uint16_t)depth_max;
	s->keys_max = keys_max;
}

/* --- fields ------------------------------------------------------------------------ */

static bool
key_is(const struct json_scan *s, const char *name)
{
	return !s->key_is_other && bytes_equal(bytes_make(s->key, s->key_len), bytes_from_text(name));
}

/* A key of the top level is complete. */
static enum err
key_of_top_level(struct json_scan *s)
{
	s->field = JSON_FIELD_COUNT;
	if (++s->top_level_keys > s->keys_max)
		return ERR_JSON_TOO_MANY_KEYS;
	for (int i = 0; i < JSON_FIELD_COUNT; i++) {
		if (!key_is(s, field_names[i]))
			continue;
		s->field = (enum json_field)i;
		if (s->seen & 1u << i) {
			s->result.culprit = s->field;
			return ERR_JSON_DUPLICATE;
		}
		s->seen |= 1u << i;
		s->value = &s->result.field[i];
	}
	return ERR_OK;
}

/* A key of stream_options is complete. */
static enum err
key_of_options(struct json_scan *s)
{
	struct json_value *value = key_is(s, "include_usage")		? &s->result.include_usage :
				   key_is(s, "continuous_usage_stats") ? &s->result.continuous_usage :
									 NULL;

	if (value != NULL && value->type != JSON_ABSENT) {
		s->result.culprit = JSON_FIELD_STREAM_OPTIONS;
		return ERR_JSON_DUPLICATE;
	}
	s->value = value;
	return ERR_OK;
}

static enum err
key_complete(struct json_scan *s)
{
	s->value = NULL;
	if (s->depth == 1)
		return key_of_top_level(s);
	if (s->depth == 2 && s->in_options)
		return key_of_options(s);
	if (s->depth == DEPTH_OF_MESSAGE)
		s->in_content = key_is(s, "content");
	else if (s->depth == DEPTH_OF_PART)
		s->in_media = key_is(s, "image_url") || key_is(s, "video_url") || key_is(s, "audio_url") ||
			      key_is(s, "file");
	return ERR_OK;
}

/* The value that starts at the current byte. A direct child of a captured array or object is noted there. */
static void
value_begins(struct json_scan *s, enum json_type type)
{
	if (s->depth == 2 && s->field < JSON_FIELD_COUNT) {
		struct json_value *parent = &s->result.field[s->field];

		if (parent->empty)
			parent->first = type;
		parent->empty = false;
		parent->elements += parent->elements < UINT32_MAX;
		if (type != JSON_STRING)
			parent->all_strings = false;
	}
	if (s->value == NULL)
		return;
	s->value->type = type;
	s->value->start = s->offset;
	s->value->empty = true;
	s->value->all_strings = true;
}

/* The value's last byte is the one before `end`. */
static void
value_ends(struct json_scan *s, uint64_t end)
{
	if (s->value != NULL) {
		s->value->end = end;
		s->value = NULL;
	}
	s->expect = s->depth == 0 ? EXPECT_NOTHING : EXPECT_COMMA_OR_END;
	if (s->depth == 1)
		s->field = JSON_FIELD_COUNT;
}

/* --- numbers ------------------------------------------------------------------------- */

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static int64_t
saturate(bool negative, unsigned __int128 magnitude)
{
	if (magnitude > (unsigned __int128)INT64_MAX)
		return negative ? INT64_MIN : INT64_MAX;
	return negative ? -(int64_t)magnitude : (int64_t)magnitude;
}

/* mantissa x 10^power, as far as 128 bits matter; a rest counts as one more, so that what lies just beyond
 * the edge of a range does not pass for the edge. */
static unsigned __int128
scaled(uint64_t mantissa, int64_t power, bool rest)
{
	unsigned __int128 value = mantissa;

	for (; power > 0 && value != 0 && value <= (unsigned __int128)INT64_MAX; power--)
		value *= 10;
	for (; power < 0 && value != 0; power++) {
		rest = rest || value % 10 != 0;
		value /= 10;
	}
	return value + rest;
}

/*
 * False: parsers disagree on what such a number is. An integer that 64 bits do not hold is exact to some, a
 * double to others and an error to the rest; a double beyond the largest is an error or infinity, one below
 * the smallest an error or zero.
 */
static bool
is_in_range(const struct json_scan *s, int64_t power)
{
	/* The largest double, to 20 digits. */
	const unsigned __int128 largest = (unsigned __int128)UINT64_C(17976931348623157081);
	unsigned __int128 digits = s->mantissa;
	int64_t leading = power;

	if (s->mantissa == 0)
		return true;
	if (s->is_integer)
		return s->scale == 0 && (!s->negative || s->mantissa <= UINT64_C(1) << 63);
	for (uint64_t rest = s->mantissa; rest >= 10; rest /= 10)
		leading++;
	if (leading < DOUBLE_EXPONENT_MIN || leading > DOUBLE_EXPONENT_MAX)
		return false;
	while (digits < UINT64_C(10000000000000000000))
		digits *= 10;
	return leading < DOUBLE_EXPONENT_MAX || digits <= largest;
}

static enum err
number_complete(struct json_scan *s)
{
	int64_t power = (int64_t)s->scale + (s->exponent_negative ? -s->exponent : s->exponent);

	if (!is_in_range(s, power))
		return ERR_JSON_BAD_NUMBER;
	if (s->value != NULL) {
		struct json_value *value = s->value;

		value->integer = s->is_integer && s->mantissa <= (uint64_t)INT64_MAX + s->negative;
		value->number = value->integer ? saturate(s->negative, s->mantissa) : 0;
		value->number_milli = saturate(s->negative, scaled(s->mantissa, power + 3, s->lost_digits));
	}
	s->lexeme = LEXEME_NONE;
	value_ends(s, s->offset);
	return ERR_OK;
}

/* As many digits as fit; from the first that does not, they only count. */
static void
number_digit(struct json_scan *s, uint8_t c)
{
	uint64_t mantissa;
	bool has_room = !s->is_full && !__builtin_mul_overflow(s->mantissa, 10, &mantissa) &&
			!__builtin_add_overflow(mantissa, (uint64_t)(c - '0'), &mantissa);

	if (has_room) {
		s->mantissa = mantissa;
	} else {
		s->is_full = true;
		s->lost_digits = s->lost_digits || c != '0';
	}
	if (s->number_part == NUMBER_FRACTION)
		s->scale -= has_room;
	else
		s->scale += !has_room && s->scale < INT32_MAX;
}

static void
exponent_digit(struct json_scan *s, uint8_t c)
{
	if (s->exponent < 100000)
		s->exponent = s->exponent * 10 + (c - '0');
}

static bool
number_may_end(const struct json_scan *s)
{
	return s->number_part == NUMBER_ZERO || s->number_part == NUMBER_DIGITS ||
	       s->number_part == NUMBER_FRACTION || s->number_part == NUMBER_EXPONENT;
}

/* A digit, by what it follows. False: none may stand here. */
static bool
take_digit(struct json_scan *s, uint8_t c)
{
	switch ((enum number_part)s->number_part) {
	case NUMBER_MINUS:
		s->number_part = c == '0' ? NUMBER_ZERO : NUMBER_DIGITS;
		number_digit(s, c);
		return true;
	case NUMBER_ZERO:
		return false;
	case NUMBER_POINT:
		s->number_part = NUMBER_FRACTION;
		number_digit(s, c);
		return true;
	case NUMBER_DIGITS:
	case NUMBER_FRACTION:
		number_digit(s, c);
		return true;
	case NUMBER_E:
	case NUMBER_E_SIGN:
	case NUMBER_EXPONENT:
		s->number_part = NUMBER_EXPONENT;
		exponent_digit(s, c);
		return true;
	}
	return false;
}

/* ERR_MORE: the byte belongs to the number. ERR_OK: the number ended before it. Else it is none, or too large. */
static enum err
number_octet(struct json_scan *s, uint8_t c)
{
	if (is_digit(c))
		return take_digit(s, c) ? ERR_MORE : ERR_JSON_BAD_NUMBER;
	if (c == '.' && (s->number_part == NUMBER_ZERO || s->number_part == NUMBER_DIGITS)) {
		s->number_part = NUMBER_POINT;
		s->is_integer = false;
		return ERR_MORE;
	}
	if ((c == 'e' || c == 'E') && number_may_end(s) && s->number_part != NUMBER_EXPONENT) {
		s->number_part = NUMBER_E;
		s->is_integer = false;
		return ERR_MORE;
	}
	if ((c == '+' || c == '-') && s->number_part == NUMBER_E) {
		s->number_part = NUMBER_E_SIGN;
		s->exponent_negative = c == '-';
		return ERR_MORE;
	}
	if (!number_may_end(s))
		return ERR_JSON_BAD_NUMBER;
	return number_complete(s);
}

static void
number_begins(struct json_scan *s, uint8_t c)
{
	value_begins(s, JSON_NUMBER);
	s->lexeme = LEXEME_NUMBER;
	s->number_part = NUMBER_MINUS;
	s->negative = c == '-';
	s->exponent_negative = false;
	s->is_integer = true;
	s->lost_digits = false;
	s->is_full = false;
	s->mantissa = 0;
	s->scale = 0;
	s->exponent = 0;
	if (c != '-')
		take_digit(s, c);
}

/* --- strings --------------------------------------------------------------------------- */

static bool
is_value_of(const struct json_scan *s, enum json_field field)
{
	return !s->is_key && s->value == &s->result.field[field];
}

static bool
is_captured(const struct json_scan *s)
{
	if (s->is_key)
		return s->depth <= 2 || !s->key_is_other;
	return s->data_url_at < DATA_URL_FOUND || is_value_of(s, JSON_FIELD_MODEL) ||
	       is_value_of(s, JSON_FIELD_SECONDS);
}

/* Characters of a string that were decoded. */
static void
count_characters(struct json_scan *s, size_t n)
{
	if (is_value_of(s, JSON_FIELD_INPUT))
		s->result.input_characters += n;
}

/* A decoded byte of "8", as OpenAI's video API spells a length. */
static void
capture_digit(struct json_value *value, uint8_t c)
{
	value->integer = value->integer && c >= '0' && c <= '9' && value->number < INT32_MAX;
	if (value->integer)
		value->number = value->number * 10 + (c - '0');
}

static enum err
capture_of_key(struct json_scan *s, uint8_t c)
{
	/* "model\u0000" is `model` to who keeps names as C strings. */
	if (c == 0 && s->depth <= 2)
		return ERR_JSON_BAD_ESCAPE;
	if (s->key_len == JSON_KEY_BYTES_MAX || c >= 0x80)
		s->key_is_other = true;
	else
		s->key[s->key_len++] = c;
	return ERR_OK;
}

/* A decoded byte of a key, of the model's name, of a length, or of the beginning of a URL. */
static enum err
capture(struct json_scan *s, uint8_t c)
{
	if (s->is_key)
		return capture_of_key(s, c);
	if (s->data_url_at < DATA_URL_FOUND)
		s->data_url_at = c == (uint8_t)data_url_scheme[s->data_url_at] ? (uint8_t)(s->data_url_at + 1) :
										 DATA_URL_NOT;
	if (is_value_of(s, JSON_FIELD_SECONDS))
		capture_digit(s->value, c);
	if (!is_value_of(s, JSON_FIELD_MODEL))
		return ERR_OK;
	if (s->result.model_len == JSON_MODEL_BYTES_MAX) {
		s->result.culprit = JSON_FIELD_MODEL;
		return ERR_JSON_MODEL_TOO_LONG;
	}
	s->result.model[s->result.model_len++] = c;
	return ERR_OK;
}

static enum err
capture_code_point(struct json_scan *s, uint32_t point)
{
	uint8_t encoded[4];
	uint32_t count = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
	static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

	count_characters(s, 1);
	for (uint32_t i = count - 1; i > 0; i--, point >>= 6)
		encoded[i] = (uint8_t)(0x80 | (point & 0x3f));
	encoded[0] = (uint8_t)(lead[count] | point);
	for (uint32_t i = 0; i < count; i++) {
		enum err verdict = capture(s, encoded[i]);

		if (verdict != ERR_OK)
			return verdict;
	}
	return ERR_OK;
}

static bool
top_is_object(const struct json_scan *s)
{
	uint32_t at = (uint32_t)s->depth - 1;

	return s->depth > 0 && (s->is_object[at / 64] >> (at % 64) & 1) != 0;
}

/* Whether the value of the key that came last can be a picture or a file. */
static bool
is_url(const struct json_scan *s)
{
	bool has_media = s->field == JSON_FIELD_MESSAGES || s->field == JSON_FIELD_INPUT;

	if (!has_media || !s->in_content || !top_is_object(s))
		return false;
	if (s->depth == DEPTH_OF_PART)
		return key_is(s, "image_url") || key_is(s, "file_data");
	return s->depth == DEPTH_OF_PART + 1 && s->in_media && (key_is(s, "url") || key_is(s, "file_data"));
}

static void
string_begins(struct json_scan *s, bool is_key)
{
	s->data_url_at = !is_key && is_url(s) ? 0 : DATA_URL_NOT;
	s->string_start = s->offset;
	s->is_key = is_key;
	s->lexeme = LEXEME_STRING;
	if (is_key) {
		s->key_len = 0;
		s->key_is_other = false;
	} else {
		value_begins(s, JSON_STRING);
		if (is_value_of(s, JSON_FIELD_SECONDS))
			s->value->integer = true;
	}
}

static enum err
string_complete(struct json_scan *s)
{
	s->lexeme = LEXEME_NONE;
	if (s->is_key) {
		s->expect = EXPECT_COLON;
		return key_complete(s);
	}
	if (s->data_url_at == DATA_URL_FOUND) {
		s->result.data_urls++;
		s->result.data_url_bytes += s->offset + 1 - s->string_start;
	}
	value_ends(s, s->offset + 1);
	return ERR_OK;
}

/* The first byte of a UTF-8 sequence (RFC 3629 section 4): how many follow, and in which range the next
 * one lies. */
static enum err
utf8_lead(struct json_scan *s, uint8_t c)
{
	s->utf8_low = 0x80;
	s->utf8_high = 0xbf;
	if (c >= 0xc2 && c <= 0xdf) {
		s->utf8_left = 1;
	} else if (c >= 0xe0 && c <= 0xef) {
		s->utf8_left = 2;
		if (c == 0xe0)
			s->utf8_low = 0xa0;
		else if (c == 0xed)
			s->utf8_high = 0x9f;
	} else if (c >= 0xf0 && c <= 0xf4) {
		s->utf8_left = 3;
		if (c == 0xf0)
			s->utf8_low = 0x90;
		else if (c == 0xf4)
			s->utf8_high = 0x8f;
	} else {
		return ERR_JSON_BAD_UTF8;
	}
	count_characters(s, 1);
	return capture(s, c);
}

static enum err
utf8_next(struct json_scan *s, uint8_t c)
{
	if (c < s->utf8_low || c > s->utf8_high)
		return ERR_JSON_BAD_UTF8;
	s->utf8_low = 0x80;
	s->utf8_high = 0xbf;
	s->utf8_left--;
	return capture(s, c);
}

static enum err
string_octet(struct json_scan *s, uint8_t c)
{
	if (s->utf8_left > 0)
		return utf8_next(s, c);
	if (s->high_surrogate != 0 && c != '\\')
		return ERR_JSON_LONE_SURROGATE;
	if (c == '"')
		return string_complete(s);
	if (c == '\\') {
		s->lexeme = LEXEME_ESCAPE;
		return ERR_OK;
	}
	if (c < 0x20)
		return ERR_JSON_CONTROL;
	if (c >= 0x80)
		return utf8_lead(s, c);
	count_characters(s, 1);
	return capture(s, c);
}

static enum err
escape_octet(struct json_scan *s, uint8_t c)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (c == 'u') {
		s->lexeme = LEXEME_HEX;
		s->hex_digits = 0;
		s->hex = 0;
		return ERR_OK;
	}
	at = c != 0 ? strchr(from, c) : NULL;
	if (at == NULL)
		return ERR_JSON_BAD_ESCAPE;
	if (s->high_surrogate != 0)
		return ERR_JSON_LONE_SURROGATE;
	s->lexeme = LEXEME_STRING;
	count_characters(s, 1);
	return capture(s, (uint8_t)to[at - from]);
}

/* Four digits are there: a unit of UTF-16. */
static enum err
hex_complete(struct json_scan *s)
{
	uint32_t point = s->hex;

	s->lexeme = LEXEME_STRING;
	if (s->high_surrogate != 0) {
		if (point < 0xdc00 || point > 0xdfff)
			return ERR_JSON_LONE_SURROGATE;
		point = 0x10000 + ((uint32_t)(s->high_surrogate - 0xd800) << 10) + (point - 0xdc00);
		s->high_surrogate = 0;
		return capture_code_point(s, point);
	}
	if (point >= 0xdc00 && point <= 0xdfff)
		return ERR_JSON_LONE_SURROGATE;
	if (point >= 0xd800 && point <= 0xdbff) {
		s->high_surrogate = (uint16_t)point;
		return ERR_OK;
	}
	return capture_code_point(s, point);
}

static enum err
hex_octet(struct json_scan *s, uint8_t c)
{
	uint8_t lower = bytes_lower(c);
	int digit = is_digit(c)		       ? c - '0' :
		    lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 :
						   -1;

	if (digit < 0)
		return ERR_JSON_BAD_ESCAPE;
	s->hex = (uint16_t)(s->hex << 4 | digit);
	return ++s->hex_digits == 4 ? hex_complete(s) : ERR_OK;
}

/* Bytes at the front that are neither a quote, a backslash, a control nor beyond ASCII: eight at a time. */
static size_t
plain_run(struct bytes piece)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint64_t tops = UINT64_C(0x8080808080808080);
	size_t n = 0;

	for (; n + sizeof(uint64_t) <= piece.len; n += sizeof(uint64_t)) {
		uint64_t word, quote, backslash, stop;

		memcpy(&word, piece.ptr + n, sizeof(word));
		quote = word ^ ones * '"';
		backslash = word ^ ones * '\\';
		stop = word | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
		       ((word - ones * 0x20) & ~word);
		if (stop & tops)
			return n;
	}
	return n;
}

/* --- grammar --------------------------------------------------------------------------------- */

static enum err
open_container(struct json_scan *s, bool is_object)
{
	uint64_t bit = UINT64_C(1) << (s->depth % 64);
	uint64_t *word = &s->is_object[s->depth / 64 % (JSON_DEPTH_MAX / 64)];

	if (s->depth == s->depth_max)
		return ERR_JSON_TOO_DEEP;
	if (s->depth == 0 && !is_object)
		return ERR_JSON_NOT_OBJECT;
	value_begins(s, is_object ? JSON_OBJECT : JSON_ARRAY);
	if (s->depth == 0)
		s->result.object_start = s->offset;
	if (s->depth == 1)
		s->in_options = is_object && s->field == JSON_FIELD_STREAM_OPTIONS;
	*word = is_object ? *word | bit : *word & ~bit;
	s->depth++;
	s->value = NULL;
	s->expect = is_object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
	return ERR_OK;
}

static enum err
close_container(struct json_scan *s, bool is_object)
{
	if (s->depth == 0 || top_is_object(s) != is_object)
		return ERR_JSON_SYNTAX;
	s->depth--;
	if (s->depth == 0)
		s->result.object_end = s->offset + 1;
	if (s->depth == 1) {
		s->in_options = false;
		if (s->field < JSON_FIELD_COUNT)
			s->value = &s->result.field[s->field];
	}
	if (s->depth < DEPTH_OF_MESSAGE)
		s->in_content = false;
	if (s->depth < DEPTH_OF_PART)
		s->in_media = false;
	value_ends(s, s->offset + 1);
	return ERR_OK;
}

static enum err
literal_begins(struct json_scan *s, uint8_t c)
{
	for (uint8_t i = 0; i < 3; i++) {
		if (c != (uint8_t)literals[i][0])
			continue;
		value_begins(s, i == 0 ? JSON_NULL : JSON_BOOL);
		if (s->value != NULL)
			s->value->boolean = i == 2;
		s->lexeme = LEXEME_LITERAL;
		s->literal = i;
		s->literal_at = 1;
		return ERR_OK;
	}
	return ERR_JSON_SYNTAX;
}

static enum err
literal_octet(struct json_scan *s, uint8_t c)
{
	const char *text = literals[s->literal];

	if (c != (uint8_t)text[s->literal_at])
		return ERR_JSON_SYNTAX;
	if (text[++s->literal_at] == '\0') {
		s->lexeme = LEXEME_NONE;
		value_ends(s, s->offset + 1);
	}
	return ERR_OK;
}

static enum err
value_octet(struct json_scan *s, uint8_t c)
{
	if (c == '{' || c == '[')
		return open_container(s, c == '{');
	if (s->depth == 0)
		return ERR_JSON_NOT_OBJECT;
	if (c == '"') {
		string_begins(s, false);
		return ERR_OK;
	}
	if (c == '-' || is_digit(c)) {
		number_begins(s, c);
		return ERR_OK;
	}
	return literal_begins(s, c);
}

static enum err
comma_or_end(struct json_scan *s, uint8_t c)
{
	if (c == '}' || c == ']')
		return close_container(s, c == '}');
	if (c != ',')
		return ERR_JSON_SYNTAX;
	s->expect = top_is_object(s) ? EXPECT_KEY : EXPECT_VALUE;
	return ERR_OK;
}

/* A byte between lexemes. */
static enum err
structure_octet(struct json_scan *s, uint8_t c)
{
	if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
		return ERR_OK;
	switch ((enum expect)s->expect) {
	case EXPECT_VALUE_OR_END:
		if (c == ']')
			return close_container(s, false);
		return value_octet(s, c);
	case EXPECT_VALUE:
		return value_octet(s, c);
	case EXPECT_KEY_OR_END:
		if (c == '}')
			return close_container(s, true);
		break;
	case EXPECT_KEY:
		break;
	case EXPECT_COLON:
		if (c != ':')
			return ERR_JSON_SYNTAX;
		s->expect = EXPECT_VALUE;
		return ERR_OK;
	case EXPECT_COMMA_OR_END:
		return comma_or_end(s, c);
	case EXPECT_NOTHING:
		return ERR_JSON_TRAILING;
	}
	if (c != '"')
		return ERR_JSON_SYNTAX;
	string_begins(s, true);
	return ERR_OK;
}

static enum err
octet(struct json_scan *s, uint8_t c)
{
	enum err verdict;

	switch ((enum lexeme)s->lexeme) {
	case LEXEME_STRING:
		return string_octet(s, c);
	case LEXEME_ESCAPE:
		return escape_octet(s, c);
	case LEXEME_HEX:
		return hex_octet(s, c);
	case LEXEME_LITERAL:
		return literal_octet(s, c);
	case LEXEME_NUMBER:
		verdict = number_octet(s, c);
		if (verdict != ERR_OK)
			return verdict == ERR_MORE ? ERR_OK : verdict;
		return structure_octet(s, c);
	case LEXEME_NONE:
		break;
	}
	return structure_octet(s, c);
}

enum err
json_scan_feed(struct json_scan *s, struct bytes piece)
{
	while (piece.len > 0 && s->verdict == ERR_OK) {
		if (s->lexeme == LEXEME_STRING && s->utf8_left == 0 && s->high_surrogate == 0 &&
		    !is_captured(s)) {
			size_t n = plain_run(piece);

			count_characters(s, n);
			s->offset += n;
			bytes_advance(&piece, n);
			if (piece.len == 0)
				break;
		}
		s->verdict = (uint8_t)octet(s, piece.ptr[0]);
		s->offset++;
		bytes_advance(&piece, 1);
	}
	return (enum err)s->verdict;
}

enum err
json_scan_end(struct json_scan *s)
{
	if (s->verdict != ERR_OK)
		return (enum err)s->verdict;
	return s->expect == EXPECT_NOTHING && s->lexeme == LEXEME_NONE ? ERR_OK : ERR_JSON_INCOMPLETE;
}
