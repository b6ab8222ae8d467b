#pragma once

#include "json/scan.h"

/*
 * validate: what the fields of a request must be. A JSON null counts as absent.
 */
enum json_path {
	JSON_PATH_ANY, /* only what the router itself reads: model, stream */
	JSON_PATH_CHAT,
	JSON_PATH_COMPLETIONS,
	JSON_PATH_RESPONSES,
	JSON_PATH_IMAGES,
	JSON_PATH_SPEECH,
	JSON_PATH_VIDEO,
};

/* ERR_JSON_MISSING_FIELD or ERR_JSON_BAD_FIELD name *culprit and lend a *sentence (static memory). */
enum err json_validate(const struct json_result *result, enum json_path path, enum json_field *culprit,
		       const char **sentence);
