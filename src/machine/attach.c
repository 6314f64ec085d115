/*
 * attach.c
 *		State machines on tables that users own.
 *
 * Owns two row triggers: before a write it fills in what the writer left out
 * and checks the move; after it, it checks again what was really written (a
 * user's own BEFORE trigger may have changed it) and appends the event.  The
 * trigger's arguments say all there is to know: the machine's id, which never
 * changes its meaning, and the names of the columns.
 *
 * The row is locked by the statement that writes it, so the event's id is drawn
 * under the aggregate's lock.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/context.h"
#include "base/detail.h"
#include "base/errors.h"
#include "journal/outbox.h"
#include "machine/machine_catalog.h"
#include "shop/owner.h"
#include "shop/shop.h"

/* The names sort before any letter: a user's own trigger that writes the row again comes later. */
#define BEFORE_TRIGGER "0_order_engine_attached_before"
#define AFTER_TRIGGER "0_order_engine_attached_after"

/* A table with its machine. */
typedef struct Attached
{
	Relation	   rel;
	const Machine *machine;
	AttrNumber	   state;
	AttrNumber	   version; /* 0: the table has no version column */
} Attached;

/* What the machine sees of a row. */
typedef struct AttachedRow
{
	char *state;   /* NULL: none yet */
	int64 version; /* 0: none yet, or no column for it */
} AttachedRow;

PG_FUNCTION_INFO_V1(order_engine_attach_machine);
PG_FUNCTION_INFO_V1(order_engine_attached_before);
PG_FUNCTION_INFO_V1(order_engine_attached_after);

/* ---- columns ---- */

static Form_pg_attribute
column_of(Relation rel, AttrNumber attno)
{
	return TupleDescAttr(RelationGetDescr(rel), attno - 1);
}

static AttrNumber
find_column(Relation rel, const char *name)
{
	AttrNumber attno = get_attnum(RelationGetRelid(rel), name);

	if (attno <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("column \"%s\" of table \"%s\" does not exist", name,
							   RelationGetRelationName(rel)),
						errhint("If the column was renamed, attach the state machine again.")));
	return attno;
}

static bool
holds_version(Relation rel, AttrNumber attno)
{
	Oid type = getBaseType(column_of(rel, attno)->atttypid);

	return type == INT4OID || type == INT8OID;
}

static char *
column_text(Relation rel, HeapTuple tuple, AttrNumber attno)
{
	bool  isnull;
	Datum value = heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull);
	Oid	  output;
	bool  varlena;

	if (isnull)
		return NULL;
	getTypeOutputInfo(column_of(rel, attno)->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

static int64
column_version(Relation rel, HeapTuple tuple, AttrNumber attno)
{
	bool  isnull;
	Datum value = heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull);

	if (isnull)
		return 0;
	return getBaseType(column_of(rel, attno)->atttypid) == INT8OID ? DatumGetInt64(value)
																   : DatumGetInt32(value);
}

static AttachedRow
read_row(const Attached *attached, HeapTuple tuple)
{
	AttachedRow row = {NULL, 0};

	row.state = column_text(attached->rel, tuple, attached->state);
	if (attached->version)
		row.version = column_version(attached->rel, tuple, attached->version);
	return row;
}

/* Columns of the primary key, in its order. */
static int
key_columns(Relation rel, AttrNumber *columns)
{
	Oid		  index = compat_primary_key_index(rel);
	HeapTuple tuple =
		OidIsValid(index) ? SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index)) : NULL;
	Form_pg_index form;
	int			  count;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" has no primary key", RelationGetRelationName(rel)),
						errhint("The events of a state machine name the row by its primary key.")));
	form = (Form_pg_index) GETSTRUCT(tuple);
	count = form->indnkeyatts;
	for (int i = 0; i < count; i++)
		columns[i] = form->indkey.values[i];
	ReleaseSysCache(tuple);
	return count;
}

/* ---- rules ---- */

static void
append_json_string(StringInfo json, const char *value)
{
	if (value)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

pg_noreturn static void
raise_illegal(const Machine *machine, const char *from, const char *to)
{
	List *allowed =
		from ? machine_allowed(machine, machine_state(machine, from)) : list_make1("create");

	ereport(ERROR,
			(errcode(ERRCODE_OE_ILLEGAL_TRANSITION),
			 errmsg("state machine \"%s\" does not allow this change of state", machine->name),
			 detail_set("from", detail_text(from), "to", detail_text(to), "allowed",
						detail_texts(allowed), NULL),
			 errhint("DETAIL lists the events that are allowed; a new row begins in state \"%s\".",
					 machine->states[machine->creation->to])));
}

pg_noreturn static void
raise_version(int64 expected, int64 actual, const char *state)
{
	ereport(ERROR, (errcode(ERRCODE_OE_VERSION_CONFLICT),
					errmsg("the row has changed: version " INT64_FORMAT
						   " was expected, it is " INT64_FORMAT,
						   expected, actual),
					detail_set("expected", detail_number(expected), "actual", detail_number(actual),
							   "state", detail_text(state), NULL),
					errhint("Read the row again and decide anew.")));
}

pg_noreturn static void
raise_first_version(const AttachedRow *row)
{
	ereport(ERROR, (errcode(ERRCODE_OE_VERSION_CONFLICT), errmsg("a new row has version 1"),
					detail_set("expected", detail_number(row->version), "actual", detail_number(1),
							   "state", detail_text(row->state), NULL),
					errhint("Leave the version null, 0 or 1.")));
}

/*
 * The move from one state to the next; NULL: it stays.  A row without a state is not created
 * yet.
 */
static const Transition *
find_move(const Machine *machine, const char *from, const char *to)
{
	const Transition *move;

	if (from == NULL && to == NULL)
		return NULL;
	if (from == NULL || to == NULL)
		move = to && machine_state(machine, to) == machine->creation->to ? machine->creation : NULL;
	else if (strcmp(from, to) == 0)
		return NULL;
	else
		move =
			machine_move_between(machine, machine_state(machine, from), machine_state(machine, to));
	if (move == NULL)
		raise_illegal(machine, from, to);
	return move;
}

/* Consumers know a row by its key: another key would be another row's history. */
static void
check_key(const Attached *attached, HeapTuple old, HeapTuple new)
{
	TupleDesc  desc = RelationGetDescr(attached->rel);
	AttrNumber columns[INDEX_MAX_KEYS];
	int		   count = key_columns(attached->rel, columns);

	for (int i = 0; i < count; i++)
	{
		Form_pg_attribute column = column_of(attached->rel, columns[i]);
		NullableDatum	  was;
		NullableDatum	  is;

		was.value = heap_getattr(old, columns[i], desc, &was.isnull);
		is.value = heap_getattr(new, columns[i], desc, &is.isnull);
		if (row_same_value(column, was, is))
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_OE_DIRECT_WRITE),
				 errmsg("primary key of table \"%s\" cannot be changed",
						RelationGetRelationName(attached->rel)),
				 detail_set("relation", detail_text(RelationGetRelationName(attached->rel)),
							"columns", detail_texts(list_make1(NameStr(column->attname))), NULL),
				 errhint("The table has a state machine, whose events name the row by its key.  "
						 "Insert a new row instead.")));
	}
}

/* ---- triggers ---- */

static void
read_arguments(TriggerData *data, Attached *attached)
{
	Trigger *trigger = data->tg_trigger;

	if (trigger->tgnargs < 2 || trigger->tgnargs > 3)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" was not made by attach_machine()", trigger->tgname)));
	attached->rel = data->tg_relation;
	attached->machine = machine_get(pg_strtoint32(trigger->tgargs[0]));
	attached->state = find_column(attached->rel, trigger->tgargs[1]);
	attached->version = trigger->tgnargs == 3 ? find_column(attached->rel, trigger->tgargs[2]) : 0;
	if (attached->version && !holds_version(attached->rel, attached->version))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("column \"%s\" of table \"%s\" cannot hold a version",
							   trigger->tgargs[2], RelationGetRelationName(attached->rel)),
						errhint("Give it type integer or bigint again.")));
}

static HeapTuple
with_column(const Attached *attached, HeapTuple tuple, AttrNumber attno, Datum value)
{
	int	 column = attno;
	bool isnull = false;

	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(attached->rel), 1, &column, &value,
									 &isnull);
}

static HeapTuple
with_state(const Attached *attached, HeapTuple tuple, const char *state)
{
	Form_pg_attribute column = column_of(attached->rel, attached->state);
	Oid				  input;
	Oid				  parameter;

	getTypeInputInfo(column->atttypid, &input, &parameter);
	return with_column(
		attached, tuple, attached->state,
		OidInputFunctionCall(input, unconstify(char *, state), parameter, column->atttypmod));
}

static HeapTuple
with_version(const Attached *attached, HeapTuple tuple, int64 version)
{
	bool wide = getBaseType(column_of(attached->rel, attached->version)->atttypid) == INT8OID;

	if (version > (wide ? PG_INT64_MAX : PG_INT32_MAX) || version <= 0)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("version out of range"),
						errhint("Give the version column type bigint.")));
	return with_column(attached, tuple, attached->version,
					   wide ? Int64GetDatum(version) : Int32GetDatum((int32) version));
}

/* Only fills in: whether it is right is asked afterwards, for ON CONFLICT DO UPDATE. */
static HeapTuple
before_insert(const Attached *attached, HeapTuple new)
{
	if (heap_attisnull(new, attached->state, RelationGetDescr(attached->rel)))
		new = with_state(attached, new, attached->machine->states[attached->machine->creation->to]);
	if (attached->version && column_version(attached->rel, new, attached->version) == 0)
		new = with_version(attached, new, 1); /* null, or ORMs that count from 0 */
	return new;
}

/*
 * The version that the row was read with: ORMs that save all columns write back what
 * they read, and who writes a later one has counted on.
 */
static int64
version_read(int64 version, int64 actual)
{
	return version < actual ? version : version - 1;
}

static HeapTuple
before_update(const Attached *attached, HeapTuple old, HeapTuple new)
{
	AttachedRow was = read_row(attached, old);
	AttachedRow row = read_row(attached, new);

	check_key(attached, old, new);
	(void) find_move(attached->machine, was.state, row.state);
	if (attached->version == 0)
		return new;
	if (row.version == was.version && was.version < PG_INT64_MAX)
		return with_version(attached, new, was.version + 1);
	if (row.version - 1 != was.version)
		raise_version(version_read(row.version, was.version), was.version, was.state);
	return new;
}

Datum
order_engine_attached_before(PG_FUNCTION_ARGS)
{
	TriggerData *data =
		call_row_trigger(fcinfo, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE);
	Attached attached;

	read_arguments(data, &attached);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		return PointerGetDatum(before_insert(&attached, data->tg_trigtuple));
	return PointerGetDatum(before_update(&attached, data->tg_trigtuple, data->tg_newtuple));
}

/*
 * One row has one key, whatever the settings of the session that writes it: as
 * postgres_fdw sends values, and times in UTC.  Until AtEOXact_GUC(true, level).
 */
static int
pin_output(void)
{
	static const char *const settings[][2] = {
		{"datestyle", "ISO"},	 {"intervalstyle", "postgres"}, {"extra_float_digits", "3"},
		{"bytea_output", "hex"}, {"timezone", "UTC"},
	};
	int level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/* The primary key as text; of several columns, a JSON array of strings. */
static char *
aggregate_id(const Attached *attached, HeapTuple tuple)
{
	AttrNumber	   columns[INDEX_MAX_KEYS];
	int			   count = key_columns(attached->rel, columns);
	StringInfoData id;

	if (count == 1)
		return column_text(attached->rel, tuple, columns[0]);
	initStringInfo(&id);
	for (int i = 0; i < count; i++)
	{
		appendStringInfoString(&id, i == 0 ? "[" : ", ");
		escape_json(&id, column_text(attached->rel, tuple, columns[i]));
	}
	appendStringInfoChar(&id, ']');
	return id.data;
}

/* The same as a JSON object of strings. */
static char *
key_object(const Attached *attached, HeapTuple tuple)
{
	AttrNumber	   columns[INDEX_MAX_KEYS];
	int			   count = key_columns(attached->rel, columns);
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < count; i++)
	{
		appendStringInfoString(&json, i == 0 ? "{" : ", ");
		escape_json(&json, NameStr(column_of(attached->rel, columns[i])->attname));
		appendStringInfoString(&json, ": ");
		escape_json(&json, column_text(attached->rel, tuple, columns[i]));
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* What an attached table's event says; of the row itself, only the key. */
static char *
event_payload(const Attached *attached, int64 event_id, const char *key, const AttachedRow *was,
			  const AttachedRow *row, const Transition *move)
{
	static const int utc = 0;
	char			 at[MAXDATELEN + 1];
	StringInfoData	 json;

	initStringInfo(&json);
	appendStringInfo(
		&json, "{\"schema_version\": 1, \"event_id\": \"" INT64_FORMAT "\", \"event\": ", event_id);
	escape_json(&json, attached->machine->events[move->event]);
	appendStringInfoString(&json, ", \"from\": ");
	append_json_string(&json, was->state);
	appendStringInfoString(&json, ", \"to\": ");
	append_json_string(&json, row->state);
	appendStringInfo(&json, ", \"key\": %s", key);
	if (attached->version)
		appendStringInfo(&json, ", \"version\": " INT64_FORMAT, row->version);
	JsonEncodeDateTime(at, TimestampTzGetDatum(GetCurrentTimestamp()), TIMESTAMPTZOID, &utc);
	appendStringInfo(&json, ", \"at\": \"%s\"}", at);
	return json.data;
}

static void
publish_move(const Attached *attached, HeapTuple tuple, const AttachedRow *was,
			 const AttachedRow *row, const Transition *move)
{
	OutboxEvent	  event = {0};
	ActionContext context;
	OwnerScope	  owner;
	RowScope	  scope;
	char		 *key;
	int			  guc_level = pin_output();

	event.aggregateid = aggregate_id(attached, tuple);
	key = key_object(attached, tuple);
	AtEOXact_GUC(true, guc_level);

	context_parse(NULL, &context);
	owner_begin(&owner);
	row_scope_begin(&scope, "a change of a table with a state machine");
	event.id = outbox_next_id(event.aggregateid);
	outbox_check_aggregatetype(attached->machine->name);
	event.aggregatetype = attached->machine->name;
	event.type = move->publish_attached;
	event.payload = event_payload(attached, event.id, key, was, row, move);
	event.payload_length = strlen(event.payload);
	event.seq = row->version;
	event.traceparent = context.traceparent;
	event.tracestate = context.tracestate;
	outbox_append(&scope, &event);
	row_scope_end(&scope);
	owner_end(&owner);
}

static void
check_inserted(const Attached *attached, const AttachedRow *row)
{
	if (row->state == NULL)
		raise_illegal(attached->machine, NULL, NULL);
	if (attached->version && row->version != 1)
		raise_first_version(row);
}

static void
check_updated(const Attached *attached, HeapTuple old, HeapTuple new, const AttachedRow *was,
			  const AttachedRow *row)
{
	check_key(attached, old, new);
	if (attached->version && row->version - 1 != was->version)
		raise_version(version_read(row->version, was->version), was->version, was->state);
}

Datum
order_engine_attached_after(PG_FUNCTION_ARGS)
{
	TriggerData *data =
		call_row_trigger(fcinfo, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE);
	HeapTuple		  tuple = data->tg_trigtuple;
	AttachedRow		  was = {NULL, 0};
	AttachedRow		  row;
	Attached		  attached;
	const Transition *move;

	read_arguments(data, &attached);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		row = read_row(&attached, tuple);
		check_inserted(&attached, &row);
	}
	else
	{
		was = read_row(&attached, tuple);
		tuple = data->tg_newtuple;
		row = read_row(&attached, tuple);
		check_updated(&attached, data->tg_trigtuple, tuple, &was, &row);
	}
	move = find_move(attached.machine, was.state, row.state);
	if (move && move->publish_attached)
		publish_move(&attached, tuple, &was, &row, move);
	return PointerGetDatum(NULL);
}

/* ---- attaching ---- */

/* A table of his own; asked before it is locked, so that nobody else can hold it up. */
static void
check_owner(Oid relid)
{
	char *name = get_rel_name(relid);
	char  kind = get_rel_relkind(relid);

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table with OID %u does not exist", relid), errhint("Name the table.")));
	if (!compat_table_ownercheck(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, name);
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" is not a table", name),
				 errhint("A state machine goes on a plain or a partitioned table.")));
}

static void
check_table(Relation rel)
{
	AttrNumber columns[INDEX_MAX_KEYS];

	if (rel->rd_rel->relispartition)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("table \"%s\" is a partition", RelationGetRelationName(rel)),
						errhint("Attach the state machine to the partitioned table.")));
	if (RelationGetNamespace(rel) == get_rel_namespace(shop_table(SHOP_ORDERS)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" is one of the order engine", RelationGetRelationName(rel)),
				 errhint("Orders have their state machines already.")));
	(void) key_columns(rel, columns);
}

pg_noreturn static void
refuse_column(Relation rel, AttrNumber attno, const char *what)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 errmsg("column \"%s\" of table \"%s\" %s", NameStr(column_of(rel, attno)->attname),
				RelationGetRelationName(rel), what),
		 errhint("The state is text, varchar or an enum, the version integer or bigint; neither "
				 "is generated or part of the primary key.")));
}

/* What holds of both columns: the triggers can set them, and they do not name the row. */
static void
check_column(Relation rel, AttrNumber attno)
{
	AttrNumber columns[INDEX_MAX_KEYS];
	int		   count = key_columns(rel, columns);

	if (column_of(rel, attno)->attgenerated != '\0')
		refuse_column(rel, attno, "is generated");
	for (int i = 0; i < count; i++)
		if (columns[i] == attno)
			refuse_column(rel, attno, "is part of the primary key");
}

static void
check_state_column(Relation rel, const char *name)
{
	AttrNumber attno = find_column(rel, name);
	Oid		   type = getBaseType(column_of(rel, attno)->atttypid);

	check_column(rel, attno);
	if (type != TEXTOID && type != VARCHAROID && !type_is_enum(type))
		refuse_column(rel, attno, "cannot hold a state");
}

static void
check_version_column(Relation rel, const char *name)
{
	AttrNumber attno = find_column(rel, name);

	check_column(rel, attno);
	if (!holds_version(rel, attno))
		refuse_column(rel, attno, "cannot hold a version");
}

/* What only orders have: stock, payments, guards that look at an order, the keeper. */
static void
check_machine(const Machine *machine)
{
	/* its events are of this aggregate type */
	outbox_check_aggregatetype(machine->name);
	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];
		const char		 *key = transition->stock != STOCK_NONE ? "stock"
								: transition->requires_payment	? "requires_payment"
								: transition->guard				? "guard"
								: transition->due				? "due"
								: transition->keeper_only		? "keeper_only"
																: NULL;

		if (key)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("state machine \"%s\" is one for orders", machine->name),
					 detail_set("transition", detail_number(i + 1), "key", detail_text(key), NULL),
					 errhint("Publish a state machine without \"%s\" for this table.", key)));
	}
}

/* One of our triggers; in the place of an older one of that name. */
static void
create_trigger(Oid relid, const char *name, const char *function, int16 timing, List *arguments)
{
	CreateTrigStmt *stmt = makeNode(CreateTrigStmt);

	stmt->replace = true;
	stmt->trigname = pstrdup(name);
	stmt->funcname = list_make2(makeString(pstrdup("order_engine")), makeString(pstrdup(function)));
	stmt->args = arguments;
	stmt->row = true;
	stmt->timing = timing;
	stmt->events = TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE;
	CreateTrigger(stmt, "", relid, InvalidOid, InvalidOid, InvalidOid, InvalidOid, InvalidOid, NULL,
				  false, false);
	CommandCounterIncrement();
}

Datum
order_engine_attach_machine(PG_FUNCTION_ARGS)
{
	const Machine *machine;
	const char	  *state_column;
	const char	  *version_column;
	Oid			   relid;
	Relation	   rel;
	List		  *arguments;

	call_require(fcinfo, 0, "table");
	call_require(fcinfo, 1, "state_column");
	call_require(fcinfo, 2, "machine");
	relid = PG_GETARG_OID(0);
	state_column = NameStr(*PG_GETARG_NAME(1));
	version_column = PG_ARGISNULL(3) ? NULL : NameStr(*PG_GETARG_NAME(3));

	PreventCommandIfReadOnly("attach_machine()");
	PreventCommandDuringRecovery("attach_machine()");
	machine = machine_latest(call_text(fcinfo, 2));
	check_machine(machine);
	check_owner(relid);
	rel = table_open(relid, ShareRowExclusiveLock);
	check_owner(relid);
	check_table(rel);
	check_state_column(rel, state_column);
	if (version_column)
		check_version_column(rel, version_column);

	arguments = list_make2(makeString(psprintf("%d", machine->machine_id)),
						   makeString(pstrdup(state_column)));
	if (version_column)
		arguments = lappend(arguments, makeString(pstrdup(version_column)));
	create_trigger(relid, BEFORE_TRIGGER, "attached_before", TRIGGER_TYPE_BEFORE, arguments);
	create_trigger(relid, AFTER_TRIGGER, "attached_after", TRIGGER_TYPE_AFTER, arguments);
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}
