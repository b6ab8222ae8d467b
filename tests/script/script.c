/* Recursive descent over one line; the grammar is in README.md. */
#include "script.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

struct cursor {
	const char *at;
};

static void
skip_blank(struct cursor *c)
{
	while (*c->at == ' ' || *c->at == '\t')
		c->at++;
}

/* Takes the literal if it comes next and is not the beginning of a longer word. */
static bool
accept(struct cursor *c, const char *literal)
{
	size_t len = strlen(literal);

	skip_blank(c);
	if (strncmp(c->at, literal, len) != 0)
		return false;
	if (isalpha((unsigned char)literal[len - 1]) && isalnum((unsigned char)c->at[len]))
		return false;
	c->at += len;
	return true;
}

static bool
at_end(struct cursor *c)
{
	skip_blank(c);
	return *c->at == '\0' || *c->at == '#' || *c->at == '\n';
}

static bool
parse_number(struct cursor *c, int64_t *value)
{
	char *end;

	skip_blank(c);
	errno = 0;
	*value = strtoll(c->at, &end, 0);
	if (end == c->at || errno != 0)
		return false;
	c->at = end;
	return true;
}

static bool
parse_number_up_to(struct cursor *c, int64_t max, int64_t *value)
{
	return parse_number(c, value) && *value >= 0 && *value <= max;
}

static bool
parse_seconds(struct cursor *c, uint64_t *ns)
{
	char *end;
	double seconds;

	skip_blank(c);
	seconds = strtod(c->at, &end);
	if (end == c->at || seconds < 0)
		return false;
	c->at = end;
	*ns = (uint64_t)(seconds * 1e9 + 0.5);
	return true;
}

static const char *
parse_time(struct cursor *c, struct script_time *time)
{
	if (!accept(c, "+"))
		return NULL;
	if (accept(c, "*")) {
		time->is_any = true;
		return NULL;
	}
	if (!parse_seconds(c, &time->from_ns))
		return "a time is +SECONDS, +FROM~UNTIL or +*";
	time->until_ns = time->from_ns;
	if (*c->at == '~') {
		c->at++;
		time->is_range = true;
		if (!parse_seconds(c, &time->until_ns) || time->until_ns < time->from_ns)
			return "a range of times is +FROM~UNTIL";
	}
	return NULL;
}

/* --- segments ------------------------------------------------------------------- */

static const char *
parse_flags(struct cursor *c, struct script_segment *g)
{
	static const char letters[] = "FSRP.UEC";

	skip_blank(c);
	if (accept(c, "*")) {
		g->any_flags = true;
		return NULL;
	}
	if (accept(c, "-"))
		return NULL;
	for (; *c->at != ' ' && *c->at != '\0'; c->at++) {
		const char *letter = strchr(letters, *c->at);

		if (letter == NULL)
			return "flags are letters of FSRP.UEC, or - for none";
		g->s.flags |= (uint8_t)(1 << (letter - letters));
	}
	return NULL;
}

static const char *
parse_seq(struct cursor *c, struct script_segment *g)
{
	int64_t end;
	int64_t len;

	if (accept(c, "*")) {
		g->any_seq = true;
		if (accept(c, "(")) {
			if (!parse_number_up_to(c, SEGMENT_BYTES_MAX, &len) || !accept(c, ")"))
				return "a length is (N)";
			g->len = (uint32_t)len;
		}
		return NULL;
	}
	if (!parse_number(c, &g->seq) || *c->at != ':')
		return "sequence numbers are FIRST:END(LEN)";
	c->at++;
	if (!parse_number(c, &end) || !accept(c, "(") ||
	    !parse_number_up_to(c, SEGMENT_BYTES_MAX, &len) || !accept(c, ")"))
		return "sequence numbers are FIRST:END(LEN)";
	if (g->seq + len != end)
		return "FIRST + LEN is not END";
	g->len = (uint32_t)len;
	return NULL;
}

static const char *
parse_sacks(struct cursor *c, struct script_segment *g)
{
	int64_t left;
	int64_t right;

	for (;;) {
		const char *before = c->at;

		skip_blank(c);
		if (!isdigit((unsigned char)*c->at) && *c->at != '-') {
			c->at = before;
			return g->s.sacks > 0 ? NULL : "sack LEFT:RIGHT ...";
		}
		if (!parse_number(c, &left) || *c->at++ != ':' || !parse_number(c, &right) ||
		    g->s.sacks == SEGMENT_SACKS_MAX)
			return "sack LEFT:RIGHT ..., four at most";
		g->s.sack[g->s.sacks++] =
			(struct segment_sack){ (uint32_t)left, (uint32_t)right };
	}
}

static const char *
parse_ts(struct cursor *c, struct script_segment *g)
{
	int64_t value;

	g->s.has_ts = true;
	if (!accept(c, "val"))
		return "TS val N ecr N";
	if (accept(c, "*")) {
		g->any_ts_val = true;
	} else {
		if (!parse_number_up_to(c, UINT32_MAX, &value))
			return "TS val N ecr N";
		g->s.ts_val = (uint32_t)value;
	}
	if (!accept(c, "ecr"))
		return "TS val N ecr N";
	if (accept(c, "*")) {
		g->any_ts_ecr = true;
	} else if (accept(c, "last")) {
		g->ecr_last = true;
		value = 0;
		if (accept(c, "-") && !parse_number_up_to(c, UINT32_MAX, &value))
			return "ecr last or last-N";
		g->s.ts_ecr = (uint32_t)value;
	} else {
		if (!parse_number_up_to(c, UINT32_MAX, &value))
			return "TS val N ecr N";
		g->s.ts_ecr = (uint32_t)value;
	}
	return NULL;
}

/* "raw 02 04 05 b4": exactly these bytes. */
static const char *
parse_raw(struct cursor *c, struct script_segment *g)
{
	for (;;) {
		char digits[3] = { 0 };

		skip_blank(c);
		if (!isxdigit((unsigned char)c->at[0]))
			return g->raw_bytes > 0 ? NULL : "raw HH HH ...";
		if (!isxdigit((unsigned char)c->at[1]) || g->raw_bytes == sizeof(g->raw))
			return "raw HH HH ..., 40 at most";
		memcpy(digits, c->at, 2);
		c->at += 2;
		g->raw[g->raw_bytes++] = (uint8_t)strtoul(digits, NULL, 16);
	}
}

static const char *
parse_option(struct cursor *c, struct script_segment *g)
{
	int64_t value;

	if (accept(c, "nop") || accept(c, "eol"))
		return NULL;
	if (accept(c, "...")) {
		g->any_options = true;
		return NULL;
	}
	if (accept(c, "mss")) {
		g->s.has_mss = true;
		if (!parse_number_up_to(c, UINT16_MAX, &value))
			return "mss N";
		g->s.mss = (uint16_t)value;
		return NULL;
	}
	if (accept(c, "wscale")) {
		g->s.has_wscale = true;
		if (!parse_number_up_to(c, UINT8_MAX, &value))
			return "wscale N";
		g->s.wscale = (uint8_t)value;
		return NULL;
	}
	if (accept(c, "sackOK")) {
		g->s.has_sack_ok = true;
		return NULL;
	}
	if (accept(c, "TS"))
		return parse_ts(c, g);
	if (accept(c, "sack"))
		return parse_sacks(c, g);
	if (accept(c, "raw"))
		return parse_raw(c, g);
	return "unknown option of a segment";
}

static const char *
parse_options(struct cursor *c, struct script_segment *g)
{
	const char *wrong = NULL;

	if (accept(c, ">"))
		return NULL;
	do {
		wrong = parse_option(c, g);
	} while (wrong == NULL && accept(c, ","));
	if (wrong == NULL && !accept(c, ">"))
		return "options end with >";
	return wrong;
}

static const char *
parse_window(struct cursor *c, struct script_segment *g)
{
	int64_t value;

	if (accept(c, "*"))
		return NULL;
	if (!parse_number_up_to(c, UINT16_MAX, &value))
		return "win N, win FROM..UNTIL or win *";
	g->any_win = false;
	g->win_min = g->win_max = (uint32_t)value;
	if (accept(c, "..")) {
		if (!parse_number_up_to(c, UINT16_MAX, &value))
			return "win FROM..UNTIL";
		g->win_max = (uint32_t)value;
	}
	return NULL;
}

static const char *
parse_segment_words(struct cursor *c, struct script_segment *g)
{
	int64_t value;

	while (!at_end(c)) {
		const char *wrong = NULL;

		if (accept(c, "ack")) {
			if (accept(c, "*"))
				g->any_ack = true;
			else if (!parse_number(c, &g->ack))
				return "ack N or ack *";
		} else if (accept(c, "win")) {
			wrong = parse_window(c, g);
		} else if (accept(c, "urg")) {
			if (!parse_number_up_to(c, UINT16_MAX, &value))
				return "urg N";
			g->s.urgent = (uint16_t)value;
		} else if (accept(c, "ecn")) {
			if (!parse_number_up_to(c, 3, &value))
				return "ecn 0..3";
			g->s.ecn = (uint8_t)value;
			g->has_ecn = true;
		} else if (accept(c, "csum")) {
			if (!parse_number_up_to(c, PKT_CSUM_NONE, &value))
				return "csum 0..3 (enum pkt_csum)";
			g->csum = (uint8_t)value;
		} else if (accept(c, "badsum")) {
			g->bad_checksum = true;
		} else if (accept(c, "new")) {
			g->is_new = true;
		} else if (accept(c, "<")) {
			g->any_options = false;
			wrong = parse_options(c, g);
		} else {
			return "unknown word in a segment";
		}
		if (wrong != NULL)
			return wrong;
	}
	return NULL;
}

static const char *
parse_segment(struct cursor *c, struct script_line *line)
{
	struct script_segment *g = &line->segment;
	const char *wrong = parse_flags(c, g);

	g->any_win = true;
	g->any_options = true;
	if (wrong == NULL)
		wrong = parse_seq(c, g);
	if (wrong == NULL)
		wrong = parse_segment_words(c, g);
	return wrong;
}

/* --- words ----------------------------------------------------------------------- */

static const char *
parse_words(struct cursor *c, struct script_line *line)
{
	while (!at_end(c)) {
		size_t len = strcspn(c->at, " \t\n");

		if (line->words == SCRIPT_WORDS_MAX || len >= SCRIPT_WORD_BYTES)
			return "too many words, or too long ones";
		memcpy(line->word[line->words++], c->at, len);
		c->at += len;
	}
	return line->words > 0 ? NULL : "a line says something";
}

const char *
script_parse(const char *text, struct script_line *line)
{
	struct cursor c = { text };
	const char *wrong;

	memset(line, 0, sizeof(*line));
	if (at_end(&c))
		return NULL;
	if (accept(&c, "option")) {
		line->kind = SCRIPT_OPTION;
		return parse_words(&c, line);
	}
	wrong = parse_time(&c, &line->time);
	if (wrong != NULL)
		return wrong;
	if (accept(&c, "<")) {
		line->kind = SCRIPT_INPUT;
		return parse_segment(&c, line);
	}
	if (accept(&c, ">")) {
		line->kind = SCRIPT_OUTPUT;
		return parse_segment(&c, line);
	}
	line->kind = SCRIPT_CALL;
	return parse_words(&c, line);
}
