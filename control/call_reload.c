/* sluice.yaml read again, tried, confirmed; and what of it runs. */
#include "answering.h"
#include "clock.h"

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

static void
show(struct answering *a, enum err verdict)
{
	if (verdict != ERR_OK) {
		refuse(a, verdict);
		return;
	}
	a->root = reload_show(a->control, a->doc, clock_now_ns());
	a->status = 200;
}

void
call_show_reload(struct answering *a)
{
	show(a, ERR_OK);
}

void
call_reload(struct answering *a)
{
	/* Bounded by the table; absent: 0, firm at once. */
	uint64_t within_ms = (uint64_t)yyjson_get_sint(answering_member(a, "confirm_within_ms"));

	show(a, reload_file(a->control, within_ms * NSEC_PER_MSEC, clock_now_ns()));
}

void
call_confirm_reload(struct answering *a)
{
	show(a, reload_confirm(a->control, clock_now_ns()));
}

void
call_undo_reload(struct answering *a)
{
	show(a, reload_undo(a->control, clock_now_ns()));
}

void
call_show_config(struct answering *a)
{
	a->root = reload_show_config(a->control, a->doc);
	a->status = 200;
}
