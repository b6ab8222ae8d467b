/*
 * The runs of received bytes beyond a hole, as an ordered set: disjoint, so that their starts order their ends
 * too. A peer decides where they lie and may have as many as its window has KiB, so a search takes steps that grow
 * with the logarithm of their number, whatever it sends: the set is a weight-balanced tree (Adams 1992, with the
 * weights 3 and 2 of Hirai and Yamamoto 2011, which are proven). The number of runs below each one is all that
 * balance needs, and that of the root is the number of all.
 *
 * A list goes through the same runs, the one that changed last first, as SACK wants to report them (RFC 2018).
 */
#include "tcp/internal.h"

#define BALANCE_DELTA 3u /* weights of siblings: at most so many times the other's */
#define BALANCE_GAMMA 2u /* weights of a sibling's children, up to which one rotation is enough */

/* No child has more than three quarters of its parent's weight: 36 for the runs of the largest window. */
#define DEPTH_MAX 40u

CHECK_STATIC(TCP_RECV_BYTES_MAX / KIB <= 1u << 15, "(4 / 3) to the power of DEPTH_MAX is more, and twice that");

static struct tcp_run *
run_at(const struct tcp *t, uint32_t place)
{
	return place == 0 ? NULL : pool_at(&t->ranges, place - 1);
}

static uint32_t
place_of(const struct tcp *t, const struct tcp_run *run)
{
	return pool_index(&t->ranges, run) + 1;
}

static uint32_t
count_at(const struct tcp *t, uint32_t place)
{
	return place == 0 ? 0 : run_at(t, place)->count;
}

/* --- balance ------------------------------------------------------------------------- */

static void
count_again(const struct tcp *t, struct tcp_run *run)
{
	run->count = 1 + count_at(t, run->left) + count_at(t, run->right);
}

/* The right child comes up to *link. */
static void
rotate_left(const struct tcp *t, uint32_t *link)
{
	uint32_t place = *link;
	struct tcp_run *run = run_at(t, place);
	struct tcp_run *up = run_at(t, run->right);

	*link = run->right;
	run->right = up->left;
	up->left = place;
	count_again(t, run);
	count_again(t, up);
}

static void
rotate_right(const struct tcp *t, uint32_t *link)
{
	uint32_t place = *link;
	struct tcp_run *run = run_at(t, place);
	struct tcp_run *up = run_at(t, run->left);

	*link = run->left;
	run->left = up->right;
	up->right = place;
	count_again(t, run);
	count_again(t, up);
}

/* A weight is the number of runs plus one. */
static bool
is_heavier(uint32_t count, uint32_t factor, uint32_t other)
{
	return count + 1 > factor * (other + 1);
}

/* One run was added or taken below *link. */
static void
balance(const struct tcp *t, uint32_t *link)
{
	struct tcp_run *run = run_at(t, *link);
	uint32_t left = count_at(t, run->left);
	uint32_t right = count_at(t, run->right);

	if (is_heavier(right, BALANCE_DELTA, left)) {
		struct tcp_run *child = run_at(t, run->right);

		if (count_at(t, child->left) + 1 >= BALANCE_GAMMA * (count_at(t, child->right) + 1))
			rotate_right(t, &run->right);
		rotate_left(t, link);
	} else if (is_heavier(left, BALANCE_DELTA, right)) {
		struct tcp_run *child = run_at(t, run->left);

		if (count_at(t, child->right) + 1 >= BALANCE_GAMMA * (count_at(t, child->left) + 1))
			rotate_left(t, &run->left);
		rotate_right(t, link);
	} else {
		count_again(t, run);
	}
}

/* The links that lead to a run, the root's first. */
struct path {
	uint32_t *link[DEPTH_MAX];
	uint32_t depth;
};

static void
path_step(struct path *path, uint32_t *link)
{
	CHECK(path->depth < DEPTH_MAX);
	path->link[path->depth++] = link;
}

static void
path_balance(const struct tcp *t, struct path *path)
{
	while (path->depth > 0)
		balance(t, path->link[--path->depth]);
}

/* --- the list -------------------------------------------------------------------------- */

static void
list_push(const struct tcp *t, struct tcp_conn *c, struct tcp_run *run)
{
	uint32_t place = place_of(t, run);

	run->newer = 0;
	run->older = c->newest_run;
	if (run->older != 0)
		run_at(t, run->older)->newer = place;
	c->newest_run = place;
}

static void
list_remove(const struct tcp *t, struct tcp_conn *c, struct tcp_run *run)
{
	if (run->newer != 0)
		run_at(t, run->newer)->older = run->older;
	else
		c->newest_run = run->older;
	if (run->older != 0)
		run_at(t, run->older)->newer = run->newer;
}

/* --- the set ---------------------------------------------------------------------------- */

uint32_t
tcp_runs_count(const struct tcp *t, const struct tcp_conn *c)
{
	return count_at(t, c->runs);
}

struct tcp_run *
tcp_runs_first(const struct tcp *t, const struct tcp_conn *c)
{
	struct tcp_run *run = run_at(t, c->runs);

	while (run != NULL && run->left != 0)
		run = run_at(t, run->left);
	return run;
}

struct tcp_run *
tcp_runs_last(const struct tcp *t, const struct tcp_conn *c)
{
	struct tcp_run *run = run_at(t, c->runs);

	while (run != NULL && run->right != 0)
		run = run_at(t, run->right);
	return run;
}

struct tcp_run *
tcp_runs_before(const struct tcp *t, const struct tcp_conn *c, uint32_t seq)
{
	struct tcp_run *found = NULL;

	for (struct tcp_run *run = run_at(t, c->runs); run != NULL;) {
		if (seq_le(run->start, seq))
			found = run;
		run = run_at(t, seq_le(run->start, seq) ? run->right : run->left);
	}
	return found;
}

struct tcp_run *
tcp_runs_after(const struct tcp *t, const struct tcp_conn *c, uint32_t seq)
{
	struct tcp_run *found = NULL;

	for (struct tcp_run *run = run_at(t, c->runs); run != NULL;) {
		if (seq_gt(run->start, seq))
			found = run;
		run = run_at(t, seq_gt(run->start, seq) ? run->left : run->right);
	}
	return found;
}

struct tcp_run *
tcp_runs_newest(const struct tcp *t, const struct tcp_conn *c)
{
	return run_at(t, c->newest_run);
}

struct tcp_run *
tcp_runs_older(const struct tcp *t, const struct tcp_run *run)
{
	return run_at(t, run->older);
}

struct tcp_run *
tcp_runs_add(struct tcp *t, struct tcp_conn *c, uint32_t start, uint32_t end)
{
	struct tcp_run *run = pool_get(&t->ranges);
	struct path path = { .depth = 0 };
	uint32_t *link = &c->runs;

	CHECK(run != NULL);
	*run = (struct tcp_run){ .start = start, .end = end, .count = 1 };
	while (*link != 0) {
		struct tcp_run *above = run_at(t, *link);

		path_step(&path, link);
		link = seq_lt(start, above->start) ? &above->left : &above->right;
	}
	*link = place_of(t, run);
	path_balance(t, &path);
	list_push(t, c, run);
	return run;
}

void
tcp_runs_changed(struct tcp *t, struct tcp_conn *c, struct tcp_run *run)
{
	list_remove(t, c, run);
	list_push(t, c, run);
}

/* The lowest run right of `run`, whose link the path ends with, takes its place. */
static void
replace_by_next(const struct tcp *t, struct path *path, struct tcp_run *run)
{
	uint32_t *above = path->link[path->depth - 1];
	uint32_t right_at = path->depth;
	uint32_t *link = &run->right;
	struct tcp_run *next;

	path_step(path, link);
	while (run_at(t, *link)->left != 0) {
		link = &run_at(t, *link)->left;
		path_step(path, link);
	}
	next = run_at(t, *link);
	*above = *link;
	*link = next->right;
	path->depth--; /* its place is empty, or holds what was balanced before */
	next->left = run->left;
	next->right = run->right;
	if (right_at < path->depth)
		path->link[right_at] = &next->right;
}

void
tcp_runs_remove(struct tcp *t, struct tcp_conn *c, struct tcp_run *run)
{
	struct path path = { .depth = 0 };
	uint32_t *link = &c->runs;

	path_step(&path, link);
	while (run_at(t, *link) != run) {
		struct tcp_run *above = run_at(t, *link);

		link = seq_lt(run->start, above->start) ? &above->left : &above->right;
		path_step(&path, link);
	}
	if (run->left == 0 || run->right == 0) {
		*link = run->left != 0 ? run->left : run->right;
		path.depth--;
	} else {
		replace_by_next(t, &path, run);
	}
	path_balance(t, &path);
	list_remove(t, c, run);
	pool_put(&t->ranges, run);
}

void
tcp_runs_forget(struct tcp *t, struct tcp_conn *c)
{
	while (c->newest_run != 0) {
		struct tcp_run *run = run_at(t, c->newest_run);

		c->newest_run = run->older;
		pool_put(&t->ranges, run);
	}
	c->runs = 0;
}

/* --- the check ---------------------------------------------------------------------------- */

void
tcp_runs_check(const struct tcp *t, const struct tcp_conn *c)
{
	const struct tcp_run *newer = NULL;
	uint32_t listed = 0;

	for (const struct tcp_run *run = run_at(t, c->newest_run); run != NULL; run = run_at(t, run->older)) {
		uint32_t left = count_at(t, run->left);
		uint32_t right = count_at(t, run->right);

		CHECK(++listed <= tcp_runs_count(t, c));
		CHECK(run_at(t, run->newer) == newer);
		CHECK(tcp_runs_before(t, c, run->start) == run);
		CHECK(run->count == 1 + left + right);
		CHECK(!is_heavier(left, BALANCE_DELTA, right) && !is_heavier(right, BALANCE_DELTA, left));
		newer = run;
	}
	CHECK(listed == tcp_runs_count(t, c));
}
