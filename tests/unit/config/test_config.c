/* What operators read when their file is wrong, and what the programs get when it is right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/units.h"
#include "config/config.h"
#include "config/schema.h"

/* The least that a file must say. */
#define PORTS "ports: [{device: net_tap0, addresses: [192.0.2.1/24]}]\n"
#define SHARED(keys) "ports: [{device: net_tap0, addresses: [192.0.2.1/24], exception: {" keys "}}]\n"
#define LISTENERS "listeners: [{certificates: [{chain: c.pem, key: k.pem}]}]\n"

struct heard {
	char text[32768];
	uint32_t lines;
};

static void
hear(void *owner, const char *text)
{
	struct heard *heard = owner;
	size_t len = strlen(heard->text);

	snprintf(heard->text + len, sizeof(heard->text) - len, "%s\n", text);
	heard->lines++;
}

static struct config config;
static struct heard heard;

static enum err
parse(const char *text)
{
	struct config_complaints complaints = { .line = hear, .owner = &heard };

	memset(&config, 0xaa, sizeof(config));
	memset(&heard, 0, sizeof(heard));
	return config_parse(&config, "etc/sluice.yaml", bytes_from_text(text), &complaints);
}

/* The whole file has exactly this to complain about. */
static void
refuses(const char *text, const char *complaint)
{
	char line[1024];

	assert_int_equal(parse(text), ERR_CONFIG_INVALID);
	snprintf(line, sizeof(line), "etc/sluice.yaml:%s\n", complaint);
	assert_string_equal(heard.text, line);
	assert_int_equal(config.workers, 0xaaaaaaaa);
}

#define IS(member, value) \
	{ \
		#member, offsetof(struct config, member), sizeof(((struct config *)0)->member), value \
	}
#define SEC NSEC_PER_SEC
#define SURFACE(name, on, rate, body, form, unit) \
	IS(surfaces.name.enabled, on), IS(surfaces.name.requests_per_minute, rate), \
		IS(surfaces.name.body_bytes_max, body), \
		IS(surfaces.name.upload_bytes_max, 26 * MIB), IS(surfaces.name.file_bytes_max, 25 * MIB), \
		IS(surfaces.name.validate, CONFIG_VALIDATE_STRICT), IS(surfaces.name.errors, form), \
		IS(surfaces.name.reset, unit), IS(surfaces.name.overhead, false)
#define PEER(name, patience, most) \
	IS(tcp.name.keep_alive_ns, 60 * SEC), IS(tcp.name.keep_alive_step_ns, 10 * SEC), \
		IS(tcp.name.keep_alive_probes, 3), IS(tcp.name.user_timeout_ns, patience), \
		IS(tcp.name.receive_start_bytes, 64 * KIB), IS(tcp.name.receive_max_bytes, most)

/* The client contract's numbers, and what each guard against attacks (tests/README.md) holds to. */
static const struct expected {
	const char *name;
	size_t offset;
	size_t bytes;
	uint64_t value;
} defaults[] = {
	IS(workers, 1),
	IS(dumpable, false),
	IS(idle, CONFIG_IDLE_POLL),
	IS(memory.huge_pages, CONFIG_HUGE_PAGES_AUTO),
	IS(memory.bytes, 512 * (uint64_t)MIB),
	IS(ticket_lifetime_ns, 7200 * SEC),
	IS(records, CONFIG_RECORDS_AUTO),
	IS(primitives, CONFIG_PRIMITIVES_AUTO),
	/* requests */
	IS(limits.clients, 16384),
	IS(limits.upstreams, 8192),
	IS(limits.upstream_handshakes, 256),
	IS(limits.bodies_bytes, 256 * MIB),
	IS(limits.proxy_bytes_max, 1024 * (uint64_t)MIB),
	IS(limits.per_source, 10000),
	IS(limits.handshakes, 1024),
	IS(limits.handshakes_per_source, 512),
	IS(limits.requests, 1000),
	IS(limits.request_line_bytes, 4 * KIB),
	IS(limits.head_bytes, 32 * KIB),
	IS(limits.field_bytes, 8 * KIB),
	IS(limits.fields, 100),
	IS(limits.json_depth, 128),
	IS(limits.json_keys, 256),
	IS(limits.hold_tokens, 1024),
	IS(limits.hold_tokens_max, 1048576),
	IS(limits.body_rate_bytes, 4 * KIB),
	IS(limits.event_bytes, 256 * KIB),
	IS(limits.event_line_bytes, MIB),
	/* HTTP/2 */
	IS(http2.memory_bytes, 256 * MIB),
	IS(http2.connection_bytes, 384 * KIB),
	IS(http2.streams, 100),
	IS(http2.streams_unauthenticated, 32),
	IS(http2.stream_window_bytes, 64 * KIB),
	IS(http2.connection_window_bytes, MIB),
	IS(http2.frame_bytes, 16384),
	IS(http2.header_table_bytes, 4096),
	IS(http2.progress_bytes, KIB),
	IS(http2.resets, 100),
	IS(http2.resets_percent, 50),
	IS(http2.resets_after, 100),
	IS(http2.continuations, 5),
	IS(http2.empty_frames, 1),
	IS(http2.controls, 1000),
	IS(http2.acks, 1000),
	IS(http2.priorities, 100),
	IS(http2.updates, 10),
	/* TCP */
	PEER(clients, 60 * SEC, 4 * MIB),
	PEER(backends, 15 * SEC, 128 * KIB),
	IS(tcp.send_bytes, 512 * KIB),
	IS(tcp.mss_min, 216),
	IS(tcp.path_mtu_min, 552),
	IS(tcp.syn_acks, 3),
	IS(tcp.asks_for_ecn, false),
	IS(tcp.half_open, 0),
	IS(tcp.time_wait, 0),
	IS(tcp.time_wait_time_ns, 60 * SEC),
	IS(tcp.fin_wait_time_ns, 30 * SEC),
	IS(tcp.orphans, 0),
	/* times */
	IS(timeouts.handshake_ns, 5 * SEC),
	IS(timeouts.head_ns, 10 * SEC),
	IS(timeouts.body_ns, 30 * SEC),
	IS(timeouts.body_grace_ns, 10 * SEC),
	IS(timeouts.body_total_ns, 300 * SEC),
	IS(timeouts.stall_ns, 30 * SEC),
	IS(timeouts.idle_ns, 75 * SEC),
	IS(timeouts.http2_idle_ns, 300 * SEC),
	IS(timeouts.http2_window_ns, 60 * SEC),
	IS(timeouts.connect_ns, 1 * SEC),
	IS(timeouts.connect_tls_ns, 2 * SEC),
	IS(timeouts.response_head_ns, 30 * SEC),
	IS(timeouts.first_event_ns, 60 * SEC),
	IS(timeouts.between_events_ns, 60 * SEC),
	IS(timeouts.keep_alive_ns, 15 * SEC),
	IS(timeouts.upstream_idle_ns, 30 * SEC),
	IS(timeouts.request_ns, 1800 * SEC),
	IS(timeouts.drain_ns, 1800 * SEC),
	/* routing */
	IS(routing.tries, 3),
	IS(routing.retry_percent, 20),
	IS(routing.retry_burst, 50),
	IS(routing.eject_errors, 3),
	IS(routing.eject_time_ns, 1 * SEC),
	IS(routing.eject_time_max_ns, 30 * SEC),
	IS(routing.eject_percent, 100),
	IS(routing.busy_ns, 1 * SEC),
	/* surfaces */
	SURFACE(ecolink, true, 200, 32 * MIB, CONFIG_ERRORS_OPENAI, CONFIG_RESET_SECONDS),
	SURFACE(infer, true, 60, 1 * MIB, CONFIG_ERRORS_CODES, CONFIG_RESET_UNIX),
	SURFACE(third, false, 200, 32 * MIB, CONFIG_ERRORS_OPENAI, CONFIG_RESET_SECONDS),
	SURFACE(fourth, false, 200, 32 * MIB, CONFIG_ERRORS_OPENAI, CONFIG_RESET_SECONDS),
	/* control */
	IS(spool.segment_bytes, 64 * MIB),
	IS(spool.size_bytes, UINT64_C(16) << 30),
	IS(admin.port, 9900),
	IS(capacity.keys, 100000),
	IS(capacity.accounts, 10000),
	IS(capacity.plans, 1000),
	IS(capacity.models, 1000),
	IS(capacity.aliases, 1000),
	IS(capacity.prices, 10000),
	IS(capacity.instances, 10000),
	IS(capacity.deployments, 20000),
	IS(capacity.pods, 20000),
	IS(capacity.regions, 64),
	IS(probes.interval_ns, 1 * SEC),
	IS(probes.jitter_percent, 10),
	IS(probes.timeout_ns, 1 * SEC),
	IS(probes.rise, 2),
	IS(probes.fall, 3),
	IS(probes.resolve_ns, 30 * SEC),
	IS(log.level, CONFIG_LEVEL_INFO),
};

static uint64_t
number_at(size_t offset, size_t bytes)
{
	uint64_t value = 0;

	/* All machines that this is built for begin with the low byte. */
	assert_true(bytes <= sizeof(value));
	memcpy(&value, (const uint8_t *)&config + offset, bytes);
	return value;
}

static bool
is_number(const struct key *key)
{
	return key->type == KEY_COUNT || key->type == KEY_PORT || key->type == KEY_SIZE ||
	       key->type == KEY_DURATION || key->type == KEY_BOOL || key->type == KEY_CHOICE;
}

/* Numbers among the keys, each of which the table must have. */
static size_t
count_numbers(const struct key *keys)
{
	size_t count = 0;

	for (const struct key *key = keys; key->name != NULL; key++) {
		bool is_there = false;

		if (key->type == KEY_SECTION)
			count += count_numbers(key->inside);
		if (!is_number(key))
			continue;
		for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
			is_there |= defaults[i].offset == key->offset;
		if (!is_there)
			fail_msg("the table of defaults lacks '%s'", key->name);
		count++;
	}
	return count;
}

static void
a_small_file_gets_every_default(void **state)
{
	(void)state;
	assert_int_equal(parse(PORTS LISTENERS), ERR_OK);
	assert_string_equal(heard.text, "");
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		if (number_at(defaults[i].offset, defaults[i].bytes) != defaults[i].value)
			fail_msg("%s is %llu", defaults[i].name,
				 (unsigned long long)number_at(defaults[i].offset, defaults[i].bytes));
	assert_int_equal(count_numbers(schema_root), sizeof(defaults) / sizeof(defaults[0]));
}

static void
texts_and_elements_have_defaults_too(void **state)
{
	(void)state;
	assert_int_equal(parse(PORTS LISTENERS), ERR_OK);
	assert_string_equal(config.instance, "sluice");
	assert_string_equal(config.cores, "");
	assert_int_equal(config.eal_extra_count, 0);
	assert_int_equal(config.port_count, 1);
	assert_string_equal(config.ports[0].device, "net_tap0");
	assert_int_equal(config.ports[0].address_count, 1);
	assert_int_equal(config.ports[0].mtu, 1500);
	assert_int_equal(config.ports[0].vlan, 0);
	assert_int_equal(config.ports[0].offload.tcp_checksum, CONFIG_OFFLOAD_AUTO);
	assert_int_equal(config.ports[0].offload.tso, CONFIG_OFFLOAD_AUTO);
	assert_string_equal(config.ports[0].exception.tap, "");
	assert_false(config.ports[0].gateway4.is_set);
	assert_int_equal(config.listener_count, 1);
	assert_false(config.listeners[0].address.is_set);
	assert_int_equal(config.listeners[0].port, 443);
	assert_true(config.listeners[0].http2);
	assert_string_equal(config.surfaces.ecolink.prefix, "/v1");
	assert_string_equal(config.surfaces.ecolink.key_prefix, "eco_");
	assert_string_equal(config.surfaces.ecolink.header_prefix, "x-ecolink-");
	assert_string_equal(config.surfaces.ecolink.cors, "");
	assert_string_equal(config.surfaces.infer.prefix, "/api/v1");
	assert_string_equal(config.surfaces.infer.key_prefix, "sk-infer-");
	assert_string_equal(config.surfaces.infer.header_prefix, "x-infer-");
	assert_string_equal(config.probes.path, "/health");
	assert_true(config.admin.address.is_ip4);
}

static void
comments_of_a_waiting_stream_are_off_or_apart(void **state)
{
	(void)state;
	refuses(PORTS LISTENERS "timeouts: {keep_alive: 99ms}\n",
		"3:24: error: keep_alive: must be 0s, which is never, or at least 100ms");
	assert_int_equal(parse(PORTS LISTENERS "timeouts: {keep_alive: 0s}\n"), ERR_OK);
	assert_int_equal(parse(PORTS LISTENERS "timeouts: {keep_alive: 100ms}\n"), ERR_OK);
}

static void
keys_of_http2_hold_each_other(void **state)
{
	(void)state;
	refuses(PORTS LISTENERS "http2: {connection_window: 64KiB, stream_window: 65KiB}\n",
		"3:50: error: stream_window: must not be larger than connection_window");
	refuses(PORTS LISTENERS "http2: {connection: 64KiB, header_table: 5KiB}\n",
		"3:42: error: header_table: must not be larger than a sixteenth of connection");
	assert_int_equal(parse(PORTS LISTENERS "http2: {connection: 1MiB, header_table: 64KiB}\n"), ERR_OK);
	refuses(PORTS LISTENERS "http2: {frame: 16383B}\n",
		"3:16: error: frame: 16383B is out of bounds; write 16KiB to 256KiB");
}

static void
values_arrive_as_written(void **state)
{
	const uint8_t ip4[16] = { [10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1 };
	const uint8_t ip6[16] = { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 };

	(void)state;
	assert_int_equal(parse("instance: edge\n"
			       "workers: 4\n"
			       "idle: sleep\n"
			       "memory: {huge_pages: no, size: 2 GiB}\n"
			       "eal_extra: [--log-level=8, \"-n 4\"]\n"
			       "ports:\n"
			       "  - device: '0000:81:00.0'\n"
			       "    addresses:\n"
			       "      - 192.0.2.1/24\n"
			       "      - 2001:db8::1/64\n"
			       "    gateway4: 192.0.2.254\n"
			       "    gateway6: fe80::1\n"
			       "listeners:\n"
			       "  - port: 8443\n"
			       "    address: 2001:db8::1\n"
			       "    certificates:\n"
			       "      - {chain: c.pem, key: /etc/k.pem}\n"
			       "      - {chain: d.pem, key: e.pem}\n"
			       "timeouts: {idle: 2min, connect: 250ms}\n"
			       "surfaces: {infer: {enabled: no, validate: model-only, "
			       "cors: https://a.example http://localhost:3000}}\n"),
			 ERR_OK);
	assert_string_equal(config.instance, "edge");
	assert_int_equal(config.workers, 4);
	assert_int_equal(config.idle, CONFIG_IDLE_SLEEP);
	assert_int_equal(config.memory.huge_pages, CONFIG_HUGE_PAGES_NO);
	assert_int_equal(config.memory.bytes, 2048 * (uint64_t)MIB);
	assert_int_equal(config.eal_extra_count, 2);
	assert_string_equal(config.eal_extra[1], "-n 4");
	assert_int_equal(config.ports[0].address_count, 2);
	assert_memory_equal(config.ports[0].addresses[0].ip, ip4, 16);
	assert_int_equal(config.ports[0].addresses[0].prefix_bits, 24);
	assert_memory_equal(config.ports[0].addresses[1].ip, ip6, 16);
	assert_int_equal(config.ports[0].addresses[1].prefix_bits, 64);
	assert_true(config.ports[0].gateway6.is_set);
	assert_int_equal(config.listeners[0].port, 8443);
	assert_int_equal(config.listeners[0].certificate_count, 2);
	assert_string_equal(config.listeners[0].certificates[0].chain, "etc/c.pem");
	assert_string_equal(config.listeners[0].certificates[0].key, "/etc/k.pem");
	assert_string_equal(config.listeners[0].certificates[1].key, "etc/e.pem");
	assert_int_equal(config.timeouts.idle_ns, 120 * NSEC_PER_SEC);
	assert_int_equal(config.timeouts.connect_ns, 250 * NSEC_PER_MSEC);
	assert_false(config.surfaces.infer.enabled);
	assert_int_equal(config.surfaces.infer.validate, CONFIG_VALIDATE_MODEL_ONLY);
	assert_string_equal(config.surfaces.infer.cors, "https://a.example http://localhost:3000");
	assert_string_equal(config.surfaces.ecolink.cors, "");
}

static void
a_surface_is_configuration(void **state)
{
	(void)state;
	assert_int_equal(parse(PORTS LISTENERS "surfaces: {third: {enabled: yes, prefix: /x/v2, key_prefix: x-, "
					       "header_prefix: x-x-, errors: codes, reset: unix}}\n"), ERR_OK);
	assert_true(config.surfaces.third.enabled);
	assert_false(config.surfaces.fourth.enabled);
	assert_string_equal(config.surfaces.third.prefix, "/x/v2");
	assert_int_equal(config.surfaces.third.errors, CONFIG_ERRORS_CODES);
	assert_int_equal(config.surfaces.third.reset, CONFIG_RESET_UNIX);
	assert_int_equal(config.surfaces.ecolink.errors, CONFIG_ERRORS_OPENAI);
	assert_int_equal(config.surfaces.ecolink.reset, CONFIG_RESET_SECONDS);
	assert_int_equal(config.surfaces.infer.errors, CONFIG_ERRORS_CODES);
	assert_int_equal(config.surfaces.infer.reset, CONFIG_RESET_UNIX);
	refuses(PORTS LISTENERS "surfaces: {third: {enabled: yes, header_prefix: X-Third-}}\n",
		"3:49: error: header_prefix: must be lower-case letters, digits and '-', and end with '-'");
	refuses(PORTS LISTENERS "surfaces: {third: {enabled: yes, header_prefix: x-third}}\n",
		"3:49: error: header_prefix: must be lower-case letters, digits and '-', and end with '-'");
	refuses(PORTS LISTENERS "surfaces: {third: {enabled: yes, header_prefix: \"x: y-\"}}\n",
		"3:50: error: header_prefix: must be lower-case letters, digits and '-', and end with '-'");
	refuses(PORTS LISTENERS "surfaces: {third: {enabled: yes, prefix: /v1/x}}\n",
		"3:42: error: prefix: its paths would be those of surface ecolink");
	refuses(PORTS LISTENERS "surfaces: {third: {enabled: yes, prefix: /api/v1}}\n",
		"3:42: error: prefix: its paths would be those of surface infer");
	assert_int_equal(parse(PORTS LISTENERS "surfaces: {third: {prefix: /v1}}\n"), ERR_OK);
	assert_int_equal(parse(PORTS LISTENERS "surfaces: {third: {enabled: yes, prefix: /v1x}}\n"), ERR_OK);
}

static void
origins_are_written_as_browsers_write_them(void **state)
{
	static const char complaint[] = "3:26: error: cors: must be *, or origins such as "
					"https://console.example with single spaces between";

	(void)state;
	refuses(PORTS LISTENERS "surfaces: {infer: {cors: console.example}}\n", complaint);
	refuses(PORTS LISTENERS "surfaces: {infer: {cors: https://a.example/}}\n", complaint);
	refuses(PORTS LISTENERS "surfaces: {infer: {cors: https://a.example  https://b.example}}\n", complaint);
	refuses(PORTS LISTENERS "surfaces: {infer: {cors: https://a.example *}}\n", complaint);
	refuses(PORTS LISTENERS "surfaces: {infer: {cors: x://}}\n", complaint);
	assert_int_equal(parse(PORTS LISTENERS "surfaces: {infer: {cors: '*'}}\n"), ERR_OK);
}

static void
an_unknown_key_gets_the_nearest_known_one(void **state)
{
	(void)state;
	refuses(PORTS LISTENERS "wokers: 2\n",
		"3:1: error: unknown key 'wokers'; did you mean 'workers'?");
	refuses(PORTS LISTENERS "timeouts: {idel: 75s}\n",
		"3:12: error: unknown key 'idel'; did you mean 'idle'?");
	refuses(PORTS LISTENERS "store:\n  zzzzzzzz: x\n",
		"4:3: error: unknown key 'zzzzzzzz'; keys here: path, connection");
}

static void
a_wrong_value_is_named_with_its_place_and_its_bounds(void **state)
{
	(void)state;
	refuses(PORTS LISTENERS "workers: 0\n",
		"3:10: error: workers: 0 is out of bounds; write 1 to 64");
	refuses(PORTS LISTENERS "workers: 99999999999999999999\n",
		"3:10: error: workers: '99999999999999999999' is not a whole number");
	refuses(PORTS LISTENERS "workers: two\n",
		"3:10: error: workers: 'two' is not a whole number");
	refuses(PORTS LISTENERS "workers: [1]\n",
		"3:1: error: workers: expected a number, found a list");
	refuses(PORTS LISTENERS "timeouts: {idle: 75}\n",
		"3:18: error: idle: '75' has no unit; write one like 75s or 500ms");
	refuses(PORTS LISTENERS "timeouts: {idle: 75 sec}\n",
		"3:18: error: idle: '75 sec' has an unknown unit; write one like 75s or 500ms");
	refuses(PORTS LISTENERS "timeouts: {idle: 2d}\n",
		"3:18: error: idle: 2d is out of bounds; write 100ms to 1d");
	refuses(PORTS LISTENERS "memory: {size: 18446744073709551615GiB}\n",
		"3:16: error: size: 18446744073709551615GiB is out of bounds; write 64MiB to "
		"1024GiB");
	refuses(PORTS LISTENERS "idle: slep\n",
		"3:7: error: idle: 'slep' is not one of: poll, sleep; did you mean 'sleep'?");
	refuses(PORTS LISTENERS "surfaces: {infer: {enabled: maybe}}\n",
		"3:29: error: enabled: 'maybe' is neither yes nor no");
	refuses(PORTS LISTENERS "instance: ''\n", "3:12: error: instance: must not be empty");
	refuses(PORTS LISTENERS "instance: \"a\\tb\"\n",
		"3:12: error: instance: has a control character in it");
	refuses(PORTS LISTENERS "instance: a/b\n", "3:11: error: instance: must not contain '/'");
	refuses(PORTS LISTENERS "memory: 5\n",
		"3:9: error: memory: expected a mapping of keys to values; keys here: huge_pages, size");
}

static void
a_value_left_empty_is_a_complaint_not_a_default(void **state)
{
	(void)state;
	assert_int_equal(parse(PORTS LISTENERS "workers:\n"), ERR_CONFIG_INVALID);
	assert_int_equal(heard.lines, 1);
	assert_int_equal(parse(PORTS LISTENERS "workers: ~\n"), ERR_CONFIG_INVALID);
	assert_int_equal(heard.lines, 1);
	assert_int_equal(parse("ports:\n" LISTENERS), ERR_CONFIG_INVALID);
	assert_int_equal(heard.lines, 1);
}

#define NOT_OF_THIS_MACHINE                                                                         \
	"address: must be of this machine (127.0.0.0/8 or ::1): the token goes over it in clear; reach it " \
	"from elsewhere through a tunnel, or a proxy with TLS"

static void
addresses_must_be_addresses(void **state)
{
	(void)state;
	refuses("ports: [{device: a, addresses: [192.0.2.1]}]\n" LISTENERS,
		"1:33: error: addresses: '192.0.2.1' has no prefix length; write one like "
		"192.0.2.1/24");
	refuses("ports: [{device: a, addresses: [192.0.2.1/33]}]\n" LISTENERS,
		"1:33: error: addresses: /33 is out of bounds; write /0 to /32");
	refuses("ports: [{device: a, addresses: [192.0.2.300/24]}]\n" LISTENERS,
		"1:33: error: addresses: '192.0.2.300/24' is not an address with its network; "
		"write one "
		"like 192.0.2.1/24 or 2001:db8::1/64");
	refuses("ports: [{device: a, addresses: [192.0.2.1/24], gateway4: fe80::1}]\n" LISTENERS,
		"1:58: error: gateway4: fe80::1 is not an IPv4 address");
	refuses("ports: [{device: a, addresses: [192.0.2.1/24], gateway4: 192.0.3.1}]\n" LISTENERS,
		"1:58: error: gateway4: is in none of the port's networks");
	refuses(PORTS LISTENERS "admin: {address: localhost}\n",
		"3:18: error: address: 'localhost' is not an IP address; write one like 192.0.2.1 "
		"or "
		"2001:db8::1");
	refuses(PORTS LISTENERS "admin: {address: 0.0.0.0}\n", "3:18: error: " NOT_OF_THIS_MACHINE);
	refuses(PORTS LISTENERS "admin: {address: 192.0.2.1}\n", "3:18: error: " NOT_OF_THIS_MACHINE);
	refuses(PORTS LISTENERS "admin: {address: \"::\"}\n", "3:19: error: " NOT_OF_THIS_MACHINE);
	refuses(PORTS LISTENERS "admin: {address: any}\n",
		"3:18: error: address: 'any' is not an IP address; write one like 192.0.2.1 or "
		"2001:db8::1");
}

static void
missing_and_superfluous_elements_are_counted(void **state)
{
	(void)state;
	refuses(LISTENERS, "1:1: error: 'ports' is missing; Network ports.");
	refuses("ports: []\n" LISTENERS, "1:1: error: ports: needs at least 1 element");
	refuses("ports: {device: a}\n" LISTENERS,
		"1:1: error: ports: expected a list; write each element after a '-'");
	refuses("ports: [{device: a, addresses: [192.0.2.1/24, 192.0.2.2/24, 192.0.2.3/24, "
		"192.0.2.4/24,"
		" 192.0.2.5/24, 192.0.2.6/24, 192.0.2.7/24, 192.0.2.8/24, "
		"192.0.2.9/24]}]\n" LISTENERS,
		"1:145: error: addresses: has more than 8 elements");
	refuses(PORTS "listeners: [{certificates: [{chain: c.pem, key: k.pem}]},\n"
		      "  {port: 443, certificates: [{chain: c.pem, key: k.pem}]}]\n",
		"3:10: error: port: an earlier listener has port 443 on this address");
}

static void
ports_and_listeners_have_hosts_addresses_each_once(void **state)
{
	(void)state;
	refuses("ports: [{device: a, addresses: [192.0.2.0/24]}]\n" LISTENERS,
		"1:33: error: addresses: is its network's own or broadcast address; write one "
		"between them");
	refuses("ports: [{device: a, addresses: [192.0.2.127/25]}]\n" LISTENERS,
		"1:33: error: addresses: is its network's own or broadcast address; write one "
		"between them");
	assert_int_equal(parse("ports: [{device: a, addresses: [192.0.2.0/31]}]\n" LISTENERS), ERR_OK);
	assert_int_equal(parse("ports: [{device: a, addresses: [192.0.3.0/23, 10.0.0.255/16, '2001:db8::/64']}]\n"
			       LISTENERS),
			 ERR_OK);
	refuses("ports: [{device: a, addresses: [192.0.2.1/24]}, {device: b, addresses: [192.0.2.1/25]}]\n"
		LISTENERS,
		"1:73: error: addresses: is there twice");
	refuses("ports: [{device: 'net_tap0,iface=x', addresses: [192.0.2.1/24]},"
		" {device: 'net_tap0,iface=y', addresses: [192.0.3.1/24]}]\n" LISTENERS,
		"1:76: error: device: an earlier port is net_tap0; number them: net_tap0, net_tap1");
	refuses(PORTS "listeners: [{address: 192.0.2.77, certificates: [{chain: c.pem, key: k.pem}]}]\n",
		"2:23: error: address: is no address of a port; write one of them, or any");
}

static void
every_complaint_of_a_file_is_made_at_once(void **state)
{
	(void)state;
	assert_int_equal(parse("workers: 0\nidle: spin\nfoo: 1\n" PORTS), ERR_CONFIG_INVALID);
	assert_int_equal(heard.lines, 4);
}

static void
broken_yaml_is_refused_with_its_place(void **state)
{
	(void)state;
	assert_int_equal(parse("ports: [\nlisteners: x\n"), ERR_CONFIG_INVALID);
	assert_true(strncmp(heard.text, "etc/sluice.yaml:", 16) == 0);
	assert_non_null(strstr(heard.text, ": error: "));
	assert_null(strstr(heard.text, ":0:"));
	assert_int_equal(parse(PORTS LISTENERS "workers: 1\nworkers: 2\n"), ERR_CONFIG_INVALID);
	assert_non_null(strstr(heard.text, "duplicate"));
	refuses("", "1:1: error: holds no mapping of keys to values");
	refuses("# nothing\n", "1:1: error: holds no mapping of keys to values");
	assert_int_equal(parse("- a\n- b\n"), ERR_CONFIG_INVALID);
	assert_int_equal(heard.lines, 1);
	refuses("workers: &w 2\n" PORTS LISTENERS,
		"1:13: error: workers: anchors and aliases are not read here; write the value");
}

static void
a_file_that_is_not_there_is_a_complaint(void **state)
{
	struct config_complaints complaints = { .line = hear, .owner = &heard };

	(void)state;
	memset(&heard, 0, sizeof(heard));
	assert_int_equal(config_load(&config, "/nonexistent/sluice.yaml", &complaints),
			 ERR_CONFIG_UNREADABLE);
	assert_string_equal(heard.text, "/nonexistent/sluice.yaml:1:1: error: cannot be opened: "
					"No such file or directory\n");
}

static void
a_file_is_read_like_its_text(void **state)
{
	struct config_complaints complaints = { .line = hear, .owner = &heard };
	char path[] = "/tmp/test_config_XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");

	(void)state;
	assert_non_null(file);
	fputs(PORTS LISTENERS "workers: 3\n", file);
	fclose(file);
	memset(&heard, 0, sizeof(heard));
	assert_int_equal(config_load(&config, path, &complaints), ERR_OK);
	unlink(path);
	assert_int_equal(config.workers, 3);
	assert_string_equal(config.listeners[0].certificates[0].chain, "/tmp/c.pem");
}

static void
the_reference_has_every_key_with_its_default(void **state)
{
	struct config_complaints to = { .line = hear, .owner = &heard };

	(void)state;
	memset(&heard, 0, sizeof(heard));
	config_print_reference(&to);
	assert_non_null(strstr(heard.text, "workers: (number 1 to 64, default 1, restart)\n"));
	assert_non_null(strstr(heard.text, "    idle: (duration, default 75s, live)\n"));
	assert_non_null(strstr(heard.text, "    device: (text, required, restart)\n"));
	assert_non_null(strstr(heard.text, "        chain: (path, required, drain)\n"));
}

static void
what_a_port_does_and_whom_it_shares_with_can_be_said(void **state)
{
	(void)state;
	assert_int_equal(parse("ports: [{device: net_tap0, addresses: [192.0.2.1/24], vlan: 77, mtu: 9000,\n"
			       "  offload: {tso: off, tcp_checksum: on}, exception: {tap: sluice0, rate: 500}}]\n"
			       "tcp: {clients: {keep_alive: 0s}, backends: {receive_max: 16MiB}}\n" LISTENERS),
			 ERR_CONFIG_INVALID);
	assert_string_equal(heard.text, "etc/sluice.yaml:3:58: error: receive_max: 16MiB is out of bounds; "
					"write 32KiB to 16776960B\n");
	assert_int_equal(parse("ports: [{device: net_tap0, addresses: [192.0.2.1/24], vlan: 77, mtu: 9000,\n"
			       "  offload: {tso: off, tcp_checksum: on}, exception: {tap: sluice0, rate: 500}}]\n"
			       "tcp: {clients: {keep_alive: 0s}, backends: {receive_max: 8MiB},\n"
			       "  ecn: yes}\n" LISTENERS),
			 ERR_OK);
	assert_true(config.tcp.asks_for_ecn);
	assert_int_equal(config.ports[0].vlan, 77);
	assert_int_equal(config.ports[0].mtu, 9000);
	assert_int_equal(config.ports[0].offload.tso, CONFIG_OFFLOAD_OFF);
	assert_int_equal(config.ports[0].offload.tcp_checksum, CONFIG_OFFLOAD_ON);
	assert_int_equal(config.ports[0].offload.ip_checksum, CONFIG_OFFLOAD_AUTO);
	assert_string_equal(config.ports[0].exception.tap, "sluice0");
	assert_int_equal(config.ports[0].exception.rate, 500);
	assert_int_equal(config.ports[0].exception.queue, 256);
	assert_int_equal(config.tcp.clients.keep_alive_ns, 0);
	assert_int_equal(config.tcp.backends.receive_max_bytes, 8 * MIB);
}

static void
what_computes_tls_can_be_forced(void **state)
{
	(void)state;
	assert_int_equal(parse(PORTS LISTENERS "tls: {records: ipsec-mb, primitives: libcrypto}\n"), ERR_OK);
	assert_int_equal(config.records, CONFIG_RECORDS_IPSEC_MB);
	assert_int_equal(config.primitives, CONFIG_PRIMITIVES_LIBCRYPTO);
	assert_int_equal(parse(PORTS LISTENERS "tls: {primitives: crypto_mb}\n"), ERR_OK);
	assert_int_equal(config.primitives, CONFIG_PRIMITIVES_CRYPTO_MB);
	assert_int_equal(parse(PORTS LISTENERS "tls: {records: mbedtls, primitives: mbedtls}\n"), ERR_OK);
	assert_int_equal(config.records, CONFIG_RECORDS_MBEDTLS);
	assert_int_equal(config.primitives, CONFIG_PRIMITIVES_MBEDTLS);
	refuses(PORTS LISTENERS "tls:\n  records: libcrypto\n",
		"4:12: error: records: 'libcrypto' is not one of: auto, vaes, ipsec-mb, mbedtls");
}

static void
a_window_that_shrinks_and_a_tap_without_a_name_are_refused(void **state)
{
	(void)state;
	refuses(PORTS LISTENERS "tcp:\n  clients:\n    receive_start: 1MiB\n    receive_max: 64KiB\n",
		"5:20: error: receive_start: must not be larger than receive_max");
	refuses(SHARED("tap: a/b") LISTENERS,
		"1:72: error: tap: 'a/b' cannot be the name of an interface");
	refuses(SHARED("tap: abcdefghijklmnop") LISTENERS, "1:72: error: tap: is longer than 15 characters");
	refuses(SHARED("tap: k0, rate: 0") LISTENERS,
		"1:82: error: rate: 0 is out of bounds; write 1 to 10000000");
	refuses(SHARED("tap: k0, queue: 1025") LISTENERS,
		"1:83: error: queue: 1025 is out of bounds; write 1 to 1024");
	refuses(SHARED("name: k0") LISTENERS, "1:67: error: unknown key 'name'; did you mean 'rate'?");
	refuses("ports:\n"
		"  - {device: net_tap0, addresses: [192.0.2.1/24], exception: {tap: k0}}\n"
		"  - {device: net_tap1, addresses: [192.0.3.1/24], exception: {tap: k0}}\n" LISTENERS,
		"3:68: error: tap: an earlier port has k0");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_file_gets_every_default),
		cmocka_unit_test(texts_and_elements_have_defaults_too),
		cmocka_unit_test(keys_of_http2_hold_each_other),
		cmocka_unit_test(comments_of_a_waiting_stream_are_off_or_apart),
		cmocka_unit_test(values_arrive_as_written),
		cmocka_unit_test(what_a_port_does_and_whom_it_shares_with_can_be_said),
		cmocka_unit_test(what_computes_tls_can_be_forced),
		cmocka_unit_test(a_window_that_shrinks_and_a_tap_without_a_name_are_refused),
		cmocka_unit_test(a_surface_is_configuration),
		cmocka_unit_test(origins_are_written_as_browsers_write_them),
		cmocka_unit_test(an_unknown_key_gets_the_nearest_known_one),
		cmocka_unit_test(a_wrong_value_is_named_with_its_place_and_its_bounds),
		cmocka_unit_test(a_value_left_empty_is_a_complaint_not_a_default),
		cmocka_unit_test(addresses_must_be_addresses),
		cmocka_unit_test(missing_and_superfluous_elements_are_counted),
		cmocka_unit_test(ports_and_listeners_have_hosts_addresses_each_once),
		cmocka_unit_test(every_complaint_of_a_file_is_made_at_once),
		cmocka_unit_test(broken_yaml_is_refused_with_its_place),
		cmocka_unit_test(a_file_that_is_not_there_is_a_complaint),
		cmocka_unit_test(a_file_is_read_like_its_text),
		cmocka_unit_test(the_reference_has_every_key_with_its_default),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
