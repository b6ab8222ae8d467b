#pragma once

/*
 * check: our own mistakes stop the process, in every build.
 *
 * CHECK() is for anything that runs less than once per packet. CHECK_HOT() is
 * on in debug, test, sim and fuzz builds (SLUICE_CHECK_HOT, set by meson) and
 * costs nothing in a release. The world's mistakes are verdicts (err.h), never
 * checks.
 */

/* Writes nothing, allocates nothing: a trap whose address says which check failed. */
#define CHECK(condition) ((condition) ? (void)0 : __builtin_trap())

#ifdef SLUICE_CHECK_HOT
#define CHECK_HOT(condition) CHECK(condition)
#else
#define CHECK_HOT(condition) ((void)sizeof(condition))
#endif

#define CHECK_STATIC(condition, text) _Static_assert(condition, text)
