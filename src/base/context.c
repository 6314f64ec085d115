/*
 * context.c
 *		Parses call contexts; owns order_engine.actor and order_engine.traceparent.
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "base/call.h"
#include "base/compat.h"
#include "base/context.h"

#define TRACEPARENT_LENGTH 55 /* 00-<32 hex>-<16 hex>-<2 hex> */
#define MAX_TRACESTATE_LENGTH 512

/* the settings, which PostgreSQL sets and resets */
static char *setting_actor;
static char *setting_traceparent;

/* https://www.w3.org/TR/trace-context/: lower-case hex, ids not all zero, version not ff */
static bool
is_traceparent(const char *value)
{
	static const char *const shape = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";

	if (strlen(value) != TRACEPARENT_LENGTH || strncmp(value, "ff", 2) == 0)
		return false;
	for (int i = 0; i < TRACEPARENT_LENGTH; i++)
	{
		char c = value[i];

		if (shape[i] == '-' ? c != '-' : !(isdigit((unsigned char) c) || (c >= 'a' && c <= 'f')))
			return false;
	}
	return strspn(value + 3, "0") < 32 && strspn(value + 36, "0") < 16;
}

static bool
check_traceparent(char **value, void **extra, GucSource source)
{
	if (**value == '\0' || is_traceparent(*value))
		return true;
	GUC_check_errdetail(
		"A traceparent looks like 00-<32 hexadecimal digits>-<16>-<2>, in lower case.");
	return false;
}

/* As a context's actor is checked.  What a connection begins with is in no encoding yet. */
static bool
check_actor(char **value, void **extra, GucSource source)
{
	if (**value == '\0' || (call_is_name(*value) && pg_verifymbstr(*value, strlen(*value), true)))
		return true;
	GUC_check_errdetail("An actor is at most 255 bytes of text in the database's encoding, without "
						"control characters.");
	return false;
}

/* W3C: printable ASCII; it becomes a header of the event's message. */
static bool
is_tracestate(const char *value)
{
	const char *c = value;

	while (*c >= ' ' && *c <= '~')
		c++;
	return *c == '\0' && c - value <= MAX_TRACESTATE_LENGTH;
}

void
context_init(void)
{
	DefineCustomStringVariable(
		"order_engine.actor", "Who acts, for calls whose context does not say.",
		"Empty: the session user.", &setting_actor, "", PGC_USERSET, 0, check_actor, NULL, NULL);
	DefineCustomStringVariable(
		"order_engine.traceparent",
		"W3C trace context of what this session does, for calls whose context does not say.", NULL,
		&setting_traceparent, "", PGC_USERSET, 0, check_traceparent, NULL, NULL);
}

pg_noreturn static void
raise_key(const char *message, const char *key)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s: \"%s\"", message, key),
		 errhint(
			 "A context has the keys actor, reason, traceparent and tracestate, all of them strings.")));
}

static const char **
find_key(ActionContext *context, const char *key)
{
	if (strcmp(key, "actor") == 0)
		return &context->actor;
	if (strcmp(key, "reason") == 0)
		return &context->reason;
	if (strcmp(key, "traceparent") == 0)
		return &context->traceparent;
	if (strcmp(key, "tracestate") == 0)
		return &context->tracestate;
	raise_key("unrecognized key in context", key);
}

static void
set_key(ActionContext *context, const char *key, const JsonbValue *value)
{
	const char **field = find_key(context, key);
	char		*text;

	if (value->type == jbvNull) /* says what the missing key says */
		return;
	if (value->type != jbvString)
		raise_key("value in context is not a string", key);
	text = pnstrdup(value->val.string.val, value->val.string.len);
	if (field == &context->actor || field == &context->reason)
		call_check_name(text, key);
	else if (field == &context->traceparent ? !is_traceparent(text) : !is_tracestate(text))
		raise_key("malformed value in context", key);
	*field = text;
}

static void
parse_keys(Jsonb *json, ActionContext *context)
{
	JsonbIterator	  *it = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue		   value;
	char			  *key = NULL;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			set_key(context, key, &value);
	}
}

void
context_parse(Jsonb *json, ActionContext *context)
{
	memset(context, 0, sizeof(*context));
	call_check_object(json, "context");
	if (json && JB_ROOT_COUNT(json) > 0)
		parse_keys(json, context);
	if (context->actor == NULL)
		context->actor = setting_actor[0] ? pstrdup(setting_actor)
										  : GetUserNameFromId(GetSessionUserId(), false);
	if (context->traceparent == NULL && setting_traceparent[0])
		context->traceparent = pstrdup(setting_traceparent);
}
