/*
 * order_engine.c
 *		The module: its magic, and the order in which its parts start.
 */
#include "postgres.h"

#include "fmgr.h"

#include "compat.h"
#include "row.h"
#include "shop.h"

OE_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	shop_init();
	row_init();
}
