/* The owner by the card's hash, or by our own. */
#include "dataplane/steering.h"

#include "base/check.h"
#include "base/siphash.h"
#include "ip/ip.h"
#include "wire/order.h"

void
steering_init(struct steering *s, uint16_t worker_count, uint64_t key)
{
	CHECK(worker_count > 0);
	memset(s, 0, sizeof(*s));
	s->worker_count = worker_count;
	s->key = key;
}

void
steering_follow(struct steering *s, const struct steering_rss *rss)
{
	if (s->rss.count > 0 || rss->count == 0)
		return;
	for (uint16_t i = 0; i < rss->count; i++)
		CHECK(rss->table[i] < s->worker_count);
	s->rss = *rss;
	toeplitz_init(&s->toeplitz, rss->key);
}

uint16_t
steering_owner(const struct steering *s, const struct ip_addr *src, const struct ip_addr *dst,
	       uint16_t src_port, uint16_t dst_port)
{
	struct siphash_key key = { s->key, ~s->key };
	uint8_t tuple[TOEPLITZ_INPUT_MAX];
	size_t skip = ip_is_v4(src) && ip_is_v4(dst) ? 12 : 0;
	size_t each = 16 - skip;

	if (s->worker_count == 1)
		return 0;
	memcpy(tuple, src->byte + skip, each);
	memcpy(tuple + each, dst->byte + skip, each);
	order_put16(tuple + 2 * each, src_port);
	order_put16(tuple + 2 * each + 2, dst_port);
	if (s->rss.count > 0)
		return s->rss.table[toeplitz_hash(&s->toeplitz, tuple, 2 * each + 4) % s->rss.count];
	return (uint16_t)(siphash_1_3(&key, tuple, 2 * each + 4) % s->worker_count);
}

bool
steering_queue_of(const struct steering *s, uint32_t hash, uint16_t *queue)
{
	if (s->rss.count == 0)
		return false;
	*queue = s->rss.table[hash % s->rss.count];
	return true;
}
