/* sluice.yaml read again, tried, confirmed; and what of it runs. */
#include <stdlib.h>

#include "answering.h"
#include "audit.h"
#include "clock.h"
#include "config/log.h"

static void
refuse(struct answering *a, enum err verdict)
{
	const struct reload *r = &a->control->reload;
	yyjson_mut_val *complaints = yyjson_mut_arr(a->doc);

	switch (verdict) {
	case ERR_CONFIG_TRIAL:
	case ERR_CONFIG_NO_TRIAL:
		answering_refuse(a, 409, "conflict", err_sentence(verdict));
		return;
	case ERR_CONFIG_HANDOVER:
		answering_refuse(a, 500, "not_handed_over", err_sentence(verdict));
		return;
	default:
		answering_refuse(a, 400, "config_refused", err_sentence(verdict));
	}
	for (uint32_t i = 0; i < r->complaint_count; i++)
		yyjson_mut_arr_add_strcpy(a->doc, complaints, r->complaints[i]);
	yyjson_mut_obj_add_val(a->doc, a->root, "complaints", complaints);
}

/* {"limits.requests": ["1000", "500"]}; to be freed. NULL: no memory. */
static char *
describe_changes(const struct reload *r)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	char *text;

	for (uint32_t i = 0; i < r->change_count; i++) {
		const struct config_change *change = &r->changes[i];
		const struct config_item *item = change->after != NULL ? change->after : change->before;
		yyjson_mut_val *both = yyjson_mut_arr(doc);

		yyjson_mut_arr_add_str(doc, both, change->before != NULL ? change->before->value : "");
		yyjson_mut_arr_add_str(doc, both, change->after != NULL ? change->after->value : "");
		yyjson_mut_obj_add_val(doc, root, item->key, both);
	}
	yyjson_mut_doc_set_root(doc, root);
	text = yyjson_mut_write(doc, 0, NULL);
	yyjson_mut_doc_free(doc);
	return text;
}

/* Settings can be changed while the store is away; then only the log knows who did. */
static void
keep_audit(struct control *control, const char *verb)
{
	char *changed = describe_changes(&control->reload);
	const struct audit_change change = { .verb = verb,
					     .noun = "settings",
					     .subject = (int64_t)control->reload.now.sequence,
					     .name = "sluice.yaml",
					     .changed = changed != NULL ? changed : "{}",
					     .detail = "" };
	enum err verdict = store_begin(&control->store);

	if (verdict == ERR_OK) {
		verdict = audit_write(&control->store, &change);
		if (verdict == ERR_OK)
			verdict = store_commit(&control->store);
		else
			store_rollback(&control->store);
	}
	if (verdict != ERR_OK)
		LOG_ERROR("audit_failed", LOG_TEXT("verb", verb), LOG_TEXT("problem", control->store.problem));
	free(changed);
}

/* verb: what was done, for the audit; NULL: nothing. */
static void
show(struct answering *a, enum err verdict, const char *verb)
{
	if (verdict != ERR_OK) {
		refuse(a, verdict);
		return;
	}
	if (verb != NULL)
		keep_audit(a->control, verb);
	a->root = reload_show(a->control, a->doc, clock_now_ns());
	a->status = 200;
}

void
call_show_reload(struct answering *a)
{
	show(a, ERR_OK, NULL);
}

void
call_reload(struct answering *a)
{
	/* Bounded by the table; absent: 0, firm at once. */
	uint64_t within_ms = (uint64_t)yyjson_get_sint(answering_member(a, "confirm_within_ms"));

	show(a, reload_file(a->control, within_ms * NSEC_PER_MSEC, clock_now_ns()),
	     within_ms > 0 ? "try" : "reload");
}

void
call_confirm_reload(struct answering *a)
{
	show(a, reload_confirm(a->control, clock_now_ns()), "confirm");
}

void
call_undo_reload(struct answering *a)
{
	show(a, reload_undo(a->control, clock_now_ns()), "undo");
}

void
call_show_config(struct answering *a)
{
	a->root = reload_show_config(a->control, a->doc);
	a->status = 200;
}
