/* The least that a file must say, read as the program reads it. */
#include "defaults.h"

#include "base/check.h"
#include "config/config.h"
#include "dataplane/settings.h"

static const char least[] = "ports: [{device: net_tap0, addresses: [192.0.2.1/24]}]\n"
			    "listeners: [{certificates: [{chain: c.pem, key: k.pem}]}]\n";

static void
complain(void *owner, const char *text)
{
	(void)owner;
	(void)text;
	CHECK(false);
}

const struct worker_config *
defaults_worker(void)
{
	static struct config config;
	static struct worker_config worker;
	static const struct config_complaints complaints = { .line = complain };

	if (worker.listener_count == 0) {
		CHECK(config_parse(&config, "defaults", BYTES_LITERAL(least), &complaints) == ERR_OK);
		settings_fill(&config, &worker);
	}
	return &worker;
}
