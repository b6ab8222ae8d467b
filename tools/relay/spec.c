/* One reader per kind of number; the table says which key has which. */
#include "spec.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define PIECES_MAX 3
#define VALUE_BYTES_MAX 64

struct unit {
	const char *name;
	double factor;
};

static const struct unit time_units[] = {
	{ "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, { NULL, 0 },
};
static const struct unit share_units[] = { { "%", 1e4 }, { "ppm", 1 }, { NULL, 0 } };
static const struct unit byte_units[] = {
	{ "B", 1 }, { "kB", 1e3 }, { "MB", 1e6 }, { "KiB", 1024 }, { "MiB", 1024 * 1024 }, { NULL, 0 },
};
static const struct unit rate_units[] = {
	{ "kbit", 1e3 / 8 }, { "mbit", 1e6 / 8 }, { "gbit", 1e9 / 8 }, { NULL, 0 },
};

struct key {
	const char *name;
	const struct unit *units[PIECES_MAX]; /* of the pieces between colons */
	double most;                          /* of a piece */
	size_t at[PIECES_MAX];                /* where the pieces go */
	bool is_wide[PIECES_MAX];             /* 64 bits */
};

#define AT(field) offsetof(struct impair_faults, field)
#define SHARE(text, field) \
	{ .name = text, .units = { share_units }, .most = 1e6, .at = { AT(field) } }
#define BYTES(text, field) \
	{ .name = text, .units = { byte_units }, .most = 4e9, .at = { AT(field) } }
#define LENGTH(text, field) \
	{ .name = text, .units = { time_units }, .most = 3.6e12, .at = { AT(field) }, .is_wide = { true } }

static const struct key keys[] = {
	LENGTH("delay", delay_ns),
	LENGTH("jitter", jitter_ns),
	SHARE("loss", loss_ppm),
	{ .name = "burst",
	  .units = { share_units, share_units, share_units },
	  .most = 1e6,
	  .at = { AT(burst_enter_ppm), AT(burst_leave_ppm), AT(burst_loss_ppm) } },
	{ .name = "reorder",
	  .units = { share_units, time_units },
	  .most = 3.6e12,
	  .at = { AT(reorder_ppm), AT(reorder_ns) },
	  .is_wide = { false, true } },
	SHARE("duplicate", duplicate_ppm),
	SHARE("corrupt", corrupt_ppm),
	SHARE("repair", repair_ppm),
	SHARE("mark", mark_ppm),
	BYTES("mark-above", mark_above_bytes),
	{ .name = "rate",
	  .units = { rate_units },
	  .most = 1.25e11,
	  .at = { AT(rate_bytes_per_s) },
	  .is_wide = { true } },
	BYTES("queue", queue_bytes_max),
	BYTES("mtu", mtu_bytes),
	{ .name = "blackout",
	  .units = { time_units, time_units },
	  .most = 3.6e12,
	  .at = { AT(blackout_from_ns), AT(blackout_until_ns) },
	  .is_wide = { true, true } },
};

const char spec_help[] =
	"  delay=TIME              every frame takes so long (25ms; ns us ms s)\n"
	"  jitter=TIME             and up to so much more; the order is kept\n"
	"  loss=SHARE              frames lost, each by itself (1%, 500ppm)\n"
	"  burst=ENTER:LEAVE:LOSS  Gilbert-Elliott: chances per frame to enter and to leave the bad state,\n"
	"                          and the loss in it (0.1%:20%:80%)\n"
	"  reorder=SHARE:TIME      such frames take up to so much longer and may be overtaken (25%:3ms)\n"
	"  duplicate=SHARE         arrive twice; the second within the time of reorder\n"
	"  corrupt=SHARE           one bit behind the Ethernet header flips\n"
	"  repair=SHARE            of the corrupted ones: IP and TCP checksums are made to fit again\n"
	"  mark=SHARE              ECN-capable packets marked \"congestion experienced\"\n"
	"  mark-above=BYTES        and all that find more than this in the queue (B kB MB KiB MiB)\n"
	"  rate=RATE               kbit, mbit or gbit a second, Ethernet headers included\n"
	"  queue=BYTES             in front of the rate; what does not fit is dropped\n"
	"  mtu=BYTES               longer IP packets are dropped (1400B)\n"
	"  mtu-report=yes|no       an ICMP \"fragmentation needed\" or \"packet too big\" answers those (no)\n"
	"  blackout=FROM:UNTIL     everything is lost between two moments after the start (5s:7s)\n";

/* Reads "12.5ms" up to its end. */
static bool
read_number(const char *text, const struct unit *units, double most, double *value)
{
	char *rest;
	double number = strtod(text, &rest);

	if (rest == text || !(number >= 0))
		return false;
	for (; units->name != NULL; units++)
		if (strcmp(rest, units->name) == 0) {
			*value = number * units->factor + 0.5;
			return *value <= most + 0.5;
		}
	return false;
}

static void
put_number(struct impair_faults *faults, size_t at, bool is_wide, double value)
{
	uint64_t wide = (uint64_t)value;
	uint32_t narrow = (uint32_t)wide;

	if (is_wide)
		memcpy((char *)faults + at, &wide, sizeof(wide));
	else
		memcpy((char *)faults + at, &narrow, sizeof(narrow));
}

static bool
read_pieces(char *text, const struct key *key, struct impair_faults *faults)
{
	for (int i = 0; i < PIECES_MAX && key->units[i] != NULL; i++) {
		bool is_last = i + 1 == PIECES_MAX || key->units[i + 1] == NULL;
		char *colon = strchr(text, ':');
		double most = key->units[i] == share_units ? 1e6 : key->most;
		double value;

		if ((colon == NULL) != is_last)
			return false;
		if (colon != NULL)
			*colon = '\0';
		if (!read_number(text, key->units[i], most, &value))
			return false;
		put_number(faults, key->at[i], key->is_wide[i], value);
		if (colon != NULL)
			text = colon + 1;
	}
	return true;
}

/* One "key=value". */
static bool
read_pair(char *pair, struct spec *spec, char complaint[SPEC_COMPLAINT_BYTES])
{
	char *value = strchr(pair, '=');

	if (value == NULL) {
		snprintf(complaint, SPEC_COMPLAINT_BYTES, "\"%s\" is not KEY=VALUE", pair);
		return false;
	}
	*value++ = '\0';
	if (strcmp(pair, "mtu-report") == 0) {
		spec->reports_mtu = strcmp(value, "yes") == 0;
		if (spec->reports_mtu || strcmp(value, "no") == 0)
			return true;
		snprintf(complaint, SPEC_COMPLAINT_BYTES, "mtu-report is yes or no, not \"%s\"", value);
		return false;
	}
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		char written[VALUE_BYTES_MAX];

		if (strcmp(pair, keys[i].name) != 0)
			continue;
		snprintf(written, sizeof(written), "%s", value);
		if (read_pieces(value, &keys[i], &spec->faults))
			return true;
		snprintf(complaint, SPEC_COMPLAINT_BYTES,
			 "%s cannot be \"%s\": a number with its unit (see --help)", pair, written);
		return false;
	}
	snprintf(complaint, SPEC_COMPLAINT_BYTES, "there is no \"%.64s\"", pair);
	return false;
}

bool
spec_read(const char *list, struct spec *spec, char complaint[SPEC_COMPLAINT_BYTES])
{
	struct spec read = *spec;

	while (*list != '\0') {
		size_t len = strcspn(list, ",");
		char pair[VALUE_BYTES_MAX];

		if (len >= sizeof(pair)) {
			snprintf(complaint, SPEC_COMPLAINT_BYTES, "\"%.64s…\" is too long", list);
			return false;
		}
		memcpy(pair, list, len);
		pair[len] = '\0';
		if (!read_pair(pair, &read, complaint))
			return false;
		list += len;
		list += *list == ',';
	}
	if (read.faults.blackout_from_ns > read.faults.blackout_until_ns) {
		snprintf(complaint, SPEC_COMPLAINT_BYTES, "blackout ends before it begins");
		return false;
	}
	*spec = read;
	return true;
}
