/*
 * order_engine.c
 *		The module: its magic, and the order in which its parts start.
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/amount.h"
#include "base/compat.h"
#include "base/context.h"
#include "base/currency.h"
#include "base/database_slot.h"
#include "base/settings.h"
#include "base/shared.h"
#include "base/wake.h"
#include "journal/journal.h"
#include "journal/outbox.h"
#include "machine/machine_catalog.h"
#include "order/due_wait.h"
#include "order/reservation.h"
#include "relay/relay.h"
#include "shop/order_id.h"
#include "shop/row.h"
#include "shop/shop.h"
#include "stock/escrow.h"
#include "stock/stock.h"
#include "worker/keeper.h"
#include "worker/launcher.h"
#include "worker/reconcile.h"
#include "worker/worker.h"

OE_MODULE_MAGIC;

void _PG_init(void);

void
_PG_init(void)
{
	shared_init();
	database_slot_init();
	wake_init();
	shop_init();
	row_init();
	machine_catalog_init();
	context_init();
	amount_init();
	currency_init();
	order_id_init();
	journal_init();
	outbox_init();
	escrow_init();
	stock_init();
	reservation_init();
	due_wait_init();
	worker_init();
	launcher_init();
	keeper_init();
	reconcile_init();
	relay_init();
	settings_init();
}
