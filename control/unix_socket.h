#pragma once

#include <stdbool.h>

/*
 * unix_socket: a listening socket in the file system, for its owner only (0600).
 *
 * A file that a dead process left is replaced; one where somebody still answers, or that is no socket, stays.
 */
#define UNIX_SOCKET_PATH_MAX 107 /* sun_path without its NUL */

/* type is SOCK_STREAM or SOCK_SEQPACKET. -1: why is logged. The path's owner removes it when it closes the
 * socket. */
int unix_socket_listen(const char *path, int type);

/* Of the process at the other end of a connection. False: it is no UNIX socket. */
bool unix_socket_peer(int file, unsigned *uid);
