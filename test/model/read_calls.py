"""Calls that read."""

import order_rules
import sql
from call import Call, Document
from chooser import USERS, Chooser


class ReadCalls(Chooser):
	def read(self, text, answer):
		"""answer(view) is what it must tell."""
		return Call(text, lambda view, who, told: answer(view), writes=False)

	def of_order(self, text, order_id, answer):
		"""answer(order), null if there is none."""
		return self.read(text, lambda view:
			view.peek(("order", order_id)) and answer(view.peek(("order", order_id))))

	def get_order(self):
		order_id = self.order_id()
		return self.of_order("SELECT " + sql.call("get_order", order_id), order_id, Document)

	def get_orders(self):
		ids = [self.order_id() for _ in range(3)]
		return self.read("SELECT array_agg(order_id ORDER BY order_id) FROM "
			"order_engine.get_orders(ARRAY[%s]::bigint[])" % ", ".join(map(str, ids)),
			lambda view: sorted(i for i in set(ids) if view.peek(("order", i))) or None)

	def user_orders(self):
		user, before = self.rng.choice(USERS), self.given(self.maybe(self.order_id(), 0.3))
		max_rows = self.rng.randint(1, 30)
		states = self.given(self.maybe(["pending", "paid", "open", "held"], 0.3))
		listed = "'{%s}'" % ",".join(states) if states else "NULL"
		return self.read("SELECT array_agg(order_id) AS ids, array_agg(state) AS states, "
			"array_agg(version) AS versions FROM order_engine.user_orders(%d, %s, %d, %s)"
			% (user, sql.literal(before), max_rows, listed), lambda view:
			page_answer(order_rules.user_page(view, user, before, max_rows, states)))

	def allowed_events(self):
		order_id = self.order_id()
		return self.of_order("SELECT " + sql.call("allowed_events", order_id), order_id,
			lambda order: order.machine.allowed(order.state))

	def history(self):
		order_id = self.order_id()
		return self.of_order("SELECT array_agg(event) FROM order_engine.order_history(%d)"
			% order_id, order_id, lambda order: [h.event for h in order.history])

	def replay(self):
		order_id = self.order_id()
		return self.of_order("SELECT (r).state || ' ' || (r).version FROM (SELECT "
			"order_engine.replay_events(o.machine_id, e.version, e.event, e.from_state, "
			"e.to_state ORDER BY e.version) AS r FROM order_engine.order_event e "
			"JOIN order_engine.orders o USING (order_id) WHERE order_id = %d) s" % order_id,
			order_id, lambda order: "%s %d" % (order.state, order.version))


def page_answer(page):
	"""Aggregates of no rows are null."""
	return {"ids": [o.id for o in page] or None, "states": [o.state for o in page] or None,
		"versions": [o.version for o in page] or None}
