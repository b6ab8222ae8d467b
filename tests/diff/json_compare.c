/* A document in two readings. yyjson builds a tree of all of it; ours notes a few fields as they
 * pass. */
#include "json_compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#include "base/check.h"
#include "base/units.h"
#include "json/splice.h"
#include "json/usage.h"
#include "json/validate.h"

/* Beyond it a double's thousandths are no longer exact enough to compare. */
#define EXACT_MAX 1e12
/* A body that is edited grows by less. */
#define GROWTH_BYTES_MAX 2048

struct dispute {
	struct bytes text;
	yyjson_val *root;
	const char *wrong; /* what differs; the first is kept */
};

static void
blame(struct dispute *d, bool is_right, const char *what)
{
	if (!is_right && d->wrong == NULL)
		d->wrong = what;
}

/* --- tests of the table ------------------------------------------------------------- */

static uint32_t
count_of(yyjson_val *object, const char *name)
{
	yyjson_val *key;
	yyjson_obj_iter iter;
	uint32_t count = 0;

	if (!yyjson_is_obj(object))
		return 0;
	yyjson_obj_iter_init(object, &iter);
	while ((key = yyjson_obj_iter_next(&iter)) != NULL)
		count += yyjson_equals_strn(key, name, strlen(name));
	return count;
}

static bool
root_is_no_object(const struct dispute *d)
{
	return !yyjson_is_obj(d->root);
}

static bool
is_deep(const struct dispute *d)
{
	size_t depth = 0, deepest = 0;
	bool in_string = false;

	for (size_t i = 0; i < d->text.len; i++) {
		uint8_t c = d->text.ptr[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
			depth++;
		else if (!in_string && (c == '}' || c == ']'))
			depth--;
		deepest = depth > deepest ? depth : deepest;
	}
	return deepest > JSON_DEPTH_MAX;
}

static bool
has_many_keys(const struct dispute *d)
{
	return yyjson_obj_size(d->root) > JSON_TOP_LEVEL_KEYS_MAX;
}

static bool
has_duplicate(const struct dispute *d)
{
	yyjson_val *options = yyjson_obj_get(d->root, "stream_options");

	for (int i = 0; i < JSON_FIELD_COUNT; i++)
		if (count_of(d->root, json_field_name((enum json_field)i)) > 1)
			return true;
	return count_of(options, "include_usage") > 1 ||
	       count_of(options, "continuous_usage_stats") > 1;
}

static bool
model_is_long(const struct dispute *d)
{
	return yyjson_get_len(yyjson_obj_get(d->root, "model")) > JSON_MODEL_BYTES_MAX;
}

static bool
has_escaped_nul(const struct dispute *d)
{
	return memmem(d->text.ptr, d->text.len, "\\u0000", 6) != NULL;
}

/* The number that begins at `at` is long, large, or has an exponent that may make it so. */
static bool
is_extreme(struct bytes text, size_t at)
{
	size_t digits = 0, exponent_digits = 0;
	bool is_integer = true, in_exponent = false;

	for (; at < text.len; at++) {
		uint8_t c = text.ptr[at];

		if (c >= '0' && c <= '9') {
			digits += !in_exponent;
			exponent_digits += in_exponent;
		} else if (c == '.' || c == 'e' || c == 'E') {
			is_integer = false;
			in_exponent = in_exponent || c != '.';
		} else if (c != '+' && c != '-') {
			break;
		}
	}
	return is_integer ? digits >= 19 : exponent_digits >= 3 || digits > 300;
}

static bool
number_is_out_of_range(const struct dispute *d)
{
	bool in_string = false, in_number = false;

	for (size_t i = 0; i < d->text.len; i++) {
		uint8_t c = d->text.ptr[i];
		bool begins = !in_string && !in_number && (c == '-' || (c >= '0' && c <= '9'));

		if (begins && is_extreme(d->text, i))
			return true;
		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		in_number =
			!in_string &&
			(begins || (in_number && strchr("0123456789+-.eE", c) != NULL && c != 0));
	}
	return false;
}

static const struct {
	enum err verdict;
	bool (*test)(const struct dispute *d);
} rules[] = {
#define STRICTER(verdict, test, reason) { ERR_##verdict, test },
#include "json_stricter.def"
#undef STRICTER
};

const struct json_row json_rows[] = {
#define STRICTER(verdict, test, reason) { #verdict " " #test, reason },
#include "json_stricter.def"
#undef STRICTER
};

const uint32_t json_row_count = COUNT_OF(rules);

/* --- the scan -------------------------------------------------------------------------- */

static enum err
scan(struct json_scan *s, struct bytes input, size_t first, size_t step)
{
	enum err verdict = ERR_OK;

	json_scan_init(s);
	for (size_t n = first; input.len > 0 && verdict == ERR_OK; n = step) {
		if (n > input.len)
			n = input.len;
		verdict = json_scan_feed(s, bytes_make(input.ptr, n));
		bytes_advance(&input, n);
	}
	return verdict == ERR_OK ? json_scan_end(s) : verdict;
}

static bool
is_same_value(const struct json_value *a, const struct json_value *b)
{
	return a->type == b->type && a->boolean == b->boolean && a->integer == b->integer &&
	       a->empty == b->empty && a->all_strings == b->all_strings && a->number == b->number &&
	       a->number_milli == b->number_milli && a->start == b->start && a->end == b->end;
}

static bool
is_same_result(const struct json_result *a, const struct json_result *b)
{
	for (int i = 0; i < JSON_FIELD_COUNT; i++)
		if (!is_same_value(&a->field[i], &b->field[i]))
			return false;
	return is_same_value(&a->include_usage, &b->include_usage) &&
	       is_same_value(&a->continuous_usage, &b->continuous_usage) &&
	       a->object_start == b->object_start && a->object_end == b->object_end &&
	       bytes_equal(bytes_make(a->model, a->model_len), bytes_make(b->model, b->model_len));
}

static enum json_type
type_of(yyjson_val *value)
{
	switch (yyjson_get_type(value)) {
	case YYJSON_TYPE_NULL:
		return JSON_NULL;
	case YYJSON_TYPE_BOOL:
		return JSON_BOOL;
	case YYJSON_TYPE_NUM:
		return JSON_NUMBER;
	case YYJSON_TYPE_STR:
		return JSON_STRING;
	case YYJSON_TYPE_ARR:
		return JSON_ARRAY;
	case YYJSON_TYPE_OBJ:
		return JSON_OBJECT;
	default:
		return JSON_ABSENT;
	}
}

/* Thousandths are rounded away from zero, so that what lies just beyond an edge does not pass for
 * it. */
static void
compare_number(struct dispute *d, const struct json_value *ours, yyjson_val *theirs)
{
	double milli = yyjson_get_num(theirs) * 1000.0, mine = (double)ours->number_milli;
	bool fits = !yyjson_is_uint(theirs) || yyjson_get_uint(theirs) <= INT64_MAX;

	blame(d, ours->integer == (yyjson_is_int(theirs) && fits),
	      "an integer to one of them only");
	if (ours->integer)
		blame(d, ours->number == yyjson_get_sint(theirs), "another integer");
	if (fabs(milli) > EXACT_MAX) {
		blame(d, fabs(mine) >= EXACT_MAX * 0.999 && (mine < 0) == (milli < 0),
		      "another large number");
		return;
	}
	blame(d, fabs(mine) >= fabs(milli) - 1e-3 && fabs(mine) < fabs(milli) + 1.001,
	      "another number");
	blame(d, mine == 0 || (mine < 0) == (milli < 0), "another sign");
	blame(d, milli == 0 || mine != 0, "a small number taken for zero");
}

static bool
holds_strings_only(yyjson_val *array)
{
	yyjson_val *item;
	yyjson_arr_iter iter;

	yyjson_arr_iter_init(array, &iter);
	while ((item = yyjson_arr_iter_next(&iter)) != NULL)
		if (!yyjson_is_str(item))
			return false;
	return true;
}

/* The bytes between start and end are this value, and no other. */
static void
compare_place(struct dispute *d, uint64_t start, uint64_t end, yyjson_val *theirs)
{
	yyjson_doc *part;

	blame(d, start < end && end <= d->text.len, "a place outside of the document");
	if (d->wrong != NULL)
		return;
	part = yyjson_read((const char *)d->text.ptr + start, end - start, 0);
	blame(d, part != NULL && yyjson_equals(yyjson_doc_get_root(part), theirs), "another place");
	yyjson_doc_free(part);
}

static void
compare_value(struct dispute *d, const struct json_value *ours, yyjson_val *theirs)
{
	enum json_type type = type_of(theirs);

	blame(d, ours->type == type, "another type");
	if (d->wrong != NULL || type == JSON_ABSENT)
		return;
	compare_place(d, ours->start, ours->end, theirs);
	if (type == JSON_BOOL)
		blame(d, ours->boolean == yyjson_get_bool(theirs), "another truth");
	else if (type == JSON_NUMBER)
		compare_number(d, ours, theirs);
	else if (type == JSON_ARRAY)
		blame(d, ours->all_strings == holds_strings_only(theirs),
		      "an array of strings to one of them only");
	if (type == JSON_ARRAY || type == JSON_OBJECT)
		blame(d, ours->empty == (yyjson_get_len(theirs) == 0), "empty to one of them only");
}

/* Of an array or an object in place of a flag only the type is known. */
static void
compare_flag(struct dispute *d, const struct json_value *ours, yyjson_val *theirs)
{
	if (yyjson_is_ctn(theirs))
		blame(d, ours->type == type_of(theirs), "another type of a flag");
	else
		compare_value(d, ours, theirs);
}

static void
compare_input(struct dispute *d, const struct json_result *ours)
{
	yyjson_val *input = yyjson_obj_get(d->root, "input");
	yyjson_val *seconds = yyjson_obj_get(d->root, "seconds");
	const struct json_value *length = &ours->field[JSON_FIELD_SECONDS];
	uint64_t characters = 0;

	for (size_t i = 0; yyjson_is_str(input) && i < yyjson_get_len(input); i++)
		characters += ((uint8_t)yyjson_get_str(input)[i] & 0xc0) != 0x80;
	blame(d, ours->input_characters == characters, "another number of characters");
	if (yyjson_is_str(seconds) && length->integer)
		blame(d, length->number == strtoll(yyjson_get_str(seconds), NULL, 10),
		      "another length");
}

static void
compare_fields(struct dispute *d, const struct json_result *ours)
{
	yyjson_val *options = yyjson_obj_get(d->root, "stream_options");
	yyjson_val *model = yyjson_obj_get(d->root, "model");

	blame(d, yyjson_is_obj(d->root) && !has_duplicate(d) && !has_many_keys(d) && !is_deep(d),
	      "ours accepts what it promises to refuse");
	for (int i = 0; i < JSON_FIELD_COUNT; i++)
		compare_value(d, &ours->field[i],
			      yyjson_obj_get(d->root, json_field_name((enum json_field)i)));
	if (!yyjson_is_obj(options))
		options = NULL;
	compare_flag(d, &ours->include_usage, yyjson_obj_get(options, "include_usage"));
	compare_flag(d, &ours->continuous_usage, yyjson_obj_get(options, "continuous_usage_stats"));
	if (yyjson_is_str(model))
		blame(d,
		      bytes_equal(bytes_make(ours->model, ours->model_len),
				  bytes_make(yyjson_get_str(model), yyjson_get_len(model))),
		      "another model");
	compare_place(d, ours->object_start, ours->object_end, d->root);
	compare_input(d, ours);
}

/* --- validation ---------------------------------------------------------------------------- */

#define IS(type) (1u << JSON_##type)

/* What each field of a request may be, once more. */
static const struct {
	enum json_field field;
	uint32_t types;
	bool required;
	bool is_integer;
	double low, high;
} chat_fields[] = {
	{ JSON_FIELD_MODEL, IS(STRING), true, false, 0, 0 },
	{ JSON_FIELD_MESSAGES, IS(ARRAY), true, false, 0, 0 },
	{ JSON_FIELD_STREAM, IS(BOOL), false, false, 0, 0 },
	{ JSON_FIELD_STREAM_OPTIONS, IS(OBJECT), false, false, 0, 0 },
	{ JSON_FIELD_MAX_TOKENS, IS(NUMBER), false, true, 1, 9223372036854775807.0 },
	{ JSON_FIELD_MAX_COMPLETION_TOKENS, IS(NUMBER), false, true, 1, 9223372036854775807.0 },
	{ JSON_FIELD_N, IS(NUMBER), false, true, 1, 9223372036854775807.0 },
	{ JSON_FIELD_TEMPERATURE, IS(NUMBER), false, false, 0, 2 },
	{ JSON_FIELD_TOP_P, IS(NUMBER), false, false, 0, 1 },
	{ JSON_FIELD_PRESENCE_PENALTY, IS(NUMBER), false, false, -2, 2 },
	{ JSON_FIELD_FREQUENCY_PENALTY, IS(NUMBER), false, false, -2, 2 },
	{ JSON_FIELD_STOP, IS(STRING) | IS(ARRAY), false, false, 0, 0 },
	{ JSON_FIELD_SEED, IS(NUMBER), false, true, -9223372036854775808.0, 9223372036854775807.0 },
	{ JSON_FIELD_RESPONSE_FORMAT, IS(OBJECT), false, false, 0, 0 },
	{ JSON_FIELD_TOOLS, IS(ARRAY), false, false, 0, 0 },
	{ JSON_FIELD_TOOL_CHOICE, IS(STRING) | IS(OBJECT), false, false, 0, 0 },
};

static bool
is_good_field(const struct dispute *d, size_t row)
{
	enum json_field field = chat_fields[row].field;
	yyjson_val *value = yyjson_obj_get(d->root, json_field_name(field));
	double number = yyjson_get_num(value);

	if (value == NULL || yyjson_is_null(value))
		return !chat_fields[row].required;
	if ((chat_fields[row].types & 1u << type_of(value)) == 0)
		return false;
	if (yyjson_is_num(value))
		return (yyjson_is_int(value) || !chat_fields[row].is_integer) &&
		       number >= chat_fields[row].low && number <= chat_fields[row].high &&
		       !(chat_fields[row].is_integer && yyjson_is_uint(value) &&
			 yyjson_get_uint(value) > INT64_MAX);
	if (field == JSON_FIELD_MESSAGES)
		return yyjson_arr_size(value) > 0;
	if (field == JSON_FIELD_STOP && yyjson_is_arr(value))
		return holds_strings_only(value);
	if (field == JSON_FIELD_STREAM_OPTIONS) {
		yyjson_val *one = yyjson_obj_get(value, "include_usage");
		yyjson_val *two = yyjson_obj_get(value, "continuous_usage_stats");

		return (one == NULL || yyjson_is_null(one) || yyjson_is_bool(one)) &&
		       (two == NULL || yyjson_is_null(two) || yyjson_is_bool(two));
	}
	return true;
}

/* A double may round what lies beyond the edge of a range onto it: ours sees the digits, and
 * refuses. */
static bool
lies_at_an_edge(const struct dispute *d, size_t row)
{
	yyjson_val *value = yyjson_obj_get(d->root, json_field_name(chat_fields[row].field));
	double number = yyjson_get_num(value);

	return yyjson_is_num(value) &&
	       (number == chat_fields[row].low || number == chat_fields[row].high);
}

static bool
compare_validation(struct dispute *d, const struct json_result *ours)
{
	enum json_field culprit = JSON_FIELD_COUNT;
	const char *sentence;
	bool is_good = json_validate(ours, JSON_PATH_CHAT, &culprit, &sentence) == ERR_OK;

	for (size_t i = 0; i < COUNT_OF(chat_fields); i++) {
		bool is_good_too = is_good_field(d, i);

		if (is_good)
			blame(d, is_good_too, "ours accepts a field out of the contract");
		else if (culprit == chat_fields[i].field)
			blame(d, !is_good_too || lies_at_an_edge(d, i),
			      "ours refuses a field within the contract");
	}
	return is_good;
}

/* --- edits --------------------------------------------------------------------------------- */

static struct bytes
apply(struct dispute *d, const struct json_splices *splices, uint8_t *to)
{
	uint64_t from = 0;
	size_t len = 0;

	for (uint32_t i = 0; i < splices->count; i++) {
		const struct json_splice *splice = &splices->splice[i];

		if (splice->offset < from || splice->offset + splice->cut_bytes > d->text.len) {
			blame(d, false, "edits overlap");
			return BYTES_NONE;
		}
		memcpy(to + len, d->text.ptr + from, splice->offset - from);
		len += splice->offset - from;
		memcpy(to + len, splice->insert.ptr, splice->insert.len);
		len += splice->insert.len;
		from = splice->offset + splice->cut_bytes;
	}
	memcpy(to + len, d->text.ptr + from, d->text.len - from);
	len += d->text.len - from;
	blame(d, len == (size_t)((int64_t)d->text.len + splices->grown_bytes),
	      "an edit grew by another number");
	return bytes_make(to, len);
}

static void
put_true(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name)
{
	yyjson_mut_obj_put(object, yyjson_mut_str(doc, name), yyjson_mut_bool(doc, true));
}

/* What the edits mean, done to the tree. */
static yyjson_mut_val *
meant(yyjson_mut_doc *doc, yyjson_val *from, struct bytes model, enum json_ask ask)
{
	yyjson_mut_val *root = yyjson_val_mut_copy(doc, from);
	yyjson_mut_val *options = yyjson_mut_obj_get(root, "stream_options");

	if (model.len > 0)
		yyjson_mut_obj_put(root, yyjson_mut_str(doc, "model"),
				   yyjson_mut_strn(doc, (const char *)model.ptr, model.len));
	if (ask == JSON_ASK_NOTHING)
		return root;
	if (!yyjson_mut_is_obj(options)) {
		options = yyjson_mut_obj(doc);
		yyjson_mut_obj_put(root, yyjson_mut_str(doc, "stream_options"), options);
	}
	put_true(doc, options, "include_usage");
	if (ask == JSON_ASK_RUNNING)
		put_true(doc, options, "continuous_usage_stats");
	return root;
}

/* The value under the n-th of equal names, counted from 0. */
static yyjson_mut_val *
nth_of(yyjson_mut_val *object, yyjson_mut_val *name, uint32_t n)
{
	yyjson_mut_obj_iter iter = yyjson_mut_obj_iter_with(object);
	yyjson_mut_val *key;

	while ((key = yyjson_mut_obj_iter_next(&iter)) != NULL)
		if (yyjson_mut_equals(key, name) && n-- == 0)
			return yyjson_mut_obj_iter_get_val(key);
	return NULL;
}

/* As yyjson_mut_equals(), but names may occur twice: in both as often, with the same values in the
 * same order. */
static bool
is_equal(yyjson_mut_val *a, yyjson_mut_val *b)
{
	yyjson_mut_arr_iter item = yyjson_mut_arr_iter_with(a), other = yyjson_mut_arr_iter_with(b);
	yyjson_mut_obj_iter member = yyjson_mut_obj_iter_with(a);
	yyjson_mut_val *key;

	if (yyjson_mut_get_type(a) != yyjson_mut_get_type(b) ||
	    yyjson_mut_get_len(a) != yyjson_mut_get_len(b))
		return false;
	if (yyjson_mut_is_arr(a)) {
		while (yyjson_mut_arr_iter_has_next(&item))
			if (!is_equal(yyjson_mut_arr_iter_next(&item),
				      yyjson_mut_arr_iter_next(&other)))
				return false;
		return true;
	}
	if (!yyjson_mut_is_obj(a))
		return yyjson_mut_equals(a, b);
	while ((key = yyjson_mut_obj_iter_next(&member)) != NULL) {
		yyjson_mut_obj_iter before = yyjson_mut_obj_iter_with(a);
		yyjson_mut_val *earlier, *found;
		uint32_t n = 0;

		while ((earlier = yyjson_mut_obj_iter_next(&before)) != key)
			n += yyjson_mut_equals(earlier, key);
		found = nth_of(b, key, n);
		if (found == NULL || !is_equal(yyjson_mut_obj_iter_get_val(key), found))
			return false;
	}
	return true;
}

static void
compare_edit(struct dispute *d, const struct json_result *ours, struct bytes model,
	     enum json_ask ask)
{
	struct json_splices splices;
	uint8_t *to = malloc(d->text.len + GROWTH_BYTES_MAX);
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_doc *again = NULL;
	struct bytes edited;

	CHECK(to != NULL && doc != NULL);
	if (json_plan_splices(ours, model, ask, &splices) != ERR_OK) {
		blame(d, false, "no edit");
		goto out;
	}
	edited = apply(d, &splices, to);
	if (d->wrong != NULL)
		goto out;
	again = yyjson_read((const char *)edited.ptr, edited.len, 0);
	blame(d, again != NULL, "an edited document is not valid");
	if (again != NULL)
		blame(d,
		      is_equal(meant(doc, d->root, model, ask),
			       yyjson_val_mut_copy(doc, yyjson_doc_get_root(again))),
		      "an edited document is not the one that was meant");
out:
	yyjson_doc_free(again);
	yyjson_mut_doc_free(doc);
	free(to);
}

static void
compare_edits(struct dispute *d, const struct json_result *ours)
{
	struct bytes models[] = { BYTES_NONE, BYTES_LITERAL("served"),
				  BYTES_LITERAL("a\"b\\c/\xc3\xa9") };
	enum json_field culprit;
	const char *sentence;

	if (json_validate(ours, JSON_PATH_ANY, &culprit, &sentence) != ERR_OK)
		return;
	for (size_t i = 0; i < COUNT_OF(models); i++)
		for (int ask = JSON_ASK_NOTHING; ask <= JSON_ASK_RUNNING; ask++)
			compare_edit(d, ours, models[i], (enum json_ask)ask);
}

/* --- usage ---------------------------------------------------------------------------------- */

#define TOKENS_MAX (UINT64_C(1) << 32)

/* One counter under either of its names; with both, or one twice, ours takes the last and yyjson
 * the first. */
static void
compare_counter(struct dispute *d, yyjson_val *usage, const char *name, const char *other, bool has,
		uint64_t tokens)
{
	yyjson_val *value = yyjson_obj_get(usage, name);
	uint32_t count = count_of(usage, name);

	if (other != NULL) {
		count += count_of(usage, other);
		value = value == NULL ? yyjson_obj_get(usage, other) : value;
	}
	if (count > 1)
		return;
	if (yyjson_is_uint(value) && yyjson_get_uint(value) <= TOKENS_MAX)
		blame(d, has && tokens == yyjson_get_uint(value), "another number of tokens");
	else
		blame(d, !has, "tokens out of nothing");
}

static bool
is_suspect(yyjson_val *usage)
{
	static const char *const names[] = { "prompt_tokens", "completion_tokens", "total_tokens",
					     "input_tokens", "output_tokens" };

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		yyjson_val *value = yyjson_obj_get(usage, names[i]);

		if (yyjson_is_num(value) &&
		    !(yyjson_is_uint(value) && yyjson_get_uint(value) <= TOKENS_MAX))
			return true;
	}
	return false;
}

static bool
is_same_usage(const struct json_usage *a, const struct json_usage *b)
{
	return a->present == b->present && a->has_prompt == b->has_prompt &&
	       a->has_completion == b->has_completion && a->has_total == b->has_total &&
	       a->prompt_tokens == b->prompt_tokens &&
	       a->completion_tokens == b->completion_tokens && a->total_tokens == b->total_tokens &&
	       a->suspect == b->suspect && a->choices_empty == b->choices_empty &&
	       a->is_null == b->is_null && a->is_complete == b->is_complete &&
	       a->is_last_event == b->is_last_event &&
	       a->member_start == b->member_start &&
	       a->value_start == b->value_start && a->value_end == b->value_end;
}

/* Names with escapes are not recognised, on purpose: no backend writes them. */
static void
compare_usage(struct dispute *d)
{
	yyjson_val *usage = yyjson_obj_get(d->root, "usage");
	yyjson_val *response = yyjson_obj_get(d->root, "response");
	yyjson_val *nested = yyjson_obj_get(response, "usage");
	yyjson_val *choices = yyjson_obj_get(d->root, "choices");
	yyjson_val *type = yyjson_obj_get(d->root, "type");
	struct json_usage_scan s, cut;
	const struct json_usage *ours = &s.usage;

	json_usage_init(&s);
	json_usage_feed(&s, d->text);
	json_usage_init(&cut);
	for (size_t i = 0; i < d->text.len; i++)
		json_usage_feed(&cut, bytes_make(d->text.ptr + i, 1));
	blame(d, is_same_usage(ours, &cut.usage), "usage depends on the cut");
	if (memchr(d->text.ptr, '\\', d->text.len) != NULL || count_of(d->root, "usage") > 1 ||
	    count_of(d->root, "choices") > 1 || count_of(d->root, "response") > 1 ||
	    count_of(response, "usage") > 1 || count_of(d->root, "type") > 1)
		return;
	blame(d,
	      ours->is_last_event == (yyjson_equals_str(type, "response.completed") ||
				      yyjson_equals_str(type, "response.incomplete") ||
				      yyjson_equals_str(type, "response.failed")),
	      "the last event to one of them only");
	blame(d, ours->present == (yyjson_is_obj(usage) || yyjson_is_obj(nested)), "usage to one of them only");
	blame(d, ours->is_complete == ours->present, "usage has no end");
	blame(d, ours->is_null == yyjson_is_null(usage), "null usage to one of them only");
	blame(d, ours->choices_empty == (yyjson_is_arr(choices) && yyjson_arr_size(choices) == 0),
	      "empty choices to one of them only");
	if (yyjson_is_obj(usage) || ours->is_null) {
		compare_place(d, ours->value_start, ours->value_end, usage);
		blame(d,
		      ours->member_start < ours->value_start &&
			      bytes_starts_with(bytes_after(d->text, ours->member_start),
						BYTES_LITERAL("\"usage\"")),
		      "usage begins elsewhere");
	}
	if (!ours->present)
		return;
	if (!yyjson_is_obj(usage))
		usage = nested;
	compare_counter(d, usage, "prompt_tokens", "input_tokens", ours->has_prompt,
			ours->prompt_tokens);
	compare_counter(d, usage, "completion_tokens", "output_tokens", ours->has_completion,
			ours->completion_tokens);
	compare_counter(d, usage, "total_tokens", NULL, ours->has_total, ours->total_tokens);
	blame(d, ours->suspect || !is_suspect(usage), "a strange count that is not suspect");
}

/* --- all of it ---------------------------------------------------------------------------------
 */

static void
show(struct bytes text)
{
	for (size_t i = 0; i < text.len && i < 2000; i++) {
		uint8_t c = text.ptr[i];

		fprintf(stderr, c >= 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
	}
	fputc('\n', stderr);
}

static void
explain(struct dispute *d, struct json_opinion *opinion)
{
	for (uint32_t i = 0; i < COUNT_OF(rules) && !opinion->is_explained; i++)
		if (rules[i].verdict == opinion->verdict && rules[i].test(d)) {
			opinion->is_explained = true;
			opinion->row = i;
		}
	blame(d, opinion->is_explained, "ours refuses what yyjson reads");
}

bool
json_compare(struct bytes document, size_t first, struct json_opinion *opinion)
{
	static struct json_scan whole, cut;
	struct dispute d = { .text = document };
	yyjson_doc *doc = yyjson_read((const char *)document.ptr, document.len, 0);

	*opinion = (struct json_opinion){ .is_valid = doc != NULL };
	d.root = yyjson_doc_get_root(doc);
	opinion->verdict = scan(&whole, document, SIZE_MAX, SIZE_MAX);
	blame(&d, scan(&cut, document, 1, 1) == opinion->verdict, "the verdict depends on the cut");
	blame(&d, opinion->verdict != ERR_OK || is_same_result(&whole.result, &cut.result),
	      "the cut matters");
	blame(&d, scan(&cut, document, first, SIZE_MAX) == opinion->verdict,
	      "the verdict depends on the cut in two");
	blame(&d, opinion->verdict != ERR_OK || is_same_result(&whole.result, &cut.result),
	      "the cut in two matters");
	if (opinion->verdict == ERR_OK) {
		blame(&d, doc != NULL, "ours accepts what yyjson refuses");
		if (d.wrong == NULL) {
			compare_fields(&d, &whole.result);
			opinion->is_acceptable = compare_validation(&d, &whole.result);
			compare_edits(&d, &whole.result);
		}
	} else if (doc != NULL) {
		explain(&d, opinion);
	}
	if (doc != NULL)
		compare_usage(&d);
	yyjson_doc_free(doc);
	if (d.wrong == NULL)
		return true;
	fprintf(stderr, "%s; ours: %s; cut in two at %zu; ", d.wrong, err_name(opinion->verdict),
		first);
	show(document);
	return false;
}
