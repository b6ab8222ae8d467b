/*
 * Multicast listener reports, version 2 (RFC 3810): so that a switch that snoops lets through what asks for our
 * addresses. We are in the solicited-node groups of our addresses and stay there.
 *
 *   | type 143 | 0 | checksum 2 | 0 2 | records 2 | (kind 1 | 0 | sources 2 | group 16) ... |
 *   in front: a hop-by-hop header with a router alert (RFC 2711)
 *
 * Queries of version 1 are answered in version 2 too: a switch that snoops and is so old takes the group's
 * Ethernet address from the report's, or floods.
 */
#include "base/check.h"
#include "base/siphash.h"
#include "ip/internal.h"
#include "wire/csum.h"
#include "wire/icmp.h"
#include "wire/order.h"

#define HOP_LIMIT 1
#define RECORD_BYTES 20
#define QUERY_BYTES_MIN 24
#define NEXT_HOP_BY_HOP 0
#define ALERT_BYTES 8
#define DELAY_MS_MAX 10000 /* whatever the query asks for */

static const uint8_t alert[ALERT_BYTES] = { IP_ICMP6, 0, 5, 2, 0, 0, 1, 0 };
static const struct ip_addr all_mld2_routers = { { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16 } };

/* The groups of a port's addresses, each once; returns how many. */
static uint32_t
groups_of(const struct ip_port *port, struct ip_addr groups[IP_ADDRESSES_MAX])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < port->address_count; i++) {
		struct ip_addr group = nd_group_of(&port->addresses[i].address);
		uint32_t k = 0;

		if (ip_is_v4(&port->addresses[i].address))
			continue;
		while (k < count && !ip_equal(&groups[k], &group))
			k++;
		groups[k] = group;
		count += k == count;
	}
	return count;
}

/* From a link-local address, or from nobody (RFC 3810 section 5.2.13). */
static struct ip_addr
source_of(const struct ip_port *port)
{
	for (uint32_t i = 0; i < port->address_count; i++)
		if (ip_is_link_local(&port->addresses[i].address))
			return port->addresses[i].address;
	return (struct ip_addr){ { 0 } };
}

void
mld_report(struct ip *ip, uint8_t port, enum mld_record kind)
{
	struct ip_addr groups[IP_ADDRESSES_MAX];
	uint32_t count = groups_of(&ip->config.ports[port], groups);
	uint32_t message_bytes = ICMP_HEADER_BYTES + count * RECORD_BYTES;
	struct ip_addr src = source_of(&ip->config.ports[port]);
	struct ip6 header = { .hop_limit = HOP_LIMIT,
			      .upper_protocol = NEXT_HOP_BY_HOP,
			      .total_bytes = (uint16_t)(IP6_HEADER_BYTES + ALERT_BYTES + message_bytes) };
	struct eth_addr mac = nd_group_mac(&all_mld2_routers);
	uint16_t checksum;
	struct pkt *p;
	uint8_t *at;

	if (count == 0)
		return;
	p = pkt_alloc(ip->pool);
	if (p == NULL) {
		ip->drops[ERR_POOL_EMPTY]++;
		return;
	}
	at = pkt_append(p, ALERT_BYTES + message_bytes);
	CHECK(at != NULL);
	memset(at, 0, ALERT_BYTES + message_bytes);
	memcpy(at, alert, ALERT_BYTES);
	at += ALERT_BYTES;
	at[0] = ICMP6_MLD2_REPORT;
	order_put16(at + 6, (uint16_t)count);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *record = at + ICMP_HEADER_BYTES + i * RECORD_BYTES;

		record[0] = (uint8_t)kind;
		memcpy(record + 4, groups[i].byte, 16);
	}
	checksum = csum_finish(csum_add(csum_pseudo(src.byte, all_mld2_routers.byte, IP_ICMP6, message_bytes),
					at, message_bytes));
	memcpy(at + 2, &checksum, sizeof(checksum));
	memcpy(header.src, src.byte, 16);
	memcpy(header.dst, all_mld2_routers.byte, 16);
	ip6_emit(&header, pkt_prepend(p, IP6_HEADER_BYTES));
	frame_send(ip, port, &mac, ETH_TYPE_IP6, p);
}

/* Milliseconds; from 2^15 on a float (RFC 3810 section 5.1.3). */
static uint32_t
response_ms(uint16_t code)
{
	uint32_t ms = code < 0x8000 ? code : (0x1000u | (code & 0xfff)) << ((code >> 12 & 7) + 3);

	return ms < DELAY_MS_MAX ? ms : DELAY_MS_MAX;
}

static bool
is_member(const struct ip_port *port, const struct ip_addr *group)
{
	struct ip_addr groups[IP_ADDRESSES_MAX];
	uint32_t count = groups_of(port, groups);

	for (uint32_t i = 0; i < count; i++)
		if (ip_equal(&groups[i], group))
			return true;
	return false;
}

/* One answer per port is on its way at most, so a flood of queries brings out one report a delay. */
void
mld_query(struct ip *ip, uint8_t port, struct bytes message, const struct ip_addr *src,
	  const struct ip6 *header, uint64_t now_ns)
{
	struct siphash_key key = { ip->config.hash_key, ~ip->config.hash_key };
	struct ip_addr group;
	uint64_t delay_ns, spread_ns;

	/* RFC 3810 section 6.2. */
	if (message.len < QUERY_BYTES_MIN || header->hop_limit != HOP_LIMIT || !header->has_router_alert ||
	    !ip_is_link_local(src)) {
		ip->drops[ERR_ICMP_NOT_ANSWERED]++;
		return;
	}
	group = ip_from_v6(message.ptr + 8);
	if (!ip_is_zero(&group) && !is_member(&ip->config.ports[port], &group))
		return;
	spread_ns = response_ms(order_get16(message.ptr + 4)) * NSEC_PER_MSEC;
	delay_ns = spread_ns == 0 ? 0 : siphash_1_3(&key, &now_ns, sizeof(now_ns)) % spread_ns;
	if (!ip_rate_allows(ip, &ip->answers_full_at_ns, now_ns))
		ip->drops[ERR_IP_NEIGHBOUR_RATE]++;
	else if (now_ns + delay_ns < ip->report_at_ns[port])
		ip->report_at_ns[port] = now_ns + delay_ns;
}

void
mld_advance(struct ip *ip, uint64_t now_ns)
{
	for (uint8_t port = 0; port < ip->config.port_count; port++) {
		if (now_ns < ip->report_at_ns[port])
			continue;
		ip->report_at_ns[port] = NEVER_NS;
		mld_report(ip, port, MLD_IS_EXCLUDE);
	}
}
