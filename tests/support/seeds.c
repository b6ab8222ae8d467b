/*
 * The runner of a simulator: one seed in this process, or many in several.
 *
 * A seed that fails by a CHECK, a sanitizer or a signal takes its process with it; the parent
 * knows which seed it was, starts the process again behind it, and prints how to repeat it.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "seeds.h"

#include "base/check.h"

#define JOBS_MAX 64
#define FAILURES_MAX 20
/* Of one seed, wall clock: a loop that never ends. */
#define SEED_SECONDS_MAX 60

struct job {
	volatile uint64_t seed; /* written by the child, read when it died */
	pid_t pid; /* written by the parent */
	uint64_t last;
};

struct options {
	uint64_t first;
	uint64_t last;
	uint32_t jobs;
	bool is_verbose;
};

static int
usage(const char *program)
{
	fprintf(stderr, "usage: %s --seed N [--verbose] | --seeds A..B [--jobs J]\n", program);
	return 2;
}

static bool
parse_environment(struct options *o)
{
	const char *seeds = getenv("SLUICE_SEEDS");
	const char *seed = getenv("SLUICE_SEED");

	if (seed != NULL) {
		if (sscanf(seed, "%" SCNu64, &o->first) != 1)
			return false;
		o->last = o->first;
	} else if (seeds != NULL) {
		return sscanf(seeds, "%" SCNu64, &o->last) == 1;
	}
	return true;
}

static bool
parse_options(int argc, char **argv, struct options *o)
{
	*o = (struct options){ .first = 1, .last = 1000, .jobs = 1 };
	if (!parse_environment(o))
		return false;
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(argv[i], "--verbose") == 0) {
			o->is_verbose = true;
			continue;
		}
		i++;
		if (strcmp(argv[i - 1], "--seed") == 0) {
			if (sscanf(value, "%" SCNu64, &o->first) != 1)
				return false;
			o->last = o->first;
		} else if (strcmp(argv[i - 1], "--seeds") == 0) {
			if (sscanf(value, "%" SCNu64 "..%" SCNu64, &o->first, &o->last) != 2)
				return false;
		} else if (strcmp(argv[i - 1], "--jobs") == 0) {
			if (sscanf(value, "%" SCNu32, &o->jobs) != 1)
				return false;
		} else {
			return false;
		}
	}
	return o->first <= o->last && o->jobs >= 1 && o->jobs <= JOBS_MAX;
}

static void
start(struct job *job, uint64_t first, uint32_t step, seeds_run run)
{
	pid_t pid;

	fflush(NULL);
	job->seed = first;
	pid = fork();
	CHECK(pid >= 0);
	if (pid > 0) {
		job->pid = pid;
		return;
	}
	for (uint64_t seed = first; seed <= job->last; seed += step) {
		job->seed = seed;
		alarm(SEED_SECONDS_MAX);
		run(seed, false);
	}
	exit(0);
}

static struct job *
job_of(struct job *jobs, uint32_t count, pid_t pid)
{
	for (uint32_t i = 0; i < count; i++)
		if (jobs[i].pid == pid)
			return &jobs[i];
	return NULL;
}

static void
report(const struct job *job, int status, const char *program)
{
	if (WIFSIGNALED(status))
		fprintf(stderr, "seed %" PRIu64 ": %s\n", job->seed,
			WTERMSIG(status) == SIGALRM ? "does not end" : strsignal(WTERMSIG(status)));
	fprintf(stderr, "FAILED; to repeat it: %s --seed %" PRIu64 " --verbose\n", program,
		job->seed);
}

/* Returns how many seeds failed. */
static uint32_t
run_all(const struct options *o, const char *program, seeds_run run)
{
	struct job *jobs = mmap(NULL, sizeof(struct job) * JOBS_MAX, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t running = 0;
	uint32_t failures = 0;
	int status;
	pid_t pid;

	CHECK(jobs != MAP_FAILED);
	for (uint32_t i = 0; i < o->jobs && o->first + i <= o->last; i++, running++) {
		jobs[i].last = o->last;
		start(&jobs[i], o->first + i, o->jobs, run);
	}
	while (running > 0 && (pid = wait(&status)) > 0) {
		struct job *job = job_of(jobs, o->jobs, pid);

		CHECK(job != NULL);
		running--;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			continue;
		report(job, status, program);
		if (++failures < FAILURES_MAX && job->seed + o->jobs <= o->last) {
			start(job, job->seed + o->jobs, o->jobs, run);
			running++;
		}
	}
	munmap(jobs, sizeof(struct job) * JOBS_MAX);
	return failures;
}

int
seeds_main(int argc, char **argv, seeds_run run)
{
	struct options o;
	uint32_t failures;

	if (!parse_options(argc, argv, &o))
		return usage(argv[0]);
	if (o.first == o.last) {
		run(o.first, o.is_verbose);
		printf("seed %" PRIu64 " passed\n", o.first);
		return 0;
	}
	failures = run_all(&o, argv[0], run);
	if (failures > 0) {
		fprintf(stderr, "%u seeds failed%s\n", failures,
			failures == FAILURES_MAX ? ", the rest was not tried" : "");
		return 1;
	}
	printf("seeds %" PRIu64 "..%" PRIu64 " passed\n", o.first, o.last);
	return 0;
}
