#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * filename: what the files of the spool folder are called. The dataplane makes them, control finds them.
 *
 * A segment is "<epoch, 16 hex>-<worker, 4 hex>-<number, 8 hex>.spool", a tab "<epoch>-<worker>.tab"; hex digits
 * are small.
 */
#define FILENAME_BYTES 37 /* the longest, a segment's, and its NUL */

void filename_of_segment(uint64_t epoch, uint32_t worker, uint64_t number, char name[FILENAME_BYTES]);
void filename_of_tab(uint64_t epoch, uint32_t worker, char name[FILENAME_BYTES]);

bool filename_is_segment(const char *name);
bool filename_is_tab(const char *name);
