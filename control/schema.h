#pragma once

/*
 * schema: the store's tables, as forward migrations. migration i takes a store from user_version i to i + 1;
 * a released one is never edited, only followed by another.
 */
#define SCHEMA_VERSION 9

extern const char *const schema_migrations[SCHEMA_VERSION];
