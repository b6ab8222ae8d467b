#include "show.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "meter/money.h"

#define CELL_BYTES 256
#define COLUMNS_MAX 32

static bool
ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static void
emit_time(int64_t unix_s, char text[CELL_BYTES])
{
	time_t at = (time_t)unix_s;
	struct tm utc;

	gmtime_r(&at, &utc);
	strftime(text, CELL_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static void
emit_list(yyjson_val *array, char text[CELL_BYTES])
{
	size_t at, count, len = 0;
	yyjson_val *element;

	text[0] = '\0';
	yyjson_arr_foreach(array, at, count, element) {
		int more = snprintf(text + len, CELL_BYTES - len, "%s%s", at > 0 ? "," : "",
				    yyjson_is_str(element) ? yyjson_get_str(element) : "?");

		if (more < 0 || (size_t)more >= CELL_BYTES - len)
			return;
		len += (size_t)more;
	}
}

static void
emit_cell(const char *name, yyjson_val *value, char text[CELL_BYTES])
{
	if (yyjson_is_null(value) || value == NULL)
		snprintf(text, CELL_BYTES, "-");
	else if (yyjson_is_bool(value))
		snprintf(text, CELL_BYTES, "%s", yyjson_get_bool(value) ? "yes" : "no");
	else if (yyjson_is_int(value) && (ends_with(name, "_nano") || strstr(name, "_nano_") != NULL))
		money_emit(yyjson_get_sint(value), text);
	else if (yyjson_is_int(value) && ends_with(name, "_at"))
		emit_time(yyjson_get_sint(value), text);
	else if (yyjson_is_int(value))
		snprintf(text, CELL_BYTES, "%lld", (long long)yyjson_get_sint(value));
	else if (yyjson_is_arr(value))
		emit_list(value, text);
	else
		snprintf(text, CELL_BYTES, "%s", yyjson_is_str(value) ? yyjson_get_str(value) : "?");
}

static void
emit_heading(const struct word_noun *noun, const char *name, char text[CELL_BYTES])
{
	word_label(noun, name, text, CELL_BYTES);
	for (char *c = text; *c != '\0'; c++)
		if (*c >= 'a' && *c <= 'z')
			*c = (char)(*c - 'a' + 'A');
}

static int
width_of(const char *text)
{
	int width = 0;

	/* Bytes that begin a character of UTF-8. */
	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void
put_cell(const char *text, int width, bool is_last)
{
	fputs(text, stdout);
	for (int i = width_of(text); i < width && !is_last; i++)
		putchar(' ');
	fputs(is_last ? "\n" : "  ", stdout);
}

void
show_table(yyjson_val *array, const struct word_noun *noun)
{
	yyjson_val *first = yyjson_arr_get_first(array), *name, *value, *row;
	const char *names[COLUMNS_MAX];
	int widths[COLUMNS_MAX];
	size_t columns = 0, at, count, i, n;
	char text[CELL_BYTES];

	if (first == NULL) {
		puts("(none)");
		return;
	}
	yyjson_obj_foreach(first, at, count, name, value) {
		if (columns == COLUMNS_MAX)
			break;
		names[columns] = yyjson_get_str(name);
		emit_heading(noun, names[columns], text);
		widths[columns++] = width_of(text);
	}
	yyjson_arr_foreach(array, i, n, row) {
		for (size_t c = 0; c < columns; c++) {
			emit_cell(names[c], yyjson_obj_get(row, names[c]), text);
			if (width_of(text) > widths[c])
				widths[c] = width_of(text);
		}
	}
	for (size_t c = 0; c < columns; c++) {
		emit_heading(noun, names[c], text);
		put_cell(text, widths[c], c + 1 == columns);
	}
	yyjson_arr_foreach(array, i, n, row) {
		for (size_t c = 0; c < columns; c++) {
			emit_cell(names[c], yyjson_obj_get(row, names[c]), text);
			put_cell(text, widths[c], c + 1 == columns);
		}
	}
}

void
show_object(yyjson_val *object, const struct word_noun *noun)
{
	yyjson_val *name, *value;
	size_t at, count;
	char text[CELL_BYTES], label[CELL_BYTES];

	yyjson_obj_foreach(object, at, count, name, value) {
		word_label(noun, yyjson_get_str(name), label, sizeof(label));
		emit_cell(yyjson_get_str(name), value, text);
		printf("%-24s %s\n", label, text);
	}
}

void
show_changes(yyjson_val *changed, const struct word_noun *noun)
{
	yyjson_val *name, *pair;
	size_t at, count;
	char was[CELL_BYTES], is[CELL_BYTES], label[CELL_BYTES];

	yyjson_obj_foreach(changed, at, count, name, pair) {
		const char *key = yyjson_get_str(name);

		if (yyjson_is_str(pair)) {
			printf("%s%s %s", at > 0 ? ", " : "", key, yyjson_get_str(pair));
			continue;
		}
		emit_cell(key, yyjson_arr_get(pair, 0), was);
		emit_cell(key, yyjson_arr_get(pair, 1), is);
		word_label(noun, key, label, sizeof(label));
		printf("%s%s %s -> %s", at > 0 ? ", " : "", label, was, is);
	}
}

static const char *
text_of(yyjson_val *object, const char *name)
{
	const char *text = yyjson_get_str(yyjson_obj_get(object, name));

	return text != NULL ? text : "";
}

void
show_audit(yyjson_val *list, const struct word_noun *noun)
{
	yyjson_val *row;
	size_t at, count;
	char happened_at[CELL_BYTES];

	(void)noun; /* each row has its own */
	yyjson_arr_foreach(yyjson_obj_get(list, "data"), at, count, row) {
		const char *verb = text_of(row, "verb"), *detail = text_of(row, "detail");

		emit_cell("happened_at", yyjson_obj_get(row, "happened_at"), happened_at);
		printf("%s  %-7s %s %s (%lld)", happened_at, verb, text_of(row, "noun"), text_of(row, "name"),
		       (long long)yyjson_get_sint(yyjson_obj_get(row, "subject")));
		if (strcmp(verb, "create") != 0 && strcmp(verb, "delete") != 0) {
			fputs("  ", stdout);
			show_changes(yyjson_obj_get(row, "changed"), word_find_noun(text_of(row, "noun")));
		}
		printf("%s%s  by %s\n", detail[0] != '\0' ? "  " : "", detail, text_of(row, "who"));
	}
	if (yyjson_get_bool(yyjson_obj_get(list, "has_more")))
		puts("(there are more)");
}

static unsigned long long
number(yyjson_val *object, const char *path)
{
	return yyjson_get_uint(yyjson_ptr_get(object, path));
}

void
show_settings(yyjson_val *settings)
{
	const char *state = yyjson_get_str(yyjson_obj_get(settings, "state"));

	if (state != NULL && strcmp(state, "trial") == 0)
		printf("settings    ON TRIAL for another %llu s, then what was before comes back;"
		       " sluicectl reload --confirm keeps them, --undo goes back now\n",
		       number(settings, "/confirm_within_ms") / 1000);
	if (state != NULL && strcmp(state, "undone") == 0)
		puts("settings    as before the last trial, which was not confirmed; sluicectl config diff FILE"
		     " tells what the file says otherwise");
}

void
show_certificates(yyjson_val *settings, bool all)
{
	yyjson_val *one;
	yyjson_arr_iter iter;

	yyjson_arr_iter_init(yyjson_obj_get(settings, "certificates"), &iter);
	while ((one = yyjson_arr_iter_next(&iter)) != NULL) {
		const char *name = yyjson_get_str(yyjson_obj_get(one, "name"));
		const char *kind = yyjson_get_str(yyjson_obj_get(one, "kind"));
		long long left = yyjson_get_sint(yyjson_obj_get(one, "days_left"));
		bool is_soon = yyjson_get_bool(yyjson_obj_get(one, "expires_soon"));

		if (name == NULL || kind == NULL || (!all && !is_soon))
			continue;
		printf("certificate %s (%s, listener %llu) ", name, kind, number(one, "/listener"));
		if (yyjson_get_sint(yyjson_obj_get(one, "not_after")) < time(NULL))
			puts("HAS EXPIRED: clients refuse it; renew the file, then sluicectl reload");
		else if (is_soon)
			printf("EXPIRES IN %lld DAYS: renew the file, then sluicectl reload\n", left);
		else
			printf("for another %lld days\n", left);
	}
}

void
show_status(yyjson_val *status, const struct word_noun *noun)
{
	const char *instance = yyjson_get_str(yyjson_obj_get(status, "instance"));
	char dollars[MONEY_TEXT_BYTES];
	yyjson_val *name, *table;
	size_t at, count;

	printf("instance    %s, control up %llu s\n", instance != NULL ? instance : "?",
	       number(status, "/uptime_s"));
	printf("dataplane   %s, epoch %llu\n",
	       yyjson_get_bool(yyjson_ptr_get(status, "/dataplane/alive")) ? "alive" : "NOT RUNNING",
	       number(status, "/dataplane/epoch"));
	show_settings(yyjson_obj_get(status, "settings"));
	show_certificates(yyjson_obj_get(status, "settings"), false);
	printf("published   generation %llu, compared %llu ms ago, %llu rows refused\n",
	       number(status, "/generation"), number(status, "/reconciled_ms_ago"),
	       number(status, "/rows_refused"));
	printf("ledger      %llu records, %llu pending, %llu missing, %llu damaged, %llu crashed\n",
	       number(status, "/ledger/records"), number(status, "/ledger/pending"),
	       number(status, "/ledger/gaps"), number(status, "/ledger/damaged"),
	       number(status, "/ledger/crashed"));
	money_emit((int64_t)number(status, "/reconcile/difference_cost_nano"), dollars);
	printf("reconcile   %llu rounds; counters, spool and ledger differ by %llu records, %s dollars,"
	       " %llu tokens\n", number(status, "/reconcile/rounds"),
	       number(status, "/reconcile/difference_records"), dollars,
	       number(status, "/reconcile/difference_tokens"));
	printf("shared file %llu MiB, %llu in huge pages\n", number(status, "/shared_file/bytes") >> 20,
	       number(status, "/shared_file/huge_bytes") >> 20);
	if (yyjson_is_false(yyjson_obj_get(status, "store_up")))
		puts("store       DOES NOT ANSWER; see the log of sluice-control");
	printf("tables     ");
	yyjson_obj_foreach(yyjson_obj_get(status, "tables"), at, count, name, table)
		printf(" %s %llu/%llu%s", yyjson_get_str(name), number(table, "/used"),
		       number(table, "/capacity"), at + 1 < count ? "," : "\n");
	puts("\nworkers");
	show_table(yyjson_ptr_get(status, "/dataplane/workers"), noun);
	puts("\npods");
	show_table(yyjson_obj_get(status, "pods"), noun);
	if (yyjson_get_bool(yyjson_obj_get(status, "has_more_pods")))
		puts("(there are more)");
}

static bool
is_wanted(const char *name, const char *value, const char *const *words, int count)
{
	for (int i = 0; i < count; i++)
		if (strstr(name, words[i]) == NULL)
			return false;
	return count > 0 || strcmp(value, "0") != 0;
}

bool
show_metrics(char *text, const char *const *words, int count, bool json)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	const char *help = "";
	char *line, *out;
	bool any = false;

	yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
	while ((line = strsep(&text, "\n")) != NULL) {
		char *value = strrchr(line, ' ');

		/* "# HELP name what it means" stands before "name{labels} value". */
		if (strncmp(line, "# HELP ", 7) == 0) {
			help = strchr(line + 7, ' ') != NULL ? strchr(line + 7, ' ') + 1 : "";
			continue;
		}
		if (line[0] == '#' || value == NULL)
			continue;
		*value++ = '\0';
		if (!is_wanted(line, value, words, count))
			continue;
		any = true;
		if (json)
			yyjson_mut_obj_add(yyjson_mut_doc_get_root(doc), yyjson_mut_strcpy(doc, line),
					   yyjson_mut_rawcpy(doc, value));
		else
			printf("%-60s %12s  %s\n", line, value, help);
	}
	out = json ? yyjson_mut_write(doc, YYJSON_WRITE_PRETTY, NULL) : NULL;
	if (out != NULL)
		puts(out);
	free(out);
	yyjson_mut_doc_free(doc);
	return any;
}

void
show_json(yyjson_doc *doc)
{
	char *text = yyjson_write(doc, YYJSON_WRITE_PRETTY, NULL);

	if (text != NULL)
		puts(text);
	free(text);
}
