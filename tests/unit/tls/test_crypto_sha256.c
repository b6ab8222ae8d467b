/* Blocks of SHA-256 by the processor's instructions are those of mbedTLS's own code. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <mbedtls/md.h>
#include <mbedtls/sha256.h>

#include "base/units.h"
#include "memory.h"
#include "seeded.h"
#include "tls/crypto.h"
#include "tls/crypto_sha256.h"
#include "tls/derive.h"
#include "tls/instance.h"

#define MESSAGES 200
#define BLOCKS_MAX 5
#define TEXT_BYTES_MAX 200
#define MAC_BYTES 32

static struct seeded seed = { 9 };

struct sum {
	uint32_t state[CRYPTO_SHA2_WORDS];
};

/* Of so many whole blocks, without an end. */
static struct sum
sum_of(const uint8_t *blocks, size_t count)
{
	mbedtls_sha256_context sha;
	struct sum sum;

	mbedtls_sha256_init(&sha);
	assert_int_equal(mbedtls_sha256_starts(&sha, 0), 0);
	assert_int_equal(mbedtls_sha256_update(&sha, blocks, count * CRYPTO_SHA256_BLOCK_BYTES), 0);
	memcpy(sum.state, sha.MBEDTLS_PRIVATE(state), sizeof(sum.state));
	mbedtls_sha256_free(&sha);
	return sum;
}

static void
blocks_are_those_of_mbedtls(void **state)
{
	struct instance *instance = instance_new(1 * MIB, seeded_entropy, &seed);
	struct instance *before;

	(void)state;
	if (!sha256_is_here())
		skip();
	/* With mbedTLS's own code. */
	before = instance_enter(instance);
	assert_false(instance_hashes());
	for (int i = 0; i < MESSAGES; i++) {
		uint8_t blocks[2][BLOCKS_MAX * CRYPTO_SHA256_BLOCK_BYTES];
		size_t count = 1 + (size_t)i % BLOCKS_MAX;
		struct sum first = sum_of(NULL, 0);
		struct sum second = first;
		struct sum alone = first;
		struct sum wanted;

		assert_int_equal(seeded_entropy(&seed, (uint8_t *)blocks, sizeof(blocks)), 0);
		sha256_blocks(alone.state, blocks[0], count);
		wanted = sum_of(blocks[0], count);
		assert_memory_equal(&alone, &wanted, sizeof(wanted));
		for (size_t block = 0; block < count; block++)
			sha256_two(first.state, blocks[0] + block * CRYPTO_SHA256_BLOCK_BYTES,
				   second.state, blocks[1] + block * CRYPTO_SHA256_BLOCK_BYTES);
		assert_memory_equal(&first, &wanted, sizeof(wanted));
		wanted = sum_of(blocks[1], count);
		assert_memory_equal(&second, &wanted, sizeof(wanted));
	}
	instance_leave(before);
	instance_free(instance);
}

/* text has room for what make_macs() reads. */
#define MORE_BYTES_MAX 6

static void
draw_text(uint8_t text[TEXT_BYTES_MAX + MORE_BYTES_MAX])
{
	assert_int_equal(seeded_entropy(&seed, text, TEXT_BYTES_MAX + MORE_BYTES_MAX), 0);
}

static size_t
whole_bytes(size_t len)
{
	return len + len % (MORE_BYTES_MAX + 1);
}

static void
make_macs(const uint8_t *text, uint8_t macs[TEXT_BYTES_MAX][MAC_BYTES])
{
	for (size_t len = 0; len < TEXT_BYTES_MAX; len++)
		derive_hmac(DERIVE_SHA256, bytes_make(text, len % 65), bytes_make(text, len),
			    bytes_make(text + len, whole_bytes(len) - len), macs[len]);
}

/* Before anybody has asked the processor, libcrypto asks it itself; so this case is the first. */
static void
macs_are_the_same_before_it_is_prepared(void **state)
{
	static uint8_t macs[2][TEXT_BYTES_MAX][MAC_BYTES];
	uint8_t text[TEXT_BYTES_MAX + MORE_BYTES_MAX];

	(void)state;
	if (!sha256_is_here())
		skip();
	draw_text(text);
	make_macs(text, macs[0]);
	if (!crypto_prepare())
		skip();
	make_macs(text, macs[1]);
	assert_memory_equal(macs[0], macs[1], sizeof(macs[0]));
}

static void
macs_are_those_of_mbedtls(void **state)
{
	static uint8_t macs[TEXT_BYTES_MAX][MAC_BYTES];
	struct instance *instance = instance_new(1 * MIB, seeded_entropy, &seed);
	struct instance *before;
	uint8_t text[TEXT_BYTES_MAX + MORE_BYTES_MAX];

	(void)state;
	(void)crypto_prepare();
	draw_text(text);
	make_macs(text, macs);
	before = instance_enter(instance);
	assert_true(instance_use_primitives(instance, "mbedtls"));
	assert_false(instance_hashes());
	for (size_t len = 0; len < TEXT_BYTES_MAX; len++) {
		uint8_t wanted[MAC_BYTES];

		assert_int_equal(mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), text, len % 65,
						 text, whole_bytes(len), wanted),
				 0);
		assert_memory_equal(macs[len], wanted, sizeof(wanted));
	}
	instance_leave(before);
	instance_free(instance);
}

/* --- what is left of a key -------------------------------------------------------------------- */

#define STACK_BYTES (128 * KIB)
#define KEY_BYTES 32
#define INNER_PAD 0x36 /* RFC 2104 */
#define OUTER_PAD 0x5c

#ifdef __OPTIMIZE__
#define IS_OPTIMIZED true
#else
#define IS_OPTIMIZED false
#endif

static _Alignas(4096) uint8_t stack[STACK_BYTES];
static uint8_t key[KEY_BYTES];

static void *
make_mac(void *mac)
{
	derive_hmac(DERIVE_SHA256, bytes_make(key, sizeof(key)), BYTES_LITERAL("text"), BYTES_NONE, mac);
	return NULL;
}

static bool
is_on_the_stack(const uint8_t *what)
{
	return memmem(stack, sizeof(stack), what, KEY_BYTES / 2) != NULL;
}

/* The halves of a key as the function hashes it: with a pad, and also with its words the other way round. */
static void
assert_no_half_is_left(uint8_t pad)
{
	for (size_t half = 0; half < KEY_BYTES; half += KEY_BYTES / 2) {
		uint8_t hashed[KEY_BYTES / 2];
		uint8_t turned[KEY_BYTES / 2];

		for (size_t i = 0; i < sizeof(hashed); i++) {
			hashed[i] = key[half + i] ^ pad;
			turned[i ^ 3] = hashed[i];
		}
		assert_false(is_on_the_stack(hashed));
		assert_false(is_on_the_stack(turned));
	}
}

/* The stack of a worker is not wiped. What compilers do without optimizing is theirs. */
static void
no_key_is_left_on_the_stack(void **state)
{
	uint8_t mac[MAC_BYTES];
	pthread_attr_t attributes;
	pthread_t thread;

	(void)state;
	if (!IS_OPTIMIZED || !memory_is_plain())
		skip();
	(void)crypto_prepare();
	assert_int_equal(seeded_entropy(&seed, key, sizeof(key)), 0);
	assert_int_equal(pthread_attr_init(&attributes), 0);
	assert_int_equal(pthread_attr_setstack(&attributes, stack, sizeof(stack)), 0);
	assert_int_equal(pthread_create(&thread, &attributes, make_mac, mac), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(pthread_attr_destroy(&attributes), 0);
	assert_no_half_is_left(0);
	assert_no_half_is_left(INNER_PAD);
	assert_no_half_is_left(OUTER_PAD);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(macs_are_the_same_before_it_is_prepared),
		cmocka_unit_test(macs_are_those_of_mbedtls),
		cmocka_unit_test(blocks_are_those_of_mbedtls),
		cmocka_unit_test(no_key_is_left_on_the_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
