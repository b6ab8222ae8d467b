/* Of PostgreSQL only: a store in a file has one router, which its lock sees to. */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/units.h"

#define NOW "CAST(extract(epoch FROM clock_timestamp()) AS BIGINT)"
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

/* 32 hex digits, made once. */
static enum err
make_id(struct node *node, int file, const char *path)
{
	uint8_t random[16];

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return store_refuse(node->store, ERR_STORE_FAILED, "no random bytes");
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(node->id + 2 * i, 3, "%02x", random[i]);
	if (pwrite(file, node->id, 32, 0) != 32 || fdatasync(file) != 0)
		return store_refuse(node->store, ERR_STORE_FAILED, "%s: %s", path, strerror(errno));
	return ERR_OK;
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
		       " WHERE nodes.id = excluded.id OR nodes.beat_at < excluded.beat_at - " TEXT(NODE_LEASE_S));
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
