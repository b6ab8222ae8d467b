#pragma once

#include "tls/records.h"

/* records_internal: what the files of records ask of records.c. */

/* Ends the connection with this alert; the verdict comes back. */
enum err records_fail(struct records *r, enum err verdict, enum records_alert alert);

/* Another one in a row; ERR_OK or, beyond the bound, the end. */
enum err records_useless(struct records *r);

/* A KeyUpdate came. */
enum err records_updated(struct records *r, struct keyring *ring, bool asks, uint64_t now_ns);

/* Renegotiation is asked for. */
void records_refuse(struct records *r);
