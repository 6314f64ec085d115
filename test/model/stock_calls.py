"""Calls and SQL that change stock."""

import sql
import stock_rules
from call import Call, by_hand
from chooser import HUGE, SKUS, Chooser
from hand_rules import refused_if_there


class StockCalls(Chooser):
	def receive(self):
		if self.rng.random() < 0.1:
			return self.receive_call(HUGE, self.rng.choice([1, 2**31 - 1, 2**32, 2**63 - 1]))
		return self.receive_call(self.rng.choice(SKUS), self.rng.randint(1, 8),
			self.maybe(self.rng.choice(["return", "receipt"]), 0.2),
			self.maybe(self.rng.choice(["r1", "r2", "r3"]), 0.3))

	def receive_call(self, sku, quantity, reason=..., ref=...):
		return self.row("receive_stock", [sku, quantity], {"reason": reason, "ref": ref},
			lambda view, who, told: stock_rules.receive_stock(view, who, sku, quantity,
			self.given(reason, "receipt"), self.given(ref)), level="operator")

	def adjust(self):
		sku, delta = self.sku(), self.rng.choice([-5, -2, -1, 1, 3])
		reason = self.maybe(self.rng.choice(["broken", "found"]), 0.3)
		ref = self.maybe(self.rng.choice(["r1", "r2"]), 0.3)
		return self.row("adjust_stock", [sku, delta], {"reason": reason, "ref": ref},
			lambda view, who, told: stock_rules.adjust_stock(view, who, sku, delta,
			self.given(reason, "adjustment"), self.given(ref)), level="operator")

	def deduct(self):
		sku, quantity = self.sku(), self.rng.randint(1, 3)
		ref = self.maybe(self.rng.choice(["r1", "r2", "r3"]), 0.4)
		stock = self.pool.stock(sku)
		expected = self.maybe(stock.version + self.rng.choice([0, 0, 0, 1]) if stock else 1, 0.3)
		named = {"expected_version": expected, "ref": ref}
		return self.row("deduct_stock", [sku, quantity], named, lambda view, who, told:
			stock_rules.deduct_stock(view, who, sku, quantity, self.given(expected),
			self.given(ref)))

	def write_stock(self):
		"""By hand: what the owner may."""
		sku, on_hand = self.rng.choice(SKUS + ["e"]), self.rng.randint(0, 30)
		what = self.rng.randrange(4)
		stock = self.pool.stock(sku)
		if what > 1 and stock is not None and stock.mode == "escrow":
			# the row is as of the last fold, so only what is relative has a meaning
			return by_hand("UPDATE order_engine.stock SET on_hand = on_hand + %d WHERE sku = %s"
				% (on_hand, sql.literal(sku)),
				lambda view, who, told: stock_rules.add_stock(view, who, sku, on_hand), "owner")
		if what == 0:
			return by_hand("INSERT INTO order_engine.stock (sku, on_hand) VALUES (%s, %d)"
				% (sql.literal(sku), on_hand), lambda view, who, told:
				stock_rules.insert_stock(view, who, sku, on_hand), "owner")
		if what == 1:
			return by_hand("DELETE FROM order_engine.stock WHERE sku = %s" % sql.literal(sku),
				lambda view, who, told: stock_rules.delete_stock(view, who, sku), "owner")
		if what == 2:
			return by_hand("INSERT INTO order_engine.stock (sku, on_hand) VALUES (%s, %d) "
				"ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand"
				% (sql.literal(sku), on_hand),
				lambda view, who, told: stock_rules.upsert_stock(view, who, sku, on_hand), "owner")
		return by_hand("UPDATE order_engine.stock SET on_hand = %d WHERE sku = %s"
			% (on_hand, sql.literal(sku)),
			lambda view, who, told: stock_rules.update_stock(view, who, sku, on_hand), "owner")

	def spoil_stock(self):
		sku = self.rng.choice(SKUS)
		change = self.rng.choice(["reserved = reserved + 1", "version = version + 2",
			"mode = CASE mode WHEN 'row' THEN 'escrow' ELSE 'row' END", "epoch = epoch + 1",
			"auto_mode = true", "open = NOT open", "sku = sku || 'x'"])
		return by_hand("UPDATE order_engine.stock SET %s WHERE sku = %s"
			% (change, sql.literal(sku)),
			lambda view, who, told: refused_if_there(view, ("stock", sku), "OE014"), "owner")

	def set_open(self):
		"""Open for most of the time, so that something is sold."""
		sku, open = self.sku(), self.rng.random() < 0.7
		return Call("SELECT " + sql.call("set_stock_open", sku, open), lambda view, who, told:
			stock_rules.set_stock_open(view, who, sku, open), level="operator")

	def set_mode(self):
		mode = self.rng.choice(["row", "escrow", "escrow"])
		if self.rng.random() < 0.6:
			return self.set_mode_call(self.sku(), mode)
		skus = [self.sku() for _ in range(self.rng.randint(1, 3))]
		array = sql.Raw("ARRAY[%s]" % ", ".join(map(sql.literal, skus)))
		return self.mode_call(array, mode, lambda view, who, told:
			stock_rules.set_stock_mode(view, skus, mode, told))

	def set_mode_call(self, sku, mode):
		return self.mode_call(sku, mode, lambda view, who, told:
			stock_rules.set_stock_mode(view, [sku], mode, told) == 1)

	def mode_call(self, what, mode, predict):
		return Call("SELECT " + sql.call("set_stock_mode", what, mode), predict, level="operator",
			after="SELECT sku, version FROM order_engine.stock", plain_only=True)

	def available(self):
		sku = self.sku()
		return Call("SELECT " + sql.call("available", sku), lambda view, who, told:
			available(view, sku), writes=False)


def available(view, sku):
	view.shared.add(("stock", sku))
	stock = view.peek(("stock", sku))
	return stock and stock.available
