/*
 * escrow_pending.c
 *		What the current transaction has to do with SKUs in escrow, and what becomes of
 *		it when the transaction, or a subtransaction, ends.
 *
 * A record for each SKU, of three kinds: a pin of its entry, with the account of what was
 * claimed and moved; the SKU's lock, SHARE, where there is no entry; a switch of its mode.
 * Records live in a hash table of the backend's and in a list, from the first call that
 * names the SKU to the end of the transaction, or of the subtransaction that has
 * taken the lock or switched.  Pins and their virtual transaction are the top-level
 * transaction's: a subtransaction that rolls back undoes its part of the account only.
 *
 * A record is complete before anything is done to shared memory, and callbacks find there
 * all that they need: they neither allocate nor raise.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "stock/escrow_account_internal.h"
#include "stock/escrow_lock_internal.h"
#include "stock/escrow_pending_internal.h"
#include "stock/stock_heat_internal.h"
#include "stock/stock.h"

typedef enum EscrowKind
{
	ESCROW_PIN,
	ESCROW_LOCK,
	ESCROW_SWITCH,
} EscrowKind;

typedef enum EscrowAtCommit
{
	ESCROW_UNBAR,
	ESCROW_REOPEN, /* with the new epoch and quantity */
	ESCROW_REMOVE,
} EscrowAtCommit;

struct EscrowPin
{
	EscrowKey	 key; /* of the hash table */
	dlist_node	 node;
	EscrowKind	 kind;
	EscrowEntry *entry; /* NULL: a lock; a switch of a SKU without one */

	EscrowAccount account; /* of a pin */

	SubTransactionId subid; /* of a lock or a switch */
	int64			 epoch; /* of a lock; at commit, of a switch */

	/* of a switch */
	bool		   made; /* the entry */
	EscrowAtCommit at_commit;
	int64		   quantity;
	bool		   sets_closed;
	bool		   closed;
};

/* Both are empty between transactions. */
static HTAB		 *records;
static dlist_head list = DLIST_STATIC_INIT(list);

/*
 * What is on hand is bounded by what is free and held, and nobody sees what others receive at the
 * same time: so there is room for some of them, or a fold could never write the row.
 */
#define ESCROW_MAX_FREE (PG_INT64_MAX / 4)

static int stock_switch_timeout; /* settings */
static int debug_commit_delay;

/* ---- records ---- */

static EscrowPin *
find_record(const EscrowKey *key)
{
	return dlist_is_empty(&list) ? NULL : hash_search(records, key, HASH_FIND, NULL);
}

static EscrowPin *
make_record(const EscrowKey *key, EscrowKind kind)
{
	EscrowPin *record;
	bool	   found;

	if (records == NULL)
	{
		HASHCTL control = {.keysize = sizeof(EscrowKey), .entrysize = sizeof(EscrowPin)};

		records = hash_create("order_engine escrow records", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	record = hash_search(records, key, HASH_ENTER, &found);
	Assert(!found);
	record->kind = kind;
	record->entry = NULL;
	record->account = (EscrowAccount){0};
	record->subid = GetCurrentSubTransactionId();
	record->epoch = record->quantity = 0;
	record->made = record->sets_closed = record->closed = false;
	record->at_commit = ESCROW_UNBAR;
	dlist_push_tail(&list, &record->node);
	return record;
}

static void
drop_record(EscrowPin *record)
{
	dlist_delete(&record->node);
	(void) hash_search(records, &record->key, HASH_REMOVE, NULL);
}

void
escrow_refuse_switched(const EscrowKey *key)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("mode or sale of SKU \"%s\" was switched in this transaction", key->sku),
					errhint("Commit before its stock is changed, or it is switched once more.")));
}

/* ---- pins ---- */

/* NULL if there is no entry. */
static EscrowPin *
pin_entry(const EscrowKey *key)
{
	for (;;)
	{
		EscrowPin  *record = make_record(key, ESCROW_PIN);
		EscrowFound found = escrow_entry_pin(key, &record->entry);

		if (found == ESCROW_OPEN)
			return record;
		drop_record(record);
		if (found == ESCROW_NONE)
			return NULL;
		escrow_await_sku(key, ShareLock);
	}
}

EscrowPin *
escrow_pin(const char *sku)
{
	EscrowKey  key;
	EscrowPin *record;

	if (!escrow_entry_any() && dlist_is_empty(&list))
		return NULL;
	escrow_key_set(&key, sku);
	record = find_record(&key);
	if (record == NULL)
		return pin_entry(&key);
	if (record->kind == ESCROW_SWITCH)
		escrow_refuse_switched(&key);
	return record;
}

bool
escrow_is_pending(const EscrowKey *key)
{
	return find_record(key) != NULL;
}

EscrowPin *
escrow_pin_by_lock(const EscrowKey *key, int64 epoch)
{
	EscrowPin *record = make_record(key, ESCROW_LOCK);

	record->epoch = epoch;
	return record;
}

int64
escrow_free(const EscrowPin *pin)
{
	if (pin->entry == NULL)
		return 0;
	return escrow_entry_free(pin->entry) + escrow_account_own(&pin->account);
}

bool
escrow_is_loaded(const EscrowPin *pin)
{
	return pin->entry != NULL;
}

int64
escrow_epoch(const EscrowPin *pin)
{
	return pin->entry ? escrow_entry_epoch(pin->entry) : pin->epoch;
}

bool
escrow_is_closed(const EscrowPin *pin)
{
	return pin->entry && escrow_entry_is_closed(pin->entry);
}

/* ---- the account ---- */

/* Makes sure that what follows can be written down at this subtransaction's level. */
static void
enter_level(EscrowPin *pin)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	if (!escrow_account_is_at(&pin->account, subid))
		escrow_account_enter(&pin->account,
							 MemoryContextAlloc(TopTransactionContext, sizeof(EscrowLevel)), subid);
}

static void
refuse_take(const EscrowPin *pin)
{
	if (escrow_entry_possible())
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("there is no room for SKU \"%s\" in stock mode escrow", pin->key.sku),
				 errhint("Raise order_engine.escrow_skus, or switch SKUs back to mode row.")));
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("stock of SKU \"%s\" is in mode escrow, which needs shared memory", pin->key.sku),
		 errhint("Preload order_engine (shared_preload_libraries, order_engine.escrow_skus), or "
				 "switch the SKU back to mode row.")));
}

bool
escrow_claim(EscrowPin *pin, int64 quantity)
{
	int64 need = escrow_account_need(&pin->account, quantity);

	if (pin->entry == NULL)
		refuse_take(pin);
	if (need == 0)
		return true;
	enter_level(pin);
	if (!escrow_entry_claim(pin->entry, need))
		return false;
	escrow_account_claim(&pin->account, need);
	return true;
}

int64
escrow_claimed(const EscrowPin *pin)
{
	return pin->account.claimed;
}

void
escrow_unclaim(EscrowPin *pin, int64 claimed_before)
{
	int64 quantity = pin->account.claimed - claimed_before;

	if (quantity == 0)
		return;
	escrow_account_unclaim(&pin->account, quantity);
	escrow_entry_give_back(pin->entry, quantity);
}

/* It follows a claim, which may have been made before this subtransaction began. */
void
escrow_take(EscrowPin *pin, int64 quantity)
{
	if (escrow_account_own(&pin->account) < quantity)
		elog(ERROR, "stock of SKU \"%s\" is taken without a claim", pin->key.sku);
	enter_level(pin);
	escrow_account_move(&pin->account, -quantity);
}

void
escrow_return(EscrowPin *pin, int64 quantity)
{
	if (pin->entry == NULL)
		return;
	enter_level(pin);
	escrow_account_move(&pin->account, quantity);
}

void
escrow_receive(EscrowPin *pin, int64 quantity)
{
	if (pin->entry && quantity > ESCROW_MAX_FREE - escrow_free(pin))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("quantity of SKU \"%s\" is out of range", pin->key.sku),
						errdetail("In mode escrow no more than %lld units may be free.",
								  (long long) ESCROW_MAX_FREE),
						errhint("Switch the SKU to mode row with order_engine.set_stock_mode().")));
	escrow_return(pin, quantity);
}

bool
escrow_wait_for_others(EscrowPin *pin, int timeout_ms)
{
	return pin->entry && escrow_entry_wait(pin->entry, timeout_ms);
}

/* ---- looking ---- */

bool
escrow_look(const char *sku, int64 *quantity)
{
	EscrowKey  key;
	EscrowPin *record;

	if (!escrow_entry_any())
		return false;
	escrow_key_set(&key, sku);
	record = find_record(&key);
	if (record == NULL)
		return escrow_entry_look(&key, quantity) == ESCROW_OPEN;
	if (record->kind != ESCROW_PIN)
		return false;
	*quantity = escrow_is_closed(record) ? STOCK_CLOSED : escrow_free(record);
	return true;
}

void
escrow_count_refusal(const char *sku)
{
	EscrowKey key;

	escrow_key_set(&key, sku);
	escrow_entry_count_refusal(&key);
}

void
escrow_count_fold(const char *sku)
{
	EscrowKey key;

	escrow_key_set(&key, sku);
	escrow_entry_count_fold(&key);
}

void
escrow_count_fold_failure(const char *sku)
{
	EscrowKey key;

	escrow_key_set(&key, sku);
	escrow_entry_count_fold_failure(&key);
}

/* ---- switching ---- */

static void
await_pins(const EscrowPin *record, const EscrowDeadline *deadline)
{
	for (int process = 0; process < MaxBackends; process++)
	{
		VirtualTransactionId transaction;
		VirtualTransactionId seen = {0};

		while (escrow_entry_pinned_by(record->entry, process, &transaction))
		{
			escrow_deadline_renew(deadline);
			/* it is over, but not its callback */
			if (VirtualTransactionIdEquals(transaction, seen))
				pg_usleep(1000);
			seen = transaction;
			(void) VirtualXactLock(transaction, true);
			CHECK_FOR_INTERRUPTS();
		}
	}
}

static void
refuse_pinned(const EscrowPin *record)
{
	if (record->kind == ESCROW_SWITCH)
		escrow_refuse_switched(&record->key);
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("stock of SKU \"%s\" was changed in this transaction", record->key.sku),
					errhint("Commit before its mode or its sale is switched.")));
}

static void
describe_wait(void *sku)
{
	errcontext("switching mode or sale of SKU \"%s\"", (const char *) sku);
}

/* The record comes first: from then on the callbacks lift the bar, whatever happens. */
static void
bar(const EscrowKey *key, bool make)
{
	EscrowDeadline deadline;
	EscrowPin	  *record;

	escrow_deadline_begin(&deadline, stock_switch_timeout);
	(void) escrow_lock_sku(key, ExclusiveLock, true);
	record = make_record(key, ESCROW_SWITCH);
	record->made = escrow_entry_bar(key, make, &record->entry);
	if (record->entry)
		await_pins(record, &deadline);
	else if (make)
		refuse_take(record);
	escrow_deadline_end(&deadline);
}

void
escrow_bar(const char *sku, bool make)
{
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = describe_wait,
		.arg = unconstify(char *, sku),
	};
	EscrowKey  key;
	EscrowPin *record;

	escrow_key_set(&key, sku);
	record = find_record(&key);
	if (record)
		refuse_pinned(record);
	error_context_stack = &context;
	bar(&key, make);
	error_context_stack = context.previous;
}

static EscrowPin *
find_switch(const char *sku)
{
	EscrowKey  key;
	EscrowPin *record;

	escrow_key_set(&key, sku);
	record = find_record(&key);
	if (record == NULL || record->kind != ESCROW_SWITCH)
		elog(ERROR, "SKU \"%s\" is not being switched", sku);
	return record;
}

void
escrow_open_at_commit(const char *sku, int64 epoch, int64 quantity)
{
	EscrowPin *record = find_switch(sku);

	record->at_commit = ESCROW_REOPEN;
	record->epoch = epoch;
	record->quantity = quantity;
}

void
escrow_remove_at_commit(const char *sku)
{
	find_switch(sku)->at_commit = ESCROW_REMOVE;
}

void
escrow_close_at_commit(const char *sku, bool closed)
{
	EscrowPin *record = find_switch(sku);

	record->sets_closed = true;
	record->closed = closed;
}

/* ---- the end of transactions and subtransactions: nothing is allocated or raised ---- */

static void
commit_switch(EscrowPin *record)
{
	if (record->sets_closed)
		escrow_entry_set_closed(record->entry, record->closed);
	if (record->at_commit == ESCROW_REOPEN)
		escrow_entry_open(record->entry, record->epoch, record->quantity);
	else if (record->at_commit == ESCROW_REMOVE)
		escrow_entry_remove(record->entry);
	else
		escrow_entry_unbar(record->entry);
}

static void
abort_switch(EscrowPin *record)
{
	if (record->made)
		escrow_entry_remove(record->entry);
	else
		escrow_entry_unbar(record->entry);
}

static void
commit_record(EscrowPin *record)
{
	const EscrowAccount *account = &record->account;

	if (record->entry == NULL)
		return;
	if (record->kind == ESCROW_SWITCH)
		commit_switch(record);
	else
		escrow_entry_unpin(record->entry, account->claimed, escrow_account_own(account),
						   -account->net);
}

static void
abort_record(EscrowPin *record)
{
	const EscrowAccount *account = &record->account;

	if (record->entry == NULL)
		return;
	if (record->kind == ESCROW_SWITCH)
		abort_switch(record);
	else
		escrow_entry_unpin(record->entry, account->claimed, account->claimed, 0);
}

static void
end_records(void (*end)(EscrowPin *record))
{
	dlist_mutable_iter i;

	dlist_foreach_modify(i, &list)
	{
		EscrowPin *record = dlist_container(EscrowPin, node, i.cur);

		end(record);
		drop_record(record);
	}
}

/*
 * What was claimed or switched would be bound to a transaction without a process.  The keeper
 * switches back what it has chosen itself, so that the next try succeeds.
 */
static void
refuse_prepare(void)
{
	dlist_iter i;

	if (dlist_is_empty(&list))
		return;
	dlist_foreach(i, &list) stock_heat_bar(dlist_container(EscrowPin, node, i.cur)->key.sku);
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("cannot PREPARE a transaction that has changed stock in mode escrow"),
					errdetail("It has changed SKU \"%s\".",
							  dlist_head_element(EscrowPin, node, &list)->key.sku),
					errhint("Switch the SKU to mode row with order_engine.set_stock_mode().")));
}

/* What the tests put between a commit that others see and what is done behind it. */
static void
delay_commit(void)
{
	for (int waited = 0; waited < debug_commit_delay; waited++)
		pg_usleep(1000);
}

/* XACT_EVENT_COMMIT comes after the transaction has become visible, and before its locks go. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (dlist_is_empty(&list))
		return;
	if (event == XACT_EVENT_PRE_PREPARE)
		refuse_prepare();
	else if (event == XACT_EVENT_COMMIT)
	{
		if (debug_commit_delay > 0)
			delay_commit();
		end_records(commit_record);
	}
	else if (event == XACT_EVENT_ABORT)
		end_records(abort_record);
}

static void
keep_in_parent(EscrowPin *record, SubTransactionId subid, SubTransactionId parent)
{
	EscrowLevel *spare = escrow_account_keep(&record->account, subid, parent);

	if (spare)
		pfree(spare);
	if (record->kind != ESCROW_PIN && record->subid == subid)
		record->subid = parent;
}

/* The lock of a record goes with the subtransaction, right behind this. */
static void
roll_back(EscrowPin *record, SubTransactionId subid)
{
	int64		 claimed;
	EscrowLevel *spare = escrow_account_forget(&record->account, subid, &claimed);

	if (spare)
	{
		escrow_entry_give_back(record->entry, claimed);
		pfree(spare);
	}
	if (record->kind != ESCROW_PIN && record->subid == subid)
	{
		abort_record(record);
		drop_record(record);
	}
}

static void
at_subtransaction_end(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
					  void *arg)
{
	dlist_mutable_iter i;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	dlist_foreach_modify(i, &list)
	{
		EscrowPin *record = dlist_container(EscrowPin, node, i.cur);

		if (event == SUBXACT_EVENT_COMMIT_SUB)
			keep_in_parent(record, subid, parent);
		else
			roll_back(record, subid);
	}
}

void
escrow_init(void)
{
	escrow_entry_init();
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterSubXactCallback(at_subtransaction_end, NULL);
	DefineCustomIntVariable("order_engine.stock_switch_timeout",
							"How long a switch of the stock mode waits for what is under way.",
							NULL, &stock_switch_timeout, 10000, 1, INT_MAX, PGC_USERSET,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"order_engine.debug_commit_delay",
		"Sleeps between a commit that changes stock in mode escrow and what follows it.",
		"For tests only.", &debug_commit_delay, 0, 0, INT_MAX, PGC_SUSET,
		GUC_UNIT_MS | GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
}
