/*
 * sluice-relay: forwards Ethernet frames between two interfaces, as a bad network would. What it does to them
 * is impair.h; this is the loop.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "../clock.h"
#include "base/units.h"
#include "datagram.h"
#include "end.h"
#include "lane.h"
#include "spec.h"

/* Frames taken from one end before the clock is read and the other end has its turn. */
#define BURST_FRAMES 16
#define FRAMES_MAX_DEFAULT 65536
#define FRAMES_MAX_MOST (1 << 20)

static const char usage[] =
	"Usage: sluice-relay [options] LEFT RIGHT\n"
	"\n"
	"Forwards Ethernet frames between two interfaces and impairs them, each direction by its own list.\n"
	"LEFT and RIGHT: tap:NAME[@SPACE] makes a tap device; IFACE[@SPACE] is an existing one (a veth end).\n"
	"SPACE is a name of `ip netns`, a process id or a path. Offloads of existing ends must be off:\n"
	"ethtool -K IFACE rx off tx off sg off tso off gso off gro off.\n"
	"\n"
	"  --both LIST        impairments of both directions: key=value,...\n"
	"  --forth LIST       from left to right, over those of --both\n"
	"  --back LIST        from right to left\n"
	"  --seed N           chances are the same for the same seed (1)\n"
	"  --seconds N        ends by itself (never)\n"
	"  --frames N         on the way at most, per direction (65536)\n"
	"  --json             counters as JSON on stdout at the end\n"
	"  --help\n"
	"\n"
	"Keys:\n";
static const char usage_end[] =
	"\n"
	"Ends by SIGINT, SIGTERM or --seconds. Exit codes: 0 fine, 1 failed, 2 wrong use.\n";

struct relay {
	struct spec forth;
	struct spec back;
	uint64_t seed;
	uint64_t seconds;
	uint64_t frames_max;
	bool is_json;
	const char *name[2];
	struct end end[2];
	struct lane lane[2]; /* [i] leads from end[i] to end[1 - i] */
	uint64_t began_ns;
};

static volatile sig_atomic_t is_over;

static void
end_it(int signal_number)
{
	(void)signal_number;
	is_over = 1;
}

static bool
read_count(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' && *value >= least && *value <= most;
}

static bool
read_list(const char *text, struct spec *a, struct spec *b)
{
	char complaint[SPEC_COMPLAINT_BYTES];

	if (text == NULL)
		return false;
	if (spec_read(text, a, complaint) && (b == NULL || spec_read(text, b, complaint)))
		return true;
	fprintf(stderr, "sluice-relay: %s\n", complaint);
	return false;
}

/* One option and its value; false: wrong use. */
static bool
read_option(struct relay *r, const char *name, const char *value)
{
	if (strcmp(name, "--both") == 0)
		return read_list(value, &r->forth, &r->back);
	if (strcmp(name, "--forth") == 0)
		return read_list(value, &r->forth, NULL);
	if (strcmp(name, "--back") == 0)
		return read_list(value, &r->back, NULL);
	if (strcmp(name, "--seed") == 0)
		return read_count(value, 0, UINT64_MAX, &r->seed);
	if (strcmp(name, "--seconds") == 0)
		return read_count(value, 1, 1000000, &r->seconds);
	if (strcmp(name, "--frames") == 0)
		return read_count(value, 1, FRAMES_MAX_MOST, &r->frames_max);
	return false;
}

static bool
read_arguments(struct relay *r, int argc, char **argv)
{
	int names = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			r->is_json = true;
		} else if (strncmp(argv[i], "--", 2) == 0) {
			if (!read_option(r, argv[i], i + 1 < argc ? argv[i + 1] : NULL)) {
				fprintf(stderr, "sluice-relay: %s is not understood; see --help\n", argv[i]);
				return false;
			}
			i++;
		} else if (names < 2) {
			r->name[names++] = argv[i];
		} else {
			names++;
		}
	}
	if (names != 2)
		fprintf(stderr, "sluice-relay: two interfaces are needed, not %d; see --help\n", names);
	return names == 2;
}

static bool
open_all(struct relay *r)
{
	char complaint[END_COMPLAINT_BYTES];

	for (int i = 0; i < 2; i++) {
		if (!end_open(&r->end[i], r->name[i], complaint)) {
			fprintf(stderr, "sluice-relay: %s: %s\n", r->name[i], complaint);
			return false;
		}
		/* Two lanes must not lose the same frames. */
		if (!lane_open(&r->lane[i], i == 0 ? &r->forth : &r->back, (uint32_t)r->frames_max,
			       LANE_FRAME_BYTES_MAX, r->seed * 2 + (uint64_t)i)) {
			fprintf(stderr, "sluice-relay: no memory for %" PRIu64 " frames\n", r->frames_max);
			return false;
		}
	}
	return true;
}

static void
report_too_big(struct relay *r, int from, const struct lane_slot *slot, uint32_t bytes)
{
	struct lane *lane = &r->lane[from];
	uint8_t answer[DATAGRAM_ERROR_BYTES_MAX];
	uint32_t n = datagram_too_big(bytes_make(slot->byte, bytes), lane->wire.faults.mtu_bytes, answer);

	if (n > 0 && end_send(&r->end[from], answer, n))
		lane->stats.mtu_reports++;
}

/* A burst of what has come from an end; -1: the interface is gone. */
static int
receive(struct relay *r, int from, uint64_t now_ns)
{
	struct lane *lane = &r->lane[from];
	int count;

	for (count = 0; count < BURST_FRAMES; count++) {
		struct lane_slot *slot = lane_room(lane);
		long n = end_receive(&r->end[from], slot->byte, lane->frame_bytes_max);

		if (n < 0) {
			fprintf(stderr, "sluice-relay: %s: %s\n", r->name[from], strerror(errno));
			return -1;
		}
		if (n == 0)
			break;
		if (n > (long)lane->frame_bytes_max) {
			lane->stats.too_long++;
			continue;
		}
		if (lane_send(lane, slot, (uint32_t)n, now_ns) == IMPAIR_TOO_BIG && lane->reports_mtu)
			report_too_big(r, from, slot, (uint32_t)n);
	}
	return count;
}

static void
deliver(struct relay *r, int from, uint64_t now_ns)
{
	struct lane *lane = &r->lane[from];
	struct lane_slot *slot;

	while ((slot = lane_receive(lane, now_ns)) != NULL) {
		if (!end_send(&r->end[1 - from], slot->byte, slot->bytes))
			lane->stats.send_failed++;
		lane_put(lane, slot);
	}
}

static void
wait(const struct relay *r, int poll_fd, uint64_t until_ns)
{
	uint64_t next_ns = until_ns;
	uint64_t now_ns;
	struct timespec rest = { 0 };
	struct epoll_event events[2];

	for (int i = 0; i < 2; i++)
		if (lane_next_at(&r->lane[i]) < next_ns)
			next_ns = lane_next_at(&r->lane[i]);
	now_ns = clock_ns();
	if (next_ns > now_ns && next_ns != NEVER_NS) {
		rest.tv_sec = (time_t)((next_ns - now_ns) / NSEC_PER_SEC);
		rest.tv_nsec = (long)((next_ns - now_ns) % NSEC_PER_SEC);
	}
	epoll_pwait2(poll_fd, events, 2, next_ns == NEVER_NS ? NULL : &rest, NULL);
}

static int
run(struct relay *r)
{
	uint64_t until_ns;
	int poll_fd = epoll_create1(EPOLL_CLOEXEC);

	for (int i = 0; i < 2; i++) {
		struct epoll_event event = { .events = EPOLLIN };

		if (poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, r->end[i].fd, &event) != 0) {
			fprintf(stderr, "sluice-relay: epoll: %s\n", strerror(errno));
			return 1;
		}
	}
	r->began_ns = clock_ns();
	until_ns = r->seconds == 0 ? NEVER_NS : r->began_ns + r->seconds * NSEC_PER_SEC;
	while (!is_over) {
		uint64_t now_ns = clock_ns();
		int left;
		int right;

		if (now_ns >= until_ns)
			break;
		left = receive(r, 0, now_ns);
		right = receive(r, 1, now_ns);
		if (left < 0 || right < 0)
			return 1;
		now_ns = clock_ns();
		deliver(r, 0, now_ns);
		deliver(r, 1, now_ns);
		if (left == 0 && right == 0)
			wait(r, poll_fd, until_ns);
	}
	close(poll_fd);
	return 0;
}

static void
print_lane(const char *name, const struct lane *l)
{
	const struct impair_stats *w = &l->wire.stats;
	const struct lane_stats *s = &l->stats;

	printf("\"%s\": {\"offered\": %" PRIu64 ", \"delivered\": %" PRIu64 ", \"delivered_bytes\": %" PRIu64
	       ", \"lost\": %" PRIu64 ", \"queue_full\": %" PRIu64 ", \"too_big\": %" PRIu64
	       ", \"corrupted\": %" PRIu64 ", \"repaired\": %" PRIu64 ", \"duplicated\": %" PRIu64
	       ", \"reordered\": %" PRIu64 ", \"marked\": %" PRIu64,
	       name, w->offered, s->delivered, s->delivered_bytes, w->lost, w->queue_full, w->too_big,
	       w->corrupted, w->repaired, w->duplicated, w->reordered, w->marked);
	printf(", \"no_slot\": %" PRIu64 ", \"too_long\": %" PRIu64 ", \"send_failed\": %" PRIu64
	       ", \"mtu_reports\": %" PRIu64 ", \"late_us_max\": %" PRIu64 ", \"late_frames\": %" PRIu64 "}",
	       s->no_slot, s->too_long, s->send_failed, s->mtu_reports, s->late_ns_max / NSEC_PER_USEC,
	       s->late_frames);
}

static void
print_all(const struct relay *r)
{
	printf("{\"seed\": %" PRIu64 ", \"seconds\": %.3f, ", r->seed,
	       (double)(clock_ns() - r->began_ns) / NSEC_PER_SEC);
	print_lane("forth", &r->lane[0]);
	printf(", ");
	print_lane("back", &r->lane[1]);
	printf("}\n");
}

static void
warn_of_offloads(const struct relay *r)
{
	for (int i = 0; i < 2; i++)
		if (r->lane[i].stats.too_long > 0)
			fprintf(stderr,
				"sluice-relay: %s sent %" PRIu64 " frames longer than %u bytes, all dropped: "
				"its segmentation offload is on (see --help)\n",
				r->name[i], r->lane[i].stats.too_long, LANE_FRAME_BYTES_MAX);
}

int
main(int argc, char **argv)
{
	static struct relay r = { .seed = 1, .frames_max = FRAMES_MAX_DEFAULT };
	struct sigaction action = { .sa_handler = end_it };
	int rc;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		printf("%s%s%s", usage, spec_help, usage_end);
		return 0;
	}
	if (!read_arguments(&r, argc, argv))
		return 2;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	/* The default lets every sleep be 50 us too long. */
	prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
	if (!open_all(&r))
		return 1;
	rc = run(&r);
	warn_of_offloads(&r);
	if (r.is_json && rc == 0)
		print_all(&r);
	return rc;
}
