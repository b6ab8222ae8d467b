#include "duo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../clock.h"
#include "base/check.h"
#include "base/prng.h"

struct tcp_config
duo_config(uint32_t conns, uint64_t seed)
{
	struct tcp_config c = {
		.conns_max = conns,
		.half_open_max = 4096,
		.time_wait_max = 4096,
		.ranges_max = 65536,
		.mss_v4 = 1460,
		.mss_v6 = 1440,
		.recv_bytes_max = 64 * KIB,
		.send_bytes_max = 64 * KIB,
		.window_shift = 8,
		.ephemeral_port_min = 1024,
		.seed = seed,
	};
	struct prng prng;

	prng_init(&prng, seed);
	for (uint32_t i = 0; i < sizeof(c.hash_key); i++) {
		c.hash_key[i] = (uint8_t)prng_next(&prng);
		c.cookie_key[i] = (uint8_t)prng_next(&prng);
	}
	return c;
}

void
duo_open(struct duo_side *s, const struct tcp_config *config, uint32_t packets, uint64_t now_ns)
{
	memset(s, 0, sizeof(*s));
	pkt_pool_init(&s->headers, packets);
	pkt_pool_init(&s->bare, packets);
	pkt_pool_init(&s->payload, packets);
	s->memory_bytes = tcp_bytes(config);
	s->memory = aligned_alloc(CACHE_LINE_BYTES, s->memory_bytes);
	CHECK(s->memory != NULL);
	s->tcp = tcp_init(s->memory, config, &s->headers, &s->bare, now_ns);
}

void
duo_close(struct duo_side *s)
{
	tcp_fini(s->tcp);
	free(s->memory);
}

static uint32_t
lent(const struct pkt_pool *pool)
{
	struct pkt_pool_stats stats = pkt_pool_stats(pool);

	return stats.total - stats.free;
}

uint32_t
duo_packets_held(const struct duo_side *s)
{
	return lent(&s->headers) + lent(&s->bare) + lent(&s->payload);
}

void
duo_collect(struct duo_side *s, struct duo_burst *burst)
{
	struct pkt *p;

	burst->count = 0;
	while (burst->count < DUO_BURST && (p = tcp_transmit_next(s->tcp)) != NULL) {
		pkt_meta(p)->l4_csum = PKT_CSUM_GOOD;
		burst->pkt[burst->count++] = p;
	}
}

void
duo_deliver(struct duo_side *s, struct duo_burst *burst, uint64_t now_ns)
{
	tcp_input_burst(s->tcp, burst->pkt, burst->count, now_ns);
	burst->count = 0;
}

struct ip_addr
duo_address(uint32_t number)
{
	number++;
	return (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 10, (uint8_t)(number >> 16),
				   (uint8_t)(number >> 8), (uint8_t)number } };
}

uint32_t
duo_number(const char *text, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text == '\0' || *end != '\0' || n < min || n > max) {
		fprintf(stderr, "\"%s\" is no number from %u to %u\n", text, min, max);
		exit(2);
	}
	return (uint32_t)n;
}

int
duo_usage(const char *text, int code)
{
	fputs(text, code == 0 ? stdout : stderr);
	return code;
}

size_t
duo_resident_bytes(void)
{
	unsigned long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	CHECK(file != NULL && fscanf(file, "%*s %lu", &pages) == 1);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

uint64_t
duo_cycles(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return clock_ns();
#endif
}

double
duo_cycles_per_ns(void)
{
	uint64_t from_ns = clock_ns();
	uint64_t from = duo_cycles();

	while (clock_ns() - from_ns < 20 * NSEC_PER_MSEC)
		;
	return (double)(duo_cycles() - from) / (double)(clock_ns() - from_ns);
}
