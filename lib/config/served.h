#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/*
 * served: which certificates the dataplane shows, told to control, as a file beside the shared one,
 * <folder>/<instance>.served; and why it did not take what was handed over last. No key, and nothing of one, is
 * in it.
 *
 * Owner: the dataplane writes, by renaming, so that a reader has the old or the new one whole. Thread: main
 *        threads.
 */
#define SERVED_CERTIFICATES_MAX 64
#define SERVED_NAME_BYTES 256
#define SERVED_REASON_BYTES 1024
#define SERVED_PRINT_BYTES 32
#define SERVED_SOON_DAYS 14 /* less than that before its end, a certificate is warned of */

struct served_certificate {
	uint32_t listener;
	uint32_t is_rsa;
	int64_t not_before_s; /* Unix time */
	int64_t not_after_s;
	uint8_t fingerprint[SERVED_PRINT_BYTES]; /* SHA-256 of the server's certificate */
	char name[SERVED_NAME_BYTES]; /* its first one */
};

struct served {
	uint64_t refused; /* sequence of the handover (handover.h) that was not taken; 0: the last one was */
	char reason[SERVED_REASON_BYTES];
	uint32_t count;
	struct served_certificate certificate[SERVED_CERTIFICATES_MAX];
};

/* ERR_CONFIG_HANDOVER: it could not be written, and what was there is as it was. */
enum err served_write(const char *folder, const char *instance, const struct served *served);

/* ERR_CONFIG_HANDOVER: there is none, it is not whole, or somebody else's (config/owned.h); then *served is
 * empty. */
enum err served_read(const char *folder, const char *instance, struct served *served);
