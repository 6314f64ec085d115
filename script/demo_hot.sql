-- A hundred tickets that everybody wants in the same second: in mode escrow, buyers do not
-- wait for each other.  ('auto' would leave that to the engine.)
SELECT on_hand FROM order_engine.receive_stock('ticket', 100);
SELECT order_engine.set_stock_mode('ticket', 'escrow');

-- Somebody is at the checkout already: two are held for ten minutes.
SELECT status, replayed FROM order_engine.try_reserve('cart-42', '[{"sku": "ticket", "quantity": 2}]', '10 minutes', user_id => 42);
