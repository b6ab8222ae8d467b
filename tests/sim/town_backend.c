/* A backend: checks each request byte for byte, then answers as the request's plan says. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "http/h1.h"
#include "town.h"

static struct town_request *
request_of(struct town *t, const char *body, uint32_t len)
{
	static const char mark[] = "\"seed\":";
	const char *at = memmem(body, len, mark, sizeof(mark) - 1);
	uint32_t index = at != NULL ? (uint32_t)strtoul(at + sizeof(mark) - 1, NULL, 10) : UINT32_MAX;

	if (index >= t->plan.request_count)
		town_fail(t, "a backend got a request that nobody sent");
	return &t->requests[index];
}

static bool
is_expected_host(const struct town *t, struct bytes host)
{
	if (t->plan.seed % 2 == 0)
		return bytes_equal(host, BYTES_LITERAL("backend.test"));
	return bytes_starts_with(host, t->plan.is_v6 ?
					       BYTES_LITERAL("[fd77:0000:0000:0000:0000:0000:0000:0002]:900") :
					       BYTES_LITERAL("10.77.0.2:900"));
}

static void
check_request(struct town *t, struct town_request *r, const struct h1_request *head,
	      const char *body, uint32_t len)
{
	static char expected[TOWN_TEXT_BYTES_MAX];
	uint32_t expected_len = town_request_body(t, r, true, expected);
	const struct h1_field *id = h1_find(&head->head, BYTES_LITERAL("x-request-id"));

	if (r->is_bad_json)
		town_fail(t, "request %u: bad JSON reached a backend", r->index);
	if (len != expected_len || memcmp(body, expected, len) != 0)
		town_fail(t, "request %u: its body arrived changed (%u of %u bytes)", r->index, len,
			  expected_len);
	if (h1_find(&head->head, BYTES_LITERAL("authorization")) != NULL)
		town_fail(t, "request %u: the client's key reached a backend", r->index);
	if (!is_expected_host(t, head->host))
		town_fail(t, "request %u: host %.*s", r->index, (int)head->host.len, head->host.ptr);
	if (id == NULL || id->value.len != sizeof(r->id))
		town_fail(t, "request %u: no request id", r->index);
	if (r->tries > 0 && memcmp(r->id, id->value.ptr, sizeof(r->id)) != 0)
		town_fail(t, "request %u: another id on another try", r->index);
	memcpy(r->id, id->value.ptr, sizeof(r->id));
	r->tries++;
}

static void
write_text(struct town *t, struct town_conn *c, const char *text)
{
	conn_write(t, c, text, (uint32_t)strlen(text));
}

static void
write_answer(struct town *t, struct town_conn *c, const struct town_request *r)
{
	static char body[TOWN_TEXT_BYTES_MAX];
	char line[128];
	uint32_t len = town_answer_body(t, r, true, body);
	bool chunked = r->is_stream || (r->chunked && !r->until_close);

	/* An interim head now and then: it must not reach the client. */
	if (r->index % 5 == 0)
		write_text(t, c, "HTTP/1.1 102 Processing\r\n\r\n");
	snprintf(line, sizeof(line), "HTTP/1.1 200 OK\r\nserver: secret\r\ncontent-type: %s\r\n",
		 r->is_stream ? "text/event-stream" : "application/json");
	write_text(t, c, line);
	if (!chunked) {
		if (!r->until_close)
			snprintf(line, sizeof(line), "content-length: %u\r\n\r\n", len);
		write_text(t, c, r->until_close ? "\r\n" : line);
		conn_write(t, c, body, len);
		return;
	}
	write_text(t, c, "transfer-encoding: chunked\r\n\r\n");
	for (uint32_t at = 0; at < len;) {
		uint32_t n = 1 + prng_below(&t->prng, 5000);

		n = n < len - at ? n : len - at;
		snprintf(line, sizeof(line), "%x\r\n", n);
		write_text(t, c, line);
		conn_write(t, c, body + at, n);
		write_text(t, c, "\r\n");
		at += n;
	}
	write_text(t, c, "0\r\n\r\n");
}

static void
lose(struct town *t, struct town_conn *c, bool reset)
{
	if (reset)
		tcp_abort(t->town_tcp, c->conn);
	else
		tcp_close(t->town_tcp, c->conn);
	conn_put(t, c);
}

/* Of the answer behind `before` only the head will be sent, or a part. */
static void
fall_silent(struct town_conn *c, uint32_t before, bool head_only)
{
	static const char end[] = "\r\n\r\n";
	uint8_t *head = c->out + before;
	uint8_t *head_end = head;

	/* The last of the heads: an interim one may stand in front. */
	do {
		head = head_end;
		head_end = memmem(head, c->out_len - (uint32_t)(head - c->out), end, sizeof(end) - 1);
		CHECK(head_end != NULL);
		head_end += sizeof(end) - 1;
	} while (memcmp(head, "HTTP/1.1 1", 10) == 0);
	before = (uint32_t)(head_end - c->out);
	c->out_len = head_only ? before : before + (c->out_len - before) / 2;
}

/* Answers, or not. */
static void
serve(struct town *t, struct town_conn *c, struct town_request *r)
{
	enum town_fault fault = r->tries <= (r->faulty_tries > 0 ? r->faulty_tries : 1) ? r->fault : FAULT_NONE;
	uint32_t before = c->out_len;

	c->piece_bytes = r->piece_bytes;
	c->gap_ns = r->gap_ns;
	c->send_at_ns = t->now_ns + r->first_ns;
	switch (r->fault == FAULT_ERROR || r->fault == FAULT_REFUSAL ? r->fault : fault) {
	case FAULT_RESET_BEFORE:
	case FAULT_CLOSE_BEFORE:
		lose(t, c, fault == FAULT_RESET_BEFORE);
		return;
	case FAULT_SILENT:
		return;
	case FAULT_BUSY:
		write_text(t, c, r->index % 2 == 0 ?
					 "HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy" :
					 "HTTP/1.1 429 Busy\r\nretry-after: 2\r\ncontent-length: 4\r\n\r\nbusy");
		return;
	case FAULT_ERROR:
		write_text(t, c, "HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops");
		return;
	case FAULT_REFUSAL:
		write_text(t, c, "HTTP/1.1 422 No\r\ncontent-length: 4\r\n\r\noops");
		return;
	case FAULT_BAD_FRAMING:
		write_text(t, c, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcd");
		return;
	default:
		/* What is asked for is answered, and would reset a connection that is closed meanwhile. */
		if (r->renews)
			tls_renew(&c->tls, !r->closes && prng_below(&t->tls_prng, 2) == 0);
		write_answer(t, c, r);
		if (fault == FAULT_SILENT_FIRST || fault == FAULT_SILENT_BETWEEN) {
			fall_silent(c, before, fault == FAULT_SILENT_FIRST);
		} else if (fault == FAULT_RESET_INSIDE) {
			c->out_len = before + (c->out_len - before) * 3 / 4;
			c->reset_after_out = true;
		} else if (fault == FAULT_CLOSE_INSIDE) {
			c->out_len = before + (c->out_len - before) * 3 / 4;
			c->close_after_out = true;
			c->is_mute = r->until_close || prng_below(&t->tls_prng, 2) == 0;
		} else {
			c->close_after_out = r->closes;
			r->served++;
		}
		return;
	}
}

static void
note_pod(struct town *t, const struct town_conn *c, struct town_request *r)
{
	if (t->plan.is_https && t->plan.trust[c->pod] >= TRUST_COUNT_GOOD)
		town_fail(t, "request %u reached pod %u, which must not be believed", r->index, c->pod);
	if (r->tries <= TOWN_TRIES_MAX)
		r->pods[r->tries - 1] = c->pod;
}

void
backend_received(struct town *t, struct town_conn *c)
{
	static struct h1_request head;
	static char body_text[TOWN_TEXT_BYTES_MAX];
	struct h1_scan scan = { 0 };
	struct h1_body body;
	struct bytes input = bytes_make(c->in, c->in_len);
	enum err verdict = h1_parse_request(input, &scan, &head);
	struct town_request *r;
	uint32_t len = 0;

	if (verdict == ERR_MORE)
		return;
	if (verdict != ERR_OK)
		town_fail(t, "a backend got a malformed request: %s", err_name(verdict));
	bytes_advance(&input, head.head.head_bytes);
	h1_body_init(&body, &head.head);
	while (!body.done) {
		struct bytes payload;

		verdict = h1_body_feed(&body, &input, &payload);
		if (verdict == ERR_MORE)
			return;
		if (verdict != ERR_OK)
			town_fail(t, "a backend got a malformed body");
		if (payload.len > 0)
			memcpy(body_text + len, payload.ptr, payload.len);
		len += (uint32_t)payload.len;
	}
	if (input.len > 0)
		town_fail(t, "a backend got bytes behind a request");
	r = request_of(t, body_text, len);
	check_request(t, r, &head, body_text, len);
	note_pod(t, c, r);
	c->in_len = 0;
	serve(t, c, r);
}
