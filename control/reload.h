#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <yyjson.h>

#include "config/handover.h"
#include "config/items.h"

/*
 * reload: sluice.yaml read again while the processes run. Control leads: it checks the file, takes over what may
 * change, and hands the text to the dataplane (config/handover.h), which does the same. A trial that nobody
 * confirms in time ends in both. Each change is a row of the audit, whoever asked for it; without a caller
 * (SIGHUP, a trial whose time is over) it is control's.
 *
 * Owner: control's loop. Memory: two texts of at most 1 MiB.
 */
#define RELOAD_COMPLAINTS_MAX 32 /* of one refused file that are kept for the answer; all are logged */
#define RELOAD_COMPLAINT_BYTES 1024
#define RELOAD_CONFIRM_NS_MIN (1 * NSEC_PER_SEC)
#define RELOAD_CONFIRM_NS_MAX (3600 * NSEC_PER_SEC)

struct control;

struct reload {
	const char *path;
	const char *folder; /* of the handover: HANDOVER_FOLDER, or a test's */
	struct config *running;
	struct handover now; /* its text is what runs */
	uint64_t changed_at_s; /* Unix time of the last change; 0: none since the start */
	/* what the last attempt complained about */
	uint32_t complaint_count;
	char complaints[RELOAD_COMPLAINTS_MAX][RELOAD_COMPLAINT_BYTES];
	/* what the last one changed: items point into the lists */
	uint32_t change_count;
	struct config_change changes[2 * CONFIG_ITEMS_MAX];
	struct config_items before;
	struct config_items after;
	/* for metrics */
	uint64_t taken;
	uint64_t refused;
	uint64_t undone;
};

/* running is what text says; found is the handover that was there at the start. Both texts become r's. Hands over
 * the end of a trial that ended while nobody was here. */
void reload_init(struct control *control, const char *path, struct config *running, struct bytes text,
		 const struct handover *found);
void reload_fini(struct reload *r);

/*
 * Reads the file. confirm_within_ns 0: firm at once. ERR_CONFIG_INVALID, ERR_CONFIG_UNREADABLE: r->complaints say
 * why, and nothing has changed. ERR_CONFIG_TRIAL: a trial waits for its confirmation. ERR_CONFIG_HANDOVER: it
 * cannot be handed to the dataplane, and nothing has changed.
 */
enum err reload_file(struct control *control, uint64_t confirm_within_ns, uint64_t now_ns);

/* ERR_CONFIG_NO_TRIAL: there is none, or it is about to end. */
enum err reload_confirm(struct control *control, uint64_t now_ns);
enum err reload_undo(struct control *control, uint64_t now_ns);

/* Ends a trial whose time is over. */
void reload_turn(struct control *control, uint64_t now_ns);

/* Whether what runs is on trial, and until when. */
yyjson_mut_val *reload_show_state(const struct control *control, yyjson_mut_doc *doc, uint64_t now_ns);

/* The same, and what the last reload changed. */
yyjson_mut_val *reload_show(const struct control *control, yyjson_mut_doc *doc, uint64_t now_ns);

/* Every key that runs, with its class. */
yyjson_mut_val *reload_show_config(struct control *control, yyjson_mut_doc *doc);
