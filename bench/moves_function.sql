-- the same rows as moves_trigger.sql, written by hand: each move one PL/pgSQL function
\set user_id random(1, 1000000000)
\set sku random(1, :skus)
SELECT order_id FROM create_order(:user_id, ('[{"sku": "SKU-' || :sku || '", "quantity": 1}]')::jsonb) \gset
SELECT state FROM fire(:order_id, 'pay');
SELECT state FROM fire(:order_id, 'ship');
SELECT state FROM fire(:order_id, 'complete');
