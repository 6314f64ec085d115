/*
 * errors.h
 *		The SQLSTATEs of the order engine.  They are a contract: a code keeps
 *		its meaning for ever, its DETAIL is a one-line JSON object (detail.h).
 *
 * Where the SQL standard or PostgreSQL has a code for a condition, that code
 * is used instead (22023, 25006, 40001, 42501, 53400, 55000, 55P03).
 */
#ifndef ORDER_ENGINE_ERRORS_H
#define ORDER_ENGINE_ERRORS_H

#include "utils/elog.h"

/* stock */
#define ERRCODE_OE_INSUFFICIENT_STOCK MAKE_SQLSTATE('O', 'E', '0', '0', '1')
#define ERRCODE_OE_UNKNOWN_SKU MAKE_SQLSTATE('O', 'E', '0', '0', '2')
#define ERRCODE_OE_RESERVATION_EXPIRED MAKE_SQLSTATE('O', 'E', '0', '0', '4')
#define ERRCODE_OE_RESERVATION_RESOLVED MAKE_SQLSTATE('O', 'E', '0', '0', '5')
#define ERRCODE_OE_RESERVATION_DANGLING MAKE_SQLSTATE('O', 'E', '0', '0', '6')
#define ERRCODE_OE_RESERVATION_NOT_FOUND MAKE_SQLSTATE('O', 'E', '0', '0', '7')

/* state machine */
#define ERRCODE_OE_ILLEGAL_TRANSITION MAKE_SQLSTATE('O', 'E', '0', '1', '0')
#define ERRCODE_OE_VERSION_CONFLICT MAKE_SQLSTATE('O', 'E', '0', '1', '1')
#define ERRCODE_OE_ORDER_NOT_FOUND MAKE_SQLSTATE('O', 'E', '0', '1', '2')
#define ERRCODE_OE_GUARD_REJECTED MAKE_SQLSTATE('O', 'E', '0', '1', '3')
#define ERRCODE_OE_DIRECT_WRITE MAKE_SQLSTATE('O', 'E', '0', '1', '4')

/* idempotency */
#define ERRCODE_OE_IDEMPOTENCY_KEY_MISMATCH MAKE_SQLSTATE('O', 'E', '0', '2', '0')

/* money */
#define ERRCODE_OE_REFUND_EXCEEDS MAKE_SQLSTATE('O', 'E', '0', '4', '0')
#define ERRCODE_OE_PAYMENT_REQUIRED MAKE_SQLSTATE('O', 'E', '0', '4', '1')

/* routing */
#define ERRCODE_OE_WRONG_NODE MAKE_SQLSTATE('O', 'E', '0', '6', '0')

#endif /* ORDER_ENGINE_ERRORS_H */
