-- Reservations whose time is over: released by the keeper's step, deleted when they have been resolved for long, in mode escrow.
-- needs to be preloaded
\i `echo "$PG_ABS_SRCDIR"`/test/lib/shop.sql
\set mode escrow
\i `echo "$PG_ABS_SRCDIR"`/test/lib/reservation_expiry.sql
