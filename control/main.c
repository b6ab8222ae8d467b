/*
 * sluice-control: keeps the truth, publishes it to the dataplane, probes the pods, settles the usage.
 *
 * One loop in one thread; others look names up (resolve.h). A turn takes what has come in (admin calls,
 * probes' answers, other processes' commits, spool records) in bounded pieces and begins again at the latest
 * after TURN_MS, so that a change is in the tables well within 100 ms of its commit whatever else is going on.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin.h"
#include "clock.h"
#include "config/config.h"
#include "control.h"
#include "keys.h"
#include "lock.h"
#include "config/log.h"
#include "config/secret.h"
#include "shm/balance.h"

#define SHM_FOLDER "/dev/shm"
#define TURN_MS 20
#define EXPIRE_NS (500 * NSEC_PER_MSEC)
#define CREDIT_NS NSEC_PER_SEC /* between two rounds over the instances */
#define SCAN_NS (200 * NSEC_PER_MSEC) /* of the spool folder */
#define BUSY_TURN_NS (30 * NSEC_PER_MSEC) /* of one turn's share for the ledger */
#define RECONCILE_TURN_NS (10 * NSEC_PER_MSEC) /* and for the reconciliation */

struct options {
	const char *config_path;
	bool check_only;
};

/* --- command line and configuration ------------------------------------------------------ */

static void
print_usage(FILE *to)
{
	fputs("Usage: sluice-control --config FILE [--check]\n"
	      "       sluice-control --help | --version\n"
	      "\n"
	      "Keeps keys, accounts, models, prices, instances and pods; publishes them to the dataplane\n"
	      "through /dev/shm/<instance>; probes the pods; takes usage into the ledger; serves the admin\n"
	      "API that sluicectl speaks.\n"
	      "\n"
	      "  --config FILE  sluice.yaml, the same file that sluice-dataplane reads\n"
	      "  --check        read the configuration, complain about it, and stop\n"
	      "\n"
	      "SIGHUP reads FILE again, for both processes, as `sluicectl reload` does.\n"
	      "SIGTERM and SIGINT stop it; the dataplane goes on with what was published last.\n"
	      "sluicectl config reference lists every key of the configuration.\n"
	      "Exit codes: 0 fine, 1 failed, 2 wrong use. Logs go to stderr, one JSON object a line.\n",
	      to);
}

/* Returns an exit code, or -1 to go on. */
static int
parse_options(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{ "config", required_argument, NULL, 'c' }, { "check", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },         { "version", no_argument, NULL, 'v' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:h", known, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->config_path = optarg;
			break;
		case 'k':
			options->check_only = true;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		case 'v':
			puts("sluice-control " SLUICE_VERSION);
			return 0;
		default:
			print_usage(stderr);
			return 2;
		}
	}
	if (optind != argc || options->config_path == NULL) {
		print_usage(stderr);
		return 2;
	}
	return -1;
}

static void
complain(void *owner, const char *text)
{
	(void)owner;
	fprintf(stderr, "%s\n", text);
}

static const char *const capacity_keys[] = {
	[SHM_KEYS] = "capacity.keys",
	[SHM_ACCOUNTS] = "capacity.accounts",
	[SHM_PLANS] = "capacity.plans",
	[SHM_MODELS] = "capacity.models",
	[SHM_ALIASES] = "capacity.aliases",
	[SHM_PRICES] = "capacity.prices",
	[SHM_INSTANCES] = "capacity.instances",
	[SHM_DEPLOYMENTS] = "capacity.deployments",
	[SHM_PODS] = "capacity.pods",
	[SHM_REGIONS] = "capacity.regions",
};

static void
fill_capacity(const struct config *config, struct shm_capacity *capacity)
{
	*capacity = (struct shm_capacity){ .count = {
		[SHM_KEYS] = config->capacity.keys,
		[SHM_ACCOUNTS] = config->capacity.accounts,
		[SHM_PLANS] = config->capacity.plans,
		[SHM_MODELS] = config->capacity.models,
		[SHM_ALIASES] = config->capacity.aliases,
		[SHM_PRICES] = config->capacity.prices,
		[SHM_INSTANCES] = config->capacity.instances,
		[SHM_DEPLOYMENTS] = config->capacity.deployments,
		[SHM_PODS] = config->capacity.pods,
		[SHM_REGIONS] = config->capacity.regions,
	} };
}

/* --- starting ---------------------------------------------------------------------------- */

/* One control per store file, and one per spool folder, which is one instance's: records found there are its
 * customers'. */
static bool
lock(const char *event, const char *format, const char *place, const char *owner)
{
	char path[CONFIG_PATH_BYTES + 16], text[2 * CONFIG_PATH_BYTES];

	snprintf(path, sizeof(path), format, place);
	if (lock_take(path, owner, text, sizeof(text)))
		return true;
	LOG_ERROR(event, LOG_TEXT("problem", text));
	return false;
}

static bool
start_failed(struct control *control, const char *event, enum err verdict)
{
	LOG_ERROR(event, LOG_TEXT("verdict", err_name(verdict)),
		  LOG_TEXT("problem", control->store.problem));
	return false;
}

static bool
open_store(struct control *control, const struct config *config)
{
	enum err verdict;

	if (config->store.connection[0] != '\0') {
		verdict = store_connect(&control->store, config->store.connection);
	} else {
		if (!lock("store_locked", "%s.lock", config->store.path, NULL))
			return false;
		verdict = store_open(&control->store, config->store.path);
	}
	if (verdict == ERR_OK)
		verdict = store_pepper(&control->store, control->pepper);
	if (verdict != ERR_OK)
		return start_failed(control, "store_not_opened", verdict);
	verdict = ledger_init(&control->ledger, &control->store, control->instance,
			      config->spool.path);
	if (verdict != ERR_OK)
		return start_failed(control, "ledger_not_opened", verdict);
	control->ledger.tally = &control->tally;
	if (!lock("spool_locked", "%s/control.lock", config->spool.path, config->instance))
		return false;
	if (store_is_shared(&control->store) &&
	    (verdict = node_claim(&control->node, &control->store, config->spool.path)) != ERR_OK)
		return start_failed(control, "node_refused", verdict);
	verdict = tickets_init(&control->tickets, &control->store,
			       (uint32_t)(config->ticket_lifetime_ns / NSEC_PER_SEC),
			       clock_unix_ns() / NSEC_PER_SEC);
	if (verdict != ERR_OK)
		return start_failed(control, "tickets_not_read", verdict);
	tabs_init(&control->tabs, &control->ledger);
	verdict = reconcile_init(&control->reconcile, &control->tabs);
	if (verdict != ERR_OK)
		return start_failed(control, "ledger_not_opened", verdict);
	return true;
}

static bool
drain_known(struct control *control)
{
	enum err verdict = ledger_drain_all(&control->ledger, clock_now_ns());

	return verdict == ERR_OK || start_failed(control, "spool_not_drained", verdict);
}

static bool
drain_spool(struct control *control)
{
	ledger_scan(&control->ledger, 0, clock_now_ns());
	tabs_scan(&control->tabs);
	return drain_known(control);
}

/* What a step brings to light in the segments is drained before the next one. */
static bool
settle_tabs(struct control *control)
{
	bool more = true;

	while (more) {
		enum err verdict = tabs_settle(&control->tabs, &more);

		if (verdict != ERR_OK)
			return start_failed(control, "tabs_not_settled", verdict);
		if (more && !drain_known(control))
			return false;
	}
	return true;
}

/* Before balance cells are made from the store, everything that was spent must be in it. Where they are there
 * already, the loop goes on with what cannot be drained now, settles what a crash left open, and tells them. */
static bool
drain_everything(struct control *control, const char *instance)
{
	char path[sizeof(SHM_FOLDER) + CONFIG_PATH_BYTES];
	bool is_drained = drain_spool(control);

	snprintf(path, sizeof(path), SHM_FOLDER "/%s", instance);
	if (access(path, F_OK) == 0)
		return true;
	/* What is known to be dead now is settled when all its segments were looked for again. */
	return is_drained && drain_spool(control) && settle_tabs(control);
}

/* Epochs never repeat, not even when the shared file is lost with a reboot: they begin at the time. */
static bool
first_epoch(struct control *control, uint64_t *epoch)
{
	enum err verdict = ledger_last_epoch(&control->ledger, epoch);

	if (verdict != ERR_OK)
		return start_failed(control, "ledger_not_read", verdict);
	if (*epoch < clock_unix_ns() / NSEC_PER_MSEC)
		*epoch = clock_unix_ns() / NSEC_PER_MSEC;
	return true;
}

static bool
open_share(struct control *control, const struct config *config)
{
	struct shm_capacity capacity;
	uint64_t epoch;
	enum err verdict;

	fill_capacity(config, &capacity);
	if (!drain_everything(control, config->instance) || !first_epoch(control, &epoch))
		return false;
	verdict = share_open(&control->share, SHM_FOLDER, config->instance, &capacity,
			     config->workers, control->pepper, epoch);
	if (verdict != ERR_OK) {
		LOG_ERROR("shm_not_opened", LOG_TEXT("verdict", err_name(verdict)),
			  LOG_TEXT("problem", control->share.problem));
		return false;
	}
	if (control->share.shm.header->worker_count != config->workers)
		LOG_WARN("shm_workers_differ",
			 LOG_NUMBER("file", control->share.shm.header->worker_count),
			 LOG_NUMBER("config", config->workers),
			 LOG_TEXT("remedy", "takes effect when the file is made anew"));
	for (int i = SHM_KEYS; i <= SHM_REGIONS; i++)
		if (control->share.shm.header->capacity.count[i] != capacity.count[i])
			LOG_WARN("shm_capacity_differs", LOG_TEXT("key", capacity_keys[i]),
				 LOG_NUMBER("file", control->share.shm.header->capacity.count[i]),
				 LOG_NUMBER("config", capacity.count[i]),
				 LOG_TEXT("remedy", "takes effect when the file is made anew"));
	return true;
}

/* A crash's requests are on no worker's bill: their cells are told here. */
static void
spend_crashed(void *owner, uint64_t account_id, int64_t cost_nano)
{
	struct publish *publish = &((struct control *)owner)->publish;
	uint32_t entry = entries_find(&publish->entries[NOUN_ACCOUNT], account_id);

	if (entry != ENTRIES_NONE)
		balance_settle(shm_balance(&publish->shm, entry), 0, cost_nano);
}

static void
ask_again(void *owner, uint32_t entry)
{
	probe_again(owner, entry);
}

/* Names are known to it from the first round on. */
static bool
open_resolve(struct control *control, const struct config *config)
{
	const struct resolve_manner manner = resolve_manner_of(config);
	enum err verdict = resolve_init(&control->resolve, &control->publish, &manner);

	if (verdict != ERR_OK)
		return start_failed(control, "resolver_not_made", verdict);
	control->publish.resolve = &control->resolve;
	return true;
}

static bool
publish_everything(struct control *control, const struct config *config)
{
	uint64_t began_ns = clock_now_ns();
	bool is_new = control->share.is_new;
	enum err verdict = publish_init(&control->publish, &control->store, control->share.shm,
					began_ns);

	if (verdict == ERR_OK && !open_resolve(control, config))
		return false;
	if (verdict == ERR_OK)
		verdict = publish_all(&control->publish, began_ns);
	if (verdict != ERR_OK)
		return start_failed(control, "not_published", verdict);
	if (share_reveal(&control->share) != ERR_OK) {
		LOG_ERROR("shm_not_shown", LOG_TEXT("problem", control->share.problem));
		return false;
	}
	control->tabs.spent = spend_crashed;
	control->tabs.owner = control;
	LOG_INFO(is_new ? "shm_made" : "shm_attached", LOG_TEXT("instance", control->instance),
		 LOG_NUMBER("changed", control->publish.rows_published),
		 LOG_NUMBER("removed", control->publish.rows_removed),
		 LOG_NUMBER("keys", control->publish.entries[NOUN_KEY].count),
		 LOG_NUMBER("mib", control->share.shm.header->file_bytes >> 20),
		 LOG_NUMBER("huge_mib", control->share.huge_bytes >> 20),
		 LOG_NUMBER("ms", (clock_now_ns() - began_ns) / NSEC_PER_MSEC));
	return true;
}

/* --- the loop ---------------------------------------------------------------------------- */

/* A disk that is full stays so for many turns: one line a second says it, too. */
static void
complain_of_store(struct control *control, const char *event)
{
	uint64_t now_ns = clock_now_ns();

	if (now_ns < control->complain_at_ns)
		return;
	control->complain_at_ns = now_ns + NSEC_PER_SEC;
	LOG_ERROR(event, LOG_TEXT("problem", control->store.problem));
}

void
control_publish(struct control *control)
{
	if (publish_changes(&control->publish, clock_now_ns()) != ERR_OK)
		complain_of_store(control, "publish_failed");
}

static void
turn_ledger(struct control *control, uint64_t now_ns, uint64_t *scan_at_ns)
{
	bool more = true;

	if (now_ns >= *scan_at_ns) {
		ledger_scan(&control->ledger,
			    atomic_load(&control->share.shm.header->dataplane_epoch), now_ns);
		tabs_scan(&control->tabs);
		*scan_at_ns = now_ns + SCAN_NS;
	}
	while (more && clock_now_ns() - now_ns < BUSY_TURN_NS) {
		if (ledger_drain(&control->ledger, now_ns, &more) != ERR_OK) {
			complain_of_store(control, "ledger_failed");
			return;
		}
	}
	for (more = true; more && clock_now_ns() - now_ns < BUSY_TURN_NS;) {
		if (tabs_settle(&control->tabs, &more) != ERR_OK) {
			complain_of_store(control, "tabs_failed");
			return;
		}
	}
	control->publish.repair.settled_at_ns = tabs_settled_at_ns(&control->tabs);
	for (more = true; more && clock_now_ns() - now_ns < BUSY_TURN_NS;) {
		if (reconcile_step(&control->reconcile, now_ns, &more) != ERR_OK) {
			complain_of_store(control, "reconcile_failed");
			return;
		}
	}
}

static void
turn_publish(struct control *control, uint64_t now_ns)
{
	uint64_t began_ns = now_ns, ended_ns;
	bool more = publish_is_due(&control->publish, now_ns);
	bool has_changed = store_changed_elsewhere(&control->store);

	if (has_changed)
		control_publish(control);
	if (tickets_turn(&control->tickets, has_changed, now_ns, clock_unix_ns() / NSEC_PER_SEC) != ERR_OK)
		complain_of_store(control, "tickets_not_read");
	if (publish_spending(&control->publish, now_ns) != ERR_OK)
		complain_of_store(control, "spending_not_published");
	if (publish_repair(&control->publish, now_ns) != ERR_OK)
		complain_of_store(control, "balances_not_repaired");
	while (more && began_ns - now_ns < RECONCILE_TURN_NS) {
		if (publish_step(&control->publish, began_ns, &more) != ERR_OK) {
			complain_of_store(control, "reconcile_failed");
			return;
		}
		ended_ns = clock_now_ns();
		publish_took(&control->publish, ended_ns - began_ns);
		began_ns = ended_ns;
	}
}

/* False: it is one that asks to stop. */
static bool
hear_signal(struct control *control, int signals)
{
	struct signalfd_siginfo heard;

	if (read(signals, &heard, sizeof(heard)) != sizeof(heard))
		return true;
	if (heard.ssi_signo != SIGHUP)
		return false;
	/* Whatever becomes of it is logged. */
	if (reload_file(control, 0, clock_now_ns()) == ERR_CONFIG_TRIAL)
		LOG_ERROR("config_refused",
			  LOG_TEXT("reason", "a trial waits for `sluicectl reload --confirm`"));
	return true;
}

/* Keys whose time has come end within EXPIRE_NS of it. */
static void
turn_keys(struct control *control, uint64_t now_ns, uint64_t *expire_at_ns)
{
	bool any = false;

	if (now_ns < *expire_at_ns)
		return;
	*expire_at_ns = now_ns + EXPIRE_NS;
	if (keys_expire(&control->store, (int64_t)(clock_unix_ns() / NSEC_PER_SEC), &any) != ERR_OK)
		complain_of_store(control, "keys_not_expired");
	if (any)
		control_publish(control);
}

/* One slice a turn, a round a second. */
static void
turn_credit(struct control *control, uint64_t now_ns, uint64_t *round_at_ns)
{
	bool more = false, any = false;

	if (now_ns < *round_at_ns)
		return;
	if (credit_step(&control->credit, &more, &any) != ERR_OK)
		complain_of_store(control, "credit_not_looked_at");
	if (!more)
		*round_at_ns = now_ns + CREDIT_NS;
	if (any)
		control_publish(control);
}

/* False: the router has lost its name. */
static bool
run(struct control *control, struct admin *admin, int signals)
{
	struct curl_waitfd files[] = { { .fd = admin_file(admin), .events = CURL_WAIT_POLLIN },
				       { .fd = signals, .events = CURL_WAIT_POLLIN },
				       { .fd = resolve_file(&control->resolve), .events = CURL_WAIT_POLLIN },
				       { .events = CURL_WAIT_POLLIN } };
	struct curl_waitfd *store = &files[COUNT_OF(files) - 1];
	uint64_t scan_at_ns = 0, expire_at_ns = 0, credit_at_ns = 0;

	while ((files[1].revents & CURL_WAIT_POLLIN) == 0 || hear_signal(control, signals)) {
		uint64_t now_ns;

		store->fd = store_file(&control->store);
		curl_multi_poll(probe_multi(&control->probe), files,
				store->fd >= 0 ? COUNT_OF(files) : COUNT_OF(files) - 1, TURN_MS, NULL);
		now_ns = clock_now_ns();
		atomic_store(&control->share.shm.header->control_beat_at_ns, now_ns);
		reload_turn(control, now_ns);
		admin_turn(admin);
		turn_keys(control, now_ns, &expire_at_ns);
		turn_publish(control, now_ns);
		turn_ledger(control, now_ns, &scan_at_ns);
		turn_credit(control, now_ns, &credit_at_ns);
		resolve_turn(&control->resolve, now_ns);
		probe_turn(&control->probe, now_ns);
		if (node_turn(&control->node, control->publish.change_seq, now_ns) != ERR_OK) {
			LOG_ERROR("node_lost", LOG_TEXT("problem", control->store.problem));
			return false;
		}
	}
	return true;
}

static int
block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	return sigprocmask(SIG_BLOCK, &set, NULL) == 0 ? signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK) : -1;
}

static bool
serve(struct control *control, struct config *config, const char *path, struct bytes text,
      const struct handover *found)
{
	const struct probe_defaults probes = probe_defaults_of(config, clock_now_ns());
	static struct admin admin;
	int signals = block_signals();
	bool is_fine;

	if (signals < 0 || !admin_read_tokens(&admin, config->admin.token_file,
						config->admin.read_only_token_file) ||
	    !open_store(control, config) || !open_share(control, config) ||
	    !publish_everything(control, config))
		return false;
	if (probe_init(&control->probe, &control->store, &control->publish, &probes) != ERR_OK)
		return start_failed(control, "probes_not_made", ERR_STORE_FAILED);
	control->publish.moved = ask_again;
	control->publish.moved_owner = &control->probe;
	control->credit.store = &control->store;
	reload_init(control, path, config, text, found);
	/* Without it the dataplane has secrets of its own. */
	tickets_listen(&control->tickets, SHM_FOLDER, config->instance);
	if (!admin_init(&admin, control, config->admin.address.ip, config->admin.port,
			config->admin.socket))
		return false;
	is_fine = run(control, &admin, signals);
	admin_fini(&admin);
	reload_fini(&control->reload);
	probe_fini(&control->probe);
	resolve_fini(&control->resolve);
	publish_fini(&control->publish);
	reconcile_fini(&control->reconcile);
	tabs_fini(&control->tabs);
	tickets_fini(&control->tickets);
	ledger_fini(&control->ledger);
	share_close(&control->share);
	node_release(&control->node);
	store_close(&control->store);
	LOG_INFO("stopped");
	return is_fine;
}

int
main(int argc, char **argv)
{
	static const struct config_complaints complaints = { complain, NULL };
	static struct config config;
	static struct control control;
	struct options options = { 0 };
	struct handover found;
	struct bytes text;
	int code = parse_options(argc, argv, &options);

	if (code >= 0)
		return code;
	if (handover_load(&config, options.config_path, HANDOVER_FOLDER, clock_now_ns(), &text, &found,
			  &complaints) != ERR_OK) {
		handover_free(&found);
		return 1;
	}
	if (options.check_only) {
		printf("%s: fine\n", options.config_path);
		free((void *)text.ptr);
		handover_free(&found);
		return 0;
	}
	if (!config.dumpable)
		secret_hide_process();
	log_set_level((enum log_level)config.log.level);
	if (found.is_used)
		LOG_WARN("config_file_not_used", LOG_TEXT("file", options.config_path),
			 LOG_TEXT("reason", handover_reason(&found, clock_now_ns())));
	control.instance = config.instance;
	control.key_prefixes[SHM_SURFACE_ECOLINK] = config.surfaces.ecolink.key_prefix;
	control.key_prefixes[SHM_SURFACE_INFER] = config.surfaces.infer.key_prefix;
	control.key_prefixes[SHM_SURFACE_THIRD] = config.surfaces.third.key_prefix;
	control.key_prefixes[SHM_SURFACE_FOURTH] = config.surfaces.fourth.key_prefix;
	control.started_at_ns = clock_now_ns();
	umask(077);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	return serve(&control, &config, options.config_path, text, &found) ? 0 : 1;
}
