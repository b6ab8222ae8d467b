#include "client.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_S 30L
#define ANSWER_BYTES_MAX (64 * 1024 * 1024)
#define TOLD_BYTES 4096 /* of a refusal: what control has for one, and our words are hardly longer */

struct text {
	char *ptr;
	size_t len;
};

static size_t
take(char *ptr, size_t size, size_t count, void *owner)
{
	struct text *text = owner;
	size_t len = size * count;
	char *grown = NULL;

	if (len <= ANSWER_BYTES_MAX - text->len)
		grown = realloc(text->ptr, text->len + len + 1);
	if (grown == NULL)
		return 0;
	memcpy(grown + text->len, ptr, len);
	text->ptr = grown;
	text->len += len;
	return len;
}

bool
client_init(struct client *client, const char *url, const char *token)
{
	char header[512];
	size_t len = strlen(url);

	*client = (struct client){ .curl = curl_easy_init(), .timeout_s = TIMEOUT_S };
	if (strncmp(url, "unix:", 5) == 0) {
		if (len - 5 >= sizeof(client->socket_path))
			return false;
		memcpy(client->socket_path, url + 5, len - 5);
		url = "http://localhost";
		len = strlen(url);
	}
	while (len > 0 && url[len - 1] == '/')
		len--;
	if (client->curl == NULL || len >= sizeof(client->url) ||
	    (size_t)snprintf(header, sizeof(header), "Authorization: Bearer %s", token) >=
		    sizeof(header))
		return false;
	memcpy(client->url, url, len);
	client->headers = curl_slist_append(NULL, header);
	client->headers = curl_slist_append(client->headers, "Content-Type: application/json");
	return client->headers != NULL;
}

void
client_fini(struct client *client)
{
	curl_slist_free_all(client->headers);
	curl_easy_cleanup(client->curl);
}

/* path begins with a slash; text is the caller's to free, and ends with a NUL if it is not empty. */
static bool
fetch(struct client *client, const char *method, const char *path, const char *body,
      struct text *text, long *status)
{
	char url[2048];
	CURL *curl = client->curl;
	CURLcode code;

	snprintf(url, sizeof(url), "%s%s", client->url, path);
	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, client->headers);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, client->timeout_s);
	if (client->socket_path[0] != '\0')
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, client->socket_path);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "127.0.0.1,localhost,::1");
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, text);
	if (body != NULL)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK) {
		fprintf(stderr, "sluicectl: %s: %s; does sluice-control run there? (--url, SLUICE_ADMIN_URL)\n",
			client->socket_path[0] != '\0' ? client->socket_path : client->url,
			curl_easy_strerror(code));
		free(text->ptr);
		return false;
	}
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
	if (text->ptr != NULL)
		text->ptr[text->len] = '\0';
	return true;
}

bool
client_call(struct client *client, const char *method, const char *path, const char *body,
	    struct client_answer *answer)
{
	char whole[1536];
	struct text text = { 0 };

	snprintf(whole, sizeof(whole), "/admin/v1/%s", path);
	if (!fetch(client, method, whole, body, &text, &answer->status))
		return false;
	answer->doc = text.len > 0 ? yyjson_read(text.ptr, text.len, 0) : NULL;
	free(text.ptr);
	return true;
}

void
client_tell_refusal(const struct client *client, const struct client_answer *answer)
{
	yyjson_val *message = yyjson_ptr_get(yyjson_doc_get_root(answer->doc), "/error/message");
	char told[TOLD_BYTES];

	if (answer->doc != NULL && yyjson_is_str(message) && client->noun != NULL) {
		word_translate(client->noun, yyjson_get_str(message), told, sizeof(told));
		fprintf(stderr, "sluicectl: %s\n", told);
	} else if (answer->doc != NULL && yyjson_is_str(message)) {
		fprintf(stderr, "sluicectl: %s\n", yyjson_get_str(message));
	} else {
		fprintf(stderr, "sluicectl: %s answered %ld\n", client->url, answer->status);
	}
}

yyjson_doc *
client_get(struct client *client, const char *method, const char *path, const char *body)
{
	struct client_answer answer;

	if (!client_call(client, method, path, body, &answer))
		return NULL;
	if (answer.status >= 200 && answer.status <= 299 && answer.doc != NULL)
		return answer.doc;
	client_tell_refusal(client, &answer);
	yyjson_doc_free(answer.doc);
	return NULL;
}

char *
client_metrics(struct client *client)
{
	struct client_answer answer = { 0 };
	struct text text = { 0 };

	if (!fetch(client, "GET", "/metrics", NULL, &text, &answer.status))
		return NULL;
	if (answer.status == 200 && text.ptr != NULL)
		return text.ptr;
	answer.doc = text.ptr != NULL ? yyjson_read(text.ptr, text.len, 0) : NULL;
	client_tell_refusal(client, &answer);
	yyjson_doc_free(answer.doc);
	free(text.ptr);
	return NULL;
}

static bool
append_escaped(struct client *client, char *path, size_t size, const char *before, const char *text)
{
	size_t len = strlen(path);
	char *escaped = curl_easy_escape(client->curl, text, 0);
	int more;

	if (escaped == NULL)
		return false;
	more = snprintf(path + len, size - len, "%s%s", before, escaped);
	curl_free(escaped);
	return more > 0 && (size_t)more < size - len;
}

bool
client_path(struct client *client, char *path, size_t size, const char *plural,
	    const char *reference)
{
	path[0] = '\0';
	if ((size_t)snprintf(path, size, "%s", plural) >= size)
		return false;
	return append_escaped(client, path, size, "/", reference);
}

bool
client_add_query(struct client *client, char *path, size_t size, const char *name,
		 const char *value)
{
	char before[64];

	snprintf(before, sizeof(before), "%s%s=", strchr(path, '?') != NULL ? "&" : "?", name);
	return append_escaped(client, path, size, before, value);
}
