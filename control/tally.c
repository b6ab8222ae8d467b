/* Two small hash tables that only grow, and their text. */
#include "tally.h"

#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define US_PER_SEC 1000000

/* As the semantic conventions advise, in tokens and microseconds. */
static const struct tally_buckets token_buckets = {
	14, { 1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864 },
};
static const struct tally_buckets duration_buckets = {
	14,
	{ 10000, 20000, 40000, 80000, 160000, 320000, 640000, 1280000, 2560000, 5120000, 10240000, 20480000,
	  40960000, 81920000 },
};
static const struct tally_buckets first_token_buckets = {
	16,
	{ 1000, 5000, 10000, 20000, 40000, 60000, 80000, 100000, 250000, 500000, 750000, 1000000, 2500000, 5000000,
	  7500000, 10000000 },
};
static const struct tally_buckets per_token_buckets = {
	13,
	{ 10000, 25000, 50000, 75000, 100000, 150000, 200000, 300000, 400000, 500000, 750000, 1000000, 2500000 },
};

const struct tally_buckets *
tally_buckets(enum tally_measure measure)
{
	static const struct tally_buckets *const all[TALLY_MEASURES] = {
		[TALLY_INPUT_TOKENS] = &token_buckets,
		[TALLY_OUTPUT_TOKENS] = &token_buckets,
		[TALLY_DURATION_US] = &duration_buckets,
		[TALLY_FIRST_TOKEN_US] = &first_token_buckets,
		[TALLY_PER_TOKEN_US] = &per_token_buckets,
	};

	return all[measure];
}

void
tally_observe(struct tally_histogram *histogram, const struct tally_buckets *buckets, uint64_t value)
{
	uint32_t bucket = 0;

	while (bucket < buckets->count && value > buckets->bound[bucket])
		bucket++;
	histogram->count[bucket]++;
	histogram->sum += value;
}

/* --- counting -------------------------------------------------------------------------------------- */

/* FNV-1a; what goes in is the operator's. */
static uint32_t
mix(uint32_t hash, const void *ptr, size_t len)
{
	const uint8_t *byte = ptr;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ byte[i]) * 16777619;
	return hash;
}

static struct tally_request *
find_request(struct tally *tally, uint64_t model, uint16_t status, struct bytes region)
{
	uint32_t at =
		mix(mix(mix(2166136261, &model, sizeof(model)), &status, sizeof(status)), region.ptr, region.len);

	for (;; at++) {
		struct tally_request *r = &tally->requests[at % COUNT_OF(tally->requests)];

		if (r->count == 0) {
			/* The last place is for those that have none. */
			if (tally->request_count >= TALLY_REQUESTS_MAX - (model != TALLY_MODEL_OTHER))
				return NULL;
			tally->request_count++;
			r->model = model;
			r->status = status;
			r->region_len = (uint16_t)region.len;
			if (region.len > 0)
				memcpy(r->region, region.ptr, region.len);
			return r;
		}
		if (r->model == model && r->status == status &&
		    bytes_equal(bytes_make(r->region, r->region_len), region))
			return r;
	}
}

static struct tally_model *
find_model(struct tally *tally, uint64_t model, uint8_t operation)
{
	uint32_t at = mix(mix(2166136261, &model, sizeof(model)), &operation, sizeof(operation));

	for (;; at++) {
		struct tally_model *m = &tally->models[at % COUNT_OF(tally->models)];

		if (!m->is_used) {
			/* The last places are for those that have none. */
			if (model != TALLY_MODEL_OTHER &&
			    tally->model_count >= TALLY_MODELS_MAX - USAGE_OPERATION_COUNT)
				return NULL;
			tally->model_count++;
			*m = (struct tally_model){ .model = model, .operation = operation, .is_used = true };
			return m;
		}
		if (m->model == model && m->operation == operation)
			return m;
	}
}

static void
measure(struct tally_model *m, enum tally_measure what, uint64_t value)
{
	tally_observe(&m->measure[what], tally_buckets(what), value);
}

/* Images, audio, video and the pass-through have none; a rate per request may stand beside them. */
static bool
has_tokens(const struct usage_record *record)
{
	return record->unit == USAGE_NO_UNIT ||
	       (record->unit == USAGE_REQUESTS && (record->prompt_tokens > 0 || record->completion_tokens > 0));
}

/* What nobody counted is not told: an estimate is good for a bill, not for a distribution. */
static void
count_tokens(struct tally_model *m, const struct usage_record *record)
{
	if (record->source == USAGE_ESTIMATED || !has_tokens(record))
		return;
	measure(m, TALLY_INPUT_TOKENS, record->prompt_tokens);
	if (record->completion_tokens > 0)
		measure(m, TALLY_OUTPUT_TOKENS, record->completion_tokens);
}

static void
count_times(struct tally_model *m, const struct usage_record *record)
{
	measure(m, TALLY_DURATION_US, record->total_us);
	/* Both are of streams that came to their end. */
	if (!record->stream || record->outcome != USAGE_OK || record->first_byte_us == 0)
		return;
	measure(m, TALLY_FIRST_TOKEN_US, record->first_byte_us);
	if (record->completion_tokens > 1 && record->total_us > record->first_byte_us)
		measure(m, TALLY_PER_TOKEN_US,
			(record->total_us - record->first_byte_us) / (record->completion_tokens - 1));
}

void
tally_count(struct tally *tally, const struct usage_record *record)
{
	uint64_t model = record->instance_id != 0 ? TALLY_MODEL_INSTANCE : record->model_id;
	size_t len = record->region_len < sizeof(record->region) ? record->region_len : sizeof(record->region);
	uint8_t operation = record->operation < USAGE_OPERATION_COUNT ? record->operation : USAGE_OTHER;
	struct tally_request *request =
		find_request(tally, model, record->status, bytes_make(record->region, len));
	struct tally_model *m;

	if (request == NULL)
		request = find_request(tally, TALLY_MODEL_OTHER, 0, BYTES_NONE);
	request->count++;
	tally->outcome[record->outcome < USAGE_OUTCOME_COUNT ? record->outcome : USAGE_CRASHED]++;
	tally->source[record->source < USAGE_SOURCE_COUNT ? record->source : USAGE_ESTIMATED]++;
	if (record->outcome == USAGE_REFUSED || record->outcome == USAGE_CRASHED)
		return;
	m = find_model(tally, model, operation);
	if (m == NULL)
		m = find_model(tally, TALLY_MODEL_OTHER, operation);
	count_tokens(m, record);
	count_times(m, record);
}

/* --- text ----------------------------------------------------------------------------------------------- */

static void
emit_text(FILE *out, struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = (char)text.ptr[i];

		if (c == '\\' || c == '"')
			fprintf(out, "\\%c", c);
		else if (c == '\n')
			fputs("\\n", out);
		else
			fputc(c, out);
	}
}

static void
emit_model(const struct publish *publish, uint64_t model, FILE *out)
{
	struct shm_model body;
	uint32_t entry;

	if (model == TALLY_MODEL_NONE || model == TALLY_MODEL_INSTANCE || model == TALLY_MODEL_OTHER) {
		fputs(model == TALLY_MODEL_NONE ? "" : model == TALLY_MODEL_OTHER ? "other" : "instance", out);
		return;
	}
	entry = entries_find(&publish->entries[NOUN_MODEL], model);
	if (entry != ENTRIES_NONE && shm_read_model(&publish->shm, entry, &body) == ERR_OK && body.live &&
	    body.model_id == model)
		emit_text(out, bytes_make(body.name.text, body.name.len));
	else
		fprintf(out, "#%llu", (unsigned long long)model);
}

static void
describe(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void
emit_requests(const struct tally *tally, const struct publish *publish, FILE *out)
{
	describe(out, "sluice_model_requests_total", "counter",
		 "Requests in the ledger, by model, region and status of the answer.");
	for (size_t i = 0; i < COUNT_OF(tally->requests); i++) {
		const struct tally_request *r = &tally->requests[i];

		if (r->count == 0)
			continue;
		fputs("sluice_model_requests_total{model=\"", out);
		emit_model(publish, r->model, out);
		fputs("\",region=\"", out);
		emit_text(out, bytes_make(r->region, r->region_len));
		fprintf(out, "\",status=\"%u\"} %llu\n", r->status, (unsigned long long)r->count);
	}
}

static const char *
operation_name(uint8_t operation)
{
	/* Those of the conventions where they have one. */
	static const char *const names[USAGE_OPERATION_COUNT] = {
		[USAGE_OTHER] = "other",	   [USAGE_CHAT] = "chat",
		[USAGE_COMPLETION] = "text_completion", [USAGE_RESPONSE] = "responses",
		[USAGE_EMBEDDINGS] = "embeddings", [USAGE_RERANK] = "rerank",
		[USAGE_IMAGE] = "image_generation", [USAGE_SPEECH] = "speech",
		[USAGE_TRANSCRIPTION] = "transcription", [USAGE_VIDEO] = "video_generation",
	};

	return names[operation];
}

/* What stands in front of a line's value, up to its last label. */
struct line {
	const struct publish *publish;
	const struct tally_model *model;
	const char *name;
	const char *token_type; /* NULL: none */
};

static void
emit_begin(const struct line *line, const char *end, FILE *out)
{
	fprintf(out, "%s%s{gen_ai_operation_name=\"%s\",gen_ai_provider_name=\"sluice\",gen_ai_request_model=\"",
		line->name, end, operation_name(line->model->operation));
	emit_model(line->publish, line->model->model, out);
	fputs("\"", out);
	if (line->token_type != NULL)
		fprintf(out, ",gen_ai_token_type=\"%s\"", line->token_type);
}

static void
emit_histogram(const struct line *line, enum tally_measure what, FILE *out)
{
	const struct tally_histogram *h = &line->model->measure[what];
	const struct tally_buckets *buckets = tally_buckets(what);
	double unit = what <= TALLY_OUTPUT_TOKENS ? 1 : US_PER_SEC;
	uint64_t below = 0;

	for (uint32_t i = 0; i <= buckets->count; i++)
		below += h->count[i];
	if (below == 0)
		return;
	below = 0;
	for (uint32_t i = 0; i < buckets->count; i++) {
		below += h->count[i];
		emit_begin(line, "_bucket", out);
		fprintf(out, ",le=\"%.10g\"} %llu\n", (double)buckets->bound[i] / unit, (unsigned long long)below);
	}
	below += h->count[buckets->count];
	emit_begin(line, "_bucket", out);
	fprintf(out, ",le=\"+Inf\"} %llu\n", (unsigned long long)below);
	emit_begin(line, "_sum", out);
	fprintf(out, "} %.17g\n", (double)h->sum / unit);
	emit_begin(line, "_count", out);
	fprintf(out, "} %llu\n", (unsigned long long)below);
}

static void
emit_family(const struct tally *tally, const struct publish *publish, const char *name, enum tally_measure first,
	    enum tally_measure last, FILE *out)
{
	for (size_t i = 0; i < COUNT_OF(tally->models); i++) {
		struct line line = { .publish = publish, .model = &tally->models[i], .name = name };

		for (unsigned int what = first; tally->models[i].is_used && what <= last; what++) {
			line.token_type = what == TALLY_INPUT_TOKENS  ? "input" :
					  what == TALLY_OUTPUT_TOKENS ? "output" :
									NULL;
			emit_histogram(&line, (enum tally_measure)what, out);
		}
	}
}

static void
emit_outcomes(const struct tally *tally, FILE *out)
{
	static const char *const outcomes[USAGE_OUTCOME_COUNT] = {
		[USAGE_OK] = "ok",	      [USAGE_CLIENT_ABORT] = "client_abort",
		[USAGE_UPSTREAM_ERROR] = "upstream_error", [USAGE_TIMEOUT] = "timeout",
		[USAGE_CRASHED] = "crashed", [USAGE_REFUSED] = "refused",
	};
	static const char *const sources[USAGE_SOURCE_COUNT] = {
		[USAGE_FINAL] = "final",
		[USAGE_RUNNING] = "running",
		[USAGE_ESTIMATED] = "estimated",
	};

	describe(out, "sluice_request_outcomes_total", "counter", "Requests in the ledger, by how they ended.");
	for (int i = 0; i < USAGE_OUTCOME_COUNT; i++)
		fprintf(out, "sluice_request_outcomes_total{outcome=\"%s\"} %llu\n", outcomes[i],
			(unsigned long long)tally->outcome[i]);
	describe(out, "sluice_request_token_sources_total", "counter",
		 "Requests in the ledger, by who counted their tokens.");
	for (int i = 0; i < USAGE_SOURCE_COUNT; i++)
		fprintf(out, "sluice_request_token_sources_total{source=\"%s\"} %llu\n", sources[i],
			(unsigned long long)tally->source[i]);
}

void
tally_emit(const struct tally *tally, const struct publish *publish, FILE *out)
{
	emit_requests(tally, publish, out);
	emit_outcomes(tally, out);
	describe(out, "gen_ai_client_token_usage", "histogram",
		 "Tokens of a request that its backend counted, by gen_ai_token_type.");
	emit_family(tally, publish, "gen_ai_client_token_usage", TALLY_INPUT_TOKENS, TALLY_OUTPUT_TOKENS, out);
	describe(out, "gen_ai_server_request_duration_seconds", "histogram",
		 "From a request's admission to the end of its answer.");
	emit_family(tally, publish, "gen_ai_server_request_duration_seconds", TALLY_DURATION_US, TALLY_DURATION_US,
		    out);
	describe(out, "gen_ai_server_time_to_first_token_seconds", "histogram",
		 "From a request's admission to the first byte of its stream.");
	emit_family(tally, publish, "gen_ai_server_time_to_first_token_seconds", TALLY_FIRST_TOKEN_US,
		    TALLY_FIRST_TOKEN_US, out);
	describe(out, "gen_ai_server_time_per_output_token_seconds", "histogram",
		 "Between two tokens of a stream behind its first, on average.");
	emit_family(tally, publish, "gen_ai_server_time_per_output_token_seconds", TALLY_PER_TOKEN_US,
		    TALLY_PER_TOKEN_US, out);
}
