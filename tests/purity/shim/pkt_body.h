#pragma once

/*
 * pkt_body for nobody: the shim's names without bodies, so that what the pure core imports can be read off
 * its objects (test_purity.py). Never linked into a program.
 */
struct pkt *pkt_alloc(struct pkt_pool *pool);
struct pkt *pkt_attach(struct pkt_pool *pool, struct pkt *from, uint32_t offset, uint32_t len);
bool pkt_extend(struct pkt *head, const struct pkt *from, uint32_t offset, uint32_t len);
void pkt_ref(struct pkt *p);
void pkt_free(struct pkt *p);
uint32_t pkt_refs(const struct pkt *p);
uint8_t *pkt_data(const struct pkt *p);
uint32_t pkt_len(const struct pkt *p);
uint32_t pkt_total(const struct pkt *p);
struct pkt *pkt_next(const struct pkt *p);
uint32_t pkt_segments(const struct pkt *p);
uint32_t pkt_truesize(const struct pkt *p);
uint32_t pkt_headroom(const struct pkt *p);
uint32_t pkt_tailroom(const struct pkt *p);
uint8_t *pkt_prepend(struct pkt *p, uint32_t n);
uint8_t *pkt_append(struct pkt *p, uint32_t n);
uint8_t *pkt_pull(struct pkt *p, uint32_t n);
void pkt_trim(struct pkt *p, uint32_t n);
void pkt_chain(struct pkt *head, struct pkt *tail);
struct pkt *pkt_unchain(struct pkt *head);
struct pkt_meta *pkt_meta(const struct pkt *p);
struct pkt_pool_stats pkt_pool_stats(const struct pkt_pool *pool);
