/*
 * sluice.yaml to struct config: walks the YAML tree along the schema, mapping by mapping. Every
 * complaint names the place; nothing stops at the first one. What is absent gets the schema's
 * default through the same parser that reads the file.
 */
#include "config/config.h"

#include <errno.h>
#include <inttypes.h>
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "config/schema.h"
#include "config/value.h"

#define FILE_BYTES_MAX (1024 * 1024)
#define LINE_BYTES 1024
#define KEYS_MAX 64 /* of one table */
#define VALUE_BYTES 512 /* longest scalar; longer than any field takes */

struct reader {
	const char *name; /* of the file */
	char folder[CONFIG_PATH_BYTES];
	const struct config_complaints *complaints;
	uint32_t complaint_count;
};

/* A place in the file; line and column count from 0 as libfyaml does. */
struct place {
	int line;
	int column;
};

__attribute__((format(printf, 3, 4))) static void
complain(struct reader *r, struct place place, const char *format, ...)
{
	char text[LINE_BYTES];
	va_list arguments;
	int len;

	len = snprintf(text, sizeof(text), "%s:%d:%d: error: ", r->name, place.line + 1,
		       place.column + 1);
	if (len < 0 || (size_t)len >= sizeof(text))
		len = 0;
	va_start(arguments, format);
	vsnprintf(text + len, sizeof(text) - (size_t)len, format, arguments);
	va_end(arguments);
	r->complaints->line(r->complaints->owner, text);
	r->complaint_count++;
}

/* Where a scalar stands; other nodes have no token of their own, so the caller says what is near.
 */
static struct place
place_of(struct fy_node *node, struct place near)
{
	struct fy_token *token = fy_node_is_scalar(node) ? fy_node_get_scalar_token(node) : NULL;
	const struct fy_mark *mark = token != NULL ? fy_token_start_mark(token) : NULL;

	return mark != NULL ? (struct place){ mark->line, mark->column } : near;
}

static const struct key *
find_key(const struct key *table, const char *name)
{
	for (; table->name != NULL; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

/* "a, b, c"; names too, if it is not NULL. */
static void
list_keys(const struct key *table, char all[LINE_BYTES / 2], const char *names[KEYS_MAX])
{
	size_t count = 0;

	all[0] = '\0';
	for (; table->name != NULL; table++) {
		CHECK(count + 1 < KEYS_MAX);
		if (names != NULL)
			names[count] = table->name;
		snprintf(all + strlen(all), LINE_BYTES / 2 - strlen(all), "%s%s",
			 count > 0 ? ", " : "", table->name);
		count++;
	}
}

static void
complain_unknown(struct reader *r, struct place place, const struct key *table, const char *name)
{
	const char *names[KEYS_MAX] = { NULL };
	char all[LINE_BYTES / 2];
	const char *nearest;

	list_keys(table, all, names);
	nearest = value_nearest(name, names);
	if (nearest != NULL)
		complain(r, place, "unknown key '%s'; did you mean '%s'?", name, nearest);
	else
		complain(r, place, "unknown key '%s'; keys here: %s", name, all);
}

/* The scalar's text with a NUL behind it. False: complained. */
static bool
scalar_text(struct reader *r, const struct key *key, struct fy_node *node, struct place place,
	    char text[VALUE_BYTES])
{
	const char *bytes;
	size_t len = 0;

	if (fy_node_is_alias(node) || fy_node_get_anchor(node) != NULL) {
		complain(r, place, "%s: anchors and aliases are not read here; write the value",
			 key->name);
		return false;
	}
	if (!fy_node_is_scalar(node)) {
		complain(r, place, "%s: expected a %s, found a %s", key->name,
			 schema_type_name(key->type),
			 fy_node_is_mapping(node) ? "mapping" : "list");
		return false;
	}
	bytes = fy_node_get_scalar(node, &len);
	if (bytes == NULL || len >= VALUE_BYTES || memchr(bytes, '\0', len) != NULL) {
		complain(r, place, "%s: has no value, or one that is too long", key->name);
		return false;
	}
	memcpy(text, bytes, len);
	text[len] = '\0';
	return true;
}

static void
read_scalar(struct reader *r, const struct key *key, struct fy_node *node, struct place near,
	    void *field)
{
	char complaint[VALUE_COMPLAINT_BYTES];
	char text[VALUE_BYTES];
	struct place place = place_of(node, near);

	if (scalar_text(r, key, node, place, text) &&
	    !value_parse(key, text, r->folder, field, complaint))
		complain(r, place, "%s: %s", key->name, complaint);
}

static void read_mapping(struct reader *r, const char *name, const struct key *table,
			 struct fy_node *node, struct place place, uint8_t *base);

static void
read_list(struct reader *r, const struct key *key, struct fy_node *node, struct place near,
	  uint8_t *base)
{
	struct key element = *key->element;
	struct fy_node *item;
	void *cursor = NULL;
	uint32_t count = 0;

	element.name = key->name;
	if (!fy_node_is_sequence(node)) {
		complain(r, place_of(node, near),
			 "%s: expected a list; write each element after a '-'", key->name);
		return;
	}
	while ((item = fy_node_sequence_iterate(node, &cursor)) != NULL) {
		uint8_t *field = base + key->offset + count * key->bytes;

		if (count == key->max) {
			complain(r, place_of(item, near), "%s: has more than %" PRIu64 " elements",
				 key->name, key->max);
			return;
		}
		if (element.type == KEY_SECTION)
			read_mapping(r, element.name, element.inside, item, near, field);
		else
			read_scalar(r, &element, item, near, field);
		count++;
	}
	if (count < key->min)
		complain(r, near, "%s: needs at least %" PRIu64 " element%s", key->name, key->min,
			 key->min == 1 ? "" : "s");
	memcpy(base + key->count_offset, &count, sizeof(count));
}

/* What a key gets that the file does not have. */
static void
read_absent(struct reader *r, const struct key *key, struct place place, uint8_t *base)
{
	char complaint[VALUE_COMPLAINT_BYTES];

	if (key->type == KEY_SECTION)
		read_mapping(r, key->name, key->inside, NULL, place, base);
	else if (key->fallback == NULL)
		complain(r, place, "'%s' is missing; %s", key->name, key->help);
	else if (key->type != KEY_LIST)
		CHECK(value_parse(key, key->fallback, r->folder, base + key->offset, complaint));
}

static void
read_present(struct reader *r, const struct key *key, struct fy_node *node, struct place place,
	     uint8_t *base)
{
	if (key->type == KEY_SECTION)
		read_mapping(r, key->name, key->inside, node, place, base);
	else if (key->type == KEY_LIST)
		read_list(r, key, node, place, base);
	else
		read_scalar(r, key, node, place, base + key->offset);
}

/* node NULL: the mapping is absent, and all its keys with it. What it is called is for complaints. */
static void
read_mapping(struct reader *r, const char *called, const struct key *table, struct fy_node *node,
	     struct place place, uint8_t *base)
{
	char all[LINE_BYTES / 2];
	uint64_t seen = 0;
	struct fy_node_pair *pair;
	void *cursor = NULL;

	if (node != NULL && !fy_node_is_mapping(node)) {
		list_keys(table, all, NULL);
		complain(r, place_of(node, place), "%s: expected a mapping of keys to values; keys here: %s",
			 called, all);
		return;
	}
	while (node != NULL && (pair = fy_node_mapping_iterate(node, &cursor)) != NULL) {
		struct fy_node *name_node = fy_node_pair_key(pair);
		struct place name_place = place_of(name_node, place);
		const char *name = fy_node_get_scalar0(name_node);
		const struct key *key = name != NULL ? find_key(table, name) : NULL;

		if (seen == 0)
			place = name_place;
		if (key == NULL) {
			complain_unknown(r, name_place, table, name != NULL ? name : "");
			continue;
		}
		CHECK(key - table < KEYS_MAX);
		seen |= UINT64_C(1) << (key - table);
		read_present(r, key, fy_node_pair_value(pair), name_place, base);
	}
	for (const struct key *key = table; key->name != NULL; key++)
		if ((seen & UINT64_C(1) << (key - table)) == 0)
			read_absent(r, key, place, base);
}

/* Where a value stands that was read without complaint; without a tree, the file's begin. */
static struct place
place_at(struct fy_node *root, const char *format, ...)
{
	char path[LINE_BYTES / 4];
	struct place top = { 0, 0 };
	struct fy_node *node;
	va_list arguments;

	if (root == NULL)
		return top;
	va_start(arguments, format);
	vsnprintf(path, sizeof(path), format, arguments);
	va_end(arguments);
	node = fy_node_by_path(root, path, FY_NT, FYNWF_DONT_FOLLOW);
	return node != NULL ? place_of(node, top) : top;
}

static bool
network_has(const struct config_address *network, const struct config_address *address)
{
	uint32_t first = network->is_ip4 ? 96 : 0;

	for (uint32_t bit = 0; bit < first + network->prefix_bits; bit++) {
		uint8_t mask = (uint8_t)(0x80 >> bit % 8);

		if ((network->ip[bit / 8] & mask) != (address->ip[bit / 8] & mask))
			return false;
	}
	return network->is_ip4 == address->is_ip4;
}

static void
check_gateway(struct reader *r, struct fy_node *root, const struct config_port *port,
	      uint32_t index, const struct config_address *gateway, const char *name)
{
	for (uint32_t i = 0; gateway->is_set && i < port->address_count; i++)
		if (network_has(&port->addresses[i], gateway))
			return;
	/* A link-local gateway is on every IPv6 link (RFC 4861 section 6.3.4). */
	if (gateway->is_set && !(gateway->ip[0] == 0xfe && (gateway->ip[1] & 0xc0) == 0x80))
		complain(r, place_at(root, "/ports/%" PRIu32 "/%s", index, name),
			 "%s: is in none of the port's networks", name);
}

static bool
is_same_address(const struct config_address *a, const struct config_address *b)
{
	return memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* RFC 1122 section 3.2.1.3: an IPv4 network's first and last address are no host's; RFC 3021 has /31 without. */
static bool
is_host(const struct config_address *address)
{
	uint32_t host = 0, mask = 0;

	if (!address->is_ip4 || address->prefix_bits > 30)
		return true;
	mask = UINT32_MAX >> address->prefix_bits;
	for (int i = 12; i < 16; i++)
		host = host << 8 | address->ip[i];
	return (host & mask) != 0 && (host & mask) != mask;
}

static void
check_addresses(struct reader *r, struct fy_node *root, const struct config *config, uint32_t port)
{
	const struct config_port *late = &config->ports[port];

	for (uint32_t i = 0; i < late->address_count; i++) {
		struct place place =
			place_at(root, "/ports/%" PRIu32 "/addresses/%" PRIu32, port, i);

		if (!is_host(&late->addresses[i]))
			complain(r, place,
				 "addresses: is its network's own or broadcast address; write one "
				 "between them");
		for (uint32_t p = 0; p <= port; p++)
			for (uint32_t j = 0; j < (p < port ? config->ports[p].address_count : i); j++)
				if (is_same_address(&config->ports[p].addresses[j], &late->addresses[i]))
					complain(r, place, "addresses: is there twice");
	}
}

/* DPDK knows a port by what stands before the first comma. */
static bool
is_same_device(const char *a, const char *b)
{
	size_t len = strcspn(a, ",");

	return len == strcspn(b, ",") && strncmp(a, b, len) == 0;
}

static void
check_ports(struct reader *r, struct fy_node *root, const struct config *config)
{
	for (uint32_t i = 0; i < config->port_count; i++) {
		const struct config_port *port = &config->ports[i];

		check_gateway(r, root, port, i, &port->gateway4, "gateway4");
		check_gateway(r, root, port, i, &port->gateway6, "gateway6");
		check_addresses(r, root, config, i);
		for (uint32_t j = 0; j < i; j++)
			if (is_same_device(port->device, config->ports[j].device))
				complain(r, place_at(root, "/ports/%" PRIu32 "/device", i),
					 "device: an earlier port is %.*s; number them: net_tap0, "
					 "net_tap1",
					 (int)strcspn(port->device, ","), port->device);
	}
}

static bool
is_ours(const struct config *config, const struct config_address *address)
{
	for (uint32_t p = 0; p < config->port_count; p++)
		for (uint32_t i = 0; i < config->ports[p].address_count; i++)
			if (is_same_address(&config->ports[p].addresses[i], address))
				return true;
	return false;
}

static void
check_listeners(struct reader *r, struct fy_node *root, const struct config *config)
{
	for (uint32_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *late = &config->listeners[i];

		if (late->address.is_set && !is_ours(config, &late->address))
			complain(r, place_at(root, "/listeners/%" PRIu32 "/address", i),
				 "address: is no address of a port; write one of them, or any");

		for (uint32_t j = 0; j < i; j++) {
			const struct config_listener *early = &config->listeners[j];

			if (late->port == early->port &&
			    (!late->address.is_set || !early->address.is_set ||
			     is_same_address(&late->address, &early->address)))
				complain(r, place_at(root, "/listeners/%" PRIu32 "/port", i),
					 "port: an earlier listener has port %u on this address",
					 late->port);
		}
	}
}

/* What the kernel takes for a name, and one interface for each port. */
static void
check_exceptions(struct reader *r, struct fy_node *root, const struct config *config)
{
	for (uint32_t i = 0; i < config->port_count; i++) {
		const char *tap = config->ports[i].exception.tap;

		if (strpbrk(tap, "/ %:") != NULL || strcmp(tap, ".") == 0 || strcmp(tap, "..") == 0)
			complain(r, place_at(root, "/ports/%" PRIu32 "/exception/tap", i),
				 "tap: '%s' cannot be the name of an interface", tap);
		for (uint32_t j = 0; j < i && tap[0] != '\0'; j++)
			if (strcmp(tap, config->ports[j].exception.tap) == 0)
				complain(r, place_at(root, "/ports/%" PRIu32 "/exception/tap", i),
					 "tap: an earlier port has %s", tap);
	}
}

static void
check_tcp(struct reader *r, struct fy_node *root, const struct config_tcp_peer *peer, const char *name)
{
	if (peer->receive_start_bytes > peer->receive_max_bytes)
		complain(r, place_at(root, "/tcp/%s/receive_start", name),
			 "receive_start: must not be larger than receive_max");
}

/* Each entry of an HPACK table of 32 bytes is up to 7 times as much in memory, in both directions, beside a
 * connection's own. */
#define HEADER_TABLE_COST 16

static void
check_http2(struct reader *r, struct fy_node *root, const struct config *config)
{
	if (config->http2.stream_window_bytes > config->http2.connection_window_bytes)
		complain(r, place_at(root, "/http2/stream_window"),
			 "stream_window: must not be larger than connection_window");
	if (config->http2.header_table_bytes * HEADER_TABLE_COST > config->http2.connection_bytes)
		complain(r, place_at(root, "/http2/header_table"),
			 "header_table: must not be larger than a sixteenth of connection");
}

/* Each comment is a record and a segment of each stream that waits. */
#define COMMENTS_APART_NS (100 * NSEC_PER_MSEC)

static void
check_timeouts(struct reader *r, struct fy_node *root, const struct config *config)
{
	if (config->timeouts.keep_alive_ns > 0 && config->timeouts.keep_alive_ns < COMMENTS_APART_NS)
		complain(r, place_at(root, "/timeouts/keep_alive"),
			 "keep_alive: must be 0s, which is never, or at least 100ms");
}

/* As browsers write them: scheme, host, perhaps a port; no path. */
static bool
is_origin(const char *text, size_t len)
{
	const char *colon = memchr(text, ':', len);
	size_t host_at = colon != NULL ? (size_t)(colon - text) + 3 : len;

	return host_at < len && memcmp(colon, "://", 3) == 0 && colon > text &&
	       memchr(text + host_at, '/', len - host_at) == NULL;
}

static bool
are_origins(const char *text)
{
	size_t len = strcspn(text, " ");

	if (text[0] == '\0' || strcmp(text, "*") == 0)
		return true;
	while (is_origin(text, len)) {
		if (text[len] == '\0')
			return true;
		text += len + 1;
		len = strcspn(text, " ");
	}
	return false;
}

/* A token of HTTP (RFC 9110 5.6.2) in lower case, as HTTP/2 wants it, in front of the rest of a name. */
static bool
is_field_prefix(const char *text)
{
	size_t len = strlen(text);

	return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len && len > 1 && text[0] != '-' &&
	       text[len - 1] == '-';
}

static void
check_surface(struct reader *r, struct fy_node *root, const struct config_surface *surface,
	      const char *name)
{
	size_t len = strlen(surface->prefix);

	if (surface->prefix[0] != '/' || surface->prefix[len - 1] == '/')
		complain(r, place_at(root, "/surfaces/%s/prefix", name),
			 "prefix: must start with '/' and not end with one");
	if (!is_field_prefix(surface->header_prefix))
		complain(r, place_at(root, "/surfaces/%s/header_prefix", name),
			 "header_prefix: must be lower-case letters, digits and '-', and end with '-'");
	if (!are_origins(surface->cors))
		complain(r, place_at(root, "/surfaces/%s/cors", name),
			 "cors: must be *, or origins such as https://console.example with single spaces between");
}

/* A path below both is the first one's. */
static bool
is_below(const char *prefix, const char *other)
{
	size_t len = strlen(other);

	return strncmp(prefix, other, len) == 0 && (prefix[len] == '/' || prefix[len] == '\0');
}

static void
check_surfaces(struct reader *r, struct fy_node *root, const struct config *config)
{
	const struct {
		const char *name;
		const struct config_surface *surface;
	} all[] = { { "ecolink", &config->surfaces.ecolink },
		    { "infer", &config->surfaces.infer },
		    { "third", &config->surfaces.third },
		    { "fourth", &config->surfaces.fourth } };

	for (size_t i = 0; i < COUNT_OF(all); i++) {
		check_surface(r, root, all[i].surface, all[i].name);
		for (size_t other = 0; other < i; other++)
			if (all[i].surface->enabled && all[other].surface->enabled &&
			    is_below(all[i].surface->prefix, all[other].surface->prefix))
				complain(r, place_at(root, "/surfaces/%s/prefix", all[i].name),
					 "prefix: its paths would be those of surface %s", all[other].name);
	}
}

static bool
is_loopback(const uint8_t ip[16])
{
	static const uint8_t mapped[13] = { [10] = 0xff, [11] = 0xff, [12] = 127 };
	static const uint8_t ip6[16] = { [15] = 1 };

	return memcmp(ip, mapped, sizeof(mapped)) == 0 || memcmp(ip, ip6, sizeof(ip6)) == 0;
}

/* What no single value shows. Runs only over values that are each fine. */
static void
check_together(struct reader *r, struct fy_node *root, const struct config *config)
{
	check_ports(r, root, config);
	check_exceptions(r, root, config);
	check_tcp(r, root, &config->tcp.clients, "clients");
	check_tcp(r, root, &config->tcp.backends, "backends");
	check_listeners(r, root, config);
	check_http2(r, root, config);
	check_timeouts(r, root, config);
	check_surfaces(r, root, config);
	if (!is_loopback(config->admin.address.ip))
		complain(r, place_at(root, "/admin/address"),
			 "address: must be of this machine (127.0.0.0/8 or ::1): the token goes over it in clear; "
			 "reach it from elsewhere through a tunnel, or a proxy with TLS");
	if (strchr(config->instance, '/') != NULL)
		complain(r, place_at(root, "/instance"), "instance: must not contain '/'");
	if (config->probes.timeout_ns > config->probes.interval_ns)
		complain(r, place_at(root, "/probes/timeout"),
			 "timeout: must not be longer than the interval");
	if (config->probes.path[0] != '/')
		complain(r, place_at(root, "/probes/path"), "path: must start with '/'");
}

/* The folder of a file's name with its slash; "" for one in the current folder. */
static bool
folder_of(const char *name, char folder[CONFIG_PATH_BYTES])
{
	const char *slash = strrchr(name, '/');
	size_t len = slash != NULL ? (size_t)(slash - name) + 1 : 0;

	if (len >= CONFIG_PATH_BYTES)
		return false;
	memcpy(folder, name, len);
	folder[len] = '\0';
	return true;
}

static void
complain_syntax(struct reader *r, struct fy_diag *diag)
{
	struct fy_diag_error *error;
	void *cursor = NULL;

	while ((error = fy_diag_errors_iterate(diag, &cursor)) != NULL)
		complain(r, (struct place){ error->line - 1, error->column - 1 }, "%s", error->msg);
	if (r->complaint_count == 0)
		complain(r, (struct place){ 0, 0 }, "holds no mapping of keys to values");
}

enum err
config_parse(struct config *config, const char *name, struct bytes text,
	     const struct config_complaints *complaints)
{
	static const struct fy_diag_cfg quiet = { .level = FYET_ERROR, .module_mask = ~0u };
	struct reader r = { .name = name, .complaints = complaints };
	struct fy_document *document = NULL;
	struct fy_diag *diag = fy_diag_create(&quiet);
	struct config *fresh = calloc(1, sizeof(*fresh));
	enum err verdict = ERR_CONFIG_INVALID;

	CHECK(diag != NULL && fresh != NULL);
	fy_diag_set_collect_errors(diag, true);
	if (!folder_of(name, r.folder)) {
		complain(&r, (struct place){ 0, 0 }, "the file's path is too long");
		goto out;
	}
	document = fy_document_build_from_string(
		&(struct fy_parse_cfg){ .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG, .diag = diag },
		(const char *)text.ptr, text.len);
	if (document == NULL) {
		complain_syntax(&r, diag);
		goto out;
	}
	read_mapping(&r, "the file", schema_root, fy_document_root(document), (struct place){ 0, 0 },
		     (uint8_t *)fresh);
	if (r.complaint_count == 0)
		check_together(&r, fy_document_root(document), fresh);
	if (r.complaint_count == 0) {
		*config = *fresh;
		verdict = ERR_OK;
	}
out:
	fy_document_destroy(document);
	fy_diag_destroy(diag);
	free(fresh);
	return verdict;
}

enum err
config_check(const struct config *config, const char *name, const struct config_complaints *complaints)
{
	struct reader r = { .name = name, .complaints = complaints };

	check_together(&r, NULL, config);
	return r.complaint_count == 0 ? ERR_OK : ERR_CONFIG_INVALID;
}

enum err
config_read(const char *path, struct bytes *text, const struct config_complaints *complaints)
{
	struct reader r = { .name = path, .complaints = complaints };
	uint8_t *buffer = malloc(FILE_BYTES_MAX);
	FILE *file = fopen(path, "re");
	size_t len = 0;

	CHECK(buffer != NULL);
	if (file == NULL) {
		complain(&r, (struct place){ 0, 0 }, "cannot be opened: %s", strerror(errno));
	} else {
		len = fread(buffer, 1, FILE_BYTES_MAX, file);
		if (ferror(file) || len == FILE_BYTES_MAX)
			complain(&r, (struct place){ 0, 0 }, "cannot be read, or is longer than 1 MiB");
		fclose(file);
	}
	if (r.complaint_count > 0) {
		free(buffer);
		return ERR_CONFIG_UNREADABLE;
	}
	*text = bytes_make(buffer, len);
	return ERR_OK;
}

enum err
config_load(struct config *config, const char *path,
	    const struct config_complaints *complaints)
{
	struct bytes text;
	enum err verdict = config_read(path, &text, complaints);

	if (verdict != ERR_OK)
		return verdict;
	verdict = config_parse(config, path, text, complaints);
	free((void *)text.ptr);
	return verdict;
}
