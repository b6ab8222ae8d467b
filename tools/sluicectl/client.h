#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>
#include <yyjson.h>

#include "words.h"

/*
 * client: calls of control's admin API, one at a time over one connection.
 *
 * Memory: client_init() and client_fini(); an answer's document is the caller's to free.
 */
struct client {
	void *curl;
	void *headers;
	char url[256]; /* without a slash at its end */
	char socket_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* "": over TCP */
	long timeout_s; /* of a call */
	const struct word_noun *noun; /* in whose words a refusal is told; NULL: as it came */
};

struct client_answer {
	long status;
	yyjson_doc *doc; /* NULL: the body was no JSON */
};

/* url is of http, or "unix:" and a path. False: no memory, or the token is too long for a header. */
bool client_init(struct client *client, const char *url, const char *token);
void client_fini(struct client *client);

/* path begins behind "/admin/v1/"; body may be NULL. False: nobody answered; why is on stderr. */
bool client_call(struct client *client, const char *method, const char *path, const char *body,
		 struct client_answer *answer);

/* What the answer's error says, on stderr, in the words of client->noun. */
void client_tell_refusal(const struct client *client, const struct client_answer *answer);

/* As client_call(), and prints what the answer's error says if its status is not 2xx. NULL then. */
yyjson_doc *client_get(struct client *client, const char *method, const char *path,
		       const char *body);

/* All counters as text for Prometheus, to be freed. NULL: none came, and why is on stderr. */
char *client_metrics(struct client *client);

/* "<plural>/<reference>" with everything escaped. False: it does not fit. */
bool client_path(struct client *client, char *path, size_t size, const char *plural,
		 const char *reference);

/* Appends "&name=value" or "?name=value", escaped. False: it does not fit. */
bool client_add_query(struct client *client, char *path, size_t size, const char *name,
		      const char *value);
