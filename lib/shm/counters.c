/* Names and sentences of the counters, generated from counters.def. */
#include "shm/counters.h"

static const struct {
	const char *name;
	const char *sentence;
} descriptions[COUNTER_COUNT] = {
#define COUNTER(name, text, sentence) [COUNTER_##name] = { text, sentence },
#include "shm/counters.def"
#undef COUNTER
};

const char *
counter_name(enum counter counter)
{
	CHECK((unsigned int)counter < COUNTER_COUNT);
	return descriptions[counter].name;
}

const char *
counter_sentence(enum counter counter)
{
	CHECK((unsigned int)counter < COUNTER_COUNT);
	return descriptions[counter].sentence;
}
