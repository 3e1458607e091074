/* SPDX-License-Identifier: Apache-2.0 */
/* A map from strings to pointers, in an arena; keys are not copied. */
#ifndef MLCC_SUPPORT_STRMAP_H
#define MLCC_SUPPORT_STRMAP_H

#include "support/arena.h"

typedef struct StrMap {
    struct StrEntry *slot;
    int len, cap;
} StrMap;

void *strmap_get(const StrMap *m, const char *key); /* NULL where absent */
void strmap_put(Arena *a, StrMap *m, const char *key, void *value); /* replaces */

#endif
