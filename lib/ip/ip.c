/* Routes, headers and the way out. A route is the network of an address, or a port's gateway. */
#include "ip/ip.h"

#include "base/check.h"
#include "base/siphash.h"
#include "ip/internal.h"
#include "wire/ip6.h"
#include "wire/order.h"

#define HOP_LIMIT 64
#define ANNOUNCE_EVERY_NS NSEC_PER_SEC
#define DEFEND_EVERY_NS (10 * NSEC_PER_SEC) /* RFC 5227 section 2.4 c */

enum ip_what
ip_drop(struct ip *ip, struct pkt *p, enum err why)
{
	ip->drops[why]++;
	pkt_free(p);
	return IP_NOTHING;
}

void
ip_init(struct ip *ip, const struct ip_config *config, struct pkt_pool *pool, uint64_t now_ns)
{
	CHECK(config->port_count > 0 && config->port_count <= IP_PORTS_MAX);
	memset(ip, 0, sizeof(*ip));
	ip->config = *config;
	ip->pool = pool;
	ip->announcements = config->announce ? IP_ANNOUNCEMENTS : 0;
	ip->announce_at_ns = config->announce ? now_ns : NEVER_NS;
	ip->next_at_ns = NEVER_NS;
	ip->datagrams.next_at_ns = NEVER_NS;
	for (uint32_t p = 0; p < IP_PORTS_MAX; p++)
		ip->report_at_ns[p] = NEVER_NS;
}

void
ip_fini(struct ip *ip)
{
	struct pkt *p;

	while ((p = pkt_queue_get(&ip->out)) != NULL)
		pkt_free(p);
	for (uint32_t i = 0; i < IP_NEIGHBOURS; i++)
		while ((p = pkt_queue_get(&ip->neighbours[i].waiting)) != NULL)
			pkt_free(p);
	fragment_forget_all(ip);
}

/* --- limits and judgements -------------------------------------------------------------- */

bool
ip_rate_allows(const struct ip *ip, uint64_t *full_at_ns, uint64_t now_ns)
{
	uint32_t per_second = ip->config.rate_per_second;
	uint64_t each_ns = NSEC_PER_SEC / (per_second != 0 ? per_second : IP_RATE_PER_SECOND);
	uint64_t from_ns = *full_at_ns > now_ns ? *full_at_ns : now_ns;

	if (from_ns + each_ns > now_ns + NSEC_PER_SEC)
		return false;
	*full_at_ns = from_ns + each_ns;
	return true;
}

uint64_t
ip_hash(const struct ip *ip, const struct ip_addr *address)
{
	struct siphash_key key = { ip->config.hash_key, ~ip->config.hash_key };

	return siphash_1_3(&key, address->byte, sizeof(address->byte));
}

bool
ip_conflict(struct ip *ip, const struct ip_addr *address, bool listen_only, uint64_t now_ns)
{
	if (ip_is_anycast(ip, address))
		return false;
	ip->drops[ERR_IP_ADDRESS_CONFLICT]++;
	if (listen_only ||
	    (ip->defended_at_ns != 0 && now_ns < ip->defended_at_ns + DEFEND_EVERY_NS))
		return false;
	ip->defended_at_ns = now_ns;
	return true;
}

bool
ip_is_link_local(const struct ip_addr *a)
{
	return a->byte[0] == 0xfe && (a->byte[1] & 0xc0) == 0x80;
}

static bool
same_network(const struct ip_addr *a, const struct ip_addr *b, uint8_t bits)
{
	uint8_t bytes = bits / 8;
	uint8_t rest = (uint8_t)(0xff00 >> (bits % 8));

	if (memcmp(a->byte, b->byte, bytes) != 0)
		return false;
	return bits % 8 == 0 || ((a->byte[bytes] ^ b->byte[bytes]) & rest) == 0;
}

/* Nobody, or the loopback. */
static bool
is_zero_or_one(const struct ip_addr *a)
{
	struct ip_addr b = *a;

	b.byte[15] &= 0xfe;
	return ip_is_zero(&b);
}

/* The address of a network's stations together, or of none of them (RFC 1122 section 3.2.1.3). */
static bool
is_broadcast(const struct ip_address *own, const struct ip_addr *a)
{
	uint32_t host_mask, host;

	if (!ip_is_v4(&own->address) || own->prefix_bits >= 127 ||
	    !same_network(&own->address, a, own->prefix_bits))
		return false;
	host_mask = UINT32_MAX >> (own->prefix_bits - 96);
	host = order_get32(a->byte + 12) & host_mask;
	return host == 0 || host == host_mask;
}

bool
ip_is_bad_source(const struct ip *ip, const struct ip_addr *a)
{
	if (ip_is_v4(a) ? a->byte[12] >= 224 || a->byte[12] == 0 || a->byte[12] == 127 :
			  a->byte[0] == 0xff || is_zero_or_one(a))
		return true;
	for (uint32_t p = 0; p < ip->config.port_count; p++)
		for (uint32_t i = 0; i < ip->config.ports[p].address_count; i++)
			if (is_broadcast(&ip->config.ports[p].addresses[i], a))
				return true;
	return ip_is_local(ip, a);
}

/* --- routes -------------------------------------------------------------------------- */

struct route {
	uint8_t port;
	struct ip_addr next_hop;
	const struct ip_addr *source;
};

/* The longest prefix wins. */
static bool
find_on_link(const struct ip *ip, const struct ip_addr *dst, struct route *route)
{
	uint8_t longest = 0;

	for (uint8_t p = 0; p < ip->config.port_count; p++) {
		const struct ip_port *port = &ip->config.ports[p];

		for (uint32_t i = 0; i < port->address_count; i++) {
			const struct ip_address *own = &port->addresses[i];

			if (ip_is_v4(&own->address) != ip_is_v4(dst) || own->prefix_bits <= longest ||
			    !same_network(&own->address, dst, own->prefix_bits))
				continue;
			*route = (struct route){ p, *dst, &own->address };
			longest = own->prefix_bits;
		}
	}
	return longest > 0;
}

static bool
find_route(const struct ip *ip, const struct ip_addr *dst, struct route *route)
{
	bool v4 = ip_is_v4(dst);

	if (find_on_link(ip, dst, route))
		return true;
	if (ip_is_link_local(dst))
		return false;
	for (uint8_t p = 0; p < ip->config.port_count; p++) {
		const struct ip_port *port = &ip->config.ports[p];
		const struct ip_addr *gateway = v4 ? &port->gateway_v4 : &port->gateway_v6;
		const struct ip_addr *source = port_address(ip, p, v4);

		if (ip_is_zero(gateway) || source == NULL)
			continue;
		*route = (struct route){ p, *gateway, source };
		return true;
	}
	return false;
}

const struct ip_addr *
port_address(const struct ip *ip, uint8_t port, bool v4)
{
	const struct ip_port *of = &ip->config.ports[port];
	const struct ip_addr *found = NULL;

	for (uint32_t i = 0; i < of->address_count; i++) {
		const struct ip_addr *own = &of->addresses[i].address;

		if (ip_is_v4(own) == v4 && (found == NULL || ip_is_link_local(found)))
			found = own;
	}
	return found;
}

bool
ip_is_gateway(const struct ip *ip, const struct ip_addr *address)
{
	for (uint32_t p = 0; p < ip->config.port_count; p++)
		if (ip_equal(&ip->config.ports[p].gateway_v4, address) ||
		    ip_equal(&ip->config.ports[p].gateway_v6, address))
			return true;
	return false;
}

bool
ip_is_neighbour(const struct ip *ip, uint8_t port, const struct ip_addr *address)
{
	struct route route;

	if (ip_is_bad_source(ip, address))
		return false;
	return ip_is_gateway(ip, address) ||
	       (find_on_link(ip, address, &route) && route.port == port);
}

/* On which port, and the how manieth of its addresses. */
static bool
find_own(const struct ip *ip, const struct ip_addr *address, uint32_t *port, uint32_t *index)
{
	for (uint32_t p = 0; p < ip->config.port_count; p++) {
		for (uint32_t i = 0; i < ip->config.ports[p].address_count; i++) {
			if (!ip_equal(&ip->config.ports[p].addresses[i].address, address))
				continue;
			*port = p;
			*index = i;
			return true;
		}
	}
	return false;
}

bool
ip_is_local(const struct ip *ip, const struct ip_addr *address)
{
	uint32_t port, index;

	return find_own(ip, address, &port, &index);
}

bool
ip_is_anycast(const struct ip *ip, const struct ip_addr *address)
{
	uint32_t port, index;

	return find_own(ip, address, &port, &index) && (ip->config.ports[port].anycast >> index & 1) != 0;
}

bool
ip_port_to(const struct ip *ip, const struct ip_addr *dst, uint8_t *port)
{
	struct route route;

	if (!find_route(ip, dst, &route))
		return false;
	*port = route.port;
	return true;
}

bool
ip_source_for(const struct ip *ip, const struct ip_addr *dst, struct ip_addr *source)
{
	struct route route;

	if (!find_route(ip, dst, &route))
		return false;
	*source = *route.source;
	return true;
}

/* --- output ------------------------------------------------------------------------------ */

static bool
put_ip4(struct pkt *p, enum ip_protocol protocol, uint8_t hop_limit)
{
	const struct pkt_meta *meta = pkt_meta(p);
	struct ip4 header = {
		.ecn = meta->ecn,
		.ttl = hop_limit,
		.protocol = (uint8_t)protocol,
		.total_bytes = (uint16_t)(pkt_total(p) + IP4_HEADER_BYTES),
	};
	uint8_t *to = pkt_prepend(p, IP4_HEADER_BYTES);

	if (to == NULL)
		return false;
	memcpy(header.src, meta->src.byte + 12, 4);
	memcpy(header.dst, meta->dst.byte + 12, 4);
	ip4_emit(&header, to);
	return true;
}

static bool
put_ip6(struct pkt *p, enum ip_protocol protocol, uint8_t hop_limit)
{
	const struct pkt_meta *meta = pkt_meta(p);
	struct ip6 header = {
		.ecn = meta->ecn,
		.hop_limit = hop_limit,
		.upper_protocol = (uint8_t)protocol,
		.total_bytes = (uint16_t)(pkt_total(p) + IP6_HEADER_BYTES),
	};
	uint8_t *to = pkt_prepend(p, IP6_HEADER_BYTES);

	if (to == NULL)
		return false;
	memcpy(header.src, meta->src.byte, 16);
	memcpy(header.dst, meta->dst.byte, 16);
	ip6_emit(&header, to);
	return true;
}

void
ip_send(struct ip *ip, struct pkt *p, enum ip_protocol protocol, uint8_t hop_limit, uint64_t now_ns)
{
	struct pkt_meta *meta = pkt_meta(p);
	struct ip_addr dst = meta->dst;
	bool v4 = ip_is_v4(&dst);
	uint32_t header_bytes = v4 ? IP4_HEADER_BYTES : IP6_HEADER_BYTES;
	/* What leaves in several segments is measured by one of them. */
	uint32_t upper_bytes = meta->tso_mss > 0 ? (uint32_t)meta->l4_bytes + meta->tso_mss : pkt_total(p);
	struct route route;

	if (!find_route(ip, &dst, &route)) {
		ip_drop(ip, p, ERR_IP_NO_ROUTE);
		return;
	}
	if (upper_bytes + header_bytes > ip->config.ports[route.port].mtu_bytes ||
	    pkt_total(p) + header_bytes > UINT16_MAX) {
		ip_drop(ip, p, ERR_IP_TOO_BIG);
		return;
	}
	meta->l3_bytes = (uint8_t)header_bytes;
	if (!(v4 ? put_ip4(p, protocol, hop_limit) : put_ip6(p, protocol, hop_limit))) {
		ip_drop(ip, p, ERR_IP_NO_HEADROOM);
		return;
	}
	neighbour_send(ip, route.port, &route.next_hop, p, now_ns);
}

void
ip_output(struct ip *ip, struct pkt *segment, uint64_t now_ns)
{
	ip_send(ip, segment, IP_TCP, HOP_LIMIT, now_ns);
}

void
frame_send(struct ip *ip, uint8_t port, const struct eth_addr *dst, enum eth_type type, struct pkt *p)
{
	struct eth eth = { .dst = *dst,
			   .src = ip->config.ports[port].mac,
			   .type = (uint16_t)type,
			   .vlan = ip->config.ports[port].vlan };
	uint8_t *to = pkt_prepend(p, eth.vlan != 0 ? ETH_HEADER_BYTES + ETH_VLAN_BYTES :
						     ETH_HEADER_BYTES);

	if (to == NULL) {
		ip_drop(ip, p, ERR_IP_NO_HEADROOM);
		return;
	}
	pkt_meta(p)->l2_bytes = eth_emit(&eth, to);
	pkt_meta(p)->port = port;
	pkt_queue_put(&ip->out, p);
}

struct pkt *
ip_transmit_next(struct ip *ip)
{
	return pkt_queue_get(&ip->out);
}

/* --- time ----------------------------------------------------------------------------------- */

/*
 * Tells the link where our addresses are (RFC 5227 3, RFC 4861 7.2.6). Whether somebody else has them is
 * asked at the same time, and the answer counted, not waited for: an operator gave them to us, and after a
 * failover each second counts.
 */
static void
announce(struct ip *ip, uint64_t now_ns)
{
	bool first = ip->announcements == IP_ANNOUNCEMENTS;

	for (uint8_t p = 0; p < ip->config.port_count; p++) {
		/* Before anybody can ask: switches let through what was joined (RFC 4861 section 7.2.1). */
		mld_report(ip, p, MLD_TO_EXCLUDE);
		for (uint32_t i = 0; i < ip->config.ports[p].address_count; i++) {
			const struct ip_addr *own = &ip->config.ports[p].addresses[i].address;

			if ((ip->config.ports[p].anycast >> i & 1) != 0)
				continue;
			if (first)
				(ip_is_v4(own) ? arp_probe : nd_probe)(ip, p, own);
			(ip_is_v4(own) ? arp_announce : nd_announce)(ip, p, own);
		}
	}
	ip->announcements--;
	ip->announce_at_ns = ip->announcements > 0 ? now_ns + ANNOUNCE_EVERY_NS : NEVER_NS;
}

void
ip_link_up(struct ip *ip, uint8_t port, uint64_t now_ns)
{
	neighbour_link_up(ip, port);
	if (ip->config.announce) {
		ip->announcements = IP_ANNOUNCEMENTS;
		ip->announce_at_ns = now_ns;
	}
}

void
ip_confirm(struct ip *ip, const struct ip_addr *dst, uint64_t now_ns)
{
	struct ip_confirmed *last;
	struct route route;

	if (!find_route(ip, dst, &route))
		return;
	last = &ip->confirmed[route.next_hop.byte[15] % IP_CONFIRMED];
	if (now_ns < last->until_ns && ip_equal(&last->next_hop, &route.next_hop))
		return;
	*last = (struct ip_confirmed){ route.next_hop, now_ns + NSEC_PER_SEC };
	neighbour_confirm(ip, &route.next_hop, now_ns);
}

void
ip_advance(struct ip *ip, uint64_t now_ns)
{
	if (now_ns >= ip->announce_at_ns)
		announce(ip, now_ns);
	if (now_ns >= ip->next_at_ns)
		neighbour_advance(ip, now_ns);
	if (now_ns >= ip->datagrams.next_at_ns)
		fragment_advance(ip, now_ns);
	mld_advance(ip, now_ns);
}

uint64_t
ip_next_at(const struct ip *ip)
{
	uint64_t at_ns = ip->announce_at_ns < ip->next_at_ns ? ip->announce_at_ns : ip->next_at_ns;

	if (ip->datagrams.next_at_ns < at_ns)
		at_ns = ip->datagrams.next_at_ns;
	for (uint32_t p = 0; p < ip->config.port_count; p++)
		if (ip->report_at_ns[p] < at_ns)
			at_ns = ip->report_at_ns[p];
	return at_ns;
}
