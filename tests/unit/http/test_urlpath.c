/* Paths that are passed on as they are: one reading or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "http/urlpath.h"

static bool
is_plain(const char *path)
{
	return urlpath_is_plain(bytes_from_text(path));
}

static void
ordinary_paths_are_plain(void **state)
{
	static const char *const plain[] = {
		"", "generate", "a/b/c", "a/", "v1/models/meta-llama", "a.b", "...", ".a", "a..", "a;b=1/c",
		"a%20b", "%E2%82%AC", "%f0%9f%8c%8a", "~user/@x:y", "a!$&'()*+,=", "%3f", "%23", "%3B",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		assert_true(is_plain(plain[i]));
}

static void
what_two_servers_could_read_differently_is_not(void **state)
{
	static const char *const odd[] = {
		"/", "//", "a//b", ".", "..", "./a", "a/.", "a/../b", "a/..", "..;/a", ".;x", ";x", "a/;x/b",
		"%2e", "a%2Eb", "%2e%2e/x", "%2f", "a%2Fb", "%5c", "%5C", "%25", "%252e", "%00", "%0a", "%1f",
		"%7f", "%", "%2", "%zz", "a%4", "%c0%ae", "%c1%9c", "%e0%80%ae", "%ed%a0%80", "%f0%80%80%ae",
		"%f4%90%80%80", "%f8%88%80%80%80", "%80", "%e2%82", "%e2%82x", "a\\b", "a b", "a\"b", "a<b",
		"a{b}", "a|b", "a^b", "a`b", "a[b]", "a#b", "a?b", "\xc3\xa9", "\x01", "a\tb",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_false(is_plain(odd[i]));
	assert_false(urlpath_is_plain(bytes_make("a\0b", 3)));
}

static void
the_way_to_an_instance_is_exact(void **state)
{
	static const char *const wrong[] = {
		"/inference-instances/142/proxy", "/inference-instances/0142/proxy/x",
		"/inference-instances/0/proxy/x", "/inference-instances//proxy/x",
		"/inference-instances/-1/proxy/x", "/inference-instances/1x/proxy/x",
		"/inference-instances/142/Proxy/x", "/inference-instances/1234567890123456789/proxy/x",
		"/inference-instances/142/proxy/../x", "/inference-instances/142//proxy/x",
		"/inference-instances/142/proxy//x", "/inference-instances/1%342/proxy/x",
		"/Inference-instances/142/proxy/x", "inference-instances/142/proxy/x",
	};
	struct bytes rest;
	uint64_t id;

	(void)state;
	assert_true(urlpath_split_proxy(BYTES_LITERAL("/inference-instances/142/proxy/a/b"), &id, &rest));
	assert_int_equal(id, 142);
	assert_true(bytes_equal(rest, BYTES_LITERAL("a/b")));
	assert_true(urlpath_split_proxy(BYTES_LITERAL("/inference-instances/123456789012345678/proxy/"), &id,
					&rest));
	assert_int_equal(id, 123456789012345678);
	assert_int_equal(rest.len, 0);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(urlpath_split_proxy(bytes_from_text(wrong[i]), &id, &rest));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_paths_are_plain),
		cmocka_unit_test(what_two_servers_could_read_differently_is_not),
		cmocka_unit_test(the_way_to_an_instance_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
