/*
 * Bytes into a call of the admin API, on a store in memory: "METHOD /path?name=value\nbody".
 *
 * Whatever comes, there is an answer of the API's form, never a failure of the store; a token that may only read
 * changes nothing; a call writes one row of the audit at most, and none if it is refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "base/check.h"
#include "publish.h"

#define LINE_BYTES 512
#define ROWS_MAX 2000 /* of the audit; then everything begins anew, so that the store stays small */
#define NOW_NS (1000 * NSEC_PER_SEC)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static struct control control;
static struct config config; /* an empty one */

void
control_publish(struct control *of)
{
	CHECK(publish_changes(&of->publish, NOW_NS) == ERR_OK);
}

static void
begin(void)
{
	static const struct shm_capacity capacity = { .count = {
		[SHM_KEYS] = 32, [SHM_ACCOUNTS] = 8, [SHM_PLANS] = 8, [SHM_MODELS] = 8, [SHM_ALIASES] = 8,
		[SHM_PRICES] = 8, [SHM_INSTANCES] = 8, [SHM_DEPLOYMENTS] = 8, [SHM_PODS] = 8, [SHM_REGIONS] = 4,
	} };
	static const uint8_t instance_id[16] = { 1 };
	uint64_t bytes = shm_bytes(&capacity, 1);
	void *memory = aligned_alloc(CACHE_LINE_BYTES, bytes);

	CHECK(memory != NULL);
	memset(memory, 0, bytes);
	control = (struct control){ .instance = "fuzz",
				    .reload = { .running = &config },
				    .key_prefixes = { "eco_", "sk-infer-", "third_", "fourth_" } };
	CHECK(store_open(&control.store, ":memory:") == ERR_OK);
	CHECK(store_pepper(&control.store, control.pepper) == ERR_OK);
	shm_format(memory, &capacity, 1, instance_id, control.pepper);
	CHECK(shm_attach(&control.share.shm, memory, bytes) == ERR_OK);
	CHECK(publish_init(&control.publish, &control.store, control.share.shm, NOW_NS) == ERR_OK);
	CHECK(publish_all(&control.publish, NOW_NS) == ERR_OK);
}

static void
end(void)
{
	publish_fini(&control.publish);
	store_close(&control.store);
	free(control.share.shm.header);
	control.instance = NULL;
}

static int64_t
audit_rows(void)
{
	struct statement *statement = store_prepare(&control.store, "SELECT count(*) FROM audit");
	int64_t count;

	CHECK(statement != NULL && store_step(statement) == STORE_ROW);
	count = store_column_int64(statement, 0);
	store_finalize(statement);
	return count;
}

/* The answer is one of the API's; returns its status. */
static int
call_as(struct api_call *call, enum api_role role)
{
	struct api_answer answer;
	yyjson_doc *doc;
	yyjson_val *root;

	call->role = role;
	call->who = "fuzz";
	api_answer(&control, call, &answer);
	CHECK(answer.text != NULL && answer.status >= 200 && answer.status < 500);
	CHECK((answer.status == 405) == (answer.allow[0] != '\0'));
	doc = yyjson_read(answer.text, answer.len, 0);
	root = yyjson_doc_get_root(doc);
	CHECK(yyjson_is_obj(root));
	CHECK((answer.status >= 400) == yyjson_is_str(yyjson_ptr_get(root, "/error/message")));
	CHECK(control.store.caller == NULL);
	yyjson_doc_free(doc);
	free(answer.text);
	return answer.status;
}

/* Cuts the line at the next of the characters; what stands behind it, or "". */
static char *
cut(char *line, const char *at)
{
	char *found = strpbrk(line, at);

	if (found == NULL)
		return line + strlen(line);
	*found = '\0';
	return found + 1;
}

static void
take_queries(struct api_call *call, char *text)
{
	while (*text != '\0' && call->query_count < API_QUERIES_MAX) {
		char *next = cut(text, "&"), *value = cut(text, "=");

		call->queries[call->query_count++] = (struct api_query){ text, value };
		text = next;
	}
}

/* What reads the world outside the store is not looked at here. */
static bool
is_of_nouns(const char *path)
{
	static const char *const others[] = { "status", "config", "reload", "reconcile" };

	if (strncmp(path, API_ROOT, strlen(API_ROOT)) != 0)
		return false;
	for (size_t i = 0; i < COUNT_OF(others); i++)
		if (strncmp(path + strlen(API_ROOT), others[i], strlen(others[i])) == 0)
			return false;
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	const uint8_t *newline = len > 0 ? memchr(bytes, '\n', len) : NULL;
	size_t line_len = newline != NULL ? (size_t)(newline - bytes) : len;
	char line[LINE_BYTES], *path, *queries;
	struct api_call call = { .method = line };
	int64_t before, after;
	int status;

	if (line_len >= sizeof(line))
		return 0;
	if (control.instance == NULL)
		begin();
	if (line_len > 0)
		memcpy(line, bytes, line_len);
	line[line_len] = '\0';
	path = cut(line, " ");
	queries = cut(path, "?");
	call.path = path;
	take_queries(&call, queries);
	if (newline != NULL)
		call.body = bytes_make(newline + 1, len - line_len - 1);
	if (!is_of_nouns(path))
		return 0;
	before = audit_rows();
	status = call_as(&call, API_ANYBODY);
	CHECK(status == 401);
	status = call_as(&call, API_READ);
	CHECK(audit_rows() == before);
	status = call_as(&call, API_ADMIN);
	after = audit_rows();
	CHECK(after - before <= 1 && (status < 400 || after == before));
	if (after > ROWS_MAX)
		end();
	return 0;
}
