#include "tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/log.h"
#include "tls/keyhash.h"

static bool
make_file(const char *path)
{
	int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	uint8_t random[24];
	char text[2 * sizeof(random) + 2];
	bool done;

	if (file < 0)
		return false;
	if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
		close(file);
		return false;
	}
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(text + 2 * i, 3, "%02x", random[i]);
	text[2 * sizeof(random)] = '\n';
	done = write(file, text, 2 * sizeof(random) + 1) == (ssize_t)(2 * sizeof(random) + 1);
	done = fsync(file) == 0 && done;
	close(file);
	return done;
}

static bool
read_text(struct token *token, int file)
{
	ssize_t len = read(file, token->text, sizeof(token->text) - 1);

	while (len > 0 && (token->text[len - 1] == '\n' || token->text[len - 1] == '\r'))
		len--;
	token->len = len > 0 ? (size_t)len : 0;
	memset(token->text + token->len, 0, sizeof(token->text) - token->len);
	return token->len >= TOKEN_BYTES_MIN;
}

static bool
read_token(struct token *token, const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	bool good;

	if (file < 0 && errno == ENOENT && make_file(path)) {
		LOG_INFO("admin_token_made", LOG_TEXT("file", path));
		file = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (file < 0) {
		LOG_ERROR("admin_token_unreadable", LOG_TEXT("file", path),
			  LOG_TEXT("why", strerror(errno)));
		return false;
	}
	good = read_text(token, file);
	if (!good)
		LOG_ERROR("admin_token_too_short", LOG_TEXT("file", path),
			  LOG_NUMBER("bytes_min", TOKEN_BYTES_MIN));
	if (fstat(file, &status) == 0 && (status.st_mode & 077) != 0)
		LOG_WARN("admin_token_readable_by_others", LOG_TEXT("file", path));
	close(file);
	return good;
}

bool
tokens_read(struct tokens *tokens, const char *admin_path, const char *read_only_path)
{
	*tokens = (struct tokens){ .admin.len = 0 };
	if (!read_token(&tokens->admin, admin_path) ||
	    (read_only_path[0] != '\0' && !read_token(&tokens->read_only, read_only_path)))
		return false;
	if (memcmp(&tokens->admin, &tokens->read_only, sizeof(tokens->admin)) == 0) {
		LOG_ERROR("admin_tokens_same", LOG_TEXT("file", read_only_path));
		return false;
	}
	return true;
}

void
tokens_forget(struct tokens *tokens)
{
	explicit_bzero(tokens, sizeof(*tokens));
}

/* All bytes are looked at, wherever the first difference is. given is as long as a token's text and zero behind
 * its end. */
static bool
is_token(const struct token *token, const char given[TOKEN_BYTES_MAX])
{
	unsigned difference = token->len == 0;

	for (size_t i = 0; i < TOKEN_BYTES_MAX; i++)
		difference |= (unsigned char)(given[i] ^ token->text[i]);
	return difference == 0;
}

enum api_role
tokens_role(const struct tokens *tokens, const char *authorization)
{
	static const char scheme[] = "Bearer ";
	char given[TOKEN_BYTES_MAX] = "";
	bool is_admin, is_read_only;
	size_t len;

	if (authorization == NULL || strncasecmp(authorization, scheme, sizeof(scheme) - 1) != 0)
		return API_ANYBODY;
	authorization += sizeof(scheme) - 1;
	len = strlen(authorization);
	if (len >= sizeof(given))
		return API_ANYBODY;
	memcpy(given, authorization, len);
	is_admin = is_token(&tokens->admin, given);
	is_read_only = is_token(&tokens->read_only, given);
	explicit_bzero(given, sizeof(given));
	return is_admin ? API_ADMIN : is_read_only ? API_READ : API_ANYBODY;
}

void
tokens_fingerprint(const struct tokens *tokens, enum api_role role, const uint8_t pepper[32],
		   char text[TOKEN_FINGERPRINT_BYTES])
{
	const struct token *token = role == API_ADMIN ? &tokens->admin : &tokens->read_only;
	uint8_t hash[KEYHASH_BYTES];

	keyhash_make(pepper, bytes_make(token->text, token->len), hash);
	for (size_t i = 0; i < (TOKEN_FINGERPRINT_BYTES - 1) / 2; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
}
