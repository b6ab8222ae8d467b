/* TCP segments by hand: RFC 9293 section 3.1, RFC 7323 section 2 and 3, RFC 2018 section 3. */
#include "segment.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

#define HEADER_BYTES 20

static uint16_t
get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t
get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static uint8_t *
put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return at + 2;
}

static uint8_t *
put32(uint8_t *at, uint32_t value)
{
	return put16(put16(at, (uint16_t)(value >> 16)), (uint16_t)value);
}

static bool
is_v4(const struct ip_addr *a)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(a->byte, prefix, sizeof(prefix)) == 0;
}

/* --- checksum ---------------------------------------------------------------- */

static uint32_t
sum_of(const uint8_t *at, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i % 2 == 0 ? (uint32_t)at[i] << 8 : at[i];
	return sum;
}

static uint16_t
folded(const uint8_t *flat, size_t len, const struct ip_addr *src, const struct ip_addr *dst)
{
	size_t skip = is_v4(dst) ? 12 : 0;
	uint32_t sum = 6 + (uint32_t)len;

	sum = sum_of(src->byte + skip, 16 - skip, sum);
	sum = sum_of(dst->byte + skip, 16 - skip, sum);
	sum = sum_of(flat, len, sum);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

bool
segment_checksum_is_good(struct bytes flat, const struct ip_addr *src, const struct ip_addr *dst)
{
	return folded(flat.ptr, flat.len, src, dst) == 0;
}

void
segment_checksum_repair(uint8_t *flat, size_t len, const struct ip_addr *src,
			const struct ip_addr *dst)
{
	if (len < HEADER_BYTES)
		return;
	put16(flat + 16, 0);
	put16(flat + 16, folded(flat, len, src, dst));
}

/* --- parse ------------------------------------------------------------------- */

static void
parse_option(struct segment *s, uint8_t kind, const uint8_t *value, size_t len)
{
	if (kind == 2 && len == 2) {
		s->has_mss = true;
		s->mss = get16(value);
	} else if (kind == 3 && len == 1) {
		s->has_wscale = true;
		s->wscale = value[0];
	} else if (kind == 4 && len == 0) {
		s->has_sack_ok = true;
	} else if (kind == 8 && len == 8) {
		s->has_ts = true;
		s->ts_val = get32(value);
		s->ts_ecr = get32(value + 4);
	} else if (kind == 5 && len % 8 == 0 && len > 0 && len <= 32) {
		s->sacks = (uint8_t)(len / 8);
		for (size_t i = 0; i < s->sacks; i++) {
			s->sack[i].left = get32(value + 8 * i);
			s->sack[i].right = get32(value + 8 * i + 4);
		}
	} else {
		s->options_bad = true;
	}
}

static void
parse_options(struct segment *s)
{
	const uint8_t *at = s->options.ptr;
	size_t left = s->options.len;

	while (left > 0 && at[0] != 0) {
		if (at[0] == 1) {
			at++;
			left--;
			continue;
		}
		if (left < 2 || at[1] < 2 || at[1] > left) {
			s->options_bad = true;
			return;
		}
		parse_option(s, at[0], at + 2, at[1] - 2u);
		left -= at[1];
		at += at[1];
	}
}

bool
segment_parse(struct bytes flat, const struct pkt_meta *meta, struct segment *s)
{
	size_t header;

	memset(s, 0, sizeof(*s));
	if (flat.len < HEADER_BYTES)
		return false;
	header = (size_t)(flat.ptr[12] >> 4) * 4;
	if (header < HEADER_BYTES || header > flat.len)
		return false;
	s->src = meta->src;
	s->dst = meta->dst;
	s->ecn = meta->ecn;
	s->src_port = get16(flat.ptr);
	s->dst_port = get16(flat.ptr + 2);
	s->seq = get32(flat.ptr + 4);
	s->ack = get32(flat.ptr + 8);
	s->flags = flat.ptr[13];
	s->window = get16(flat.ptr + 14);
	s->urgent = get16(flat.ptr + 18);
	s->options = bytes_make(flat.ptr + HEADER_BYTES, header - HEADER_BYTES);
	s->payload = bytes_after(flat, header);
	parse_options(s);
	return true;
}

bool
segment_parse_pkt(const struct pkt *p, uint8_t *flat, struct segment *s)
{
	uint32_t len = pkt_total(p);

	CHECK(len <= SEGMENT_BYTES_MAX);
	pkt_copy_out(p, 0, flat, len);
	return segment_parse(bytes_make(flat, len), pkt_meta(p), s);
}

/* --- emit -------------------------------------------------------------------- */

static uint8_t *
emit_options(const struct segment *s, uint8_t *at)
{
	if (s->has_mss) {
		*at++ = 2;
		*at++ = 4;
		at = put16(at, s->mss);
	}
	if (s->has_sack_ok) {
		*at++ = 4;
		*at++ = 2;
	}
	if (s->has_ts) {
		*at++ = 8;
		*at++ = 10;
		at = put32(put32(at, s->ts_val), s->ts_ecr);
	}
	if (s->has_wscale) {
		*at++ = 3;
		*at++ = 3;
		*at++ = s->wscale;
	}
	if (s->sacks > 0) {
		*at++ = 5;
		*at++ = (uint8_t)(2 + 8 * s->sacks);
		for (int i = 0; i < s->sacks; i++)
			at = put32(put32(at, s->sack[i].left), s->sack[i].right);
	}
	return at;
}

size_t
segment_emit(const struct segment *s, uint8_t *flat)
{
	uint8_t options[SEGMENT_OPTION_BYTES_MAX + 64];
	size_t count = (size_t)(emit_options(s, options) - options);
	uint8_t pad = 1;
	uint8_t *at = flat;

	if (s->raw_options.len > 0) {
		count = s->raw_options.len;
		CHECK(count <= SEGMENT_OPTION_BYTES_MAX);
		memcpy(options, s->raw_options.ptr, count);
		pad = s->raw_pad;
	}
	while (count % 4 != 0)
		options[count++] = pad;
	CHECK(count <= SEGMENT_OPTION_BYTES_MAX);
	CHECK(HEADER_BYTES + count + s->payload.len <= SEGMENT_BYTES_MAX);
	at = put16(put16(at, s->src_port), s->dst_port);
	at = put32(put32(at, s->seq), s->ack);
	*at++ = (uint8_t)((HEADER_BYTES + count) / 4 << 4);
	*at++ = s->flags;
	at = put16(put16(put16(at, s->window), 0), s->urgent);
	memcpy(at, options, count);
	at += count;
	if (s->payload.len > 0)
		memcpy(at, s->payload.ptr, s->payload.len);
	at += s->payload.len;
	segment_checksum_repair(flat, (size_t)(at - flat), &s->src, &s->dst);
	return (size_t)(at - flat);
}

struct pkt *
segment_pkt_from(struct bytes flat, size_t first_bytes, struct pkt_pool *pool)
{
	struct pkt *head = pkt_alloc(pool);

	if (head == NULL)
		return NULL;
	if (first_bytes == 0 || first_bytes > pkt_tailroom(head))
		first_bytes = pkt_tailroom(head);
	for (bool is_first = true; is_first || flat.len > 0; is_first = false) {
		struct pkt *piece = is_first ? head : pkt_alloc(pool);
		size_t n;

		if (piece == NULL) {
			pkt_free(head);
			return NULL;
		}
		n = is_first ? first_bytes : pkt_tailroom(piece);
		if (n > flat.len)
			n = flat.len;
		if (n > 0)
			memcpy(pkt_append(piece, (uint32_t)n), flat.ptr, n);
		bytes_advance(&flat, n);
		if (!is_first)
			pkt_chain(head, piece);
	}
	return head;
}

struct pkt *
segment_to_pkt(const struct segment *s, struct pkt_pool *pool)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	size_t len = segment_emit(s, flat);
	struct pkt *p = segment_pkt_from(bytes_make(flat, len), 0, pool);

	if (p == NULL)
		return NULL;
	pkt_meta(p)->src = s->src;
	pkt_meta(p)->dst = s->dst;
	pkt_meta(p)->ecn = s->ecn;
	pkt_meta(p)->l4_csum = PKT_CSUM_UNKNOWN;
	return p;
}

/* --- words ------------------------------------------------------------------- */

uint32_t
segment_seq_len(const struct segment *s)
{
	return (uint32_t)s->payload.len + ((s->flags & SEGMENT_SYN) != 0) +
	       ((s->flags & SEGMENT_FIN) != 0);
}

struct text {
	char *at;
	size_t left;
};

__attribute__((format(printf, 2, 3))) static void
say(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->at, t->left, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= t->left)
		n = (int)t->left - 1;
	t->at += n;
	t->left -= (size_t)n;
}

static void
say_options(struct text *t, const struct segment *s, uint32_t ack_base)
{
	const char *comma = "";

	if (s->options.len == 0 && !s->has_mss && !s->has_ts && s->sacks == 0)
		return;
	say(t, " <");
	if (s->has_mss) {
		say(t, "mss %u", s->mss);
		comma = ",";
	}
	if (s->has_sack_ok) {
		say(t, "%ssackOK", comma);
		comma = ",";
	}
	if (s->has_ts) {
		say(t, "%sTS val %u ecr %u", comma, s->ts_val, s->ts_ecr);
		comma = ",";
	}
	if (s->has_wscale) {
		say(t, "%swscale %u", comma, s->wscale);
		comma = ",";
	}
	if (s->sacks > 0)
		say(t, "%ssack", comma);
	for (int i = 0; i < s->sacks; i++)
		say(t, " %u:%u", s->sack[i].left - ack_base, s->sack[i].right - ack_base);
	say(t, s->options_bad ? " BAD>" : ">");
}

void
segment_format(const struct segment *s, uint32_t seq_base, uint32_t ack_base, char *text,
	       size_t size)
{
	static const char letters[] = "FSRP.UEC";
	struct text t = { text, size };
	uint32_t seq = s->seq - seq_base;

	CHECK(size > 0);
	for (int i = 7; i >= 0; i--)
		if (letters[i] != '.' && (s->flags & 1 << i) != 0)
			say(&t, "%c", letters[i]);
	if ((s->flags & SEGMENT_ACK) != 0)
		say(&t, ".");
	if (s->flags == 0)
		say(&t, "-");
	say(&t, " %u:%u(%zu)", seq, seq + (uint32_t)s->payload.len, s->payload.len);
	if ((s->flags & SEGMENT_ACK) != 0)
		say(&t, " ack %u", s->ack - ack_base);
	say(&t, " win %u", s->window);
	say_options(&t, s, ack_base);
}
