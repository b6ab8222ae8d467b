/*
 * The runner of a simulator: one seed in this process, or many in several.
 *
 * Workers draw the next seed from a shared counter. A seed that fails by a CHECK, a sanitizer or a signal
 * takes its process with it; the parent knows which seed it was, prints how to repeat it and starts another
 * process. All seeds below the smallest one that still runs are done: that number is what is resumed at.
 */
#include <errno.h>
#include <execinfo.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "seeds.h"

#include "base/check.h"
#include "base/units.h"

#define JOBS_MAX 64
#define FRAMES_MAX 32
/* Of one seed, processor time: a loop that never ends, on a machine however busy. */
#define SEED_SECONDS_MAX 60
#define TICK_TERMINAL_S 5
#define TICK_LOG_S 60

/* Shared with the workers. */
struct job {
	_Atomic uint64_t seed; /* what it runs; UINT64_MAX: nothing any more */
	pid_t pid;             /* written by the parent only */
};

struct board {
	_Atomic uint64_t next;
	_Atomic uint64_t done;
	struct job job[JOBS_MAX];
};

struct options {
	uint64_t first;
	uint64_t last;
	uint32_t jobs;
	bool is_verbose;
	const char *resume;
};

struct crowd {
	const struct options *options;
	const char *program;
	seeds_run run;
	struct board *board;
	uint32_t running;
	uint32_t failures;
	uint64_t failed[SEEDS_FAILURES_MAX];
	double start_s;
	double told_s;
};

static int
usage(const char *program, FILE *to)
{
	fprintf(to,
		"Usage: %s --seed N [--verbose] | --seeds A..B | --seeds N, [--jobs J] [--resume FILE]\n"
		"Without options: seeds 1 to SLUICE_SEEDS of the environment (1000), or SLUICE_SEED alone.\n"
		"Exit codes: 0 all passed, 1 some failed, 2 wrong use.\n",
		program);
	return to == stdout ? 0 : 2;
}

double
seeds_clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- options ----------------------------------------------------------------------- */

static bool
parse_number(const char *text, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno == 0 && end != text && *end == '\0' && text[0] != '-';
}

/* "7..9", or "9", which is "1..9". */
static bool
parse_seeds(const char *text, struct options *o)
{
	const char *dots = strstr(text, "..");
	char first[24];

	if (dots == NULL) {
		o->first = 1;
		return parse_number(text, &o->last);
	}
	snprintf(first, sizeof(first), "%.*s", (int)(dots - text), text);
	return parse_number(first, &o->first) && parse_number(dots + 2, &o->last);
}

static bool
parse_environment(struct options *o)
{
	const char *seeds = getenv("SLUICE_SEEDS");
	const char *seed = getenv("SLUICE_SEED");

	if (seed != NULL) {
		if (!parse_number(seed, &o->first))
			return false;
		o->last = o->first;
	} else if (seeds != NULL) {
		return parse_number(seeds, &o->last);
	}
	return true;
}

static bool
parse_option(const char *name, const char *value, struct options *o)
{
	uint64_t number;

	if (strcmp(name, "--seeds") == 0)
		return parse_seeds(value, o);
	if (strcmp(name, "--resume") == 0) {
		o->resume = value;
		return value[0] != '\0';
	}
	if (!parse_number(value, &number))
		return false;
	if (strcmp(name, "--seed") == 0) {
		o->first = o->last = number;
		return true;
	}
	if (strcmp(name, "--jobs") == 0 && number >= 1 && number <= JOBS_MAX) {
		o->jobs = (uint32_t)number;
		return true;
	}
	return false;
}

static bool
parse_options(int argc, char **argv, struct options *o)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	*o = (struct options){ .first = 1, .last = 1000 };
	o->jobs = cores < 1 ? 1 : cores > JOBS_MAX ? JOBS_MAX : (uint32_t)cores;
	if (!parse_environment(o))
		return false;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0)
			o->is_verbose = true;
		else if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], o))
			return false;
		else
			i++;
	}
	return o->first <= o->last && o->last < UINT64_MAX - JOBS_MAX;
}

/* --- one process ------------------------------------------------------------------- */

/* A CHECK is a trap: where it was is all it can say. addr2line -fipe PROGRAM ADDRESS tells the line. */
static void
say_where(int signal_number)
{
	void *frames[FRAMES_MAX];

	backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void
prepare_process(void)
{
	void *frame;

	backtrace(&frame, 1); /* loads what it needs, which a handler must not */
	signal(SIGILL, say_where);
	signal(SIGTRAP, say_where);
	signal(SIGPROF, say_where);
	/* Each seed takes and gives back the same memory: the kernel need not zero it every time. */
	mallopt(M_TRIM_THRESHOLD, 256 * (int)MIB);
	mallopt(M_MMAP_THRESHOLD, 32 * (int)MIB);
	mallopt(M_TOP_PAD, 4 * (int)MIB);
}

static void
start(struct crowd *c, uint32_t index)
{
	struct board *board = c->board;
	struct job *job = &board->job[index];
	const struct itimerval most = { .it_value.tv_sec = SEED_SECONDS_MAX };
	sigset_t none;
	uint64_t seed;
	pid_t pid;

	fflush(NULL);
	job->seed = board->next; /* no seed from here on is done: not yet drawn, so a bound from below */
	pid = fork();
	CHECK(pid >= 0);
	if (pid > 0) {
		job->pid = pid;
		c->running++;
		return;
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prepare_process();
	while ((seed = board->next++) <= c->options->last) {
		job->seed = seed;
		CHECK(setitimer(ITIMER_PROF, &most, NULL) == 0);
		c->run(seed, false);
		board->done++;
	}
	job->seed = UINT64_MAX;
	exit(0);
}

/* --- the crowd --------------------------------------------------------------------- */

/* Every seed before this one has passed. */
static uint64_t
passed_below(const struct crowd *c)
{
	uint64_t below = c->board->next;

	for (uint32_t i = 0; i < c->options->jobs; i++)
		if (c->board->job[i].pid != 0 && c->board->job[i].seed < below)
			below = c->board->job[i].seed;
	for (uint32_t i = 0; i < c->failures; i++)
		if (c->failed[i] < below)
			below = c->failed[i];
	return below <= c->options->last ? below : c->options->last + 1;
}

static void
save(const struct crowd *c)
{
	char path[4096];
	FILE *file;

	if (c->options->resume == NULL)
		return;
	snprintf(path, sizeof(path), "%s.new", c->options->resume);
	file = fopen(path, "w");
	if (file == NULL || fprintf(file, "%" PRIu64 "\n", passed_below(c)) < 0 || fclose(file) != 0 ||
	    rename(path, c->options->resume) != 0)
		fprintf(stderr, "%s: %s\n", c->options->resume, strerror(errno));
}

/* False: the file is there and makes no sense. */
static bool
load(struct options *o)
{
	FILE *file = o->resume == NULL ? NULL : fopen(o->resume, "r");
	uint64_t first = 0;
	bool is_good;

	if (file == NULL)
		return o->resume == NULL || errno == ENOENT;
	is_good = fscanf(file, "%" SCNu64, &first) == 1;
	fclose(file);
	if (is_good && first > o->first)
		o->first = first;
	return is_good;
}

static void
tell(struct crowd *c, bool at_once)
{
	uint64_t total = c->options->last - c->options->first + 1;
	uint64_t done = c->board->done;
	double now_s = seeds_clock_s();
	double rate = (double)done / (now_s - c->start_s + 1e-9);

	if (!at_once && now_s < c->told_s + (isatty(STDERR_FILENO) ? TICK_TERMINAL_S : TICK_LOG_S))
		return;
	c->told_s = now_s;
	save(c);
	if (!at_once)
		fprintf(stderr, "%" PRIu64 " of %" PRIu64 " seeds, %.0f/s, %u failed, %.0f min left\n", done,
			total, rate, c->failures, (double)(total - done) / (rate + 1e-9) / 60);
}

static void
ended(struct crowd *c, pid_t pid, int status)
{
	uint32_t index = 0;
	struct job *job;

	while (index < c->options->jobs && c->board->job[index].pid != pid)
		index++;
	CHECK(index < c->options->jobs);
	job = &c->board->job[index];
	job->pid = 0;
	c->running--;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (WIFSIGNALED(status))
		fprintf(stderr, "seed %" PRIu64 ": %s\n", job->seed,
			WTERMSIG(status) == SIGPROF ? "does not end" : strsignal(WTERMSIG(status)));
	fprintf(stderr, "FAILED; to repeat it: %s --seed %" PRIu64 " --verbose\n", c->program, job->seed);
	c->failed[c->failures++] = job->seed;
	if (c->failures < SEEDS_FAILURES_MAX)
		start(c, index);
	else
		c->board->next = c->options->last + 1;
}

static void
run_all(struct crowd *c)
{
	const struct timespec second = { .tv_sec = 1 };
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	c->start_s = c->told_s = seeds_clock_s();
	for (uint32_t i = 0; i < c->options->jobs; i++)
		start(c, i);
	while (c->running > 0) {
		int status;
		pid_t pid;

		sigtimedwait(&child, NULL, &second);
		while (c->running > 0 && c->failures < SEEDS_FAILURES_MAX &&
		       (pid = waitpid(-1, &status, WNOHANG)) > 0)
			ended(c, pid, status);
		if (c->failures == SEEDS_FAILURES_MAX)
			break;
		tell(c, false);
	}
	for (uint32_t i = 0; i < c->options->jobs; i++) /* the limit of failures left some */
		if (c->board->job[i].pid != 0) {
			kill(c->board->job[i].pid, SIGKILL);
			waitpid(c->board->job[i].pid, NULL, 0);
		}
	tell(c, true);
}

static int
run_many(struct options *o, const char *program, seeds_run run)
{
	struct crowd c = { .options = o, .program = program, .run = run };
	double seconds;

	if (!load(o)) {
		fprintf(stderr, "%s: is no number of a seed\n", o->resume);
		return 2;
	}
	if (o->first > o->last) {
		printf("all seeds up to %" PRIu64 " had passed (%s)\n", o->last, o->resume);
		return 0;
	}
	c.board = mmap(NULL, sizeof(*c.board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(c.board != MAP_FAILED);
	c.board->next = o->first;
	run_all(&c);
	seconds = seeds_clock_s() - c.start_s;
	for (uint32_t i = 0; i < c.failures; i++)
		fprintf(stderr, "seed %" PRIu64 " failed\n", c.failed[i]);
	printf("seeds %" PRIu64 "..%" PRIu64 ": %" PRIu64 " passed, %u failed%s, %.1f s, %.0f/s in %u processes\n",
	       o->first, o->last, (uint64_t)c.board->done, c.failures,
	       c.failures == SEEDS_FAILURES_MAX ? ", the rest was not tried" : "", seconds,
	       (double)c.board->done / seconds, o->jobs);
	return c.failures > 0 ? 1 : 0;
}

int
seeds_main(int argc, char **argv, seeds_run run)
{
	struct options o;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(argv[0], stdout);
	if (!parse_options(argc, argv, &o))
		return usage(argv[0], stderr);
	if (o.first == o.last) {
		prepare_process();
		run(o.first, o.is_verbose);
		printf("seed %" PRIu64 " passed\n", o.first);
		return 0;
	}
	return run_many(&o, argv[0], run);
}
