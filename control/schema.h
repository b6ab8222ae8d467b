#pragma once

/*
 * schema: the store's tables, as forward migrations. Step i takes a store from version i to i + 1; a released one
 * is never edited, only followed by another. Every step has a text for each driver; PostgreSQL began with
 * SCHEMA_POSTGRES_FIRST, its earlier steps are NULL and that one makes everything.
 */
#define SCHEMA_VERSION 14

#define SCHEMA_POSTGRES_FIRST 5

extern const char *const schema_migrations[SCHEMA_VERSION]; /* SQLite's */
extern const char *const schema_postgres[SCHEMA_VERSION];

/* Class of our advisory locks; the second number says which: 1 migrations, 2 the catalogue. */
#define POSTGRES_LOCKS "1399616884"
