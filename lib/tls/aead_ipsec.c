/*
 * The ciphers of ipsec-mb (Intel's Multi-Buffer Crypto for IPsec), its direct calls: no jobs, no queues. The
 * manager is a table of functions that the library fills for the processor it finds.
 *
 * Each call also clears an error number that the library shares among all threads, so that workers write to
 * one cache line; `tools/bench tls-records` prints what that costs.
 */
#include <intel-ipsec-mb.h>

#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/aead.h"

#define NEEDED (IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ)
#define WIDE (IMB_FEATURE_AVX512_SKX | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ)

CHECK_STATIC(sizeof(struct gcm_key_data) <= AEAD_EXPANDED_BYTES, "an expanded key fits");
CHECK_STATIC(sizeof(struct gcm_context_data) <= AEAD_RUN_BYTES, "a message under way fits");
CHECK_STATIC(sizeof(struct chacha20_poly1305_context_data) <= AEAD_RUN_BYTES, "a message under way fits");

/* The aligned memory of aead.h, as the library calls it. */
static const struct gcm_key_data *
gcm_key(const struct aead_key *key)
{
	return (const struct gcm_key_data *)(const void *)key->bytes;
}

static struct gcm_context_data *
gcm_run(struct aead_run *run)
{
	return (struct gcm_context_data *)(void *)run->bytes;
}

static struct chacha20_poly1305_context_data *
chacha_run(struct aead_run *run)
{
	return (struct chacha20_poly1305_context_data *)(void *)run->bytes;
}

#define GCM_CALLS(BITS) \
	static void gcm_##BITS##_expand(void *engine, const uint8_t *key, struct aead_key *to) \
	{ \
		IMB_AES##BITS##_GCM_PRE((IMB_MGR *)engine, key, (struct gcm_key_data *)(void *)to->bytes); \
	} \
	static void gcm_##BITS##_begin(void *engine, const struct aead_key *key, struct aead_run *run, \
				       const uint8_t nonce[AEAD_NONCE_BYTES], const uint8_t *aad, \
				       size_t aad_len, bool seals) \
	{ \
		(void)seals; \
		IMB_AES##BITS##_GCM_INIT((IMB_MGR *)engine, gcm_key(key), gcm_run(run), nonce, aad, \
					 aad_len); \
	} \
	static void gcm_##BITS##_seal(void *engine, const struct aead_key *key, struct aead_run *run, \
				      uint8_t *bytes, size_t len) \
	{ \
		IMB_AES##BITS##_GCM_ENC_UPDATE((IMB_MGR *)engine, gcm_key(key), gcm_run(run), bytes, bytes, \
					       len); \
	} \
	static void gcm_##BITS##_open(void *engine, const struct aead_key *key, struct aead_run *run, \
				      uint8_t *bytes, size_t len) \
	{ \
		IMB_AES##BITS##_GCM_DEC_UPDATE((IMB_MGR *)engine, gcm_key(key), gcm_run(run), bytes, bytes, \
					       len); \
	} \
	static void gcm_##BITS##_finish(void *engine, const struct aead_key *key, struct aead_run *run, \
					uint8_t tag[AEAD_TAG_BYTES]) \
	{ \
		IMB_AES##BITS##_GCM_ENC_FINALIZE((IMB_MGR *)engine, gcm_key(key), gcm_run(run), tag, \
						 AEAD_TAG_BYTES); \
	}

GCM_CALLS(128)
GCM_CALLS(256)

static void
chacha_expand(void *engine, const uint8_t *key, struct aead_key *to)
{
	(void)engine;
	memcpy(to->bytes, key, AEAD_KEY_BYTES_MAX);
}

static void
chacha_begin(void *engine, const struct aead_key *key, struct aead_run *run,
	     const uint8_t nonce[AEAD_NONCE_BYTES], const uint8_t *aad, size_t aad_len, bool seals)
{
	(void)seals;
	IMB_CHACHA20_POLY1305_INIT((IMB_MGR *)engine, key->bytes, chacha_run(run), nonce, aad, aad_len);
}

static void
chacha_seal(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t *bytes, size_t len)
{
	IMB_CHACHA20_POLY1305_ENC_UPDATE((IMB_MGR *)engine, key->bytes, chacha_run(run), bytes, bytes, len);
}

static void
chacha_open(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t *bytes, size_t len)
{
	IMB_CHACHA20_POLY1305_DEC_UPDATE((IMB_MGR *)engine, key->bytes, chacha_run(run), bytes, bytes, len);
}

static void
chacha_finish(void *engine, const struct aead_key *key, struct aead_run *run, uint8_t tag[AEAD_TAG_BYTES])
{
	(void)key;
	IMB_CHACHA20_POLY1305_ENC_FINALIZE((IMB_MGR *)engine, chacha_run(run), tag, AEAD_TAG_BYTES);
}

static const struct aead_calls calls[AEAD_CIPHERS] = {
	[AEAD_AES_128_GCM] = { gcm_128_expand, gcm_128_begin, gcm_128_seal, gcm_128_open, gcm_128_finish },
	[AEAD_AES_256_GCM] = { gcm_256_expand, gcm_256_begin, gcm_256_seal, gcm_256_open, gcm_256_finish },
	[AEAD_CHACHA20_POLY1305] = { chacha_expand, chacha_begin, chacha_seal, chacha_open, chacha_finish },
};

static const char *
name_of(uint64_t features)
{
	static const struct {
		uint64_t features;
		const char *name;
	} names[] = {
		{ WIDE, "ipsec-mb AVX512 VAES" },
		{ IMB_FEATURE_AVX512_SKX, "ipsec-mb AVX512" },
		{ IMB_FEATURE_AVX2, "ipsec-mb AVX2" },
	};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if ((features & names[i].features) == names[i].features)
			return names[i].name;
	return "ipsec-mb SSE";
}

bool
aead_ipsec_init(struct aead *aead)
{
	IMB_MGR *manager = alloc_mb_mgr(0);
	IMB_ARCH arch = IMB_ARCH_NONE;

	if (manager == NULL)
		return false;
	init_mb_mgr_auto(manager, &arch);
	/* Without these it would emulate them, slower than mbedTLS and not in constant time. */
	if (arch == IMB_ARCH_NONE || imb_get_errno(manager) != 0 || (manager->features & NEEDED) != NEEDED) {
		free_mb_mgr(manager);
		return false;
	}
	aead->name = name_of(manager->features);
	aead->engine = manager;
	aead->is_wide = (manager->features & WIDE) == WIDE;
	memcpy(aead->calls, calls, sizeof(calls));
	return true;
}

void
aead_ipsec_fini(struct aead *aead)
{
	free_mb_mgr(aead->engine);
}
