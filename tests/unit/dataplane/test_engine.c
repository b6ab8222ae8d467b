/* What the configuration says of TLS's arithmetic is what lib/tls is asked for, and what is missing is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/engine.h"

static char text[256];

static struct tls_context_config
filled(enum config_records records, enum config_primitives primitives)
{
	struct config config = { .records = records, .primitives = primitives };
	struct tls_context_config tls = { .conns_max = 7 };

	engine_fill(&config, &tls);
	assert_int_equal(tls.conns_max, 7);
	return tls;
}

static void
each_choice_has_its_name(void **state)
{
	(void)state;
	assert_null(filled(CONFIG_RECORDS_AUTO, CONFIG_PRIMITIVES_AUTO).records);
	if (tls_has_primitives("crypto_mb"))
		assert_string_equal(filled(CONFIG_RECORDS_AUTO, CONFIG_PRIMITIVES_AUTO).primitives, "crypto_mb");
	else
		assert_null(filled(CONFIG_RECORDS_AUTO, CONFIG_PRIMITIVES_AUTO).primitives);
	assert_string_equal(filled(CONFIG_RECORDS_AUTO, CONFIG_PRIMITIVES_CRYPTO_MB).primitives, "crypto_mb");
	assert_string_equal(filled(CONFIG_RECORDS_VAES, CONFIG_PRIMITIVES_AUTO).records, "vaes");
	assert_string_equal(filled(CONFIG_RECORDS_IPSEC_MB, CONFIG_PRIMITIVES_AUTO).records, "ipsec-mb");
	assert_string_equal(filled(CONFIG_RECORDS_MBEDTLS, CONFIG_PRIMITIVES_AUTO).records, "mbedtls");
	assert_string_equal(filled(CONFIG_RECORDS_AUTO, CONFIG_PRIMITIVES_LIBCRYPTO).primitives, "libcrypto");
	assert_string_equal(filled(CONFIG_RECORDS_AUTO, CONFIG_PRIMITIVES_MBEDTLS).primitives, "mbedtls");
}

static void
what_a_machine_lacks_is_named(void **state)
{
	struct config config = { .records = CONFIG_RECORDS_IPSEC_MB };

	(void)state;
	assert_int_equal(engine_is_here(&config, text, sizeof(text)), tls_has_records("ipsec-mb"));
	if (!tls_has_records("ipsec-mb"))
		assert_string_equal(text, "tls.records is ipsec-mb, which this build or this processor does not "
					  "have; auto takes what is there");
	config = (struct config){ .primitives = CONFIG_PRIMITIVES_LIBCRYPTO };
	assert_int_equal(engine_is_here(&config, text, sizeof(text)), tls_has_primitives("libcrypto"));
	if (!tls_has_primitives("libcrypto"))
		assert_string_equal(text, "tls.primitives is libcrypto, which this build or this processor does "
					  "not have; auto takes what is there");
}

static void
lanes_that_a_machine_lacks_are_named(void **state)
{
	struct config config = { .primitives = CONFIG_PRIMITIVES_CRYPTO_MB };

	(void)state;
	assert_int_equal(engine_is_here(&config, text, sizeof(text)), tls_has_primitives("crypto_mb"));
	if (!tls_has_primitives("crypto_mb"))
		assert_string_equal(text, "tls.primitives is crypto_mb, which this build or this processor does "
					  "not have; auto takes what is there");
	/* What it does not have itself it takes from libcrypto. */
	if (tls_has_primitives("crypto_mb"))
		assert_true(tls_has_primitives("libcrypto"));
}

static void
portable_code_is_always_there(void **state)
{
	struct config config = { .records = CONFIG_RECORDS_MBEDTLS, .primitives = CONFIG_PRIMITIVES_MBEDTLS };

	(void)state;
	assert_true(engine_is_here(&config, text, sizeof(text)));
	config = (struct config){ .records = CONFIG_RECORDS_AUTO, .primitives = CONFIG_PRIMITIVES_AUTO };
	assert_true(engine_is_here(&config, text, sizeof(text)));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_choice_has_its_name),
		cmocka_unit_test(what_a_machine_lacks_is_named),
		cmocka_unit_test(lanes_that_a_machine_lacks_are_named),
		cmocka_unit_test(portable_code_is_always_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
