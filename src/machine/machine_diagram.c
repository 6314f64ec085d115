/*
 * machine_diagram.c
 *		Draws a state machine as text for Mermaid or Graphviz.
 *
 * Owns nothing.  Names of states and events may hold any printable character,
 * so both writers quote them.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "base/call.h"
#include "base/detail.h"
#include "machine/machine_catalog.h"
#include "machine/machine_definition.h"

typedef void (*DiagramWriter)(StringInfo out, const Machine *machine);

PG_FUNCTION_INFO_V1(order_engine_machine_diagram);

/* "event [conditions] / effect", as UML writes it. */
static char *
transition_label(const Machine *machine, const Transition *transition)
{
	StringInfoData label;
	const char	  *separator = " [";

	initStringInfo(&label);
	appendStringInfoString(&label, machine->events[transition->event]);
	if (transition->requires_payment)
	{
		appendStringInfo(&label, "%spayment required", separator);
		separator = ", ";
	}
	if (transition->keeper_only)
	{
		appendStringInfo(&label, "%skeeper only", separator);
		separator = ", ";
	}
	if (transition->guard)
	{
		appendStringInfo(&label, "%s%s", separator, transition->guard);
		separator = ", ";
	}
	if (separator[0] == ',')
		appendStringInfoChar(&label, ']');
	if (transition->stock != STOCK_NONE)
		appendStringInfo(&label, " / %s", machine_definition_effect_name(transition->stock));
	return label.data;
}

/* ---- Mermaid ---- */

/* Everything that means something to Mermaid becomes an entity. */
static void
append_mermaid_text(StringInfo out, const char *text)
{
	for (const char *c = text; *c; c++)
	{
		if (isalnum((unsigned char) *c) || IS_HIGHBIT_SET(*c) || strchr(" _-.,/[]()", *c))
			appendStringInfoChar(out, *c);
		else
			appendStringInfo(out, "#%d;", (unsigned char) *c);
	}
}

static bool
is_mermaid_identifier(const char *name)
{
	static const char *const keywords[] = {
		"as",	"choice", "class", "classDef", "click", "default", "direction", "end",
		"fork", "hide",	  "href",  "join",	   "note",	"scale",   "state",		"style"};

	for (int i = 0; i < lengthof(keywords); i++)
		if (pg_strcasecmp(name, keywords[i]) == 0)
			return false;
	for (const char *c = name; *c; c++)
		if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && *c != '_' &&
			!(c > name && *c >= '0' && *c <= '9'))
			return false;
	return true;
}

/*
 * A state stands for itself if all of them can; else each is numbered, so that
 * no number can be another state's name.
 */
static void
append_mermaid_state(StringInfo out, const Machine *machine, int state, bool numbered)
{
	if (state < 0)
		appendStringInfoString(out, "[*]");
	else if (numbered)
		appendStringInfo(out, "s%d", state + 1);
	else
		appendStringInfoString(out, machine->states[state]);
}

static void
append_mermaid_arrow(StringInfo out, const Machine *machine, int from, int to, bool numbered)
{
	appendStringInfoString(out, "    ");
	append_mermaid_state(out, machine, from, numbered);
	appendStringInfoString(out, " --> ");
	append_mermaid_state(out, machine, to, numbered);
}

static void
write_mermaid(StringInfo out, const Machine *machine)
{
	bool numbered = false;

	appendStringInfoString(out, "stateDiagram-v2\n");
	for (int i = 0; i < machine->nstates; i++)
		numbered |= !is_mermaid_identifier(machine->states[i]);
	for (int i = 0; numbered && i < machine->nstates; i++)
	{
		appendStringInfoString(out, "    state \"");
		append_mermaid_text(out, machine->states[i]);
		appendStringInfo(out, "\" as s%d\n", i + 1);
	}
	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];

		append_mermaid_arrow(out, machine, transition->from, transition->to, numbered);
		appendStringInfoString(out, " : ");
		append_mermaid_text(out, transition_label(machine, transition));
		appendStringInfoChar(out, '\n');
	}
	for (int i = 0; i < machine->nstates; i++)
	{
		if (!machine->final[i])
			continue;
		append_mermaid_arrow(out, machine, i, -1, numbered);
		appendStringInfoChar(out, '\n');
	}
}

/* ---- Graphviz ---- */

static void
append_dot_string(StringInfo out, const char *text)
{
	appendStringInfoChar(out, '"');
	for (const char *c = text; *c; c++)
	{
		if (*c == '"' || *c == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *c);
	}
	appendStringInfoChar(out, '"');
}

static void
write_dot(StringInfo out, const Machine *machine)
{
	appendStringInfoString(out, "digraph ");
	append_dot_string(out, machine->name);
	/* no state is called "", so that can be where orders come from */
	appendStringInfoString(
		out,
		" {\n    rankdir=LR;\n    node [shape=box, style=rounded];\n    \"\" [shape=point];\n");
	for (int i = 0; i < machine->nstates; i++)
	{
		if (!machine->final[i])
			continue;
		appendStringInfoString(out, "    ");
		append_dot_string(out, machine->states[i]);
		appendStringInfoString(out, " [peripheries=2];\n");
	}
	for (int i = 0; i < machine->ntransitions; i++)
	{
		const Transition *transition = &machine->transitions[i];

		appendStringInfoString(out, "    ");
		append_dot_string(out, transition->from < 0 ? "" : machine->states[transition->from]);
		appendStringInfoString(out, " -> ");
		append_dot_string(out, machine->states[transition->to]);
		appendStringInfoString(out, " [label=");
		append_dot_string(out, transition_label(machine, transition));
		appendStringInfoString(out, "];\n");
	}
	appendStringInfoString(out, "}\n");
}

static DiagramWriter
find_writer(const char *format)
{
	if (strcmp(format, "mermaid") == 0)
		return write_mermaid;
	if (strcmp(format, "dot") == 0)
		return write_dot;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unrecognized diagram format"),
					detail_set("key", detail_text("format"), NULL),
					errhint("Formats are \"mermaid\" and \"dot\".")));
}

Datum
order_engine_machine_diagram(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	DiagramWriter  write;

	call_require(fcinfo, 0, "name");
	write = PG_ARGISNULL(1) ? write_mermaid : find_writer(call_text(fcinfo, 1));
	initStringInfo(&out);
	(*write)(&out, machine_latest(call_text(fcinfo, 0)));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
