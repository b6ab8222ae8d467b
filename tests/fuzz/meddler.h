#pragma once

#include "tls_forge.h"

/*
 * meddler: sits between two ends of TLS, has one's keys, and changes what that one says as its input asks, below
 * the protection: so that every message's parser is reached by bytes that its maker would not have sent.
 *
 * Edits, in order:  | records to let by before | op | arguments |
 *
 *   0 change   at (2), by (1)            a byte of the content
 *   1 insert   at (2), n (1), bytes      more of it
 *   2 delete   at (2), n (1)             less of it
 *   3 drop                               no such record
 *   4 repeat                             twice
 *   5 say      type (1), n (1), bytes    a record of ours goes first
 *   6 raw      n (1), bytes              bytes without a record go first
 *   7 split    at (2)                    two records
 *   8 damage   at (2), by (1)            a byte of the sealed record
 *   9 end                                no more
 *  10 fill     type (1), n (1), bytes    as 5, with 66 n bytes of content, which these are repeated for
 *
 * Op + 16: the length of the first handshake message in the record is made to fit. All values are taken modulo
 * what there is.
 *
 * Owner: a fuzz target.
 */
enum meddler_epoch { MEDDLER_PLAIN, MEDDLER_HANDSHAKE, MEDDLER_APPLICATION, MEDDLER_EPOCHS };

/* Of whoever is changed; as far as they are known. */
struct meddler_secrets {
	struct records_master master;
	uint8_t handshake[DERIVE_HASH_BYTES_MAX];
	uint8_t application[DERIVE_HASH_BYTES_MAX];
};

struct meddler {
	const uint8_t *at;
	const uint8_t *end;
	const struct meddler_secrets *secrets;
	enum aead_cipher cipher;
	bool is_13;
	bool is_client;          /* whoever is changed */
	enum meddler_epoch epoch;
	struct tls_forge reads;  /* with the keys of the epoch */
	struct tls_forge writes;
	uint8_t let_by;
	bool has_edit;           /* let_by is of the next one */
	bool is_over;
	bool has_tampered;       /* with what a handshake is made of */
	bool has_edited;         /* at all */
	bool has_broken;         /* what is said is more than data in good records */
	size_t said;             /* bytes of data, as they are in `data` */
	uint8_t data[65536];
};

void meddler_begin(struct meddler *m, struct bytes edits, const struct meddler_secrets *secrets,
		   enum aead_cipher cipher, bool is_13, bool is_client);

/* What goes on in place of this record, into to, which has room for MEDDLER_BYTES_MAX; 0: nothing. */
#define MEDDLER_BYTES_MAX (256u * 1024)
size_t meddler_pass(struct meddler *m, struct bytes record, uint8_t *to);

/* From now on records are sealed with the keys of that epoch. */
void meddler_enter(struct meddler *m, enum meddler_epoch epoch);

/* There are no more records: what the rest of the edits says; 0: nothing, and that was all. */
size_t meddler_add(struct meddler *m, uint8_t *to);
