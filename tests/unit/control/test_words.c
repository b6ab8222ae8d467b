/* The command line's words against the API's members: each can be said, none leads nowhere, money is dollars. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shape.h"
#include "words.h"

static const struct word *
word_of_member(const struct word_noun *noun, const char *member)
{
	for (const struct word *w = noun->words; w->name != NULL; w++)
		if (strcmp(w->member, member) == 0)
			return w;
	return NULL;
}

static void
check_choices(const struct word_noun *noun, const struct word *word, const struct field *field)
{
	char all[256] = "";

	for (int i = 0; field->choices[i] != NULL; i++)
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i > 0 ? " " : "",
			 field->choices[i]);
	assert_non_null(word_choices(noun, word));
	assert_string_equal(word_choices(noun, word), all);
}

static void
every_member_that_can_be_written_can_be_said(void **state)
{
	(void)state;
	for (int i = 0; i < NOUN_COUNT; i++) {
		const struct shape *shape = shape_of((enum noun)i);
		const struct word_noun *noun = word_find_noun(shape->name);

		assert_non_null(noun);
		assert_string_equal(noun->plural, shape->plural);
		assert_int_equal(word_has_name(noun), shape->has_name);
		for (const struct field *f = shape->fields; f->name != NULL; f++) {
			const struct word *word = word_of_member(noun, f->name);

			if ((f->flags & FIELD_READ_ONLY) != 0 || (shape->has_name && strcmp(f->name, "name") == 0))
				continue;
			if (word == NULL)
				fail_msg("%s of %s cannot be said", f->name, shape->name);
			assert_int_equal(word->kind == WORD_DOLLARS, strstr(f->name, "_nano") != NULL);
			assert_int_equal(word->kind == WORD_LIST, f->kind == FIELD_POD_LIST);
			assert_int_equal(word->kind == WORD_FLAG, f->kind == FIELD_FLAG);
			assert_int_equal(word->kind == WORD_SECRET, (f->flags & FIELD_SECRET) != 0);
			if (word_is_filter(word) != shape_is_filter(f))
				fail_msg("whether a list has --%s is not what the API says", word->name);
			if (f->kind == FIELD_CHOICE)
				check_choices(noun, word, f);
		}
	}
}

/* What control would refuse without is what the help calls needed, and the example has it. */
static void
what_a_new_one_needs_is_told(void **state)
{
	(void)state;
	for (const struct word_noun *noun = word_nouns; noun->name != NULL; noun++) {
		const struct shape *shape;
		enum noun of;

		assert_true(noun_find(bytes_from_text(noun->plural), &of));
		shape = shape_of(of);
		assert_int_equal(noun->example[0] != '-', shape->has_name);
		for (const struct word *w = noun->words; w->name != NULL; w++) {
			const struct field *f = shape_field(shape->fields, w->member);
			bool is_needed = f != NULL && (f->flags & FIELD_REQUIRED) != 0;
			char option[64];

			if (word_is_needed(noun, w) != is_needed)
				fail_msg("whether a %s needs --%s is not what the API says", noun->name, w->name);
			snprintf(option, sizeof(option), "--%s ", w->name);
			if (is_needed && strstr(noun->example, option) == NULL)
				fail_msg("the example of %s lacks --%s", noun->name, w->name);
		}
	}
}

static void
every_word_is_a_member(void **state)
{
	(void)state;
	for (const struct word_noun *noun = word_nouns; noun->name != NULL; noun++) {
		enum noun of;

		assert_true(noun_find(bytes_from_text(noun->plural), &of));
		for (const struct word *w = noun->words; w->name != NULL; w++) {
			const struct field *f = shape_field(shape_of(of)->fields, w->member);

			if (of == NOUN_KEY && strcmp(w->member, "key") == 0)
				continue; /* of the call that makes one */
			if (f == NULL || (f->flags & FIELD_READ_ONLY) != 0)
				fail_msg("--%s of %s is no member", w->name, noun->name);
		}
	}
}

static void
amounts_are_called_as_they_are_said(void **state)
{
	const struct word_noun *price = word_find_noun("price");
	char text[128];

	(void)state;
	word_label(price, "input_nano_per_mtoken", text, sizeof(text));
	assert_string_equal(text, "input");
	word_label(price, "character_nano_per_million", text, sizeof(text));
	assert_string_equal(text, "characters");
	word_label(word_find_noun("account"), "balance_nano", text, sizeof(text));
	assert_string_equal(text, "balance");
	word_label(NULL, "cost_nano", text, sizeof(text));
	assert_string_equal(text, "cost");
	word_label(price, "version", text, sizeof(text));
	assert_string_equal(text, "version");
	word_translate(price, "input_nano_per_mtoken is missing", text, sizeof(text));
	assert_string_equal(text, "--input is missing");
	word_translate(price, "no price \"input_nano_per_mtoken2\", name", text, sizeof(text));
	assert_string_equal(text, "no price \"input_nano_per_mtoken2\", name");
	word_translate(price, "input_nano_per_mtoken is missing", text, 8);
	assert_string_equal(text, "--input");
}

static void
values_are_queries(void **state)
{
	const struct word *flag = word_find(word_find_noun("key"), "revoked");
	const struct word *text = word_find(word_find_noun("key"), "name");

	(void)state;
	assert_string_equal(word_query(flag, "yes"), "true");
	assert_string_equal(word_query(flag, "false"), "false");
	assert_string_equal(word_query(flag, "maybe"), "maybe"); /* the API says what is wrong with it */
	assert_string_equal(word_query(text, "yes"), "yes");
}

static const char *
written(const char *noun, const char *word, const char *value)
{
	static char text[128];
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	bool good = word_add(word_find(word_find_noun(noun), word), value, doc, object);
	char *json = yyjson_mut_val_write(object, 0, NULL);
	int len = snprintf(text, sizeof(text), "%s", good ? json : "refused");

	assert_true(len > 0 && (size_t)len < sizeof(text));
	free(json);
	yyjson_mut_doc_free(doc);
	return text;
}

static void
words_become_members_of_their_kind(void **state)
{
	(void)state;
	assert_string_equal(written("price", "input", "0.6"),
			    "{\"input_nano_per_mtoken\":600000000}");
	assert_string_equal(written("pod", "port", "8000"), "{\"port\":8000}");
	assert_string_equal(written("pods", "port", "8000x"), "refused");
	assert_string_equal(written("pod", "running-usage", "yes"), "{\"running_usage\":true}");
	assert_string_equal(written("pod", "running_usage", "maybe"), "refused");
	assert_string_equal(written("deployment", "pods", "a,b"), "{\"pods\":[\"a\",\"b\"]}");
	assert_string_equal(written("deployment", "pods", ""), "{\"pods\":[]}");
	assert_string_equal(written("model", "price", "none"), "{\"price\":null}");
	assert_null(word_find(word_find_noun("model"), "prices"));
	assert_null(word_find_noun("modell"));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_queries),
		cmocka_unit_test(words_become_members_of_their_kind),
		cmocka_unit_test(every_member_that_can_be_written_can_be_said),
		cmocka_unit_test(what_a_new_one_needs_is_told),
		cmocka_unit_test(every_word_is_a_member),
		cmocka_unit_test(amounts_are_called_as_they_are_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
