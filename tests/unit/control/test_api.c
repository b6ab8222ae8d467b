/* The admin API, without HTTP: what it makes, what it shows, what it refuses. */
#include "api.h"
#include "clock.h"
#include "keys.h"
#include "shm/counters.h"
#include "shm/balance.h"
#include "shm/key.h"
#include "tls/keyhash.h"
#include "world.h"

static yyjson_doc *last;
static int last_status;

/* One call; its answer is in `last` until the next. */
static int
call(struct world *w, const char *method, const char *path, const char *body)
{
	struct api_call c = { .method = method, .path = path, .role = API_ADMIN,
			      .body = bytes_from_text(body) };
	static char whole[512];
	struct api_answer answer;
	char *rest = whole, *query;

	snprintf(whole, sizeof(whole), "%s", path);
	c.path = strsep(&rest, "?");
	while ((query = strsep(&rest, "&")) != NULL) {
		const char *name = strsep(&query, "=");

		assert_true(query != NULL && c.query_count < API_QUERIES_MAX);
		c.queries[c.query_count++] = (struct api_query){ name, query };
	}
	api_answer(&w->control, &c, &answer);
	assert_non_null(answer.text);
	yyjson_doc_free(last);
	last = yyjson_read(answer.text, answer.len, 0);
	free(answer.text);
	last_status = answer.status;
	return answer.status;
}

static const char *
text_at(const char *pointer)
{
	return yyjson_get_str(yyjson_ptr_get(yyjson_doc_get_root(last), pointer));
}

static int64_t
number_at(const char *pointer)
{
	return yyjson_get_sint(yyjson_ptr_get(yyjson_doc_get_root(last), pointer));
}

static struct world *
make_world(void)
{
	struct world *w = world_make();

	assert_int_equal(call(w, "PUT", "/admin/v1/accounts/demo", "{}"), 201);
	assert_int_equal(call(w, "PUT", "/admin/v1/plans/std", "{\"requests_per_minute\":60}"), 201);
	return w;
}

static void
end_world(struct world *w)
{
	yyjson_doc_free(last);
	last = NULL;
	world_free(w);
}

static bool
is_known(struct world *w, const char *text)
{
	uint8_t hash[KEYHASH_BYTES];
	struct shm_key key;
	uint32_t entry;

	keyhash_make(w->control.pepper, bytes_from_text(text), hash);
	return shm_find_key(&w->control.publish.shm, hash, &key, &entry) == ERR_OK && !key.revoked;
}

static void
a_key_is_shown_once_and_works_at_once(void **state)
{
	struct world *w = make_world();
	char text[KEY_TEXT_BYTES_MAX + 1];

	(void)state;
	assert_int_equal(call(w, "POST", "/admin/v1/keys",
			      "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"infer\"}"), 201);
	snprintf(text, sizeof(text), "%s", text_at("/key"));
	assert_true(key_is_well_formed(bytes_from_text(text), BYTES_LITERAL("sk-infer-")));
	assert_true(is_known(w, text));
	assert_int_equal(strlen(text_at("/prefix")), strlen("sk-infer-...") + 4);
	assert_memory_equal(text_at("/prefix"), "sk-infer-...", strlen("sk-infer-..."));
	assert_string_equal(text_at("/prefix") + strlen("sk-infer-..."), text + strlen(text) - 4);
	assert_int_equal(call(w, "GET", "/admin/v1/keys/1", ""), 200);
	assert_null(text_at("/key"));
	assert_int_equal(call(w, "GET", "/admin/v1/keys?account=demo", ""), 200);
	assert_null(text_at("/data/0/key"));
	assert_int_equal(world_number(w, "SELECT count(*) FROM keys WHERE prefix LIKE 'sk-%'"), 1);
	end_world(w);
}

static void
a_key_has_the_form_of_its_surface(void **state)
{
	struct world *w = make_world();

	(void)state;
	assert_int_equal(call(w, "POST", "/admin/v1/keys",
			      "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"third\"}"), 201);
	assert_memory_equal(text_at("/key"), "sk-third-", 9);
	assert_string_equal(text_at("/surface"), "third");
	assert_int_equal(call(w, "POST", "/admin/v1/keys/1/rotate", "{}"), 200);
	assert_memory_equal(text_at("/key"), "sk-third-", 9);
	assert_int_equal(call(w, "POST", "/admin/v1/keys",
			      "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"fifth\"}"), 400);
	assert_string_equal(text_at("/error/message"), "surface is none of ecolink, infer, third, fourth");
	end_world(w);
}

static void
rotating_ends_the_old_text_and_revoking_ends_the_key(void **state)
{
	struct world *w = make_world();
	char old[KEY_TEXT_BYTES_MAX + 1], new[KEY_TEXT_BYTES_MAX + 1];

	(void)state;
	call(w, "POST", "/admin/v1/keys",
	     "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"ecolink\"}");
	snprintf(old, sizeof(old), "%s", text_at("/key"));
	assert_int_equal(call(w, "POST", "/admin/v1/keys/1/rotate", "{}"), 200);
	snprintf(new, sizeof(new), "%s", text_at("/key"));
	assert_string_not_equal(old, new);
	assert_false(is_known(w, old));
	assert_true(is_known(w, new));
	assert_int_equal(call(w, "POST", "/admin/v1/keys/1/revoke", "{}"), 200);
	assert_false(is_known(w, new));
	assert_int_equal(call(w, "POST", "/admin/v1/keys/9/revoke", "{}"), 404);
	end_world(w);
}

static void
a_rotated_key_stays_for_its_grace(void **state)
{
	struct world *w = make_world();
	char old[KEY_TEXT_BYTES_MAX + 1], new[KEY_TEXT_BYTES_MAX + 1], body[64];
	int64_t expires_at;
	bool any;

	(void)state;
	call(w, "POST", "/admin/v1/keys",
	     "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"ecolink\",\"name\":\"web\"}");
	snprintf(old, sizeof(old), "%s", text_at("/key"));
	assert_int_equal(call(w, "POST", "/admin/v1/keys/1/rotate", "{\"grace_s\":3600}"), 200);
	snprintf(new, sizeof(new), "%s", text_at("/key"));
	assert_int_equal(number_at("/id"), 2);
	assert_int_equal(number_at("/old_id"), 1);
	assert_string_equal(text_at("/name"), "web");
	assert_true(is_known(w, old));
	assert_true(is_known(w, new));
	call(w, "GET", "/admin/v1/keys/1", "");
	expires_at = number_at("/expires_at");
	assert_true(expires_at > 1700000000);
	assert_int_equal(keys_expire(&w->control.store, expires_at - 1, &any), ERR_OK);
	assert_false(any);
	assert_int_equal(keys_expire(&w->control.store, expires_at, &any), ERR_OK);
	assert_true(any);
	control_publish(&w->control);
	assert_false(is_known(w, old));
	assert_true(is_known(w, new));
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'rotate' AND subject = 1"), 1);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'expire' AND who = 'control'"
					 " AND changed = '{\"revoked\":[false,true]}'"), 1);
	assert_int_equal(call(w, "POST", "/admin/v1/keys/1/rotate", "{}"), 409); /* it has ended */
	assert_int_equal(call(w, "PUT", "/admin/v1/keys/1", "{\"revoked\":false}"), 409); /* for good */
	assert_string_equal(text_at("/error/message"), "the key is revoked; make a new one");
	assert_int_equal(call(w, "PUT", "/admin/v1/keys/1", "{\"name\":\"old\"}"), 200);
	assert_int_equal(call(w, "PUT", "/admin/v1/keys/2", "{\"revoked\":false}"), 200);
	assert_false(is_known(w, old));
	assert_int_equal(call(w, "POST", "/admin/v1/keys/2/rotate", "{\"grace_s\":7776001}"), 400);
	snprintf(body, sizeof(body), "{\"expires_at\":%lld}", (long long)expires_at);
	assert_int_equal(call(w, "PUT", "/admin/v1/keys/2", body), 200);
	assert_int_equal(keys_expire(&w->control.store, expires_at, &any), ERR_OK);
	control_publish(&w->control);
	assert_false(is_known(w, new));
	end_world(w);
}

/* Who may rotate a key may not make it live for longer than it was made for. */
static void
a_rotated_key_ends_when_it_was_to_end(void **state)
{
	static const struct {
		int64_t lives_s;
		int grace_s;
	} rows[] = { { 7200, 3600 }, { 1800, 3600 }, { 7200, 0 } };
	int64_t now_s = (int64_t)(clock_unix_ns() / NSEC_PER_SEC);
	struct world *w = make_world();
	bool any;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		int64_t ends_at = now_s + rows[i].lives_s, old, new, old_ends_at;
		char body[200], path[64], text[KEY_TEXT_BYTES_MAX + 1];

		snprintf(body, sizeof(body),
			 "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"ecolink\",\"expires_at\":%lld}",
			 (long long)ends_at);
		assert_int_equal(call(w, "POST", "/admin/v1/keys", body), 201);
		old = number_at("/id");
		snprintf(path, sizeof(path), "/admin/v1/keys/%lld/rotate", (long long)old);
		snprintf(body, sizeof(body), "{\"grace_s\":%d}", rows[i].grace_s);
		assert_int_equal(call(w, "POST", path, body), 200);
		new = number_at("/id");
		snprintf(text, sizeof(text), "%s", text_at("/key"));
		assert_int_equal(new == old, rows[i].grace_s == 0);
		snprintf(path, sizeof(path), "/admin/v1/keys/%lld", (long long)new);
		assert_int_equal(call(w, "GET", path, ""), 200);
		assert_int_equal(number_at("/expires_at"), ends_at);
		snprintf(path, sizeof(path), "/admin/v1/keys/%lld", (long long)old);
		assert_int_equal(call(w, "GET", path, ""), 200);
		old_ends_at = number_at("/expires_at");
		if (rows[i].grace_s == 0 || rows[i].lives_s < rows[i].grace_s)
			assert_int_equal(old_ends_at, ends_at);
		else
			assert_in_range(old_ends_at, now_s + rows[i].grace_s, ends_at - 1);
		assert_true(is_known(w, text));
		assert_int_equal(keys_expire(&w->control.store, ends_at, &any), ERR_OK);
		control_publish(&w->control);
		assert_false(is_known(w, text));
	}
	end_world(w);
}

/* "yesterday" ends nothing at once: keys are looked at by the second, and who means now revokes. */
static void
a_key_does_not_end_before_now(void **state)
{
	static const char *const rows[][3] = {
		{ "POST", "/admin/v1/keys",
		  "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"infer\",\"expires_at\":1700000000}" },
		{ "PUT", "/admin/v1/keys/1", "{\"expires_at\":0}" },
	};
	struct world *w = make_world();
	char now[32];

	(void)state;
	call(w, "POST", "/admin/v1/keys", "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"infer\"}");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(call(w, rows[i][0], rows[i][1], rows[i][2]), 400);
		assert_non_null(strstr(text_at("/error/message"), "expires_at is in the past: it is 20"));
		snprintf(now, sizeof(now), "time %lld", (long long)(clock_unix_ns() / NSEC_PER_SEC / 100));
		assert_non_null(strstr(text_at("/error/message"), now)); /* to a hundred seconds */
	}
	assert_int_equal(world_number(w, "SELECT count(*) FROM keys WHERE expires_at IS NULL"), 1);
	assert_int_equal(call(w, "PUT", "/admin/v1/keys/1", "{\"expires_at\":4000000000}"), 200);
	assert_int_equal(call(w, "PUT", "/admin/v1/keys/1", "{\"expires_at\":null}"), 200);
	end_world(w);
}

static void
a_mistyped_key_is_not_brought_along(void **state)
{
	struct world *w = make_world();
	char text[KEY_TEXT_BYTES_MAX + 1], body[256];

	(void)state;
	call(w, "POST", "/admin/v1/keys",
	     "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"ecolink\"}");
	snprintf(text, sizeof(text), "%s", text_at("/key"));
	text[10] = text[10] == 'a' ? 'b' : 'a';
	snprintf(body, sizeof(body),
		 "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"ecolink\",\"key\":\"%s\"}", text);
	assert_int_equal(call(w, "POST", "/admin/v1/keys", body), 400);
	assert_non_null(strstr(text_at("/error/message"), "checksum"));
	end_world(w);
}

static void
an_existing_key_can_be_brought_along_once(void **state)
{
	struct world *w = make_world();
	static const char body[] = "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"ecolink\","
				   "\"key\":\"eco_0123456789abcdefghij\"}";

	(void)state;
	assert_int_equal(call(w, "POST", "/admin/v1/keys", body), 201);
	assert_true(is_known(w, "eco_0123456789abcdefghij"));
	assert_int_equal(call(w, "POST", "/admin/v1/keys", body), 409);
	assert_string_equal(text_at("/error/message"),
			    "this text is key 1's already (sluicectl key show 1)");
	assert_int_equal(call(w, "POST", "/admin/v1/keys",
			      "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"infer\","
			      "\"key\":\"eco_0123456789abcdefghijk\"}"), 400); /* another surface's */
	end_world(w);
}

static void
top_ups_add_to_the_balance(void **state)
{
	struct world *w = make_world();

	(void)state;
	assert_int_equal(call(w, "POST", "/admin/v1/accounts/demo/top-up",
			      "{\"amount_nano\":700,\"reference\":\"a\"}"), 200);
	assert_int_equal(number_at("/balance_nano"), 700);
	assert_int_equal(balance_available_nano(shm_balance(&w->control.publish.shm, 0)), 700);
	call(w, "POST", "/admin/v1/accounts/demo/top-up",
	     "{\"amount_nano\":700,\"reference\":\"a\"}");
	assert_int_equal(number_at("/balance_nano"), 700);
	assert_true(yyjson_is_true(yyjson_ptr_get(yyjson_doc_get_root(last), "/repeated")));
	assert_int_equal(number_at("/amount_nano"), 700);
	/* Another payment with the same number must not vanish. */
	assert_int_equal(call(w, "POST", "/admin/v1/accounts/demo/top-up",
			      "{\"amount_nano\":701,\"reference\":\"a\"}"), 409);
	assert_string_equal(text_at("/error/message"), "reference \"a\" stands for a top-up of account demo by "
						       "0.0000007 dollars already; nothing was credited");
	call(w, "PUT", "/admin/v1/accounts/other", "{}");
	assert_int_equal(call(w, "POST", "/admin/v1/accounts/other/top-up",
			      "{\"amount_nano\":700,\"reference\":\"a\"}"), 409);
	assert_int_equal(world_number(w, "SELECT sum(credited_nano) FROM accounts"), 700);
	assert_int_equal(call(w, "POST", "/admin/v1/accounts/demo/top-up",
			      "{\"amount_nano\":1.5}"), 400);
	assert_int_equal(call(w, "POST", "/admin/v1/accounts/demo/top-up",
			      "{\"amount_nano\":18446744073709551615}"), 400);
	assert_int_equal(call(w, "POST", "/admin/v1/accounts/nobody/top-up",
			      "{\"amount_nano\":1}"), 404);
	for (int i = 0; i < 9; i++)
		assert_int_equal(call(w, "POST", "/admin/v1/accounts/other/top-up",
				      "{\"amount_nano\":1000000000000000000}"), 200);
	assert_int_equal(call(w, "POST", "/admin/v1/accounts/other/top-up",
			      "{\"amount_nano\":1000000000000000000}"), 409);
	assert_string_equal(text_at("/error/message"), "a number would be larger than can be stored");
	end_world(w);
}

static void
putting_is_idempotent_and_keeps_what_it_does_not_mention(void **state)
{
	struct world *w = make_world();

	(void)state;
	assert_int_equal(call(w, "PUT", "/admin/v1/pods/p",
			      "{\"address\":\"10.0.0.1\",\"port\":80,\"credential\":\"Bearer x\"}"),
			 201);
	assert_int_equal(call(w, "PUT", "/admin/v1/pods/p", "{\"state\":\"drain\"}"), 200);
	assert_string_equal(text_at("/address"), "10.0.0.1");
	assert_string_equal(text_at("/state"), "drain");
	assert_null(text_at("/credential")); /* never shown */
	assert_true(yyjson_get_bool(yyjson_ptr_get(yyjson_doc_get_root(last), "/credential_set")));
	assert_int_equal(call(w, "PUT", "/admin/v1/instances/142",
			      "{\"name\":\"my-llama\",\"account\":\"demo\"}"), 201);
	assert_int_equal(number_at("/id"), 142);
	assert_int_equal(call(w, "PUT", "/admin/v1/models/meta-llama/Llama-3.1", "{}"), 201);
	assert_string_equal(text_at("/name"), "meta-llama/Llama-3.1");
	assert_int_equal(call(w, "GET", "/admin/v1/models/meta-llama/Llama-3.1", ""), 200);
	assert_int_equal(call(w, "DELETE", "/admin/v1/models/meta-llama/Llama-3.1", ""), 200);
	assert_int_equal(call(w, "GET", "/admin/v1/models/meta-llama/Llama-3.1", ""), 404);
	end_world(w);
}

#define LABEL_16 "0123456789abcdef"
#define LABEL_64 LABEL_16 LABEL_16 LABEL_16 LABEL_16
#define NAME_183 LABEL_61 "." LABEL_61 "." LABEL_59
#define LABEL_61 LABEL_16 LABEL_16 LABEL_16 "0123456789abc"
#define LABEL_59 LABEL_16 LABEL_16 LABEL_16 "0123456789a"
#define NAME_184 LABEL_61 "." LABEL_61 "." LABEL_59 "b"

static void
a_pod_is_at_an_address_or_a_name(void **state)
{
	static const char *const right[] = { "::1", "fd00::10.0.0.1", "gpu", "g", "GPU-1.example",
					     "3com.1.xn--p1ai", NAME_183 };
	struct world *w = make_world();
	char body[256];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(right); i++) {
		snprintf(body, sizeof(body), "{\"address\":\"%s\",\"port\":80}", right[i]);
		assert_int_equal(call(w, "PUT", "/admin/v1/pods/p", body), i == 0 ? 201 : 200);
		assert_string_equal(text_at("/address"), right[i]);
		assert_int_equal(w->control.publish.rows_refused, 0);
	}
	end_world(w);
}

static void
what_is_not_valid_is_refused_with_the_member_named(void **state)
{
	static const struct {
		const char *path;
		const char *body;
		const char *why;
	} wrong[] = {
		{ "/admin/v1/pods/p", "{\"address\":\"\",\"port\":80}", "address" },
		{ "/admin/v1/pods/p", "{\"address\":\"10.0.0.256\",\"port\":80}",
		  "neither an IP address nor a host name" },
		{ "/admin/v1/pods/p", "{\"address\":\"10.0.0.1:80\",\"port\":80}", "neither" },
		{ "/admin/v1/pods/p", "{\"address\":\"gpu_1.example\",\"port\":80}", "neither" },
		{ "/admin/v1/pods/p", "{\"address\":\"gpu.example.\",\"port\":80}", "neither" },
		{ "/admin/v1/pods/p", "{\"address\":\"gpu..example\",\"port\":80}", "neither" },
		{ "/admin/v1/pods/p", "{\"address\":\"-gpu.example\",\"port\":80}", "neither" },
		{ "/admin/v1/pods/p", "{\"address\":\"gpu-.example\",\"port\":80}", "neither" },
		{ "/admin/v1/pods/p", "{\"address\":\"" LABEL_64 "\",\"port\":80}", "neither" },
		{ "/admin/v1/pods/p", "{\"address\":\"" NAME_184 "\",\"port\":80}", "longer than 183" },
		{ "/admin/v1/pods/p", "{\"address\":\"10.0.0.1\",\"port\":0}", "port" },
		{ "/admin/v1/pods/p", "{\"address\":\"10.0.0.1\",\"port\":\"80\"}", "port" },
		{ "/admin/v1/pods/p", "{\"address\":\"10.0.0.1\"}", "port" },
		{ "/admin/v1/pods/p",
		  "{\"address\":\"10.0.0.1\",\"port\":80,\"host\":\"a\\r\\nb: c\"}", "host" },
		{ "/admin/v1/pods/p", "{\"address\":\"10.0.0.1\",\"port\":80,\"state\":\"on\"}", "state" },
		{ "/admin/v1/pods/p", "{\"address\":\"10.0.0.1\",\"port\":80,\"x\":1}", "x" },
		{ "/admin/v1/plans/p", "{\"burst\":-1}", "burst" },
		{ "/admin/v1/plans/p", "{\"burst\":9999999999999999999}", "burst" },
		{ "/admin/v1/models/m", "{\"price\":\"none such\"}", "price" },
		{ "/admin/v1/models/m", "{\"name\":\"\"}", "name" },
		{ "/admin/v1/models/m", "{\"name\":\"123\"}", "name" },
		{ "/admin/v1/deployments/d", "{\"region\":\"nowhere\"}", "region" },
		{ "/admin/v1/accounts/a", "{\"balance_nano\":5}", "balance_nano" },
		{ "/admin/v1/accounts/a", "[]", "object" },
		{ "/admin/v1/accounts/a", "{", "object" },
		{ "/admin/v1/accounts/a", "", "object" },
		{ "/admin/v1/accounts/a", "{}x", "at byte 2" },
		{ "/admin/v1/accounts/a", "{\"suspend\":true}", "did you mean \"suspended\"?" },
		{ "/admin/v1/accounts/a", "{\"balance_nano\":1}", "can only be read" },
		{ "/admin/v1/accounts/a", "{\"suspended\":true,\"suspended\":false}", "stands twice" },
		{ "/admin/v1/accounts/a", "{\"suspended\":1}", "neither true nor false" },
		{ "/admin/v1/accounts/a", "{\"suspended\":null}", "cannot be null" },
		{ "/admin/v1/accounts/a b", "{}", "a character other than" },
		{ "/admin/v1/accounts/a/b", "{}", "a character other than" },
		{ "/admin/v1/accounts/\xc3\xa4", "{}", "a character other than" },
		{ "/admin/v1/accounts/a123456789b123456789c123456789d123456789e123456789f123456789-123x", "{}",
		  "too long" },
	};
	struct world *w = make_world();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		assert_int_equal(call(w, "PUT", wrong[i].path, wrong[i].body), 400);
		assert_non_null(strstr(text_at("/error/message"), wrong[i].why));
	}
	assert_int_equal(world_number(w, "SELECT count(*) FROM pods"), 0);
	assert_int_equal(call(w, "PUT", "/admin/v1/regions/r", "{}"), 201);
	assert_int_equal(call(w, "PUT", "/admin/v1/deployments/d", "{\"region\":\"r\"}"), 409);
	assert_non_null(strstr(text_at("/error/message"), "one model or one instance"));
	end_world(w);
}

static void
a_full_table_refuses_a_new_object_and_names_the_setting(void **state)
{
	struct world *w = make_world();
	char path[64];

	(void)state;
	for (int i = 1; i < 8; i++) {
		snprintf(path, sizeof(path), "/admin/v1/accounts/a%d", i);
		assert_int_equal(call(w, "PUT", path, "{}"), 201);
	}
	assert_int_equal(call(w, "PUT", "/admin/v1/accounts/a8", "{}"), 409);
	assert_string_equal(text_at("/error/code"), "table_full");
	assert_non_null(strstr(text_at("/error/message"), "capacity.accounts"));
	assert_int_equal(world_number(w, "SELECT count(*) FROM accounts"), 8); /* nothing is half done */
	assert_int_equal(call(w, "PUT", "/admin/v1/accounts/a7", "{\"suspended\":true}"), 200);
	assert_int_equal(call(w, "PUT", "/admin/v1/models/m", "{}"), 201);
	for (int i = 0; i < 32; i++)
		assert_int_equal(call(w, "POST", "/admin/v1/keys",
				      "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"ecolink\"}"), 201);
	assert_int_equal(call(w, "POST", "/admin/v1/keys",
			      "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"ecolink\"}"), 409);
	assert_non_null(strstr(text_at("/error/message"), "capacity.keys"));
	assert_int_equal(world_number(w, "SELECT count(*) FROM keys"), 32);
	/* With a grace there would be one more, that no worker knows, and the old one would end. */
	assert_int_equal(call(w, "POST", "/admin/v1/keys/1/rotate", "{\"grace_s\":60}"), 409);
	assert_int_equal(world_number(w, "SELECT count(*) FROM keys WHERE expires_at IS NOT NULL"), 0);
	assert_int_equal(call(w, "POST", "/admin/v1/keys/1/rotate", "{}"), 200);
	assert_int_equal(w->control.publish.rows_refused, 0);
	end_world(w);
}

/* Somebody's SQL, or a later release: control shows it, workers fail closed. */
static void
numbers_that_have_no_name_or_no_sense_are_survived(void **state)
{
	static const struct {
		const char *sql, *path, *member;
	} rows[] = {
		{ "UPDATE keys SET surface = 99", "/admin/v1/keys/1", "/surface" },
		{ "UPDATE keys SET surface = 1000000000000000", "/admin/v1/keys/1", "/surface" },
		{ "UPDATE keys SET surface = -1", "/admin/v1/keys/1", "/surface" },
		{ "UPDATE models SET policy = 256", "/admin/v1/models/1", "/policy" },
		{ "UPDATE models SET resend = -7", "/admin/v1/models/1", "/resend" },
		{ "UPDATE pods SET state = 3", "/admin/v1/pods/1", "/state" },
		{ "UPDATE instances SET state = 3", "/admin/v1/instances/1", "/state" },
	};
	static const char *const limits[] = {
		"requests_per_minute = -1", "requests_per_minute = 60000000001", "burst = -1",
		"tokens_per_minute = -1", "token_burst = -9223372036854775807", "concurrent_requests = 4294967296",
		"concurrent_requests = -1", "body_bytes = -1",
	};
	struct world *w = make_world();

	(void)state;
	call(w, "PUT", "/admin/v1/models/m", "{}");
	call(w, "PUT", "/admin/v1/pods/p", "{\"address\":\"10.0.0.1\",\"port\":80}");
	call(w, "POST", "/admin/v1/instances", "{\"name\":\"i\",\"account\":\"demo\"}");
	call(w, "POST", "/admin/v1/keys", "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"infer\"}");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		world_sql(w, rows[i].sql);
		control_publish(&w->control);
		assert_int_equal(call(w, "GET", rows[i].path, ""), 200);
		if (!yyjson_is_null(yyjson_ptr_get(yyjson_doc_get_root(last), rows[i].member)))
			fail_msg("%s: shown as a choice", rows[i].sql);
		assert_int_equal(call(w, "GET", "/admin/v1/status", ""), 200);
	}
	assert_int_equal(w->control.publish.entries[NOUN_KEY].count, 0);
	for (size_t i = 0; i < COUNT_OF(limits); i++) {
		char sql[128];

		world_sql(w, "UPDATE plans SET requests_per_minute = 60, burst = 0, tokens_per_minute = 0,"
			     " token_burst = 0, concurrent_requests = 0, body_bytes = 0");
		snprintf(sql, sizeof(sql), "UPDATE plans SET %s", limits[i]);
		world_sql(w, sql);
		control_publish(&w->control);
		if (w->control.publish.entries[NOUN_PLAN].count != 0)
			fail_msg("%s: is published", limits[i]);
	}
	assert_int_equal(call(w, "PUT", "/admin/v1/plans/std", "{\"body_bytes\":0}"), 200);
	assert_int_equal(w->control.publish.entries[NOUN_PLAN].count, 1);
	end_world(w);
}

static void
ids_that_are_given_leave_room_for_those_to_come(void **state)
{
	struct world *w = make_world();

	(void)state;
	assert_int_equal(call(w, "PUT", "/admin/v1/accounts/9223372036854775807", "{\"name\":\"last\"}"), 400);
	assert_int_equal(call(w, "PUT", "/admin/v1/accounts/99999999999999999999999", "{\"name\":\"last\"}"), 400);
	assert_int_equal(call(w, "PUT", "/admin/v1/accounts/1000000000000000", "{\"name\":\"last\"}"), 400);
	assert_int_equal(call(w, "PUT", "/admin/v1/accounts/999999999999999", "{\"name\":\"last\"}"), 201);
	assert_int_equal(number_at("/id"), INT64_C(999999999999999));
	assert_int_equal(call(w, "POST", "/admin/v1/accounts", "{\"name\":\"next\"}"), 201);
	end_world(w);
}

static void
sums_wait_for_what_comes_first(void **state)
{
	struct world *w = make_world();

	(void)state;
	w->control.usage_at_ns = clock_now_ns() + 60 * NSEC_PER_SEC;
	assert_int_equal(call(w, "GET", "/admin/v1/usage", ""), 503);
	assert_string_equal(text_at("/error/code"), "too_long");
	assert_non_null(strstr(text_at("/error/message"), "ask again in "));
	assert_int_equal(call(w, "GET", "/admin/v1/accounts", ""), 200);
	w->control.usage_at_ns = clock_now_ns();
	assert_int_equal(call(w, "GET", "/admin/v1/usage", ""), 200);
	end_world(w);
}

static void
a_heartbeat_may_be_younger_than_who_reads_it(void **state)
{
	struct world *w = make_world();
	struct shm_header *header = w->control.publish.shm.header;

	(void)state;
	w->control.share.shm = w->control.publish.shm;
	assert_false(clock_is_fresh(0, 5));
	assert_true(clock_is_fresh(6, 5));
	assert_true(clock_is_fresh(5, 5));
	assert_true(clock_is_fresh(5, 5 + CLOCK_BEAT_FRESH_NS - 1));
	assert_false(clock_is_fresh(5, 5 + CLOCK_BEAT_FRESH_NS));
	atomic_store(&header->dataplane_beat_at_ns, clock_now_ns() + NSEC_PER_SEC);
	assert_int_equal(call(w, "GET", "/admin/v1/status", ""), 200);
	assert_true(yyjson_is_true(yyjson_ptr_get(yyjson_doc_get_root(last), "/dataplane/alive")));
	assert_int_equal(call(w, "GET", "/admin/v1/reload", ""), 200);
	assert_true(yyjson_is_true(yyjson_ptr_get(yyjson_doc_get_root(last), "/dataplane_alive")));
	end_world(w);
}

static void
what_computes_for_tls_is_told(void **state)
{
	struct world *w = make_world();
	struct shm_worker *line = shm_worker(&w->control.publish.shm, 0);

	(void)state;
	w->control.share.shm = w->control.publish.shm;
	snprintf(line->tls_primitives, sizeof(line->tls_primitives), "libcrypto");
	/* As long as there is room, and no end. */
	memset(line->tls_ciphers, 'x', sizeof(line->tls_ciphers));
	atomic_store(&line->counters[counter_at(COUNTER_TLS_LANE_BATCHES)], 3);
	atomic_store(&line->counters[counter_at(COUNTER_TLS_LANES_FILLED)], 17);
	assert_int_equal(call(w, "GET", "/admin/v1/status", ""), 200);
	assert_int_equal(number_at("/dataplane/workers/0/tls_lane_batches"), 3);
	assert_int_equal(number_at("/dataplane/workers/0/tls_lanes_filled"), 17);
	assert_string_equal(text_at("/dataplane/workers/0/tls_primitives"), "libcrypto");
	assert_int_equal(strlen(text_at("/dataplane/workers/0/tls_ciphers")), sizeof(line->tls_ciphers));
	end_world(w);
}

/* Whoever is refused learns who has the name and what can be done; no constraint's SQL. */
static void
a_name_that_is_taken_is_told_with_who_has_it(void **state)
{
	static const struct {
		const char *method, *path, *body, *message;
	} rows[] = {
		{ "POST", "/admin/v1/accounts", "{\"name\":\"demo\"}",
		  "the name demo is taken by account 1: choose another one, or change that "
		  "(sluicectl account set demo)" },
		{ "PUT", "/admin/v1/accounts/other", "{\"name\":\"demo\"}",
		  "the name demo is taken by account 1: choose another one, or change that "
		  "(sluicectl account set demo)" },
		{ "POST", "/admin/v1/aliases", "{\"name\":\"m\",\"model\":\"m\"}",
		  "the name m is taken by model 1: choose another one, or delete that (sluicectl model rm m)" },
		{ "POST", "/admin/v1/models", "{\"name\":\"a\"}",
		  "the name a is taken by alias 1: choose another one, or delete that (sluicectl alias rm a)" },
		{ "PUT", "/admin/v1/deployments/d",
		  "{\"model\":\"m\",\"region\":\"r\",\"pods\":[\"p\",1]}", "pod 1 stands twice in pods" },
	};
	struct world *w = make_world();

	(void)state;
	call(w, "PUT", "/admin/v1/accounts/other", "{}");
	call(w, "PUT", "/admin/v1/models/m", "{}");
	call(w, "PUT", "/admin/v1/aliases/a", "{\"model\":\"m\"}");
	call(w, "PUT", "/admin/v1/regions/r", "{}");
	call(w, "PUT", "/admin/v1/pods/p", "{\"address\":\"::1\",\"port\":80}");
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_in_range(call(w, rows[i].method, rows[i].path, rows[i].body), 400, 409);
		assert_string_equal(text_at("/error/message"), rows[i].message);
	}
	assert_int_equal(call(w, "PUT", "/admin/v1/accounts/demo", "{\"name\":\"demo\"}"), 200); /* its own */
	end_world(w);
}

/* No deletion takes from under something else what that refers to; who is refused is told what to do first. */
static void
what_is_referred_to_is_not_deleted(void **state)
{
	static const char *const refused[][2] = {
		{ "pods/eu-1", "pod eu-1 is still in deployment chat-eu: take it out first "
			       "(sluicectl deployment set chat-eu --pods eu-3,eu-2)" },
		{ "pods/us-1", "pod us-1 is still in deployment chat-us: take it out first "
			       "(sluicectl deployment set chat-us --pods '')" },
		{ "plans/std", "plan std is still that of key 1, key 2, key 3 and 2 more: give them another first "
			       "(sluicectl key set 1 --plan PLAN)" },
		{ "prices/low", "price low is still that of model m, instance 7: give them another first "
				"(sluicectl model set m --price PRICE)" },
		{ "accounts/demo", "account demo is still that of instance 7, key 1, key 2 and 3 more: delete "
				   "them first (sluicectl instance rm 7)" },
		{ "accounts/paid", "account paid has top-ups, which stay in the books: suspend it instead "
				   "(sluicectl account suspend paid)" },
		{ "regions/r", "region r is still that of deployment chat-eu, deployment chat-us, deployment own: "
			       "delete them first (sluicectl deployment rm chat-eu)" },
		{ "models/m", "model m is still that of deployment chat-eu, deployment chat-us, alias a: "
			      "delete them first (sluicectl deployment rm chat-eu)" },
		{ "instances/7", "instance 7 is still that of deployment own: delete it first "
				 "(sluicectl deployment rm own)" },
	};
	static const char *const in_order[] = { "deployments/chat-eu", "pods/eu-1", "deployments/chat-us",
						"deployments/own", "instances/7", "aliases/a", "models/m",
						"prices/low", "regions/r" };
	struct world *w = make_world();
	char path[64];

	(void)state;
	call(w, "PUT", "/admin/v1/regions/r", "{}");
	call(w, "PUT", "/admin/v1/prices/low", "{\"input_nano_per_mtoken\":1,\"output_nano_per_mtoken\":1}");
	call(w, "PUT", "/admin/v1/accounts/paid", "{}");
	call(w, "POST", "/admin/v1/accounts/paid/top-up", "{\"amount_nano\":5}");
	for (int i = 0; i < 5; i++)
		call(w, "POST", "/admin/v1/keys", "{\"account\":\"demo\",\"plan\":\"std\",\"surface\":\"infer\"}");
	call(w, "PUT", "/admin/v1/pods/eu-1", "{\"address\":\"::1\",\"port\":80}");
	call(w, "PUT", "/admin/v1/pods/eu-2", "{\"address\":\"::1\",\"port\":81}");
	call(w, "PUT", "/admin/v1/pods/eu-3", "{\"address\":\"::1\",\"port\":82}");
	call(w, "PUT", "/admin/v1/pods/us-1", "{\"address\":\"::1\",\"port\":83}");
	call(w, "PUT", "/admin/v1/models/m", "{\"price\":\"low\"}");
	call(w, "PUT", "/admin/v1/aliases/a", "{\"model\":\"m\"}");
	call(w, "PUT", "/admin/v1/instances/7", "{\"name\":\"i\",\"account\":\"demo\",\"price\":\"low\"}");
	call(w, "PUT", "/admin/v1/deployments/chat-eu",
	     "{\"model\":\"m\",\"region\":\"r\",\"pods\":[\"eu-1\",\"eu-3\",\"eu-2\"]}");
	call(w, "PUT", "/admin/v1/deployments/chat-us", "{\"model\":\"m\",\"region\":\"r\",\"pods\":[\"us-1\"]}");
	call(w, "PUT", "/admin/v1/deployments/own", "{\"instance\":7,\"region\":\"r\"}");
	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		snprintf(path, sizeof(path), "/admin/v1/%s", refused[i][0]);
		assert_int_equal(call(w, "DELETE", path, ""), 409);
		assert_string_equal(text_at("/error/message"), refused[i][1]);
	}
	assert_int_equal(world_number(w, "SELECT count(*) FROM deployment_pods"), 4);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'delete'"), 0);
	for (size_t i = 0; i < COUNT_OF(in_order); i++) {
		snprintf(path, sizeof(path), "/admin/v1/%s", in_order[i]);
		assert_int_equal(call(w, "DELETE", path, ""), 200);
	}
	end_world(w);
}

static void
names_are_unique_over_models_and_aliases(void **state)
{
	struct world *w = make_world();

	(void)state;
	assert_int_equal(call(w, "PUT", "/admin/v1/models/m", "{}"), 201);
	assert_int_equal(call(w, "PUT", "/admin/v1/aliases/m", "{\"model\":\"m\"}"), 409);
	assert_int_equal(call(w, "PUT", "/admin/v1/aliases/a", "{\"model\":\"m\"}"), 201);
	assert_int_equal(call(w, "PUT", "/admin/v1/models/a", "{}"), 409);
	assert_int_equal(call(w, "PUT", "/admin/v1/models/m", "{\"name\":\"a\"}"), 409);
	end_world(w);
}

static void
lists_are_narrowed_and_paged(void **state)
{
	struct world *w = make_world();

	(void)state;
	call(w, "PUT", "/admin/v1/regions/a", "{}");
	call(w, "PUT", "/admin/v1/regions/b", "{}");
	call(w, "PUT", "/admin/v1/regions/c", "{}");
	assert_int_equal(call(w, "GET", "/admin/v1/regions?limit=2", ""), 200);
	assert_string_equal(text_at("/data/1/name"), "b");
	assert_true(yyjson_get_bool(yyjson_ptr_get(yyjson_doc_get_root(last), "/has_more")));
	assert_int_equal(call(w, "GET", "/admin/v1/regions?after=2", ""), 200);
	assert_string_equal(text_at("/data/0/name"), "c");
	assert_null(text_at("/data/1/name"));
	assert_int_equal(call(w, "GET", "/admin/v1/regions?name=b", ""), 200);
	assert_int_equal(number_at("/data/0/id"), 2);
	assert_int_equal(call(w, "GET", "/admin/v1/regions?shoe=b", ""), 400);
	assert_int_equal(call(w, "GET", "/admin/v1/regions?limit=x", ""), 400);
	assert_int_equal(call(w, "GET", "/admin/v1/keys?account=nobody", ""), 404);
	assert_int_equal(call(w, "GET", "/admin/v1/pods?credential=x", ""), 400);
	assert_int_equal(call(w, "GET", "/admin/v1/pods?port=80", ""), 400);
	end_world(w);
}

static int64_t
count_of(struct world *w, const char *path)
{
	if (call(w, "GET", path, "") != 200)
		fail_msg("%s: %d %s", path, last_status, text_at("/error/message"));
	return (int64_t)yyjson_arr_size(yyjson_ptr_get(yyjson_doc_get_root(last), "/data"));
}

/* A typo would be found by the first request that goes there. */
static void
a_pods_authority_is_one_that_the_configuration_has(void **state)
{
	static const char body[] = "{\"address\":\"10.0.0.1\",\"port\":443,\"scheme\":\"https\","
				   "\"tls_ca\":\"%s\"}";
	struct world *w = make_world();
	char text[256];

	(void)state;
	snprintf(text, sizeof(text), body, "our");
	assert_int_equal(call(w, "PUT", "/admin/v1/pods/p", text), 400);
	assert_string_equal(text_at("/error/message"), "tls_ca: tls.authorities of this router has no \"our\"");
	w->config.authority_count = 2;
	snprintf(w->config.authorities[0].name, sizeof(w->config.authorities[0].name), "system");
	snprintf(w->config.authorities[1].name, sizeof(w->config.authorities[1].name), "ours");
	assert_int_equal(call(w, "PUT", "/admin/v1/pods/p", text), 400);
	assert_string_equal(text_at("/error/message"),
			    "tls_ca: tls.authorities of this router has no \"our\"; did you mean \"ours\"?");
	snprintf(text, sizeof(text), body, "ours");
	assert_int_equal(call(w, "PUT", "/admin/v1/pods/p", text), 201);
	assert_int_equal(call(w, "PUT", "/admin/v1/pods/p", "{\"tls_ca\":\"sistem\"}"), 400);
	assert_string_equal(text_at("/error/message"),
			    "tls_ca: tls.authorities of this router has no \"sistem\"; did you mean \"system\"?");
	assert_int_equal(call(w, "PUT", "/admin/v1/pods/p", "{\"tls_ca\":\"\",\"scheme\":\"http\"}"), 200);
	assert_int_equal(call(w, "PUT", "/admin/v1/pods/p", "{\"tls_ca\":7}"), 400);
	end_world(w);
}

static void
lists_are_narrowed_by_texts_references_choices_and_flags(void **state)
{
	struct world *w = make_world();

	(void)state;
	world_put(w, NOUN_POD, "a", "{\"address\":\"10.0.0.1\",\"port\":80}");
	world_put(w, NOUN_POD, "b", "{\"address\":\"10.0.0.1\",\"port\":81,\"state\":\"drain\"}");
	world_put(w, NOUN_POD, "c", "{\"address\":\"10.0.0.2\",\"port\":80,\"state\":\"drain\","
				    "\"running_usage\":true}");
	assert_int_equal(count_of(w, "/admin/v1/pods"), 3);
	assert_int_equal(count_of(w, "/admin/v1/pods?state=ready"), 1);
	assert_int_equal(count_of(w, "/admin/v1/pods?state=drain"), 2);
	assert_int_equal(count_of(w, "/admin/v1/pods?state=maint"), 0);
	assert_int_equal(count_of(w, "/admin/v1/pods?running_usage=true"), 1);
	assert_int_equal(count_of(w, "/admin/v1/pods?running_usage=false"), 2);
	assert_int_equal(count_of(w, "/admin/v1/pods?state=drain&address=10.0.0.1&running_usage=false&host="), 1);
	assert_string_equal(text_at("/data/0/name"), "b");
	assert_int_equal(call(w, "GET", "/admin/v1/pods?state=asleep", ""), 400);
	assert_string_equal(text_at("/error/message"), "state is none of ready, drain, maint");
	assert_int_equal(call(w, "GET", "/admin/v1/pods?running_usage=yes", ""), 400);
	assert_string_equal(text_at("/error/message"), "running_usage is neither true nor false");
	assert_int_equal(call(w, "GET", "/admin/v1/pods?state=drain&address=a&name=b&host=&probe_path=", ""), 400);
	assert_string_equal(text_at("/error/message"), "too many filters: at most 4");
	end_world(w);
}

/* Thirty requests, pairs of which end at once: of two accounts, three keys, five models, two pods and regions. */
static void
fill_ledger(struct world *w)
{
	world_sql(w, "DELETE FROM ledger");
	for (int i = 0; i < 30; i++) {
		char sql[400];

		snprintf(sql, sizeof(sql),
			 "INSERT INTO ledger VALUES ('test', 7, %d, %d, ?1, %d, %d, %d, %d, %d, '%s', 1, 1, 200,"
			 " 0, 0, 1, 0, 10, 20, 100, %lld, 1, 2, 3, 4, 5, 0, 0, 7)",
			 i % 2, i / 2 + 1, i % 3 + 1, i % 2 + 1, i % 5 + 1, i % 4, i % 2 + 1,
			 i % 2 == 0 ? "mv" : "tx", (long long)(i / 2) * 1800 * (long long)NSEC_PER_SEC);
		world_sql_blob(w, sql, bytes_make("\x01", 1));
	}
}

static void
usage_is_narrowed_to_what_is_asked_for(void **state)
{
	static const struct {
		const char *query;
		int requests;
	} asked[] = {
		{ "", 30 }, { "&account=demo", 15 }, { "&account=1", 15 }, { "&account=2", 15 },
		{ "&key=2", 10 }, { "&model=llama", 6 }, { "&model=5", 6 }, { "&instance=3", 7 },
		{ "&instance=0", 8 }, { "&pod=2", 15 },
		{ "&region=tx", 15 }, { "&region=none", 0 }, { "&account=1&key=1", 5 },
		{ "&account=1&region=tx", 0 },
		{ "&account=1&key=1&model=1&instance=0&pod=1&region=mv", 1 }, { "&since=1800", 28 },
		{ "&until=1800", 2 }, { "&since=1800&until=5400", 4 }, { "&since=1800&until=5400&account=2", 2 },
		{ "&account=77", 0 },
	};
	struct world *w = make_world();

	(void)state;
	world_put(w, NOUN_MODEL, "llama", "{}");
	fill_ledger(w);
	for (size_t i = 0; i < COUNT_OF(asked); i++) {
		char path[200];
		int64_t sum = 0;

		snprintf(path, sizeof(path), "/admin/v1/usage?by=hour%s", asked[i].query);
		for (int64_t left = count_of(w, path); left > 0; left--) {
			char row[40];

			snprintf(row, sizeof(row), "/data/%d/requests", (int)left - 1);
			sum += number_at(row);
		}
		if (sum != asked[i].requests)
			fail_msg("%s: %d, not %d", path, (int)sum, asked[i].requests);
		snprintf(path, sizeof(path), "/admin/v1/usage?by=request%s", asked[i].query);
		assert_int_equal(count_of(w, path), asked[i].requests);
	}
	assert_int_equal(call(w, "GET", "/admin/v1/usage?model=none", ""), 404);
	assert_string_equal(text_at("/error/message"), "no model \"none\"");
	assert_int_equal(call(w, "GET", "/admin/v1/usage?key=demo", ""), 400);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?shoe=1", ""), 400);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?until=x", ""), 400);
	end_world(w);
}

/* A page's rows, and the requests that are in them. */
static int64_t
read_page(struct world *w, const char *by, int limit, const char *after, int64_t *requests)
{
	char path[300];
	int64_t count;

	snprintf(path, sizeof(path), "/admin/v1/usage?by=%s&limit=%d%s%s", by, limit,
		 after[0] != '\0' ? "&after=" : "", after);
	count = count_of(w, path);
	for (int64_t i = 0; i < count; i++) {
		char row[40];

		snprintf(row, sizeof(row), "/data/%d/requests", (int)i);
		*requests += strcmp(by, "request") == 0 ? 1 : number_at(row);
	}
	return count;
}

/* Each row once; the last page says that it is the last. */
static void
check_pages(struct world *w, const char *by, int limit)
{
	int64_t requests = 0, whole = read_page(w, by, 1000, "", &requests), rows = 0;
	char after[200] = "";

	assert_int_equal(requests, 30);
	assert_true(yyjson_is_null(yyjson_ptr_get(yyjson_doc_get_root(last), "/next")));
	requests = 0;
	while (rows < whole) {
		int64_t count = read_page(w, by, limit, after, &requests);

		assert_true(count > 0 && count <= limit);
		rows += count;
		assert_int_equal(yyjson_get_bool(yyjson_ptr_get(yyjson_doc_get_root(last), "/has_more")),
				 rows < whole);
		snprintf(after, sizeof(after), "%s", text_at("/next") != NULL ? text_at("/next") : "");
	}
	assert_string_equal(after, "");
	assert_int_equal(rows, whole);
	assert_int_equal(requests, 30);
}

static void
usage_comes_in_pages(void **state)
{
	static const char *const all_by[] = { "account", "key", "model", "instance", "pod", "region", "hour",
					      "request" };
	struct world *w = make_world();

	(void)state;
	fill_ledger(w);
	for (size_t i = 0; i < COUNT_OF(all_by); i++)
		for (int limit = 1; limit <= 4; limit++)
			check_pages(w, all_by[i], limit);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?by=request&after=7", ""), 400);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?by=request&after=1.2.3.4", ""), 400);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?by=key&after=mv", ""), 400);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?by=key&after=", ""), 400);
	assert_int_equal(count_of(w, "/admin/v1/usage?by=request&after=0.7.0.1.test"), 29);
	assert_int_equal(count_of(w, "/admin/v1/usage?by=request&after=0.7.0.1.tess"), 30);
	assert_int_equal(count_of(w, "/admin/v1/usage?by=region&after=mv"), 1);
	end_world(w);
}

/* 2^31, 2^53 and 2^63 of tokens and of money: exact while they fit, the largest where they do not. */
/* A ledger without end: the call has its bound, and says so and what to ask instead. */
static void
sums_that_take_too_long_are_told_to_be_narrowed(void **state)
{
	struct world *w = make_world();

	(void)state;
	fill_ledger(w);
	world_sql(w, "ALTER TABLE ledger RENAME TO rows_of_ledger;"
		     "CREATE VIEW ledger AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
		     " WHERE i < 1000000000) SELECT r.* FROM rows_of_ledger r, n");
	assert_int_equal(call(w, "GET", "/admin/v1/usage", ""), 503);
	assert_string_equal(text_at("/error/code"), "too_long");
	assert_non_null(strstr(text_at("/error/message"), "more requests than are summed up in the "));
	assert_non_null(strstr(text_at("/error/message"), "sluicectl usage --since 24h --account NAME"));
	assert_int_equal(call(w, "GET", "/admin/v1/usage", ""), 503);
	assert_non_null(strstr(text_at("/error/message"), "ask again in "));
	world_sql(w, "DROP VIEW ledger; ALTER TABLE rows_of_ledger RENAME TO ledger");
	end_world(w);
}

/* The audit remembers what it was called. */
static void
usage_of_what_is_deleted_keeps_its_name(void **state)
{
	static const char *const rows[][2] = {
		{ "model", "m (deleted)" },
		{ "pod", "p (deleted)" },
		{ "key", "web (deleted)" },
		{ "account", "demo" },
	};
	struct world *w = make_world();
	char path[64];

	(void)state;
	call(w, "PUT", "/admin/v1/accounts/other", "{}");
	call(w, "PUT", "/admin/v1/models/m", "{}");
	call(w, "PUT", "/admin/v1/pods/p", "{\"address\":\"::1\",\"port\":80}");
	call(w, "POST", "/admin/v1/keys",
	     "{\"account\":\"other\",\"plan\":\"std\",\"surface\":\"infer\",\"name\":\"web\"}");
	fill_ledger(w);
	assert_int_equal(call(w, "DELETE", "/admin/v1/models/m", ""), 200);
	assert_int_equal(call(w, "DELETE", "/admin/v1/pods/p", ""), 200);
	assert_int_equal(call(w, "DELETE", "/admin/v1/keys/1", ""), 200);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		snprintf(path, sizeof(path), "/admin/v1/usage?by=%s", rows[i][0]);
		assert_int_equal(call(w, "GET", path, ""), 200);
		assert_string_equal(text_at("/data/0/name"), rows[i][1]);
	}
	end_world(w);
}

/* Who asks for a noun that there is none of does not read "nothing has changed". */
static void
the_audit_knows_all_nouns_and_no_others(void **state)
{
	struct world *w = make_world();
	char path[64];

	(void)state;
	for (int i = 0; i < NOUN_COUNT; i++) {
		snprintf(path, sizeof(path), "/admin/v1/audit?noun=%s", noun_name((enum noun)i));
		assert_int_equal(call(w, "GET", path, ""), 200);
	}
	assert_int_equal(call(w, "GET", "/admin/v1/audit?noun=settings", ""), 200);
	assert_int_equal(call(w, "GET", "/admin/v1/audit?noun=pods", ""), 400);
	assert_string_equal(text_at("/error/message"), "noun is none of account, plan, price, region, pod, "
						       "deployment, model, alias, instance, key, settings");
	end_world(w);
}

static void
amounts_out_of_bounds_are_told_in_dollars(void **state)
{
	struct world *w = make_world();

	(void)state;
	assert_int_equal(call(w, "POST", "/admin/v1/prices",
			      "{\"name\":\"p\",\"input_nano_per_mtoken\":1000000000000001,"
			      "\"output_nano_per_mtoken\":0}"), 400);
	assert_string_equal(text_at("/error/message"),
			    "input_nano_per_mtoken is not from 0.00 to 1000000.00 dollars, in whole nano-dollars");
	end_world(w);
}

static void
sums_of_usage_that_do_not_fit_stay_at_the_largest(void **state)
{
	struct world *w = make_world();

	(void)state;
	for (int i = 1; i <= 4; i++) {
		char sql[200];

		snprintf(sql, sizeof(sql),
			 "INSERT INTO ledger VALUES ('test', 1, 0, %d, ?1, 1, 1, 1, 0, 1, 'mv', 1, 1, 200, 0, 0,"
			 " 1, 0, 0, 0, 0, 5000000000, 1, 2, 3, 4, 5, 0, 0, 7)", i);
		world_sql_blob(w, sql, bytes_make("\x00", 1));
	}
	world_sql(w, "UPDATE ledger SET prompt_tokens = 2147483648, completion_tokens = 9007199254740993,"
		     " cost_nano = 2305843009213693951, unit = 3, units = 9223372036854775807");
	assert_int_equal(call(w, "GET", "/admin/v1/usage", ""), 200);
	assert_int_equal(number_at("/data/0/prompt_tokens"), 4 * INT64_C(2147483648));
	assert_int_equal(number_at("/data/0/completion_tokens"), 4 * INT64_C(9007199254740993));
	assert_int_equal(number_at("/data/0/cost_nano"), INT64_MAX); /* 2^63 - 4, to the last billion */
	assert_int_equal(number_at("/data/0/milliseconds"), INT64_MAX);
	assert_int_equal(number_at("/data/0/bytes"), 0);
	world_sql(w, "UPDATE ledger SET cost_nano = 2305843008000000001,"
		     " completion_tokens = 9223372036854775807");
	assert_int_equal(call(w, "GET", "/admin/v1/usage", ""), 200);
	assert_int_equal(number_at("/data/0/cost_nano"), INT64_C(9223372032000000004));
	assert_int_equal(number_at("/data/0/completion_tokens"), INT64_MAX);
	end_world(w);
}

static void
unknown_addresses_and_methods_are_refused(void **state)
{
	struct world *w = make_world();

	(void)state;
	assert_int_equal(call(w, "GET", "/", ""), 404);
	assert_int_equal(call(w, "GET", "/admin/v1/", ""), 404);
	assert_int_equal(call(w, "GET", "/admin/v1/shoes", ""), 404);
	assert_int_equal(call(w, "PATCH", "/admin/v1/accounts", "{}"), 405);
	assert_int_equal(call(w, "POST", "/admin/v1/accounts/demo", "{}"), 405);
	assert_int_equal(call(w, "PUT", "/admin/v1/keys/77", "{}"), 404);
	assert_int_equal(call(w, "GET", "/admin/v1/accounts/", ""), 404);
	end_world(w);
}

static void
status_and_usage_tell_what_is(void **state)
{
	struct world *w = make_world();

	(void)state;
	assert_int_equal(call(w, "GET", "/admin/v1/status", ""), 200);
	assert_int_equal(number_at("/tables/accounts/used"), 1);
	assert_int_equal(number_at("/tables/accounts/capacity"), 8);
	world_sql_blob(w, "INSERT INTO ledger VALUES ('test', 1, 0, 1, ?1, 1, 1, 1, 0, 1, 'mv', 1, 1,"
			  " 200, 0, 0, 1, 0, 10, 20, 55, 5000000000, 1, 2, 3, 4, 5, 2, 6, 7)",
		       bytes_make("\x00\xff", 2));
	assert_int_equal(call(w, "GET", "/admin/v1/usage", ""), 200);
	assert_string_equal(text_at("/data/0/name"), "demo");
	assert_int_equal(number_at("/data/0/cost_nano"), 55);
	assert_int_equal(number_at("/data/0/images"), 6);
	assert_int_equal(number_at("/data/0/milliseconds"), 0);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?since=6", ""), 200);
	assert_int_equal(yyjson_arr_size(yyjson_ptr_get(yyjson_doc_get_root(last), "/data")), 0);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?by=request", ""), 200);
	assert_string_equal(text_at("/data/0/request_id"), "00ff");
	assert_string_equal(text_at("/data/0/outcome"), "ok");
	assert_string_equal(text_at("/data/0/source"), "final");
	assert_string_equal(text_at("/data/0/unit"), "images");
	assert_int_equal(number_at("/data/0/connect_us"), 7);
	assert_true(yyjson_is_true(yyjson_ptr_get(yyjson_doc_get_root(last), "/data/0/stream")));
	world_sql(w, "UPDATE ledger SET outcome = 5, source = 2, unit = 77");
	assert_int_equal(call(w, "GET", "/admin/v1/usage", ""), 200);
	assert_int_equal(number_at("/data/0/refused"), 1);
	assert_int_equal(number_at("/data/0/crashed"), 0);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?by=request", ""), 200);
	assert_string_equal(text_at("/data/0/outcome"), "refused");
	assert_string_equal(text_at("/data/0/source"), "estimated");
	assert_int_equal(number_at("/data/0/unit"), 77);
	assert_int_equal(call(w, "GET", "/admin/v1/usage?by=hour", ""), 200);
	assert_string_equal(text_at("/data/0/name"), "1970-01-01T00:00Z");
	assert_int_equal(call(w, "GET", "/admin/v1/usage?by=shoe", ""), 400);
	end_world(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_shown_once_and_works_at_once),
		cmocka_unit_test(a_key_has_the_form_of_its_surface),
		cmocka_unit_test(rotating_ends_the_old_text_and_revoking_ends_the_key),
		cmocka_unit_test(a_rotated_key_stays_for_its_grace),
		cmocka_unit_test(a_rotated_key_ends_when_it_was_to_end),
		cmocka_unit_test(a_key_does_not_end_before_now),
		cmocka_unit_test(a_mistyped_key_is_not_brought_along),
		cmocka_unit_test(an_existing_key_can_be_brought_along_once),
		cmocka_unit_test(top_ups_add_to_the_balance),
		cmocka_unit_test(putting_is_idempotent_and_keeps_what_it_does_not_mention),
		cmocka_unit_test(a_pod_is_at_an_address_or_a_name),
		cmocka_unit_test(what_is_not_valid_is_refused_with_the_member_named),
		cmocka_unit_test(a_full_table_refuses_a_new_object_and_names_the_setting),
		cmocka_unit_test(numbers_that_have_no_name_or_no_sense_are_survived),
		cmocka_unit_test(ids_that_are_given_leave_room_for_those_to_come),
		cmocka_unit_test(sums_wait_for_what_comes_first),
		cmocka_unit_test(a_heartbeat_may_be_younger_than_who_reads_it),
		cmocka_unit_test(what_computes_for_tls_is_told),
		cmocka_unit_test(a_name_that_is_taken_is_told_with_who_has_it),
		cmocka_unit_test(what_is_referred_to_is_not_deleted),
		cmocka_unit_test(names_are_unique_over_models_and_aliases),
		cmocka_unit_test(a_pods_authority_is_one_that_the_configuration_has),
		cmocka_unit_test(lists_are_narrowed_and_paged),
		cmocka_unit_test(sums_that_take_too_long_are_told_to_be_narrowed),
		cmocka_unit_test(usage_of_what_is_deleted_keeps_its_name),
		cmocka_unit_test(the_audit_knows_all_nouns_and_no_others),
		cmocka_unit_test(amounts_out_of_bounds_are_told_in_dollars),
		cmocka_unit_test(sums_of_usage_that_do_not_fit_stay_at_the_largest),
		cmocka_unit_test(unknown_addresses_and_methods_are_refused),
		cmocka_unit_test(lists_are_narrowed_by_texts_references_choices_and_flags),
		cmocka_unit_test(usage_is_narrowed_to_what_is_asked_for),
		cmocka_unit_test(usage_comes_in_pages),
		cmocka_unit_test(status_and_usage_tell_what_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
