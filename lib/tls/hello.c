/* RFC 8446 4.1.2, RFC 6066 3. A part that is not there fails all. */
#include "tls/hello.h"

#include "tls/cursor.h"
#include "tls/records.h"

#define VERSION_AND_RANDOM_BYTES 34
#define EXTENSION_SERVER_NAME 0
#define NAME_IS_HOST 0

/* The first host name of the list; there can be only one. */
static bool
find_name(struct bytes extension, struct bytes *sni)
{
	struct bytes list, name;
	uint32_t kind;

	if (!cursor_vector(&extension, 2, &list))
		return false;
	while (list.len > 0) {
		if (!cursor_number(&list, 1, &kind) || !cursor_vector(&list, 2, &name))
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
	uint32_t kind;

	while (extensions.len > 0) {
		if (!cursor_number(&extensions, 2, &kind) || !cursor_vector(&extensions, 2, &extension))
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
	uint32_t type;

	if (!cursor_number(&message, 1, &type) || type != MESSAGE_CLIENT_HELLO ||
	    !cursor_vector(&message, 3, &body) || !cursor_take(&body, VERSION_AND_RANDOM_BYTES, &skipped) ||
	    !cursor_vector(&body, 1, &skipped) || !cursor_vector(&body, 2, &found.suites) ||
	    !cursor_vector(&body, 1, &skipped))
		return ERR_TLS_BAD_MESSAGE;
	/* A hello of TLS 1.2 may end here. */
	if (body.len > 0 && (!cursor_vector(&body, 2, &extensions) || !walk_extensions(extensions, &found)))
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
