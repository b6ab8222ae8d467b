/*
 * Our JSON scan and yyjson on the same documents: the classes of json_cases.h, documents about what
 * a router reads, every octet at every place of a few of them, bounds, then documents made by seed,
 * and a folder of documents y_*, n_* and i_* (tests/diff/json_corpus has the public ones).
 *
 *   json_diff [--corpus FOLDER]        tables; or only the folder
 *   json_diff --seeds N, --seed N …    made documents (support/seeds.h)
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_cases.h"
#include "json_compare.h"
#include "seeded.h"
#include "seeds.h"

#include "base/check.h"
#include "base/units.h"
#include "json/scan.h"

static uint64_t documents;
static uint64_t row_hits[32];

static struct json_opinion
judge_cut(struct bytes document, size_t first)
{
	struct json_opinion opinion;

	documents++;
	if (!json_compare(document, first, &opinion))
		exit(1);
	if (opinion.is_explained)
		row_hits[opinion.row]++;
	return opinion;
}

static struct json_opinion
judge_all_cuts(struct bytes document)
{
	struct json_opinion opinion = judge_cut(document, 0);

	for (size_t first = 1; first < document.len; first++)
		judge_cut(document, first);
	return opinion;
}

static struct bytes
text_of(const char *text)
{
	return bytes_from_text(text);
}

/* --- classes ------------------------------------------------------------------------- */

/* Good JSON, and refused for a NUL in a name (json_stricter.def, which the comparison has looked up). */
static bool
is_refused_for_nul(const struct json_opinion *opinion, struct bytes text)
{
	return opinion->verdict == ERR_JSON_BAD_ESCAPE && memmem(text.ptr, text.len, "\\u0000", 6) != NULL;
}

/* As a member's value: what a class promises holds there, too. */
static bool
keeps_its_class(const char *name, char class, struct bytes text, bool all_cuts)
{
	size_t len = text.len + 6;
	uint8_t *wrapped = malloc(len);
	struct json_opinion opinion;
	bool is_right;

	CHECK(wrapped != NULL);
	memcpy(wrapped, "{\"x\":", 5);
	memcpy(wrapped + 5, text.ptr, text.len);
	wrapped[len - 1] = '}';
	opinion = all_cuts ? judge_all_cuts(bytes_make(wrapped, len)) :
			     judge_cut(bytes_make(wrapped, len), len / 2);
	is_right = class == 'y' ? opinion.is_valid && (opinion.verdict == ERR_OK ||
						       is_refused_for_nul(&opinion, text)) :
				  opinion.verdict != ERR_OK;
	if (class == 'n' && opinion.is_valid)
		is_right = false;
	if (!is_right)
		fprintf(stderr, "%s (%c): %s\n", name, class, err_name(opinion.verdict));
	free(wrapped);
	return is_right;
}

static bool
classes(void)
{
	bool is_right = true;

	for (size_t i = 0; i < json_case_count; i++) {
		const struct json_case *c = &json_cases[i];

		judge_all_cuts(bytes_make(c->text, c->len));
		is_right = keeps_its_class(c->text, c->class, bytes_make(c->text, c->len), true) &&
			   is_right;
	}
	return is_right;
}

/* --- what a router reads --------------------------------------------------------------- */

#define CHAT "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"

/* The first four are put through every octet at every place. */
static const char *const requests[] = {
	"{" CHAT ",\"stream\":true,\"stream_options\":{\"include_usage\":false}}",
	"{\"mod\\u0065l\":\"a\\u0301\\ud83d\\ude00\",\"messages\":[1],\"n\":1,\"temperature\":2.0}",
	"{\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":0,\"total_tokens\":12},\"choices\":"
	"[]}",
	"{\"stop\":[\"a\",\"b\"],\"seed\":-5,\"top_p\":1e0,\"max_tokens\":10, " CHAT "}",
	"{" CHAT ",\"stream_options\":{}}",
	"{" CHAT ",\"stream_options\":null}",
	"{" CHAT ",\"stream_options\":[]}",
	"{" CHAT ",\"stream_options\":{\"other\":{\"include_usage\":1}}}",
	"{" CHAT ",\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":null}}",
	"{" CHAT ",\"stream_options\":{\"continuous_usage_stats\":false,\"x\":[{}]}}",
	"{" CHAT ",\"stream_options\":{\"include_usage\":\"yes\"}}",
	"{" CHAT ",\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}",
	"{" CHAT ",\"stream_options\":{\"include_usage\":true,\"include\\u005fusage\":false}}",
	" \n{\"nested\":{\"model\":\"a\",\"model\":\"b\",\"stream\":1}," CHAT "}",
	"{" CHAT ",\"model\":\"b\"}",
	"{" CHAT ",\"mod\\u0065l\":\"b\"}",
	"{" CHAT ",\"Model\":\"b\",\"MODEL\":1}",
	"{" CHAT ",\"model \":\"b\",\"mode\":1,\"modell\":2,\"model\\u0000\":3}",
	"{" CHAT ",\"max_tokens\":1,\"max_tokens\":1}",
	"{" CHAT ",\"stream\":true,\"str\\u0065am\":true}",
	"{\"model\":7,\"messages\":[1]}",
	"{\"model\":null,\"messages\":[1]}",
	"{\"messages\":[1]}",
	"{\"model\":\"m\"}",
	"{\"model\":\"m\",\"messages\":[]}",
	"{\"model\":\"m\",\"messages\":{}}",
	"{\"model\":\"\",\"messages\":[0]}",
	"{" CHAT ",\"max_tokens\":0}",
	"{" CHAT ",\"max_tokens\":1.0}",
	"{" CHAT ",\"max_tokens\":1e1}",
	"{" CHAT ",\"max_tokens\":9223372036854775807}",
	"{" CHAT ",\"max_tokens\":9223372036854775808}",
	"{" CHAT ",\"temperature\":2.0000000000000001}",
	"{" CHAT ",\"temperature\":2.001}",
	"{" CHAT ",\"temperature\":-1e-9}",
	"{" CHAT ",\"temperature\":-0.0}",
	"{" CHAT ",\"temperature\":0.2e1}",
	"{" CHAT ",\"temperature\":20e-1}",
	"{" CHAT ",\"top_p\":1.0000001}",
	"{" CHAT ",\"presence_penalty\":-2,\"frequency_penalty\":2}",
	"{" CHAT ",\"presence_penalty\":-2.0001}",
	"{" CHAT ",\"seed\":9223372036854775807,\"n\":1}",
	"{" CHAT ",\"seed\":-9223372036854775808}",
	"{" CHAT ",\"seed\":9223372036854775808}",
	"{" CHAT ",\"seed\":1.5}",
	"{" CHAT ",\"stop\":[]}",
	"{" CHAT ",\"stop\":[[\"a\"]]}",
	"{" CHAT ",\"stop\":[\"a\",1]}",
	"{" CHAT ",\"stop\":null}",
	"{" CHAT
	",\"response_format\":{\"type\":\"json\"},\"tools\":[{}],\"tool_choice\":\"auto\"}",
	"{" CHAT ",\"response_format\":\"json\"}",
	"{" CHAT ",\"tools\":{}}",
	"{" CHAT ",\"tool_choice\":[]}",
	"{\"model\":\"m\",\"input\":\"a\\u00e9\xc3\xa9\\ud83d\\ude00\xf0\x9f\x98\x80\\n\","
	"\"seconds\":\"8\",\"size\":\"1x1\"}",
	"{\"model\":\"m\",\"input\":[\"abc\"],\"seconds\":\"08x\",\"duration\":4.5}",
	"{\"usage\":null,\"choices\":[{}]}",
	"{\"usage\":{}}",
	"{\"usage\":[]}",
	"{\"usage\":5}",
	"{\"a\":\"usage\",\"b\":{\"usage\":{}}}",
	"{\"usage\":{\"prompt_tokens\":-1}}",
	"{\"usage\":{\"prompt_tokens\":1.5,\"completion_tokens\":1e3}}",
	"{\"usage\":{\"prompt_tokens\":4294967296,\"completion_tokens\":4294967297}}",
	"{\"usage\":{\"prompt_tokens\":18446744073709551616,\"total_tokens\":null}}",
	"{\"usage\":{\"prompt_tokens\":\"5\",\"completion_tokens\":[5],\"total_tokens\":{\"prompt_"
	"tokens\":9}}}",
	"{\"usage\":{\"input_tokens\":3,\"output_tokens\":4,\"x\":\"completion_tokens\"},"
	"\"choices\":[[]]}",
	"{\"choices\":[ ],\"x\":[],\"usage\" : { \"total_tokens\" : 7 } }",
	"{\"choices\":{}}",
	"[{\"usage\":{\"total_tokens\":1}}]",
	"{\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":4}},\"usage\":null}",
	"{\"response\":{\"x\":{\"usage\":{}},\"usage\":{\"a\":{\"output_tokens\":1},\"total_tokens\":-1}}}",
	"{\"usage\":{\"prompt_tokens\":1},\"response\":{\"usage\":{\"input_tokens\":3}}}",
	"{\"response\":{\"usage\":{\"input_tokens\":3,\"output_tokens\":-4}},\"usage\":{\"prompt_tokens\":1}}",
	"{\"type\":\"response.completed\",\"x\":[{\"type\":\"response.failed\"}]}",
	"{\"type\":{\"type\":\"response.failed\"},\"y\":\"type\",\"z\":\"response.incomplete\"}",
	"{\"response\":[{\"usage\":{\"input_tokens\":3}}],\"choices\":[]}",
};

static void
every_octet_at_every_place(const char *text)
{
	size_t len = strlen(text);
	uint8_t *bytes = malloc(len + 1);

	CHECK(bytes != NULL);
	for (size_t at = 0; at < len; at++)
		for (int c = 0; c < 256; c++) {
			memcpy(bytes, text, len);
			bytes[at] = (uint8_t)c;
			judge_cut(bytes_make(bytes, len), at);
			memcpy(bytes, text, at);
			bytes[at] = (uint8_t)c;
			memcpy(bytes + at + 1, text + at, len - at);
			judge_cut(bytes_make(bytes, len + 1), at);
		}
	free(bytes);
}

/* --- bounds ------------------------------------------------------------------------------- */

static char long_text[1 << 20];

/* prefix, n times part, then n times closing, suffix */
static enum err
judge_long(const char *prefix, const char *part, size_t n, const char *closing, const char *suffix)
{
	size_t len = (size_t)snprintf(long_text, sizeof(long_text), "%s", prefix);

	CHECK(n * (strlen(part) + strlen(closing)) + 1024 < sizeof(long_text));
	for (size_t i = 0; i < n; i++, len += strlen(part))
		memcpy(long_text + len, part, strlen(part));
	for (size_t i = 0; i < n; i++, len += strlen(closing))
		memcpy(long_text + len, closing, strlen(closing));
	len += (size_t)snprintf(long_text + len, sizeof(long_text) - len, "%s", suffix);
	return judge_cut(bytes_make(long_text, len), len / 2).verdict;
}

static void
bounds_and_one_beyond(void)
{
	static char keys[16384];
	size_t len = 0;

	CHECK(judge_long("{\"a\":", "[", JSON_DEPTH_MAX - 1, "]", "}") == ERR_OK);
	CHECK(judge_long("{\"a\":", "[", JSON_DEPTH_MAX, "]", "}") == ERR_JSON_TOO_DEEP);
	CHECK(judge_long("{\"a\":", "[", 50000, "]", "}") == ERR_JSON_TOO_DEEP);
	CHECK(judge_long("{\"a\":", "[", 50000, "", "") == ERR_JSON_TOO_DEEP);
	CHECK(judge_long("{\"model\":\"", "m", JSON_MODEL_BYTES_MAX, "", "\"}") == ERR_OK);
	CHECK(judge_long("{\"model\":\"", "m", JSON_MODEL_BYTES_MAX + 1, "", "\"}") ==
	      ERR_JSON_MODEL_TOO_LONG);
	CHECK(judge_long("{\"a\":0.", "0", 100000, "", "1e99999}") == ERR_OK ||
	      judge_long("{\"a\":0.", "0", 100000, "", "1e99999}") == ERR_JSON_BAD_NUMBER);
	CHECK(judge_long("{\"a\":0.", "0", 400, "", "1e101}") == ERR_OK);
	CHECK(judge_long("{\"a\":1", "0", 400, "", "e-400}") == ERR_OK);
	CHECK(judge_long("{\"a\":", "9", 400, "", "}") == ERR_JSON_BAD_NUMBER);
	for (int count = JSON_TOP_LEVEL_KEYS_MAX; count <= JSON_TOP_LEVEL_KEYS_MAX + 1; count++) {
		len = 0;
		for (int i = 0; i < count; i++)
			len += (size_t)snprintf(keys + len, sizeof(keys) - len, "%c\"k%d\":%d",
						i == 0 ? '{' : ',', i, i);
		snprintf(keys + len, sizeof(keys) - len, "}");
		CHECK(judge_cut(text_of(keys), 100).verdict ==
		      (count > JSON_TOP_LEVEL_KEYS_MAX ? ERR_JSON_TOO_MANY_KEYS : ERR_OK));
	}
}

/* --- a folder ------------------------------------------------------------------------------ */

/* The public corpus as it is packed has lost the bytes that are no UTF-8: U+FFFD stands there. */
static bool
lost_bytes(struct bytes text)
{
	return memmem(text.ptr, text.len, "\xef\xbf\xbd", 3) != NULL;
}

static bool
judge_file(const char *folder, const char *name)
{
	char path[4096];
	struct bytes text;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "rb");
	CHECK(file != NULL);
	text = bytes_make(long_text, fread(long_text, 1, sizeof(long_text), file));
	fclose(file);
	judge_cut(text, text.len / 3);
	if (lost_bytes(text) || name[1] != '_' || strchr("yni", name[0]) == NULL)
		return true;
	return keeps_its_class(name, name[0], text, text.len < 200);
}

static int
judge_folder(const char *folder)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, NULL, alphasort), files = 0;
	bool is_right = true;

	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.') {
			files++;
			is_right = judge_file(folder, entries[i]->d_name) && is_right;
		}
		free(entries[i]);
	}
	if (count > 0)
		free(entries);
	printf("%d files\n", files);
	return is_right && files > 0 ? 0 : 1;
}

/* --- made documents -------------------------------------------------------------------------- */

#define DOCUMENTS_PER_SEED 10
#define DOCUMENT_BYTES_MAX 4096

struct maker {
	struct seeded chance;
	size_t len;
	char text[DOCUMENT_BYTES_MAX];
};

static uint64_t
below(struct maker *m, uint64_t limit)
{
	return seeded_below(&m->chance, limit);
}

static void
put(struct maker *m, const char *text)
{
	size_t len = strlen(text);

	if (len > sizeof(m->text) - m->len)
		return;
	memcpy(m->text + m->len, text, len);
	m->len += len;
}

static void
put_space(struct maker *m)
{
	static const char *const spaces[] = { "", "", "", "", "", " ", "\n", "\t \r\n" };

	put(m, spaces[below(m, COUNT_OF(spaces))]);
}

/* Some letters spelled as escapes. */
static void
put_name(struct maker *m, const char *name)
{
	bool escapes = below(m, 8) == 0;
	char escaped[8];

	put(m, "\"");
	for (; *name != '\0'; name++) {
		if (escapes && below(m, 4) == 0)
			snprintf(escaped, sizeof(escaped), below(m, 2) == 0 ? "\\u%04x" : "\\u%04X",
				 *name);
		else
			snprintf(escaped, sizeof(escaped), "%c", *name);
		put(m, escaped);
	}
	put(m, "\"");
}

static void
put_number(struct maker *m)
{
	static const char *const numbers[] = {
		"0",
		"-0",
		"1",
		"2",
		"-1",
		"-2",
		"0.5",
		"1.0",
		"2.0",
		"2.0001",
		"1e0",
		"2e0",
		"20e-1",
		"0.002e3",
		"1e3",
		"-2.0",
		"1.7976931348623157e308",
		"1e308",
		"1e309",
		"5e-324",
		"1e-330",
		"9007199254740992",
		"4294967296",
		"4294967297",
		"9007199254740993",
		"9223372036854775807",
		"9223372036854775808",
		"-9223372036854775808",
		"-9223372036854775809",
		"18446744073709551615",
		"18446744073709551616",
		"99999999999999999999",
		"0.1234567890123456789012345",
		"1234567890123456789012.5",
		"4.9e-324",
		"2.0000000000000000001",
		"-1e-20",
	};
	char text[32];

	if (below(m, 3) > 0) {
		put(m, numbers[below(m, COUNT_OF(numbers))]);
		return;
	}
	snprintf(text, sizeof(text), "%s%llu%s", below(m, 2) ? "-" : "",
		 (unsigned long long)below(m, 5000), below(m, 2) ? ".25" : "");
	put(m, text);
}

static void
put_string(struct maker *m)
{
	static const char *const strings[] = {
		"\"\"",
		"\"m\"",
		"\"auto\"",
		"\"usage\"",
		"\"\\\"usage\\\":{\"",
		"\"a\\nb\"",
		"\"\xc3\xa9\"",
		"\"\\ud83d\\ude00\"",
		"\"},{\"",
		"\"\\\\\"",
		"\"[[sim tokens=1]]\"",
		"\"data: [DONE]\\n\\n\"",
		"\"\\u0000\"",
	};

	put(m, strings[below(m, COUNT_OF(strings))]);
}

static void put_value(struct maker *m, uint32_t depth);

static void
put_object(struct maker *m, uint32_t depth)
{
	static const char *const names[] = {
		"model",
		"stream",
		"stream_options",
		"messages",
		"max_tokens",
		"max_completion_tokens",
		"n",
		"temperature",
		"top_p",
		"presence_penalty",
		"frequency_penalty",
		"stop",
		"seed",
		"response_format",
		"tools",
		"tool_choice",
		"prompt",
		"input",
		"size",
		"seconds",
		"duration",
		"include_usage",
		"continuous_usage_stats",
		"usage",
		"choices",
		"prompt_tokens",
		"completion_tokens",
		"total_tokens",
		"input_tokens",
		"output_tokens",
		"role",
		"content",
		"x",
		"",
		"Model",
		"usage ",
	};
	uint64_t count = below(m, depth == 0 ? 8 : 5);

	put(m, "{");
	for (uint64_t i = 0; i < count; i++) {
		if (i > 0)
			put(m, ",");
		put_space(m);
		put_name(m, names[below(m, COUNT_OF(names))]);
		put_space(m);
		put(m, ":");
		put_space(m);
		put_value(m, depth + 1);
	}
	put_space(m);
	put(m, "}");
}

static void
put_value(struct maker *m, uint32_t depth)
{
	uint64_t kind = below(m, depth > 4 ? 6 : 10);

	if (kind < 2) {
		put_number(m);
	} else if (kind < 4) {
		put_string(m);
	} else if (kind < 6) {
		put(m, (const char *const[]){ "true", "false", "null" }[below(m, 3)]);
	} else if (kind < 8) {
		put(m, "[");
		for (uint64_t i = 0, count = below(m, 4); i < count; i++) {
			put(m, i > 0 ? "," : "");
			put_space(m);
			put_value(m, depth + 1);
		}
		put(m, "]");
	} else {
		put_object(m, depth);
	}
}

static void
break_it(struct maker *m)
{
	size_t at = below(m, m->len), len = 1 + below(m, 8);

	switch (below(m, 4)) {
	case 0:
		m->text[at] = (char)below(m, 256);
		break;
	case 1:
		m->text[at] ^= (char)(1u << below(m, 8));
		break;
	case 2:
		m->len = at;
		break;
	default:
		if (len > m->len - at)
			len = m->len - at;
		memmove(m->text + at, m->text + at + len, m->len - at - len);
		m->len -= len;
		break;
	}
}

static void
run_seed(uint64_t seed, bool is_verbose)
{
	static struct maker m;

	(void)is_verbose;
	m.chance.state = seed;
	for (int i = 0; i < DOCUMENTS_PER_SEED; i++) {
		m.len = 0;
		if (below(&m, 4) == 0) {
			put(&m, requests[below(&m, COUNT_OF(requests))]);
		} else {
			put_space(&m);
			put_object(&m, 0);
		}
		for (uint64_t n = below(&m, 3) > 0 ? 0 : 1 + below(&m, 3); n > 0 && m.len > 0; n--)
			break_it(&m);
		judge_cut(bytes_make(m.text, m.len), below(&m, m.len + 1));
	}
}

int
main(int argc, char **argv)
{
	bool is_right;

	if (argc == 3 && strcmp(argv[1], "--corpus") == 0)
		return judge_folder(argv[2]);
	if (argc > 1)
		return seeds_main(argc, argv, run_seed);
	CHECK(json_row_count <= COUNT_OF(row_hits));
	is_right = classes();
	for (size_t i = 0; i < COUNT_OF(requests); i++)
		judge_all_cuts(text_of(requests[i]));
	for (size_t i = 0; i < 4; i++)
		every_octet_at_every_place(requests[i]);
	bounds_and_one_beyond();
	for (uint32_t i = 0; i < json_row_count; i++) {
		printf("%8llu  %s: %s\n", (unsigned long long)row_hits[i], json_rows[i].name,
		       json_rows[i].reason);
		if (row_hits[i] == 0) {
			fprintf(stderr, "%s: met by no document\n", json_rows[i].name);
			is_right = false;
		}
	}
	printf("%llu documents\n", (unsigned long long)documents);
	return is_right ? 0 : 1;
}
