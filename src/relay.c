#include "postgres.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "compat.h"
#include "worker.h"
COMPAT_WORKER_MAIN(relay_main);
void
relay_main(Datum arg)
{
	worker_start(WORKER_RELAY, arg);
	while (!worker_stopping())
	{
		worker_clear_wake();
		if (worker_begin("relay"))
			worker_end();
		worker_wait(PGINVALID_SOCKET, worker_idle_timeout);
	}
	proc_exit(0);
}
