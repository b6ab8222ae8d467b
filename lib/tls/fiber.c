/*
 * A mapping for all stacks of a pool:
 *
 *   | pool | guard | stack, struct fiber | guard | stack, struct fiber | ...
 *
 * A switch saves what a called function must preserve (System V ABI, AAPCS64), except the control words of the
 * floating point units, which nobody here changes.
 */
#include "tls/fiber.h"

#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

/* Who runs on a stack must be told to AddressSanitizer, which keeps a second one of its own for each. */
#if FIBER_IS_WATCHED
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define __sanitizer_start_switch_fiber(kept, bottom, bytes) ((void)(kept), (void)(bottom), (void)(bytes))
#define __sanitizer_finish_switch_fiber(kept, bottom, bytes) ((void)(kept), (void)(bottom), (void)(bytes))
#define __asan_unpoison_memory_region(from, bytes) ((void)(from), (void)(bytes))
#endif

struct fiber {
	void *stopped_at; /* stack pointers: its own while it is paused, */
	void *resumer;    /* and while it runs that of who resumed it */
	fiber_work work;
	void *owner;
	struct fiber_pool *pool;
	struct fiber *next_free;
	bool is_over;
	bool is_cut_short;
	bool is_dirty;
	/* AddressSanitizer's. */
	void *kept;
	const void *resumer_stack;
	size_t resumer_bytes;
};

struct fiber_pool {
	size_t mapped_bytes;
	uint32_t count;
	uint32_t under_way;
	struct fiber *free; /* the last one given back first: its stack is in the cache */
};

#define USABLE_BYTES (FIBER_STACK_BYTES - sizeof(struct fiber))

CHECK_STATIC(sizeof(struct fiber_pool) <= FIBER_GUARD_BYTES, "a page holds it");
CHECK_STATIC(sizeof(struct fiber) % 16 == 0, "so that the stack above which it lies is aligned");

static uint8_t *
stack_of(struct fiber *fiber)
{
	return (uint8_t *)fiber - USABLE_BYTES;
}

/* --- the switch ---------------------------------------------------------------------------- */

/* Saves where the caller is to *from, and goes on where to was saved. fiber_switch_start is where a new stack "was
 * saved": it calls fiber_main() with the fiber. */
void fiber_switch(void **from, void *to);
void fiber_switch_start(void);
void fiber_main(struct fiber *fiber);

#if defined(__x86_64__)
#define SAVED_WORDS 6
#define SAVED_FIBER 3 /* r12 */

/* clang-format off */
__asm__(".text\n"
	".globl fiber_switch\n"
	".hidden fiber_switch\n"
	".type fiber_switch, @function\n"
	"fiber_switch:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size fiber_switch, .-fiber_switch\n"
	".globl fiber_switch_start\n"
	".hidden fiber_switch_start\n"
	".type fiber_switch_start, @function\n"
	"fiber_switch_start:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined rip\n"
	"	endbr64\n"
	"	movq %r12, %rdi\n"
	"	call fiber_main\n"
	"	ud2\n"
	"	.cfi_endproc\n"
	".size fiber_switch_start, .-fiber_switch_start\n");
/* clang-format on */

static void *
lay_first_frame(struct fiber *fiber)
{
	/* Behind the registers the address that is returned to; then the stack is aligned as a call wants it. */
	void **frame = (void **)(void *)((uint8_t *)fiber - 24) - SAVED_WORDS;

	memset(frame, 0, (uint8_t *)fiber - (uint8_t *)frame);
	frame[SAVED_FIBER] = fiber;
	frame[SAVED_WORDS] = (void *)(uintptr_t)fiber_switch_start;
	return frame;
}

#elif defined(__aarch64__)
#define SAVED_WORDS 20 /* d8 to d15, x19 to x30 */
#define SAVED_FIBER 8  /* x19 */
#define SAVED_START 19 /* x30 */

/* clang-format off */
__asm__(".text\n"
	".globl fiber_switch\n"
	".hidden fiber_switch\n"
	".type fiber_switch, %function\n"
	"fiber_switch:\n"
	"	.cfi_startproc\n"
	"	hint #34\n" /* bti c */
	"	sub sp, sp, #160\n"
	"	stp d8, d9, [sp]\n"
	"	stp d10, d11, [sp, #16]\n"
	"	stp d12, d13, [sp, #32]\n"
	"	stp d14, d15, [sp, #48]\n"
	"	stp x19, x20, [sp, #64]\n"
	"	stp x21, x22, [sp, #80]\n"
	"	stp x23, x24, [sp, #96]\n"
	"	stp x25, x26, [sp, #112]\n"
	"	stp x27, x28, [sp, #128]\n"
	"	stp x29, x30, [sp, #144]\n"
	"	mov x9, sp\n"
	"	str x9, [x0]\n"
	"	mov sp, x1\n"
	"	ldp d8, d9, [sp]\n"
	"	ldp d10, d11, [sp, #16]\n"
	"	ldp d12, d13, [sp, #32]\n"
	"	ldp d14, d15, [sp, #48]\n"
	"	ldp x19, x20, [sp, #64]\n"
	"	ldp x21, x22, [sp, #80]\n"
	"	ldp x23, x24, [sp, #96]\n"
	"	ldp x25, x26, [sp, #112]\n"
	"	ldp x27, x28, [sp, #128]\n"
	"	ldp x29, x30, [sp, #144]\n"
	"	add sp, sp, #160\n"
	"	ret\n"
	"	.cfi_endproc\n"
	".size fiber_switch, .-fiber_switch\n"
	".globl fiber_switch_start\n"
	".hidden fiber_switch_start\n"
	".type fiber_switch_start, %function\n"
	"fiber_switch_start:\n"
	"	.cfi_startproc\n"
	"	.cfi_undefined x30\n"
	"	hint #36\n" /* bti j */
	"	mov x0, x19\n"
	"	bl fiber_main\n"
	"	brk #1\n"
	"	.cfi_endproc\n"
	".size fiber_switch_start, .-fiber_switch_start\n");
/* clang-format on */

static void *
lay_first_frame(struct fiber *fiber)
{
	void **frame = (void **)(void *)fiber - SAVED_WORDS;

	memset(frame, 0, (uint8_t *)fiber - (uint8_t *)frame);
	frame[SAVED_FIBER] = fiber;
	frame[SAVED_START] = (void *)(uintptr_t)fiber_switch_start;
	return frame;
}

#else
#error "fiber_switch() is written for x86-64 and aarch64"
#endif

/* From whoever resumed it to the fiber, and back here when it pauses or is over. */
static void
switch_to(struct fiber *fiber)
{
	void *kept = NULL;

	__sanitizer_start_switch_fiber(&kept, stack_of(fiber), USABLE_BYTES);
	fiber_switch(&fiber->resumer, fiber->stopped_at);
	__sanitizer_finish_switch_fiber(kept, NULL, NULL);
}

static void
switch_back(struct fiber *fiber)
{
	__sanitizer_start_switch_fiber(fiber->is_over ? NULL : &fiber->kept, fiber->resumer_stack,
				       fiber->resumer_bytes);
	fiber_switch(&fiber->stopped_at, fiber->resumer);
	__sanitizer_finish_switch_fiber(fiber->kept, &fiber->resumer_stack, &fiber->resumer_bytes);
}

/* The first function on a stack; it never returns. */
void
fiber_main(struct fiber *fiber)
{
	__sanitizer_finish_switch_fiber(NULL, &fiber->resumer_stack, &fiber->resumer_bytes);
	fiber->work(fiber->owner);
	fiber->is_over = true;
	switch_back(fiber);
	CHECK(false);
}

/* --- the pool ------------------------------------------------------------------------------- */

struct fiber_pool *
fiber_pool_new(uint32_t count)
{
	size_t bytes = FIBER_GUARD_BYTES + (size_t)count * FIBER_BYTES;
	uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct fiber_pool *pool = (struct fiber_pool *)(void *)memory;

	CHECK(count > 0);
	if (memory == MAP_FAILED)
		return NULL;
	/* Only old kernels without the advice refuse it, and those are not supported. The lock may be
	 * beyond the process's limit. */
	(void)madvise(memory, bytes, MADV_DONTDUMP);
	(void)mlock(memory, bytes);
	pool->mapped_bytes = bytes;
	pool->count = count;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *guard = memory + FIBER_GUARD_BYTES + (size_t)i * FIBER_BYTES;
		struct fiber *fiber = (struct fiber *)(void *)(guard + FIBER_GUARD_BYTES + USABLE_BYTES);

		if (mprotect(guard, FIBER_GUARD_BYTES, PROT_NONE) != 0) {
			munmap(memory, bytes);
			return NULL;
		}
		fiber->pool = pool;
		fiber->next_free = pool->free;
		pool->free = fiber;
	}
	return pool;
}

void
fiber_pool_wipe(struct fiber_pool *pool)
{
	/* The last ones given back come first. */
	for (struct fiber *fiber = pool->free; fiber != NULL && fiber->is_dirty; fiber = fiber->next_free) {
		explicit_bzero(stack_of(fiber), USABLE_BYTES);
		fiber->is_dirty = false;
	}
}

void
fiber_pool_free(struct fiber_pool *pool)
{
	if (pool == NULL)
		return;
	CHECK(pool->under_way == 0);
	fiber_pool_wipe(pool);
	munmap(pool, pool->mapped_bytes);
}

size_t
fiber_pool_depth(const struct fiber_pool *pool)
{
	size_t deepest = 0;

	for (struct fiber *fiber = pool->free; fiber != NULL; fiber = fiber->next_free) {
		const uint8_t *stack = stack_of(fiber);
		size_t unused = 0;

		while (unused < USABLE_BYTES && stack[unused] == 0)
			unused++;
		if (USABLE_BYTES - unused > deepest)
			deepest = USABLE_BYTES - unused;
	}
	return deepest;
}

struct fiber *
fiber_begin(struct fiber_pool *pool, fiber_work work, void *owner)
{
	struct fiber *fiber = pool->free;

	if (fiber == NULL)
		return NULL;
	pool->free = fiber->next_free;
	pool->under_way++;
	*fiber = (struct fiber){ .pool = pool, .work = work, .owner = owner };
	fiber->stopped_at = lay_first_frame(fiber);
	return fiber;
}

/* --- one of them --------------------------------------------------------------------------- */

static void
give_back(struct fiber *fiber)
{
	struct fiber_pool *pool = fiber->pool;

	/* What its last frames looked like. */
	__asan_unpoison_memory_region(stack_of(fiber), USABLE_BYTES);
	fiber->is_dirty = true;
	fiber->owner = NULL;
	fiber->next_free = pool->free;
	pool->free = fiber;
	pool->under_way--;
}

bool
fiber_resume(struct fiber *fiber)
{
	CHECK(!fiber->is_over);
	switch_to(fiber);
	if (!fiber->is_over)
		return false;
	give_back(fiber);
	return true;
}

void
fiber_cut_short(struct fiber *fiber)
{
	fiber->is_cut_short = true;
	CHECK(fiber_resume(fiber));
}

bool
fiber_pause(struct fiber *fiber)
{
	if (!fiber->is_cut_short)
		switch_back(fiber);
	return !fiber->is_cut_short;
}
