/*
 * libmicrohttpd without threads of its own: one daemon for TCP and one for the UNIX socket. The loop waits on one
 * epoll descriptor, in which theirs are.
 */
#include "admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "config/log.h"
#include "unix_socket.h"

#define REQUEST_ID_BYTES 17
#define WHO_BYTES 64

/* A request's body while it comes in. */
struct upload {
	char *text;
	size_t len;
	bool is_too_large;
};

/* --- who calls --------------------------------------------------------------------------- */

bool
admin_read_tokens(struct admin *admin, const char *path, const char *read_only_path)
{
	return tokens_read(&admin->tokens, path, read_only_path);
}

static enum api_role
role_of(const struct admin *admin, struct MHD_Connection *connection)
{
	return tokens_role(&admin->tokens, MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
								       "Authorization"));
}

/* What the audit calls them: which token, and over the UNIX socket which user. */
static void
emit_who(const struct admin *admin, struct MHD_Connection *connection, enum api_role role, char text[WHO_BYTES])
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	char fingerprint[TOKEN_FINGERPRINT_BYTES];
	unsigned uid;
	int len;

	tokens_fingerprint(&admin->tokens, role, admin->control->pepper, fingerprint);
	len = snprintf(text, WHO_BYTES, "%s token %s", role == API_ADMIN ? "admin" : "read-only", fingerprint);
	if (info != NULL && unix_socket_peer(info->connect_fd, &uid))
		snprintf(text + len, WHO_BYTES - (size_t)len, ", uid %u", uid);
}

static void
make_request_id(char text[REQUEST_ID_BYTES])
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = 0; /* it only joins a row of the audit with an answer */
	snprintf(text, REQUEST_ID_BYTES, "%016llx", (unsigned long long)random);
}

/* --- strangers --------------------------------------------------------------------------- */

static int
socket_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

	return info != NULL ? info->connect_fd : -1;
}

static void
forget_stranger(struct admin *admin, const struct MHD_Connection *connection)
{
	for (uint32_t i = 0; i < admin->stranger_count; i++) {
		if (admin->strangers[i].connection != connection)
			continue;
		memmove(&admin->strangers[i], &admin->strangers[i + 1],
			(--admin->stranger_count - i) * sizeof(admin->strangers[0]));
		return;
	}
}

/* The server sees the end of it and closes it. */
static void
send_away_oldest(struct admin *admin)
{
	shutdown(socket_of(admin->strangers[0].connection), SHUT_RDWR);
	forget_stranger(admin, admin->strangers[0].connection);
}

static void
connection_changed(void *owner, struct MHD_Connection *connection, void **state,
		   enum MHD_ConnectionNotificationCode what)
{
	struct admin *admin = owner;

	(void)state;
	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		forget_stranger(admin, connection);
		return;
	}
	if (admin->stranger_count == ADMIN_STRANGERS_MAX)
		send_away_oldest(admin);
	admin->strangers[admin->stranger_count++] = (struct admin_stranger){ connection, clock_now_ns() };
}

/* --- one call ---------------------------------------------------------------------------- */

static enum MHD_Result
send_text(struct MHD_Connection *connection, unsigned status, const char *content_type, const char *allow,
	  const char *request_id, struct bytes text, enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response =
		MHD_create_response_from_buffer(text.len, (void *)(uintptr_t)text.ptr, mode);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", content_type);
	if (allow[0] != '\0')
		MHD_add_response_header(response, "Allow", allow);
	if (request_id[0] != '\0')
		MHD_add_response_header(response, "X-Request-Id", request_id);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
send_refusal(struct MHD_Connection *connection, unsigned status, const char *json)
{
	return send_text(connection, status, "application/json", "", "", bytes_from_text(json),
			 MHD_RESPMEM_PERSISTENT);
}

/* A text with a NUL in it would end there, and name something else: what stands for it is no text (is_text()), so
 * that the call is refused. */
static size_t
unescape(void *owner, struct MHD_Connection *connection, char *text)
{
	size_t len = MHD_http_unescape(text);

	(void)owner;
	(void)connection;
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\0')
			text[i] = '\1';
	return len;
}

static enum MHD_Result
take_query(void *owner, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct api_call *call = owner;

	(void)kind;
	if (call->query_count == API_QUERIES_MAX) {
		call->has_too_many_queries = true;
		return MHD_NO;
	}
	call->queries[call->query_count++] =
		(struct api_query){ name, value != NULL ? value : "" };
	return MHD_YES;
}

static enum MHD_Result
answer_call(struct admin *admin, struct MHD_Connection *connection, const char *path,
	    const char *method, enum api_role role, const struct upload *upload)
{
	char request_id[REQUEST_ID_BYTES], who[WHO_BYTES] = "";
	struct api_call call = { .method = method, .path = path, .role = role, .who = who,
				 .request_id = request_id };
	struct api_answer answer;

	if (upload->is_too_large)
		return send_refusal(connection, MHD_HTTP_CONTENT_TOO_LARGE,
				    "{\"error\":{\"code\":\"too_large\","
				    "\"message\":\"the body is larger than 1 MiB\"}}");
	MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_query, &call);
	make_request_id(request_id);
	if (role != API_ANYBODY)
		emit_who(admin, connection, role, who);
	call.body = bytes_make(upload->text, upload->len);
	api_answer(admin->control, &call, &answer);
	if (answer.text == NULL)
		return send_refusal(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
				    "{\"error\":{\"code\":\"no_memory\",\"message\":\"no memory\"}}");
	return send_text(connection, (unsigned)answer.status, answer.content_type, answer.allow,
			 request_id, bytes_make(answer.text, answer.len), MHD_RESPMEM_MUST_FREE);
}

static bool
take_piece(struct upload *upload, const char *piece, size_t len)
{
	char *grown;

	if (len > ADMIN_BODY_MAX - upload->len) {
		upload->is_too_large = true;
		return true;
	}
	grown = realloc(upload->text, upload->len + len);
	if (grown == NULL)
		return false;
	memcpy(grown + upload->len, piece, len);
	upload->text = grown;
	upload->len += len;
	return true;
}

static enum MHD_Result
handle(void *owner, struct MHD_Connection *connection, const char *path, const char *method,
       const char *version, const char *piece, size_t *piece_len, void **state)
{
	struct admin *admin = owner;
	struct upload *upload = *state;
	enum api_role role;

	(void)version;
	if (upload == NULL) {
		*state = calloc(1, sizeof(*upload));
		return *state != NULL ? MHD_YES : MHD_NO;
	}
	role = role_of(admin, connection);
	if (role != API_ANYBODY)
		forget_stranger(admin, connection);
	if (*piece_len > 0 && role != API_ADMIN) {
		*piece_len = 0; /* nobody who may not change anything fills memory */
		return MHD_YES;
	}
	if (*piece_len > 0) {
		bool taken = take_piece(upload, piece, *piece_len);

		*piece_len = 0;
		return taken ? MHD_YES : MHD_NO;
	}
	return answer_call(admin, connection, path, method, role, upload);
}

static void
call_ended(void *owner, struct MHD_Connection *connection, void **state,
	   enum MHD_RequestTerminationCode why)
{
	struct upload *upload = *state;

	(void)owner;
	(void)connection;
	(void)why;
	if (upload == NULL)
		return;
	free(upload->text);
	free(upload);
	*state = NULL;
}

/* --- server ------------------------------------------------------------------------------ */

/* The address for the socket; true if it is one of IPv6. */
static bool
make_socket_address(const uint8_t ip[16], uint16_t port, struct sockaddr_storage *address)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct sockaddr_in *ip4 = (struct sockaddr_in *)(void *)address;
	struct sockaddr_in6 *ip6 = (struct sockaddr_in6 *)(void *)address;

	memset(address, 0, sizeof(*address));
	if (memcmp(ip, mapped, sizeof(mapped)) == 0) {
		ip4->sin_family = AF_INET;
		ip4->sin_port = htons(port);
		memcpy(&ip4->sin_addr, ip + 12, 4);
		return false;
	}
	ip6->sin6_family = AF_INET6;
	ip6->sin6_port = htons(port);
	memcpy(&ip6->sin6_addr, ip, 16);
	return true;
}

/* One daemon, in the loop's epoll. */
static bool
add_daemon(struct admin *admin, struct MHD_Daemon *daemon)
{
	struct epoll_event event = { .events = EPOLLIN };

	if (daemon == NULL)
		return false;
	admin->daemons[admin->daemon_count++] = daemon;
	return epoll_ctl(admin->epoll_file, EPOLL_CTL_ADD,
			 MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, &event) == 0;
}

#define DAEMON_OPTIONS                                                                             \
	MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, \
		(unsigned)ADMIN_IDLE_S, MHD_OPTION_NOTIFY_COMPLETED, call_ended, NULL, \
		MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, \
		MHD_OPTION_NOTIFY_CONNECTION, connection_changed, admin

static bool
listen_tcp(struct admin *admin, const uint8_t ip[16], uint16_t port)
{
	struct sockaddr_storage address;
	bool is_ip6 = make_socket_address(ip, port, &address);

	if (!add_daemon(admin, MHD_start_daemon(MHD_USE_EPOLL | (is_ip6 ? MHD_USE_IPv6 : 0u), port, NULL, NULL,
						handle, admin, MHD_OPTION_SOCK_ADDR, &address, DAEMON_OPTIONS,
						MHD_OPTION_END))) {
		LOG_ERROR("admin_cannot_listen", LOG_NUMBER("port", port),
			  LOG_TEXT("why", strerror(errno)));
		return false;
	}
	LOG_INFO("admin_listening", LOG_NUMBER("port", port));
	return true;
}

static bool
listen_unix(struct admin *admin, const char *path)
{
	int file = unix_socket_listen(path, SOCK_STREAM);

	if (file < 0)
		return false;
	admin->socket_path = path;
	if (add_daemon(admin, MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, handle, admin,
					       MHD_OPTION_LISTEN_SOCKET, file, DAEMON_OPTIONS, MHD_OPTION_END)))
		return true;
	LOG_ERROR("admin_cannot_listen", LOG_TEXT("socket", path), LOG_TEXT("why", strerror(errno)));
	return false;
}

bool
admin_init(struct admin *admin, struct control *control, const uint8_t ip[16], uint16_t port,
	   const char *socket_path)
{
	admin->control = control;
	admin->epoll_file = epoll_create1(EPOLL_CLOEXEC);
	if (admin->epoll_file < 0) {
		LOG_ERROR("admin_cannot_listen", LOG_TEXT("why", strerror(errno)));
		return false;
	}
	return listen_tcp(admin, ip, port) && (socket_path[0] == '\0' || listen_unix(admin, socket_path));
}

void
admin_fini(struct admin *admin)
{
	for (size_t i = 0; i < admin->daemon_count; i++)
		MHD_stop_daemon(admin->daemons[i]);
	if (admin->socket_path != NULL)
		unlink(admin->socket_path);
	close(admin->epoll_file);
	tokens_forget(&admin->tokens);
}

int
admin_file(const struct admin *admin)
{
	return admin->epoll_file;
}

void
admin_turn(struct admin *admin)
{
	uint64_t now_ns = clock_now_ns();

	for (size_t i = 0; i < admin->daemon_count; i++)
		MHD_run(admin->daemons[i]);
	while (admin->stranger_count > 0 && admin->strangers[0].since_ns + ADMIN_STRANGER_NS < now_ns)
		send_away_oldest(admin);
}
