#pragma once

#include "json/scan.h"

/*
 * validate: what a chat request's fields must be (the rows of validate.c). A JSON null counts as absent.
 *
 * ERR_JSON_MISSING_FIELD or ERR_JSON_BAD_FIELD name *culprit and lend a *sentence (static memory).
 */
enum err json_validate_chat(const struct json_result *result, enum json_field *culprit,
			    const char **sentence);

/* Only what the router itself reads: model, stream. */
enum err json_validate_model(const struct json_result *result, enum json_field *culprit,
			     const char **sentence);
