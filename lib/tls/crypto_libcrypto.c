/*
 * OpenSSL's libcrypto, from 3.0 on, by the calls that share nothing between threads.
 *
 * Points and powers go by EC_POINT and BIGNUM on objects of the instance. X25519, for processors that
 * crypto_ladder_avx2.h is not for, exists as an algorithm of the default provider alone; EVP would look it up
 * and count references for each key, so its dispatch table is read once (OSSL_PROVIDER_query_operation(3)) and
 * its functions are called directly: they touch nothing but the objects they are given.
 *
 * The library has state of each thread: its queue of errors, and who wants to know when the thread ends. That
 * must not lie in an arena, which may be gone when the thread ends. So a thread's state is made outside of
 * every instance before its first call (greet), and what a failed call left in it is dropped while the
 * instance is still entered (forget).
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tls/crypto.h"

#include <openssl/bn.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tls/crypto_ladder_avx2.h"
#include "tls/crypto_p256.h"
#include "tls/crypto_sha256.h"
#include "tls/crypto_x25519.h"
#include "tls/instance.h"

#define POINT_BYTES_MAX (1 + 2 * CRYPTO_COORDINATE_BYTES_MAX)

/* Since 3.2 P-384 has arithmetic of its own; before, mbedTLS's is faster. */
#define VERSION_OF_FAST_P384 0x30200000ul

struct curve {
	EC_GROUP *group; /* NULL: mbedTLS's is better */
	EC_POINT *given;
	EC_POINT *result;
	size_t bytes; /* of a coordinate */
};

struct crypto {
	struct curve curves[CRYPTO_CURVES];
	/* Of the public modulus that was used last: an RSA key's, as a rule. */
	BN_MONT_CTX *reducer;
	uint8_t modulus[CRYPTO_POWER_BYTES_MAX];
	size_t modulus_bytes; /* 0: none */
};

/* The numbers of one call; all of them are zeroed behind it. */
struct numbers {
	BN_CTX *scratch;
	BIGNUM *secret; /* marked so: whatever reads it takes its time */
	BIGNUM *open;
	BIGNUM *x;
	BIGNUM *y;
};

/* Written by crypto_prepare() alone. */
static struct {
	bool is_ready;
	OSSL_PROVIDER *provider;
	void *provider_context;
	OSSL_FUNC_keymgmt_new_fn *key_new;
	OSSL_FUNC_keymgmt_free_fn *key_free;
	OSSL_FUNC_keymgmt_import_fn *key_import;
	OSSL_FUNC_keyexch_newctx_fn *exchange_new;
	OSSL_FUNC_keyexch_freectx_fn *exchange_free;
	OSSL_FUNC_keyexch_init_fn *exchange_init;
	OSSL_FUNC_keyexch_set_peer_fn *exchange_set_peer;
	OSSL_FUNC_keyexch_derive_fn *exchange_derive;
	bool has_ladder;
} shared;

/* Asked for by whoever hashes, prepared or not. */
static _Atomic bool has_sha256;

static CRYPTO_ONCE prepared = CRYPTO_ONCE_STATIC_INIT;
static _Thread_local bool is_greeted;

/* --- memory ---------------------------------------------------------------------------------------------- */

static void *
take(size_t bytes, const char *file, int line)
{
	(void)file;
	(void)line;
	return instance_is_entered() ? instance_calloc(1, bytes) : malloc(bytes);
}

static void
give_back(void *block, const char *file, int line)
{
	(void)file;
	(void)line;
	if (block == NULL)
		return;
	if (instance_owns(block))
		instance_free_block(block);
	else
		free(block);
}

static void *
take_more(void *block, size_t bytes, const char *file, int line)
{
	size_t had;
	void *larger;

	if (block == NULL)
		return take(bytes, file, line);
	if (!instance_owns(block))
		return realloc(block, bytes);
	had = instance_block_bytes(block);
	if (bytes <= had)
		return block;
	larger = instance_calloc(1, bytes);
	if (larger == NULL)
		return NULL;
	memcpy(larger, block, had);
	instance_free_block(block);
	return larger;
}

/* --- the process, and each thread ------------------------------------------------------------------------ */

static const OSSL_DISPATCH *
find(OSSL_PROVIDER *provider, int operation)
{
	static const char name[] = "X25519";
	int no_store = 0;
	const OSSL_ALGORITHM *algorithm = OSSL_PROVIDER_query_operation(provider, operation, &no_store);

	for (; algorithm != NULL && algorithm->algorithm_names != NULL; algorithm++)
		if (strncmp(algorithm->algorithm_names, name, sizeof(name) - 1) == 0)
			return algorithm->implementation;
	return NULL;
}

static void
read_keys(const OSSL_DISPATCH *table)
{
	for (; table != NULL && table->function_id != 0; table++) {
		if (table->function_id == OSSL_FUNC_KEYMGMT_NEW)
			shared.key_new = OSSL_FUNC_keymgmt_new(table);
		else if (table->function_id == OSSL_FUNC_KEYMGMT_FREE)
			shared.key_free = OSSL_FUNC_keymgmt_free(table);
		else if (table->function_id == OSSL_FUNC_KEYMGMT_IMPORT)
			shared.key_import = OSSL_FUNC_keymgmt_import(table);
	}
}

static void
read_exchange(const OSSL_DISPATCH *table)
{
	for (; table != NULL && table->function_id != 0; table++) {
		if (table->function_id == OSSL_FUNC_KEYEXCH_NEWCTX)
			shared.exchange_new = OSSL_FUNC_keyexch_newctx(table);
		else if (table->function_id == OSSL_FUNC_KEYEXCH_FREECTX)
			shared.exchange_free = OSSL_FUNC_keyexch_freectx(table);
		else if (table->function_id == OSSL_FUNC_KEYEXCH_INIT)
			shared.exchange_init = OSSL_FUNC_keyexch_init(table);
		else if (table->function_id == OSSL_FUNC_KEYEXCH_SET_PEER)
			shared.exchange_set_peer = OSSL_FUNC_keyexch_set_peer(table);
		else if (table->function_id == OSSL_FUNC_KEYEXCH_DERIVE)
			shared.exchange_derive = OSSL_FUNC_keyexch_derive(table);
	}
}

/* Makes the thread's state outside of every instance: its errors, and the generator that some builds ask when
 * they blind a point. */
static void
greet(void)
{
	struct instance *before;
	uint8_t byte;

	if (is_greeted)
		return;
	before = instance_enter(NULL);
	(void)RAND_priv_bytes(&byte, sizeof(byte));
	ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
	ERR_clear_error();
	instance_leave(before);
	is_greeted = true;
}

/* What a failed call left behind: the texts of its errors may lie in the arena. */
static enum crypto_result
forget(void)
{
	OPENSSL_thread_stop();
	is_greeted = false;
	return CRYPTO_FAILED;
}

static void
prepare(void)
{
	struct instance *before = instance_enter(NULL);

	if (CRYPTO_set_mem_functions(take, take_more, give_back) == 1)
		shared.provider = OSSL_PROVIDER_load(NULL, "default");
	shared.has_ladder = ladder_avx2_is_here();
	atomic_store_explicit(&has_sha256, sha256_is_here(), memory_order_relaxed);
	if (shared.provider != NULL) {
		shared.provider_context = OSSL_PROVIDER_get0_provider_ctx(shared.provider);
		read_keys(find(shared.provider, OSSL_OP_KEYMGMT));
		read_exchange(find(shared.provider, OSSL_OP_KEYEXCH));
		shared.is_ready = shared.key_new != NULL && shared.key_free != NULL && shared.key_import != NULL &&
				  shared.exchange_new != NULL && shared.exchange_free != NULL &&
				  shared.exchange_init != NULL && shared.exchange_set_peer != NULL &&
				  shared.exchange_derive != NULL;
	}
	instance_leave(before);
}

bool
crypto_prepare(void)
{
	CHECK(CRYPTO_THREAD_run_once(&prepared, prepare) == 1);
	return shared.is_ready;
}

/* --- the instance ---------------------------------------------------------------------------------------- */

static bool
open_curve(struct curve *curve, int name, size_t bytes)
{
	curve->bytes = bytes;
	curve->group = EC_GROUP_new_by_curve_name(name);
	if (curve->group == NULL)
		return false;
	curve->given = EC_POINT_new(curve->group);
	curve->result = EC_POINT_new(curve->group);
	return curve->given != NULL && curve->result != NULL;
}

static bool
open_all(struct crypto *crypto)
{
	if (OpenSSL_version_num() >= VERSION_OF_FAST_P384 &&
	    !open_curve(&crypto->curves[CRYPTO_P384], NID_secp384r1, 48))
		return false;
	return open_curve(&crypto->curves[CRYPTO_P256], NID_X9_62_prime256v1, 32);
}

struct crypto *
crypto_open(void)
{
	struct crypto *crypto;

	CHECK(instance_is_entered());
	if (!crypto_prepare())
		return NULL;
	greet();
	crypto = instance_calloc(1, sizeof(*crypto));
	if (crypto == NULL)
		return NULL;
	crypto->reducer = BN_MONT_CTX_new();
	if (crypto->reducer == NULL || !open_all(crypto)) {
		crypto_close(crypto);
		(void)forget();
		return NULL;
	}
	return crypto;
}

void
crypto_close(struct crypto *crypto)
{
	if (crypto == NULL)
		return;
	for (int i = 0; i < CRYPTO_CURVES; i++) {
		EC_POINT_free(crypto->curves[i].given);
		EC_POINT_free(crypto->curves[i].result);
		EC_GROUP_free(crypto->curves[i].group);
	}
	BN_MONT_CTX_free(crypto->reducer);
	instance_free_block(crypto);
}

/* --- X25519 ---------------------------------------------------------------------------------------------- */

/* An object of the provider with the given halves; it wants a public half beside each private one, and does
 * not look at it when a secret is derived. */
static void *
make_key(const uint8_t *private, const uint8_t *public)
{
	OSSL_PARAM halves[3];
	void *key = shared.key_new(shared.provider_context);
	int count = 0;

	if (key == NULL)
		return NULL;
	halves[count++] = OSSL_PARAM_construct_octet_string(
		OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)public, CRYPTO_X25519_BYTES);
	if (private != NULL)
		halves[count++] = OSSL_PARAM_construct_octet_string(
			OSSL_PKEY_PARAM_PRIV_KEY, (void *)(uintptr_t) private, CRYPTO_X25519_BYTES);
	halves[count] = OSSL_PARAM_construct_end();
	if (shared.key_import(key,
			      private != NULL ? OSSL_KEYMGMT_SELECT_KEYPAIR : OSSL_KEYMGMT_SELECT_PUBLIC_KEY,
			      halves) == 1)
		return key;
	shared.key_free(key);
	return NULL;
}

enum crypto_result
crypto_x25519_provided(struct crypto *crypto, const uint8_t scalar[CRYPTO_X25519_BYTES],
		       const uint8_t u[CRYPTO_X25519_BYTES], uint8_t out[CRYPTO_X25519_BYTES])
{
	void *exchange;
	void *ours;
	void *theirs;
	size_t len = CRYPTO_X25519_BYTES;
	bool done;

	(void)crypto;
	greet();
	exchange = shared.exchange_new(shared.provider_context);
	ours = make_key(scalar, u);
	theirs = make_key(NULL, u);
	done = exchange != NULL && ours != NULL && theirs != NULL &&
	       shared.exchange_init(exchange, ours, NULL) == 1 &&
	       shared.exchange_set_peer(exchange, theirs) == 1 &&
	       shared.exchange_derive(exchange, out, &len, CRYPTO_X25519_BYTES) == 1 &&
	       len == CRYPTO_X25519_BYTES;
	if (exchange != NULL)
		shared.exchange_free(exchange);
	if (ours != NULL)
		shared.key_free(ours);
	if (theirs != NULL)
		shared.key_free(theirs);
	return done ? CRYPTO_OK : forget();
}

/* Without a branch on what they are. */
static bool
is_all_zero(const uint8_t out[CRYPTO_X25519_BYTES])
{
	uint8_t any = 0;

	for (int i = 0; i < CRYPTO_X25519_BYTES; i++)
		any |= out[i];
	return any == 0;
}

enum crypto_result
crypto_x25519(struct crypto *crypto, const uint8_t scalar[CRYPTO_X25519_BYTES], const uint8_t *u,
	      uint8_t out[CRYPTO_X25519_BYTES])
{
	if (u == NULL) {
		x25519_public(scalar, out);
		return CRYPTO_OK;
	}
	if (!shared.has_ladder)
		return crypto_x25519_provided(crypto, scalar, u, out);
	ladder_avx2_multiply(scalar, u, out);
	return is_all_zero(out) ? CRYPTO_FAILED : CRYPTO_OK;
}

/* --- curves of NIST -------------------------------------------------------------------------------------- */

static bool
numbers_init(struct numbers *numbers)
{
	numbers->scratch = BN_CTX_new();
	if (numbers->scratch == NULL)
		return false;
	BN_CTX_start(numbers->scratch);
	numbers->secret = BN_CTX_get(numbers->scratch);
	numbers->open = BN_CTX_get(numbers->scratch);
	numbers->x = BN_CTX_get(numbers->scratch);
	numbers->y = BN_CTX_get(numbers->scratch);
	if (numbers->y == NULL)
		return false;
	BN_set_flags(numbers->secret, BN_FLG_CONSTTIME);
	return true;
}

static void
numbers_fini(struct numbers *numbers)
{
	if (numbers->scratch == NULL)
		return;
	BN_CTX_end(numbers->scratch);
	BN_CTX_free(numbers->scratch);
}

static bool
read_point(struct numbers *n, struct curve *curve, const uint8_t *point)
{
	uint8_t octets[POINT_BYTES_MAX] = { CRYPTO_UNCOMPRESSED };

	memcpy(octets + 1, point, 2 * curve->bytes);
	return EC_POINT_oct2point(curve->group, curve->given, octets, 1 + 2 * curve->bytes, n->scratch) == 1;
}

/* The library's own division is a power of Z, which takes it longer than crypto_inverse.h takes. */
static bool
write_result_p256(struct numbers *n, struct curve *curve, uint8_t *out)
{
	uint8_t jacobian[3 * P256_BYTES];
	BIGNUM *z = BN_CTX_get(n->scratch);
	bool done = z != NULL &&
		    EC_POINT_get_Jprojective_coordinates_GFp(curve->group, curve->result, n->x, n->y, z,
							     n->scratch) == 1 &&
		    BN_bn2binpad(n->x, jacobian, P256_BYTES) == P256_BYTES &&
		    BN_bn2binpad(n->y, jacobian + P256_BYTES, P256_BYTES) == P256_BYTES &&
		    BN_bn2binpad(z, jacobian + 2 * (size_t)P256_BYTES, P256_BYTES) == P256_BYTES &&
		    p256_find_affine(jacobian, out);

	explicit_bzero(jacobian, sizeof(jacobian));
	return done;
}

static bool
write_result(struct numbers *n, struct curve *curve, uint8_t *out)
{
	if (EC_GROUP_get_curve_name(curve->group) == NID_X9_62_prime256v1)
		return write_result_p256(n, curve, out);
	return EC_POINT_get_affine_coordinates(curve->group, curve->result, n->x, n->y, n->scratch) == 1 &&
	       BN_bn2binpad(n->x, out, (int)curve->bytes) == (int)curve->bytes &&
	       BN_bn2binpad(n->y, out + curve->bytes, (int)curve->bytes) == (int)curve->bytes;
}

static bool
multiply(struct numbers *n, struct curve *curve, const uint8_t *scalar, const uint8_t *point)
{
	if (BN_bin2bn(scalar, (int)curve->bytes, n->secret) == NULL)
		return false;
	if (point == NULL)
		return EC_POINT_mul(curve->group, curve->result, n->secret, NULL, NULL, n->scratch) == 1;
	return read_point(n, curve, point) &&
	       EC_POINT_mul(curve->group, curve->result, NULL, curve->given, n->secret, n->scratch) == 1;
}

enum crypto_result
crypto_ec_multiply(struct crypto *crypto, enum crypto_curve name, const uint8_t *scalar,
		   const uint8_t *point, uint8_t *out)
{
	struct curve *curve = &crypto->curves[name];
	struct numbers n;
	bool done;

	if (curve->group == NULL)
		return CRYPTO_DECLINED;
	greet();
	done = numbers_init(&n) && multiply(&n, curve, scalar, point) && write_result(&n, curve, out);
	numbers_fini(&n);
	return done ? CRYPTO_OK : forget();
}

enum crypto_result
crypto_ec_combine(struct crypto *crypto, enum crypto_curve name, const uint8_t *a, const uint8_t *b,
		  const uint8_t *point, uint8_t *out)
{
	struct curve *curve = &crypto->curves[name];
	struct numbers n;
	bool done;

	if (curve->group == NULL)
		return CRYPTO_DECLINED;
	greet();
	done = numbers_init(&n) && read_point(&n, curve, point) &&
	       BN_bin2bn(a, (int)curve->bytes, n.open) != NULL &&
	       BN_bin2bn(b, (int)curve->bytes, n.y) != NULL &&
	       EC_POINT_mul(curve->group, curve->result, n.open, curve->given, n.y, n.scratch) == 1 &&
	       write_result(&n, curve, out);
	numbers_fini(&n);
	return done ? CRYPTO_OK : forget();
}

/* --- powers and products --------------------------------------------------------------------------------- */

/* NULL: no memory. */
static BN_MONT_CTX *
reducer_of(struct crypto *crypto, struct numbers *n, const uint8_t *modulus, size_t bytes)
{
	BIGNUM *number;

	if (bytes == crypto->modulus_bytes && memcmp(modulus, crypto->modulus, bytes) == 0)
		return crypto->reducer;
	crypto->modulus_bytes = 0;
	number = BN_CTX_get(n->scratch);
	if (number == NULL || BN_lebin2bn(modulus, (int)bytes, number) == NULL ||
	    BN_MONT_CTX_set(crypto->reducer, number, n->scratch) != 1)
		return NULL;
	memcpy(crypto->modulus, modulus, bytes);
	crypto->modulus_bytes = bytes;
	return crypto->reducer;
}

static bool
raise_to_power(struct crypto *crypto, struct numbers *n, const struct crypto_power *what)
{
	BIGNUM *power = what->is_public ? n->open : n->secret;
	BIGNUM *modulus = BN_CTX_get(n->scratch);

	if (modulus == NULL || BN_lebin2bn(what->base, (int)what->base_bytes, n->x) == NULL ||
	    BN_lebin2bn(what->power, (int)what->power_bytes, power) == NULL ||
	    BN_lebin2bn(what->modulus, (int)what->modulus_bytes, modulus) == NULL)
		return false;
	if (what->is_public) {
		BN_MONT_CTX *reducer = reducer_of(crypto, n, what->modulus, what->modulus_bytes);

		return reducer != NULL && BN_mod_exp_mont(n->y, n->x, power, modulus, n->scratch, reducer) == 1;
	}
	/* The factors of an RSA modulus are as secret as the powers. */
	BN_set_flags(modulus, BN_FLG_CONSTTIME);
	return BN_mod_exp_mont_consttime(n->y, n->x, power, modulus, n->scratch, NULL) == 1;
}

enum crypto_result
crypto_power(struct crypto *crypto, const struct crypto_power *what, uint8_t *out)
{
	struct numbers n;
	bool done;

	CHECK(what->base_bytes <= 2 * CRYPTO_POWER_BYTES_MAX && what->power_bytes <= CRYPTO_POWER_BYTES_MAX &&
	      what->modulus_bytes <= CRYPTO_POWER_BYTES_MAX);
	greet();
	done = numbers_init(&n) && raise_to_power(crypto, &n, what) &&
	       BN_bn2lebinpad(n.y, out, (int)what->modulus_bytes) == (int)what->modulus_bytes;
	numbers_fini(&n);
	return done ? CRYPTO_OK : forget();
}

/* Since OpenSSL 1.1.1 a division takes the same time for all numbers of their lengths, which anybody may know. */
static bool
take_remainder(struct numbers *n, const struct crypto_division *what)
{
	BIGNUM *modulus = BN_CTX_get(n->scratch);

	return modulus != NULL && BN_lebin2bn(what->number, (int)what->number_bytes, n->secret) != NULL &&
	       BN_lebin2bn(what->modulus, (int)what->modulus_bytes, modulus) != NULL &&
	       BN_mod(n->y, n->secret, modulus, n->scratch) == 1;
}

enum crypto_result
crypto_remainder(struct crypto *crypto, const struct crypto_division *what, uint8_t *out)
{
	struct numbers n;
	bool done;

	(void)crypto;
	CHECK(what->number_bytes <= 2 * CRYPTO_POWER_BYTES_MAX && what->modulus_bytes <= CRYPTO_POWER_BYTES_MAX);
	greet();
	done = numbers_init(&n) && take_remainder(&n, what) &&
	       BN_bn2lebinpad(n.y, out, (int)what->modulus_bytes) == (int)what->modulus_bytes;
	numbers_fini(&n);
	return done ? CRYPTO_OK : forget();
}

/* Montgomery's: a product divided by R, one of whose factors was multiplied by R. */
static bool
multiply_modulo(struct crypto *crypto, struct numbers *n, const struct crypto_product *what)
{
	BN_MONT_CTX *reducer = reducer_of(crypto, n, what->modulus, what->bytes);

	return reducer != NULL && BN_lebin2bn(what->first, (int)what->bytes, n->x) != NULL &&
	       BN_lebin2bn(what->second, (int)what->bytes, n->secret) != NULL &&
	       BN_to_montgomery(n->y, n->x, reducer, n->scratch) == 1 &&
	       BN_mod_mul_montgomery(n->y, n->y, n->secret, reducer, n->scratch) == 1;
}

enum crypto_result
crypto_product(struct crypto *crypto, const struct crypto_product *what, uint8_t *out)
{
	struct numbers n;
	bool done;

	CHECK(what->bytes <= CRYPTO_POWER_BYTES_MAX);
	greet();
	done = numbers_init(&n) && multiply_modulo(crypto, &n, what) &&
	       BN_bn2lebinpad(n.y, out, (int)what->bytes) == (int)what->bytes;
	numbers_fini(&n);
	return done ? CRYPTO_OK : forget();
}

/* --- hashes ---------------------------------------------------------------------------------------------- */

bool
crypto_sha256(uint32_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count)
{
	SHA256_CTX sha = { .md_len = SHA256_DIGEST_LENGTH };

	if (atomic_load_explicit(&has_sha256, memory_order_relaxed)) {
		sha256_blocks(state, blocks, count);
		return true;
	}
	memcpy(sha.h, state, sizeof(sha.h));
	(void)SHA256_Update(&sha, blocks, count * SHA256_CBLOCK);
	memcpy(state, sha.h, sizeof(sha.h));
	explicit_bzero(sha.h, sizeof(sha.h));
	return true;
}

bool
crypto_sha256_two(uint32_t first[CRYPTO_SHA2_WORDS], const uint8_t *first_block,
		  uint32_t second[CRYPTO_SHA2_WORDS], const uint8_t *second_block)
{
	if (!atomic_load_explicit(&has_sha256, memory_order_relaxed))
		return crypto_sha256(first, first_block, 1) && crypto_sha256(second, second_block, 1);
	sha256_two(first, first_block, second, second_block);
	return true;
}

bool
crypto_sha512(uint64_t state[CRYPTO_SHA2_WORDS], const uint8_t *blocks, size_t count)
{
	SHA512_CTX sha = { .md_len = SHA512_DIGEST_LENGTH };

	memcpy(sha.h, state, sizeof(sha.h));
	(void)SHA512_Update(&sha, blocks, count * SHA512_CBLOCK);
	memcpy(state, sha.h, sizeof(sha.h));
	explicit_bzero(sha.h, sizeof(sha.h));
	return true;
}
