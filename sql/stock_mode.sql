-- The mode of a SKU's stock: by its row, by a counter in shared memory, or as the keeper chooses.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql

CREATE VIEW public.modes AS
	SELECT sku, on_hand, reserved, version, mode, auto_mode, epoch <> 0 AS has_epoch FROM stock ORDER BY sku;
SELECT sku FROM (VALUES ('cup'), ('pen'), ('tea')) AS s (sku), receive_stock(sku, 10);

--
-- There and back again; the mode that it has changes nothing.
--
SELECT set_stock_mode('tea', 'escrow');
SELECT set_stock_mode('tea', 'escrow');
TABLE public.modes;
SELECT set_stock_mode('tea', 'row');
SELECT set_stock_mode('tea', 'row');
TABLE public.modes;

-- auto leaves the mode as it is; row and escrow end it.
SELECT set_stock_mode('tea', 'auto');
SELECT set_stock_mode('tea', 'auto');
TABLE public.modes;
SELECT set_stock_mode('tea', 'escrow');
SELECT set_stock_mode('tea', 'auto');
TABLE public.modes;
SELECT set_stock_mode('tea', 'row');
TABLE public.modes;

--
-- Many at once, each once, all or none.
--
SELECT set_stock_mode(ARRAY['tea', 'cup', 'tea'], 'escrow');
SELECT set_stock_mode(ARRAY['tea', 'pen'], 'escrow');
SELECT attempt($$SELECT set_stock_mode(ARRAY['cup', 'nil', 'tea'], 'row')$$);
TABLE public.modes;
SELECT set_stock_mode(ARRAY['cup', 'pen', 'tea'], 'row');
SELECT set_stock_mode('{}'::text[], 'row');

--
-- Each has its own epoch each time.
--
SELECT set_stock_mode('tea', 'escrow');
SELECT epoch AS first FROM stock WHERE sku = 'tea' \gset
SELECT set_stock_mode('tea', 'row');
SELECT set_stock_mode('tea', 'escrow');
SELECT epoch > :first AS later FROM stock WHERE sku = 'tea';
SELECT set_stock_mode('tea', 'row');

--
-- It is part of the transaction.
--
BEGIN;
SELECT set_stock_mode('tea', 'escrow');
ROLLBACK;
TABLE public.modes;
BEGIN;
SAVEPOINT s;
SELECT set_stock_mode('tea', 'escrow');
ROLLBACK TO s;
-- what was rolled back does not count as a switch
SELECT set_stock_mode('tea', 'escrow');
COMMIT;
BEGIN;
SAVEPOINT s;
SELECT set_stock_mode('tea', 'row');
ROLLBACK TO s;
SELECT set_stock_mode('tea', 'row');
COMMIT;
TABLE public.modes;
-- once in a transaction
BEGIN;
SELECT set_stock_mode('tea', 'escrow');
SELECT attempt($$SELECT set_stock_mode('tea', 'row')$$);
COMMIT;
SELECT set_stock_mode('tea', 'row');

--
-- PREPARE TRANSACTION is for those without.
--
BEGIN;
SELECT set_stock_mode('tea', 'escrow');
PREPARE TRANSACTION 'stock_mode';
TABLE public.modes;

--
-- What makes no sense.
--
SELECT attempt($$SELECT set_stock_mode('tea', 'fast')$$);
SELECT attempt($$SELECT set_stock_mode('tea', NULL)$$);
SELECT attempt($$SELECT set_stock_mode(NULL::text, 'row')$$);
SELECT attempt($$SELECT set_stock_mode(NULL::text[], 'row')$$);
SELECT attempt($$SELECT set_stock_mode(ARRAY['tea', NULL], 'row')$$);
SELECT attempt($$SELECT set_stock_mode('', 'row')$$);
SELECT attempt($$SELECT set_stock_mode('nil', 'row')$$);
BEGIN READ ONLY;
SELECT attempt($$SELECT set_stock_mode('tea', 'escrow')$$);
COMMIT;

--
-- A user's trigger on the row has no say in the numbers.
--
CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.on_hand := NEW.on_hand + 1;
	RETURN NEW;
END
$$;
CREATE TRIGGER meddle BEFORE UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION public.meddle();
SELECT attempt($$SELECT set_stock_mode('tea', 'escrow')$$);
DROP TRIGGER meddle ON stock;
TABLE public.modes;
