/* A ClientHello, header included; what is found must lie in it, and a shorter one is none. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "tls/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_inside(struct bytes part, const uint8_t *data, size_t size)
{
	CHECK(part.len == 0 || (part.ptr >= data && part.ptr + part.len <= data + size));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hello hello = { BYTES_NONE, BYTES_NONE }, other;
	size_t whole;

	if (hello_parse(bytes_make(data, size), &hello) != ERR_OK) {
		CHECK(hello.suites.ptr == NULL && hello.sni.ptr == NULL);
		return 0;
	}
	check_inside(hello.suites, data, size);
	check_inside(hello.sni, data, size);
	CHECK(hello.sni.len <= HELLO_SNI_BYTES_MAX);
	for (size_t i = 0; i + 1 < hello.suites.len; i += 2)
		CHECK(hello_offers(&hello, (uint16_t)(hello.suites.ptr[i] << 8 | hello.suites.ptr[i + 1])));
	/* What comes behind the message does not count. */
	whole = 4 + ((size_t)data[1] << 16 | (size_t)data[2] << 8 | data[3]);
	CHECK(hello_parse(bytes_make(data, whole), &other) == ERR_OK && other.sni.ptr == hello.sni.ptr);
	CHECK(hello_parse(bytes_make(data, whole - 1), &other) != ERR_OK);
	return 0;
}
