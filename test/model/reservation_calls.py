"""Calls that hold stock before there is an order."""

import reservation_rules
import sql
from call import Call
from chooser import RESERVATIONS, Chooser
from order_calls import read_line

OWNERS = [None, None, 1, 2, 42]
# what one line can ask for, less what a test adds
OF_A_LINE = 2**31 - 5
# how long, and whether that is over as soon as anybody looks
TTL = {"1 hour": False, "1 year": False, "1 microsecond": True}


class ReservationCalls(Chooser):
	def reservation(self, *states):
		"""(user, id) of one that is in such a state, now and then of any."""
		there = self.pool.reservations()
		fitting = [held for held in there if held.state in states]
		if self.rng.random() < 0.25:
			fitting = there
		if fitting and self.rng.random() < 0.95:
			held = self.rng.choice(fitting)
			return held, held.user, held.name
		return None, self.rng.choice(OWNERS), self.rng.choice(RESERVATIONS)

	def ttl(self):
		return self.rng.choices(list(TTL), [6, 1, 4])[0]

	def try_reserve(self):
		user, name, ttl = self.rng.choice(OWNERS), self.rng.choice(RESERVATIONS), self.ttl()
		lines = [self.line() for _ in range(self.rng.choice([1, 1, 2, 3]))]
		earlier = self.pool.recall_try(self.rng)
		if earlier is not None and self.rng.random() < 0.25:
			user, name, lines, ttl = earlier
			lines = [self.in_other_words(line) for line in lines]
		self.pool.remember_try(user, name, lines, ttl)
		read = tuple(map(read_line, lines))
		return self.row("try_reserve", [name, lines, ttl], {"user_id": self.owner(user)},
			lambda view, who, told: reservation_rules.try_reserve(view, who, user, name, read,
			TTL[ttl]))

	def owner(self, user):
		return ... if user is None and self.rng.random() < 0.5 else user

	def confirm_reservation(self):
		held, user, name = self.reservation("held", "held", "expired", "confirmed")
		lines = None
		if held is not None and held.lines and self.rng.random() < 0.5:
			lines = [{"sku": sku, "quantity": self.rng.randint(1, min(quantity, OF_A_LINE))}
				for sku, quantity in held.lines.items() if self.rng.random() < 0.7] or None
		if lines and self.rng.random() < 0.1:
			lines[0]["quantity"] += 4
		read = None if lines is None else tuple(map(read_line, lines))
		return self.row("confirm_reservation", [name], {"lines": lines,
			"user_id": self.owner(user)}, lambda view, who, told:
			reservation_rules.confirm(view, who, user, name, read))

	def cancel_reservation(self):
		_, user, name = self.reservation("held", "expired", "cancelled")
		return self.row("cancel_reservation", [name], {"user_id": self.owner(user)},
			lambda view, who, told: reservation_rules.cancel(view, who, user, name))

	def extend_reservation(self):
		_, user, name = self.reservation("held")
		ttl = self.ttl()
		return Call("SELECT " + sql.call("extend_reservation", name, ttl,
			user_id=self.owner(user)), lambda view, who, told:
			reservation_rules.extend(view, who, user, name, TTL[ttl]))

	def order_reserved(self):
		"""An order of some of what is held, and of something else."""
		held, user, name = self.reservation("held")
		user = user if user is not None else self.rng.choice(OWNERS[2:])
		lines = [{"sku": sku, "quantity": min(quantity, OF_A_LINE)}
			for sku, quantity in (held.lines or {}).items()] if held else []
		lines = [line for line in lines if self.rng.random() < 0.8]
		if not lines or self.rng.random() < 0.5:
			lines.append(self.line())
		arguments = dict.fromkeys(["idempotency_key", "pay_within", "currency", "adjustments",
			"attributes", "private", "machine"], ...)
		arguments["idempotency_key"] = self.maybe("of " + name, 0.5)
		arguments["reservation_id"] = name
		self.pool.remember(user, lines, arguments)
		return self.create_call(user, lines, arguments)
