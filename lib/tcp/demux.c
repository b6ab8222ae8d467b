/*
 * Segments as they come: parsed, looked up, passed on. A burst goes through in stages, each of which asks for the
 * memory that the next one reads: with a million connections nearly every segment's bucket, object and
 * timer are not in the cache, and a burst waits for all of them at once instead of one after the other. The
 * stages before the last one only look; what they have seen may be gone when a segment's turn comes.
 */
#include "tcp/internal.h"

static enum err
segment_make(struct pkt *p, struct tcp_segment *s)
{
	const struct pkt_meta *meta = pkt_meta(p);

	/* The header lies in the first segment: ports deliver at least that much in one piece. */
	enum err verdict = tcphdr_parse(bytes_make(pkt_data(p), pkt_len(p)), &s->h);

	if (verdict != ERR_OK)
		return verdict;
	if (!tcp_checksum_is_good(p))
		return ERR_TCP_CHECKSUM;
	if (!tcp_address_is_usable(&meta->src) || !tcp_address_is_usable(&meta->dst))
		return ERR_TCP_ADDRESS;
	s->tuple = (struct tcp_tuple){
		.local = meta->dst,
		.remote = meta->src,
		.local_port = s->h.dst_port,
		.remote_port = s->h.src_port,
	};
	s->len = pkt_total(p) - s->h.header_bytes;
	s->seq = s->h.seq;
	s->fin = (s->h.flags & TCPHDR_FIN) != 0;
	s->ecn = meta->ecn;
	s->pkt = p;
	if (s->len == 0) {
		pkt_free(p);
		s->pkt = NULL;
	} else {
		s->pkt = pkt_drop_front(p, s->h.header_bytes);
	}
	return ERR_OK;
}

static enum err
demux(struct tcp *t, struct tcp_segment *s, uint64_t hash, uint64_t now_ns)
{
	uint32_t ref = tcp_table_find_hashed(t, &s->tuple, hash);
	uint32_t index = tcp_ref_index(ref);
	bool reopen = false;
	enum err verdict;

	switch (tcp_ref_kind(ref)) {
	case TCP_REF_CONN:
		return tcp_input_conn(t, pool_at(&t->conns, index), s, now_ns);
	case TCP_REF_HALF_OPEN:
		return tcp_input_half_open(t, pool_at(&t->half_opens, index), s, now_ns);
	case TCP_REF_TIME_WAIT:
		verdict = tcp_input_time_wait(t, pool_at(&t->time_waits, index), s, now_ns, &reopen);
		if (!reopen)
			return verdict;
		break;
	case TCP_REF_NONE:
		break;
	}
	return tcp_input_listen(t, s, now_ns);
}

static enum err
finish(struct tcp *t, struct tcp_segment *s, enum err verdict)
{
	pkt_free(s->pkt);
	if (verdict != ERR_OK)
		t->stats.drops[verdict]++;
	return verdict;
}

enum err
tcp_input(struct tcp *t, struct pkt *p, uint64_t now_ns)
{
	struct tcp_segment s = { .pkt = p };
	enum err verdict;

	t->now_ns = now_ns;
	t->stats.segments_in++;
	verdict = segment_make(p, &s);
	if (verdict == ERR_OK)
		verdict = demux(t, &s, tcp_table_hash(t, &s.tuple), now_ns);
	return finish(t, &s, verdict);
}

/* A segment of a burst between the stages. */
struct stage {
	struct tcp_segment s;
	uint64_t hash;
	const struct tcp_conn *conn; /* probably; only looked at */
	enum err verdict;
};

static void
prefetch_conn(const struct tcp *t, struct stage *stage)
{
	uint32_t ref = tcp_table_peek(t, stage->hash);
	const uint8_t *conn;

	stage->conn = NULL;
	if (tcp_ref_kind(ref) != TCP_REF_CONN)
		return;
	conn = pool_at(&t->conns, tcp_ref_index(ref));
	for (uint32_t i = 0; i < sizeof(struct tcp_conn); i += CACHE_LINE_BYTES)
		__builtin_prefetch(conn + i, 1);
	pool_prefetch(&t->conns, tcp_ref_index(ref));
	stage->conn = (const struct tcp_conn *)(const void *)conn;
}

void
tcp_input_burst(struct tcp *t, struct pkt *const *packets, uint32_t count, uint64_t now_ns)
{
	struct stage stages[TCP_INPUT_BURST_MAX];

	CHECK(count <= TCP_INPUT_BURST_MAX);
	t->now_ns = now_ns;
	t->stats.segments_in += count;
	for (uint32_t i = 0; i < count; i++) {
		stages[i].s.pkt = packets[i];
		stages[i].conn = NULL;
		stages[i].verdict = segment_make(packets[i], &stages[i].s);
		if (stages[i].verdict != ERR_OK)
			continue;
		stages[i].hash = tcp_table_hash(t, &stages[i].s.tuple);
		tcp_table_prefetch(t, stages[i].hash);
	}
	for (uint32_t i = 0; i < count; i++)
		if (stages[i].verdict == ERR_OK)
			prefetch_conn(t, &stages[i]);
	for (uint32_t i = 0; i < count; i++)
		if (stages[i].conn != NULL)
			timer_prefetch(&t->wheel, &stages[i].conn->timer);
	for (uint32_t i = 0; i < count; i++) {
		if (stages[i].verdict == ERR_OK)
			stages[i].verdict = demux(t, &stages[i].s, stages[i].hash, now_ns);
		finish(t, &stages[i].s, stages[i].verdict);
	}
}

bool
tcp_owns(const struct tcp *t, const struct tcp_tuple *tuple)
{
	return tcp_listener_find(t, &tuple->local, tuple->local_port) != NULL ||
	       tcp_table_find(t, tuple) != TCP_REF_NONE;
}
