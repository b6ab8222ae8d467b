/* Paths from the table of calls, schemas from the nouns' fields; nothing is said here that is not there. */
#include "openapi.h"

#include <stdio.h>
#include <string.h>

#include "api.h"
#include "base/check.h"

#define NAME_BYTES 64
#define PATH_BYTES 128

/* --- fields ------------------------------------------------------------------------------ */

static void
add_reference(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *kind, const char *name)
{
	char text[NAME_BYTES * 2];

	snprintf(text, sizeof(text), "#/components/%s/%s", kind, name);
	yyjson_mut_obj_add_strcpy(doc, object, "$ref", text);
}

/* {"type": type}, or {"type": [type, "null"]}. */
static void
add_type(yyjson_mut_doc *doc, yyjson_mut_val *schema, const char *type, bool is_nullable)
{
	yyjson_mut_val *types;

	if (!is_nullable) {
		yyjson_mut_obj_add_str(doc, schema, "type", type);
		return;
	}
	types = yyjson_mut_obj_add_arr(doc, schema, "type");
	yyjson_mut_arr_add_str(doc, types, type);
	yyjson_mut_arr_add_str(doc, types, "null");
}

static void
describe_text(yyjson_mut_doc *doc, yyjson_mut_val *schema, const struct field *f)
{
	if (f->min > 0)
		yyjson_mut_obj_add_sint(doc, schema, "minLength", f->min);
	yyjson_mut_obj_add_sint(doc, schema, "maxLength", f->max);
	if (f->pattern != NULL)
		yyjson_mut_obj_add_str(doc, schema, "pattern", f->pattern);
}

static void
describe_choices(yyjson_mut_doc *doc, yyjson_mut_val *schema, const struct field *f)
{
	yyjson_mut_val *all = yyjson_mut_obj_add_arr(doc, schema, "enum");

	for (int i = 0; f->choices[i] != NULL; i++)
		yyjson_mut_arr_add_str(doc, all, f->choices[i]);
}

/* A reference is written as a name or an id, and shown as the name where there is one. */
static void
describe_reference(yyjson_mut_doc *doc, yyjson_mut_val *schema, const struct field *f, bool is_shown)
{
	bool has_name = shape_of(f->target)->has_name;
	yyjson_mut_val *types;

	if (is_shown) {
		add_type(doc, schema, has_name ? "string" : "integer", (f->flags & FIELD_NULLABLE) != 0);
		return;
	}
	types = yyjson_mut_obj_add_arr(doc, schema, "type");
	yyjson_mut_arr_add_str(doc, types, "string");
	yyjson_mut_arr_add_str(doc, types, "integer");
	if ((f->flags & FIELD_NULLABLE) != 0)
		yyjson_mut_arr_add_str(doc, types, "null");
}

static yyjson_mut_val *
describe_field(yyjson_mut_doc *doc, const struct field *f, bool is_shown)
{
	yyjson_mut_val *schema = yyjson_mut_obj(doc);
	bool is_nullable = (f->flags & FIELD_NULLABLE) != 0;

	switch (f->kind) {
	case FIELD_TEXT:
		add_type(doc, schema, "string", is_nullable);
		describe_text(doc, schema, f);
		break;
	case FIELD_NUMBER:
		add_type(doc, schema, "integer", is_nullable);
		if (f->min != INT64_MIN)
			yyjson_mut_obj_add_sint(doc, schema, "minimum", f->min);
		if (f->max != INT64_MAX)
			yyjson_mut_obj_add_sint(doc, schema, "maximum", f->max);
		break;
	case FIELD_FLAG:
		add_type(doc, schema, "boolean", is_nullable);
		break;
	case FIELD_CHOICE:
		add_type(doc, schema, "string", is_nullable);
		describe_choices(doc, schema, f);
		break;
	case FIELD_REFERENCE:
		describe_reference(doc, schema, f, is_shown);
		break;
	case FIELD_POD_LIST:
		add_type(doc, schema, "array", is_nullable);
		yyjson_mut_obj_add_str(doc, yyjson_mut_obj_add_obj(doc, schema, "items"), "type", "string");
		yyjson_mut_obj_add_sint(doc, schema, "maxItems", f->max);
		break;
	}
	if (f->help != NULL)
		yyjson_mut_obj_add_str(doc, schema, "description", f->help);
	return schema;
}

/* --- schemas ----------------------------------------------------------------------------- */

/* Which of a noun's fields a schema has. */
enum view { VIEW_SHOWN, VIEW_NEW, VIEW_CHANGE };

static bool
is_in_view(const struct field *f, enum view view)
{
	if (view == VIEW_SHOWN)
		return true;
	return (f->flags & FIELD_READ_ONLY) == 0;
}

static void
add_fields(yyjson_mut_doc *doc, yyjson_mut_val *properties, yyjson_mut_val *required,
	   const struct field *fields, enum view view)
{
	for (const struct field *f = fields; f != NULL && f->name != NULL; f++) {
		bool is_told = view == VIEW_SHOWN && (f->flags & FIELD_SECRET) != 0;
		yyjson_mut_val *name;
		char told[NAME_BYTES];

		if (!is_in_view(f, view))
			continue;
		snprintf(told, sizeof(told), "%s%s", f->name, is_told ? "_set" : "");
		name = yyjson_mut_strcpy(doc, told);
		if (is_told) {
			yyjson_mut_val *schema = yyjson_mut_obj(doc);

			yyjson_mut_obj_add_str(doc, schema, "type", "boolean");
			yyjson_mut_obj_add(properties, name, schema);
		} else {
			yyjson_mut_obj_add(properties, name, describe_field(doc, f, view == VIEW_SHOWN));
		}
		if (view == VIEW_SHOWN || (view == VIEW_NEW && (f->flags & FIELD_REQUIRED) != 0))
			yyjson_mut_arr_add_strcpy(doc, required, told);
	}
}

/* An object of the fields; no others are taken. */
static yyjson_mut_val *
describe_object(yyjson_mut_doc *doc, const struct field *fields, const struct field *more, enum view view,
		bool has_id)
{
	yyjson_mut_val *schema = yyjson_mut_obj(doc), *properties, *required;

	yyjson_mut_obj_add_str(doc, schema, "type", "object");
	properties = yyjson_mut_obj_add_obj(doc, schema, "properties");
	required = yyjson_mut_obj_add_arr(doc, schema, "required");
	if (has_id) {
		yyjson_mut_val *id = yyjson_mut_obj_add_obj(doc, properties, "id");

		yyjson_mut_obj_add_str(doc, id, "type", "integer");
		yyjson_mut_obj_add_sint(doc, id, "minimum", 1);
		yyjson_mut_arr_add_str(doc, required, "id");
	}
	add_fields(doc, properties, required, fields, view);
	add_fields(doc, properties, required, more, view);
	yyjson_mut_obj_add_bool(doc, schema, "additionalProperties", false);
	return schema;
}

static yyjson_mut_val *
describe_list(yyjson_mut_doc *doc, const char *name)
{
	yyjson_mut_val *schema = yyjson_mut_obj(doc), *properties, *object, *data;

	yyjson_mut_obj_add_str(doc, schema, "type", "object");
	properties = yyjson_mut_obj_add_obj(doc, schema, "properties");
	object = yyjson_mut_obj_add_obj(doc, properties, "object");
	yyjson_mut_obj_add_str(doc, object, "const", "list");
	yyjson_mut_obj_add_str(doc, yyjson_mut_obj_add_obj(doc, properties, "has_more"), "type", "boolean");
	data = yyjson_mut_obj_add_obj(doc, properties, "data");
	yyjson_mut_obj_add_str(doc, data, "type", "array");
	add_reference(doc, yyjson_mut_obj_add_obj(doc, data, "items"), "schemas", name);
	return schema;
}

static yyjson_mut_val *
describe_error(yyjson_mut_doc *doc)
{
	static const struct field inside[] = {
		{ .name = "code", .kind = FIELD_TEXT, .max = 64, .help = "for programs" },
		{ .name = "message", .kind = FIELD_TEXT, .max = 512, .help = "for people" },
		{ 0 },
	};
	yyjson_mut_val *schema = yyjson_mut_obj(doc);
	yyjson_mut_val *properties;

	yyjson_mut_obj_add_str(doc, schema, "type", "object");
	properties = yyjson_mut_obj_add_obj(doc, schema, "properties");
	yyjson_mut_obj_add_val(doc, properties, "error", describe_object(doc, inside, NULL, VIEW_SHOWN, false));
	return schema;
}

static void
add_schemas(yyjson_mut_doc *doc, yyjson_mut_val *schemas)
{
	static const struct {
		const char *suffix;
		enum view view;
	} views[] = { { "", VIEW_SHOWN }, { ".new", VIEW_NEW }, { ".change", VIEW_CHANGE } };

	yyjson_mut_obj_add_val(doc, schemas, "error", describe_error(doc));
	for (int i = 0; i < NOUN_COUNT; i++) {
		const struct shape *shape = shape_of((enum noun)i);
		char name[NAME_BYTES];

		for (size_t v = 0; v < COUNT_OF(views); v++) {
			yyjson_mut_val *schema = describe_object(doc, shape->fields, NULL, views[v].view,
								 views[v].view == VIEW_SHOWN);

			snprintf(name, sizeof(name), "%s%s", shape->name, views[v].suffix);
			yyjson_mut_obj_add_str(doc, schema, "description", shape->help);
			yyjson_mut_obj_add(schemas, yyjson_mut_strcpy(doc, name), schema);
		}
		snprintf(name, sizeof(name), "%s.list", shape->name);
		yyjson_mut_obj_add(schemas, yyjson_mut_strcpy(doc, name), describe_list(doc, shape->name));
	}
}

/* --- calls ------------------------------------------------------------------------------- */

static void
add_query(yyjson_mut_doc *doc, yyjson_mut_val *parameters, const struct field *f)
{
	yyjson_mut_val *parameter = yyjson_mut_arr_add_obj(doc, parameters);

	yyjson_mut_obj_add_str(doc, parameter, "name", f->name);
	yyjson_mut_obj_add_str(doc, parameter, "in", "query");
	yyjson_mut_obj_add_val(doc, parameter, "schema", describe_field(doc, f, false));
}

static void
add_parameters(yyjson_mut_doc *doc, yyjson_mut_val *operation, const struct api_route *route,
	       const struct shape *shape)
{
	yyjson_mut_val *parameters = yyjson_mut_obj_add_arr(doc, operation, "parameters");

	if (strstr(route->path, "{reference}") != NULL) {
		yyjson_mut_val *parameter = yyjson_mut_arr_add_obj(doc, parameters);

		yyjson_mut_obj_add_str(doc, parameter, "name", "reference");
		yyjson_mut_obj_add_str(doc, parameter, "in", "path");
		yyjson_mut_obj_add_bool(doc, parameter, "required", true);
		yyjson_mut_obj_add_str(doc, parameter, "description", "a name, or digits: an id");
		yyjson_mut_obj_add_str(doc, yyjson_mut_obj_add_obj(doc, parameter, "schema"), "type", "string");
	}
	for (const struct field *f = route->queries; f != NULL && f->name != NULL; f++)
		add_query(doc, parameters, f);
	for (const struct field *f = shape->fields; route->has_filters && f->name != NULL; f++)
		if (shape_is_filter(f))
			add_query(doc, parameters, f);
}

/* The schema of a body or an answer of this form. */
static yyjson_mut_val *
describe_form(yyjson_mut_doc *doc, const struct shape *shape, enum api_form form, const struct field *more,
	      bool is_shown)
{
	yyjson_mut_val *schema = yyjson_mut_obj(doc);
	char name[NAME_BYTES];

	if (form == API_FIELDS)
		return describe_object(doc, more, NULL, is_shown ? VIEW_SHOWN : VIEW_NEW, false);
	if (form == API_OBJECT) {
		yyjson_mut_obj_add_str(doc, schema, "type", "object");
		return schema;
	}
	if (more != NULL)
		return describe_object(doc, shape->fields, more, is_shown ? VIEW_SHOWN : VIEW_NEW, is_shown);
	snprintf(name, sizeof(name), "%s%s", shape->name,
		 form == API_NOUN_LIST ? ".list" : is_shown ? "" : form == API_NEW_NOUN ? ".new" : ".change");
	add_reference(doc, schema, "schemas", name);
	return schema;
}

static void
add_body(yyjson_mut_doc *doc, yyjson_mut_val *operation, const struct api_route *route,
	 const struct shape *shape)
{
	yyjson_mut_val *body, *content;

	if (route->takes == API_FIELDS && route->members == NULL)
		return;
	body = yyjson_mut_obj_add_obj(doc, operation, "requestBody");
	yyjson_mut_obj_add_bool(doc, body, "required", true);
	content = yyjson_mut_obj_add_obj(doc, body, "content");
	content = yyjson_mut_obj_add_obj(doc, content, "application/json");
	yyjson_mut_obj_add_val(doc, content, "schema",
			       describe_form(doc, shape, route->takes, route->members, false));
}

static void
add_answer(yyjson_mut_doc *doc, yyjson_mut_val *responses, const char *status,
	   const struct api_route *route, const struct shape *shape)
{
	yyjson_mut_val *answer = yyjson_mut_obj_add_obj(doc, responses, status), *content;
	bool is_text = route->tells == API_TEXT;

	yyjson_mut_obj_add_str(doc, answer, "description", strcmp(status, "201") == 0 ? "made" : "done");
	content = yyjson_mut_obj_add_obj(doc, answer, "content");
	content = yyjson_mut_obj_add_obj(doc, content, is_text ? "text/plain" : "application/json");
	if (!is_text)
		yyjson_mut_obj_add_val(doc, content, "schema",
				       describe_form(doc, shape, route->tells, route->told, true));
}

static void
add_responses(yyjson_mut_doc *doc, yyjson_mut_val *operation, const struct api_route *route,
	      const struct shape *shape)
{
	yyjson_mut_val *responses = yyjson_mut_obj_add_obj(doc, operation, "responses");
	bool is_put = strcmp(route->method, "PUT") == 0;

	if (route->takes != API_NEW_NOUN)
		add_answer(doc, responses, "200", route, shape);
	if (route->takes == API_NEW_NOUN || is_put)
		add_answer(doc, responses, "201", route, shape);
	add_reference(doc, yyjson_mut_obj_add_obj(doc, responses, "default"), "responses", "refusal");
}

/* In small letters, as OpenAPI has them. */
static void
emit_method(const char *method, char text[NAME_BYTES])
{
	size_t len = strlen(method);

	CHECK(len < NAME_BYTES);
	for (size_t i = 0; i < len; i++)
		text[i] = (char)(method[i] | 0x20);
	text[len] = '\0';
}

static void
add_operation(yyjson_mut_doc *doc, yyjson_mut_val *item, const struct api_route *route,
	      const struct shape *shape)
{
	yyjson_mut_val *operation = yyjson_mut_obj(doc), *security;
	char text[NAME_BYTES];

	emit_method(route->method, text);
	if (yyjson_mut_obj_get(item, text) != NULL)
		return; /* a noun's own row stands before the general one */
	yyjson_mut_obj_add(item, yyjson_mut_strcpy(doc, text), operation);
	if (strstr(route->path, "{nouns}") != NULL)
		snprintf(text, sizeof(text), "%s_%s", route->name, shape->name);
	else
		snprintf(text, sizeof(text), "%s", route->name);
	yyjson_mut_obj_add_strcpy(doc, operation, "operationId", text);
	yyjson_mut_obj_add_str(doc, operation, "summary", route->summary);
	security = yyjson_mut_obj_add_arr(doc, operation, "security");
	if (route->role != API_ANYBODY)
		yyjson_mut_obj_add_arr(doc, yyjson_mut_arr_add_obj(doc, security),
				       route->role == API_ADMIN ? "admin" : "read_only");
	add_parameters(doc, operation, route, shape);
	add_body(doc, operation, route, shape);
	add_responses(doc, operation, route, shape);
}

/* The item of the path, which is made with its first method. */
static yyjson_mut_val *
item_of(yyjson_mut_doc *doc, yyjson_mut_val *paths, const char *path)
{
	yyjson_mut_val *item = yyjson_mut_obj_get(paths, path);

	if (item != NULL)
		return item;
	item = yyjson_mut_obj(doc);
	yyjson_mut_obj_add(paths, yyjson_mut_strcpy(doc, path), item);
	return item;
}

static void
add_route(yyjson_mut_doc *doc, yyjson_mut_val *paths, const struct api_route *route, enum noun noun)
{
	const char *nouns = strstr(route->path, "{nouns}");
	const struct shape *shape = shape_of(noun);
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s", route->path);
	if (nouns != NULL)
		snprintf(path, sizeof(path), "%.*s%s%s", (int)(nouns - route->path), route->path,
			 shape->plural, nouns + strlen("{nouns}"));
	add_operation(doc, item_of(doc, paths, path), route, shape);
}

static void
add_paths(yyjson_mut_doc *doc, yyjson_mut_val *paths)
{
	const struct api_route *route;

	for (size_t at = 0; (route = api_route(at)) != NULL; at++) {
		if (strstr(route->path, "{nouns}") == NULL)
			add_route(doc, paths, route, route->noun);
		for (int i = 0; strstr(route->path, "{nouns}") != NULL && i < NOUN_COUNT; i++)
			add_route(doc, paths, route, (enum noun)i);
	}
}

static void
add_security(yyjson_mut_doc *doc, yyjson_mut_val *components)
{
	static const struct {
		const char *name;
		const char *help;
	} schemes[] = { { "admin", "the token in admin.token_file" },
			{ "read_only", "the token in admin.read_only_token_file, or the other one" } };
	yyjson_mut_val *all = yyjson_mut_obj_add_obj(doc, components, "securitySchemes");

	for (size_t i = 0; i < COUNT_OF(schemes); i++) {
		yyjson_mut_val *scheme = yyjson_mut_obj_add_obj(doc, all, schemes[i].name);

		yyjson_mut_obj_add_str(doc, scheme, "type", "http");
		yyjson_mut_obj_add_str(doc, scheme, "scheme", "bearer");
		yyjson_mut_obj_add_str(doc, scheme, "description", schemes[i].help);
	}
}

static void
add_refusal(yyjson_mut_doc *doc, yyjson_mut_val *components)
{
	yyjson_mut_val *responses = yyjson_mut_obj_add_obj(doc, components, "responses");
	yyjson_mut_val *refusal = yyjson_mut_obj_add_obj(doc, responses, "refusal"), *content;

	yyjson_mut_obj_add_str(doc, refusal, "description",
			       "400 the call is wrong; 401 no token, or none that is known; 403 the token may "
			       "only read; 404 no such object or address; 405 the address has other methods "
			       "(Allow); 409 it would contradict another object; 413 the body is too large; "
			       "500 the store failed");
	content = yyjson_mut_obj_add_obj(doc, refusal, "content");
	content = yyjson_mut_obj_add_obj(doc, content, "application/json");
	add_reference(doc, yyjson_mut_obj_add_obj(doc, content, "schema"), "schemas", "error");
}

yyjson_mut_val *
openapi_make(yyjson_mut_doc *doc)
{
	yyjson_mut_val *root = yyjson_mut_obj(doc), *info, *components;

	yyjson_mut_obj_add_str(doc, root, "openapi", "3.1.0");
	info = yyjson_mut_obj_add_obj(doc, root, "info");
	yyjson_mut_obj_add_str(doc, info, "title", "Sluice admin API");
	yyjson_mut_obj_add_str(doc, info, "version", "1");
	yyjson_mut_obj_add_str(doc, info, "description",
			       "Money is in integer nano-dollars. Of an address with an id, the id is digits.");
	add_paths(doc, yyjson_mut_obj_add_obj(doc, root, "paths"));
	components = yyjson_mut_obj_add_obj(doc, root, "components");
	add_schemas(doc, yyjson_mut_obj_add_obj(doc, components, "schemas"));
	add_refusal(doc, components);
	add_security(doc, components);
	return root;
}
