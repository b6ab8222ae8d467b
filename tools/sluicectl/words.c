#include "words.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "meter/money.h"

static const struct word account_words[] = {
	{ "suspended", "suspended", WORD_FLAG, "refuse its requests" },
	{ 0 },
};

static const struct word plan_words[] = {
	{ "requests-per-minute", "requests_per_minute", WORD_NUMBER, "0: as the key's surface has it" },
	{ "burst", "burst", WORD_NUMBER, "requests at once; 0: as many as per minute" },
	{ "tokens-per-minute", "tokens_per_minute", WORD_NUMBER, "prompt and completion; 0: no limit" },
	{ "token-burst", "token_burst", WORD_NUMBER, "tokens at once; 0: as many as per minute" },
	{ "concurrent-requests", "concurrent_requests", WORD_NUMBER,
	  "of the key's account in flight; 0: no limit" },
	{ "body-bytes", "body_bytes", WORD_NUMBER, "longest request body; 0: as the key's surface has it" },
	{ 0 },
};

static const struct word price_words[] = {
	{ "input", "input_nano_per_mtoken", WORD_DOLLARS, "dollars per million prompt tokens" },
	{ "output", "output_nano_per_mtoken", WORD_DOLLARS,
	  "dollars per million completion tokens" },
	{ "request", "request_nano", WORD_DOLLARS, "dollars per request" },
	{ "image", "image_nano", WORD_DOLLARS, "dollars per image made" },
	{ "second", "second_nano", WORD_DOLLARS, "dollars per second of audio or video" },
	{ "characters", "character_nano_per_million", WORD_DOLLARS,
	  "dollars per million characters spoken" },
	{ "bytes", "byte_nano_per_million", WORD_DOLLARS,
	  "dollars per million bytes of audio whose length the answer does not tell" },
	{ 0 },
};

static const struct word region_words[] = { { 0 } };

static const struct word pod_words[] = {
	{ "address", "address", WORD_TEXT, "IPv4 or IPv6 address, or a DNS name, looked up again and again" },
	{ "port", "port", WORD_NUMBER, "TCP port" },
	{ "host", "host", WORD_TEXT, "Host field sent to it; empty: address, or name, and port" },
	{ "credential", "credential", WORD_SECRET, "Authorization value sent to it; never shown again" },
	{ "scheme", "scheme", WORD_TEXT, "http, or https: over TLS, if it is who the next ones say" },
	{ "tls-ca", "tls_ca", WORD_TEXT, "of tls.authorities, which its certificate must lead to" },
	{ "tls-name", "tls_name", WORD_TEXT, "that its certificate must have; empty: address" },
	{ "tls-pin", "tls_pin", WORD_TEXT, "sha256//BASE64 of its public key; two with ; between" },
	{ "state", "state", WORD_TEXT, "ready, drain or maint" },
	{ "running-usage", "running_usage", WORD_FLAG, "it can report usage in every event" },
	{ "probe-path", "probe_path", WORD_TEXT, "of its health probe; empty: the configured one" },
	{ "metrics-path", "metrics_path", WORD_TEXT, "where vLLM or SGLang tell their load (/metrics)" },
	{ "probe-interval-ms", "probe_interval_ms", WORD_NUMBER, "0: as configured" },
	{ "probe-timeout-ms", "probe_timeout_ms", WORD_NUMBER, "0: as configured" },
	{ "rise", "rise", WORD_NUMBER, "good probes that bring it up; 0: as configured" },
	{ "fall", "fall", WORD_NUMBER, "bad probes that take it down; 0: as configured" },
	{ 0 },
};

#define ROUTING_WORDS                                                                              \
	{ "policy", "policy", WORD_TEXT, "round-robin, least-loaded or prefix" },                  \
	{ "resend", "resend", WORD_TEXT,                                                           \
	  "after a failed try: until-first-byte of the answer, or never-sent" },                   \
	{ "retry-percent", "retry_percent", WORD_NUMBER,                                           \
	  "further tries per hundred requests; none: as configured" },                             \
	{ "connect-ms", "connect_ms", WORD_NUMBER, "to connect to a pod; 0: as configured" },      \
	{ "response-head-ms", "response_head_ms", WORD_NUMBER, "to its answer's head; 0: as configured" }, \
	{ "first-event-ms", "first_event_ms", WORD_NUMBER, "to a stream's first event; 0: as configured" }, \
	{ "between-events-ms", "between_events_ms", WORD_NUMBER, "between two of them; 0: as configured" }, \
	{ "request-ms", "request_ms", WORD_NUMBER, "for a whole request; 0: as configured" },     \
	{ "hold-tokens", "hold_tokens", WORD_NUMBER,                                               \
	  "held for an answer without max_tokens; 0: as configured" },                             \
	{ "tls-ms", "tls_ms", WORD_NUMBER, "to the end of an https pod's TLS handshake; 0: as configured" }

static const struct word model_words[] = {
	{ "price", "price", WORD_TEXT, "name of a price; none: answered 402" },
	ROUTING_WORDS,
	{ 0 },
};

static const struct word alias_words[] = {
	{ "model", "model", WORD_TEXT, "the model that it stands for" },
	{ 0 },
};

static const struct word instance_words[] = {
	{ "name", "name", WORD_TEXT, "what stands before the ':'" },
	{ "account", "account", WORD_TEXT, "its owner" },
	{ "price", "price", WORD_TEXT, "name of a price; none: answered 402" },
	{ "state", "state", WORD_TEXT, "running, stopped or credit_depleted" },
	ROUTING_WORDS,
	{ 0 },
};

static const struct word deployment_words[] = {
	{ "model", "model", WORD_TEXT, "what it deploys: a model, or" },
	{ "instance", "instance", WORD_TEXT, "an instance, by its id" },
	{ "region", "region", WORD_TEXT, "where" },
	{ "position", "position", WORD_NUMBER, "order of preference; smaller is earlier" },
	{ "served-name", "served_name", WORD_TEXT, "what `model` becomes for the backend" },
	{ "base-path", "base_path", WORD_TEXT, "put before /v1/…, such as /142" },
	{ "pods", "pods", WORD_LIST, "names of its pods, with commas" },
	{ 0 },
};

static const struct word key_words[] = {
	{ "name", "name", WORD_TEXT, "a label" },
	{ "account", "account", WORD_TEXT, "who pays" },
	{ "plan", "plan", WORD_TEXT, "its limits" },
	{ "surface", "surface", WORD_TEXT, "ecolink, infer, third or fourth" },
	{ "revoked", "revoked", WORD_FLAG, "no request is let in with it" },
	{ "expires-at", "expires_at", WORD_TIME, "30d from now, or a Unix time; none: never" },
	{ "key", "key", WORD_SECRET, "an existing key's text, instead of a new one" },
	{ 0 },
};

const struct word_noun word_nouns[] = {
	{ "account", "accounts", "who pays: a balance and keys", account_words, "", "acme" },
	{ "plan", "plans", "limits of keys", plan_words, "", "standard --requests-per-minute 200" },
	{ "price", "prices", "of tokens; each change is a new version", price_words, "input output",
	  "small --input 0.15 --output 0.60" },
	{ "region", "regions", "where backends are", region_words, "", "eu" },
	{ "pod", "pods", "one backend: address, port, health", pod_words, "address port",
	  "eu-1 --address 10.0.0.11 --port 8000" },
	{ "model", "models", "platform models", model_words, "", "llama-3.1-8b --price small" },
	{ "alias", "aliases", "further names of models", alias_words, "model", "llama --model llama-3.1-8b" },
	{ "instance", "instances", "users' own deployments, called <name>:<id>", instance_words, "name account",
	  "--name my-llama --account acme --price small" },
	{ "deployment", "deployments", "a model or instance in one region", deployment_words, "region",
	  "llama-eu --model llama-3.1-8b --region eu --pods eu-1" },
	{ "key", "keys", "API keys; their text is shown once", key_words, "account plan surface",
	  "--account acme --plan standard --surface ecolink" },
	{ 0 },
};

const struct word_noun *
word_find_noun(const char *name)
{
	for (const struct word_noun *n = word_nouns; n->name != NULL; n++)
		if (strcmp(n->name, name) == 0 || strcmp(n->plural, name) == 0)
			return n;
	return NULL;
}

bool
word_is_filter(const struct word *word)
{
	return word->kind == WORD_TEXT || word->kind == WORD_FLAG;
}

/* '-' and '_' are the same: catalogues are written with either. */
static bool
is_same(const char *a, const char *b)
{
	for (; *a != '\0' && *b != '\0'; a++, b++)
		if (*a != *b && !(*a == '-' && *b == '_') && !(*a == '_' && *b == '-'))
			return false;
	return *a == *b;
}

const struct word *
word_find(const struct word_noun *noun, const char *name)
{
	for (const struct word *w = noun->words; w->name != NULL; w++)
		if (is_same(w->name, name))
			return w;
	return NULL;
}

static bool
is_yes(const char *text)
{
	return strcmp(text, "yes") == 0 || strcmp(text, "true") == 0;
}

static bool
is_no(const char *text)
{
	return strcmp(text, "no") == 0 || strcmp(text, "false") == 0;
}

const char *
word_query(const struct word *word, const char *text)
{
	if (word->kind != WORD_FLAG || (!is_yes(text) && !is_no(text)))
		return text;
	return is_yes(text) ? "true" : "false";
}

const char *
word_choices(const struct word_noun *noun, const struct word *word)
{
	static const struct {
		const char *noun, *member, *choices; /* noun NULL: any */
	} all[] = {
		{ "pod", "state", "ready drain maint" },
		{ "pod", "scheme", "http https" },
		{ "instance", "state", "running stopped credit_depleted" },
		{ "key", "surface", "ecolink infer third fourth" },
		{ NULL, "policy", "round-robin least-loaded prefix" },
		{ NULL, "resend", "until-first-byte never-sent" },
	};

	if (word->kind == WORD_FLAG)
		return "yes no";
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(all[i].member, word->member) == 0 &&
		    (all[i].noun == NULL || strcmp(all[i].noun, noun->name) == 0))
			return all[i].choices;
	return NULL;
}

bool
word_has_name(const struct word_noun *noun)
{
	return strcmp(noun->name, "key") != 0 && strcmp(noun->name, "instance") != 0;
}

void
word_label(const struct word_noun *noun, const char *member, char *text, size_t size)
{
	const char *nano = strstr(member, "_nano");

	for (const struct word *w = noun != NULL ? noun->words : NULL; w != NULL && w->name != NULL; w++) {
		if (w->kind == WORD_DOLLARS && strcmp(w->member, member) == 0) {
			snprintf(text, size, "%s", w->name);
			return;
		}
	}
	if (nano != NULL)
		snprintf(text, size, "%.*s%s", (int)(nano - member), member, nano + strlen("_nano"));
	else
		snprintf(text, size, "%s", member);
}

const char *
word_kind_name(const struct word *word)
{
	static const char *const names[] = {
		[WORD_TEXT] = "a text",
		[WORD_SECRET] = "a text",
		[WORD_NUMBER] = "a whole number",
		[WORD_FLAG] = "yes or no",
		[WORD_LIST] = "names with commas between",
		[WORD_DOLLARS] = "dollars such as 25 or 0.15",
		[WORD_TIME] = "a time from now such as 30d, or a Unix time",
	};

	return names[word->kind];
}

bool
word_is_needed(const struct word_noun *noun, const struct word *word)
{
	size_t len = strlen(word->name);

	for (const char *at = noun->needs; *at != '\0'; at += *at == ' ') {
		size_t more = strcspn(at, " ");

		if (more == len && memcmp(at, word->name, len) == 0)
			return true;
		at += more;
	}
	return false;
}

static size_t
identifier_len(const char *text)
{
	return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");
}

void
word_translate(const struct word_noun *noun, const char *text, char *result, size_t size)
{
	size_t len = 0;

	result[0] = '\0';
	while (*text != '\0' && len < size) {
		size_t more = identifier_len(text);
		const struct word *found = NULL;

		/* A word that is spelt like an everyday one ("price", "name") stays. */
		for (const struct word *w = noun->words; more > 0 && w->name != NULL && found == NULL; w++)
			if (strlen(w->member) == more && memcmp(w->member, text, more) == 0 &&
			    strchr(w->member, '_') != NULL)
				found = w;
		if (more == 0)
			more = 1;
		if (found != NULL)
			len += (size_t)snprintf(result + len, size - len, "--%s", found->name);
		else
			len += (size_t)snprintf(result + len, size - len, "%.*s", (int)more, text);
		text += more;
	}
}

static bool
add_time(const char *text, yyjson_mut_doc *doc, yyjson_mut_val *object, const char *member)
{
	char *end = NULL;
	long long value = strtoll(text, &end, 10);
	long long unit = *end == 's' ? 1 : *end == 'm' ? 60 : *end == 'h' ? 3600 : *end == 'd' ? 86400 : 0;

	if (end == text || value < 0 || value > UINT32_MAX || (*end != '\0' && (unit == 0 || end[1] != '\0')))
		return false;
	if (unit > 0)
		value = (long long)time(NULL) + value * unit;
	return yyjson_mut_obj_add_int(doc, object, member, value);
}

static void
add_list(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *member, const char *text)
{
	yyjson_mut_val *array = yyjson_mut_obj_add_arr(doc, object, member);

	while (*text != '\0') {
		size_t len = strcspn(text, ",");

		if (len > 0)
			yyjson_mut_arr_add_strncpy(doc, array, text, len);
		text += len + (text[len] == ',');
	}
}

bool
word_add(const struct word *word, const char *text, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	char *end = NULL;
	int64_t nano;
	long long value;

	if (strcmp(text, "none") == 0)
		return yyjson_mut_obj_add_null(doc, object, word->member);
	switch (word->kind) {
	case WORD_TEXT:
	case WORD_SECRET:
		return yyjson_mut_obj_add_strcpy(doc, object, word->member, text);
	case WORD_NUMBER:
		value = strtoll(text, &end, 10);
		return end != text && *end == '\0' &&
		       yyjson_mut_obj_add_int(doc, object, word->member, value);
	case WORD_FLAG:
		if (!is_yes(text) && !is_no(text))
			return false;
		return yyjson_mut_obj_add_bool(doc, object, word->member, is_yes(text));
	case WORD_LIST:
		add_list(doc, object, word->member, text);
		return true;
	case WORD_TIME:
		return add_time(text, doc, object, word->member);
	case WORD_DOLLARS:
		return money_parse(text, &nano) &&
		       yyjson_mut_obj_add_sint(doc, object, word->member, nano);
	}
	return false;
}
