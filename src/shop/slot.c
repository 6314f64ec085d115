/*
 * slot.c
 *		User to slot, order id to slot, and slot to leaf.
 *
 * The mix is the finalizer of splitmix64 (Steele, Lea and Flood, "Fast
 * Splittable Pseudorandom Number Generators", OOPSLA 2014; constants of
 * Stafford's variant 13).
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/compat.h"
#include "shop/slot.h"

/*
 * PostgreSQL picks a hash partition by the remainder of this constant (its
 * hash_combine64 of zero) plus the hash.  The support function takes it away
 * again, so that leaf = slot mod partitions.
 */
#define HASH_COMBINE_OF_ZERO UINT64CONST(0x49a0f4dd15e5a8e3)

PG_FUNCTION_INFO_V1(order_engine_slot_of_user);
PG_FUNCTION_INFO_V1(order_engine_slot_of_order);
PG_FUNCTION_INFO_V1(order_engine_slot_of_text);
PG_FUNCTION_INFO_V1(order_engine_user_id_of);
PG_FUNCTION_INFO_V1(order_engine_slot_hash);
PG_FUNCTION_INFO_V1(order_engine_slot_hash_extended);
PG_FUNCTION_INFO_V1(order_engine_slot_hash_int4);
PG_FUNCTION_INFO_V1(order_engine_slot_hash_extended_int4);
PG_FUNCTION_INFO_V1(order_engine_slot_hash_int2);
PG_FUNCTION_INFO_V1(order_engine_slot_hash_extended_int2);

int
slot_of_user(int64 user_id)
{
	uint64 z = (uint64) user_id;

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	z = z ^ (z >> 31);
	return (int) (z >> (64 - SLOT_BITS));
}

static inline Datum
slot_hash(int64 order_id)
{
	return UInt32GetDatum((uint32) slot_of_order(order_id));
}

static inline Datum
slot_hash_extended(int64 order_id)
{
	return UInt64GetDatum((uint64) slot_of_order(order_id) - HASH_COMBINE_OF_ZERO);
}

Datum
order_engine_slot_of_user(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(slot_of_user(PG_GETARG_INT64(0)));
}

Datum
order_engine_slot_of_order(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(slot_of_order(PG_GETARG_INT64(0)));
}

/* The text in UTF-8, which the same text is in every database. */
static bytea *
utf8_bytes(const char *text)
{
	return (bytea *) cstring_to_text(pg_server_to_any(text, strlen(text), PG_UTF8));
}

/* The leading 63 bits of the digest; 1 for the one digest in 2^63 where they are 0. */
static int64
user_id_of(const char *name)
{
	bytea *digest =
		DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, PointerGetDatum(utf8_bytes(name))));
	uint64 leading;

	memcpy(&leading, VARDATA_ANY(digest), sizeof(leading));
	return Max((int64) (pg_ntoh64(leading) >> 1), 1);
}

int
slot_of_text(const char *text)
{
	return slot_of_user(user_id_of(text));
}

Datum
order_engine_user_id_of(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (*name == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"name\" of a user must not be empty"),
						errhint("All users without a name would be one and the same.")));
	PG_RETURN_INT64(user_id_of(name));
}

Datum
order_engine_slot_of_text(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(slot_of_text(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/* Support functions of order_slot_ops; the seed is of no use to partitioning. */
Datum
order_engine_slot_hash(PG_FUNCTION_ARGS)
{
	return slot_hash(PG_GETARG_INT64(0));
}

Datum
order_engine_slot_hash_extended(PG_FUNCTION_ARGS)
{
	return slot_hash_extended(PG_GETARG_INT64(0));
}

Datum
order_engine_slot_hash_int4(PG_FUNCTION_ARGS)
{
	return slot_hash(PG_GETARG_INT32(0));
}

Datum
order_engine_slot_hash_extended_int4(PG_FUNCTION_ARGS)
{
	return slot_hash_extended(PG_GETARG_INT32(0));
}

Datum
order_engine_slot_hash_int2(PG_FUNCTION_ARGS)
{
	return slot_hash(PG_GETARG_INT16(0));
}

Datum
order_engine_slot_hash_extended_int2(PG_FUNCTION_ARGS)
{
	return slot_hash_extended(PG_GETARG_INT16(0));
}
