/*
 * Fragments of a datagram become a frame again (RFC 791 section 3.2, RFC 8200 section 4.5).
 *
 * Stations that we speak with do not fragment what is for us: TCP keeps to the path's MTU. What comes in pieces
 * has passed an old tunnel, or is an attack, so everything here is small and fixed, and doubt kills:
 *
 *   pieces that overlap             their datagram is dead until its time is over (RFC 5722, for IPv4 too)
 *   the same piece twice            the second is dropped
 *   a piece beyond the last one     dead
 *   no room for another datagram    the one that has waited longest gives way
 */
#include "base/check.h"
#include "ip/internal.h"
#include "wire/ip6.h"
#include "wire/order.h"

static bool
is_used(const struct ip_datagram *d)
{
	return d->until_ns != 0;
}

static void
drop_pieces(struct ip *ip, struct ip_datagram *d, enum err why)
{
	while (d->pieces != NULL) {
		struct pkt *p = d->pieces;

		d->pieces = pkt_meta(p)->queue_next;
		ip->datagrams.buffers -= pkt_segments(p);
		ip_drop(ip, p, why);
	}
	d->count = 0;
}

static void
forget(struct ip *ip, struct ip_datagram *d, enum err why)
{
	drop_pieces(ip, d, why);
	d->until_ns = 0;
}

/* Later pieces of it find it dead until its time is over. */
static enum ip_what
kill(struct ip *ip, struct ip_datagram *d, struct pkt *p, enum err why)
{
	drop_pieces(ip, d, why);
	d->is_dead = true;
	return ip_drop(ip, p, why);
}

static struct ip_datagram *
find(struct ip *ip, const struct pkt_meta *meta, const struct fragment *f)
{
	for (uint32_t i = 0; i < IP_DATAGRAMS; i++) {
		struct ip_datagram *d = &ip->datagrams.each[i];

		if (is_used(d) && d->id == f->id && d->protocol == f->protocol &&
		    ip_equal(&d->src, &meta->src) && ip_equal(&d->dst, &meta->dst))
			return d;
	}
	return NULL;
}

/* A free place, or that of who has waited longest. */
static struct ip_datagram *
make(struct ip *ip, const struct pkt_meta *meta, const struct fragment *f, uint64_t now_ns)
{
	struct ip_datagram *oldest = &ip->datagrams.each[0];

	for (uint32_t i = 1; i < IP_DATAGRAMS && is_used(oldest); i++)
		if (ip->datagrams.each[i].until_ns < oldest->until_ns)
			oldest = &ip->datagrams.each[i];
	if (is_used(oldest))
		forget(ip, oldest, ERR_IP_FRAGMENT_LIMIT);
	*oldest = (struct ip_datagram){ .src = meta->src,
					.dst = meta->dst,
					.id = f->id,
					.protocol = f->protocol,
					.until_ns = now_ns + IP_DATAGRAM_WAIT_NS };
	if (oldest->until_ns < ip->datagrams.next_at_ns)
		ip->datagrams.next_at_ns = oldest->until_ns;
	return oldest;
}

/* Buffers are the receive pool's: the datagrams that have waited longest give theirs back. */
static void
make_room(struct ip *ip, const struct ip_datagram *but, uint32_t buffers)
{
	while (ip->datagrams.buffers + buffers > IP_FRAGMENT_BUFFERS_MAX) {
		struct ip_datagram *oldest = NULL;

		for (uint32_t i = 0; i < IP_DATAGRAMS; i++) {
			struct ip_datagram *d = &ip->datagrams.each[i];

			if (d != but && d->pieces != NULL &&
			    (oldest == NULL || d->until_ns < oldest->until_ns))
				oldest = d;
		}
		if (oldest == NULL)
			return;
		forget(ip, oldest, ERR_IP_FRAGMENT_LIMIT);
	}
}

static uint32_t
end_of(const struct pkt *p)
{
	return pkt_meta(p)->mark + pkt_total(p);
}

/* Where p belongs in the list; ERR_OK, or how p does not fit what is there. */
static enum err
find_place(struct ip_datagram *d, const struct pkt *p, bool more, struct pkt ***place)
{
	struct pkt **at = &d->pieces;
	struct pkt *before = NULL;

	while (*at != NULL && pkt_meta(*at)->mark < pkt_meta(p)->mark) {
		before = *at;
		at = &pkt_meta(*at)->queue_next;
	}
	*place = at;
	if (*at != NULL && pkt_meta(*at)->mark == pkt_meta(p)->mark && pkt_total(*at) == pkt_total(p))
		return ERR_IP_FRAGMENT_DUPLICATE;
	if ((before != NULL && end_of(before) > pkt_meta(p)->mark) ||
	    (*at != NULL && end_of(p) > pkt_meta(*at)->mark) ||
	    (d->total_bytes != 0 && (!more || end_of(p) > d->total_bytes)))
		return ERR_IP_FRAGMENT_OVERLAP;
	return ERR_OK;
}

/* The first piece with its headers in front, as those of a datagram that was never in pieces. */
static void
restore_headers(struct pkt *p, const struct ip_datagram *d)
{
	/* What was pulled away still lies there. */
	uint8_t *frame = pkt_prepend(p, d->eth_bytes + d->ip_bytes);
	uint8_t *header = frame + d->eth_bytes;

	CHECK(frame != NULL);
	if (ip_is_v4(&d->src)) {
		ip4_make_whole(header, (uint8_t)d->ip_bytes, (uint16_t)(pkt_total(p) - d->eth_bytes));
		pkt_meta(p)->l3_csum = PKT_CSUM_GOOD;
		return;
	}
	/* The fragment header goes: what names it names what followed, and all in front moves up to that. */
	header[d->next_at] = header[d->header_at];
	memmove(frame + IP6_FRAGMENT_BYTES, frame, d->eth_bytes + d->header_at);
	header = pkt_pull(p, IP6_FRAGMENT_BYTES) + d->eth_bytes;
	order_put16(header + 4, (uint16_t)(pkt_total(p) - d->eth_bytes - IP6_HEADER_BYTES));
}

/* All pieces are here. */
static struct pkt *
join(struct ip *ip, struct ip_datagram *d)
{
	struct pkt *first = d->pieces;
	struct pkt *p, *next;

	ip->datagrams.buffers -= pkt_segments(first);
	for (p = pkt_meta(first)->queue_next; p != NULL; p = next) {
		next = pkt_meta(p)->queue_next;
		ip->datagrams.buffers -= pkt_segments(p);
		pkt_chain(first, p);
	}
	*pkt_meta(first) = (struct pkt_meta){ .port = pkt_meta(first)->port,
					      .src = d->src,
					      .dst = d->dst };
	restore_headers(first, d);
	d->pieces = NULL;
	d->until_ns = 0;
	return first;
}

enum ip_what
fragment_input(struct ip *ip, struct pkt *p, const struct fragment *f, uint64_t now_ns,
	       struct ip_received *received)
{
	struct pkt_meta *meta = pkt_meta(p);
	struct ip_datagram *d = find(ip, meta, f);
	struct pkt **place;
	enum err verdict;

	if (pkt_total(p) == 0 || (f->more && pkt_total(p) % 8 != 0))
		return ip_drop(ip, p, ERR_IP_MALFORMED);
	if (d == NULL)
		d = make(ip, meta, f, now_ns);
	if (d->is_dead)
		return ip_drop(ip, p, ERR_IP_FRAGMENT_OVERLAP);
	meta->mark = f->offset;
	if (d->count == IP_FRAGMENTS_MAX || end_of(p) > IP_DATAGRAM_BYTES_MAX)
		return kill(ip, d, p, ERR_IP_FRAGMENT_LIMIT);
	verdict = find_place(d, p, f->more, &place);
	if (verdict == ERR_IP_FRAGMENT_DUPLICATE)
		return ip_drop(ip, p, verdict);
	/* The last one must lie behind all others. */
	if (verdict != ERR_OK || (!f->more && *place != NULL))
		return kill(ip, d, p, ERR_IP_FRAGMENT_OVERLAP);
	make_room(ip, d, pkt_segments(p));
	meta->queue_next = *place;
	*place = p;
	ip->datagrams.buffers += pkt_segments(p);
	d->count++;
	d->have_bytes += pkt_total(p);
	if (f->offset == 0) {
		d->eth_bytes = f->eth_bytes;
		d->ip_bytes = f->ip_bytes;
		d->header_at = f->header_at;
		d->next_at = f->next_at;
	}
	if (!f->more)
		d->total_bytes = end_of(p);
	if (d->have_bytes != d->total_bytes)
		return IP_NOTHING;
	received->frame = join(ip, d);
	return IP_FRAME;
}

void
fragment_advance(struct ip *ip, uint64_t now_ns)
{
	ip->datagrams.next_at_ns = NEVER_NS;
	for (uint32_t i = 0; i < IP_DATAGRAMS; i++) {
		struct ip_datagram *d = &ip->datagrams.each[i];

		if (is_used(d) && d->until_ns <= now_ns)
			forget(ip, d, ERR_IP_FRAGMENT_TIMEOUT);
		if (is_used(d) && d->until_ns < ip->datagrams.next_at_ns)
			ip->datagrams.next_at_ns = d->until_ns;
	}
}

void
fragment_forget_all(struct ip *ip)
{
	for (uint32_t i = 0; i < IP_DATAGRAMS; i++)
		forget(ip, &ip->datagrams.each[i], ERR_IP_FRAGMENT_TIMEOUT);
}
