/* RFC 6979 A.2.5: the nonces of P-256 with SHA-256. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tls/crypto_nonces.h"
#include "tls/derive.h"

static const uint8_t key[P256_BYTES] = {
	0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba, 0x75, 0x16, 0x6b, 0x5c, 0x21, 0x57, 0x67, 0xb1, 0xd6, 0x93,
	0x4e, 0x50, 0xc3, 0xdb, 0x36, 0xe8, 0x9b, 0x12, 0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21,
};
static const uint8_t of_sample[P256_BYTES] = {
	0xa6, 0xe3, 0xc5, 0x7d, 0xd0, 0x1a, 0xbe, 0x90, 0x08, 0x65, 0x38, 0x39, 0x83, 0x55, 0xdd, 0x4c,
	0x3b, 0x17, 0xaa, 0x87, 0x33, 0x82, 0xb0, 0xf2, 0x4d, 0x61, 0x29, 0x49, 0x3d, 0x8a, 0xad, 0x60,
};
static const uint8_t of_test[P256_BYTES] = {
	0xd1, 0x6b, 0x6a, 0xe8, 0x27, 0xf1, 0x71, 0x75, 0xe0, 0x40, 0x87, 0x1a, 0x1c, 0x7e, 0xc3, 0x50,
	0x01, 0x92, 0xc4, 0xc9, 0x26, 0x77, 0x33, 0x6e, 0xc2, 0x53, 0x7a, 0xca, 0xee, 0x00, 0x08, 0xe0,
};

static struct nonces
nonces_of(struct bytes message)
{
	uint8_t hash[P256_BYTES];
	uint8_t key_and_hash[2 * P256_BYTES];
	struct nonces n;

	derive_digest(DERIVE_SHA256, &message, 1, hash);
	memcpy(key_and_hash, key, P256_BYTES);
	p256_scalar_write(p256_scalar_read(hash), key_and_hash + P256_BYTES);
	nonces_init(&n, key_and_hash);
	assert_true(nonces_next(&n));
	return n;
}

static void
nonces_are_the_published_ones(void **state)
{
	(void)state;
	assert_memory_equal(nonces_of(BYTES_LITERAL("sample")).value, of_sample, P256_BYTES);
	assert_memory_equal(nonces_of(BYTES_LITERAL("test")).value, of_test, P256_BYTES);
}

static void
the_next_is_another(void **state)
{
	struct nonces n = nonces_of(BYTES_LITERAL("sample"));

	(void)state;
	assert_true(nonces_next(&n));
	assert_memory_not_equal(n.value, of_sample, P256_BYTES);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(nonces_are_the_published_ones),
		cmocka_unit_test(the_next_is_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
