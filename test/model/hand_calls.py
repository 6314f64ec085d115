"""SQL of a user's own on orders, and on what only the engine writes."""

from decimal import Decimal

import hand_rules
import sql
from call import Call, Expression, by_hand
from chooser import FUTURE, KEYS, PAST, SECRET, USERS, Chooser
from hand_rules import refused_if_any, refused_if_there


class HandCalls(Chooser):
	def update_state(self):
		order = self.some_order()
		if order is None:
			return None
		states = [t.to for t in order.machine.transitions if t.from_state == order.state]
		state = self.rng.choice(states if states and self.rng.random() < 0.8
			else [*sorted(order.machine.states), "nowhere"])
		changes = {"state": state}
		if self.rng.random() < 0.3:
			changes["attributes"] = self.attributes()
		return self.update_call([order], changes, self.maybe(order.version, 0.4))

	def update_other(self):
		order = self.some_order()
		if order is None:
			return None
		changes = self.rng.choice([{"attributes": self.attributes()}, {"private": {"p": SECRET}},
			{"due_at": PAST}, {"due_at": FUTURE}, {"due_at": None}, {"attributes": [1]},
			{"private": None}, {"state": None}, {"attributes": {"a": 1}, "due_at": PAST}])
		return self.update_call([order], changes)

	def update_orm(self):
		"""Optimistic locking as ORMs do it, from a page that may be stale."""
		order = self.some_order()
		if order is None:
			return None
		states = [t.to for t in order.machine.transitions if t.from_state == order.state]
		changes = {"state": self.rng.choice(states)} if states and self.rng.random() < 0.6 \
			else {"attributes": self.attributes()}
		if self.rng.random() < 0.4:
			changes.update(self.written_back(order))
		seen = order.version - self.rng.choice([0, 0, 0, 1])
		changes["version"] = Expression("version + 1", lambda o: o.version + 1) \
			if self.rng.random() < 0.5 else seen + 1
		return self.update_call([order], changes, seen)

	def written_back(self, order):
		columns = {"user_id": order.user, "amount": order.amount, "currency": order.currency,
			"idempotency_key": order.key, "captured": order.captured, "order_id": order.id,
			"refunded": order.refunded + Decimal("0.00")}
		columns["amount"] += Decimal("0.0000")
		return columns

	def update_forbidden(self):
		order = self.some_order()
		if order is None:
			return None
		changes = self.rng.choice([{"amount": order.amount + 1}, {"captured": order.captured + 1},
			{"refunded": order.refunded + 1}, {"user_id": order.user - 1},
			{"machine_id": order.machine.id + 1}, {"currency": "XXX"},
			{"subtotal": order.subtotal + 1}, {"idempotency_key": "other"},
			{"adjustments": [{}]}, {"version": order.version + 2},
			{"version": order.version - 1}, {"version": None}, {"order_id": order.id + 1}])
		return self.update_call([order], changes)

	def update_many(self):
		orders = self.pool.orders()
		if len(orders) < 2:
			return None
		order = self.some_order()
		chosen = [o for o in orders[-30:] if o.machine.id == order.machine.id
			and o.state == order.state][-self.rng.randint(2, 4):]
		states = [t.to for t in order.machine.transitions if t.from_state == order.state]
		if states and chosen and self.rng.random() < 0.7:
			return self.update_call(chosen, {"state": self.rng.choice(states)})
		return self.update_call(self.rng.sample(orders, 2), {"attributes": {"many": 1}})

	def update_call(self, orders, changes, version=...):
		table = "orders" if self.rng.random() < 0.9 or len(orders) > 1 else \
			self.pool.leaf(orders[0].id)
		where = "order_id IN (%s)" % ", ".join(str(o.id) for o in orders)
		if version is not ...:
			where += " AND version = %d" % version
		text = "UPDATE order_engine.%s SET %s WHERE %s" % (table,
			", ".join("%s = %s" % (c, assigned(v)) for c, v in changes.items()), where)
		ids = [o.id for o in orders]
		level = "app" if table == "orders" else "owner"
		made = by_hand(text, lambda view, who, told: hand_rules.update_rows(view, who, ids,
			version, model_changes(changes)), level, counted=True)
		made.several = len(ids) > 1
		return made

	def insert(self):
		user = self.rng.choice(USERS)
		given = self.rng.choice([{}, {}, {"state": "pending"}, {"version": 1}, {"currency": "eur"},
			{"currency": "EURO"}, {"currency": "JPY", "amount": Decimal("0.5")},
			{"currency": "usd", "amount": Decimal("2.50")},
			{"attributes": {"raw": 1}, "private": {"name": SECRET}}, {"state": "paid"},
			{"version": 0}, {"version": 2}, {"captured": 1}, {"machine_id": 77},
			{"machine_id": self.rng.choice(self.pool.machine_ids())},
			{"idempotency_key": self.rng.choice(KEYS)}])
		columns = "".join(", " + c for c in given)
		values = "".join(", " + sql.literal(v) for v in given.values())
		order_id = self.rng.choice(["NULL", "0"]) if self.rng.random() < 0.2 else \
			"order_engine.next_order_id(%d)" % user
		text = ("INSERT INTO order_engine.orders (order_id, user_id%s) "
			"VALUES (%s, %d%s) RETURNING order_id" % (columns, order_id, user, values))
		if order_id in ("NULL", "0") and self.pool.partitions() > 1:
			return self.refused(text, "22004" if order_id == "NULL" else "22023")
		return Call(text, lambda view, who, told:
			hand_rules.insert_order(view, who, told.new_id, user, given))

	def insert_elsewhere(self):
		"""An id that belongs to another user."""
		text = ("INSERT INTO order_engine.orders (order_id, user_id) "
			"VALUES (order_engine.next_order_id(1), 2)")
		return self.refused(text, "22023")

	def upsert(self):
		order = self.some_order()
		user = order.user if order else 1
		fresh = order is None or self.rng.random() < 0.4
		order_id = self.pool.draw_id(user) if fresh else order.id
		if self.rng.random() < 0.3:
			return by_hand("INSERT INTO order_engine.orders (order_id, user_id) VALUES (%d, %d) "
				"ON CONFLICT DO NOTHING" % (order_id, user),
				lambda view, who, told: hand_rules.insert_or(view, who, order_id, user, {}, None))
		state = "pending" if fresh or self.rng.random() < 0.2 else \
			self.rng.choice(sorted(order.machine.states))
		return by_hand("INSERT INTO order_engine.orders (order_id, user_id, state) "
			"VALUES (%d, %d, %s) ON CONFLICT (order_id) DO UPDATE SET state = excluded.state"
			% (order_id, user, sql.literal(state)), lambda view, who, told:
			hand_rules.insert_or(view, who, order_id, user, {"state": state}, {"state": state}))

	def merge(self):
		order = self.some_order()
		user = order.user if order else 1
		fresh = order is None or self.rng.random() < 0.4
		order_id = self.pool.draw_id(user) if fresh else order.id
		state = self.rng.choice(sorted(order.machine.states)) if order else "pending"
		return by_hand("MERGE INTO order_engine.orders o "
			"USING (VALUES (%d::bigint, %s)) AS s (id, state) ON o.order_id = s.id "
			"WHEN MATCHED THEN UPDATE SET state = s.state "
			"WHEN NOT MATCHED THEN INSERT (order_id, user_id) VALUES (s.id, %d)"
			% (order_id, sql.literal(state), user), lambda view, who, told:
			hand_rules.insert_or(view, who, order_id, user, {}, {"state": state}))

	def copy(self):
		user = self.rng.choice(USERS)
		ids = [self.pool.draw_id(user) for _ in range(self.rng.randint(1, 3))]
		made = by_hand("COPY order_engine.orders (order_id, user_id, attributes) FROM STDIN",
			lambda view, who, told: insert_all(view, who, ids, user))
		made.data = "".join("%d\t%d\t{\"copied\": 1}\n" % (i, user) for i in ids)
		return made

	def delete(self):
		order = self.some_order()
		if order is None:
			return None
		return by_hand("DELETE FROM order_engine.orders WHERE order_id = %d" % order.id,
			lambda view, who, told: refused_if_there(view, ("order", order.id), "OE014"), "owner")

	def protected(self):
		"""What only the engine writes."""
		order = self.some_order()
		if order is None:
			return None
		table = self.rng.choice(["order_line", "order_event", "payment"])
		there = {"order_line": "lines", "order_event": "history", "payment": "payments"}[table]
		what = self.rng.choice(["DELETE FROM order_engine.%s WHERE order_id = %d",
			"UPDATE order_engine.%s SET attributes = '{}' WHERE order_id = %d",
			"INSERT INTO order_engine.%s SELECT * FROM order_engine.{0} WHERE order_id = %d"])
		text = what.replace("{0}", table) % (table, order.id)
		return by_hand(text,
			lambda view, who, told: refused_if_any(view, order.id, there), "owner")

	def truncate(self):
		table = self.rng.choice(["orders", "order_line", "stock", "stock_movement", "outbox",
			"machine", "payment"])
		made = self.refused("TRUNCATE order_engine.%s" % table, "OE014", level="owner")
		made.locks_all = True
		return made


def insert_all(view, who, ids, user):
	for order_id in ids:
		hand_rules.insert_order(view, who, order_id, user, {"attributes": {"copied": 1}})


def assigned(value):
	return value.text if isinstance(value, Expression) else sql.literal(value)


def model_changes(changes):
	names = {"user_id": "user", "order_id": "id", "idempotency_key": "key"}
	return {names.get(c, c): v.value if isinstance(v, Expression) else v
		for c, v in changes.items()}
