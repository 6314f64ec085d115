"""Connections, the databases that are made for a run, and what a statement tells."""

import io

import psycopg2
import psycopg2.extras

import sql

# In the order in which they may do more and more.
ROLES = {"app": "model_app", "operator": "model_operator", "owner": "model_owner"}

# what the model's machines guard with; attempt() runs a statement in a subtransaction
FUNCTIONS = """
CREATE FUNCTION public.model_guard(o order_engine.orders, event text, attributes jsonb)
RETURNS boolean LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF o.attributes ? 'raise' OR attributes ? 'raise' THEN
		RAISE EXCEPTION 'the guard raises';
	END IF;
	RETURN CASE WHEN o.attributes ? 'null' THEN NULL
		ELSE NOT (o.attributes ? 'refuse' OR attributes ? 'refuse') END;
END $$;
CREATE FUNCTION public.model_stamp() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN NEW.attributes := NEW.attributes || ''{"stamped": true}''; RETURN NEW; END';
CREATE FUNCTION public.model_pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION public.attempt(statement text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	result record;
	touched bigint;
	detail text;
	hint text;
BEGIN
	IF statement ~ '^SELECT|RETURNING' THEN
		EXECUTE statement INTO result;
		RETURN to_jsonb(result);
	END IF;
	EXECUTE statement;
	GET DIAGNOSTICS touched = ROW_COUNT;
	RETURN to_jsonb(touched);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN jsonb_build_object('sqlstate', SQLSTATE, 'message', SQLERRM, 'detail', detail,
		'hint', hint);
END $$;
"""


def connect(dsn, database, user=None):
	"""As the user of dsn, a superuser, or as another."""
	options = {"user": user} if user else {}
	connection = psycopg2.connect(dsn, dbname=database, **options)
	connection.autocommit = True
	connection.set_client_encoding("UTF8")
	for register in (psycopg2.extras.register_default_json, psycopg2.extras.register_default_jsonb):
		register(connection, loads=sql.from_json)
	return connection


def run(connection, text):
	with connection.cursor() as cursor:
		cursor.execute(text)
		return cursor.fetchall() if cursor.description else None


def make_shop(dsn, name, partitions=4):
	"""A new database with the extension, its tables owned by a role that is no superuser."""
	drop_shop(dsn, name)
	admin = connect(dsn, "postgres")
	run(admin, "CREATE DATABASE %s TEMPLATE template0 ENCODING 'UTF8'" % name)
	for role in ROLES.values():
		if not run(admin, "SELECT 1 FROM pg_roles WHERE rolname = '%s'" % role):
			run(admin, "CREATE ROLE %s LOGIN" % role)
	admin.close()
	shop = connect(dsn, name)
	run(shop, "CREATE EXTENSION order_engine")
	run(shop, "SELECT order_engine.grant_access('%s', 'owner')" % ROLES["owner"])
	run(shop, "SET ROLE %s" % ROLES["owner"])
	run(shop, "SELECT order_engine.setup(%d)" % partitions)
	for level in ("app", "operator"):
		run(shop, "SELECT order_engine.grant_access('%s', '%s')" % (ROLES[level], level))
	run(shop, "RESET ROLE")
	run(shop, FUNCTIONS)
	return shop


def drop_shop(dsn, name):
	admin = connect(dsn, "postgres")
	for (gid,) in run(admin, "SELECT gid FROM pg_prepared_xacts WHERE database = '%s'" % name):
		there = connect(dsn, name)
		run(there, "ROLLBACK PREPARED '%s'" % gid)
		there.close()
	run(admin, "DROP DATABASE IF EXISTS %s WITH (FORCE)" % name)
	admin.close()


def ask(connection, call):
	"""Runs a statement of a call and returns what the server told."""
	with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
		try:
			if call.data is not None:
				cursor.copy_expert(call.text, io.StringIO(call.data))
			else:
				cursor.execute(call.text)
			rows = [dict(row) for row in cursor.fetchall()] if cursor.description else None
			return sql.Told(rows, cursor.rowcount)
		except psycopg2.Error as error:
			return sql.Told(error=error)
