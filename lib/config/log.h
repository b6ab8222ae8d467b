#pragma once

#include <stdint.h>

/*
 * log: one JSON object per line on stderr: {"at":"…Z","level":"info","event":"…", fields…}.
 *
 * What happened is in the event's name, a constant that can be searched for; everything that varies is a
 * field. Never a key, a credential, a token or a body.
 */
enum log_level { LOG_INFO_LEVEL, LOG_WARN_LEVEL, LOG_ERROR_LEVEL };

struct log_field {
	const char *name; /* NULL ends the list */
	const char *text; /* NULL: the number */
	int64_t number;
};

#define LOG_TEXT(field, value) ((struct log_field){ (field), (value), 0 })
#define LOG_NUMBER(field, value) ((struct log_field){ (field), NULL, (int64_t)(value) })

/* What is below is not written from now on; at first everything is. Any thread. */
void log_set_level(enum log_level least);

void log_write(enum log_level level, const char *event, const struct log_field *fields);

#define LOG_INFO(event, ...) \
	log_write(LOG_INFO_LEVEL, event, (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(,) { 0 } })
#define LOG_WARN(event, ...) \
	log_write(LOG_WARN_LEVEL, event, (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(,) { 0 } })
#define LOG_ERROR(event, ...) \
	log_write(LOG_ERROR_LEVEL, event, (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(,) { 0 } })
