#pragma once

#include <yyjson.h>

#include "config/config.h"
#include "config/served.h"

/*
 * certs: the certificates, keys and authorities that sluice.yaml names, judged as the dataplane will judge them,
 * so that a reload with one that cannot be used is refused before anybody takes it. What is read is wiped at once:
 * control needs none.
 *
 * Owner: control's loop. Memory: for the length of a call.
 */

/* ERR_CONFIG_INVALID: complaints say which file and why. served is what is shown now: what of it has expired may
 * stay.
 */
enum err certs_check(const struct config *config, const char *path, const struct served *served,
		     const struct config_complaints *complaints);

/* What the dataplane shows, with the days that are left. */
yyjson_mut_val *certs_show(const struct served *served, yyjson_mut_doc *doc);
