#include "stack.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "stream.h"

struct tcp_config
stack_config(void)
{
	struct tcp_config c = {
		.conns_max = 16,
		.half_open_max = 16,
		.time_wait_max = 16,
		.ranges_max = 1024,
		.mss_v4 = 1460,
		.mss_v6 = 1440,
		.recv_bytes_max = 65535,
		.send_bytes_max = 1 << 20,
		.window_shift = 7,
		.ephemeral_port_min = 16384,
		.ephemeral_port_max = 65535,
		.seed = 1,
	};

	memset(c.hash_key, 0x5a, sizeof(c.hash_key));
	memset(c.cookie_key, 0xa5, sizeof(c.cookie_key));
	return c;
}

void
stack_open(struct stack *s, const struct tcp_config *config, const struct stack_pools *pools,
	   uint64_t now_ns)
{
	s->header_pool = &s->pools[0];
	s->bare_pool = &s->pools[1];
	s->receive_pool = &s->pools[2];
	s->payload_pool = &s->pools[3];
	pkt_pool_init(s->header_pool, pools->headers);
	pkt_pool_init(s->bare_pool, pools->bare);
	pkt_pool_init(s->receive_pool, pools->receive);
	pkt_pool_init(s->payload_pool, pools->payload);
	/* tcp_bytes() is a multiple of the alignment that it asks for. */
	s->memory = aligned_alloc(64, tcp_bytes(config));
	CHECK(s->memory != NULL);
	s->tcp = tcp_init(s->memory, config, s->header_pool, s->bare_pool, now_ns);
}

void
stack_close(struct stack *s)
{
	tcp_fini(s->tcp);
	free(s->memory);
	CHECK(stack_pools_are_full(s));
	memset(s, 0, sizeof(*s));
}

static bool
is_full(const struct pkt_pool *pool)
{
	struct pkt_pool_stats stats = pkt_pool_stats(pool);

	return stats.free == stats.total;
}

bool
stack_pools_are_full(const struct stack *s)
{
	return is_full(s->header_pool) && is_full(s->bare_pool) && is_full(s->receive_pool) &&
	       is_full(s->payload_pool);
}

struct pkt *
stack_payload(struct stack *s, uint64_t key, uint64_t position, uint32_t n, uint32_t piece_bytes)
{
	struct pkt *head = NULL;

	for (uint32_t done = 0; done < n;) {
		struct pkt *piece = pkt_alloc(s->payload_pool);
		uint32_t len;

		if (piece == NULL) {
			pkt_free(head);
			return NULL;
		}
		len = pkt_tailroom(piece);
		if (piece_bytes > 0 && len > piece_bytes)
			len = piece_bytes;
		if (len > n - done)
			len = n - done;
		stream_fill(key, position + done, pkt_append(piece, len), len);
		done += len;
		if (head == NULL)
			head = piece;
		else
			pkt_chain(head, piece);
	}
	return head;
}
