/* RFC 8446 4.1.2, RFC 6066 3. Each part is cut off the front of what is left; one that is not there fails all. */
#include "tls/hello.h"

#define CLIENT_HELLO 1
#define VERSION_AND_RANDOM_BYTES 34
#define EXTENSION_SERVER_NAME 0
#define NAME_IS_HOST 0

static bool
cut(struct bytes *rest, size_t len, struct bytes *part)
{
	if (len > rest->len)
		return false;
	*part = bytes_make(rest->ptr, len);
	bytes_advance(rest, len);
	return true;
}

static bool
cut_number(struct bytes *rest, size_t width, size_t *number)
{
	struct bytes part;

	if (!cut(rest, width, &part))
		return false;
	*number = 0;
	for (size_t i = 0; i < width; i++)
		*number = *number << 8 | part.ptr[i];
	return true;
}

/* A vector, whose length takes width bytes. */
static bool
cut_vector(struct bytes *rest, size_t width, struct bytes *part)
{
	size_t len;

	return cut_number(rest, width, &len) && cut(rest, len, part);
}

/* The first host name of the list; there can be only one. */
static bool
find_name(struct bytes extension, struct bytes *sni)
{
	struct bytes list, name;
	size_t kind;

	if (!cut_vector(&extension, 2, &list))
		return false;
	while (list.len > 0) {
		if (!cut_number(&list, 1, &kind) || !cut_vector(&list, 2, &name))
			return false;
		if (kind == NAME_IS_HOST && name.len <= HELLO_SNI_BYTES_MAX) {
			*sni = name;
			return true;
		}
	}
	return true;
}

static bool
walk_extensions(struct bytes extensions, struct hello *hello)
{
	struct bytes extension;
	size_t kind;

	while (extensions.len > 0) {
		if (!cut_number(&extensions, 2, &kind) || !cut_vector(&extensions, 2, &extension))
			return false;
		if (kind == EXTENSION_SERVER_NAME && !find_name(extension, &hello->sni))
			return false;
	}
	return true;
}

enum err
hello_parse(struct bytes message, struct hello *hello)
{
	struct hello found = { BYTES_NONE, BYTES_NONE };
	struct bytes body, skipped, extensions;
	size_t type;

	if (!cut_number(&message, 1, &type) || type != CLIENT_HELLO || !cut_vector(&message, 3, &body) ||
	    !cut(&body, VERSION_AND_RANDOM_BYTES, &skipped) || !cut_vector(&body, 1, &skipped) ||
	    !cut_vector(&body, 2, &found.suites) || !cut_vector(&body, 1, &skipped))
		return ERR_TLS_BAD_MESSAGE;
	/* A hello of TLS 1.2 may end here. */
	if (body.len > 0 && (!cut_vector(&body, 2, &extensions) || !walk_extensions(extensions, &found)))
		return ERR_TLS_BAD_MESSAGE;
	*hello = found;
	return ERR_OK;
}

bool
hello_offers(const struct hello *hello, uint16_t suite)
{
	for (size_t i = 0; i + 1 < hello->suites.len; i += 2)
		if (hello->suites.ptr[i] == suite >> 8 && hello->suites.ptr[i + 1] == (suite & 0xff))
			return true;
	return false;
}
