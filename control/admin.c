/* libmicrohttpd without threads of its own: its epoll descriptor is one of the loop's. */
#include "admin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "config/log.h"

/* A request's body while it comes in. */
struct upload {
	char *text;
	size_t len;
	bool is_too_large;
};

/* --- token ------------------------------------------------------------------------------- */

static bool
make_token_file(const char *path)
{
	int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint8_t random[24];
	char text[2 * sizeof(random) + 2];
	bool done;

	if (file < 0)
		return false;
	if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
		close(file);
		return false;
	}
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(text + 2 * i, 3, "%02x", random[i]);
	text[2 * sizeof(random)] = '\n';
	done = write(file, text, 2 * sizeof(random) + 1) == (ssize_t)(2 * sizeof(random) + 1);
	done = fsync(file) == 0 && done;
	close(file);
	return done;
}

static bool
read_file(struct admin *admin, int file)
{
	ssize_t len = read(file, admin->token, sizeof(admin->token) - 1);

	while (len > 0 && (admin->token[len - 1] == '\n' || admin->token[len - 1] == '\r'))
		len--;
	admin->token_len = len > 0 ? (size_t)len : 0;
	admin->token[admin->token_len] = '\0';
	return admin->token_len >= 16;
}

bool
admin_read_token(struct admin *admin, const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	bool good;

	if (file < 0 && errno == ENOENT && make_token_file(path)) {
		LOG_INFO("admin_token_made", LOG_TEXT("file", path));
		file = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (file < 0) {
		LOG_ERROR("admin_token_unreadable", LOG_TEXT("file", path),
			  LOG_TEXT("why", strerror(errno)));
		return false;
	}
	good = read_file(admin, file);
	if (!good)
		LOG_ERROR("admin_token_too_short", LOG_TEXT("file", path),
			  LOG_NUMBER("bytes_min", 16));
	if (fstat(file, &status) == 0 && (status.st_mode & 077) != 0)
		LOG_WARN("admin_token_readable_by_others", LOG_TEXT("file", path));
	close(file);
	return good;
}

/* The comparison takes the same time wherever the first difference is. */
static bool
is_bearer(const struct admin *admin, struct MHD_Connection *connection)
{
	static const char scheme[] = "Bearer ";
	const char *value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
							"Authorization");
	unsigned difference = 0;

	if (value == NULL || strncasecmp(value, scheme, sizeof(scheme) - 1) != 0)
		return false;
	value += sizeof(scheme) - 1;
	if (strlen(value) != admin->token_len)
		return false;
	for (size_t i = 0; i < admin->token_len; i++)
		difference |= (unsigned char)(value[i] ^ admin->token[i]);
	return difference == 0;
}

/* --- one call ---------------------------------------------------------------------------- */

static enum MHD_Result
send_text(struct MHD_Connection *connection, unsigned status, const char *content_type, char *text,
	  size_t len, enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(len, text, mode);
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", content_type);
	MHD_add_response_header(response, "Cache-Control", "no-store");
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result
send_refusal(struct MHD_Connection *connection, unsigned status, const char *json)
{
	return send_text(connection, status, "application/json", (char *)(uintptr_t)json,
			 strlen(json), MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result
take_query(void *owner, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct api_call *call = owner;

	(void)kind;
	if (call->query_count == API_QUERIES_MAX)
		return MHD_NO;
	call->queries[call->query_count++] =
		(struct api_query){ name, value != NULL ? value : "" };
	return MHD_YES;
}

static enum MHD_Result
answer_call(struct admin *admin, struct MHD_Connection *connection, const char *path,
	    const char *method, const struct upload *upload)
{
	struct api_call call = { .method = method, .path = path };
	struct api_answer answer;

	if (upload->is_too_large)
		return send_refusal(connection, MHD_HTTP_CONTENT_TOO_LARGE,
				    "{\"error\":{\"code\":\"too_large\","
				    "\"message\":\"the body is larger than 1 MiB\"}}");
	MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_query, &call);
	call.body = bytes_make(upload->text, upload->len);
	api_answer(admin->control, &call, &answer);
	if (answer.text == NULL)
		return send_refusal(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
				    "{\"error\":{\"code\":\"no_memory\",\"message\":\"no memory\"}}");
	return send_text(connection, (unsigned)answer.status, answer.content_type, answer.text,
			 answer.len, MHD_RESPMEM_MUST_FREE);
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

	(void)version;
	if (upload == NULL) {
		*state = calloc(1, sizeof(*upload));
		return *state != NULL ? MHD_YES : MHD_NO;
	}
	if (!is_bearer(admin, connection)) {
		if (*piece_len > 0) {
			*piece_len = 0; /* nobody who is not let in fills memory */
			return MHD_YES;
		}
		if (strcmp(path, "/healthz") == 0 && strcmp(method, "GET") == 0)
			return send_refusal(connection, MHD_HTTP_OK, "{\"status\":\"ok\"}");
		return send_refusal(connection, MHD_HTTP_UNAUTHORIZED,
				    "{\"error\":{\"code\":\"unauthorized\","
				    "\"message\":\"the bearer token is missing or wrong; "
				    "the file of admin.token_file has it\"}}");
	}
	if (*piece_len > 0) {
		bool taken = take_piece(upload, piece, *piece_len);

		*piece_len = 0;
		return taken ? MHD_YES : MHD_NO;
	}
	return answer_call(admin, connection, path, method, upload);
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

bool
admin_init(struct admin *admin, struct control *control, const uint8_t ip[16], uint16_t port)
{
	struct sockaddr_storage address;
	bool is_ip6 = make_socket_address(ip, port, &address);

	admin->control = control;
	admin->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | (is_ip6 ? MHD_USE_IPv6 : 0u), port, NULL, NULL, handle, admin,
		MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)ADMIN_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
		(unsigned)ADMIN_IDLE_S, MHD_OPTION_NOTIFY_COMPLETED, call_ended, NULL,
		MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u, MHD_OPTION_END);
	if (admin->daemon == NULL) {
		LOG_ERROR("admin_cannot_listen", LOG_NUMBER("port", port),
			  LOG_TEXT("why", strerror(errno)));
		return false;
	}
	LOG_INFO("admin_listening", LOG_NUMBER("port", port));
	return true;
}

void
admin_fini(struct admin *admin)
{
	if (admin->daemon != NULL)
		MHD_stop_daemon(admin->daemon);
	explicit_bzero(admin->token, sizeof(admin->token));
}

int
admin_file(const struct admin *admin)
{
	return MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
}

void
admin_turn(struct admin *admin)
{
	MHD_run(admin->daemon);
}
