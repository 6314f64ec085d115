"""A table of the shop's own on which attach_machine() has put a machine (doc/machines.md)."""

from dataclasses import dataclass, replace

import sql
from call import by_hand
from chooser import Chooser
from machines import Machine
from things import Message, Refused, refuse

DEFINITION = {"final": ["closed"], "transitions": [
	{"from": None, "event": "create", "to": "open", "publish": "ticket.opened"},
	{"from": "open", "event": "assign", "to": "busy"},
	{"from": "open", "event": "grab", "to": "busy"},
	{"from": "busy", "event": "give_up", "to": "open", "publish": None},
	{"from": "busy", "event": "solve", "to": "closed"},
]}
MACHINE = Machine(0, "ticket", DEFINITION, "ticket")
SETUP = ["CREATE TABLE public.ticket (id int PRIMARY KEY, status text, v int, note text)",
	"GRANT ALL ON public.ticket TO PUBLIC",
	"SELECT " + sql.call("define_machine", "ticket", DEFINITION),
	"SELECT order_engine.attach_machine('public.ticket', 'status', 'ticket', 'v')"]


@dataclass(frozen=True)
class Ticket:
	id: int
	state: str
	version: int


class TicketCalls(Chooser):
	def write_ticket(self):
		number, state = self.rng.randint(1, 9), self.state()
		what = self.rng.randrange(6)
		if what < 2:
			return self.insert_ticket(number, state)
		if what == 2:
			return by_hand("DELETE FROM public.ticket WHERE id = %d" % number,
				lambda view, who, told: view.get(("ticket", number)) and
				view.put(("ticket", number), None))
		if what == 3:
			return by_hand("UPDATE public.ticket SET id = id + 100 WHERE id = %d" % number,
				lambda view, who, told: move_key(view, number))
		return self.update_ticket(number, state)

	def state(self):
		return self.rng.choice(["open", "busy", "closed", "nowhere", None])

	def insert_ticket(self, number, state):
		version = self.rng.choice([None, 0, 1, 2]) if self.rng.random() < 0.3 else None
		text = "INSERT INTO public.ticket (id, status, v) VALUES (%d, %s, %s)" % (number,
			sql.literal(state), sql.literal(version))
		if self.rng.random() < 0.5:
			return by_hand(text, lambda view, who, told: insert(view, number, state, version))
		return by_hand(text + " ON CONFLICT (id) DO UPDATE SET status = excluded.status",
			lambda view, who, told: upsert(view, number, state, version))

	def update_ticket(self, number, state):
		step = self.rng.choice([None, 0, 1, 1, 2])
		changes = "note = 'x'" if self.rng.random() < 0.3 else "status = " + sql.literal(state)
		if step is not None:
			changes += ", v = v + %d" % step
		to = ... if changes.startswith("note") else state
		return by_hand("UPDATE public.ticket SET %s WHERE id = %d" % (changes, number),
			lambda view, who, told: update(view, number, to, step or 0))


def insert(view, number, state, version):
	faults = {}
	if state not in (None, MACHINE.creation.to):
		faults["OE010"] = None
	if version not in (None, 0, 1):
		faults["OE011"] = None
	if view.get(("ticket", number)) is not None:
		faults["23505"] = None
	refuse(faults)
	ticket = Ticket(number, MACHINE.creation.to, 1)
	view.put(("ticket", number), ticket)
	publish(view, ticket, MACHINE.creation)


def upsert(view, number, state, version):
	"""What is left null is filled in before the conflict is seen, and what is wrong told after."""
	if view.get(("ticket", number)) is None:
		insert(view, number, state, version)
	else:
		update(view, number, state or MACHINE.creation.to, 0)


def update(view, number, state, step):
	ticket = view.get(("ticket", number))
	if ticket is None:
		return
	faults = {"OE011": None} if step > 1 else {}
	move = None
	if state is not ... and state != ticket.state:
		move = MACHINE.first(ticket.state, state)
		if move is None:
			faults["OE010"] = None
	refuse(faults)
	ticket = replace(ticket, version=ticket.version + 1, state=move.to if move else ticket.state)
	view.put(("ticket", number), ticket)
	if move is not None:
		publish(view, ticket, move)


def move_key(view, number):
	if view.get(("ticket", number)) is not None:
		raise Refused("OE014")


def publish(view, ticket, move):
	if move.publish is not None:
		view.send(Message("ticket", str(ticket.id), move.publish, {"schema_version": 1,
			"event": move.event, "from": move.from_state, "to": move.to,
			"key": {"id": str(ticket.id)}, "version": ticket.version}, ...))
