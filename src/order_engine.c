/*
 * order_engine.c
 *		The module: its magic, and the order in which its parts start.
 */
#include "postgres.h"

#include "fmgr.h"

#include "compat.h"
#include "context.h"
#include "journal.h"
#include "machine.h"
#include "order_id.h"
#include "outbox.h"
#include "relay.h"
#include "row.h"
#include "settings.h"
#include "shared.h"
#include "shop.h"
#include "worker.h"

OE_MODULE_MAGIC;

void _PG_init(void);

void
_PG_init(void)
{
	shared_init();
	shop_init();
	row_init();
	machine_init();
	context_init();
	order_id_init();
	journal_init();
	outbox_init();
	worker_init();
	relay_init();
	settings_init();
}
