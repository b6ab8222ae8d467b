#pragma once

#include "store.h"

/*
 * driver: what stands behind struct store; only store*.c and the drivers include this.
 *
 * A driver's statement begins with a struct statement. Functions mean what store.h says of those with the same
 * name. prepare leaves ->store to the caller.
 */
struct statement {
	struct store *store;
};

/* What the constraints of either database refuse with. */
#define STORE_REFERRED "something else still refers to it, or what it refers to is gone"
#define STORE_TAKEN "something else has this name or number already"
#define STORE_MISSING "a value that must be there is missing"
#define STORE_OVERFLOW "a number would be larger than can be stored"

struct store_driver {
	bool is_shared; /* by several routers */
	enum err (*open)(struct store *store, const char *where);
	void (*close)(struct store *store);
	enum err (*begin)(struct store *store);
	enum err (*commit)(struct store *store);
	void (*rollback)(struct store *store);
	enum err (*run_script)(struct store *store, const char *sql);
	enum err (*failed)(struct store *store);
	enum err (*limit)(struct store *store, uint32_t ms);
	enum err (*scrub)(struct store *store);
	bool (*changed_elsewhere)(struct store *store);
	int (*file)(struct store *store);

	struct statement *(*prepare)(struct store *store, const char *sql);
	void (*finalize)(struct statement *statement);
	void (*bind_null)(struct statement *statement, int at);
	void (*bind_int64)(struct statement *statement, int at, int64_t value);
	void (*bind_text)(struct statement *statement, int at, struct bytes text);
	void (*bind_blob)(struct statement *statement, int at, struct bytes blob);
	enum store_step (*step)(struct statement *statement);
	void (*reset)(struct statement *statement);
	enum err (*post)(struct statement *statement, int64_t *changes);
	enum err (*settle)(struct store *store);
	int64_t (*changes)(struct statement *statement);
	int (*column_count)(struct statement *statement);
	const char *(*column_name)(struct statement *statement, int at);
	enum store_kind (*column_kind)(struct statement *statement, int at);
	int64_t (*column_int64)(struct statement *statement, int at);
	struct bytes (*column_text)(struct statement *statement, int at);
	struct bytes (*column_blob)(struct statement *statement, int at);
};

extern const struct store_driver store_sqlite, store_postgres;
