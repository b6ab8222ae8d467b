/*
 * Instead of a fuzzer: each message of a handshake, in the clear or below its protection, with an octet changed,
 * into a target whose input is edits (meddler.h), which knows what must not come of it.
 *
 *   damage_TARGET STEP HOW/RECORDS...
 *
 * STEP: between octets behind the first ones of a message; HOW: the target's first octet; RECORDS: so many are
 * said until all is open.
 */
#include <stdint.h>
#include <stdio.h>

#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first ones are of headers, lengths and versions; a certificate has 800. */
#define OCTETS_NEAR 32
#define OCTETS_MAX 900

static unsigned int
damage(uint8_t how, uint8_t records, unsigned int step)
{
	unsigned int handshakes = 0;

	for (uint8_t record = 0; record < records; record++)
		for (unsigned int at = 0; at < OCTETS_MAX; at += at < OCTETS_NEAR ? 1 : step) {
			const uint8_t input[] = { how, 0, 0, record, 0, (uint8_t)(at >> 8), (uint8_t)at, 0xff };

			(void)LLVMFuzzerTestOneInput(input, sizeof(input));
			handshakes++;
		}
	return handshakes;
}

int
main(int argc, char **argv)
{
	unsigned int handshakes = 0, step = 0;

	CHECK(argc > 2 && sscanf(argv[1], "%u", &step) == 1 && step > 0);
	for (int i = 2; i < argc; i++) {
		unsigned int how, records;

		CHECK(sscanf(argv[i], "%u/%u", &how, &records) == 2 && how < 256 && records < 256);
		handshakes += damage((uint8_t)how, (uint8_t)records, step);
	}
	printf("%u handshakes\n", handshakes);
	return 0;
}
