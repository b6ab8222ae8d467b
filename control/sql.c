#include "sql.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"

void
sql_add(struct sql *sql, const char *format, ...)
{
	va_list arguments;
	int more;

	va_start(arguments, format);
	more = vsnprintf(sql->text + sql->len, sizeof(sql->text) - sql->len, format, arguments);
	va_end(arguments);
	CHECK(more >= 0 && sql->len + (size_t)more < sizeof(sql->text));
	sql->len += (size_t)more;
}
