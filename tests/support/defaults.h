#pragma once

#include "dataplane/worker.h"

/* What a worker gets from a file that says nothing: settings.h's part of it. One, for all tests of a process. */
const struct worker_config *defaults_worker(void);
