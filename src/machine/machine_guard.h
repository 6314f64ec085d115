/*
 * machine_guard.h
 *		Guards: functions `(orders, event text, attributes jsonb) returns boolean` of
 *		users, which allow a transition or not.
 *
 * 42883 if the function does not exist, 42P13 if it returns something else, 42501 if
 * it is not SECURITY DEFINER.
 */
#ifndef ORDER_ENGINE_MACHINE_GUARD_H
#define ORDER_ENGINE_MACHINE_GUARD_H

#include "utils/jsonb.h"

#include "machine/machine.h"

/*
 * The guard as a publisher has written it: as he sees it, and may execute it; 42501
 * if he may not.
 */
extern Oid machine_guard_find(const Transition *transition);

/*
 * Calls the guard of a transition as its own owner, in a security-restricted
 * operation (no temporary tables, nothing deferred); what it sets is set back.
 * True: allowed (null counts as false).  `order` is a row of orders as a composite
 * Datum, of the type of `orders` itself, not of a leaf.  Raises what the guard raises.
 */
extern bool machine_guard_allows(const Transition *transition, const char *event, Datum order,
								 Jsonb *attributes);

#endif /* ORDER_ENGINE_MACHINE_GUARD_H */
