#include "dataplane/tickets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "config/log.h"

void
tickets_init(struct tickets *t, const char *folder, const char *instance)
{
	*t = (struct tickets){ .file = -1 };
	CHECK(snprintf(t->path, sizeof(t->path), "%s/%s.tickets", folder, instance) < (int)sizeof(t->path));
}

void
tickets_fini(struct tickets *t)
{
	if (t->file >= 0)
		close(t->file);
	t->file = -1;
}

bool
tickets_make_own(struct ticket_secrets *secrets)
{
	struct ticket_secret *own = &secrets->secret[0];

	*secrets = (struct ticket_secrets){ .layout = TICKET_SECRETS_LAYOUT, .count = 1 };
	return getrandom(own->name, sizeof(own->name), 0) == sizeof(own->name) &&
	       getrandom(own->key, sizeof(own->key), 0) == sizeof(own->key);
}

/* In a folder that everybody may write to, whoever listens may be anybody. */
static bool
is_ours(int file)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(file, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.uid == geteuid();
}

static void
connect_again(struct tickets *t)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(address.sun_path, t->path, sizeof(t->path));
	if (file < 0)
		return;
	if (connect(file, (const void *)&address, sizeof(address)) == 0 && is_ours(file)) {
		t->file = file;
		return;
	}
	close(file);
}

/* Not there yet, gone, or a message that is not ours to understand (another release): false. */
static bool
take_message(struct tickets *t, struct ticket_secrets *secrets)
{
	struct ticket_secrets fresh;
	ssize_t len = recv(t->file, &fresh, sizeof(fresh), MSG_TRUNC);
	bool is_whole = len > 0 && ticket_secrets_are_whole(&fresh, (size_t)len);

	if (is_whole)
		*secrets = fresh;
	else if (len > 0)
		LOG_ERROR("tickets_refused", LOG_TEXT("file", t->path),
			  LOG_TEXT("remedy", "run both programs from one release"));
	if (len == 0 || (len < 0 && errno != EAGAIN))
		tickets_fini(t);
	explicit_bzero(&fresh, sizeof(fresh));
	return is_whole;
}

bool
tickets_read(struct tickets *t, struct ticket_secrets *secrets, uint64_t now_ns)
{
	bool any = false;

	if (t->file < 0 && now_ns >= t->again_at_ns) {
		t->again_at_ns = now_ns + TICKETS_AGAIN_NS;
		connect_again(t);
	}
	/* Of several the last one counts. */
	while (t->file >= 0 && take_message(t, secrets))
		any = true;
	return any;
}
