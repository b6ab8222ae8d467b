/* Line by line: name, labels in braces, a number. */
#include "gauges.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

enum gauge { GAUGE_RUNNING, GAUGE_WAITING, GAUGE_CACHE };

static const struct {
	const char *name;
	enum gauge gauge;
} names[] = {
	{ "vllm:num_requests_running", GAUGE_RUNNING }, { "vllm:num_requests_waiting", GAUGE_WAITING },
	{ "vllm:kv_cache_usage_perc", GAUGE_CACHE },	{ "vllm:gpu_cache_usage_perc", GAUGE_CACHE },
	{ "sglang:num_running_reqs", GAUGE_RUNNING },	{ "sglang:num_queue_reqs", GAUGE_WAITING },
	{ "sglang:token_usage", GAUGE_CACHE },
};

/* 0 for what is no number, or below 0: a backend that says nonsense is not one that is busy. */
static double
number_of(const char *text)
{
	char *end;
	double number = strtod(text, &end);

	return end != text && isfinite(number) && number > 0 ? number : 0;
}

static void
add(uint32_t *sum, double number)
{
	double more = (double)*sum + number;

	*sum = more < UINT32_MAX / 2 ? (uint32_t)more : UINT32_MAX / 2;
}

static void
take(struct gauges *g, enum gauge gauge, double number)
{
	uint32_t permille = number < 1 ? (uint32_t)(number * 1000) : 1000;

	if (gauge == GAUGE_CACHE) {
		g->cache_permille = permille > g->cache_permille ? permille : g->cache_permille;
		return;
	}
	g->is_there = true;
	add(gauge == GAUGE_RUNNING ? &g->running : &g->waiting, number);
}

static void
end_line(struct gauges *g)
{
	size_t name_len;
	const char *value;

	g->line[g->len] = '\0';
	name_len = strcspn(g->line, "{ \t");
	/* Labels may have a brace or a space in quotes; the number is behind the last brace. */
	value = strrchr(g->line, '}');
	value = value != NULL ? value + 1 : g->line + name_len;
	for (size_t i = 0; i < COUNT_OF(names) && !g->is_too_long; i++)
		if (strlen(names[i].name) == name_len && memcmp(names[i].name, g->line, name_len) == 0)
			take(g, names[i].gauge, number_of(value));
	g->len = 0;
	g->is_too_long = false;
}

void
gauges_feed(struct gauges *g, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\n')
			end_line(g);
		else if (g->len < sizeof(g->line) - 1)
			g->line[g->len++] = text[i];
		else
			g->is_too_long = true;
	}
}

void
gauges_end(struct gauges *g)
{
	end_line(g);
}
