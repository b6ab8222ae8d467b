/* A private heap for each look, so that nothing of a key outlives it. */
#include "tls/cert.h"

#include <mbedtls/error.h>
#include <stdio.h>

#include "tls/authorities.h"
#include "tls/blinding.h"
#include "tls/pair.h"

/* The texts, their DER, what is parsed from it, and mbedTLS's temporaries. */
#define HEAP_BYTES (1024u * 1024)

static const char no_memory[] = "There is not enough memory to check the certificate.";

static void
describe(const struct pair_fault *fault, char *text, size_t room)
{
	char detail[128];

	if (room == 0)
		return;
	if (fault->library == 0) {
		snprintf(text, room, "%s", fault->sentence);
		return;
	}
	mbedtls_strerror(fault->library, detail, sizeof(detail));
	snprintf(text, room, "%s (%s)", fault->sentence, detail);
}

static enum err
check_in(struct instance *instance, struct bytes chain_pem, struct bytes key_pem, int64_t now_s,
	 struct pair *pair, struct pair_fault *fault)
{
	enum err verdict = pair_parse(pair, chain_pem, key_pem, instance, fault);

	if (verdict != ERR_OK)
		return verdict;
	instance_set_time(instance, now_s);
	if (now_s == CERT_ANY_TIME)
		return ERR_OK;
	verdict = pair_check_time(pair, fault);
	if (verdict != ERR_OK)
		pair_free(pair);
	return verdict;
}

enum err
cert_look(struct bytes chain_pem, struct bytes key_pem, int64_t now_s, cert_visit visit, void *owner,
	  char *text, size_t room)
{
	struct blinding blinding = { .key = key_pem };
	struct instance *instance = instance_new(HEAP_BYTES, blinding_fill, &blinding);
	struct pair_fault fault = { no_memory, 0 };
	enum err verdict = ERR_TLS_MEMORY;
	struct instance *before;
	struct pair pair;

	if (room > 0)
		text[0] = '\0';
	if (instance == NULL) {
		describe(&fault, text, room);
		return verdict;
	}
	/* What swaps is not looked at: the heap is gone before long. */
	(void)arena_lock(instance_arena(instance));
	before = instance_enter(instance);
	verdict = check_in(instance, chain_pem, key_pem, now_s, &pair, &fault);
	if (verdict != ERR_OK) {
		describe(&fault, text, room);
	} else {
		verdict = visit(owner, &pair);
		pair_free(&pair);
	}
	instance_leave(before);
	instance_free(instance);
	return verdict;
}

/* NULL: nothing. */
static const char *
wrong_with(const mbedtls_x509_crt *cas, uint32_t count_max, const char *too_many)
{
	uint32_t count = 0;

	for (const mbedtls_x509_crt *ca = cas; ca != NULL; ca = ca->next) {
		if (!ca->MBEDTLS_PRIVATE(ca_istrue))
			return "A certificate in it is no CA's: it must be of those who sign "
			       "clients' certificates.";
		if (++count > count_max)
			return too_many;
	}
	return NULL;
}

static enum err
check_authorities_in(struct instance *instance, struct bytes pem, uint32_t count_max, const char *too_many,
		     struct pair_fault *fault)
{
	struct arena *arena = instance_arena(instance);
	uint64_t refusals = arena_use(arena).refusals;
	mbedtls_x509_crt cas;
	uint32_t skipped = 0;

	mbedtls_x509_crt_init(&cas);
	fault->sentence = !authorities_parse(&cas, pem, arena, &skipped) || skipped > 0 ?
				  "A certificate in it cannot be read: is it PEM, and whole, and no RSA key "
				  "longer than 4096 bits?" :
				  wrong_with(&cas, count_max, too_many);
	mbedtls_x509_crt_free(&cas);
	if (fault->sentence == NULL)
		return ERR_OK;
	/* mbedTLS passes over a certificate that it has no memory for. */
	if (arena_use(arena).refusals == refusals)
		return ERR_TLS_BAD_CERTIFICATE;
	fault->sentence = no_memory;
	return ERR_TLS_MEMORY;
}

enum err
cert_check_authorities(struct bytes pem, uint32_t count_max, char *text, size_t room)
{
	struct instance *instance = instance_new(HEAP_BYTES, NULL, NULL);
	struct pair_fault fault = { "The file is longer than 64 KiB.", 0 };
	enum err verdict = ERR_TLS_BAD_CERTIFICATE;
	struct instance *before;
	char too_many[64];

	if (room > 0)
		text[0] = '\0';
	if (instance == NULL) {
		fault.sentence = no_memory;
		describe(&fault, text, room);
		return ERR_TLS_MEMORY;
	}
	snprintf(too_many, sizeof(too_many), "There are more than %u certificates in it.", count_max);
	before = instance_enter(instance);
	if (pem.len <= CERT_PEM_BYTES_MAX)
		verdict = check_authorities_in(instance, pem, count_max, too_many, &fault);
	instance_leave(before);
	instance_free(instance);
	if (verdict != ERR_OK)
		describe(&fault, text, room);
	return verdict;
}
