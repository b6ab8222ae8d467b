/* Header and options. Options are emitted in the order that other stacks use, padded by NOPs in
 * front so that 32-bit fields are aligned (RFC 7323 appendix A). */
#include "wire/tcphdr.h"

#include "base/check.h"

enum kind {
	KIND_END = 0,
	KIND_NOP = 1,
	KIND_MSS = 2,
	KIND_SHIFT = 3,
	KIND_SACK_OK = 4,
	KIND_SACK = 5,
	KIND_TIMES = 8,
};

static uint16_t
read16(const uint8_t *ptr)
{
	return (uint16_t)(ptr[0] << 8 | ptr[1]);
}

static uint32_t
read32(const uint8_t *ptr)
{
	return (uint32_t)ptr[0] << 24 | (uint32_t)ptr[1] << 16 | (uint32_t)ptr[2] << 8 | ptr[3];
}

static void
write16(uint8_t *ptr, uint16_t value)
{
	ptr[0] = (uint8_t)(value >> 8);
	ptr[1] = (uint8_t)value;
}

static void
write32(uint8_t *ptr, uint32_t value)
{
	write16(ptr, (uint16_t)(value >> 16));
	write16(ptr + 2, (uint16_t)value);
}

static void
parse_option(struct tcphdr *h, const uint8_t *option, uint8_t len)
{
	switch (option[0]) {
	case KIND_MSS:
		if (len != 4)
			return;
		h->options |= TCPHDR_HAS_MSS;
		h->mss = read16(option + 2);
		return;
	case KIND_SHIFT:
		if (len != 3)
			return;
		h->options |= TCPHDR_HAS_SHIFT;
		h->shift = option[2];
		return;
	case KIND_SACK_OK:
		if (len == 2)
			h->options |= TCPHDR_HAS_SACK_OK;
		return;
	case KIND_SACK:
		if (len % 8 != 2 || len < 10)
			return;
		h->sack_count = (uint8_t)((len - 2) / 8);
		if (h->sack_count > TCPHDR_SACK_MAX)
			h->sack_count = TCPHDR_SACK_MAX;
		for (uint32_t i = 0; i < h->sack_count; i++) {
			h->sack[i].start = read32(option + 2 + 8 * i);
			h->sack[i].end = read32(option + 6 + 8 * i);
		}
		return;
	case KIND_TIMES:
		if (len != 10)
			return;
		h->options |= TCPHDR_HAS_TIMES;
		h->ts_value = read32(option + 2);
		h->ts_echo = read32(option + 6);
		return;
	default:
		return;
	}
}

static void
parse_options(struct tcphdr *h, struct bytes left)
{
	while (left.len > 0 && left.ptr[0] != KIND_END) {
		uint8_t len = 1;

		if (left.ptr[0] != KIND_NOP) {
			if (left.len < 2 || left.ptr[1] < 2 || left.ptr[1] > left.len)
				return;
			len = left.ptr[1];
			parse_option(h, left.ptr, len);
		}
		bytes_advance(&left, len);
	}
}

enum err
tcphdr_parse(struct bytes segment, struct tcphdr *h)
{
	const uint8_t *ptr = segment.ptr;
	uint8_t header_bytes;

	if (segment.len < TCPHDR_BYTES)
		return ERR_TCP_HEADER;
	header_bytes = (uint8_t)((ptr[12] >> 4) * 4);
	if (header_bytes < TCPHDR_BYTES || header_bytes > segment.len)
		return ERR_TCP_HEADER;
	*h = (struct tcphdr){
		.src_port = read16(ptr),
		.dst_port = read16(ptr + 2),
		.seq = read32(ptr + 4),
		.ack = read32(ptr + 8),
		.flags = ptr[13],
		.window = read16(ptr + 14),
		.header_bytes = header_bytes,
	};
	parse_options(h, bytes_make(ptr + TCPHDR_BYTES, (size_t)(header_bytes - TCPHDR_BYTES)));
	return ERR_OK;
}

uint32_t
tcphdr_bytes(const struct tcphdr *h)
{
	uint32_t n = TCPHDR_BYTES;

	if (h->options & TCPHDR_HAS_MSS)
		n += 4;
	if (h->options & TCPHDR_HAS_TIMES)
		n += 12; /* SACK permitted takes the place of the two NOPs */
	else if (h->options & TCPHDR_HAS_SACK_OK)
		n += 4;
	if (h->options & TCPHDR_HAS_SHIFT)
		n += 4;
	if (h->sack_count > 0)
		n += 4 + 8 * (uint32_t)h->sack_count;
	return n;
}

static uint8_t *
emit_times(const struct tcphdr *h, uint8_t *to)
{
	bool sack_ok = (h->options & TCPHDR_HAS_SACK_OK) != 0;

	if (h->options & TCPHDR_HAS_TIMES || sack_ok) {
		to[0] = sack_ok ? KIND_SACK_OK : KIND_NOP;
		to[1] = sack_ok ? 2 : KIND_NOP;
		to += 2;
	}
	if (h->options & TCPHDR_HAS_TIMES) {
		to[0] = KIND_TIMES;
		to[1] = 10;
		write32(to + 2, h->ts_value);
		write32(to + 6, h->ts_echo);
		return to + 10;
	}
	if (sack_ok) {
		to[0] = KIND_NOP;
		to[1] = KIND_NOP;
		to += 2;
	}
	return to;
}

static uint8_t *
emit_sack(const struct tcphdr *h, uint8_t *to)
{
	if (h->sack_count == 0)
		return to;
	to[0] = KIND_NOP;
	to[1] = KIND_NOP;
	to[2] = KIND_SACK;
	to[3] = (uint8_t)(2 + 8 * h->sack_count);
	to += 4;
	for (uint32_t i = 0; i < h->sack_count; i++, to += 8) {
		write32(to, h->sack[i].start);
		write32(to + 4, h->sack[i].end);
	}
	return to;
}

void
tcphdr_emit(const struct tcphdr *h, uint8_t *to)
{
	uint32_t n = tcphdr_bytes(h);
	uint8_t *option = to + TCPHDR_BYTES;

	CHECK_HOT(n <= TCPHDR_BYTES_MAX);
	write16(to, h->src_port);
	write16(to + 2, h->dst_port);
	write32(to + 4, h->seq);
	write32(to + 8, h->ack);
	to[12] = (uint8_t)(n / 4 << 4);
	to[13] = h->flags;
	write16(to + 14, h->window);
	write32(to + 16, 0);
	if (h->options & TCPHDR_HAS_MSS) {
		option[0] = KIND_MSS;
		option[1] = 4;
		write16(option + 2, h->mss);
		option += 4;
	}
	option = emit_times(h, option);
	if (h->options & TCPHDR_HAS_SHIFT) {
		option[0] = KIND_NOP;
		option[1] = KIND_SHIFT;
		option[2] = 3;
		option[3] = h->shift;
		option += 4;
	}
	option = emit_sack(h, option);
	CHECK_HOT(option == to + n);
}
