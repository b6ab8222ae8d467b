/* ethdev, as little of it as serves every driver: what a device lacks is done in software here. */
#include "dataplane/port.h"

#include <errno.h>
#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

#define DESCRIPTORS 1024

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

static bool
find(struct port *port, const char *device, char *text, size_t room)
{
	int error;

	name_of(device, port->name, sizeof(port->name));
	if (rte_eth_dev_get_port_by_name(port->name, &port->id) == 0)
		return true;
	error = rte_dev_probe(device);
	if (error != 0) {
		snprintf(text, room,
			 "port %s: cannot be opened: %s; check the device string \"%s\" and that its "
			 "interface exists",
			 port->name, strerror(-error), device);
		return false;
	}
	error = rte_eth_dev_get_port_by_name(port->name, &port->id);
	return error == 0 || failed(text, room, port, "find it after probing", -error);
}

/* Offloads that are used if the device has them. */
static void
choose_offloads(struct port *port, const struct port_config *config,
		const struct rte_eth_dev_info *info, struct rte_eth_conf *conf)
{
	uint64_t receive = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;

	conf->rxmode.offloads = info->rx_offload_capa & receive;
	conf->txmode.offloads = info->tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	port->can_chain = conf->txmode.offloads != 0;
	if (port->queue_count > 1 && info->flow_type_rss_offloads != 0) {
		conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf->rx_adv_conf.rss_conf.rss_hf =
			info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP);
		if (info->hash_key_size >= TOEPLITZ_KEY_BYTES &&
		    info->hash_key_size <= PORT_RSS_KEY_BYTES) {
			conf->rx_adv_conf.rss_conf.rss_key = (uint8_t *)config->rss_key;
			conf->rx_adv_conf.rss_conf.rss_key_len = info->hash_key_size;
		}
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
	uint16_t received = DESCRIPTORS, sent = DESCRIPTORS;
	int error = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &received, &sent);

	if (error != 0)
		return failed(text, room, port, "size its rings", -error);
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
	choose_offloads(port, config, &info, &conf);
	error = rte_eth_dev_configure(port->id, port->queue_count, port->queue_count, &conf);
	if (error != 0)
		return failed(text, room, port, "configure it", -error);
	/* Devices whose MTU is right already may refuse to have it set. */
	rte_eth_dev_get_mtu(port->id, &mtu);
	if (mtu != config->mtu_bytes && rte_eth_dev_set_mtu(port->id, config->mtu_bytes) != 0) {
		snprintf(text, room, "port %s: the MTU is %u and cannot be set to %u; set mtu: %u", port->name,
			 mtu, config->mtu_bytes, mtu);
		return false;
	}
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
		meta->l3_csum = csum_of(flags, RTE_MBUF_F_RX_IP_CKSUM_MASK, RTE_MBUF_F_RX_IP_CKSUM_GOOD,
					RTE_MBUF_F_RX_IP_CKSUM_BAD, RTE_MBUF_F_RX_IP_CKSUM_NONE);
		meta->l4_csum = csum_of(flags, RTE_MBUF_F_RX_L4_CKSUM_MASK, RTE_MBUF_F_RX_L4_CKSUM_GOOD,
					RTE_MBUF_F_RX_L4_CKSUM_BAD, RTE_MBUF_F_RX_L4_CKSUM_NONE);
		if (flags & RTE_MBUF_F_RX_RSS_HASH)
			meta->rss_hash = burst[i]->hash.rss;
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

void
port_flush(struct port *port, uint16_t queue)
{
	struct port_queue *q = &port->queues[queue];
	uint16_t sent;

	if (q->waiting_count == 0)
		return;
	sent = rte_eth_tx_burst(port->id, queue, q->waiting, (uint16_t)q->waiting_count);
	q->waiting_count -= sent;
	if (sent > 0 && q->waiting_count > 0)
		memmove(q->waiting, q->waiting + sent, q->waiting_count * sizeof(q->waiting[0]));
}

void
port_transmit(struct port *port, uint16_t queue, struct pkt *frame, struct pkt_pool *pool)
{
	struct port_queue *q = &port->queues[queue];

	if (q->waiting_count >= PORT_BURST)
		port_flush(port, queue);
	if (!port->can_chain && pkt_next(frame) != NULL)
		frame = gather(frame, pool);
	if (frame == NULL || q->waiting_count == PORT_WAITING_MAX) {
		q->dropped++;
		pkt_free(frame);
		return;
	}
	q->waiting[q->waiting_count++] = pkt_mbuf(frame);
}
