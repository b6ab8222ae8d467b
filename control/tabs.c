/* Read with pread(2), so that a disk's error is a verdict and no signal. */
#include "tabs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "config/log.h"

#define TOTALS_TRIES_MAX 8

void
tabs_init(struct tabs *tabs, struct ledger *ledger)
{
	*tabs = (struct tabs){ .ledger = ledger };
}

static void
forget(struct tabs *tabs, uint32_t at)
{
	close(tabs->tab[at].file);
	tabs->tab[at] = tabs->tab[--tabs->count];
}

void
tabs_fini(struct tabs *tabs)
{
	while (tabs->count > 0)
		forget(tabs, tabs->count - 1);
}

/* --- finding ------------------------------------------------------------------------------- */

static struct tabs_tab *
find(struct tabs *tabs, const char *name)
{
	for (uint32_t i = 0; i < tabs->count; i++)
		if (strcmp(tabs->tab[i].name, name) == 0)
			return &tabs->tab[i];
	return NULL;
}

static bool
read_page(int file, union tabs_page *page)
{
	return pread(file, page->octets, sizeof(page->octets), 0) == (ssize_t)sizeof(page->octets);
}

/* A copy under another name is none: its lines would be settled twice. */
static bool
is_name_of(const struct tab_header *header, const char *name)
{
	char own[FILENAME_BYTES];

	filename_of_tab(header->epoch, header->worker, own);
	return strcmp(own, name) == 0;
}

static bool
open_tab(int folder, const char *name, struct tabs_tab *tab)
{
	static union tabs_page page;
	struct stat status;

	*tab = (struct tabs_tab){ .file = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) };
	if (tab->file < 0)
		return false;
	if (fstat(tab->file, &status) != 0 || !S_ISREG(status.st_mode) || !read_page(tab->file, &page) ||
	    tab_check(&page.header, (uint64_t)status.st_size) != ERR_OK || !is_name_of(&page.header, name)) {
		close(tab->file);
		return false;
	}
	tab->epoch = page.header.epoch;
	tab->worker = page.header.worker;
	tab->capacity = page.header.capacity;
	CHECK(strlen(name) < sizeof(tab->name)); /* filename_is_tab() */
	memcpy(tab->name, name, strlen(name) + 1);
	return true;
}

static void
meet(struct tabs *tabs, int folder, const char *name)
{
	struct tabs_tab *tab = find(tabs, name);

	if (tab == NULL && tabs->count == TABS_MAX) {
		tabs->is_crowded = true;
		return;
	}
	if (tab == NULL) {
		tab = &tabs->tab[tabs->count];
		if (!open_tab(folder, name, tab)) {
			tabs->unreadable++;
			return;
		}
		tabs->count++;
	}
	tab->is_met = true;
	/* The segments were looked for before this: only the next look sees all that the dead one made. */
	tab->is_settleable = tab->is_dead;
	tab->is_dead = tab->is_dead || flock(tab->file, LOCK_EX | LOCK_NB) == 0;
}

void
tabs_scan(struct tabs *tabs)
{
	DIR *directory = opendir(tabs->ledger->folder);
	struct dirent *file;

	if (directory == NULL)
		return; /* ledger_scan() has said so */
	tabs->unreadable = 0;
	tabs->is_crowded = false;
	for (uint32_t i = 0; i < tabs->count; i++)
		tabs->tab[i].is_met = tabs->tab[i].is_unreadable = false;
	while ((file = readdir(directory)) != NULL)
		if (filename_is_tab(file->d_name))
			meet(tabs, dirfd(directory), file->d_name);
	for (uint32_t i = tabs->count; i-- > 0;) {
		const struct tabs_tab *tab = &tabs->tab[i];

		if (tab->is_done) {
			ledger_bury(tabs->ledger, tab->epoch, tab->worker);
			unlinkat(dirfd(directory), tab->name, 0);
		}
		if (tab->is_done || !tab->is_met)
			forget(tabs, i);
	}
	closedir(directory);
}

/* --- settling ------------------------------------------------------------------------------ */

static bool
waits(const struct tabs *tabs, const struct tabs_tab *tab)
{
	return tab->is_settleable && !tab->is_unreadable && tab->next_line < tab->capacity &&
	       ledger_is_drained(tabs->ledger, tab->epoch, tab->worker);
}

static void
say_damaged(struct tabs *tabs, const struct tabs_tab *tab, uint32_t line)
{
	tabs->damaged++;
	LOG_ERROR("tab_damaged", LOG_NUMBER("epoch", tab->epoch), LOG_NUMBER("worker", tab->worker),
		  LOG_NUMBER("line", line));
}

/* *rows: how many of the ledger were looked over. */
static enum err
add_line(struct tabs *tabs, const struct tabs_tab *tab, uint32_t number, const struct tab_line *line,
	 uint64_t *rows)
{
	struct ledger *ledger = tabs->ledger;
	uint64_t last = ledger_last_sequence(ledger, tab->epoch, tab->worker);
	struct usage_record record;
	uint64_t sequence;
	enum err verdict = tab_read(line, &record, &sequence);
	bool is_settled = false;

	if (verdict == ERR_MORE)
		return ERR_OK;
	if (verdict != ERR_OK || record.sequence != TAB_SEQUENCE_FIRST + number) {
		say_damaged(tabs, tab, number);
		return ERR_OK;
	}
	if (sequence != 0) {
		verdict = ledger_has(ledger, tab->epoch, tab->worker, sequence, &is_settled);
	} else {
		*rows += last > record.behind_sequence ? last - record.behind_sequence : 0;
		verdict = ledger_has_request(ledger, tab->epoch, tab->worker, record.behind_sequence,
					     record.request_id, &is_settled);
	}
	if (verdict != ERR_OK || is_settled)
		return verdict;
	return ledger_add(ledger, tab->epoch, tab->worker, &record);
}

/* *count: how many of them there are; then, how many were added. */
static enum err
add_lines(struct tabs *tabs, const struct tabs_tab *tab, const struct tab_line *lines, uint32_t *count)
{
	enum err verdict = ERR_OK;
	uint64_t rows = 0;
	uint32_t i;

	for (i = 0; i < *count && verdict == ERR_OK && rows < TABS_BATCH_ROWS; i++)
		verdict = add_line(tabs, tab, tab->next_line + i, &lines[i], &rows);
	*count = i;
	return verdict;
}

/* Most lines are free: they cost no transaction. */
static bool
any_open(const struct tab_line *lines, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (atomic_load(&lines[i].state) != TAB_FREE)
			return true;
	return false;
}

static void
tell_spent(const struct tabs *tabs)
{
	const struct ledger_batch *batch = &tabs->ledger->batch;

	for (uint32_t i = 0; i < batch->spending_count && tabs->spent != NULL; i++)
		tabs->spent(tabs->owner, batch->spending[i].account_id, batch->spending[i].cost_nano);
}

static enum err
settle_lines(struct tabs *tabs, struct tabs_tab *tab)
{
	static struct tab_line lines[TABS_BATCH_LINES]; /* 144 KiB; the loop is one thread */
	uint32_t most = store_is_shared(tabs->ledger->store) ? TABS_BATCH_SHARED : TABS_BATCH_LINES;
	uint32_t left = tab->capacity - tab->next_line, count = left < most ? left : most;
	ssize_t bytes = (ssize_t)(count * sizeof(lines[0]));
	enum err verdict;

	if (pread(tab->file, lines, (size_t)bytes, (off_t)tab_bytes(tab->next_line)) != bytes)
		return store_refuse(tabs->ledger->store, ERR_SPOOL_FILE, "%s cannot be read: %s", tab->name,
				    strerror(errno));
	if (!any_open(lines, count)) {
		tab->next_line += count;
		return ERR_OK;
	}
	verdict = ledger_begin(tabs->ledger);
	if (verdict == ERR_OK)
		verdict = ledger_end(tabs->ledger, add_lines(tabs, tab, lines, &count));
	if (verdict != ERR_OK)
		return verdict;
	tab->next_line += count;
	tabs->crashed += tabs->ledger->batch.records;
	if (tabs->ledger->batch.records > 0)
		LOG_WARN("requests_crashed", LOG_NUMBER("epoch", tab->epoch), LOG_NUMBER("worker", tab->worker),
			 LOG_NUMBER("count", tabs->ledger->batch.records));
	tell_spent(tabs);
	return ERR_OK;
}

/* What comes to light here is drained before the lines are read. */
static enum err
recover(struct tabs *tabs, struct tabs_tab *tab)
{
	bool any;
	enum err verdict = ledger_recover(tabs->ledger, tab->epoch, tab->worker, &any);

	tab->is_recovered = verdict == ERR_OK && !any;
	return verdict;
}

static void
note_reading(const struct tabs *tabs, struct tabs_tab *tab, bool is_good)
{
	if (!is_good && !tab->is_told)
		LOG_ERROR("tab_unreadable", LOG_TEXT("problem", tabs->ledger->store->problem),
			  LOG_TEXT("remedy", "it is tried again and again; what it has is not billed meanwhile"));
	tab->is_unreadable = tab->is_told = !is_good;
}

enum err
tabs_settle(struct tabs *tabs, bool *more)
{
	*more = false;
	for (uint32_t i = 0; i < tabs->count; i++) {
		struct tabs_tab *tab = &tabs->tab[tabs->turn++ % tabs->count];
		enum err verdict;

		if (!waits(tabs, tab))
			continue;
		verdict = tab->is_recovered ? settle_lines(tabs, tab) : recover(tabs, tab);
		note_reading(tabs, tab, verdict != ERR_SPOOL_FILE);
		if (verdict == ERR_SPOOL_FILE)
			continue;
		*more = true;
		return verdict;
	}
	return ERR_OK;
}

uint32_t
tabs_unreadable(const struct tabs *tabs)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < tabs->count; i++)
		count += tabs->tab[i].is_told;
	return count;
}

uint64_t
tabs_pending(const struct tabs *tabs)
{
	uint64_t lines = 0;

	for (uint32_t i = 0; i < tabs->count; i++)
		if (tabs->tab[i].is_dead)
			lines += tabs->tab[i].capacity - tabs->tab[i].next_line;
	return lines;
}

uint64_t
tabs_settled_at_ns(const struct tabs *tabs)
{
	return tabs_pending(tabs) > 0 || tabs->is_crowded ? 0 : tabs->ledger->complete_at_ns;
}

enum err
tabs_read_totals(const struct tabs_tab *tab, struct tab_totals *totals)
{
	static union tabs_page page, again;

	for (int i = 0; i < TOTALS_TRIES_MAX; i++) {
		if (!read_page(tab->file, &page) || !read_page(tab->file, &again))
			return ERR_SPOOL_FILE;
		if (tab_read_totals(&page.header, &again.header, totals) == ERR_OK)
			return ERR_OK;
	}
	return ERR_MORE;
}
