
/* ---- slot: the 1024 logical shards ---- */

CREATE FUNCTION order_engine.slot_of_user(user_id bigint) RETURNS int
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_of_user';
COMMENT ON FUNCTION order_engine.slot_of_user(bigint) IS
'The logical shard of a user, 0 to 1023: the top 10 bits of the splitmix64 finalizer of user_id. It never changes.';
REVOKE ALL ON FUNCTION order_engine.slot_of_user(bigint) FROM PUBLIC;

CREATE FUNCTION order_engine.slot_of_order(order_id bigint) RETURNS int
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_of_order';
COMMENT ON FUNCTION order_engine.slot_of_order(bigint) IS
'The logical shard that is written into an order id, 0 to 1023. It equals slot_of_user() of the order''s user.';
REVOKE ALL ON FUNCTION order_engine.slot_of_order(bigint) FROM PUBLIC;

CREATE FUNCTION order_engine.user_id_of(name text) RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_user_id_of';
COMMENT ON FUNCTION order_engine.user_id_of(text) IS
'A user_id, 1 to 2^63 - 1, for a user who has no number but a name: a UUID, a login, a guest''s token. The first 63 bits of the SHA-256 of its UTF-8, so the same text is the same user everywhere and for ever, and another case or a space is another user. That two of n users share an id has a probability of n^2 / 2^64: 5e-8 for a million users, 5e-4 for a hundred million, 5 percent for a thousand million. Null for null. Error: 22023 for an empty text.';
REVOKE ALL ON FUNCTION order_engine.user_id_of(text) FROM PUBLIC;

CREATE FUNCTION order_engine.slot_of_text(value text) RETURNS int
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_of_text';
COMMENT ON FUNCTION order_engine.slot_of_text(text) IS
'The logical shard of what has a text and no user, 0 to 1023: a reservation by its id. It is that of the user whom user_id_of() makes of the text, so a guest''s token as the id lies with the guest. It never changes. Null for null.';
REVOKE ALL ON FUNCTION order_engine.slot_of_text(text) FROM PUBLIC;

CREATE FUNCTION order_engine.slot_hash(bigint) RETURNS int
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_hash';
CREATE FUNCTION order_engine.slot_hash_extended(bigint, bigint) RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_hash_extended';
CREATE FUNCTION order_engine.slot_hash(int) RETURNS int
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_hash_int4';
CREATE FUNCTION order_engine.slot_hash_extended(int, bigint) RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_hash_extended_int4';
CREATE FUNCTION order_engine.slot_hash(smallint) RETURNS int
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_hash_int2';
CREATE FUNCTION order_engine.slot_hash_extended(smallint, bigint) RETURNS bigint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'order_engine_slot_hash_extended_int2';
COMMENT ON FUNCTION order_engine.slot_hash(bigint) IS 'support function of order_slot_ops: the slot of an order id';
COMMENT ON FUNCTION order_engine.slot_hash_extended(bigint, bigint) IS 'support function of order_slot_ops: makes leaf = slot mod partitions';
COMMENT ON FUNCTION order_engine.slot_hash(int) IS 'support function of order_slot_ops: the slot of an order id';
COMMENT ON FUNCTION order_engine.slot_hash_extended(int, bigint) IS 'support function of order_slot_ops: makes leaf = slot mod partitions';
COMMENT ON FUNCTION order_engine.slot_hash(smallint) IS 'support function of order_slot_ops: the slot of an order id';
COMMENT ON FUNCTION order_engine.slot_hash_extended(smallint, bigint) IS 'support function of order_slot_ops: makes leaf = slot mod partitions';
REVOKE ALL ON FUNCTION order_engine.slot_hash(bigint), order_engine.slot_hash_extended(bigint, bigint),
	order_engine.slot_hash(int), order_engine.slot_hash_extended(int, bigint),
	order_engine.slot_hash(smallint), order_engine.slot_hash_extended(smallint, bigint) FROM PUBLIC;

CREATE OPERATOR FAMILY order_engine.order_slot_ops USING hash;
CREATE OPERATOR CLASS order_engine.order_slot_ops FOR TYPE bigint USING hash FAMILY order_engine.order_slot_ops AS
	OPERATOR 1 pg_catalog.= (bigint, bigint),
	FUNCTION 1 order_engine.slot_hash(bigint),
	FUNCTION 2 order_engine.slot_hash_extended(bigint, bigint);
COMMENT ON OPERATOR FAMILY order_engine.order_slot_ops USING hash IS
'partitioning by an order''s slot: leaf = slot mod partitions';
COMMENT ON OPERATOR CLASS order_engine.order_slot_ops USING hash IS
'for order ids: PARTITION BY HASH (order_id order_engine.order_slot_ops) gives a table the partitions of orders';
ALTER OPERATOR FAMILY order_engine.order_slot_ops USING hash ADD
	OPERATOR 1 pg_catalog.= (bigint, int),
	OPERATOR 1 pg_catalog.= (bigint, smallint),
	OPERATOR 1 pg_catalog.= (int, bigint),
	OPERATOR 1 pg_catalog.= (smallint, bigint),
	OPERATOR 1 pg_catalog.= (int, int),
	OPERATOR 1 pg_catalog.= (smallint, smallint),
	OPERATOR 1 pg_catalog.= (int, smallint),
	OPERATOR 1 pg_catalog.= (smallint, int),
	FUNCTION 1 (int, int) order_engine.slot_hash(int),
	FUNCTION 2 (int, int) order_engine.slot_hash_extended(int, bigint),
	FUNCTION 1 (smallint, smallint) order_engine.slot_hash(smallint),
	FUNCTION 2 (smallint, smallint) order_engine.slot_hash_extended(smallint, bigint);
