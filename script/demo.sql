-- Something to sell.  The reference makes a receipt idempotent.
SELECT * FROM order_engine.receive_stock('tea-250g', 3, ref => 'delivery-1');

-- An order.  Its key makes the call safe to repeat.
SELECT * FROM order_engine.create_order(
    user_id => 42,
    lines => '[{"sku": "tea-250g", "quantity": 2, "unit_price": 7.50}]',
    idempotency_key => 'cart-9001',
    currency => 'EUR',
    adjustments => '[{"kind": "shipping", "amount": 3.90}]',
    private => '{"name": "Ada", "street": "never leaves this column"}') \gset order_
\echo order :order_order_id is :order_state, version :order_version, :order_amount to pay until :order_due_at

-- The same request again, as after a lost connection: the same order, nothing taken twice.
SELECT order_id = :order_order_id AS same_order, replayed FROM order_engine.create_order(
    user_id => 42,
    lines => '[{"sku": "tea-250g", "quantity": 2, "unit_price": 7.50}]',
    idempotency_key => 'cart-9001',
    currency => 'EUR',
    adjustments => '[{"kind": "shipping", "amount": 3.90}]',
    private => '{"name": "Ada", "street": "never leaves this column"}');
SELECT order_engine.available('tea-250g');

-- Oversell: one is left, another buyer wants two.
SELECT * FROM order_engine.create_order(43, '[{"sku": "tea-250g", "quantity": 2, "unit_price": 7.50}]');

-- An illegal move: shipping what nobody paid for.
SELECT * FROM order_engine.ship_order(:order_order_id);

-- The same rules hold for SQL typed by hand.
UPDATE order_engine.orders SET state = 'shipped' WHERE order_id = :order_order_id;

-- The payment provider calls, twice.
SELECT outcome, replayed, state, version, captured FROM order_engine.pay_order(:order_order_id, 'psp-77', 18.90, 'EUR');
SELECT outcome, replayed, state, version, captured FROM order_engine.pay_order(:order_order_id, 'psp-77', 18.90, 'EUR');

-- Shipped by a call, completed by a plain UPDATE as an ORM writes it.
SELECT state, version FROM order_engine.ship_order(:order_order_id, attributes => '{"parcel": "DE123"}');
UPDATE order_engine.orders SET state = 'completed', version = version + 1
    WHERE order_id = :order_order_id AND version = 3 RETURNING state, version;

-- What happened.
SELECT version, event, from_state, to_state, actor FROM order_engine.order_history(:order_order_id);
SELECT sku, on_hand, reserved FROM order_engine.stock;
