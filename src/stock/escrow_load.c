/*
 * escrow_load.c
 *		Entries of SKUs in mode escrow made from the tables: after a start, a crash, a
 *		promotion.
 *
 * What is free is what the row of stock and the changes of its epoch that are not folded
 * say together, under one snapshot.  A pass reads them once for all SKUs that have no
 * entry, under the load lock, so one process does it and the others wait for that.  Of
 * each SKU it has the lock, EXCLUSIVE, since before the snapshot: whoever changes stock
 * without an entry holds that lock to the end of his transaction, so nothing is in flight
 * that the snapshot does not see.  Nobody waits for a SKU's lock while he has the load
 * lock: what is busy is left for another pass.
 *
 * A SKU with which this transaction has to do itself is left out.  Its own lock would
 * not stop it, and what it has not committed yet must not be counted.  That is told by the
 * record, and where replication, or a restore, has written the row, which makes none, by
 * the row.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

#include "journal/stock_journal.h"
#include "shop/row_scan.h"
#include "stock/escrow_lock_internal.h"
#include "stock/escrow_pending_internal.h"

/* So many locks a pass has at most: the lock table is shared by all. */
#define PASS_MAX 1000

typedef struct Loaded
{
	EscrowKey key; /* of the hash table */
	bool	  escrow;
	int64	  epoch;
	int64	  free;
	bool	  closed;
} Loaded;

typedef struct Pass
{
	HTAB *skus; /* that are locked */
	bool  more; /* there are others */
} Pass;

/* ---- rows of stock, as any role and without a scope ---- */

typedef struct StockColumns
{
	AttrNumber attno[STOCK_COLUMNS];
} StockColumns;

/* Of a row in mode escrow. */
typedef struct RowState
{
	const char *sku;
	int64		epoch;
	int64		free;
	bool		closed;
} RowState;

typedef void (*RowVisitor)(const RowState *row, Pass *pass);

static Datum
get_column(TupleTableSlot *slot, const StockColumns *columns, int column)
{
	return row_require(slot, columns->attno[column]);
}

static void
visit_row(TupleTableSlot *slot, const StockColumns *columns, RowVisitor visit, Pass *pass)
{
	RowState row = {.epoch = DatumGetInt64(get_column(slot, columns, STOCK_EPOCH))};
	char	*sku;

	if (row.epoch == 0 || row_is_own(slot))
		return;
	row.sku = sku = TextDatumGetCString(get_column(slot, columns, STOCK_SKU));
	row.free = DatumGetInt64(get_column(slot, columns, STOCK_ON_HAND)) -
			   DatumGetInt64(get_column(slot, columns, STOCK_RESERVED));
	row.closed = !DatumGetBool(get_column(slot, columns, STOCK_OPEN));
	visit(&row, pass);
	pfree(sku);
}

/* Those in mode escrow. */
static void
visit_rows(Relation stock, Snapshot snapshot, RowVisitor visit, Pass *pass)
{
	TupleTableSlot *slot = table_slot_create(stock, NULL);
	TableScanDesc	scan = table_beginscan(stock, snapshot, 0, NULL);
	StockColumns	columns;

	row_layout(stock, &stock_columns, columns.attno);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		visit_row(slot, &columns, visit, pass);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * The epoch of a SKU as it is now; 0 in mode row, and where there is no such SKU.  55000 if
 * this transaction has made it so.
 */
static int64
read_epoch(const EscrowKey *key)
{
	Relation	 stock = row_open_for_reading(SHOP_STOCK);
	Snapshot	 snapshot = RegisterSnapshot(GetLatestSnapshot());
	int64		 epoch = 0;
	StockColumns columns;
	RowScan		 scan;
	ScanKeyData	 sku;

	row_layout(stock, &stock_columns, columns.attno);
	row_scan_open(&scan, stock, SHOP_STOCK, snapshot, 1, &columns.attno[STOCK_SKU]);
	ScanKeyInit(&sku, 1, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(key->sku));
	row_scan_begin(&scan, &sku);
	if (row_scan_next(&scan, ForwardScanDirection))
		epoch = DatumGetInt64(get_column(scan.slot, &columns, STOCK_EPOCH));
	if (epoch != 0 && row_is_own(scan.slot))
		escrow_refuse_switched(key);
	row_scan_close(&scan, AccessShareLock);
	UnregisterSnapshot(snapshot);
	return epoch;
}

/* ---- a pass ---- */

static Loaded *
find_sku(const Pass *pass, const char *sku)
{
	EscrowKey key;

	escrow_key_set(&key, sku);
	return hash_search(pass->skus, &key, HASH_FIND, NULL);
}

/* False if somebody has its lock. */
static bool
lock_sku(Pass *pass, const EscrowKey *key)
{
	Loaded *loaded;

	if (!escrow_lock_sku(key, ExclusiveLock, false))
		return false;
	loaded = hash_search(pass->skus, key, HASH_ENTER, NULL);
	loaded->escrow = false;
	return true;
}

static bool
is_wanting(const EscrowKey *key)
{
	int64 free;

	return escrow_entry_look(key, &free) == ESCROW_NONE && !escrow_is_pending(key);
}

/* RowVisitor */
static void
lock_if_free(const RowState *row, Pass *pass)
{
	EscrowKey key;

	escrow_key_set(&key, row->sku);
	if (hash_search(pass->skus, &key, HASH_FIND, NULL) || !is_wanting(&key))
		return;
	if (hash_get_num_entries(pass->skus) >= PASS_MAX)
		pass->more = true;
	else
		(void) lock_sku(pass, &key);
}

/* RowVisitor */
static void
take_row(const RowState *row, Pass *pass)
{
	Loaded *loaded = find_sku(pass, row->sku);

	if (loaded == NULL)
		return;
	loaded->escrow = true;
	loaded->epoch = row->epoch;
	loaded->free = row->free;
	loaded->closed = row->closed;
}

/* StockChangeVisitor */
static void
take_change(const StockChange *change, void *pass)
{
	Loaded *loaded = find_sku(pass, change->sku);

	if (loaded && loaded->escrow && loaded->epoch == change->epoch)
		loaded->free += change->on_hand - change->reserved;
}

/* Under the locks of the SKUs; the journal's before the snapshot. */
static void
read_all(Pass *pass, Relation stock)
{
	Snapshot snapshot;

	stock_journal_lock();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	visit_rows(stock, snapshot, take_row, pass);
	stock_journal_unfolded(snapshot, NULL, take_change, pass);
	UnregisterSnapshot(snapshot);
}

static void
lock_all(Pass *pass, Relation stock)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());

	visit_rows(stock, snapshot, lock_if_free, pass);
	UnregisterSnapshot(snapshot);
}

/* The wanted one, if any, has the first place. */
static void
add_all(Pass *pass, const EscrowKey *wanted)
{
	Loaded		   *loaded = wanted ? find_sku(pass, wanted->sku) : NULL;
	HASH_SEQ_STATUS scan;

	if (loaded && loaded->escrow)
		(void) escrow_entry_add(&loaded->key, loaded->epoch, loaded->free, loaded->closed);
	hash_seq_init(&scan, pass->skus);
	while ((loaded = hash_seq_search(&scan)) != NULL)
	{
		if (loaded->escrow)
			(void) escrow_entry_add(&loaded->key, loaded->epoch, loaded->free, loaded->closed);
		escrow_unlock_sku(&loaded->key, ExclusiveLock);
	}
}

static void
begin_pass(Pass *pass)
{
	HASHCTL control = {
		.keysize = sizeof(EscrowKey),
		.entrysize = sizeof(Loaded),
		.hcxt = CurrentMemoryContext,
	};

	pass->skus = hash_create("order_engine escrow pass", 64, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	pass->more = false;
}

/* Under the load lock; false if the wanted SKU's lock is not free, and nothing was done. */
static bool
run_pass(const EscrowKey *wanted, bool *more)
{
	Relation stock;
	Pass	 pass;
	bool	 done;

	begin_pass(&pass);
	done = wanted == NULL || lock_sku(&pass, wanted);
	if (done)
	{
		stock = row_open_for_reading(SHOP_STOCK);
		lock_all(&pass, stock);
		if (hash_get_num_entries(pass.skus) > 0)
			read_all(&pass, stock);
		table_close(stock, AccessShareLock);
		add_all(&pass, wanted);
	}
	hash_destroy(pass.skus);
	*more = pass.more;
	return done;
}

/* Loads the SKU, if it is in mode escrow and there is room, and others with it. */
static void
load_wanted(const EscrowKey *key)
{
	bool done = true;
	bool more;

	escrow_lock_load(key->stock);
	if (is_wanting(key))
		done = run_pass(key, &more);
	escrow_unlock_load(key->stock);
	if (!done)
		escrow_await_sku(key, ExclusiveLock);
}

void
escrow_load_all(void)
{
	Oid	 stock = shop_table(SHOP_STOCK);
	bool more = true;

	if (!escrow_entry_possible())
		return;
	escrow_lock_load(stock);
	while (more && !escrow_entry_full())
		(void) run_pass(NULL, &more);
	escrow_unlock_load(stock);
}

/* ---- a SKU without an entry ---- */

/*
 * NULL if it has an entry by now.  What its row says is read under the lock, with which it stays
 * so.
 */
static EscrowPin *
pin_by_lock(const EscrowKey *key)
{
	int64 epoch;

	(void) escrow_lock_sku(key, ShareLock, true);
	epoch = is_wanting(key) ? read_epoch(key) : 0;
	if (epoch == 0)
	{
		escrow_unlock_sku(key, ShareLock);
		return NULL;
	}
	return escrow_pin_by_lock(key, epoch);
}

/*
 * Whatever was waited for, the row is looked at anew.  A transaction with one snapshot
 * that shows it in the other mode cannot go on.
 */
EscrowPin *
escrow_pin_unloaded(const char *sku)
{
	EscrowPin *pin;
	EscrowKey  key;

	escrow_key_set(&key, sku);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		pin = escrow_pin(sku);
		if (pin == NULL && escrow_entry_possible() && !escrow_entry_full())
			load_wanted(&key);
		else if (pin == NULL)
			pin = pin_by_lock(&key);
		if (pin)
			return pin;
		if (read_epoch(&key) == 0)
			break;
	}
	row_check_conflict("Its stock mode was changed since.");
	return NULL;
}
