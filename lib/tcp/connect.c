/* Active opens: the port (RFC 6056: a random place to start, then upwards), the tuple, the number. */
#include "tcp/internal.h"

/* 0 or the reference of a TIME-WAIT that may be taken over: the tuple can be used. */
static bool
is_free(struct tcp *t, const struct tcp_tuple *tuple, uint64_t now_ns, uint32_t *ref)
{
	*ref = tcp_table_find(t, tuple);
	if (*ref == 0)
		return true;
	return tcp_ref_kind(*ref) == TCP_REF_TIME_WAIT &&
	       tcp_time_wait_is_reusable(pool_at(&t->time_waits, tcp_ref_index(*ref)), now_ns);
}

static bool
is_mine(const struct tcp *t, const struct tcp_tuple *tuple)
{
	return t->config.is_mine == NULL || t->config.is_mine(tuple, t->config.owner);
}

static enum err
choose_port(struct tcp *t, struct tcp_tuple *tuple, uint64_t now_ns, uint32_t *ref)
{
	uint32_t min = t->config.ephemeral_port_min;
	uint32_t count = t->config.ephemeral_port_max - min + 1u;
	uint32_t start = prng_below(&t->prng, count);

	for (uint32_t i = 0; i < count && i < TCP_PORT_TRIES_MAX; i++) {
		tuple->local_port = (uint16_t)(min + (start + i) % count);
		if (is_mine(t, tuple) && is_free(t, tuple, now_ns, ref) &&
		    tcp_listener_find(t, &tuple->local, tuple->local_port) == NULL)
			return ERR_OK;
	}
	return ERR_TCP_NO_PORT;
}

enum err
tcp_connect(struct tcp *t, const struct tcp_tuple *wanted, uint64_t user, tcp_conn_t *conn,
	    uint64_t now_ns)
{
	struct tcp_tuple tuple = *wanted;
	struct tcp_conn *c;
	uint32_t ref;
	uint32_t iss;
	enum err verdict = ERR_OK;

	t->now_ns = now_ns;
	if (!tcp_address_is_usable(&tuple.remote) || !tcp_address_is_usable(&tuple.local) ||
	    tuple.remote_port == 0)
		return ERR_TCP_ADDRESS;
	if (t->conns.free == 0)
		return ERR_POOL_EMPTY;
	if (tuple.local_port == 0)
		verdict = choose_port(t, &tuple, now_ns, &ref);
	else if (!is_free(t, &tuple, now_ns, &ref))
		verdict = ERR_TCP_IN_USE;
	if (verdict != ERR_OK)
		return verdict;
	iss = tcp_isn_make(t, &tuple, now_ns);
	if (ref != 0) {
		struct tcp_time_wait *w = pool_at(&t->time_waits, tcp_ref_index(ref));

		iss = w->snd_nxt + 65537; /* beyond anything that the old one can have sent */
		tcp_time_wait_free(t, w);
	}
	c = tcp_conn_open(t, &tuple, iss, now_ns);
	CHECK(c != NULL);
	c->user = user;
	c->policy = TCP_POLICY_CONNECTED;
	c->rcv_max = tcp_window_first(t, c->policy);
	tcp_conn_set_state(c, TCP_SYN_SENT);
	tcp_conn_touch(t, c);
	*conn = pool_handle(&t->conns, c);
	return ERR_OK;
}
