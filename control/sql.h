#pragma once

#include <stddef.h>

/*
 * sql: the text of a statement, grown by appending. Every piece comes from tables of ours, never from what a
 * client sends, so that it fits is ours to check.
 */
#define SQL_BYTES_MAX 4096

struct sql {
	char text[SQL_BYTES_MAX]; /* ends with a 0 */
	size_t len;
};

__attribute__((format(printf, 2, 3)))
void sql_add(struct sql *sql, const char *format, ...);
