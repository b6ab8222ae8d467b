#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * spool_sync: usage records that control has not taken for a second are brought to the disk, each second, so that
 * a power cut while the store is away takes about a second of them. While control takes them, its commits are on
 * the disk sooner than that, and nothing is synced: who writes into a page on its way there may have to wait.
 *
 * A power cut takes besides what is in flight: the tab is left to the kernel.
 *
 * Thread: its own; it blocks on the disk, which is why neither a worker nor the main thread does it. It knows the
 * segments by their names, and shares no memory with whoever writes them.
 */
#define SPOOL_SYNC_EVERY_NS UINT64_C(1000000000)
#define SPOOL_SYNC_LOOK_NS UINT64_C(50000000) /* at whether it is to end */

struct spool_sync {
	const char *folder;
	pthread_t thread;
	_Atomic bool stop;
	bool failing; /* said once */
};

/* False: there is no thread to be had. The folder's text stays the caller's. */
bool spool_sync_start(struct spool_sync *sync, const char *folder);
void spool_sync_stop(struct spool_sync *sync);

/* One round: all segments of the folder, whoever writes them, and their names. Returns how many could not be
 * synced, of which the log has the first one since it was well. */
uint32_t spool_sync_round(struct spool_sync *sync, uint64_t now_unix_ns);
