/* The table: every key of sluice.yaml with its bounds, default, class and meaning. */
#include "config/schema.h"

#include "base/units.h"
#include "config/config.h"

#define FIELD(type, member) offsetof(type, member), sizeof(((type *)0)->member)
#define CONFIG(member) FIELD(struct config, member)
#define NO_FIELD 0, 0
#define END \
	{ \
		NULL, KEY_TEXT, NO_FIELD, 0, 0, NULL, KEY_RESTART, NULL, NULL, NULL, NULL, 0 \
	}

#define VALUE(name, type, field, min, max, fallback, class, help) \
	{ \
		name, type, field, min, max, fallback, class, help, NULL, NULL, NULL, 0 \
	}
#define CHOICE(name, field, choices, fallback, class, help) \
	{ \
		name, KEY_CHOICE, field, 0, 0, fallback, class, help, choices, NULL, NULL, 0 \
	}
#define SECTION(name, inside, help) \
	{ \
		name, KEY_SECTION, NO_FIELD, 0, 0, "", KEY_RESTART, help, NULL, inside, NULL, 0 \
	}
#define ELEMENT(type, inside, bytes, max) \
	{ \
		"-", type, 0, bytes, 1, max, NULL, KEY_RESTART, NULL, NULL, inside, NULL, 0 \
	}
#define LIST(name, owner, member, count, element, min, max, class, help) \
	{ \
		name, KEY_LIST, offsetof(owner, member), sizeof(((owner *)0)->member[0]), min, \
			max, (min) > 0 ? NULL : "", class, help, NULL, NULL, element, \
			offsetof(owner, count) \
	}

#define SEC NSEC_PER_SEC
#define HOUR (3600 * NSEC_PER_SEC)
#define DAY (24 * HOUR)
#define GIB ((uint64_t)1024 * MIB)
#define TEXT_MAX (CONFIG_TEXT_BYTES - 1)
#define PATH_MAX_LEN (CONFIG_PATH_BYTES - 1)
#define NAME_MAX_LEN (CONFIG_NAME_BYTES - 1)

static const char *const idle_choices[] = { "poll", "sleep", NULL };
static const char *const huge_pages_choices[] = { "auto", "yes", "no", NULL };
static const char *const records_choices[] = { "auto", "vaes", "ipsec-mb", "mbedtls", NULL };
static const char *const primitives_choices[] = { "auto", "crypto_mb", "libcrypto", "mbedtls", NULL };
static const char *const offload_choices[] = { "auto", "on", "off", NULL };
static const char *const validate_choices[] = { "strict", "model-only", NULL };
static const char *const errors_choices[] = { "openai", "codes", NULL };
static const char *const reset_choices[] = { "seconds", "unix", NULL };
static const char *const level_choices[] = { "info", "warn", "error", NULL };

static const struct key spool_keys[] = {
	VALUE("path", KEY_PATH, CONFIG(spool.path), 1, PATH_MAX_LEN, "/var/lib/sluice/spool",
	      KEY_RESTART,
	      "Folder of the usage segments that the dataplane writes and control reads."),
	VALUE("segment", KEY_SIZE, CONFIG(spool.segment_bytes), 1 * MIB, 4 * GIB, "64MiB",
	      KEY_RESTART, "Size of one segment; it is allocated whole when it is made."),
	VALUE("size", KEY_SIZE, CONFIG(spool.size_bytes), 4 * MIB, 64 * 1024 * GIB, "16GiB",
	      KEY_RESTART,
	      "Of all segments that control has not taken into the ledger yet. At 80 % of it, or of what the disk "
	      "has for them, an alarm is logged; at its end requests are refused with 503 until there is room."),
	END,
};

static const struct key memory_keys[] = {
	CHOICE("huge_pages", CONFIG(memory.huge_pages), huge_pages_choices, "auto", KEY_RESTART,
	       "Huge pages: auto uses them when the machine has enough, yes fails without them."),
	VALUE("size", KEY_SIZE, CONFIG(memory.bytes), 64 * MIB, 1024 * GIB, "512MiB", KEY_RESTART,
	      "For packets, all workers together. Connections and bodies take more, by limits and tcp; "
	      "the sum: sluice-dataplane --check."),
	END,
};

static const struct key eal_element = ELEMENT(KEY_TEXT, NULL, CONFIG_TEXT_BYTES, TEXT_MAX);
static const struct key address_element =
	ELEMENT(KEY_NETWORK, NULL, sizeof(struct config_address), 0);

#define OFFLOAD(name, help) \
	CHOICE(#name, FIELD(struct config_port, offload.name), offload_choices, "auto", KEY_RESTART, help)
static const struct key offload_keys[] = {
	OFFLOAD(receive_checksum, "Verifying what arrives: auto lets the device if it can, on fails at start "
				  "without it, off verifies in software whatever the device says."),
	OFFLOAD(ip_checksum, "IPv4 header checksums of what is sent; auto: only with tso, which needs it."),
	OFFLOAD(tcp_checksum, "TCP checksums of what is sent; auto: not by drivers that do it in software."),
	OFFLOAD(tso, "Cutting large packets into segments."),
	END,
};

static const struct key exception_keys[] = {
	VALUE("tap", KEY_TEXT, FIELD(struct config_port, exception.tap), 0, CONFIG_TAP_BYTES - 1, "",
	      KEY_RESTART,
	      "Name of a TAP interface that gets what is not ours (SSH, BGP, other addresses), and "
	      "whose frames leave by this port; empty: such frames are dropped."),
	VALUE("rate", KEY_COUNT, FIELD(struct config_port, exception.rate), 1, 10000000, "20000",
	      KEY_RESTART, "Frames per second in each direction; more are dropped and counted."),
	VALUE("queue", KEY_COUNT, FIELD(struct config_port, exception.queue), 1, 1024, "256",
	      KEY_RESTART,
	      "Frames of each worker that wait for the interface, and of the interface that wait "
	      "for the port; more are dropped and counted."),
	END,
};

static const struct key port_keys[] = {
	VALUE("device", KEY_TEXT, FIELD(struct config_port, device), 1, TEXT_MAX, NULL, KEY_RESTART,
	      "DPDK device: a PCI address (0000:81:00.0) or a software port "
	      "(net_af_packet0,iface=eth1; net_tap0; net_af_xdp0,iface=eth1)."),
	LIST("addresses", struct config_port, addresses, address_count, &address_element, 1,
	     CONFIG_ADDRESSES_MAX, KEY_RESTART, "Own addresses with their networks: 192.0.2.1/24."),
	VALUE("gateway4", KEY_ADDRESS, FIELD(struct config_port, gateway4), 4, 4, "none",
	      KEY_RESTART, "Where IPv4 packets for other networks go."),
	VALUE("gateway6", KEY_ADDRESS, FIELD(struct config_port, gateway6), 6, 6, "none",
	      KEY_RESTART, "Where IPv6 packets for other networks go."),
	VALUE("mtu", KEY_COUNT, FIELD(struct config_port, mtu), 1280, 9000, "1500", KEY_RESTART,
	      "Largest IP packet sent by this port."),
	VALUE("vlan", KEY_COUNT, FIELD(struct config_port, vlan), 0, 4094, "0", KEY_RESTART,
	      "VLAN tag of every frame of this port; 0: untagged."),
	SECTION("offload", offload_keys, "What the device does instead of the processor."),
	SECTION("exception", exception_keys, "Sharing the port with the kernel."),
	END,
};
static const struct key port_element =
	ELEMENT(KEY_SECTION, port_keys, sizeof(struct config_port), 0);

static const struct key certificate_keys[] = {
	VALUE("chain", KEY_PATH, FIELD(struct config_certificate, chain), 1, PATH_MAX_LEN, NULL,
	      KEY_DRAIN,
	      "PEM file with the server's certificate first, then the intermediate ones. Each reload reads it "
	      "again, also if only its contents have changed; no file is watched."),
	VALUE("key", KEY_PATH, FIELD(struct config_certificate, key), 1, PATH_MAX_LEN, NULL,
	      KEY_DRAIN,
	      "PEM file with its private key, without a passphrase: ECDSA on P-256 or P-384, or RSA of 2048 to "
	      "4096 bits. Read again with chain."),
	END,
};
static const struct key certificate_element =
	ELEMENT(KEY_SECTION, certificate_keys, sizeof(struct config_certificate), 0);

static const struct key listener_keys[] = {
	VALUE("address", KEY_ADDRESS, FIELD(struct config_listener, address), 0, 0, "any",
	      KEY_RESTART, "One of the ports' addresses, or any for all of them."),
	VALUE("port", KEY_PORT, FIELD(struct config_listener, port), 1, 65535, "443", KEY_RESTART,
	      "TCP port."),
	VALUE("http2", KEY_BOOL, FIELD(struct config_listener, http2), 0, 0, "yes", KEY_RESTART,
	      "Whether clients may choose HTTP/2."),
	VALUE("client_ca", KEY_PATH, FIELD(struct config_listener, client_ca), 0, PATH_MAX_LEN, "", KEY_DRAIN,
	      "PEM file with the CA certificates by which clients must show a certificate (mTLS), at most 64 of "
	      "them and 64 KiB; their API keys they need as well. Empty: clients need none. Each reload reads it "
	      "again; under other CAs tickets of before are not good, and clients who are connected are told the "
	      "end behind the request that is under way. Revocation lists are not looked at."),
	LIST("certificates", struct config_listener, certificates, certificate_count,
	     &certificate_element, 1, CONFIG_CERTIFICATES_MAX, KEY_DRAIN,
	     "Key pairs of this listener. The name that the client asks for chooses: one that has it, else one "
	     "with *. and all but its first label, else the first. For one name there may be one with an ECDSA "
	     "key, which is preferred, and one with an RSA key."),
	END,
};
static const struct key listener_element =
	ELEMENT(KEY_SECTION, listener_keys, sizeof(struct config_listener), 0);

static const struct key authority_keys[] = {
	VALUE("name", KEY_TEXT, FIELD(struct config_authority, name), 1, CONFIG_AUTHORITY_BYTES - 1, NULL,
	      KEY_LIVE, "What pods call it in tls_ca."),
	VALUE("file", KEY_PATH, FIELD(struct config_authority, file), 1, PATH_MAX_LEN, NULL, KEY_LIVE,
	      "PEM file of CA certificates, at most 512 KiB; /etc/ssl/certs/ca-certificates.crt is the system's. "
	      "Each reload reads it again, also if only its contents have changed; no file is watched."),
	END,
};
static const struct key authority_element =
	ELEMENT(KEY_SECTION, authority_keys, sizeof(struct config_authority), 0);

static const struct key tls_keys[] = {
	LIST("authorities", struct config, authorities, authority_count, &authority_element, 0,
	     CONFIG_AUTHORITIES_MAX, KEY_LIVE,
	     "Whom certificates of https pods may come from; each pod names one of them, or pins its key. After a "
	     "change of a bundle, connections that were made under it serve nobody after whom they serve now."),
	VALUE("ticket_lifetime", KEY_DURATION, CONFIG(ticket_lifetime_ns), 0, 7 * DAY, "2h",
	      KEY_RESTART, "How long a client may resume a session, at any router of the same store; 0s: no "
			   "tickets."),
	CHOICE("records", CONFIG(records), records_choices, "auto", KEY_RESTART,
	       "What encrypts and decrypts: auto takes the fastest that the build and the processor have: "
	       "ipsec-mb where the processor has AVX-512 and VAES; vaes, our own AES-GCM (x86 with AVX2, VAES and "
	       "VPCLMULQDQ); ipsec-mb elsewhere (x86 with AES-NI and PCLMULQDQ); mbedtls, which is portable and "
	       "some twenty times slower. By its name one is forced: without it the dataplane does not start. "
	       "What is in force: sluicectl status."),
	CHOICE("primitives", CONFIG(primitives), primitives_choices, "auto", KEY_RESTART,
	       "What computes the curves, signatures and hashes of handshakes: auto takes crypto_mb where the "
	       "build has it and the processor has AVX-512 IFMA: X25519, P-256, P-384 and RSA of 2048 bits for "
	       "eight handshakes at once, which wait for each other for 50 us at most, and all else by libcrypto; "
	       "then libcrypto, where the build has it; then mbedtls, which is portable and some nine times "
	       "slower. By its name one is forced, as with records."),
	END,
};

static const struct key limits_keys[] = {
	VALUE("clients", KEY_COUNT, CONFIG(limits.clients), 1, 10000000, "16384", KEY_RESTART,
	      "Client connections, all workers together."),
	VALUE("upstreams", KEY_COUNT, CONFIG(limits.upstreams), 1, 10000000, "8192", KEY_RESTART,
	      "Connections to backends, all workers together."),
	VALUE("upstream_handshakes", KEY_COUNT, CONFIG(limits.upstream_handshakes), 1, 100000, "256", KEY_RESTART,
	      "TLS handshakes with backends at once, of each worker; a try beyond it goes to another pod, or is "
	      "refused."),
	VALUE("bodies", KEY_SIZE, CONFIG(limits.bodies_bytes), 1 * MIB, 256 * GIB, "256MiB",
	      KEY_RESTART,
	      "Request bodies kept until the first byte of the answer, all workers together; each worker has at "
	      "least 32/9 of the longest body_max or upload_max, so that one account's share holds it. A quarter "
	      "is left to answers; of the rest one account has half, its answers a quarter of that; beyond it "
	      "its requests get 429. When all is full, new requests get 503, the last eighth is for accounts "
	      "that have less than 1 MiB. With 256 MiB and one worker an account may have three bodies of "
	      "20 MB on their way to an answer, all accounts together eight."),
	VALUE("proxy_body", KEY_SIZE, CONFIG(limits.proxy_bytes_max), 1 * KIB, 1024 * GIB, "1GiB",
	      KEY_LIVE,
	      "Longest request body that is passed to an instance's own API; it streams through."),
	VALUE("per_source", KEY_COUNT, CONFIG(limits.per_source), 1, 10000000, "10000", KEY_LIVE,
	      "Client connections of one IPv4 /24 or IPv6 /48, all workers together; each worker takes its "
	      "share of them."),
	VALUE("handshakes", KEY_COUNT, CONFIG(limits.handshakes), 1, 1000000, "1024", KEY_RESTART,
	      "TLS handshakes at once, of each worker, which has 48 KiB of memory for each; beyond it the one "
	      "ends that began first, of those without a ClientHello if there are any; a network that has an "
	      "eighth of them ends one of its own."),
	VALUE("handshakes_per_source", KEY_COUNT, CONFIG(limits.handshakes_per_source), 1, 1000000, "512",
	      KEY_LIVE,
	      "TLS handshakes at once of one IPv4 /24 or IPv6 /48, of each worker; beyond it the one of this "
	      "network ends that began first, however few others there are."),
	VALUE("requests", KEY_COUNT, CONFIG(limits.requests), 1, 1000000000, "1000", KEY_LIVE,
	      "Requests of one connection; the last answer says connection: close, over HTTP/2 GOAWAY."),
	VALUE("request_line", KEY_SIZE, CONFIG(limits.request_line_bytes), 64, CONFIG_LINE_BYTES_MAX, "4KiB",
	      KEY_LIVE, "Longest request line; a longer one gets 414."),
	VALUE("head", KEY_SIZE, CONFIG(limits.head_bytes), 256, CONFIG_HEAD_BYTES_MAX, "32KiB", KEY_LIVE,
	      "Request line and fields together; more get 431."),
	VALUE("field", KEY_SIZE, CONFIG(limits.field_bytes), 64, CONFIG_FIELD_BYTES_MAX, "8KiB", KEY_LIVE,
	      "One field's line; a longer one gets 431."),
	VALUE("fields", KEY_COUNT, CONFIG(limits.fields), 4, CONFIG_FIELDS_MAX, "100", KEY_LIVE,
	      "Fields of a request; more get 431."),
	VALUE("json_depth", KEY_COUNT, CONFIG(limits.json_depth), 2, CONFIG_JSON_DEPTH_MAX, "128", KEY_LIVE,
	      "Brackets inside brackets of a JSON body; a deeper one gets 400."),
	VALUE("json_keys", KEY_COUNT, CONFIG(limits.json_keys), 1, CONFIG_JSON_KEYS_MAX, "256", KEY_LIVE,
	      "Members of a JSON body's top level; more get 400."),
	VALUE("hold_tokens", KEY_COUNT, CONFIG(limits.hold_tokens), 0, 100000000, "1024", KEY_LIVE,
	      "Completion tokens whose price is held from the account's balance while a request runs that does "
	      "not say max_tokens, for models and instances without a number of their own. "
	      "What it uses beyond them is billed all the same."),
	VALUE("hold_tokens_max", KEY_COUNT, CONFIG(limits.hold_tokens_max), 1, 100000000, "1048576", KEY_LIVE,
	      "Completion tokens that are held for at most, for each of a request's answers. Below what "
	      "requests ask for, an account can be overdrawn by the difference."),
	VALUE("body_rate", KEY_SIZE, CONFIG(limits.body_rate_bytes), 0, 1 * GIB, "4KiB", KEY_LIVE,
	      "Bytes per second that a request body brings on average once timeouts.body_grace is over; a "
	      "slower client is cut off; 0B: any."),
	VALUE("event", KEY_SIZE, CONFIG(limits.event_bytes), 1 * KIB, CONFIG_EVENT_BYTES_MAX, "256KiB",
	      KEY_LIVE,
	      "What is kept of a stream's event that has not ended; a longer one passes as it comes. Answers "
	      "about video jobs are kept up to 256 KiB."),
	VALUE("event_line", KEY_SIZE, CONFIG(limits.event_line_bytes), 1 * KIB, CONFIG_EVENT_LINE_BYTES_MAX,
	      "1MiB", KEY_LIVE, "Longest line of a stream; a longer one is the backend's failure."),
	END,
};

static const struct key http2_keys[] = {
	VALUE("memory", KEY_SIZE, CONFIG(http2.memory_bytes), 1 * MIB, 256 * GIB, "256MiB", KEY_RESTART,
	      "For sessions and streams, all workers together, about 26 KiB for a connection and 1 KiB for a "
	      "stream; when it is full, new ones are refused."),
	VALUE("connection", KEY_SIZE, CONFIG(http2.connection_bytes), 64 * KIB, 16 * MIB, "384KiB",
	      KEY_LIVE, "Most of it that one connection takes."),
	VALUE("streams", KEY_COUNT, CONFIG(http2.streams), 1, 1000, "100", KEY_DRAIN,
	      "Requests at once on one connection; more are refused, to be tried again."),
	VALUE("streams_unauthenticated", KEY_COUNT, CONFIG(http2.streams_unauthenticated), 1, 1000, "32",
	      KEY_LIVE, "The same as long as none of its requests had a valid key."),
	VALUE("stream_window", KEY_SIZE, CONFIG(http2.stream_window_bytes), 16 * KIB, 16 * MIB, "64KiB",
	      KEY_DRAIN,
	      "Of a request's body, what may come before its backend takes some; it lies in limits.bodies."),
	VALUE("connection_window", KEY_SIZE, CONFIG(http2.connection_window_bytes), 64 * KIB, 64 * MIB, "1MiB",
	      KEY_DRAIN, "Of all bodies of a connection, what may be on its way; at least stream_window."),
	VALUE("frame", KEY_SIZE, CONFIG(http2.frame_bytes), 16 * KIB, 256 * KIB, "16KiB", KEY_DRAIN,
	      "Longest frame that a client may send; a longer one ends its connection."),
	VALUE("header_table", KEY_SIZE, CONFIG(http2.header_table_bytes), 0, 64 * KIB, "4KiB", KEY_DRAIN,
	      "HPACK's table of each direction; at most a sixteenth of connection."),
	VALUE("progress", KEY_SIZE, CONFIG(http2.progress_bytes), 1, 64 * KIB, "1KiB", KEY_LIVE,
	      "What a client must take of an answer that is ready within timeouts.http2_window; less, and the "
	      "stream is reset."),
	VALUE("resets", KEY_COUNT, CONFIG(http2.resets), 1, 1000000, "100", KEY_LIVE,
	      "Streams that a client may reset, or make us reset, in ten seconds; more end its connection."),
	VALUE("resets_percent", KEY_COUNT, CONFIG(http2.resets_percent), 1, 100, "50", KEY_LIVE,
	      "Share of a connection's streams that may be reset once there were resets_after; more, and it "
	      "gets no new ones; 100: any."),
	VALUE("resets_after", KEY_COUNT, CONFIG(http2.resets_after), 1, 1000000, "100", KEY_LIVE,
	      "Streams before that share is looked at."),
	VALUE("continuations", KEY_COUNT, CONFIG(http2.continuations), 1, 64, "5", KEY_DRAIN,
	      "CONTINUATION frames of one header block; more end the connection."),
	VALUE("empty_frames", KEY_COUNT, CONFIG(http2.empty_frames), 1, 1000, "1", KEY_LIVE,
	      "Frames in a row that bring nothing and end nothing; more end the connection."),
	VALUE("controls", KEY_COUNT, CONFIG(http2.controls), 10, 100000, "1000", KEY_LIVE,
	      "PING, SETTINGS and unknown frames at once, and a tenth of it per second; more end the connection."),
	VALUE("acks", KEY_COUNT, CONFIG(http2.acks), 1, 10000, "1000", KEY_DRAIN,
	      "Answers to PING and SETTINGS that wait for a client that does not read; more end its connection."),
	VALUE("priorities", KEY_COUNT, CONFIG(http2.priorities), 1, 100000, "100", KEY_LIVE,
	      "PRIORITY and PRIORITY_UPDATE frames per stream; more end the connection."),
	VALUE("updates", KEY_COUNT, CONFIG(http2.updates), 1, 100000, "10", KEY_LIVE,
	      "WINDOW_UPDATE frames for each DATA frame of ours; more end the connection."),
	END,
};

#define PEER_KEYS(peer, patience, start, most) \
	{ \
		VALUE("keep_alive", KEY_DURATION, CONFIG(tcp.peer.keep_alive_ns), 0, DAY, "60s", \
		      KEY_RESTART, \
		      "Silence after which the peer is probed; 0s: never. RFC 9293 3.8.4 wants two " \
		      "hours, and a table of dead connections would last as long."), \
			VALUE("keep_alive_step", KEY_DURATION, CONFIG(tcp.peer.keep_alive_step_ns), \
			      SEC / 10, HOUR, "10s", KEY_RESTART, \
			      "Between two probes without an answer."), \
			VALUE("keep_alive_probes", KEY_COUNT, CONFIG(tcp.peer.keep_alive_probes), 1, \
			      100, "3", KEY_RESTART, \
			      "Probes without an answer after which the connection is over."), \
			VALUE("user_timeout", KEY_DURATION, CONFIG(tcp.peer.user_timeout_ns), SEC, DAY, \
			      patience, KEY_RESTART, \
			      "How long sent data may stay unacknowledged; a window of zero counts " \
			      "as progress as long as the peer answers."), \
			VALUE("receive_start", KEY_SIZE, CONFIG(tcp.peer.receive_start_bytes), 32 * KIB, \
			      16 * MIB - 256, start, KEY_RESTART, \
			      "Receive window of a new connection; a TLS record fits."), \
			VALUE("receive_max", KEY_SIZE, CONFIG(tcp.peer.receive_max_bytes), 32 * KIB, \
			      16 * MIB - 256, most, KEY_RESTART, \
			      "What it grows to while the data is used as fast as it comes."), \
			END, \
	}
/* What a client that reads slowly holds here is a window of the backend and what is queued for the client: less
 * than 256 KB by default. For backends far away, a larger window is worth more. */
static const struct key tcp_clients_keys[] = PEER_KEYS(clients, "60s", "64KiB", "4MiB");
static const struct key tcp_backends_keys[] = PEER_KEYS(backends, "15s", "64KiB", "128KiB");
static const struct key tcp_keys[] = {
	SECTION("clients", tcp_clients_keys, "Connections that we accept."),
	SECTION("backends", tcp_backends_keys, "Connections that we open, pooled ones included."),
	VALUE("send", KEY_SIZE, CONFIG(tcp.send_bytes), 448 * KIB, 64 * MIB, "512KiB", KEY_RESTART,
	      "Most that one connection has queued to send, unacknowledged data included."),
	VALUE("mss_min", KEY_COUNT, CONFIG(tcp.mss_min), 0, 1280, "216", KEY_RESTART,
	      "SYNs that offer smaller segments are dropped; 0: none are."),
	VALUE("path_mtu_min", KEY_COUNT, CONFIG(tcp.path_mtu_min), 296, 1280, "552", KEY_RESTART,
	      "No IPv4 path is believed to carry smaller packets only, whatever ICMP says; IPv6 carries 1280."),
	VALUE("syn_acks", KEY_COUNT, CONFIG(tcp.syn_acks), 1, 10, "3", KEY_RESTART,
	      "How often a SYN-ACK is sent again, after 1, 2, 4 s and so on; then the handshake is forgotten."),
	VALUE("ecn", KEY_BOOL, CONFIG(tcp.asks_for_ecn), 0, 0, "no", KEY_RESTART,
	      "Ask backends for explicit congestion notification (RFC 3168); clients that ask for it get it "
	      "either way."),
	VALUE("half_open", KEY_COUNT, CONFIG(tcp.half_open), 0, 10000000, "0", KEY_RESTART,
	      "Handshakes remembered, all workers together; beyond it SYN cookies carry them; 0: a "
	      "quarter of limits.clients and 1024 per worker."),
	VALUE("time_wait", KEY_COUNT, CONFIG(tcp.time_wait), 0, 10000000, "0", KEY_RESTART,
	      "Connections in TIME-WAIT, all workers together; beyond it the oldest leaves; 0: as many "
	      "as limits.clients and limits.upstreams."),
	VALUE("time_wait_time", KEY_DURATION, CONFIG(tcp.time_wait_time_ns), SEC, HOUR, "60s", KEY_RESTART,
	      "How long a connection stays in TIME-WAIT."),
	VALUE("fin_wait_time", KEY_DURATION, CONFIG(tcp.fin_wait_time_ns), SEC, HOUR, "30s", KEY_RESTART,
	      "How long the peer of a connection that is closed here may leave its side open."),
	VALUE("orphans", KEY_COUNT, CONFIG(tcp.orphans), 0, 10000000, "0", KEY_RESTART,
	      "Connections closed here and not yet there, all workers together; beyond it the oldest is "
	      "reset; 0: a quarter of all connections."),
	END,
};

static const struct key timeouts_keys[] = {
	VALUE("handshake", KEY_DURATION, CONFIG(timeouts.handshake_ns), SEC / 10, HOUR, "5s",
	      KEY_LIVE, "From the end of the client's TCP handshake to the end of its TLS handshake."),
	VALUE("head", KEY_DURATION, CONFIG(timeouts.head_ns), SEC / 10, HOUR, "10s", KEY_LIVE,
	      "From the first byte of a request to the end of its header block."),
	VALUE("body", KEY_DURATION, CONFIG(timeouts.body_ns), SEC / 10, HOUR, "30s", KEY_LIVE,
	      "Between two pieces of a request body."),
	VALUE("body_grace", KEY_DURATION, CONFIG(timeouts.body_grace_ns), SEC / 10, HOUR, "10s", KEY_LIVE,
	      "From a request's head, before limits.body_rate counts."),
	VALUE("body_total", KEY_DURATION, CONFIG(timeouts.body_total_ns), SEC / 10, DAY, "300s", KEY_LIVE,
	      "From a request's head to the end of its body."),
	VALUE("stall", KEY_DURATION, CONFIG(timeouts.stall_ns), SEC / 10, DAY, "30s", KEY_LIVE,
	      "How long a client may take nothing of its answer."),
	VALUE("idle", KEY_DURATION, CONFIG(timeouts.idle_ns), SEC / 10, DAY, "75s", KEY_LIVE,
	      "Between two requests of one connection."),
	VALUE("http2_idle", KEY_DURATION, CONFIG(timeouts.http2_idle_ns), SEC / 10, DAY, "300s",
	      KEY_LIVE, "How long an HTTP/2 connection without a request is kept."),
	VALUE("http2_window", KEY_DURATION, CONFIG(timeouts.http2_window_ns), SEC / 10, DAY, "60s",
	      KEY_LIVE, "How long an HTTP/2 client may leave its window shut for what an answer has ready."),
	VALUE("connect", KEY_DURATION, CONFIG(timeouts.connect_ns), SEC / 100, HOUR, "1s",
	      KEY_LIVE, "To connect to a backend."),
	VALUE("connect_tls", KEY_DURATION, CONFIG(timeouts.connect_tls_ns), SEC / 100, HOUR, "2s", KEY_LIVE,
	      "From there to the end of the TLS handshake with an https pod."),
	VALUE("response_head", KEY_DURATION, CONFIG(timeouts.response_head_ns), SEC / 10, DAY,
	      "30s", KEY_LIVE, "From the request to the backend's response head."),
	VALUE("first_event", KEY_DURATION, CONFIG(timeouts.first_event_ns), SEC / 10, DAY, "60s",
	      KEY_LIVE, "From the response head to the first event of a stream."),
	VALUE("between_events", KEY_DURATION, CONFIG(timeouts.between_events_ns), SEC / 10, DAY,
	      "60s", KEY_LIVE, "Between two events of a stream, or two pieces of another body."),
	VALUE("keep_alive", KEY_DURATION, CONFIG(timeouts.keep_alive_ns), 0, HOUR, "15s", KEY_LIVE,
	      "While a stream's first event is awaited, its client gets a comment so often; 0s: never."),
	VALUE("upstream_idle", KEY_DURATION, CONFIG(timeouts.upstream_idle_ns), SEC / 10, DAY,
	      "30s", KEY_LIVE, "How long an unused connection to a backend is kept."),
	VALUE("request", KEY_DURATION, CONFIG(timeouts.request_ns), SEC, DAY, "30min", KEY_LIVE,
	      "From a request's head to the end of its answer."),
	VALUE("drain", KEY_DURATION, CONFIG(timeouts.drain_ns), 0, DAY, "30min", KEY_LIVE,
	      "What running requests get to end after the dataplane was asked to stop; asked again, it ends "
	      "them at once."),
	END,
};

static const struct key routing_keys[] = {
	VALUE("tries", KEY_COUNT, CONFIG(routing.tries), 1, CONFIG_TRIES_MAX, "3", KEY_LIVE,
	      "Pods that one request is tried at, at most."),
	VALUE("retry_percent", KEY_COUNT, CONFIG(routing.retry_percent), 0, 100, "20", KEY_LIVE,
	      "Tries after a request's first, per hundred requests of its model; a model may say otherwise."),
	VALUE("retry_burst", KEY_COUNT, CONFIG(routing.retry_burst), 1, CONFIG_RETRY_BURST_MAX, "50", KEY_LIVE,
	      "Tries beyond that share that each worker and model may have saved up."),
	VALUE("eject_errors", KEY_COUNT, CONFIG(routing.eject_errors), 0, 1000, "3", KEY_LIVE,
	      "Failures in a row after which a pod gets no requests for a time; 0: never."),
	VALUE("eject_time", KEY_DURATION, CONFIG(routing.eject_time_ns), SEC / 10, HOUR, "1s", KEY_LIVE,
	      "That time; it doubles whenever the one request that then asks fails again."),
	VALUE("eject_time_max", KEY_DURATION, CONFIG(routing.eject_time_max_ns), SEC / 10, DAY, "30s",
	      KEY_LIVE, "What it doubles to."),
	VALUE("eject_percent", KEY_COUNT, CONFIG(routing.eject_percent), 0, 100, "100", KEY_LIVE,
	      "Of a deployment's pods, how many may be out at once (at least one); 0: none. Those that are out "
	      "serve again when no region has another one."),
	VALUE("busy", KEY_DURATION, CONFIG(routing.busy_ns), 0, HOUR, "1s", KEY_LIVE,
	      "How long a pod that answers 429 or 503 is passed over while another one is left; its own "
	      "retry-after counts up to 10 s."),
	END,
};

#define SURFACE_KEYS(surface, on, paths, keys, fields, rate, body, error_form, reset_form) \
	{ \
		VALUE("enabled", KEY_BOOL, CONFIG(surface.enabled), 0, 0, on, KEY_RESTART, \
		      "Whether requests of this surface are served; how much memory bodies get follows from " \
		      "the surfaces that are on."), \
			VALUE("prefix", KEY_TEXT, CONFIG(surface.prefix), 1, NAME_MAX_LEN, paths, \
			      KEY_LIVE, "What its paths start with."), \
			VALUE("key_prefix", KEY_TEXT, CONFIG(surface.key_prefix), 1, NAME_MAX_LEN, \
			      keys, KEY_LIVE, "What its API keys start with."), \
			VALUE("header_prefix", KEY_TEXT, CONFIG(surface.header_prefix), 1, \
			      NAME_MAX_LEN, fields, KEY_LIVE, \
			      "What its own response fields start with: lower case, with a '-' at the end. " \
			      "Neither clients nor instances may send such fields."), \
			VALUE("requests_per_minute", KEY_COUNT, CONFIG(surface.requests_per_minute), 0, \
			      60000000, rate, KEY_LIVE, \
			      "Requests of a key whose plan does not say how many; 0: any number."), \
			VALUE("body_max", KEY_SIZE, CONFIG(surface.body_bytes_max), 1 * KIB, \
			      1 * GIB, body, KEY_RESTART, \
			      "Longest JSON request body; a longer one gets 413."), \
			VALUE("upload_max", KEY_SIZE, CONFIG(surface.upload_bytes_max), 1 * KIB, \
			      1 * GIB, "26MiB", KEY_RESTART, \
			      "Longest form, which is a file of audio (file_max) and what is said about it."), \
			VALUE("file_max", KEY_SIZE, CONFIG(surface.file_bytes_max), 1 * KIB, \
			      1 * GIB, "25MiB", KEY_LIVE, "Longest file in a form; the form has upload_max."), \
			CHOICE("validate", CONFIG(surface.validate), validate_choices, "strict", \
			       KEY_LIVE, \
			       "Which fields of a request are checked: all that have rules, or " \
			       "model."), \
			CHOICE("errors", CONFIG(surface.errors), errors_choices, error_form, KEY_LIVE, \
			       "Bodies of refusals: OpenAI's object, or upper-case codes."), \
			CHOICE("reset", CONFIG(surface.reset), reset_choices, reset_form, KEY_LIVE, \
			       "What x-ratelimit-reset counts: the seconds left, or Unix time."), \
			VALUE("cors", KEY_TEXT, CONFIG(surface.cors), 0, PATH_MAX_LEN, "", KEY_LIVE, \
			      "Origins of web pages that may read answers, with a space between two " \
			      "(https://console.example), or *; empty: none. Credentials are never allowed."), \
			VALUE("overhead", KEY_BOOL, CONFIG(surface.overhead), 0, 0, "no", KEY_LIVE, \
			      "Whether answers say x-sluice-overhead-us: the microseconds that the request " \
			      "spent in this process until its answer's head."), \
			END, \
	}
static const struct key ecolink_keys[] =
	SURFACE_KEYS(surfaces.ecolink, "yes", "/v1", "eco_", "x-ecolink-", "200", "32MiB", "openai", "seconds");
static const struct key infer_keys[] =
	SURFACE_KEYS(surfaces.infer, "yes", "/api/v1", "sk-infer-", "x-infer-", "60", "1MiB", "codes", "unix");
static const struct key third_keys[] =
	SURFACE_KEYS(surfaces.third, "no", "/third/v1", "sk-third-", "x-third-", "200", "32MiB", "openai",
		     "seconds");
static const struct key fourth_keys[] =
	SURFACE_KEYS(surfaces.fourth, "no", "/fourth/v1", "sk-fourth-", "x-fourth-", "200", "32MiB", "openai",
		     "seconds");
static const struct key surfaces_keys[] = {
	SECTION("ecolink", ecolink_keys, "Also has the verbatim pass-through, which stands behind no prefix."),
	SECTION("infer", infer_keys, "Upper-case error codes, resets as Unix time."),
	SECTION("third", third_keys, "Yours to define. Keys are made for it by this name."),
	SECTION("fourth", fourth_keys, "As third."),
	END,
};

static const struct key store_keys[] = {
	VALUE("path", KEY_PATH, CONFIG(store.path), 1, PATH_MAX_LEN, "/var/lib/sluice/sluice.db",
	      KEY_RESTART,
	      "SQLite file with keys, accounts, models, prices, instances and the ledger."),
	VALUE("connection", KEY_TEXT, CONFIG(store.connection), 0, PATH_MAX_LEN, "", KEY_RESTART,
	      "A PostgreSQL server instead, which several routers may share: postgresql://… or key=value pairs"
	      " as libpq has them. A password stands in a file of its own: passfile=FILE."),
	END,
};

static const struct key admin_keys[] = {
	VALUE("address", KEY_ADDRESS, CONFIG(admin.address), 0, 0, "127.0.0.1", KEY_RESTART,
	      "Where the admin API listens (HTTP, in the host's network): 127.0.0.1 or ::1, say."),
	VALUE("port", KEY_PORT, CONFIG(admin.port), 1, 65535, "9900", KEY_RESTART, "Its TCP port."),
	VALUE("socket", KEY_PATH, CONFIG(admin.socket), 0, 107, "", KEY_RESTART,
	      "UNIX socket where it listens, too; only its owner may connect (0600). Empty: none."),
	VALUE("token_file", KEY_PATH, CONFIG(admin.token_file), 1, PATH_MAX_LEN,
	      "/etc/sluice/admin.token", KEY_RESTART,
	      "File with the token that every request to the admin API must carry."),
	VALUE("read_only_token_file", KEY_PATH, CONFIG(admin.read_only_token_file), 0, PATH_MAX_LEN, "",
	      KEY_RESTART, "File with a token that may only read. Empty: there is none."),
	END,
};

#define CAPACITY(name, max, fallback, help) \
	VALUE(#name, KEY_COUNT, CONFIG(capacity.name), 1, max, fallback, KEY_RESTART, help)
static const struct key capacity_keys[] = {
	CAPACITY(keys, 4000000, "100000", "API keys."),
	CAPACITY(accounts, 1000000, "10000", "Accounts."),
	CAPACITY(plans, 100000, "1000", "Plans."),
	CAPACITY(models, 100000, "1000", "Platform models."),
	CAPACITY(aliases, 100000, "1000", "Further names of models."),
	CAPACITY(prices, 1000000, "10000", "Prices."),
	CAPACITY(instances, 1000000, "10000", "Instances of users."),
	CAPACITY(deployments, 1000000, "20000", "Models and instances, counted once per region."),
	CAPACITY(pods, 1000000, "20000", "Backends."),
	CAPACITY(regions, 1000, "64", "Regions."),
	END,
};

static const struct key probes_keys[] = {
	VALUE("interval", KEY_DURATION, CONFIG(probes.interval_ns), SEC / 100, HOUR, "1s",
	      KEY_LIVE, "Between two health probes of one backend."),
	VALUE("jitter_percent", KEY_COUNT, CONFIG(probes.jitter_percent), 0, 50, "10", KEY_LIVE,
	      "How much of the interval a probe comes earlier or later at most, by chance: so backends that were "
	      "asked together once are not for ever."),
	VALUE("timeout", KEY_DURATION, CONFIG(probes.timeout_ns), SEC / 100, HOUR, "1s",
	      KEY_LIVE, "After which a probe has failed; at most the interval."),
	VALUE("rise", KEY_COUNT, CONFIG(probes.rise), 1, 100, "2", KEY_LIVE,
	      "Good probes in a row that bring a backend up."),
	VALUE("fall", KEY_COUNT, CONFIG(probes.fall), 1, 100, "3", KEY_LIVE,
	      "Failed probes in a row that take a backend down."),
	VALUE("resolve", KEY_DURATION, CONFIG(probes.resolve_ns), SEC / 10, HOUR, "30s", KEY_LIVE,
	      "Between two lookups of a backend that is told by name; after a failed one a tenth of it."),
	VALUE("path", KEY_TEXT, CONFIG(probes.path), 1, TEXT_MAX, "/health", KEY_LIVE,
	      "What is asked for; an answer of 200 to 299 is good."),
	END,
};

static const struct key log_keys[] = {
	CHOICE("level", CONFIG(log.level), level_choices, "info", KEY_LIVE,
	       "The least that is written to stderr."),
	END,
};

const struct key schema_root[] = {
	VALUE("instance", KEY_TEXT, CONFIG(instance), 1, NAME_MAX_LEN, "sluice", KEY_RESTART,
	      "Name of this pair of processes; the shared file is /dev/shm/<instance>."),
	VALUE("dumpable", KEY_BOOL, CONFIG(dumpable), 0, 0, "no", KEY_RESTART,
	      "Whether a crash may leave a core dump, and others of the same user may trace the processes. TLS "
	      "keys are left out of dumps in any case; what clients ask and are answered, credentials of backends "
	      "and what the store has read are not."),
	VALUE("workers", KEY_COUNT, CONFIG(workers), 1, 64, "1", KEY_RESTART,
	      "Workers of the dataplane, each on a core of its own."),
	VALUE("cores", KEY_TEXT, CONFIG(cores), 0, TEXT_MAX, "", KEY_RESTART,
	      "Cores as a DPDK list (0,2-5), the main thread's first; empty: the first cores."),
	CHOICE("idle", CONFIG(idle), idle_choices, "poll", KEY_LIVE,
	       "What a worker without work does; sleep saves power and costs latency."),
	SECTION("memory", memory_keys, "The dataplane's memory."),
	LIST("eal_extra", struct config, eal_extra, eal_extra_count, &eal_element, 0,
	     CONFIG_EAL_EXTRA_MAX, KEY_RESTART, "Further arguments for DPDK's EAL, one each."),
	LIST("ports", struct config, ports, port_count, &port_element, 1, CONFIG_PORTS_MAX,
	     KEY_RESTART, "Network ports."),
	LIST("listeners", struct config, listeners, listener_count, &listener_element, 1,
	     CONFIG_LISTENERS_MAX, KEY_RESTART, "Where clients connect; always TLS."),
	SECTION("tls", tls_keys, "TLS of all listeners, and towards backends."),
	SECTION("limits", limits_keys, "The dataplane's bounds; its memory follows from them."),
	SECTION("http2", http2_keys, "What clients that choose HTTP/2 may take."),
	SECTION("tcp", tcp_keys, "TCP's policy and pools."),
	SECTION("timeouts", timeouts_keys, "The dataplane's patience."),
	SECTION("routing", routing_keys, "Which backend gets a request, and what becomes of those that fail."),
	SECTION("surfaces", surfaces_keys, "The public forms of the API."),
	SECTION("spool", spool_keys, "Usage on its way from the dataplane to control."),
	SECTION("store", store_keys, "Control's database."),
	SECTION("admin", admin_keys, "Control's admin API."),
	SECTION("capacity", capacity_keys, "Entries of the shared tables."),
	SECTION("probes", probes_keys, "Active health probes of the backends."),
	SECTION("log", log_keys, "What both programs say."),
	END,
};

const char *
schema_type_name(enum key_type type)
{
	static const char *const names[] = {
		[KEY_TEXT] = "text",	      [KEY_PATH] = "path",
		[KEY_COUNT] = "number",	      [KEY_PORT] = "TCP port",
		[KEY_SIZE] = "size",	      [KEY_DURATION] = "duration",
		[KEY_BOOL] = "yes or no",     [KEY_CHOICE] = "choice",
		[KEY_ADDRESS] = "IP address", [KEY_NETWORK] = "IP network",
		[KEY_SECTION] = "mapping",    [KEY_LIST] = "list",
	};

	return names[type];
}

const char *schema_class_name(enum key_class class)
{
	static const char *const names[] = {
		[KEY_LIVE] = "live",
		[KEY_DRAIN] = "drain",
		[KEY_RESTART] = "restart",
	};

	return names[class];
}
