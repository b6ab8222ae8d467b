#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "publish.h"

/*
 * body: what the shared tables are to say of one row of the store.
 *
 * Owner: publish. Memory: the caller's.
 */
union body {
	struct shm_account account;
	struct shm_plan plan;
	struct shm_price price;
	struct shm_region region;
	struct shm_pod pod;
	struct shm_deployment deployment;
	struct shm_model model;
	struct shm_alias alias;
	struct shm_instance instance;
	struct shm_key key;
};

/* Columns of accounts' rows behind the id and `suspended`: what their balance cells are told. */
enum {
	ACCOUNT_CREDITED = 2,
	ACCOUNT_SPENT,
	ACCOUNT_SPENT_HERE,
};

/* Where bodies of this noun are published. */
enum shm_section body_table(enum noun noun);

/* SELECT … FROM its table; the id is column 0. ?1 and ?2 are free, ?3 is this router's name. */
const char *body_query(enum noun noun);

/* False: this row cannot be published. The body comes zeroed, padding included. */
bool body_make(const struct publish *p, enum noun noun, struct statement *row, union body *body);

/* As shm_put_*(). */
enum err body_put(struct publish *p, enum noun noun, uint32_t entry, const union body *body, bool *changed);

/* The id that an entry is live for, 0 if it is not. */
uint64_t body_live_id(const struct shm *shm, enum noun noun, uint32_t entry);
