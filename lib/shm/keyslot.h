#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/table.h"

/*
 * keyslot: the keys, each one cache line of a hash table, as table.c sees them. Private to lib/shm.
 *
 * Owner and thread: as table.h says. A lookup looks into slots SHM_PROBES_MAX + SHM_READ_TRIES_MAX times at
 * most, whatever the writer does or has left behind.
 */

/* Slots for so many keys: twice as many. */
uint32_t keyslot_count(uint32_t keys);

/* As shm_find_key(), shm_read_key(), shm_put_key() but for the generation, shm_prefetch_key(), shm_is_used(). */
enum err keyslot_find(const struct shm *shm, const uint8_t hash[32], struct shm_key *out, uint32_t *entry);
enum err keyslot_read(const struct shm *shm, uint32_t entry, struct shm_key *out);
enum err keyslot_put(struct shm *shm, uint32_t entry, const struct shm_key *body, bool *changed);
void keyslot_prefetch(const struct shm *shm, const uint8_t hash[32]);
bool keyslot_is_used(const struct shm *shm, uint32_t entry);

/* Each live slot becomes its entry's place, unless that has another live one: then it goes. */
void keyslot_repair(struct shm *shm);
