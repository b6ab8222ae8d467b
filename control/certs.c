/* The same judge as the dataplane's. */
#include "certs.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "clock.h"
#include "config/certificates.h"
#include "tls/identity.h"

#define DAY_S (24 * 3600)

struct checking {
	struct tls_identity *identity;
	struct identity_prints served;
	int64_t now_s;
};

static int64_t
unix_s(void)
{
	return (int64_t)(clock_unix_ns() / NSEC_PER_SEC);
}

static enum err
judge_pair(void *owner, uint32_t listener, struct bytes chain, struct bytes key, char *text)
{
	struct checking *c = owner;

	return tls_identity_renew(c->identity, &c->served, listener, chain, key, c->now_s, text,
				  CERTIFICATES_TEXT_BYTES);
}

static enum err
judge_client_ca(void *owner, uint32_t listener, struct bytes pem, char *text)
{
	struct checking *c = owner;

	return tls_identity_add_client_ca(c->identity, listener, pem, text, CERTIFICATES_TEXT_BYTES);
}

enum err
certs_check(const struct config *config, const char *path, const struct served *served,
	    const struct config_complaints *complaints)
{
	struct checking c = { .identity = tls_identity_new(), .now_s = unix_s() };
	const struct certificates_judge judge = { judge_pair, judge_client_ca, &c };
	enum err verdict;

	CHECK(c.identity != NULL);
	for (; c.served.count < served->count; c.served.count++)
		memcpy(c.served.print[c.served.count], served->certificate[c.served.count].fingerprint,
		       sizeof(c.served.print[0]));
	verdict = certificates_read(config, path, &judge, complaints);
	tls_identity_free(c.identity);
	return verdict;
}

yyjson_mut_val *
certs_show(const struct served *served, yyjson_mut_doc *doc)
{
	yyjson_mut_val *all = yyjson_mut_arr(doc);

	for (uint32_t i = 0; i < served->count; i++) {
		const struct served_certificate *one = &served->certificate[i];
		yyjson_mut_val *object = yyjson_mut_obj(doc);
		int64_t left_s = one->not_after_s - unix_s();
		char print[2 * SERVED_PRINT_BYTES + 1];

		for (int b = 0; b < SERVED_PRINT_BYTES; b++)
			snprintf(print + 2 * b, 3, "%02x", one->fingerprint[b]);
		yyjson_mut_obj_add_strcpy(doc, object, "name", one->name);
		yyjson_mut_obj_add_uint(doc, object, "listener", one->listener);
		yyjson_mut_obj_add_str(doc, object, "kind", one->is_rsa ? "rsa" : "ecdsa");
		yyjson_mut_obj_add_sint(doc, object, "not_after", one->not_after_s);
		yyjson_mut_obj_add_sint(doc, object, "days_left", left_s / DAY_S);
		yyjson_mut_obj_add_bool(doc, object, "expires_soon", left_s < SERVED_SOON_DAYS * (int64_t)DAY_S);
		yyjson_mut_obj_add_strcpy(doc, object, "sha256", print);
		yyjson_mut_arr_append(all, object);
	}
	return all;
}
