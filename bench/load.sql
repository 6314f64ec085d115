-- both shops in one database, :skus SKUs each with stock for ever
CREATE EXTENSION order_engine;
SET client_min_messages = error;
SELECT order_engine.setup();
\ir plpgsql.sql
INSERT INTO order_engine.stock (sku, on_hand) SELECT 'SKU-' || n, 1000000000 FROM generate_series(1, :skus) n;
INSERT INTO plain.stock (sku, on_hand) SELECT 'SKU-' || n, 1000000000 FROM generate_series(1, :skus) n;
VACUUM ANALYZE order_engine.stock, plain.stock;
