/* Receive: peek, own or pass on, then ip, then tcp. Send: tcp, then ip. */
#include "dataplane/net.h"

#include "base/check.h"

/* In meta.mark of a forwarded frame: learn from it, answer nothing. */
#define MARK_OWNED 0
#define MARK_LISTEN_ONLY 1

/* --- what TCP asks --------------------------------------------------------------------------- */

/* Steering: whether a port of an active open leads back here. */
static bool
is_mine(const struct tcp_tuple *tuple, void *owner)
{
	const struct net *net = owner;

	return steering_owner(net->config.steering, &tuple->remote, &tuple->local, tuple->remote_port,
			      tuple->local_port) == net->config.index;
}

static struct tcp_mtu
mtu(const struct ip_addr *remote, uint64_t now_ns, void *owner)
{
	const struct net *net = owner;
	struct ip_mtu to = ip_mtu_to(&net->ip, remote, now_ns);

	return (struct tcp_mtu){ to.link_bytes, to.path_bytes };
}

static void
path_narrowed(const struct ip_addr *remote, uint32_t mtu_bytes, uint64_t now_ns, void *owner)
{
	struct net *net = owner;

	ip_path_narrowed(&net->ip, remote, mtu_bytes, now_ns);
}

static void
path_works(const struct ip_addr *remote, uint64_t now_ns, void *owner)
{
	struct net *net = owner;

	ip_confirm(&net->ip, remote, now_ns);
}

void
net_serve_tcp(struct net *net, struct tcp_config *config)
{
	config->is_mine = is_mine;
	config->mtu = mtu;
	config->path_narrowed = path_narrowed;
	config->path_works = path_works;
	config->owner = net;
}

/* --- receive and send --------------------------------------------------------------------------- */

void
net_init(struct net *net, const struct net_config *config, uint64_t now_ns)
{
	CHECK(config->count > 0 && config->count <= NET_WORKERS_MAX && config->index < config->count);
	memset(net, 0, sizeof(*net));
	net->config = *config;
	net->tcp = config->tcp;
	ip_init(&net->ip, &config->ip, config->pool, now_ns);
}

void
net_fini(struct net *net)
{
	for (uint16_t i = 0; i < net->config.count; i++) {
		struct pkt *p;

		while (net->from[i] != NULL && (p = ring_get(net->from[i])) != NULL)
			pkt_free(p);
	}
	ip_fini(&net->ip);
}

static void
handle(struct net *net, struct pkt *frame, bool listen_only, uint64_t now_ns)
{
	struct ip_received received;
	struct tcp_tuple tuple;

	switch (ip_input(&net->ip, frame, listen_only, now_ns, &received)) {
	case IP_NOTHING:
		return;
	case IP_SEGMENT:
		tcp_input(net->tcp, received.segment, now_ns);
		return;
	case IP_ERROR:
		tuple = (struct tcp_tuple){ received.local, received.remote, received.local_port,
					    received.remote_port };
		tcp_icmp(net->tcp, &tuple, received.quoted_seq, received.hard, received.mtu_bytes,
			 now_ns);
		return;
	case IP_FRAME:
		/* Its fragments were owned by their number, it is by its ports. */
		net_receive(net, received.frame, now_ns);
		return;
	}
}

static void
pass_on(struct net *net, uint16_t owner, struct pkt *frame, uint32_t mark)
{
	pkt_meta(frame)->mark = mark;
	if (net->to[owner] != NULL && ring_put(net->to[owner], frame)) {
		net->frames_forwarded++;
		return;
	}
	net->ip.drops[ERR_FORWARD_RING_FULL]++;
	pkt_free(frame);
}

/* A copy for each other worker: an ARP or ND frame is small, and all must know the neighbour. */
static void
show_to_others(struct net *net, const struct pkt *frame)
{
	uint32_t n = pkt_total(frame);

	for (uint16_t i = 0; i < net->config.count; i++) {
		struct pkt *copy;
		uint8_t *to;

		if (i == net->config.index)
			continue;
		copy = pkt_alloc(net->config.pool);
		to = copy != NULL ? pkt_append(copy, n) : NULL;
		if (to == NULL) {
			net->ip.drops[ERR_POOL_EMPTY]++;
			pkt_free(copy);
			continue;
		}
		pkt_copy_out(frame, 0, to, n);
		*pkt_meta(copy) = *pkt_meta(frame);
		pass_on(net, i, copy, MARK_LISTEN_ONLY);
	}
}

void
net_receive(struct net *net, struct pkt *frame, uint64_t now_ns)
{
	struct ip_peek peek;
	uint16_t owner;

	net->frames_in++;
	if (net->config.count > 1) {
		ip_peek(frame, &peek);
		if (peek.kind == IP_PEEK_EVERYONE) {
			show_to_others(net, frame);
		} else if (peek.kind == IP_PEEK_FLOW) {
			owner = steering_owner(net->config.steering, &peek.src, &peek.dst,
					       peek.src_port, peek.dst_port);
			if (owner != net->config.index) {
				pass_on(net, owner, frame, MARK_OWNED);
				return;
			}
		}
	}
	handle(net, frame, false, now_ns);
}

uint32_t
net_receive_forwarded(struct net *net, uint64_t now_ns)
{
	uint32_t count = 0;

	for (uint16_t i = 0; i < net->config.count && count < NET_FORWARDED_PER_TURN; i++) {
		struct pkt *frame;

		while (net->from[i] != NULL && count < NET_FORWARDED_PER_TURN &&
		       (frame = ring_get(net->from[i])) != NULL) {
			handle(net, frame, pkt_meta(frame)->mark == MARK_LISTEN_ONLY, now_ns);
			count++;
		}
	}
	return count;
}

void
net_output(struct net *net, uint64_t now_ns)
{
	struct pkt *segment;

	while ((segment = tcp_transmit_next(net->tcp)) != NULL)
		ip_output(&net->ip, segment, now_ns);
	ip_advance(&net->ip, now_ns);
}

struct pkt *
net_transmit_next(struct net *net)
{
	struct pkt *frame = ip_transmit_next(&net->ip);

	net->frames_out += frame != NULL;
	return frame;
}

uint64_t
net_next_at(const struct net *net)
{
	return ip_next_at(&net->ip);
}
