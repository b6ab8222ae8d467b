/*
 * Our HTTP/1 parser and llhttp on the same bytes: first tables (every octet at every place of a few
 * messages, all pairs of framing fields, bounds, all cuts), then messages mutated by seed, then the
 * corpora of the fuzzers, which are given as folders.
 *
 *   h1_diff [CORPUS_FOLDER…]           tables, corpora
 *   h1_diff --seeds N, --seed N …      mutations (support/seeds.h)
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "h1_compare.h"
#include "seeded.h"
#include "seeds.h"

#include "base/check.h"
#include "base/units.h"
#include "http/h1.h"

static uint64_t cases;
static uint64_t row_hits[64];

/* --- one case ------------------------------------------------------------------------ */

static void
judge_cut(struct bytes input, bool is_response, size_t first, size_t step)
{
	enum h1_outcome outcome;
	uint32_t row = 0;

	cases++;
	if (!h1_compare_input(input, is_response, false, first, step, &outcome, &row))
		exit(1);
	if (outcome == H1_STRICTER || outcome == H1_REFUSED)
		row_hits[row]++;
}

/* At every octet, and in two at every place. */
static void
judge_all_cuts(struct bytes input, bool is_response)
{
	judge_cut(input, is_response, 1, 1);
	for (size_t first = 0; first <= input.len; first++)
		judge_cut(input, is_response, first, SIZE_MAX);
}

/* --- messages ------------------------------------------------------------------------- */

struct message {
	bool is_response;
	const char *text;
};

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
#define OK "HTTP/1.1 200 OK\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"

/* Where mutations start from; the first six are put through every octet at every place. */
static const struct message messages[] = {
	{ false,
	  "POST /a?b HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\nX-y:  b \t\r\n\r\nabcdeGET" },
	{ false, "POST / HTTP/1.1\r\nhost:a\r\n" CHUNKED "\r\n2;e=f\r\nab\r\n0\r\nT: u\r\n\r\n" },
	{ true, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\nabcHTTP/1.1 204\r\n\r\n" },
	{ true, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\n" CHUNKED "\r\n1\r\nx\r\n0\r\n\r\n" },
	{ false, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: "
		 "c\r\n\r\n" },
	{ true, "HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\nrest" },
	{ false, GET "\r\n" GET "\r\n" GET "Connection: close\r\n\r\n" GET "\r\n" },
	{ false, POST "Content-Length: 0\r\n\r\n" GET "\r\n" },
	{ false, POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab" },
	{ false,
	  POST "Connection: upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" },
	{ false, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\nxyz" },
	{ false, "CONNECT / HTTP/1.1\r\nHost: a\r\n" CHUNKED "\r\n0\r\n\r\n" },
	{ false, "CONNECT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx" GET "\r\n" },
	{ false, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ false, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" },
	{ false, "PRI * HTTP/1.0\r\n\r\nSM\r\n" },
	{ false, POST CHUNKED
	  "\r\n5;a=\"b\\\"c\";d\r\nhello\r\n00a\r\n0123456789\r\n000;x\r\nA: b\r\nC:d\r\n\r\n" GET
	  "\r\n" },
	{ true, OK CHUNKED
	  "Content-Type: text/event-stream\r\n\r\n8\r\ndata: a\n\r\n1\r\n\n\r\n0\r\n\r\n" },
	{ true,
	  OK "Content-Length: 0\r\nConnection: keep-alive, x\r\n\r\n" OK "\r\nuntil the end" },
	{ true, "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n" OK
		"Content-Length: 1\r\n\r\nx" },
	{ true,
	  "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbytes" },
	{ false, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ false, "get / HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ false, "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ false, "OPTIONS rtsp://a/ RTSP/1.0\r\nHost: a\r\n\r\n" },
	{ false, "GET /\r\n\r\n" },
	{ false, "GET /\n\r\n" },
	{ false, POST "Expect: 200-ok\r\nContent-Length: 2\r\n\r\nab" },
	{ true, "HTTP/1.0 404 Not Found\r\r\r\n\nConnection: close\r\n\r\nrest" },
	{ false,
	  POST CHUNKED "\r\n1;a=\"\x7f\"\r\nx\r\n0\r\nConnection: close\r\n\r\n" GET "\r\n" },
	{ false, "\r\n\n\r\r\n" GET "\r\n" },
	{ false, "\r\n\r\n" GET "\r\n" },
	{ false, GET "A: b\r\n c\r\n\r\n" },
	{ false, GET "A : b\r\n\r\n" },
	{ false, GET ": b\r\n\r\n" },
	{ false, GET "A:\r\nB: \r\nC:\t\r\n\r\n" },
	{ false, GET "A\r\n\r\n" },
	{ true, "HTTP/1.1  200 OK\r\n\r\n" },
	{ true, "HTTP/1.1 200OK\r\n\r\n" },
	{ true, "HTTP/1.1 700 Odd\r\nContent-Length: 0\r\n\r\n" },
	{ true, "HTTP/1.1 200 \xc3\xa9\r\nContent-Length: 0\r\n\r\n" },
	{ true, "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n" },
	{ true, "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody" },
	{ true, "HTTP/1.1 103 Early\r\n" CHUNKED "\r\n0\r\n\r\n" },
};

/* --- tables ---------------------------------------------------------------------------- */

/* Every octet in place of every one, and before every one. */
static void
every_octet_at_every_place(const struct message *m)
{
	size_t len = strlen(m->text);
	uint8_t *bytes = malloc(len + 1);

	CHECK(bytes != NULL);
	for (size_t at = 0; at <= len; at++)
		for (int c = 0; c < 256; c++) {
			memcpy(bytes, m->text, len);
			if (at < len) {
				bytes[at] = (uint8_t)c;
				judge_cut(bytes_make(bytes, len), m->is_response, at, 1);
			}
			memmove(bytes + at + 1, bytes + at, len - at);
			memcpy(bytes, m->text, at);
			bytes[at] = (uint8_t)c;
			memcpy(bytes + at + 1, m->text + at, len - at);
			judge_cut(bytes_make(bytes, len + 1), m->is_response, at, 1);
		}
	free(bytes);
}

/* What can be said of a message's length, twice, in both orders and versions, for all that may
 * carry it. */
static void
all_pairs_of_framing_fields(void)
{
	static const char *const lines[] = {
		"",
		"Content-Length: 5\r\n",
		"Content-Length: 6\r\n",
		"Content-Length: 0\r\n",
		"Content-Length: 05\r\n",
		"Content-Length: +5\r\n",
		"Content-Length: -5\r\n",
		"Content-Length: 0x5\r\n",
		"Content-Length: 5,5\r\n",
		"Content-Length: 5, 6\r\n",
		"Content-Length: 5 6\r\n",
		"Content-Length: 5.0\r\n",
		"Content-Length:\r\n",
		"Content-Length: \t5\t \r\n",
		"content-length:5\r\n",
		"Content-Length : 5\r\n",
		"Content-Length: 9223372036854775807\r\n",
		"Content-Length: 9223372036854775808\r\n",
		"Content-Length: 18446744073709551615\r\n",
		"Content-Length: 18446744073709551616\r\n",
		"Content-Length: 99999999999999999999999\r\n",
		"Content-Length: 5\r\n 6\r\n",
		"Content_Length: 7\r\n",
		"Transfer-Encoding: chunked\r\n",
		"transfer-encoding:CHUNKED\r\n",
		"Transfer-Encoding: xchunked\r\n",
		"Transfer-Encoding: chunkedx\r\n",
		"Transfer-Encoding: chunked,chunked\r\n",
		"Transfer-Encoding: ,chunked\r\n",
		"Transfer-Encoding: chunked,\r\n",
		"Transfer-Encoding: gzip, chunked\r\n",
		"Transfer-Encoding: chunked, gzip\r\n",
		"Transfer-Encoding: identity\r\n",
		"Transfer-Encoding:\r\n",
		"Transfer-Encoding: \tchunked \r\n",
		"Transfer-Encoding: \vchunked\r\n",
		("Transfer-Encoding: \xa0"
		"chunked\r\n"),
		"Transfer-Encoding: \"chunked\"\r\n",
		"Transfer-Encoding: chunked;q=1\r\n",
		"Transfer-Encoding : chunked\r\n",
		"Transfer-Encoding\r\n: chunked\r\n",
		"Transfer-Encoding: chun\r\n ked\r\n",
		"Transfer-Encoding: chunked\r\n \r\n",
		"X: y\rTransfer-Encoding: chunked\r\n",
		"X: y\nTransfer-Encoding: chunked\r\n",
		"X: y\r\n\tTransfer-Encoding: chunked\r\n",
		" Transfer-Encoding: chunked\r\n",
	};
	static const char *const starts[] = {
		"POST / HTTP/1.1\r\nHost: a\r\n",
		"POST / HTTP/1.0\r\nHost: a\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n",
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.0 200 OK\r\n",
		"HTTP/1.1 204 OK\r\n",
		"HTTP/1.1 100 OK\r\n",
	};
	static const char *const bodies[] = { "5\r\nhello\r\n0\r\n\r\n", "hello" GET "\r\n" };
	char text[1024];

	for (size_t s = 0; s < COUNT_OF(starts); s++)
		for (size_t i = 0; i < COUNT_OF(lines); i++)
			for (size_t j = 0; j < COUNT_OF(lines); j++)
				for (size_t b = 0; b < COUNT_OF(bodies); b++) {
					int len =
						snprintf(text, sizeof(text), "%s%sA: b\r\n%s\r\n%s",
							 starts[s], lines[i], lines[j], bodies[b]);

					judge_cut(bytes_make(text, (size_t)len),
						  starts[s][0] == 'H', (i * 31 + j) % 80, 1);
				}
}

static void
all_forms_of_chunks(void)
{
	static const char *const sizes[] = {
		"5",
		"05",
		"005",
		"0x5",
		"+5",
		"-5",
		" 5",
		"5 ",
		"5\t",
		"5_",
		"",
		"g",
		"5g",
		"fffffffffffffff",
		"ffffffffffffffff",
		"10000000000000000",
		"000000000000005",
		"0000000000000005",
		"5;",
		"5;a",
		"5; a",
		"5;a=b",
		"5;a=",
		"5;a= b",
		"5;a =b",
		"5;a=\"b\"",
		"5;a=\"b",
		"5;a=\"b\"c",
		"5;a=\"\\\"\"",
		"5;;",
		"5;a;b=c;d",
		"5;a\x01",
		"5;a=\x7f",
		"5;\xc3\xa9",
		"5;a=\"\xc3\xa9\"",
		"5\r",
		"5,5",
		"5;a,b",
		"5\x0b",
	};
	static const char *const ends[] = { "\r\n", "\n", "\r", "\r\r\n", "\n\r\n", "" };
	static const char *const lasts[] = { "0\r\n\r\n",
					     "0\r\nA: b\r\n\r\n",
					     "0\r\nA : b\r\n\r\n",
					     "0\r\n A: b\r\n\r\n",
					     "0\r\nA\r\n\r\n",
					     "0\n\n",
					     "0\r\nContent-Length: 3\r\n\r\n",
					     "0\r\nTransfer-Encoding: chunked\r\n\r\n",
					     "0\r\nA: \xc3\xa9\r\n\r\n",
					     "0\r\nA: b\r\n c\r\n\r\n",
					     "0\r\nA: \x01\r\n\r\n",
					     "00\r\n\r\n",
					     "0\r\n\r" };
	char text[1024];

	for (int is_response = 0; is_response < 2; is_response++)
		for (size_t s = 0; s < COUNT_OF(sizes); s++)
			for (size_t e = 0; e < COUNT_OF(ends); e++)
				for (size_t f = 0; f < COUNT_OF(ends); f++)
					for (size_t l = 0; l < COUNT_OF(lasts); l++) {
						int len =
							snprintf(text, sizeof(text),
								 "%s" CHUNKED "\r\n%s%shello%s%s%s",
								 is_response ? OK : GET, sizes[s],
								 ends[e], ends[f], lasts[l],
								 is_response ? OK "\r\n" :
									       GET "\r\n");

						judge_cut(bytes_make(text, (size_t)len),
							  is_response, (s + e + f + l) % 90, 1);
					}
}

static char long_text[READING_INPUT_BYTES_MAX];

/* prefix, n times part, suffix */
static void
judge_long(bool is_response, const char *prefix, const char *part, size_t n, const char *suffix)
{
	size_t len = strlen(prefix), part_len = strlen(part);

	CHECK(len + n * part_len + strlen(suffix) < sizeof(long_text));
	memcpy(long_text, prefix, len);
	for (size_t i = 0; i < n; i++, len += part_len)
		memcpy(long_text + len, part, part_len);
	memcpy(long_text + len, suffix, strlen(suffix));
	len += strlen(suffix);
	judge_cut(bytes_make(long_text, len), is_response, len / 2, 997);
}

static void
bounds_and_one_beyond(void)
{
	for (size_t more = 0; more < 5; more++) {
		judge_long(false, "GET /", "a", H1_LINE_BYTES_MAX - 16 + more,
			   " HTTP/1.1\r\nHost: a\r\n\r\n");
		judge_long(true, "HTTP/1.1 200 ", "a", H1_LINE_BYTES_MAX - 15 + more,
			   "\r\nContent-Length: 0\r\n\r\n");
		judge_long(false, GET "X: ", "a", H1_FIELD_BYTES_MAX - 5 + more, "\r\n\r\n");
		judge_long(false, GET, "X: y\r\n", H1_FIELDS_MAX - 3 + more, "\r\n");
		judge_long(true, OK, "X: y\r\n", H1_FIELDS_MAX - 2 + more,
			   "Content-Length: 0\r\n\r\n");
		judge_long(false, GET CHUNKED "\r\n1;", "a",
			   H1_CHUNK_EXTENSION_BYTES_MAX - 2 + more, "\r\nx\r\n0\r\n\r\n");
		judge_long(false, GET CHUNKED "\r\n1;a=\"", "b",
			   H1_CHUNK_EXTENSION_BYTES_MAX - 6 + more, "\"\r\nx\r\n0\r\n\r\n");
	}
	judge_long(false, GET, "X: y\r\n", 1000, "\r\n");
	judge_long(false, GET,
		   "Xy: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n",
		   90, "\r\n");
	judge_long(false, "GET /", "a", 50000, " HTTP/1.1\r\nHost: a\r\n\r\n");
	judge_long(true, OK "X: ", "a", 50000, "\r\n\r\n");
}

static uint64_t
run_tables(void)
{
	for (size_t i = 0; i < COUNT_OF(messages); i++)
		judge_all_cuts(bytes_from_text(messages[i].text), messages[i].is_response);
	for (size_t i = 0; i < 6; i++)
		every_octet_at_every_place(&messages[i]);
	all_pairs_of_framing_fields();
	all_forms_of_chunks();
	bounds_and_one_beyond();
	return cases;
}

/* --- corpora --------------------------------------------------------------------------- */

/* Files of fuzz_h1_head and of fuzz_h1_diff: one octet that says which kind, then the bytes. */
static void
judge_file(const char *path)
{
	static uint8_t bytes[READING_INPUT_BYTES_MAX + 1];
	FILE *file = fopen(path, "rb");
	size_t len;

	if (file == NULL) {
		perror(path);
		exit(1);
	}
	len = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	if (len > 1)
		judge_all_cuts(bytes_make(bytes + 1, len - 1), bytes[0] & 1);
}

static void
judge_folder(const char *path)
{
	struct dirent **entries;
	char name[4096];
	int count = scandir(path, &entries, NULL, alphasort);

	if (count <= 2) {
		fprintf(stderr, "%s: no corpus\n", path);
		exit(1);
	}
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.')
			judge_file(name);
		free(entries[i]);
	}
	free(entries);
}

/* --- mutations -------------------------------------------------------------------------- */

#define MUTATIONS_MAX 6
#define CASES_PER_SEED 100

static const char *const words[] = {
	"\r\n",
	"\r\n\r\n",
	"\n",
	"\r",
	" ",
	"\t",
	"\r\n ",
	":",
	";",
	",",
	"\"",
	"=",
	"0",
	"1",
	"5",
	"a",
	"ff",
	"0\r\n\r\n",
	"Content-Length: 3\r\n",
	"Content-Length: 0\r\n",
	CHUNKED,
	"Connection: close\r\n",
	"Connection: keep-alive\r\n",
	"Host: b\r\n",
	"Expect: 100-continue\r\n",
	"Expect: x\r\n",
	"chunked",
	"gzip, ",
	"close",
	"keep-alive",
	"HTTP/1.1",
	"HTTP/1.0",
	"GET ",
	"POST ",
	"HEAD ",
	"PUT ",
	"1\r\nx\r\n",
	";x=\"y\"",
	"%00",
	"100",
	"204",
	"304",
	"/",
	"?",
	"#",
	"*",
	"\x01",
	"\x7f",
	"\x80",
	"\xff",
	"Upgrade: x\r\nConnection: upgrade\r\n",
};

struct draft {
	size_t len;
	char text[8192];
};

static uint64_t
below(struct seeded *chance, uint64_t limit)
{
	return seeded_below(chance, limit);
}

static void
insert(struct draft *d, size_t at, const char *text, size_t len)
{
	if (d->len + len > sizeof(d->text))
		return;
	memmove(d->text + at + len, d->text + at, d->len - at);
	memcpy(d->text + at, text, len);
	d->len += len;
}

static void
cut(struct draft *d, size_t at, size_t len)
{
	if (len > d->len - at)
		len = d->len - at;
	memmove(d->text + at, d->text + at + len, d->len - at - len);
	d->len -= len;
}

static void
mutate(struct draft *d, struct seeded *chance)
{
	size_t at = below(chance, d->len + 1), len = 1 + below(chance, 12);
	const char *word = words[below(chance, COUNT_OF(words))];
	char copy[16];

	switch (below(chance, 8)) {
	case 0:
		if (at < d->len)
			d->text[at] = (char)below(chance, 256);
		break;
	case 1:
	case 2:
		insert(d, at, word, strlen(word));
		break;
	case 3:
		cut(d, at, len);
		break;
	case 4: /* behind a line's end, where lines may stand */
		for (; at > 0 && d->text[at - 1] != '\n'; at--)
			;
		insert(d, at, word, strlen(word));
		break;
	case 5:
		if (len > d->len - at)
			len = d->len - at;
		memcpy(copy, d->text + at, len);
		insert(d, below(chance, d->len + 1), copy, len);
		break;
	case 6:
		cut(d, at, strlen(word));
		insert(d, at, word, strlen(word));
		break;
	default:
		if (at < d->len)
			d->text[at] ^= (char)(1u << below(chance, 8));
		break;
	}
}

static void
run_seed(uint64_t seed, bool is_verbose)
{
	struct seeded chance = { seed };
	static struct draft d;

	(void)is_verbose;
	for (int i = 0; i < CASES_PER_SEED; i++) {
		const struct message *m = &messages[below(&chance, COUNT_OF(messages))];
		const struct message *second = &messages[below(&chance, COUNT_OF(messages))];

		d.len = 0;
		insert(&d, 0, m->text, strlen(m->text));
		if (below(&chance, 3) == 0 && second->is_response == m->is_response)
			insert(&d, d.len, second->text, strlen(second->text));
		for (uint64_t n = 1 + below(&chance, MUTATIONS_MAX); n > 0; n--)
			mutate(&d, &chance);
		judge_cut(bytes_make(d.text, d.len), m->is_response, below(&chance, d.len + 1),
			  1 + below(&chance, 9));
	}
}

int
main(int argc, char **argv)
{
	bool all_met = true;

	if (argc > 1 && argv[1][0] == '-')
		return seeds_main(argc, argv, run_seed);
	CHECK(h1_row_count <= COUNT_OF(row_hits));
	run_tables();
	for (int i = 1; i < argc; i++)
		judge_folder(argv[i]);
	for (uint32_t i = 0; i < h1_row_count; i++) {
		printf("%8llu  %s: %s\n", (unsigned long long)row_hits[i], h1_rows[i].name,
		       h1_rows[i].reason);
		all_met = all_met && row_hits[i] > 0;
	}
	printf("%llu cases\n", (unsigned long long)cases);
	if (!all_met)
		fprintf(stderr, "a row of h1_stricter.def was met by no case\n");
	return all_met ? 0 : 1;
}
