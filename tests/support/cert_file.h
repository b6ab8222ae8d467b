#pragma once

#include "base/bytes.h"

/* cert_file: the certificates of tests/support/cert/, by file name; read once, kept until the
 * program ends. */
struct bytes cert_file(const char *name);

/* Where it is, for those that must read it themselves. */
void cert_path(const char *name, char *path, size_t room);
