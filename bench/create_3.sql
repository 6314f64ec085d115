-- one order of three SKUs out of :skus (three lines of one SKU if :skus is 1)
\set user_id random(1, 1000000000)
\set a random(1, :skus)
\set b 1 + (:a + 3333) % :skus
\set c 1 + (:a + 6777) % :skus
\set key random(1, 9000000000000000000)
SELECT order_id, state, version, amount, due_at, replayed FROM create_order(:user_id, ('[{"sku": "SKU-' || :a || '", "quantity": 1, "unit_price": 19.90}, {"sku": "SKU-' || :b || '", "quantity": 2, "unit_price": 7.50}, {"sku": "SKU-' || :c || '", "quantity": 1, "unit_price": 120}]')::jsonb, :key::text);
