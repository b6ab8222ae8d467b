#pragma once

#include <stdint.h>

/* units: the conversions that names promise. Times are unsigned 64-bit nanoseconds. */

#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC UINT64_C(1000000000)
#define USEC_PER_SEC UINT64_C(1000000)
#define MSEC_PER_SEC UINT64_C(1000)

#define KIB (UINT32_C(1) << 10)
#define MIB (UINT32_C(1) << 20)

#define CACHE_LINE_BYTES 64

/* A moment that never comes; what a next_at call returns when nothing is armed. */
#define NEVER_NS UINT64_MAX

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
