#pragma once

#include "shm/table.h"

/*
 * tables: shared tables for a test that makes a worker by hand: TABLES_ENTRIES of everything, nothing in them.
 *
 * Memory: tables_make() allocates, tables_free() frees.
 */
#define TABLES_ENTRIES 4

struct shm tables_make(void);
void tables_free(struct shm *shm);

/* An account of this id in this entry, whoever had it before. */
void tables_put_account(struct shm *shm, uint32_t entry, uint64_t id);
