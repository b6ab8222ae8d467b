/* Searches for whole delimiters in a body that is all there. */
#include "form.h"

#include <stdio.h>
#include <string.h>

static bool
take_text(struct bytes *rest, const char *text)
{
	if (!bytes_starts_with(*rest, bytes_from_text(text)))
		return false;
	bytes_advance(rest, strlen(text));
	return true;
}

static bool
take_until(struct bytes *rest, const char *end, struct bytes *part)
{
	const uint8_t *at = rest->len ? memmem(rest->ptr, rest->len, end, strlen(end)) : NULL;

	if (!at)
		return false;
	*part = bytes_make(rest->ptr, (size_t)(at - rest->ptr));
	bytes_advance(rest, part->len + strlen(end));
	return true;
}

bool
form_begin(struct form_walk *walk, struct bytes content_type, struct bytes body)
{
	struct bytes before;

	*walk = (struct form_walk){ .rest = body };
	if (!take_text(&content_type, "multipart/form-data;") ||
	    !take_until(&content_type, "boundary=", &before) || content_type.len > 70)
		return false;
	if (content_type.len >= 2 && content_type.ptr[0] == '"')
		content_type = bytes_make(content_type.ptr + 1, content_type.len - 2);
	snprintf(walk->delimiter, sizeof(walk->delimiter), "\r\n--%.*s", (int)content_type.len,
		 (const char *)content_type.ptr);
	return content_type.len > 0 && take_text(&walk->rest, walk->delimiter + 2);
}

/* content-disposition: form-data; name="…"; filename="…" among the lines of a part's head. */
static bool
read_head(struct form_walk *walk, struct bytes head)
{
	struct bytes before;

	walk->is_file = head.len && memmem(head.ptr, head.len, "filename=", 9) != NULL;
	return take_until(&head, "form-data; name=\"", &before) && take_until(&head, "\"", &walk->name);
}

bool
form_next(struct form_walk *walk)
{
	struct bytes head;

	if (take_text(&walk->rest, "--")) {
		walk->wrong = walk->rest.len && !bytes_equal(walk->rest, BYTES_LITERAL("\r\n"));
		return false;
	}
	walk->wrong = !take_text(&walk->rest, "\r\n") || !take_until(&walk->rest, "\r\n\r\n", &head) ||
		      !read_head(walk, head) || !take_until(&walk->rest, walk->delimiter, &walk->value);
	return !walk->wrong;
}
