#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "impair.h"

/*
 * spec: what a person writes about one direction, "loss=1%,delay=25ms,rate=1gbit", as numbers.
 *
 * Every number carries its unit, so that nothing can be read as another size than was meant.
 */
struct spec {
	struct impair_faults faults;
	bool reports_mtu; /* an ICMP error answers what the MTU drops */
};

#define SPEC_COMPLAINT_BYTES 200

/* Lays the list over what *spec has. False: complaint says why, *spec is as it was. */
bool spec_read(const char *list, struct spec *spec, char complaint[SPEC_COMPLAINT_BYTES]);

/* One line a key, for --help. */
extern const char spec_help[];
