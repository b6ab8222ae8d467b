/* Files of certificates and keys: how they are read, judged for each listener, and told of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/certificates.h"
#include "config/items.h"
#include "config/secret.h"
#include "config/served.h"
#include "memory.h"

static char folder[] = "/tmp/test_certificates.XXXXXX";

static int
make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) == NULL;
}

static const char *
write_file(const char *name, const char *text, size_t len)
{
	static char path[CONFIG_PATH_BYTES];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	assert_non_null(file);
	setvbuf(file, NULL, _IONBF, 0);
	assert_int_equal(fwrite(text, 1, len, file), len);
	fclose(file);
	return path;
}

static void
a_secret_is_locked_undumped_and_wiped(void **state)
{
	uint8_t text[32];
	struct memory_pattern pattern;
	struct memory_flags flags;
	struct bytes read;
	char why[CERTIFICATES_TEXT_BYTES];
	const char *path;

	(void)state;
	if (!memory_is_plain())
		skip();
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)('A' + (i * 7) % 26);
	path = write_file("key", (const char *)text, sizeof(text));
	memory_mask(&pattern, text, sizeof(text));
	assert_int_equal(memory_count(&pattern), 0);
	assert_int_equal(secret_read(path, &read, why, sizeof(why)), ERR_OK);
	assert_int_equal(read.len, 32);
	assert_int_equal(memory_count(&pattern), 1);
	flags = memory_flags(read.ptr);
	assert_true(flags.is_undumped);
	assert_true(flags.is_locked);
	secret_free(read);
	assert_int_equal(memory_count(&pattern), 0);
}

static void
expect_unreadable(const char *path, const char *word)
{
	char why[CERTIFICATES_TEXT_BYTES];
	struct bytes text;

	assert_int_equal(secret_read(path, &text, why, sizeof(why)), ERR_CONFIG_UNREADABLE);
	assert_non_null(strstr(why, path));
	assert_non_null(strstr(why, word));
	assert_null(text.ptr);
}

static void
what_is_no_readable_file_is_refused_by_name(void **state)
{
	static char long_text[SECRET_BYTES_MAX + 1];
	char fifo[CONFIG_PATH_BYTES];

	(void)state;
	expect_unreadable("/nowhere/key", "No such file");
	expect_unreadable(folder, "is not a file");
	expect_unreadable(write_file("empty", "", 0), "is empty");
	expect_unreadable(write_file("long", long_text, sizeof(long_text)), "512 KiB");
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_unreadable(fifo, "is not a file"); /* and nobody waits for its other end */
}

/* --- each listener's ------------------------------------------------------------------------------- */

static struct {
	uint32_t count;
	char line[8][1024];
} heard;

static void
hear(void *owner, const char *text)
{
	(void)owner;
	assert_true(heard.count < 8);
	snprintf(heard.line[heard.count++], sizeof(heard.line[0]), "%s", text);
}

static const struct config_complaints complaints = { hear, NULL };

static char judged[256];

static enum err
judge(void *owner, uint32_t listener, struct bytes chain, struct bytes key, char *text)
{
	size_t len = strlen(judged);

	(void)owner;
	snprintf(judged + len, sizeof(judged) - len, "%u:%.*s+%.*s ", listener, (int)chain.len,
		 (const char *)chain.ptr, (int)key.len, (const char *)key.ptr);
	if (chain.ptr[0] != '!')
		return ERR_OK;
	snprintf(text, CERTIFICATES_TEXT_BYTES, "It is bad: make it good.");
	return ERR_TLS_BAD_CERTIFICATE;
}

static enum err
judge_client_ca(void *owner, uint32_t listener, struct bytes pem, char *text)
{
	return judge(owner, listener, pem, BYTES_LITERAL("CA"), text);
}

static enum err
judge_authority(void *owner, const char *authority, struct bytes pem, char *text)
{
	return judge(owner, 99, pem, bytes_from_text(authority), text);
}

static void
parse_with(struct config *config, const char *listeners, const char *authorities)
{
	char text[2048], name[CONFIG_PATH_BYTES];

	snprintf(text, sizeof(text),
		 "ports: [{device: net_tap0, addresses: [192.0.2.1/24]}]\nlisteners: [%s]\n"
		 "tls: {authorities: [%s]}\n",
		 listeners, authorities);
	snprintf(name, sizeof(name), "%s/sluice.yaml", folder);
	assert_int_equal(config_parse(config, name, bytes_from_text(text), &complaints), ERR_OK);
}

static void
parse(struct config *config, const char *listeners)
{
	parse_with(config, listeners, "");
}

static void
each_file_is_judged_for_its_listener_and_each_fault_is_told(void **state)
{
	static const struct certificates_judge by = { judge, judge_client_ca, judge_authority, NULL };
	static struct config config;

	(void)state;
	write_file("c1", "C1", 2);
	write_file("k1", "K1", 2);
	write_file("c2", "!C2", 3);
	parse(&config, "{certificates: [{chain: c1, key: k1}, {chain: c2, key: k1}]},"
		       "{port: 444, certificates: [{chain: c1, key: none}, {chain: c1, key: k1}]}");
	judged[0] = '\0';
	heard.count = 0;
	assert_int_equal(certificates_read(&config, "sluice.yaml", &by, &complaints), ERR_CONFIG_INVALID);
	assert_string_equal(judged, "0:C1+K1 0:!C2+K1 1:C1+K1 ");
	assert_int_equal(heard.count, 2);
	assert_non_null(strstr(heard.line[0], "sluice.yaml: error: listeners[0].certificates[1]: /tmp/"));
	assert_non_null(strstr(heard.line[0], "/c2 with /tmp/"));
	assert_non_null(strstr(heard.line[0], ": It is bad: make it good."));
	assert_non_null(strstr(heard.line[1], "listeners[1].certificates[0]: "));
	assert_non_null(strstr(heard.line[1], "/none: No such file"));
	parse(&config, "{certificates: [{chain: c1, key: k1}], client_ca: c2}");
	heard.count = 0;
	judged[0] = '\0';
	assert_int_equal(certificates_read(&config, "sluice.yaml", &by, &complaints), ERR_CONFIG_INVALID);
	assert_string_equal(judged, "0:C1+K1 0:!C2+CA ");
	assert_non_null(strstr(heard.line[0], "listeners[0].client_ca: /tmp/"));
	parse(&config, "{certificates: [{chain: c1, key: k1}]}");
	assert_int_equal(certificates_read(&config, "sluice.yaml", &by, &complaints), ERR_OK);
	parse_with(&config, "{certificates: [{chain: c1, key: k1}]}",
		   "{name: good, file: c1}, {name: bad, file: c2}, {name: gone, file: c9}");
	heard.count = 0;
	judged[0] = '\0';
	assert_int_equal(certificates_read(&config, "sluice.yaml", &by, &complaints), ERR_CONFIG_INVALID);
	assert_string_equal(judged, "0:C1+K1 99:C1+good 99:!C2+bad ");
	assert_int_equal(heard.count, 2);
	assert_non_null(strstr(heard.line[0], "sluice.yaml: error: tls.authorities[1].file: /tmp/"));
	assert_non_null(strstr(heard.line[0], "/c2: It is bad: make it good."));
	assert_non_null(strstr(heard.line[1], "tls.authorities[2].file: "));
	assert_non_null(strstr(heard.line[1], "/c9: No such file"));
}

static const char *
name_of(const char *path)
{
	return strrchr(path, '/') + 1;
}

/* A listener keeps its own, also when another one is put before it; one that is gone keeps what it has. */
static void
certificates_are_taken_over_by_the_listener_of_the_same_place(void **state)
{
	static struct config running, fresh;

	(void)state;
	parse(&running, "{certificates: [{chain: c1, key: k1}]},"
			"{port: 444, certificates: [{chain: d1, key: k1}]}");
	parse(&fresh, "{port: 445, certificates: [{chain: e1, key: k1}]},"
		      "{certificates: [{chain: c2, key: k2}, {chain: c3, key: k3}], client_ca: ca}");
	assert_int_equal(items_take_over(&running, &fresh, "sluice.yaml", &complaints), ERR_OK);
	assert_int_equal(running.listener_count, 2);
	assert_int_equal(running.listeners[0].port, 443);
	assert_int_equal(running.listeners[0].certificate_count, 2);
	assert_string_equal(name_of(running.listeners[0].certificates[0].chain), "c2");
	assert_string_equal(name_of(running.listeners[0].certificates[1].key), "k3");
	assert_string_equal(name_of(running.listeners[0].client_ca), "ca");
	assert_string_equal(running.listeners[1].client_ca, "");
	assert_int_equal(running.listeners[1].port, 444);
	assert_int_equal(running.listeners[1].certificate_count, 1);
	assert_string_equal(name_of(running.listeners[1].certificates[0].chain), "d1");
}

/* --- what control is told ---------------------------------------------------------------------------- */

static void
what_is_served_is_read_as_it_was_written(void **state)
{
	static struct served said, got;

	(void)state;
	said = (struct served){ .refused = 7, .reason = "It is bad.", .count = 2 };
	said.certificate[1] = (struct served_certificate){ .listener = 3, .not_after_s = 1893456000,
							   .fingerprint = { 1, 2 }, .name = "a.example" };
	assert_int_equal(served_write(folder, "e", &said), ERR_OK);
	assert_int_equal(served_read(folder, "e", &got), ERR_OK);
	assert_memory_equal(&got, &said, sizeof(said));
}

static void
what_is_not_whole_or_somebody_elses_serves_nothing(void **state)
{
	static struct served served = { .count = 1 };
	char path[CONFIG_PATH_BYTES];

	(void)state;
	assert_int_equal(served_read(folder, "nobody", &served), ERR_CONFIG_HANDOVER);
	assert_int_equal(served.count, 0);
	served.count = 1;
	assert_int_equal(served_write(folder, "e", &served), ERR_OK);
	snprintf(path, sizeof(path), "%s/e.served", folder);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(served_read(folder, "e", &served), ERR_CONFIG_HANDOVER);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(served_read(folder, "e", &served), ERR_OK);
	served.count = SERVED_CERTIFICATES_MAX + 1;
	assert_int_equal(served_write(folder, "e", &served), ERR_OK);
	assert_int_equal(served_read(folder, "e", &served), ERR_CONFIG_HANDOVER);
	served.count = 1;
	memset(served.certificate[0].name, 'n', SERVED_NAME_BYTES);
	assert_int_equal(served_write(folder, "e", &served), ERR_OK);
	assert_int_equal(served_read(folder, "e", &served), ERR_CONFIG_HANDOVER);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(served_read(folder, "e", &served), ERR_CONFIG_HANDOVER);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_secret_is_locked_undumped_and_wiped),
		cmocka_unit_test(what_is_no_readable_file_is_refused_by_name),
		cmocka_unit_test(each_file_is_judged_for_its_listener_and_each_fault_is_told),
		cmocka_unit_test(certificates_are_taken_over_by_the_listener_of_the_same_place),
		cmocka_unit_test(what_is_served_is_read_as_it_was_written),
		cmocka_unit_test(what_is_not_whole_or_somebody_elses_serves_nothing),
	};

	return cmocka_run_group_tests(tests, make_folder, NULL);
}
