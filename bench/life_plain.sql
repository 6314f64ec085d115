-- the same life in the PL/pgSQL
\set user_id random(1, 1000000000)
\set sku random(1, :skus)
\set key random(1, 9000000000000000000)
SELECT order_id FROM create_order(:user_id, ('[{"sku": "SKU-' || :sku || '", "quantity": 1, "unit_price": 19.90}]')::jsonb, :key::text) \gset
SELECT outcome FROM pay_order(:order_id, 'ref', 19.90);
SELECT state FROM fire(:order_id, 'ship');
SELECT state FROM fire(:order_id, 'complete');
