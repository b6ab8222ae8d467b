/* One non-blocking descriptor, polled: often while frames come, each millisecond while none do. */
#include "dataplane/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/units.h"
#include "dataplane/clock.h"
#include "wire/order.h"

#define BUSY_NS (20 * NSEC_PER_USEC)
#define BUSY_TURNS 64 /* without a frame before it is called idle */
#define BURST 64      /* frames each way in a turn */

static void
count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* --- the interface --------------------------------------------------------------------------- */

static bool
failed(const struct tap_config *config, const char *what, char *text, size_t room)
{
	snprintf(text, room,
		 "exception.tap %s: cannot %s: %s; it needs /dev/net/tun and CAP_NET_ADMIN, or an interface of "
		 "that name made for this user",
		 config->name, what, strerror(errno));
	return false;
}

/* The port's own MAC, so that neighbours find both of us at it; its MTU; up. */
static bool
set_up(const struct tap_config *config, char *text, size_t room)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool done = false;

	if (fd < 0)
		return failed(config, "open a socket", text, room);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", config->name);
	request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
	memcpy(request.ifr_hwaddr.sa_data, config->mac.byte, sizeof(config->mac.byte));
	if (ioctl(fd, SIOCSIFHWADDR, &request) < 0) {
		failed(config, "give it the port's address", text, room);
		goto out;
	}
	request.ifr_mtu = config->mtu_bytes;
	if (ioctl(fd, SIOCSIFMTU, &request) < 0) {
		failed(config, "set its MTU", text, room);
		goto out;
	}
	if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
		request.ifr_flags |= IFF_UP;
		done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
	}
	if (!done)
		failed(config, "bring it up", text, room);
out:
	close(fd);
	return done;
}

static bool
open_device(struct tap *tap, char *text, size_t room)
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };

	tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap->fd < 0)
		return failed(&tap->config, "open /dev/net/tun", text, room);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", tap->config.name);
	if (ioctl(tap->fd, TUNSETIFF, &request) < 0) {
		if (errno != EINVAL || if_nametoindex(tap->config.name) == 0)
			return failed(&tap->config, "make the interface", text, room);
		snprintf(text, room,
			 "exception.tap %s: there is an interface of that name that is no TAP; write another name",
			 tap->config.name);
		return false;
	}
	return set_up(&tap->config, text, room);
}

/* --- frames ------------------------------------------------------------------------------------ */

static bool
rate_allows(const struct tap *tap, uint64_t *full_at_ns, uint64_t now_ns)
{
	uint64_t each_ns = NSEC_PER_SEC / tap->config.rate;
	uint64_t from_ns = *full_at_ns > now_ns ? *full_at_ns : now_ns;

	if (from_ns + each_ns > now_ns + each_ns + NSEC_PER_SEC / 10)
		return false;
	*full_at_ns = from_ns + each_ns;
	return true;
}

/* Flattens and frees the frame; the port's tag is the port's business. */
static void
give_to_kernel(struct tap *tap, struct pkt *frame)
{
	uint32_t n = pkt_total(frame);

	if (n > sizeof(tap->frame)) {
		count(&tap->refused);
		pkt_free(frame);
		return;
	}
	pkt_copy_out(frame, 0, tap->frame, n);
	pkt_free(frame);
	if (tap->config.vlan != 0) {
		memmove(tap->frame + 12, tap->frame + 12 + ETH_VLAN_BYTES, n - 12 - ETH_VLAN_BYTES);
		n -= ETH_VLAN_BYTES;
	}
	if (write(tap->fd, tap->frame, n) != (ssize_t)n)
		count(&tap->refused);
}

static uint32_t
run_to_kernel(struct tap *tap, uint64_t now_ns)
{
	uint32_t done = 0;

	for (uint32_t i = 0; i < tap->config.workers; i++) {
		struct pkt *frame;

		for (uint32_t n = 0; n < BURST && (frame = ring_get(&tap->to_kernel[i])) != NULL; n++) {
			done++;
			if (rate_allows(tap, &tap->to_full_at_ns, now_ns)) {
				give_to_kernel(tap, frame);
			} else {
				count(&tap->over_rate);
				pkt_free(frame);
			}
		}
	}
	return done;
}

/* The frame in tap->frame, of n bytes, on its way to the port. False: no packet, or too many wait. */
static bool
give_to_port(struct tap *tap, uint32_t n)
{
	uint32_t tag_bytes = tap->config.vlan != 0 ? ETH_VLAN_BYTES : 0;
	struct pkt *p;
	uint8_t *to;

	if (ring_count(tap->from_kernel) >= tap->config.queue)
		return false;
	p = pkt_alloc(tap->config.pool);
	to = p != NULL ? pkt_append(p, n + tag_bytes) : NULL;
	if (to == NULL) {
		pkt_free(p);
		return false;
	}
	memcpy(to, tap->frame, 12);
	if (tag_bytes > 0) {
		order_put16(to + 12, ETH_TYPE_VLAN);
		order_put16(to + 14, tap->config.vlan);
	}
	memcpy(to + 12 + tag_bytes, tap->frame + 12, n - 12);
	pkt_meta(p)->port = tap->config.port;
	if (ring_put(tap->from_kernel, p))
		return true;
	pkt_free(p);
	return false;
}

static uint32_t
run_from_kernel(struct tap *tap, uint64_t now_ns)
{
	uint32_t done = 0;

	while (done < BURST) {
		ssize_t n = read(tap->fd, tap->frame, sizeof(tap->frame));

		if (n <= 0)
			break;
		done++;
		if (n < ETH_HEADER_BYTES || n > tap->config.mtu_bytes + ETH_HEADER_BYTES)
			count(&tap->refused);
		else if (!rate_allows(tap, &tap->from_full_at_ns, now_ns))
			count(&tap->over_rate);
		else if (give_to_port(tap, (uint32_t)n))
			count(&tap->frames_in);
		else
			count(&tap->refused);
	}
	return done;
}

static void *
run(void *argument)
{
	struct tap *tap = argument;
	uint32_t silent_turns = 0;

	while (!atomic_load_explicit(&tap->stop, memory_order_relaxed)) {
		uint64_t now_ns = clock_ns();
		uint32_t done = run_to_kernel(tap, now_ns) + run_from_kernel(tap, now_ns);
		struct timespec pause = { 0, silent_turns < BUSY_TURNS ? BUSY_NS : TAP_IDLE_NS };

		silent_turns = done > 0 ? 0 : silent_turns + 1;
		if (done == 0)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return NULL;
}

/* --- all of it ------------------------------------------------------------------------------------ */

bool
tap_open(struct tap *tap, const struct tap_config *config, char *text, size_t room)
{
	memset(tap, 0, sizeof(*tap));
	tap->config = *config;
	tap->to_kernel = aligned_alloc(CACHE_LINE_BYTES, sizeof(struct ring) * (config->workers + 1));
	CHECK(tap->to_kernel != NULL);
	memset(tap->to_kernel, 0, sizeof(struct ring) * (config->workers + 1));
	tap->from_kernel = &tap->to_kernel[config->workers];
	if (open_device(tap, text, room) && pthread_create(&tap->thread, NULL, run, tap) == 0)
		return true;
	if (tap->fd >= 0)
		close(tap->fd);
	free(tap->to_kernel);
	return false;
}

void
tap_close(struct tap *tap)
{
	atomic_store(&tap->stop, true);
	pthread_join(tap->thread, NULL);
	close(tap->fd);
	for (uint32_t i = 0; i <= tap->config.workers; i++) {
		struct pkt *frame;

		while ((frame = ring_get(&tap->to_kernel[i])) != NULL)
			pkt_free(frame);
	}
	free(tap->to_kernel);
}
