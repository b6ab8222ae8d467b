/* Requests a second, of each worker, and the pods; renewed until somebody stops it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "show.h"

#define WORKERS_MAX 256
#define INTERVAL_MAX_S 3600
#define COUNT_MAX 1000000

/* What the round before saw. */
struct top {
	uint64_t requests[WORKERS_MAX];
	double at_s; /* 0: there was none */
};

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Since the round before; 0 in the first, and after a new dataplane began at 0. */
static double
rate_of(struct top *top, size_t worker, uint64_t requests, double span_s)
{
	uint64_t before = worker < WORKERS_MAX ? top->requests[worker] : requests;

	if (worker < WORKERS_MAX)
		top->requests[worker] = requests;
	return span_s > 0 && requests >= before ? (double)(requests - before) / span_s : 0;
}

static void
show_round(struct top *top, yyjson_val *status, bool json)
{
	yyjson_val *worker, *pod, *workers = yyjson_ptr_get(status, "/dataplane/workers");
	yyjson_val *pods = yyjson_obj_get(status, "pods");
	double at_s = now_s(), span_s = top->at_s > 0 ? at_s - top->at_s : 0, sum = 0, rates[WORKERS_MAX] = { 0 };
	size_t at, count, worker_count = 0;
	uint64_t in_flight = 0;

	yyjson_arr_foreach(workers, at, count, worker) {
		double rate = rate_of(top, at, yyjson_get_uint(yyjson_obj_get(worker, "requests")), span_s);

		sum += rate;
		if (worker_count < WORKERS_MAX)
			rates[worker_count++] = rate;
	}
	yyjson_arr_foreach(pods, at, count, pod)
		in_flight += yyjson_get_uint(yyjson_obj_get(pod, "in_flight"));
	top->at_s = at_s;
	if (json) {
		printf("{\"requests_per_s\":%.1f,\"in_flight\":%llu,\"dataplane_alive\":%s,\"workers\":[", sum,
		       (unsigned long long)in_flight,
		       yyjson_get_bool(yyjson_ptr_get(status, "/dataplane/alive")) ? "true" : "false");
		for (size_t i = 0; i < worker_count; i++)
			printf("%s%.1f", i > 0 ? "," : "", rates[i]);
		puts("]}");
		return;
	}
	show_settings(yyjson_obj_get(status, "settings"));
	printf("dataplane %s  requests %.1f/s  in flight %llu  ledger pending %llu\nworkers  ",
	       yyjson_get_bool(yyjson_ptr_get(status, "/dataplane/alive")) ? "alive" : "NOT RUNNING", sum,
	       (unsigned long long)in_flight,
	       (unsigned long long)yyjson_get_uint(yyjson_ptr_get(status, "/ledger/pending")));
	for (size_t i = 0; i < worker_count; i++)
		printf(" %.1f/s", rates[i]);
	puts("\n");
	show_table(pods, word_find_noun("pod"));
}

/* A whole number of the flag's within its bounds; false: it is none. */
static bool
read_number(const struct command *c, const char *name, long max, long *number)
{
	const char *text = command_flag(c, 1, name);
	char *end = NULL;

	if (text == NULL)
		return true;
	*number = strtol(text, &end, 10);
	return end != text && *end == '\0' && *number >= 1 && *number <= max;
}

int
top_run(struct command *c)
{
	static struct top top;
	long interval_s = 2, rounds = COUNT_MAX;
	bool is_terminal = isatty(STDOUT_FILENO) && !c->json;

	for (int i = 1; i < c->count; i += 2)
		if (strcmp(c->words[i], "--interval") != 0 && strcmp(c->words[i], "--count") != 0)
			return command_wrong_use("top has no", c->words[i]);
	if (c->count % 2 == 0 || !read_number(c, "--interval", INTERVAL_MAX_S, &interval_s) ||
	    !read_number(c, "--count", COUNT_MAX, &rounds))
		return command_wrong_use("top [--interval SECONDS] [--count N]", "");
	for (long round = 0; round < rounds; round++) {
		yyjson_doc *answer = client_get(&c->client, "GET", "status", NULL);

		if (answer == NULL)
			return EXIT_FAILED;
		if (is_terminal)
			fputs("\033[H\033[2J", stdout);
		show_round(&top, yyjson_doc_get_root(answer), c->json);
		yyjson_doc_free(answer);
		fflush(stdout);
		if (round + 1 < rounds)
			sleep((unsigned)interval_s);
	}
	return EXIT_FINE;
}
