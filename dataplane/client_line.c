/* Lists through the clients themselves: nothing is searched for but a network's oldest. */
#include "dataplane/client_line.h"

#include "base/check.h"
#include "dataplane/client.h"
#include "dataplane/worker.h"

static struct client *
oldest(const struct list *line)
{
	return LIST_MEMBER(line->first, struct client, place[LINE_OF_HOLDERS]);
}

static void
move(struct list *line, struct client *c)
{
	list_leave(&c->place[LINE_OF_HOLDERS]);
	list_append(line, &c->place[LINE_OF_HOLDERS]);
}

/* --- handshakes ------------------------------------------------------------------------ */

/* The oldest of this network among the first few of the line. */
static struct client *
oldest_of(const struct list *line, uint64_t source)
{
	struct list_node *node = line->first;

	for (uint32_t i = 0; i < HANDSHAKE_LOOKS_MAX && node != NULL; i++, node = node->next) {
		struct client *c = LIST_MEMBER(node, struct client, place[LINE_OF_HOLDERS]);

		if (c->source == source)
			return c;
	}
	return NULL;
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
	return oldest(w->handshakes_silent.count > 0 ? &w->handshakes_silent : &w->handshakes_answered);
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
	list_append(&w->handshakes_silent, &c->place[LINE_OF_HOLDERS]);
	++*sources_handshakes(&w->sources, c->source);
	return true;
}

void
client_line_answer_handshake(struct worker *w, struct client *c)
{
	if (c->place[LINE_OF_HOLDERS].list == &w->handshakes_silent)
		move(&w->handshakes_answered, c);
}

void
client_line_end_handshake(struct worker *w, struct client *c)
{
	list_leave(&c->place[LINE_OF_HOLDERS]);
	--*sources_handshakes(&w->sources, c->source);
}

/* --- head buffers ---------------------------------------------------------------------- */

/* A request that runs is worth more than one that begins. */
static struct list *
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
		struct client *other = oldest(w->heads_begun.count > 0 ? &w->heads_begun : &w->heads_behind);

		worker_count_verdict(w, ERR_HEADS_FULL);
		if (other != NULL)
			client_abort(w, other);
	}
	c->head = worker_head_get(w);
	if (c->head != NULL)
		list_append(line_of_head(w, c), &c->place[LINE_OF_HOLDERS]);
	return c->head != NULL;
}

void
client_line_put_head(struct worker *w, struct client *c)
{
	if (c->head == NULL)
		return;
	list_leave(&c->place[LINE_OF_HOLDERS]);
	worker_head_put(w, c->head);
	c->head = NULL;
}

void
client_line_follow_state(struct worker *w, struct client *c)
{
	if (c->head != NULL && c->place[LINE_OF_HOLDERS].list != line_of_head(w, c))
		move(line_of_head(w, c), c);
}

/* --- strangers -------------------------------------------------------------------------- */

void
client_line_join_strangers(struct worker *w, struct client *c)
{
	list_append(&w->strangers, &c->place[LINE_OF_STRANGERS]);
}

void
client_line_leave_strangers(struct client *c)
{
	if (c->place[LINE_OF_STRANGERS].list != NULL)
		list_leave(&c->place[LINE_OF_STRANGERS]);
}
