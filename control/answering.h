#pragma once

#include "api.h"

/* answering: one call of the admin API on its way, and what the functions that answer it share. */

struct answering {
	struct control *control;
	const struct api_call *call;
	const struct api_route *route;
	enum noun noun;         /* that the path names */
	struct bytes reference; /* that the path names: a name or an id; ends with the path */
	yyjson_val *body;       /* an object with the route's members only, or NULL: none was sent */
	yyjson_mut_doc *doc;
	int status;
	yyjson_mut_val *root; /* of the answer */
	/* An answer that is no JSON. */
	const char *content_type;
	char *text;
	size_t text_len;
};

void answering_refuse(struct answering *a, int status, const char *code, const char *message);

/* For what the store's problem explains. */
void answering_refuse_verdict(struct answering *a, enum err verdict);

/* NULL: was not asked. */
const char *answering_query(const struct answering *a, const char *name);

/* A number that the route's queries have bounded. */
int64_t answering_query_number(const struct answering *a, const char *name, int64_t fallback);

/* A member of the body; NULL: absent. */
yyjson_val *answering_member(const struct answering *a, const char *name);

/* False: the call is refused. */
bool answering_has_body(struct answering *a);
bool answering_has_room(struct answering *a); /* for a new object of a->noun */
bool answering_resolve(struct answering *a, int64_t *id);

/* The object as it is now. */
void answering_show(struct answering *a, enum noun noun, int64_t id, int status);

/* The calls: call_noun.c, call_key.c, call_report.c, call_reload.c, call_tickets.c. */
void call_list(struct answering *a);
void call_create(struct answering *a);
void call_get(struct answering *a);
void call_put(struct answering *a);
void call_delete(struct answering *a);
void call_top_up(struct answering *a);
/* Whether the body's members may be put to the key. False: the call is refused. */
bool call_key_may_change(struct answering *a, int64_t id);
void call_create_key(struct answering *a);
void call_rotate_key(struct answering *a);
void call_revoke_key(struct answering *a);
void call_status(struct answering *a);
void call_audit(struct answering *a);
void call_usage(struct answering *a);
void call_reconcile(struct answering *a);
void call_metrics(struct answering *a);
void call_health(struct answering *a);
void call_openapi(struct answering *a);
void call_show_config(struct answering *a);
void call_show_reload(struct answering *a);
void call_reload(struct answering *a);
void call_confirm_reload(struct answering *a);
void call_undo_reload(struct answering *a);
void call_show_tickets(struct answering *a);
void call_rotate_tickets(struct answering *a);
void call_revoke_tickets(struct answering *a);
