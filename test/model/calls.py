"""All random calls, and how often each is made."""

from hand_calls import HandCalls
from order_calls import OrderCalls
from other_calls import OtherCalls
from read_calls import ReadCalls
from reservation_calls import ReservationCalls
from stock_calls import StockCalls
from ticket_calls import TicketCalls

WEIGHTS = {
	"create": 20, "create_again": 5, "fire": 16, "verb": 7, "pay": 12, "refund": 6,
	"fire_many": 2, "inside": 2, "cte": 0.5, "lock": 2,
	"try_reserve": 9, "confirm_reservation": 4, "cancel_reservation": 2, "extend_reservation": 1.5,
	"order_reserved": 4,
	"receive": 5, "adjust": 3, "deduct": 4, "set_open": 2, "set_mode": 3, "available": 1,
	"write_stock": 3,
	"spoil_stock": 1,
	"update_state": 8, "update_other": 5, "update_orm": 5, "update_forbidden": 3,
	"update_many": 3, "insert": 4, "insert_elsewhere": 0.3, "upsert": 3, "merge": 2, "copy": 1,
	"delete": 1, "protected": 2, "truncate": 0.5,
	"define": 2, "emit": 2, "insert_message": 1, "tend": 2, "malformed": 4, "too_long": 1,
	"write_ticket": 5,
	"get_order": 4, "get_orders": 1, "user_orders": 2, "allowed_events": 2, "history": 1,
	"replay": 2,
}


class Calls(OrderCalls, ReservationCalls, StockCalls, HandCalls, OtherCalls, TicketCalls,
		ReadCalls):
	"""pool.orders(): orders to choose from; machines(), machine_ids(), definition(name),
	stock(sku); draw_id(user): an order id that nobody has; leaf(order_id): the name of its
	leaf; remember() and recall(): requests of create_order(); reservations(), remember_try() and
	recall_try(): those of try_reserve()."""

	def __init__(self, rng, pool, weights=WEIGHTS):
		super().__init__(rng, pool)
		self.kinds = [getattr(self, name) for name in weights]
		self.weights = list(weights.values())

	def random(self):
		while True:
			made = self.rng.choices(self.kinds, self.weights)[0]()
			if made is not None:
				return made
