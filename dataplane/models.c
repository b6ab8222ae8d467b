/* The list may be long: it leaves in pieces, as the client takes them and as a turn allows. */
#include "dataplane/models.h"

#include "base/check.h"
#include "dataplane/answer.h"
#include "dataplane/worker.h"

static void
emit(struct h1_writer *writer, const char *text)
{
	h1_emit_text(writer, bytes_from_text(text));
}

/* As much of a JSON string. */
static void
emit_json_text(struct h1_writer *writer, struct bytes text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (c < 0x20) {
			uint8_t escape[6] = { '\\', 'u', '0', '0', '0', (uint8_t)digits[c & 15] };

			escape[4] = (uint8_t)digits[c >> 4];
			h1_emit_text(writer, bytes_make(escape, sizeof(escape)));
			continue;
		}
		if (c == '"' || c == '\\')
			emit(writer, "\\");
		h1_emit_text(writer, bytes_make(&c, 1));
	}
}

static void
emit_model(struct h1_writer *writer, struct bytes name)
{
	emit(writer, "{\"id\":\"");
	emit_json_text(writer, name);
	emit(writer, "\",\"object\":\"model\",\"created\":0,\"owned_by\":\"platform\"}");
}

static void
emit_instance(struct h1_writer *writer, const struct shm_instance *instance)
{
	emit(writer, "{\"id\":\"");
	emit_json_text(writer, bytes_make(instance->name.text, instance->name.len));
	emit(writer, ":");
	h1_emit_number(writer, instance->instance_id);
	emit(writer, "\",\"object\":\"model\",\"created\":0,\"owned_by\":\"user\"}");
}

/* Instances are there for the account that owns them, while they run. */
static bool
is_listed(const struct shm_instance *instance, uint32_t account_entry)
{
	return instance->account == account_entry && instance->state == SHM_INSTANCE_RUNNING;
}

/* One of either kind by its name. */
static bool
emit_named(struct worker *w, struct h1_writer *writer, struct bytes name, uint32_t account_entry)
{
	struct shm_model model;
	struct shm_instance instance;
	struct bytes front;
	uint64_t instance_id;
	uint32_t entry;

	if (shm_find_model(&w->shm, name, &model, &entry) == ERR_OK) {
		emit_model(writer, bytes_make(model.name.text, model.name.len));
		return true;
	}
	if (!admit_split_instance(name, &front, &instance_id) ||
	    shm_find_instance(&w->shm, instance_id, &instance, &entry) != ERR_OK ||
	    !bytes_equal(front, bytes_make(instance.name.text, instance.name.len)) ||
	    !is_listed(&instance, account_entry))
		return false;
	emit_instance(writer, &instance);
	return true;
}

/* A name as it stands in a path: SDKs write its '/' and ':' as %2F and %3A. Of one that is too long or wrong
 * nothing is left, and so no model has it. */
static struct bytes
decode_name(struct bytes text, uint8_t name[SHM_NAME_BYTES])
{
	size_t len = 0;

	for (; text.len > 0; bytes_advance(&text, 1)) {
		uint8_t c = text.ptr[0];

		if (c == '%') {
			int high = text.len > 2 ? bytes_hex_digit(text.ptr[1]) : -1;
			int low = text.len > 2 ? bytes_hex_digit(text.ptr[2]) : -1;

			if (high < 0 || low < 0)
				return BYTES_NONE;
			c = (uint8_t)(high << 4 | low);
			bytes_advance(&text, 2);
		}
		if (len == SHM_NAME_BYTES)
			return BYTES_NONE;
		name[len++] = c;
	}
	return bytes_make(name, len);
}

void
models_answer(struct worker *w, struct stream *s, const struct admission *admission)
{
	struct h1_writer writer;
	uint8_t body[SHM_NAME_BYTES * 6 + 128];
	struct h1_writer body_writer = h1_writer_make(body, sizeof(body));
	uint8_t name_bytes[SHM_NAME_BYTES];
	struct bytes name = decode_name(admission->path_rest, name_bytes);

	if (!emit_named(w, &body_writer, name, admission->account_entry)) {
		struct refusal refusal = { .code = REFUSAL_MODEL_NOT_FOUND, .param = "model", .subject = name };

		answer_refusal(w, s, admission, &refusal);
		return;
	}
	CHECK(!body_writer.overflow);
	writer = stream_head_begin(w, s, 200);
	h1_emit_field(&writer, BYTES_LITERAL("content-type"), BYTES_LITERAL("application/json"));
	answer_fields(w, &writer, admission, BYTES_NONE);
	answer_whole(w, s, &writer, bytes_make(body_writer.ptr, body_writer.len));
}

void
models_list(struct worker *w, struct stream *s, const struct admission *admission)
{
	struct h1_writer writer = stream_head_begin(w, s, 200);

	h1_emit_field(&writer, BYTES_LITERAL("content-type"), BYTES_LITERAL("application/json"));
	answer_fields(w, &writer, admission, BYTES_NONE);
	s->listing = true;
	stream_head_end(w, s, &writer, STREAM_BYTES_UNKNOWN);
	stream_payload(w, s, BYTES_LITERAL("{\"object\":\"list\",\"data\":["));
	s->listing_models = 0;
	s->listing_instances = 0;
	s->listing_account = admission->account_entry;
	s->listing_begun = false;
	stream_wait(w, s);
	models_go_on(w, s);
}

enum listed { LISTED_ONE, LISTED_NONE, LISTED_ALL };

/* Looks at one entry: of the models, then of the instances. */
static enum listed
list_entry(struct worker *w, struct stream *s, struct h1_writer *writer)
{
	const struct shm_capacity *tables = &w->shm.header->capacity;
	struct shm_instance instance;
	struct shm_model model;
	bool is_model = s->listing_models < tables->count[SHM_MODELS];

	if (!is_model && s->listing_instances >= tables->count[SHM_INSTANCES])
		return LISTED_ALL;
	if (is_model ? shm_read_model(&w->shm, s->listing_models++, &model) != ERR_OK :
		       shm_read_instance(&w->shm, s->listing_instances++, &instance) != ERR_OK ||
			       !is_listed(&instance, s->listing_account))
		return LISTED_NONE;
	if (s->listing_begun)
		emit(writer, ",");
	s->listing_begun = true;
	if (is_model)
		emit_model(writer, bytes_make(model.name.text, model.name.len));
	else
		emit_instance(writer, &instance);
	return LISTED_ONE;
}

void
models_go_on(struct worker *w, struct stream *s)
{
	uint32_t entries = 0;
	size_t put_bytes = 0;

	for (; entries < LISTING_ENTRIES_PER_STEP && stream_has_room(w, s); entries++) {
		uint8_t line[SHM_NAME_BYTES * 6 + 128];
		struct h1_writer writer = h1_writer_make(line, sizeof(line));
		enum listed listed = list_entry(w, s, &writer);

		if (listed == LISTED_ALL) {
			stream_payload(w, s, BYTES_LITERAL("]}"));
			stream_end(w, s);
			return;
		}
		CHECK(!writer.overflow);
		stream_payload(w, s, bytes_make(writer.ptr, writer.len));
		put_bytes += writer.len;
		/* Room is judged by what TCP holds, so that what was put goes there first. */
		if (put_bytes >= PACKET_PLAIN_BYTES) {
			stream_flush(w, s);
			put_bytes = 0;
		}
	}
	stream_flush(w, s);
	if (entries == LISTING_ENTRIES_PER_STEP)
		stream_again(w, s);
}
