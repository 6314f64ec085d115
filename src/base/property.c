/*
 * property.c
 *		Parses and masks configuration properties.  Pure functions, but for
 *		reading the file.
 */
#include "postgres.h"

#include <ctype.h>
#include <sys/stat.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"

#include "base/property.h"

#define MASK "********"
#define MAX_FILE_SIZE (1024 * 1024)

static bool
is_secret(const char *name)
{
	static const char *const words[] = {
		"password",			  "secret",		"key.pem", "keystore.pem",
		"oauthbearer.config", "credential", "token",   "jaas"};
	char *lower = pstrdup(name);

	for (char *c = lower; *c; c++)
		*c = pg_tolower((unsigned char) *c);
	for (int i = 0; i < lengthof(words); i++)
		if (strstr(lower, words[i]) != NULL)
			return true;
	return false;
}

static void
add_property(List **properties, const char *name, const char *value)
{
	Property *property = palloc(sizeof(Property));

	property->name = pstrdup(name);
	property->value = pstrdup(value);
	property->secret = is_secret(name);
	*properties = lappend(*properties, property);
}

static inline bool
is_space(char c)
{
	return isspace((unsigned char) c);
}

static const char *
skip_spaces(const char *p)
{
	while (is_space(*p))
		p++;
	return p;
}

/*
 * Reads one `name=value` at `p`, which is not at a space or the end.  Returns
 * where it ends, NULL if it cannot be read.  Then nothing of it may be told:
 * it may be a piece of a password that was not quoted.
 */
static const char *
next_pair(const char *p, StringInfo name, StringInfo value, const char **error)
{
	bool quoted;

	resetStringInfo(name);
	resetStringInfo(value);
	while (*p && *p != '=' && !is_space(*p))
		appendStringInfoChar(name, *p++);
	p = skip_spaces(p);
	if (*p != '=' || name->len == 0)
	{
		*error = "missing \"=\"";
		return NULL;
	}
	p = skip_spaces(p + 1);

	quoted = (*p == '\'');
	if (quoted)
		p++;
	while (*p && (quoted ? *p != '\'' : !is_space(*p)))
	{
		if (*p == '\\' && p[1])
			p++;
		appendStringInfoChar(value, *p++);
	}
	if (quoted && *p++ != '\'')
	{
		*error = "unterminated quoted value";
		return NULL;
	}
	return p;
}

bool
property_parse(const char *text, List **properties, char **error)
{
	StringInfoData name;
	StringInfoData value;
	const char	  *problem;

	initStringInfo(&name);
	initStringInfo(&value);
	for (const char *p = skip_spaces(text); *p; p = skip_spaces(p))
	{
		const char *start = p;

		p = next_pair(p, &name, &value, &problem);
		if (p == NULL)
		{
			*error = psprintf("%s in what begins at character %d", problem,
							  pg_mbstrlen_with_len(text, start - text) + 1);
			return false;
		}
		add_property(properties, name.data, value.data);
	}
	return true;
}

/* What cannot be parsed may hold a secret anywhere: the rest is masked whole. */
char *
property_mask(const char *text)
{
	StringInfoData masked;
	StringInfoData name;
	StringInfoData value;
	const char	  *p = text;

	initStringInfo(&masked);
	initStringInfo(&name);
	initStringInfo(&value);
	for (;;)
	{
		const char *start = p;
		const char *error;

		p = skip_spaces(p);
		appendBinaryStringInfo(&masked, start, p - start);
		if (*p == '\0')
			return masked.data;
		start = p;
		p = next_pair(p, &name, &value, &error);
		if (p == NULL)
		{
			appendStringInfoString(&masked, MASK);
			return masked.data;
		}
		if (is_secret(name.data))
			appendStringInfo(&masked, "%s=%s", name.data, MASK);
		else
			appendBinaryStringInfo(&masked, start, p - start);
	}
}

static char *
read_whole_file(const char *path, char **error)
{
	struct stat st;
	char	   *content = NULL;
	FILE	   *file = AllocateFile(path, PG_BINARY_R);

	if (file == NULL || fstat(fileno(file), &st) != 0)
		*error = psprintf("could not open file \"%s\": %m", path);
	else if (!S_ISREG(st.st_mode) || st.st_size > MAX_FILE_SIZE)
		*error = psprintf("\"%s\" is not a file of at most %d bytes", path, MAX_FILE_SIZE);
	else
	{
		content = palloc0(st.st_size + 1);
		if (fread(content, 1, st.st_size, file) != st.st_size)
		{
			*error = psprintf("could not read file \"%s\": %m", path);
			content = NULL;
		}
	}
	if (file != NULL)
		FreeFile(file);
	return content;
}

/* One character of a .properties file, with its escape resolved. */
static const char *
append_character(const char *p, StringInfo out)
{
	if (*p != '\\' || p[1] == '\0')
	{
		appendStringInfoChar(out, *p);
		return p + 1;
	}
	p++;
	if (*p == '\n' || (*p == '\r' && p[1] == '\n'))
	{
		p += (*p == '\r') ? 2 : 1;
		while (*p == ' ' || *p == '\t')
			p++;
		return p;
	}
	appendStringInfoChar(out, *p == 't' ? '\t' : *p == 'n' ? '\n' : *p == 'r' ? '\r' : *p);
	return p + 1;
}

static void
trim_end(StringInfo text)
{
	while (text->len > 0 && is_space(text->data[text->len - 1]))
		text->data[--text->len] = '\0';
}

static int
line_number(const char *content, const char *p)
{
	int number = 1;

	while (content < p)
		if (*content++ == '\n')
			number++;
	return number;
}

bool
property_read_file(const char *path, List **properties, char **error)
{
	const char	  *content = read_whole_file(path, error);
	StringInfoData name;
	StringInfoData value;

	if (content == NULL)
		return false;
	initStringInfo(&name);
	initStringInfo(&value);
	for (const char *p = skip_spaces(content); *p; p = skip_spaces(p))
	{
		resetStringInfo(&name);
		resetStringInfo(&value);
		if (*p == '#' || *p == '!')
		{
			p += strcspn(p, "\n");
			continue;
		}
		while (*p && !strchr("=:\r\n", *p))
			p = append_character(p, &name);
		trim_end(&name);
		if (*p != '=' && *p != ':')
		{
			*error =
				psprintf("missing \"=\" in line %d of file \"%s\"", line_number(content, p), path);
			return false;
		}
		for (p++; *p == ' ' || *p == '\t';)
			p++;
		while (*p && *p != '\n')
			p = append_character(p, &value);
		trim_end(&value);
		add_property(properties, name.data, value.data);
	}
	return true;
}
