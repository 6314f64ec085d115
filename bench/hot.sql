-- one order of one SKU out of :first to :last, under an idempotency key
-- order_engine or plain: the search_path says whose create_order
\set user_id random(1, 1000000000)
\set sku random(:first, :last)
\set key random(1, 9000000000000000000)
SELECT order_id, state, version, amount, due_at, replayed FROM create_order(:user_id, ('[{"sku": "SKU-' || :sku || '", "quantity": 1, "unit_price": 19.90}]')::jsonb, :key::text);
