"""What the engine is to do and does not do yet: each is switched on (--with NAME) once it
does."""

FEATURES = {
	# the same key with another pay_within is another request
	"pay_within_hashed": True,
	# amounts of more digits than PostgreSQL's numeric of ours takes are 22023
	"long_amounts": True,
	# a restock of a SKU that was deleted since creates it again
	"restock_creates": True,
	# a repeated receive_stock() of a SKU that was deleted since makes no row
	"replay_makes_no_stock": True,
	# an order that is younger than the snapshot of REPEATABLE READ is 40001, not unknown
	"younger_order_40001": True,
	# a due event that stays in its state does not leave the clock that has rung
	"due_rings_once": False,
	# a call inside of a statement that is changing the same order is 09000
	"call_inside_update": True,
	# columns of the engine may be written back with an equal value of another scale
	"equal_values": True,
}
