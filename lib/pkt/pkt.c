/* What pkt.h promises in terms of its own calls, whatever the body. */
#include "pkt/pkt.h"

#include "base/check.h"

void
pkt_copy_out(const struct pkt *p, uint32_t offset, void *to, uint32_t n)
{
	uint8_t *out = to;

	while (offset >= pkt_len(p) && n > 0) {
		offset -= pkt_len(p);
		p = pkt_next(p);
		CHECK(p != NULL);
	}
	while (n > 0) {
		uint32_t here = pkt_len(p) - offset;

		if (here > n)
			here = n;
		memcpy(out, pkt_data(p) + offset, here);
		out += here;
		n -= here;
		offset = 0;
		p = pkt_next(p);
		CHECK(p != NULL || n == 0);
	}
}

struct pkt *
pkt_drop_front(struct pkt *p, uint32_t n)
{
	CHECK(n <= pkt_total(p));
	while (n >= pkt_len(p)) {
		struct pkt *rest = pkt_unchain(p);

		n -= pkt_len(p);
		if (rest != NULL)
			*pkt_meta(rest) = *pkt_meta(p);
		pkt_free(p);
		if (rest == NULL)
			return NULL;
		p = rest;
	}
	pkt_pull(p, n);
	return p;
}
