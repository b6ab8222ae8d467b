/* A server of ours behind an interface (AF_PACKET): accepts every connection to port 443, answers each request,
 * and tells on "report" what it held and what its loop cost since "reset". Lines come on standard input; its end
 * ends it. */
#include <err.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../clock.h"
#include "base/check.h"
#include "duo.h"
#include "ip/ip.h"

#define SERVER_PORT 443
#define POOL_PACKETS 65536u
#define FRAME_BYTES_MAX 1600
#define SOCKET_BUFFER_BYTES (256 << 20)
#define RESPONSE_BYTES 200u
#define KEEPALIVE_NS (10 * NSEC_PER_SEC)
#define TURNS_MAX (1u << 20)

struct server {
	int fd;
	struct duo_side side;
	struct pkt_pool received;
	struct ip ip;
	struct pkt *spare[DUO_BURST]; /* to receive into */
	size_t resident_bytes;        /* before the engine was made */
	/* since "reset" */
	uint64_t turns;
	uint64_t packets;
	uint64_t busy_ns;
	uint64_t engine_ns; /* of busy_ns, without the system's calls */
	uint64_t from_ns;
	uint32_t *turn_ns;
	uint64_t send_failed;
};

static void
open_port(struct server *s, const char *interface, struct eth_addr *mac)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct ifreq request = { .ifr_flags = 0 };
	int bytes = SOCKET_BUFFER_BYTES;
	int yes = 1;

	s->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		err(1, "AF_PACKET");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
	if (ioctl(s->fd, SIOCGIFHWADDR, &request) != 0)
		err(1, "%s", interface);
	memcpy(mac->byte, request.ifr_hwaddr.sa_data, sizeof(mac->byte));
	address.sll_ifindex = (int)if_nametoindex(interface);
	if (setsockopt(s->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)) != 0 ||
	    setsockopt(s->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) != 0 ||
	    setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0 ||
	    setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) != 0 ||
	    bind(s->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		err(1, "%s", interface);
}

static void
start(struct server *s, const char *interface, const char *address, uint32_t conns)
{
	struct ip_config ip = { .port_count = 1 };
	struct tcp_config config;
	uint8_t v4[4];
	uint64_t seed;

	s->turn_ns = calloc(TURNS_MAX, sizeof(*s->turn_ns));
	CHECK(s->turn_ns != NULL && getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
	memset(s->turn_ns, 1, TURNS_MAX * sizeof(*s->turn_ns));
	open_port(s, interface, &ip.ports[0].mac);
	if (inet_pton(AF_INET, address, v4) != 1)
		err(1, "%s", address);
	ip.hash_key = seed;
	ip.ports[0].address_count = 1;
	ip.ports[0].addresses[0] = (struct ip_address){ ip_from_v4(v4), 96 + 16 };
	ip.ports[0].mtu_bytes = 1500;
	pkt_pool_init(&s->received, POOL_PACKETS);
	s->resident_bytes = duo_resident_bytes();
	config = duo_config(conns, seed);
	config.keepalive_ns = KEEPALIVE_NS;
	duo_open(&s->side, &config, POOL_PACKETS, clock_ns());
	ip_init(&s->ip, &ip, &s->side.headers, clock_ns());
	CHECK(tcp_listen(s->side.tcp, &(struct ip_addr){ { 0 } }, SERVER_PORT, 0) == ERR_OK);
}

/* --- the loop ------------------------------------------------------------------------------ */

static int
receive(struct server *s)
{
	struct mmsghdr messages[DUO_BURST] = { 0 };
	struct iovec pieces[DUO_BURST];
	int count;

	for (uint32_t i = 0; i < DUO_BURST; i++) {
		if (s->spare[i] == NULL)
			s->spare[i] = pkt_alloc(&s->received);
		CHECK(s->spare[i] != NULL);
		pieces[i] = (struct iovec){ pkt_data(s->spare[i]), PKT_ROOM_BYTES };
		messages[i].msg_hdr.msg_iov = &pieces[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	count = recvmmsg(s->fd, messages, DUO_BURST, MSG_DONTWAIT, NULL);
	for (int i = 0; i < count; i++)
		pkt_append(s->spare[i], messages[i].msg_len);
	return count < 0 ? 0 : count;
}

static void
input(struct server *s, int count, uint64_t now_ns)
{
	struct duo_burst burst = { .count = 0 };

	for (int i = 0; i < count; i++) {
		struct ip_received received;
		struct pkt *frame = s->spare[i];

		s->spare[i] = NULL;
		pkt_meta(frame)->l4_csum = PKT_CSUM_NONE; /* it never left this machine's memory */
		pkt_meta(frame)->l3_csum = PKT_CSUM_NONE;
		if (ip_input(&s->ip, frame, false, now_ns, &received) == IP_SEGMENT)
			burst.pkt[burst.count++] = received.segment;
	}
	duo_deliver(&s->side, &burst, now_ns);
}

static void
events(struct server *s)
{
	struct tcp_event e;
	struct pkt *p;

	while (tcp_event_next(s->side.tcp, &e)) {
		uint32_t taken = 0;

		while ((p = tcp_take(s->side.tcp, e.conn)) != NULL) {
			taken += pkt_total(p);
			pkt_free(p);
		}
		if (e.bits & (TCP_EVENT_ERROR | TCP_EVENT_EOF)) {
			tcp_close(s->side.tcp, e.conn);
			continue;
		}
		if (taken == 0)
			continue;
		tcp_consumed(s->side.tcp, e.conn, taken);
		p = pkt_alloc(&s->side.payload);
		CHECK(p != NULL);
		memset(pkt_append(p, RESPONSE_BYTES), 'x', RESPONSE_BYTES);
		if (tcp_send(s->side.tcp, e.conn, p, false) != ERR_OK)
			pkt_free(p);
	}
}

/* Frames flat into `flat`; returns how many. */
static uint32_t
flatten(struct server *s, uint8_t flat[DUO_BURST][FRAME_BYTES_MAX], struct iovec *pieces)
{
	uint32_t count = 0;
	struct pkt *frame;

	while (count < DUO_BURST && (frame = ip_transmit_next(&s->ip)) != NULL) {
		uint32_t len = pkt_total(frame);

		CHECK(len <= FRAME_BYTES_MAX);
		pkt_copy_out(frame, 0, flat[count], len);
		pkt_free(frame);
		pieces[count] = (struct iovec){ flat[count], len };
		count++;
	}
	return count;
}

/* Returns whether there was anything to do. */
static bool
turn(struct server *s)
{
	static uint8_t flat[DUO_BURST][FRAME_BYTES_MAX];
	struct mmsghdr messages[DUO_BURST] = { 0 };
	struct iovec pieces[DUO_BURST];
	uint64_t from_ns = clock_ns();
	int received = receive(s);
	uint64_t at_ns = clock_ns();
	uint64_t engine_ns;
	uint64_t end_ns;
	uint32_t sent = 0;
	struct pkt *p;
	uint32_t count;

	input(s, received, at_ns);
	tcp_advance(s->side.tcp, at_ns);
	events(s);
	tcp_output_ready(s->side.tcp, at_ns);
	while ((p = tcp_transmit_next(s->side.tcp)) != NULL)
		ip_output(&s->ip, p, at_ns);
	ip_advance(&s->ip, at_ns);
	engine_ns = clock_ns() - at_ns;
	do {
		count = flatten(s, flat, pieces);
		for (uint32_t i = 0; i < count; i++) {
			messages[i].msg_hdr.msg_iov = &pieces[i];
			messages[i].msg_hdr.msg_iovlen = 1;
		}
		if (count > 0) {
			int n = sendmmsg(s->fd, messages, count, MSG_DONTWAIT);

			s->send_failed += count - (uint32_t)(n < 0 ? 0 : n);
		}
		sent += count;
	} while (count == DUO_BURST);
	if (received == 0 && sent == 0)
		return false;
	end_ns = clock_ns();
	if (s->turns < TURNS_MAX)
		s->turn_ns[s->turns] = (uint32_t)(end_ns - from_ns);
	s->turns++;
	s->packets += (uint32_t)received + sent;
	s->busy_ns += end_ns - from_ns;
	s->engine_ns += engine_ns;
	return true;
}

/* --- commands --------------------------------------------------------------------------------- */

static void
reset(struct server *s)
{
	s->turns = 0;
	s->packets = 0;
	s->busy_ns = 0;
	s->engine_ns = 0;
	s->send_failed = 0;
	s->from_ns = clock_ns();
}

static int
compare(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a;
	uint32_t right = *(const uint32_t *)b;

	return (left > right) - (left < right);
}

static void
report(struct server *s)
{
	const struct tcp_stats *stats = tcp_stats(s->side.tcp);
	uint32_t sampled = s->turns < TURNS_MAX ? (uint32_t)s->turns : TURNS_MAX;
	uint32_t spare = 0;
	struct pkt_pool_stats pool = pkt_pool_stats(&s->received);

	for (uint32_t i = 0; i < DUO_BURST; i++)
		spare += s->spare[i] != NULL;
	qsort(s->turn_ns, sampled, sizeof(*s->turn_ns), compare);
	printf("{\"conns\": %u, \"resident_bytes\": %zu, \"packets_held\": %u, ", stats->conns,
	       duo_resident_bytes() - s->resident_bytes,
	       duo_packets_held(&s->side) + pool.total - pool.free - spare);
	printf("\"turns\": %llu, \"packets\": %llu, \"busy_ns\": %llu, \"engine_ns\": %llu, ",
	       (unsigned long long)s->turns, (unsigned long long)s->packets, (unsigned long long)s->busy_ns,
	       (unsigned long long)s->engine_ns);
	printf("\"passed_ns\": %llu, \"turn_p50_ns\": %u, \"turn_p99_ns\": %u, ",
	       (unsigned long long)(clock_ns() - s->from_ns), sampled == 0 ? 0 : s->turn_ns[sampled / 2],
	       sampled == 0 ? 0 : s->turn_ns[sampled - 1 - sampled / 100]);
	printf("\"send_failed\": %llu, \"retransmits\": %llu, \"cookies_accepted\": %llu}\n",
	       (unsigned long long)s->send_failed, (unsigned long long)stats->retransmits,
	       (unsigned long long)stats->cookies_accepted);
	fflush(stdout);
}

/* False: standard input has ended. */
static bool
command(struct server *s)
{
	char line[64];

	if (fgets(line, sizeof(line), stdin) == NULL)
		return false;
	if (strcmp(line, "reset\n") == 0)
		reset(s);
	else if (strcmp(line, "report\n") == 0)
		report(s);
	else
		fprintf(stderr, "bench-server: \"reset\" or \"report\"\n");
	return true;
}

/* Until something arrives, a timer is due, or a command. */
static bool
rest(struct server *s)
{
	struct pollfd fds[2] = { { .fd = s->fd, .events = POLLIN }, { .fd = 0, .events = POLLIN } };
	uint64_t next_ns = tcp_next_at(s->side.tcp);
	uint64_t now_ns = clock_ns();
	struct timespec wait = { 0 };

	if (ip_next_at(&s->ip) < next_ns)
		next_ns = ip_next_at(&s->ip);
	if (next_ns > now_ns) {
		uint64_t wait_ns = next_ns - now_ns < NSEC_PER_SEC ? next_ns - now_ns : NSEC_PER_SEC;

		wait = (struct timespec){ (time_t)(wait_ns / NSEC_PER_SEC), (long)(wait_ns % NSEC_PER_SEC) };
	}
	ppoll(fds, 2, &wait, NULL);
	return (fds[1].revents & (POLLIN | POLLHUP)) == 0 || command(s);
}

int
main(int argc, char **argv)
{
	static struct server server;
	uint32_t busy = 0;

	if (argc != 4) {
		fprintf(stderr, "Usage: bench-server INTERFACE ADDRESS CONNECTIONS\n");
		return 2;
	}
	setvbuf(stdin, NULL, _IONBF, 0); /* poll() must see what is left */
	start(&server, argv[1], argv[2], duo_number(argv[3], 1, 10000000));
	reset(&server);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		bool any = turn(&server);

		busy = any ? busy + 1 : 0;
		if ((!any || busy % 64 == 0) && !rest(&server))
			return 0;
	}
}
