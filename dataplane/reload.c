/* Whatever happens to the texts, the workers see whole settings or none. */
#include "dataplane/reload.h"

#include <stdio.h>
#include <stdlib.h>

#include "config/items.h"
#include "config/log.h"
#include "dataplane/clock.h"
#include "dataplane/identity.h"

static void
complain(void *owner, const char *text)
{
	struct reload *r = owner;

	LOG_ERROR("config_refused", LOG_TEXT("reason", text));
	/* The first one of several. */
	if (r->reason[0] == '\0')
		snprintf(r->reason, sizeof(r->reason), "%s", text);
}

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

/* Which certificates, keys and authorities come with a text. */
enum source {
	FROM_FILES,
	AS_BEFORE, /* the trial */
	AS_THEY_ARE,
};

/* NULL: refused. Not ours to free, but for FROM_FILES. */
static struct credentials *
find_credentials(struct reload *r, const struct config *config, enum source source)
{
	const struct config_complaints complaints = { complain, r };

	if (source == AS_THEY_ARE)
		return r->credentials;
	if (source == AS_BEFORE && r->before != NULL)
		return r->before;
	return identity_load(config, r->path, r->credentials->identity, &complaints);
}

/* What the workers have is r->credentials from now on. */
static void
keep_credentials(struct reload *r, struct credentials *taken)
{
	struct credentials *old = r->credentials;

	r->credentials = taken;
	if (r->found.stage == HANDOVER_TRIAL && r->before == NULL) {
		r->before = old;
		return;
	}
	if (old != taken && old != r->before)
		credentials_free(old);
	if (r->found.stage == HANDOVER_TRIAL)
		return;
	if (r->before != taken)
		credentials_free(r->before);
	r->before = NULL;
}

/* False: refused, and nothing has changed. */
static bool
take(struct reload *r, struct bytes text, enum source source)
{
	const struct config_complaints complaints = { complain, r };
	static struct config fresh, running;
	struct credentials *credentials;
	const char *why;

	r->reason[0] = '\0';
	running = *r->running;
	if (config_parse(&fresh, r->path, text, &complaints) != ERR_OK ||
	    items_take_over(&running, &fresh, r->path, &complaints) != ERR_OK)
		return false;
	credentials = find_credentials(r, &running, source);
	if (credentials == NULL)
		return false;
	why = fleet_reload(r->fleet, &running, credentials);
	if (why != NULL) {
		complain(r, why);
		if (credentials != r->credentials && credentials != r->before)
			credentials_free(credentials);
		return false;
	}
	keep_credentials(r, credentials);
	say_changes(r->running, &fresh);
	*r->running = running;
	log_set_level((enum log_level)running.log.level);
	identity_tell(r->credentials->identity, running.instance, 0, "");
	return true;
}

/* Control shows it to whoever asked. */
static void
tell_refusal(struct reload *r)
{
	identity_tell(r->credentials->identity, r->running->instance, r->found.sequence, r->reason);
}

void
reload_init(struct reload *r, const char *path, struct config *running, struct fleet *fleet,
	    const struct handover *found, struct credentials *credentials)
{
	*r = (struct reload){ .path = path,
			      .running = running,
			      .fleet = fleet,
			      .seen = found->sequence,
			      .sequence = found->sequence,
			      .found = *found,
			      .credentials = credentials };
	/* What was undone before the start was chosen by it. */
	if (handover_is_over(&r->found, clock_ns()))
		r->found.stage = HANDOVER_UNDONE;
	identity_tell(credentials->identity, running->instance, 0, "");
}

void
reload_fini(struct reload *r)
{
	if (r->before != r->credentials)
		credentials_free(r->before);
	credentials_free(r->credentials);
	handover_free(&r->found);
}

static void
read_own(struct reload *r)
{
	const struct config_complaints complaints = { complain, r };
	struct bytes text;

	if (r->found.stage == HANDOVER_TRIAL) {
		LOG_ERROR("config_refused", LOG_TEXT("reason", "a trial waits for `sluicectl reload --confirm`"));
		return;
	}
	if (config_read(r->path, &text, &complaints) != ERR_OK)
		return;
	if (take(r, text, FROM_FILES))
		LOG_INFO("reloaded", LOG_TEXT("by", "SIGHUP"));
	free((void *)text.ptr);
}

/* What was tried stays as it was tried, and what comes back is what was there. */
static enum source
source_of(const struct reload *r, const struct handover *h)
{
	if (h->sequence != r->found.sequence + 1)
		return FROM_FILES;
	/* Perhaps we have ended it already: control says so, too. */
	if (h->stage == HANDOVER_UNDONE)
		return r->found.stage == HANDOVER_TRIAL ? AS_BEFORE : AS_THEY_ARE;
	if (r->found.stage != HANDOVER_TRIAL)
		return FROM_FILES;
	/* One that was refused has not changed what there is. */
	return r->before == r->credentials ? FROM_FILES : AS_THEY_ARE;
}

static void
read_handover(struct reload *r)
{
	struct handover h;
	enum source source;

	if (handover_read(HANDOVER_FOLDER, r->running->instance, &h) != ERR_OK ||
	    h.sequence == r->found.sequence) {
		handover_free(&h);
		return;
	}
	source = source_of(r, &h);
	handover_free(&r->found);
	r->found = h;
	if (!take(r, h.text, source)) {
		if (r->found.stage == HANDOVER_TRIAL && r->before == NULL)
			r->before = r->credentials;
		tell_refusal(r);
		return;
	}
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
	if (take(r, r->found.other, AS_BEFORE))
		LOG_WARN("reload_undone", LOG_TEXT("reason", "nobody confirmed it in time"));
}

void
reload_turn(struct reload *r, bool hup, uint64_t now_ns)
{
	struct shm_header *header = r->fleet->shm.header;
	uint64_t wanted = atomic_load_explicit(&header->settings, memory_order_acquire);

	if (!r->is_told && fleet_has_reloaded(r->fleet)) {
		atomic_store_explicit(&header->settings_taken, r->sequence, memory_order_release);
		r->is_told = true;
	}
	/* The workers have two places for settings: the last ones are there first. And some for keys. */
	if (!fleet_may_reload(r->fleet))
		return;
	if (wanted != r->seen) {
		r->seen = wanted;
		read_handover(r);
	} else if (handover_is_over(&r->found, now_ns)) {
		end_trial(r);
	} else if (hup) {
		read_own(r);
	}
}
