/*
 * Objects from a table of fields. Adding a member to the API is one line here and one migration.
 */
#include "noun.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define SQL_BYTES_MAX 2048
#define NANO_MAX INT64_C(1000000000000000) /* a million dollars per unit of a price */

enum field_kind {
	FIELD_TEXT,
	FIELD_NUMBER,
	FIELD_FLAG,
	FIELD_CHOICE,
	FIELD_REFERENCE, /* in JSON the other's name, or its id where it has no name */
	FIELD_POD_LIST,
};

enum field_flags {
	REQUIRED = 1,  /* of a new object */
	READ_ONLY = 2,
	FIXED = 4,     /* once made */
	NULLABLE = 8,
	SECRET = 16,   /* is never shown: "<name>_set" tells whether there is one */
};

typedef const char *text_check(struct bytes text); /* NULL: fine; else what is wrong */

struct field {
	const char *name;
	const char *column;
	enum field_kind kind;
	unsigned flags;
	int64_t max; /* of a number, or bytes of a text */
	int64_t min;
	const char *const *choices;
	enum noun target;
	text_check *check;
};

/* --- what texts may be ------------------------------------------------------------------- */

static bool
is_all_digits(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
	return text.len > 0;
}

static const char *
check_name(struct bytes text)
{
	if (text.len == 0)
		return "is empty";
	return is_all_digits(text) ? "looks like an id" : NULL;
}

static const char *
check_not_empty(struct bytes text)
{
	return text.len == 0 ? "is empty" : NULL;
}

static const char *
check_address(struct bytes text)
{
	char copy[INET6_ADDRSTRLEN + 1] = "";
	uint8_t address[16];

	if (text.len >= sizeof(copy))
		return "is not an IP address";
	memcpy(copy, text.ptr, text.len);
	return inet_pton(AF_INET, copy, address) == 1 || inet_pton(AF_INET6, copy, address) == 1
		       ? NULL
		       : "is not an IP address";
}

static const char *
check_path(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] <= ' ' || text.ptr[i] >= 0x7f || strchr("?#\"\\", text.ptr[i]))
			return "has a character that a path cannot have";
	return text.len == 0 || text.ptr[0] == '/' ? NULL : "does not begin with /";
}

static const char *
check_base_path(struct bytes text)
{
	if (text.len > 0 && text.ptr[text.len - 1] == '/')
		return "ends with /";
	return check_path(text);
}

/* Field values of HTTP: visible ASCII and single spaces are enough for hosts and credentials. */
static const char *
check_field_value(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < ' ' || text.ptr[i] >= 0x7f)
			return "has a character that a header field cannot have";
	return NULL;
}

/* --- the nouns --------------------------------------------------------------------------- */

static const char *const surfaces[] = { "ecolink", "infer", "third", "fourth", NULL };
CHECK_STATIC(COUNT_OF(surfaces) == SHM_SURFACE_COUNT + 1, "a name for each");
static const char *const instance_states[] = { "running", "stopped", "credit_depleted", NULL };
static const char *const pod_states[] = { "ready", "drain", "maint", NULL };
static const char *const policies[] = { "round-robin", "least-loaded", "prefix", NULL };
static const char *const resends[] = { "until-first-byte", "never-sent", NULL };

#define NAME(bytes)                                                                                \
	{ .name = "name", .column = "name", .kind = FIELD_TEXT, .flags = REQUIRED, .max = (bytes), \
	  .check = check_name }
#define SHOWN(field, expression)                                                                   \
	{ .name = field, .column = expression, .kind = FIELD_NUMBER, .flags = READ_ONLY }
#define NUMBER(field, low, high)                                                                   \
	{ .name = field, .column = field, .kind = FIELD_NUMBER, .min = (low), .max = (high) }
/* How requests for a model or an instance are routed. Timers of 0: as configured. */
#define ROUTING                                                                                    \
	{ .name = "policy", .column = "policy", .kind = FIELD_CHOICE, .choices = policies },       \
	{ .name = "resend", .column = "resend", .kind = FIELD_CHOICE, .choices = resends },        \
	{ .name = "retry_percent", .column = "retry_percent", .kind = FIELD_NUMBER,                \
	  .flags = NULLABLE, .max = 100 },                                                         \
	NUMBER("connect_ms", 0, 3600000), NUMBER("response_head_ms", 0, 86400000),                 \
	NUMBER("first_event_ms", 0, 86400000), NUMBER("between_events_ms", 0, 86400000),           \
	NUMBER("request_ms", 0, 86400000)

static const struct field account_fields[] = {
	NAME(64),
	{ .name = "suspended", .column = "suspended", .kind = FIELD_FLAG },
	SHOWN("balance_nano", "credited_nano - spent_nano"),
	SHOWN("credited_nano", "credited_nano"),
	SHOWN("spent_nano", "spent_nano"),
	SHOWN("created_at", "created_at"),
	{ 0 },
};

static const struct field plan_fields[] = {
	NAME(64),
	NUMBER("requests_per_minute", 0, 60000000), /* 0: as the surface has it */
	NUMBER("burst", 0, 100000000),              /* 0: as many as per minute */
	NUMBER("tokens_per_minute", 0, 100000000),
	NUMBER("token_burst", 0, 100000000),
	NUMBER("concurrent_requests", 0, 1000000), /* of the account */
	NUMBER("body_bytes", 0, INT64_C(1) << 40), /* 0: as the surface has it */
	{ 0 },
};

static const struct field price_fields[] = {
	NAME(64),
	{ .name = "input_nano_per_mtoken", .column = "input_nano_per_mtoken", .kind = FIELD_NUMBER,
	  .flags = REQUIRED, .max = NANO_MAX },
	{ .name = "output_nano_per_mtoken", .column = "output_nano_per_mtoken",
	  .kind = FIELD_NUMBER, .flags = REQUIRED, .max = NANO_MAX },
	NUMBER("request_nano", 0, NANO_MAX),
	NUMBER("image_nano", 0, NANO_MAX),
	NUMBER("second_nano", 0, NANO_MAX),
	NUMBER("character_nano_per_million", 0, NANO_MAX),
	NUMBER("byte_nano_per_million", 0, NANO_MAX),
	SHOWN("version", "version"),
	{ 0 },
};

static const struct field region_fields[] = { NAME(46), { 0 } };

static const struct field pod_fields[] = {
	NAME(64),
	{ .name = "address", .column = "address", .kind = FIELD_TEXT, .flags = REQUIRED, .max = 45,
	  .check = check_address },
	{ .name = "port", .column = "port", .kind = FIELD_NUMBER, .flags = REQUIRED, .min = 1,
	  .max = 65535 },
	{ .name = "host", .column = "host", .kind = FIELD_TEXT, .max = 46,
	  .check = check_field_value },
	{ .name = "credential", .column = "credential", .kind = FIELD_TEXT, .flags = SECRET,
	  .max = 190, .check = check_field_value },
	{ .name = "state", .column = "state", .kind = FIELD_CHOICE, .choices = pod_states },
	{ .name = "running_usage", .column = "running_usage", .kind = FIELD_FLAG },
	{ .name = "probe_path", .column = "probe_path", .kind = FIELD_TEXT, .max = 128,
	  .check = check_path },
	NUMBER("probe_interval_ms", 0, 3600000),
	NUMBER("probe_timeout_ms", 0, 600000),
	NUMBER("rise", 0, 100),
	NUMBER("fall", 0, 100),
	{ 0 },
};

static const struct field deployment_fields[] = {
	NAME(128),
	{ .name = "model", .column = "model_id", .kind = FIELD_REFERENCE, .flags = NULLABLE,
	  .target = NOUN_MODEL },
	{ .name = "instance", .column = "instance_id", .kind = FIELD_REFERENCE, .flags = NULLABLE,
	  .target = NOUN_INSTANCE },
	{ .name = "region", .column = "region_id", .kind = FIELD_REFERENCE, .flags = REQUIRED,
	  .target = NOUN_REGION },
	NUMBER("position", 0, 1000000),
	{ .name = "served_name", .column = "served_name", .kind = FIELD_TEXT, .max = 190 },
	{ .name = "base_path", .column = "base_path", .kind = FIELD_TEXT, .max = 190,
	  .check = check_base_path },
	{ .name = "pods", .column = "0", .kind = FIELD_POD_LIST },
	{ 0 },
};

static const struct field model_fields[] = {
	NAME(190),
	{ .name = "price", .column = "price_id", .kind = FIELD_REFERENCE, .flags = NULLABLE,
	  .target = NOUN_PRICE },
	ROUTING,
	SHOWN("created_at", "created_at"),
	{ 0 },
};

static const struct field alias_fields[] = {
	NAME(190),
	{ .name = "model", .column = "model_id", .kind = FIELD_REFERENCE, .flags = REQUIRED,
	  .target = NOUN_MODEL },
	{ 0 },
};

static const struct field instance_fields[] = {
	{ .name = "name", .column = "name", .kind = FIELD_TEXT, .flags = REQUIRED, .max = 190,
	  .check = check_not_empty },
	{ .name = "account", .column = "account_id", .kind = FIELD_REFERENCE, .flags = REQUIRED,
	  .target = NOUN_ACCOUNT },
	{ .name = "price", .column = "price_id", .kind = FIELD_REFERENCE, .flags = NULLABLE,
	  .target = NOUN_PRICE },
	{ .name = "state", .column = "state", .kind = FIELD_CHOICE, .choices = instance_states },
	ROUTING,
	SHOWN("created_at", "created_at"),
	{ 0 },
};

static const struct field key_fields[] = {
	{ .name = "name", .column = "name", .kind = FIELD_TEXT, .max = 64 },
	{ .name = "prefix", .column = "prefix", .kind = FIELD_TEXT, .flags = READ_ONLY },
	{ .name = "surface", .column = "surface", .kind = FIELD_CHOICE, .flags = FIXED | REQUIRED,
	  .choices = surfaces },
	{ .name = "account", .column = "account_id", .kind = FIELD_REFERENCE,
	  .flags = FIXED | REQUIRED, .target = NOUN_ACCOUNT },
	{ .name = "plan", .column = "plan_id", .kind = FIELD_REFERENCE, .flags = REQUIRED,
	  .target = NOUN_PLAN },
	{ .name = "revoked", .column = "revoked", .kind = FIELD_FLAG },
	SHOWN("created_at", "created_at"),
	{ 0 },
};

static const struct {
	const char *name;
	const char *plural;
	const struct field *fields;
	bool has_name; /* a unique one, to be referred to by */
} shapes[NOUN_COUNT] = {
	[NOUN_ACCOUNT] = { "account", "accounts", account_fields, true },
	[NOUN_PLAN] = { "plan", "plans", plan_fields, true },
	[NOUN_PRICE] = { "price", "prices", price_fields, true },
	[NOUN_REGION] = { "region", "regions", region_fields, true },
	[NOUN_POD] = { "pod", "pods", pod_fields, true },
	[NOUN_DEPLOYMENT] = { "deployment", "deployments", deployment_fields, true },
	[NOUN_MODEL] = { "model", "models", model_fields, true },
	[NOUN_ALIAS] = { "alias", "aliases", alias_fields, true },
	[NOUN_INSTANCE] = { "instance", "instances", instance_fields, false },
	[NOUN_KEY] = { "key", "keys", key_fields, false },
};

const char *
noun_name(enum noun noun)
{
	return shapes[noun].name;
}

const char *
noun_surface(enum shm_surface surface)
{
	CHECK((unsigned int)surface < SHM_SURFACE_COUNT);
	return surfaces[surface];
}

const char *
noun_plural(enum noun noun)
{
	return shapes[noun].plural;
}

bool
noun_find(struct bytes plural, enum noun *noun)
{
	for (int i = 0; i < NOUN_COUNT; i++) {
		if (bytes_equal(plural, bytes_from_text(shapes[i].plural))) {
			*noun = (enum noun)i;
			return true;
		}
	}
	return false;
}

/* --- SQL text ---------------------------------------------------------------------------- */

/* Grows by appending; every piece comes from the tables above, so that it fits is ours to check. */
struct sql {
	char text[SQL_BYTES_MAX];
	size_t len;
};

__attribute__((format(printf, 2, 3)))
static void
add(struct sql *sql, const char *format, ...)
{
	va_list arguments;
	int more;

	va_start(arguments, format);
	more = vsnprintf(sql->text + sql->len, sizeof(sql->text) - sql->len, format, arguments);
	va_end(arguments);
	CHECK(more >= 0 && sql->len + (size_t)more < sizeof(sql->text));
	sql->len += (size_t)more;
}

/* SELECT id and every field, as emit_row() reads them. */
static void
add_select(struct sql *sql, enum noun noun)
{
	add(sql, "SELECT id");
	for (const struct field *f = shapes[noun].fields; f->name != NULL; f++) {
		if (f->kind == FIELD_REFERENCE && shapes[f->target].has_name)
			add(sql, ", (SELECT t.name FROM %s t WHERE t.id = %s)",
			    shapes[f->target].plural, f->column);
		else
			add(sql, ", %s", f->column);
	}
	add(sql, " FROM %s", shapes[noun].plural);
}

/* --- reading ----------------------------------------------------------------------------- */

enum err
noun_resolve(struct store *store, enum noun noun, struct bytes reference, int64_t *id)
{
	bool by_id = is_all_digits(reference) && reference.len < 19;
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict = ERR_OK;

	if (!by_id && !shapes[noun].has_name)
		return store_refuse(store, ERR_STORE_INVALID, "%s is named by its id",
				    shapes[noun].name);
	add(&sql, "SELECT id FROM %s WHERE %s = ?1", shapes[noun].plural, by_id ? "id" : "name");
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_text(statement, 1, reference); /* the id column's affinity makes it a number */
	switch (store_step(statement)) {
	case STORE_ROW:
		*id = store_column_int64(statement, 0);
		break;
	case STORE_DONE:
		verdict = store_refuse(store, ERR_STORE_NOT_FOUND, "no %s \"%.*s\"",
				       shapes[noun].name, (int)reference.len,
				       (const char *)reference.ptr);
		break;
	default:
		verdict = store_failed(store);
	}
	store_finalize(statement);
	return verdict;
}

static enum err
emit_pods(struct store *store, int64_t deployment_id, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct statement *statement = store_prepare(
		store, "SELECT p.name FROM deployment_pods d JOIN pods p ON p.id = d.pod_id"
		       " WHERE d.deployment_id = ?1 ORDER BY d.position, p.id");
	yyjson_mut_val *pods = yyjson_mut_arr(doc);

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, deployment_id);
	while (store_step(statement) == STORE_ROW) {
		struct bytes name = store_column_text(statement, 0);

		yyjson_mut_arr_add_strncpy(doc, pods, (const char *)name.ptr, name.len);
	}
	store_finalize(statement);
	yyjson_mut_obj_add_val(doc, object, "pods", pods);
	return ERR_OK;
}

static void
emit_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, struct bytes text)
{
	yyjson_mut_obj_add_strncpy(doc, object, name, text.len > 0 ? (const char *)text.ptr : "",
				   text.len);
}

static void
emit_field(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct field *f,
	   struct statement *row, int at)
{
	int64_t number = store_column_int64(row, at);

	if (store_column_is_null(row, at)) {
		yyjson_mut_obj_add_null(doc, object, f->name);
		return;
	}
	if ((f->flags & SECRET) != 0) {
		char name[64];

		snprintf(name, sizeof(name), "%s_set", f->name);
		yyjson_mut_obj_add(object, yyjson_mut_strcpy(doc, name),
				   yyjson_mut_bool(doc, store_column_text(row, at).len > 0));
		return;
	}
	switch (f->kind) {
	case FIELD_NUMBER:
		yyjson_mut_obj_add_sint(doc, object, f->name, number);
		break;
	case FIELD_FLAG:
		yyjson_mut_obj_add_bool(doc, object, f->name, number != 0);
		break;
	case FIELD_CHOICE:
		yyjson_mut_obj_add_str(doc, object, f->name, f->choices[number]);
		break;
	case FIELD_REFERENCE:
		if (!shapes[f->target].has_name) {
			yyjson_mut_obj_add_sint(doc, object, f->name, number);
			break;
		}
		/* fall through */
	case FIELD_TEXT:
		emit_text(doc, object, f->name, store_column_text(row, at));
		break;
	case FIELD_POD_LIST:
		CHECK(false); /* emit_row() has a query of its own for it */
	}
}

static enum err
emit_row(struct store *store, enum noun noun, struct statement *row, yyjson_mut_doc *doc,
	 yyjson_mut_val **object)
{
	int64_t id = store_column_int64(row, 0);
	enum err verdict = ERR_OK;
	int at = 1;

	*object = yyjson_mut_obj(doc);
	yyjson_mut_obj_add_sint(doc, *object, "id", id);
	for (const struct field *f = shapes[noun].fields; f->name != NULL && verdict == ERR_OK;
	     f++, at++) {
		if (f->kind == FIELD_POD_LIST)
			verdict = emit_pods(store, id, doc, *object);
		else
			emit_field(doc, *object, f, row, at);
	}
	return verdict;
}

enum err
noun_get(struct store *store, enum noun noun, int64_t id, yyjson_mut_doc *doc,
	 yyjson_mut_val **object)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict;

	add_select(&sql, noun);
	add(&sql, " WHERE id = ?1");
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, id);
	switch (store_step(statement)) {
	case STORE_ROW:
		verdict = emit_row(store, noun, statement, doc, object);
		break;
	case STORE_DONE:
		verdict = store_refuse(store, ERR_STORE_NOT_FOUND, "no %s %lld", shapes[noun].name,
				       (long long)id);
		break;
	default:
		verdict = store_failed(store);
	}
	store_finalize(statement);
	return verdict;
}

static const struct field *
field_of(enum noun noun, const char *name)
{
	for (const struct field *f = shapes[noun].fields; f->name != NULL; f++)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

/* Appends the conditions; their values are bound as ?3, ?4… */
static enum err
add_filter(struct store *store, struct sql *sql, enum noun noun, const struct noun_filter *filter,
	   int64_t values[COUNT_OF(filter->equal)], bool is_text[COUNT_OF(filter->equal)])
{
	for (uint32_t i = 0; i < filter->count; i++) {
		const struct field *f = field_of(noun, filter->equal[i].field);
		enum err verdict = ERR_OK;

		if (f == NULL || (f->kind != FIELD_REFERENCE && f->kind != FIELD_TEXT) ||
		    (f->flags & SECRET) != 0)
			return store_refuse(store, ERR_STORE_INVALID, "cannot filter by \"%s\"",
					    filter->equal[i].field);
		is_text[i] = f->kind == FIELD_TEXT;
		if (!is_text[i])
			verdict = noun_resolve(store, f->target,
					       bytes_from_text(filter->equal[i].value), &values[i]);
		if (verdict != ERR_OK)
			return verdict;
		add(sql, " AND %s = ?%u", f->column, i + 3);
	}
	return ERR_OK;
}

enum err
noun_list(struct store *store, enum noun noun, const struct noun_filter *filter,
	  yyjson_mut_doc *doc, yyjson_mut_val **array)
{
	int64_t values[COUNT_OF(filter->equal)];
	bool is_text[COUNT_OF(filter->equal)];
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict;
	enum store_step step;

	add_select(&sql, noun);
	add(&sql, " WHERE id > ?1");
	verdict = add_filter(store, &sql, noun, filter, values, is_text);
	if (verdict != ERR_OK)
		return verdict;
	add(&sql, " ORDER BY id LIMIT ?2");
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, filter->after_id);
	store_bind_int64(statement, 2, filter->limit);
	for (uint32_t i = 0; i < filter->count; i++) {
		if (is_text[i])
			store_bind_text(statement, (int)i + 3,
					bytes_from_text(filter->equal[i].value));
		else
			store_bind_int64(statement, (int)i + 3, values[i]);
	}
	*array = yyjson_mut_arr(doc);
	while ((step = store_step(statement)) == STORE_ROW && verdict == ERR_OK) {
		yyjson_mut_val *object;

		verdict = emit_row(store, noun, statement, doc, &object);
		if (verdict == ERR_OK)
			yyjson_mut_arr_append(*array, object);
	}
	if (verdict == ERR_OK && step != STORE_DONE)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

/* --- writing ----------------------------------------------------------------------------- */

/* What a put will write. */
struct plan {
	struct noun_value values[NOUN_FIELDS_MAX];
	size_t count;
	bool has_pods;
	int64_t pods[64]; /* more than fit are the store's to refuse */
	size_t pod_count;
};

static enum err
take_text(struct store *store, const struct field *f, yyjson_val *json, struct noun_value *value)
{
	struct bytes text = bytes_make(yyjson_get_str(json), yyjson_get_len(json));
	const char *wrong;

	if (!yyjson_is_str(json))
		return store_refuse(store, ERR_STORE_INVALID, "%s is not a string", f->name);
	if (text.len > (size_t)f->max)
		return store_refuse(store, ERR_STORE_INVALID, "%s is longer than %lld bytes",
				    f->name, (long long)f->max);
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < ' ' || text.ptr[i] == 0x7f)
			return store_refuse(store, ERR_STORE_INVALID,
					    "%s has a control character", f->name);
	wrong = f->check != NULL ? f->check(text) : NULL;
	if (wrong != NULL)
		return store_refuse(store, ERR_STORE_INVALID, "%s %s", f->name, wrong);
	value->kind = NOUN_TEXT;
	value->text = text;
	return ERR_OK;
}

static enum err
take_number(struct store *store, const struct field *f, yyjson_val *json, struct noun_value *value)
{
	int64_t number = yyjson_get_sint(json);

	if (!yyjson_is_int(json) || (yyjson_is_uint(json) && yyjson_get_uint(json) > INT64_MAX) ||
	    number < f->min || number > f->max)
		return store_refuse(store, ERR_STORE_INVALID, "%s is not an integer from %lld to %lld",
				    f->name, (long long)f->min, (long long)f->max);
	value->kind = NOUN_NUMBER;
	value->number = number;
	return ERR_OK;
}

static enum err
take_choice(struct store *store, const struct field *f, yyjson_val *json, struct noun_value *value)
{
	char all[128] = "";
	size_t len = 0;

	for (int i = 0; f->choices[i] != NULL; i++) {
		if (yyjson_equals_str(json, f->choices[i])) {
			value->kind = NOUN_NUMBER;
			value->number = i;
			return ERR_OK;
		}
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i > 0 ? ", " : "", f->choices[i]);
		CHECK(len < sizeof(all));
	}
	return store_refuse(store, ERR_STORE_INVALID, "%s is none of %s", f->name, all);
}

/* A name or an id. */
static enum err
take_reference(struct store *store, enum noun target, const char *field, yyjson_val *json,
	       int64_t *id)
{
	char digits[24];

	if (yyjson_is_str(json))
		return noun_resolve(store, target,
				    bytes_make(yyjson_get_str(json), yyjson_get_len(json)), id);
	if (!yyjson_is_uint(json))
		return store_refuse(store, ERR_STORE_INVALID, "%s is neither a name nor an id",
				    field);
	snprintf(digits, sizeof(digits), "%llu", (unsigned long long)yyjson_get_uint(json));
	return noun_resolve(store, target, bytes_from_text(digits), id);
}

static enum err
take_pods(struct store *store, yyjson_val *json, struct plan *plan)
{
	size_t at, count;
	yyjson_val *element;

	if (!yyjson_is_arr(json) || yyjson_arr_size(json) > COUNT_OF(plan->pods))
		return store_refuse(store, ERR_STORE_INVALID, "pods is not a list of at most 32");
	plan->has_pods = true;
	yyjson_arr_foreach(json, at, count, element) {
		enum err verdict = take_reference(store, NOUN_POD, "an element of pods", element,
						  &plan->pods[plan->pod_count++]);

		if (verdict != ERR_OK)
			return verdict;
	}
	return ERR_OK;
}

static enum err
take_member(struct store *store, const struct field *f, yyjson_val *json, struct plan *plan)
{
	struct noun_value *value = &plan->values[plan->count];
	enum err verdict = ERR_OK;

	*value = (struct noun_value){ .column = f->column };
	if (yyjson_is_null(json)) {
		if ((f->flags & NULLABLE) == 0)
			return store_refuse(store, ERR_STORE_INVALID, "%s cannot be null", f->name);
		plan->count++;
		return ERR_OK;
	}
	switch (f->kind) {
	case FIELD_TEXT:
		verdict = take_text(store, f, json, value);
		break;
	case FIELD_NUMBER:
		verdict = take_number(store, f, json, value);
		break;
	case FIELD_FLAG:
		value->kind = NOUN_NUMBER;
		value->number = yyjson_get_bool(json);
		if (!yyjson_is_bool(json))
			verdict = store_refuse(store, ERR_STORE_INVALID, "%s is neither true nor false",
					       f->name);
		break;
	case FIELD_CHOICE:
		verdict = take_choice(store, f, json, value);
		break;
	case FIELD_REFERENCE:
		value->kind = NOUN_NUMBER;
		verdict = take_reference(store, f->target, f->name, json, &value->number);
		if (verdict == ERR_STORE_NOT_FOUND)
			verdict = ERR_STORE_INVALID; /* the body is wrong, not the address */
		break;
	case FIELD_POD_LIST:
		verdict = take_pods(store, json, plan);
		return verdict == ERR_STORE_NOT_FOUND ? ERR_STORE_INVALID : verdict;
	}
	if (verdict == ERR_OK)
		plan->count++;
	return verdict;
}

static enum err
take_body(struct store *store, enum noun noun, bool is_new, yyjson_val *body, struct plan *plan)
{
	yyjson_val *name, *value;
	size_t at, count;

	yyjson_obj_foreach(body, at, count, name, value) {
		const struct field *f = field_of(noun, yyjson_get_str(name));
		enum err verdict;

		if (f == NULL || (f->flags & READ_ONLY) != 0)
			return store_refuse(store, ERR_STORE_INVALID, "%s has no member \"%.64s\"",
					    shapes[noun].name, yyjson_get_str(name));
		if ((f->flags & FIXED) != 0 && !is_new)
			return store_refuse(store, ERR_STORE_INVALID, "%s cannot change", f->name);
		if (plan->count == NOUN_FIELDS_MAX)
			return store_refuse(store, ERR_STORE_INVALID, "too many members");
		verdict = take_member(store, f, value, plan);
		if (verdict != ERR_OK)
			return verdict;
	}
	return ERR_OK;
}

static bool
has_column(const struct plan *plan, const char *column)
{
	for (size_t i = 0; i < plan->count; i++)
		if (strcmp(plan->values[i].column, column) == 0)
			return true;
	return false;
}

static enum err
take_all(struct store *store, enum noun noun, bool is_new, struct bytes name, yyjson_val *body,
	 struct plan *plan)
{
	enum err verdict;

	if (!yyjson_is_obj(body))
		return store_refuse(store, ERR_STORE_INVALID, "the body is not an object");
	verdict = take_body(store, noun, is_new, body, plan);
	if (verdict != ERR_OK)
		return verdict;
	if (name.len > 0 && !has_column(plan, "name")) {
		const char *wrong = check_name(name);

		if (wrong != NULL || name.len > (size_t)field_of(noun, "name")->max)
			return store_refuse(store, ERR_STORE_INVALID, "name %s",
					    wrong != NULL ? wrong : "is too long");
		plan->values[plan->count++] = (struct noun_value){ .column = "name",
								   .kind = NOUN_TEXT,
								   .text = name };
	}
	for (const struct field *f = shapes[noun].fields; is_new && f->name != NULL; f++)
		if ((f->flags & REQUIRED) != 0 && !has_column(plan, f->column))
			return store_refuse(store, ERR_STORE_INVALID, "%s is missing", f->name);
	return ERR_OK;
}

static void
bind_value(struct statement *statement, int at, const struct noun_value *value)
{
	switch (value->kind) {
	case NOUN_NULL:
		store_bind_null(statement, at);
		break;
	case NOUN_NUMBER:
		store_bind_int64(statement, at, value->number);
		break;
	case NOUN_TEXT:
		store_bind_text(statement, at, value->text);
		break;
	case NOUN_BLOB:
		store_bind_blob(statement, at, value->text);
		break;
	}
}

static void
add_insert(struct sql *sql, enum noun noun, const struct plan *plan)
{
	add(sql, "INSERT INTO %s(", shapes[noun].plural);
	for (size_t i = 0; i < plan->count; i++)
		add(sql, "%s%s", i > 0 ? ", " : "", plan->values[i].column);
	add(sql, ") VALUES (");
	for (size_t i = 0; i < plan->count; i++)
		add(sql, "%s?%zu", i > 0 ? ", " : "", i + 1);
	add(sql, ") RETURNING id");
}

static void
add_update(struct sql *sql, enum noun noun, const struct plan *plan)
{
	add(sql, "UPDATE %s SET ", shapes[noun].plural);
	for (size_t i = 0; i < plan->count; i++)
		add(sql, "%s%s = ?%zu", i > 0 ? ", " : "", plan->values[i].column, i + 1);
	add(sql, " WHERE id = ?%zu", plan->count + 1);
}

static enum err
write_columns(struct store *store, enum noun noun, const struct plan *plan, bool is_new, int64_t *id)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum store_step step;
	enum err verdict;

	if (plan->count == 0)
		return ERR_OK;
	if (is_new)
		add_insert(&sql, noun, plan);
	else
		add_update(&sql, noun, plan);
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	for (size_t i = 0; i < plan->count; i++)
		bind_value(statement, (int)i + 1, &plan->values[i]);
	if (!is_new)
		store_bind_int64(statement, (int)plan->count + 1, *id);
	step = store_step(statement);
	if (step == STORE_ROW) {
		*id = store_column_int64(statement, 0);
		step = store_step(statement);
	}
	verdict = step == STORE_DONE ? ERR_OK : store_failed(store);
	store_finalize(statement);
	return verdict;
}

static enum err
write_pods(struct store *store, int64_t deployment_id, const struct plan *plan)
{
	struct statement *statement =
		store_prepare(store, "DELETE FROM deployment_pods WHERE deployment_id = ?1");
	enum err verdict;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, deployment_id);
	verdict = store_run(store, statement);
	store_finalize(statement);
	if (verdict != ERR_OK)
		return verdict;
	statement = store_prepare(store, "INSERT INTO deployment_pods VALUES (?1, ?2, ?3)");
	if (statement == NULL)
		return ERR_STORE_FAILED;
	for (size_t i = 0; i < plan->pod_count && verdict == ERR_OK; i++) {
		store_bind_int64(statement, 1, deployment_id);
		store_bind_int64(statement, 2, plan->pods[i]);
		store_bind_int64(statement, 3, (int64_t)i);
		verdict = store_run(store, statement);
	}
	store_finalize(statement);
	return verdict;
}

/* Whether the row is there; an id may be given to one that is not yet. */
static enum err
exists(struct store *store, enum noun noun, int64_t id, bool *is_there)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict = ERR_OK;
	enum store_step step;

	add(&sql, "SELECT 1 FROM %s WHERE id = ?1", shapes[noun].plural);
	statement = store_prepare(store, sql.text);
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, id);
	step = store_step(statement);
	*is_there = step == STORE_ROW;
	if (step == STORE_BROKEN)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

enum err
noun_put(struct store *store, enum noun noun, int64_t *id, struct bytes name, yyjson_val *body,
	 const struct noun_value *extra, size_t extra_count, bool *created)
{
	struct plan plan = { .count = 0 };
	bool is_there = false;
	int64_t new_id = *id;
	enum err verdict = store_begin(store);

	if (verdict != ERR_OK)
		return verdict;
	if (*id != 0)
		verdict = exists(store, noun, *id, &is_there);
	if (verdict == ERR_OK)
		verdict = take_all(store, noun, !is_there, name, body, &plan);
	for (size_t i = 0; verdict == ERR_OK && i < extra_count; i++) {
		CHECK(plan.count < NOUN_FIELDS_MAX);
		plan.values[plan.count++] = extra[i];
	}
	if (verdict == ERR_OK && !is_there && *id != 0) {
		CHECK(plan.count < NOUN_FIELDS_MAX);
		plan.values[plan.count++] = (struct noun_value){ .column = "id",
								 .kind = NOUN_NUMBER,
								 .number = *id };
	}
	if (verdict == ERR_OK)
		verdict = write_columns(store, noun, &plan, !is_there, &new_id);
	if (verdict == ERR_OK && plan.has_pods)
		verdict = write_pods(store, new_id, &plan);
	if (verdict == ERR_OK)
		verdict = store_audit(store, is_there ? "change" : "create", shapes[noun].name,
				      new_id, "");
	if (verdict != ERR_OK) {
		store_rollback(store);
		return verdict;
	}
	verdict = store_commit(store);
	if (verdict == ERR_OK) {
		*id = new_id;
		*created = !is_there;
	}
	return verdict;
}

enum err
noun_delete(struct store *store, enum noun noun, int64_t id)
{
	struct sql sql = { .len = 0 };
	struct statement *statement;
	enum err verdict = store_begin(store);

	if (verdict != ERR_OK)
		return verdict;
	add(&sql, "DELETE FROM %s WHERE id = ?1", shapes[noun].plural);
	statement = store_prepare(store, sql.text);
	if (statement != NULL) {
		store_bind_int64(statement, 1, id);
		verdict = store_run(store, statement);
	} else {
		verdict = ERR_STORE_FAILED;
	}
	if (verdict == ERR_OK && store_changes(statement) == 0)
		verdict = store_refuse(store, ERR_STORE_NOT_FOUND, "no %s %lld", shapes[noun].name,
				       (long long)id);
	store_finalize(statement);
	if (verdict == ERR_OK)
		verdict = store_audit(store, "delete", shapes[noun].name, id, "");
	if (verdict != ERR_OK) {
		store_rollback(store);
		return verdict;
	}
	return store_commit(store);
}
