/* Error bodies: the OpenAI object with the vendor's top-level message, or that of upper-case codes. */
#include "dataplane/refusal.h"

#include "base/check.h"
#include "http/h1.h"

static const struct {
	uint16_t status;
	uint16_t infer_status;
	enum refusal_retry retry;
	const char *type;
	const char *code;
	const char *infer_code;
	const char *message;
} rows[REFUSAL_COUNT] = {
#define REFUSAL(name, status_, infer_status_, infer_code_, type_, code_, retry_, message_) \
	[REFUSAL_##name] = { status_, infer_status_, REFUSAL_RETRY_##retry_, type_,        \
			     code_,   infer_code_,   message_ },
#include "dataplane/refusal.def"
#undef REFUSAL
};

uint16_t
refusal_status(enum refusal_code code, enum refusal_form form)
{
	CHECK(code > REFUSAL_NONE && code < REFUSAL_COUNT);
	return form == REFUSAL_FORM_CODES ? rows[code].infer_status : rows[code].status;
}

enum refusal_code
refusal_of_status(uint16_t status)
{
	for (int code = REFUSAL_NONE + 1; code < REFUSAL_COUNT; code++)
		if (rows[code].status == status)
			return (enum refusal_code)code;
	return REFUSAL_BAD_REQUEST;
}

enum refusal_retry
refusal_retry(enum refusal_code code)
{
	return rows[code].retry;
}

static void
emit(struct h1_writer *w, const char *text)
{
	h1_emit_text(w, bytes_from_text(text));
}

/* Inside a JSON string. What a client named is shown in ASCII; anything else as '?', so that no encoding
 * of it can end the string early. */
static void
emit_escaped(struct h1_writer *w, struct bytes text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];

		if (c == '"' || c == '\\')
			emit(w, "\\");
		if (c < 0x20 || c > 0x7e)
			c = '?';
		h1_emit_text(w, bytes_make(&c, 1));
	}
}

static void
emit_message(struct h1_writer *w, const struct refusal *refusal)
{
	emit(w, "\"");
	emit(w, refusal->message != NULL ? refusal->message : rows[refusal->code].message);
	if (refusal->subject.len > 0) {
		emit(w, " (");
		emit_escaped(w, refusal->subject);
		emit(w, ")");
	}
	if (refusal->limit_bytes > 0) {
		emit(w, " (at most ");
		h1_emit_number(w, refusal->limit_bytes);
		emit(w, " bytes)");
	}
	emit(w, "\"");
}

static void
emit_quoted_or_null(struct h1_writer *w, const char *text)
{
	if (text == NULL) {
		emit(w, "null");
		return;
	}
	emit(w, "\"");
	emit(w, text);
	emit(w, "\"");
}

static void
emit_openai(struct h1_writer *w, const struct refusal *refusal)
{
	emit(w, "{\"error\":{\"message\":");
	emit_message(w, refusal);
	emit(w, ",\"type\":");
	emit_quoted_or_null(w, rows[refusal->code].type);
	emit(w, ",\"param\":");
	emit_quoted_or_null(w, refusal->param);
	emit(w, ",\"code\":");
	emit_quoted_or_null(w, rows[refusal->code].code);
	emit(w, "},\"message\":");
	emit_message(w, refusal);
	emit(w, "}");
}

static void
emit_infer(struct h1_writer *w, const struct refusal *refusal)
{
	emit(w, "{\"error\":{\"code\":");
	emit_quoted_or_null(w, rows[refusal->code].infer_code);
	emit(w, ",\"message\":");
	emit_message(w, refusal);
	emit(w, ",\"details\":{");
	if (refusal->param != NULL) {
		emit(w, "\"field\":");
		emit_quoted_or_null(w, refusal->param);
	}
	emit(w, "}}}");
}

uint32_t
refusal_body(const struct refusal *refusal, enum refusal_form form, uint8_t *to, uint32_t room)
{
	struct h1_writer w = h1_writer_make(to, room);

	CHECK(refusal->code > REFUSAL_NONE && refusal->code < REFUSAL_COUNT);
	if (form == REFUSAL_FORM_CODES)
		emit_infer(&w, refusal);
	else
		emit_openai(&w, refusal);
	CHECK(!w.overflow);
	return (uint32_t)w.len;
}
