/*
 * compat.h
 *		The only place with version branches: PostgreSQL 15 to 18.
 */
#ifndef ORDER_ENGINE_COMPAT_H
#define ORDER_ENGINE_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 190000
#error "order_engine supports PostgreSQL 15 to 18"
#endif

/* 18 lets a module tell its name and version */
#if PG_VERSION_NUM >= 180000
#define OE_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "order_engine", .version = ORDER_ENGINE_VERSION)
#else
#define OE_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif							/* ORDER_ENGINE_COMPAT_H */
