/* Whatever happens to the texts, the workers see whole settings or none. */
#include "dataplane/reload.h"

#include <stdlib.h>

#include "config/items.h"
#include "config/log.h"
#include "dataplane/clock.h"

static void
complain(void *owner, const char *text)
{
	(void)owner;
	LOG_ERROR("config_refused", LOG_TEXT("reason", text));
}

static const struct config_complaints complaints = { complain, NULL };

/* What stays as it was is said key by key: nobody should wonder about it later. */
static void
say_changes(const struct config *before, const struct config *fresh)
{
	struct config_items *items = malloc(2 * sizeof(*items));
	struct config_change *changes = calloc(2 * CONFIG_ITEMS_MAX, sizeof(*changes));
	uint32_t count;

	CHECK(items != NULL && changes != NULL);
	items_list(before, &items[0]);
	items_list(fresh, &items[1]);
	count = items_compare(&items[0], &items[1], changes);
	for (uint32_t i = 0; i < count; i++) {
		const struct config_item *item = changes[i].after != NULL ? changes[i].after : changes[i].before;

		LOG_INFO("setting_changed", LOG_TEXT("key", item->key),
			 LOG_TEXT("before", changes[i].before != NULL ? changes[i].before->value : ""),
			 LOG_TEXT("after", changes[i].after != NULL ? changes[i].after->value : ""),
			 LOG_TEXT("class", item->class));
	}
	free(changes);
	free(items);
}

/* False: refused, and nothing has changed. */
static bool
take(struct reload *r, struct bytes text)
{
	static struct config fresh, running;

	running = *r->running;
	if (config_parse(&fresh, r->path, text, &complaints) != ERR_OK ||
	    items_take_over(&running, &fresh, r->path, &complaints) != ERR_OK)
		return false;
	if (!fleet_reload(r->fleet, &running)) {
		LOG_ERROR("config_refused", LOG_TEXT("reason", "the texts of surfaces have changed too often; "
							       "sluice-dataplane must start again"));
		return false;
	}
	say_changes(r->running, &fresh);
	*r->running = running;
	log_set_level((enum log_level)running.log.level);
	return true;
}

void
reload_init(struct reload *r, const char *path, struct config *running, struct fleet *fleet,
	    const struct handover *found)
{
	*r = (struct reload){ .path = path,
			      .running = running,
			      .fleet = fleet,
			      .seen = found->sequence,
			      .sequence = found->sequence,
			      .found = *found };
	/* What was undone before the start was chosen by it. */
	if (handover_is_over(&r->found, clock_ns()))
		r->found.stage = HANDOVER_UNDONE;
}

static void
read_own(struct reload *r)
{
	struct bytes text;

	if (r->found.stage == HANDOVER_TRIAL) {
		LOG_ERROR("config_refused", LOG_TEXT("reason", "a trial waits for `sluicectl reload --confirm`"));
		return;
	}
	if (config_read(r->path, &text, &complaints) != ERR_OK)
		return;
	if (take(r, text))
		LOG_INFO("reloaded", LOG_TEXT("by", "SIGHUP"));
	free((void *)text.ptr);
}

static void
read_handover(struct reload *r)
{
	struct handover h;

	if (handover_read(HANDOVER_FOLDER, r->running->instance, &h) != ERR_OK ||
	    h.sequence == r->found.sequence) {
		handover_free(&h);
		return;
	}
	handover_free(&r->found);
	r->found = h;
	if (!take(r, h.text))
		return;
	r->sequence = h.sequence;
	r->is_told = false;
	LOG_INFO("reloaded", LOG_TEXT("by", "control"), LOG_NUMBER("sequence", h.sequence),
		 LOG_TEXT("trial", h.stage == HANDOVER_TRIAL ? "yes" : "no"));
}

static void
end_trial(struct reload *r)
{
	read_handover(r);
	if (r->found.stage != HANDOVER_TRIAL)
		return;
	r->found.stage = HANDOVER_UNDONE;
	if (take(r, r->found.other))
		LOG_WARN("reload_undone", LOG_TEXT("reason", "nobody confirmed it in time"));
}

void
reload_turn(struct reload *r, bool hup, uint64_t now_ns)
{
	struct shm_header *header = r->fleet->shm.header;
	uint64_t wanted = atomic_load_explicit(&header->settings, memory_order_acquire);

	/* The workers have two places for settings: the last ones are there first. */
	if (!fleet_has_reloaded(r->fleet))
		return;
	if (!r->is_told) {
		atomic_store_explicit(&header->settings_taken, r->sequence, memory_order_release);
		r->is_told = true;
	}
	if (wanted != r->seen) {
		r->seen = wanted;
		read_handover(r);
	} else if (handover_is_over(&r->found, now_ns)) {
		end_trial(r);
	} else if (hup) {
		read_own(r);
	}
}
