/* ethdev, as little of it as serves every driver: what a device lacks is done in software here. */
#include "dataplane/port.h"

#include <errno.h>
#include <net/if.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "dataplane/offload.h"
#include "wire/csum.h"
#include "wire/ip4.h"

#define IP4_CHECKSUM_OFFSET 10
#define AF_PACKET_SLOT_EXTRA_BYTES 96u /* TPACKET2 header with its address, Ethernet with a tag */

/* "net_tap0,iface=x" -> "net_tap0" */
static void
name_of(const char *device, char *name, size_t room)
{
	snprintf(name, room, "%.*s", (int)strcspn(device, ","), device);
}

static bool
failed(char *text, size_t room, const struct port *port, const char *what, int error)
{
	snprintf(text, room, "port %s: cannot %s: %s", port->name, what, strerror(error));
	return false;
}

/* DPDK's error number says little (EPERM for an interface that is not there), so the usual mistakes are looked
 * for; what the driver found is in the lines that DPDK wrote itself. */
static void
say_why(const struct port *port, const char *device, char *text, size_t room)
{
	const char *said = strstr(device, "iface=");
	char interface[IFNAMSIZ] = "";

	if (said != NULL)
		snprintf(interface, sizeof(interface), "%.*s", (int)strcspn(said + strlen("iface="), ","),
			 said + strlen("iface="));
	if (interface[0] != '\0' && if_nametoindex(interface) == 0)
		snprintf(text, room, "port %s: there is no interface %s; see ip link for those in this namespace",
			 port->name, interface);
	else if (strncmp(device, "net_af_", strlen("net_af_")) == 0 && interface[0] == '\0')
		snprintf(text, room, "port %s: the device names no interface; write \"%s,iface=eth1\"", port->name,
			 device);
	else
		snprintf(text, room,
			 "port %s: DPDK cannot open \"%s\" (its reason is in the lines before this one); write "
			 "a PCI address that has a DPDK driver (0000:81:00.0), or net_af_packet0,iface=eth1; "
			 "net_af_xdp0,iface=eth1; net_tap0",
			 port->name, device);
}

static bool
find(struct port *port, const char *device, char *text, size_t room)
{
	int error;

	name_of(device, port->name, sizeof(port->name));
	if (rte_eth_dev_get_port_by_name(port->name, &port->id) == 0)
		return true;
	error = rte_dev_probe(device);
	if (error != 0) {
		say_why(port, device, text, room);
		return false;
	}
	error = rte_eth_dev_get_port_by_name(port->name, &port->id);
	return error == 0 || failed(text, room, port, "find it after probing", -error);
}

/* --- offloads ------------------------------------------------------------------------------ */

/* False: it was asked for and the device cannot. */
static bool
settle(struct port *port, enum port_wish wish, bool can, bool by_default, const char *key, bool *used, char *text,
       size_t room)
{
	*used = can && (wish == PORT_ON || (wish == PORT_AUTO && by_default));
	if (wish != PORT_ON || can)
		return true;
	snprintf(text, room,
		 "port %s: the device (%s) cannot do offload.%s, or not with the others as they are; leave it at "
		 "auto, and it is done in software",
		 port->name, port->driver, key);
	return false;
}

/* 0 means that the driver does not say: then no limit is known. */
static uint16_t
limit_of(uint16_t said)
{
	return said > 0 ? said : UINT16_MAX;
}

static bool
choose_offloads(struct port *port, const struct port_wishes *wishes, const struct rte_eth_dev_info *info,
		struct rte_eth_conf *conf, char *text, size_t room)
{
	const uint64_t receive = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
	uint64_t can = info->tx_offload_capa;
	struct port_offload *use = &port->offload;
	/* Its driver does all this in software: no gain. It cuts IPv4 only (rte_gso), and adds up pieces as if
	 * none had an odd length, as of DPDK 22.11. */
	bool is_tap = strcmp(port->driver, "net_tap") == 0;
	bool tso = false;

	if (!settle(port, wishes->receive_checksum, (info->rx_offload_capa & receive) != 0, true,
		    "receive_checksum", &use->receive_checksum, text, room) ||
	    !settle(port, wishes->tcp_checksum, (can & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0, !is_tap, "tcp_checksum",
		    &use->tcp_checksum, text, room) ||
	    !settle(port, wishes->tso,
		    (can & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0 && (can & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0 &&
			    use->tcp_checksum && !is_tap,
		    true, "tso", &tso, text, room) ||
	    !settle(port, wishes->ip_checksum,
		    (can & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0 && use->tcp_checksum, tso, "ip_checksum",
		    &use->ip_checksum, text, room))
		return false;
	/* Each segment that the device makes of an IPv4 packet has a header of its own to sum up. */
	use->tso_v4 = tso && use->ip_checksum;
	use->tso_v6 = tso;
	use->even_pieces = is_tap;
	use->pieces_max = limit_of(info->tx_desc_lim.nb_mtu_seg_max);
	use->tso_pieces_max = limit_of(info->tx_desc_lim.nb_seg_max);
	port->can_chain = (can & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
	conf->rxmode.offloads = use->receive_checksum ? info->rx_offload_capa & receive : 0;
	conf->txmode.offloads = (can & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) |
				(use->ip_checksum ? RTE_ETH_TX_OFFLOAD_IPV4_CKSUM : 0) |
				(use->tcp_checksum ? RTE_ETH_TX_OFFLOAD_TCP_CKSUM : 0) |
				(tso ? RTE_ETH_TX_OFFLOAD_TCP_TSO : 0);
	return true;
}

void
port_describe_offload(const struct port *port, char *text, size_t room)
{
	const struct port_offload *use = &port->offload;

	snprintf(text, room, "receive%s, send%s%s%s%s%s", use->receive_checksum ? " checksums" : " nothing",
		 use->ip_checksum ? " ip" : "", use->tcp_checksum ? " tcp" : "", use->tso_v4 ? " tso4" : "",
		 use->tso_v6 ? " tso6" : "", !use->ip_checksum && !use->tcp_checksum ? " nothing" : "");
}

/* --- queues and flows ------------------------------------------------------------------------ */

static void
choose_rss(struct port *port, const struct port_config *config, const struct rte_eth_dev_info *info,
	   struct rte_eth_conf *conf)
{
	if (port->queue_count < 2 || info->flow_type_rss_offloads == 0)
		return;
	conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	conf->rx_adv_conf.rss_conf.rss_hf =
		info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP);
	if (info->hash_key_size >= TOEPLITZ_KEY_BYTES && info->hash_key_size <= PORT_RSS_KEY_BYTES) {
		conf->rx_adv_conf.rss_conf.rss_key = (uint8_t *)config->rss_key;
		conf->rx_adv_conf.rss_conf.rss_key_len = info->hash_key_size;
	}
}

/* The table in the card: queue by queue, and then as the card says that it is. */
static bool
share_out(const struct port *port, uint16_t count, uint16_t table[STEERING_TABLE_MAX])
{
	struct rte_eth_rss_reta_entry64 parts[STEERING_TABLE_MAX / RTE_ETH_RETA_GROUP_SIZE];

	memset(parts, 0, sizeof(parts));
	for (uint16_t i = 0; i < count; i++) {
		parts[i / RTE_ETH_RETA_GROUP_SIZE].mask = UINT64_MAX;
		parts[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] =
			i % port->queue_count;
	}
	if (rte_eth_dev_rss_reta_update(port->id, parts, count) != 0 ||
	    rte_eth_dev_rss_reta_query(port->id, parts, count) != 0)
		return false;
	for (uint16_t i = 0; i < count; i++) {
		table[i] = parts[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
		if (table[i] >= port->queue_count)
			return false;
	}
	return true;
}

/*
 * Learns how a started port distributes flows, if it does so by address and port, and says how. Many lie or
 * do not know; who believes a wrong answer only has more frames to forward.
 */
static void
learn_rss(struct port *port)
{
	uint8_t key[PORT_RSS_KEY_BYTES];
	struct rte_eth_rss_conf conf = { .rss_key = key, .rss_key_len = sizeof(key) };
	struct rte_eth_dev_info info;
	uint16_t count;

	if (port->queue_count < 2 || rte_eth_dev_info_get(port->id, &info) != 0)
		return;
	count = info.reta_size;
	if (count == 0 || count > STEERING_TABLE_MAX || count % RTE_ETH_RETA_GROUP_SIZE != 0 ||
	    info.hash_key_size < TOEPLITZ_KEY_BYTES || info.hash_key_size > sizeof(key) ||
	    rte_eth_dev_rss_hash_conf_get(port->id, &conf) != 0 ||
	    !(conf.rss_hf & RTE_ETH_RSS_NONFRAG_IPV4_TCP) || !share_out(port, count, port->rss.table))
		return;
	memcpy(port->rss.key, key, TOEPLITZ_KEY_BYTES);
	port->rss.count = count;
}

static bool
set_up_queues(struct port *port, const struct port_config *config, char *text, size_t room)
{
	uint16_t received = PORT_DESCRIPTORS, sent = PORT_DESCRIPTORS;
	int error = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &received, &sent);

	if (error != 0)
		return failed(text, room, port, "size its rings", -error);
	port->receive_descriptors = received;
	for (uint16_t q = 0; q < port->queue_count; q++) {
		error = rte_eth_rx_queue_setup(port->id, q, received, SOCKET_ID_ANY, NULL,
					       (struct rte_mempool *)config->receive_pools[q]);
		if (error == 0)
			error = rte_eth_tx_queue_setup(port->id, q, sent, SOCKET_ID_ANY, NULL);
		if (error != 0)
			return failed(text, room, port, "set up its queues", -error);
	}
	return true;
}

/* net_af_packet says that it cannot do more than 1500, whatever its interface and ring can. */
static bool
set_kernel_mtu(uint32_t if_index, uint32_t mtu_bytes)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool done = false;

	if (fd < 0)
		return false;
	if (if_index != 0 && if_indextoname(if_index, request.ifr_name) != NULL &&
	    ioctl(fd, SIOCGIFMTU, &request) == 0) {
		done = request.ifr_mtu == (int)mtu_bytes;
		request.ifr_mtu = (int)mtu_bytes;
		done = done || ioctl(fd, SIOCSIFMTU, &request) == 0;
	}
	close(fd);
	return done;
}

/* net_af_packet has slots of framesz bytes, 2048 unless the device string says otherwise, and drops what is
 * longer without a word. */
static bool
ring_fits(const struct port_config *config, char *text, size_t room)
{
	const char *said = strstr(config->device, "framesz=");
	uint32_t slot_bytes = said != NULL ? (uint32_t)strtoul(said + strlen("framesz="), NULL, 10) : 2048;

	if (strncmp(config->device, "net_af_packet", strlen("net_af_packet")) != 0 ||
	    config->mtu_bytes + AF_PACKET_SLOT_EXTRA_BYTES <= slot_bytes)
		return true;
	snprintf(text, room,
		 "port %s: mtu %u does not fit into slots of %u bytes; add "
		 "blocksz=36864,framesz=9216,framecnt=512 to the device",
		 config->device, config->mtu_bytes, slot_bytes);
	return false;
}

static bool
configure(struct port *port, const struct port_config *config, char *text, size_t room)
{
	struct rte_eth_conf conf = { 0 };
	struct rte_eth_dev_info info;
	struct rte_ether_addr mac;
	uint16_t mtu = 0;
	int error = rte_eth_dev_info_get(port->id, &info);

	if (error != 0)
		return failed(text, room, port, "ask what it can do", -error);
	snprintf(port->driver, sizeof(port->driver), "%s", info.driver_name);
	if (info.max_rx_queues < port->queue_count || info.max_tx_queues < port->queue_count) {
		snprintf(text, room,
			 "port %s has %u receive and %u transmit queues, but there are %u workers: give the "
			 "device more (qpairs=, queue_count=) or lower workers",
			 port->name, info.max_rx_queues, info.max_tx_queues, port->queue_count);
		return false;
	}
	if (!choose_offloads(port, &config->wishes, &info, &conf, text, room))
		return false;
	choose_rss(port, config, &info, &conf);
	error = rte_eth_dev_configure(port->id, port->queue_count, port->queue_count, &conf);
	if (error != 0)
		return failed(text, room, port, "configure it", -error);
	/* Devices whose MTU is right already may refuse to have it set. */
	rte_eth_dev_get_mtu(port->id, &mtu);
	if (mtu != config->mtu_bytes && rte_eth_dev_set_mtu(port->id, config->mtu_bytes) != 0 &&
	    (strcmp(port->driver, "net_af_packet") != 0 || !set_kernel_mtu(info.if_index, config->mtu_bytes))) {
		snprintf(text, room, "port %s: the MTU is %u and cannot be set to %u; set mtu: %u", port->name,
			 mtu, config->mtu_bytes, mtu);
		return false;
	}
	if (!ring_fits(config, text, room))
		return false;
	error = rte_eth_macaddr_get(port->id, &mac);
	if (error != 0)
		return failed(text, room, port, "read its address", -error);
	memcpy(port->mac.byte, mac.addr_bytes, sizeof(port->mac.byte));
	/* What a TAP device has for an address is that of the kernel's end; ours must be another one. */
	if (strcmp(port->driver, "net_tap") == 0)
		port->mac.byte[5] ^= 1;
	return set_up_queues(port, config, text, room);
}

bool
port_open(struct port *port, const struct port_config *config, char *text, size_t room)
{
	int error;

	memset(port, 0, sizeof(*port));
	port->index = config->index;
	port->queue_count = config->queue_count;
	if (!find(port, config->device, text, room) || !configure(port, config, text, room))
		return false;
	port->queues = aligned_alloc(64, sizeof(struct port_queue) * port->queue_count);
	CHECK(port->queues != NULL);
	memset(port->queues, 0, sizeof(struct port_queue) * port->queue_count);
	error = rte_eth_dev_start(port->id);
	if (error != 0)
		return failed(text, room, port, "start it", -error);
	learn_rss(port);
	/* Neighbour discovery needs the solicited-node groups; drivers that cannot filter see all anyway. */
	if (rte_eth_allmulticast_enable(port->id) != 0)
		rte_eth_promiscuous_enable(port->id);
	return true;
}

void
port_close(struct port *port)
{
	for (uint16_t q = 0; q < port->queue_count; q++)
		rte_pktmbuf_free_bulk(port->queues[q].waiting, port->queues[q].waiting_count);
	rte_eth_dev_stop(port->id);
	rte_eth_dev_close(port->id);
	free(port->queues);
}

/* --- receive --------------------------------------------------------------------------- */

static uint8_t
csum_of(uint64_t flags, uint64_t mask, uint64_t good, uint64_t bad, uint64_t none)
{
	uint64_t said = flags & mask;

	if (said == good)
		return PKT_CSUM_GOOD;
	if (said == bad)
		return PKT_CSUM_BAD;
	return said == none ? PKT_CSUM_NONE : PKT_CSUM_UNKNOWN;
}

uint32_t
port_receive(struct port *port, uint16_t queue, struct pkt *frames[PORT_BURST])
{
	struct rte_mbuf **burst = (struct rte_mbuf **)frames;
	uint16_t count = rte_eth_rx_burst(port->id, queue, burst, PORT_BURST);

	for (uint16_t i = 0; i < count; i++) {
		struct pkt_meta *meta = pkt_meta(frames[i]);
		uint64_t flags = burst[i]->ol_flags;

		memset(meta, 0, sizeof(*meta));
		meta->port = port->index;
		if (flags & RTE_MBUF_F_RX_RSS_HASH)
			meta->rss_hash = burst[i]->hash.rss;
		if (!port->offload.receive_checksum)
			continue;
		meta->l3_csum = csum_of(flags, RTE_MBUF_F_RX_IP_CKSUM_MASK, RTE_MBUF_F_RX_IP_CKSUM_GOOD,
					RTE_MBUF_F_RX_IP_CKSUM_BAD, RTE_MBUF_F_RX_IP_CKSUM_NONE);
		meta->l4_csum = csum_of(flags, RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_GOOD,
					RTE_MBUF_F_RX_L4_CKSUM_BAD, RTE_MBUF_F_RX_L4_CKSUM_NONE);
	}
	return count;
}

/* --- transmit ----------------------------------------------------------------------------- */

/* One segment out of several, for a device that cannot gather. NULL: dropped. */
static struct pkt *
gather(struct pkt *frame, struct pkt_pool *pool)
{
	uint32_t n = pkt_total(frame);
	struct pkt *copy = pkt_alloc(pool);
	uint8_t *to = copy != NULL ? pkt_append(copy, n) : NULL;

	if (to != NULL) {
		pkt_copy_out(frame, 0, to, n);
	} else {
		pkt_free(copy);
		copy = NULL;
	}
	pkt_free(frame);
	return copy;
}

/* What the device is to do to a frame, in its words. */
static void
ask_device(const struct port *port, struct pkt *frame)
{
	const struct pkt_meta *meta = pkt_meta(frame);
	struct rte_mbuf *m = pkt_mbuf(frame);
	uint8_t *ip = pkt_data(frame) + meta->l2_bytes;
	bool is_v4 = meta->l3_bytes == IP4_HEADER_BYTES;

	if (meta->l3_bytes == 0)
		return; /* ARP and the like, or a frame of the kernel's */
	m->tx_offload = rte_mbuf_tx_offload(meta->l2_bytes, meta->l3_bytes, meta->l4_bytes,
					    meta->tso_mss, 0, 0, 0);
	if (is_v4 && port->offload.ip_checksum) {
		m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4;
		memset(ip + IP4_CHECKSUM_OFFSET, 0, 2);
	}
	if (meta->l4_csum == PKT_CSUM_PSEUDO)
		m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | (is_v4 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6);
	if (meta->tso_mss > 0)
		m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
}

/* All of it is ours again. */
static void
unask_device(struct pkt *frame)
{
	const struct pkt_meta *meta = pkt_meta(frame);
	uint8_t *ip = pkt_data(frame) + meta->l2_bytes;
	uint16_t sum;

	pkt_mbuf(frame)->ol_flags &= ~(uint64_t)(RTE_MBUF_F_TX_OFFLOAD_MASK);
	if (meta->l3_bytes != IP4_HEADER_BYTES)
		return;
	memset(ip + IP4_CHECKSUM_OFFSET, 0, 2);
	sum = csum_finish(csum_add(0, ip, IP4_HEADER_BYTES));
	memcpy(ip + IP4_CHECKSUM_OFFSET, &sum, sizeof(sum));
}

static void
wait_or_drop(struct port_queue *q, struct pkt *frame)
{
	if (frame == NULL || q->waiting_count == PORT_WAITING_MAX) {
		q->dropped++;
		pkt_free(frame);
		return;
	}
	q->waiting[q->waiting_count++] = pkt_mbuf(frame);
}

/* One segment, in as many pieces as the device takes, with nothing left to ask of it: or dropped. */
static void
queue_finished(struct port *port, struct port_queue *q, struct pkt *frame, const struct pools *pools)
{
	offload_finish(frame);
	if (pkt_next(frame) != NULL && (!port->can_chain || pkt_segments(frame) > port->offload.pieces_max))
		frame = gather(frame, pools->payload);
	wait_or_drop(q, frame);
}

/* A frame that the device is not asked to do anything to. */
static void
queue_in_software(struct port *port, struct port_queue *q, struct pkt *frame, const struct pools *pools)
{
	struct pkt_queue segments = { 0 };

	if (pkt_meta(frame)->tso_mss == 0) {
		queue_finished(port, q, frame, pools);
		return;
	}
	if (!offload_split(frame, pools->header, pools->bare, &segments))
		q->dropped++;
	while ((frame = pkt_queue_get(&segments)) != NULL)
		queue_finished(port, q, frame, pools);
}

/* The driver does not take the first frame that it has not looked at yet as it is: we do what it was asked for.
 * Behind the others, since it may have become several. */
static void
take_back(struct port *port, struct port_queue *q, const struct pools *pools)
{
	struct pkt *frame = pkt_of_mbuf(q->waiting[q->prepared_count]);

	q->waiting_count--;
	memmove(q->waiting + q->prepared_count, q->waiting + q->prepared_count + 1,
		(q->waiting_count - q->prepared_count) * sizeof(q->waiting[0]));
	q->refused++;
	/* Refused with nothing asked for: no other form of it is left. */
	if ((pkt_mbuf(frame)->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) == 0) {
		q->dropped++;
		pkt_free(frame);
		return;
	}
	unask_device(frame);
	queue_in_software(port, q, frame, pools);
}

bool
port_is_up(const struct port *port)
{
	struct rte_eth_link link;

	return rte_eth_link_get_nowait(port->id, &link) != 0 || link.link_status == RTE_ETH_LINK_UP;
}

uint64_t
port_send_drops(const struct port *port, uint16_t queue)
{
	return port->queues[queue].dropped;
}

void
port_flush(struct port *port, uint16_t queue, const struct pools *pools)
{
	struct port_queue *q = &port->queues[queue];
	uint16_t sent;

	/* Ends: each turn either agrees on all, or makes a frame that is asked for less, or is dropped. */
	while (q->prepared_count < q->waiting_count) {
		q->prepared_count += rte_eth_tx_prepare(port->id, queue, q->waiting + q->prepared_count,
							(uint16_t)(q->waiting_count - q->prepared_count));
		if (q->prepared_count < q->waiting_count)
			take_back(port, q, pools);
	}
	if (q->waiting_count == 0)
		return;
	sent = rte_eth_tx_burst(port->id, queue, q->waiting, (uint16_t)q->waiting_count);
	q->waiting_count -= sent;
	q->prepared_count -= sent;
	if (sent > 0 && q->waiting_count > 0)
		memmove(q->waiting, q->waiting + sent, q->waiting_count * sizeof(q->waiting[0]));
}

static bool
has_odd_piece(const struct pkt *frame)
{
	for (; pkt_next(frame) != NULL; frame = pkt_next(frame))
		if (pkt_len(frame) % 2 != 0)
			return true;
	return false;
}

static bool
can_do_all(const struct port *port, const struct pkt *frame)
{
	const struct pkt_meta *meta = pkt_meta(frame);
	const struct port_offload *use = &port->offload;

	if (meta->tso_mss > 0)
		return (meta->l3_bytes == IP4_HEADER_BYTES ? use->tso_v4 : use->tso_v6) &&
		       pkt_segments(frame) <= use->tso_pieces_max;
	if (use->even_pieces && has_odd_piece(frame))
		return false;
	return use->tcp_checksum && (pkt_next(frame) == NULL ||
				     (port->can_chain && pkt_segments(frame) <= use->pieces_max));
}

void
port_transmit(struct port *port, uint16_t queue, struct pkt *frame, const struct pools *pools)
{
	struct port_queue *q = &port->queues[queue];

	if (q->waiting_count >= PORT_BURST)
		port_flush(port, queue, pools);
	if (pkt_meta(frame)->l4_csum != PKT_CSUM_PSEUDO) {
		queue_finished(port, q, frame, pools);
	} else if (can_do_all(port, frame)) {
		ask_device(port, frame);
		wait_or_drop(q, frame);
	} else {
		queue_in_software(port, q, frame, pools);
	}
}
