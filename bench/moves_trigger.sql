-- three moves by plain UPDATE: the triggers check them, write history, stock and event
\set user_id random(1, 1000000000)
\set sku random(1, :skus)
SELECT order_id FROM create_order(:user_id, ('[{"sku": "SKU-' || :sku || '", "quantity": 1}]')::jsonb) \gset
UPDATE orders SET state = 'paid' WHERE order_id = :order_id;
UPDATE orders SET state = 'shipped' WHERE order_id = :order_id;
UPDATE orders SET state = 'completed' WHERE order_id = :order_id;
