/* Receive: peek, own or pass on, then ip, then tcp. Send: tcp, then ip. */
#include "dataplane/net.h"

#include "base/check.h"
#include "dataplane/exception.h"

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
	for (uint32_t p = 0; p < IP_PORTS_MAX; p++) {
		struct pkt *frame;

		while (net->kernel[p] != NULL && (frame = ring_get(net->kernel[p])) != NULL)
			pkt_free(frame);
	}
	ip_fini(&net->ip);
}

/* NULL: no packet, counted as `why`. */
static struct pkt *
copy_of(struct net *net, const struct pkt *frame, enum err why)
{
	uint32_t n = pkt_total(frame);
	struct pkt *copy = pkt_alloc(net->config.pool);
	uint8_t *to = copy != NULL ? pkt_append(copy, n) : NULL;

	if (to == NULL) {
		net->ip.drops[why]++;
		pkt_free(copy);
		return NULL;
	}
	pkt_copy_out(frame, 0, to, n);
	*pkt_meta(copy) = *pkt_meta(frame);
	return copy;
}

static void
give_to_kernel(struct net *net, struct pkt *frame)
{
	uint8_t port = pkt_meta(frame)->port;

	if (ring_count(net->kernel[port]) < net->config.kernel_queue[port] && ring_put(net->kernel[port], frame)) {
		net->frames_to_kernel++;
		return;
	}
	net->ip.drops[ERR_EXCEPTION_FULL]++;
	pkt_free(frame);
}

/* False: the frame is the kernel's alone, and is there. */
static bool
is_ours(struct net *net, struct pkt *frame)
{
	struct pkt *copy;

	CHECK(pkt_meta(frame)->port < IP_PORTS_MAX);
	if (net->kernel[pkt_meta(frame)->port] == NULL)
		return true;
	switch (exception_judge(&net->ip, net->tcp, frame)) {
	case EXCEPTION_OURS:
		return true;
	case EXCEPTION_KERNEL:
		give_to_kernel(net, frame);
		return false;
	case EXCEPTION_BOTH:
		copy = copy_of(net, frame, ERR_EXCEPTION_FULL);
		if (copy != NULL)
			give_to_kernel(net, copy);
		return true;
	}
	return true;
}

static void
input_segments(struct net *net, uint64_t now_ns)
{
	uint32_t count = net->segment_count;

	net->segment_count = 0;
	tcp_input_burst(net->tcp, net->segments, count, now_ns);
}

static void receive_one(struct net *net, struct pkt *frame, uint64_t now_ns);

static void
handle(struct net *net, struct pkt *frame, bool listen_only, uint64_t now_ns)
{
	struct ip_received received;
	struct tcp_tuple tuple;

	if (!listen_only && !is_ours(net, frame))
		return;
	switch (ip_input(&net->ip, frame, listen_only, now_ns, &received)) {
	case IP_NOTHING:
		return;
	case IP_SEGMENT:
		net->segments[net->segment_count++] = received.segment;
		if (net->segment_count == TCP_INPUT_BURST_MAX)
			input_segments(net, now_ns);
		return;
	case IP_ERROR:
		input_segments(net, now_ns); /* the order of arrival */
		tuple = (struct tcp_tuple){ received.local, received.remote, received.local_port,
					    received.remote_port };
		tcp_icmp(net->tcp, &tuple, received.quoted_seq, received.hard, received.mtu_bytes,
			 now_ns);
		return;
	case IP_FRAME:
		/* Its fragments were owned by their number, it is by its ports. */
		receive_one(net, received.frame, now_ns);
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
	for (uint16_t i = 0; i < net->config.count; i++) {
		struct pkt *copy;

		if (i == net->config.index)
			continue;
		copy = copy_of(net, frame, ERR_POOL_EMPTY);
		if (copy != NULL)
			pass_on(net, i, copy, MARK_LISTEN_ONLY);
	}
}

/* The card hashed the frame, and by its own hash and table it belongs to the queue of another worker: table or
 * key are not what we were told. ICMP errors and fragments, hashed by other fields, are none of these. */
static bool
is_missteered(const struct net *net, const struct pkt *frame)
{
	const struct pkt_meta *meta = pkt_meta(frame);
	uint16_t queue;

	return meta->rss_hash != 0 && steering_queue_of(net->config.steering, meta->rss_hash, &queue) &&
	       queue != net->config.index;
}

static void
receive_one(struct net *net, struct pkt *frame, uint64_t now_ns)
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
				net->frames_missteered += is_missteered(net, frame);
				pass_on(net, owner, frame, MARK_OWNED);
				return;
			}
		}
	}
	handle(net, frame, false, now_ns);
}

void
net_receive_burst(struct net *net, struct pkt *const *frames, uint32_t count, uint64_t now_ns)
{
	for (uint32_t i = 0; i < count; i++)
		receive_one(net, frames[i], now_ns);
	input_segments(net, now_ns);
}

void
net_receive(struct net *net, struct pkt *frame, uint64_t now_ns)
{
	net_receive_burst(net, &frame, 1, now_ns);
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
	input_segments(net, now_ns);
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
