/* SPDX-License-Identifier: Apache-2.0 */
/* Looking operators up. */
#include "ops/op.h"

#include <string.h>

#include "ops/rules.h"

static const Op table[] = {
#define OP(domain, name, version, min_in, max_in, min_out, max_out, flags, infer, element, lower, macs)           \
    {domain, #name, version, min_in, max_in, min_out, max_out, flags, infer, element, lower, macs},
#include "ops/ops.def"
#undef OP
    {0},
};

enum { OP_COUNT = sizeof table / sizeof *table - 1 };

const Op *op_find(const char *domain, const char *name) {
    if (!strcmp(domain, "ai.onnx"))
        domain = "";
    for (int i = 0; i < OP_COUNT; i++)
        if (!strcmp(table[i].name, name) && !strcmp(table[i].domain, domain))
            return &table[i];
    return NULL;
}

const Op *op_at(int i) { return i >= 0 && i < OP_COUNT ? &table[i] : NULL; }
