/* SPDX-License-Identifier: Apache-2.0 */
/* Det: the product of the pivots of Gaussian elimination, in scratch. */
#include "ops/rules.h"

INFER(infer_det) {
    const Value *x = n->in[0];
    if (!infer_float(n, 0))
        return false;
    if (x->rank < 2 || x->dim[x->rank - 1] != x->dim[x->rank - 2])
        return infer_error(n, "the input must be square matrices");
    return infer_set(n, 0, x->dtype, x->rank - 2, x->dim);
}

typedef struct Matrix {
    KParam *at;
    int64_t size;
} Matrix;

static KIndex cell(Lower *l, const Matrix *m, KIndex row, KIndex column) {
    return kx_add(l->arena, kx_scale(l->arena, row, m->size), column);
}

/* The row, from k on, with the largest element in column k. */
static KIndex pivot_row(Lower *l, const Matrix *m, const KInstr *step, KValue *size, DType t) {
    KBuilder *b = &l->b;
    KIndex k = lower_iv(l, step);
    KValue *init[2] = {kb_float(b, t, -1), kb_iv(step)}, *next[2];
    KInstr *loop = kb_for(b, KLOOP_SERIAL, "i", kb_iv(step), size, 1, 2, init);
    KValue *x = kb_unary(b, KOP_ABS, kb_load(b, m->at, cell(l, m, lower_iv(l, loop), k)));
    KValue *better = kb_binary(b, KOP_GT, x, kb_carried(loop, 0));
    next[0] = kb_select(b, better, x, kb_carried(loop, 0));
    next[1] = kb_select(b, better, kb_iv(loop), kb_carried(loop, 1));
    kb_end_for(b, loop, next);
    return lower_index(l, kb_result(loop, 1), m->size);
}

static void swap_rows(Lower *l, const Matrix *m, KIndex x, KIndex y) {
    KBuilder *b = &l->b;
    KInstr *loop = lower_for(l, KLOOP_SERIAL, "j", 0, m->size, 0, NULL);
    KIndex j = lower_iv(l, loop), from = cell(l, m, x, j), to = cell(l, m, y, j);
    KValue *upper = kb_load(b, m->at, from), *lower = kb_load(b, m->at, to);
    kb_store(b, m->at, from, lower);
    kb_store(b, m->at, to, upper);
    kb_end_for(b, loop, NULL);
}

/* Row k times a factor off all rows below. */
static void eliminate(Lower *l, const Matrix *m, const KInstr *step, KValue *size, KValue *pivot) {
    KBuilder *b = &l->b;
    KIndex k = lower_iv(l, step);
    KValue *zero = kb_const_like(b, pivot->type, 0), *none = kb_binary(b, KOP_EQ, pivot, zero);
    KInstr *rows = kb_for(b, KLOOP_SERIAL, "i", kx_value(b, kx_add_const(l->arena, k, 1)), size, 1, 0, NULL);
    KIndex i = lower_iv(l, rows);
    KValue *factor = kb_binary(b, KOP_DIV, kb_load(b, m->at, cell(l, m, i, k)), pivot);
    factor = kb_unary(b, KOP_NEG, kb_select(b, none, zero, factor));
    KInstr *columns = lower_for(l, KLOOP_SERIAL, "j", 0, m->size, 0, NULL);
    KIndex j = lower_iv(l, columns), to = cell(l, m, i, j);
    KValue *x = kb_load(b, m->at, cell(l, m, k, j));
    kb_store(b, m->at, to, kb_fma(b, factor, x, kb_load(b, m->at, to)));
    kb_end_for(b, columns, NULL);
    kb_end_for(b, rows, NULL);
}

LOWER(lower_det) {
    const Value *x = n->in[0], *y = n->out[0];
    KBuilder *b = &l->b;
    DType t = lower_compute_type(x->dtype);
    Matrix m = {.size = x->dim[x->rank - 1]};
    m.at = lower_scratch(l, t, m.size ? m.size * m.size : 1);
    LoopNest nest = lower_loops(l, y->rank, y->dim, NULL);
    for (int d = 0; d < nest.n; d++)
        nest.loop[d]->loop = KLOOP_SERIAL; /* they share the scratch */
    KIndex at[GRAPH_MAX_RANK];
    for (int d = 0; d < y->rank; d++)
        at[d] = nest.idx[d];
    KInstr *rows = lower_for(l, KLOOP_PARALLEL, "i", 0, m.size, 0, NULL);
    KInstr *columns = lower_for(l, KLOOP_PARALLEL, "j", 0, m.size, 0, NULL);
    at[y->rank] = lower_iv(l, rows);
    at[y->rank + 1] = lower_iv(l, columns);
    kb_store(b, m.at, cell(l, &m, at[y->rank], at[y->rank + 1]), lower_load(l, n, 0, at));
    kb_end_for(b, columns, NULL);
    kb_end_for(b, rows, NULL);
    KValue *det = kb_float(b, t, 1), *size = kb_int(b, DT_INDEX, m.size);
    KInstr *step = lower_for(l, KLOOP_SERIAL, "k", 0, m.size, 1, &det);
    KIndex k = lower_iv(l, step), p = pivot_row(l, &m, step, size, t);
    KValue *same = kb_binary(b, KOP_EQ, kx_value(b, p), kb_iv(step));
    swap_rows(l, &m, k, p);
    KValue *pivot = kb_load(b, m.at, cell(l, &m, k, k));
    eliminate(l, &m, step, size, pivot);
    KValue *next = kb_binary(b, KOP_MUL, kb_carried(step, 0), kb_select(b, same, pivot, kb_unary(b, KOP_NEG, pivot)));
    kb_end_for(b, step, &next);
    lower_store(l, n, 0, nest.idx, kb_result(step, 0));
    lower_end_loops(l, &nest);
}
