#pragma once

/* One stack (pair.b) and a peer made by hand, for the tests of this folder. */

#include "pair.h"

#include "wire/csum.h"

/* The peer's side of the conversation, as plain numbers. */
static struct {
	uint16_t port;
	uint32_t seq;   /* next number of ours */
	uint32_t first; /* number of the stream's first byte */
	uint32_t ack; /* next number expected from the stack */
	bool times;
	uint32_t ts_value;
	uint32_t ts_echo;
} peer;

static inline struct pkt *
segment_make(const struct tcphdr *header, uint32_t len)
{
	struct tcphdr h = *header;
	struct pkt *p = pkt_alloc(&pair.a.headers);
	uint16_t sum;
	uint8_t *to;

	assert_non_null(p);
	h.src_port = peer.port;
	h.dst_port = SERVER_PORT;
	if (h.window == 0)
		h.window = 60000;
	if (peer.times) {
		h.options |= TCPHDR_HAS_TIMES;
		h.ts_value = peer.ts_value;
		h.ts_echo = peer.ts_echo;
	}
	tcphdr_emit(&h, pkt_append(p, tcphdr_bytes(&h)));
	to = pkt_append(p, len);
	for (uint32_t i = 0; i < len; i++)
		to[i] = stream_byte(h.seq - peer.first + i);
	pkt_meta(p)->src = v4(1);
	pkt_meta(p)->dst = v4(2);
	sum = csum_finish(csum_add(csum_pseudo(v4(1).byte, v4(2).byte, 6, pkt_total(p)), pkt_data(p),
				   pkt_len(p)));
	memcpy(pkt_data(p) + TCPHDR_CHECKSUM_OFFSET, &sum, sizeof(sum));
	return p;
}

static inline enum err
inject(const struct tcphdr *h, uint32_t len)
{
	enum err verdict = tcp_input(pair.b.tcp, segment_make(h, len), pair.now_ns);

	tcp_check(pair.b.tcp);
	return verdict;
}

/* A segment of the peer with these flags, at its next number plus shift. */
static inline enum err
send_flags(uint8_t flags, int32_t shift, uint32_t len)
{
	struct tcphdr h = { .seq = peer.seq + (uint32_t)shift, .ack = peer.ack, .flags = flags };

	return inject(&h, len);
}

static inline bool
is_checksum_good(const struct pkt *p)
{
	uint32_t n = pkt_total(p);
	uint8_t flat[4096];

	assert_in_range(n, TCPHDR_BYTES, sizeof(flat));
	pkt_copy_out(p, 0, flat, n);
	return csum_is_good(csum_add(csum_pseudo(v4(2).byte, v4(1).byte, 6, n), flat, n));
}

/* What the stack has to say; false: nothing. The last of several is in *h. */
static inline bool
answer(struct tcphdr *h)
{
	struct pkt *p;
	bool any = false;

	side_output(&pair.b);
	while ((p = tcp_transmit_next(pair.b.tcp)) != NULL) {
		assert_int_equal(tcphdr_parse(bytes_make(pkt_data(p), pkt_len(p)), h), ERR_OK);
		assert_true(is_checksum_good(p));
		pkt_free(p);
		any = true;
	}
	return any;
}

static inline bool
is_silent(void)
{
	struct tcphdr h;

	return !answer(&h);
}

static inline void
listen_only(void)
{
	pair_init(NULL);
	memset(&peer, 0, sizeof(peer));
	peer.port = 5555;
	peer.seq = 1000000;
	peer.first = peer.seq + 1;
	peer.ts_value = 5000;
	assert_int_equal(tcp_listen(pair.b.tcp, &pair.b.address, SERVER_PORT, 0), ERR_OK);
}

static inline struct tcphdr
handshake_syn_of(uint8_t options, uint16_t mss)
{
	struct tcphdr syn = { .seq = peer.seq, .flags = TCPHDR_SYN, .mss = mss, .shift = 2 };
	struct tcphdr h = { 0 };

	syn.options = options | TCPHDR_HAS_MSS;
	assert_int_equal(inject(&syn, 0), ERR_OK);
	assert_true(answer(&h));
	assert_int_equal(h.flags, TCPHDR_SYN | TCPHDR_ACK);
	assert_int_equal(h.ack, peer.seq + 1);
	peer.seq++;
	peer.ack = h.seq + 1;
	peer.ts_echo = h.ts_value;
	return h;
}

static inline struct tcphdr
handshake_syn(uint8_t options)
{
	return handshake_syn_of(options, 1400);
}

static inline void
established(void)
{
	listen_only();
	peer.times = true;
	handshake_syn(TCPHDR_HAS_SACK_OK | TCPHDR_HAS_SHIFT);
	assert_int_equal(send_flags(TCPHDR_ACK, 0, 0), ERR_OK);
	assert_true(is_silent());
	assert_true(pair.b.events & TCP_EVENT_ACCEPTED);
}

/* b has closed first and is in TIME-WAIT. */
static inline void
time_wait_of(bool times, uint16_t mss)
{
	struct tcphdr h;

	listen_only();
	peer.times = times;
	handshake_syn_of(0, mss);
	send_flags(TCPHDR_ACK, 0, 0);
	side_output(&pair.b);
	tcp_close(pair.b.tcp, pair.b.conn);
	assert_true(answer(&h));
	assert_true(h.flags & TCPHDR_FIN);
	peer.ack = h.seq + 1;
	send_flags(TCPHDR_ACK | TCPHDR_FIN, 0, 0);
	peer.seq++;
	assert_true(answer(&h));
	assert_int_equal(h.ack, peer.seq);
	assert_int_equal(tcp_stats(pair.b.tcp)->time_wait, 1);
	assert_int_equal(tcp_stats(pair.b.tcp)->conns, 0);
}

static inline void
time_wait(bool times)
{
	time_wait_of(times, 1400);
}
