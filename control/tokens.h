#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api.h"

/*
 * tokens: who may call the admin API: the bearers of the token in admin.token_file, and of the one in
 * admin.read_only_token_file, who may only read.
 *
 * Memory: the caller's; tokens_forget() wipes it.
 */
#define TOKEN_BYTES_MIN 16
#define TOKEN_BYTES_MAX 256
#define TOKEN_FINGERPRINT_BYTES 9

struct token {
	char text[TOKEN_BYTES_MAX]; /* the rest is zero */
	size_t len;                 /* 0: there is none */
};

struct tokens {
	struct token admin;
	struct token read_only;
};

/* A file that is not there is made with a random token. read_only_path may be "": no such token. False: why is
 * logged. */
bool tokens_read(struct tokens *tokens, const char *admin_path, const char *read_only_path);
void tokens_forget(struct tokens *tokens);

/* What an Authorization field's value (NULL: none) allows. Takes the same time for every value of a length. */
enum api_role tokens_role(const struct tokens *tokens, const char *authorization);

/* Tells tokens apart in the audit without telling them: 8 digits, keyed by the store's pepper. */
void tokens_fingerprint(const struct tokens *tokens, enum api_role role, const uint8_t pepper[32],
			char text[TOKEN_FINGERPRINT_BYTES]);
