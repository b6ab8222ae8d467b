/* The secrets handed to the dataplane: a message to who connects, and another one at each change. Nobody is waited
 * for: a reader that does not take one is forgotten, and asks again. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "config/log.h"
#include "tickets.h"
#include "tls/arena.h"
#include "unix_socket.h"

bool
tickets_listen(struct tickets *tickets, const char *folder, const char *instance)
{
	if (tickets->lifetime_s == 0)
		return true;
	CHECK(snprintf(tickets->path, sizeof(tickets->path), "%s/%s.tickets", folder, instance) <=
	      UNIX_SOCKET_PATH_MAX);
	tickets->listening = unix_socket_listen(tickets->path, SOCK_SEQPACKET);
	if (tickets->listening < 0)
		tickets->path[0] = '\0';
	return tickets->listening >= 0;
}

static void
forget_reader(struct tickets *tickets, uint32_t at)
{
	close(tickets->readers[at]);
	tickets->reader_count--;
	for (; at < tickets->reader_count; at++)
		tickets->readers[at] = tickets->readers[at + 1];
}

/* MSG_NOSIGNAL: that it has gone is an answer. */
static bool
tell(const struct tickets *tickets, int reader)
{
	return tickets->secrets->count == 0 ||
	       send(reader, tickets->secrets, sizeof(*tickets->secrets), MSG_DONTWAIT | MSG_NOSIGNAL) ==
		       sizeof(*tickets->secrets);
}

static bool
is_gone(int reader)
{
	char nothing;

	return recv(reader, &nothing, sizeof(nothing), MSG_DONTWAIT) >= 0;
}

void
tickets_tell(struct tickets *tickets)
{
	for (uint32_t i = tickets->reader_count; i-- > 0;)
		if (!tell(tickets, tickets->readers[i]))
			forget_reader(tickets, i);
}

static void
take_reader(struct tickets *tickets, int reader)
{
	unsigned uid;

	/* The file's mode lets nobody else in, but for root. */
	if (!unix_socket_peer(reader, &uid) || uid != geteuid() || !tell(tickets, reader)) {
		LOG_WARN("tickets_not_handed_over", LOG_TEXT("file", tickets->path));
		close(reader);
		return;
	}
	if (tickets->reader_count == TICKETS_READERS_MAX)
		forget_reader(tickets, 0);
	tickets->readers[tickets->reader_count++] = reader;
}

void
tickets_serve(struct tickets *tickets)
{
	int reader;

	if (tickets->listening < 0)
		return;
	for (uint32_t i = tickets->reader_count; i-- > 0;)
		if (is_gone(tickets->readers[i]))
			forget_reader(tickets, i);
	for (int i = 0; i < TICKETS_READERS_MAX; i++) {
		reader = accept4(tickets->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (reader < 0)
			return;
		take_reader(tickets, reader);
	}
}

void
tickets_fini(struct tickets *tickets)
{
	while (tickets->reader_count > 0)
		forget_reader(tickets, 0);
	if (tickets->listening >= 0)
		close(tickets->listening);
	if (tickets->path[0] != '\0')
		unlink(tickets->path);
	if (tickets->arena != NULL)
		arena_free(tickets->arena);
	*tickets = (struct tickets){ .listening = -1 };
}
