/*
 * keeper_status_internal.h
 *		What the keeper, or tend() in its place, tells about itself.
 *
 * Without shared_preload_libraries nothing is kept.
 */
#ifndef ORDER_ENGINE_KEEPER_STATUS_INTERNAL_H
#define ORDER_ENGINE_KEEPER_STATUS_INTERNAL_H

/* A keeper has started. */
extern void keeper_status_start(void);

/* All that was due has been looked at; so many orders rest. */
extern void keeper_status_pass(int64 resting);

/* What went wrong last, with which order (0: none).  The message is cut; NULL: it has none. */
extern void keeper_status_error(int64 order_id, int sqlerrcode, const char *message);

/* Asks for shared memory. */
extern void keeper_status_init(void);

#endif /* ORDER_ENGINE_KEEPER_STATUS_INTERNAL_H */
