#include "datagram.h"

#include <string.h>

#include "wire/csum.h"
#include "wire/eth.h"
#include "wire/icmp.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/order.h"

/* RFC 1812 section 4.3.2.3 and RFC 4443 section 2.4(c): as much of the packet as fits. */
#define ERROR4_BYTES_MAX 576
#define ERROR6_BYTES_MAX 1280
#define DONT_FRAGMENT 0x4000
#define TCP_CSUM_AT 16
#define TCP_HEADER_BYTES 20

/* Both families, as the changes need them. */
struct datagram {
	uint8_t *ip;     /* header */
	uint32_t bytes;  /* of the IP packet, padding not counted */
	uint32_t upper;  /* offset of what is behind the headers */
	uint8_t protocol;
	uint8_t ecn;
	bool is_v6;
	bool is_fragment;
	uint8_t src[16]; /* IPv4 as mapped */
	uint8_t dst[16];
};

static void
map_v4(const uint8_t v4[4], uint8_t to[16])
{
	memset(to, 0, 10);
	memset(to + 10, 0xff, 2);
	memcpy(to + 12, v4, 4);
}

static bool
find4(struct bytes packet, struct datagram *d)
{
	struct ip4 ip;

	if (ip4_parse(packet, packet.len, false, &ip) != ERR_OK)
		return false;
	d->bytes = ip.total_bytes;
	d->upper = ip.header_bytes;
	d->protocol = ip.protocol;
	d->ecn = ip.ecn;
	d->is_fragment = ip.is_fragment;
	map_v4(ip.src, d->src);
	map_v4(ip.dst, d->dst);
	return true;
}

static bool
find6(struct bytes packet, struct datagram *d)
{
	struct ip6 ip;

	if (ip6_parse(packet, packet.len, &ip) != ERR_OK)
		return false;
	d->is_v6 = true;
	d->bytes = ip.total_bytes;
	d->upper = ip.upper_offset;
	d->protocol = ip.upper_protocol;
	d->ecn = ip.ecn;
	d->is_fragment = ip.is_fragment;
	memcpy(d->src, ip.src, 16);
	memcpy(d->dst, ip.dst, 16);
	return true;
}

static bool
find(uint8_t *frame, uint32_t len, struct eth *eth, struct datagram *d)
{
	struct bytes packet;

	memset(d, 0, sizeof(*d));
	if (!eth_parse(bytes_make(frame, len), eth))
		return false;
	packet = bytes_after(bytes_make(frame, len), eth->header_bytes);
	d->ip = frame + eth->header_bytes;
	if (eth->type == ETH_TYPE_IP4)
		return find4(packet, d);
	return eth->type == ETH_TYPE_IP6 && find6(packet, d);
}

struct impair_frame
datagram_look(struct bytes frame)
{
	struct impair_frame look = { .bytes = (uint32_t)frame.len };
	struct datagram d;
	struct eth eth;

	if (find((uint8_t *)frame.ptr, (uint32_t)frame.len, &eth, &d)) {
		look.ip_bytes = d.bytes;
		look.may_mark = d.ecn == 1 || d.ecn == 2;
	}
	return look;
}

static void
fix_header4(struct datagram *d)
{
	uint32_t header_bytes = (uint32_t)(d->ip[0] & 15) * 4;
	uint16_t csum;

	memset(d->ip + 10, 0, 2);
	csum = csum_finish(csum_add(0, d->ip, header_bytes));
	memcpy(d->ip + 10, &csum, sizeof(csum));
}

void
datagram_mark(uint8_t *frame, uint32_t len)
{
	struct datagram d;
	struct eth eth;

	if (!find(frame, len, &eth, &d))
		return;
	if (d.is_v6) {
		d.ip[1] |= 0x30;
	} else {
		d.ip[1] |= 3;
		fix_header4(&d);
	}
}

void
datagram_repair(uint8_t *frame, uint32_t len)
{
	struct datagram d;
	struct eth eth;
	uint32_t tcp_bytes;
	uint16_t csum;
	uint8_t *tcp;

	if (!find(frame, len, &eth, &d))
		return;
	if (!d.is_v6)
		fix_header4(&d);
	tcp = d.ip + d.upper;
	tcp_bytes = d.bytes - d.upper;
	if (d.protocol != IP_TCP || d.is_fragment || tcp_bytes < TCP_HEADER_BYTES)
		return;
	memset(tcp + TCP_CSUM_AT, 0, 2);
	csum = csum_finish(csum_add(csum_pseudo(d.src, d.dst, IP_TCP, tcp_bytes), tcp, tcp_bytes));
	memcpy(tcp + TCP_CSUM_AT, &csum, sizeof(csum));
}

static bool
is_icmp_error(const struct datagram *d)
{
	uint8_t type = d->bytes > d->upper ? d->ip[d->upper] : 0;

	if (d->protocol == IP_ICMP6)
		return type < 128;
	return d->protocol == IP_ICMP && type != ICMP4_ECHO && type != ICMP4_ECHO_REPLY;
}

static uint32_t
answer4(const struct datagram *d, uint32_t mtu_bytes, uint8_t *to)
{
	uint32_t quoted = d->bytes;
	uint8_t *icmp = to + IP4_HEADER_BYTES;
	struct ip4 ip = { .ttl = 64, .protocol = IP_ICMP };
	uint16_t csum;

	if (quoted > ERROR4_BYTES_MAX - IP4_HEADER_BYTES - ICMP_HEADER_BYTES)
		quoted = ERROR4_BYTES_MAX - IP4_HEADER_BYTES - ICMP_HEADER_BYTES;
	ip.total_bytes = (uint16_t)(IP4_HEADER_BYTES + ICMP_HEADER_BYTES + quoted);
	memcpy(ip.src, d->dst + 12, 4);
	memcpy(ip.dst, d->src + 12, 4);
	ip4_emit(&ip, to);
	memset(icmp, 0, ICMP_HEADER_BYTES);
	icmp[0] = ICMP4_UNREACHABLE;
	icmp[1] = ICMP4_CODE_TOO_BIG;
	order_put16(icmp + 6, (uint16_t)mtu_bytes);
	memcpy(icmp + ICMP_HEADER_BYTES, d->ip, quoted);
	csum = csum_finish(csum_add(0, icmp, ICMP_HEADER_BYTES + quoted));
	memcpy(icmp + 2, &csum, sizeof(csum));
	return ip.total_bytes;
}

static uint32_t
answer6(const struct datagram *d, uint32_t mtu_bytes, uint8_t *to)
{
	uint32_t quoted = d->bytes;
	uint8_t *icmp = to + IP6_HEADER_BYTES;
	struct ip6 ip = { .hop_limit = 64, .upper_protocol = IP_ICMP6 };
	uint32_t icmp_bytes;
	uint16_t csum;

	if (quoted > ERROR6_BYTES_MAX - IP6_HEADER_BYTES - ICMP_HEADER_BYTES)
		quoted = ERROR6_BYTES_MAX - IP6_HEADER_BYTES - ICMP_HEADER_BYTES;
	icmp_bytes = ICMP_HEADER_BYTES + quoted;
	ip.total_bytes = (uint16_t)(IP6_HEADER_BYTES + icmp_bytes);
	memcpy(ip.src, d->dst, 16);
	memcpy(ip.dst, d->src, 16);
	ip6_emit(&ip, to);
	memset(icmp, 0, ICMP_HEADER_BYTES);
	icmp[0] = ICMP6_TOO_BIG;
	order_put32(icmp + 4, mtu_bytes);
	memcpy(icmp + ICMP_HEADER_BYTES, d->ip, quoted);
	csum = csum_finish(csum_add(csum_pseudo(ip.src, ip.dst, IP_ICMP6, icmp_bytes), icmp, icmp_bytes));
	memcpy(icmp + 2, &csum, sizeof(csum));
	return ip.total_bytes;
}

uint32_t
datagram_too_big(struct bytes frame, uint32_t mtu_bytes, uint8_t to[DATAGRAM_ERROR_BYTES_MAX])
{
	struct datagram d;
	struct eth eth;
	struct eth back;
	uint32_t at;

	if (!find((uint8_t *)frame.ptr, (uint32_t)frame.len, &eth, &d) || is_icmp_error(&d))
		return 0;
	if (!d.is_v6 && (order_get16(d.ip + 6) & DONT_FRAGMENT) == 0)
		return 0;
	back = eth;
	back.src = eth.dst;
	back.dst = eth.src;
	at = eth_emit(&back, to);
	return at + (d.is_v6 ? answer6(&d, mtu_bytes, to + at) : answer4(&d, mtu_bytes, to + at));
}
