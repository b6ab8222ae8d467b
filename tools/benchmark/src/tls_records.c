/*
 * Records sealed and opened in place by lib/tls, with each implementation of the ciphers, beside OpenSSL's
 * EVP on the same bytes in the same run: what a record costs, the best of many batches of 16, each some tens of
 * microseconds long, since a shared machine only ever adds to it.
 *
 *   256 B     one record sealed and opened, in one piece; "cold": of a thousand connections in turn, so that each
 *             key is expanded anew
 *   16 KB     in 8 segments of 2 KB, each way; header and tag beside the first and the last
 *   1,448 B   the same record opened from segments as a network cuts them
 */
#include <getopt.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/records.h"

#include "../../clock.h"

#define SHORT_BYTES 256
#define LONG_BYTES RECORDS_DATA_BYTES_MAX
#define SEGMENTS 8
#define BATCH 16
#define COLD_CONNS 1000
#define RECORD_ROOM (LONG_BYTES + 64)
#define HEADER_BYTES 5
#define TAIL_BYTES 17
#define NETWORK_BYTES 1448
#define NETWORK_SEGMENTS ((LONG_BYTES + HEADER_BYTES + TAIL_BYTES + NETWORK_BYTES - 1) / NETWORK_BYTES)

/* Ratios that hold wherever there is AES-NI; what is absolute wants VAES. */
#define GOAL_SHORT_RATIO 2.0
#define GOAL_LONG_RATIO 0.8
#define GOAL_MBEDTLS_RATIO 4.0
#define GOAL_SHORT_NS 250.0
#define GOAL_LONG_GB_S 8.0

static const char *const cipher_names[AEAD_CIPHERS] = { "AES-128-GCM", "AES-256-GCM", "ChaCha20-Poly1305" };

/* Nanoseconds a record. */
struct costs {
	double both_256; /* sealed and opened */
	double both_256_cold;
	double seal_16k;
	double open_16k;
	double open_network;
};

struct end {
	struct keyring ring;
	struct records *senders; /* of COLD_CONNS connections */
	struct records *receivers;
	uint8_t (*bytes)[RECORD_ROOM]; /* BATCH of them */
};

static void
begin(struct end *end, enum aead_cipher cipher)
{
	uint8_t ours[48] = { 1 };
	uint8_t theirs[48] = { 2 };

	for (uint32_t i = 0; i < COLD_CONNS; i++) {
		memcpy(ours + 1, &i, sizeof(i));
		memcpy(theirs + 1, &i, sizeof(i));
		records_begin_13(&end->senders[i], cipher, ours, theirs, 0, false);
		records_begin_13(&end->receivers[i], cipher, theirs, ours, 0, true);
	}
}

static void
seal_one(struct end *end, struct records *r, uint8_t *record, size_t len, size_t pieces)
{
	struct piece piece[SEGMENTS];
	struct pieces plain = { piece, pieces };

	for (size_t i = 0; i < pieces; i++)
		piece[i] = (struct piece){ record + 5 + i * (len / pieces), len / pieces };
	CHECK(records_seal(r, &end->ring, &plain, record, record + 5 + len, 0) == ERR_OK);
}

static void
open_pieces(struct end *end, struct records *r, struct piece *piece, size_t pieces, size_t len)
{
	struct pieces in = { piece, pieces };
	struct records_opened opened;

	CHECK(records_open(r, &end->ring, &in, 0, &opened) == ERR_OK && opened.len == len);
}

static void
open_one(struct end *end, struct records *r, uint8_t *record, size_t len, size_t pieces)
{
	struct piece piece[SEGMENTS];
	size_t at = 0;

	for (size_t i = 0; i < pieces; i++) {
		size_t take = len / pieces + (i == 0 ? HEADER_BYTES : 0) + (i + 1 == pieces ? TAIL_BYTES : 0);

		piece[i] = (struct piece){ record + at, take };
		at += take;
	}
	open_pieces(end, r, piece, pieces, len);
}

static void
open_network(struct end *end, struct records *r, uint8_t *record)
{
	struct piece piece[NETWORK_SEGMENTS];
	size_t total = LONG_BYTES + HEADER_BYTES + TAIL_BYTES;
	size_t count = 0;

	for (size_t at = 0; at < total; at += NETWORK_BYTES) {
		size_t take = total - at < NETWORK_BYTES ? total - at : NETWORK_BYTES;

		piece[count++] = (struct piece){ record + at, take };
	}
	open_pieces(end, r, piece, count, LONG_BYTES);
}

/* Of a batch that began at start_ns. */
static void
keep_best(double *best, uint64_t start_ns)
{
	double each = (double)(clock_ns() - start_ns) / BATCH;

	if (*best == 0 || each < *best)
		*best = each;
}

/* Batches of 256 B records, of `conns` connections in turn. */
static void
measure_short(struct end *end, double *best, size_t batches, size_t conns)
{
	for (size_t i = 0; i < batches; i++) {
		size_t first = i * BATCH;
		uint64_t start_ns = clock_ns();

		for (size_t n = 0; n < BATCH; n++)
			seal_one(end, &end->senders[(first + n) % conns], end->bytes[n], SHORT_BYTES, 1);
		for (size_t n = 0; n < BATCH; n++)
			open_one(end, &end->receivers[(first + n) % conns], end->bytes[n], SHORT_BYTES, 1);
		keep_best(best, start_ns);
	}
}

static void
seal_batch(struct end *end)
{
	for (size_t n = 0; n < BATCH; n++)
		seal_one(end, &end->senders[0], end->bytes[n], LONG_BYTES, SEGMENTS);
}

/* One round of each; what is sealed in it is opened in it. */
static void
measure_round(struct end *end, struct costs *best, size_t batches)
{
	measure_short(end, &best->both_256, 8 * batches, 1);
	measure_short(end, &best->both_256_cold, 8 * batches, COLD_CONNS);
	for (size_t i = 0; i < batches; i++) {
		uint64_t start_ns = clock_ns();

		seal_batch(end);
		keep_best(&best->seal_16k, start_ns);
		start_ns = clock_ns();
		for (size_t n = 0; n < BATCH; n++)
			open_one(end, &end->receivers[0], end->bytes[n], LONG_BYTES, SEGMENTS);
		keep_best(&best->open_16k, start_ns);
		seal_batch(end);
		start_ns = clock_ns();
		for (size_t n = 0; n < BATCH; n++)
			open_network(end, &end->receivers[0], end->bytes[n]);
		keep_best(&best->open_network, start_ns);
	}
}

static bool
end_init(struct end *end, enum aead_kind kind)
{
	if (!keyring_init_kind(&end->ring, kind))
		return false;
	end->senders = calloc(COLD_CONNS, sizeof(*end->senders));
	end->receivers = calloc(COLD_CONNS, sizeof(*end->receivers));
	end->bytes = calloc(BATCH, sizeof(*end->bytes));
	CHECK(end->senders != NULL && end->receivers != NULL && end->bytes != NULL);
	memset(end->bytes, 'x', BATCH * sizeof(*end->bytes));
	return true;
}

static void
end_fini(struct end *end)
{
	free(end->senders);
	free(end->receivers);
	free(end->bytes);
	keyring_fini(&end->ring);
}

/* --- OpenSSL -------------------------------------------------------------------------------------- */

struct evp {
	EVP_CIPHER_CTX *seal;
	EVP_CIPHER_CTX *open;
	uint8_t (*bytes)[RECORD_ROOM];
	uint8_t tags[BATCH][AEAD_TAG_BYTES];
};

static void
evp_begin(struct evp *e, enum aead_cipher cipher)
{
	static const uint8_t key[32] = { 5 };
	const EVP_CIPHER *kinds[AEAD_CIPHERS] = { EVP_aes_128_gcm(), EVP_aes_256_gcm(),
						  EVP_chacha20_poly1305() };

	CHECK(EVP_EncryptInit_ex(e->seal, kinds[cipher], NULL, key, NULL) == 1);
	CHECK(EVP_DecryptInit_ex(e->open, kinds[cipher], NULL, key, NULL) == 1);
}

/* As its own libssl does it: the key stays, each record has its nonce. */
static void
evp_one(EVP_CIPHER_CTX *ctx, bool seals, uint8_t *bytes, size_t len, size_t pieces, uint64_t sequence,
	uint8_t *tag)
{
	uint8_t nonce[AEAD_NONCE_BYTES] = { 7 };
	uint8_t aad[5] = { 23, 3, 3 };
	int done = 0;

	memcpy(nonce + 4, &sequence, sizeof(sequence));
	CHECK(EVP_CipherInit_ex(ctx, NULL, NULL, NULL, nonce, seals ? 1 : 0) == 1);
	CHECK(EVP_CipherUpdate(ctx, NULL, &done, aad, sizeof(aad)) == 1);
	for (size_t i = 0; i < pieces; i++) {
		uint8_t *piece = bytes + i * (len / pieces);

		CHECK(EVP_CipherUpdate(ctx, piece, &done, piece, (int)(len / pieces)) == 1);
	}
	if (!seals)
		CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_BYTES, tag) == 1);
	CHECK(EVP_CipherFinal_ex(ctx, bytes + len, &done) == 1);
	if (seals)
		CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_BYTES, tag) == 1);
}

static void
evp_batch(struct evp *e, bool seals, size_t len, size_t pieces)
{
	for (size_t n = 0; n < BATCH; n++)
		evp_one(seals ? e->seal : e->open, seals, e->bytes[n], len, pieces, n, e->tags[n]);
}

static void
evp_round(struct evp *e, struct costs *best, size_t batches)
{
	for (size_t i = 0; i < 8 * batches; i++) {
		uint64_t start_ns = clock_ns();

		evp_batch(e, true, SHORT_BYTES, 1);
		evp_batch(e, false, SHORT_BYTES, 1);
		keep_best(&best->both_256, start_ns);
	}
	for (size_t i = 0; i < batches; i++) {
		uint64_t start_ns = clock_ns();

		evp_batch(e, true, LONG_BYTES, SEGMENTS);
		keep_best(&best->seal_16k, start_ns);
		start_ns = clock_ns();
		evp_batch(e, false, LONG_BYTES, SEGMENTS);
		keep_best(&best->open_16k, start_ns);
	}
}

/* --- two workers ------------------------------------------------------------------------------------ */

struct worker {
	pthread_t thread;
	struct end *end;
	size_t batches;
	struct costs best;
	pthread_barrier_t *together;
};

static void *
work(void *argument)
{
	struct worker *worker = argument;

	(void)pthread_barrier_wait(worker->together);
	for (int round = 0; round < 3; round++)
		measure_round(worker->end, &worker->best, worker->batches);
	return NULL;
}

/* The cost of a 256 B record on `count` workers at once: the dearer one's. */
static double
on_workers(struct end *ends, unsigned int count, size_t batches)
{
	struct worker workers[2] = { { .end = NULL } };
	pthread_barrier_t together;
	double most = 0;

	CHECK(pthread_barrier_init(&together, NULL, count) == 0);
	for (unsigned int i = 0; i < count; i++) {
		workers[i] = (struct worker){ .end = &ends[i], .batches = batches, .together = &together };
		begin(&ends[i], AEAD_AES_128_GCM);
		CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
	}
	for (unsigned int i = 0; i < count; i++) {
		CHECK(pthread_join(workers[i].thread, NULL) == 0);
		if (workers[i].best.both_256 > most)
			most = workers[i].best.both_256;
	}
	CHECK(pthread_barrier_destroy(&together) == 0);
	return most;
}

/* --- output ---------------------------------------------------------------------------------------- */

/* 0: not measured. */
static double
gb_s(double ns)
{
	return ns > 0 ? LONG_BYTES / ns : 0;
}

__attribute__((format(printf, 1, 0))) static void
print_cell(const char *format, double value)
{
	if (value > 0)
		printf(format, value);
	else
		printf("%9s ", "-");
}

static void
print_row(bool is_json, bool is_first, const char *cipher, const char *name, const struct costs *c,
	  const struct costs *evp)
{
	if (is_json) {
		printf("%s{\"cipher\":\"%s\",\"by\":\"%s\",\"both_256_ns\":%.1f,\"both_256_cold_ns\":%.1f,"
		       "\"seal_16k_gb_s\":%.2f,\"open_16k_gb_s\":%.2f,\"open_network_gb_s\":%.2f}",
		       is_first ? "" : ",", cipher, name, c->both_256, c->both_256_cold, gb_s(c->seal_16k),
		       gb_s(c->open_16k), gb_s(c->open_network));
		return;
	}
	printf("%-18s %-21s %9.3f ", cipher, name, c->both_256 / 1e3);
	print_cell("%9.3f ", c->both_256_cold / 1e3);
	printf("%9.2f %9.2f ", gb_s(c->seal_16k), gb_s(c->open_16k));
	print_cell("%9.2f ", gb_s(c->open_network));
	printf("  %5.2f %5.2f %5.2f\n", evp->both_256 / c->both_256, evp->seal_16k / c->seal_16k,
	       evp->open_16k / c->open_16k);
}

static bool
judge(bool is_json, const char *what, double got, double goal, bool is_most)
{
	bool is_met = is_most ? got <= goal : got >= goal;

	if (!is_json)
		printf("%-66s %8.2f  goal %s %.2f: %s\n", what, got, is_most ? "<=" : ">=", goal,
		       is_met ? "met" : "MISSED");
	return is_met;
}

/* Of the implementation that a worker takes by itself. */
static bool
judge_all(bool is_json, const struct aead *aead, const struct costs costs[AEAD_KINDS], const struct costs *evp)
{
	const struct costs *ours = &costs[aead->kind];
	const struct costs *portable = &costs[AEAD_MBEDTLS];
	bool is_met = true;

	if (!is_json)
		printf("\n%s, AES-128-GCM:\n", aead->name);
	is_met &= judge(is_json, "256 B sealed and opened, times OpenSSL's ciphers",
			evp->both_256 / ours->both_256, GOAL_SHORT_RATIO, false);
	is_met &= judge(is_json, "16 KB sealed, times OpenSSL's", evp->seal_16k / ours->seal_16k,
			GOAL_LONG_RATIO, false);
	is_met &= judge(is_json, "16 KB opened, times OpenSSL's", evp->open_16k / ours->open_16k,
			GOAL_LONG_RATIO, false);
	is_met &= judge(is_json, "16 KB sealed, times mbedTLS's", portable->seal_16k / ours->seal_16k,
			GOAL_MBEDTLS_RATIO, false);
	if (aead->kind != AEAD_VAES && !aead->is_wide) {
		if (!is_json)
			printf("No VAES here: 0.25 us for 256 B and 8 GB/s for 16 KB are not judged.\n");
		return is_met;
	}
	is_met &= judge(is_json, "256 B sealed and opened, us", ours->both_256 / 1e3, GOAL_SHORT_NS / 1e3,
			true);
	is_met &= judge(is_json, "16 KB sealed, GB/s", gb_s(ours->seal_16k), GOAL_LONG_GB_S, false);
	is_met &= judge(is_json, "16 KB opened, GB/s", gb_s(ours->open_16k), GOAL_LONG_GB_S, false);
	return is_met;
}

static int
usage(FILE *to, int rc)
{
	fputs("Usage: tools/bench tls-records [--rounds N] [--json]\n\n"
	      "Seals and opens TLS 1.3 records in place with each implementation of the ciphers that is "
	      "here, and the\n"
	      "same bytes with OpenSSL's; prints the best of N rounds (12).\n\n"
	      "Exit codes: 0 goals met (or mbedtls is all there is), 1 missed, 2 wrong use.\n",
	      to);
	return rc;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "rounds", required_argument, NULL, 'r' },
						 { "json", no_argument, NULL, 'j' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	static _Alignas(64) struct end ends[AEAD_KINDS];
	static _Alignas(64) struct end twins[2];
	struct costs costs[AEAD_CIPHERS][AEAD_KINDS] = { 0 };
	struct aead chosen;
	struct costs evp[AEAD_CIPHERS] = { 0 };
	struct evp e = { EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_new(), calloc(BATCH, RECORD_ROOM), { { 0 } } };
	bool is_there[AEAD_KINDS];
	bool is_json = false;
	bool is_met = true;
	long rounds = 12;
	char *rest = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r') {
			rounds = strtol(optarg, &rest, 10);
			if (*rest != '\0' || rounds < 1 || rounds > 1000)
				return usage(stderr, 2);
		} else if (option == 'j') {
			is_json = true;
		} else {
			return usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
		}
	}
	if (optind != argc)
		return usage(stderr, 2);
	CHECK(e.seal != NULL && e.open != NULL && e.bytes != NULL);
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
		is_there[kind] = end_init(&ends[kind], kind);
	for (unsigned int cipher = 0; cipher < AEAD_CIPHERS; cipher++) {
		evp_begin(&e, cipher);
		for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
			if (is_there[kind])
				begin(&ends[kind], cipher);
		for (long round = 0; round < rounds; round++) {
			evp_round(&e, &evp[cipher], 8);
			for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
				if (is_there[kind])
					measure_round(&ends[kind], &costs[cipher][kind],
						      kind == AEAD_MBEDTLS ? 1 : 8);
		}
	}
	if (is_json)
		printf("[");
	else
		printf("%-18s %-21s %9s %9s %9s %9s %9s   %s\n%-18s %-21s %9s %9s %9s %9s %9s   %s\n", "", "",
		       "256 B us", "cold us", "seal GB/s", "open GB/s", "open GB/s", "times OpenSSL:", "", "",
		       "both", "both", "16 KB", "16 KB", "1,448 B", "256 B seal open");
	for (unsigned int cipher = 0; cipher < AEAD_CIPHERS; cipher++) {
		print_row(is_json, cipher == 0, cipher_names[cipher], "OpenSSL EVP", &evp[cipher],
			  &evp[cipher]);
		for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
			if (is_there[kind])
				print_row(is_json, false, cipher_names[cipher], ends[kind].ring.aead.name,
					  &costs[cipher][kind], &evp[cipher]);
	}
	if (is_json)
		printf("]\n");
	CHECK(aead_choose(&chosen, NULL));
	if (chosen.kind != AEAD_MBEDTLS) {
		is_met = judge_all(is_json, &chosen, costs[AEAD_AES_128_GCM], &evp[AEAD_AES_128_GCM]);
		if (!is_json && end_init(&twins[0], chosen.kind) && end_init(&twins[1], chosen.kind)) {
			double one = on_workers(twins, 1, 8);
			double two = on_workers(twins, 2, 8);

			printf("256 B on two workers at once cost %.2f times as much as on one\n", two / one);
			end_fini(&twins[0]);
			end_fini(&twins[1]);
		}
	} else if (!is_json) {
		printf("\nNeither vaes nor ipsec-mb is in this build, or for this processor: nothing is "
		       "judged.\n");
	}
	aead_fini(&chosen);
	for (unsigned int kind = 0; kind < AEAD_KINDS; kind++)
		if (is_there[kind])
			end_fini(&ends[kind]);
	EVP_CIPHER_CTX_free(e.seal);
	EVP_CIPHER_CTX_free(e.open);
	free(e.bytes);
	return is_met ? 0 : 1;
}
