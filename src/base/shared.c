/*
 * shared.c
 *		Hands out shared memory to the modules that asked for it.
 *
 * The list of areas is filled in the postmaster while it preloads libraries
 * and inherited by every process; nothing changes it afterwards.  What is in
 * an area, and which lock covers it, is its module's business.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/shared.h"

#define MAX_AREAS 16

typedef struct SharedArea
{
	const char *name;
	Size (*size)(void);
	int	   locks;
	void **area;
} SharedArea;

static SharedArea areas[MAX_AREAS];
static int		  nareas = 0;

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
shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_areas;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_areas;
}
