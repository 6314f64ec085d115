/*
 * service.h
 *		Whether workers serve this database, and what to do where they do not.
 */
#ifndef ORDER_ENGINE_SERVICE_H
#define ORDER_ENGINE_SERVICE_H

/*
 * Why a worker of this database, which has the extension, does not run or does nothing:
 * a constant, for a view.  `runs`: there is such a process; `ended`: there was one since the
 * server's start.  NULL if it runs and has its tables.  In a transaction.
 */
extern const char *service_reason(bool runs, bool ended);

#endif /* ORDER_ENGINE_SERVICE_H */
