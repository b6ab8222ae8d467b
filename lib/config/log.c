/* One write per line, so that lines of several processes on one stderr do not mix. */
#include "config/log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 1024 /* a longer one loses fields at its end, never its closing brace */

/* Of the process, as its stderr is. */
static _Atomic unsigned int least_level = LOG_INFO_LEVEL;

struct line {
	char text[LINE_BYTES_MAX];
	size_t len;
};

static void
put_char(struct line *line, char c)
{
	if (line->len < sizeof(line->text))
		line->text[line->len++] = c;
}

static void
put_text(struct line *line, const char *text)
{
	put_char(line, '"');
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		char escaped[8];

		if (c >= 0x20 && c != '"' && c != '\\') {
			put_char(line, (char)c);
			continue;
		}
		snprintf(escaped, sizeof(escaped), "\\u%04x", c);
		for (const char *e = escaped; *e != '\0'; e++)
			put_char(line, *e);
	}
	put_char(line, '"');
}

static void
put_field(struct line *line, const struct log_field *field)
{
	size_t before = line->len;
	char number[24];

	put_char(line, ',');
	put_text(line, field->name);
	put_char(line, ':');
	if (field->text != NULL) {
		put_text(line, field->text);
	} else {
		snprintf(number, sizeof(number), "%lld", (long long)field->number);
		for (const char *n = number; *n != '\0'; n++)
			put_char(line, *n);
	}
	if (line->len > sizeof(line->text) - 2)
		line->len = before;
}

void
log_set_level(enum log_level least)
{
	atomic_store_explicit(&least_level, (unsigned int)least, memory_order_relaxed);
}

void
log_write(enum log_level level, const char *event, const struct log_field *fields)
{
	static const char *const levels[] = { "info", "warn", "error" };
	struct line line = { .len = 0 };
	struct timespec now;
	struct tm utc;

	if ((unsigned int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	line.len = strftime(line.text, sizeof(line.text), "{\"at\":\"%Y-%m-%dT%H:%M:%S", &utc);
	line.len += (size_t)snprintf(line.text + line.len, sizeof(line.text) - line.len,
				     ".%03ldZ\",\"level\":\"%s\"", now.tv_nsec / 1000000,
				     levels[level]);
	put_field(&line, &LOG_TEXT("event", event));
	for (; fields->name != NULL; fields++)
		put_field(&line, fields);
	put_char(&line, '}');
	put_char(&line, '\n');
	/* A log that cannot be written has nobody left to be told. */
	if (write(STDERR_FILENO, line.text, line.len) < 0)
		return;
}
