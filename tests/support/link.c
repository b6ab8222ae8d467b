/* Two sorted lists: frames by arrival, held packets by release. Both are short and almost always
 * appended to, so they are searched from the end. */
#include "link.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/prng.h"
#include "base/units.h"
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
	struct prng prng;
	struct list frames;
	struct list held;
	uint64_t now_ns;
	uint64_t busy_until_ns;   /* the rate: when the last byte will have left */
	uint64_t last_arrival_ns; /* of those that keep their order */
	bool in_burst;
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

/* FNV-1a over the chain. */
static uint64_t
fingerprint_of(const struct pkt *p)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; p != NULL; p = pkt_next(p))
		for (uint32_t i = 0; i < pkt_len(p); i++)
			hash = (hash ^ pkt_data(p)[i]) * UINT64_C(0x100000001b3);
	return hash;
}

struct link *
link_new(const struct link_faults *faults, struct pkt_pool *receive_pool, uint64_t seed)
{
	struct link *l = calloc(1, sizeof(*l));

	CHECK(l != NULL);
	l->receive_pool = receive_pool;
	prng_init(&l->prng, seed);
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
	l->in_burst = false;
}

static void
release(struct held *h)
{
	/* A driver may still have been reading it. */
	CHECK(fingerprint_of(h->p) == h->fingerprint);
	pkt_free(h->p);
	free(h);
}

static void
release_due(struct link *l, uint64_t now_ns)
{
	struct node *n;

	CHECK(now_ns >= l->now_ns);
	l->now_ns = now_ns;
	while ((n = list_take(&l->held, now_ns)) != NULL)
		release((struct held *)n);
}

static void
hold(struct link *l, struct pkt *p, uint64_t now_ns)
{
	struct held *h = malloc(sizeof(*h));

	CHECK(h != NULL);
	h->p = p;
	h->fingerprint = fingerprint_of(p);
	h->node.at_ns = now_ns + up_to(l, l->faults.hold_ns);
	list_insert(&l->held, &h->node);
}

static bool
is_lost(struct link *l, uint64_t now_ns)
{
	const struct link_faults *f = &l->faults;

	if (f->burst_enter_ppm > 0)
		l->in_burst = l->in_burst ? !happens(l, f->burst_leave_ppm)
					  : happens(l, f->burst_enter_ppm);
	if (now_ns >= f->blackout_from_ns && now_ns < f->blackout_until_ns)
		return true;
	return happens(l, f->loss_ppm) || (l->in_burst && happens(l, f->burst_loss_ppm));
}

/* When the last byte leaves through the rate; NEVER_NS if the queue in front of it is full. */
static uint64_t
leaves_at(struct link *l, uint32_t len, uint64_t now_ns)
{
	const struct link_faults *f = &l->faults;
	uint64_t start_ns = now_ns > l->busy_until_ns ? now_ns : l->busy_until_ns;

	if (f->rate_bytes_per_s == 0)
		return now_ns;
	if (f->queue_bytes_max > 0 &&
	    (start_ns - now_ns) / 1000 * f->rate_bytes_per_s / USEC_PER_SEC + len >
		    f->queue_bytes_max)
		return NEVER_NS;
	l->busy_until_ns = start_ns + len * NSEC_PER_SEC / f->rate_bytes_per_s;
	return l->busy_until_ns;
}

static void
corrupt(struct link *l, struct frame *f)
{
	if (f->len == 0)
		return;
	/* One bit: two could cancel out in the checksum, and the oracles believe in it. */
	f->bytes[prng_below(&l->prng, f->len)] ^= (uint8_t)(1 << prng_below(&l->prng, 8));
	f->is_corrupted = true;
	l->stats.corrupted++;
	if (happens(l, l->faults.repair_ppm)) {
		l->faults.repair(f->bytes, f->len, &f->meta);
		f->is_corrupted = false;
	}
}

/* Puts one copy on the way. */
static void
launch(struct link *l, const struct pkt *p, uint64_t leaves_ns)
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
	if (happens(l, l->faults.corrupt_ppm))
		corrupt(l, f);
	if ((f->meta.ecn == 1 || f->meta.ecn == 2) && happens(l, l->faults.mark_ppm)) {
		f->meta.ecn = 3;
		l->stats.marked++;
	}
	f->node.at_ns = leaves_ns + l->faults.delay_ns + up_to(l, l->faults.jitter_ns);
	if (happens(l, l->faults.reorder_ppm)) {
		f->node.at_ns += up_to(l, l->faults.reorder_ns);
		l->stats.reordered++;
	} else {
		if (f->node.at_ns < l->last_arrival_ns)
			f->node.at_ns = l->last_arrival_ns;
		l->last_arrival_ns = f->node.at_ns;
	}
	list_insert(&l->frames, &f->node);
}

void
link_send(struct link *l, struct pkt *p, uint64_t now_ns)
{
	uint64_t leaves_ns;

	release_due(l, now_ns);
	l->stats.sent++;
	if (is_lost(l, now_ns)) {
		l->stats.lost++;
	} else if ((leaves_ns = leaves_at(l, pkt_total(p), now_ns)) == NEVER_NS) {
		l->stats.queue_full++;
	} else {
		launch(l, p, leaves_ns);
		if (happens(l, l->faults.duplicate_ppm)) {
			l->stats.duplicated++;
			launch(l, p, leaves_ns + up_to(l, l->faults.reorder_ns));
		}
	}
	hold(l, p, now_ns);
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

	release_due(l, now_ns);
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

const struct link_stats *
link_stats(const struct link *l)
{
	return &l->stats;
}
