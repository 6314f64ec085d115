/*
 * owner.c
 *		Acts as the owner of the shop's tables.
 *
 * Keeps nothing: what is to be restored is in the caller's scope, and on
 * PostgreSQL's own stacks for the case of an error.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "shop/owner.h"
#include "shop/shop.h"

#define SAFE_SEARCH_PATH "pg_catalog, pg_temp"
#define OWNER_CONTEXT (SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS)

void
owner_begin(OwnerScope *scope)
{
	Oid owner = shop_owner();

	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	scope->guc_level = 0;
	if (scope->userid == owner && (scope->sec_context & OWNER_CONTEXT) == OWNER_CONTEXT &&
		strcmp(namespace_search_path, SAFE_SEARCH_PATH) == 0)
		return;

	SetUserIdAndSecContext(owner, scope->sec_context | OWNER_CONTEXT);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", SAFE_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
owner_end(OwnerScope *scope)
{
	if (scope->guc_level == 0)
		return;
	AtEOXact_GUC(true, scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

void
owner_look(void (*look)(void *argument), void *argument)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner resource_owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	OwnerScope owner;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		owner_begin(&owner);
		look(argument);
		owner_end(&owner);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = resource_owner;
	if (error)
		ReThrowError(error);
}
