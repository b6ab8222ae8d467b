/* Field by field. */
#include "dataplane/settings.h"

#include <string.h>

#include "base/check.h"
#include "dataplane/bounds.h"
#include "http/sse.h"
#include "json/scan.h"
#include "limit/retry.h"

/* A worker that offers HTTP/2 has memory for some connections. */
#define H2_BYTES_MIN MIB

CHECK_STATIC(CONFIG_HEAD_BYTES_MAX <= H1_HEAD_BYTES_MAX && CONFIG_LINE_BYTES_MAX <= H1_LINE_BYTES_MAX &&
		     CONFIG_FIELD_BYTES_MAX <= H1_FIELD_BYTES_MAX && CONFIG_FIELDS_MAX <= H1_FIELDS_MAX,
	     "a head that is allowed has room");
CHECK_STATIC(CONFIG_JSON_DEPTH_MAX <= JSON_DEPTH_MAX && CONFIG_JSON_KEYS_MAX <= JSON_TOP_LEVEL_KEYS_MAX,
	     "a body that is allowed has room");
CHECK_STATIC(CONFIG_EVENT_BYTES_MAX <= EVENT_BYTES_MAX && CONFIG_EVENT_LINE_BYTES_MAX <= SSE_LINE_BYTES_MAX,
	     "an event that is allowed has room");
CHECK_STATIC(CONFIG_TRIES_MAX <= TRIES_MAX && CONFIG_RETRY_BURST_MAX <= RETRY_BURST_MAX,
	     "a request remembers all its tries, and the budget of them does not overflow");

static struct worker_times
times_of(const struct config *config)
{
	return (struct worker_times){
		.handshake_ns = config->timeouts.handshake_ns,
		.header_ns = config->timeouts.head_ns,
		.idle_ns = config->timeouts.idle_ns,
		.body_ns = config->timeouts.body_ns,
		.stall_ns = config->timeouts.stall_ns,
		.connect_ns = config->timeouts.connect_ns,
		.connect_tls_ns = config->timeouts.connect_tls_ns,
		.response_head_ns = config->timeouts.response_head_ns,
		.first_event_ns = config->timeouts.first_event_ns,
		.between_events_ns = config->timeouts.between_events_ns,
		.keep_alive_ns = config->timeouts.keep_alive_ns,
		.upstream_idle_ns = config->timeouts.upstream_idle_ns,
		.request_ns = config->timeouts.request_ns,
		.body_grace_ns = config->timeouts.body_grace_ns,
		.body_total_ns = config->timeouts.body_total_ns,
		.h2_idle_ns = config->timeouts.http2_idle_ns,
		.h2_window_ns = config->timeouts.http2_window_ns,
	};
}

static struct worker_limits
limits_of(const struct config *config)
{
	return (struct worker_limits){
		.per_source = (config->limits.per_source + config->workers - 1) / config->workers,
		.handshakes = config->limits.handshakes,
		.handshakes_per_source = config->limits.handshakes_per_source,
		.requests = config->limits.requests,
		.head = { (uint32_t)config->limits.head_bytes, (uint32_t)config->limits.request_line_bytes,
			  (uint32_t)config->limits.field_bytes, config->limits.fields },
		.json_depth = config->limits.json_depth,
		.json_keys = config->limits.json_keys,
		.hold_tokens = config->limits.hold_tokens,
		.hold_tokens_max = config->limits.hold_tokens_max,
		.body_rate_bytes = config->limits.body_rate_bytes,
		.event_bytes = (uint32_t)config->limits.event_bytes,
		.event_line_bytes = (uint32_t)config->limits.event_line_bytes,
	};
}

static struct route_limits
routing_of(const struct config *config)
{
	return (struct route_limits){
		.tries = config->routing.tries,
		.retry_percent = config->routing.retry_percent,
		.retry_burst = config->routing.retry_burst,
		.eject_errors = config->routing.eject_errors,
		.eject_time_ns = config->routing.eject_time_ns,
		.eject_time_ns_max = config->routing.eject_time_max_ns,
		.eject_percent = config->routing.eject_percent,
		.busy_ns = config->routing.busy_ns,
	};
}

static struct h2_limits
h2_of(const struct config *config)
{
	uint64_t bytes = config->http2.memory_bytes / config->workers;
	bool offered = false;

	for (uint32_t i = 0; i < config->listener_count; i++)
		offered |= config->listeners[i].http2;
	return (struct h2_limits){
		.bytes = !offered ? 0 : bytes < H2_BYTES_MIN ? H2_BYTES_MIN : bytes,
		.connection_bytes = config->http2.connection_bytes,
		.streams = config->http2.streams,
		.streams_unauthenticated = config->http2.streams_unauthenticated,
		.stream_window_bytes = (uint32_t)config->http2.stream_window_bytes,
		.connection_window_bytes = (uint32_t)config->http2.connection_window_bytes,
		.frame_bytes = (uint32_t)config->http2.frame_bytes,
		.table_bytes = (uint32_t)config->http2.header_table_bytes,
		.acks = config->http2.acks,
		.progress_bytes = (uint32_t)config->http2.progress_bytes,
		.guard = { .resets = config->http2.resets,
			   .resets_percent = config->http2.resets_percent,
			   .resets_after = config->http2.resets_after,
			   .continuations = config->http2.continuations,
			   .empty_frames = config->http2.empty_frames,
			   .controls = config->http2.controls,
			   .priorities = config->http2.priorities,
			   .updates = config->http2.updates },
	};
}

static void
fill_surface(const struct config_surface *from, struct worker_surface *to)
{
	to->enabled = from->enabled;
	to->validate_strict = from->validate == CONFIG_VALIDATE_STRICT;
	to->prefix = from->prefix;
	to->key_prefix = from->key_prefix;
	to->header_prefix = from->header_prefix;
	to->requests_per_minute = from->requests_per_minute;
	to->body_bytes_max = from->body_bytes_max;
	to->upload_bytes_max = from->upload_bytes_max;
	to->file_bytes_max = from->file_bytes_max;
	to->refusal_form = from->errors == CONFIG_ERRORS_CODES ? REFUSAL_FORM_CODES : REFUSAL_FORM_OPENAI;
	to->reset_is_unix = from->reset == CONFIG_RESET_UNIX;
	to->cors = from->cors;
	to->tells_overhead = from->overhead;
}

static void
fill_listeners(const struct config *config, struct worker_config *worker)
{
	worker->listener_count = config->listener_count;
	for (uint32_t i = 0; i < config->listener_count; i++) {
		struct listener *listener = &worker->listeners[i];

		if (config->listeners[i].address.is_set)
			memcpy(listener->address.byte, config->listeners[i].address.ip, 16);
		listener->port = config->listeners[i].port;
		listener->tls = true;
		listener->http2 = config->listeners[i].http2;
	}
}

void
settings_fill(const struct config *config, struct worker_config *worker)
{
	worker->times = times_of(config);
	worker->limits = limits_of(config);
	worker->routing = routing_of(config);
	worker->h2 = h2_of(config);
	fill_listeners(config, worker);
	fill_surface(&config->surfaces.ecolink, &worker->surfaces[SHM_SURFACE_ECOLINK]);
	fill_surface(&config->surfaces.infer, &worker->surfaces[SHM_SURFACE_INFER]);
	fill_surface(&config->surfaces.third, &worker->surfaces[SHM_SURFACE_THIRD]);
	fill_surface(&config->surfaces.fourth, &worker->surfaces[SHM_SURFACE_FOURTH]);
	worker->proxy_bytes_max = config->limits.proxy_bytes_max;
}

static const char *
keep(struct settings_texts *texts, const char *text)
{
	for (uint32_t i = 0; i < texts->count; i++)
		if (strcmp(texts->text[i], text) == 0)
			return texts->text[i];
	if (texts->count == SETTINGS_TEXTS_MAX)
		return NULL;
	CHECK(strlen(text) < CONFIG_PATH_BYTES);
	memcpy(texts->text[texts->count], text, strlen(text) + 1);
	return texts->text[texts->count++];
}

bool
settings_keep(struct settings_texts *texts, struct worker_config *worker)
{
	for (int i = 0; i < SHM_SURFACE_COUNT; i++) {
		struct worker_surface *surface = &worker->surfaces[i];

		surface->prefix = keep(texts, surface->prefix);
		surface->key_prefix = keep(texts, surface->key_prefix);
		surface->header_prefix = keep(texts, surface->header_prefix);
		surface->cors = keep(texts, surface->cors);
		if (surface->prefix == NULL || surface->key_prefix == NULL || surface->header_prefix == NULL ||
		    surface->cors == NULL)
			return false;
	}
	return true;
}
