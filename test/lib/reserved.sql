-- Stock in this :mode to reserve, and what is looked at in tests of reservations.
SET timezone = 'UTC';

INSERT INTO stock (sku, on_hand) VALUES ('apple', 10), ('Banana', 5), ('cherry', 1);
SELECT count(set_stock_mode(sku, :'mode')) FROM stock;
SELECT count(*) FROM stock WHERE mode = :'mode';
CREATE VIEW counts AS SELECT sku, on_hand, reserved, available FROM stock_now ORDER BY sku COLLATE "C";
CREATE VIEW kept AS SELECT reservation_id, user_id, state, lines, confirmed, order_id IS NOT NULL AS ordered, actor,
	expires_at IS NOT NULL AS expires, resolved_at IS NOT NULL AS resolved FROM reservation ORDER BY reservation_id, user_id;
CREATE FUNCTION expire(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL session_replication_role = replica;
	UPDATE reservation SET expires_at = now() - interval '1 s' WHERE reservation_id = name;
	SET LOCAL session_replication_role = origin;
END $$;
