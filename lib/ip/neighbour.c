/*
 * The neighbour cache of RFC 4861 section 7.3, for ARP and ND alike.
 *
 * An address has IP_NEIGHBOUR_PROBES possible slots; when all are taken, the one used longest ago gives way,
 * so that a scan of the link cannot grow the cache nor evict a busy gateway.
 */
#include "base/check.h"
#include "ip/internal.h"

#define REACHABLE_NS (30 * NSEC_PER_SEC)
#define DELAY_NS (5 * NSEC_PER_SEC)
#define RETRY_NS NSEC_PER_SEC
#define TRIES_MAX 3

static uint64_t
mix(const struct ip *ip, const struct ip_addr *address)
{
	uint64_t words[2];
	uint64_t hash = ip->config.hash_key;

	memcpy(words, address->byte, sizeof(words));
	for (int i = 0; i < 2; i++) {
		hash = (hash ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return hash;
}

static struct ip_neighbour *
slot_at(struct ip *ip, uint64_t hash, uint32_t i)
{
	return &ip->neighbours[(hash + i) % IP_NEIGHBOURS];
}

static struct ip_neighbour *
find(struct ip *ip, const struct ip_addr *address)
{
	uint64_t hash = mix(ip, address);

	for (uint32_t i = 0; i < IP_NEIGHBOUR_PROBES; i++) {
		struct ip_neighbour *n = slot_at(ip, hash, i);

		if (n->state != IP_NEIGHBOUR_FREE && ip_equal(&n->address, address))
			return n;
	}
	return NULL;
}

static void
forget(struct ip *ip, struct ip_neighbour *n, enum err why)
{
	struct pkt *p;

	while ((p = pkt_queue_get(&n->waiting)) != NULL)
		ip_drop(ip, p, why);
	n->state = IP_NEIGHBOUR_FREE;
	n->at_ns = NEVER_NS;
}

static struct ip_neighbour *
make(struct ip *ip, uint8_t port, const struct ip_addr *address, uint64_t now_ns)
{
	uint64_t hash = mix(ip, address);
	struct ip_neighbour *oldest = slot_at(ip, hash, 0);

	for (uint32_t i = 0; i < IP_NEIGHBOUR_PROBES; i++) {
		struct ip_neighbour *n = slot_at(ip, hash, i);

		if (n->state == IP_NEIGHBOUR_FREE) {
			oldest = n;
			break;
		}
		if (n->used_ns < oldest->used_ns)
			oldest = n;
	}
	if (oldest->state != IP_NEIGHBOUR_FREE)
		forget(ip, oldest, ERR_IP_NEIGHBOUR_EVICTED);
	*oldest = (struct ip_neighbour){ .address = *address, .port = port, .used_ns = now_ns,
					 .at_ns = NEVER_NS };
	return oldest;
}

static void
set_state(struct ip *ip, struct ip_neighbour *n, enum ip_neighbour_state state, uint64_t at_ns)
{
	n->state = (uint8_t)state;
	n->at_ns = at_ns;
	if (at_ns < ip->next_at_ns)
		ip->next_at_ns = at_ns;
}

static void
ask(struct ip *ip, const struct ip_neighbour *n, bool everyone)
{
	const struct eth_addr *to = everyone ? NULL : &n->mac;

	if (ip_is_v4(&n->address))
		arp_ask(ip, n->port, &n->address, to);
	else
		nd_ask(ip, n->port, &n->address, to);
}

static enum eth_type
type_of(const struct ip_neighbour *n)
{
	return ip_is_v4(&n->address) ? ETH_TYPE_IP4 : ETH_TYPE_IP6;
}

void
neighbour_learn(struct ip *ip, uint8_t port, const struct ip_addr *address,
		const struct eth_addr *mac, bool create, bool solicited, uint64_t now_ns)
{
	struct ip_neighbour *n = find(ip, address);
	struct pkt *p;
	bool was_incomplete, moved;

	if (n == NULL) {
		if (!create)
			return;
		n = make(ip, port, address, now_ns);
		n->state = IP_NEIGHBOUR_INCOMPLETE;
	}
	was_incomplete = n->state == IP_NEIGHBOUR_INCOMPLETE;
	moved = !was_incomplete && !eth_equal(&n->mac, mac);
	n->mac = *mac;
	n->port = port;
	if (solicited)
		set_state(ip, n, IP_NEIGHBOUR_REACHABLE, now_ns + REACHABLE_NS);
	else if (was_incomplete || moved)
		set_state(ip, n, IP_NEIGHBOUR_STALE, NEVER_NS);
	while ((p = pkt_queue_get(&n->waiting)) != NULL)
		frame_send(ip, n->port, &n->mac, type_of(n), p);
}

void
neighbour_send(struct ip *ip, uint8_t port, const struct ip_addr *next_hop, struct pkt *p,
	       uint64_t now_ns)
{
	struct ip_neighbour *n = find(ip, next_hop);

	if (n == NULL) {
		n = make(ip, port, next_hop, now_ns);
		n->tries = 1;
		set_state(ip, n, IP_NEIGHBOUR_INCOMPLETE, now_ns + RETRY_NS);
		ask(ip, n, true);
	}
	n->used_ns = now_ns;
	if (n->state == IP_NEIGHBOUR_INCOMPLETE) {
		/* The newest packets are worth most: the oldest one gives way. */
		if (n->waiting.count == IP_NEIGHBOUR_QUEUE_MAX)
			ip_drop(ip, pkt_queue_get(&n->waiting), ERR_IP_NEIGHBOUR_QUEUE);
		pkt_queue_put(&n->waiting, p);
		return;
	}
	if (n->state == IP_NEIGHBOUR_STALE)
		set_state(ip, n, IP_NEIGHBOUR_DELAY, now_ns + DELAY_NS);
	frame_send(ip, n->port, &n->mac, type_of(n), p);
}

/* One neighbour's time is over. */
static void
expired(struct ip *ip, struct ip_neighbour *n, uint64_t now_ns)
{
	switch ((enum ip_neighbour_state)n->state) {
	case IP_NEIGHBOUR_REACHABLE:
		set_state(ip, n, IP_NEIGHBOUR_STALE, NEVER_NS);
		return;
	case IP_NEIGHBOUR_DELAY:
		n->tries = 1;
		set_state(ip, n, IP_NEIGHBOUR_PROBE, now_ns + RETRY_NS);
		ask(ip, n, false);
		return;
	case IP_NEIGHBOUR_INCOMPLETE:
	case IP_NEIGHBOUR_PROBE:
		if (n->tries == TRIES_MAX) {
			forget(ip, n, ERR_IP_NEIGHBOUR_SILENT);
			return;
		}
		n->tries++;
		set_state(ip, n, (enum ip_neighbour_state)n->state, now_ns + RETRY_NS);
		ask(ip, n, n->state == IP_NEIGHBOUR_INCOMPLETE);
		return;
	case IP_NEIGHBOUR_FREE:
	case IP_NEIGHBOUR_STALE:
		return;
	}
}

void
neighbour_advance(struct ip *ip, uint64_t now_ns)
{
	ip->next_at_ns = NEVER_NS;
	for (uint32_t i = 0; i < IP_NEIGHBOURS; i++) {
		struct ip_neighbour *n = &ip->neighbours[i];

		if (n->state == IP_NEIGHBOUR_FREE)
			continue;
		if (n->at_ns <= now_ns)
			expired(ip, n, now_ns);
		if (n->state != IP_NEIGHBOUR_FREE && n->at_ns < ip->next_at_ns)
			ip->next_at_ns = n->at_ns;
	}
}
