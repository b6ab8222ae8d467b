#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * fiber: work that may stop in its middle, on a stack of its own, so that a handshake can leave its turn to others
 * where mbedTLS knows of no such thing.
 *
 * Begun, it runs when it is resumed, until it pauses or is over; then its stack goes back by itself. Who
 * does not want it any more cuts it short: its pauses return false from then on, and it has to come to its
 * end.
 *
 * Owner:  a tls_context. Thread: its own; a switch is a few moves of registers, no call of the kernel.
 * Memory: all stacks are mapped and locked when the pool is made, and left out of core dumps; a page that
 *         stops the process when it is touched is below each. What was used is zeroed by fiber_pool_wipe().
 * Limits: FIBER_STACK_BYTES each. Without a free stack fiber_begin() is NULL, and the owner tries again.
 */
struct fiber;
struct fiber_pool;

/* The deepest step of a handshake uses less than half (test_pause.c). AddressSanitizer puts a red zone around
 * each variable. */
#if defined(__SANITIZE_ADDRESS__)
#define FIBER_IS_WATCHED 1
#elif defined(__has_feature)
#define FIBER_IS_WATCHED __has_feature(address_sanitizer)
#else
#define FIBER_IS_WATCHED 0
#endif
#if FIBER_IS_WATCHED
#define FIBER_STACK_BYTES (128u * 1024)
#else
#define FIBER_STACK_BYTES (32u * 1024)
#endif
#define FIBER_GUARD_BYTES 4096u
#define FIBER_BYTES (FIBER_STACK_BYTES + FIBER_GUARD_BYTES)

/* NULL when the kernel has no memory. */
struct fiber_pool *fiber_pool_new(uint32_t count);

/* None of them may be under way. */
void fiber_pool_free(struct fiber_pool *pool);

/* Zeroes what is left on stacks that were given back. */
void fiber_pool_wipe(struct fiber_pool *pool);

/* Of its free stacks, how many bytes from the top on are not zero at the most: for tests. */
size_t fiber_pool_depth(const struct fiber_pool *pool);

typedef void (*fiber_work)(void *owner);

/* NULL: no stack is free. It has not run yet. */
struct fiber *fiber_begin(struct fiber_pool *pool, fiber_work work, void *owner);

/* True: its work is over, and it is gone. */
bool fiber_resume(struct fiber *fiber);

/* Runs it to its end, and it is gone. */
void fiber_cut_short(struct fiber *fiber);

/* On the fiber itself: returns when it is resumed; false once it is cut short, then at once. */
bool fiber_pause(struct fiber *fiber);
