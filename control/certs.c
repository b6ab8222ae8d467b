/* The same judge as the dataplane's. */
#include "certs.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "credentials/credentials.h"

#define DAY_S (24 * 3600)

static int64_t
unix_s(void)
{
	return (int64_t)(clock_unix_ns() / NSEC_PER_SEC);
}

enum err
certs_check(const struct config *config, const char *path, const struct served *served,
	    const struct config_complaints *complaints)
{
	static struct identity_prints prints;
	struct credentials *credentials;

	for (prints.count = 0; prints.count < served->count; prints.count++)
		memcpy(prints.print[prints.count], served->certificate[prints.count].fingerprint,
		       sizeof(prints.print[0]));
	credentials = credentials_load(config, path, &prints, unix_s(), complaints);
	if (credentials == NULL)
		return ERR_CONFIG_INVALID;
	credentials_free(credentials);
	return ERR_OK;
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
