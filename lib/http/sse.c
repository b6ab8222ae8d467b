/* Line by line: the name of the field decides whether its value is handed out. */
#include "http/sse.h"

#include "base/check.h"

enum sse_state {
	SSE_LINE_START, /* nothing of this line yet, or a part of "data" in `matched` */
	SSE_AFTER_COLON, /* of a data line: one space may follow */
	SSE_VALUE,       /* in a data line's value */
	SSE_SKIP,        /* in any other line */
};

static const char data_name[] = "data";
#define DATA_NAME_BYTES 4

void
sse_init(struct sse *s)
{
	*s = (struct sse){ .state = SSE_LINE_START, .line_bytes_max = SSE_LINE_BYTES_MAX };
}

static bool
is_line_end(uint8_t c)
{
	return c == '\n' || c == '\r';
}

/* Hands out n bytes from the front. */
static void
lend(struct bytes *input, size_t n, struct bytes *piece)
{
	*piece = bytes_make(input->ptr, n);
	bytes_advance(input, n);
}

/* A line's end: what the line was decides what the caller hears. */
static void
end_line(struct sse *s, uint8_t c, struct bytes *input, enum sse_what *what, struct bytes *piece)
{
	/* "data" without a colon is a field with an empty value (section 9.2.6). */
	bool is_data = s->state == SSE_VALUE || s->state == SSE_AFTER_COLON ||
		       (s->state == SSE_LINE_START && s->matched == DATA_NAME_BYTES);
	bool is_empty = s->line_bytes == 0;

	lend(input, 1, piece);
	s->after_cr = c == '\r';
	s->state = SSE_LINE_START;
	s->matched = 0;
	s->line_bytes = 0;
	*what = SSE_OTHER;
	if (is_empty) {
		*what = SSE_EVENT_END;
		s->events += s->has_data;
		s->has_data = false;
	} else if (is_data) {
		*what = SSE_LINE_END;
		s->has_data = true;
	}
}

/* The run up to the next line end, within the bound of a line. */
static enum err
take_run(struct sse *s, struct bytes *input, struct bytes *piece)
{
	size_t n = 0;

	while (n < input->len && !is_line_end(input->ptr[n]))
		n++;
	if (s->line_bytes > s->line_bytes_max || n > s->line_bytes_max - s->line_bytes)
		return ERR_SSE_LINE_TOO_LONG;
	s->line_bytes += (uint32_t)n;
	lend(input, n, piece);
	return ERR_OK;
}

/* One byte of a line whose field is not known yet. */
static void
name_octet(struct sse *s, uint8_t c)
{
	if (s->matched < DATA_NAME_BYTES && c == (uint8_t)data_name[s->matched] &&
	    s->line_bytes == s->matched)
		s->matched++;
	else if (s->matched == DATA_NAME_BYTES && c == ':')
		s->state = SSE_AFTER_COLON;
	else
		s->state = SSE_SKIP;
	s->line_bytes++;
}

enum err
sse_feed(struct sse *s, struct bytes *input, enum sse_what *what, struct bytes *piece)
{
	uint8_t c;

	if (input->len == 0)
		return ERR_MORE;
	c = input->ptr[0];
	*what = SSE_OTHER;
	/* The LF of a CRLF belongs to the line that its CR has ended. */
	if (s->after_cr && c == '\n') {
		s->after_cr = false;
		lend(input, 1, piece);
		return ERR_OK;
	}
	s->after_cr = false;
	if (is_line_end(c)) {
		end_line(s, c, input, what, piece);
		return ERR_OK;
	}
	switch ((enum sse_state)s->state) {
	case SSE_LINE_START:
		name_octet(s, c);
		lend(input, 1, piece);
		return ERR_OK;
	case SSE_AFTER_COLON:
		s->state = SSE_VALUE;
		if (c == ' ') {
			s->line_bytes++;
			lend(input, 1, piece);
			return ERR_OK;
		}
		break;
	case SSE_VALUE:
		break;
	case SSE_SKIP:
		return take_run(s, input, piece);
	}
	*what = SSE_DATA;
	return take_run(s, input, piece);
}

bool
sse_in_data(const struct sse *s)
{
	return s->state == SSE_AFTER_COLON || s->state == SSE_VALUE;
}
