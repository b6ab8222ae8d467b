/* A private heap for each look, so that nothing of a key outlives it. */
#include "tls/cert.h"

#include <mbedtls/error.h>
#include <stdio.h>

#include "base/check.h"
#include "tls/blinding.h"
#include "tls/pair.h"

/* The texts, their DER, what is parsed from it, and mbedTLS's temporaries. */
#define HEAP_BYTES (1024u * 1024)

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
	struct pair_fault fault = { "There is not enough memory to check the certificate.", 0 };
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
		if (visit != NULL)
			verdict = visit(owner, &pair);
		pair_free(&pair);
	}
	instance_leave(before);
	instance_free(instance);
	return verdict;
}

enum err
cert_check(struct bytes chain_pem, struct bytes key_pem, int64_t now_s, char *text, size_t room)
{
	return cert_look(chain_pem, key_pem, now_s, NULL, NULL, text, room);
}
