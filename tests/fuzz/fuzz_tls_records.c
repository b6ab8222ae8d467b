/*
 * Records of a peer that has the keys: sealed well, then changed or not, cut anyhow, by both implementations
 * of the ciphers at once.
 *
 *   | version, cipher, role | bytes per piece, 0: all | steps: kind, length, ... |
 *
 * A step is one record: its content's type and length, its padding, and possibly a byte to change. What is
 * not changed and breaks no rule must arrive; after the first fault nothing does; both implementations always
 * agree.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/units.h"
#include "tls_forge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 200
#define WIRE_BYTES_MAX (2 * RECORDS_DATA_BYTES_MAX + 1024)

struct side {
	_Alignas(64) struct keyring ring;
	struct records r;
	uint8_t *wire; /* exactly as long as the record, so that a sanitizer sees what is beyond */
	bool is_there;
};

static struct side sides[AEAD_KINDS];
static struct piece pieces[WIRE_BYTES_MAX];

static uint8_t
take(const uint8_t **data, const uint8_t *end)
{
	return *data < end ? *(*data)++ : 0;
}

static void
start(void)
{
	static bool is_started;

	if (is_started)
		return;
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
		sides[kind].is_there = keyring_init_kind(&sides[kind].ring, kind);
	is_started = true;
}

static struct pieces
cut(uint8_t *bytes, size_t len, size_t piece)
{
	size_t count = 0;

	for (size_t at = 0; at < len; at += piece)
		pieces[count++] = (struct piece){ bytes + at, len - at < piece ? len - at : piece };
	return (struct pieces){ pieces, count };
}

static void
answer(struct side *side)
{
	uint8_t said[RECORDS_ANSWER_BYTES_MAX];
	size_t written = 0;

	CHECK(records_answer(&side->r, &side->ring, said, sizeof(said), &written) == ERR_OK);
	CHECK(written <= sizeof(said) && !records_owes(&side->r));
}

/* True: the connection goes on. */
static bool
feed(const uint8_t *record, size_t len, size_t piece, bool is_changed, uint8_t type, size_t content_len,
     uint64_t now_ns)
{
	enum err verdicts[AEAD_KINDS];
	struct records_opened opened[AEAD_KINDS];
	const struct side *first = NULL;

	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++) {
		struct side *side = &sides[kind];
		struct pieces in;

		if (!side->is_there)
			continue;
		side->wire = malloc(len);
		CHECK(side->wire != NULL);
		memcpy(side->wire, record, len);
		in = cut(side->wire, len, piece);
		verdicts[kind] = records_open(&side->r, &side->ring, &in, now_ns, &opened[kind]);
		CHECK(opened[kind].taken <= len && opened[kind].offset + opened[kind].len <= len);
		CHECK(opened[kind].kind != RECORDS_NOTHING || opened[kind].len == 0);
		CHECK(verdicts[kind] == ERR_OK || opened[kind].len == 0);
		answer(side);
		if (first == NULL) {
			first = side;
			if (!is_changed && type == 23 && content_len <= RECORDS_DATA_BYTES_MAX &&
			    verdicts[kind] == ERR_OK)
				CHECK(opened[kind].len == content_len);
			if (is_changed)
				CHECK(verdicts[kind] != ERR_OK);
		} else {
			unsigned int other = (unsigned int)(first - sides);

			CHECK(verdicts[kind] == verdicts[other]);
			CHECK(opened[kind].kind == opened[other].kind &&
			      opened[kind].taken == opened[other].taken &&
			      opened[kind].offset == opened[other].offset &&
			      opened[kind].len == opened[other].len &&
			      opened[kind].wanted == opened[other].wanted);
			CHECK(memcmp(side->wire, first->wire, len) == 0);
			CHECK(memcmp(&side->r, &first->r, sizeof(side->r)) == 0);
		}
	}
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
		if (sides[kind].is_there)
			free(sides[kind].wire);
	return verdicts[AEAD_MBEDTLS] == ERR_OK;
}

static bool
step(struct tls_forge *peer, const uint8_t **data, const uint8_t *end, size_t piece, uint64_t *now_ns)
{
	static uint8_t record[WIRE_BYTES_MAX];
	static uint8_t content[RECORDS_DATA_BYTES_MAX + 512];
	uint8_t kind = take(data, end);
	uint8_t type = kind & 15 ? (uint8_t)(20 + (kind & 7)) : take(data, end);
	size_t len = take(data, end);
	size_t padding = (kind & 16) != 0 ? (size_t)take(data, end) * 60 : 0;
	bool is_update;
	size_t total;

	if ((kind & 32) != 0)
		len *= 66;
	for (size_t i = 0; i < len; i++)
		content[i] = i < 16 ? take(data, end) : (uint8_t)i;
	*now_ns += (uint64_t)(kind & 1) * NSEC_PER_SEC;
	is_update = peer->is_13 && type == 22 && len == 5 && memcmp(content, "\x18\0\0\1", 4) == 0 &&
		    content[4] < 2;
	total = tls_forge_seal(peer, type, bytes_make(content, len), padding, record);
	if ((kind & 64) != 0) {
		size_t at = ((size_t)take(data, end) << 8 | take(data, end)) % total;
		uint8_t change = take(data, end);

		record[at] ^= change == 0 ? 1 : change;
		(void)feed(record, total, piece, true, type, len, *now_ns);
		return false;
	}
	if (!feed(record, total, piece, false, type, len, *now_ns))
		return false;
	if (is_update)
		tls_forge_renew(peer);
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t secrets[2][48] = { { 1 }, { 2 } };
	static const struct records_master master = { { 3 }, { 4 }, { 5 } };
	const uint8_t *end = data + size;
	uint8_t how = take(&data, end);
	size_t piece = take(&data, end);
	enum aead_cipher cipher = how % AEAD_CIPHERS;
	uint64_t now_ns = NSEC_PER_SEC;
	struct tls_forge peer;

	start();
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++) {
		struct records *r = &sides[kind].r;

		if ((how & 64) != 0)
			records_begin_13(r, cipher, secrets[0], secrets[1], 0, (how & 128) != 0);
		else
			records_begin_12(r, cipher, &master, (how & 128) != 0);
	}
	peer = tls_forge_make(&sides[AEAD_MBEDTLS].r, &sides[AEAD_MBEDTLS].r.receive);
	for (int steps = 0; steps < STEPS_MAX && data < end; steps++) {
		if (!step(&peer, &data, end, piece == 0 ? WIRE_BYTES_MAX : piece, &now_ns)) {
			/* Nothing more is opened, however good. */
			static uint8_t record[256];
			size_t len = tls_forge_seal(&peer, 23, BYTES_LITERAL("good"), 0, record);

			if (sides[AEAD_MBEDTLS].r.verdict != ERR_OK)
				CHECK(!feed(record, len, 7, true, 23, 4, now_ns));
			break;
		}
	}
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
		if (sides[kind].is_there)
			records_end(&sides[kind].r, &sides[kind].ring);
	return 0;
}
