/* A namespace is entered only to open the descriptor, which stays in it. */
#include "end.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEXT_BYTES_MAX 160
#define SOCKET_BUFFER_BYTES (32 << 20)
/* Frames that wait in a tap until the relay reads them: a burst of a whole window at a gigabit. */
#define TAP_QUEUE_FRAMES 16384

static bool
complain(char complaint[END_COMPLAINT_BYTES], const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vsnprintf(complaint, END_COMPLAINT_BYTES, format, values);
	va_end(values);
	return false;
}

static bool
enter(const char *space, char complaint[END_COMPLAINT_BYTES])
{
	char path[TEXT_BYTES_MAX + 32];
	int file;

	if (strchr(space, '/') != NULL)
		snprintf(path, sizeof(path), "%s", space);
	else if (strspn(space, "0123456789") == strlen(space))
		snprintf(path, sizeof(path), "/proc/%s/ns/net", space);
	else
		snprintf(path, sizeof(path), "/run/netns/%s", space);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return complain(complaint, "namespace %s: %s", path, strerror(errno));
	if (setns(file, CLONE_NEWNET) != 0) {
		complain(complaint, "namespace %s: %s", path, strerror(errno));
		close(file);
		return false;
	}
	close(file);
	return true;
}

static bool
bring_up(const char *name, char complaint[END_COMPLAINT_BYTES])
{
	struct ifreq request = { .ifr_flags = 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool is_up = false;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
		request.ifr_flags |= IFF_UP;
		is_up = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
		request.ifr_qlen = TAP_QUEUE_FRAMES;
		is_up = is_up && ioctl(fd, SIOCSIFTXQLEN, &request) == 0;
	}
	if (!is_up)
		complain(complaint, "%s cannot be brought up: %s", name, strerror(errno));
	if (fd >= 0)
		close(fd);
	return is_up;
}

static bool
open_tap(struct end *e, const char *name, char complaint[END_COMPLAINT_BYTES])
{
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };

	e->is_tap = true;
	e->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (e->fd < 0)
		return complain(complaint, "/dev/net/tun: %s", strerror(errno));
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(e->fd, TUNSETIFF, &request) != 0)
		return complain(complaint, "tap %s: %s", name, strerror(errno));
	return bring_up(name, complaint);
}

static bool
open_packet(struct end *e, const char *name, char complaint[END_COMPLAINT_BYTES])
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	struct packet_mreq promiscuous = { .mr_type = PACKET_MR_PROMISC };
	int bytes = SOCKET_BUFFER_BYTES;
	int yes = 1;

	e->is_tap = false;
	/* Protocol 0: nothing is queued before bind() has said which interface. */
	e->fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (e->fd < 0)
		return complain(complaint, "AF_PACKET: %s", strerror(errno));
	address.sll_ifindex = (int)if_nametoindex(name);
	if (address.sll_ifindex == 0)
		return complain(complaint, "there is no interface \"%s\"", name);
	promiscuous.mr_ifindex = address.sll_ifindex;
	if (setsockopt(e->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)) != 0 ||
	    setsockopt(e->fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) != 0 ||
	    setsockopt(e->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof(promiscuous)) != 0)
		return complain(complaint, "%s: %s", name, strerror(errno));
	if (setsockopt(e->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) != 0 &&
	    setsockopt(e->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) != 0)
		return complain(complaint, "%s: receive buffer: %s", name, strerror(errno));
	if (bind(e->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return complain(complaint, "%s: %s", name, strerror(errno));
	return true;
}

static bool
open_here(struct end *e, const char *name, char complaint[END_COMPLAINT_BYTES])
{
	static const char tap[] = "tap:";
	bool is_tap = strncmp(name, tap, sizeof(tap) - 1) == 0;

	name += is_tap ? sizeof(tap) - 1 : 0;
	if (*name == '\0' || strlen(name) >= IFNAMSIZ)
		return complain(complaint, "\"%s\" is no interface name", name);
	return is_tap ? open_tap(e, name, complaint) : open_packet(e, name, complaint);
}

bool
end_open(struct end *e, const char *text, char complaint[END_COMPLAINT_BYTES])
{
	char name[TEXT_BYTES_MAX];
	char *space;
	bool is_open;
	int home;

	e->fd = -1;
	if ((size_t)snprintf(name, sizeof(name), "%s", text) >= sizeof(name))
		return complain(complaint, "\"%.40s…\" is too long", text);
	space = strchr(name, '@');
	if (space == NULL)
		return open_here(e, name, complaint);
	*space++ = '\0';
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return complain(complaint, "/proc/self/ns/net: %s", strerror(errno));
	is_open = enter(space, complaint) && open_here(e, name, complaint);
	if (setns(home, CLONE_NEWNET) != 0)
		is_open = complain(complaint, "the way back from %s: %s", space, strerror(errno));
	close(home);
	return is_open;
}

long
end_receive(const struct end *e, void *to, size_t size)
{
	/* MSG_TRUNC: the whole length, also of a frame that was cut. A tap cuts in silence, but never holds
	 * more than its MTU. */
	long n = e->is_tap ? (long)read(e->fd, to, size) : (long)recv(e->fd, to, size, MSG_TRUNC);

	if (n >= 0)
		return n;
	/* ENETDOWN: said once when the interface is set down, and it may come up again. */
	return errno == EAGAIN || errno == EINTR || errno == ENETDOWN || errno == EIO ? 0 : -1;
}

bool
end_send(const struct end *e, const void *frame, size_t bytes)
{
	return e->is_tap ? write(e->fd, frame, bytes) == (ssize_t)bytes
			 : send(e->fd, frame, bytes, MSG_DONTWAIT) == (ssize_t)bytes;
}
