/*
 * settings.h
 *		What concerns all settings of the engine.
 *
 * A setting belongs to the module whose name it carries and is defined in that
 * module's init.
 */
#ifndef ORDER_ENGINE_SETTINGS_H
#define ORDER_ENGINE_SETTINGS_H

/*
 * Refuses unknown settings called order_engine.*, so that a misspelt one is an
 * error; from _PG_init, after all modules' inits.
 */
extern void settings_init(void);

#endif /* ORDER_ENGINE_SETTINGS_H */
