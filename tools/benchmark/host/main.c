/*
 * One end of one connection, over the stack that is linked in: a writing and a reading track, content that is
 * known at every position, and what happened as JSON.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "../../clock.h"
#include "base/units.h"
#include "sock.h"
#include "stream.h"
#include "track.h"

#define PIECE_BYTES 65536
#define SAMPLE_NS (10 * NSEC_PER_MSEC)
#define SAMPLES_MAX 12000
#define EVENTS_MAX 16384
/* Both streams; the end that connects writes the first. */
#define KEY_CONNECTS 1
#define KEY_LISTENS 2
#define DRAIN_NS (20 * NSEC_PER_SEC)

static const char usage[] =
	"Usage: bench-sluice|bench-linux [options]\n"
	"\n"
	"One end of one connection. Prints what happened as JSON.\n"
	"\n"
	"  --listen PORT | --connect ADDRESS:PORT   ([v6]:PORT)\n"
	"  --write TRACK      steps of the sending side (shutdown)\n"
	"  --read TRACK       steps of the receiving side (eof)\n"
	"  --events BYTES     notes when each piece of so many bytes has arrived\n"
	"  --samples          bytes received in each 10 ms\n"
	"  --seconds N        gives up after (120)\n"
	"  --linger MS        ours: answers the peer for so much longer, as a kernel would (0)\n"
	"bench-sluice only:\n"
	"  --interface NAME --address ADDRESS/BITS\n"
	"  --window BYTES     largest receive window (16777216)\n"
	"  --send BYTES       send queue (33554432)\n"
	"  --shift N          window scale (9)\n"
	"  --mtu BYTES        (1500)\n"
	"\n"
	"Steps: send:BYTES send-for:TIME events:BYTES:COUNT:TIME receive:BYTES eof wait:TIME shutdown close\n"
	"abort; TIME in ms or s. Exit codes: 0 it has ended, 1 stuck, wrong bytes or no start, 2 wrong use.\n";

struct host {
	struct sock_config config;
	struct track write;
	struct track read;
	char peer[64];
	bool has_samples;
	uint64_t event_bytes;
	uint64_t give_up_ns;
	uint64_t linger_ns;

	struct sock *sock;
	bool is_closed;
	bool is_stuck;
	bool is_wrong; /* a byte of the stream was another than it should be */
	uint64_t wrong_at;
	uint64_t sent_bytes;
	uint64_t received_bytes;
	uint64_t began_ns;
	uint64_t connected_ns;
	uint64_t last_byte_ns;
	uint64_t events_began_ns; /* plan of the first event that is sent */
	uint64_t ended_ns;
	uint32_t samples[SAMPLES_MAX];
	uint32_t sample_count;
	uint64_t arrived_ns[EVENTS_MAX];
	uint32_t arrived_count;
};

static struct host host = {
	.config = { .window_bytes = 16 * MIB, .send_bytes = 32 * MIB, .window_shift = 9, .mtu_bytes = 1500 },
	.give_up_ns = 120 * NSEC_PER_SEC,
};

/* --- arguments ------------------------------------------------------------------------------- */

static bool
read_count(const char *text, uint64_t most, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*value = strtoull(text, &end, 10);
	return *end == '\0' && *value <= most;
}

static bool
read_endpoint(struct host *h, const char *text)
{
	const char *colon = strrchr(text, ':');
	uint64_t port;
	size_t len;

	if (colon == NULL || !read_count(colon + 1, 65535, &port))
		return false;
	len = (size_t)(colon - text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= sizeof(h->peer))
		return false;
	memcpy(h->peer, text, len);
	h->peer[len] = '\0';
	h->config.peer = h->peer;
	h->config.port = (uint16_t)port;
	return true;
}

static bool
read_track(const char *text, struct track *track)
{
	char complaint[TRACK_COMPLAINT_BYTES];

	if (track_read(text, track, complaint))
		return true;
	fprintf(stderr, "%s: %s\n", sock_name, complaint);
	return false;
}

static bool
read_option(struct host *h, const char *name, const char *value)
{
	uint64_t n = 0;
	bool is_good = true;

	if (strcmp(name, "--listen") == 0) {
		is_good = read_count(value, 65535, &n);
		h->config.port = (uint16_t)n;
	} else if (strcmp(name, "--connect") == 0) {
		is_good = read_endpoint(h, value);
	} else if (strcmp(name, "--write") == 0) {
		is_good = read_track(value, &h->write);
	} else if (strcmp(name, "--read") == 0) {
		is_good = read_track(value, &h->read);
	} else if (strcmp(name, "--events") == 0) {
		is_good = read_count(value, PIECE_BYTES, &h->event_bytes);
	} else if (strcmp(name, "--seconds") == 0) {
		is_good = read_count(value, 100000, &n);
		h->give_up_ns = n * NSEC_PER_SEC;
	} else if (strcmp(name, "--linger") == 0) {
		is_good = read_count(value, 100000, &n);
		h->linger_ns = n * NSEC_PER_MSEC;
	} else if (strcmp(name, "--interface") == 0) {
		h->config.interface = value;
	} else if (strcmp(name, "--address") == 0) {
		h->config.address = value;
	} else if (strcmp(name, "--window") == 0) {
		is_good = read_count(value, UINT32_C(1) << 30, &n) && n > 0;
		h->config.window_bytes = (uint32_t)n;
	} else if (strcmp(name, "--send") == 0) {
		is_good = read_count(value, UINT32_C(1) << 30, &n) && n > 0;
		h->config.send_bytes = (uint32_t)n;
	} else if (strcmp(name, "--shift") == 0) {
		is_good = read_count(value, 14, &n);
		h->config.window_shift = (uint8_t)n;
	} else if (strcmp(name, "--mtu") == 0) {
		is_good = read_count(value, 1500, &n) && n >= 576;
		h->config.mtu_bytes = (uint16_t)n;
	} else {
		is_good = false;
	}
	return is_good;
}

static bool
read_arguments(struct host *h, int argc, char **argv)
{
	char complaint[TRACK_COMPLAINT_BYTES];

	track_read("shutdown", &h->write, complaint);
	track_read("eof", &h->read, complaint);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--samples") == 0) {
			h->has_samples = true;
			continue;
		}
		if (i + 1 >= argc || !read_option(h, argv[i], argv[i + 1])) {
			fprintf(stderr, "%s: %s is not understood; see --help\n", sock_name, argv[i]);
			return false;
		}
		i++;
	}
	if (h->config.port == 0)
		fprintf(stderr, "%s: --listen or --connect is needed; see --help\n", sock_name);
	return h->config.port != 0;
}

/* --- what the tracks do ------------------------------------------------------------------------ */

/* As many as n bytes of our stream; false: no room. */
static bool
send_stream(struct host *h, uint64_t n)
{
	static uint8_t piece[PIECE_BYTES];
	uint64_t key = h->config.peer != NULL ? KEY_CONNECTS : KEY_LISTENS;
	size_t len = n < sizeof(piece) ? (size_t)n : sizeof(piece);
	size_t taken;

	stream_fill(key, h->sent_bytes, piece, len);
	taken = sock_send(h->sock, piece, len);
	h->sent_bytes += taken;
	h->write.done_bytes += taken;
	return taken == len;
}

/* Sends what the plan says is due; true: all of it went. */
static bool
send_events(struct host *h, const struct track_step *step, uint64_t now_ns)
{
	struct track *track = &h->write;

	if (track->done_count == 0 && track->done_bytes == 0)
		h->events_began_ns = track->began_ns;
	while (track->done_count < step->count &&
	       now_ns >= track->began_ns + track->done_count * step->time_ns) {
		if (!send_stream(h, step->bytes - track->done_bytes))
			return false;
		track->done_bytes = 0;
		track->done_count++;
	}
	return true;
}

static void
note_received(struct host *h, uint64_t n, uint64_t now_ns)
{
	uint64_t sample = (now_ns - h->connected_ns) / SAMPLE_NS;

	h->last_byte_ns = now_ns;
	if (sample < SAMPLES_MAX) {
		h->samples[sample] += (uint32_t)n;
		h->sample_count = (uint32_t)sample + 1;
	}
	h->received_bytes += n;
	while (h->event_bytes > 0 && h->arrived_count < EVENTS_MAX &&
	       h->received_bytes >= (h->arrived_count + 1) * h->event_bytes)
		h->arrived_ns[h->arrived_count++] = now_ns;
}

/* As many as n bytes of the peer's stream; how many came. */
static uint64_t
receive_stream(struct host *h, uint64_t n)
{
	static uint8_t piece[PIECE_BYTES];
	uint64_t key = h->config.peer != NULL ? KEY_LISTENS : KEY_CONNECTS;
	size_t len = sock_receive(h->sock, piece, n < sizeof(piece) ? (size_t)n : sizeof(piece));
	size_t right;

	if (len == 0)
		return 0;
	right = stream_match(key, h->received_bytes, piece, len);
	if (right < len && !h->is_wrong) {
		h->is_wrong = true;
		h->wrong_at = h->received_bytes + right;
	}
	note_received(h, len, clock_ns());
	return len;
}

static void
end_connection(struct host *h, bool is_abort)
{
	if (!h->is_closed)
		(is_abort ? sock_abort : sock_close)(h->sock);
	h->is_closed = true;
	h->write.at = h->write.count;
	h->read.at = h->read.count;
}

/* When a track must be looked at again; 0: at once, it has moved on. NEVER_NS: when the network has news. */
static uint64_t
do_common(struct host *h, struct track *track, const struct track_step *step, uint64_t now_ns)
{
	switch (step->verb) {
	case TRACK_WAIT:
		if (now_ns < track->began_ns + step->time_ns)
			return track->began_ns + step->time_ns;
		break;
	case TRACK_SHUTDOWN:
		sock_shutdown(h->sock);
		break;
	case TRACK_CLOSE:
	case TRACK_ABORT:
		end_connection(h, step->verb == TRACK_ABORT);
		return 0;
	default:
		break;
	}
	track_next(track);
	return 0;
}

static uint64_t
do_write(struct host *h, uint64_t now_ns)
{
	struct track *track = &h->write;
	const struct track_step *step = track_step(track, now_ns);

	if (step == NULL)
		return NEVER_NS;
	switch (step->verb) {
	case TRACK_SEND:
		if (!send_stream(h, step->bytes - track->done_bytes))
			return NEVER_NS;
		if (track->done_bytes == step->bytes)
			track_next(track);
		return 0;
	case TRACK_SEND_FOR:
		if (now_ns >= track->began_ns + step->time_ns)
			track_next(track);
		else if (!send_stream(h, PIECE_BYTES))
			return track->began_ns + step->time_ns;
		return 0;
	case TRACK_EVENTS:
		if (!send_events(h, step, now_ns))
			return NEVER_NS;
		if (track->done_count < step->count)
			return track->began_ns + track->done_count * step->time_ns;
		track_next(track);
		return 0;
	default:
		return do_common(h, track, step, now_ns);
	}
}

static uint64_t
do_read(struct host *h, uint64_t now_ns)
{
	struct track *track = &h->read;
	const struct track_step *step = track_step(track, now_ns);
	uint64_t got;

	if (step == NULL)
		return NEVER_NS;
	switch (step->verb) {
	case TRACK_RECEIVE:
		got = receive_stream(h, step->bytes - track->done_bytes);
		track->done_bytes += got;
		if (track->done_bytes == step->bytes || (sock_state(h->sock) & SOCK_EOF) != 0)
			track_next(track);
		else if (got == 0)
			return NEVER_NS;
		return 0;
	case TRACK_EOF:
		if (receive_stream(h, UINT64_MAX) > 0)
			return 0;
		if ((sock_state(h->sock) & SOCK_EOF) == 0)
			return NEVER_NS;
		track_next(track);
		return 0;
	default:
		return do_common(h, track, step, now_ns);
	}
}

static bool
reads(const struct host *h)
{
	const struct track_step *step = &h->read.steps[h->read.at];

	return h->read.at < h->read.count && (step->verb == TRACK_EOF || step->verb == TRACK_RECEIVE);
}

static bool
writes(const struct host *h)
{
	const struct track_step *step = &h->write.steps[h->write.at];

	return h->write.at < h->write.count && (step->verb == TRACK_SEND || step->verb == TRACK_SEND_FOR);
}

/* Until both tracks are at their end, or the connection is. */
static void
run(struct host *h)
{
	uint64_t until_ns = h->began_ns + h->give_up_ns;

	while (true) {
		uint64_t now_ns = clock_ns();
		uint64_t next_ns = until_ns;

		if (now_ns >= until_ns) {
			h->is_stuck = true;
			return;
		}
		if ((sock_state(h->sock) & SOCK_CONNECTED) != 0) {
			uint64_t write_ns;
			uint64_t read_ns;

			if (h->connected_ns == 0)
				h->connected_ns = now_ns;
			write_ns = do_write(h, now_ns);
			read_ns = do_read(h, now_ns);
			next_ns = write_ns < next_ns ? write_ns : next_ns;
			next_ns = read_ns < next_ns ? read_ns : next_ns;
		}
		/* The stack is to see the close with what led to it, as from a server: one FIN,ACK. */
		if (h->write.at == h->write.count && h->read.at == h->read.count)
			return;
		/* What was received before a reset has been taken by now, or never will be. */
		if ((sock_state(h->sock) & SOCK_FAILED) != 0 && next_ns != 0)
			return;
		sock_turn(h->sock, next_ns, reads(h), writes(h));
	}
}

static void
drain(struct host *h)
{
	uint64_t until_ns = clock_ns() + DRAIN_NS;

	end_connection(h, false);
	while (!sock_is_drained(h->sock)) {
		if (clock_ns() >= until_ns) {
			h->is_stuck = true;
			return;
		}
		sock_turn(h->sock, until_ns, false, false);
	}
	/* The last ACK, and answers to what its loss makes the peer say again. */
	until_ns = clock_ns() + (sock_outlives_us ? 0 : h->linger_ns);
	do {
		sock_turn(h->sock, until_ns, false, false);
	} while (clock_ns() < until_ns);
}

/* --- what happened ------------------------------------------------------------------------------ */

static void
print_list(const char *name, const uint64_t *values, uint32_t count)
{
	printf(", \"%s\": [", name);
	for (uint32_t i = 0; i < count; i++)
		printf("%s%" PRIu64, i > 0 ? ", " : "", values[i]);
	printf("]");
}

static void
print_result(const struct host *h)
{
	static const char *const ends[] = { "reset", "refused", "timeout", "unreachable" };
	uint32_t state = sock_state(h->sock);
	const char *end = "closed";

	for (int i = 0; i < 4; i++)
		if ((state & (uint32_t)SOCK_RESET << i) != 0)
			end = ends[i];
	printf("{\"stack\": \"%s\", \"end\": \"%s\", \"eof\": %s, \"stuck\": %s, \"sent\": %" PRIu64
	       ", \"received\": %" PRIu64 ", \"wrong_at\": ",
	       sock_name, end, (state & SOCK_EOF) != 0 ? "true" : "false", h->is_stuck ? "true" : "false",
	       h->sent_bytes, h->received_bytes);
	printf(h->is_wrong ? "%" PRIu64 : "null", h->wrong_at);
	printf(", \"began_ns\": %" PRIu64 ", \"connected_ns\": %" PRIu64 ", \"last_byte_ns\": %" PRIu64
	       ", \"ended_ns\": %" PRIu64 ", \"events_began_ns\": %" PRIu64,
	       h->began_ns, h->connected_ns, h->last_byte_ns, h->ended_ns, h->events_began_ns);
	sock_print(h->sock, stdout);
	if (h->event_bytes > 0)
		print_list("arrived_ns", h->arrived_ns, h->arrived_count);
	if (h->has_samples) {
		printf(", \"samples\": [");
		for (uint32_t i = 0; i < h->sample_count; i++)
			printf("%s%u", i > 0 ? ", " : "", h->samples[i]);
		printf("]");
	}
	printf("}\n");
}

int
main(int argc, char **argv)
{
	struct host *h = &host;
	char complaint[SOCK_COMPLAINT_BYTES];

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	if (!read_arguments(h, argc, argv))
		return 2;
	prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
	h->began_ns = clock_ns();
	h->sock = sock_open(&h->config, complaint);
	if (h->sock == NULL) {
		fprintf(stderr, "%s: %s\n", sock_name, complaint);
		return 1;
	}
	run(h);
	h->ended_ns = clock_ns();
	drain(h);
	print_result(h);
	sock_free(h->sock);
	return h->is_stuck || h->is_wrong;
}
