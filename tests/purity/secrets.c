/*
 * Run by valgrind: secrets are marked as never written, so a branch or an address that depends on one is an
 * error to it, whatever the compiler made of the code. The results are marked as written again.
 */
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "base/check.h"
#include "seeded.h"
#include "tls/crypto_field.h"
#include "tls/crypto_ladder_avx2.h"
#include "tls/crypto_order.h"
#include "tls/crypto_p256.h"
#include "tls/crypto_x25519.h"

static struct seeded seed = { 7 };

static void
draw(void *to, size_t bytes)
{
	(void)seeded_entropy(&seed, to, bytes);
	VALGRIND_MAKE_MEM_UNDEFINED(to, bytes);
}

/* So that valgrind looks at it, and it is not left out. */
static void
show(void *what, size_t bytes)
{
	VALGRIND_MAKE_MEM_DEFINED(what, bytes);
	for (size_t i = 0; i < bytes; i++)
		printf("%02x", ((const uint8_t *)what)[i]);
	puts("");
}

static void
sign(void)
{
	uint8_t public[P256_BYTES];
	uint8_t key[P256_BYTES];
	uint8_t nonce[P256_BYTES];
	uint8_t s[P256_BYTES];
	struct p256_number e;

	(void)seeded_entropy(&seed, public, sizeof(public));
	draw(key, sizeof(key));
	draw(nonce, sizeof(nonce));
	e = p256_scalar_read(public);
	p256_number_write(p256_scalar_sign(e, e, p256_scalar_read(key), p256_scalar_read(nonce)), s);
	show(s, sizeof(s));
}

/* Where the nonce's point is without a division tells of the nonce. */
static void
divide(void)
{
	uint8_t jacobian[3 * P256_BYTES];
	uint8_t point[2 * P256_BYTES];
	bool is_finite;

	draw(jacobian, sizeof(jacobian));
	is_finite = p256_find_affine(jacobian, point);
	show(&is_finite, sizeof(is_finite));
	show(point, sizeof(point));
}

static void
make_public(void)
{
	uint8_t key[CRYPTO_X25519_BYTES];

	draw(key, sizeof(key));
	x25519_public(key, key);
	show(key, sizeof(key));
}

static void
reduce(enum crypto_curve curve)
{
	uint8_t number[CRYPTO_COORDINATE_BYTES_MAX];
	bool is_key;

	draw(number, order_bytes(curve));
	is_key = order_is_key(curve, number);
	show(&is_key, sizeof(is_key));
	order_reduce(curve, number, number);
	show(number, order_bytes(curve));
}

/* Valgrind rounds as it likes, so that the ladder refuses to be here: what it computes is wrong, but by the same
 * way. */
static void
agree(void)
{
#ifdef __x86_64__
	uint8_t key[CRYPTO_X25519_BYTES];
	uint8_t u[CRYPTO_X25519_BYTES];

	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
		return;
	draw(key, sizeof(key));
	(void)seeded_entropy(&seed, u, sizeof(u));
	ladder_avx2_multiply(key, u, key);
	show(key, sizeof(key));
#endif
}

/* And so that nobody has it compute where it would. */
static void
agree_rightly(void)
{
	static const uint8_t base[CRYPTO_X25519_BYTES] = { 9 };
	uint8_t key[CRYPTO_X25519_BYTES];
	uint8_t got[CRYPTO_X25519_BYTES];
	uint8_t wanted[CRYPTO_X25519_BYTES];

	if (!ladder_avx2_is_here())
		return;
	(void)seeded_entropy(&seed, key, sizeof(key));
	ladder_avx2_multiply(key, base, got);
	x25519_public(key, wanted);
	CHECK(memcmp(got, wanted, sizeof(wanted)) == 0);
}

/* What valgrind's processor does not do for public keys, since it has MULX. */
static void
calculate_portably(void)
{
	struct field a;
	struct field b;

	draw(&a, sizeof(a));
	draw(&b, sizeof(b));
	field_multiply_portable(&a, &a, &b);
	field_add_portable(&a, &a, &b);
	field_subtract_portable(&a, &a, &b);
	show(&a, sizeof(a));
}

/* With an argument it does what must be found. */
int
main(int argc, char **argv)
{
	uint8_t secret[1];

	(void)argv;
	if (RUNNING_ON_VALGRIND == 0)
		return 2;
	sign();
	divide();
	make_public();
	agree();
	agree_rightly();
	reduce(CRYPTO_P256);
	reduce(CRYPTO_P384);
	calculate_portably();
	draw(secret, sizeof(secret));
	if (argc > 1 && secret[0] > 100)
		puts("large");
	return 0;
}
