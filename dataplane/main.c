/*
 * sluice-dataplane: the program that owns the ports.
 *
 * Reads like a table of contents: arguments, configuration, certificates, shared tables, workers; then the
 * main thread tends the spool and waits for a signal.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "config/log.h"
#include "config/secret.h"
#include "dataplane/attach.h"
#include "dataplane/budget.h"
#include "dataplane/clock.h"
#include "dataplane/eal.h"
#include "dataplane/engine.h"
#include "dataplane/fleet.h"
#include "dataplane/identity.h"
#include "dataplane/reload.h"
#include "dataplane/tickets.h"

#define TEXT_BYTES 1024
#define TEND_EVERY_NS (5 * NSEC_PER_MSEC)
#define CONTROL_BEAT_NS_MAX (1 * NSEC_PER_SEC) /* older: control is dead or stuck, and is not waited for */
#define ATTACH_EVERY_NS (100 * NSEC_PER_MSEC)
/* A worker looks at its flags when it publishes, every few milliseconds. */
#define WORKERS_HEAR_NS (50 * NSEC_PER_MSEC)
/* What error events and refusals have to be acknowledged in, before connections are reset. */
#define LAST_BYTES_NS (200 * NSEC_PER_MSEC)

enum exit_code { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_WRONG_USE = 2 };

static volatile sig_atomic_t asked_to_stop;
static volatile sig_atomic_t asked_to_reload;

static void
on_signal(int signal)
{
	if (signal == SIGHUP)
		asked_to_reload = 1;
	else
		asked_to_stop++;
}

static void
print_help(FILE *to)
{
	fprintf(to, "Usage: sluice-dataplane --config FILE [--wait SECONDS] [--check]\n"
		    "\n"
		    "Terminates TLS, admits requests and relays them to backends, on DPDK ports.\n"
		    "\n"
		    "  -c, --config FILE   sluice.yaml, the same that sluice-control reads\n"
		    "  -w, --wait SECONDS  how long to wait for sluice-control's tables (default 30)\n"
		    "      --check         check the configuration and the certificates, print\n"
		    "                      what memory it will take, then exit\n"
		    "  -h, --help          this text\n"
		    "  -V, --version       the version\n"
		    "\n"
		    "SIGTERM and SIGINT drain: running requests get timeouts.drain, new ones are refused.\n"
		    "SIGHUP reads FILE again, in this process alone: `sluicectl reload` does it in both.\n"
		    "sluicectl config reference lists every key of the configuration.\n"
		    "Exit codes: 0 fine, 1 failed, 2 wrong use. Logs are JSON lines on stderr.\n");
}

struct options {
	const char *config;
	uint64_t wait_ns;
	bool check_only;
};

/* -1: go on; else the exit code. */
static int
parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "config", required_argument, NULL, 'c' }, { "wait", required_argument, NULL, 'w' },
		{ "check", no_argument, NULL, 'k' },	    { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },	    { 0 },
	};
	char *end;
	int option;

	*options = (struct options){ .wait_ns = 30 * NSEC_PER_SEC };
	while ((option = getopt_long(argc, argv, "c:w:hV", known, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->config = optarg;
			break;
		case 'w':
			options->wait_ns = strtoull(optarg, &end, 10) * NSEC_PER_SEC;
			if (end == optarg || *end != '\0') {
				fprintf(stderr, "sluice-dataplane: --wait takes seconds, not \"%s\"\n", optarg);
				return EXIT_WRONG_USE;
			}
			break;
		case 'k':
			options->check_only = true;
			break;
		case 'h':
			print_help(stdout);
			return EXIT_FINE;
		case 'V':
			puts("sluice-dataplane " SLUICE_VERSION);
			return EXIT_FINE;
		default:
			print_help(stderr);
			return EXIT_WRONG_USE;
		}
	}
	if (options->config == NULL || optind != argc) {
		fprintf(stderr, "sluice-dataplane: --config FILE is needed%s\n",
			optind != argc ? ", and nothing behind the options" : "");
		print_help(stderr);
		return EXIT_WRONG_USE;
	}
	return -1;
}

static void
complain(void *owner, const char *text)
{
	(void)owner;
	fprintf(stderr, "%s\n", text);
}

static void
pause_ns(uint64_t ns)
{
	struct timespec pause = { (time_t)(ns / NSEC_PER_SEC), (long)(ns % NSEC_PER_SEC) };

	nanosleep(&pause, NULL);
}

/* Tables must be there before a request may be answered. */
static bool
wait_for_tables(const struct config *config, uint64_t wait_ns, struct shm *shm, char *text)
{
	uint64_t until_ns = clock_ns() + wait_ns;
	bool said = false;

	for (;;) {
		enum err verdict = attach_open(shm, config->instance, config->workers, text, TEXT_BYTES);

		if (verdict == ERR_OK)
			return true;
		if (verdict != ERR_SHM_ABSENT || clock_ns() >= until_ns || asked_to_stop)
			return false;
		if (!said)
			LOG_INFO("waiting_for_control", LOG_TEXT("reason", text));
		said = true;
		pause_ns(ATTACH_EVERY_NS);
	}
}

static void
tend(struct fleet *fleet)
{
	char text[TEXT_BYTES];

	if (spool_files_tend(&fleet->spool, clock_ns(), text, sizeof(text)) != ERR_OK)
		LOG_ERROR("spool_failing", LOG_TEXT("reason", text));
	fleet_tend(fleet, clock_ns());
	atomic_store_explicit(&fleet->shm.header->dataplane_beat_at_ns, clock_ns(),
			      memory_order_relaxed);
	pause_ns(TEND_EVERY_NS);
}

static void
tend_for(struct fleet *fleet, uint64_t ns)
{
	uint64_t until_ns = clock_ns() + ns;

	while (clock_ns() < until_ns)
		tend(fleet);
}

static void
turn_tickets(struct tickets *tickets, struct fleet *fleet)
{
	struct ticket_secrets *place = fleet_tickets_place(fleet);

	/* The workers have two places for them: the last ones are there first. */
	if (place == NULL || !tickets_read(tickets, place, clock_ns()))
		return;
	fleet_set_tickets(fleet);
	LOG_INFO("tickets_handed_over", LOG_NUMBER("count", place->count),
		 LOG_NUMBER("newest", place->secret[place->count - 1].number));
}

static void
serve(struct fleet *fleet, struct reload *reload, struct tickets *tickets)
{
	uint64_t until_ns;

	while (asked_to_stop == 0) {
		bool hup = asked_to_reload && fleet_may_reload(fleet);

		if (hup)
			asked_to_reload = 0;
		tend(fleet);
		reload_turn(reload, hup, clock_ns());
		turn_tickets(tickets, fleet);
	}
	LOG_INFO("draining", LOG_NUMBER("requests", fleet_in_flight(fleet)));
	fleet_drain(fleet);
	tend_for(fleet, WORKERS_HEAR_NS);
	until_ns = clock_ns() + fleet->config->timeouts.drain_ns;
	/* Who asks again does not want to wait. */
	while (fleet_in_flight(fleet) > 0 && clock_ns() < until_ns && asked_to_stop == 1)
		tend(fleet);
	LOG_INFO("stopping", LOG_NUMBER("requests_cut", fleet_in_flight(fleet)));
	if (fleet_in_flight(fleet) == 0)
		return;
	fleet_cut(fleet);
	/* And for the last bytes to leave. */
	tend_for(fleet, WORKERS_HEAR_NS + LAST_BYTES_NS);
}

static int
fail(const char *event, const char *text)
{
	LOG_ERROR(event, LOG_TEXT("reason", text));
	return EXIT_FAILED;
}

/* The sum of memory, a line of the log for each of its terms. */
static void
log_sum(void *owner, const char *text)
{
	(void)owner;
	LOG_INFO("memory", LOG_TEXT("sum", text));
}

static void
print_line(void *owner, const char *text)
{
	(void)owner;
	puts(text);
}

/* All of it is taken at start, and some only touched later: what cannot be had is said now, not by the kernel's
 * OOM killer under load. */
static bool
fits_machine(uint64_t bytes, char *text, size_t room)
{
	uint64_t machine_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	snprintf(text, room,
		 "the sum of memory is %llu MiB, this machine has %llu MiB: lower limits.clients, "
		 "limits.upstreams, limits.bodies or memory.size; --check prints each term",
		 (unsigned long long)(bytes / MIB), (unsigned long long)(machine_bytes / MIB));
	return bytes <= machine_bytes;
}

static void
say_port(const struct port *port, const struct config_port *config)
{
	char offload[128];

	port_describe_offload(port, offload, sizeof(offload));
	LOG_INFO("port", LOG_TEXT("name", port->name), LOG_TEXT("driver", port->driver),
		 LOG_NUMBER("queues", port->queue_count),
		 LOG_TEXT("steering", port->rss.count > 0 ? "card" : "software"),
		 LOG_TEXT("offload", offload), LOG_NUMBER("mtu", config->mtu), LOG_NUMBER("vlan", config->vlan),
		 LOG_TEXT("tap", config->exception.tap));
}

/* Control lives, or is about to show its first sign of it. */
static bool
has_control(const struct shm *shm)
{
	uint64_t beat_at_ns = atomic_load(&shm->header->control_beat_at_ns);

	return beat_at_ns == 0 || clock_ns() - beat_at_ns < CONTROL_BEAT_NS_MAX;
}

/* Of control if it lives: clients that come back after a restart are known. */
static bool
wait_for_secrets(struct tickets *tickets, const struct config *config, const struct shm *shm,
		 struct ticket_secrets *secrets)
{
	uint64_t until_ns = clock_ns() + TICKETS_WAIT_NS;

	if (config->ticket_lifetime_ns == 0)
		return tickets_make_own(secrets);
	while (!tickets_read(tickets, secrets, clock_ns())) {
		if (clock_ns() >= until_ns || asked_to_stop || !has_control(shm)) {
			LOG_INFO("tickets_own", LOG_TEXT("reason", "control hands no secrets over"));
			return tickets_make_own(secrets);
		}
		pause_ns(TEND_EVERY_NS);
	}
	return true;
}

static int
run(struct config *config, struct credentials *credentials, const struct options *options, struct handover *found)
{
	static struct fleet fleet;
	static struct reload reload;
	struct ticket_secrets secrets;
	struct tickets tickets;
	const struct config_complaints sum = { log_sum, NULL };
	char text[TEXT_BYTES];
	struct shm shm;

	if (!fits_machine(budget_print(config, credentials, &sum), text, sizeof(text)))
		return fail("start_failed", text);
	if (!engine_is_here(config, text, sizeof(text)))
		return fail("start_failed", text);
	if (!wait_for_tables(config, options->wait_ns, &shm, text))
		return fail("no_tables", text);
	tickets_init(&tickets, HANDOVER_FOLDER, config->instance);
	if (!wait_for_secrets(&tickets, config, &shm, &secrets))
		return fail("start_failed", "no random numbers");
	if (!fleet_open(&fleet, config, &shm, credentials, &secrets, text, sizeof(text)))
		return fail("start_failed", text);
	explicit_bzero(&secrets, sizeof(secrets));
	LOG_INFO("eal", LOG_TEXT("arguments", eal_line()));
	if (!fleet_start(&fleet))
		return fail("start_failed", "DPDK does not start the workers");
	for (uint32_t p = 0; p < fleet.port_count; p++)
		say_port(&fleet.ports[p], &config->ports[p]);
	LOG_INFO("serving", LOG_NUMBER("workers", fleet.count),
		 LOG_NUMBER("listeners", config->listener_count));
	reload_init(&reload, options->config, config, &fleet, found, credentials);
	serve(&fleet, &reload, &tickets);
	fleet_stop(&fleet);
	reload_fini(&reload);
	fleet_close(&fleet);
	tickets_fini(&tickets);
	return EXIT_FINE;
}

int
main(int argc, char **argv)
{
	static struct config config;
	struct config_complaints complaints = { complain, NULL };
	const struct config_complaints sum = { print_line, NULL };
	struct sigaction heard = { .sa_handler = on_signal };
	struct handover found;
	struct bytes chosen;
	struct credentials *credentials;
	struct options options;
	char text[TEXT_BYTES];
	int code = parse_options(argc, argv, &options);

	if (code >= 0)
		return code;
	/* Before DPDK loads drivers that use the same library. */
	tls_prepare();
	if (handover_load(&config, options.config, HANDOVER_FOLDER, clock_ns(), &chosen, &found, &complaints) !=
	    ERR_OK)
		return EXIT_FAILED;
	free((void *)chosen.ptr);
	if (!config.dumpable)
		secret_hide_process();
	log_set_level((enum log_level)config.log.level);
	if (found.is_used)
		LOG_WARN("config_file_not_used", LOG_TEXT("file", options.config),
			 LOG_TEXT("reason", handover_reason(&found, clock_ns())));
	credentials = identity_load(&config, options.config, NULL, &complaints);
	if (credentials == NULL)
		return EXIT_FAILED;
	if (options.check_only) {
		printf("%s: fine\n", options.config);
		/* It may be another machine's file, so these are no errors here. */
		if (!fits_machine(budget_print(&config, credentials, &sum), text, sizeof(text)))
			fprintf(stderr, "%s: warning: %s\n", options.config, text);
		if (!engine_is_here(&config, text, sizeof(text)))
			fprintf(stderr, "%s: warning: %s\n", options.config, text);
		credentials_free(credentials);
		handover_free(&found);
		return EXIT_FINE;
	}
	if (!tls_identity_is_locked(credentials->identity))
		LOG_WARN("keys_can_be_swapped", LOG_TEXT("fix", "raise RLIMIT_MEMLOCK"));
	sigaction(SIGTERM, &heard, NULL);
	sigaction(SIGINT, &heard, NULL);
	sigaction(SIGHUP, &heard, NULL);
	signal(SIGPIPE, SIG_IGN);
	return run(&config, credentials, &options, &found);
}
