/* One encoding per job: no padding, no unused bits, so that an id can be compared as text. */
#include "dataplane/job.h"

#include "base/check.h"
#include "http/urlpath.h"
#include "tls/keyhash.h"

#define VERSION 1
#define MAC_BYTES 16

static const char prefix[] = "video_";
static const char domain[] = "sluice video job";
static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

CHECK_STATIC(sizeof(prefix) - 1 == 6, "as JOB_TEXT_BYTES_MAX counts");
CHECK_STATIC(SHM_NAME_BYTES <= 255, "a name's length fits its byte");

static void
make_mac(const uint8_t pepper[32], struct bytes plain, uint8_t mac[KEYHASH_BYTES])
{
	uint8_t input[sizeof(domain) + JOB_BYTES_MAX];

	CHECK(plain.len <= JOB_BYTES_MAX);
	memcpy(input, domain, sizeof(domain));
	memcpy(input + sizeof(domain), plain.ptr, plain.len);
	keyhash_make(pepper, bytes_make(input, sizeof(domain) + plain.len), mac);
}

static uint32_t
encode(struct bytes from, char *to)
{
	uint32_t len = 0;

	for (size_t i = 0; i < from.len; i += 3) {
		size_t left = from.len - i;
		uint32_t three = (uint32_t)from.ptr[i] << 16 | (left > 1 ? (uint32_t)from.ptr[i + 1] << 8 : 0) |
				 (left > 2 ? (uint32_t)from.ptr[i + 2] : 0);

		for (size_t k = 0; k <= (left < 3 ? left : 3); k++)
			to[len++] = digits[three >> (18 - 6 * k) & 63];
	}
	return len;
}

static int
value_of(uint8_t c)
{
	const char *at = c != '\0' ? memchr(digits, c, 64) : NULL;

	return at != NULL ? (int)(at - digits) : -1;
}

/* False: not the encoding of anything, or of more than fits. */
static bool
decode(struct bytes from, uint8_t *to, uint32_t room, uint32_t *len)
{
	uint32_t bits = 0, held = 0;

	*len = 0;
	for (size_t i = 0; i < from.len; i++) {
		int value = value_of(from.ptr[i]);

		if (value < 0)
			return false;
		held = held << 6 | (uint32_t)value;
		bits += 6;
		if (bits < 8)
			continue;
		bits -= 8;
		if (*len == room)
			return false;
		to[(*len)++] = (uint8_t)(held >> bits);
		held &= (1u << bits) - 1;
	}
	return bits < 6 && held == 0;
}

static uint8_t *
put_number(uint8_t *to, uint64_t number)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(number >> (56 - 8 * i));
	return to + 8;
}

static uint64_t
take_number(struct bytes *from)
{
	uint64_t number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | from->ptr[i];
	bytes_advance(from, 8);
	return number;
}

static bool
is_segment(struct bytes id)
{
	return id.len > 0 && id.len <= JOB_ID_BYTES_MAX && memchr(id.ptr, '/', id.len) == NULL &&
	       urlpath_is_plain(id);
}

uint32_t
job_seal(const uint8_t pepper[32], const struct job *job, char text[JOB_TEXT_BYTES_MAX])
{
	uint8_t plain[JOB_BYTES_MAX];
	uint8_t mac[KEYHASH_BYTES];
	uint8_t *end = plain;
	size_t len;

	CHECK(job->model.len <= SHM_NAME_BYTES);
	if (!is_segment(job->id))
		return 0;
	*end++ = VERSION;
	end = put_number(end, job->account_id);
	end = put_number(end, job->pod_id);
	end = put_number(end, job->instance_id);
	*end++ = (uint8_t)job->model.len;
	if (job->model.len > 0)
		memcpy(end, job->model.ptr, job->model.len);
	end += job->model.len;
	memcpy(end, job->id.ptr, job->id.len);
	end += job->id.len;
	len = (size_t)(end - plain);
	make_mac(pepper, bytes_make(plain, len), mac);
	memcpy(end, mac, MAC_BYTES);
	memcpy(text, prefix, sizeof(prefix) - 1);
	return (uint32_t)sizeof(prefix) - 1 +
	       encode(bytes_make(plain, len + MAC_BYTES), text + sizeof(prefix) - 1);
}

/* In a time that tells nothing about where they differ. */
static bool
has_mac(const uint8_t pepper[32], struct bytes plain, const uint8_t *given)
{
	uint8_t wanted[KEYHASH_BYTES];
	uint8_t padded[KEYHASH_BYTES];

	make_mac(pepper, plain, wanted);
	memcpy(padded, wanted, sizeof(padded));
	memcpy(padded, given, MAC_BYTES);
	return keyhash_equal(wanted, padded);
}

bool
job_open(const uint8_t pepper[32], struct bytes text, uint8_t scratch[JOB_BYTES_MAX], struct job *job)
{
	struct bytes plain;
	uint32_t len;

	if (!bytes_starts_with(text, BYTES_LITERAL("video_")) ||
	    !decode(bytes_after(text, sizeof(prefix) - 1), scratch, JOB_BYTES_MAX, &len) ||
	    len < 26 + 1 + MAC_BYTES)
		return false;
	plain = bytes_make(scratch, len - MAC_BYTES);
	if (!has_mac(pepper, plain, scratch + plain.len))
		return false;
	/* Whatever is sealed was written by job_seal(); its lengths are still not believed blindly. */
	if (plain.ptr[0] != VERSION)
		return false;
	bytes_advance(&plain, 1);
	job->account_id = take_number(&plain);
	job->pod_id = take_number(&plain);
	job->instance_id = take_number(&plain);
	job->model = bytes_make(plain.ptr + 1, plain.ptr[0]);
	if (plain.len < 1 + job->model.len + 1)
		return false;
	job->id = bytes_after(plain, 1 + job->model.len);
	return is_segment(job->id) && (job->model.len == 0) == (job->instance_id != 0);
}
