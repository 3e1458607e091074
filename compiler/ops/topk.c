/* SPDX-License-Identifier: Apache-2.0 */
/* TopK: rows are sorted by merging, which keeps the order of equal elements. */
#include <string.h>

#include "ops/rules.h"

INFER(infer_top_k) {
    const Value *x = n->in[0];
    const int64_t *k;
    int64_t dim[GRAPH_MAX_RANK];
    int count, axis;
    if (!infer_numeric(n, 0) || !infer_ints(n, 1, &k, &count) || !infer_axis(n, attr_int(n, "axis", -1), x->rank, false, &axis))
        return false;
    if (count != 1 || k[0] < 0 || k[0] > x->dim[axis])
        return infer_error(n, "K is %lld of %lld elements", count ? (long long)k[0] : 0, (long long)x->dim[axis]);
    if (x->dim[axis] > INT32_MAX / 2)
        return infer_error(n, "axis %d has too many elements", axis);
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[axis] = k[0];
    return infer_set(n, 0, x->dtype, x->rank, dim) && infer_set(n, 1, DT_I64, x->rank, dim);
}

/* Keys and where they were, twice: each pass reads one half and writes the other. */
typedef struct Rows {
    KParam *key, *from;
    int64_t size;
    bool largest;
} Rows;

/* Where a run is read next, within the row whatever the merge does beyond its end. */
static KIndex reading(Lower *l, const Rows *r, KValue *at, int64_t half) {
    KBuilder *b = &l->b;
    at = kb_binary(b, KOP_MIN, kb_binary(b, KOP_MAX, at, kb_int(b, DT_INDEX, 0)), kb_int(b, DT_INDEX, r->size - 1));
    return kx_add_const(l->arena, kx_var(l->arena, at), half);
}

/* Runs of `width` sorted elements become runs of twice that. */
static void merge_runs(Lower *l, const Rows *r, int64_t width, int64_t source, int64_t target) {
    KBuilder *b = &l->b;
    KInstr *run = lower_for(l, KLOOP_SERIAL, "run", 0, (r->size + 2 * width - 1) / (2 * width), 0, NULL);
    KIndex first = kx_scale(l->arena, lower_iv(l, run), 2 * width);
    KValue *size = kb_int(b, DT_INDEX, r->size);
    KValue *middle = kb_binary(b, KOP_MIN, kx_value(b, kx_add_const(l->arena, first, width)), size);
    KValue *end = kb_binary(b, KOP_MIN, kx_value(b, kx_add_const(l->arena, first, 2 * width)), size);
    KValue *begin = kx_value(b, first), *init[2] = {begin, middle};
    KInstr *loop = kb_for(b, KLOOP_SERIAL, "t", begin, end, 1, 2, init);
    KValue *i = kb_carried(loop, 0), *j = kb_carried(loop, 1), *one = kb_int(b, DT_INDEX, 1);
    KIndex left = reading(l, r, i, source), right = reading(l, r, j, source);
    KValue *x = kb_load(b, r->key, left), *y = kb_load(b, r->key, right);
    KValue *later = kb_binary(b, r->largest ? KOP_GT : KOP_LT, y, x);
    KValue *over = kb_binary(b, KOP_GE, i, middle), *more = kb_binary(b, KOP_LT, j, end);
    KValue *take_right = kb_binary(b, KOP_AND, more, kb_binary(b, KOP_OR, over, later));
    KIndex to = kx_add_const(l->arena, lower_iv(l, loop), target);
    kb_store(b, r->key, to, kb_select(b, take_right, y, x));
    KValue *from_left = kb_load(b, r->from, left), *from_right = kb_load(b, r->from, right);
    kb_store(b, r->from, to, kb_select(b, take_right, from_right, from_left));
    KValue *next_i = kb_binary(b, KOP_ADD, i, one), *next_j = kb_binary(b, KOP_ADD, j, one);
    KValue *next[2] = {kb_select(b, take_right, i, next_i), kb_select(b, take_right, next_j, j)};
    kb_end_for(b, loop, next);
    kb_end_for(b, run, NULL);
}

LOWER(lower_top_k) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    int64_t axis = attr_int(n, "axis", -1), dim[GRAPH_MAX_RANK], half = 0;
    axis += axis < 0 ? x->rank : 0;
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[axis] = 1;
    DType t = lower_compute_type(x->dtype);
    Rows r = {.size = x->dim[axis], .largest = attr_int(n, "largest", 1) != 0};
    int64_t room = r.size ? 2 * r.size : 1;
    r.key = lower_scratch(l, t, room);
    r.from = lower_scratch(l, DT_I32, room);
    LoopNest nest = lower_loops(l, x->rank, dim, NULL);
    for (int d = 0; d < nest.n; d++)
        nest.loop[d]->loop = KLOOP_SERIAL; /* they share the scratch */
    KInstr *loop = lower_for(l, KLOOP_PARALLEL, "i", 0, r.size, 0, NULL);
    nest.idx[axis] = lower_iv(l, loop);
    kb_store(b, r.key, nest.idx[axis], lower_load(l, n, 0, nest.idx));
    kb_store(b, r.from, nest.idx[axis], kb_cast(b, kb_iv(loop), DT_I32));
    kb_end_for(b, loop, NULL);
    for (int64_t width = 1; width < r.size; width *= 2) {
        merge_runs(l, &r, width, half, r.size - half);
        half = r.size - half;
    }
    loop = lower_for(l, KLOOP_PARALLEL, "k", 0, const_int(n->in[1], 0), 0, NULL);
    nest.idx[axis] = lower_iv(l, loop);
    KIndex at = kx_add_const(l->arena, nest.idx[axis], half);
    lower_store(l, n, 0, nest.idx, kb_load(b, r.key, at));
    if (n->nout > 1)
        lower_store(l, n, 1, nest.idx, kb_cast(b, kb_load(b, r.from, at), DT_I64));
    kb_end_for(b, loop, NULL);
    lower_end_loops(l, &nest);
}
