/* A worker's loop for one connection: receive a burst, advance, let the application look, send. */
#include "sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../clock.h"
#include "base/check.h"
#include "base/units.h"
#include "ip/ip.h"
#include "pkt/pkt.h"
#include "tcp/tcp.h"

#define BURST_FRAMES 32
#define FRAME_BYTES_MAX 1600 /* of an MTU of 1500 */
#define SOCKET_BUFFER_BYTES (64 << 20)
#define IP4_TCP_HEADERS 40
#define IP6_TCP_HEADERS 60
#define PIECE_BYTES 1448

const char sock_name[] = "sluice";
const bool sock_outlives_us = false;

struct sock {
	struct sock_config config;
	int fd;
	struct tcp *tcp;
	struct ip ip;
	struct pkt_pool headers;
	struct pkt_pool bare;
	struct pkt_pool received;
	struct pkt_pool payload;
	tcp_conn_t conn;
	struct pkt *reading; /* partly read */
	uint32_t state;
	bool is_over; /* closed or aborted here */
	bool saw_eof; /* of the stack; the application sees it behind the last byte */
	uint64_t frames_in;
	uint64_t frames_out;
	uint64_t send_failed;
};

static bool
read_address(const char *text, struct ip_addr *address)
{
	uint8_t bytes[16];

	if (inet_pton(AF_INET, text, bytes) == 1) {
		*address = ip_from_v4(bytes);
		return true;
	}
	if (inet_pton(AF_INET6, text, bytes) != 1)
		return false;
	*address = ip_from_v6(bytes);
	return true;
}

/* "10.0.0.1/24" */
static bool
read_prefix(const char *text, struct ip_address *address)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	char *end;
	long bits;

	if (slash == NULL || (size_t)(slash - text) >= sizeof(host))
		return false;
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = '\0';
	bits = strtol(slash + 1, &end, 10);
	if (!read_address(host, &address->address) || end == slash + 1 || *end != '\0')
		return false;
	if (ip_is_v4(&address->address))
		bits += 96;
	if (bits < 1 || bits > 128)
		return false;
	address->prefix_bits = (uint8_t)bits;
	return true;
}

static bool
open_socket(struct sock *s, struct eth_addr *mac)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct ifreq request = { .ifr_flags = 0 };
	int bytes = SOCKET_BUFFER_BYTES;
	int yes = 1;

	s->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return false;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", s->config.interface);
	if (ioctl(s->fd, SIOCGIFHWADDR, &request) != 0)
		return false;
	memcpy(mac->byte, request.ifr_hwaddr.sa_data, sizeof(mac->byte));
	address.sll_ifindex = (int)if_nametoindex(s->config.interface);
	return setsockopt(s->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)) == 0 &&
	       setsockopt(s->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) == 0 &&
	       setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) == 0 &&
	       setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) == 0 &&
	       bind(s->fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
}

static void
open_tcp(struct sock *s, uint64_t now_ns)
{
	struct tcp_config config = {
		.conns_max = 4,
		.half_open_max = 4,
		.time_wait_max = 4,
		.ranges_max = s->config.send_bytes / PIECE_BYTES * 2 + 1024,
		.mss_v4 = (uint16_t)(s->config.mtu_bytes - IP4_TCP_HEADERS),
		.mss_v6 = (uint16_t)(s->config.mtu_bytes - IP6_TCP_HEADERS),
		.recv_bytes_max = s->config.window_bytes,
		.send_bytes_max = s->config.send_bytes,
		.window_shift = s->config.window_shift,
		.ephemeral_port_min = 16384,
		.ephemeral_port_max = 65535,
	};
	void *memory;

	CHECK(getrandom(config.hash_key, sizeof(config.hash_key), 0) == sizeof(config.hash_key));
	CHECK(getrandom(config.cookie_key, sizeof(config.cookie_key), 0) == sizeof(config.cookie_key));
	CHECK(getrandom(&config.seed, sizeof(config.seed), 0) == sizeof(config.seed));
	pkt_pool_init(&s->headers, 65536);
	pkt_pool_init(&s->bare, 65536);
	/* The window in segments as small as half a piece, and what waits to be read. */
	pkt_pool_init(&s->received, s->config.window_bytes / PIECE_BYTES * 2 + 8192);
	pkt_pool_init(&s->payload, config.ranges_max);
	memory = aligned_alloc(CACHE_LINE_BYTES, (tcp_bytes(&config) + 63) & ~(size_t)63);
	CHECK(memory != NULL);
	s->tcp = tcp_init(memory, &config, &s->headers, &s->bare, now_ns);
}

static bool
start(struct sock *s, const struct ip_config *ip, char complaint[SOCK_COMPLAINT_BYTES])
{
	struct tcp_tuple tuple = { .remote_port = s->config.port };
	struct ip_addr any = { { 0 } };
	enum err verdict;

	if (s->config.peer == NULL) {
		verdict = tcp_listen(s->tcp, &any, s->config.port, 0);
	} else {
		if (!read_address(s->config.peer, &tuple.remote)) {
			snprintf(complaint, SOCK_COMPLAINT_BYTES, "\"%s\" is no address", s->config.peer);
			return false;
		}
		tuple.local = ip->ports[0].addresses[0].address;
		verdict = tcp_connect(s->tcp, &tuple, 0, &s->conn, clock_ns());
	}
	if (verdict != ERR_OK)
		snprintf(complaint, SOCK_COMPLAINT_BYTES, "%s", err_sentence(verdict));
	return verdict == ERR_OK;
}

struct sock *
sock_open(const struct sock_config *config, char complaint[SOCK_COMPLAINT_BYTES])
{
	struct sock *s = calloc(1, sizeof(*s));
	uint64_t now_ns = clock_ns();
	struct ip_config ip = { .port_count = 1, .hash_key = now_ns };

	CHECK(s != NULL);
	s->config = *config;
	s->fd = -1;
	if (config->interface == NULL || config->address == NULL ||
	    !read_prefix(config->address, &ip.ports[0].addresses[0])) {
		snprintf(complaint, SOCK_COMPLAINT_BYTES,
			 "--interface NAME and --address ADDRESS/BITS are needed");
		sock_free(s);
		return NULL;
	}
	if (!open_socket(s, &ip.ports[0].mac)) {
		snprintf(complaint, SOCK_COMPLAINT_BYTES, "%s: %s", config->interface, strerror(errno));
		sock_free(s);
		return NULL;
	}
	ip.ports[0].address_count = 1;
	ip.ports[0].mtu_bytes = config->mtu_bytes;
	open_tcp(s, now_ns);
	ip_init(&s->ip, &ip, &s->headers, now_ns);
	if (!start(s, &ip, complaint)) {
		sock_free(s);
		return NULL;
	}
	return s;
}

/* Frames of a burst, each in one piece: a chain may have as many as its segment has small writes. */
static void
transmit(struct sock *s, uint64_t now_ns)
{
	static uint8_t flat[BURST_FRAMES][FRAME_BYTES_MAX];
	struct mmsghdr messages[BURST_FRAMES];
	struct iovec pieces[BURST_FRAMES];
	struct pkt *segment;
	struct pkt *frame;
	int count;

	while ((segment = tcp_transmit_next(s->tcp)) != NULL)
		ip_output(&s->ip, segment, now_ns);
	ip_advance(&s->ip, now_ns);
	do {
		int sent = 0;

		memset(messages, 0, sizeof(messages));
		for (count = 0; count < BURST_FRAMES && (frame = ip_transmit_next(&s->ip)) != NULL; count++) {
			uint32_t len = pkt_total(frame);

			CHECK(len <= FRAME_BYTES_MAX);
			pkt_copy_out(frame, 0, flat[count], len);
			pkt_free(frame);
			pieces[count] = (struct iovec){ flat[count], len };
			messages[count].msg_hdr.msg_iov = &pieces[count];
			messages[count].msg_hdr.msg_iovlen = 1;
		}
		if (count > 0)
			sent = sendmmsg(s->fd, messages, (unsigned)count, MSG_DONTWAIT);
		sent = sent < 0 ? 0 : sent;
		s->frames_out += (uint64_t)sent;
		s->send_failed += (uint64_t)(count - sent);
	} while (count == BURST_FRAMES);
}

static void
handle(struct sock *s, struct pkt *frame, uint64_t now_ns)
{
	struct ip_received received;
	struct tcp_tuple tuple;

	switch (ip_input(&s->ip, frame, false, now_ns, &received)) {
	case IP_NOTHING:
		return;
	case IP_SEGMENT:
		tcp_input(s->tcp, received.segment, now_ns);
		return;
	case IP_ERROR:
		tuple = (struct tcp_tuple){ received.local, received.remote, received.local_port,
					    received.remote_port };
		tcp_icmp(s->tcp, &tuple, received.quoted_seq, received.hard, received.mtu_bytes, now_ns);
		return;
	case IP_FRAME:
		handle(s, received.frame, now_ns);
		return;
	}
}

/* What has gathered, as a worker takes a burst. */
static void
receive(struct sock *s)
{
	uint64_t now_ns = clock_ns();

	for (int i = 0; i < BURST_FRAMES; i++) {
		struct pkt *p = pkt_alloc(&s->received);
		ssize_t n;

		CHECK(p != NULL);
		n = recv(s->fd, pkt_append(p, PKT_ROOM_BYTES), PKT_ROOM_BYTES, MSG_TRUNC);
		if (n <= 0 || n > PKT_ROOM_BYTES) {
			pkt_free(p);
			if (n <= 0)
				return;
			continue;
		}
		pkt_trim(p, PKT_ROOM_BYTES - (uint32_t)n);
		s->frames_in++;
		handle(s, p, now_ns);
	}
}

static uint32_t
failure(enum err reason)
{
	switch (reason) {
	case ERR_TCP_REFUSED:
		return SOCK_REFUSED;
	case ERR_TCP_TIMEOUT:
		return SOCK_TIMEOUT;
	case ERR_TCP_UNREACHABLE:
		return SOCK_UNREACHABLE;
	default:
		return SOCK_RESET;
	}
}

static void
collect_events(struct sock *s)
{
	struct tcp_event event;

	while (tcp_event_next(s->tcp, &event)) {
		if ((event.bits & TCP_EVENT_ACCEPTED) != 0) {
			if (s->conn != 0) {
				tcp_abort(s->tcp, event.conn); /* one is enough */
				continue;
			}
			s->conn = event.conn;
			s->state |= SOCK_CONNECTED;
		}
		if (event.conn != s->conn)
			continue;
		if ((event.bits & TCP_EVENT_CONNECTED) != 0)
			s->state |= SOCK_CONNECTED;
		if ((event.bits & TCP_EVENT_EOF) != 0)
			s->saw_eof = true;
		if ((event.bits & TCP_EVENT_ERROR) != 0)
			s->state |= failure(event.reason);
	}
}

void
sock_turn(struct sock *s, uint64_t until_ns, bool wants_read, bool wants_write)
{
	struct pollfd poll_fd = { .fd = s->fd, .events = POLLIN };
	uint64_t now_ns = clock_ns();
	uint64_t next_ns;

	(void)wants_read; /* the stack's own work wakes this loop in either case */
	(void)wants_write;
	tcp_advance(s->tcp, now_ns);
	tcp_output_ready(s->tcp, now_ns);
	transmit(s, now_ns);
	next_ns = tcp_next_at(s->tcp);
	if (ip_next_at(&s->ip) < next_ns)
		next_ns = ip_next_at(&s->ip);
	if (until_ns < next_ns)
		next_ns = until_ns;
	now_ns = clock_ns();
	if (next_ns > now_ns) {
		struct timespec rest = { (time_t)((next_ns - now_ns) / NSEC_PER_SEC),
					 (long)((next_ns - now_ns) % NSEC_PER_SEC) };

		ppoll(&poll_fd, 1, next_ns == NEVER_NS ? NULL : &rest, NULL);
	}
	receive(s);
	tcp_advance(s->tcp, clock_ns());
	collect_events(s);
}

uint32_t
sock_state(const struct sock *s)
{
	return s->state;
}

size_t
sock_send(struct sock *s, const uint8_t *from, size_t n)
{
	size_t taken = 0;

	if ((s->state & SOCK_CONNECTED) == 0 || (s->state & SOCK_FAILED) != 0)
		return 0;
	while (taken < n && tcp_send_pieces(s->tcp, s->conn) > 0) {
		uint32_t room = tcp_send_room(s->tcp, s->conn);
		uint32_t len = n - taken < PIECE_BYTES ? (uint32_t)(n - taken) : PIECE_BYTES;
		struct pkt *p;

		len = room < len ? room : len;
		if (len == 0 || (p = pkt_alloc(&s->payload)) == NULL)
			break;
		memcpy(pkt_append(p, len), from + taken, len);
		if (tcp_send(s->tcp, s->conn, p, taken + len < n) != ERR_OK) {
			pkt_free(p);
			break;
		}
		taken += len;
	}
	return taken;
}

size_t
sock_receive(struct sock *s, uint8_t *to, size_t size)
{
	size_t got = 0;

	while (got < size && !s->is_over && s->conn != 0) {
		uint32_t n;

		if (s->reading == NULL && (s->reading = tcp_take(s->tcp, s->conn)) == NULL)
			break;
		n = pkt_total(s->reading);
		if (n > size - got)
			n = (uint32_t)(size - got);
		pkt_copy_out(s->reading, 0, to + got, n);
		s->reading = pkt_drop_front(s->reading, n);
		tcp_consumed(s->tcp, s->conn, n);
		got += n;
	}
	if (got == 0 && s->saw_eof)
		s->state |= SOCK_EOF;
	return got;
}

void
sock_shutdown(struct sock *s)
{
	if (s->conn != 0 && !s->is_over)
		tcp_shutdown(s->tcp, s->conn);
}

void
sock_close(struct sock *s)
{
	if (s->conn != 0 && !s->is_over)
		tcp_close(s->tcp, s->conn);
	s->is_over = true;
}

void
sock_abort(struct sock *s)
{
	if (s->conn != 0 && !s->is_over)
		tcp_abort(s->tcp, s->conn);
	s->is_over = true;
}

bool
sock_is_drained(const struct sock *s)
{
	return tcp_stats(s->tcp)->conns == 0;
}

void
sock_print(const struct sock *s, FILE *out)
{
	const struct tcp_stats *stats = tcp_stats(s->tcp);
	const char *comma = "";

	fprintf(out,
		", \"segments_in\": %" PRIu64 ", \"segments_out\": %" PRIu64 ", \"retransmits\": %" PRIu64
		", \"rtos\": %" PRIu64 ", \"frames_in\": %" PRIu64 ", \"frames_out\": %" PRIu64
		", \"send_failed\": %" PRIu64 ", \"drops\": {",
		stats->segments_in, stats->segments_out, stats->retransmits, stats->rtos, s->frames_in,
		s->frames_out, s->send_failed);
	for (int i = 0; i < ERR_COUNT; i++) {
		uint64_t drops = stats->drops[i] + s->ip.drops[i];

		if (drops == 0)
			continue;
		fprintf(out, "%s\"%s\": %" PRIu64, comma, err_name((enum err)i), drops);
		comma = ", ";
	}
	fprintf(out, "}");
}

void
sock_free(struct sock *s)
{
	if (s->tcp != NULL) {
		pkt_free(s->reading);
		tcp_fini(s->tcp);
		ip_fini(&s->ip);
		free(s->tcp);
	}
	if (s->fd >= 0)
		close(s->fd);
	free(s);
}
