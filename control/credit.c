/* Looks at rows in the order of their ids, so that a round takes turns with everything else. */
#include "credit.h"

#include "audit.h"
#include "config/log.h"
#include "noun.h"
#include "shm/layout.h"

struct slice {
	int64_t ids[CREDIT_ENDS_MAX];
	size_t count;
	int64_t last_id; /* that was looked at; 0: none was left */
};

/* The two bounds are on what is read and on what is remembered: a slice ends with whichever comes first. */
static enum err
look(struct credit *credit, struct slice *slice)
{
	struct statement *statement =
		store_prepare(credit->store,
			      "SELECT i.id, i.state, a.credited_nano - a.spent_nano, a.spent_nano FROM instances i"
			      " JOIN accounts a ON a.id = i.account_id WHERE i.id > ?1 ORDER BY i.id LIMIT ?2");
	enum store_step step = STORE_DONE;
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, credit->after_id);
	store_bind_int64(statement, 2, CREDIT_SLICE);
	while (slice->count < CREDIT_ENDS_MAX && (step = store_step(statement)) == STORE_ROW) {
		slice->last_id = store_column_int64(statement, 0);
		if (store_column_int64(statement, 1) == SHM_INSTANCE_RUNNING &&
		    store_column_int64(statement, 2) <= 0 && store_column_int64(statement, 3) > 0)
			slice->ids[slice->count++] = slice->last_id;
	}
	verdict = step == STORE_BROKEN ? store_failed(credit->store) : ERR_OK;
	store_finalize(statement);
	return verdict;
}

static enum err
end_instance(struct credit *credit, int64_t id)
{
	static const char body[] = "{\"state\":\"credit_depleted\"}";
	yyjson_doc *doc = yyjson_read(body, sizeof(body) - 1, 0);
	bool created;
	enum err verdict = noun_put(credit->store, NOUN_INSTANCE, &id, BYTES_NONE, yyjson_doc_get_root(doc), NULL,
				    0, &created);

	yyjson_doc_free(doc);
	if (verdict != ERR_OK)
		return verdict;
	credit->ended++;
	LOG_INFO("instance_credit_depleted", LOG_NUMBER("instance", id));
	return ERR_OK;
}

enum err
credit_step(struct credit *credit, bool *more, bool *any)
{
	static const struct audit_caller control = { .who = "control", .request_id = "", .verb = "deplete" };
	struct slice slice = { .count = 0 };
	enum err verdict = look(credit, &slice);

	*any = false;
	*more = verdict == ERR_OK && slice.last_id != 0;
	credit->store->caller = &control;
	for (size_t i = 0; i < slice.count && verdict == ERR_OK; i++) {
		verdict = end_instance(credit, slice.ids[i]);
		*any |= verdict == ERR_OK;
		/* One that cannot be ended keeps those behind it from nothing. */
		credit->after_id = slice.ids[i];
	}
	credit->store->caller = NULL;
	if (verdict == ERR_OK)
		credit->after_id = slice.last_id;
	return verdict;
}
