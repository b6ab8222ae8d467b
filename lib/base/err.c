/* Names and sentences of the verdicts, generated from err.def. */
#include "base/err.h"

#include "base/check.h"

struct description {
	const char *name;
	const char *sentence;
	enum err_severity severity;
};

static const struct description descriptions[ERR_COUNT] = {
	[ERR_OK] = { "ok", "Success.", ERR_SEVERITY_NOTE },
	[ERR_MORE] = { "more", "More input is needed.", ERR_SEVERITY_NOTE },
#define ERR(name, severity, sentence) [ERR_##name] = { #name, sentence, ERR_SEVERITY_##severity },
#include "base/err.def"
#undef ERR
};

const char *
err_name(enum err verdict)
{
	CHECK((unsigned int)verdict < ERR_COUNT);
	return descriptions[verdict].name;
}

const char *
err_sentence(enum err verdict)
{
	CHECK((unsigned int)verdict < ERR_COUNT);
	return descriptions[verdict].sentence;
}

enum err_severity
err_severity(enum err verdict)
{
	CHECK((unsigned int)verdict < ERR_COUNT);
	return descriptions[verdict].severity;
}
