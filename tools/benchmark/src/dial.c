#include "dial.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <sys/socket.h>

#include "../../clock.h"

#define SERVER_PORT 443

int
dial_begin(const struct dial *dial, uint64_t nth)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(SERVER_PORT),
				  .sin_addr = dial->server };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int yes = 1;

	if (fd < 0)
		err(1, "socket");
	from.sin_addr.s_addr = htonl(ntohl(dial->first.s_addr) + (uint32_t)(nth % dial->addresses));
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes)) != 0 ||
	    bind(fd, (const struct sockaddr *)&from, sizeof(from)) != 0)
		err(1, "bind");
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
		err(1, "connect");
	return fd;
}
