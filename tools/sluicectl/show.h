#pragma once

#include <yyjson.h>

/* show: answers for people: a list as a table, one object as lines, money in dollars, times as UTC. */

void show_table(yyjson_val *array);
void show_object(yyjson_val *object);
void show_status(yyjson_val *status);

/* The answer as it came, pretty-printed. */
void show_json(yyjson_doc *doc);
