\set ECHO none
-- What a statement is refused with, ids and times in it masked; all null if it goes through.
CREATE FUNCTION public.refusal(statement text, OUT code text, OUT message text, OUT detail text, OUT hint text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	IF code LIKE 'OE%' THEN
		PERFORM detail::jsonb;	-- DETAIL of our codes is JSON
		ASSERT hint <> '';
	END IF;
	message := public.masked(message);
	detail := public.masked(detail);
END
$$;

-- Not masked: the last numbers of bigint, and the zeros of a trace id.
CREATE FUNCTION public.masked(said text) RETURNS text LANGUAGE sql AS $$
	SELECT regexp_replace(regexp_replace(said, '"\d{4}-\d\d-\d\dT[^"]*"', '"TIME"', 'g'),
		'\m(?!922337203|0)\d{15,19}\M', 'ID', 'g')
$$;

-- The same in a line; null if it goes through.
CREATE FUNCTION public.attempt(statement text) RETURNS text LANGUAGE sql AS $$
	SELECT nullif(concat_ws(' ', code, message, nullif(detail, '')), '') FROM public.refusal(statement)
$$;
\set ECHO all
