#pragma once

#include <stdatomic.h>
#include <stdint.h>

/*
 * shm_hooked: the files of the shared tables, built into a test with something before each of their loads and
 * stores. Before it is included, SHM_BEFORE_LOAD() and SHM_BEFORE_STORE() are defined: calls of the test's own.
 *
 * The library's own copies are not linked then, for nothing is missing that they have.
 */
static inline uint64_t
hooked_load(const volatile void *at, size_t bytes)
{
	return bytes == sizeof(uint32_t) ?
		       atomic_load_explicit((const volatile _Atomic uint32_t *)at, memory_order_acquire) :
		       atomic_load_explicit((const volatile _Atomic uint64_t *)at, memory_order_acquire);
}

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_fetch_add_explicit
#define atomic_load_explicit(at, order) (SHM_BEFORE_LOAD(), (__typeof__(0 + *(at)))hooked_load(at, sizeof(*(at))))
#define __atomic_load_n(at, order) (SHM_BEFORE_LOAD(), hooked_load(at, sizeof(*(at))))
#define atomic_store_explicit(at, value, order) (SHM_BEFORE_STORE(), (void)atomic_exchange(at, value))
#define atomic_fetch_add_explicit(at, value, order) (SHM_BEFORE_STORE(), (void)atomic_fetch_add(at, value))
#define __atomic_store_n(at, value, order) (SHM_BEFORE_STORE(), (void)(*(volatile uint64_t *)(at) = (value)))
#include "../../lib/shm/cell.c"
#include "../../lib/shm/index.c"
#include "../../lib/shm/keyslot.c"
#include "../../lib/shm/table.c"
