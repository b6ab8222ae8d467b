#pragma once

#include <stdint.h>

#include "base/bytes.h"

/*
 * crc: CRC-32 as zlib, gzip and Ethernet have it, so that every client language can check ours.
 * Starts from 0 and goes on from what it returned.
 */
uint32_t crc_add(uint32_t crc, struct bytes more);
