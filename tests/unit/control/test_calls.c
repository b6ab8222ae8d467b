/* The table of calls: who may call what, and the OpenAPI document that is made from it. */
#include "api.h"
#include "base/check.h"
#include "tokens.h"
#include "world.h"

#include <sys/stat.h>

#define ADMIN_TOKEN "admin-admin-admin-admin"
#define READ_ONLY_TOKEN "reads-reads-reads-reads"

static const struct tokens tokens = {
	.admin = { ADMIN_TOKEN, sizeof(ADMIN_TOKEN) - 1 },
	.read_only = { READ_ONLY_TOKEN, sizeof(READ_ONLY_TOKEN) - 1 },
};

struct answered {
	int status;
	char allow[64];
	yyjson_doc *doc;
	char text[512];
};

static struct answered
call_as(struct world *w, const char *authorization, const char *method, const char *path, const char *body)
{
	struct api_call c = { .method = method, .path = path, .body = bytes_from_text(body),
			      .role = tokens_role(&tokens, authorization), .who = "test token",
			      .request_id = "5e9" };
	struct api_answer answer;
	struct answered answered;

	api_answer(&w->control, &c, &answer);
	assert_non_null(answer.text);
	answered = (struct answered){ .status = answer.status,
				      .doc = yyjson_read(answer.text, answer.len, 0) };
	snprintf(answered.allow, sizeof(answered.allow), "%s", answer.allow);
	snprintf(answered.text, sizeof(answered.text), "%s", answer.text);
	free(answer.text);
	return answered;
}

static int
status_as(struct world *w, const char *authorization, const char *method, const char *path, const char *body)
{
	struct answered answered = call_as(w, authorization, method, path, body);

	yyjson_doc_free(answered.doc);
	return answered.status;
}

/* One object of each noun, each with id 1. */
static struct world *
make_world(void)
{
	struct world *w = world_make();

	world_put(w, NOUN_ACCOUNT, "demo", "{}");
	world_put(w, NOUN_PLAN, "standard", "{}");
	world_put(w, NOUN_PRICE, "small", "{\"input_nano_per_mtoken\":1,\"output_nano_per_mtoken\":2}");
	world_put(w, NOUN_REGION, "mv", "{}");
	world_put(w, NOUN_POD, "gpu", "{\"address\":\"10.0.0.1\",\"port\":80}");
	world_put(w, NOUN_MODEL, "llama", "{\"price\":\"small\"}");
	world_put(w, NOUN_ALIAS, "l", "{\"model\":\"llama\"}");
	world_put(w, NOUN_INSTANCE, "", "{\"name\":\"mine\",\"account\":\"demo\"}");
	world_put(w, NOUN_DEPLOYMENT, "d", "{\"model\":\"llama\",\"region\":\"mv\",\"pods\":[\"gpu\"]}");
	assert_int_equal(status_as(w, "Bearer " ADMIN_TOKEN, "POST", "/admin/v1/keys",
				   "{\"account\":\"demo\",\"plan\":\"standard\",\"surface\":\"ecolink\"}"), 201);
	return w;
}

/* The path with a noun and an id in it. */
static void
fill_path(const char *pattern, enum noun noun, char path[128])
{
	size_t len = 0;

	while (*pattern != '\0') {
		const char *value = strncmp(pattern, "{nouns}", 7) == 0	     ? noun_plural(noun)
				    : strncmp(pattern, "{reference}", 11) == 0 ? "1"
									     : NULL;

		if (value != NULL) {
			len += (size_t)snprintf(path + len, 128 - len, "%s", value);
			pattern = strchr(pattern, '}') + 1;
		} else {
			path[len++] = *pattern++;
		}
	}
	path[len] = '\0';
}

static void
check_call(struct world *w, const struct api_route *route, const char *path)
{
	static const char *const strangers[] = {
		NULL,			    /* no token */
		"",
		"Bearer ",
		"Bearer wrong-wrong-wrong-wrong",
		"Bearer " ADMIN_TOKEN "x",
		"Bearer admin-admin-admin-admi",
		"Basic " ADMIN_TOKEN,
		ADMIN_TOKEN,
	};
	int status;

	for (size_t i = 0; i < COUNT_OF(strangers); i++)
		assert_int_equal(status_as(w, strangers[i], route->method, path, "{}"),
				 route->role == API_ANYBODY ? 200 : 401);
	status = status_as(w, "Bearer " READ_ONLY_TOKEN, route->method, path, "");
	assert_int_equal(status, route->role == API_ADMIN ? 403 : 200);
	if (route->role == API_ADMIN) /* what the body says is looked at behind the role */
		assert_int_equal(status_as(w, "Bearer " READ_ONLY_TOKEN, route->method, path, "[nonsense"), 403);
}

static void
nobody_calls_what_the_token_does_not_allow(void **state)
{
	struct world *w = make_world();
	int64_t rows = world_number(w, "SELECT count(*) FROM audit");
	const struct api_route *route;
	int calls = 0;

	(void)state;
	for (size_t at = 0; (route = api_route(at)) != NULL; at++) {
		bool has_nouns = strstr(route->path, "{nouns}") != NULL;

		for (int i = 0; i < (has_nouns ? NOUN_COUNT : 1); i++, calls++) {
			char path[128];

			fill_path(route->path, (enum noun)i, path);
			assert_true(route->role == API_ADMIN || strcmp(route->method, "GET") == 0);
			check_call(w, route, path);
		}
	}
	assert_true(calls > 50);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit"), rows);
	assert_int_equal(status_as(w, NULL, "GET", "/admin/v1/none-such", ""), 401);
	assert_int_equal(status_as(w, NULL, "PATCH", "/admin/v1/accounts", ""), 401);
	assert_int_equal(status_as(w, "Bearer " READ_ONLY_TOKEN, "GET", "/admin/v1/none-such", ""), 404);
	world_free(w);
}

/* Each call with the token that it needs and a body that is right. */
static void
everybody_calls_what_the_token_allows(void **state)
{
	static const struct {
		const char *method, *path, *body;
	} calls[] = {
		{ "POST", "/admin/v1/accounts", "{\"name\":\"second\"}" },
		{ "POST", "/admin/v1/plans", "{\"name\":\"second\"}" },
		{ "POST", "/admin/v1/prices",
		  "{\"name\":\"second\",\"input_nano_per_mtoken\":1,\"output_nano_per_mtoken\":2}" },
		{ "POST", "/admin/v1/regions", "{\"name\":\"second\"}" },
		{ "POST", "/admin/v1/pods", "{\"name\":\"second\",\"address\":\"::1\",\"port\":1}" },
		{ "POST", "/admin/v1/models", "{\"name\":\"second\"}" },
		{ "POST", "/admin/v1/aliases", "{\"name\":\"third\",\"model\":\"second\"}" },
		{ "POST", "/admin/v1/instances", "{\"name\":\"second\",\"account\":\"second\"}" },
		{ "POST", "/admin/v1/deployments", "{\"name\":\"second\",\"instance\":2,\"region\":\"mv\"}" },
		{ "POST", "/admin/v1/keys",
		  "{\"account\":\"demo\",\"plan\":\"second\",\"surface\":\"infer\"}" },
		{ "POST", "/admin/v1/accounts/second/top-up", "{\"amount_nano\":-5}" },
		{ "POST", "/admin/v1/keys/2/rotate", "{}" },
		{ "POST", "/admin/v1/keys/2/rotate", "" },
		{ "POST", "/admin/v1/keys/2/revoke", "{}" },
		{ "PUT", "/admin/v1/accounts/second", "{\"suspended\":true}" },
		{ "PUT", "/admin/v1/plans/second", "{\"burst\":3}" },
		{ "PUT", "/admin/v1/prices/second", "{\"image_nano\":3}" },
		{ "PUT", "/admin/v1/regions/third", "{}" },
		{ "PUT", "/admin/v1/pods/second", "{\"state\":\"maint\"}" },
		{ "PUT", "/admin/v1/models/second", "{\"price\":\"small\"}" },
		{ "PUT", "/admin/v1/aliases/third", "{\"model\":\"llama\"}" },
		{ "PUT", "/admin/v1/instances/2", "{\"state\":\"stopped\"}" },
		{ "PUT", "/admin/v1/deployments/second", "{\"position\":2}" },
		{ "PUT", "/admin/v1/keys/2", "{\"name\":\"label\"}" },
		{ "POST", "/admin/v1/reload", "" },
		{ "POST", "/admin/v1/reload", "{\"confirm_within_ms\":60000}" },
		{ "POST", "/admin/v1/reload/confirm", "" },
		{ "POST", "/admin/v1/reload", "{\"confirm_within_ms\":60000}" },
		{ "POST", "/admin/v1/reload/undo", "" },
		{ "DELETE", "/admin/v1/keys/2", "" },
		{ "DELETE", "/admin/v1/deployments/second", "" },
		{ "DELETE", "/admin/v1/instances/2", "" },
		{ "DELETE", "/admin/v1/aliases/third", "" },
		{ "DELETE", "/admin/v1/models/second", "" },
		{ "DELETE", "/admin/v1/pods/second", "" },
		{ "DELETE", "/admin/v1/regions/third", "" },
		{ "DELETE", "/admin/v1/prices/second", "" },
		{ "DELETE", "/admin/v1/plans/second", "" },
	};
	struct world *w = make_world();

	(void)state;
	world_sql(w, "DELETE FROM audit");
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		struct answered a = call_as(w, "bearer " ADMIN_TOKEN, calls[i].method, calls[i].path,
					    calls[i].body);

		if (a.status != 200 && a.status != 201)
			fail_msg("%s %s: %d %s", calls[i].method, calls[i].path, a.status, a.text);
		yyjson_doc_free(a.doc);
		if (world_number(w, "SELECT count(*) FROM audit") != (int64_t)i + 1)
			fail_msg("%s %s: not one row of audit", calls[i].method, calls[i].path);
	}
	/* Who, what, and nothing secret. */
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE who <> 'test token' OR"
					 " request_id <> '5e9' OR name = '' AND noun <> 'key'"), 0);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'rotate'"), 2);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'revoke' AND"
					 " changed = '{\"revoked\":[false,true]}'"), 1);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE noun = 'pod' AND"
					 " changed = '{\"state\":[\"ready\",\"maint\"]}'"), 1);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'top-up' AND name = 'second' AND"
					 " changed = '{\"credited_nano\":[0,-5]}'"), 1);
	world_free(w);
}

static void
assert_last_row(struct world *w, int64_t rows, const char *what)
{
	char sql[400];

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM audit WHERE noun = 'settings' AND name = 'sluice.yaml'"
				   " AND subject = %llu AND id = (SELECT max(id) FROM audit) AND %s",
		 (unsigned long long)w->control.reload.now.sequence, what);
	if (world_number(w, "SELECT count(*) FROM audit") != rows || world_number(w, sql) != 1)
		fail_msg("row %lld is not %s", (long long)rows, what);
}

static void
call_reload_path(struct world *w, const char *path, const char *body, int status)
{
	assert_int_equal(status_as(w, "Bearer " ADMIN_TOKEN, "POST", path, body), status);
}

/* Whoever asks for it, and where time does; with what it changed. What is refused writes none. */
static void
each_reload_is_one_row_of_the_audit(void **state)
{
	struct world *w = make_world();
	int64_t rows = world_number(w, "SELECT count(*) FROM audit");
	FILE *file = fopen(w->config_path, "a");

	(void)state;
	assert_non_null(file);
	fputs("limits: {fields: 77}\n", file);
	fclose(file);
	call_reload_path(w, "/admin/v1/reload", "", 200);
	assert_last_row(w, ++rows, "verb = 'reload' AND who = 'test token' AND changed LIKE"
				   " '{\"limits.fields\":[\"%\",\"77\"]}'");
	call_reload_path(w, "/admin/v1/reload/confirm", "", 409);
	call_reload_path(w, "/admin/v1/reload/undo", "", 409);
	call_reload_path(w, "/admin/v1/reload", "{\"confirm_within_ms\":60000}", 200);
	assert_last_row(w, ++rows, "verb = 'try' AND who = 'test token'");
	call_reload_path(w, "/admin/v1/reload", "", 409);
	call_reload_path(w, "/admin/v1/reload/confirm", "", 200);
	assert_last_row(w, ++rows, "verb = 'confirm' AND who = 'test token'");
	call_reload_path(w, "/admin/v1/reload", "{\"confirm_within_ms\":60000}", 200);
	rows++;
	call_reload_path(w, "/admin/v1/reload/undo", "", 200);
	assert_last_row(w, ++rows, "verb = 'undo' AND who = 'test token' AND detail = 'asked for'");
	/* By SIGHUP, and by time. */
	assert_int_equal(reload_file(&w->control, RELOAD_CONFIRM_NS_MIN, w->now_ns), ERR_OK);
	assert_last_row(w, ++rows, "verb = 'try' AND who = 'control'");
	reload_turn(&w->control, w->now_ns);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit"), rows);
	reload_turn(&w->control, w->now_ns + RELOAD_CONFIRM_NS_MIN);
	assert_last_row(w, ++rows, "verb = 'undo' AND who = 'control' AND detail LIKE 'nobody%'");
	reload_turn(&w->control, w->now_ns + 2 * RELOAD_CONFIRM_NS_MIN);
	assert_int_equal(reload_file(&w->control, 0, w->now_ns), ERR_OK);
	assert_last_row(w, ++rows, "verb = 'reload' AND who = 'control'");
	/* A file that is wrong changes nothing. */
	file = fopen(w->config_path, "a");
	assert_non_null(file);
	fputs("limits: nonsense\n", file);
	fclose(file);
	call_reload_path(w, "/admin/v1/reload", "", 400);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit"), rows);
	world_free(w);
}

static void
the_audit_has_no_secrets_and_no_calls_that_failed(void **state)
{
	static const char *const failing[][3] = {
		{ "POST", "/admin/v1/accounts", "{\"name\":\"demo\"}" },
		{ "PUT", "/admin/v1/deployments/d", "{\"instance\":1}" },
		{ "PUT", "/admin/v1/pods/gpu", "{\"port\":0}" },
		{ "DELETE", "/admin/v1/plans/standard", "" },
		{ "POST", "/admin/v1/accounts/nobody/top-up", "{\"amount_nano\":1}" },
		{ "POST", "/admin/v1/keys/7/revoke", "" },
		{ "PUT", "/admin/v1/pods/gpu", "{\"port\":80}" }, /* nothing changes */
	};
	static const char body[] = "{\"account\":\"demo\",\"plan\":\"standard\",\"surface\":\"ecolink\","
				   "\"key\":\"eco_SECRETSECRETSECRETSECRET\"}";
	struct world *w = make_world();
	int64_t rows = world_number(w, "SELECT count(*) FROM audit");

	(void)state;
	for (size_t i = 0; i < COUNT_OF(failing); i++)
		status_as(w, "Bearer " ADMIN_TOKEN, failing[i][0], failing[i][1], failing[i][2]);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit"), rows);
	status_as(w, "Bearer " ADMIN_TOKEN, "POST", "/admin/v1/accounts/demo/top-up",
		  "{\"amount_nano\":1,\"reference\":\"r\"}");
	status_as(w, "Bearer " ADMIN_TOKEN, "POST", "/admin/v1/accounts/demo/top-up",
		  "{\"amount_nano\":1,\"reference\":\"r\"}"); /* again: nothing */
	status_as(w, "Bearer " ADMIN_TOKEN, "PUT", "/admin/v1/pods/gpu", "{\"credential\":\"Bearer SECRET\"}");
	assert_int_equal(status_as(w, "Bearer " ADMIN_TOKEN, "POST", "/admin/v1/keys", body), 201);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit"), rows + 3);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE changed LIKE '%SECRETSECRET%' OR"
					 " changed LIKE '%Bearer%' OR detail LIKE '%SECRET%'"), 0);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE changed LIKE '%\"credential\":"
					 "\"written\"%'"), 1);
	world_free(w);
}

static void
the_audit_can_be_asked(void **state)
{
	static const struct {
		const char *name, *value;
		int count;
	} asked[] = { { "noun", "account", 1 }, { "name", "gpu", 1 }, { "limit", "3", 3 }, { "noun", "plan", 1 },
		      { "subject", "1", 10 }, { "order", "newest", 10 }, { "after", "8", 2 } };
	struct world *w = make_world();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(asked); i++) {
		struct api_call c = { .method = "GET", .path = "/admin/v1/audit", .role = API_READ,
				      .queries = { { asked[i].name, asked[i].value } }, .query_count = 1 };
		struct api_answer answer;
		yyjson_doc *doc;
		yyjson_val *rows;

		api_answer(&w->control, &c, &answer);
		assert_int_equal(answer.status, 200);
		doc = yyjson_read(answer.text, answer.len, 0);
		rows = yyjson_obj_get(yyjson_doc_get_root(doc), "data");
		assert_int_equal(yyjson_arr_size(rows), asked[i].count);
		if (strcmp(asked[i].name, "order") == 0)
			assert_int_equal(yyjson_get_int(yyjson_ptr_get(rows, "/0/id")), 10);
		if (strcmp(asked[i].name, "name") == 0)
			assert_true(yyjson_equals_str(yyjson_ptr_get(rows, "/0/changed/address/1"), "10.0.0.1"));
		yyjson_doc_free(doc);
		free(answer.text);
	}
	world_free(w);
}

static void
an_address_tells_its_methods(void **state)
{
	static const struct {
		const char *method, *path, *allow;
	} wrong[] = {
		{ "DELETE", "/admin/v1/accounts", "GET, POST" },
		{ "PATCH", "/admin/v1/keys", "GET, POST" },
		{ "POST", "/admin/v1/keys/1", "GET, PUT, DELETE" },
		{ "GET", "/admin/v1/keys/1/revoke", "POST" },
		{ "PUT", "/admin/v1/accounts/demo/top-up", "POST" },
		{ "POST", "/admin/v1/models/meta-llama/Llama", "GET, PUT, DELETE" },
		{ "POST", "/metrics", "GET" },
		{ "PUT", "/admin/v1/status", "GET" },
		{ "get", "/admin/v1/status", "GET" },
	};
	struct world *w = make_world();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		struct answered a = call_as(w, "Bearer " ADMIN_TOKEN, wrong[i].method, wrong[i].path, "{}");

		assert_int_equal(a.status, 405);
		assert_string_equal(a.allow, wrong[i].allow);
		assert_non_null(strstr(a.text, wrong[i].allow));
		yyjson_doc_free(a.doc);
	}
	world_free(w);
}

static void
bodies_of_calls_are_bounded(void **state)
{
	static const struct {
		const char *method, *path, *body, *why;
	} wrong[] = {
		{ "POST", "/admin/v1/accounts/demo/top-up", "{}", "amount_nano is missing" },
		{ "POST", "/admin/v1/accounts/demo/top-up", "", "not a JSON object" },
		{ "POST", "/admin/v1/accounts/demo/top-up", "{\"amount_nano\":0}", "is 0" },
		{ "POST", "/admin/v1/accounts/demo/top-up", "{\"amount\":1}",
		  "did you mean \\\"amount_nano\\\"" },
		{ "POST", "/admin/v1/accounts/demo/top-up", "{\"amount_nano\":1,\"reference\":5}", "string" },
		{ "POST", "/admin/v1/accounts/demo/top-up", "{\"amount_nano\":1000000000000000001}", "dollars" },
		{ "POST", "/admin/v1/keys/1/revoke", "{\"key\":1}", "no member" },
		{ "DELETE", "/admin/v1/keys/1", "{\"key\":1}", "no member" },
		{ "GET", "/admin/v1/keys", "[]", "not a JSON object" },
		{ "GET", "/admin/v1/accounts/\xff", "", "no text" },
		{ "GET", "/admin/v1/accounts/\xed\xa0\x80", "", "no text" },
		{ "GET", "/admin/v1/accounts/\xc3", "", "no text" },
		{ "PUT", "/admin/v1/models/m", "{\"price\":\"small\\u0000\"}", "neither a name nor an id" },
		{ "PUT", "/admin/v1/plans/p",
		  "{\"1234567890123456789012345678901234567890123456789012345678901234\xc3\xa4\":1}",
		  "no member" },
		{ "PUT", "/admin/v1/plans/p",
		  "{\"123456789012345678901234567890123456789012345678901234567890123\xc3\xa4\":1}",
		  "no member" },
	};
	struct world *w = make_world();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		struct answered a = call_as(w, "Bearer " ADMIN_TOKEN, wrong[i].method, wrong[i].path,
					    wrong[i].body);

		assert_int_equal(a.status, 400);
		if (strstr(a.text, wrong[i].why) == NULL)
			fail_msg("%s: %s", wrong[i].body, a.text);
		yyjson_doc_free(a.doc);
	}
	world_free(w);
}

static void
refuse_queries(struct world *w, const struct api_route *route, const char *path,
	       const struct api_query *queries, size_t count, const char *why)
{
	struct api_call c = { .method = route->method, .path = path, .role = API_ADMIN, .query_count = count };
	struct api_answer answer;
	char text[512];

	c.has_too_many_queries = count > API_QUERIES_MAX;
	if (c.has_too_many_queries)
		c.query_count = API_QUERIES_MAX;
	memcpy(c.queries, queries, c.query_count * sizeof(*queries));
	api_answer(&w->control, &c, &answer);
	snprintf(text, sizeof(text), "%s", answer.text);
	free(answer.text);
	if (answer.status != 400 || strstr(text, why) == NULL)
		fail_msg("%s %s?%s: %d %s, not %s", route->method, path, queries[0].name, answer.status,
			 text, why);
}

static void
refuse_query(struct world *w, const struct api_route *route, const char *path, const char *name, const char *value,
	     const char *why)
{
	refuse_queries(w, route, path, &(struct api_query){ name, value }, 1, why);
}

static void
check_queries(struct world *w, const struct api_route *route, const char *path)
{
	struct api_query many[API_QUERIES_MAX + 1];

	for (size_t i = 0; i < COUNT_OF(many); i++)
		many[i] = (struct api_query){ "limit", "1" };
	refuse_queries(w, route, path, many, COUNT_OF(many), "too many queries");
	refuse_query(w, route, path, "shoe", "1", "there is no query \\\"shoe");
	refuse_query(w, route, path, "", "", "there is no query");
	refuse_query(w, route, path, "LIMIT", "1", "there is no query");
	refuse_query(w, route, path, "limit", "\1", "no text of UTF-8");
	for (const struct field *f = route->queries; f != NULL && f->name != NULL; f++) {
		const struct api_query twice[2] = { { f->name, "1" }, { f->name, "1" } };

		if (f->kind == FIELD_NUMBER) {
			refuse_queries(w, route, path, twice, 2, "stands twice");
			refuse_query(w, route, path, f->name, "x", "is not an integer");
		} else if (f->kind == FIELD_CHOICE) {
			refuse_query(w, route, path, f->name, "x", "is none of");
		}
	}
}

/* A filter that is ignored lists too much, and one that is dropped changes what was not meant: of every row. */
static void
no_call_ignores_a_query(void **state)
{
	struct world *w = make_world();
	int64_t rows = world_number(w, "SELECT count(*) FROM audit");
	const struct api_route *route;

	(void)state;
	for (size_t at = 0; (route = api_route(at)) != NULL; at++) {
		for (int i = 0; i < (strstr(route->path, "{nouns}") != NULL ? NOUN_COUNT : 1); i++) {
			char path[128];

			fill_path(route->path, (enum noun)i, path);
			check_queries(w, route, path);
		}
	}
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit"), rows);
	world_free(w);
}

/* --- OpenAPI ----------------------------------------------------------------------------- */

/* Every $ref leads somewhere in the document, every schema's type is one. */
static void
check_schemas(yyjson_val *root, yyjson_val *value, int *references)
{
	yyjson_val *name, *inside;
	size_t at, count;

	if (yyjson_is_arr(value))
		yyjson_arr_foreach(value, at, count, inside)
			check_schemas(root, inside, references);
	if (!yyjson_is_obj(value))
		return;
	yyjson_obj_foreach(value, at, count, name, inside) {
		if (yyjson_equals_str(name, "$ref")) {
			assert_true(yyjson_is_str(inside) && yyjson_get_str(inside)[0] == '#');
			assert_non_null(yyjson_ptr_get(root, yyjson_get_str(inside) + 1));
			(*references)++;
		}
		check_schemas(root, inside, references);
	}
}

static void
check_field(yyjson_val *schemas, enum noun noun, const struct field *f)
{
	char path[128];
	yyjson_val *shown, *new;

	snprintf(path, sizeof(path), "/%s/properties/%s%s", noun_name(noun), f->name,
		 (f->flags & FIELD_SECRET) != 0 ? "_set" : "");
	shown = yyjson_ptr_get(schemas, path);
	assert_non_null(yyjson_obj_get(shown, "type"));
	snprintf(path, sizeof(path), "/%s.new/properties/%s", noun_name(noun), f->name);
	new = yyjson_ptr_get(schemas, path);
	if ((f->flags & FIELD_READ_ONLY) != 0) {
		assert_null(new);
		return;
	}
	assert_non_null(yyjson_obj_get(new, "type"));
	if (f->kind == FIELD_NUMBER) {
		assert_int_equal(yyjson_get_sint(yyjson_obj_get(new, "minimum")), f->min);
		assert_int_equal(yyjson_get_sint(yyjson_obj_get(new, "maximum")), f->max);
	} else if (f->kind == FIELD_TEXT) {
		assert_int_equal(yyjson_get_sint(yyjson_obj_get(new, "maxLength")), f->max);
		assert_true(f->max > 0);
	} else if (f->kind == FIELD_CHOICE) {
		yyjson_val *all = yyjson_obj_get(new, "enum");

		for (size_t i = 0; f->choices[i] != NULL; i++)
			assert_true(yyjson_equals_str(yyjson_arr_get(all, i), f->choices[i]));
	}
}

/* Each documented operation is answered, and is the table's. */
static void
check_operation(struct world *w, const char *pattern, const char *small_method, yyjson_val *operation)
{
	char path[128], method[16] = "";
	struct answered a;

	for (size_t i = 0; small_method[i] != '\0'; i++)
		method[i] = (char)(small_method[i] & ~0x20);
	fill_path(pattern, NOUN_ACCOUNT, path);
	assert_true(yyjson_is_str(yyjson_obj_get(operation, "operationId")));
	assert_true(yyjson_is_str(yyjson_obj_get(operation, "summary")));
	assert_true(yyjson_obj_size(yyjson_obj_get(operation, "responses")) >= 2);
	assert_int_equal(yyjson_arr_size(yyjson_obj_get(operation, "security")),
			 strcmp(pattern, "/healthz") == 0 ? 0 : 1);
	/* A body that no call takes: what is looked for is whether there is such a call. */
	a = call_as(w, "Bearer " ADMIN_TOKEN, method, path, strcmp(method, "GET") == 0 ? "" : "{\"?\":0}");
	assert_int_equal(a.status, strcmp(method, "GET") == 0 ? 200 : 400);
	yyjson_doc_free(a.doc);
}

static void
the_document_has_every_call_and_every_member(void **state)
{
	struct world *w = make_world();
	struct answered document = call_as(w, "Bearer " READ_ONLY_TOKEN, "GET", "/admin/v1/openapi.json", "");
	yyjson_val *root = yyjson_doc_get_root(document.doc), *paths = yyjson_obj_get(root, "paths");
	yyjson_val *schemas = yyjson_ptr_get(root, "/components/schemas"), *name, *item;
	int references = 0, operations = 0, rows = 0;
	const struct api_route *route;
	size_t at, count;

	(void)state;
	assert_int_equal(document.status, 200);
	assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "openapi")), "3.1.0");
	check_schemas(root, root, &references);
	assert_true(references > 100);
	for (int i = 0; i < NOUN_COUNT; i++)
		for (const struct field *f = shape_of((enum noun)i)->fields; f->name != NULL; f++)
			check_field(schemas, (enum noun)i, f);
	yyjson_obj_foreach(paths, at, count, name, item) {
		yyjson_val *method, *operation;
		size_t j, n;

		yyjson_obj_foreach(item, j, n, method, operation) {
			check_operation(w, yyjson_get_str(name), yyjson_get_str(method), operation);
			operations++;
		}
	}
	/* POST of keys has a row of its own, beside that of all nouns. */
	for (size_t i = 0; (route = api_route(i)) != NULL; i++)
		rows += strstr(route->path, "{nouns}") != NULL ? NOUN_COUNT : 1;
	assert_int_equal(operations, rows - 1);
	yyjson_doc_free(document.doc);
	world_free(w);
}

/* --- token files ------------------------------------------------------------------------- */

static void
token_files_are_made_for_their_owner_only(void **state)
{
	char folder[] = WORLD_FOLDER, admin[64], reader[64], text[TOKEN_FINGERPRINT_BYTES];
	static const uint8_t pepper[32] = { 1 };
	struct tokens made, again;
	struct stat status;
	char header[300];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(admin, sizeof(admin), "%s/admin", folder);
	snprintf(reader, sizeof(reader), "%s/reader", folder);
	assert_true(tokens_read(&made, admin, ""));
	assert_int_equal(made.read_only.len, 0);
	assert_true(tokens_read(&made, admin, reader));
	assert_int_equal(stat(reader, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_true(tokens_read(&again, admin, reader));
	assert_memory_equal(&made, &again, sizeof(made));
	snprintf(header, sizeof(header), "Bearer %s", made.read_only.text);
	assert_int_equal(tokens_role(&made, header), API_READ);
	tokens_fingerprint(&made, API_READ, pepper, text);
	assert_int_equal(strlen(text), 8);
	assert_null(strstr(made.read_only.text, text));
	assert_false(tokens_read(&again, admin, admin)); /* nobody could tell the roles apart */
	memset(header, 'x', sizeof(header) - 1);
	memcpy(header, "Bearer ", 7);
	header[sizeof(header) - 1] = '\0';
	assert_int_equal(tokens_role(&made, header), API_ANYBODY);
	assert_int_equal(truncate(reader, 15), 0);
	assert_false(tokens_read(&again, admin, reader));
	unlink(admin);
	unlink(reader);
	rmdir(folder);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_calls_what_the_token_does_not_allow),
		cmocka_unit_test(everybody_calls_what_the_token_allows),
		cmocka_unit_test(each_reload_is_one_row_of_the_audit),
		cmocka_unit_test(the_audit_has_no_secrets_and_no_calls_that_failed),
		cmocka_unit_test(the_audit_can_be_asked),
		cmocka_unit_test(an_address_tells_its_methods),
		cmocka_unit_test(no_call_ignores_a_query),
		cmocka_unit_test(bodies_of_calls_are_bounded),
		cmocka_unit_test(the_document_has_every_call_and_every_member),
		cmocka_unit_test(token_files_are_made_for_their_owner_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
