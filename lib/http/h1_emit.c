/* Heads and chunk sizes as text. A value is written as it is: what came from outside was checked when it
 * was parsed. */
#include "http/h1.h"

#include "base/check.h"
#include "base/units.h"

void
h1_emit_text(struct h1_writer *w, struct bytes text)
{
	if (text.len > w->room - w->len) {
		w->overflow = true;
		return;
	}
	if (text.len > 0)
		memcpy(w->ptr + w->len, text.ptr, text.len);
	w->len += text.len;
}

void
h1_emit_number(struct h1_writer *w, uint64_t number)
{
	uint8_t digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (uint8_t)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	h1_emit_text(w, bytes_make(digits + at, sizeof(digits) - at));
}

/* RFC 9110 15; a status of another number gets an empty phrase, which the grammar allows. */
static struct bytes
reason_of(uint16_t status)
{
	static const struct {
		uint16_t status;
		const char *reason;
	} known[] = {
		{ 100, "Continue" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 304, "Not Modified" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 402, "Payment Required" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 422, "Unprocessable Content" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (known[i].status == status)
			return bytes_from_text(known[i].reason);
	return BYTES_NONE;
}

void
h1_emit_status(struct h1_writer *w, uint16_t status)
{
	CHECK(status >= 100 && status <= 599);
	h1_emit_text(w, BYTES_LITERAL("HTTP/1.1 "));
	h1_emit_number(w, status);
	h1_emit_text(w, BYTES_LITERAL(" "));
	h1_emit_text(w, reason_of(status));
	h1_emit_text(w, BYTES_LITERAL("\r\n"));
}

void
h1_emit_field(struct h1_writer *w, struct bytes name, struct bytes value)
{
	h1_emit_text(w, name);
	h1_emit_text(w, BYTES_LITERAL(": "));
	h1_emit_text(w, value);
	h1_emit_text(w, BYTES_LITERAL("\r\n"));
}

void
h1_emit_field_number(struct h1_writer *w, struct bytes name, uint64_t number)
{
	h1_emit_text(w, name);
	h1_emit_text(w, BYTES_LITERAL(": "));
	h1_emit_number(w, number);
	h1_emit_text(w, BYTES_LITERAL("\r\n"));
}

void
h1_emit_end(struct h1_writer *w)
{
	h1_emit_text(w, BYTES_LITERAL("\r\n"));
}

uint32_t
h1_emit_chunk_head(uint8_t *to, uint64_t chunk_bytes)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t count = 1;

	while (count < 16 && chunk_bytes >> (4 * count) != 0)
		count++;
	for (uint32_t i = 0; i < count; i++)
		to[i] = (uint8_t)digits[chunk_bytes >> (4 * (count - 1 - i)) & 15];
	to[count] = '\r';
	to[count + 1] = '\n';
	return count + 2;
}
