/* One argument list from the configuration; lcore 0 is the main thread, lcore i + 1 is worker i. */
#include "dataplane/eal.h"

#include <dirent.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define ARGUMENTS_MAX (16 + CONFIG_EAL_EXTRA_MAX)
#define ARGUMENT_BYTES 512

struct arguments {
	int count;
	char *list[ARGUMENTS_MAX + 1];
	char texts[ARGUMENTS_MAX][ARGUMENT_BYTES];
	char line[ARGUMENTS_MAX * 64];
};

static struct arguments arguments;

static void
add(const char *text)
{
	CHECK(arguments.count < ARGUMENTS_MAX);
	snprintf(arguments.texts[arguments.count], ARGUMENT_BYTES, "%s", text);
	arguments.list[arguments.count] = arguments.texts[arguments.count];
	size_t len = strlen(arguments.line);

	snprintf(arguments.line + len, sizeof(arguments.line) - len, "%s%s",
		 arguments.count > 0 ? " " : "", text);
	arguments.count++;
}

const char *
eal_line(void)
{
	return arguments.line;
}

/* The n-th processor of a set, counted round. */
static int
processor_at(const cpu_set_t *set, int n)
{
	n %= CPU_COUNT(set);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, set) && n-- == 0)
			return cpu;
	return 0;
}

/* "0,2-3" into a set; false if it is no such list. */
static bool
parse_cores(const char *text, cpu_set_t *set)
{
	CPU_ZERO(set);
	while (*text != '\0') {
		char *end;
		long first = strtol(text, &end, 10);
		long last = first;

		if (end == text)
			return false;
		if (*end == '-') {
			text = end + 1;
			last = strtol(text, &end, 10);
			if (end == text)
				return false;
		}
		for (long cpu = first; cpu <= last && cpu < CPU_SETSIZE; cpu++)
			CPU_SET(cpu, set);
		if (*end == ',')
			end++;
		text = end;
	}
	return CPU_COUNT(set) > 0;
}

/* The main thread takes the first processor, the workers those behind it; with more of them than processors,
 * they share, which a small machine may live with. */
static bool
add_cores(const struct config *config, char *text, size_t room)
{
	char lcores[ARGUMENT_BYTES];
	cpu_set_t set;
	size_t at;

	if (config->cores[0] == '\0') {
		sched_getaffinity(0, sizeof(set), &set);
	} else if (!parse_cores(config->cores, &set)) {
		snprintf(text, room, "cores: \"%s\" is not a list like 0,2-5", config->cores);
		return false;
	}
	at = (size_t)snprintf(lcores, sizeof(lcores), "--lcores=0@%d", processor_at(&set, 0));
	for (uint32_t i = 0; i < config->workers && at < sizeof(lcores); i++)
		at += (size_t)snprintf(lcores + at, sizeof(lcores) - at, ",%u@%d", i + 1,
				       processor_at(&set, (int)i + 1));
	add(lcores);
	add("--main-lcore=0");
	return true;
}

static bool
has_huge_pages(void)
{
	DIR *folder = opendir("/sys/kernel/mm/hugepages");
	struct dirent *entry;
	bool found = false;

	if (folder == NULL)
		return false;
	while ((entry = readdir(folder)) != NULL && !found) {
		char path[512];
		FILE *file;
		long count = 0;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/free_hugepages",
			 entry->d_name);
		file = fopen(path, "re");
		if (file == NULL)
			continue;
		found = fscanf(file, "%ld", &count) == 1 && count > 0;
		fclose(file);
	}
	closedir(folder);
	return found;
}

static void
add_memory(const struct config *config, uint64_t packet_bytes)
{
	bool huge = config->memory.huge_pages == CONFIG_HUGE_PAGES_YES ||
		    (config->memory.huge_pages == CONFIG_HUGE_PAGES_AUTO && has_huge_pages());
	char megabytes[32];

	snprintf(megabytes, sizeof(megabytes), "%llu",
		 (unsigned long long)(packet_bytes / MIB + packet_bytes / MIB / 8 + 64));
	if (huge) {
		add("--in-memory");
		return;
	}
	add("--no-huge");
	add("--no-shconf");
	add("-m");
	add(megabytes);
}

static bool
is_virtual(const char *device)
{
	return strncmp(device, "net_", 4) == 0;
}

bool
eal_start(const struct config *config, uint64_t packet_bytes, char *text, size_t room)
{
	bool all_virtual = true;

	memset(&arguments, 0, sizeof(arguments));
	add("sluice-dataplane");
	if (!add_cores(config, text, room))
		return false;
	add_memory(config, packet_bytes);
	for (uint32_t i = 0; i < config->port_count; i++)
		all_virtual = all_virtual && is_virtual(config->ports[i].device);
	if (all_virtual)
		add("--no-pci");
	add("--no-telemetry");
	add("--log-level=lib.*:warning");
	for (uint32_t i = 0; i < config->eal_extra_count; i++)
		add(config->eal_extra[i]);
	if (rte_eal_init(arguments.count, arguments.list) < 0) {
		if (config->memory.huge_pages == CONFIG_HUGE_PAGES_YES && !has_huge_pages()) {
			snprintf(text, room,
				 "memory.huge_pages is yes, but this machine has no free ones: reserve %llu of "
				 "2 MiB in /proc/sys/vm/nr_hugepages, or write huge_pages: auto",
				 (unsigned long long)(packet_bytes / (2 * MIB) + packet_bytes / (16 * MIB) + 32));
			return false;
		}
		snprintf(text, room, "DPDK does not start: %s; its arguments were: %s",
			 rte_strerror(rte_errno), arguments.line);
		return false;
	}
	return true;
}

void
eal_stop(void)
{
	rte_eal_cleanup();
}

bool
eal_launch(uint32_t workers, int (*function)(void *), void *const *worker_arguments)
{
	for (uint32_t i = 0; i < workers; i++)
		if (rte_eal_remote_launch(function, worker_arguments[i], i + 1) != 0)
			return false;
	return true;
}

void
eal_join(void)
{
	rte_eal_mp_wait_lcore();
}
