#pragma once

#include "dataplane/exchange.h"

/*
 * request: what a backend gets of a request: its head, made anew, and its body, edited on its way.
 *
 * A head holds what the router knows and a short list of the client's fields; that of the pass-through all of
 * them but those of the connection, of the client's trust and of ours.
 */
struct h1_request;
struct route_pick;

/* Keeps of the client's head what later tries need, or there is no room for it. */
enum err request_prepare(struct worker *w, struct exchange *x, const struct h1_request *request);

/* What is edited in the body for this pod. False: it cannot be. */
bool request_plan(struct exchange *x, const struct route_pick *pick);

/* Sends the head on x's upstream; the body starts anew. False: the try ends: the pod is not the one that was
 * picked any more, and nothing was sent; or we lack packets. */
bool request_begin(struct worker *w, struct exchange *x);

/* As much of the body as is there and the connection has room for. False: the connection is of no use. */
bool request_send(struct worker *w, struct exchange *x);

/* The request will not be sent again: gives back what of its body is out. */
void request_forget(struct worker *w, struct exchange *x);

/* The text that a question about a job was asked with; it lives as long as x. */
struct bytes request_job_text(struct worker *w, const struct exchange *x);
