#pragma once

#include <yyjson.h>

/* openapi: the OpenAPI 3.1 document of the admin API, made from the table of calls and the nouns' fields. */

yyjson_mut_val *openapi_make(yyjson_mut_doc *doc);
