/* Doubly linked lists through the clients themselves: nothing is searched for but a network's oldest. */
#include "dataplane/client_line.h"

#include "base/check.h"
#include "dataplane/client.h"
#include "dataplane/worker.h"

static void
line_join(struct client_line *line, enum client_line_kind kind, struct client *c)
{
	struct client_place *place = &c->place[kind];

	CHECK(place->line == NULL);
	*place = (struct client_place){ .line = line, .earlier = line->newest };
	if (place->earlier != NULL)
		place->earlier->place[kind].later = c;
	else
		line->oldest = c;
	line->newest = c;
	line->count++;
}

static void
line_leave(enum client_line_kind kind, struct client *c)
{
	struct client_place *place = &c->place[kind];
	struct client_line *line = place->line;

	CHECK(line != NULL && line->count > 0);
	if (place->earlier != NULL)
		place->earlier->place[kind].later = place->later;
	else
		line->oldest = place->later;
	if (place->later != NULL)
		place->later->place[kind].earlier = place->earlier;
	else
		line->newest = place->earlier;
	*place = (struct client_place){ 0 };
	line->count--;
}

/* --- handshakes ------------------------------------------------------------------------ */

/* The oldest of this network among the first few of the line. */
static struct client *
oldest_of(const struct client_line *line, uint64_t source)
{
	struct client *c = line->oldest;

	for (uint32_t i = 0; c != NULL && c->source != source; c = c->place[LINE_OF_HOLDERS].later)
		if (++i == HANDSHAKE_LOOKS_MAX)
			return NULL;
	return c;
}

/* Of this network, who leaves so that another one may begin: who has said nothing yet before whom we have
 * answered. NULL: nobody. */
static struct client *
who_of(const struct worker *w, uint64_t source)
{
	struct client *silent = oldest_of(&w->handshakes_silent, source);

	return silent != NULL ? silent : oldest_of(&w->handshakes_answered, source);
}

/* Of all; but a network that has its share already makes room itself. */
static struct client *
who_makes_room(struct worker *w, uint64_t source)
{
	if (*sources_handshakes(&w->sources, source) >= (w->config.limits.handshakes + 7) / 8)
		return who_of(w, source);
	return w->handshakes_silent.oldest != NULL ? w->handshakes_silent.oldest : w->handshakes_answered.oldest;
}

bool
client_line_begin_handshake(struct worker *w, struct client *c)
{
	const struct worker_limits *limits = &w->config.limits;
	uint32_t of_all = w->handshakes_silent.count + w->handshakes_answered.count;
	bool is_source_full = *sources_handshakes(&w->sources, c->source) >= limits->handshakes_per_source;

	if (is_source_full || of_all >= limits->handshakes) {
		struct client *other = is_source_full ? who_of(w, c->source) : who_makes_room(w, c->source);

		worker_count_verdict(w, is_source_full ? ERR_SOURCE_HANDSHAKES_FULL : ERR_HANDSHAKES_FULL);
		if (other == NULL)
			return false;
		client_abort(w, other);
	}
	line_join(&w->handshakes_silent, LINE_OF_HOLDERS, c);
	++*sources_handshakes(&w->sources, c->source);
	return true;
}

void
client_line_answer_handshake(struct worker *w, struct client *c)
{
	if (c->place[LINE_OF_HOLDERS].line != &w->handshakes_silent)
		return;
	line_leave(LINE_OF_HOLDERS, c);
	line_join(&w->handshakes_answered, LINE_OF_HOLDERS, c);
}

void
client_line_end_handshake(struct worker *w, struct client *c)
{
	line_leave(LINE_OF_HOLDERS, c);
	--*sources_handshakes(&w->sources, c->source);
}

/* --- head buffers ---------------------------------------------------------------------- */

/* A request that runs is worth more than one that begins. */
static struct client_line *
line_of_head(struct worker *w, const struct client *c)
{
	return c->state == CLIENT_HEAD || c->state == CLIENT_H2 ? &w->heads_begun : &w->heads_behind;
}

bool
client_line_take_head(struct worker *w, struct client *c)
{
	uint32_t most = w->config.counts.heads - w->config.counts.heads / 4;

	CHECK(c->head == NULL);
	if (w->heads_begun.count + w->heads_behind.count >= most || w->head_free == NULL) {
		struct client *other = w->heads_begun.oldest != NULL ? w->heads_begun.oldest :
								       w->heads_behind.oldest;

		worker_count_verdict(w, ERR_HEADS_FULL);
		if (other != NULL)
			client_abort(w, other);
	}
	c->head = worker_head_get(w);
	if (c->head != NULL)
		line_join(line_of_head(w, c), LINE_OF_HOLDERS, c);
	return c->head != NULL;
}

void
client_line_put_head(struct worker *w, struct client *c)
{
	if (c->head == NULL)
		return;
	line_leave(LINE_OF_HOLDERS, c);
	worker_head_put(w, c->head);
	c->head = NULL;
}

void
client_line_follow_state(struct worker *w, struct client *c)
{
	if (c->head == NULL || c->place[LINE_OF_HOLDERS].line == line_of_head(w, c))
		return;
	line_leave(LINE_OF_HOLDERS, c);
	line_join(line_of_head(w, c), LINE_OF_HOLDERS, c);
}

/* --- strangers -------------------------------------------------------------------------- */

void
client_line_join_strangers(struct worker *w, struct client *c)
{
	line_join(&w->strangers, LINE_OF_STRANGERS, c);
}

void
client_line_leave_strangers(struct client *c)
{
	if (c->place[LINE_OF_STRANGERS].line != NULL)
		line_leave(LINE_OF_STRANGERS, c);
}
