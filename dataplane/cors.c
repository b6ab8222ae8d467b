/* The fields of the Fetch standard that let a page read an answer of another host. */
#include "dataplane/cors.h"

struct bytes
cors_origin(const char *allowed, const struct h1_head *head)
{
	const struct h1_field *given = h1_find(head, BYTES_LITERAL("origin"));
	struct bytes left = bytes_from_text(allowed != NULL ? allowed : "");

	if (given == NULL || given->value.len == 0)
		return BYTES_NONE;
	while (left.len > 0) {
		const uint8_t *space = memchr(left.ptr, ' ', left.len);
		struct bytes one = bytes_make(left.ptr, space != NULL ? (size_t)(space - left.ptr) : left.len);

		if (bytes_equal(one, BYTES_LITERAL("*")) || bytes_equal(one, given->value))
			return one;
		bytes_advance(&left, one.len + (space != NULL));
	}
	return BYTES_NONE;
}

bool
cors_is_preflight(const struct h1_request *request)
{
	return request->method == H1_OPTIONS && h1_find(&request->head, BYTES_LITERAL("origin")) != NULL &&
	       h1_find(&request->head, BYTES_LITERAL("access-control-request-method")) != NULL &&
	       h1_find(&request->head, BYTES_LITERAL("authorization")) == NULL;
}

void
cors_emit(struct h1_writer *writer, struct bytes origin)
{
	h1_emit_field(writer, BYTES_LITERAL("access-control-allow-origin"), origin);
	h1_emit_field(writer, BYTES_LITERAL("access-control-expose-headers"), BYTES_LITERAL("*"));
	/* A cache must not give one page's permission to another. */
	if (!bytes_equal(origin, BYTES_LITERAL("*")))
		h1_emit_field(writer, BYTES_LITERAL("vary"), BYTES_LITERAL("origin"));
}

void
cors_emit_preflight(struct h1_writer *writer)
{
	h1_emit_field(writer, BYTES_LITERAL("access-control-allow-methods"),
		      BYTES_LITERAL("GET, HEAD, POST, PUT, PATCH, DELETE"));
	/* The wildcard stands for every field but Authorization. */
	h1_emit_field(writer, BYTES_LITERAL("access-control-allow-headers"), BYTES_LITERAL("authorization, *"));
	h1_emit_field(writer, BYTES_LITERAL("access-control-max-age"), BYTES_LITERAL("7200"));
}
