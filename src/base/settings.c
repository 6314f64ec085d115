/*
 * settings.c
 *		Closes the namespace of the engine's settings.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "base/settings.h"

void
settings_init(void)
{
	MarkGUCPrefixReserved("order_engine");
}
