/* Sorted by arrival and searched from the end: almost every frame belongs there. */
#include "lane.h"

#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/units.h"
#include "datagram.h"

#define LATE_NS NSEC_PER_MSEC
#define SLOT_ALIGN 64

static size_t
slot_bytes(const struct lane *l)
{
	return (sizeof(struct lane_slot) + l->frame_bytes_max + SLOT_ALIGN - 1) / SLOT_ALIGN * SLOT_ALIGN;
}

static size_t
memory_bytes(const struct lane *l)
{
	/* One more than may be on the way: the one that is being received. */
	return slot_bytes(l) * ((size_t)l->frames_max + 1);
}

bool
lane_open(struct lane *l, const struct spec *spec, uint32_t frames_max, uint32_t frame_bytes_max,
	  uint64_t seed)
{
	memset(l, 0, sizeof(*l));
	l->reports_mtu = spec->reports_mtu;
	l->frames_max = frames_max;
	l->frame_bytes_max = frame_bytes_max;
	impair_init(&l->wire, &spec->faults, seed);
	l->memory = mmap(NULL, memory_bytes(l), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (l->memory == MAP_FAILED)
		return false;
	for (uint32_t i = 0; i <= frames_max; i++)
		lane_put(l, (struct lane_slot *)(void *)(l->memory + slot_bytes(l) * (frames_max - i)));
	return true;
}

void
lane_close(struct lane *l)
{
	munmap(l->memory, memory_bytes(l));
}

void
lane_put(struct lane *l, struct lane_slot *slot)
{
	slot->next = l->free;
	l->free = slot;
}

struct lane_slot *
lane_room(struct lane *l)
{
	CHECK(l->free != NULL);
	return l->free;
}

static struct lane_slot *
take_free(struct lane *l)
{
	struct lane_slot *slot = l->free;

	CHECK(slot != NULL);
	l->free = slot->next;
	return slot;
}

static void
insert(struct lane *l, struct lane_slot *slot)
{
	struct lane_slot *after = l->tail;

	while (after != NULL && after->arrives_ns > slot->arrives_ns)
		after = after->prev;
	slot->prev = after;
	slot->next = after == NULL ? l->head : after->next;
	if (slot->prev == NULL)
		l->head = slot;
	else
		slot->prev->next = slot;
	if (slot->next == NULL)
		l->tail = slot;
	else
		slot->next->prev = slot;
	l->count++;
}

static void
apply(struct lane_slot *slot, const struct impair_copy *copy)
{
	slot->arrives_ns = copy->arrives_ns;
	if (copy->is_marked)
		datagram_mark(slot->byte, slot->bytes);
	if (copy->flip_mask != 0 && slot->bytes > DATAGRAM_CORRUPT_FROM) {
		uint32_t at = copy->flip_byte % (slot->bytes - DATAGRAM_CORRUPT_FROM);

		slot->byte[DATAGRAM_CORRUPT_FROM + at] ^= copy->flip_mask;
	}
	if (copy->is_repaired)
		datagram_repair(slot->byte, slot->bytes);
}

enum impair_fate
lane_send(struct lane *l, struct lane_slot *slot, uint32_t bytes, uint64_t now_ns)
{
	struct impair_frame look = datagram_look(bytes_make(slot->byte, bytes));
	struct impair_copy copies[IMPAIR_COPIES_MAX];
	enum impair_fate fate;
	uint32_t count;

	CHECK(slot == l->free && bytes <= l->frame_bytes_max);
	slot->bytes = bytes;
	fate = impair_decide(&l->wire, &look, now_ns, copies, &count);
	if (count == 0)
		return fate;
	take_free(l);
	for (uint32_t i = 1; i < count; i++) {
		struct lane_slot *again;

		if (l->count + 1 >= l->frames_max) {
			l->stats.no_slot++;
			continue;
		}
		again = take_free(l);
		again->bytes = bytes;
		memcpy(again->byte, slot->byte, bytes);
		apply(again, &copies[i]);
		insert(l, again);
	}
	if (l->count >= l->frames_max) {
		l->stats.no_slot++;
		lane_put(l, slot);
		return fate;
	}
	apply(slot, &copies[0]);
	insert(l, slot);
	return fate;
}

uint64_t
lane_next_at(const struct lane *l)
{
	return l->head == NULL ? NEVER_NS : l->head->arrives_ns;
}

struct lane_slot *
lane_receive(struct lane *l, uint64_t now_ns)
{
	struct lane_slot *slot = l->head;
	uint64_t late_ns;

	if (slot == NULL || slot->arrives_ns > now_ns)
		return NULL;
	l->head = slot->next;
	if (l->head == NULL)
		l->tail = NULL;
	else
		l->head->prev = NULL;
	l->count--;
	late_ns = now_ns - slot->arrives_ns;
	l->stats.delivered++;
	l->stats.delivered_bytes += slot->bytes;
	l->stats.late_frames += late_ns > LATE_NS;
	if (late_ns > l->stats.late_ns_max)
		l->stats.late_ns_max = late_ns;
	return slot;
}
