/*
 * shared.c
 *		Hands out shared memory to the modules that asked for it.
 *
 * The lists of areas and tables are filled in the postmaster while it preloads libraries
 * and inherited by every process; nothing changes it afterwards.  What is in
 * one, and which lock covers it, is its module's business.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/shared.h"

#define MAX_AREAS 16
#define MAX_TABLES 4

typedef struct SharedArea
{
	const char *name;
	Size (*size)(void);
	int	   locks;
	void **area;
} SharedArea;

typedef struct SharedTable
{
	const char *name;
	Size		key_size;
	Size (*entry_size)(void);
	const int *entries;
	HTAB	 **table;
} SharedTable;

static SharedArea  areas[MAX_AREAS];
static int		   nareas = 0;
static SharedTable tables[MAX_TABLES];
static int		   ntables = 0;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void
request_areas(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	for (int i = 0; i < nareas; i++)
	{
		RequestAddinShmemSpace(MAXALIGN(areas[i].size()));
		if (areas[i].locks > 0)
			RequestNamedLWLockTranche(areas[i].name, areas[i].locks);
	}
	for (int i = 0; i < ntables; i++)
		RequestAddinShmemSpace(hash_estimate_size(*tables[i].entries, tables[i].entry_size()));
}

static void
attach_area(SharedArea *request)
{
	Size size = request->size();
	bool found;

	*request->area = ShmemInitStruct(request->name, size, &found);
	if (!found)
		memset(*request->area, 0, size);
}

static void
attach_table(SharedTable *request)
{
	HASHCTL control = {.keysize = request->key_size, .entrysize = request->entry_size()};

	*request->table = ShmemInitHash(request->name, *request->entries, *request->entries, &control,
									HASH_ELEM | HASH_BLOBS);
}

/*
 * Runs when the postmaster starts, again in the same postmaster after a crash
 * (with new, empty memory), and where there is no fork() in every process.
 */
static void
attach_areas(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < nareas; i++)
		attach_area(&areas[i]);
	for (int i = 0; i < ntables; i++)
		attach_table(&tables[i]);
	LWLockRelease(AddinShmemInitLock);
}

void
shared_request(const char *name, Size (*size)(void), int locks, void **area)
{
	*area = NULL;
	if (!process_shared_preload_libraries_in_progress)
		return;
	if (nareas == MAX_AREAS)
		elog(ERROR, "too many shared memory areas");
	areas[nareas++] = (SharedArea){
		.name = name,
		.size = size,
		.locks = locks,
		.area = area,
	};
}

void
shared_request_hash(const char *name, Size key_size, Size (*entry_size)(void), const int *entries,
					HTAB **table)
{
	*table = NULL;
	if (!process_shared_preload_libraries_in_progress)
		return;
	if (ntables == MAX_TABLES)
		elog(ERROR, "too many hash tables in shared memory");
	tables[ntables++] = (SharedTable){
		.name = name,
		.key_size = key_size,
		.entry_size = entry_size,
		.entries = entries,
		.table = table,
	};
}

void
shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_areas;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_areas;
}
