/* Lines of seats by kind, and when which of them is computed. Spare lanes do the first one's work again. */
#include "tls/lanes.h"

#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define WAIT_NS (LANES_WAIT_US * NSEC_PER_USEC)

static const struct shape {
	uint8_t inputs;
	uint8_t outputs;
	uint8_t bytes; /* of each */
} shapes[LANES_KINDS] = {
	[LANES_X25519_PUBLIC] = { 1, 1, 32 }, [LANES_X25519_SHARED] = { 2, 1, 32 },
	[LANES_P256_PUBLIC] = { 1, 2, 32 },   [LANES_P256_SHARED] = { 3, 1, 32 },
	[LANES_P256_SIGN] = { 3, 2, 32 },     [LANES_P384_PUBLIC] = { 1, 2, 48 },
	[LANES_P384_SHARED] = { 3, 1, 48 },   [LANES_P384_SIGN] = { 3, 2, 48 },
	[LANES_POWER_1024] = { 3, 1, 128 },
};

size_t
lanes_bytes(enum lanes_kind kind)
{
	return shapes[kind].bytes;
}

/* --- lines ---------------------------------------------------------------------------------- */

static void
append(struct lanes_line *line, struct lanes_seat *seat)
{
	CHECK(seat->line == NULL);
	seat->line = line;
	seat->next = NULL;
	seat->previous = line->last;
	if (line->last != NULL)
		line->last->next = seat;
	else
		line->first = seat;
	line->last = seat;
	line->count++;
}

void
lanes_leave(struct lanes_seat *seat)
{
	struct lanes_line *line = seat->line;

	if (line == NULL)
		return;
	if (seat->previous != NULL)
		seat->previous->next = seat->next;
	else
		line->first = seat->next;
	if (seat->next != NULL)
		seat->next->previous = seat->previous;
	else
		line->last = seat->previous;
	line->count--;
	seat->line = NULL;
	seat->next = seat->previous = NULL;
}

void
lanes_init(struct lanes *lanes, const struct lanes_engine *engine)
{
	*lanes = (struct lanes){ .engine = engine };
}

bool
lanes_pays(const struct lanes *lanes, enum lanes_kind kind, uint32_t handshakes)
{
	return lanes->engine->compute[kind] != NULL && handshakes >= lanes->engine->fewest[kind];
}

void
lanes_join(struct lanes *lanes, struct lanes_seat *seat, const struct lanes_work *work)
{
	CHECK(lanes->engine->compute[work->kind] != NULL);
	seat->work = work;
	seat->since_ns = lanes->now_ns;
	seat->is_good = seat->is_alone = false;
	append(&lanes->waiting[work->kind], seat);
}

bool
lanes_is_waiting(const struct lanes *lanes, const struct lanes_seat *seat)
{
	return seat->line != NULL && seat->line != &lanes->done;
}

struct lanes_seat *
lanes_next_done(struct lanes *lanes)
{
	struct lanes_seat *seat = lanes->done.first;

	if (seat != NULL)
		lanes_leave(seat);
	return seat;
}

/* --- batches -------------------------------------------------------------------------------- */

static uint64_t
due_at(const struct lanes_line *line)
{
	if (line->first == NULL)
		return UINT64_MAX;
	return line->count >= LANES ? 0 : line->first->since_ns + WAIT_NS;
}

uint64_t
lanes_next_at(const struct lanes *lanes)
{
	uint64_t at_ns = UINT64_MAX;

	for (int kind = 0; kind < LANES_KINDS; kind++)
		if (due_at(&lanes->waiting[kind]) < at_ns)
			at_ns = due_at(&lanes->waiting[kind]);
	return at_ns;
}

/* At most one less than a batch. */
static void
send_away(struct lanes *lanes, struct lanes_line *line)
{
	while (line->first != NULL) {
		struct lanes_seat *seat = line->first;

		seat->is_alone = true;
		lanes_leave(seat);
		append(&lanes->done, seat);
	}
}

/* NULL: nothing is due that pays. */
static struct lanes_line *
find_due(struct lanes *lanes)
{
	struct lanes_line *found = NULL;

	for (int kind = 0; kind < LANES_KINDS; kind++) {
		struct lanes_line *line = &lanes->waiting[kind];

		if (due_at(line) > lanes->now_ns)
			continue;
		if (line->count < lanes->engine->fewest[kind])
			send_away(lanes, line);
		else if (found == NULL || line->first->since_ns < found->first->since_ns)
			found = line;
	}
	return found;
}

/* RFC 7748 6.1, without a branch on what they are. */
static bool
is_all_zero(const uint8_t *bytes)
{
	uint8_t any = 0;

	for (size_t i = 0; i < shapes[LANES_X25519_SHARED].bytes; i++)
		any |= bytes[i];
	return any == 0;
}

uint32_t
lanes_run(struct lanes *lanes, uint64_t now_ns)
{
	uint8_t spare[LANES_OUTPUTS_MAX][LANES][LANES_BYTES_MAX];
	struct lanes_batch batch = { 0 };
	struct lanes_line *line;
	struct lanes_seat *seat;
	enum lanes_kind kind;
	uint32_t used;
	uint32_t good;

	lanes->now_ns = now_ns;
	line = find_due(lanes);
	if (line == NULL)
		return 0;
	kind = (enum lanes_kind)(line - lanes->waiting);
	used = line->count < LANES ? line->count : LANES;
	seat = line->first;
	for (uint32_t lane = 0; lane < LANES; lane++) {
		const struct lanes_work *work = lane < used ? seat->work : line->first->work;

		for (uint32_t i = 0; i < shapes[kind].inputs; i++)
			batch.in[i][lane] = work->in[i];
		for (uint32_t i = 0; i < shapes[kind].outputs; i++)
			batch.out[i][lane] = lane < used ? work->out[i] : spare[i][lane];
		if (lane < used)
			seat = seat->next;
	}
	good = lanes->engine->compute[kind](&batch);
	for (uint32_t lane = 0; lane < used; lane++) {
		seat = line->first;
		seat->is_good = (good >> lane & 1) != 0;
		if (kind == LANES_X25519_SHARED && is_all_zero(batch.out[0][lane]))
			seat->is_good = false;
		lanes_leave(seat);
		append(&lanes->done, seat);
	}
	if (used < LANES)
		explicit_bzero(spare, sizeof(spare));
	return used;
}
