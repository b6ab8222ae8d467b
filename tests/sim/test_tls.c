/* What a worker makes of what clients do with an open TLS connection; and what leaves of it, frame by frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "hand.h"
#include "segment.h"

#define EDGE_PORT 443
#define IP_BYTES 20
#define ETHERNET_BYTES 14

/* What the router sent to clients. */
static struct {
	uint32_t bytes; /* of payload */
	uint32_t resets;
	uint32_t ends;
} sent;

static uint32_t
two_octets(const uint8_t *from)
{
	return (uint32_t)from[0] << 8 | from[1];
}

/* All of them are IPv4 without options. */
static void
see(struct town *town, bool from_router, const struct pkt *frame)
{
	static uint8_t flat[SEGMENT_BYTES_MAX];
	const uint8_t *ip = flat + ETHERNET_BYTES;
	const uint8_t *tcp = ip + IP_BYTES;

	(void)town;
	CHECK(pkt_total(frame) <= sizeof(flat));
	pkt_copy_out(frame, 0, flat, pkt_total(frame));
	if (!from_router || two_octets(flat + 12) != 0x0800 || ip[9] != 6 || two_octets(tcp) != EDGE_PORT)
		return;
	sent.bytes += two_octets(ip + 2) - IP_BYTES - (tcp[12] >> 4) * 4u;
	sent.resets += (tcp[13] & SEGMENT_RST) != 0;
	sent.ends += (tcp[13] & SEGMENT_FIN) != 0;
}

static void
begin(void)
{
	struct town_plan plan = hand_plan();

	plan.is_h2 = false;
	plan.is_tls = true;
	hand_begin(&plan);
	hand_go(100 * MS); /* what TLS 1.3 says behind the handshake */
	hand.town->saw = see;
	memset(&sent, 0, sizeof(sent));
}

/* A segment of its own, as it is. */
static void
say_raw(struct bytes wire)
{
	struct pkt *p = pkt_alloc(&hand.town->town_payload);

	memcpy(pkt_append(p, (uint32_t)wire.len), wire.ptr, wire.len);
	assert_int_equal(tcp_send(hand.town->town_tcp, hand.client->conn, p, false), ERR_OK);
}

/* With bytes behind it that nobody reads, TCP's reset would take it back (RFC 9293 SHLD-3). */
static void
the_alert_is_sent_though_all_has_come_with_the_end(void **state)
{
	static uint8_t record[5 + 100] = { 23, 3, 3, 0, 100 };
	static const uint8_t behind[1400];
	struct town_tls client;

	(void)state;
	begin();
	client = hand.client->tls;
	hand.client->tls = (struct town_tls){ .stock = NULL }; /* what comes back is not opened */
	say_raw(bytes_make(record, sizeof(record)));
	for (int i = 0; i < 4; i++)
		say_raw(bytes_make(behind, sizeof(behind)));
	tcp_shutdown(hand.town->town_tcp, hand.client->conn);
	hand_go(100 * MS);
	assert_int_equal(hand.town->worker->counters[ERR_TLS_NOT_AUTHENTIC], 1);
	assert_in_range(sent.bytes, 5 + 2 + 16, 5 + 2 + 8 + 16);
	assert_int_equal(sent.ends, 1);
	assert_int_equal(sent.resets, 0);
	tls_free(&client);
	hand_finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_alert_is_sent_though_all_has_come_with_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
