/* The order of a change: checked, handed over, taken over; so that a death in between leaves both processes with
 * the same. */
#include "reload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "base/check.h"
#include "certs.h"
#include "clock.h"
#include "config/log.h"
#include "control.h"

static const char out_of_time[] = "nobody confirmed it in time";

static void
complain(void *owner, const char *text)
{
	struct reload *r = owner;

	LOG_ERROR("config_refused", LOG_TEXT("reason", text));
	if (r->complaint_count < RELOAD_COMPLAINTS_MAX)
		snprintf(r->complaints[r->complaint_count++], RELOAD_COMPLAINT_BYTES, "%s", text);
}

static struct bytes
copy_of(struct bytes text)
{
	uint8_t *copy = malloc(text.len + 1);

	CHECK(copy != NULL);
	if (text.len > 0)
		memcpy(copy, text.ptr, text.len);
	return bytes_make(copy, text.len);
}

static void
note_changes(struct reload *r, const struct config *before, const struct config *after)
{
	items_list(before, &r->before);
	items_list(after, &r->after);
	r->change_count = items_compare(&r->before, &r->after, r->changes);
	for (uint32_t i = 0; i < r->change_count; i++) {
		const struct config_change *change = &r->changes[i];
		const struct config_item *item = change->after != NULL ? change->after : change->before;

		LOG_INFO("setting_changed", LOG_TEXT("key", item->key),
			 LOG_TEXT("before", change->before != NULL ? change->before->value : ""),
			 LOG_TEXT("after", change->after != NULL ? change->after->value : ""),
			 LOG_TEXT("class", item->class));
	}
}

/* The newest, for both processes. next's texts become r's, whether it can be written or not. */
static enum err
hand_over(struct control *control, struct handover *next)
{
	struct reload *r = &control->reload;
	enum err verdict;

	next->sequence = r->now.sequence + 1;
	verdict = handover_write(r->folder, control->instance, next);
	if (verdict != ERR_OK) {
		LOG_ERROR("settings_not_handed_over", LOG_TEXT("folder", r->folder));
		handover_free(next);
		return verdict;
	}
	handover_free(&r->now);
	r->now = *next;
	r->changed_at_s = clock_unix_ns() / NSEC_PER_SEC;
	/* After the file, which the dataplane reads when it sees this. */
	atomic_store_explicit(&control->share.shm.header->settings, r->now.sequence, memory_order_release);
	return ERR_OK;
}

/* Those parts that have a copy of what runs. */
static void
tell_parts(struct control *control)
{
	const struct probe_defaults probes = probe_defaults_of(control->reload.running, clock_now_ns());

	log_set_level((enum log_level)control->reload.running->log.level);
	probe_set_defaults(&control->probe, &probes);
	resolve_set_interval(&control->resolve, control->reload.running->probes.resolve_ns);
}

/* What text says, where that may change now. Of a text that was taken before, so it can be. */
static void
take_again(struct control *control, struct bytes text)
{
	struct reload *r = &control->reload;
	const struct config_complaints complaints = { complain, r };
	static struct config fresh, before;

	before = *r->running;
	if (config_parse(&fresh, r->path, text, &complaints) != ERR_OK ||
	    items_take_over(r->running, &fresh, r->path, &complaints) != ERR_OK)
		return;
	note_changes(r, &before, r->running);
	tell_parts(control);
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

/* One row for each change, whoever asked for it. Settings can be changed while the store is away; then only the
 * log knows. */
static void
keep_audit(struct control *control, const char *verb, const char *detail)
{
	char *changed = describe_changes(&control->reload);
	const struct audit_change change = { .verb = verb,
					     .noun = "settings",
					     .subject = (int64_t)control->reload.now.sequence,
					     .name = "sluice.yaml",
					     .changed = changed != NULL ? changed : "{}",
					     .detail = detail };
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

static void
undo(struct control *control, const char *why)
{
	struct reload *r = &control->reload;
	struct handover next = { .stage = HANDOVER_UNDONE,
				 .text = copy_of(r->now.other),
				 .other = copy_of(r->now.text) };

	if (hand_over(control, &next) != ERR_OK) {
		/* The dataplane looks at the time by itself. */
		struct bytes tried = r->now.text;

		r->now.text = r->now.other;
		r->now.other = tried;
		r->now.stage = HANDOVER_UNDONE;
	}
	take_again(control, r->now.text);
	r->undone++;
	keep_audit(control, "undo", why);
}

void
reload_init(struct control *control, const char *path, struct config *running, struct bytes text,
	    const struct handover *found)
{
	struct reload *r = &control->reload;
	struct handover next = { .stage = HANDOVER_UNDONE, .text = text };

	r->path = path;
	r->folder = HANDOVER_FOLDER;
	r->running = running;
	r->now = *found;
	atomic_store_explicit(&control->share.shm.header->settings, r->now.sequence, memory_order_release);
	if (handover_is_over(&r->now, clock_now_ns())) {
		next.other = copy_of(r->now.text);
		if (hand_over(control, &next) == ERR_OK) {
			LOG_WARN("reload_undone", LOG_TEXT("reason", out_of_time));
			r->undone++;
			keep_audit(control, "undo", out_of_time);
		}
	} else {
		/* The same in a trial, whose text was chosen. */
		free((void *)r->now.text.ptr);
		r->now.text = text;
	}
}

void
reload_fini(struct reload *r)
{
	handover_free(&r->now);
}

static enum err
refuse(struct reload *r, enum err verdict)
{
	r->refused++;
	return verdict;
}

enum err
reload_file(struct control *control, uint64_t confirm_within_ns, uint64_t now_ns)
{
	struct reload *r = &control->reload;
	const struct config_complaints complaints = { complain, r };
	struct handover next = { .stage = HANDOVER_FIRM };
	static struct config fresh, running;
	static struct served served;
	enum err verdict;

	r->complaint_count = 0;
	if (r->now.stage == HANDOVER_TRIAL)
		return refuse(r, ERR_CONFIG_TRIAL);
	verdict = config_read(r->path, &next.text, &complaints);
	if (verdict != ERR_OK)
		return refuse(r, verdict);
	running = *r->running;
	verdict = config_parse(&fresh, r->path, next.text, &complaints);
	if (verdict == ERR_OK)
		verdict = items_take_over(&running, &fresh, r->path, &complaints);
	if (verdict == ERR_OK) {
		(void)served_read(r->folder, control->instance, &served);
		verdict = certs_check(&running, r->path, &served, &complaints);
	}
	if (verdict != ERR_OK) {
		handover_free(&next);
		return refuse(r, verdict);
	}
	if (confirm_within_ns > 0) {
		next.stage = HANDOVER_TRIAL;
		next.until_ns = now_ns + confirm_within_ns;
		next.other = copy_of(r->now.text);
	}
	verdict = hand_over(control, &next);
	if (verdict != ERR_OK)
		return refuse(r, verdict);
	note_changes(r, r->running, &fresh);
	*r->running = running;
	tell_parts(control);
	r->taken++;
	LOG_INFO("reloaded", LOG_NUMBER("sequence", r->now.sequence), LOG_NUMBER("changes", r->change_count),
		 LOG_NUMBER("confirm_within_s", confirm_within_ns / NSEC_PER_SEC));
	keep_audit(control, confirm_within_ns > 0 ? "try" : "reload", "");
	return ERR_OK;
}

enum err
reload_confirm(struct control *control, uint64_t now_ns)
{
	struct reload *r = &control->reload;
	struct handover next = { .stage = HANDOVER_FIRM };
	enum err verdict;

	if (r->now.stage != HANDOVER_TRIAL || now_ns + HANDOVER_MARGIN_NS > r->now.until_ns)
		return ERR_CONFIG_NO_TRIAL;
	next.text = copy_of(r->now.text);
	verdict = hand_over(control, &next);
	if (verdict != ERR_OK)
		return verdict;
	LOG_INFO("reload_confirmed", LOG_NUMBER("sequence", r->now.sequence));
	keep_audit(control, "confirm", "");
	return ERR_OK;
}

enum err
reload_undo(struct control *control, uint64_t now_ns)
{
	struct reload *r = &control->reload;

	if (r->now.stage != HANDOVER_TRIAL || handover_is_over(&r->now, now_ns))
		return ERR_CONFIG_NO_TRIAL;
	undo(control, "asked for");
	LOG_INFO("reload_undone", LOG_TEXT("reason", "asked for"));
	return ERR_OK;
}

void
reload_turn(struct control *control, uint64_t now_ns)
{
	if (!handover_is_over(&control->reload.now, now_ns))
		return;
	undo(control, out_of_time);
	LOG_WARN("reload_undone", LOG_TEXT("reason", out_of_time));
}

static void
add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, const struct config_item *item)
{
	if (item != NULL)
		yyjson_mut_obj_add_strcpy(doc, object, name, item->value);
	else
		yyjson_mut_obj_add_null(doc, object, name);
}

static void
add_restart(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct config_item *item)
{
	const char *restart_of = items_restart_of(item);

	if (restart_of != NULL)
		yyjson_mut_obj_add_str(doc, object, "restart_of", restart_of);
	else
		yyjson_mut_obj_add_null(doc, object, "restart_of");
}

yyjson_mut_val *
reload_show_state(const struct control *control, yyjson_mut_doc *doc, uint64_t now_ns)
{
	static const char *const states[] = { "firm", "trial", "undone" };
	const struct reload *r = &control->reload;
	const struct shm_header *header = control->share.shm.header;
	yyjson_mut_val *root = yyjson_mut_obj(doc);
	static struct served served;

	CHECK_STATIC(COUNT_OF(states) == HANDOVER_STAGES, "a name for each");
	yyjson_mut_obj_add_str(doc, root, "state", states[r->now.stage]);
	yyjson_mut_obj_add_uint(doc, root, "sequence", r->now.sequence);
	yyjson_mut_obj_add_uint(doc, root, "dataplane_sequence", atomic_load(&header->settings_taken));
	if (r->now.stage == HANDOVER_TRIAL)
		yyjson_mut_obj_add_uint(doc, root, "confirm_within_ms",
					now_ns < r->now.until_ns ? (r->now.until_ns - now_ns) / NSEC_PER_MSEC : 0);
	(void)served_read(r->folder, control->instance, &served);
	if (served.refused != 0 && served.refused == r->now.sequence)
		yyjson_mut_obj_add_strcpy(doc, root, "dataplane_refused", served.reason);
	yyjson_mut_obj_add_val(doc, root, "certificates", certs_show(&served, doc));
	return root;
}

yyjson_mut_val *
reload_show(const struct control *control, yyjson_mut_doc *doc, uint64_t now_ns)
{
	const struct reload *r = &control->reload;
	yyjson_mut_val *root = reload_show_state(control, doc, now_ns), *changes = yyjson_mut_arr(doc);
	const struct shm_header *header = control->share.shm.header;

	yyjson_mut_obj_add_bool(doc, root, "dataplane_alive",
				clock_is_fresh(atomic_load(&header->dataplane_beat_at_ns), now_ns));
	for (uint32_t i = 0; i < r->change_count; i++) {
		const struct config_change *change = &r->changes[i];
		yyjson_mut_val *object = yyjson_mut_obj(doc);
		const struct config_item *item = change->after != NULL ? change->after : change->before;

		yyjson_mut_obj_add_strcpy(doc, object, "key", item->key);
		add_text(doc, object, "before", change->before);
		add_text(doc, object, "after", change->after);
		yyjson_mut_obj_add_str(doc, object, "class", item->class);
		add_restart(doc, object, item);
		yyjson_mut_arr_append(changes, object);
	}
	yyjson_mut_obj_add_val(doc, root, "changes", changes);
	return root;
}

yyjson_mut_val *
reload_show_config(struct control *control, yyjson_mut_doc *doc)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc), *keys = yyjson_mut_arr(doc);
	static struct config_items items;

	items_list(control->reload.running, &items);
	for (uint32_t i = 0; i < items.count; i++) {
		yyjson_mut_val *object = yyjson_mut_obj(doc);

		yyjson_mut_obj_add_strcpy(doc, object, "key", items.item[i].key);
		yyjson_mut_obj_add_strcpy(doc, object, "value", items.item[i].value);
		yyjson_mut_obj_add_str(doc, object, "class", items.item[i].class);
		yyjson_mut_arr_append(keys, object);
	}
	yyjson_mut_obj_add_str(doc, root, "file", control->reload.path);
	yyjson_mut_obj_add_val(doc, root, "data", keys);
	return root;
}
