/* Of PostgreSQL only: a store in a file has one router, which its lock sees to. */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/check.h"
#include "base/units.h"

#define NOW "CAST(extract(epoch FROM clock_timestamp()) AS BIGINT)"
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

/* Hex digits of so many random bytes. */
static enum err
draw(struct node *node, char *digits, size_t count)
{
	uint8_t random[16];

	CHECK(count <= sizeof(random));
	if (getrandom(random, count, 0) != (ssize_t)count)
		return store_refuse(node->store, ERR_STORE_FAILED, "no random bytes");
	for (size_t i = 0; i < count; i++)
		snprintf(digits + 2 * i, 3, "%02x", random[i]);
	return ERR_OK;
}

/* 32 hex digits, made once. */
static enum err
make_id(struct node *node, int file, const char *path)
{
	enum err verdict = draw(node, node->id, 16);

	if (verdict != ERR_OK)
		return verdict;
	if (pwrite(file, node->id, 32, 0) != 32 || fdatasync(file) != 0)
		return store_refuse(node->store, ERR_STORE_FAILED, "%s: %s", path, strerror(errno));
	return ERR_OK;
}

/* The last beat of a lease that runs under this folder's id, and whose life has it; 0: there is none. */
static enum err
read_lease(struct node *node, struct statement *look, int64_t *beat_at, char life[49])
{
	enum store_step step;

	store_bind_text(look, 1, bytes_from_text(node->store->node));
	store_bind_text(look, 2, bytes_make(node->id, 32));
	step = store_step(look);
	*beat_at = 0;
	if (step == STORE_ROW) {
		struct bytes text = store_column_text(look, 1);

		*beat_at = store_column_int64(look, 0);
		snprintf(life, 49, "%.*s", (int)text.len, (const char *)text.ptr);
	}
	store_reset(look);
	return step == STORE_BROKEN ? store_failed(node->store) : ERR_OK;
}

/* ERR_STORE_CONFLICT: it moves, so somebody lives who is not this one. */
static enum err
watch_lease(struct node *node, struct statement *look)
{
	char life[49] = "", life_now[49] = "";
	int64_t beat_at, beat_at_now;
	enum err verdict = read_lease(node, look, &beat_at, life);

	for (int ms = 0; ms < NODE_WATCH_MS && verdict == ERR_OK && beat_at != 0; ms += 100) {
		poll(NULL, 0, 100);
		verdict = read_lease(node, look, &beat_at_now, life_now);
		if (verdict == ERR_OK && beat_at_now == 0)
			break;
		if (verdict == ERR_OK && (beat_at_now != beat_at || strcmp(life, life_now) != 0))
			verdict = store_refuse(node->store, ERR_STORE_CONFLICT,
					       "another router named \"%s\" lives on this database, with a copy"
					       " of this one's spool folder (a cloned machine?): give this one a"
					       " name of its own (instance) and an empty spool.path",
					       node->store->node);
	}
	return verdict;
}

static enum err
find_clone(struct node *node)
{
	struct statement *look = store_prepare(
		node->store, "SELECT beat_at, id FROM nodes WHERE name = ?1 AND substr(id, 1, 32) = ?2"
			     " AND beat_at >= " NOW " - " TEXT(NODE_LEASE_S));
	enum err verdict = look != NULL ? watch_lease(node, look) : ERR_STORE_FAILED;

	store_finalize(look);
	return verdict;
}

static enum err
read_id(struct node *node, const char *folder)
{
	enum err verdict = ERR_OK;
	char path[300];
	int file;

	snprintf(path, sizeof(path), "%s/node.id", folder);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file < 0)
		return store_refuse(node->store, ERR_STORE_FAILED, "%s: %s", path, strerror(errno));
	if (pread(file, node->id, 32, 0) != 32 || strspn(node->id, "0123456789abcdef") != 32)
		verdict = make_id(node, file, path);
	close(file);
	return verdict;
}

static enum err
take_name(struct node *node)
{
	struct store *store = node->store;
	struct statement *statement = store_prepare(
		store, "INSERT INTO nodes(name, id, beat_at, change_seq) VALUES (?1, ?2, " NOW ", 0)"
		       " ON CONFLICT (name) DO UPDATE SET id = excluded.id, beat_at = excluded.beat_at"
		       " WHERE substr(nodes.id, 1, 32) = substr(excluded.id, 1, 32)"
		       " OR nodes.beat_at < excluded.beat_at - " TEXT(NODE_LEASE_S));
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_text(statement, 1, bytes_from_text(store->node));
	store_bind_text(statement, 2, bytes_from_text(node->id));
	verdict = store_run(store, statement);
	if (verdict == ERR_OK && store_changes(statement) == 0)
		verdict = store_refuse(store, ERR_STORE_CONFLICT,
				       "another router named \"%s\" lives on this database: give this one a"
				       " name of its own (instance), or wait " TEXT(NODE_LEASE_S) " s after that"
				       " one's end",
				       store->node);
	store_finalize(statement);
	return verdict;
}

enum err
node_claim(struct node *node, struct store *store, const char *folder)
{
	enum err verdict;

	*node = (struct node){ .store = store };
	verdict = read_id(node, folder);
	if (verdict == ERR_OK)
		verdict = draw(node, node->id + 32, 8);
	if (verdict == ERR_OK)
		verdict = find_clone(node);
	if (verdict == ERR_OK)
		verdict = take_name(node);
	if (verdict != ERR_OK)
		return verdict;
	node->beat = store_prepare(store, "UPDATE nodes SET beat_at = " NOW ", change_seq = ?3"
					  " WHERE name = ?1 AND id = ?2");
	if (node->beat == NULL)
		return ERR_STORE_FAILED;
	store_bind_text(node->beat, 1, bytes_from_text(store->node));
	store_bind_text(node->beat, 2, bytes_from_text(node->id));
	return ERR_OK;
}

enum err
node_turn(struct node *node, int64_t change_seq, uint64_t now_ns)
{
	if (node->store == NULL || now_ns < node->beat_at_ns)
		return ERR_OK;
	node->beat_at_ns = now_ns + NODE_BEAT_MS * NSEC_PER_MSEC;
	store_bind_int64(node->beat, 3, change_seq);
	if (store_run(node->store, node->beat) != ERR_OK || store_changes(node->beat) == 1)
		return ERR_OK;
	return store_refuse(node->store, ERR_STORE_CONFLICT, "another router has taken the name \"%s\"",
			    node->store->node);
}

void
node_release(struct node *node)
{
	struct statement *statement;

	if (node->store == NULL)
		return;
	statement = store_prepare(node->store, "UPDATE nodes SET beat_at = 0 WHERE name = ?1 AND id = ?2");
	if (statement != NULL) {
		store_bind_text(statement, 1, bytes_from_text(node->store->node));
		store_bind_text(statement, 2, bytes_from_text(node->id));
		store_run(node->store, statement); /* else the lease lapses */
	}
	store_finalize(statement);
	store_finalize(node->beat);
	node->store = NULL;
}
