/* The secrets in the store. */
#include "tickets.h"

#include <string.h>
#include <sys/random.h>

#include "audit.h"
#include "base/check.h"
#include "base/units.h"
#include "config/log.h"
#include "tls/arena.h"

#define BLOB_BYTES (TICKET_NAME_BYTES + TICKET_KEY_BYTES)
#define REVOKE_TRIES_MAX 5 /* of a number that another router took meanwhile */

CHECK_STATIC(sizeof(struct ticket_secrets) <= 4096, "secrets take a page");

static uint64_t
use_s(const struct tickets *tickets)
{
	return tickets->lifetime_s < TICKETS_USE_S_MAX ? tickets->lifetime_s : TICKETS_USE_S_MAX;
}

/* --- rows -------------------------------------------------------------------------------- */

static void
take_row(struct tickets *tickets, struct ticket_secrets *found, struct statement *row)
{
	struct bytes blob = store_column_blob(row, 1);
	struct ticket_secret *secret = &found->secret[found->count];
	int64_t number = store_column_int64(row, 0), begins_at_s = store_column_int64(row, 2);

	if (number > 0)
		tickets->newest = (uint64_t)number;
	if (blob.len != BLOB_BYTES || number <= 0 || begins_at_s < 0) {
		LOG_ERROR("ticket_secret_damaged", LOG_NUMBER("number", (uint64_t)number));
		return;
	}
	secret->number = (uint64_t)number;
	secret->begins_at_s = (uint64_t)begins_at_s;
	/* By a clock that was set back since. */
	if (found->count > 0 && secret->begins_at_s < secret[-1].begins_at_s)
		secret->begins_at_s = secret[-1].begins_at_s;
	memcpy(secret->name, blob.ptr, TICKET_NAME_BYTES);
	memcpy(secret->key, blob.ptr + TICKET_NAME_BYTES, TICKET_KEY_BYTES);
	tickets->ends_at_s[found->count] = (uint64_t)store_column_int64(row, 3);
	found->count++;
}

/* The newest of them, oldest first. Nobody is told yet. */
static enum err
read_rows(struct tickets *tickets, struct ticket_secrets *found)
{
	struct statement *rows = store_prepare(
		tickets->store, "SELECT number, secret, begins_at, ends_at FROM (SELECT number, secret, begins_at,"
				" ends_at FROM ticket_secrets ORDER BY number DESC LIMIT ?1) AS newest"
				" ORDER BY number");
	enum store_step step;
	enum err verdict;

	*found = (struct ticket_secrets){ .layout = TICKET_SECRETS_LAYOUT };
	tickets->newest = 0;
	if (rows == NULL)
		return store_failed(tickets->store);
	store_bind_int64(rows, 1, TICKET_SECRETS_MAX);
	while ((step = store_step(rows)) == STORE_ROW && found->count < TICKET_SECRETS_MAX)
		take_row(tickets, found, rows);
	verdict = step == STORE_BROKEN ? store_failed(tickets->store) : ERR_OK;
	store_finalize(rows);
	return verdict;
}

/* *made is false if another router has made the number. */
static enum err
insert(struct tickets *tickets, uint64_t number, uint64_t begins_at_s, bool *made)
{
	struct statement *row = store_prepare(
		tickets->store, "INSERT INTO ticket_secrets(number, secret, begins_at, ends_at)"
				" VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING");
	uint8_t secret[BLOB_BYTES];
	enum err verdict;

	if (row == NULL)
		return store_failed(tickets->store);
	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret)) {
		store_finalize(row);
		return store_refuse(tickets->store, ERR_STORE_FAILED, "no random bytes");
	}
	store_bind_int64(row, 1, (int64_t)number);
	store_bind_blob(row, 2, bytes_make(secret, sizeof(secret)));
	store_bind_int64(row, 3, (int64_t)begins_at_s);
	store_bind_int64(row, 4, (int64_t)(begins_at_s + use_s(tickets) + tickets->lifetime_s));
	verdict = store_run(tickets->store, row);
	*made = verdict == ERR_OK && store_changes(row) == 1;
	store_finalize(row);
	explicit_bzero(secret, sizeof(secret));
	return verdict;
}

/* Runs a statement with numbers; one below 0 is not bound. */
static enum err
run(struct tickets *tickets, const char *sql, int64_t first, int64_t second, int64_t *changes)
{
	const int64_t values[] = { first, second };
	struct statement *statement = store_prepare(tickets->store, sql);
	enum err verdict;

	if (statement == NULL)
		return store_failed(tickets->store);
	for (int i = 0; i < 2 && values[i] >= 0; i++)
		store_bind_int64(statement, i + 1, values[i]);
	verdict = store_run(tickets->store, statement);
	*changes = verdict == ERR_OK ? store_changes(statement) : 0;
	store_finalize(statement);
	return verdict;
}

/* --- what is due ------------------------------------------------------------------------- */

/* Those whose tickets are dead, but for the one that seals. */
static enum err
forget(struct tickets *tickets, const struct ticket_secrets *found, uint64_t now_s, int64_t *forgotten)
{
	const struct ticket_secret *current = ticket_secrets_choose(found, now_s);

	*forgotten = 0;
	if (found->secret[0].number >= current->number || tickets->ends_at_s[0] > now_s)
		return ERR_OK;
	return run(tickets, "DELETE FROM ticket_secrets WHERE number < ?1 AND ends_at <= ?2",
		   (int64_t)current->number, (int64_t)now_s, forgotten);
}

/* What would begin later than that begins then. */
static enum err
begin_by(struct tickets *tickets, uint64_t begins_at_s, int64_t *moved)
{
	return run(tickets, "UPDATE ticket_secrets SET begins_at = ?1, ends_at = ?2 WHERE begins_at > ?1",
		   (int64_t)begins_at_s, (int64_t)(begins_at_s + use_s(tickets) + tickets->lifetime_s), moved);
}

/* A clock that was ahead for a moment has made a secret for the time that it told: until then no other would be
 * made, at any router. */
static enum err
set_back(struct tickets *tickets, const struct ticket_secret *newest, uint64_t now_s, bool *more)
{
	int64_t moved;
	enum err verdict = begin_by(tickets, now_s + TICKETS_LEAD_S, &moved);

	*more = moved > 0;
	if (verdict == ERR_OK && moved > 0)
		LOG_WARN("ticket_secret_set_back", LOG_NUMBER("number", newest->number),
			 LOG_NUMBER("ahead_s", newest->begins_at_s - now_s),
			 LOG_TEXT("fix", "look at the routers' clocks"));
	return verdict;
}

/* The first, or one after the newest if that has begun. *more: something was done, look again. */
static enum err
provide(struct tickets *tickets, const struct ticket_secrets *found, uint64_t now_s, bool *more)
{
	const struct ticket_secret *newest = found->count > 0 ? &found->secret[found->count - 1] : NULL;
	uint64_t begins_at_s = now_s;
	int64_t forgotten;
	enum err verdict;
	bool made;

	*more = true;
	if (newest == NULL)
		return insert(tickets, tickets->newest + 1, begins_at_s, &made);
	if (newest->begins_at_s <= now_s) {
		begins_at_s = newest->begins_at_s + use_s(tickets);
		if (begins_at_s < now_s + TICKETS_LEAD_S)
			begins_at_s = now_s + TICKETS_LEAD_S;
		return insert(tickets, tickets->newest + 1, begins_at_s, &made);
	}
	if (newest->begins_at_s > now_s + TICKETS_AHEAD_S_MAX)
		return set_back(tickets, newest, now_s, more);
	verdict = forget(tickets, found, now_s, &forgotten);
	*more = forgotten > 0;
	tickets->is_dirty |= forgotten > 0;
	return verdict;
}

static void
adopt(struct tickets *tickets, const struct ticket_secrets *found, uint64_t now_s)
{
	if (memcmp(tickets->secrets, found, sizeof(*found)) == 0)
		return;
	*tickets->secrets = *found;
	LOG_INFO("ticket_secrets", LOG_NUMBER("count", found->count),
		 LOG_NUMBER("oldest", found->secret[0].number),
		 LOG_NUMBER("newest", found->secret[found->count - 1].number),
		 LOG_NUMBER("seals", ticket_secrets_choose(found, now_s)->number));
	tickets_tell(tickets);
}

/* A dead secret opens what was recorded of its time. */
static void
scrub(struct tickets *tickets)
{
	enum err verdict = tickets->is_dirty ? store_scrub(tickets->store) : ERR_MORE;

	if (verdict == ERR_OK)
		tickets->is_dirty = false;
	else if (verdict != ERR_MORE)
		LOG_ERROR("ticket_secrets_not_scrubbed", LOG_TEXT("problem", tickets->store->problem));
}

/* The first, the next, and what is too old: three rounds at the most, but for other routers that do the same. */
static enum err
look(struct tickets *tickets, uint64_t now_s)
{
	struct ticket_secrets found;
	enum err verdict = ERR_OK;
	bool more = true;

	for (int i = 0; i < 8 && more && verdict == ERR_OK; i++) {
		verdict = read_rows(tickets, &found);
		if (verdict == ERR_OK)
			verdict = provide(tickets, &found, now_s, &more);
	}
	if (verdict == ERR_OK && found.count > 0)
		adopt(tickets, &found, now_s);
	explicit_bzero(&found, sizeof(found));
	scrub(tickets);
	return verdict;
}

/* --- the operator's -------------------------------------------------------------------------- */

static enum err
tell_audit(struct tickets *tickets, const char *verb, uint64_t number)
{
	const struct audit_change change = { .verb = verb, .noun = "tickets", .subject = (int64_t)number,
					     .name = "", .changed = "{}", .detail = "" };

	return audit_write(tickets->store, &change);
}

/* What comes next begins now; if nothing does, a new one. */
static enum err
begin_next(struct tickets *tickets, uint64_t now_s)
{
	uint64_t number = tickets->newest;
	int64_t moved;
	enum err verdict = begin_by(tickets, now_s, &moved);
	bool made = true;

	if (verdict == ERR_OK && moved == 0)
		verdict = insert(tickets, ++number, now_s, &made);
	if (verdict == ERR_OK && !made)
		verdict = store_refuse(tickets->store, ERR_STORE_CONFLICT, "another router has just rotated");
	return verdict == ERR_OK ? tell_audit(tickets, "rotate", number) : verdict;
}

/* Nothing that was is left. */
static enum err
begin_anew(struct tickets *tickets, uint64_t now_s)
{
	uint64_t number = tickets->newest + 1;
	int64_t deleted;
	bool made = true;
	enum err verdict = run(tickets, "DELETE FROM ticket_secrets", -1, -1, &deleted);

	tickets->is_dirty = true;
	if (verdict == ERR_OK)
		verdict = insert(tickets, number, now_s, &made);
	if (verdict == ERR_OK && !made)
		verdict = store_refuse(tickets->store, ERR_STORE_CONFLICT, "another router has just rotated");
	return verdict == ERR_OK ? tell_audit(tickets, "revoke", number) : verdict;
}

typedef enum err (*change_fn)(struct tickets *tickets, uint64_t now_s);

static enum err
change_once(struct tickets *tickets, change_fn change, uint64_t now_s)
{
	struct ticket_secrets found;
	enum err verdict = store_begin(tickets->store);

	if (verdict != ERR_OK)
		return verdict;
	verdict = read_rows(tickets, &found);
	if (verdict == ERR_OK)
		verdict = change(tickets, now_s);
	explicit_bzero(&found, sizeof(found));
	if (verdict == ERR_OK)
		return store_commit(tickets->store);
	store_rollback(tickets->store);
	return verdict;
}

static enum err
change(struct tickets *tickets, change_fn how, uint64_t now_s)
{
	enum err verdict = ERR_STORE_CONFLICT;

	if (tickets->lifetime_s == 0)
		return store_refuse(tickets->store, ERR_STORE_CONFLICT,
				    "there are no tickets: tls.ticket_lifetime is 0s");
	for (int i = 0; i < REVOKE_TRIES_MAX && verdict == ERR_STORE_CONFLICT; i++)
		verdict = change_once(tickets, how, now_s);
	return verdict == ERR_OK ? look(tickets, now_s) : verdict;
}

enum err
tickets_rotate(struct tickets *tickets, uint64_t now_s)
{
	return change(tickets, begin_next, now_s);
}

enum err
tickets_revoke(struct tickets *tickets, uint64_t now_s)
{
	return change(tickets, begin_anew, now_s);
}

/* --- for the loop ------------------------------------------------------------------------- */

enum err
tickets_init(struct tickets *tickets, struct store *store, uint32_t lifetime_s, uint64_t now_s)
{
	*tickets = (struct tickets){ .store = store, .lifetime_s = lifetime_s, .listening = -1 };
	tickets->is_dirty = true; /* who died here may have left something */
	tickets->arena = arena_new(ARENA_BYTES_MIN);
	if (tickets->arena == NULL)
		return store_refuse(store, ERR_STORE_FAILED, "no memory for the tickets' secrets");
	tickets->secrets = arena_alloc(tickets->arena, sizeof(*tickets->secrets));
	CHECK(tickets->secrets != NULL);
	if (!arena_lock_used(tickets->arena))
		LOG_WARN("keys_can_be_swapped", LOG_TEXT("fix", "raise RLIMIT_MEMLOCK"));
	return lifetime_s > 0 ? look(tickets, now_s) : ERR_OK;
}

enum err
tickets_turn(struct tickets *tickets, bool has_changed, uint64_t now_ns, uint64_t now_s)
{
	if (tickets->lifetime_s == 0)
		return ERR_OK;
	tickets_serve(tickets);
	if (!has_changed && now_ns < tickets->look_at_ns)
		return ERR_OK;
	tickets->look_at_ns = now_ns + TICKETS_LOOK_NS;
	return look(tickets, now_s);
}

uint64_t
tickets_age_s(const struct tickets *tickets, uint64_t now_s)
{
	uint64_t begins_at_s = tickets->secrets->count > 0 ?
				       ticket_secrets_choose(tickets->secrets, now_s)->begins_at_s :
				       now_s;

	return now_s > begins_at_s ? now_s - begins_at_s : 0;
}

yyjson_mut_val *
tickets_show(const struct tickets *tickets, yyjson_mut_doc *doc, uint64_t now_s)
{
	const struct ticket_secrets *secrets = tickets->secrets;
	yyjson_mut_val *root = yyjson_mut_obj(doc), *rows = yyjson_mut_arr(doc);

	yyjson_mut_obj_add_uint(doc, root, "lifetime_s", tickets->lifetime_s);
	yyjson_mut_obj_add_uint(doc, root, "readers", tickets->reader_count);
	for (uint64_t i = 0; i < secrets->count; i++) {
		const struct ticket_secret *secret = &secrets->secret[i];
		yyjson_mut_val *row = yyjson_mut_obj(doc);

		yyjson_mut_obj_add_uint(doc, row, "number", secret->number);
		yyjson_mut_obj_add_uint(doc, row, "begins_at", secret->begins_at_s);
		yyjson_mut_obj_add_uint(doc, row, "ends_at", tickets->ends_at_s[i]);
		yyjson_mut_obj_add_bool(doc, row, "seals", secret == ticket_secrets_choose(secrets, now_s));
		yyjson_mut_arr_append(rows, row);
	}
	yyjson_mut_obj_add_val(doc, root, "data", rows);
	return root;
}
