/*
 * Two readings of the same bytes, held against each other message by message. The tests look at
 * what llhttp read, or at the bytes themselves where it does not show: they shall be hard to meet
 * by accident.
 */
#include "h1_compare.h"

#include <ctype.h>
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/check.h"
#include "base/units.h"
#include "http/h1.h"

/* The message that the readings differ in. */
struct dispute {
	const struct h1_wire *wire;
	const struct h1_reading *ours;
	const struct h1_reading *theirs;
	struct bytes raw; /* from where our message begins */
	struct bytes fields; /* as llhttp read them, line by line; without a body */
	struct bytes start; /* llhttp's start line, taken apart: method, target, version */
};

/* --- tests ------------------------------------------------------------------------- */

static bool
contains_octet(struct bytes text, bool (*is_odd)(uint8_t c))
{
	for (size_t i = 0; i < text.len; i++)
		if (is_odd(text.ptr[i]))
			return true;
	return false;
}

static bool
is_high(uint8_t c)
{
	return c >= 0x80;
}

static bool
is_beyond_ascii(uint8_t c)
{
	return c >= 0x7f;
}

static bool
is_not_printable(uint8_t c)
{
	return (c < 0x20 && c != '\t') || c >= 0x7f;
}

static bool
is_odd_in_target(uint8_t c)
{
	return c <= 0x20 || c >= 0x7f || c == '#';
}

/* Nothing has no address, and memchr() must not be asked about none. */
static const uint8_t *
find_octet(struct bytes in, uint8_t octet)
{
	return in.len > 0 ? memchr(in.ptr, octet, in.len) : NULL;
}

/* The n-th value of a field, counted from 0. */
static bool
value_of(const struct dispute *d, const char *name, uint32_t n, struct bytes *value)
{
	struct bytes rest = d->fields;

	while (rest.len > 0) {
		const uint8_t *end = find_octet(rest, '\n');
		struct bytes line =
			bytes_make(rest.ptr, end == NULL ? rest.len : (size_t)(end - rest.ptr));
		const uint8_t *colon = find_octet(line, ':');

		bytes_advance(&rest, end == NULL ? rest.len : line.len + 1);
		if (colon == NULL ||
		    !bytes_equal_nocase(bytes_make(line.ptr, (size_t)(colon - line.ptr)),
					bytes_from_text(name)))
			continue;
		if (n-- > 0)
			continue;
		*value = bytes_after(line, (size_t)(colon - line.ptr) + 2);
		return true;
	}
	return false;
}

/* Word n of the start line, as llhttp took it apart. */
static struct bytes
word_of(const struct dispute *d, uint32_t n)
{
	struct bytes rest = d->start;

	for (;;) {
		const uint8_t *space = find_octet(rest, ' ');
		size_t len = space == NULL ? rest.len : (size_t)(space - rest.ptr);

		if (n-- == 0)
			return bytes_make(rest.ptr, len);
		if (space == NULL)
			return BYTES_NONE;
		rest = bytes_after(rest, len + 1);
	}
}

/* Behind empty lines, up to CRLF. */
static struct bytes
first_line(const struct dispute *d)
{
	struct bytes line = d->raw;
	const uint8_t *end;

	while (line.len > 0 && (line.ptr[0] == '\r' || line.ptr[0] == '\n'))
		bytes_advance(&line, 1);
	end = memmem(line.ptr, line.len, "\r\n", 2);
	return bytes_make(line.ptr, end == NULL ? line.len : (size_t)(end - line.ptr));
}

static bool
begins_with_odd_lines(const struct dispute *d)
{
	struct bytes raw = d->raw;

	for (int lines = 0; lines < 2 && !d->wire->is_response; lines++)
		if (bytes_starts_with(raw, BYTES_LITERAL("\r\n")))
			bytes_advance(&raw, 2);
	return raw.len > 0 && (raw.ptr[0] == '\r' || raw.ptr[0] == '\n');
}

static bool
has_text(struct bytes raw, const char *text)
{
	return memmem(raw.ptr, raw.len, text, strlen(text)) != NULL;
}

static bool
speaks_another_protocol(const struct dispute *d)
{
	struct bytes line = first_line(d);

	return !d->wire->is_response && !has_text(line, " HTTP/") &&
	       (has_text(line, " RTSP/") || has_text(line, " ICE/"));
}

/* The short form of HTTP/0.9, of which llhttp tells no version as long as it waits for more. */
static bool
ends_without_version(const struct dispute *d)
{
	struct bytes line = first_line(d);
	const uint8_t *end = find_octet(line, '\n');

	return !d->wire->is_response && end != NULL &&
	       !has_text(bytes_make(line.ptr, (size_t)(end - line.ptr)), " HTTP/");
}

static bool
has_another_version(const struct dispute *d)
{
	struct bytes version = word_of(d, d->wire->is_response ? 0 : 2);

	if (version.len == 0)
		return ends_without_version(d);
	return !bytes_equal(version, BYTES_LITERAL("1.1")) &&
	       !bytes_equal(version, BYTES_LITERAL("1.0"));
}

static bool
reason_has_odd_octets(const struct dispute *d)
{
	return d->wire->is_response &&
	       contains_octet(bytes_after(first_line(d), 12), is_not_printable);
}

static bool
has_odd_status(const struct dispute *d)
{
	struct bytes line = first_line(d);

	return d->wire->is_response && line.len >= 12 && (line.ptr[9] > '5' || line.ptr[9] == '0');
}

static bool
is_a_request_with_many_spaces(const struct dispute *d)
{
	struct bytes line = first_line(d);
	uint32_t spaces = 0;

	for (size_t i = 0; i < line.len; i++)
		spaces += line.ptr[i] == ' ';
	return !d->wire->is_response && spaces > 2;
}

static bool
is_the_preface_of_http2(const struct dispute *d)
{
	return bytes_starts_with(first_line(d), BYTES_LITERAL("PRI "));
}

static bool
target_is_not_origin_form(const struct dispute *d)
{
	struct bytes target = word_of(d, 1);

	return !d->wire->is_response && target.len > 0 && target.ptr[0] != '/';
}

static bool
target_has_odd_octets(const struct dispute *d)
{
	return !d->wire->is_response && contains_octet(word_of(d, 1), is_odd_in_target);
}

static bool
field_has_obs_text(const struct dispute *d)
{
	return contains_octet(d->fields, is_high);
}

static bool
host_is_missing_or_odd(const struct dispute *d)
{
	struct bytes host;

	if (!value_of(d, "host", 0, &host) || host.len == 0 || value_of(d, "host", 1, &host))
		return true;
	for (size_t i = 0; i < host.len; i++)
		if (!isalnum(host.ptr[i]) && strchr("._-:[]", host.ptr[i]) == NULL)
			return true;
	return false;
}

static bool
has_expectation(const struct dispute *d)
{
	struct bytes value;

	return value_of(d, "expect", 0, &value);
}

static bool
length_has_leading_zeros(const struct dispute *d)
{
	struct bytes value;

	return value_of(d, "content-length", 0, &value) && value.len > 1 && value.ptr[0] == '0';
}

static bool
length_is_huge(const struct dispute *d)
{
	struct bytes value;

	return value_of(d, "content-length", 0, &value) && value.len >= 19;
}

static bool
has_other_coding(const struct dispute *d)
{
	struct bytes value;

	for (uint32_t i = 0; value_of(d, "transfer-encoding", i, &value); i++)
		if (!bytes_equal_nocase(value, BYTES_LITERAL("chunked")))
			return true;
	return false;
}

static bool
has_coding_in_1_0(const struct dispute *d)
{
	struct bytes value;

	return value_of(d, "transfer-encoding", 0, &value) &&
	       bytes_equal(word_of(d, d->wire->is_response ? 0 : 2), BYTES_LITERAL("1.0"));
}

static bool
has_codings_twice(const struct dispute *d)
{
	struct bytes value;

	return value_of(d, "transfer-encoding", 1, &value);
}

static bool
announces_body(const struct dispute *d)
{
	struct bytes value;

	return value_of(d, "content-length", 0, &value) || value_of(d, "transfer-encoding", 0, &value);
}

static bool
has_body_by_its_fields_only(const struct dispute *d)
{
	struct bytes status = word_of(d, 1);

	return d->wire->is_response && announces_body(d) &&
	       ((status.len == 3 && status.ptr[0] == '1') || bytes_equal(status, BYTES_LITERAL("204")));
}

static bool
connects_with_a_body(const struct dispute *d)
{
	return !d->wire->is_response && announces_body(d) && bytes_equal(word_of(d, 0), BYTES_LITERAL("CONNECT"));
}

static bool
has_long_line(const struct dispute *d)
{
	return d->raw.len > H1_LINE_BYTES_MAX;
}

static bool
has_many_fields(const struct dispute *d)
{
	uint32_t lines = 0;

	for (size_t i = 0; i < d->raw.len; i++)
		lines += d->raw.ptr[i] == '\n';
	return lines > H1_FIELDS_MAX;
}

static bool
chunk_has_long_extension(const struct dispute *d)
{
	size_t extensions = 0;

	for (size_t i = 0; i < d->raw.len; i++)
		if (d->raw.ptr[i] == ';')
			for (; i < d->raw.len && d->raw.ptr[i] != '\r'; i++)
				extensions++;
	return extensions > H1_CHUNK_EXTENSION_BYTES_MAX;
}

/* A line behind the head that begins so. */
static bool
trailer_frames(const struct dispute *d)
{
	static const char *const names[] = { "transfer-encoding:", "content-length:",
					     "connection:" };
	const uint8_t *at = memmem(d->raw.ptr, d->raw.len, "\r\n\r\n", 4);
	struct bytes rest =
		at == NULL ? BYTES_NONE : bytes_after(d->raw, (size_t)(at - d->raw.ptr));

	while (rest.len > 0) {
		const uint8_t *end = find_octet(rest, '\n');
		size_t len = end == NULL ? rest.len : (size_t)(end - rest.ptr) + 1;

		for (size_t i = 0; i < COUNT_OF(names); i++)
			if (len >= strlen(names[i]) &&
			    strncasecmp((const char *)rest.ptr, names[i], strlen(names[i])) == 0)
				return true;
		rest = bytes_after(rest, len);
	}
	return false;
}

static bool
chunk_size_is_long(const struct dispute *d)
{
	size_t digits = 0;

	for (size_t i = 0; i < d->raw.len; i++) {
		digits = isxdigit(d->raw.ptr[i]) ? digits + 1 : 0;
		if (digits > 15)
			return true;
	}
	return false;
}

static bool
body_has_odd_octets(const struct dispute *d)
{
	return contains_octet(d->raw, is_beyond_ascii);
}

/* Of ours, since what llhttp makes of it differs. */
static bool
framing_field_has_tab(const struct dispute *d)
{
	static const char *const names[] = { "content-length:", "transfer-encoding:",
					     "connection:" };
	struct bytes rest = d->raw;

	while (rest.len > 0) {
		const uint8_t *end = find_octet(rest, '\n');
		struct bytes line =
			bytes_make(rest.ptr, end == NULL ? rest.len : (size_t)(end - rest.ptr));

		for (size_t i = 0; i < COUNT_OF(names); i++) {
			size_t len = strlen(names[i]);

			if (line.len > len &&
			    strncasecmp((const char *)line.ptr, names[i], len) == 0 &&
			    find_octet(line, '\t') != NULL)
				return true;
		}
		rest = bytes_after(rest, line.len + 1);
	}
	return false;
}

static bool
chunk_has_odd_extension(const struct dispute *d)
{
	static const char *const empties[] = { ";;", ";\r", ";=", "=;", "=\r", "\"" };

	for (size_t i = 0; i < COUNT_OF(empties); i++)
		if (has_text(d->raw, empties[i]))
			return true;
	return false;
}

static bool
method_is_unknown(const struct dispute *d)
{
	static const char *const common[] = { "GET",   "HEAD",	  "POST",    "PUT",  "DELETE",
					      "PATCH", "OPTIONS", "CONNECT", "TRACE" };
	struct bytes line = first_line(d);
	const uint8_t *space = find_octet(line, ' ');

	if (d->wire->is_response || space == NULL)
		return false;
	line.len = (size_t)(space - line.ptr);
	for (size_t i = 0; i < COUNT_OF(common); i++)
		if (bytes_equal(line, bytes_from_text(common[i])))
			return false;
	return true;
}

/* --- the table --------------------------------------------------------------------- */

struct rule {
	bool is_refusal; /* llhttp's */
	enum err verdict;
	int llhttp_errno;
	bool (*test)(const struct dispute *d);
};

static const struct rule rules[] = {
#define STRICTER(verdict, test, reason) { false, ERR_##verdict, 0, test },
#define REFUSED(number, test, reason) { true, ERR_OK, number, test },
#include "h1_stricter.def"
#undef STRICTER
#undef REFUSED
};

const struct h1_row h1_rows[] = {
#define STRICTER(verdict, test, reason) { #verdict " " #test, reason },
#define REFUSED(number, test, reason) { #number " " #test, reason },
#include "h1_stricter.def"
#undef STRICTER
#undef REFUSED
};

const uint32_t h1_row_count = COUNT_OF(rules);

static enum h1_outcome
explain(const struct dispute *d, bool is_refusal, uint32_t *row)
{
	for (uint32_t i = 0; i < COUNT_OF(rules); i++) {
		const struct rule *rule = &rules[i];

		if (rule->is_refusal != is_refusal)
			continue;
		if (is_refusal ? rule->llhttp_errno != d->theirs->llhttp_errno :
				 rule->verdict != d->ours->verdict)
			continue;
		if (!rule->test(d))
			continue;
		*row = i;
		return is_refusal ? H1_REFUSED : H1_STRICTER;
	}
	return H1_UNEXPLAINED;
}

/* --- comparing ---------------------------------------------------------------------- */

static void
frame(struct dispute *d, const struct reading_message *ours, const struct reading_message *theirs,
      size_t start)
{
	const char *text = d->theirs->text;

	d->raw = bytes_after(d->wire->input, ours != NULL ? ours->start : start);
	d->fields = d->start = BYTES_NONE;
	if (theirs == NULL)
		return;
	d->fields = bytes_make(text + theirs->text_start, theirs->text_len);
	if (theirs->head_complete && theirs->head_len > 0) {
		/* The start line is the last of the head's text. */
		size_t at = theirs->head_len - 1;

		while (at > 0 && text[theirs->text_start + at - 1] != '\n')
			at--;
		d->start = bytes_make(text + theirs->text_start + at, theirs->head_len - 1 - at);
		d->fields.len = at;
	}
}

static bool
is_same_text(const struct dispute *d, const struct reading_message *a,
	     const struct reading_message *b)
{
	return bytes_equal(bytes_make(d->ours->text + a->text_start, a->text_len),
			   bytes_make(d->theirs->text + b->text_start, b->text_len));
}

/* Both have a last message that is not complete, or none: neither may know more than the other. */
static enum h1_outcome
compare_ends(struct dispute *d, const struct reading_message *a, const struct reading_message *b,
	     uint32_t *row)
{
	bool ours_in_body = a != NULL && a->head_complete;
	bool theirs_in_body = b != NULL && b->head_complete;

	if (d->ours->end == READING_REFUSED)
		return d->theirs->end == READING_REFUSED ? H1_SAME : explain(d, false, row);
	if (d->theirs->end == READING_REFUSED) {
		/* Our heads are judged when they are whole, or too long. */
		return ours_in_body ? explain(d, true, row) : H1_SAME;
	}
	if (ours_in_body != theirs_in_body)
		return H1_UNEXPLAINED;
	return !ours_in_body || is_same_text(d, a, b) ? H1_SAME : H1_UNEXPLAINED;
}

enum h1_outcome
h1_compare(const struct h1_wire *wire, const struct h1_reading *ours,
	   const struct h1_reading *theirs, uint32_t *row)
{
	struct dispute d = { .wire = wire, .ours = ours, .theirs = theirs };
	size_t start = 0;

	for (uint32_t i = 0;; i++) {
		const struct reading_message *a = i < ours->count ? &ours->message[i] : NULL;
		const struct reading_message *b = i < theirs->count ? &theirs->message[i] : NULL;
		bool ours_done = a != NULL && a->complete, theirs_done = b != NULL && b->complete;

		frame(&d, a, b, start);
		if (!ours_done && !theirs_done)
			return compare_ends(&d, a, b, row);
		if (!ours_done)
			return ours->end == READING_REFUSED ? explain(&d, false, row) :
							      H1_UNEXPLAINED;
		if (!theirs_done)
			return theirs->end == READING_REFUSED ? explain(&d, true, row) :
								H1_UNEXPLAINED;
		if (!is_same_text(&d, a, b) || a->end != b->end ||
		    (a->keep_alive && !b->keep_alive))
			return H1_UNEXPLAINED;
		if (!a->keep_alive)
			return H1_SAME; /* what follows is nobody's */
		start = a->end;
	}
}

/* --- for tables and fuzzers ----------------------------------------------------------- */

static void
show(const char *who, const struct h1_reading *r)
{
	fprintf(stderr, "%s: %u messages, %s %s\n", who, r->count,
		r->end == READING_MORE	 ? "wants more" :
		r->end == READING_CLOSED ? "closed" :
					   "refused",
		r->reason == NULL ? "" : r->reason);
	for (uint32_t i = 0; i < r->count; i++) {
		const struct reading_message *m = &r->message[i];

		fprintf(stderr, "  %s%s end %zu: %.*s\n", m->complete ? "complete" : "partial",
			m->keep_alive ? " keep-alive" : "", m->end,
			(int)(m->text_len < 600 ? m->text_len : 600), r->text + m->text_start);
	}
}

static void
show_input(struct bytes input, bool is_response)
{
	fprintf(stderr, "%s of %zu bytes: ", is_response ? "response" : "request", input.len);
	for (size_t i = 0; i < input.len && i < 2000; i++) {
		uint8_t c = input.ptr[i];

		if (c == '\r' || c == '\n')
			fputs(c == '\r' ? "\\r" : "\\n", stderr);
		else
			fprintf(stderr, c >= 0x20 && c < 0x7f ? "%c" : "\\x%02x", c);
	}
	fputc('\n', stderr);
}

/* Ours judges a head when it is whole: with an end behind it, it must refuse what llhttp has read
 * already. */
static enum h1_outcome
compare_later(const struct h1_wire *wire, const struct h1_reading *theirs, uint32_t *row)
{
	static uint8_t longer[READING_INPUT_BYTES_MAX + 4];
	static struct h1_reading later;
	struct h1_wire ended = *wire;

	memcpy(longer, wire->input.ptr, wire->input.len);
	memcpy(longer + wire->input.len, "\r\n\r\n", 4);
	ended.input = bytes_make(longer, wire->input.len + 4);
	ended.first = ended.input.len;
	h1_reading_ours(&ended, &later);
	return later.end == READING_REFUSED ? h1_compare(&ended, &later, theirs, row) :
					      H1_UNEXPLAINED;
}

bool
h1_compare_input(struct bytes input, bool is_response, bool answers_head, size_t first, size_t step,
		 enum h1_outcome *outcome, uint32_t *row)
{
	static struct h1_reading ours, theirs, cut;
	struct h1_wire whole = { input, is_response, answers_head, input.len, 1, false };
	struct h1_wire pieces = { input, is_response, answers_head, first, step, false };
	const char *wrong = NULL;

	h1_reading_ours(&whole, &ours);
	h1_reading_llhttp(&whole, &theirs);
	*outcome = h1_compare(&whole, &ours, &theirs, row);
	if (*outcome == H1_UNEXPLAINED && ours.end == READING_MORE)
		*outcome = compare_later(&whole, &theirs, row);
	if (*outcome == H1_UNEXPLAINED)
		wrong = "the readings differ";
	if (wrong == NULL) {
		h1_reading_ours(&pieces, &cut);
		if (!h1_reading_is_same(&ours, &cut))
			wrong = "our reading depends on the cut";
	}
	if (wrong == NULL)
		return true;
	fprintf(stderr, "%s (pieces of %zu, %zu)\n", wrong, first, step);
	show_input(input, is_response);
	show("ours", &ours);
	show("llhttp", &theirs);
	return false;
}
