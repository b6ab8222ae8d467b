/* Runs a fuzz target over its corpus folder, given as the argument: every file once, in name order. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The copy is as long as the file, so that a sanitizer sees the first byte read past it. */
static int
replay(const char *path)
{
	struct stat facts;
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = NULL;
	int rc = -1;

	if (file == NULL || fstat(fileno(file), &facts) != 0 || !S_ISREG(facts.st_mode))
		goto out;
	size_t size = (size_t)facts.st_size;
	bytes = malloc(size > 0 ? size : 1);
	if (bytes == NULL || fread(bytes, 1, size, file) != size)
		goto out;
	LLVMFuzzerTestOneInput(bytes, size);
	rc = 0;
out:
	if (rc != 0)
		fprintf(stderr, "%s: cannot be read\n", path);
	free(bytes);
	if (file != NULL)
		fclose(file);
	return rc;
}

int
main(int argc, char **argv)
{
	struct dirent **entries;
	char path[4096];
	int failed = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
		return 2;
	}
	int count = scandir(argv[1], &entries, is_visible, alphasort);
	if (count <= 0) {
		fprintf(stderr, "%s: no corpus\n", argv[1]);
		return 1;
	}
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
		failed |= replay(path);
		free(entries[i]);
	}
	free(entries);
	printf("%d files\n", count);
	return failed != 0;
}
