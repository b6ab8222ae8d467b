#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "shm/layout.h"

/*
 * table: reading and publishing the entries of layout.h.
 *
 * Owner:  one writer (sluice-control), any number of readers.
 * Thread: readers never block and never see half an update.
 * Memory: the mapping, made by the two programs (POSIX calls are theirs).
 */

struct shm {
	struct shm_header *header;
};

/* --- making and attaching ------------------------------------------------------ */

/* Bytes of a file for these capacities. 0 if the sum overflows. Index sections and hot cells are
 * derived from the tables' capacities; only the tables' own counts are read. */
uint64_t shm_bytes(const struct shm_capacity *capacity, uint32_t worker_count);

/* Lays out zeroed memory of shm_bytes(). */
void shm_format(void *memory, const struct shm_capacity *capacity, uint32_t worker_count,
		const uint8_t instance_id[16], const uint8_t pepper[32]);

/* ERR_SHM_MAGIC, ERR_SHM_VERSION, ERR_SHM_SIZE name what differs. bytes: of the mapping. */
enum err shm_attach(struct shm *shm, void *memory, uint64_t bytes);

/* --- workers ------------------------------------------------------------------------- */

/* Each copies the entry into *out. ERR_SHM_NOT_FOUND: no such entry, or it is not live;
 * ERR_SHM_BUSY: it changed SHM_READ_TRIES_MAX times in a row while being read. */
enum err shm_find_key(const struct shm *shm, const uint8_t hash[32], struct shm_key *out,
		      uint32_t *entry); /* constant-time comparison of the hash */
/* Starts to fetch what shm_find_key() will read: for a caller that has several keys to find, or something else to
 * do first. A key that the caches have forgotten is one wait for memory, and these overlap. */
void shm_prefetch_key(const struct shm *shm, const uint8_t hash[32]);
/* Starts to fetch what a request needs next of a key that was found: its account, balance and bucket. */
void shm_prefetch_behind_key(const struct shm *shm, const struct shm_key *key, uint32_t key_entry);
/* Model id or alias. */
enum err shm_find_model(const struct shm *shm, struct bytes name, struct shm_model *out,
			uint32_t *entry);
enum err shm_find_instance(const struct shm *shm, uint64_t instance_id, struct shm_instance *out,
			   uint32_t *entry);
enum err shm_read_account(const struct shm *shm, uint32_t entry, struct shm_account *out);
enum err shm_read_plan(const struct shm *shm, uint32_t entry, struct shm_plan *out);
enum err shm_read_price(const struct shm *shm, uint32_t entry, struct shm_price *out);
enum err shm_read_region(const struct shm *shm, uint32_t entry, struct shm_region *out);
enum err shm_read_deployment(const struct shm *shm, uint32_t entry, struct shm_deployment *out);
enum err shm_read_pod(const struct shm *shm, uint32_t entry, struct shm_pod *out);
/* A tenth of the time: several are looked at for each request. */
enum err shm_read_pod_place(const struct shm *shm, uint32_t entry, struct shm_pod_place *out);

enum err shm_read_key(const struct shm *shm, uint32_t entry, struct shm_key *out);
enum err shm_read_model(const struct shm *shm, uint32_t entry, struct shm_model *out);
enum err shm_read_alias(const struct shm *shm, uint32_t entry, struct shm_alias *out);
enum err shm_read_instance(const struct shm *shm, uint32_t entry, struct shm_instance *out);

/* False: the pod's name was never resolved, and nobody can reach it. */
bool shm_has_address(const uint8_t address[16]);
struct shm_pod_place shm_place_of(const struct shm_pod *pod);

struct bytes shm_name_bytes(const struct shm_name *name); /* lives as long as *name */
struct bytes shm_short_name_bytes(const struct shm_short_name *name);

struct shm_bucket_cell *shm_bucket(const struct shm *shm, uint32_t key_entry);
struct shm_balance_cell *shm_balance(const struct shm *shm, uint32_t account_entry);
struct shm_pod_health *shm_pod_health(const struct shm *shm, uint32_t pod_entry);
struct shm_worker *shm_worker(const struct shm *shm, uint32_t worker);

/* --- control ---------------------------------------------------------------------------- */

/* For the writer when it attaches to a file that another life of it has written: takes slots out of the
 * indexes that lead nowhere (it died between two steps of a put) and enters live entries that are missing.
 * Costs one pass over keys and indexes and one over the entries. ERR_SHM_FULL as below. */
enum err shm_repair(struct shm *shm);

/* True if the entry has ever been published; false: nobody can remember it. */
bool shm_is_used(const struct shm *shm, enum shm_section table, uint32_t entry);

/* Publish makes entry `entry` of a table equal to *body; *changed tells whether it had to. The caller
 * keeps the map from its own ids to entries (publish.h in control). Names and hashes are entered into the
 * index before the entry becomes live and leave it after. A body that is not live deletes the entry.
 * ERR_SHM_FULL: no such entry, or no room in an index near the name's home; nothing has changed. */
enum err shm_put_key(struct shm *shm, uint32_t entry, const struct shm_key *body, bool *changed);
enum err shm_put_account(struct shm *shm, uint32_t entry, const struct shm_account *body,
			 bool *changed);
enum err shm_put_plan(struct shm *shm, uint32_t entry, const struct shm_plan *body, bool *changed);
enum err shm_put_model(struct shm *shm, uint32_t entry, const struct shm_model *body,
		       bool *changed);
enum err shm_put_alias(struct shm *shm, uint32_t entry, const struct shm_alias *body,
		       bool *changed);
enum err shm_put_price(struct shm *shm, uint32_t entry, const struct shm_price *body,
		       bool *changed);
enum err shm_put_instance(struct shm *shm, uint32_t entry, const struct shm_instance *body,
			  bool *changed);
enum err shm_put_region(struct shm *shm, uint32_t entry, const struct shm_region *body,
			bool *changed);
enum err shm_put_deployment(struct shm *shm, uint32_t entry, const struct shm_deployment *body,
			    bool *changed);
enum err shm_put_pod(struct shm *shm, uint32_t entry, const struct shm_pod *body, bool *changed);
