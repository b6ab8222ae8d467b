#pragma once

#include <stdbool.h>
#include <yyjson.h>

#include "words.h"

/* show: answers for people: a list as a table, one object as lines, money in dollars, times as UTC. */

/* noun: whose members these are; NULL: of none. */
void show_table(yyjson_val *array, const struct word_noun *noun);
void show_object(yyjson_val *object, const struct word_noun *noun);
void show_status(yyjson_val *status, const struct word_noun *noun);
void show_settings(yyjson_val *settings); /* a line, if what runs is on trial or was undone */
void show_changes(yyjson_val *changed, const struct word_noun *noun); /* "state ready -> drain, port 80 -> 81" */
void show_certificates(yyjson_val *settings, bool all); /* a line for each; else for those that end soon */
void show_audit(yyjson_val *list, const struct word_noun *noun);

/* Counters with what they mean, from Prometheus text, which is cut into pieces: those with all of the words in
 * their names and labels; without words, those that are not zero. As JSON: numbers by name. False: none. */
bool show_metrics(char *text, const char *const *words, int count, bool json);

/* The answer as it came, pretty-printed. */
void show_json(yyjson_doc *doc);
