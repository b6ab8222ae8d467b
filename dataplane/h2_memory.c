/* What nghttp2 and streams take, out of one arena, counted for each connection (tests/README.md T67). */
#include "base/check.h"
#include "dataplane/h2_session.h"
#include "dataplane/worker.h"
#include "tls/arena.h"

/* In front of each block, and as large as the arena aligns. */
struct tag {
	uint64_t bytes;
	uint64_t unused;
};
CHECK_STATIC(sizeof(struct tag) == 16, "a block behind a tag is as aligned as the arena's");

void *
h2_alloc(struct h2 *h, size_t bytes)
{
	struct tag *tag;

	/* The limit may have become less than what there is. */
	if (h->bytes + bytes > h->shared->limits.connection_bytes) {
		worker_count_verdict(h->worker, ERR_H2_MEMORY);
		return NULL;
	}
	tag = arena_alloc(h->shared->arena, sizeof(*tag) + bytes);
	if (tag == NULL) {
		worker_count_verdict(h->worker, ERR_H2_MEMORY);
		return NULL;
	}
	tag->bytes = bytes;
	h->bytes += bytes;
	return tag + 1;
}

void
h2_release(struct h2 *h, void *block)
{
	struct tag *tag;

	if (block == NULL)
		return;
	tag = (struct tag *)block - 1;
	CHECK(h->bytes >= tag->bytes);
	h->bytes -= tag->bytes;
	arena_release(h->shared->arena, tag);
}

static void *
session_malloc(size_t bytes, void *owner)
{
	return h2_alloc(owner, bytes);
}

static void
session_free(void *block, void *owner)
{
	h2_release(owner, block);
}

static void *
session_calloc(size_t count, size_t bytes, void *owner)
{
	return bytes > 0 && count > SIZE_MAX / bytes ? NULL : h2_alloc(owner, count * bytes);
}

static void *
session_realloc(void *block, size_t bytes, void *owner)
{
	void *grown = h2_alloc(owner, bytes);

	if (grown == NULL || block == NULL)
		return grown;
	uint64_t had = ((struct tag *)block - 1)->bytes;

	memcpy(grown, block, had < bytes ? had : bytes);
	h2_release(owner, block);
	return grown;
}

nghttp2_mem
h2_memory_of(struct h2 *h)
{
	return (nghttp2_mem){
		.mem_user_data = h,
		.malloc = session_malloc,
		.free = session_free,
		.calloc = session_calloc,
		.realloc = session_realloc,
	};
}
