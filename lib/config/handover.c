/* One small file: a head of fixed size, then the two texts. */
#include "config/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "config/log.h"
#include "config/owned.h"

#define MAGIC UINT64_C(0x53474e4954544553) /* "SETTINGS" little-endian */
#define TEXT_BYTES_MAX (1024 * 1024)       /* as config_read() */

struct head {
	uint64_t magic;
	uint64_t sequence;
	uint64_t until_ns;
	uint64_t stage;
	uint64_t text_len;
	uint64_t other_len;
};

static void
name_file(const char *folder, const char *instance, const char *end, char path[CONFIG_PATH_BYTES])
{
	CHECK(snprintf(path, CONFIG_PATH_BYTES, "%s/%s.settings%s", folder, instance, end) < CONFIG_PATH_BYTES);
}

enum err
handover_write(const char *folder, const char *instance, const struct handover *h)
{
	struct head head = { MAGIC, h->sequence, h->until_ns, h->stage, h->text.len, h->other.len };
	char path[CONFIG_PATH_BYTES], fresh[CONFIG_PATH_BYTES];
	FILE *file;
	bool fine;
	int fd;

	name_file(folder, instance, "", path);
	name_file(folder, instance, ".new", fresh);
	fd = owned_make(AT_FDCWD, fresh);
	file = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (file == NULL)
		return ERR_CONFIG_HANDOVER;
	fine = fwrite(&head, sizeof(head), 1, file) == 1 &&
	       fwrite(h->text.ptr, 1, h->text.len, file) == h->text.len &&
	       (h->other.len == 0 || fwrite(h->other.ptr, 1, h->other.len, file) == h->other.len);
	fine = fclose(file) == 0 && fine;
	return fine && rename(fresh, path) == 0 ? ERR_OK : ERR_CONFIG_HANDOVER;
}

static bool
read_text(FILE *file, uint64_t len, struct bytes *text)
{
	uint8_t *buffer = malloc(len + 1);

	bool fine;

	CHECK(buffer != NULL);
	fine = fread(buffer, 1, len, file) == len;
	*text = bytes_make(buffer, len);
	return fine;
}

static bool
is_whole(const struct head *head)
{
	return head->magic == MAGIC && head->sequence > 0 && head->stage < HANDOVER_STAGES &&
	       head->text_len <= TEXT_BYTES_MAX && head->other_len <= TEXT_BYTES_MAX;
}

enum err
handover_read(const char *folder, const char *instance, struct handover *h)
{
	char path[CONFIG_PATH_BYTES];
	struct head head;
	bool fine;
	FILE *file;
	int fd;

	*h = (struct handover){ .sequence = 0 };
	name_file(folder, instance, "", path);
	fd = owned_open(AT_FDCWD, path, O_RDONLY);
	if (fd < 0 && errno == EPERM)
		LOG_WARN("handover_refused", LOG_TEXT("file", path),
			 LOG_TEXT("why", "it is not a file that only this user can read"),
			 LOG_TEXT("remedy", "see who made it, and remove it; both programs run as one user"));
	file = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (file == NULL)
		return ERR_CONFIG_HANDOVER;
	fine = fread(&head, sizeof(head), 1, file) == 1 && is_whole(&head) &&
	       read_text(file, head.text_len, &h->text) && read_text(file, head.other_len, &h->other);
	fclose(file);
	if (!fine) {
		handover_free(h);
		return ERR_CONFIG_HANDOVER;
	}
	h->sequence = head.sequence;
	h->until_ns = head.until_ns;
	h->stage = (enum handover_stage)head.stage;
	return ERR_OK;
}

void
handover_free(struct handover *h)
{
	free((void *)h->text.ptr);
	free((void *)h->other.ptr);
	*h = (struct handover){ .sequence = 0 };
}

bool
handover_is_over(const struct handover *h, uint64_t now_ns)
{
	return h->stage == HANDOVER_TRIAL && now_ns >= h->until_ns;
}

const char *
handover_reason(const struct handover *h, uint64_t now_ns)
{
	return h->stage == HANDOVER_TRIAL && !handover_is_over(h, now_ns) ?
		       "a reload is on trial" :
		       "what the file says was tried and not confirmed";
}

struct bytes
handover_choose(const struct handover *h, struct bytes file, uint64_t now_ns)
{
	bool is_over = handover_is_over(h, now_ns);

	if (h->sequence == 0 || h->stage == HANDOVER_FIRM)
		return file;
	if (h->stage == HANDOVER_TRIAL && !is_over)
		return h->text;
	if (is_over)
		return bytes_equal(file, h->text) ? h->other : file;
	return bytes_equal(file, h->other) ? h->text : file;
}

/* A copy, since what is chosen may be a part of what its owner frees. */
static struct bytes
copy_of(struct bytes text)
{
	uint8_t *copy = malloc(text.len + 1);

	CHECK(copy != NULL);
	memcpy(copy, text.ptr, text.len);
	return bytes_make(copy, text.len);
}

enum err
handover_load(struct config *config, const char *path, const char *folder, uint64_t now_ns, struct bytes *text,
	      struct handover *h, const struct config_complaints *complaints)
{
	struct bytes file, chosen;
	enum err verdict = config_read(path, &file, complaints);

	*h = (struct handover){ .sequence = 0 };
	*text = BYTES_NONE;
	if (verdict != ERR_OK)
		return verdict;
	/* The file says which instance it is, and so whose handover counts. */
	verdict = config_parse(config, path, file, complaints);
	if (verdict == ERR_OK && handover_read(folder, config->instance, h) == ERR_OK) {
		chosen = handover_choose(h, file, now_ns);
		h->is_used = chosen.ptr != file.ptr;
		if (h->is_used)
			verdict = config_parse(config, path, chosen, complaints);
	} else {
		chosen = file;
	}
	if (verdict == ERR_OK)
		*text = copy_of(chosen);
	free((void *)file.ptr);
	return verdict;
}
