#pragma once

#include <stdint.h>

#include "credit.h"
#include "ledger.h"
#include "node.h"
#include "probe.h"
#include "publish.h"
#include "reconcile.h"
#include "reload.h"
#include "resolve.h"
#include "share.h"
#include "store.h"
#include "tally.h"
#include "tabs.h"
#include "tickets.h"

/*
 * control: everything of one control process, for those parts that look at all of it: the admin API and
 * its reports. One thread owns it.
 */
struct control {
	const char *instance; /* name of the node, too */
	const char *key_prefixes[SHM_SURFACE_COUNT];
	uint8_t pepper[32];
	uint64_t started_at_ns;
	uint64_t usage_at_ns;    /* sums are answered again */
	uint64_t complain_at_ns; /* about the store, again, at the earliest */
	struct store store;
	struct node node;
	struct share share;
	struct publish publish;
	struct ledger ledger;
	struct tally tally; /* of the ledger since the start */
	struct tabs tabs;
	struct reconcile reconcile;
	struct probe probe;
	struct resolve resolve;
	struct reload reload;
	struct credit credit;
	struct tickets tickets;
};

/* Publishes what the last commit changed; a failure is logged, and the reconciliation comes after it. */
void control_publish(struct control *control);
