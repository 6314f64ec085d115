-- Reservations: try, confirm, cancel, extend, and an order that takes one over, in mode escrow.
-- needs to be preloaded
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
\set mode escrow
\i `echo "$PG_ABS_SRCDIR"`/test/lib/reservation.sql
