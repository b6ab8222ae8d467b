#pragma once

#include <stdint.h>

#include "config/config.h"

/*
 * handover: what control tells the dataplane of a changed configuration: the text itself, as a file beside the
 * shared one, <folder>/<instance>.settings. Both processes follow its newest sequence, so that what runs does not
 * depend on who reads sluice.yaml when, nor on who dies.
 *
 * A trial has an end on the monotonic clock, which both look at by themselves: nobody has to be alive for the
 * other one to go back. Its file holds both texts, and stays after the end, so that a process that starts later
 * does not run what was tried and not confirmed, as long as sluice.yaml still says that. The folder is in memory:
 * a machine that starts anew reads sluice.yaml.
 *
 * Owner: control writes, by renaming, so that a reader has the old or the new one whole. Thread: main threads.
 */
enum handover_stage {
	HANDOVER_FIRM,   /* text runs */
	HANDOVER_TRIAL,  /* text runs until until_ns, then other */
	HANDOVER_UNDONE, /* text runs; other was tried before it */
	HANDOVER_STAGES
};

struct handover {
	uint64_t sequence; /* grows with each change */
	uint64_t until_ns; /* CLOCK_MONOTONIC, of a trial */
	enum handover_stage stage;
	struct bytes text;
	struct bytes other; /* empty if firm */
	bool is_used; /* by handover_load(): what it loaded is not what the file says */
};

#define HANDOVER_FOLDER "/dev/shm"
/* Who confirms later than this before the end is told that it is too late: the other process may look at the end
 * before it sees the confirmation. */
#define HANDOVER_MARGIN_NS (500 * NSEC_PER_MSEC)

/* ERR_CONFIG_HANDOVER: it could not be written, and what was there is as it was. */
enum err handover_write(const char *folder, const char *instance, const struct handover *h);

/* Texts are to be freed by handover_free(). ERR_CONFIG_HANDOVER: there is none, it is not whole, or (which is
 * logged) somebody else's (config/owned.h). */
enum err handover_read(const char *folder, const char *instance, struct handover *h);
void handover_free(struct handover *h);

/* Whether other runs instead of text at this time. */
bool handover_is_over(const struct handover *h, uint64_t now_ns);

/* Why handover_load() did not use the file. */
const char *handover_reason(const struct handover *h, uint64_t now_ns);

/* What a process runs that starts now: the file's own text, but during a trial what is tried, and after one that
 * nobody confirmed what was before, if the file still says what was tried. */
struct bytes handover_choose(const struct handover *h, struct bytes file, uint64_t now_ns);

/*
 * config_load() for the two programs: sluice.yaml, or what handover_choose() says instead. *text is what was
 * parsed, to be freed; *h what was found (sequence 0: nothing), handover_free() is the caller's.
 */
enum err handover_load(struct config *config, const char *path, const char *folder, uint64_t now_ns,
		       struct bytes *text, struct handover *h, const struct config_complaints *complaints);
