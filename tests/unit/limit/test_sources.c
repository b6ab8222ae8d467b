/* Connections per network, in a table that forgets whoever has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/prng.h"
#include "limit/sources.h"

static const struct siphash_key key = { 5, 6 };

static uint64_t
v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	uint8_t address[16] = { [10] = 0xff, [11] = 0xff, a, b, c, d };

	return sources_of(address);
}

static void
a_source_is_a_slash_24_or_a_slash_48(void **state)
{
	uint8_t six[16] = { 0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, [15] = 9 }, same[16], other[16];

	(void)state;
	assert_true(v4(192, 0, 2, 1) == v4(192, 0, 2, 254));
	assert_true(v4(192, 0, 2, 1) != v4(192, 0, 3, 1));
	assert_true(v4(0, 0, 0, 0) != 0);
	for (int i = 0; i < 16; i++)
		same[i] = other[i] = six[i];
	same[7] = 77; /* behind the first 48 bits */
	other[5] = 2;
	assert_true(sources_of(six) == sources_of(same));
	assert_true(sources_of(six) != sources_of(other));
	/* 4 and 6 are different worlds, whatever the bits. */
	assert_true(sources_of((uint8_t[16]){ 0 }) != v4(0, 0, 0, 0));
}

static void
counts_up_to_the_most_and_down_again(void **state)
{
	struct sources_slot slots[16] = { { 0 } };
	struct sources s;

	(void)state;
	sources_init(&s, slots, 16, &key);
	assert_true(sources_take(&s, v4(10, 0, 0, 1), 2));
	assert_true(sources_take(&s, v4(10, 0, 0, 2), 2));
	assert_false(sources_take(&s, v4(10, 0, 0, 3), 2));
	assert_true(sources_take(&s, v4(10, 0, 1, 3), 2));
	sources_give(&s, v4(10, 0, 0, 9));
	assert_true(sources_take(&s, v4(10, 0, 0, 3), 2));
	assert_false(sources_take(&s, v4(10, 0, 0, 3), 0));
}

/* They move with the network when another one's leaving moves its slot. */
static void
handshakes_are_the_networks_own(void **state)
{
	struct sources_slot slots[16] = { { 0 } };
	struct sources s;

	(void)state;
	sources_init(&s, slots, 16, &key);
	for (uint8_t n = 0; n < 8; n++) {
		assert_true(sources_take(&s, v4(10, 0, n, 1), 2));
		assert_int_equal(*sources_handshakes(&s, v4(10, 0, n, 1)), 0);
		*sources_handshakes(&s, v4(10, 0, n, 1)) = n % 2;
	}
	for (uint8_t n = 0; n < 8; n += 2)
		sources_give(&s, v4(10, 0, n, 1));
	for (uint8_t n = 1; n < 8; n += 2) {
		assert_int_equal(*sources_handshakes(&s, v4(10, 0, n, 9)), 1);
		--*sources_handshakes(&s, v4(10, 0, n, 9));
		sources_give(&s, v4(10, 0, n, 1));
		assert_true(sources_take(&s, v4(10, 0, n, 1), 1));
		assert_int_equal(*sources_handshakes(&s, v4(10, 0, n, 9)), 0);
	}
}

#define CONNECTIONS 1000
#define NETWORKS 700

/* Against an array, at the fullest that the table is made for. */
static void
agrees_with_a_count_of_each(void **state)
{
	uint32_t count = sources_slots(CONNECTIONS);
	struct sources_slot *slots = calloc(count, sizeof(*slots));
	static uint32_t expected[NETWORKS], live[CONNECTIONS];
	struct sources s;
	struct prng prng;
	uint32_t lives = 0;

	(void)state;
	assert_int_equal(count, 2048);
	prng_init(&prng, 11);
	sources_init(&s, slots, count, &key);
	for (int i = 0; i < 200000; i++) {
		uint32_t n = prng_below(&prng, NETWORKS);
		bool was_taken;

		if (lives > 0 && (lives == CONNECTIONS || prng_below(&prng, 100) < 48)) {
			uint32_t leaving = prng_below(&prng, lives);

			n = live[leaving];
			live[leaving] = live[--lives];
			expected[n]--;
			sources_give(&s, v4(10, (uint8_t)(n >> 8), (uint8_t)n, 1));
			continue;
		}
		was_taken = sources_take(&s, v4(10, (uint8_t)(n >> 8), (uint8_t)n, (uint8_t)i), 3);
		assert_int_equal(was_taken, expected[n] < 3);
		expected[n] += was_taken;
		if (was_taken)
			live[lives++] = n;
	}
	while (lives > 0) {
		uint32_t n = live[--lives];

		sources_give(&s, v4(10, (uint8_t)(n >> 8), (uint8_t)n, 1));
	}
	for (uint32_t i = 0; i < count; i++)
		assert_true(slots[i].source == 0 && slots[i].count == 0);
	free(slots);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_source_is_a_slash_24_or_a_slash_48),
		cmocka_unit_test(counts_up_to_the_most_and_down_again),
		cmocka_unit_test(handshakes_are_the_networks_own),
		cmocka_unit_test(agrees_with_a_count_of_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
