/*
 * Reading is strict, answering does what the script says.
 *
 * Timers of a connection, one at a time: WAIT, until the time to first token has passed; SEND, until the
 * next event is due; FLUSH, looking whether what precedes a scripted reset has arrived; HEAD, until an
 * idle connection is closed; HEAD and BODY, until slow reading goes on.
 */
#include "conn.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crc.h"
#include "log.h"
#include "media.h"

#define READ_TICK_NS (50 * NSEC_PER_MSEC)
#define RESET_LOOK_NS NSEC_PER_MSEC
#define RESET_LINGER_NS NSEC_PER_SEC

static const char *const finish_name[] = {
	[CONN_COMPLETE] = "complete",
	[CONN_CLOSE] = "closed",
	[CONN_RESET] = "reset",
	[CONN_STAY] = "hung",
};

static void
set_timer(struct conn *c, uint64_t due_ns)
{
	heap_set(&c->server->timers, &c->timer, due_ns);
}

static void
wait_for_request(struct conn *c)
{
	uint64_t idle_ns = c->server->options->idle_close_ns;

	c->state = CONN_HEAD;
	c->reading_is_paused = false;
	set_timer(c, idle_ns ? c->server->now_ns + idle_ns : NEVER_NS);
}

struct conn *
conn_open(struct server *server, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP };

	if (!c)
		return NULL;
	c->timer.due_ns = NEVER_NS;
	c->server = server;
	c->fd = fd;
	c->interest = event.events;
	c->number = ++server->conn_count;
	c->input = buffer_make(CONN_INPUT_BYTES);
	c->head = buffer_make(REQUEST_HEAD_BYTES_MAX);
	c->body = buffer_make(SERVER_BODY_BYTES_MAX);
	c->output = buffer_make(2 * SERVER_BODY_BYTES_MAX);
	c->payload = buffer_make(SERVER_BODY_BYTES_MAX);
	c->unframed = buffer_make(SERVER_BODY_BYTES_MAX);
	event.data.ptr = c;
	if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
		free(c);
		return NULL;
	}
	c->next = server->first;
	if (c->next)
		c->next->previous = c;
	server->first = c;
	server->conns_alive++;
	wait_for_request(c);
	return c;
}

static void
unlink_conn(struct conn *c)
{
	if (c->next)
		c->next->previous = c->previous;
	if (c->previous)
		c->previous->next = c->next;
	else
		c->server->first = c->next;
	c->server->conns_alive--;
}

void
conn_close(struct conn *c, const char *how)
{
	if (c->state != CONN_HEAD)
		log_request(c, how);
	set_timer(c, NEVER_NS);
	unlink_conn(c);
	close(c->fd);
	buffer_fini(&c->input);
	buffer_fini(&c->output);
	buffer_fini(&c->head);
	buffer_fini(&c->body);
	buffer_fini(&c->payload);
	buffer_fini(&c->unframed);
	c->fd = -1;
	free(c);
}

static void
reset_and_close(struct conn *c, const char *how)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	conn_close(c, how);
}

static void
add_chunk(struct conn *c, struct bytes more)
{
	buffer_addf(&c->output, "%zx\r\n", more.len);
	buffer_add(&c->output, more);
	buffer_add_text(&c->output, "\r\n");
}

static void
add_frames(struct conn *c, bool is_end)
{
	uint64_t frame = c->ask.script.frame;

	while (c->unframed.len >= frame || (is_end && c->unframed.len)) {
		struct bytes part = buffer_bytes(&c->unframed);

		if (part.len > frame)
			part.len = frame;
		add_chunk(c, part);
		buffer_drop(&c->unframed, part.len);
	}
}

static void
add_body(struct conn *c, struct bytes more)
{
	if (!more.len)
		return;
	c->body_bytes += more.len;
	c->body_crc = crc_add(c->body_crc, more);
	if (!c->is_chunked) {
		buffer_add(&c->output, more);
	} else if (c->ask.script.frame) {
		buffer_add(&c->unframed, more);
		add_frames(c, false);
	} else {
		add_chunk(c, more);
	}
}

static void
add_extra_bytes(struct conn *c)
{
	for (uint64_t i = 0; i < c->ask.script.extra_bytes; i++)
		buffer_add_text(&c->output, "X");
}

/* Nothing more will be made; what is made is sent, then `finish` happens. */
static void
finish_with(struct conn *c, enum conn_finish finish)
{
	c->finish = finish;
	c->state = CONN_FLUSH;
	c->linger_until_ns = c->server->now_ns + RESET_LINGER_NS;
	set_timer(c, finish == CONN_RESET ? c->server->now_ns : NEVER_NS);
}

static void
end_body(struct conn *c)
{
	const struct script *s = &c->ask.script;

	if (c->is_chunked) {
		if (s->frame)
			add_frames(c, true);
		buffer_add_text(&c->output, "0\r\n\r\n");
	}
	add_extra_bytes(c);
	finish_with(c, s->until_close || s->close || s->long_length || !c->request.keeps_alive ?
			       CONN_CLOSE :
			       CONN_COMPLETE);
	/* A close that the protocol announced is no fault. */
	if (!s->long_length && c->finish == CONN_CLOSE)
		c->ask.script.close = 1;
}

static const char *
reason_of(uint64_t status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 429:
		return "Too Many Requests";
	case 500:
		return "Internal Server Error";
	case 503:
		return "Service Unavailable";
	default:
		return "Simulated";
	}
}

static void
add_framing_field(struct conn *c)
{
	const struct script *s = &c->ask.script;
	bool is_stream = c->ask.streams && c->status == 200;

	if (s->until_close)
		return;
	if (is_stream || s->chunked) {
		c->is_chunked = true;
		buffer_add_text(&c->output, "transfer-encoding: chunked\r\n");
		if (s->both_framings)
			buffer_add_text(&c->output, "content-length: 5\r\n");
		return;
	}
	buffer_addf(&c->output, "content-length: %" PRIu64 "\r\n",
		    c->payload.len + s->long_length -
			    (s->short_length < c->payload.len ? s->short_length : c->payload.len));
	if (s->two_lengths)
		buffer_addf(&c->output, "content-length: %zu\r\n", c->payload.len + 1);
}

static void
add_head(struct conn *c)
{
	const struct script *s = &c->ask.script;
	const char *type = c->ask.streams && c->status == 200 ? "text/event-stream" :
			   c->ask.kind == ASK_ECHO	      ? "application/octet-stream" :
			   c->ask.kind == ASK_SPEECH && c->status == 200 ? "audio/mpeg" :
								"application/json";

	if (s->bad_head) {
		buffer_add_text(&c->output, "HTP/1.1 2OO\r\n\r\n");
		return;
	}
	buffer_addf(&c->output, "HTTP/1.1 %" PRIu64 " %s\r\nserver: sluice-sim\r\ncontent-type: %s\r\n",
		    c->status, reason_of(c->status), type);
	buffer_addf(&c->output, "x-sim-region: %s\r\n", c->server->options->region);
	if (c->ask.kind == ASK_ECHO && c->status == 200)
		buffer_addf(&c->output, "x-sim-method: %s\r\nx-sim-path: %s\r\n", c->request.method,
			    c->request.path);
	if (c->status != 200 && s->retry_after != SCRIPT_NONE)
		buffer_addf(&c->output, "retry-after: %" PRIu64 "\r\n", s->retry_after);
	if (s->until_close || s->close || !c->request.keeps_alive)
		buffer_add_text(&c->output, "connection: close\r\n");
	if (s->endless_headers)
		return;
	add_framing_field(c);
	buffer_add_text(&c->output, "\r\n");
}

static uint64_t
with_jitter(struct conn *c, uint64_t gap_ns)
{
	uint64_t part_ns = gap_ns / 100 * c->ask.script.jitter;

	if (!part_ns)
		return gap_ns;
	return gap_ns - part_ns + random_next(&c->jitter) % (2 * part_ns + 1);
}

static uint64_t
gap_ns_of(const struct conn *c, uint64_t tokens)
{
	return c->ask.script.tps ? tokens * NSEC_PER_SEC / c->ask.script.tps : 0;
}

/* True if the script ends the stream here. */
static bool
stop_as_scripted(struct conn *c)
{
	const struct script *s = &c->ask.script;
	uint64_t events = c->answer.events;

	if (events == s->reset_after) {
		finish_with(c, CONN_RESET);
	} else if (events == s->close_after) {
		finish_with(c, CONN_CLOSE);
	} else if (events == s->hang_after) {
		finish_with(c, CONN_STAY);
	} else if (events == s->bad_chunk) {
		buffer_add_text(&c->output, "zz\r\n");
		finish_with(c, CONN_STAY);
	} else {
		return false;
	}
	return true;
}

static void
send_event(struct conn *c)
{
	uint64_t before = c->answer.tokens;

	if (stop_as_scripted(c))
		return;
	if (answer_next_event(&c->answer, &c->payload)) {
		add_body(c, buffer_bytes(&c->payload));
		buffer_drop(&c->payload, c->payload.len);
		if (c->answer.tokens != before)
			c->due_ns += with_jitter(c, gap_ns_of(c, c->answer.tokens - before));
	} else {
		end_body(c);
	}
}

static void
send_whole(struct conn *c)
{
	size_t part = c->ask.script.part_bytes;

	if (part > c->payload.len)
		part = c->payload.len;
	add_body(c, bytes_make(buffer_bytes(&c->payload).ptr, part));
	if (stop_as_scripted(c))
		return;
	add_body(c, bytes_after(buffer_bytes(&c->payload), part));
	end_body(c);
}

static void
send_head(struct conn *c)
{
	const struct script *s = &c->ask.script;

	add_head(c);
	if (s->endless_headers)
		c->step = CONN_STEP_ENDLESS;
	else if (s->close_after_headers)
		finish_with(c, CONN_CLOSE);
	else if (s->hang_after_headers || s->bad_head)
		finish_with(c, CONN_STAY);
	else
		c->step = CONN_STEP_BODY;
	c->due_ns += s->first_event;
}

static void
send_step(struct conn *c)
{
	switch (c->step) {
	case CONN_STEP_INFORMATIONAL:
		if (c->informational_left) {
			c->informational_left--;
			buffer_add_text(&c->output, "HTTP/1.1 103 Early Hints\r\n"
						    "link: </sim>; rel=preload\r\n\r\n");
		} else {
			c->step = CONN_STEP_HEAD;
		}
		break;
	case CONN_STEP_HEAD:
		send_head(c);
		break;
	case CONN_STEP_ENDLESS:
		buffer_add_text(&c->output, "x-endless: and so on, and so on\r\n");
		break;
	case CONN_STEP_BODY:
		if (c->ask.streams && c->status == 200)
			send_event(c);
		else
			send_whole(c);
		break;
	}
}

static void
send_what_is_due(struct conn *c)
{
	while (c->state == CONN_SEND && c->output.len < CONN_OUTPUT_BYTES) {
		if (c->step == CONN_STEP_BODY && c->due_ns > c->server->now_ns) {
			set_timer(c, c->due_ns);
			return;
		}
		send_step(c);
	}
}

static void
make_payload(struct conn *c)
{
	if (c->status != 200)
		answer_error(&c->payload, c->status, c->refusal ? c->refusal : "as scripted", NULL);
	else if (c->ask.kind == ASK_ECHO)
		buffer_add(&c->payload, buffer_bytes(&c->body));
	else if (!c->ask.streams && !answer_whole(&c->answer, &c->payload))
		c->refusal = "the answer is too long";
}

static void
read_ask(struct conn *c)
{
	struct bytes wrong;
	const char *param;

	c->ask.kind = ask_kind_of(c->request.method, c->request.path);
	if (c->ask.kind != ASK_HEALTH)
		c->ask.script = c->server->options->script;
	if (c->request.has_script && !script_parse(&c->ask.script, c->request.script, &wrong))
		c->refusal = "x-sim-script has a word that is none";
	c->ask.n = 1;
	c->ask.port = c->server->options->port;
	if (!c->refusal && c->ask.kind >= ASK_CHAT)
		c->refusal = ask_read(&c->ask, buffer_bytes(&c->body), &param);
	else if (!c->refusal && c->ask.kind == ASK_TRANSCRIPT)
		c->refusal = ask_read_form(&c->ask, c->request.content_type, buffer_bytes(&c->body));
	if (c->ask.script.only_port != SCRIPT_NONE && c->ask.script.only_port != c->ask.port)
		c->ask.script = c->server->options->script;
	if (c->ask.kind == ASK_JOB)
		ask_read_job(&c->ask, c->request.path);
	if (c->ask.kind >= ASK_EMBEDDING)
		c->ask.streams = false;
}

static void
begin_answer(struct conn *c)
{
	const struct script *s = &c->ask.script;
	uint64_t wait_ns;

	if (c->request.method[0] && !c->refusal)
		read_ask(c);
	c->status = c->refusal ? 400 : s->error != SCRIPT_NONE ? s->error : 200;
	if (c->ask.kind == ASK_JOB && c->status == 200 && !media_has_job(&c->ask))
		c->status = 404;
	c->jitter = (struct random){ ~s->seed };
	c->informational_left = s->informational;
	c->step = CONN_STEP_INFORMATIONAL;
	answer_init(&c->answer, &c->ask);
	make_payload(c);
	if (s->hang) {
		c->state = CONN_HANG;
		set_timer(c, NEVER_NS);
		return;
	}
	wait_ns = with_jitter(c, s->ttft);
	if (!c->ask.streams && c->status == 200)
		wait_ns += gap_ns_of(c, c->answer.tokens);
	c->due_ns = c->server->now_ns + wait_ns;
	c->state = CONN_WAIT;
	set_timer(c, c->due_ns);
}

static void
leave_wait(struct conn *c)
{
	set_timer(c, NEVER_NS);
	if (c->ask.script.reset)
		finish_with(c, CONN_RESET);
	else if (c->ask.script.close_early)
		finish_with(c, CONN_CLOSE);
	else
		c->state = CONN_SEND;
}

/* The rest of the connection cannot be read as requests, so it ends with the answer. */
static void
refuse(struct conn *c, const char *why)
{
	c->refusal = why;
	c->request.keeps_alive = false;
	begin_answer(c);
}

static void
reset_request(struct conn *c)
{
	buffer_drop(&c->head, c->head.len);
	buffer_fini(&c->body);
	buffer_fini(&c->payload);
	buffer_drop(&c->unframed, c->unframed.len);
	c->chunks = (struct request_chunks){ .at = CHUNK_SIZE };
	c->request = (struct request){ .keeps_alive = true };
	c->ask = (struct ask){ 0 };
	script_init(&c->ask.script);
	c->answer = (struct answer){ 0 };
	c->refusal = NULL;
	c->is_chunked = false;
	c->status = 0;
	c->body_bytes = 0;
	c->body_crc = 0;
}

static void
take_head(struct conn *c)
{
	struct bytes input = buffer_bytes(&c->input);
	size_t len = request_head_len(input);
	const char *wrong;

	if (!len && input.len < REQUEST_HEAD_BYTES_MAX)
		return;
	reset_request(c);
	c->started_ns = c->server->now_ns;
	c->requests++;
	if (!c->reading_is_paused)
		set_timer(c, NEVER_NS); /* the one of an idle connection */
	if (!len || len > REQUEST_HEAD_BYTES_MAX) {
		refuse(c, "the head is too long");
		return;
	}
	buffer_add(&c->head, bytes_make(input.ptr, len));
	buffer_drop(&c->input, len);
	wrong = request_parse(&c->request, buffer_bytes(&c->head));
	if (wrong) {
		refuse(c, wrong);
		return;
	}
	if (c->request.has_length && c->request.length > SERVER_BODY_BYTES_MAX) {
		refuse(c, "the body is too long");
		return;
	}
	if (c->request.expects_continue)
		buffer_add_text(&c->output, "HTTP/1.1 100 Continue\r\n\r\n");
	c->state = CONN_BODY;
}

static void
take_body(struct conn *c)
{
	size_t left, len;

	if (c->request.is_chunked) {
		if (!request_take_chunks(&c->chunks, &c->input, &c->body))
			refuse(c, "chunks");
		else if (c->chunks.at == CHUNK_DONE)
			begin_answer(c);
		return;
	}
	left = (size_t)c->request.length - c->body.len;
	len = c->input.len < left ? c->input.len : left;
	if (!buffer_add(&c->body, bytes_make(c->input.ptr + c->input.start, len))) {
		refuse(c, "no memory for the body");
		return;
	}
	buffer_drop(&c->input, len);
	if (len == left)
		begin_answer(c);
}

/* False: the connection is gone. */
static bool
flush_output(struct conn *c)
{
	while (c->output.len) {
		ssize_t sent = send(c->fd, c->output.ptr + c->output.start, c->output.len,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (sent < 0) {
			conn_close(c, "peer_reset");
			return false;
		}
		buffer_drop(&c->output, (size_t)sent);
	}
	return true;
}

/* What precedes a scripted reset must arrive, for the reset makes the kernel forget it. */
static bool
may_reset(struct conn *c)
{
	int unacknowledged = 0;

	return ioctl(c->fd, SIOCOUTQ, &unacknowledged) != 0 || unacknowledged == 0 ||
	       c->server->now_ns >= c->linger_until_ns;
}

/* Everything is sent. False: the connection is gone. */
static bool
finish_request(struct conn *c)
{
	uint64_t requests_max = c->server->options->requests_max;
	const char *how = c->refusal ? "refused" : finish_name[c->finish];

	switch (c->finish) {
	case CONN_STAY:
		c->state = CONN_HANG;
		return true;
	case CONN_RESET:
		if (!may_reset(c)) {
			set_timer(c, c->server->now_ns + RESET_LOOK_NS);
			return true;
		}
		reset_and_close(c, how);
		return false;
	case CONN_CLOSE:
		conn_close(c, c->ask.script.close && !c->refusal ? "complete" : how);
		return false;
	case CONN_COMPLETE:
		break;
	}
	log_request(c, how);
	wait_for_request(c);
	if (requests_max && c->requests >= requests_max) {
		conn_close(c, "");
		return false;
	}
	return true;
}

static void
ask_for_events(struct conn *c)
{
	struct epoll_event event = { .events = EPOLLRDHUP, .data.ptr = c };

	if (c->state == CONN_HEAD || c->state == CONN_BODY)
		event.events = c->reading_is_paused ? 0 : EPOLLIN | EPOLLRDHUP;
	if (c->output.len)
		event.events |= EPOLLOUT;
	if (event.events == c->interest)
		return;
	c->interest = event.events;
	epoll_ctl(c->server->epoll, EPOLL_CTL_MOD, c->fd, &event);
}

/* Goes as far as input, time and the peer allow. */
static void
advance(struct conn *c)
{
	enum conn_state before;
	size_t output_before;

	do {
		before = c->state;
		if (c->state == CONN_HEAD)
			take_head(c);
		if (c->state == CONN_BODY)
			take_body(c);
		if (c->state == CONN_WAIT && c->due_ns <= c->server->now_ns)
			leave_wait(c);
		send_what_is_due(c);
		output_before = c->output.len;
		if (!flush_output(c))
			return;
		if (c->state == CONN_FLUSH && !c->output.len && !finish_request(c))
			return;
	} while (c->state != before || c->output.len != output_before);
	ask_for_events(c);
}

/* False: the connection is gone. */
static bool
receive(struct conn *c)
{
	uint64_t per_second = c->server->options->read_bytes_per_second;
	size_t len = buffer_room(&c->input);
	uint8_t *to;
	ssize_t got;

	if (len > CONN_INPUT_BYTES / 2)
		len = CONN_INPUT_BYTES / 2;
	if (per_second && len > per_second / 20 + 1)
		len = (size_t)(per_second / 20 + 1);
	to = buffer_reserve(&c->input, len);
	got = to ? recv(c->fd, to, len, MSG_DONTWAIT) : -1;
	if (got < 0 && (!to || errno == EAGAIN || errno == EINTR))
		return true;
	if (got <= 0) {
		conn_close(c, got == 0 ? "peer_closed" : "peer_reset");
		return false;
	}
	buffer_commit(&c->input, (size_t)got);
	if (per_second) {
		c->reading_is_paused = true;
		set_timer(c, c->server->now_ns + READ_TICK_NS);
	}
	return true;
}

/* The peer has sent all it will; whether it left politely or not is for the log. */
static void
peer_left(struct conn *c)
{
	int error = 0;
	socklen_t size = sizeof(error);

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (c->state == CONN_HANG && c->finish == CONN_STAY && !error)
		conn_close(c, "peer_closed");
	else
		conn_close(c, error ? "peer_reset" : "peer_closed");
}

void
conn_became_ready(struct conn *c, uint32_t events)
{
	bool reads = c->state == CONN_HEAD || c->state == CONN_BODY;

	if (events & (EPOLLERR | EPOLLHUP)) {
		peer_left(c);
		return;
	}
	if ((events & EPOLLRDHUP) && !reads) {
		peer_left(c);
		return;
	}
	if ((events & (EPOLLIN | EPOLLRDHUP)) && reads && !c->reading_is_paused && !receive(c))
		return;
	advance(c);
}

void
conn_timer_expired(struct conn *c)
{
	set_timer(c, NEVER_NS);
	if (c->reading_is_paused && (c->state == CONN_HEAD || c->state == CONN_BODY)) {
		c->reading_is_paused = false;
		ask_for_events(c);
	} else if (c->state == CONN_HEAD) {
		conn_close(c, "");
	} else {
		advance(c);
	}
}
