/* SHA-256 of a counter and the key. */
#include "tls/blinding.h"

#include "tls/derive.h"

int
blinding_fill(void *owner, uint8_t *to, size_t len)
{
	struct blinding *blinding = owner;
	const struct bytes parts[] = { bytes_make(&blinding->counter, sizeof(blinding->counter)),
				       blinding->key };
	uint8_t hash[32];

	while (len > 0) {
		size_t part = len < sizeof(hash) ? len : sizeof(hash);

		derive_digest(DERIVE_SHA256, parts, 2, hash);
		memcpy(to, hash, part);
		to += part;
		len -= part;
		blinding->counter++;
	}
	explicit_bzero(hash, sizeof(hash));
	return 0;
}
