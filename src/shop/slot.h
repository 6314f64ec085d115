/*
 * slot.h
 *		The 1024 logical shards, and the anatomy of an order id.
 *
 * Pure functions: they know nothing of tables.  All of it is a persistent
 * contract, pinned by test vectors: ids that customers hold are made of it.
 */
#ifndef ORDER_ENGINE_SLOT_H
#define ORDER_ENGINE_SLOT_H

#define SLOT_BITS 10
#define SLOT_COUNT (1 << SLOT_BITS)
#define SEQUENCE_BITS 12
#define SEQUENCE_COUNT (1 << SEQUENCE_BITS)

/* 2024-01-01 00:00:00 UTC in milliseconds since the Unix epoch */
#define ORDER_EPOCH_MS INT64CONST(1704067200000)

/* The slot of a user, 0..1023: the top bits of splitmix64's finalizer. */
extern int slot_of_user(int64 user_id);

/* The slot of that user whom user_id_of() makes of the text. */
extern int slot_of_text(const char *text);

/* The slot written into an order id, 0..1023; defined for any bigint. */
static inline int
slot_of_order(int64 order_id)
{
	return (int) (((uint64) order_id >> SEQUENCE_BITS) & (SLOT_COUNT - 1));
}

/* The owner of slots is later a matter of nodes; one node owns them all. */
static inline int
slot_lowest_owned(void)
{
	return 0;
}

#endif /* ORDER_ENGINE_SLOT_H */
