/* The secrets of session tickets: looked at without seeing them, and changed. */
#include "answering.h"
#include "clock.h"

static uint64_t
now_s(void)
{
	return clock_unix_ns() / NSEC_PER_SEC;
}

static void
show(struct answering *a, enum err verdict)
{
	if (verdict != ERR_OK) {
		answering_refuse_verdict(a, verdict);
		return;
	}
	a->root = tickets_show(&a->control->tickets, a->doc, now_s());
	a->status = 200;
}

void
call_show_tickets(struct answering *a)
{
	show(a, ERR_OK);
}

void
call_rotate_tickets(struct answering *a)
{
	show(a, tickets_rotate(&a->control->tickets, now_s()));
}

void
call_revoke_tickets(struct answering *a)
{
	show(a, tickets_revoke(&a->control->tickets, now_s()));
}
