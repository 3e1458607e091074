/* SPDX-License-Identifier: Apache-2.0 */
/* Products of two matrices of bytes of which neither is known when compiling, for machines that multiply four bytes at a time:
 * mlcc.Interleave brings four rows of the right one side by side, mlcc.MatMulWords multiplies. */
#include <string.h>

#include "ops/quant.h"
#include "ops/rules.h"

enum { WORD = 4 };

/* --- mlcc.Interleave: [.., K, N] to [.., K / 4, N, 4], as signed bytes: unsigned ones 128 less --- */

INFER(infer_interleave) {
    const Value *x = n->in[0];
    int64_t dim[GRAPH_MAX_RANK];
    if (!quant_infer_bytes(n, 0))
        return false;
    if (x->rank < 2 || x->rank >= GRAPH_MAX_RANK || x->dim[x->rank - 2] % WORD)
        return infer_error(n, "the input must have rows in fours");
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[x->rank - 2] /= WORD;
    dim[x->rank] = WORD;
    return infer_set(n, 0, DT_I8, x->rank + 1, dim);
}

ELEMENT(element_interleave) {
    int rank = n->in[0]->rank;
    KIndex at[GRAPH_MAX_RANK];
    memcpy(at, idx, (size_t)rank * sizeof *at);
    at[rank - 2] = kx_add(l->arena, kx_scale(l->arena, idx[rank - 2], WORD), idx[rank]);
    KValue *x = lower_load(l, n, 0, at);
    return x->type.dtype == DT_U8 ? quant_shifted(l, x) : x;
}

/* --- mlcc.MatMulWords: x, the interleaved matrix, both zero points (of the matrices as they were), the sums of the right one's
 * columns and, where its zero point is not in the middle, of the left one's rows, both int32 and as they were --- */

enum { X, RIGHT, ZERO, RIGHT_ZERO, COLUMN_SUMS, ROW_SUMS };

/* What the right elements are less than those they were made from. */
static int64_t offset_of(const Node *n) { return n->in[RIGHT_ZERO]->dtype == DT_U8 ? 128 : 0; }

/* Sums have the operand's shape but for one axis. */
static bool infer_sums(const Node *n, int i, int nbatch, const int64_t *batch, int64_t size) {
    if (!quant_has(n, i))
        return true;
    const Value *v = n->in[i];
    bool fits = v->dtype == DT_I32 && v->rank == nbatch + 1 && v->dim[nbatch] == size;
    for (int d = 0; fits && d < nbatch; d++)
        fits = v->dim[d] == batch[d];
    return fits || infer_error(n, "input %d does not fit the matrices", i);
}

INFER(infer_matmul_words) {
    const Value *x = n->in[X], *p = n->in[RIGHT];
    int64_t dim[GRAPH_MAX_RANK];
    if (!quant_infer_bytes(n, X) || !quant_infer_bytes(n, RIGHT) || !quant_infer_bytes(n, RIGHT_ZERO))
        return false;
    if (x->rank < 2 || p->rank < 3 || p->dtype != DT_I8 || p->dim[p->rank - 1] != WORD ||
        x->dim[x->rank - 1] != p->dim[p->rank - 3] * WORD || n->in[ZERO]->dtype != x->dtype ||
        !value_is_number(n->in[ZERO]) || !value_is_number(n->in[RIGHT_ZERO]))
        return infer_error(n, "the matrices do not fit");
    if (!infer_sums(n, COLUMN_SUMS, p->rank - 3, p->dim, p->dim[p->rank - 2]) ||
        !infer_sums(n, ROW_SUMS, x->rank - 2, x->dim, x->dim[x->rank - 2]))
        return false;
    if (!quant_has(n, ROW_SUMS) && const_int(n->in[RIGHT_ZERO], 0) != offset_of(n))
        return infer_error(n, "the sums of rows are missing");
    int rank = infer_broadcast(n, x->rank - 2, x->dim, p->rank - 3, p->dim, dim);
    if (rank < 0)
        return false;
    dim[rank++] = x->dim[x->rank - 2];
    dim[rank++] = p->dim[p->rank - 2];
    return infer_set(n, 0, DT_I32, rank, dim);
}

/* The batch axes of an operand, of which it may have fewer. */
static void batch_index(Lower *l, const Value *v, int own, const KIndex *idx, int nbatch, KIndex *at) {
    for (int d = 0; d < own; d++)
        at[d] = v->dim[d] == 1 ? kx_const(l->arena, 0) : idx[nbatch - own + d];
}

/* sum - factor * the sum of a row or column. */
static KValue *less_sums(Lower *l, const Node *n, int i, const KIndex *idx, KIndex place, int64_t factor, KValue *sum) {
    KIndex at[GRAPH_MAX_RANK];
    const Value *v = n->in[i];
    if (!factor)
        return sum;
    batch_index(l, v, v->rank - 1, idx, n->out[0]->rank - 2, at);
    at[v->rank - 1] = place;
    return kb_fma(&l->b, lower_load(l, n, i, at), kb_int(&l->b, DT_I32, -factor), sum);
}

/* The sum over (x - zero) * (p - right zero), multiplied out: products of bytes as they are stored. */
ELEMENT(element_matmul_words) {
    KBuilder *b = &l->b;
    const Value *x = n->in[X], *p = n->in[RIGHT];
    int rank = n->out[0]->rank;
    KIndex row = idx[rank - 2], column = idx[rank - 1], at[GRAPH_MAX_RANK], to[GRAPH_MAX_RANK];
    int64_t shift = quant_shift(l, x->dtype), offset = offset_of(n), depth = x->dim[x->rank - 1];
    int64_t zero = const_int(n->in[ZERO], 0) + shift, right_zero = const_int(n->in[RIGHT_ZERO], 0) - offset;
    uint64_t start = (uint64_t)depth * ((uint64_t)zero * (uint64_t)right_zero + (uint64_t)zero * (uint64_t)offset -
                                        (uint64_t)right_zero * (uint64_t)shift);
    KValue *sum = kb_int(b, DT_I32, (int32_t)(uint32_t)start);
    sum = less_sums(l, n, COLUMN_SUMS, idx, column, zero, sum);
    sum = less_sums(l, n, ROW_SUMS, idx, row, right_zero, sum);
    batch_index(l, x, x->rank - 2, idx, rank - 2, at);
    batch_index(l, p, p->rank - 3, idx, rank - 2, to);
    KInstr *words = lower_for(l, KLOOP_REDUCE, "word", 0, depth / WORD, 1, &sum);
    KValue *carried = kb_carried(words, 0);
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "k", 0, WORD, 1, &carried);
    KIndex word = lower_iv(l, words), k = lower_iv(l, loop);
    at[x->rank - 2] = row;
    at[x->rank - 1] = kx_add(l->arena, kx_scale(l->arena, word, WORD), k);
    to[p->rank - 3] = word;
    to[p->rank - 2] = column;
    to[p->rank - 1] = k;
    KValue *element = lower_load(l, n, X, at);
    KValue *left = kb_cast(b, shift ? quant_shifted(l, element) : element, DT_I32),
           *right = kb_cast(b, lower_load(l, n, RIGHT, to), DT_I32);
    KValue *next = kb_fma(b, left, right, kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    next = kb_result(loop, 0);
    kb_end_for(b, words, &next);
    return kb_result(words, 0);
}

MACS(macs_matmul_words) { return (double)value_count(n->out[0]) * (double)n->in[X]->dim[n->in[X]->rank - 1]; }
