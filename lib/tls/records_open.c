/* What comes in: one record's rules, then what is in it. */
#include "base/check.h"
#include "tls/protection.h"
#include "tls/records_internal.h"

#define UPDATE_NOT_REQUESTED 0
#define UPDATE_REQUESTED 1

#define MESSAGE_HEADER_BYTES 4

/* What can be said of a record before it is opened, and before it is whole. */
static enum err
check_header(struct records *r, const uint8_t *header)
{
	size_t len = (size_t)header[3] << 8 | header[4];
	size_t overhead = protection_overhead_bytes(r);
	/* RFC 8446 5.4: the content with its type and padding; RFC 5246 6.2.3. */
	size_t inner_max = RECORDS_DATA_BYTES_MAX + (r->is_13 ? 1 : 0);

	/* In TLS 1.3 everything is sealed now, change_cipher_spec too late (section 5), and the version is
	 * not looked at (5.1): it is authenticated with the rest. */
	if (r->is_13 ? header[0] != PROTECTION_DATA :
		       header[0] < PROTECTION_ALERT || header[0] > PROTECTION_DATA)
		return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
	if (!r->is_13 && (header[1] != 3 || header[2] != 3))
		return records_fail(r, ERR_TLS_BAD_RECORD, ALERT_PROTOCOL_VERSION);
	if (len > inner_max + overhead)
		return records_fail(r, ERR_TLS_RECORD_TOO_LONG, ALERT_RECORD_OVERFLOW);
	/* Too short to be sealed at all: said as if it had been tried. */
	if (len < overhead)
		return records_fail(r, ERR_TLS_NOT_AUTHENTIC, ALERT_BAD_RECORD_MAC);
	return ERR_OK;
}

/* How many of len bytes are left without the zeros at their end. */
static size_t
without_zeros(const uint8_t *bytes, size_t len)
{
	uint64_t word;

	/* A peer may send nothing else, so not byte by byte. */
	while (len >= sizeof(word)) {
		memcpy(&word, bytes + len - sizeof(word), sizeof(word));
		if (word != 0)
			break;
		len -= sizeof(word);
	}
	while (len > 0 && bytes[len - 1] == 0)
		len--;
	return len;
}

/* RFC 8446 5.4: the type is the last byte that is not zero; len becomes that of the content. 0: there is
 * none. */
static uint8_t
strip_padding(const struct pieces *in, size_t offset, size_t *len)
{
	struct piece_cursor at = pieces_start(in);
	size_t left = *len;

	(void)pieces_skip(&at, offset + left);
	for (; left > 0; at.piece--, at.offset = at.piece->len) {
		size_t take = at.offset < left ? at.offset : left;
		const uint8_t *bytes = at.piece->ptr + at.offset - take;
		size_t rest = without_zeros(bytes, take);

		left -= take - rest;
		if (rest > 0) {
			*len = left - 1;
			return bytes[rest - 1];
		}
		if (left == 0)
			break;
	}
	*len = 0;
	return 0;
}

static enum err
take_alert(struct records *r, struct piece_cursor at, size_t len)
{
	uint8_t text[2];

	/* RFC 8446 5.1: alone in its record and whole. */
	if (len != sizeof(text))
		return records_fail(r, ERR_TLS_BAD_MESSAGE,
				    len == 0 ? ALERT_UNEXPECTED_MESSAGE : ALERT_DECODE_ERROR);
	(void)pieces_copy(&at, text, sizeof(text));
	if (text[1] == ALERT_CLOSE_NOTIFY) {
		r->close_received = true;
		return ERR_TLS_CLOSED;
	}
	/* Levels are meaningless in TLS 1.3 (6.1, 6.2): but for these two, all end the connection. */
	if (r->is_13 ? text[1] == ALERT_USER_CANCELED : text[0] == 1)
		return records_useless(r);
	r->verdict = ERR_TLS_ALERT;
	r->owes = 0;
	return ERR_TLS_ALERT;
}

/* The header of a handshake message is there; may it come? */
static enum err
begin_message(struct records *r)
{
	uint8_t type = (uint8_t)(r->message >> 24);

	r->message_left = r->message & 0xffffff;
	if (r->is_13 && type == MESSAGE_KEY_UPDATE) {
		if (r->message_left != 1)
			return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_DECODE_ERROR);
		return ERR_OK;
	}
	if (r->is_13 ? !r->is_client || type != MESSAGE_NEW_SESSION_TICKET :
		       type != (r->is_client ? MESSAGE_HELLO_REQUEST : MESSAGE_CLIENT_HELLO))
		return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
	if (r->message_left > RECORDS_MESSAGE_BYTES_MAX)
		return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_ILLEGAL_PARAMETER);
	/* RFC 5246 7.4.1.1, 7.4.1.2 */
	if (!r->is_13)
		records_refuse(r);
	return ERR_OK;
}

/* The one byte of a KeyUpdate. RFC 8446 5.1: keys change between records, so nothing may follow it. */
static enum err
take_update(struct records *r, struct keyring *ring, uint8_t asks, bool is_last, uint64_t now_ns)
{
	if (asks != UPDATE_NOT_REQUESTED && asks != UPDATE_REQUESTED)
		return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_ILLEGAL_PARAMETER);
	if (!is_last)
		return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
	return records_updated(r, ring, asks == UPDATE_REQUESTED, now_ns);
}

static bool
is_update(const struct records *r)
{
	/* As soon as the first byte of the header is there. */
	return r->is_13 && r->message >> 8 * (r->message_got - 1) == MESSAGE_KEY_UPDATE;
}

/* Handshake messages, whole or in parts, several or one over several records. */
static enum err
take_messages(struct records *r, struct keyring *ring, struct piece_cursor at, uint64_t now_ns,
	      struct records_opened *opened)
{
	size_t len = opened->len;
	size_t tickets = 0; /* bytes in front that are no KeyUpdate's */
	enum err verdict = ERR_OK;

	if (len == 0)
		return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
	for (size_t done = 0; done < len;) {
		if (r->message_got < MESSAGE_HEADER_BYTES) {
			r->message = r->message << 8 | *pieces_next(&at, 1).ptr;
			r->message_got++;
			done++;
			if (r->message_got == MESSAGE_HEADER_BYTES)
				verdict = begin_message(r);
		} else if (is_update(r)) {
			r->message_left = 0;
			done++;
			verdict = take_update(r, ring, *pieces_next(&at, 1).ptr, done == len, now_ns);
		} else {
			size_t take = r->message_left < len - done ? r->message_left : len - done;

			(void)pieces_skip(&at, take);
			r->message_left -= (uint32_t)take;
			done += take;
		}
		if (verdict != ERR_OK)
			return verdict;
		if (!is_update(r))
			tickets = done;
		if (r->message_got == MESSAGE_HEADER_BYTES && r->message_left == 0) {
			r->message_got = 0;
			r->message = 0;
		}
	}
	if (r->is_13 && tickets == 0)
		return ERR_OK;
	opened->len = tickets;
	opened->kind = r->is_13 ? RECORDS_TICKET : RECORDS_NOTHING;
	return records_useless(r);
}

static enum err
take_content(struct records *r, struct keyring *ring, uint8_t type, const struct pieces *in, uint64_t now_ns,
	     struct records_opened *opened)
{
	struct piece_cursor at = pieces_start(in);

	(void)pieces_skip(&at, opened->offset);
	/* RFC 8446 5.1: nothing comes between the parts of a handshake message. */
	if (r->message_got > 0 && type != PROTECTION_HANDSHAKE)
		return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
	switch (type) {
	case PROTECTION_DATA:
		if (opened->len == 0)
			return records_useless(r);
		r->useless = 0;
		opened->kind = RECORDS_DATA;
		return ERR_OK;
	case PROTECTION_ALERT:
		return take_alert(r, at, opened->len);
	case PROTECTION_HANDSHAKE:
		return take_messages(r, ring, at, now_ns, opened);
	default:
		/* Padding alone, too (RFC 8446 5.4). */
		return records_fail(r, ERR_TLS_BAD_MESSAGE, ALERT_UNEXPECTED_MESSAGE);
	}
}

enum err
records_open(struct records *r, struct keyring *ring, const struct pieces *in, uint64_t now_ns,
	     struct records_opened *opened)
{
	uint8_t header[PROTECTION_HEADER_BYTES];
	struct piece_cursor at = pieces_start(in);
	enum err verdict;
	uint8_t type;
	size_t len;

	*opened = (struct records_opened){ .kind = RECORDS_NOTHING };
	if (r->verdict != ERR_OK)
		return (enum err)r->verdict;
	if (r->close_received)
		return ERR_TLS_CLOSED;
	if (pieces_copy(&at, header, sizeof(header)) < sizeof(header)) {
		opened->wanted = sizeof(header);
		return ERR_MORE;
	}
	verdict = check_header(r, header);
	if (verdict != ERR_OK)
		return verdict;
	len = (size_t)header[3] << 8 | header[4];
	if (pieces_skip(&at, len) < len) {
		opened->wanted = sizeof(header) + len;
		return ERR_MORE;
	}
	if (r->receive.sequence >= protection_max(r))
		return records_fail(r, ERR_TLS_WORN, ALERT_CLOSE_NOTIFY);
	if (!protection_open(r, ring, in, header))
		return records_fail(r, ERR_TLS_NOT_AUTHENTIC, ALERT_BAD_RECORD_MAC);
	/* The peer should have thought of it. */
	if (r->receive.sequence == protection_renew(r))
		records_renew(r, true);
	opened->taken = sizeof(header) + len;
	opened->offset = protection_front_bytes(r);
	opened->len = len - protection_overhead_bytes(r);
	type = r->is_13 ? strip_padding(in, opened->offset, &opened->len) : header[0];
	verdict = take_content(r, ring, type, in, now_ns, opened);
	if (opened->kind == RECORDS_NOTHING || (verdict != ERR_OK && verdict != ERR_TLS_CLOSED))
		opened->len = 0;
	return verdict;
}
