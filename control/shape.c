/* Adding a member to the API is one line here and one migration. */
#include "shape.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "config/value.h"
#include "pin.h"
#include "meter/money.h"

#define NANO_MAX INT64_C(1000000000000000) /* a million dollars per unit of a price */
#define MODEL_NAME_BYTES_MAX 190
#define TIME_MAX_S INT64_C(9000000000)
#define FIELDS_MAX 32 /* of one object */

/* --- what texts may be ------------------------------------------------------------------- */

#define LETTERS_AND_DIGITS "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define NAME_PATTERN "^[0-9A-Za-z._@+-]*[A-Za-z._@+-][0-9A-Za-z._@+-]*$"
#define MODEL_PATTERN "^[0-9A-Za-z._@+:/-]*[A-Za-z._@+:/-][0-9A-Za-z._@+:/-]*$"
#define PATH_PATTERN "^(/[^ ?#\"\\\\]*)?$"
#define VISIBLE_PATTERN "^[ -~]*$"

bool
shape_is_all_digits(struct bytes text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
	return text.len > 0;
}

/* How many bytes the character is long whose first byte this is; 0: none begins so. */
static size_t
character_bytes(uint8_t first)
{
	return first < 0x80 ? 1 : first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3
	       : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

/* RFC 3629, section 4: the second byte tells overlong forms, surrogates and what is beyond U+10FFFF. */
static bool
is_second(uint8_t first, uint8_t second)
{
	return second >= (first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80) &&
	       second <= (first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf);
}

bool
shape_is_text(struct bytes text)
{
	for (size_t i = 0, len; i < text.len; i += len) {
		len = character_bytes(text.ptr[i]);
		if (len == 0 || len > text.len - i || text.ptr[i] < ' ' || text.ptr[i] == 0x7f ||
		    (len > 1 && !is_second(text.ptr[i], text.ptr[i + 1])))
			return false;
		for (size_t j = 2; j < len; j++)
			if ((text.ptr[i + j] & 0xc0) != 0x80)
				return false;
	}
	return true;
}

static bool
is_made_of(struct bytes text, const char *allowed)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] == '\0' || strchr(allowed, text.ptr[i]) == NULL)
			return false;
	return true;
}

static const char *
check_name(struct bytes text)
{
	if (text.len == 0)
		return "is empty";
	if (!is_made_of(text, LETTERS_AND_DIGITS "._@+-"))
		return "has a character other than letters, digits and . _ @ + -";
	return shape_is_all_digits(text) ? "is of digits only, as an id is" : NULL;
}

/* "meta-llama/Llama-3.1-8B-Instruct", and the deployments that are named after such. */
static const char *
check_model_name(struct bytes text)
{
	if (text.len == 0)
		return "is empty";
	if (!is_made_of(text, LETTERS_AND_DIGITS "._@+:/-"))
		return "has a character other than letters, digits and . _ @ + : / -";
	return shape_is_all_digits(text) ? "is of digits only, as an id is" : NULL;
}

/* Digits are no id here: what stands before the ':' of "<name>:<id>". */
static const char *
check_instance_name(struct bytes text)
{
	return shape_is_all_digits(text) ? NULL : check_model_name(text);
}

static bool
is_ip_address(struct bytes text)
{
	char copy[INET6_ADDRSTRLEN + 1] = "";
	uint8_t address[16];

	if (text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.ptr, text.len);
	return inet_pton(AF_INET, copy, address) == 1 || inet_pton(AF_INET6, copy, address) == 1;
}

/* RFC 1123, section 2.1: letters, digits and hyphens, which stand at neither end. */
static bool
is_label(struct bytes text)
{
	return text.len > 0 && text.len <= 63 && is_made_of(text, LETTERS_AND_DIGITS "-") && text.ptr[0] != '-' &&
	       text.ptr[text.len - 1] != '-';
}

/* The last label of a host name is not all digits (RFC 1123, section 2.1), so that 10.0.0.256 is none. */
static const char *
check_address(struct bytes text)
{
	size_t begin = 0;

	if (is_ip_address(text))
		return NULL;
	for (size_t i = 0; i <= text.len; i++) {
		if (i < text.len && text.ptr[i] != '.')
			continue;
		if (!is_label(bytes_make(text.ptr + begin, i - begin)) ||
		    (i == text.len && shape_is_all_digits(bytes_make(text.ptr + begin, i - begin))))
			return "is neither an IP address nor a host name";
		begin = i + 1;
	}
	return NULL;
}

static const char *
check_tls_name(struct bytes text)
{
	return text.len == 0 ? NULL : check_address(text);
}

static const char *
check_pin(struct bytes text)
{
	uint8_t pins[SHM_POD_PINS_MAX][32];

	return pin_parse(text, pins) >= 0 ? NULL : "is not sha256//BASE64, or two of them with ; between";
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
static const char *const schemes[] = { "http", "https", NULL };
static const char *const pod_states[] = { "ready", "drain", "maint", NULL };
static const char *const policies[] = { "round-robin", "least-loaded", "prefix", NULL };
static const char *const resends[] = { "until-first-byte", "never-sent", NULL };

#define NAME(bytes)                                                                                \
	{ .name = "name", .column = "name", .kind = FIELD_TEXT, .flags = FIELD_REQUIRED, .max = (bytes), \
	  .min = 1, .check = check_name, .pattern = NAME_PATTERN, .help = "unique, and not only digits" }
#define MODEL_NAME(bytes)                                                                          \
	{ .name = "name", .column = "name", .kind = FIELD_TEXT, .flags = FIELD_REQUIRED, .max = (bytes), \
	  .min = 1, .check = check_model_name, .pattern = MODEL_PATTERN,                           \
	  .help = "unique, and not only digits" }
#define SHOWN(field, expression, text)                                                             \
	{ .name = field, .column = expression, .kind = FIELD_NUMBER, .flags = FIELD_READ_ONLY,     \
	  .max = INT64_MAX, .min = INT64_MIN, .help = text }
#define NUMBER(field, low, high, text)                                                             \
	{ .name = field, .column = field, .kind = FIELD_NUMBER, .min = (low), .max = (high), .help = text }
#define CREATED_AT SHOWN("created_at", "created_at", "Unix time")
/* How requests for a model or an instance are routed. */
#define ROUTING                                                                                    \
	{ .name = "policy", .column = "policy", .kind = FIELD_CHOICE, .choices = policies,         \
	  .help = "how a pod is chosen" },                                                         \
	{ .name = "resend", .column = "resend", .kind = FIELD_CHOICE, .choices = resends,          \
	  .help = "until when a failed request is sent again" },                                   \
	{ .name = "retry_percent", .column = "retry_percent", .kind = FIELD_NUMBER,                \
	  .flags = FIELD_NULLABLE, .max = 100,                                                     \
	  .help = "further tries per hundred requests; null: as configured" },                     \
	NUMBER("connect_ms", 0, 3600000, "to connect to a pod; 0: as configured"),                 \
	NUMBER("response_head_ms", 0, 86400000, "to its answer's head; 0: as configured"),         \
	NUMBER("first_event_ms", 0, 86400000, "to a stream's first event; 0: as configured"),      \
	NUMBER("between_events_ms", 0, 86400000, "between two of them; 0: as configured"),         \
	NUMBER("request_ms", 0, 86400000, "for a whole request; 0: as configured"),                \
	NUMBER("hold_tokens", 0, 100000000, "held for an answer without max_tokens; 0: as configured"),    \
	NUMBER("tls_ms", 0, 3600000, "to the end of an https pod's TLS handshake; 0: as configured")

static const struct field account_fields[] = {
	NAME(64),
	{ .name = "suspended", .column = "suspended", .kind = FIELD_FLAG, .help = "its keys are refused" },
	SHOWN("balance_nano", "credited_nano - spent_nano", "what it has, in nano-dollars"),
	SHOWN("credited_nano", "credited_nano", "all top-ups together"),
	SHOWN("spent_nano", "spent_nano", "all costs in the ledger together"),
	CREATED_AT,
	{ 0 },
};

static const struct field plan_fields[] = {
	NAME(64),
	NUMBER("requests_per_minute", 0, 60000000, "of a key; 0: as its surface has it"),
	NUMBER("burst", 0, 100000000, "requests at once; 0: as many as per minute"),
	NUMBER("tokens_per_minute", 0, 100000000, "of a key, prompt and completion; 0: no limit"),
	NUMBER("token_burst", 0, 100000000, "tokens at once; 0: as many as per minute"),
	NUMBER("concurrent_requests", 0, 1000000, "of the key's account in flight; 0: no limit"),
	NUMBER("body_bytes", 0, INT64_C(1) << 40, "longest request body; 0: as the surface has it"),
	{ 0 },
};

static const struct field price_fields[] = {
	NAME(64),
	{ .name = "input_nano_per_mtoken", .column = "input_nano_per_mtoken", .kind = FIELD_NUMBER,
	  .flags = FIELD_REQUIRED, .max = NANO_MAX, .help = "nano-dollars per million prompt tokens" },
	{ .name = "output_nano_per_mtoken", .column = "output_nano_per_mtoken",
	  .kind = FIELD_NUMBER, .flags = FIELD_REQUIRED, .max = NANO_MAX,
	  .help = "nano-dollars per million completion tokens" },
	NUMBER("request_nano", 0, NANO_MAX,
	       "nano-dollars per request: beside tokens, of the pass-through, and where the unit has no rate"),
	NUMBER("image_nano", 0, NANO_MAX, "nano-dollars per image made"),
	NUMBER("second_nano", 0, NANO_MAX, "nano-dollars per second of audio or video"),
	NUMBER("character_nano_per_million", 0, NANO_MAX, "nano-dollars per million characters spoken"),
	NUMBER("byte_nano_per_million", 0, NANO_MAX,
	       "nano-dollars per million bytes of audio whose length the answer does not tell"),
	SHOWN("version", "version", "counts the changes; a request is billed at its admission's"),
	{ 0 },
};

static const struct field region_fields[] = { NAME(46), { 0 } };

static const struct field pod_fields[] = {
	NAME(64),
	{ .name = "address", .column = "address", .kind = FIELD_TEXT, .flags = FIELD_REQUIRED,
	  .max = SHAPE_ADDRESS_BYTES_MAX, .min = 1, .check = check_address,
	  .help = "IPv4 or IPv6 address, or a DNS name, looked up again and again" },
	{ .name = "port", .column = "port", .kind = FIELD_NUMBER, .flags = FIELD_REQUIRED, .min = 1,
	  .max = 65535, .help = "TCP port" },
	{ .name = "host", .column = "host", .kind = FIELD_TEXT, .max = SHM_NAME_BYTES - 2,
	  .check = check_field_value, .pattern = VISIBLE_PATTERN,
	  .help = "Host field sent to it; empty: address, or name, and port" },
	{ .name = "credential", .column = "credential", .kind = FIELD_TEXT, .flags = FIELD_SECRET,
	  .max = 190, .check = check_field_value, .pattern = VISIBLE_PATTERN,
	  .help = "Authorization value sent to it; never shown" },
	{ .name = "scheme", .column = "scheme", .kind = FIELD_CHOICE, .choices = schemes,
	  .help = "https: over TLS, and only if it is who tls_ca and tls_pin say" },
	{ .name = "tls_ca", .column = "tls_ca", .kind = FIELD_TEXT, .max = SHM_SHORT_NAME_BYTES - 3,
	  .check = check_field_value, .pattern = VISIBLE_PATTERN,
	  .help = "of tls.authorities, the one its certificate must lead to; empty: only tls_pin counts" },
	{ .name = "tls_name", .column = "tls_name", .kind = FIELD_TEXT, .max = SHAPE_ADDRESS_BYTES_MAX,
	  .check = check_tls_name, .pattern = VISIBLE_PATTERN,
	  .help = "name that its certificate must have, and that it is asked for; empty: address" },
	{ .name = "tls_pin", .column = "tls_pin", .kind = FIELD_TEXT, .max = 128, .check = check_pin,
	  .pattern = PIN_PATTERN,
	  .help = "sha256//BASE64 of its public key, two with ; between; empty: only tls_ca counts" },
	{ .name = "state", .column = "state", .kind = FIELD_CHOICE, .choices = pod_states,
	  .help = "drain: nothing new; maint: nothing at all" },
	{ .name = "running_usage", .column = "running_usage", .kind = FIELD_FLAG,
	  .help = "it can report usage in every event" },
	{ .name = "probe_path", .column = "probe_path", .kind = FIELD_TEXT, .max = 128,
	  .check = check_path, .pattern = PATH_PATTERN, .help = "of its health probe; empty: as configured" },
	{ .name = "metrics_path", .column = "metrics_path", .kind = FIELD_TEXT, .max = 128,
	  .check = check_path, .pattern = PATH_PATTERN,
	  .help = "where vLLM or SGLang tell their load (/metrics); empty: not asked" },
	NUMBER("probe_interval_ms", 0, 3600000, "0: as configured"),
	NUMBER("probe_timeout_ms", 0, 600000, "0: as configured"),
	NUMBER("rise", 0, 100, "good probes that bring it up; 0: as configured"),
	NUMBER("fall", 0, 100, "bad probes that take it down; 0: as configured"),
	{ 0 },
};

static const struct field deployment_fields[] = {
	MODEL_NAME(240),
	{ .name = "model", .column = "model_id", .kind = FIELD_REFERENCE, .flags = FIELD_NULLABLE,
	  .target = NOUN_MODEL, .help = "what it deploys: a model, or" },
	{ .name = "instance", .column = "instance_id", .kind = FIELD_REFERENCE, .flags = FIELD_NULLABLE,
	  .target = NOUN_INSTANCE, .help = "an instance" },
	{ .name = "region", .column = "region_id", .kind = FIELD_REFERENCE, .flags = FIELD_REQUIRED,
	  .target = NOUN_REGION, .help = "where" },
	NUMBER("position", 0, 1000000, "order of preference; smaller is earlier"),
	{ .name = "served_name", .column = "served_name", .kind = FIELD_TEXT, .max = 190,
	  .help = "what `model` becomes for the backend; empty: it stays" },
	{ .name = "base_path", .column = "base_path", .kind = FIELD_TEXT, .max = 190,
	  .check = check_base_path, .pattern = PATH_PATTERN, .help = "put before /v1/..., such as /142" },
	{ .name = "pods", .column = "0", .kind = FIELD_POD_LIST, .max = FIELD_PODS_MAX,
	  .help = "names of its pods" },
	{ 0 },
};

static const struct field model_fields[] = {
	MODEL_NAME(MODEL_NAME_BYTES_MAX),
	{ .name = "price", .column = "price_id", .kind = FIELD_REFERENCE, .flags = FIELD_NULLABLE,
	  .target = NOUN_PRICE, .help = "null: its requests are answered 402" },
	ROUTING,
	CREATED_AT,
	{ 0 },
};

static const struct field alias_fields[] = {
	MODEL_NAME(MODEL_NAME_BYTES_MAX),
	{ .name = "model", .column = "model_id", .kind = FIELD_REFERENCE, .flags = FIELD_REQUIRED,
	  .target = NOUN_MODEL, .help = "the model that it stands for" },
	{ 0 },
};

static const struct field instance_fields[] = {
	{ .name = "name", .column = "name", .kind = FIELD_TEXT, .flags = FIELD_REQUIRED,
	  .max = MODEL_NAME_BYTES_MAX, .min = 1, .check = check_instance_name,
	  .pattern = "^[0-9A-Za-z._@+:/-]+$", .help = "what stands before the ':'; need not be unique" },
	{ .name = "account", .column = "account_id", .kind = FIELD_REFERENCE, .flags = FIELD_REQUIRED,
	  .target = NOUN_ACCOUNT, .help = "its owner" },
	{ .name = "price", .column = "price_id", .kind = FIELD_REFERENCE, .flags = FIELD_NULLABLE,
	  .target = NOUN_PRICE, .help = "null: its requests are answered 402" },
	{ .name = "state", .column = "state", .kind = FIELD_CHOICE, .choices = instance_states,
	  .help = "only a running one is served" },
	ROUTING,
	CREATED_AT,
	{ 0 },
};

static const struct field key_fields[] = {
	{ .name = "name", .column = "name", .kind = FIELD_TEXT, .max = 64, .help = "a label" },
	{ .name = "prefix", .column = "prefix", .kind = FIELD_TEXT, .flags = FIELD_READ_ONLY,
	  .max = 64, .help = "enough of its text to recognise it" },
	{ .name = "surface", .column = "surface", .kind = FIELD_CHOICE,
	  .flags = FIELD_FIXED | FIELD_REQUIRED, .choices = surfaces, .help = "where it is taken" },
	{ .name = "account", .column = "account_id", .kind = FIELD_REFERENCE,
	  .flags = FIELD_FIXED | FIELD_REQUIRED, .target = NOUN_ACCOUNT, .help = "who pays" },
	{ .name = "plan", .column = "plan_id", .kind = FIELD_REFERENCE, .flags = FIELD_REQUIRED,
	  .target = NOUN_PLAN, .help = "its limits" },
	{ .name = "revoked", .column = "revoked", .kind = FIELD_FLAG, .help = "no request is let in with it" },
	{ .name = "expires_at", .column = "expires_at", .kind = FIELD_NUMBER, .flags = FIELD_NULLABLE,
	  .max = TIME_MAX_S, .help = "Unix time when it is revoked; null: never" },
	CREATED_AT,
	{ 0 },
};

static const struct shape shapes[NOUN_COUNT] = {
	[NOUN_ACCOUNT] = { "account", "accounts", "who pays: a balance and keys", account_fields, true },
	[NOUN_PLAN] = { "plan", "plans", "limits of keys", plan_fields, true },
	[NOUN_PRICE] = { "price", "prices", "each change is a new version", price_fields, true },
	[NOUN_REGION] = { "region", "regions", "where backends are", region_fields, true },
	[NOUN_POD] = { "pod", "pods", "one backend: address, port, health", pod_fields, true },
	[NOUN_DEPLOYMENT] = { "deployment", "deployments", "a model or an instance in one region",
			      deployment_fields, true },
	[NOUN_MODEL] = { "model", "models", "a platform model", model_fields, true },
	[NOUN_ALIAS] = { "alias", "aliases", "a further name of a model", alias_fields, true },
	[NOUN_INSTANCE] = { "instance", "instances", "an account's own model, called <name>:<id>",
			    instance_fields, false },
	[NOUN_KEY] = { "key", "keys", "what requests are let in with; its text is shown once", key_fields,
		       false },
};

const struct shape *
shape_of(enum noun noun)
{
	CHECK((unsigned int)noun < NOUN_COUNT);
	return &shapes[noun];
}

const struct field *
shape_field(const struct field *fields, const char *name)
{
	for (const struct field *f = fields; f->name != NULL; f++)
		if (strcmp(f->name, name) == 0)
			return f;
	return NULL;
}

const char *
shape_nearest(const struct field *fields, const char *name)
{
	const char *names[FIELDS_MAX + 1];
	size_t count = 0;

	for (const struct field *f = fields; f->name != NULL; f++) {
		CHECK(count < FIELDS_MAX);
		if ((f->flags & FIELD_READ_ONLY) == 0)
			names[count++] = f->name;
	}
	names[count] = NULL;
	/* "amount" for "amount_nano": far apart as letters go, and still plain. */
	for (size_t i = 0, len = strlen(name); len >= 3 && i < count; i++)
		if (strncmp(names[i], name, len) == 0)
			return names[i];
	return value_nearest(name, names);
}

const char *
shape_check_name(enum noun noun, struct bytes name)
{
	const struct field *f = shape_field(shapes[noun].fields, "name");

	return name.len > (size_t)f->max ? "is too long" : f->check(name);
}

/* --- what a body may say ----------------------------------------------------------------- */

__attribute__((format(printf, 2, 3)))
static bool
say(char problem[SHAPE_PROBLEM_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem, SHAPE_PROBLEM_BYTES, format, arguments);
	va_end(arguments);
	return false;
}

static bool
say_unknown(const struct field *fields, const char *owner, const char *name,
	    char problem[SHAPE_PROBLEM_BYTES])
{
	const struct field *f = shape_field(fields, name);
	const char *nearest = shape_nearest(fields, name);

	if (f != NULL)
		return say(problem, "%s of %s can only be read", f->name, owner);
	if (nearest != NULL)
		return say(problem, "%s has no member \"%.64s\"; did you mean \"%s\"?", owner, name, nearest);
	return say(problem, "%s has no member \"%.64s\"", owner, name);
}

bool
shape_has_only(const struct field *fields, const char *owner, yyjson_val *object,
	       char problem[SHAPE_PROBLEM_BYTES])
{
	yyjson_val *name, *value;
	size_t at, count;
	uint32_t seen = 0;

	CHECK_STATIC(FIELDS_MAX <= 32, "a bit for each");
	yyjson_obj_foreach(object, at, count, name, value) {
		const struct field *f = shape_field(fields, yyjson_get_str(name));
		uint32_t bit;

		if (f == NULL || (f->flags & FIELD_READ_ONLY) != 0 ||
		    strlen(f->name) != yyjson_get_len(name))
			return say_unknown(fields, owner, yyjson_get_str(name), problem);
		bit = UINT32_C(1) << (f - fields);
		if ((seen & bit) != 0)
			return say(problem, "%s stands twice", f->name);
		seen |= bit;
	}
	return true;
}

static bool
fits_text(const struct field *f, yyjson_val *value, char problem[SHAPE_PROBLEM_BYTES])
{
	struct bytes text = bytes_make(yyjson_get_str(value), yyjson_get_len(value));
	const char *wrong;

	if (!yyjson_is_str(value))
		return say(problem, "%s is not a string", f->name);
	if (text.len > (size_t)f->max)
		return say(problem, "%s is longer than %lld bytes", f->name, (long long)f->max);
	if (!shape_is_text(text))
		return say(problem, "%s has a control character", f->name);
	wrong = f->check != NULL ? f->check(text) : NULL;
	return wrong == NULL || say(problem, "%s %s", f->name, wrong);
}

static bool
fits_number(const struct field *f, yyjson_val *value, char problem[SHAPE_PROBLEM_BYTES])
{
	int64_t number = yyjson_get_sint(value);
	char min[MONEY_TEXT_BYTES], max[MONEY_TEXT_BYTES];

	if (yyjson_is_int(value) && (!yyjson_is_uint(value) || yyjson_get_uint(value) <= INT64_MAX) &&
	    number >= f->min && number <= f->max)
		return true;
	if (strstr(f->name, "_nano") == NULL)
		return say(problem, "%s is not an integer from %lld to %lld", f->name, (long long)f->min,
			   (long long)f->max);
	money_emit(f->min, min);
	money_emit(f->max, max);
	return say(problem, "%s is not from %s to %s dollars, in whole nano-dollars", f->name, min, max);
}

bool
shape_is_filter(const struct field *field)
{
	return field->kind != FIELD_NUMBER && field->kind != FIELD_POD_LIST && (field->flags & FIELD_SECRET) == 0;
}

const char *
shape_choice_name(const struct field *field, int64_t number)
{
	for (int64_t i = 0; field->choices[i] != NULL; i++)
		if (i == number)
			return field->choices[i];
	return NULL;
}

int
shape_choice_of(const struct field *field, const char *text)
{
	for (int i = 0; field->choices[i] != NULL; i++)
		if (strcmp(text, field->choices[i]) == 0)
			return i;
	return -1;
}

int
shape_choice(const struct field *field, yyjson_val *value)
{
	return yyjson_is_str(value) ? shape_choice_of(field, yyjson_get_str(value)) : -1;
}

static bool
fits_choice(const struct field *f, yyjson_val *value, char problem[SHAPE_PROBLEM_BYTES])
{
	char all[128] = "";
	size_t len = 0;

	if (shape_choice(f, value) >= 0)
		return true;
	for (int i = 0; f->choices[i] != NULL; i++) {
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", i > 0 ? ", " : "",
					f->choices[i]);
		CHECK(len < sizeof(all));
	}
	return say(problem, "%s is none of %s", f->name, all);
}

bool
shape_fits(const struct field *f, yyjson_val *value, char problem[SHAPE_PROBLEM_BYTES])
{
	if (yyjson_is_null(value))
		return (f->flags & FIELD_NULLABLE) != 0 || say(problem, "%s cannot be null", f->name);
	switch (f->kind) {
	case FIELD_TEXT:
		return fits_text(f, value, problem);
	case FIELD_NUMBER:
		return fits_number(f, value, problem);
	case FIELD_FLAG:
		return yyjson_is_bool(value) || say(problem, "%s is neither true nor false", f->name);
	case FIELD_CHOICE:
		return fits_choice(f, value, problem);
	case FIELD_REFERENCE:
		return yyjson_is_uint(value) ||
		       (yyjson_is_str(value) &&
			shape_is_text(bytes_make(yyjson_get_str(value), yyjson_get_len(value)))) ||
		       say(problem, "%s is neither a name nor an id", f->name);
	case FIELD_POD_LIST:
		return (yyjson_is_arr(value) && yyjson_arr_size(value) <= (size_t)f->max) ||
		       say(problem, "%s is not a list of at most %lld", f->name, (long long)f->max);
	}
	return false;
}

/* --- names of nouns ---------------------------------------------------------------------- */

const char *
noun_name(enum noun noun)
{
	return shape_of(noun)->name;
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
	return shape_of(noun)->plural;
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
