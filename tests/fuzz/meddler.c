#include "meddler.h"

#include "base/check.h"

#define HANDSHAKE 22
#define DATA 23
#define CHANGE_CIPHER_SPEC 20
#define FINISHED 20 /* the message after which the receiver is open, whatever follows */

/* Of a record's content; an insertion is 255 bytes. */
#define CONTENT_BYTES_MAX 20000
/* Room that one edit may need: a record of 255 * 66 bytes. */
#define EDIT_BYTES_MAX (17u * 1024)

struct content {
	uint8_t type;
	size_t len;
	uint8_t bytes[CONTENT_BYTES_MAX];
};

void
meddler_begin(struct meddler *m, struct bytes edits, const struct meddler_secrets *secrets,
	      enum aead_cipher cipher, bool is_13, bool is_client)
{
	memset(m, 0, offsetof(struct meddler, data));
	m->at = edits.ptr;
	m->end = edits.ptr + edits.len;
	m->secrets = secrets;
	m->cipher = cipher;
	m->is_13 = is_13;
	m->is_client = is_client;
}

void
meddler_enter(struct meddler *m, enum meddler_epoch epoch)
{
	const uint8_t *secret = epoch == MEDDLER_HANDSHAKE ? m->secrets->handshake : m->secrets->application;
	struct records r;

	CHECK(epoch >= m->epoch && epoch != MEDDLER_PLAIN);
	if (epoch == m->epoch)
		return;
	/* TLS 1.2 has the same keys to its end. */
	if (m->is_13)
		records_begin_13(&r, m->cipher, secret, secret, 0, false);
	else if (m->epoch == MEDDLER_PLAIN)
		records_begin_12(&r, m->cipher, &m->secrets->master, m->is_client);
	if (m->is_13 || m->epoch == MEDDLER_PLAIN) {
		m->writes = tls_forge_make(&r, &r.send);
		m->writes.way.sequence = 0;
		m->reads = m->writes;
	}
	m->epoch = epoch;
}

/* --- edits ---------------------------------------------------------------------------------------- */

static uint8_t
take(struct meddler *m)
{
	return m->at < m->end ? *m->at++ : 0;
}

static size_t
take_below(struct meddler *m, size_t limit)
{
	size_t value = (size_t)take(m) << 8;

	value |= take(m);
	return limit > 0 ? value % limit : 0;
}

static struct bytes
take_bytes(struct meddler *m, size_t len)
{
	struct bytes taken = bytes_make(m->at, len < (size_t)(m->end - m->at) ? len : (size_t)(m->end - m->at));

	m->at += taken.len;
	return taken;
}

static size_t
seal(struct meddler *m, const struct content *c, uint8_t *to)
{
	if (m->epoch != MEDDLER_PLAIN)
		return tls_forge_seal(&m->writes, c->type, bytes_make(c->bytes, c->len), 0, to);
	to[0] = c->type;
	to[1] = to[2] = 3;
	to[3] = (uint8_t)(c->len >> 8);
	to[4] = (uint8_t)c->len;
	memcpy(to + 5, c->bytes, c->len);
	return 5 + c->len;
}

/* The type of a record whose type is said to be zero is what is before the zeros, and the content what is before
 * that (RFC 8446 section 5.4). */
static uint8_t
type_and_len(const struct meddler *m, const struct content *c, size_t *len)
{
	*len = c->len;
	if (c->type != 0 || !m->is_13 || m->epoch == MEDDLER_PLAIN)
		return c->type;
	while (*len > 0 && c->bytes[*len - 1] == 0)
		--*len;
	return *len > 0 ? c->bytes[--*len] : 0;
}

static void
note(struct meddler *m, const struct content *c)
{
	size_t len;
	uint8_t type = type_and_len(m, c, &len);

	m->has_tampered |= type == HANDSHAKE && m->epoch != MEDDLER_APPLICATION;
	if (type != DATA || c->len > RECORDS_DATA_BYTES_MAX || m->epoch != MEDDLER_APPLICATION ||
	    m->said + len > sizeof(m->data)) {
		m->has_broken = true;
		return;
	}
	memcpy(m->data + m->said, c->bytes, len);
	m->said += len;
}

static size_t
say(struct meddler *m, size_t times, uint8_t *to)
{
	static struct content c;
	struct bytes bytes;

	c.type = take(m);
	c.len = take(m);
	bytes = take_bytes(m, c.len);
	c.len = times == 1 ? bytes.len : c.len * times;
	CHECK(c.len <= sizeof(c.bytes));
	for (size_t i = 0; i < c.len; i++)
		c.bytes[i] = bytes.len > 0 ? bytes.ptr[i % bytes.len] : 0;
	note(m, &c);
	return seal(m, &c, to);
}

static void
fit(struct content *c)
{
	if (c->len < 4)
		return;
	c->bytes[1] = 0;
	c->bytes[2] = (uint8_t)((c->len - 4) >> 8);
	c->bytes[3] = (uint8_t)(c->len - 4);
}

static void
insert(struct content *c, size_t at, struct bytes bytes)
{
	if (c->len + bytes.len > sizeof(c->bytes))
		return;
	memmove(c->bytes + at + bytes.len, c->bytes + at, c->len - at);
	if (bytes.len > 0)
		memcpy(c->bytes + at, bytes.ptr, bytes.len);
	c->len += bytes.len;
}

static void
delete(struct content *c, size_t at, size_t len)
{
	if (len > c->len - at)
		len = c->len - at;
	memmove(c->bytes + at, c->bytes + at + len, c->len - at - len);
	c->len -= len;
}

/* An edit of what is in the record. */
static void
change(struct meddler *m, uint8_t op, struct content *c)
{
	size_t at = take_below(m, op == 1 ? c->len + 1 : c->len);
	uint8_t by = take(m);

	if (op == 0 && c->len > 0)
		c->bytes[at] ^= by == 0 ? 1 : by;
	if (op == 1)
		insert(c, at, take_bytes(m, by));
	if (op == 2)
		delete(c, at, by);
}

struct outcome {
	size_t written;
	unsigned int copies;
	size_t split_at; /* 0: not */
	bool is_damaged;
	size_t damage_at;
	uint8_t damage;
};

static void
edit(struct meddler *m, struct content *c, struct outcome *o, uint8_t *to)
{
	uint8_t op = take(m);
	uint8_t kind = (op & 15) % 11;

	m->has_edited = true;
	if (kind == 5 || kind == 10) {
		o->written += say(m, kind == 5 ? 1 : 66, to + o->written);
		return;
	}
	if (kind == 6) {
		struct bytes raw = take_bytes(m, take(m));

		if (raw.len > 0)
			memcpy(to + o->written, raw.ptr, raw.len);
		o->written += raw.len;
		m->has_broken |= raw.len > 0;
		return;
	}
	if (kind == 9) {
		m->is_over = true;
		return;
	}
	if (c == NULL)
		return;
	m->has_broken = true;
	switch (kind) {
	case 3:
		o->copies = 0;
		break;
	case 4:
		o->copies = 2;
		break;
	case 7:
		o->split_at = take_below(m, c->len);
		break;
	case 8:
		o->is_damaged = true;
		o->damage_at = take_below(m, SIZE_MAX);
		o->damage = take(m);
		break;
	default:
		change(m, kind, c);
		break;
	}
	if ((op & 16) != 0 && kind <= 2 && c->type == HANDSHAKE)
		fit(c);
}

static void
edit_all(struct meddler *m, struct content *c, struct outcome *o, uint8_t *to)
{
	while (!m->is_over && m->at < m->end && o->written + 8 * EDIT_BYTES_MAX < MEDDLER_BYTES_MAX) {
		if (!m->has_edit) {
			m->let_by = take(m);
			m->has_edit = true;
		}
		if (c != NULL && m->let_by > 0) {
			m->let_by--;
			return;
		}
		m->has_edit = false;
		edit(m, c, o, to);
	}
}

/* --- records ---------------------------------------------------------------------------------------- */

static bool
open_with(struct meddler *m, struct bytes record, struct content *c)
{
	int len;

	CHECK(record.len <= sizeof(c->bytes));
	len = tls_forge_open(&m->reads, record, &c->type, c->bytes);
	c->len = len < 0 ? 0 : (size_t)len;
	return len >= 0;
}

/* What was said in it. */
static void
read_record(struct meddler *m, struct bytes record, struct content *c)
{
	bool is_sealed = m->is_13 ? record.ptr[0] == DATA : m->epoch != MEDDLER_PLAIN;

	if (!is_sealed) {
		c->type = record.ptr[0];
		c->len = record.len - 5;
		memcpy(c->bytes, record.ptr + 5, c->len);
		return;
	}
	if (m->epoch == MEDDLER_PLAIN)
		meddler_enter(m, MEDDLER_HANDSHAKE);
	if (open_with(m, record, c))
		return;
	CHECK(m->epoch == MEDDLER_HANDSHAKE);
	meddler_enter(m, MEDDLER_APPLICATION);
	CHECK(open_with(m, record, c));
}

/* In two records, if at is inside of it. */
static size_t
write_record(struct meddler *m, const struct content *c, size_t at, uint8_t *to)
{
	static struct content half;
	size_t written;

	if (at == 0 || at >= c->len)
		return seal(m, c, to);
	half.type = c->type;
	half.len = at;
	memcpy(half.bytes, c->bytes, at);
	written = seal(m, &half, to);
	half.len = c->len - at;
	memcpy(half.bytes, c->bytes + at, half.len);
	return written + seal(m, &half, to + written);
}

size_t
meddler_pass(struct meddler *m, struct bytes record, uint8_t *to)
{
	static struct content before, c;
	struct outcome o = { .copies = 1 };
	bool was_plain = m->epoch == MEDDLER_PLAIN;
	size_t begin;

	if (m->is_over)
		return 0;
	read_record(m, record, &before);
	/* In TLS 1.3, records without protection between those that have it. */
	if (m->is_13 && !was_plain && record.ptr[0] != DATA) {
		memcpy(to, record.ptr, record.len);
		return record.len;
	}
	c = before;
	edit_all(m, &c, &o, to);
	if (m->is_over)
		return o.written;
	begin = o.written;
	for (unsigned int i = 0; i < o.copies; i++)
		o.written += write_record(m, &c, o.split_at, to + o.written);
	if (o.is_damaged && o.written > begin)
		to[begin + o.damage_at % (o.written - begin)] ^= o.damage == 0 ? 1 : o.damage;
	m->has_tampered |= before.type == HANDSHAKE && m->epoch != MEDDLER_APPLICATION &&
			   (o.copies == 0 || (o.copies == 2 && before.bytes[0] != FINISHED) ||
			    c.len != before.len || memcmp(c.bytes, before.bytes, c.len) != 0);
	if (!m->is_13 && before.type == CHANGE_CIPHER_SPEC)
		meddler_enter(m, MEDDLER_HANDSHAKE);
	return o.written;
}

size_t
meddler_add(struct meddler *m, uint8_t *to)
{
	struct outcome o = { .written = 0 };

	edit_all(m, NULL, &o, to);
	return o.written;
}
