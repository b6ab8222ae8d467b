#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "publish.h"

/*
 * row: one row of the store into the shared tables, or out of them.
 *
 * Owner: publish. Time: now_ns is CLOCK_MONOTONIC.
 */

/* True if the tables had to change. The row comes from body_query(). What has no place is counted and logged. */
bool row_publish(struct publish *p, enum noun noun, struct statement *row, uint64_t now_ns);

/* Publishes or removes one row, as the store says. True in *changed if the tables had to change. */
enum err row_publish_id(struct publish *p, enum noun noun, int64_t id, bool may_put, bool may_remove,
			uint64_t now_ns, bool *changed);

/* What control alone writes of a balance, from an account's row. The ledger adds to both sums at once: the
 * difference is the others'. */
void row_put_money(struct shm_balance_cell *cell, struct statement *row);
