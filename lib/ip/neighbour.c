/*
 * The neighbour cache of RFC 4861 section 7.3, for ARP and ND alike.
 *
 * An address has IP_NEIGHBOUR_PROBES possible slots; when all are taken, the one that is worth least gives
 * way, so that neither a scan of the link nor a flood of claims can grow the cache or evict a gateway.
 */
#include "ip/internal.h"

#define REACHABLE_NS (30 * NSEC_PER_SEC)
#define DELAY_NS (5 * NSEC_PER_SEC)
#define RETRY_NS NSEC_PER_SEC
#define TRIES_MAX 3
/* Whom we speak with is answered so often beside the rate. */
#define ANSWER_NS (100 * NSEC_PER_MSEC)
/* How long who has the entry may take to answer for itself, before everyone is asked. */
#define DOUBT_NS (NSEC_PER_SEC / 2)
/* How long who never answered is taken to be not there. */
#define SILENT_NS (2 * NSEC_PER_SEC)

static struct ip_neighbour *
slot_at(struct ip *ip, uint64_t hash, uint32_t i)
{
	return &ip->neighbours[(hash + i) % IP_NEIGHBOURS];
}

static struct ip_neighbour *
find(struct ip *ip, const struct ip_addr *address)
{
	uint64_t hash = ip_hash(ip, address);

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

/* Who gives way first: what nobody used, then who has not answered yet, then the others; a gateway never. */
enum worth { WORTH_FREE, WORTH_UNUSED, WORTH_UNKNOWN, WORTH_USED, WORTH_GATEWAY };

static enum worth
worth(const struct ip *ip, const struct ip_neighbour *n)
{
	if (n->state == IP_NEIGHBOUR_FREE)
		return WORTH_FREE;
	if (ip_is_gateway(ip, &n->address))
		return WORTH_GATEWAY;
	if (n->used_ns == 0)
		return WORTH_UNUSED;
	return n->state == IP_NEIGHBOUR_INCOMPLETE || n->state == IP_NEIGHBOUR_SILENT ? WORTH_UNKNOWN :
											WORTH_USED;
}

/* A slot for address, at the cost of what is worth no more than that; NULL: there is none. */
static struct ip_neighbour *
make(struct ip *ip, uint8_t port, const struct ip_addr *address, enum worth at_most)
{
	uint64_t hash = ip_hash(ip, address);
	struct ip_neighbour *least = slot_at(ip, hash, 0);

	for (uint32_t i = 1; i < IP_NEIGHBOUR_PROBES && worth(ip, least) > WORTH_FREE; i++) {
		struct ip_neighbour *n = slot_at(ip, hash, i);
		enum worth has = worth(ip, n), least_has = worth(ip, least);

		if (has < least_has || (has == least_has && n->used_ns < least->used_ns))
			least = n;
	}
	if (worth(ip, least) > at_most)
		return NULL;
	if (least->state != IP_NEIGHBOUR_FREE)
		forget(ip, least, ERR_IP_NEIGHBOUR_EVICTED);
	*least = (struct ip_neighbour){ .address = *address, .port = port, .at_ns = NEVER_NS };
	return least;
}

static void
set_state(struct ip *ip, struct ip_neighbour *n, enum ip_neighbour_state state, uint64_t at_ns)
{
	n->state = (uint8_t)state;
	n->at_ns = at_ns;
	if (at_ns < ip->next_at_ns)
		ip->next_at_ns = at_ns;
}

/* Everyone is asked if nobody is known, or who is known was asked and did not answer for itself. */
static bool
asks_everyone(const struct ip_neighbour *n)
{
	return n->state == IP_NEIGHBOUR_INCOMPLETE || (n->is_doubted && n->tries > 1);
}

/* Those of whom we know, and gateways, are as many as the table has, and asked once a second each. Only for the
 * others there is a rate, which strangers can use up: a source that says to be of our network makes one. */
static bool
may_ask(struct ip *ip, const struct ip_neighbour *n, uint64_t now_ns)
{
	return n->state != IP_NEIGHBOUR_INCOMPLETE || ip_is_gateway(ip, &n->address) ||
	       ip_rate_allows(ip, &ip->questions_full_at_ns, now_ns);
}

/* Whom we speak with over n, as far as a question tells. */
static bool
is_asker(const struct ip *ip, const struct ip_neighbour *n, const struct eth_addr *mac)
{
	return n != NULL && eth_equal(&n->mac, mac) && (n->used_ns != 0 || ip_is_gateway(ip, &n->address));
}

/* A router may ask from any of its addresses (RFC 4861 section 7.2.2). */
static struct ip_neighbour *
find_asker(struct ip *ip, uint8_t port, const struct ip_addr *address, const struct eth_addr *mac)
{
	const struct ip_port *p = &ip->config.ports[port];
	const struct ip_addr *from[] = { address, &p->gateway_v6, &p->gateway_v4 };

	for (uint32_t i = 0; i < COUNT_OF(from); i++) {
		struct ip_neighbour *n = ip_is_zero(from[i]) ? NULL : find(ip, from[i]);

		if (is_asker(ip, n, mac))
			return n;
	}
	return NULL;
}

/* The same the other way round: whom we speak with learns where we are, however much strangers ask. What only says
 * to come from there takes of that one's share, and the answer goes to who has the MAC. */
bool
neighbour_may_be_answered(struct ip *ip, uint8_t port, const struct ip_addr *address,
			  const struct eth_addr *mac, uint64_t now_ns)
{
	struct ip_neighbour *n = find_asker(ip, port, address, mac);

	if (n != NULL && now_ns >= n->answer_at_ns) {
		n->answer_at_ns = now_ns + ANSWER_NS;
		return true;
	}
	return ip_rate_allows(ip, &ip->answers_full_at_ns, now_ns);
}

static void
ask(struct ip *ip, const struct ip_neighbour *n, uint64_t now_ns)
{
	const struct eth_addr *to = asks_everyone(n) ? NULL : &n->mac;

	if (!may_ask(ip, n, now_ns))
		ip->drops[ERR_IP_NEIGHBOUR_RATE]++;
	else if (ip_is_v4(&n->address))
		arp_ask(ip, n->port, &n->address, to);
	else
		nd_ask(ip, n->port, &n->address, to);
}

static enum eth_type
type_of(const struct ip_neighbour *n)
{
	return ip_is_v4(&n->address) ? ETH_TYPE_IP4 : ETH_TYPE_IP6;
}

/* --- what stations say ---------------------------------------------------------------------- */

static void
take(struct ip *ip, struct ip_neighbour *n, const struct neighbour_claim *claim, bool answered,
     uint64_t now_ns)
{
	struct pkt *p;

	n->mac = claim->mac;
	n->port = claim->port;
	n->is_doubted = false;
	if (answered)
		set_state(ip, n, IP_NEIGHBOUR_REACHABLE, now_ns + REACHABLE_NS);
	else
		set_state(ip, n, IP_NEIGHBOUR_STALE, NEVER_NS);
	while ((p = pkt_queue_get(&n->waiting)) != NULL)
		frame_send(ip, n->port, &n->mac, type_of(n), p);
}

/*
 * Another MAC, unasked. It may be the address's new owner, or somebody who wants what is sent there. So the
 * entry stays as it is, and who has it is asked alone: while that one answers, no flood of claims moves the
 * entry. Only if it is silent everyone is asked, and who answers first has it (RFC 4861 would believe the
 * claim at once).
 */
static void
doubt(struct ip *ip, struct ip_neighbour *n, uint64_t now_ns)
{
	if (n->is_doubted || now_ns < n->believe_until_ns)
		return;
	ip->drops[ERR_IP_NEIGHBOUR_DOUBTED]++;
	n->is_doubted = true;
	n->believe_until_ns = now_ns + RETRY_NS;
	n->tries = 1;
	set_state(ip, n, IP_NEIGHBOUR_PROBE, now_ns + DOUBT_NS);
	ask(ip, n, now_ns);
}

/* Only who was asked can have answered. */
static bool
has_answered(const struct ip_neighbour *n, const struct neighbour_claim *claim)
{
	if (!claim->solicited)
		return false;
	return asks_everyone(n) ||
	       (n->state == IP_NEIGHBOUR_PROBE && eth_equal(&n->mac, &claim->mac));
}

void
neighbour_learn(struct ip *ip, const struct neighbour_claim *claim, uint64_t now_ns)
{
	struct ip_neighbour *n = find(ip, &claim->address);
	bool answered;

	if (n == NULL) {
		/* Room that nothing else needs. */
		if (claim->create && ip_is_neighbour(ip, claim->port, &claim->address))
			n = make(ip, claim->port, &claim->address, WORTH_UNUSED);
		if (n != NULL)
			take(ip, n, claim, false, now_ns);
		return;
	}
	answered = has_answered(n, claim);
	if (n->state == IP_NEIGHBOUR_INCOMPLETE || n->state == IP_NEIGHBOUR_SILENT ||
	    (answered && claim->override))
		take(ip, n, claim, answered, now_ns);
	else if (!eth_equal(&n->mac, &claim->mac))
		doubt(ip, n, now_ns);
	else if (answered)
		take(ip, n, claim, true, now_ns);
}

/* --- packets on their way -------------------------------------------------------------------- */

void
neighbour_send(struct ip *ip, uint8_t port, const struct ip_addr *next_hop, struct pkt *p,
	       uint64_t now_ns)
{
	struct ip_neighbour *n = find(ip, next_hop);

	if (n == NULL) {
		n = make(ip, port, next_hop, WORTH_USED);
		if (n == NULL) {
			ip_drop(ip, p, ERR_IP_NEIGHBOUR_EVICTED);
			return;
		}
		n->tries = 1;
		set_state(ip, n, IP_NEIGHBOUR_INCOMPLETE, now_ns + RETRY_NS);
		ask(ip, n, now_ns);
	}
	n->used_ns = now_ns;
	if (n->state == IP_NEIGHBOUR_SILENT) {
		ip_drop(ip, p, ERR_IP_NEIGHBOUR_SILENT);
		return;
	}
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

/*
 * All questions were in vain. Who has never answered is not asked again for a while, so that packets to nobody
 * cost three questions in five seconds, whatever their number. A gateway is: with it everything returns.
 */
static void
gave_up(struct ip *ip, struct ip_neighbour *n, uint64_t now_ns)
{
	bool was_known = n->state == IP_NEIGHBOUR_PROBE;

	forget(ip, n, ERR_IP_NEIGHBOUR_SILENT);
	if (!was_known && !ip_is_gateway(ip, &n->address))
		set_state(ip, n, IP_NEIGHBOUR_SILENT, now_ns + SILENT_NS);
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
		ask(ip, n, now_ns);
		return;
	case IP_NEIGHBOUR_INCOMPLETE:
	case IP_NEIGHBOUR_PROBE:
		if (n->tries == TRIES_MAX) {
			gave_up(ip, n, now_ns);
			return;
		}
		n->tries++;
		set_state(ip, n, (enum ip_neighbour_state)n->state, now_ns + RETRY_NS);
		ask(ip, n, now_ns);
		return;
	case IP_NEIGHBOUR_SILENT:
		forget(ip, n, ERR_IP_NEIGHBOUR_SILENT);
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

void
neighbour_confirm(struct ip *ip, const struct ip_addr *address, uint64_t now_ns)
{
	struct ip_neighbour *n = find(ip, address);

	if (n == NULL || n->is_doubted || n->state == IP_NEIGHBOUR_INCOMPLETE ||
	    n->state == IP_NEIGHBOUR_SILENT)
		return;
	set_state(ip, n, IP_NEIGHBOUR_REACHABLE, now_ns + REACHABLE_NS);
}

void
neighbour_link_up(struct ip *ip, uint8_t port)
{
	for (uint32_t i = 0; i < IP_NEIGHBOURS; i++) {
		struct ip_neighbour *n = &ip->neighbours[i];

		if (n->port == port && n->state == IP_NEIGHBOUR_REACHABLE)
			set_state(ip, n, IP_NEIGHBOUR_STALE, NEVER_NS);
		else if (n->port == port && n->state == IP_NEIGHBOUR_SILENT)
			forget(ip, n, ERR_IP_NEIGHBOUR_SILENT);
	}
}
