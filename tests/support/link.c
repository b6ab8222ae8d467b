/* Two sorted lists: frames by arrival, held packets by release. Both are short and almost always
 * appended to, so they are searched from the end. */
#include "link.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "impair.h"
#include "segment.h"

/* What waits for a moment, in either list. */
struct node {
	uint64_t at_ns;
	struct node *prev;
	struct node *next;
};

struct list {
	struct node *head;
	struct node *tail;
	uint32_t count;
};

struct frame {
	struct node node;
	struct pkt_meta meta;
	uint32_t len;
	bool is_corrupted;
	uint8_t bytes[];
};

struct held {
	struct node node;
	struct pkt *p;
	uint64_t fingerprint;
};

struct link {
	struct link_faults faults;
	struct link_stats stats;
	struct pkt_pool *receive_pool;
	struct impair wire;
	struct prng prng; /* what the two ends do: holding, splitting */
	struct list frames;
	struct list held;
	uint64_t now_ns;
};

static void
list_insert(struct list *list, struct node *n)
{
	struct node *after = list->tail;

	while (after != NULL && after->at_ns > n->at_ns)
		after = after->prev;
	n->prev = after;
	n->next = after == NULL ? list->head : after->next;
	if (n->prev == NULL)
		list->head = n;
	else
		n->prev->next = n;
	if (n->next == NULL)
		list->tail = n;
	else
		n->next->prev = n;
	list->count++;
}

/* The first if it is due, off the list. */
static struct node *
list_take(struct list *list, uint64_t now_ns)
{
	struct node *n = list->head;

	if (n == NULL || n->at_ns > now_ns)
		return NULL;
	list->head = n->next;
	if (list->head == NULL)
		list->tail = NULL;
	else
		list->head->prev = NULL;
	list->count--;
	return n;
}

static bool
happens(struct link *l, uint32_t ppm)
{
	return ppm > 0 && prng_below(&l->prng, 1000000) < ppm;
}

static uint64_t
up_to(struct link *l, uint64_t limit_ns)
{
	return limit_ns == 0 ? 0 : prng_next(&l->prng) % (limit_ns + 1);
}

/* FNV-1a over the chain, by words: every step is a bijection, so that one changed word always shows. */
static uint64_t
fingerprint_of(const struct pkt *p)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; p != NULL; p = pkt_next(p)) {
		const uint8_t *at = pkt_data(p);
		uint32_t left = pkt_len(p);
		uint64_t word;

		for (; left >= sizeof(word); at += sizeof(word), left -= (uint32_t)sizeof(word)) {
			memcpy(&word, at, sizeof(word));
			hash = (hash ^ word) * UINT64_C(0x100000001b3);
		}
		for (; left > 0; at++, left--)
			hash = (hash ^ *at) * UINT64_C(0x100000001b3);
	}
	return hash;
}

struct link *
link_new(const struct link_faults *faults, struct pkt_pool *receive_pool, uint64_t seed)
{
	struct link *l = calloc(1, sizeof(*l));

	CHECK(l != NULL);
	l->receive_pool = receive_pool;
	prng_init(&l->prng, seed + 1);
	impair_init(&l->wire, &(struct impair_faults){ 0 }, seed);
	link_set_faults(l, faults);
	return l;
}

void
link_free(struct link *l)
{
	if (l == NULL)
		return;
	link_flush(l);
	free(l);
}

void
link_set_faults(struct link *l, const struct link_faults *faults)
{
	CHECK(faults->repair_ppm == 0 || faults->repair != NULL);
	l->faults = *faults;
	impair_set_faults(&l->wire, &(struct impair_faults){
		.delay_ns = faults->delay_ns,
		.jitter_ns = faults->jitter_ns,
		.loss_ppm = faults->loss_ppm,
		.burst_enter_ppm = faults->burst_enter_ppm,
		.burst_leave_ppm = faults->burst_leave_ppm,
		.burst_loss_ppm = faults->burst_loss_ppm,
		.reorder_ppm = faults->reorder_ppm,
		.reorder_ns = faults->reorder_ns,
		.duplicate_ppm = faults->duplicate_ppm,
		.corrupt_ppm = faults->corrupt_ppm,
		.repair_ppm = faults->repair_ppm,
		.mark_ppm = faults->mark_ppm,
		.mark_above_bytes = faults->mark_above_bytes,
		.rate_bytes_per_s = faults->rate_bytes_per_s,
		.queue_bytes_max = faults->queue_bytes_max,
		.mtu_bytes = faults->mtu_bytes,
		.blackout_from_ns = faults->blackout_from_ns,
		.blackout_until_ns = faults->blackout_until_ns,
	});
}

static void
release(struct held *h)
{
	/* A driver may still have been reading it. */
	CHECK(fingerprint_of(h->p) == h->fingerprint);
	pkt_free(h->p);
	free(h);
}

void
link_release(struct link *l, uint64_t now_ns)
{
	struct node *n;

	CHECK(now_ns >= l->now_ns);
	l->now_ns = now_ns;
	while ((n = list_take(&l->held, now_ns)) != NULL)
		release((struct held *)n);
}

void
link_hold(struct link *l, struct pkt *p, uint64_t now_ns)
{
	struct held *h = malloc(sizeof(*h));

	CHECK(h != NULL);
	h->p = p;
	h->fingerprint = fingerprint_of(p);
	h->node.at_ns = now_ns + up_to(l, l->faults.hold_ns);
	list_insert(&l->held, &h->node);
}

/* Puts one copy on the way. */
static void
launch(struct link *l, const struct pkt *p, const struct impair_copy *copy)
{
	uint32_t len = pkt_total(p);
	struct frame *f;

	if (l->frames.count == LINK_FRAMES_MAX) {
		l->stats.lost++;
		return;
	}
	CHECK(len <= LINK_FRAME_BYTES_MAX);
	f = calloc(1, sizeof(*f) + len);
	CHECK(f != NULL);
	f->len = len;
	f->meta = *pkt_meta(p);
	f->meta.queue_next = NULL;
	pkt_copy_out(p, 0, f->bytes, len);
	if (copy->flip_mask != 0) {
		f->bytes[copy->flip_byte] ^= copy->flip_mask;
		f->is_corrupted = !copy->is_repaired;
		l->stats.corrupted++;
	}
	if (copy->is_repaired)
		l->faults.repair(f->bytes, f->len, &f->meta);
	if (copy->is_marked) {
		f->meta.ecn = 3;
		l->stats.marked++;
	}
	f->node.at_ns = copy->arrives_ns;
	list_insert(&l->frames, &f->node);
}

bool
link_send(struct link *l, struct pkt *p, uint64_t now_ns)
{
	uint8_t ecn = pkt_meta(p)->ecn;
	struct impair_frame frame = {
		.bytes = pkt_total(p),
		.ip_bytes = pkt_total(p),
		.may_mark = ecn == 1 || ecn == 2,
	};
	struct impair_copy copies[IMPAIR_COPIES_MAX];
	enum impair_fate fate;
	uint32_t count;

	link_release(l, now_ns);
	l->stats.sent++;
	fate = impair_decide(&l->wire, &frame, now_ns, copies, &count);
	for (uint32_t i = 0; i < count; i++)
		launch(l, p, &copies[i]);
	link_hold(l, p, now_ns);
	return fate != IMPAIR_TOO_BIG;
}

uint32_t
link_held(const struct link *l)
{
	return l->held.count;
}

uint64_t
link_release_at(const struct link *l)
{
	return l->held.head == NULL ? NEVER_NS : l->held.head->at_ns;
}

void
link_visit_held(const struct link *l, void (*visit)(const struct pkt *p, void *owner), void *owner)
{
	for (const struct node *n = l->held.head; n != NULL; n = n->next)
		visit(((const struct held *)n)->p, owner);
}

uint64_t
link_next_at(const struct link *l)
{
	uint64_t frame_ns = l->frames.head == NULL ? NEVER_NS : l->frames.head->at_ns;
	uint64_t held_ns = l->held.head == NULL ? NEVER_NS : l->held.head->at_ns;

	return frame_ns < held_ns ? frame_ns : held_ns;
}

static struct pkt *
arrived(struct link *l, const struct frame *f)
{
	size_t first_bytes = 0;
	struct pkt *p;

	if (f->len > l->faults.split_min_bytes && happens(l, l->faults.split_ppm))
		first_bytes = l->faults.split_min_bytes +
			      prng_below(&l->prng, f->len - l->faults.split_min_bytes);
	p = segment_pkt_from(bytes_make(f->bytes, f->len), first_bytes, l->receive_pool);
	if (p == NULL)
		return NULL;
	*pkt_meta(p) = f->meta;
	pkt_meta(p)->l3_csum = PKT_CSUM_UNKNOWN;
	pkt_meta(p)->l4_csum = PKT_CSUM_UNKNOWN;
	if (l->faults.checks_csum)
		pkt_meta(p)->l4_csum = f->is_corrupted ? PKT_CSUM_BAD : PKT_CSUM_GOOD;
	return p;
}

struct pkt *
link_receive(struct link *l, uint64_t now_ns)
{
	struct node *n;

	link_release(l, now_ns);
	while ((n = list_take(&l->frames, now_ns)) != NULL) {
		struct pkt *p = arrived(l, (const struct frame *)n);

		free(n);
		if (p != NULL) {
			l->stats.delivered++;
			return p;
		}
		l->stats.no_buffer++;
	}
	return NULL;
}

void
link_flush(struct link *l)
{
	struct node *n;

	while ((n = list_take(&l->frames, NEVER_NS)) != NULL)
		free(n);
	while ((n = list_take(&l->held, NEVER_NS)) != NULL)
		release((struct held *)n);
}

struct link_stats
link_stats(const struct link *l)
{
	struct link_stats stats = l->stats;

	stats.lost += l->wire.stats.lost;
	stats.queue_full = l->wire.stats.queue_full;
	stats.too_big = l->wire.stats.too_big;
	stats.duplicated = l->wire.stats.duplicated;
	stats.reordered = l->wire.stats.reordered;
	return stats;
}
