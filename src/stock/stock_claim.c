/*
 * stock_claim.c
 *		Units of a SKU in mode escrow claimed, with patience.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/clock.h"
#include "stock/stock.h"
#include "stock/stock_claim_internal.h"

static int escrow_wait = 0; /* order_engine.escrow_wait, ms */

bool
stock_claim_waits(void)
{
	return escrow_wait > 0;
}

bool
stock_claim(EscrowPin *pin, int64 quantity)
{
	int64 deadline;
	bool  waited;

	if (escrow_claim(pin, quantity))
		return true;
	if (escrow_wait == 0)
		return false;
	deadline = clock_ms() + escrow_wait;
	do
	{
		int64 left = deadline - clock_ms();

		waited = left > 0 && escrow_wait_for_others(pin, left);
		if (escrow_claim(pin, quantity))
			return true;
	} while (waited);
	return false;
}

EscrowPin *
stock_pin_locked(const char *sku)
{
	EscrowPin *pin = escrow_pin(sku);

	if (pin == NULL)
		pin = escrow_pin_unloaded(sku);
	if (pin == NULL)
		elog(ERROR, "could not pin SKU \"%s\", whose row is in mode escrow", sku);
	return pin;
}

void
stock_claim_init(void)
{
	DefineCustomIntVariable(
		"order_engine.escrow_wait",
		"How long a call that finds a SKU in mode escrow sold out waits for other transactions that hold some of it.",
		"They may roll back; 0 refuses at once.", &escrow_wait, 0, 0, INT_MAX, PGC_USERSET,
		GUC_UNIT_MS, NULL, NULL, NULL);
}
