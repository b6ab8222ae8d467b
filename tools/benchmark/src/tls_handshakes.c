/*
 * Handshakes of a server of lib/tls beside OpenSSL's server: same program, same run, same clients (OpenSSL's,
 * in memory), same certificates. What is measured is the server's side alone, from accept to free, in
 * processor time of the thread, with AT_ONCE handshakes under way as under load, so that what computes for several
 * together can. The servers take turns, round by round, and the best round of each counts, since a shared machine
 * only ever adds to it.
 */
#include <getopt.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../clock.h"
#include "base/check.h"
#include "base/units.h"
#include "cert_file.h"
#include "seeded.h"
#include "tls/cert.h"
#include "tls/crypto_x25519.h"
#include "tls/identity.h"
#include "tls/tls.h"

#define FLIGHT_BYTES 16384
#define AT_ONCE 16 /* handshakes */
#define IN_BYTES 4096 /* a client's flight */
#define TURNS_MAX 200
#define TURN_NS (50 * NSEC_PER_USEC) /* by the lanes' clock: nobody waits longer than a turn */
#define LOOP_TURNS 8 /* a handshake's time or so */

/* Of OpenSSL's rate, without lanes and with them, and of one worker's. */
#define GOAL_RATIO 0.9
#define GOAL_LANES 2.5
#define GOAL_TWO_WORKERS 1.95

struct scene {
	const char *name;
	const char *cert; /* in tests/support/cert */
	const char *groups; /* of the client; in TLS 1.2 the certificate's must be among them */
	int version;
	bool resumes;
	bool is_judged;
};

/* The first is what lanes and two workers are judged by. */
static const struct scene scenes[] = {
	{ "1.3 X25519 P-256", "edge", "X25519:P-256", TLS1_3_VERSION, false, true },
	{ "1.3 P-256 P-256", "edge", "P-256", TLS1_3_VERSION, false, false },
	{ "1.3 X25519 P-384", "p384", "X25519:P-256", TLS1_3_VERSION, false, false },
	{ "1.3 X25519 RSA-2048", "rsa", "X25519:P-256", TLS1_3_VERSION, false, true },
	{ "1.3 X25519 resumed", "edge", "X25519:P-256", TLS1_3_VERSION, true, false },
	{ "1.2 X25519 P-256", "edge", "X25519:P-256", TLS1_2_VERSION, false, false },
	{ "1.2 X25519 RSA-2048", "rsa", "X25519:P-256", TLS1_2_VERSION, false, true },
	{ "1.2 X25519 resumed", "edge", "X25519:P-256", TLS1_2_VERSION, true, false },
};

/* Of the command line. */
struct wanted {
	long rounds;
	long handshakes;
	const char *scene;
	const char *set;
	bool is_json;
};

enum set { SET_CRYPTO_MB, SET_LIBCRYPTO, SET_MBEDTLS, SETS };
static const char *const sets[SETS] = { "crypto_mb", "libcrypto", "mbedtls" };

/* One server with the clients that come to it: OpenSSL's, or ours. */
struct server {
	const char *name;
	const struct scene *scene;
	struct seeded seed;
	SSL_CTX *clients;
	SSL_CTX *openssl; /* NULL: ours */
	struct tls_identity *identity;
	struct tls_context *context;
	SSL_SESSION *session; /* that clients bring, once there is one */
	uint64_t now_ns; /* of the lanes */
	double best_us; /* 0: nothing measured yet */
};

/* A connection under way. */
struct line {
	SSL *client;
	BIO *to_client;
	BIO *to_server;
	SSL *openssl;
	struct tls_conn *ours;
	uint8_t in[IN_BYTES]; /* what the client has said, and our server has not taken */
	size_t in_bytes;
	bool is_done;
	uint64_t spent_ns;
};

static uint64_t
thread_ns(void)
{
	struct timespec t;

	CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) == 0);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

/* --- setting up ------------------------------------------------------------------------------------ */

static int
keep_session(SSL *client, SSL_SESSION *session)
{
	struct server *server = SSL_get_app_data(client);

	if (!server->scene->resumes)
		return 0;
	/* A session of TLS 1.3 is good for one use. */
	SSL_SESSION_free(server->session);
	server->session = session;
	return 1;
}

static SSL_CTX *
make_clients(const struct scene *scene)
{
	static const uint8_t alpn[] = "\x08http/1.1";
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	CHECK(ctx != NULL);
	CHECK(SSL_CTX_set_min_proto_version(ctx, scene->version) == 1 &&
	      SSL_CTX_set_max_proto_version(ctx, scene->version) == 1);
	CHECK(SSL_CTX_set1_groups_list(ctx, scene->groups) == 1);
	CHECK(SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") == 1);
	CHECK(SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM") == 1);
	CHECK(SSL_CTX_set_alpn_protos(ctx, alpn, sizeof(alpn) - 1) == 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	return ctx;
}

static int
choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in,
		unsigned int in_len, void *arg)
{
	(void)ssl;
	(void)arg;
	return SSL_select_next_proto((unsigned char **)(uintptr_t)out, len, (const uint8_t *)"\x08http/1.1", 9, in,
				     in_len) == OPENSSL_NPN_NEGOTIATED ?
		       SSL_TLSEXT_ERR_OK :
		       SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void
make_openssl(struct server *server)
{
	const struct scene *scene = server->scene;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	char path[512];

	CHECK(ctx != NULL);
	snprintf(path, sizeof(path), "%s/%s.pem", SUPPORT_CERT_FOLDER, scene->cert);
	CHECK(SSL_CTX_use_certificate_chain_file(ctx, path) == 1);
	snprintf(path, sizeof(path), "%s/%s.key", SUPPORT_CERT_FOLDER, scene->cert);
	CHECK(SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) == 1);
	CHECK(SSL_CTX_set1_groups_list(ctx, "X25519:P-256") == 1);
	CHECK(SSL_CTX_set_num_tickets(ctx, scene->resumes ? 1 : 0) == 1);
	if (!scene->resumes)
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
	server->openssl = ctx;
}

static struct bytes
file_of(const char *name, const char *kind)
{
	char path[64];

	snprintf(path, sizeof(path), "%s.%s", name, kind);
	return cert_file(path);
}

/* False: the primitives are not here. */
static bool
make_ours(struct server *server, const char *primitives)
{
	struct ticket_secrets tickets = { .layout = TICKET_SECRETS_LAYOUT, .count = 1 };
	struct tls_context_config config = {
		.conns_max = AT_ONCE,
		.ticket_lifetime_s = server->scene->resumes ? 3600 : 0,
		.tickets = &tickets,
		.entropy = seeded_entropy,
		.owner = &server->seed,
		.primitives = primitives,
	};
	char text[256];

	server->seed.state = 1;
	server->identity = tls_identity_new();
	CHECK(server->identity != NULL);
	CHECK(tls_identity_add(server->identity, 0, file_of(server->scene->cert, "pem"),
			       file_of(server->scene->cert, "key"), CERT_ANY_TIME, text, sizeof(text)) == ERR_OK);
	server->context = tls_context_new(&config, server->identity);
	if (server->context == NULL) {
		tls_identity_free(server->identity);
		return false;
	}
	tls_set_time(server->context, (int64_t)time(NULL));
	return true;
}

/* primitives NULL: OpenSSL's server. */
static bool
server_init(struct server *server, const struct scene *scene, const char *primitives)
{
	memset(server, 0, sizeof(*server));
	server->scene = scene;
	server->name = primitives != NULL ? primitives : "OpenSSL";
	if (primitives == NULL)
		make_openssl(server);
	else if (!make_ours(server, primitives))
		return false;
	server->clients = make_clients(scene);
	return true;
}

static void
server_fini(struct server *server)
{
	SSL_SESSION_free(server->session);
	SSL_CTX_free(server->clients);
	SSL_CTX_free(server->openssl);
	tls_context_free(server->context);
	tls_identity_free(server->identity);
}

/* --- one handshake ------------------------------------------------------------------------------------ */

static void
line_begin(struct line *line, struct server *server)
{
	memset(line, 0, sizeof(*line));
	line->client = SSL_new(server->clients);
	line->to_client = BIO_new(BIO_s_mem());
	line->to_server = BIO_new(BIO_s_mem());
	CHECK(line->client != NULL && line->to_client != NULL && line->to_server != NULL);
	CHECK(BIO_up_ref(line->to_client) == 1 && BIO_up_ref(line->to_server) == 1);
	SSL_set_bio(line->client, line->to_client, line->to_server);
	SSL_set_connect_state(line->client);
	SSL_set_app_data(line->client, server);
	CHECK(SSL_set_tlsext_host_name(line->client, "api.sluice.test") == 1);
	if (server->session != NULL)
		CHECK(SSL_set_session(line->client, server->session) == 1);
}

static void
begin_server(struct line *line, struct server *server)
{
	if (server->openssl == NULL) {
		line->ours = tls_accept(server->context, 0, false);
		CHECK(line->ours != NULL);
		return;
	}
	line->openssl = SSL_new(server->openssl);
	CHECK(line->openssl != NULL);
	CHECK(BIO_up_ref(line->to_client) == 1 && BIO_up_ref(line->to_server) == 1);
	SSL_set_bio(line->openssl, line->to_server, line->to_client);
	SSL_set_accept_state(line->openssl);
}

/* What came from the client is taken, and answered, as far as it goes without lanes that run. */
static void
step_ours(struct line *line)
{
	static _Thread_local uint8_t room[FLIGHT_BYTES];
	struct tls_out out = { room, sizeof(room), 0 };
	struct bytes in = bytes_make(line->in, line->in_bytes);
	enum err verdict;

	do
		verdict = tls_handshake(line->ours, &in, &out);
	while (verdict == ERR_TLS_AGAIN);
	CHECK(verdict == ERR_OK || verdict == ERR_MORE || verdict == ERR_TLS_WAITS);
	line->is_done = verdict == ERR_OK;
	memmove(line->in, in.ptr, in.len);
	line->in_bytes = in.len;
	if (out.used > 0)
		CHECK(BIO_write(line->to_client, room, (int)out.used) == (int)out.used);
}

static void
step_server(struct line *line, struct server *server)
{
	uint64_t start;

	if (server->openssl == NULL) {
		int len = BIO_read(line->to_server, line->in + line->in_bytes, (int)(IN_BYTES - line->in_bytes));

		if (len > 0)
			line->in_bytes += (size_t)len;
		start = thread_ns();
		if (line->ours == NULL)
			begin_server(line, server);
		step_ours(line);
	} else {
		start = thread_ns();
		if (line->openssl == NULL)
			begin_server(line, server);
		line->is_done = SSL_do_handshake(line->openssl) == 1;
		if (!line->is_done)
			CHECK(SSL_get_error(line->openssl, -1) == SSL_ERROR_WANT_READ);
	}
	line->spent_ns += thread_ns() - start;
}

static void
line_end(struct line *line, struct server *server)
{
	uint64_t start = thread_ns();

	if (server->openssl == NULL)
		tls_conn_free(line->ours);
	else
		SSL_free(line->openssl);
	line->spent_ns += thread_ns() - start;
	SSL_free(line->client);
	BIO_free(line->to_client);
	BIO_free(line->to_server);
}

/* What waits is computed. Returns what that cost. */
static uint64_t
run_lanes(struct server *server)
{
	uint64_t start = thread_ns();

	if (server->openssl != NULL)
		return 0;
	server->now_ns += TURN_NS;
	while (tls_lanes_run(server->context, server->now_ns) > 0)
		;
	return thread_ns() - start;
}

/* A step of each end; false: both were done before. */
static bool
step_line(struct line *line, struct server *server)
{
	if (line->is_done && SSL_is_init_finished(line->client))
		return false;
	(void)SSL_do_handshake(line->client);
	if (!line->is_done)
		step_server(line, server);
	return true;
}

/* So many at once. Returns what they cost the server. */
static uint64_t
shake(struct server *server, long count)
{
	static _Thread_local struct line lines[AT_ONCE];
	bool brings = server->session != NULL;
	bool moved = true;
	uint64_t spent_ns = 0;
	uint8_t none;

	for (long i = 0; i < count; i++)
		line_begin(&lines[i], server);
	for (int turn = 0; moved; turn++) {
		CHECK(turn < TURNS_MAX);
		moved = false;
		for (long i = 0; i < count; i++)
			moved |= step_line(&lines[i], server);
		spent_ns += run_lanes(server);
	}
	for (long i = 0; i < count; i++) {
		struct line *line = &lines[i];

		/* Its ticket lies there still. */
		(void)SSL_read(line->client, &none, sizeof(none));
		CHECK((SSL_session_reused(line->client) == 1) == brings);
		/* Else libssl takes it out of use, as after any connection that ends without a word. */
		SSL_set_shutdown(line->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		line_end(line, server);
		spent_ns += line->spent_ns;
	}
	return spent_ns;
}

static double
measure_round(struct server *server, long handshakes)
{
	uint64_t spent_ns = 0;
	double us;

	for (long i = 0; i < handshakes; i += AT_ONCE)
		spent_ns += shake(server, handshakes - i < AT_ONCE ? handshakes - i : AT_ONCE);
	us = (double)spent_ns / 1e3 / (double)handshakes;
	if (server->best_us == 0 || us < server->best_us)
		server->best_us = us;
	return us;
}

/* --- two workers ------------------------------------------------------------------------------------- */

/* NULL instead of a server: a loop that shares nothing but the machine, for what that gives two threads. Such
 * arithmetic is what most of a handshake is. */
static double
measure_loop(long handshakes)
{
	uint8_t key[CRYPTO_X25519_BYTES] = { 9 };
	uint64_t start = thread_ns();

	for (long i = 0; i < handshakes * LOOP_TURNS; i++)
		x25519_public(key, key);
	return (double)(thread_ns() - start) / 1e3 / (double)handshakes;
}

struct worker {
	pthread_t thread;
	struct server server;
	bool has_server;
	double best_us;
	long rounds;
	long handshakes;
	pthread_barrier_t *together;
};

static void *
work(void *argument)
{
	struct worker *worker = argument;

	for (long round = 0; round < worker->rounds; round++) {
		double us;

		(void)pthread_barrier_wait(worker->together);
		us = worker->has_server ? measure_round(&worker->server, worker->handshakes) :
					  measure_loop(worker->handshakes);
		if (round == 0 || us < worker->best_us)
			worker->best_us = us;
	}
	return NULL;
}

enum work { WORK_OPENSSL, WORK_OURS, WORK_LOOP };

/* A handshake's cost on count workers at once: the dearer one's. */
static double
on_workers(unsigned int count, enum work what, const struct wanted *wanted)
{
	static struct worker workers[2];
	pthread_barrier_t together;
	double most = 0;

	CHECK(pthread_barrier_init(&together, NULL, count) == 0);
	for (unsigned int i = 0; i < count; i++) {
		workers[i] = (struct worker){ .has_server = what != WORK_LOOP,
					      .rounds = wanted->rounds,
					      .handshakes = wanted->handshakes,
					      .together = &together };
		CHECK(what == WORK_LOOP || server_init(&workers[i].server, &scenes[0],
						       what == WORK_OURS ? sets[SET_LIBCRYPTO] : NULL));
		CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
	}
	for (unsigned int i = 0; i < count; i++) {
		CHECK(pthread_join(workers[i].thread, NULL) == 0);
		if (workers[i].best_us > most)
			most = workers[i].best_us;
		if (workers[i].has_server)
			server_fini(&workers[i].server);
	}
	CHECK(pthread_barrier_destroy(&together) == 0);
	return most;
}

/* How many times one worker's work two do at once. */
static double
gain_of_two(enum work what, const struct wanted *wanted)
{
	double one = on_workers(1, what, wanted);

	return 2 * one / on_workers(2, what, wanted);
}

/* --- output -------------------------------------------------------------------------------------------- */

struct result {
	double openssl_us;
	double ours_us[SETS]; /* 0: not here */
};

static struct result
measure_scene(const struct scene *scene, long rounds, long handshakes)
{
	struct server servers[1 + SETS];
	struct result result = { 0 };
	bool is_here[1 + SETS];

	for (int i = 0; i <= SETS; i++) {
		is_here[i] = server_init(&servers[i], scene, i == 0 ? NULL : sets[i - 1]);
		/* The first brings the session, and what is made once. */
		if (is_here[i])
			(void)shake(&servers[i], 1);
	}
	for (long round = 0; round < rounds; round++)
		for (int i = 0; i <= SETS; i++)
			if (is_here[i])
				(void)measure_round(&servers[i], handshakes);
	for (int i = 0; i <= SETS; i++) {
		if (!is_here[i])
			continue;
		*(i == 0 ? &result.openssl_us : &result.ours_us[i - 1]) = servers[i].best_us;
		server_fini(&servers[i]);
	}
	return result;
}

static void
print_scene(bool is_json, bool is_first, const struct scene *scene, const struct result *r)
{
	if (is_json)
		printf("%s{\"scene\":\"%s\",\"openssl_us\":%.1f", is_first ? "" : ",", scene->name, r->openssl_us);
	else
		printf("%-22s %9.1f", scene->name, r->openssl_us);
	for (int i = 0; i < SETS; i++) {
		if (is_json)
			printf(",\"%s_us\":%.1f", sets[i], r->ours_us[i]);
		else if (r->ours_us[i] == 0)
			printf(" %10s %6s", "-", "-");
		else
			printf(" %10.1f %6.2f", r->ours_us[i], r->openssl_us / r->ours_us[i]);
	}
	printf(is_json ? "}" : "\n");
}

static bool
judge(bool is_json, const char *what, double got, double goal)
{
	if (!is_json)
		printf("%-66s %8.2f  goal >= %.2f: %s\n", what, got, goal, got >= goal ? "met" : "MISSED");
	return got >= goal;
}

static int
usage(FILE *to, int rc)
{
	fputs("Usage: tools/bench tls [--rounds N] [--handshakes N] [--scene TEXT] [--set NAME] [--json]\n\n"
	      "Full and resumed handshakes, the server's side alone, in memory, beside OpenSSL's server in the "
	      "same run,\n"
	      "for each library of primitives under mbedTLS; then the same on two workers at once. Processor "
	      "time, the\n"
	      "best of N rounds (8) of so many handshakes each (200), 16 at once. --scene: those whose name has "
	      "TEXT in it alone;\n"
	      "--set: one library, and nothing beside it or judged (for a profiler).\n\n"
	      "Exit codes: 0 goals met (or libcrypto is not here), 1 missed, 2 wrong use.\n",
	      to);
	return rc;
}

static int
profile(const struct wanted *wanted)
{
	for (size_t i = 0; i < COUNT_OF(scenes); i++) {
		struct server server;

		if (strstr(scenes[i].name, wanted->scene) == NULL)
			continue;
		if (!server_init(&server, &scenes[i], strcmp(wanted->set, "openssl") == 0 ? NULL : wanted->set))
			return 1;
		(void)shake(&server, 1);
		for (long round = 0; round < wanted->rounds; round++)
			(void)measure_round(&server, wanted->handshakes);
		printf("%-22s %9.1f us\n", scenes[i].name, server.best_us);
		server_fini(&server);
	}
	return 0;
}

static int
compare(const struct wanted *wanted)
{
	bool is_json = wanted->is_json;
	bool is_met = true;
	bool is_first = true;
	double ours;
	double given;

	printf(is_json ? "[" : "%-22s %9s %10s %6s %10s %6s %10s %6s\n", "server, us", "OpenSSL",
	       sets[SET_CRYPTO_MB], "times", sets[SET_LIBCRYPTO], "times", sets[SET_MBEDTLS], "times");
	for (size_t i = 0; i < COUNT_OF(scenes); i++) {
		struct result r;

		if (strstr(scenes[i].name, wanted->scene) == NULL)
			continue;
		r = measure_scene(&scenes[i], wanted->rounds, wanted->handshakes);
		print_scene(is_json, is_first, &scenes[i], &r);
		is_first = false;
		if (i == 0 && r.ours_us[SET_CRYPTO_MB] != 0)
			is_met &= judge(is_json, "  in lanes, times OpenSSL's",
					r.openssl_us / r.ours_us[SET_CRYPTO_MB], GOAL_LANES);
		if (scenes[i].is_judged && r.ours_us[SET_LIBCRYPTO] != 0)
			is_met &= judge(is_json, "  by libcrypto, times OpenSSL's",
					r.openssl_us / r.ours_us[SET_LIBCRYPTO], GOAL_RATIO);
	}
	if (is_json) {
		printf("]\n");
		return is_met ? 0 : 1;
	}
	given = gain_of_two(WORK_LOOP, wanted);
	ours = gain_of_two(WORK_OURS, wanted);
	printf("two workers at once, times one: OpenSSL's %.2f, ours %.2f, a loop that shares nothing %.2f\n",
	       gain_of_two(WORK_OPENSSL, wanted), ours, given);
	is_met &= judge(is_json, "ours, were the machine twice as fast with two", 2 * ours / given,
			GOAL_TWO_WORKERS);
	return is_met ? 0 : 1;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = { { "rounds", required_argument, NULL, 'r' },
						 { "handshakes", required_argument, NULL, 'n' },
						 { "scene", required_argument, NULL, 'c' },
						 { "set", required_argument, NULL, 's' },
						 { "json", no_argument, NULL, 'j' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	struct wanted wanted = { .rounds = 8, .handshakes = 200, .scene = "" };
	char *rest = "";
	int option;

	tls_prepare();
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'r')
			wanted.rounds = strtol(optarg, &rest, 10);
		else if (option == 'n')
			wanted.handshakes = strtol(optarg, &rest, 10);
		else if (option == 'c')
			wanted.scene = optarg;
		else if (option == 's')
			wanted.set = optarg;
		else if (option == 'j')
			wanted.is_json = true;
		else
			return usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
		if (*rest != '\0' || wanted.rounds < 1 || wanted.handshakes < 1)
			return usage(stderr, 2);
	}
	if (optind != argc)
		return usage(stderr, 2);
	return wanted.set != NULL ? profile(&wanted) : compare(&wanted);
}
