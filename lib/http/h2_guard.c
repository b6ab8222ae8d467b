/* Frame headers (RFC 9113 4.1), one after the other, and a budget for each kind that costs more than it brings. */
#include "http/h2_guard.h"

#include "base/units.h"

/* RFC 9113 6, RFC 9218 7. */
enum frame_type {
	FRAME_DATA,
	FRAME_HEADERS,
	FRAME_PRIORITY,
	FRAME_RST_STREAM,
	FRAME_SETTINGS,
	FRAME_PUSH_PROMISE,
	FRAME_PING,
	FRAME_GOAWAY,
	FRAME_WINDOW_UPDATE,
	FRAME_CONTINUATION,
	FRAME_PRIORITY_UPDATE = 16,
};

#define FLAG_END_STREAM 0x1
#define FLAG_END_HEADERS 0x4
#define FLAG_PADDED 0x8

void
h2_guard_init(struct h2_guard *guard, const struct h2_guard_limits *limits)
{
	*guard = (struct h2_guard){ .preface_left = H2_PREFACE_BYTES, .limits = limits };
}

/* max units at once, and as many again in the given time. */
static bool
take(uint64_t *full_at_ns, uint32_t max, uint64_t per_ns, uint64_t now_ns)
{
	uint64_t from_ns = *full_at_ns > now_ns ? *full_at_ns : now_ns;

	if (from_ns + per_ns / max > now_ns + per_ns)
		return false;
	*full_at_ns = from_ns + per_ns / max;
	return true;
}

static enum err
count_control(struct h2_guard *guard, uint64_t now_ns)
{
	return take(&guard->controls_full_at_ns, guard->limits->controls, 10 * NSEC_PER_SEC, now_ns) ?
		       ERR_OK :
		       ERR_H2_FLOOD;
}

static enum err
count_reset(struct h2_guard *guard, uint64_t now_ns)
{
	guard->resets++;
	return take(&guard->resets_full_at_ns, guard->limits->resets, 10 * NSEC_PER_SEC, now_ns) ?
		       ERR_OK :
		       ERR_H2_RESETS;
}

static enum err
count_empty(struct h2_guard *guard)
{
	return ++guard->empty_frames > guard->limits->empty_frames ? ERR_H2_FLOOD : ERR_OK;
}

/* --- frames ---------------------------------------------------------------------- */

/* One of a kind that each stream has once is free; more of them are for streams that are gone. */
static enum err
count_once(struct h2_guard *guard, uint32_t *seen, uint64_t now_ns)
{
	return *seen < guard->streams ? ((*seen)++, ERR_OK) : count_control(guard, now_ns);
}

static enum err
handle_data(struct h2_guard *guard, uint8_t flags, uint64_t now_ns)
{
	if (flags & FLAG_END_STREAM) {
		guard->empty_frames = 0;
		return guard->frame_bytes == 0 ? count_once(guard, &guard->empty_ends, now_ns) : ERR_OK;
	}
	if (guard->frame_bytes == 0)
		return count_empty(guard);
	guard->pad_expected = (flags & FLAG_PADDED) != 0;
	if (!guard->pad_expected)
		guard->empty_frames = 0;
	return ERR_OK;
}

/* The pad length of a DATA frame that does not end its stream: only padding is as good as nothing. */
static enum err
handle_pad(struct h2_guard *guard, uint8_t pad_bytes)
{
	guard->pad_expected = false;
	if (pad_bytes + 1u >= guard->frame_bytes)
		return count_empty(guard);
	guard->empty_frames = 0;
	return ERR_OK;
}

static enum err
handle_block(struct h2_guard *guard, uint8_t flags)
{
	guard->in_block = (flags & FLAG_END_HEADERS) == 0;
	guard->block_bytes += guard->frame_bytes;
	if (guard->block_bytes > H2_BLOCK_BYTES_MAX)
		return ERR_H2_BLOCK_TOO_LARGE;
	if (guard->in_block && guard->frame_bytes == 0)
		return count_empty(guard);
	guard->empty_frames = 0;
	return ERR_OK;
}

static enum err
handle_headers(struct h2_guard *guard, uint32_t stream, uint8_t flags, uint64_t now_ns)
{
	enum err verdict = ERR_OK;

	if (stream > guard->last_stream) {
		guard->last_stream = stream;
		guard->streams++;
	} else {
		verdict = count_once(guard, &guard->trailers, now_ns);
	}
	guard->continuations = 0;
	guard->block_bytes = 0;
	return verdict == ERR_OK ? handle_block(guard, flags) : verdict;
}

static enum err
handle_frame(struct h2_guard *guard, uint64_t now_ns)
{
	const uint8_t *head = guard->head;
	uint32_t stream = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 |
			  (uint32_t)head[7] << 8 | head[8];

	guard->frame_bytes = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
	guard->payload_left = guard->frame_bytes;
	guard->preface_done = true;
	switch (head[3]) {
	case FRAME_DATA:
		return handle_data(guard, head[4], now_ns);
	case FRAME_HEADERS:
		return handle_headers(guard, stream, head[4], now_ns);
	case FRAME_CONTINUATION:
		if (++guard->continuations > guard->limits->continuations)
			return ERR_H2_BLOCK_TOO_LARGE;
		return handle_block(guard, head[4]);
	case FRAME_RST_STREAM:
		return count_reset(guard, now_ns);
	case FRAME_PRIORITY:
	case FRAME_PRIORITY_UPDATE:
		return ++guard->priorities > guard->limits->priorities * (1 + (uint64_t)guard->streams) ?
			       ERR_H2_FLOOD :
			       ERR_OK;
	case FRAME_WINDOW_UPDATE:
		return ++guard->updates > H2_UPDATES_FREE + 2 * (uint64_t)guard->streams +
						  guard->limits->updates * guard->data_frames ?
			       ERR_H2_FLOOD :
			       ERR_OK;
	default:
		return count_control(guard, now_ns);
	}
}

static void
skip(uint32_t *left, struct bytes *input)
{
	uint32_t n = input->len < *left ? (uint32_t)input->len : *left;

	bytes_advance(input, n);
	*left -= n;
}

enum err
h2_guard_feed(struct h2_guard *guard, struct bytes input, uint64_t now_ns)
{
	enum err verdict = ERR_OK;

	while (input.len > 0 && verdict == ERR_OK) {
		if (guard->preface_left > 0) {
			skip(&guard->preface_left, &input);
		} else if (guard->pad_expected && guard->payload_left > 0) {
			verdict = handle_pad(guard, input.ptr[0]);
		} else if (guard->payload_left > 0) {
			skip(&guard->payload_left, &input);
		} else {
			guard->head[guard->head_bytes++] = input.ptr[0];
			bytes_advance(&input, 1);
			if (guard->head_bytes < H2_FRAME_HEAD_BYTES)
				continue;
			guard->head_bytes = 0;
			verdict = handle_frame(guard, now_ns);
		}
	}
	return verdict;
}

/* --- from our side -------------------------------------------------------------------- */

void
h2_guard_data_sent(struct h2_guard *guard)
{
	guard->data_frames++;
}

enum err
h2_guard_caused_reset(struct h2_guard *guard, uint64_t now_ns)
{
	return count_reset(guard, now_ns);
}

enum err
h2_guard_refused_stream(struct h2_guard *guard, uint64_t now_ns)
{
	return count_control(guard, now_ns);
}

bool
h2_guard_is_wasteful(const struct h2_guard *guard)
{
	const struct h2_guard_limits *limits = guard->limits;

	return guard->streams > limits->resets_after &&
	       (uint64_t)guard->resets * 100 > (uint64_t)guard->streams * limits->resets_percent;
}
