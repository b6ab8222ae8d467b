#include "unix_socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "config/log.h"

#define BACKLOG 16

static int
complain(const char *path, const char *why)
{
	LOG_ERROR("socket_not_made", LOG_TEXT("file", path), LOG_TEXT("why", why));
	return -1;
}

/* Whether somebody takes connections at the address. */
static bool
is_alive(const struct sockaddr_un *address, int type)
{
	int file = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool alive = file >= 0 && (connect(file, (const void *)address, sizeof(*address)) == 0 ||
				   errno == EAGAIN);

	if (file >= 0)
		close(file);
	return alive;
}

/* The path is free, or made free. */
static bool
make_room(const struct sockaddr_un *address, int type)
{
	struct stat status;

	if (lstat(address->sun_path, &status) != 0)
		return errno == ENOENT || complain(address->sun_path, strerror(errno)) == 0;
	if (!S_ISSOCK(status.st_mode))
		return complain(address->sun_path, "something that is no socket is there") == 0;
	if (is_alive(address, type))
		return complain(address->sun_path, "another process listens there") == 0;
	return unlink(address->sun_path) == 0 || complain(address->sun_path, strerror(errno)) == 0;
}

int
unix_socket_listen(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	mode_t mask;
	int file, bound;

	CHECK(strlen(path) <= UNIX_SOCKET_PATH_MAX);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (!make_room(&address, type))
		return -1;
	file = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (file < 0)
		return complain(path, strerror(errno));
	mask = umask(0177); /* never open to others, not even between bind and chmod */
	bound = bind(file, (const void *)&address, sizeof(address));
	umask(mask);
	if (bound != 0 || listen(file, BACKLOG) != 0) {
		complain(path, strerror(errno));
		close(file);
		return -1;
	}
	LOG_INFO("listening", LOG_TEXT("socket", path));
	return file;
}

bool
unix_socket_peer(int file, unsigned *uid)
{
	struct sockaddr_storage address;
	socklen_t address_len = sizeof(address);
	struct ucred peer;
	socklen_t peer_len = sizeof(peer);

	if (getsockname(file, (void *)&address, &address_len) != 0 || address.ss_family != AF_UNIX ||
	    getsockopt(file, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) != 0)
		return false;
	*uid = peer.uid;
	return true;
}
