/*
 * machine_definition.h
 *		State machines as JSON.
 */
#ifndef ORDER_ENGINE_MACHINE_DEFINITION_H
#define ORDER_ENGINE_MACHINE_DEFINITION_H

#include "utils/jsonb.h"

#include "machine/machine.h"

/*
 * Reads a definition into the caller's memory context; knows no tables.  22023
 * with the culprit in DETAIL, 54000 if it is too large.
 */
extern Machine *machine_definition_parse(int machine_id, const char *name, Jsonb *definition);

/* "none", "reserve", ... as a definition spells it. */
extern const char *machine_definition_effect_name(StockEffect effect);

/* "none", "held", "confirmed"; "unknown" is of no state of a machine that was parsed. */
extern const char *machine_definition_holding_name(StockHolding holding);

#endif /* ORDER_ENGINE_MACHINE_DEFINITION_H */
