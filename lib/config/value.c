/* Scalars: numbers with units, addresses, choices; every refusal says what to write instead. */
#include "config/value.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "config/config.h"

#define WORD_MAX 32 /* longest word that a suggestion is looked for */

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit duration_units[] = {
	{ "ns", 1 },
	{ "us", NSEC_PER_USEC },
	{ "ms", NSEC_PER_MSEC },
	{ "s", NSEC_PER_SEC },
	{ "min", 60 * NSEC_PER_SEC },
	{ "h", 3600 * NSEC_PER_SEC },
	{ "d", 86400 * NSEC_PER_SEC },
	{ NULL, 0 },
};

static const struct unit size_units[] = {
	{ "B", 1 }, { "KiB", KIB }, { "MiB", MIB }, { "GiB", (uint64_t)1024 * MIB }, { NULL, 0 },
};

__attribute__((format(printf, 2, 3))) static bool
refuse(char complaint[VALUE_COMPLAINT_BYTES], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(complaint, VALUE_COMPLAINT_BYTES, format, arguments);
	va_end(arguments);
	return false;
}

/* Levenshtein distance of two words of at most WORD_MAX characters, row by row. */
static size_t
distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1];
	size_t b_len = strlen(b);

	for (size_t j = 0; j <= b_len; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= b_len; j++) {
			size_t changed = diagonal + (tolower(a[i - 1]) != tolower(b[j - 1]));
			size_t shorter = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;

			diagonal = row[j];
			row[j] = changed < shorter ? changed : shorter;
		}
	}
	return row[b_len];
}

const char *
value_nearest(const char *word, const char *const *names)
{
	const char *nearest = NULL;
	size_t len = strlen(word);
	size_t best =
		len <= 4 ? 2 : len / 3 + 1; /* as many wrong letters as one still recognises */

	if (len > WORD_MAX)
		return NULL;
	best++;
	for (; *names != NULL; names++) {
		size_t wrong = strlen(*names) <= WORD_MAX ? distance(word, *names) : SIZE_MAX;

		if (wrong < best && wrong < strlen(*names)) {
			best = wrong;
			nearest = *names;
		}
	}
	return nearest;
}

/* Digits at the front of text; *rest stands behind them. */
static bool
parse_digits(const char *text, uint64_t *number, const char **rest)
{
	uint64_t sum = 0;

	if (!isdigit((unsigned char)*text))
		return false;
	for (; isdigit((unsigned char)*text); text++)
		if (__builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(*text - '0'), &sum))
			return false;
	*number = sum;
	*rest = text;
	return true;
}

static bool
parse_count(const struct key *key, const char *text, uint64_t *number, char *complaint)
{
	const char *rest;

	if (!parse_digits(text, number, &rest) || *rest != '\0')
		return refuse(complaint, "'%s' is not a whole number", text);
	if (*number < key->min || *number > key->max)
		return refuse(complaint, "%s is out of bounds; write %" PRIu64 " to %" PRIu64, text,
			      key->min, key->max);
	return true;
}

static const struct unit *
largest_unit_of(uint64_t number, const struct unit *units)
{
	const struct unit *unit = units;

	for (const struct unit *u = units; u->name != NULL; u++)
		if (number >= u->factor && number % u->factor == 0)
			unit = u;
	return unit;
}

static bool
parse_with_unit(const struct key *key, const char *text, const struct unit *units,
		const char *examples, uint64_t *number, char *complaint)
{
	const struct unit *unit = units;
	const char *rest;

	if (!parse_digits(text, number, &rest))
		return refuse(complaint, "'%s' is not a %s; write %s", text,
			      schema_type_name(key->type), examples);
	while (*rest == ' ')
		rest++;
	while (unit->name != NULL && strcmp(unit->name, rest) != 0)
		unit++;
	if (unit->name == NULL)
		return refuse(complaint, "'%s' has %s; write %s", text,
			      *rest == '\0' ? "no unit" : "an unknown unit", examples);
	if (__builtin_mul_overflow(*number, unit->factor, number) || *number < key->min ||
	    *number > key->max) {
		const struct unit *low = largest_unit_of(key->min, units);
		const struct unit *high = largest_unit_of(key->max, units);

		return refuse(complaint,
			      "%s is out of bounds; write %" PRIu64 "%s to %" PRIu64 "%s", text,
			      key->min / low->factor, low->name, key->max / high->factor,
			      high->name);
	}
	return true;
}

static bool
parse_bool(const char *text, bool *truth, char *complaint)
{
	static const char *const yes[] = { "yes", "true", "on" };
	static const char *const no[] = { "no", "false", "off" };

	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*truth = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	return refuse(complaint, "'%s' is neither yes nor no", text);
}

static bool
parse_choice(const struct key *key, const char *text, unsigned int *index, char *complaint)
{
	const char *nearest = value_nearest(text, key->choices);
	char all[VALUE_COMPLAINT_BYTES / 2] = "";

	for (unsigned int i = 0; key->choices[i] != NULL; i++) {
		if (strcmp(text, key->choices[i]) == 0) {
			*index = i;
			return true;
		}
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i > 0 ? ", " : "",
			 key->choices[i]);
	}
	if (nearest != NULL)
		return refuse(complaint, "'%s' is not one of: %s; did you mean '%s'?", text, all,
			      nearest);
	return refuse(complaint, "'%s' is not one of: %s", text, all);
}

/* Four bytes of IPv4 stand at the end of a mapped address (RFC 4291 section 2.5.5.2). */
static bool
parse_ip(const char *text, struct config_address *address)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	memset(address, 0, sizeof(*address));
	address->is_set = true;
	if (inet_pton(AF_INET, text, address->ip + 12) == 1) {
		memcpy(address->ip, mapped, sizeof(mapped));
		address->is_ip4 = true;
		address->prefix_bits = 32;
		return true;
	}
	address->prefix_bits = 128;
	return inet_pton(AF_INET6, text, address->ip) == 1 &&
	       memcmp(address->ip, mapped, sizeof(mapped)) != 0;
}

static bool
parse_address(const struct key *key, const char *text, struct config_address *address,
	      char *complaint)
{
	bool may_lack = key->fallback != NULL &&
			(strcmp(key->fallback, "any") == 0 || strcmp(key->fallback, "none") == 0);

	if (may_lack && strcmp(text, key->fallback) == 0) {
		memset(address, 0, sizeof(*address));
		return true;
	}
	if (!parse_ip(text, address))
		return refuse(complaint,
			      "'%s' is not an IP address; write one like 192.0.2.1 or 2001:db8::1",
			      text);
	if (key->min != 0 && address->is_ip4 != (key->min == 4))
		return refuse(complaint, "%s is not an IPv%u address", text,
			      (unsigned int)key->min);
	return true;
}

static bool
parse_network(const char *text, struct config_address *address, char *complaint)
{
	char ip[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	const char *rest = "";
	uint64_t bits = 0;

	if (slash == NULL || (size_t)(slash - text) >= sizeof(ip))
		return refuse(complaint, "'%s' has no prefix length; write one like 192.0.2.1/24",
			      text);
	memcpy(ip, text, (size_t)(slash - text));
	ip[slash - text] = '\0';
	if (!parse_ip(ip, address) || !parse_digits(slash + 1, &bits, &rest) || *rest != '\0')
		return refuse(complaint,
			      "'%s' is not an address with its network; write one like "
			      "192.0.2.1/24 or 2001:db8::1/64",
			      text);
	if (bits > address->prefix_bits)
		return refuse(complaint, "/%" PRIu64 " is out of bounds; write /0 to /%u", bits,
			      address->prefix_bits);
	address->prefix_bits = (uint8_t)bits;
	return true;
}

static bool
parse_text(const struct key *key, const char *text, const char *folder, char *field,
	   char *complaint)
{
	bool is_relative = key->type == KEY_PATH && text[0] != '/' && text[0] != '\0';
	size_t len = strlen(text) + (is_relative ? strlen(folder) : 0);

	if (text[0] == '\0' && key->min > 0)
		return refuse(complaint, "must not be empty");
	if (len > key->max)
		return refuse(complaint, "is longer than %" PRIu64 " characters", key->max);
	for (const char *c = text; *c != '\0'; c++)
		if (iscntrl((unsigned char)*c))
			return refuse(complaint, "has a control character in it");
	CHECK(len < key->bytes);
	snprintf(field, key->bytes, "%s%s", is_relative ? folder : "", text);
	return true;
}

bool
value_parse(const struct key *key, const char *text, const char *folder, void *field,
	    char complaint[VALUE_COMPLAINT_BYTES])
{
	struct config_address address;
	unsigned int index = 0;
	uint64_t number = 0;
	bool truth = false;
	bool fine = false;

	switch (key->type) {
	case KEY_TEXT:
	case KEY_PATH:
		return parse_text(key, text, folder, field, complaint);
	case KEY_COUNT:
		fine = parse_count(key, text, &number, complaint);
		if (fine)
			*(uint32_t *)field = (uint32_t)number;
		break;
	case KEY_PORT:
		fine = parse_count(key, text, &number, complaint);
		if (fine)
			*(uint16_t *)field = (uint16_t)number;
		break;
	case KEY_SIZE:
		fine = parse_with_unit(key, text, size_units, "one like 64MiB or 512KiB", &number,
				       complaint);
		if (fine)
			*(uint64_t *)field = number;
		break;
	case KEY_DURATION:
		fine = parse_with_unit(key, text, duration_units, "one like 75s or 500ms", &number,
				       complaint);
		if (fine)
			*(uint64_t *)field = number;
		break;
	case KEY_BOOL:
		fine = parse_bool(text, &truth, complaint);
		if (fine)
			*(bool *)field = truth;
		break;
	case KEY_CHOICE:
		fine = parse_choice(key, text, &index, complaint);
		if (fine)
			*(unsigned int *)field = index;
		break;
	case KEY_ADDRESS:
	case KEY_NETWORK:
		fine = key->type == KEY_ADDRESS ? parse_address(key, text, &address, complaint) :
						  parse_network(text, &address, complaint);
		if (fine)
			*(struct config_address *)field = address;
		break;
	case KEY_SECTION:
	case KEY_LIST:
		CHECK(false);
	}
	return fine;
}

static void
print_with_unit(uint64_t number, const struct unit *units, const char *zero, char *text, size_t room)
{
	const struct unit *unit = largest_unit_of(number, units);

	if (number == 0)
		snprintf(text, room, "%s", zero);
	else
		snprintf(text, room, "%" PRIu64 "%s", number / unit->factor, unit->name);
}

static void
print_address(const struct key *key, const struct config_address *address, char *text, size_t room)
{
	char ip[INET6_ADDRSTRLEN];

	if (!address->is_set) {
		snprintf(text, room, "%s", key->fallback != NULL ? key->fallback : "");
		return;
	}
	inet_ntop(address->is_ip4 ? AF_INET : AF_INET6, address->ip + (address->is_ip4 ? 12 : 0), ip, sizeof(ip));
	if (key->type == KEY_NETWORK)
		snprintf(text, room, "%s/%u", ip, address->prefix_bits);
	else
		snprintf(text, room, "%s", ip);
}

void
value_print(const struct key *key, const void *field, char *text, size_t room)
{
	switch (key->type) {
	case KEY_TEXT:
	case KEY_PATH:
		snprintf(text, room, "%s", (const char *)field);
		break;
	case KEY_COUNT:
		snprintf(text, room, "%" PRIu32, *(const uint32_t *)field);
		break;
	case KEY_PORT:
		snprintf(text, room, "%u", *(const uint16_t *)field);
		break;
	case KEY_SIZE:
		print_with_unit(*(const uint64_t *)field, size_units, "0B", text, room);
		break;
	case KEY_DURATION:
		print_with_unit(*(const uint64_t *)field, duration_units, "0s", text, room);
		break;
	case KEY_BOOL:
		snprintf(text, room, "%s", *(const bool *)field ? "yes" : "no");
		break;
	case KEY_CHOICE:
		snprintf(text, room, "%s", key->choices[*(const unsigned int *)field]);
		break;
	case KEY_ADDRESS:
	case KEY_NETWORK:
		print_address(key, field, text, room);
		break;
	case KEY_SECTION:
	case KEY_LIST:
		CHECK(false);
	}
}
