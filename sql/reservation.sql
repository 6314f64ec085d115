-- Reservations: try, confirm, cancel, extend, and an order that takes one over, in mode row.
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
\set mode row
\i `echo "$PG_ABS_SRCDIR"`/test/lib/reservation.sql
