/*
 * machine_guard.c
 *		Finds and calls the guards of transitions: functions of users.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/detail.h"
#include "machine/machine_guard.h"
#include "shop/shop.h"

/* DETAIL and HINT for everything that can be wrong with a guard. */
static int
guard_detail(const char *guard)
{
	detail_set("guard", detail_text(guard), NULL);
	return errhint(
		"A guard is a function (order_engine.orders, text, jsonb) RETURNS boolean SECURITY DEFINER.");
}

/* Raises unless the function can serve as a guard. */
static void
check_guard(Oid function, const char *guard)
{
	HeapTuple tuple =
		OidIsValid(function) ? SearchSysCache1(PROCOID, ObjectIdGetDatum(function)) : NULL;
	Form_pg_proc proc;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("guard function %s does not exist", guard), guard_detail(guard)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset || proc->prorettype != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("guard function %s does not return boolean", guard), guard_detail(guard)));
	if (!proc->prosecdef)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("guard function %s is not SECURITY DEFINER", guard), guard_detail(guard)));
	ReleaseSysCache(tuple);
}

static void
guard_argument_types(Oid *types)
{
	types[0] = get_rel_type_id(shop_table(SHOP_ORDERS));
	types[1] = TEXTOID;
	types[2] = JSONBOID;
}

/*
 * The guard as stored, found anew for each call, so that DROP and CREATE
 * FUNCTION are noticed.  By its exact name: what the current user may see does
 * not matter.
 */
static Oid
stored_guard(const Transition *transition)
{
	Oid types[3];
	Oid schema = get_namespace_oid(transition->guard_schema, true);

	guard_argument_types(types);
	return GetSysCacheOid3(
		PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(transition->guard_function),
		PointerGetDatum(buildoidvector(types, lengthof(types))), ObjectIdGetDatum(schema));
}

Oid
machine_guard_find(const Transition *transition)
{
	Oid	  types[3];
	List *name = list_make1(makeString(unconstify(char *, transition->guard_function)));
	Oid	  function;

	if (transition->guard_schema)
		name = lcons(makeString(unconstify(char *, transition->guard_schema)), name);
	guard_argument_types(types);
	function = LookupFuncName(name, lengthof(types), types, true);
	check_guard(function, transition->guard);
	if (compat_function_aclcheck(function, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, transition->guard);
	return function;
}

/*
 * The guard leaves nothing behind that would run later as somebody else: what is
 * deferred to the commit (constraint triggers, cursors WITH HOLD) runs as whoever
 * commits, the tables' owner in a worker, a superuser perhaps in a session.  Nor do
 * its settings stay: a search_path would be that of the owner's triggers, and of the
 * session.
 */
bool
machine_guard_allows(const Transition *transition, const char *event, Datum order,
					 Jsonb *attributes)
{
	Oid			  function = stored_guard(transition);
	MemoryContext context;
	MemoryContext old;
	FmgrInfo	  flinfo;
	LOCAL_FCINFO(call, 3);
	Oid	 user;
	int	 sec_context;
	int	 guc_level;
	bool allows;

	check_guard(function, transition->guard);
	/* what the function's language keeps for it goes with the context */
	context =
		AllocSetContextCreate(CurrentMemoryContext, "order_engine guard", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	fmgr_info(function, &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, 3, DEFAULT_COLLATION_OID, NULL, NULL);
	call->args[0] = (NullableDatum){order, false};
	call->args[1] = (NullableDatum){CStringGetTextDatum(event), false};
	call->args[2] =
		(NullableDatum){JsonbPGetDatum(attributes ? attributes : call_empty_object()), false};
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(user, sec_context | SECURITY_RESTRICTED_OPERATION);
	guc_level = NewGUCNestLevel();
	allows = DatumGetBool(FunctionCallInvoke(call)) && !call->isnull;
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(user, sec_context);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return allows;
}
