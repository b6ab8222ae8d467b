/* The id's place is known when its string has ended, so that the answer is gathered first. */
#include "dataplane/job_answer.h"

#include "dataplane/event.h"
#include "dataplane/job.h"
#include "dataplane/request.h"
#include "dataplane/worker.h"

/* The id that the client knows the job by. Empty: the backend's cannot be part of one. */
static struct bytes
wrapped_id(struct worker *w, struct exchange *x, char text[JOB_TEXT_BYTES_MAX])
{
	const struct admission *a = &x->admission;
	const struct json_usage *found = &x->usage_scan.usage;
	struct job job = { .account_id = a->account_id,
			   .pod_id = x->pod_id,
			   .instance_id = a->instance_id,
			   .id = bytes_make(found->id, found->id_len) };

	if (a->route == ROUTE_VIDEO_JOB)
		return request_job_text(w, x);
	if (a->instance_id == 0)
		job.model = bytes_make(a->target_name.text, a->target_name.len);
	return bytes_make(text, job_seal(w->shm.header->pepper, &job, text));
}

void
job_answer_pass(struct worker *w, struct exchange *x)
{
	struct event event = { .gathered = &x->event, .bytes = x->event.bytes };
	const struct json_usage *found = &x->usage_scan.usage;
	char text[JOB_TEXT_BYTES_MAX];
	struct event_cut cut = { 0 };

	if (found->has_id && found->id_end <= event.bytes) {
		cut.instead = wrapped_id(w, x, text);
		if (cut.instead.len > 0) {
			cut.start = found->id_start;
			cut.end = found->id_end;
		}
	}
	event_put(w, x, &event, &cut);
	body_clear(&w->bodies, &x->event);
	x->event_passing = true;
}

void
job_answer_feed(struct worker *w, struct exchange *x, struct bytes payload)
{
	json_usage_feed(&x->usage_scan, payload);
	if (!x->event_passing && (x->event.bytes + payload.len > EVENT_BYTES_MAX ||
				  body_append(&w->bodies, &x->event, payload) != ERR_OK))
		job_answer_pass(w, x);
	if (x->event_passing)
		event_pass(w, x, payload);
}
