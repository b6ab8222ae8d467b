/* A hop whose next link is narrower than the one before: what is too long is dropped there, and the sender is
 * told so (RFC 1191, RFC 8201), or not. */
#include "sim.h"

#include <string.h>

#include "base/check.h"

#define HEADER_BYTES_V4 20
#define HEADER_BYTES_V6 40

static uint32_t
mtu_of(const struct world *w, uint32_t from, uint32_t to)
{
	return w->plan.faults[from][to].mtu_bytes + (w->plan.is_v6 ? HEADER_BYTES_V6 : HEADER_BYTES_V4);
}

void
router_too_long(struct world *w, struct host *h, uint32_t to, const struct pkt *p)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct segment s;

	/* A lost report is a report of one of the next packets. */
	if (prng_below(&w->prng, 1000000) >= w->plan.report_ppm || h->reports == SIM_REPORTS_MAX)
		return;
	if (!segment_parse_pkt(p, flat, &s))
		return;
	h->report[h->reports++] = (struct report){
		.at_ns = w->now_ns + w->plan.faults[to][h->index].delay_ns,
		.tuple = { s.src, s.dst, s.src_port, s.dst_port },
		.seq = s.seq,
		.mtu_bytes = mtu_of(w, h->index, to),
	};
}

void
router_deliver(struct world *w, struct host *h)
{
	uint32_t left = 0;

	for (uint32_t i = 0; i < h->reports; i++) {
		const struct report r = h->report[i];

		if (r.at_ns > w->now_ns) {
			h->report[left++] = r;
			continue;
		}
		watch_call(h);
		tcp_icmp(h->stack.tcp, &r.tuple, r.seq, false, r.mtu_bytes, w->now_ns);
	}
	h->reports = left;
}

uint64_t
router_next_at(const struct host *h)
{
	uint64_t at_ns = NEVER_NS;

	for (uint32_t i = 0; i < h->reports; i++)
		if (h->report[i].at_ns < at_ns)
			at_ns = h->report[i].at_ns;
	return at_ns;
}
