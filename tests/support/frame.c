/* RFC 826, 791, 8200, 792, 4443, 4861, written and read without help. */
#include "frame.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

#define IP_AT 14

static void
mac_of(const char *text, uint8_t mac[6])
{
	CHECK(sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4],
		     &mac[5]) == 6);
}

struct ip_addr
frame_address(const char *text)
{
	struct ip_addr a = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff } };

	if (strchr(text, ':') != NULL)
		CHECK(inet_pton(AF_INET6, text, a.byte) == 1);
	else
		CHECK(inet_pton(AF_INET, text, a.byte + 12) == 1);
	return a;
}

void
frame_append(struct frame *f, const void *data, size_t len)
{
	CHECK(f->len + len <= sizeof(f->bytes));
	if (len > 0)
		memcpy(f->bytes + f->len, data, len);
	f->len += len;
}

void
frame_append_hex(struct frame *f, const char *hex)
{
	for (; *hex != '\0'; hex += *hex == ' ' ? 1 : 2) {
		char digits[3] = { hex[0], hex[0] == ' ' ? '\0' : hex[1] };
		uint8_t byte = (uint8_t)strtoul(digits, NULL, 16);

		if (*hex != ' ')
			frame_append(f, &byte, 1);
	}
}

static void
append16(struct frame *f, size_t value)
{
	uint8_t two[2] = { (uint8_t)(value >> 8), (uint8_t)value };

	frame_append(f, two, 2);
}

static void
append_mac(struct frame *f, const char *text)
{
	uint8_t mac[6];

	mac_of(text, mac);
	frame_append(f, mac, 6);
}

void
frame_ethernet(struct frame *f, const char *dst, const char *src, uint16_t type)
{
	f->len = 0;
	append_mac(f, dst);
	append_mac(f, src);
	append16(f, type);
}

void
frame_arp(struct frame *f, const char *to, uint16_t operation, const char *sender_mac,
	  const char *sender, const char *target)
{
	struct ip_addr from = frame_address(sender), about = frame_address(target);

	frame_ethernet(f, to, sender_mac, 0x0806);
	frame_append_hex(f, "0001 0800 06 04");
	append16(f, operation);
	append_mac(f, sender_mac);
	frame_append(f, from.byte + 12, 4);
	frame_append_hex(f, "000000000000");
	frame_append(f, about.byte + 12, 4);
	frame_append_hex(f, "000000000000 000000000000 000000000000"); /* Ethernet's padding */
}

void
frame_ip(struct frame *f, const char *src, const char *dst, uint8_t protocol)
{
	struct ip_addr from = frame_address(src), to = frame_address(dst);

	CHECK(f->len == IP_AT);
	if (strchr(src, ':') != NULL) {
		frame_append_hex(f, "60000000 0000");
		frame_append(f, &protocol, 1);
		frame_append_hex(f, "40");
		frame_append(f, from.byte, 16);
		frame_append(f, to.byte, 16);
	} else {
		frame_append_hex(f, "4500 0000 0000 4000 40");
		frame_append(f, &protocol, 1);
		frame_append_hex(f, "0000");
		frame_append(f, from.byte + 12, 4);
		frame_append(f, to.byte + 12, 4);
	}
}

/* Word by word, as RFC 1071 says it first. */
static uint32_t
add_words(uint32_t sum, const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)at[i] << 8 : at[i];
	return sum;
}

static uint16_t
complement(uint32_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint16_t
get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void
put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

struct packet {
	bool v6;
	uint8_t protocol;
	size_t upper_at;
	size_t end; /* of the datagram, in the frame */
};

static struct packet
packet_of(const struct frame *f)
{
	const uint8_t *at = f->bytes + IP_AT;
	struct packet p = { .v6 = at[0] >> 4 == 6 };

	p.protocol = p.v6 ? at[6] : at[9];
	p.upper_at = IP_AT + (p.v6 ? 40 : 20);
	/* Over hop-by-hop and destination options, as far as there is something behind them. */
	while (p.v6 && (p.protocol == 0 || p.protocol == 60) && p.upper_at + 2 <= f->len) {
		const uint8_t *header = f->bytes + p.upper_at;
		size_t len = 8 * ((size_t)header[1] + 1);

		if (p.upper_at + len + 20 > f->len)
			break;
		p.protocol = header[0];
		p.upper_at += len;
	}
	p.end = IP_AT + (p.v6 ? 40 + (size_t)get16(at + 4) : get16(at + 2));
	return p;
}

static uint32_t
pseudo(const struct frame *f, const struct packet *p)
{
	const uint8_t *at = f->bytes + IP_AT;
	uint32_t sum;

	if (p->protocol == 1)
		return 0;
	sum = p->v6 ? add_words(0, at + 8, 32) : add_words(0, at + 12, 8);
	return sum + (uint32_t)(p->end - p->upper_at) + p->protocol;
}

static size_t
checksum_at(uint8_t protocol)
{
	return protocol == 6 ? 16 : 2;
}

void
frame_end(struct frame *f)
{
	uint8_t *at = f->bytes + IP_AT;
	struct packet p = packet_of(f);
	uint8_t *field = f->bytes + p.upper_at + checksum_at(p.protocol);

	if (p.v6) {
		put16(at + 4, f->len - IP_AT - 40);
	} else {
		put16(at + 2, f->len - IP_AT);
		put16(at + 10, 0);
		put16(at + 10, complement(add_words(0, at, 20)));
	}
	p = packet_of(f);
	if (p.protocol != 1 && p.protocol != 6 && p.protocol != 58)
		return;
	put16(field, 0);
	put16(field, complement(add_words(pseudo(f, &p), f->bytes + p.upper_at, p.end - p.upper_at)));
}

static void
append_counting(struct frame *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)i;

		frame_append(f, &byte, 1);
	}
}

void
frame_echo(struct frame *f, const char *dst_mac, const char *src_mac, const char *src,
	   const char *dst, size_t payload_bytes)
{
	bool v6 = strchr(src, ':') != NULL;

	frame_ethernet(f, dst_mac, src_mac, v6 ? 0x86dd : 0x0800);
	frame_ip(f, src, dst, v6 ? 58 : 1);
	frame_append_hex(f, v6 ? "80 00 0000 1234 0001" : "08 00 0000 1234 0001");
	append_counting(f, payload_bytes);
	frame_end(f);
}

void
frame_tcp(struct frame *f, const char *dst_mac, const char *src_mac, const char *src,
	  uint16_t src_port, const char *dst, uint16_t dst_port, size_t payload_bytes)
{
	bool v6 = strchr(src, ':') != NULL;

	frame_ethernet(f, dst_mac, src_mac, v6 ? 0x86dd : 0x0800);
	frame_ip(f, src, dst, 6);
	append16(f, src_port);
	append16(f, dst_port);
	frame_append_hex(f, "00000001 00000000 50 02 ffff 0000 0000");
	append_counting(f, payload_bytes);
	frame_end(f);
}

void
frame_nd(struct frame *f, const char *dst_mac, const char *src_mac, const char *src,
	 const char *dst, uint8_t type, uint8_t flags, const char *target, const char *option_mac)
{
	struct ip_addr about = frame_address(target);
	uint8_t head[8] = { type, 0, 0, 0, flags };

	frame_ethernet(f, dst_mac, src_mac, 0x86dd);
	frame_ip(f, src, dst, 58);
	f->bytes[IP_AT + 7] = 255;
	frame_append(f, head, sizeof(head));
	frame_append(f, about.byte, 16);
	if (option_mac != NULL) {
		frame_append_hex(f, type == 135 ? "01 01" : "02 01");
		append_mac(f, option_mac);
	}
	frame_end(f);
}

void
frame_fragment(struct frame *f, const struct frame *whole, size_t front_bytes, size_t offset, size_t len,
	       bool more, uint32_t id)
{
	bool v6 = whole->bytes[IP_AT] >> 4 == 6;
	size_t front = IP_AT + (v6 ? 40 : 20) + front_bytes;
	uint8_t *at = f->bytes + IP_AT;

	CHECK(front + offset + len <= whole->len && offset % 8 == 0);
	f->len = 0;
	frame_append(f, whole->bytes, front);
	if (v6) {
		/* The last header in front names it. */
		uint8_t *name = front_bytes == 0 ? at + 6 : at + 40;
		uint8_t header[8] = { *name, 0, (uint8_t)(offset >> 8), (uint8_t)(offset | more),
				      (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
				      (uint8_t)id };

		*name = 44;
		frame_append(f, header, sizeof(header));
		put16(at + 4, front_bytes + 8 + len);
	} else {
		put16(at + 2, 20 + len);
		put16(at + 4, id);
		put16(at + 6, (more ? 0x2000u : 0) | offset / 8);
		put16(at + 10, 0);
		put16(at + 10, complement(add_words(0, at, 20)));
	}
	frame_append(f, whole->bytes + front + offset, len);
}

struct pkt *
frame_to_pkt(const struct frame *f, size_t first_bytes, struct pkt_pool *pool)
{
	size_t at = first_bytes == 0 || first_bytes > f->len ? f->len : first_bytes;
	struct pkt *p = pkt_alloc(pool);

	CHECK(p != NULL);
	memcpy(pkt_append(p, (uint32_t)at), f->bytes, at);
	while (at < f->len) {
		size_t n = f->len - at < PKT_ROOM_BYTES ? f->len - at : PKT_ROOM_BYTES;
		struct pkt *more = pkt_alloc(pool);

		CHECK(more != NULL);
		memcpy(pkt_append(more, (uint32_t)n), f->bytes + at, n);
		pkt_chain(p, more);
		at += n;
	}
	return p;
}

void
frame_from_pkt(struct frame *f, struct pkt *p)
{
	f->len = pkt_total(p);
	CHECK(f->len <= sizeof(f->bytes));
	pkt_copy_out(p, 0, f->bytes, (uint32_t)f->len);
	pkt_free(p);
}

/* --- description ------------------------------------------------------------------------- */

static const char *
mac_text(const uint8_t *mac, char text[18])
{
	snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return text;
}

static void
describe_arp(const uint8_t *at, const char *to, char *text, size_t room)
{
	char sender[INET_ADDRSTRLEN], target[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, at + 14, sender, sizeof(sender));
	inet_ntop(AF_INET, at + 24, target, sizeof(target));
	snprintf(text, room, "arp %s %s about %s to %s", get16(at + 6) == 1 ? "ask" : "answer", sender,
		 target, to);
}

static bool
is_good(const struct frame *f, const struct packet *p)
{
	if (p->end > f->len || p->end < p->upper_at)
		return false;
	if (!p->v6 && complement(add_words(0, f->bytes + IP_AT, 20)) != 0)
		return false;
	return complement(add_words(pseudo(f, p), f->bytes + p->upper_at, p->end - p->upper_at)) == 0;
}

static void
describe_mld(const uint8_t *upper, const char *src, const char *dst, const char *bad, char *text, size_t room)
{
	size_t used;

	snprintf(text, room, "mld %s %s > %s%s", upper[8] == 4 ? "to-exclude" : "is-exclude", src, dst, bad);
	for (int i = 0; i < get16(upper + 6); i++) {
		char group[INET6_ADDRSTRLEN];

		inet_ntop(AF_INET6, upper + 12 + 20 * i, group, sizeof(group));
		used = strlen(text);
		snprintf(text + used, room - used, " group %s", group);
	}
}

static void
describe_ip(const struct frame *f, const char *to, char *text, size_t room)
{
	struct packet p = packet_of(f);
	const uint8_t *upper = f->bytes + p.upper_at;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], target[INET6_ADDRSTRLEN];
	const char *bad = is_good(f, &p) ? "" : " bad";

	inet_ntop(p.v6 ? AF_INET6 : AF_INET, f->bytes + IP_AT + (p.v6 ? 8 : 12), src, sizeof(src));
	inet_ntop(p.v6 ? AF_INET6 : AF_INET, f->bytes + IP_AT + (p.v6 ? 24 : 16), dst, sizeof(dst));
	if (p.protocol == 6) {
		snprintf(text, room, "tcp %s:%u > %s:%u%s", src, get16(upper), dst, get16(upper + 2), bad);
		return;
	}
	if (upper[0] == 135 || upper[0] == 136) {
		inet_ntop(AF_INET6, upper + 8, target, sizeof(target));
		snprintf(text, room, "%s %s > %s about %s to %s%s%s%s", upper[0] == 135 ? "ns" : "na", src,
			 dst, target, to, upper[4] & 0x40 ? " solicited" : "",
			 upper[4] & 0x20 ? " override" : "", bad);
		return;
	}
	if (upper[0] == 143 && p.protocol == 58) {
		describe_mld(upper, src, dst, bad, text, room);
		return;
	}
	snprintf(text, room, "icmp %u %s > %s%s", upper[0], src, dst, bad);
}

void
frame_describe(const struct frame *f, char *text, size_t room)
{
	char to[18];

	mac_text(f->bytes, to);
	if (get16(f->bytes + 12) == 0x0806)
		describe_arp(f->bytes + IP_AT, to, text, room);
	else
		describe_ip(f, to, text, room);
}
