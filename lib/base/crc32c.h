#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * crc32c: the checksum of records on disk and of API keys' texts (Castagnoli; RFC 3720 12.1).
 *
 * Pure; any thread. It tells what was damaged by accident, never what somebody meant to change.
 */
uint32_t crc32c_sum(const void *ptr, size_t len);
