#pragma once

#include <stdbool.h>

#include "client.h"
#include "config/items.h"

/* settings: sluice.yaml for operators: what differs between two of them, and reading it again. */

/* The command's exit code: 0 all the same, 1 something differs, 2 a file could not be read. */
int settings_diff(const char *before, const char *after, bool json);

/* The same between what runs and a file. client: to ask control. */
int settings_diff_running(struct client *client, const char *file, bool json);

/* 0 fine, 1 failed. confirm_within_ms 0: firm at once. */
int settings_reload(struct client *client, unsigned long long confirm_within_ms, bool json);

/* action: "confirm" or "undo". */
int settings_end_trial(struct client *client, const char *action, bool json);
