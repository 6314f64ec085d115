/*
 * escrow.pml
 *		The escrow protocol as a model for spin: who may change the stock of a SKU in mode
 *		escrow, when, and what is true of it whatever happens in between.
 *
 * Each scene below is a handful of processes and what they may do; all the ways in which
 * their steps can mix are searched.  Each guard is a line below, too: its scene, without
 * it, must fail.  test/t/escrow_model.pl runs them all.  One of them, by hand:
 *
 *		spin -DSCENE=switching -DWITHOUT=new_epoch -a escrow.pml
 *		gcc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m100000
 *		spin -DSCENE=switching -DWITHOUT=new_epoch -t -p -g escrow.pml
 *
 * What must hold:
 *	- the books: what the tables say (the row of stock, and what is not folded yet) is what
 *	  the committed transactions did.  Nothing is lost, nothing is counted twice.
 *	- nothing is sold or released that is not there: 0 <= reserved <= on_hand.
 *	- who is refused finds nothing free, or somebody else has a pin.
 *	- in the end no pin, bar or lock is left, and the counter is what the tables say.
 *	- nobody waits for ever (to spin, an invalid end state), but for whom the deadlock
 *	  detector, or the time limit of a switch, is a way out (`timeout`).
 *
 * Process `me` runs transaction `me`; a snapshot is the mask of the transactions it sees.  To
 * commit is four steps, in the order of CommitTransaction(): the record in WAL, visible to
 * others, the callback, the locks.  Rows of stock have versions, and one writer at a time;
 * those of stock_journal are there, or not, by the leaf's present files, whatever a snapshot
 * says.
 *
 * Which step is which function:
 *
 *		change()			stock_apply(), stock_trigger.c for a row changed by hand
 *		look()				escrow_look()
 *		pin()				escrow_pin(), escrow_entry_pin()
 *		claim()				escrow_claim(), escrow_entry_claim()
 *		append()			stock_journal_append()
 *		change_row()		stock_row_change(), in mode row
 *		change_unloaded()	escrow_pin_unloaded(), pin_by_lock()
 *		load(), load_sku()	load_wanted(), run_pass(), read_all(), escrow_entry_add()
 *		become_visible()	ProcArrayEndTransaction() at commit
 *		vanish()			the same at abort
 *		settle()			commit_record(), abort_record(), escrow_entry_unpin()
 *		undo()				roll_back()
 *		nested				escrow_account.c, level by level
 *		switch				stock_mode_change(), escrow_bar(), await_pins(), commit_switch()
 *		lift()				abort_switch()
 *		fold				escrow_fold(), stock_fold_begin(), fold_sku(), append_carried()
 *		rotate				empty_leaf() of journal_rotation.c
 *		repeat_position, empty_positions	rotate_positions()
 *		reader				stock_journal_unfolded(), position_seen()
 *		standby_reader_of	stock_journal_lock(), ring_check_seen()
 *		prepare				refuse_prepare()
 *		reconcile			escrow_counters(), escrow_counters_settle()
 *		buyer				may_have_stock(), may_be_replay(), row_insert_unless(), find_replay()
 *		mover				move_escrow(), move_row(), stock_movement_claim()
 *		restored_fold		ring_require_whole(), find_batch(), stock_fold_end()
 *		tick				journal_tick()
 *
 * Not here: rows of other eras, which a load and a fold read as rows of their own; the ids
 * of rows, by which no fold goes; what waits for what is overdue.
 */

/* ---- scenes ---- */

#define sale		1  /* sell, return, load, fold, and the row changed by hand */
#define switching	2  /* to mode row, beside a sale */
#define returning	3  /* to mode row and back to escrow */
#define opening		4  /* to mode escrow, beside a sale in mode row */
#define barriers	5  /* pin and bar, on processors with store buffers */
#define unloaded	6  /* no room for an entry, then room */
#define folding		7  /* two who fold, one row that is busy */
#define rotation	8  /* leaves emptied beside who reads them */
#define journals	9  /* the positions of two journals, emptied */
#define replica		10 /* a standby reads while it replays */
#define savepoints	11 /* levels of a transaction's record */
#define crash		12 /* some of what was committed is lost; promotion, too */
#define two_skus	13 /* orders of two SKUs, each switched */
#define preparing	14 /* PREPARE TRANSACTION */
#define reconciling 15 /* memory compared with tables */
#define retrying	16 /* two orders under one idempotency key, and one without */
#define refs		17 /* two receipts under one ref, beside a switch to mode row */
#define restoring	18 /* folds beside a restore, and ticks that nobody has acknowledged */

/* ---- guards: without it, that scene must fail ---- */

#define pin_to_the_end		  101 /* switching: a pin lasts until the callback, not until the commit */
#define pin_confirms		  102 /* switching: what leaves the free quantity alone is pinned, too */
#define bar_is_heeded		  103 /* switching: who finds the bar sets no bit, and waits */
#define bar_to_the_end		  104 /* switching: a bar lasts until the callback, not until the commit */
#define pins_are_waited_for	  105 /* switching: a switch reads when there are no pins */
#define switch_reads_afresh	  107 /* switching: a switch reads under a snapshot of after the pins */
#define switch_gives_up		  108 /* switching: a switch waits for so long only, or until a deadlock is seen */
#define bar_is_lifted		  109 /* switching: a switch that fails lifts its bar */
#define bar_is_sublifted	  110 /* switching: and so does one whose savepoint is rolled back, with its locks */
#define rows_have_epochs	  111 /* switching: a row of the journal counts for the epoch of its SKU only */
#define fold_judges_locked	  112 /* switching: the epoch that a fold goes by is that of the row once locked */
#define row_mode_locked		  113 /* opening: in mode row, the mode that counts is that of the row once locked */
#define look_past_bars		  114 /* opening: an entry that is barred says nothing of what is free */
#define no_take_after_switch  115 /* opening: a transaction that has switched a SKU takes nothing of it */
#define made_only_if_absent	  116 /* returning: a load leaves alone an entry that was made meanwhile */
#define new_epoch			  117 /* returning: each switch to escrow draws an epoch */
#define epoch_of_entry		  118 /* returning: a row gets the entry's epoch, not one read before the pin */
#define free_before_bit		  119 /* returning: whose bit is clear leaves the entry alone */
#define bit_after_transaction 106 /* returning: a bit is looked at again when its transaction has gone */
#define pinned_pass_bars	  120 /* returning: a transaction that has a pin does not heed the bar */
#define pin_under_lock		  121 /* barriers: bar and bit are one section of the table's lock */
#define bar_under_lock		  122 /* barriers: and so is the bar that is set */
#define lock_is_barrier		  123 /* barriers: what was stored under a lock is in memory when it is released */
#define take_is_swapped		  124 /* sale: what is free is compared and swapped */
#define return_at_commit	  125 /* sale: what is returned is free when it has committed */
#define abort_gives_back	  126 /* sale: what was claimed is free again at abort */
#define own_returns_first	  127 /* sale: a take uses what its transaction returns */
#define fold_spares_counter	  128 /* sale: a fold leaves the counter alone */
#define by_hand_pins		  129 /* sale: a row changed by hand is pinned, and the counter with it */
#define load_counts_journal	  130 /* sale: a load adds what is not folded yet */
#define load_locks_sku		  131 /* unloaded: a load waits for who changes without an entry */
#define load_snapshot_last	  132 /* unloaded: a load takes its snapshot after the SKU's lock */
#define share_lock			  133 /* unloaded: who changes without an entry holds the SKU's lock SHARE */
#define share_to_the_end	  134 /* unloaded: until his transaction has ended */
#define share_looks_again	  135 /* unloaded: and looks for an entry again when he has it */
#define share_reads_afresh	  136 /* unloaded: and reads mode and epoch then */
#define share_not_noted		  137 /* unloaded: a savepoint's end lets go of that lock; the next change locks again */
#define take_needs_entry	  138 /* unloaded: without an entry nothing is taken */
#define switch_waits_shares	  139 /* unloaded: a switch waits for who changes without an entry */
#define position_lock_first	  140 /* folding: one fold at a time, its snapshot within */
#define carry				  141 /* folding: what a busy row's SKU has in the batch is appended anew */
#define own_xid				  142 /* folding: a fold lists itself among what is in progress */
#define empty_what_is_folded  144 /* rotation: a leaf is emptied when all of it is folded */
#define empty_under_lock	  145 /* rotation: and nobody appends there who has not committed */
#define empty_after_snapshots 146 /* rotation: and every snapshot in use sees the position that says so */
#define position_by_snapshot  147 /* rotation: row, position and leaves are read under one snapshot */
#define row_by_snapshot		  148 /* rotation: the row, too */
#define standby_locks_first	  149 /* replica: the leaves are locked, and then the snapshot is taken */
#define standby_holds_lock	  150 /* replica: and the lock keeps them as they are until they are read */
#define standby_sees_files	  151 /* replica: an older snapshot must see the leaf's present files */
#define memory_is_lost		  152 /* crash: shared memory begins empty */
#define crash_is_prefix		  153 /* crash: what depends on a commit comes behind it in WAL */
#define level_gives_back	  154 /* savepoints: what a level has claimed is free again when it is rolled back */
#define level_drops_returns	  155 /* savepoints: and what it would return is not there for its parent */
#define level_merges		  156 /* savepoints: a level that is released is its parent's */
#define claims_are_used		  157 /* savepoints: what is claimed is taken before more is */
#define pass_leaves_own_out	  158 /* two_skus: a load leaves out SKUs of which its own transaction has the lock */
#define pass_tries_locks	  159 /* two_skus: nobody waits for a SKU's lock with the load lock */
#define prepare_is_refused	  161 /* preparing: a transaction that has a pin is not prepared, whatever it did */
#define own_position_leaves	  162 /* journals: a journal has its own leaves of positions */
#define newest_repeated		  163 /* journals: a leaf of positions is emptied when the newest lies in the other */
#define repeated_is_seen	  164 /* journals: and every snapshot in use sees it there */
#define changes_first		  165 /* reconciling: the count of changes is read before the pins, and again after them */
#define changes_before_bit	  166 /* reconciling: it is raised before the bit is cleared */
#define no_pins_compared	  167 /* reconciling: nothing is compared while there are pins */
#define fold_is_one			  143 /* folding: rows and position commit together */
#define holder_is_awaited	  171 /* retrying: who finds it sold out is refused if nobody has his key, committed or not */
#define key_before_stock	  172 /* retrying: an order has its key before it takes its stock */
#define key_is_claimed		  173 /* retrying: and waits for who has it */
#define pin_before_ref		  174 /* refs: a receipt pins before it claims its ref */
#define ref_is_claimed		  175 /* refs: which it does, as no row is locked */
#define invisible_is_failure  176 /* refs: who cannot see the receipt that has the ref fails */
#define index_is_whole		  177 /* restoring: nothing is folded before the last row is there */
#define tick_is_finished	  178 /* restoring: a fold reads what a tick before it has left unread */
#define tick_is_the_batch	  179 /* restoring: and acknowledges no more than that */

#ifndef WITHOUT
#define WITHOUT 0
#endif
#define has(guard) (WITHOUT != guard)

/* ---- what a scene has ---- */

#if SCENE == two_skus
#define SKUS 2
#else
#define SKUS 1
#endif

#if SCENE == opening
#define EPOCH 0
#define LOADED false
#elif SCENE == sale || SCENE == unloaded || SCENE == returning || SCENE == rotation || SCENE == two_skus || SCENE == restoring
#define EPOCH 1
#define LOADED false
#else
#define EPOCH 1
#define LOADED true
#endif

#define ON_HAND 2
#define RESERVED 1

#define XIDS 6		/* 0: what there was before */
#define ROWS 2		/* of stock_journal, that one transaction appends */
#define VERSIONS 5
#define POSITIONS 4

/* Reads under one snapshot are one step, or each its own where files can go meanwhile. */
#if SCENE == rotation || SCENE == replica
#define TOGETHER
#else
#define TOGETHER atomic
#endif

/* A way out of waiting that is no error of the protocol: 40P01. */
#if SCENE == two_skus
#define OR_DEADLOCK :: timeout -> goto failed
#else
#define OR_DEADLOCK
#endif

/* In a crash all processes are gone at once; those of before it have the first numbers. */
#if SCENE == crash
bool crashed;
#define FIRST_LIFE 3
#define LIFE {
#define END_OF_LIFE } unless { atomic { crashed && me <= FIRST_LIFE -> CLEAR_LOCALS; ended++ } }
#else
#define LIFE
#define END_OF_LIFE
#endif

#define BIT(x) (1 << (x))
#define SEES(snapshot, xid) (((snapshot) >> (xid)) & 1)
#define OTHERS(mask) ((mask) & ~BIT(me))

/* ---- what is durable ---- */

typedef Version
{
	byte xid;
	byte epoch; /* 0: in mode row */
	short on_hand;
	short reserved
}

typedef Row
{
	byte sku;
	byte leaf;
	byte epoch;
	short on_hand;
	short reserved; /* both 0: there is no such row */
	byte cut		/* who emptied the leaf; 0: nobody has */
}

typedef Position
{
	byte xid;
	byte seen; /* a snapshot: these rows are consumed */
	byte journal; /* 0: stock_journal */
	byte leaf;
	bool gone /* the leaf was emptied */
}

byte done = 1; /* who has committed, as new snapshots see it */
Version version[SKUS * VERSIONS];
byte versions[SKUS];
Row row[XIDS * ROWS];
Position position[POSITIONS];
byte positions;

/* What each transaction has done, as its caller meant it.  Nothing of the engine reads this. */
short did_on_hand[XIDS * SKUS];
short did_reserved[XIDS * SKUS];

/* ---- what is in shared memory ---- */

bool entry[SKUS];
byte entry_epoch[SKUS];
short free[SKUS];
bool bar[SKUS];
byte pins[SKUS];

byte running;		   /* who has a virtual transaction */
byte row_lock[SKUS];   /* until its holder is not running any more */
byte sku_lock[SKUS];   /* EXCLUSIVE */
byte sku_share[SKUS];  /* SHARE */
byte load_lock;
byte position_lock;
byte leaf_reader[2];   /* who empties a leaf wants nobody there */
byte leaf_writer[2];

byte ended;

#if SCENE == rotation || SCENE == journals
byte in_use[XIDS]; /* a snapshot, as others see it; 0: none */
#define USE_SNAPSHOT(by) d_step { snapshot = by; in_use[me] = snapshot }
#define DROP_SNAPSHOT d_step { snapshot = 0; in_use[me] = 0 }
#else
#define USE_SNAPSHOT(by) snapshot = by
#define DROP_SNAPSHOT snapshot = 0
#endif

/* Of single steps; none of them outlives one. */
hidden byte i_;
hidden byte s_;
hidden byte v_;
hidden byte p_;
hidden byte s_seen;
hidden short is_on_hand;
hidden short is_reserved;
hidden short should_on_hand;
hidden short should_reserved;

/* ---- reading under a snapshot: stock_row_find(), position_read(), scan_between() ---- */

/* v_: the version of the SKU's row that the snapshot sees. */
inline find_version(by, s)
{
	v_ = versions[s];
	do
	:: !SEES(by, version[(s) * VERSIONS + v_ - 1].xid) -> v_--
	:: else -> break
	od;
	v_ = (s) * VERSIONS + v_ - 1
}

/* p_: the newest position that the snapshot sees. */
inline find_position(by)
{
	p_ = positions;
	do
	:: p_ > 0 &&
	   !(SEES(by, position[p_ - 1].xid) && position[p_ - 1].journal == 0 && !position[p_ - 1].gone) -> p_--
	:: else -> break
	od;
	p_--
}

#define SEEN (p_ == 255 -> 0 : position[p_].seen) /* 255: there is no position */

inline read_row(by, s)
{
	d_step {
		find_version(by, s);
		on_hand = version[v_].on_hand;
		reserved = version[v_].reserved;
		epoch = version[v_].epoch
	}
}

inline read_position(by)
{
	d_step {
		find_position(by);
		seen = SEEN
	}
}

/* Adds the rows of a leaf that are not folded yet, of the epoch given; `files`: whose are there. */
inline add_leaf(by, files, s, leaf_, epoch_, seen_, sum_on_hand, sum_reserved)
{
	i_ = 0;
	do
	:: i_ == XIDS * ROWS -> break
	:: else ->
		if
		:: row[i_].leaf == leaf_ && row[i_].sku == s && (row[i_].epoch == epoch_ || !has(rows_have_epochs)) &&
		   (row[i_].on_hand != 0 || row[i_].reserved != 0) &&
		   SEES(by, i_ / ROWS) && !SEES(seen_, i_ / ROWS) &&
		   (row[i_].cut == 0 || !SEES(files, row[i_].cut)) ->
			sum_on_hand = sum_on_hand + row[i_].on_hand;
			sum_reserved = sum_reserved + row[i_].reserved
		:: else
		fi;
		i_++
	od;
	i_ = 0
}

inline read_leaf(by, files, s, leaf_)
{
	d_step { add_leaf(by, files, s, leaf_, epoch, seen, on_hand, reserved) }
}

/* ---- what must hold ---- */

inline find_truth(by, s)
{
	should_on_hand = ON_HAND;
	should_reserved = RESERVED;
	i_ = 0;
	do
	:: i_ == XIDS -> break
	:: else ->
		if
		:: SEES(by, i_) ->
			should_on_hand = should_on_hand + did_on_hand[i_ * SKUS + s];
			should_reserved = should_reserved + did_reserved[i_ * SKUS + s]
		:: else
		fi;
		i_++
	od;
	i_ = 0
}

/* is_: what the tables say to a snapshot of now. */
inline find_tables(s)
{
	find_version(done, s);
	find_position(done);
	is_on_hand = version[v_].on_hand;
	is_reserved = version[v_].reserved;
	s_seen = SEEN;
	add_leaf(done, done, s, 0, version[v_].epoch, s_seen, is_on_hand, is_reserved);
	add_leaf(done, done, s, 1, version[v_].epoch, s_seen, is_on_hand, is_reserved)
}

/* After each change of what is visible. */
inline check_books()
{
	s_ = 0;
	do
	:: s_ == SKUS -> break
	:: else ->
		find_tables(s_);
		find_truth(done, s_);
		assert(is_on_hand == should_on_hand && is_reserved == should_reserved);
		assert(0 <= is_reserved && is_reserved <= is_on_hand);
		s_++
	od;
	s_ = 0
}

/* Whom a take is refused: there is no unit, his own changes counted, or another has a pin. */
inline check_refusal(s)
{
	find_truth(done, s);
	assert(OTHERS(pins[s] | sku_share[s]) != 0 ||
		   should_on_hand - should_reserved + did_on_hand[me * SKUS + s] - did_reserved[me * SKUS + s] < 1)
}

/* When all have ended. */
inline check_end()
{
	s_ = 0;
	do
	:: s_ == SKUS -> break
	:: else ->
		find_tables(s_);
		assert(pins[s_] == 0 && !bar[s_]);
		assert(!entry[s_] || free[s_] == is_on_hand - is_reserved);
		assert(row_lock[s_] == 0 && sku_lock[s_] == 0 && sku_share[s_] == 0);
		s_++
	od;
	assert(load_lock == 0 && position_lock == 0 && leaf_reader[0] + leaf_reader[1] + leaf_writer[0] + leaf_writer[1] == 0)
}

/* ---- a transaction's end: escrow_pending.c, and PostgreSQL's xact.c ---- */

/* Others do not see any more what it has written; it has nothing durable. */
inline forget(xid_)
{
	i_ = 0;
	do
	:: i_ == ROWS -> break
	:: else ->
		row[xid_ * ROWS + i_].sku = 0;
		row[xid_ * ROWS + i_].leaf = 0;
		row[xid_ * ROWS + i_].epoch = 0;
		row[xid_ * ROWS + i_].on_hand = 0;
		row[xid_ * ROWS + i_].reserved = 0;
		i_++
	od;
	s_ = 0;
	do
	:: s_ == SKUS -> break
	:: else ->
		did_on_hand[xid_ * SKUS + s_] = 0;
		did_reserved[xid_ * SKUS + s_] = 0;
		v_ = s_ * VERSIONS + versions[s_] - 1;
		if
		:: xid_ != 0 && version[v_].xid == xid_ ->
			version[v_].xid = 0;
			version[v_].epoch = 0;
			version[v_].on_hand = 0;
			version[v_].reserved = 0;
			versions[s_]--
		:: else
		fi;
		s_++
	od;
	s_ = 0;
	if
	:: position[positions - 1].xid == xid_ ->
		position[positions - 1].xid = 0;
		position[positions - 1].seen = 0;
		position[positions - 1].leaf = 0;
		positions--
	:: else
	fi
}

inline leave_running()
{
	running = OTHERS(running);
	s_ = 0;
	do
	:: s_ == SKUS -> break
	:: else ->
		if
		:: row_lock[s_] == me -> row_lock[s_] = 0
		:: else
		fi;
		s_++
	od;
	s_ = 0
}

#if SCENE == crash || SCENE == replica
byte wal[XIDS + 1]; /* records of commits */
byte records;
byte standby_reader;
byte replayed = 1;
byte emptied_by; /* the transaction that emptied leaves */

#define LOG_COMMIT d_step { wal[records] = me; records++ };
#else
#define LOG_COMMIT
#endif

inline become_visible()
{
	LOG_COMMIT
	d_step {
		done = done | BIT(me);
		leave_running();
		check_books()
	}
}

inline vanish()
{
	d_step {
		forget(me);
		leave_running()
	}
}

inline release_locks()
{
	d_step {
		s_ = 0;
		do
		:: s_ == SKUS -> break
		:: else ->
			if
			:: sku_lock[s_] == me -> sku_lock[s_] = 0
			:: else
			fi;
			sku_share[s_] = OTHERS(sku_share[s_]);
			s_++
		od;
		s_ = 0;
		if
		:: position_lock == me -> position_lock = 0
		:: else
		fi;
		leaf_writer[0] = OTHERS(leaf_writer[0]);
		leaf_writer[1] = OTHERS(leaf_writer[1]);
		leaf_reader[0] = OTHERS(leaf_reader[0]);
		leaf_reader[1] = OTHERS(leaf_reader[1])
	}
}

#define LEAF (me & 1) /* any leaf is as good as any other */

#define NOTHING 0
#define PINNED 2
#define BARRED 3

/* ---- who changes stock: stock_apply(), escrow_pin(), escrow_claim(), stock_journal_append() ---- */

#define TAKE		1
#define RELEASE		2
#define CONFIRM		3
#define RESTOCK		4
#define LOWER		5 /* UPDATE stock SET on_hand = on_hand - 1, by hand */
#define RAISE		6
#define OF_B		8  /* of the second SKU */
#define UNDONE		16 /* within a savepoint, and rolled back to it */

#define BY_HAND (op == LOWER || op == RAISE)
#define WANTS (reserve > move)

/* Judges a take that finds nothing. */
inline refuse(s)
{
	check_refusal(s);
	goto failed
}

inline wait_for_row(s)
{
	if
	:: atomic { row_lock[s] == 0 || row_lock[s] == me -> row_lock[s] = me }
	OR_DEADLOCK
	fi
}

/* The row, locked by us, gets the change: a version of ours. */
inline change_version(s, move_, reserve_)
{
	v_ = s * VERSIONS + versions[s] - 1;
	if
	:: version[v_].xid != me ->
		version[v_ + 1].xid = me;
		version[v_ + 1].epoch = version[v_].epoch;
		version[v_ + 1].on_hand = version[v_].on_hand;
		version[v_ + 1].reserved = version[v_].reserved;
		versions[s]++;
		v_++
	:: else
	fi;
	version[v_].on_hand = version[v_].on_hand + move_;
	version[v_].reserved = version[v_].reserved + reserve_
}

inline note_change(s)
{
	did_on_hand[me * SKUS + s] = did_on_hand[me * SKUS + s] + move;
	did_reserved[me * SKUS + s] = did_reserved[me * SKUS + s] + reserve
}

/* In mode row: the row is locked, and judged again. */
inline change_row(s)
{
	wait_for_row(s);
	atomic {
		v_ = s * VERSIONS + versions[s] - 1;
		if
		:: version[v_].epoch != 0 && !BY_HAND && has(row_mode_locked) ->
			/* a lock of a row that was not changed goes with its statement, by and large */
			row_lock[s] = (version[v_].xid == me -> me : 0)
		:: else ->
			if
			:: WANTS && version[v_].on_hand - version[v_].reserved < 1 -> refuse(s)
			:: else
			fi;
			d_step {
				change_version(s, move, reserve);
				note_change(s)
			};
			changed = true
		fi
	}
}

inline append(s, epoch_)
{
	d_step {
		i_ = me * ROWS;
		if
		:: row[i_].on_hand != 0 || row[i_].reserved != 0 -> i_++
		:: else
		fi;
		row[i_].sku = s;
		row[i_].leaf = LEAF;
		row[i_].epoch = epoch_;
		row[i_].on_hand = move;
		row[i_].reserved = reserve;
		leaf_writer[LEAF] = leaf_writer[LEAF] | BIT(me);
		note_change(s)
	}
}

/* What there is to be claimed beyond own returns and earlier claims: escrow_claim(). */
inline claim(s)
{
	atomic {
		need = (has(own_returns_first) -> 1 - net[s] - claimed[s] : 1);
		need = (need < 0 -> 0 : need);
		if
		:: free[s] < need -> refuse(s)
		:: else
		fi;
#if has(take_is_swapped)
		free[s] = free[s] - need
	};
#else
		was_free = free[s]
	};
	free[s] = was_free - need;
#endif
	d_step {
		claimed[s] = claimed[s] + need;
		need = 0
	}
}

/* With a pin. */
inline change_pinned(s)
{
	if
	:: WANTS -> claim(s)
	:: else
	fi;
	net[s] = net[s] + move - reserve;
	if
	:: BY_HAND ->
		d_step {
			change_version(s, move, reserve);
			note_change(s)
		}
	:: else ->
		epoch = (has(epoch_of_entry) -> entry_epoch[s] : epoch);
		append(s, epoch)
	fi;
#if !has(return_at_commit)
	if
	:: !WANTS && move > reserve -> d_step { free[s] = free[s] + 1; net[s] = net[s] - 1 }
	:: else
	fi;
#endif
	changed = true
}

/* Without an entry: the SKU's lock SHARE, to the end; nothing is taken. */
inline change_unloaded(s)
{
#if has(share_not_noted)
	if
#else
	if
	:: shared[s]
#endif
#if has(share_lock)
	:: atomic { sku_lock[s] == 0 -> sku_share[s] = sku_share[s] | BIT(me); shared[s] = true }
#else
	:: shared[s] = true
#endif
	OR_DEADLOCK
	fi;
#if has(share_reads_afresh)
	d_step { find_version(done | BIT(me), s); epoch = version[v_].epoch };
#endif
	if
	:: (entry[s] && has(share_looks_again)) || epoch == 0 ->
		d_step { sku_share[s] = OTHERS(sku_share[s]); shared[s] = false }
	:: else ->
		if
		:: WANTS && has(take_needs_entry) -> goto failed
		:: else
		fi;
		if
		:: BY_HAND ->
			d_step {
				change_version(s, move, reserve);
				note_change(s)
			}
		:: else -> append(s, epoch)
		fi;
		changed = true;
#if !has(share_to_the_end)
		sku_share[s] = OTHERS(sku_share[s]);
#endif
	fi
}

/* Sections under the hash table's LWLock are one step, but where that lock is what is looked at. */
#if SCENE == barriers
byte table_share;
byte table_lock;
bool stored_bit[XIDS]; /* in the store buffer of the processor */
bool stored_bar[XIDS];

inline flush(xid_)
{
	pins[0] = pins[0] | (stored_bit[xid_] -> BIT(xid_) : 0);
	bar[0] = bar[0] || stored_bar[xid_];
	stored_bit[xid_] = false;
	stored_bar[xid_] = false
}

/* Any time after the store. */
active proctype store_buffers()
{
end:
	do
	:: d_step { stored_bit[1] || stored_bar[1] -> flush(1) }
	:: d_step { stored_bit[2] || stored_bar[2] -> flush(2) }
	:: d_step { stored_bit[3] || stored_bar[3] -> flush(3) }
	od
}

#define CLEAR_BIT(s) d_step { flush(me); pins[s] = OTHERS(pins[s]) }

inline unlock_table()
{
	d_step {
		if
		:: has(lock_is_barrier) -> flush(me)
		:: else
		fi;
		table_share = OTHERS(table_share);
		table_lock = (table_lock == me -> 0 : table_lock)
	}
}

inline pin(s)
{
	if
	:: held[s] -> got = PINNED
	:: else ->
#if has(pin_under_lock)
		atomic { table_lock == 0 -> table_share = table_share | BIT(me) };
#endif
		if
		:: !entry[s] -> got = NOTHING
		:: entry[s] && bar[s] -> got = BARRED
		:: entry[s] && !bar[s] -> got = PINNED
		fi;
		if
		:: got == PINNED -> d_step { held[s] = true; stored_bit[me] = true }
		:: else
		fi;
		unlock_table()
	fi
}

inline set_bar(s)
{
#if has(bar_under_lock)
	atomic { table_lock == 0 && table_share == 0 -> table_lock = me };
#endif
	stored_bar[me] = true;
	unlock_table()
}

#define NO_PINS(s) (OTHERS(pins[s]) == 0)
#define FORGET_STORE stored_bar[me] = false

#else
#define FORGET_STORE skip
#define CLEAR_BIT(s) pins[s] = OTHERS(pins[s])

/* escrow_entry_pin() */
inline pin(s)
{
	d_step {
		if
		:: entry[s] && held[s] && has(pinned_pass_bars) -> got = PINNED
		:: entry[s] && !(held[s] && has(pinned_pass_bars)) ->
			if
			:: bar[s] && has(bar_is_heeded) -> got = BARRED
			:: else ->
				pins[s] = pins[s] | BIT(me);
				held[s] = true;
				got = PINNED
			fi
		:: else -> got = NOTHING
		fi
	}
}

/* escrow_entry_bar() */
inline set_bar(s)
{
	bar[s] = true
}

#define NO_PINS(s) ((OTHERS(pins[s]) & (has(bit_after_transaction) -> 255 : running)) == 0)
#endif

/* One SKU of a pass, under the locks and the snapshot: read_all(), escrow_entry_add(). */
inline load_sku(s)
{
	TOGETHER {
		read_row(snapshot, s);
		read_position(snapshot);
		if
		:: has(load_counts_journal) ->
			read_leaf(snapshot, done, s, 0);
			read_leaf(snapshot, done, s, 1)
		:: else
		fi
	};
	d_step {
		if
		:: epoch != 0 && (!entry[s] || !has(made_only_if_absent)) ->
			entry[s] = true;
			entry_epoch[s] = epoch;
			free[s] = on_hand - reserved
		:: else
		fi;
		epoch = 0;
		on_hand = 0;
		reserved = 0;
		seen = 0
	}
}

inline unlock_loaded()
{
	s_ = 0;
	do
	:: s_ == SKUS -> break
	:: else ->
		sku_lock[s_] = (loads[s_] && sku_lock[s_] == me -> 0 : sku_lock[s_]);
		loads[s_] = false;
		s_++
	od;
	s_ = 0
}

#define LOCK_IS_FREE(s) ((sku_lock[s] == 0 && OTHERS(sku_share[s]) == 0) || !has(load_locks_sku))

/*
 * A pass, for this SKU and those whose locks are free: load_wanted(), run_pass().  The
 * snapshot sees what this transaction has done itself.
 */
inline load(s)
{
	atomic { load_lock == 0 -> load_lock = me };
#if !has(load_snapshot_last)
	USE_SNAPSHOT(done | BIT(me));
#endif
	if
	:: entry[s] -> load_lock = 0
	:: else ->
		if
#if !has(pass_tries_locks)
		:: atomic { LOCK_IS_FREE(s) -> loads[s] = true; sku_lock[s] = (has(load_locks_sku) -> me : sku_lock[s]) }
#else
		:: atomic { LOCK_IS_FREE(s) -> loads[s] = true; sku_lock[s] = (has(load_locks_sku) -> me : sku_lock[s]) }
		:: atomic { !LOCK_IS_FREE(s) -> load_lock = 0 }
#endif
		fi;
#if SKUS == 2
		d_step {
			other = 1 - s;
			if
			:: loads[s] && !entry[other] && LOCK_IS_FREE(other) && !(shared[other] && has(pass_leaves_own_out)) ->
				loads[other] = true;
				sku_lock[other] = me
			:: else
			fi
		};
#endif
		if
		:: loads[s] ->
			d_step {
				leaf_reader[0] = leaf_reader[0] | BIT(me);
				leaf_reader[1] = leaf_reader[1] | BIT(me)
			};
#if has(load_snapshot_last)
			USE_SNAPSHOT(done | BIT(me));
#endif
			load_sku(s);
#if SKUS == 2
			if
			:: loads[other] -> load_sku(other)
			:: else
			fi;
			other = 0;
#endif
			DROP_SNAPSHOT;
			d_step {
				unlock_loaded();
				leaf_reader[0] = OTHERS(leaf_reader[0]);
				leaf_reader[1] = OTHERS(leaf_reader[1]);
				load_lock = 0
			}
		:: else ->
			/* escrow_await_sku() */
			if
			:: LOCK_IS_FREE(s)
			OR_DEADLOCK
			fi
		fi
	fi
}

/* The first look of create_order(), which refuses before anything is written: escrow_look(). */
inline look(s)
{
	atomic {
		if
		:: entry[s] && !held[s] && !(bar[s] && has(look_past_bars)) && free[s] < 1 -> refuse(s)
		:: else
		fi
	}
}

/* One change, in whatever mode the SKU is by then: stock_apply(). */
inline change(s)
{
	if
	:: BY_HAND -> wait_for_row(s)
	:: op == TAKE -> look(s)
	:: else
	fi;
	do
	:: changed -> break
	:: else ->
#if !has(epoch_of_entry) || !has(share_reads_afresh)
		d_step { find_version(done | BIT(me), s); epoch = version[v_].epoch };
#endif
		if
		:: (op == CONFIRM && !has(pin_confirms)) || (BY_HAND && !has(by_hand_pins)) -> got = NOTHING
		:: else -> pin(s)
		fi;
		if
		:: got == PINNED ->
			change_pinned(s)
		:: got == BARRED ->
			/* SHARE, and released at once */
			if
			:: sku_lock[s] == 0 || sku_lock[s] == me
			OR_DEADLOCK
			fi
		:: got == NOTHING ->
#if has(epoch_of_entry) && has(share_reads_afresh)
			d_step { find_version(done | BIT(me), s); epoch = version[v_].epoch };
#endif
			if
			:: epoch == 0 || (BY_HAND && !has(by_hand_pins)) -> change_row(s)
			:: epoch != 0 && op == CONFIRM && !has(pin_confirms) -> append(s, epoch); changed = true
			:: else ->
				if
				:: !shared[s] -> load(s)
#if SCENE == unloaded || SCENE == two_skus
				:: change_unloaded(s)
#endif
				fi
			fi
		fi;
		d_step { got = NOTHING; epoch = 0 }
	od;
	changed = false
}

/* ROLLBACK TO a savepoint of before the change. */
inline undo(s)
{
	d_step {
		v_ = s * VERSIONS + versions[s] - 1;
		i_ = me * ROWS + ROWS - 1;
		do
		:: i_ < me * ROWS || row[i_].on_hand != 0 || row[i_].reserved != 0 -> break
		:: else -> i_--
		od;
		if
		:: version[v_].xid == me -> change_version(s, -move, -reserve)
		:: else ->
			row[i_].epoch = 0;
			row[i_].on_hand = 0;
			row[i_].reserved = 0
		fi;
		did_on_hand[me * SKUS + s] = did_on_hand[me * SKUS + s] - move;
		did_reserved[me * SKUS + s] = did_reserved[me * SKUS + s] - reserve
	};
	if
	:: held[s] ->
		d_step {
			free[s] = free[s] + claimed[s] - claimed_before;
			net[s] = net[s] - move + reserve;
			claimed[s] = claimed_before
		}
	:: else
	fi;
	if
	:: !shared_before && shared[s] ->
		d_step {
			sku_share[s] = OTHERS(sku_share[s]);
			shared[s] = !has(share_not_noted)
		}
	:: else
	fi
}

#if SCENE == reconciling
byte changes; /* transactions that had a pin and have ended */
#define COUNT_CHANGE(now) if :: now -> changes++ :: else fi;
#else
#define COUNT_CHANGE(now)
#endif

/* The callback: gives back, and then the entry is not ours any more: escrow_entry_unpin(). */
inline settle(s, committed)
{
	if
	:: held[s] ->
#if !has(free_before_bit)
		CLEAR_BIT(s);
#endif
		d_step {
			free[s] = free[s] + (committed || has(abort_gives_back) -> claimed[s] : 0);
			free[s] = free[s] + (committed -> net[s] : 0)
		};
		COUNT_CHANGE(has(changes_before_bit))
#if has(free_before_bit)
		CLEAR_BIT(s);
#endif
		COUNT_CHANGE(!has(changes_before_bit))
		d_step { held[s] = false; claimed[s] = 0; net[s] = 0 }
	:: else
	fi
}

/* Values that nobody uses any more would make states different. */
#define CLEAR_LOCALS \
	first = 0; second = 0; op = 0; s = 0; got = 0; epoch = 0; seen = 0; snapshot = 0; move = 0; reserve = 0; \
	need = 0; on_hand = 0; reserved = 0; changed = false; undone = false; shared_before = false; claimed_before = 0; \
	held[0] = false; shared[0] = false; loads[0] = false; claimed[0] = 0; net[0] = 0

/* A transaction of one or two changes. */
proctype client(byte me; byte first; byte second)
{
	byte op;
	byte s;
	byte got;
	byte epoch;
	byte seen;
	byte snapshot;
	short move;
	short reserve;
	short need;
	short on_hand;
	short reserved;
	short claimed[SKUS];
	short net[SKUS];
	bool held[SKUS];
	bool shared[SKUS];
	bool loads[SKUS];
#if SKUS == 2
	byte other;
#endif
	bool changed;
	bool undone;
	bool shared_before;
	short claimed_before;
#if !has(take_is_swapped)
	short was_free;
#endif

	LIFE
	running = running | BIT(me);
	do
	:: first == 0 -> break
	:: else ->
		d_step {
			op = first & 7;
			s = (first & OF_B) / OF_B;
			undone = (first & UNDONE) != 0;
			move = (op == RESTOCK || op == RAISE -> 1 : (op == CONFIRM || op == LOWER -> -1 : 0));
			reserve = (op == TAKE -> 1 : (op == CONFIRM || op == RELEASE -> -1 : 0));
			claimed_before = claimed[s];
			shared_before = shared[s];
			first = second;
			second = 0
		};
		change(s);
		if
		:: undone -> undo(s)
		:: else
		fi;
		d_step { op = 0; s = 0; move = 0; reserve = 0; undone = false; claimed_before = 0; shared_before = false }
	od;
	if
	:: goto failed
	:: skip
	fi;
#if SCENE == preparing
	if
	:: skip
	:: goto prepare
	fi;
#endif
#if !has(pin_to_the_end)
	CLEAR_BIT(0);
#endif
	become_visible();
	settle(0, true);
#if SKUS == 2
	settle(1, true);
#endif
	goto over;

#if SCENE == preparing
	/* refuse_prepare(); else the transaction's record ends here, and it goes on without a process */
prepare:
	if
	:: held[0] && (claimed[0] != 0 || has(prepare_is_refused)) -> goto failed
	:: else -> CLEAR_BIT(0)
	fi;
	if
	:: become_visible()
	:: vanish()
	fi;
	goto over;
#endif

failed:
	skip;
	vanish();
	settle(0, false);
#if SKUS == 2
	settle(1, false);
#endif

over:
	skip;
	d_step {
		CLEAR_LOCALS;
		release_locks();
		ended++
	}
	END_OF_LIFE
}

/* ---- set_stock_mode(): stock_mode.c, escrow_bar() ---- */

inline lift(s)
{
	if
	:: barred && to_escrow -> d_step { entry[s] = false; bar[s] = false }
	:: barred && !to_escrow -> d_step { bar[s] = false; FORGET_STORE }
	:: else
	fi
}

#undef CLEAR_LOCALS
#define CLEAR_LOCALS epoch = 0; seen = 0; snapshot = 0; on_hand = 0; reserved = 0; barred = false

proctype switch(byte me; byte s; bool to_escrow; bool undone)
{
	byte epoch;
	byte seen;
	byte snapshot;
	short on_hand;
	short reserved;
	short move;
	short reserve;
	bool barred;

	LIFE
	running = running | BIT(me);
#if !has(switch_reads_afresh)
	snapshot = done;
#endif
	wait_for_row(s);
	read_row(done, s);
	if
	:: (epoch != 0) == to_escrow -> goto failed
	:: else
	fi;
	if
	:: atomic { sku_lock[s] == 0 && (OTHERS(sku_share[s]) == 0 || !has(switch_waits_shares)) -> sku_lock[s] = me }
	OR_DEADLOCK
	fi;
	if
	:: to_escrow ->
		assert(!entry[s]);
		d_step { entry[s] = true; bar[s] = true; free[s] = 0; barred = true };
		epoch = (has(new_epoch) -> me + 1 : EPOCH);
		d_step { change_version(s, 0, 0); version[v_].epoch = epoch };
		if
		:: !has(no_take_after_switch) -> reserve = 1; append(s, epoch); reserve = 0
		:: else
		fi
	:: !to_escrow ->
		if
		:: entry[s] ->
			barred = true;
			set_bar(s);
			if
			:: NO_PINS(s) || !has(pins_are_waited_for)
#if has(switch_gives_up) && SCENE != returning
			:: goto failed /* after so long; who waits for a deadlock gets there, too */
#endif
			fi
		:: else
		fi;
#if has(switch_reads_afresh)
		snapshot = done;
#endif
		d_step {
			leaf_reader[0] = leaf_reader[0] | BIT(me);
			leaf_reader[1] = leaf_reader[1] | BIT(me)
		};
		TOGETHER {
			read_row(snapshot, s);
			read_position(snapshot);
			on_hand = 0;
			reserved = 0;
			read_leaf(snapshot, done, s, 0);
			read_leaf(snapshot, done, s, 1)
		};
		d_step { change_version(s, on_hand, reserved); version[v_].epoch = 0 }
	fi;
	if
	:: undone -> goto rolled_back
	:: skip
	:: goto failed
	fi;
#if !has(bar_to_the_end)
	bar[s] = false;
#endif
	become_visible();
	/* the callback: the entry is opened, or removed under the table's lock */
	if
	:: to_escrow ->
		d_step {
			find_version(done, s);
			entry_epoch[s] = epoch;
			free[s] = version[v_].on_hand - version[v_].reserved;
			bar[s] = false
		}
	:: !to_escrow && barred ->
		d_step { entry[s] = false; entry_epoch[s] = 0; free[s] = 0; bar[s] = false; FORGET_STORE }
	:: else
	fi;
	goto over;

	/* ROLLBACK TO a savepoint: its locks go as well; then the transaction commits */
rolled_back:
	skip;
	d_step {
		forget(me);
		row_lock[s] = 0
	};
	if
	:: has(bar_is_sublifted) -> lift(s)
	:: else
	fi;
	release_locks();
	become_visible();
	goto over;

failed:
	skip;
	vanish();
	if
	:: has(bar_is_lifted) -> lift(s)
	:: else
	fi;

over:
	skip;
	d_step {
		CLEAR_LOCALS;
		release_locks();
		ended++
	}
	END_OF_LIFE
}

/* ---- the keeper: escrow_fold.c ---- */

#undef CLEAR_LOCALS
#define CLEAR_LOCALS epoch = 0; seen = 0; snapshot = 0; s = 0; on_hand = 0; reserved = 0

/* A fold, in a transaction of its own. */
proctype fold(byte me)
{
	byte epoch;
	byte seen;
	byte snapshot;
	byte s;
	short on_hand;
	short reserved;

	LIFE
	running = running | BIT(me);
#if has(position_lock_first)
	if
	:: atomic { position_lock == 0 -> position_lock = me }
	:: atomic { position_lock != 0 -> goto over }
	fi;
#endif
	d_step {
		leaf_reader[0] = leaf_reader[0] | BIT(me);
		leaf_reader[1] = leaf_reader[1] | BIT(me);
		snapshot = done
	};
#if !has(position_lock_first)
	position_lock == 0;
#endif
	read_position(snapshot);
	do
	:: s == SKUS -> break
	:: else ->
		TOGETHER {
			read_row(snapshot, s);
			on_hand = 0;
			reserved = 0;
			read_leaf(snapshot, done, s, 0);
			read_leaf(snapshot, done, s, 1)
		};
		/* the row if it is free, and the update does not fail; else the sum is carried */
		if
		:: on_hand == 0 && reserved == 0
		:: atomic {
			(on_hand != 0 || reserved != 0) && row_lock[s] == 0 ->
			row_lock[s] = me;
			v_ = s * VERSIONS + versions[s] - 1;
			if
			:: version[v_].epoch == epoch || !has(fold_judges_locked) ->
				d_step { change_version(s, on_hand, reserved) }
			:: else
			fi;
			if
			:: !has(fold_spares_counter) && entry[s] -> free[s] = free[s] + on_hand - reserved
			:: else
			fi
		   }
		:: d_step {
			(on_hand != 0 || reserved != 0) && epoch != 0 ->
			if
			:: has(carry) ->
				i_ = me * ROWS + s;
				row[i_].sku = s;
				row[i_].leaf = LEAF;
				row[i_].epoch = epoch;
				row[i_].on_hand = on_hand;
				row[i_].reserved = reserved;
				leaf_writer[LEAF] = leaf_writer[LEAF] | BIT(me)
			:: else
			fi
		   }
		fi;
		d_step { s++; on_hand = 0; reserved = 0; epoch = 0 }
	od;
#if !has(fold_is_one)
	become_visible();
#endif
	skip;
	d_step {
		find_position(done);
		position[positions].leaf = (p_ == 255 -> 0 : position[p_].leaf);
		position[positions].xid = me;
		position[positions].seen = snapshot | (has(own_xid) -> 0 : BIT(me));
		positions++
	};
	if
	:: vanish()
	:: become_visible()
	fi;

over:
	skip;
	d_step {
		CLEAR_LOCALS;
		release_locks();
		running = OTHERS(running);
		ended++
	}
	END_OF_LIFE
}

/* ---- journal_rotation.c ---- */

#if SCENE == rotation || SCENE == replica

inline empty_leaf(leaf_)
{
	is_reserved = (has(empty_under_lock) -> leaf_writer[leaf_] + leaf_reader[leaf_] : 0);
	i_ = 0;
	do
	:: i_ == XIDS * ROWS -> break
	:: else ->
		if
		:: row[i_].leaf == leaf_ && SEES(done, i_ / ROWS) && (row[i_].on_hand != 0 || row[i_].reserved != 0) &&
		   !SEES(position[p_].seen, i_ / ROWS) && has(empty_what_is_folded) -> is_reserved = 1
		:: else
		fi;
		i_++
	od;
	i_ = 0;
	do
	:: i_ == XIDS * ROWS || is_reserved != 0 -> break
	:: else ->
		if
		:: row[i_].leaf == leaf_ && (row[i_].on_hand != 0 || row[i_].reserved != 0) -> row[i_].cut = me
		:: else
		fi;
		i_++
	od;
	is_reserved = 0
}

/*
 * Empties the leaves whose rows are consumed, at once for all who look at files.  The locks
 * are tried, not waited for, so the look and the deed are one step.
 */
proctype rotate(byte me)
{
	atomic {
		position_lock == 0 ->
		find_position(done);
		s_ = 1;
#if SCENE == rotation
		i_ = 0;
		do
		:: i_ == XIDS -> break
		:: else ->
			s_ = (in_use[i_] != 0 && !SEES(in_use[i_], position[p_].xid) && has(empty_after_snapshots) -> 0 : s_);
			i_++
		od;
#endif
		v_ = 0;
		do
		:: v_ == 2 || s_ == 0 -> break
		:: else -> empty_leaf(v_); v_++
		od;
		i_ = 0;
		v_ = 0;
		p_ = 0;
		s_ = 0;
#if SCENE == replica
		emptied_by = me;
#endif
		become_visible();
		ended++
	}
}

#endif

/* ---- rotate_positions() ---- */

#if SCENE == journals
#define LEAF_OF_OUTBOX (has(own_position_leaves) -> 3 : 1)
#define OTHER_LEAF(leaf_) ((leaf_) ^ 1)

/* The newest position once more, in the other leaf. */
proctype repeat_position(byte me)
{
	atomic { position_lock == 0 -> position_lock = me };
	d_step {
		find_position(done);
		assert(p_ != 255);
		position[positions].xid = me;
		position[positions].seen = position[p_].seen;
		position[positions].leaf = OTHER_LEAF(position[p_].leaf);
		positions++
	};
	become_visible();
	d_step {
		release_locks();
		ended++
	}
}

/* Of the journal given: the leaf in which its newest position does not lie. */
proctype empty_positions(byte me; byte journal)
{
	byte leaf;

	atomic {
		position_lock == 0 ->
		find_position(done);
		assert(p_ != 255);
		if
		:: journal == 1 -> leaf = OTHER_LEAF(LEAF_OF_OUTBOX)
		:: journal == 0 -> leaf = OTHER_LEAF(position[p_].leaf)
		:: journal == 0 && !has(newest_repeated) -> leaf = position[p_].leaf
		fi;
		i_ = 0;
		s_ = 1;
		do
		:: i_ == XIDS -> break
		:: else ->
			s_ = (journal == 0 && in_use[i_] != 0 && !SEES(in_use[i_], position[p_].xid) && has(repeated_is_seen) -> 0 : s_);
			i_++
		od;
		i_ = 0;
		do
		:: i_ == positions || s_ == 0 -> break
		:: else ->
			position[i_].gone = position[i_].gone || position[i_].leaf == leaf;
			i_++
		od;
		i_ = 0;
		s_ = 0;
		p_ = 0;
		leaf = 0;
		check_books();
		ended++
	}
}
#endif

#if SCENE == rotation || SCENE == journals
/* A snapshot that is older than what it reads: available(), reconcile(), pg_dump. */
proctype reader(byte me)
{
	byte epoch;
	byte seen;
	byte snapshot;
	short on_hand;
	short reserved;

	USE_SNAPSHOT(done);
#if has(row_by_snapshot)
	read_row(snapshot, 0);
#else
	read_row(done, 0);
#endif
#if has(position_by_snapshot)
	read_position(snapshot);
#else
	read_position(done);
#endif
	read_leaf(snapshot, done, 0, 0);
	read_leaf(snapshot, done, 0, 1);
	d_step {
		find_truth(snapshot, 0);
		assert(on_hand == should_on_hand && reserved == should_reserved);
		in_use[me] = 0;
		ended++
	}
}
#endif

/* ---- a standby: stock_journal_lock(), ring_check_seen() ---- */

#if SCENE == replica
/* Who empties a leaf waits there, too, for those who have locked it. */
proctype replay()
{
	byte next;

end:
	do
	:: d_step {
		next < records && !(wal[next] == emptied_by && standby_reader != 0 && has(standby_holds_lock)) ->
		replayed = replayed | BIT(wal[next]);
		next++
	   }
	od
}

proctype standby_reader_of(byte me)
{
	byte epoch;
	byte seen;
	byte snapshot;
	short on_hand;
	short reserved;

	if
	:: /* READ COMMITTED */
#if has(standby_locks_first)
		standby_reader = BIT(me);
		snapshot = replayed
#else
		snapshot = replayed;
		standby_reader = BIT(me)
#endif
	:: /* REPEATABLE READ: the snapshot may be older */
		snapshot = replayed;
		standby_reader = BIT(me);
		if
		:: emptied_by != 0 && SEES(replayed, emptied_by) && !SEES(snapshot, emptied_by) && has(standby_sees_files) ->
			goto over
		:: else
		fi
	fi;
	read_row(snapshot, 0);
	read_position(snapshot);
	read_leaf(snapshot, replayed, 0, 0);
	read_leaf(snapshot, replayed, 0, 1);
	d_step {
		find_truth(snapshot, 0);
		assert(on_hand == should_on_hand && reserved == should_reserved)
	};
over:
	skip;
	d_step {
		standby_reader = 0;
		ended++
	}
}
#endif

/* ---- a crash, and what comes after it; a standby that is promoted is the same ---- */

#if SCENE == crash
proctype accident()
{
	byte kept;
	byte n;

	atomic {
		/* what was flushed: any prefix */
		kept = 1;
		do
		:: n < records -> kept = kept | BIT(wal[n]); n++
		:: n < records && !has(crash_is_prefix) -> n++
		:: break
		od;
		skip;
		d_step {
			crashed = true;
			done = kept;
			/* the newest versions first, whoever wrote them */
			n = 3 * FIRST_LIFE;
			do
			:: n == 0 -> break
			:: else ->
				if
				:: !SEES(kept, n % FIRST_LIFE + 1) -> forget((n % FIRST_LIFE + 1))
				:: else
				fi;
				n--
			od;
			records = 0;
			wal[0] = 0;
			wal[1] = 0;
			wal[2] = 0;
			wal[3] = 0;
			entry[0] = entry[0] && !has(memory_is_lost);
			if
			:: !entry[0] -> entry_epoch[0] = 0; free[0] = 0
			:: else
			fi;
			bar[0] = false;
			pins[0] = 0;
			running = 0;
			row_lock[0] = 0;
			sku_lock[0] = 0;
			sku_share[0] = 0;
			load_lock = 0;
			position_lock = 0;
			leaf_reader[0] = 0;
			leaf_reader[1] = 0;
			leaf_writer[0] = 0;
			leaf_writer[1] = 0;
			check_books()
		};
		kept = 0;
		n = 0
	};
	atomic {
		ended == FIRST_LIFE ->
		run client(4, TAKE, 0);
		ended++
	}
}
#endif

/* ---- levels of a transaction's record: escrow_account.c ---- */

#if SCENE == savepoints
#define LEVELS 3
#define STEPS 5

/* One transaction, any sequence of steps; its one row is appended at its end, with what was left. */
proctype nested(byte me)
{
	short claimed[LEVELS];
	short net[LEVELS];
	short taken[LEVELS]; /* what the caller did, as he means it */
	byte level;
	byte steps;
	short need;

	pins[0] = pins[0] | BIT(me);
	do
	:: steps == STEPS -> break
	:: steps < STEPS && level < LEVELS - 1 -> d_step { level++; steps++ } /* SAVEPOINT */
	:: d_step {
		steps < STEPS && level > 0 -> /* ROLLBACK TO and RELEASE */
		free[0] = free[0] + (has(level_gives_back) -> claimed[level] : 0);
		net[0] = net[0] + (has(level_drops_returns) -> 0 : net[level]);
		claimed[level] = 0;
		net[level] = 0;
		taken[level] = 0;
		level--;
		steps++
	   }
	:: d_step {
		steps < STEPS && level > 0 -> /* RELEASE: escrow_account_keep() */
		claimed[level - 1] = claimed[level - 1] + (has(level_merges) -> claimed[level] : 0);
		net[level - 1] = net[level - 1] + (has(level_merges) -> net[level] : 0);
		taken[level - 1] = taken[level - 1] + taken[level];
		claimed[level] = 0;
		net[level] = 0;
		taken[level] = 0;
		level--;
		steps++
	   }
	:: d_step {
		steps < STEPS && taken[0] + taken[1] + taken[2] > -1 -> /* a release of what it holds, or of the one order of before */
		net[level] = net[level] + 1;
		taken[level] = taken[level] - 1;
		steps++
	   }
	:: d_step {
		steps < STEPS -> /* a claim, and a take or none: escrow_account_need() */
		need = 1 - net[0] - net[1] - net[2];
		need = need - (has(claims_are_used) -> claimed[0] + claimed[1] + claimed[2] : 0);
		need = (need < 0 -> 0 : need);
		if
		:: free[0] >= need ->
			free[0] = free[0] - need;
			claimed[level] = claimed[level] + need;
			steps = steps + 1 + 16
		:: else ->
			find_truth(done, 0);
			assert(OTHERS(pins[0]) != 0 || should_on_hand - should_reserved - taken[0] - taken[1] - taken[2] < 1);
			steps++
		fi;
		need = 0
	   };
		if
		:: d_step { steps > 16 -> steps = steps - 16; net[level] = net[level] - 1; taken[level] = taken[level] + 1 }
		:: d_step { steps > 16 -> steps = steps - 16 }
		:: steps <= 16
		fi
	od;
	skip;
	d_step {
		claimed[0] = claimed[0] + claimed[1] + claimed[2];
		net[0] = net[0] + net[1] + net[2];
		taken[0] = taken[0] + taken[1] + taken[2]
	};
	if
	:: d_step {
		row[me * ROWS].epoch = EPOCH;
		row[me * ROWS].reserved = taken[0];
		did_reserved[me] = taken[0]
	   };
		become_visible();
		free[0] = free[0] + claimed[0] + net[0]
	:: free[0] = free[0] + claimed[0]
	fi;
	d_step {
		pins[0] = OTHERS(pins[0]);
		ended++
	}
}
#endif

/* ---- reconcile(): memory against tables ---- */

#if SCENE == reconciling
proctype reconcile(byte me)
{
	byte before;
	bool compare;
	short was_free;

	before = (has(changes_first) -> changes : 0);
	compare = pins[0] == 0 || !has(no_pins_compared);
	was_free = free[0];
#if !has(changes_first)
	before = changes;
#endif
	d_step { find_tables(0); was_free = was_free - is_on_hand + is_reserved };
	compare = compare && (pins[0] == 0 || !has(no_pins_compared));
	d_step {
		assert(!compare || before != changes || was_free == 0);
		ended++
	}
}
#endif

/* ---- an order under an idempotency key: order_create.c ---- */

#if SCENE == retrying
byte key_holder; /* by the unique index; it may be uncommitted */
byte under_key;	 /* who is about to make the order of that key */
byte doubted;	 /* while another was refused the same order */
bool key_is_used;

#define KEY_IS_TAKEN (key_holder != 0 && (has(holder_is_awaited) || SEES(done, key_holder)))

inline refuse_order()
{
	doubted = doubted | (has_key -> OTHERS(under_key) : 0);
	goto failed
}

/* Waits for who has it; his order, if he commits, is the answer. */
inline claim_key()
{
	if
	:: !has_key
	:: d_step {
		has_key && (key_holder == 0 || (!SEES(done, key_holder) && !has(key_is_claimed))) ->
		key_holder = me;
		under_key = under_key | BIT(me)
	   }
	:: has_key && key_holder != 0 && SEES(done, key_holder) -> goto failed
	fi
}

inline take_unit()
{
	pins[0] = pins[0] | BIT(me);
	atomic {
		if
		:: free[0] < 1 -> check_refusal(0); refuse_order()
		:: else
		fi;
		free[0]--;
		claimed = 1;
		under_key = under_key | (has_key -> BIT(me) : 0)
	};
	append(0, entry_epoch[0])
}

proctype buyer(byte me; bool has_key)
{
	short move;
	short reserve = 1;
	short claimed;

	running = running | BIT(me);
	if
	:: d_step { free[0] < 1 -> check_refusal(0) };
		atomic {
			if
			:: !has_key || !KEY_IS_TAKEN -> refuse_order()
			:: else
			fi
		}
	:: free[0] > 0
	fi;
#if has(key_before_stock)
	claim_key();
	take_unit();
#else
	take_unit();
	claim_key();
#endif
	if
	:: goto failed
	:: skip
	fi;
	become_visible();
	assert(!SEES(doubted, me) && !(has_key && key_is_used));
	key_is_used = key_is_used || has_key;
	goto over;

failed:
	skip;
	d_step {
		key_holder = (key_holder == me -> 0 : key_holder);
		under_key = OTHERS(under_key);
		forget(me);
		leave_running();
		free[0] = free[0] + claimed
	};

over:
	skip;
	d_step {
		pins[0] = OTHERS(pins[0]);
		claimed = 0;
		reserve = 0;
		release_locks();
		ended++
	}
}
#endif

/* ---- a receipt under a ref: stock.c, stock_movement.c ---- */

#if SCENE == refs
byte ref_holder;
bool ref_is_used;

/* Waits for who has it; his movement, if he commits, is the answer. */
inline claim_ref()
{
	if
	:: ref_holder == me
	:: atomic { ref_holder == 0 || (!SEES(done, ref_holder) && !has(ref_is_claimed)) -> ref_holder = me }
	:: ref_holder != 0 && ref_holder != me && SEES(done, ref_holder) &&
	   (snapshot == 0 || SEES(snapshot, ref_holder) || has(invisible_is_failure)) -> goto failed
	fi
}

proctype mover(byte me)
{
	byte got;
	byte snapshot; /* 0: READ COMMITTED */
	short move = 1;
	short reserve;
	short claimed[1];
	short net[1];
	bool held[1];
	bool changed;

	running = running | BIT(me);
	if
	:: snapshot = done
	:: skip
	fi;
	do
	:: changed -> break
	:: else ->
#if !has(pin_before_ref)
		if
		:: entry[0] -> claim_ref()
		:: else
		fi;
#endif
		pin(0);
		if
		:: got == PINNED ->
			claim_ref();
			net[0] = net[0] + 1;
			append(0, entry_epoch[0]);
			changed = true
		:: got == BARRED -> sku_lock[0] == 0
		:: got == NOTHING ->
			if
			:: snapshot != 0 -> goto failed /* the row has changed since */
			:: else
			fi;
			wait_for_row(0);
			claim_ref();
			d_step {
				change_version(0, move, 0);
				assert(version[v_].epoch == 0);
				note_change(0)
			};
			changed = true
		fi;
		got = NOTHING
	od;
	if
	:: goto failed
	:: skip
	fi;
	become_visible();
	assert(!ref_is_used);
	ref_is_used = true;
	settle(0, true);
	goto over;

failed:
	skip;
	d_step {
		ref_holder = (ref_holder == me -> 0 : ref_holder);
		forget(me);
		leave_running()
	};
	settle(0, false);

over:
	skip;
	d_step {
		got = 0;
		snapshot = 0;
		move = 0;
		changed = false;
		release_locks();
		ended++
	}
}
#endif

/* ---- a restore into the same cluster; ticks without a fold ---- */

#if SCENE == restoring
bool index_valid;
byte ticked; /* a snapshot: the batch that nobody has acknowledged; 0: there is none */

/* The last row of transaction 0, which any snapshot sees, and then the index. */
proctype restore()
{
	d_step {
		row[1].leaf = 1;
		row[1].epoch = EPOCH;
		row[1].on_hand = 1;
		did_on_hand[0] = 1;
		check_books()
	};
	d_step {
		index_valid = true;
		ended++
	}
}

proctype tick(byte me)
{
	atomic {
		position_lock == 0 ->
		ticked = (ticked == 0 && (index_valid || !has(index_is_whole)) -> done : ticked);
		ended++
	}
}

proctype appender(byte me)
{
	short move;
	short reserve = -1;

	index_valid;
	append(0, EPOCH);
	if
	:: become_visible()
	:: vanish()
	fi;
	d_step {
		reserve = 0;
		release_locks();
		ended++
	}
}

proctype restored_fold(byte me)
{
	byte epoch;
	byte seen;
	byte until;
	short on_hand;
	short reserved;

	atomic { position_lock == 0 -> position_lock = me };
	if
	:: !index_valid && has(index_is_whole) -> goto over
	:: else
	fi;
	until = done;
	d_step {
		find_position(done);
		seen = (ticked != 0 && !has(tick_is_finished) -> ticked : SEEN);
		until = (ticked != 0 && has(tick_is_finished) -> ticked : until)
	};
	read_row(done, 0);
	on_hand = 0;
	reserved = 0;
	read_leaf(until, done, 0, 0);
	read_leaf(until, done, 0, 1);
	d_step {
		change_version(0, on_hand, reserved);
		position[positions].xid = me;
		position[positions].seen = (has(tick_is_the_batch) -> until : done);
		positions++
	};
	if
	:: vanish()
	:: atomic {
		ticked = 0;
		become_visible()
	   }
	fi;

over:
	skip;
	d_step {
		epoch = 0;
		seen = 0;
		until = 0;
		on_hand = 0;
		reserved = 0;
		release_locks();
		ended++
	}
}
#endif

/* ---- the scenes ---- */

#if SCENE == sale
#define RUN(n) n = 4; run client(1, RELEASE, TAKE); run client(2, TAKE, 0); run client(3, LOWER, 0); run fold(4)
#elif SCENE == switching
#define RUN(n) n = 4; run switch(1, 0, false, true); run client(2, TAKE, LOWER); run client(3, CONFIRM, 0); run fold(4)
#elif SCENE == returning
#define RUN(n) n = 4; run switch(1, 0, false, false); run switch(2, 0, true, false); run client(3, RELEASE, TAKE); run client(4, TAKE, 0)
#elif SCENE == opening
#define RUN(n) n = 4; run switch(1, 0, true, false); run client(2, TAKE, 0); run client(3, RELEASE, 0); run client(4, TAKE, 0)
#elif SCENE == unloaded
#define RUN(n) n = 4; run switch(1, 0, false, false); run client(2, RELEASE | UNDONE, RELEASE); run client(3, TAKE, 0); run client(4, TAKE, 0)
#elif SCENE == folding
#define RUN(n) n = 4; run fold(1); run fold(2); run client(3, RAISE, 0); run client(4, TAKE, CONFIRM)
#elif SCENE == rotation
#define RUN(n) n = 5; run fold(1); run rotate(2); run reader(3); run client(4, TAKE, 0); run client(5, RELEASE, 0)
#elif SCENE == replica
#define RUN(n) n = 5; run fold(1); run rotate(2); run standby_reader_of(3); run client(4, TAKE, 0); run fold(5); run replay()
#elif SCENE == journals
#define RUN(n) n = 5; run fold(1); run repeat_position(2); run reader(3); run client(4, TAKE, 0); run empty_positions(5, 0); if :: n = 6; run empty_positions(0, 1) :: skip fi
#elif SCENE == savepoints
#define RUN(n) n = 3; run nested(1); run client(2, TAKE, 0); run client(3, TAKE, 0)
#elif SCENE == crash
#define RUN(n) n = 5; run client(1, TAKE, 0); run client(2, RELEASE, 0); if :: run fold(3) :: run switch(3, 0, false, false) fi; run accident()
#elif SCENE == two_skus
#define RUN(n) n = 4; run client(1, TAKE, TAKE | OF_B); run client(2, RELEASE | OF_B, TAKE); run switch(3, 0, false, false); run switch(4, 1, false, false)
#elif SCENE == preparing
#define RUN(n) n = 2; run client(1, RELEASE, 0); run client(2, TAKE, 0)
#elif SCENE == reconciling
#define RUN(n) n = 4; run client(1, TAKE, 0); run client(2, RELEASE, 0); run fold(3); run reconcile(4)
#elif SCENE == retrying
#define RUN(n) n = 3; run buyer(1, true); run buyer(2, true); run buyer(3, false)
#elif SCENE == refs
#define RUN(n) n = 3; run switch(1, 0, false, false); run mover(2); run mover(3)
#elif SCENE == restoring
#define RUN(n) n = 5; run restore(); run tick(1); run appender(2); run restored_fold(3); run restored_fold(4)
#elif SCENE == barriers
#define RUN(n) n = 3; run switch(1, 0, false, false); run client(2, TAKE, 0); run client(3, RELEASE, 0)
#endif

init
{
	byte n;

	atomic {
		version[0].epoch = EPOCH;
		version[0].on_hand = ON_HAND;
		version[0].reserved = RESERVED;
		versions[0] = 1;
		/* a release that is not folded yet */
		if
		:: EPOCH != 0 ->
			version[0].reserved = RESERVED + 1;
			row[0].epoch = EPOCH;
			row[0].reserved = -1
		:: else
		fi;
		positions = 1;
#if SCENE == journals
		position[0].leaf = 0;
		position[1].journal = 1;
		position[1].leaf = LEAF_OF_OUTBOX;
		positions = 2;
#endif
#if SKUS == 2
		version[VERSIONS].epoch = EPOCH;
		version[VERSIONS].on_hand = ON_HAND;
		version[VERSIONS].reserved = RESERVED;
		versions[1] = 1;
#endif
		entry[0] = LOADED;
		entry_epoch[0] = (LOADED -> EPOCH : 0);
		free[0] = (LOADED -> ON_HAND - RESERVED : 0);
		RUN(n)
	};
	ended == n;
	d_step { check_end() }
}
