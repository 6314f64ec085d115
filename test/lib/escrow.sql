-- Stock in mode escrow as its journal has it, without a call: by hand, as a superuser.
-- What is committed of it, folded or not, is told by public.stock_by_escrow.

-- A SKU of this quantity, or a new epoch of it.
CREATE FUNCTION public.escrow(of_sku text, quantity bigint, new_epoch bigint) RETURNS void LANGUAGE sql
SET session_replication_role = replica AS $$
	INSERT INTO order_engine.stock (sku, on_hand, mode, epoch) VALUES (of_sku, quantity, 'escrow', new_epoch)
	ON CONFLICT (sku) DO UPDATE SET on_hand = quantity, reserved = 0, mode = 'escrow', epoch = new_epoch
$$;
CREATE SEQUENCE public.change_id;
CREATE FUNCTION public.change(of_sku text, on_hand bigint, reserved bigint, of_epoch bigint DEFAULT NULL) RETURNS void LANGUAGE sql
SET session_replication_role = replica AS $$
	INSERT INTO order_engine.stock_journal (id, sku, on_hand, reserved, epoch, created_at, xid, era, ring)
	SELECT nextval('public.change_id'), of_sku, on_hand, reserved, coalesce(of_epoch, (SELECT epoch FROM order_engine.stock WHERE sku = of_sku)),
		clock_timestamp(), pg_current_xact_id(), (SELECT system_identifier FROM pg_control_system()),
		coalesce((SELECT current_ring FROM order_engine.journal_position WHERE journal = 'stock_journal' ORDER BY entry DESC LIMIT 1), 0)
$$;
CREATE VIEW public.stock_by_escrow AS
	SELECT s.sku, (s.on_hand + coalesce(sum(u.on_hand), 0))::bigint AS on_hand, (s.reserved + coalesce(sum(u.reserved), 0))::bigint AS reserved,
		s.version, count(u.sku) AS unfolded
	FROM order_engine.stock s LEFT JOIN order_engine.stock_journal_unfolded() u ON u.sku = s.sku AND u.epoch = s.epoch
	GROUP BY s.sku;
