/* The checks of admit.h, in their order, each a function that refuses or goes on. */
#include "dataplane/admit.h"

#include "base/check.h"
#include "base/nocase.h"
#include "dataplane/cors.h"
#include "dataplane/hold.h"
#include "dataplane/quota.h"
#include "dataplane/settle.h"
#include "dataplane/worker.h"
#include "http/urlpath.h"
#include "shm/key.h"
#include "tls/keyhash.h"


/* What stands behind a surface's prefix, and what a plain backend calls it. */
static const struct route {
	const char *path;
	const char *upstream_path;
	bool is_prefix;
	enum route_kind kind;
	enum body_kind body_kind;
	enum h1_method method;
	const char *allow;
	enum json_path rules; /* of the body's fields */
	enum usage_operation operation;
} routes[] = {
	{ "/chat/completions", "/v1/chat/completions", false, ROUTE_CHAT, BODY_IS_JSON, H1_POST, "POST",
	  JSON_PATH_CHAT, USAGE_CHAT },
	{ "/completions", "/v1/completions", false, ROUTE_JSON, BODY_IS_JSON, H1_POST, "POST",
	  JSON_PATH_COMPLETIONS, USAGE_COMPLETION },
	{ "/responses", "/v1/responses", false, ROUTE_JSON, BODY_IS_JSON, H1_POST, "POST",
	  JSON_PATH_RESPONSES, USAGE_RESPONSE },
	{ "/embeddings", "/v1/embeddings", false, ROUTE_JSON, BODY_IS_JSON, H1_POST, "POST",
	  JSON_PATH_ANY, USAGE_EMBEDDINGS },
	{ "/rerank", "/v1/rerank", false, ROUTE_JSON, BODY_IS_JSON, H1_POST, "POST",
	  JSON_PATH_ANY, USAGE_RERANK },
	{ "/images/generations", "/v1/images/generations", false, ROUTE_IMAGES, BODY_IS_JSON, H1_POST, "POST",
	  JSON_PATH_IMAGES, USAGE_IMAGE },
	{ "/audio/speech", "/v1/audio/speech", false, ROUTE_SPEECH, BODY_IS_JSON, H1_POST, "POST",
	  JSON_PATH_SPEECH, USAGE_SPEECH },
	{ "/audio/transcriptions", "/v1/audio/transcriptions", false, ROUTE_TRANSCRIPTION, BODY_IS_FORM, H1_POST,
	  "POST", JSON_PATH_ANY, USAGE_TRANSCRIPTION },
	{ "/video/generations", "/v1/video/generations", false, ROUTE_VIDEO, BODY_IS_JSON, H1_POST, "POST",
	  JSON_PATH_VIDEO, USAGE_VIDEO },
	{ "/video/generations/", "/v1/video/generations/", true, ROUTE_VIDEO_JOB, BODY_IS_NONE, H1_GET, "GET",
	  JSON_PATH_ANY, USAGE_OTHER },
	{ "/models", "", false, ROUTE_MODELS, BODY_IS_NONE, H1_GET, "GET", JSON_PATH_ANY, USAGE_OTHER },
	{ "/models/", "", true, ROUTE_MODEL, BODY_IS_NONE, H1_GET, "GET", JSON_PATH_ANY, USAGE_OTHER },
};

/* Methods of the pass-through; CONNECT and TRACE would make a tunnel or an echo of it (T51). */
#define PROXY_METHODS "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

struct bucket *
admit_request_bucket(const struct shm *shm, uint32_t key_entry)
{
	CHECK_STATIC(sizeof(struct bucket) == sizeof(uint64_t), "a bucket is one cell");
	return (struct bucket *)&shm_bucket(shm, key_entry)->request_full_at_ns;
}

static bool
refuse(struct refusal *refusal, enum refusal_code code)
{
	refusal->code = code;
	return false;
}

/* Of something that is not there, or that changes too fast to be read, which says nothing of whether it is. */
static bool
refuse_unread(struct worker *w, enum err verdict, enum refusal_code missing, struct refusal *refusal)
{
	if (verdict != ERR_SHM_BUSY)
		return refuse(refusal, missing);
	refusal->retry_after_ns = NSEC_PER_SEC;
	worker_count_verdict(w, verdict);
	return refuse(refusal, REFUSAL_OVERLOADED);
}

static void
hex_of(const uint8_t id[16], char text[REQUEST_ID_TEXT_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++) {
		text[2 * i] = digits[id[i] >> 4];
		text[2 * i + 1] = digits[id[i] & 15];
	}
}

/* --- check 2: the key --------------------------------------------------------------- */

static struct bytes
bearer_of(const struct h1_head *head)
{
	const struct bytes scheme = BYTES_LITERAL("bearer ");
	struct bytes found = BYTES_NONE;

	for (uint32_t i = 0; i < head->field_count; i++) {
		struct bytes value = head->fields[i].value;

		if (!bytes_equal_nocase(head->fields[i].name, BYTES_LITERAL("authorization")))
			continue;
		if (found.len > 0 || value.len <= scheme.len || !nocase_starts_with(value, scheme))
			return BYTES_NONE;
		found = bytes_after(value, scheme.len);
		while (found.len > 0 && found.ptr[0] == ' ')
			bytes_advance(&found, 1);
	}
	return found;
}

static void
take_plan(struct admission *a, const struct shm_plan *plan)
{
	a->limit = (struct bucket_limit){ plan->request_ns_per_unit, plan->request_burst_units };
	a->requests_per_minute = plan->requests_per_minute;
	a->token_limit = (struct bucket_limit){ plan->token_ns_per_unit, plan->token_burst_units };
	a->tokens_per_minute = plan->tokens_per_minute;
	a->in_flight_max = plan->in_flight_max;
	a->plan_body_bytes_max = plan->body_bytes_max;
}

/* The plan does not say how many requests: then the surface does, burst and all. */
static void
take_default(const struct worker_surface *surface, struct admission *a)
{
	if (surface->requests_per_minute == 0)
		return;
	a->requests_per_minute = surface->requests_per_minute;
	a->limit = (struct bucket_limit){ 60 * NSEC_PER_SEC / surface->requests_per_minute,
					  surface->requests_per_minute };
}

/* Control revokes it, too, but for that control has to be alive and the store within its reach. */
static bool
is_expired(const struct worker *w, const struct shm_key *key)
{
	return key->expires_at_s != 0 && worker_unix_ns(w) / NSEC_PER_SEC >= key->expires_at_s;
}

/* What the key leads to, before anything of it counts. */
static bool
read_behind_key(struct worker *w, const struct shm_key *key, struct admission *a, struct refusal *refusal)
{
	struct shm_account account;
	struct shm_plan plan;
	enum err verdict = shm_read_account(&w->shm, key->account, &account);

	if (verdict != ERR_OK || account.suspended)
		return refuse_unread(w, verdict, REFUSAL_INVALID_API_KEY, refusal);
	verdict = shm_read_plan(&w->shm, key->plan, &plan);
	if (verdict != ERR_OK) /* without its plan it would have no limits */
		return refuse_unread(w, verdict, REFUSAL_INVALID_API_KEY, refusal);
	a->key_id = key->key_id;
	a->account_entry = key->account;
	a->account_id = account.account_id;
	take_plan(a, &plan);
	return true;
}

static bool
check_key(struct worker *w, const struct h1_head *head, struct admission *a, struct refusal *refusal)
{
	struct bytes text = bearer_of(head);
	uint8_t hash[KEYHASH_BYTES];
	struct shm_key key;
	enum err verdict;

	if (text.len == 0 || text.len > KEY_BYTES_MAX ||
	    !bytes_starts_with(text, bytes_from_text(w->config.surfaces[a->surface].key_prefix)))
		return refuse(refusal, REFUSAL_INVALID_API_KEY);
	if (key_form(text, bytes_from_text(w->config.surfaces[a->surface].key_prefix)) == KEY_MISTYPED) {
		worker_count(w, COUNTER_REFUSED_KEY_MISTYPED);
		return refuse(refusal, REFUSAL_INVALID_API_KEY);
	}
	keyhash_make(w->shm.header->pepper, text, hash);
	verdict = shm_find_key(&w->shm, hash, &key, &a->key_entry);
	if (verdict != ERR_OK)
		return refuse_unread(w, verdict, REFUSAL_INVALID_API_KEY, refusal);
	shm_prefetch_behind_key(&w->shm, &key, a->key_entry);
	if (key.revoked || is_expired(w, &key) || key.surface != a->surface)
		return refuse(refusal, REFUSAL_INVALID_API_KEY);
	if (!read_behind_key(w, &key, a, refusal))
		return false;
	if (a->limit.ns_per_unit == 0)
		take_default(&w->config.surfaces[a->surface], a);
	a->authenticated = true;
	return true;
}

/* --- check 3: the request bucket -------------------------------------------------------- */

static bool
check_rate(struct worker *w, struct admission *a, struct refusal *refusal)
{
	struct bucket *bucket;

	if (a->limit.ns_per_unit == 0)
		return true;
	bucket = admit_request_bucket(&w->shm, a->key_entry);
	if (bucket_take(bucket, &a->limit, 1, w->now_ns))
		return true;
	refusal->retry_after_ns = bucket_wait_ns(bucket, &a->limit, 1, w->now_ns);
	return refuse(refusal, REFUSAL_RATE_LIMITED);
}

/* --- check 4: path, method, declared size --------------------------------------------------- */

static const struct route *
find_route(struct bytes path)
{
	for (size_t i = 0; i < COUNT_OF(routes); i++) {
		struct bytes wanted = bytes_from_text(routes[i].path);

		if (routes[i].is_prefix ? bytes_starts_with(path, wanted) && path.len > wanted.len :
					  bytes_equal(path, wanted))
			return &routes[i];
	}
	return NULL;
}

/* The path's bound, or the plan's, if that is lower. */
static bool
check_size(const struct h1_request *request, uint64_t bytes_max, struct admission *a, struct refusal *refusal)
{
	a->body_bytes_max = bytes_max;
	if (a->plan_body_bytes_max > 0 && a->plan_body_bytes_max < bytes_max)
		a->body_bytes_max = a->plan_body_bytes_max;
	if (request->head.framing != H1_BODY_LENGTH || request->head.content_length <= a->body_bytes_max)
		return true;
	refusal->limit_bytes = a->body_bytes_max;
	return refuse(refusal, REFUSAL_PAYLOAD_TOO_LARGE);
}

/* What is read as JSON is sent on as that, whatever its type says (request.c); a form needs a boundary. */
static bool
check_type(const struct h1_request *request, const struct admission *a, struct refusal *refusal)
{
	const struct h1_field *type = h1_find(&request->head, BYTES_LITERAL("content-type"));
	struct bytes boundary;

	if (h1_find(&request->head, BYTES_LITERAL("content-encoding")) != NULL)
		return refuse(refusal, REFUSAL_UNSUPPORTED_MEDIA_TYPE);
	if (a->body_kind != BODY_IS_FORM)
		return true;
	if (type == NULL || type->value.len > CONTENT_TYPE_BYTES_MAX ||
	    multipart_boundary(type->value, &boundary) != ERR_OK) {
		refusal->message = err_sentence(ERR_MULTIPART_TYPE);
		return refuse(refusal, REFUSAL_UNSUPPORTED_MEDIA_TYPE);
	}
	return true;
}

/* They stand behind no prefix, and are answered before the key if the method is right. */
static enum route_kind
health_route(struct bytes path)
{
	return bytes_equal(path, BYTES_LITERAL("/healthz")) ? ROUTE_HEALTH :
	       bytes_equal(path, BYTES_LITERAL("/readyz"))  ? ROUTE_READY :
							      ROUTE_UNKNOWN;
}

static bool
check_path(struct worker *w, const struct h1_request *request, struct bytes path,
	   struct admission *a, struct refusal *refusal)
{
	const struct worker_surface *surface = &w->config.surfaces[a->surface];
	const struct route *route = find_route(path);
	uint64_t bytes_max;

	if (route == NULL && health_route(request->path) == ROUTE_UNKNOWN)
		return refuse(refusal, REFUSAL_NOT_FOUND);
	if (route == NULL || request->method != route->method) {
		refusal->allow = route == NULL ? "GET" : route->allow;
		return refuse(refusal, REFUSAL_METHOD_NOT_ALLOWED);
	}
	a->route = route->kind;
	a->body_kind = route->body_kind;
	a->rules = route->rules;
	a->operation = route->operation;
	/* Elsewhere a strict backend would refuse a member that it does not know. */
	a->asks_usage = route->kind == ROUTE_CHAT || bytes_equal(path, BYTES_LITERAL("/completions"));
	a->completes = a->asks_usage || bytes_equal(path, BYTES_LITERAL("/responses"));
	a->upstream_path = bytes_from_text(route->upstream_path);
	a->path_rest = bytes_after(path, strlen(route->path));
	a->file_bytes_max = surface->file_bytes_max;
	bytes_max = a->body_kind == BODY_IS_FORM ? surface->upload_bytes_max : surface->body_bytes_max;
	return check_size(request, bytes_max, a, refusal) && check_type(request, a, refusal);
}

/* A path that leads to an instance's own API, whatever method and body. */
static bool
check_proxy_path(struct worker *w, const struct h1_request *request, struct admission *a,
		 struct refusal *refusal)
{
	if (request->method == H1_CONNECT || request->method == H1_TRACE ||
	    request->method_text.len > PROXY_METHOD_BYTES_MAX) {
		refusal->allow = PROXY_METHODS;
		return refuse(refusal, REFUSAL_METHOD_NOT_ALLOWED);
	}
	if (h1_find(&request->head, BYTES_LITERAL("upgrade")) != NULL) {
		refusal->message = "Upgrade is not offered: the pass-through carries HTTP requests only.";
		refusal->param = "upgrade";
		return refuse(refusal, REFUSAL_INVALID_VALUE);
	}
	a->route = ROUTE_PROXY;
	a->body_kind = BODY_IS_RAW;
	a->never_resend = true;
	return check_size(request, w->config.proxy_bytes_max, a, refusal);
}

/* The surface whose prefix the path has, which is taken off; a path of none gets the first one's answers. */
static enum shm_surface
surface_of(const struct worker *w, struct bytes *path)
{
	for (int i = 0; i < SHM_SURFACE_COUNT; i++) {
		const struct worker_surface *surface = &w->config.surfaces[i];
		struct bytes prefix = surface->enabled ? bytes_from_text(surface->prefix) : BYTES_NONE;

		if (!surface->enabled || !bytes_starts_with(*path, prefix) || path->len <= prefix.len ||
		    path->ptr[prefix.len] != '/')
			continue;
		bytes_advance(path, prefix.len);
		return (enum shm_surface)i;
	}
	/* The vendor's console lists the same models here. */
	if (w->config.surfaces[SHM_SURFACE_ECOLINK].enabled &&
	    bytes_equal(*path, BYTES_LITERAL("/platform/models")))
		bytes_advance(path, sizeof("/platform") - 1);
	else
		*path = BYTES_NONE;
	return SHM_SURFACE_ECOLINK;
}

void
admit_begin(struct worker *w, struct bytes path, struct admission *admission)
{
	*admission = (struct admission){ .surface = surface_of(w, &path) };
	worker_request_id(w, admission->request_id);
	hex_of(admission->request_id, admission->request_id_text);
}

bool
admit_head(struct worker *w, const struct h1_request *request, struct admission *admission,
	   struct refusal *refusal)
{
	struct bytes path = request->path;

	admit_begin(w, path, admission);
	admission->route = request->method == H1_GET ? health_route(path) : ROUTE_UNKNOWN;
	if (admission->route != ROUTE_UNKNOWN)
		return true;
	admission->surface = surface_of(w, &path);
	admission->cors_origin = cors_origin(w->config.surfaces[admission->surface].cors, &request->head);
	if (admission->cors_origin.len > 0 && cors_is_preflight(request)) {
		admission->route = ROUTE_PREFLIGHT;
		return true;
	}
	if (!check_key(w, &request->head, admission, refusal)) {
		if (refusal->code == REFUSAL_INVALID_API_KEY)
			worker_count(w, COUNTER_REFUSED_KEY);
		return false;
	}
	if (!check_rate(w, admission, refusal)) {
		worker_count(w, COUNTER_REFUSED_RATE);
		return false;
	}
	if (w->config.surfaces[admission->surface].enabled &&
	    urlpath_split_proxy(request->path, &admission->instance_id, &admission->path_rest))
		return check_proxy_path(w, request, admission, refusal);
	return check_path(w, request, path, admission, refusal);
}

/* --- check 5: the body's fields -------------------------------------------------------------- */

void
admit_refuse_json(enum err verdict, const struct json_result *json, struct refusal *refusal)
{
	refusal->code = verdict == ERR_JSON_DUPLICATE ? REFUSAL_DUPLICATE_FIELD : REFUSAL_INVALID_JSON;
	refusal->message = err_sentence(verdict);
	if (json->culprit < JSON_FIELD_COUNT)
		refusal->param = json_field_name(json->culprit);
}

void
admit_refuse_form(enum err verdict, const struct multipart_result *form, struct refusal *refusal)
{
	refusal->code = verdict == ERR_MULTIPART_DUPLICATE ? REFUSAL_DUPLICATE_FIELD : REFUSAL_INVALID_VALUE;
	refusal->message = err_sentence(verdict);
	if (form->culprit < MULTIPART_READ_COUNT)
		refusal->param = multipart_part_name(form->culprit);
}

static bool
check_fields(struct worker *w, const struct json_result *json, struct admission *a,
	     struct refusal *refusal)
{
	enum json_field culprit = JSON_FIELD_COUNT;
	const char *sentence = NULL;
	bool strict = w->config.surfaces[a->surface].validate_strict;
	enum err verdict = json_validate(json, strict ? a->rules : JSON_PATH_ANY, &culprit, &sentence);

	if (verdict == ERR_OK)
		return true;
	refusal->message = sentence;
	refusal->param = culprit < JSON_FIELD_COUNT ? json_field_name(culprit) : NULL;
	return refuse(refusal, verdict == ERR_JSON_MISSING_FIELD ? REFUSAL_MISSING_FIELD :
								   REFUSAL_INVALID_VALUE);
}

/* --- checks 6-11: the target, the money, the limits ----------------------------------------------------- */

bool
admit_split_instance(struct bytes model, struct bytes *name, uint64_t *instance_id)
{
	size_t at = model.len;
	uint64_t id = 0;

	while (at > 0 && model.ptr[at - 1] >= '0' && model.ptr[at - 1] <= '9')
		at--;
	if (at == 0 || at == model.len || model.len - at > 18 || model.ptr[at - 1] != ':')
		return false;
	for (size_t i = at; i < model.len; i++)
		id = id * 10 + (uint64_t)(model.ptr[i] - '0');
	*name = bytes_make(model.ptr, at - 1);
	*instance_id = id;
	return true;
}

/* name: BYTES_NONE where the path tells the id alone. */
static bool
check_instance(struct worker *w, struct bytes name, uint64_t instance_id, struct admission *a,
	       struct refusal *refusal)
{
	struct shm_instance instance;
	uint32_t entry;
	enum err verdict = shm_find_instance(&w->shm, instance_id, &instance, &entry);

	if (verdict != ERR_OK)
		return refuse_unread(w, verdict, REFUSAL_MODEL_NOT_FOUND, refusal);
	if ((name.ptr != NULL && !bytes_equal(name, bytes_make(instance.name.text, instance.name.len))) ||
	    instance.state == SHM_INSTANCE_STOPPED)
		return refuse(refusal, REFUSAL_MODEL_NOT_FOUND);
	if (instance.account != a->account_entry)
		return refuse(refusal, REFUSAL_NOT_INSTANCE_OWNER);
	if (instance.state == SHM_INSTANCE_CREDIT_DEPLETED)
		return refuse(refusal, REFUSAL_CREDIT_DEPLETED);
	a->instance_id = instance_id;
	a->target_entry = entry;
	a->target = instance.target;
	a->target_name = instance.name;
	return true;
}

static bool
check_model(struct worker *w, struct bytes model, struct admission *a, struct refusal *refusal)
{
	struct shm_model found;
	struct bytes name;
	uint64_t instance_id;
	uint32_t entry;
	enum err verdict = shm_find_model(&w->shm, model, &found, &entry);

	if (verdict == ERR_OK) {
		a->model_id = found.model_id;
		a->target_entry = entry;
		a->target = found.target;
		a->target_name = found.name;
		return true;
	}
	if (verdict == ERR_SHM_NOT_FOUND && admit_split_instance(model, &name, &instance_id))
		return check_instance(w, name, instance_id, a, refusal);
	return refuse_unread(w, verdict, REFUSAL_MODEL_NOT_FOUND, refusal);
}

/* To the client, who may show it to the operator: which rate of the price there has to be. */
static const char *
unpriced_sentence(enum route_kind route)
{
	switch (route) {
	case ROUTE_IMAGES:
		return "The model has no price for images. Its price needs the rate `image`.";
	case ROUTE_SPEECH:
		return "The model has no price for speech. Its price needs the rate `characters`.";
	case ROUTE_TRANSCRIPTION:
		return "The model has no price for audio whose length nobody tells. Its price needs the rate "
		       "`bytes`.";
	case ROUTE_VIDEO:
		return "The model has no price for videos whose length nobody tells. Say `seconds`; or its price "
		       "needs the rate `request`.";
	case ROUTE_PROXY:
		return "The instance has no price for the pass-through. Its price needs the rate `request`.";
	default:
		return "The model has no price for tokens. Its price needs the rates `input` and `output`.";
	}
}

static bool
check_money(struct worker *w, const struct json_result *json, uint64_t form_bytes, struct admission *a,
	    struct refusal *refusal)
{
	enum err verdict = shm_read_price(&w->shm, a->target.price, &a->price); /* SHM_NONE is no entry's number */

	if (verdict != ERR_OK)
		return refuse_unread(w, verdict, REFUSAL_MODEL_NOT_PRICED, refusal);
	if (!settle_is_priced(&a->price, a->route, a->says_length)) {
		refusal->message = unpriced_sentence(a->route);
		return refuse(refusal, REFUSAL_MODEL_NOT_PRICED);
	}
	return hold_take(w, json, form_bytes, a, refusal);
}

/* A record must be writable for everything that is let in. */
static bool
check_spool(struct worker *w, struct refusal *refusal)
{
	if (spool_room(w->spool) > w->config.counts.exchanges)
		return true;
	refusal->retry_after_ns = NSEC_PER_SEC;
	worker_count_verdict(w, ERR_SPOOL_FULL);
	return refuse(refusal, REFUSAL_OVERLOADED);
}

static void
note_money(struct worker *w, const struct admission *a, const struct refusal *refusal)
{
	switch (refusal->code) {
	case REFUSAL_INSUFFICIENT_BALANCE:
	case REFUSAL_BALANCE_IN_FLIGHT:
	case REFUSAL_CREDIT_DEPLETED:
		settle_refusal(w, a, refusal);
		worker_count(w, COUNTER_REFUSED_MONEY);
		break;
	case REFUSAL_MODEL_NOT_PRICED:
		worker_count(w, COUNTER_REFUSED_MONEY);
		break;
	default:
		break;
	}
}

/* What is left once the target is known, or is not. json: NULL if the body is none; form_bytes: of a form, 0. */
static bool
check_rest(struct worker *w, bool is_known, const struct json_result *json, uint64_t form_bytes,
	   struct admission *a, struct refusal *refusal)
{
	const struct json_result *tokens_of = route_has_tokens(a->route) ? json : NULL;

	if (!is_known || !check_money(w, json, form_bytes, a, refusal)) {
		note_money(w, a, refusal);
		return false;
	}
	if (check_spool(w, refusal) && quota_take(w, tokens_of, a, refusal))
		return true;
	hold_release(w, a);
	return false;
}

static bool
check_named(struct worker *w, struct bytes model, const struct json_result *json, uint64_t form_bytes,
	    struct admission *a, struct refusal *refusal)
{
	bool is_known = check_model(w, model, a, refusal);

	if (!is_known && refusal->code != REFUSAL_OVERLOADED) {
		refusal->param = "model";
		refusal->subject = model;
	}
	return check_rest(w, is_known, json, form_bytes, a, refusal);
}

bool
admit_body(struct worker *w, const struct json_result *json, struct admission *admission,
	   struct refusal *refusal)
{
	admission->says_length = settle_wanted_milliseconds(json) > 0;
	return check_fields(w, json, admission, refusal) &&
	       check_named(w, bytes_make(json->model, json->model_len), json, 0, admission, refusal);
}

bool
admit_form(struct worker *w, const struct multipart_result *form, uint64_t form_bytes,
	   struct admission *admission, struct refusal *refusal)
{
	if (!form->has_model) {
		refusal->param = "model";
		refusal->message = "The form has no part `model`.";
		return refuse(refusal, REFUSAL_MISSING_FIELD);
	}
	return check_named(w, bytes_make(form->model, form->model_len), NULL, form_bytes, admission, refusal);
}

bool
admit_proxy(struct worker *w, struct admission *admission, struct refusal *refusal)
{
	bool is_known = check_instance(w, BYTES_NONE, admission->instance_id, admission, refusal);

	return check_rest(w, is_known, NULL, 0, admission, refusal);
}

bool
admit_job(struct worker *w, const struct job *job, struct admission *admission, struct refusal *refusal)
{
	struct refusal why = { 0 };
	bool is_known = job->account_id == admission->account_id &&
			(job->model.len > 0 ?
				 check_model(w, job->model, admission, &why) :
				 check_instance(w, BYTES_NONE, job->instance_id, admission, &why));

	if (!is_known && why.code == REFUSAL_OVERLOADED) {
		*refusal = why;
		return false;
	}
	if (!is_known) {
		refusal->param = "id";
		refusal->message = "There is no such video job.";
		return refuse(refusal, REFUSAL_NOT_FOUND);
	}
	admission->job_pod_id = job->pod_id;
	return check_spool(w, refusal) && quota_take(w, NULL, admission, refusal);
}
