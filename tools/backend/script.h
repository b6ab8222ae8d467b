#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/units.h"

/*
 * script: what the simulated backend is to do with one request.
 *
 * A text of words, divided by spaces or commas: "ttft=50ms tps=200 tokens=20000 reset_after=3 hang".
 * script.def lists the words.
 */
#define SCRIPT_NONE UINT64_MAX

struct script {
#define SCRIPT(field, kind, preset, least, most, meaning) uint64_t field;
#include "script.def"
#undef SCRIPT
};

void script_init(struct script *script);

/* Adds what the text says to the script. On an unknown word or a value out of bounds: false, *wrong is
 * that word, and the script is as it was. */
bool script_parse(struct script *script, struct bytes text, struct bytes *wrong);

/* The text between "[[sim " and "]]" in a message; false: there is none. */
bool script_find(struct bytes message, struct bytes *text);

/* Prints the words with their defaults and meanings to stdout. */
void script_help(void);
