/*
 * Who sits in the lanes, when they run, and what becomes of handshakes that wait there: together they say what
 * each would have said alone, and one that is ended takes nothing along.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "cert_file.h"
#include "lanes_twin.h"
#include "tls/conn.h"
#include "tls_duo.h"
#include "tls_pairing.h"

#define US NSEC_PER_USEC
#define TLS12 0x0303
#define TLS13 0x0304

/* --- an engine that can be looked at: the first octet of each output says which lane had which inputs ---- */

#define SEATS 20

static struct lanes_batch seen;
static uint32_t runs;
static uint32_t good;

/* out[i] is in[0] and in[1] octet by octet. */
static uint32_t
look(const struct lanes_batch *batch)
{
	seen = *batch;
	runs++;
	for (uint32_t lane = 0; lane < LANES; lane++)
		for (uint32_t i = 0; i < LANES_OUTPUTS_MAX && batch->out[i][lane] != NULL; i++)
			for (uint32_t k = 0; k < LANES_BYTES_MAX; k++)
				batch->out[i][lane][k] = (uint8_t)(batch->in[0][lane][k] + i);
	return good;
}

static const struct lanes_engine looking = {
	.name = "looking",
	.compute = { [LANES_X25519_PUBLIC] = look, [LANES_X25519_SHARED] = look, [LANES_P256_SIGN] = look },
};

struct sitter {
	struct lanes_seat seat;
	struct lanes_work work;
	uint8_t in[LANES_BYTES_MAX];
	uint8_t out[LANES_OUTPUTS_MAX][LANES_BYTES_MAX];
};

static struct lanes lanes;
static struct sitter sitters[SEATS];

static void
begin(void)
{
	lanes_init(&lanes, &looking);
	memset(sitters, 0, sizeof(sitters));
	runs = 0;
	good = 0xff;
}

static void
sit(uint32_t who, enum lanes_kind kind)
{
	struct sitter *s = &sitters[who];

	memset(s->in, (int)(who + 1), sizeof(s->in));
	memset(s->out, 0xee, sizeof(s->out));
	s->work = (struct lanes_work){ kind, { s->in, s->in, s->in }, { s->out[0], s->out[1] } };
	lanes_join(&lanes, &s->seat, &s->work);
}

static bool
sits(uint32_t who)
{
	return lanes_is_waiting(&lanes, &sitters[who].seat);
}

static void
eight_of_a_kind_are_computed_at_once(void **state)
{
	(void)state;
	begin();
	assert_true(lanes_next_at(&lanes) == UINT64_MAX);
	assert_int_equal(lanes_run(&lanes, 1000 * US), 0);
	for (uint32_t i = 0; i < LANES - 1; i++)
		sit(i, LANES_P256_SIGN);
	assert_int_equal(lanes_run(&lanes, 1000 * US), 0);
	sit(7, LANES_P256_SIGN);
	sit(8, LANES_P256_SIGN);
	assert_true(lanes_next_at(&lanes) == 0);
	assert_int_equal(lanes_run(&lanes, 1000 * US), LANES);
	for (uint32_t i = 0; i < LANES; i++) {
		assert_ptr_equal(seen.in[0][i], sitters[i].in);
		assert_ptr_equal(seen.in[2][i], sitters[i].in);
		assert_int_equal(sitters[i].out[0][31], i + 1);
		assert_int_equal(sitters[i].out[1][31], i + 2);
		assert_false(sits(i));
		assert_true(sitters[i].seat.is_good);
		assert_ptr_equal(lanes_next_done(&lanes), &sitters[i].seat);
	}
	assert_null(lanes_next_done(&lanes));
	/* The ninth is the first of the next. */
	assert_true(sits(8) && sitters[8].out[0][0] == 0xee);
	assert_true(lanes_next_at(&lanes) == 1000 * US + LANES_WAIT_US * US);
}

static void
the_first_waits_so_long_and_no_longer(void **state)
{
	(void)state;
	begin();
	assert_int_equal(lanes_run(&lanes, 1000 * US), 0);
	sit(0, LANES_X25519_SHARED);
	assert_int_equal(lanes_run(&lanes, 1040 * US), 0);
	sit(1, LANES_X25519_SHARED);
	assert_int_equal(lanes_run(&lanes, (1000 + LANES_WAIT_US) * US - 1), 0);
	assert_true(lanes_next_at(&lanes) == (1000 + LANES_WAIT_US) * US);
	assert_int_equal(lanes_run(&lanes, (1000 + LANES_WAIT_US) * US), 2);
	assert_int_equal(sitters[0].out[0][0], 1);
	assert_int_equal(sitters[1].out[0][0], 2);
	/* Spare lanes have the first one's inputs, and outputs of nobody. */
	for (uint32_t lane = 2; lane < LANES; lane++) {
		assert_ptr_equal(seen.in[0][lane], sitters[0].in);
		assert_ptr_equal(seen.in[1][lane], sitters[0].in);
		for (uint32_t other = 0; other < lane; other++)
			assert_ptr_not_equal(seen.out[0][lane], seen.out[0][other]);
	}
	assert_int_equal(sitters[0].out[1][0], 0xee);
	assert_true(lanes_next_at(&lanes) == UINT64_MAX);
}

static void
kinds_do_not_mix_and_the_longest_wait_goes_first(void **state)
{
	(void)state;
	begin();
	assert_int_equal(lanes_run(&lanes, 1000 * US), 0);
	sit(0, LANES_P256_SIGN);
	assert_int_equal(lanes_run(&lanes, 1010 * US), 0);
	for (uint32_t i = 1; i < 10; i++)
		sit(i, LANES_X25519_PUBLIC);
	/* Eight may run at once, but who is due at the same time has waited longer. */
	assert_int_equal(lanes_run(&lanes, 1050 * US), 1);
	assert_false(sits(0));
	assert_true(sits(1));
	assert_int_equal(lanes_run(&lanes, 1050 * US), LANES);
	assert_false(sits(8));
	assert_true(sits(9));
	assert_int_equal(lanes_run(&lanes, 1050 * US), 0);
	assert_int_equal(lanes_run(&lanes, 1060 * US), 1);
	assert_int_equal(runs, 3);
	assert_true(lanes_pays(&lanes, LANES_P256_SIGN, 1));
	assert_false(lanes_pays(&lanes, LANES_P256_SHARED, 100));
}

static void
too_few_are_sent_away(void **state)
{
	struct lanes_engine engine = looking;

	(void)state;
	begin();
	engine.fewest[LANES_P256_SIGN] = 3;
	lanes.engine = &engine;
	assert_false(lanes_pays(&lanes, LANES_P256_SIGN, 2));
	assert_true(lanes_pays(&lanes, LANES_P256_SIGN, 3));
	assert_true(lanes_pays(&lanes, LANES_X25519_PUBLIC, 1));
	assert_int_equal(lanes_run(&lanes, 1000 * US), 0);
	sit(0, LANES_P256_SIGN);
	sit(1, LANES_P256_SIGN);
	sit(2, LANES_X25519_PUBLIC);
	/* Not before the wait is over. */
	assert_int_equal(lanes_run(&lanes, 1050 * US - 1), 0);
	assert_null(lanes_next_done(&lanes));
	/* Others' batch does not keep them. */
	assert_int_equal(lanes_run(&lanes, 1050 * US), 1);
	assert_int_equal(runs, 1);
	assert_ptr_equal(lanes_next_done(&lanes), &sitters[0].seat);
	assert_ptr_equal(lanes_next_done(&lanes), &sitters[1].seat);
	assert_ptr_equal(lanes_next_done(&lanes), &sitters[2].seat);
	assert_null(lanes_next_done(&lanes));
	assert_true(sitters[0].seat.is_alone && !sitters[0].seat.is_good && sitters[0].out[0][0] == 0xee);
	assert_true(!sitters[2].seat.is_alone && sitters[2].seat.is_good);
	assert_true(lanes_next_at(&lanes) == UINT64_MAX);
	/* Enough of them, or what is left of eight. */
	for (uint32_t i = 0; i < 3; i++)
		sit(i, LANES_P256_SIGN);
	assert_false(sitters[0].seat.is_alone);
	assert_int_equal(lanes_run(&lanes, 2000 * US), 3);
	for (uint32_t i = 3; i < 13; i++)
		sit(i, LANES_P256_SIGN);
	assert_int_equal(lanes_run(&lanes, 2001 * US), LANES);
	assert_int_equal(lanes_run(&lanes, 2050 * US), 0);
	assert_true(sitters[12].seat.is_alone);
}

static void
a_seat_can_be_left_at_any_time(void **state)
{
	(void)state;
	begin();
	assert_int_equal(lanes_run(&lanes, 1000 * US), 0);
	for (uint32_t i = 0; i < LANES; i++)
		sit(i, LANES_X25519_PUBLIC);
	lanes_leave(&sitters[0].seat);
	lanes_leave(&sitters[4].seat);
	lanes_leave(&sitters[7].seat);
	lanes_leave(&sitters[7].seat);
	assert_int_equal(lanes_run(&lanes, 1000 * US), 0);
	assert_int_equal(lanes_run(&lanes, 1050 * US), 5);
	assert_ptr_equal(seen.in[0][0], sitters[1].in);
	assert_ptr_equal(seen.in[0][3], sitters[5].in);
	assert_ptr_equal(seen.in[0][5], sitters[1].in);
	assert_int_equal(sitters[4].out[0][0], 0xee);
	/* Before it was handed out. */
	lanes_leave(&sitters[1].seat);
	assert_ptr_equal(lanes_next_done(&lanes), &sitters[2].seat);
	lanes_leave(&sitters[6].seat);
	assert_ptr_equal(lanes_next_done(&lanes), &sitters[3].seat);
	assert_ptr_equal(lanes_next_done(&lanes), &sitters[5].seat);
	assert_null(lanes_next_done(&lanes));
	/* It may sit down again. */
	sit(1, LANES_X25519_PUBLIC);
	assert_true(sits(1));
}

static void
what_is_bad_is_one_lanes_own(void **state)
{
	(void)state;
	begin();
	good = 0xfd;
	for (uint32_t i = 0; i < 3; i++)
		sit(i, LANES_X25519_SHARED);
	memset(sitters[2].in, 0, LANES_BYTES_MAX); /* so is its output */
	assert_int_equal(lanes_run(&lanes, 1000 * US), 3);
	assert_true(sitters[0].seat.is_good);
	assert_false(sitters[1].seat.is_good);
	assert_false(sitters[2].seat.is_good);
	sit(3, LANES_X25519_PUBLIC);
	memset(sitters[3].in, 0, LANES_BYTES_MAX);
	assert_int_equal(lanes_run(&lanes, 2000 * US), 1);
	assert_true(sitters[3].seat.is_good);
}

/* --- handshakes --------------------------------------------------------------------------------------- */

static const char *const edge_only[] = { "edge", NULL };
static const char *const rsa_only[] = { "rsa", NULL };
static const char *const p384_only[] = { "p384", NULL };
static const uint16_t x25519[] = { MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };
static const uint16_t p256[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

/* What each waits for, in its order. A signature on P-384 of the SHA-256 that clients of TLS 1.2 prefer is not in
 * lanes, but its product is. */
static const struct scene {
	const char *const *names;
	uint16_t version;
	const uint16_t *groups;
	uint32_t waits;
	enum lanes_kind kinds[4];
} scenes[] = {
	{ edge_only, TLS13, x25519, 3, { LANES_X25519_PUBLIC, LANES_X25519_SHARED, LANES_P256_SIGN } },
	{ edge_only, TLS13, p256, 3, { LANES_P256_PUBLIC, LANES_P256_SHARED, LANES_P256_SIGN } },
	{ edge_only, TLS12, NULL, 3, { LANES_X25519_PUBLIC, LANES_P256_SIGN, LANES_X25519_SHARED } },
	{ edge_only, TLS12, p256, 3, { LANES_P256_PUBLIC, LANES_P256_SIGN, LANES_P256_SHARED } },
	{ p384_only, TLS13, x25519, 3, { LANES_X25519_PUBLIC, LANES_X25519_SHARED, LANES_P384_SIGN } },
	{ p384_only, TLS12, NULL, 3, { LANES_X25519_PUBLIC, LANES_P384_PUBLIC, LANES_X25519_SHARED } },
	{ rsa_only, TLS13, x25519, 4,
	  { LANES_X25519_PUBLIC, LANES_X25519_SHARED, LANES_POWER_1024, LANES_POWER_1024 } },
	{ rsa_only, TLS12, NULL, 4,
	  { LANES_X25519_PUBLIC, LANES_POWER_1024, LANES_POWER_1024, LANES_X25519_SHARED } },
};

enum { MANY = 19 };

static struct seeded seed;

struct world {
	struct tls_identity *identity;
	struct tls_context *context;
	struct tls_client_config client;
	struct tls_duo *duos;
	uint32_t count;
};

static void
world_of(struct world *w, const struct scene *scene, uint32_t count, const struct lanes_engine *engine)
{
	struct ticket_secrets tickets = tls_duo_tickets(1);
	struct tls_context_config config = { .conns_max = count,
					     .ticket_lifetime_s = 3600,
					     .tickets = &tickets,
					     .entropy = seeded_entropy,
					     .owner = &seed,
					     .primitives = "libcrypto",
					     .lanes = engine };

	seed = (struct seeded){ 11 };
	w->identity = tls_duo_identity(scene->names);
	w->context = tls_context_new(&config, w->identity);
	assert_non_null(w->context);
	tls_set_time(w->context, TLS_DUO_NOW_S);
	w->client = tls_duo_client_config();
	w->client.version_min = w->client.version_max = scene->version;
	w->client.groups = scene->groups;
	if (scene->names == p384_only) {
		w->client.ca_pem = cert_file("p384.pem");
		w->client.host = "p384.sluice.test";
	}
	w->count = count;
	w->duos = calloc(count, sizeof(*w->duos));
	assert_non_null(w->duos);
	for (uint32_t i = 0; i < count; i++) {
		w->client.seed = i;
		tls_duo_init(&w->duos[i], w->context, &w->client);
		w->duos[i].is_patient = true;
		tls_set_owner(w->duos[i].server, &w->duos[i]);
	}
	memset(&lanes_twin_told, 0, sizeof(lanes_twin_told));
}

static void
world_end(struct world *w)
{
	for (uint32_t i = 0; i < w->count; i++)
		tls_duo_fini(&w->duos[i]);
	free(w->duos);
	tls_context_free(w->context);
	tls_identity_free(w->identity);
}

/* As far as they get without lanes that run. */
static void
go(struct world *w)
{
	for (uint32_t i = 0; i < w->count; i++)
		while (tls_duo_turn(&w->duos[i], 0))
			;
}

static uint32_t
waiting(const struct world *w)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < w->count; i++)
		count += w->duos[i].server_verdict == ERR_TLS_WAITS;
	return count;
}

/* Of a kind, up to what each has waited for as its number `last`. */
static uint32_t
times_of(const struct scene *scene, enum lanes_kind kind, uint32_t last)
{
	uint32_t times = 0;

	for (uint32_t k = 0; k <= last; k++)
		times += scene->kinds[k] == kind;
	return times;
}

/* Behind the longest wait. */
static uint32_t
run_later(struct world *w)
{
	static uint64_t now_ns = 1000000 * NSEC_PER_SEC;

	now_ns += LANES_WAIT_US * US;
	return tls_lanes_run(w->context, now_ns);
}

static void
need_twin(void)
{
	if (!lanes_twin_is_here())
		skip();
}

static void
handshakes_wait_for_each_other(void **state)
{
	struct world w;

	(void)state;
	need_twin();
	for (size_t s = 0; s < COUNT_OF(scenes); s++) {
		world_of(&w, &scenes[s], MANY, &lanes_twin);
		assert_string_equal(tls_context_primitives(w.context), "lanes");
		for (uint32_t k = 0; k < scenes[s].waits; k++) {
			enum lanes_kind kind = scenes[s].kinds[k];
			uint64_t now_ns = (k + 1) * NSEC_PER_SEC;

			assert_int_equal(tls_lanes_run(w.context, now_ns), 0);
			go(&w);
			assert_int_equal(waiting(&w), MANY);
			/* Two that are full, and the rest of them at its time. */
			assert_true(tls_lanes_next_at(w.context) == 0);
			assert_int_equal(tls_lanes_run(w.context, now_ns), LANES);
			for (uint32_t i = 0; i < LANES; i++)
				assert_ptr_equal(tls_lanes_done(w.context), &w.duos[i]);
			assert_null(tls_lanes_done(w.context));
			assert_int_equal(tls_lanes_run(w.context, now_ns), LANES);
			assert_int_equal(tls_lanes_run(w.context, now_ns), 0);
			assert_true(tls_lanes_next_at(w.context) == now_ns + LANES_WAIT_US * US);
			assert_int_equal(tls_lanes_run(w.context, now_ns + LANES_WAIT_US * US), MANY - 2 * LANES);
			assert_int_equal(lanes_twin_told.batches[kind], 3 * times_of(&scenes[s], kind, k));
			assert_true(tls_lanes_next_at(w.context) == UINT64_MAX);
		}
		/* Those who have gone on are not handed out any more. */
		go(&w);
		assert_null(tls_lanes_done(w.context));
		for (uint32_t i = 0; i < MANY; i++)
			assert_true(tls_duo_exchange(&w.duos[i]));
		world_end(&w);
	}
}

static void
who_waits_takes_and_says_nothing(void **state)
{
	uint8_t room[64];
	struct bytes in = BYTES_LITERAL("whatever comes meanwhile");
	struct tls_out out = { room, sizeof(room), 0 };
	struct world w;

	(void)state;
	need_twin();
	world_of(&w, &scenes[0], 1, &lanes_twin);
	go(&w);
	assert_int_equal(tls_handshake(w.duos[0].server, &in, &out), ERR_TLS_WAITS);
	assert_int_equal(tls_handshake(w.duos[0].server, &in, &out), ERR_TLS_WAITS);
	assert_true(bytes_equal(in, BYTES_LITERAL("whatever comes meanwhile")) && out.used == 0);
	world_end(&w);
}

/* The same random numbers are drawn in the same order, so the secrets are the same, which depend on all that was
 * said. */
static void
together_they_say_what_each_would_have_said_alone(void **state)
{
	static struct tls_client_secrets secrets[2][LANES];
	struct world w;

	(void)state;
	need_twin();
	for (size_t s = 0; s < COUNT_OF(scenes); s++) {
		for (int in_lanes = 0; in_lanes < 2; in_lanes++) {
			world_of(&w, &scenes[s], LANES, in_lanes ? &lanes_twin : NULL);
			for (bool moved = true; moved;) {
				moved = false;
				for (uint32_t i = 0; i < LANES; i++)
					moved |= tls_duo_turn(&w.duos[i], 0);
				if (waiting(&w) == LANES)
					moved |= lanes_twin_run(w.context) > 0;
			}
			for (uint32_t i = 0; i < LANES; i++) {
				assert_true(tls_duo_exchange(&w.duos[i]));
				secrets[in_lanes][i] = *tls_client_secrets(w.duos[i].client);
			}
			world_end(&w);
		}
		for (uint32_t k = 0; k < scenes[s].waits; k++)
			assert_int_equal(lanes_twin_told.batches[scenes[s].kinds[k]],
					 times_of(&scenes[s], scenes[s].kinds[k], scenes[s].waits - 1));
		assert_memory_equal(secrets[0], secrets[1], sizeof(secrets[0]));
		assert_memory_not_equal(&secrets[0][0], &secrets[0][1], sizeof(secrets[0][0]));
	}
}

static void
leave(struct tls_duo *duo)
{
	tls_conn_free(duo->server);
	duo->server = NULL;
	duo->server_verdict = ERR_TLS_MEMORY;
}

/* While it waits, and when it is computed but has not gone on. */
static void
one_that_is_ended_in_its_seat_leaves_nothing(void **state)
{
	struct world w;

	(void)state;
	need_twin();
	for (size_t s = 0; s < COUNT_OF(scenes); s++) {
		for (uint32_t k = 0; k < 2 * scenes[s].waits; k++) {
			bool is_done = k >= scenes[s].waits;

			world_of(&w, &scenes[s], 2, &lanes_twin);
			go(&w);
			for (uint32_t before = 0; before < k % scenes[s].waits; before++) {
				assert_int_equal(lanes_twin_run(w.context), 2);
				go(&w);
			}
			if (is_done)
				assert_int_equal(run_later(&w), 2);
			leave(&w.duos[0]);
			assert_int_equal(fiber_pool_depth(w.context->fibers), 0);
			assert_int_equal(w.context->handshakes, 1);
			assert_int_equal(run_later(&w), is_done ? 0 : 1);
			assert_ptr_equal(tls_lanes_done(w.context), &w.duos[1]);
			assert_null(tls_lanes_done(w.context));
			/* Who stood beside it goes on. */
			do
				go(&w);
			while (run_later(&w) > 0);
			assert_true(tls_duo_exchange(&w.duos[1]));
			world_end(&w);
		}
	}
}

/* A backend that wants P-384: our key, the peer's, the secret. */
static void
an_agreement_on_p384_is_computed_in_lanes(void **state)
{
	static const struct pairing_options options = { .chain = "edge", .authority = "ca", .sessions_max = 1 };
	static const uint16_t p384[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };
	static struct pairing pairing;

	(void)state;
	need_twin();
	for (uint32_t bad = 0; bad < 2; bad++) {
		struct tls_target target = pairing_target("api.sluice.test");

		memset(&lanes_twin_told, 0, sizeof(lanes_twin_told));
		lanes_twin_told.bad[LANES_P384_SHARED] = bad;
		assert_int_equal(setenv("SLUICE_TLS_PRIMITIVES", "lanes", 1), 0);
		pairing_open(&pairing, &options);
		assert_int_equal(unsetenv("SLUICE_TLS_PRIMITIVES"), 0);
		mbedtls_ssl_conf_groups(&pairing.theirs->config, p384);
		pairing_connect(&pairing, &target);
		assert_int_equal(pairing_shake(&pairing, 0), bad == 0);
		assert_int_equal(lanes_twin_told.batches[LANES_P384_PUBLIC], 2);
		assert_int_equal(lanes_twin_told.batches[LANES_P384_SHARED], 2);
		pairing_part(&pairing);
		pairing_close(&pairing);
	}
}

static void
a_bad_lane_ends_its_own_handshake_alone(void **state)
{
	struct world w;

	(void)state;
	need_twin();
	for (size_t s = 0; s < 2; s++) {
		for (uint32_t k = 0; k < 2; k++) {
			world_of(&w, &scenes[s], LANES, &lanes_twin);
			for (uint32_t run = 0; run < scenes[s].waits; run++) {
				go(&w);
				lanes_twin_told.bad[scenes[s].kinds[k]] = run == k ? 1u << 5 : 0;
				assert_int_equal(lanes_twin_run(w.context), run <= k ? LANES : LANES - 1);
			}
			go(&w);
			for (uint32_t i = 0; i < LANES; i++) {
				assert_int_equal(tls_is_open(w.duos[i].server), i != 5);
				if (i == 5 && k == 1)
					assert_int_equal(w.duos[i].server_verdict, ERR_TLS_BAD_MESSAGE);
			}
			world_end(&w);
		}
	}
}

static void
a_signature_that_lanes_refuse_is_made_another_way(void **state)
{
	struct world w;

	(void)state;
	need_twin();
	for (size_t s = 0; s < 6; s += 4) {
		bool is_p384 = scenes[s].names == p384_only;
		enum lanes_kind sign = is_p384 ? LANES_P384_SIGN : LANES_P256_SIGN;

		world_of(&w, &scenes[s], 1, &lanes_twin);
		lanes_twin_told.bad[sign] = 0xff;
		do
			go(&w);
		while (lanes_twin_run(w.context) > 0);
		assert_int_equal(lanes_twin_told.batches[sign], 1);
		assert_int_equal(lanes_twin_told.batches[is_p384 ? LANES_P384_PUBLIC : LANES_P256_PUBLIC], 1);
		assert_true(tls_duo_exchange(&w.duos[0]));
		world_end(&w);
	}
}

/* It would tell the key (Boneh, DeMillo, Lipton 1997). In TLS 1.3 mbedTLS signs again, by its next algorithm. */
static void
an_rsa_signature_of_a_wrong_half_is_never_said(void **state)
{
	struct world w;

	(void)state;
	need_twin();
	for (size_t s = 6; s < COUNT_OF(scenes); s++) {
		for (uint32_t half = 1; half <= 2; half++) {
			bool is_13 = scenes[s].version == TLS13;

			world_of(&w, &scenes[s], 2, &lanes_twin);
			do {
				bool is_next;

				go(&w);
				is_next = lanes_twin_told.batches[LANES_POWER_1024] == half - 1;
				lanes_twin_told.wrong[LANES_POWER_1024] = is_next ? 1 : 0;
			} while (lanes_twin_run(w.context) > 0);
			assert_int_equal(lanes_twin_told.batches[LANES_POWER_1024], is_13 ? 4 : 2);
			assert_int_equal(w.duos[0].server_verdict, is_13 ? ERR_OK : ERR_TLS_REFUSED);
			assert_int_equal(tls_client_is_open(w.duos[0].client), is_13);
			assert_true(tls_duo_exchange(&w.duos[1]));
			world_end(&w);
		}
	}
}

static void
a_half_of_rsa_that_lanes_refuse_is_computed_alone(void **state)
{
	struct world w;

	(void)state;
	need_twin();
	world_of(&w, &scenes[6], 1, &lanes_twin);
	lanes_twin_told.bad[LANES_POWER_1024] = 0xff;
	do
		go(&w);
	while (lanes_twin_run(w.context) > 0);
	assert_int_equal(lanes_twin_told.batches[LANES_POWER_1024], 2);
	assert_true(tls_duo_exchange(&w.duos[0]));
	world_end(&w);
}

/* Each does what it would do without lanes: it says the same, stops as often, and is ended as well. */
static void
whoever_is_sent_away_computes_alone(void **state)
{
	struct lanes_engine dear = lanes_twin;
	struct world w;

	(void)state;
	need_twin();
	for (int k = 0; k < LANES_KINDS; k++)
		dear.fewest[k] = 3;
	for (size_t s = 0; s < COUNT_OF(scenes); s++) {
		for (uint32_t cut = 0; cut <= scenes[s].waits; cut++) {
			uint32_t sent_away = 0;

			world_of(&w, &scenes[s], 3, &dear);
			/* The third is there, and does nothing. */
			w.count = 2;
			for (go(&w); waiting(&w) > 0; go(&w)) {
				assert_int_equal(waiting(&w), 2);
				assert_int_equal(run_later(&w), 0);
				assert_ptr_equal(tls_lanes_done(w.context), &w.duos[0]);
				assert_ptr_equal(tls_lanes_done(w.context), &w.duos[1]);
				assert_null(tls_lanes_done(w.context));
				if (++sent_away == cut)
					break;
				/* It computes in its next step, and does not stop for that once more. */
				(void)tls_duo_turn(&w.duos[0], 0);
				if (scenes[s].names == edge_only && w.duos[0].server->handshake != NULL)
					assert_true(w.duos[0].server_verdict != ERR_TLS_AGAIN ||
						    w.duos[0].server->handshake->fiber == NULL);
			}
			assert_int_equal(sent_away, cut != 0 ? cut : scenes[s].waits);
			if (cut != 0)
				leave(&w.duos[0]);
			while (cut != 0 && (go(&w), waiting(&w) > 0))
				(void)run_later(&w);
			w.count = 3;
			for (int k = 0; k < LANES_KINDS; k++)
				assert_int_equal(lanes_twin_told.batches[k], 0);
			assert_true(tls_duo_exchange(&w.duos[1]));
			world_end(&w);
		}
	}
}

static void
whoever_has_no_company_does_not_wait(void **state)
{
	struct lanes_engine dear = lanes_twin;
	struct world w;

	(void)state;
	need_twin();
	for (int k = 0; k < LANES_KINDS; k++)
		dear.fewest[k] = 2;
	for (size_t s = 0; s < COUNT_OF(scenes); s++) {
		world_of(&w, &scenes[s], 1, &dear);
		go(&w);
		assert_true(tls_duo_exchange(&w.duos[0]));
		assert_true(tls_lanes_next_at(w.context) == UINT64_MAX);
		world_end(&w);
	}
}

static void
what_the_engine_does_not_have_is_computed_alone(void **state)
{
	struct lanes_engine some = lanes_twin;
	struct world w;

	(void)state;
	need_twin();
	some.compute[LANES_X25519_PUBLIC] = NULL;
	some.compute[LANES_P256_SIGN] = NULL;
	world_of(&w, &scenes[0], 1, &some);
	go(&w);
	assert_int_equal(lanes_twin_run(w.context), 1);
	assert_int_equal(lanes_twin_told.batches[LANES_X25519_SHARED], 1);
	/* Signing is a product of the generator then. */
	go(&w);
	assert_int_equal(lanes_twin_run(w.context), 1);
	assert_int_equal(lanes_twin_told.batches[LANES_P256_PUBLIC], 1);
	go(&w);
	assert_true(tls_duo_exchange(&w.duos[0]));
	world_end(&w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(eight_of_a_kind_are_computed_at_once),
		cmocka_unit_test(the_first_waits_so_long_and_no_longer),
		cmocka_unit_test(kinds_do_not_mix_and_the_longest_wait_goes_first),
		cmocka_unit_test(too_few_are_sent_away),
		cmocka_unit_test(a_seat_can_be_left_at_any_time),
		cmocka_unit_test(what_is_bad_is_one_lanes_own),
		cmocka_unit_test(handshakes_wait_for_each_other),
		cmocka_unit_test(who_waits_takes_and_says_nothing),
		cmocka_unit_test(together_they_say_what_each_would_have_said_alone),
		cmocka_unit_test(one_that_is_ended_in_its_seat_leaves_nothing),
		cmocka_unit_test(an_agreement_on_p384_is_computed_in_lanes),
		cmocka_unit_test(a_bad_lane_ends_its_own_handshake_alone),
		cmocka_unit_test(a_signature_that_lanes_refuse_is_made_another_way),
		cmocka_unit_test(an_rsa_signature_of_a_wrong_half_is_never_said),
		cmocka_unit_test(a_half_of_rsa_that_lanes_refuse_is_computed_alone),
		cmocka_unit_test(whoever_is_sent_away_computes_alone),
		cmocka_unit_test(whoever_has_no_company_does_not_wait),
		cmocka_unit_test(what_the_engine_does_not_have_is_computed_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
