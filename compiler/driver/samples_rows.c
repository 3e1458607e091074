/* SPDX-License-Identifier: Apache-2.0 */
/* Samples where none are given: what picks rows of tables, like the words of a text, may pick any of them. */
#include "driver/samples_rows.h"

#include "passes/edit.h"

/* How many rows there are to pick from with v; 0: it picks none. */
static int64_t rows_for(const Value *v, int depth) {
    for (int u = 0; u < v->uses.len; u++) {
        const Node *n = v->uses.data[u].node;
        const Value *table = n->nin ? n->in[0] : NULL;
        int64_t below = 0;
        if (edit_is(n, "Gather") && v->uses.data[u].index == 1 && value_is_const(table) && table->rank == 2 && !attr_int(n, "axis", 0))
            return table->dim[0];
        if (depth && (edit_is(n, "Cast") || edit_is(n, "Reshape") || edit_is(n, "Identity")) && table == v)
            below = rows_for(n->out[0], depth - 1);
        if (below)
            return below;
    }
    return 0;
}

static Tensor any_rows(Arena *a, const Value *v, int64_t rows, unsigned *seed) {
    Tensor t = {v->dtype, v->rank, arena_dup(a, v->dim, (size_t)v->rank * sizeof *v->dim), value_count(v), NULL};
    t.bytes = arena_alloc(a, (size_t)t.count * (size_t)dtype_size(t.dtype) + 1);
    for (int64_t i = 0; i < t.count; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        int64_t x = rows ? (int64_t)(*seed >> 1) % rows : 1; /* what is no row is mostly a mask */
        if (t.dtype == DT_I64)
            ((int64_t *)t.bytes)[i] = x;
        else
            ((int32_t *)t.bytes)[i] = (int32_t)x;
    }
    return t;
}

bool samples_of_rows(Arena *a, const Graph *g, int n, Samples *out) {
    bool picks = false;
    unsigned seed = 1;
    *out = (Samples){0};
    for (int i = 0; i < g->inputs.len; i++) {
        const Value *v = g->inputs.data[i];
        if (v->dtype != DT_I64 && v->dtype != DT_I32)
            return false;
        picks = picks || rows_for(v, 4) > 0;
    }
    for (int k = 0; picks && k < n; k++) {
        Tensor *input = ARENA_ARRAY(a, Tensor, g->inputs.len);
        for (int i = 0; i < g->inputs.len; i++)
            input[i] = any_rows(a, g->inputs.data[i], rows_for(g->inputs.data[i], 4), &seed);
        VEC_PUSH(a, &out->list, input);
    }
    return picks;
}
