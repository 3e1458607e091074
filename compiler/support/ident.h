/* SPDX-License-Identifier: Apache-2.0 */
/* C identifiers from any names. */
#ifndef MLCC_SUPPORT_IDENT_H
#define MLCC_SUPPORT_IDENT_H

#include "support/arena.h"
#include "support/strmap.h"

/* An identifier valid in C and C++ that resembles name and is not in taken, where it is then put. */
const char *ident_unique(Arena *a, StrMap *taken, const char *name);

#endif
