/*
 * The functions that sluice_mbedtls_config.h and mbedtls-instances.patch make mbedTLS call. The
 * thread-local pointer stands for the parameter that mbedTLS does not have.
 */
#include "tls/instance.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/platform_time.h>
#include <psa/crypto.h>
#include <string.h>

#include "base/check.h"
#include "tls/crypto.h"
#include "tls/fiber.h"
#include "tls/keyring.h"
#include "tls/lanes.h"

/* Either of PSA's two global structs; a mismatch with what mbedTLS asks for stops the process at
 * start. */
#define PSA_STATE_BYTES 1024

struct instance {
	struct arena *arena;
	struct arena *lent[INSTANCE_LENT_MAX];
	int64_t now_s;
	instance_entropy entropy;
	void *owner;
	bool psa_ready;
	struct crypto *crypto; /* NULL: mbedTLS's own code */
	struct lanes *lanes;   /* NULL: each handshake computes for itself */
	struct keyring *ring;  /* NULL: mbedTLS's own ciphers */
	struct fiber *fiber;
	struct lanes_seat *seat; /* of whom the fiber is */
	uint32_t handshakes;
	mbedtls_ctr_drbg_context random;
	_Alignas(16) uint8_t psa[INSTANCE_PSA_PARTS][PSA_STATE_BYTES];
};

static _Thread_local struct instance *current;

static int
seed(void *opaque, unsigned char *to, size_t len)
{
	struct instance *instance = opaque;

	return instance->entropy(instance->owner, to, len) == 0 ?
		       0 :
		       MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED;
}

static bool
start(struct instance *instance)
{
	static const uint8_t purpose[] = "sluice tls";

	if (instance->entropy == NULL)
		return true;
	if (mbedtls_ctr_drbg_seed(&instance->random, seed, instance, purpose, sizeof(purpose)) != 0)
		return false;
	instance->psa_ready = psa_crypto_init() == PSA_SUCCESS;
	return instance->psa_ready;
}

struct instance *
instance_new(size_t arena_bytes, instance_entropy entropy, void *owner)
{
	struct arena *arena = arena_new(arena_bytes);
	struct instance *instance;
	struct instance *before;
	bool started;

	if (arena == NULL)
		return NULL;
	instance = arena_alloc(arena, sizeof(*instance));
	CHECK(instance != NULL);
	instance->arena = arena;
	instance->entropy = entropy;
	instance->owner = owner;
	before = instance_enter(instance);
	mbedtls_ctr_drbg_init(&instance->random);
	started = start(instance);
	instance_leave(before);
	if (!started) {
		instance_free(instance);
		return NULL;
	}
	return instance;
}

void
instance_free(struct instance *instance)
{
	struct instance *before;

	if (instance == NULL)
		return;
	CHECK(instance != current);
	before = instance_enter(instance);
	if (instance->psa_ready)
		mbedtls_psa_crypto_free();
	mbedtls_ctr_drbg_free(&instance->random);
	crypto_close(instance->crypto);
	instance_leave(before);
	arena_free(instance->arena);
}

struct instance *
instance_enter(struct instance *instance)
{
	struct instance *before = current;

	current = instance;
	return before;
}

void
instance_leave(struct instance *before)
{
	current = before;
}

static void
replace_lent(struct instance *instance, struct arena *from, struct arena *to)
{
	unsigned int i = 0;

	while (instance->lent[i] != from) {
		i++;
		CHECK(i < INSTANCE_LENT_MAX);
	}
	instance->lent[i] = to;
}

void
instance_lend(struct instance *instance, struct arena *arena)
{
	replace_lent(instance, NULL, arena);
}

void
instance_take_back(struct instance *instance, struct arena *arena)
{
	replace_lent(instance, arena, NULL);
}

bool
instance_use_primitives(struct instance *instance, const char *name)
{
	bool in_lanes = name != NULL && strcmp(name, "crypto_mb") == 0;
	struct instance *before;

	if (name != NULL && strcmp(name, "mbedtls") == 0)
		return true;
	if (name != NULL && strcmp(name, "libcrypto") != 0 && !in_lanes)
		return false;
	if (in_lanes && lanes_crypto_mb() == NULL)
		return false;
	before = instance_enter(instance);
	instance->crypto = crypto_open();
	instance_leave(before);
	if (in_lanes)
		return instance->crypto != NULL && instance_use_lanes(instance, lanes_crypto_mb());
	return instance->crypto != NULL || name == NULL;
}

bool
instance_use_lanes(struct instance *instance, const struct lanes_engine *engine)
{
	CHECK(instance->crypto != NULL && instance->lanes == NULL);
	instance->lanes = arena_alloc(instance->arena, sizeof(*instance->lanes));
	if (instance->lanes == NULL)
		return false;
	lanes_init(instance->lanes, engine);
	return true;
}

struct lanes *
instance_lanes(struct instance *instance)
{
	return instance->lanes;
}

const char *
instance_primitives(const struct instance *instance)
{
	if (instance->lanes != NULL)
		return instance->lanes->engine->name;
	return instance->crypto != NULL ? "libcrypto" : "mbedtls";
}

void
instance_set_keyring(struct instance *instance, struct keyring *ring)
{
	instance->ring = instance->crypto != NULL ? ring : NULL;
}

void
instance_set_fiber(struct instance *instance, struct fiber *fiber, struct lanes_seat *seat,
		   uint32_t handshakes)
{
	instance->fiber = fiber;
	instance->seat = seat;
	instance->handshakes = handshakes;
}

bool
instance_pause(void)
{
	if (current == NULL || current->fiber == NULL)
		return true;
	/* It has just had its turn. */
	if (current->seat->is_alone) {
		current->seat->is_alone = false;
		return true;
	}
	return fiber_pause(current->fiber);
}

bool
instance_has_lanes(enum lanes_kind kind)
{
	return current != NULL && current->fiber != NULL && current->lanes != NULL && !current->seat->is_alone &&
	       lanes_pays(current->lanes, kind, current->handshakes);
}

enum crypto_result
instance_compute(const struct lanes_work *work)
{
	struct lanes_seat *seat;
	bool is_wanted;

	if (!instance_has_lanes(work->kind))
		return CRYPTO_DECLINED;
	seat = current->seat;
	lanes_join(current->lanes, seat, work);
	is_wanted = fiber_pause(current->fiber);
	CHECK(!is_wanted || !lanes_is_waiting(current->lanes, seat));
	lanes_leave(seat);
	if (!is_wanted)
		return CRYPTO_UNWANTED;
	if (seat->is_alone)
		return CRYPTO_DECLINED;
	return seat->is_good ? CRYPTO_OK : CRYPTO_FAILED;
}

bool
instance_is_entered(void)
{
	return current != NULL;
}

struct crypto *
instance_crypto(void)
{
	return current != NULL ? current->crypto : NULL;
}

struct keyring *
instance_keyring(void)
{
	return current != NULL ? current->ring : NULL;
}

bool
instance_hashes(void)
{
	return current == NULL || current->crypto != NULL;
}

void
instance_set_time(struct instance *instance, int64_t now_s)
{
	instance->now_s = now_s;
}

int64_t
instance_now_s(const struct instance *instance)
{
	return instance->now_s;
}

struct arena *
instance_arena(struct instance *instance)
{
	return instance->arena;
}

int
instance_random(void *opaque, unsigned char *to, size_t len)
{
	struct instance *instance = opaque;

	/* The generator gives at most so much at a time. */
	while (len > 0) {
		size_t part =
			len < MBEDTLS_CTR_DRBG_MAX_REQUEST ? len : MBEDTLS_CTR_DRBG_MAX_REQUEST;
		int failed = mbedtls_ctr_drbg_random(&instance->random, to, part);

		if (failed != 0)
			return failed;
		to += part;
		len -= part;
	}
	return 0;
}

void *
instance_calloc(size_t count, size_t bytes)
{
	size_t total;

	CHECK(current != NULL);
	if (__builtin_mul_overflow(count, bytes, &total))
		return NULL;
	return arena_alloc(current->arena, total);
}

/* Its own, unless the block lies in a lent one. */
static struct arena *
arena_of(const struct instance *instance, const void *block)
{
	if (arena_has(instance->arena, block))
		return instance->arena;
	for (unsigned int i = 0; i < INSTANCE_LENT_MAX; i++)
		if (instance->lent[i] != NULL && arena_has(instance->lent[i], block))
			return instance->lent[i];
	return instance->arena;
}

bool
instance_owns(const void *block)
{
	return current != NULL && arena_has(arena_of(current, block), block);
}

size_t
instance_block_bytes(const void *block)
{
	return arena_block_bytes(block);
}

void
instance_free_block(void *block)
{
	if (block == NULL)
		return;
	CHECK(current != NULL);
	arena_release(arena_of(current, block), block);
}

time_t
instance_time(time_t *now)
{
	CHECK(current != NULL);
	if (now != NULL)
		*now = (time_t)current->now_s;
	return (time_t)current->now_s;
}

mbedtls_ms_time_t
mbedtls_ms_time(void)
{
	CHECK(current != NULL);
	return (mbedtls_ms_time_t)current->now_s * 1000;
}

void *
instance_psa_state(int part, size_t bytes)
{
	CHECK(current != NULL);
	CHECK(part >= 0 && part < INSTANCE_PSA_PARTS && bytes <= PSA_STATE_BYTES);
	return current->psa[part];
}

psa_status_t
mbedtls_psa_external_get_random(mbedtls_psa_external_random_context_t *context, uint8_t *output,
				size_t output_size, size_t *output_length)
{
	(void)context;
	CHECK(current != NULL);
	if (instance_random(current, output, output_size) != 0)
		return PSA_ERROR_INSUFFICIENT_ENTROPY;
	*output_length = output_size;
	return PSA_SUCCESS;
}
