/*
 * Numbers that a stranger must not be able to guess: initial sequence numbers (RFC 6528), timestamp
 * offsets, and SYN cookies. A cookie is the initial sequence number of every SYN-ACK:
 *
 *    31   27 26  24 23                    0
 *   | step  |  mss |  MAC of all the rest  |
 *
 * step counts 64 s, mss is an index below. The MAC's key changes every TCP_COOKIE_KEY_STEPS steps. All workers
 * derive it from one secret and the clock, so they agree without a word, and the previous one stays valid for
 * as long as its last cookies. The window shift, SACK and ECN ride in the low bits of the
 * SYN-ACK's timestamp, which the client echoes:
 *
 *    31                    6 5  4 3       0
 *   | clock, rounded down   | E|S| shift   |     shift 15: no window scaling
 */
#include "tcp/internal.h"

#define STEP_BITS 5
#define MSS_BITS 3
#define MAC_MASK UINT32_C(0xffffff)
#define OPTION_MASK UINT32_C(0x3f)
#define OPTION_SACK UINT32_C(0x10)
#define OPTION_ECN UINT32_C(0x20)
#define OPTION_SHIFT_NONE UINT32_C(0x0f)

static const uint16_t mss_table[1 << MSS_BITS] = {
	TCP_MSS_MIN, 536, 1220, 1300, 1380, 1440, 1460, 8940,
};

struct siphash_key
tcp_key_derive(const struct siphash_key *secret, const char *use, uint64_t number)
{
	uint8_t text[24] = { 0 };
	struct siphash_key derived;

	for (uint32_t i = 0; i < 15 && use[i] != '\0'; i++)
		text[i] = (uint8_t)use[i];
	memcpy(text + 16, &number, sizeof(number));
	derived.k0 = siphash_2_4(secret, text, sizeof(text));
	text[15] = 1;
	derived.k1 = siphash_2_4(secret, text, sizeof(text));
	return derived;
}

uint32_t
tcp_isn_make(const struct tcp *t, const struct tcp_tuple *tuple, uint64_t now_ns)
{
	uint32_t clock = (uint32_t)(now_ns / (4 * NSEC_PER_USEC)); /* RFC 9293 section 3.4.1 */

	return t->config.isn_offset + clock + (uint32_t)siphash_2_4(&t->isn_key, tuple, sizeof(*tuple));
}

uint32_t
tcp_ts_offset(const struct tcp *t, const struct tcp_tuple *tuple)
{
	/* No ports: the clock must go on for the next connection between the same hosts, or
	 * TIME-WAIT could not tell new from old (RFC 7323 section 5.4). */
	struct ip_addr hosts[2] = { tuple->local, tuple->remote };

	return (uint32_t)siphash_2_4(&t->ts_key, hosts, sizeof(hosts));
}

static const struct siphash_key *
key_of(struct tcp *t, uint64_t step)
{
	uint64_t epoch = step / TCP_COOKIE_KEY_STEPS;
	struct tcp_cookie_key *k = &t->cookie_keys[epoch % 2];

	if (k->epoch != epoch + 1) { /* 0: none yet */
		k->epoch = epoch + 1;
		k->key = tcp_key_derive(&t->cookie_secret, "cookie", epoch);
	}
	return &k->key;
}

static uint32_t
mac_of(struct tcp *t, const struct tcp_tuple *tuple, uint32_t irs, uint32_t index,
       uint64_t step)
{
	struct {
		struct tcp_tuple tuple;
		uint32_t irs;
		uint32_t index;
		uint32_t step[2];
	} text = { *tuple, irs, index, { (uint32_t)step, (uint32_t)(step >> 32) } };

	return (uint32_t)siphash_2_4(key_of(t, step), &text, sizeof(text)) & MAC_MASK;
}

uint32_t
tcp_cookie_make(struct tcp *t, const struct tcp_tuple *tuple, uint32_t irs, uint16_t mss,
		uint64_t now_ns)
{
	uint64_t step = now_ns / TCP_COOKIE_STEP_NS;
	uint32_t index = (1 << MSS_BITS) - 1;

	while (index > 0 && mss_table[index] > mss)
		index--;
	return t->config.isn_offset + ((uint32_t)step << (32 - STEP_BITS) |
				       index << (32 - STEP_BITS - MSS_BITS) |
				       mac_of(t, tuple, irs, index, step));
}

bool
tcp_cookie_check(struct tcp *t, const struct tcp_tuple *tuple, uint32_t irs, uint32_t iss,
		 uint64_t now_ns, uint16_t *mss)
{
	uint64_t step = now_ns / TCP_COOKIE_STEP_NS;
	uint32_t cookie = iss - t->config.isn_offset;
	uint32_t index = cookie >> (32 - STEP_BITS - MSS_BITS) & ((1 << MSS_BITS) - 1);
	uint32_t behind = ((uint32_t)step - (cookie >> (32 - STEP_BITS))) & ((1 << STEP_BITS) - 1);

	if (behind > 1 || behind > step)
		return false;
	if (mac_of(t, tuple, irs, index, step - behind) != (cookie & MAC_MASK))
		return false;
	*mss = mss_table[index];
	return true;
}

uint32_t
tcp_cookie_ts_make(uint32_t timestamp, bool has_shift, uint8_t shift, bool sack_ok, bool ecn_ok)
{
	uint32_t bits = has_shift ? shift : OPTION_SHIFT_NONE;
	uint32_t value;

	if (sack_ok)
		bits |= OPTION_SACK;
	if (ecn_ok)
		bits |= OPTION_ECN;
	value = (timestamp & ~OPTION_MASK) | bits;
	/* Down, never up: what follows must not be older than this. */
	return seq_gt(value, timestamp) ? value - (OPTION_MASK + 1) : value;
}

void
tcp_cookie_ts_read(uint32_t echo, bool *has_shift, uint8_t *shift, bool *sack_ok, bool *ecn_ok)
{
	*sack_ok = (echo & OPTION_SACK) != 0;
	*ecn_ok = (echo & OPTION_ECN) != 0;
	*has_shift = (echo & OPTION_SHIFT_NONE) != OPTION_SHIFT_NONE;
	*shift = *has_shift ? (uint8_t)(echo & OPTION_SHIFT_NONE) : 0;
}
