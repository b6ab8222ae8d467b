/* Tries that begin before the body is complete: what the client owes is no pod's fault, and holds up none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "hand.h"

#define FORM_START                                                                                 \
	"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ntown-model\r\n"                  \
	"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n"
#define FORM_END "\r\n--b--\r\n"
#define PIECE_BYTES 16000
#define PIECES 10

static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

static struct shm_pod_health *
health(uint32_t pod)
{
	return shm_pod_health(&hand.town->shm, pod);
}

static void
begin(uint32_t pods)
{
	struct town_plan plan = hand_plan();

	plan.pods = plan.first_pods = pods;
	hand_begin(&plan);
	hand_greet();
}

/* The head of a form and all of it but its pieces and its end: a pod is asked. */
static void
upload(uint32_t stream)
{
	struct h2frame_block *block = hand_block("POST", "/v1/audio/transcriptions", HAND_KEY);
	char length[24];

	snprintf(length, sizeof(length), "%zu",
		 sizeof(FORM_START) - 1 + PIECES * PIECE_BYTES + sizeof(FORM_END) - 1);
	h2frame_add_field(block, false, "content-type", "multipart/form-data; boundary=b");
	h2frame_add_field(block, false, "content-length", length);
	hand_put_block(block, stream, false);
	hand_put(H2FRAME_DATA, 0, stream, BYTES_LITERAL(FORM_START));
	hand_flush();
}

static void
put_piece(uint32_t stream)
{
	static const char piece[PIECE_BYTES];

	hand_put(H2FRAME_DATA, 0, stream, bytes_make(piece, sizeof(piece)));
	hand_flush();
}

static void
put_end(uint32_t stream)
{
	hand_put(H2FRAME_DATA, H2FRAME_END_STREAM, stream, BYTES_LITERAL(FORM_END));
	hand_flush();
}

static void
backends_reset(void)
{
	for (uint32_t i = 0; i < TOWN_CONNS_MAX; i++) {
		struct town_conn *c = &hand.town->conns[i];

		if (!c->is_used || !c->is_backend)
			continue;
		tcp_abort(hand.town->town_tcp, c->conn);
		conn_put(hand.town, c);
	}
	hand_flush();
}

/* Ten seconds long such a request is no probe; then it is, and soon lets go of the slot; a whole one takes it. */
static void
a_client_that_owes_its_body_keeps_no_slot(void **state)
{
	(void)state;
	begin(2);
	atomic_store(&health(0)->eject_row, 1);
	atomic_store(&health(0)->eject_errors, 3);
	atomic_store(&health(0)->eject_until_ns, hand.town->now_ns);
	upload(1);
	assert_int_equal(atomic_load(&health(0)->in_flight), 0);
	assert_int_equal(atomic_load(&health(1)->in_flight), 1);
	hand_put_word(H2FRAME_RST_STREAM, 1, NGHTTP2_CANCEL);
	hand_go(10 * SEC);
	upload(3);
	assert_int_equal(atomic_load(&health(0)->in_flight), 1);
	assert_int_not_equal(atomic_load(&health(0)->eject_prober), 0);
	hand_go(1900 * MS);
	assert_int_not_equal(atomic_load(&health(0)->eject_prober), 0);
	hand_go(100 * MS);
	assert_int_equal(atomic_load(&health(0)->eject_prober), 0);
	assert_int_equal(atomic_load(&health(0)->in_flight), 1);
	hand.backend.answer = bytes_make(answer, sizeof(answer) - 1);
	hand_put_chat(5);
	hand_flush();
	assert_int_equal(hand.heard.stream[2].status, 200);
	assert_int_equal(atomic_load(&health(0)->eject_until_ns), 0);
	/* And the slow one is answered when it is done. */
	for (uint32_t i = 0; i < PIECES; i++)
		put_piece(3);
	put_end(3);
	assert_int_equal(hand.heard.stream[1].status, 200);
	hand_finish();
}

/* Each pod has failed twice: a third time would eject it. */
static void
a_pod_that_waits_no_longer_is_not_blamed(void **state)
{
	(void)state;
	begin(2);
	atomic_store(&health(0)->eject_errors, 2);
	atomic_store(&health(1)->eject_errors, 2);
	upload(1);
	backends_reset();
	backends_reset();
	assert_int_equal(hand.heard.stream[0].status, 502);
	assert_int_equal(atomic_load(&health(0)->eject_errors), 2);
	assert_int_equal(atomic_load(&health(1)->eject_errors), 2);
	/* With all that it waited for, it is. */
	upload(3);
	for (uint32_t i = 0; i < PIECES; i++)
		put_piece(3);
	put_end(3);
	backends_reset();
	backends_reset();
	assert_int_equal(hand.heard.stream[1].status, 502);
	assert_int_not_equal(atomic_load(&health(0)->eject_until_ns), 0);
	assert_int_not_equal(atomic_load(&health(1)->eject_until_ns), 0);
	hand_finish();
}

/* A pod has its time for an answer from the end of the request, however long that took. */
static void
the_answer_is_waited_for_from_the_end_of_the_body(void **state)
{
	uint64_t head_ns;

	(void)state;
	begin(1);
	head_ns = hand.town->worker->config.times.response_head_ns;
	upload(1);
	for (uint32_t i = 0; i < PIECES; i++) {
		put_piece(1);
		hand_go(head_ns / PIECES);
	}
	hand_go(head_ns / PIECES - SEC);
	put_end(1);
	hand_go(head_ns - SEC);
	assert_int_equal(hand.heard.stream[0].status, 0);
	hand_go(2 * SEC);
	assert_int_equal(hand.heard.stream[0].status, 504);
	hand_finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_that_owes_its_body_keeps_no_slot),
		cmocka_unit_test(a_pod_that_waits_no_longer_is_not_blamed),
		cmocka_unit_test(the_answer_is_waited_for_from_the_end_of_the_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
