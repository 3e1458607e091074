/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products. */
#include "ops/matmul.h"
#include "ops/rules.h"

/* numpy.matmul: rank-1 operands count as a row on the left, a column on the right, and lose that axis again. */
INFER(infer_matmul) {
    const Value *x = n->in[0], *y = n->in[1];
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_numeric(n, 0) || !infer_one_type(n))
        return false;
    if (x->rank < 1 || y->rank < 1)
        return infer_error(n, "scalars cannot be multiplied as matrices");
    int64_t k = x->dim[x->rank - 1], k2 = y->dim[y->rank > 1 ? y->rank - 2 : 0];
    if (k != k2)
        return infer_error(n, "the inner sizes %lld and %lld differ", (long long)k, (long long)k2);
    int rank = infer_broadcast(n, x->rank > 2 ? x->rank - 2 : 0, x->dim, y->rank > 2 ? y->rank - 2 : 0, y->dim, dim);
    if (rank < 0)
        return false;
    if (x->rank > 1)
        dim[rank++] = x->dim[x->rank - 2];
    if (y->rank > 1)
        dim[rank++] = y->dim[y->rank - 1];
    return infer_set(n, 0, x->dtype, rank, dim);
}

/* Index into one operand: batch axes broadcast, then row and column. */
static void operand_index(Lower *l, const Value *v, const KIndex *batch, int nbatch, KIndex row, KIndex column, KIndex *at) {
    int own = v->rank > 2 ? v->rank - 2 : 0;
    for (int d = 0; d < own; d++)
        at[d] = v->dim[d] == 1 ? kx_const(l->arena, 0) : batch[nbatch - own + d];
    if (v->rank > 1) {
        at[own] = row;
        at[own + 1] = column;
    } else {
        at[0] = row ? row : column;
    }
}

KValue *matmul_sum(Lower *l, const Node *n, const KIndex *idx, KIndex from, int64_t count, KValue *init) {
    const Value *x = n->in[0], *y = n->in[1];
    int nbatch = n->out[0]->rank - (x->rank > 1) - (y->rank > 1);
    KIndex row = x->rank > 1 ? idx[nbatch] : NULL, column = y->rank > 1 ? idx[n->out[0]->rank - 1] : NULL;
    KIndex at[GRAPH_MAX_RANK], to[GRAPH_MAX_RANK];
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "k", 0, count, 1, &init);
    KIndex k = kx_add(l->arena, from, lower_iv(l, loop));
    operand_index(l, x, idx, nbatch, row, k, at);
    operand_index(l, y, idx, nbatch, k, column, to);
    KValue *factor = lower_load(l, n, 1, to);
    KValue *next = kb_fma(&l->b, lower_load(l, n, 0, at), factor, kb_carried(loop, 0));
    kb_end_for(&l->b, loop, &next);
    return kb_result(loop, 0);
}

ELEMENT(element_matmul) {
    const Value *x = n->in[0];
    KValue *zero = kb_int(&l->b, lower_compute_type(x->dtype), 0);
    return matmul_sum(l, n, idx, kx_const(l->arena, 0), x->dim[x->rank - 1], zero);
}

MACS(macs_matmul) { return (double)value_count(n->out[0]) * (double)n->in[0]->dim[n->in[0]->rank - 1]; }

INFER(infer_gemm) {
    const Value *a = n->in[0], *b = n->in[1];
    if (!infer_numeric(n, 0) || !infer_one_type(n))
        return false;
    if (a->rank != 2 || b->rank != 2)
        return infer_error(n, "A and B have ranks %d and %d; both must be 2", a->rank, b->rank);
    bool ta = attr_int(n, "transA", 0) != 0, tb = attr_int(n, "transB", 0) != 0;
    if (a->dim[ta ? 0 : 1] != b->dim[tb ? 1 : 0])
        return infer_error(n, "the inner sizes %lld and %lld differ", (long long)a->dim[ta ? 0 : 1], (long long)b->dim[tb ? 1 : 0]);
    const int64_t dim[2] = {a->dim[ta ? 1 : 0], b->dim[tb ? 0 : 1]};
    if (n->nin > 2 && n->in[2]) {
        int64_t out[GRAPH_MAX_RANK];
        const Value *c = n->in[2];
        int rank = infer_broadcast(n, 2, dim, c->rank, c->dim, out);
        if (rank < 0)
            return false;
        if (rank != 2 || out[0] != dim[0] || out[1] != dim[1])
            return infer_error(n, "C does not broadcast to %lldx%lld", (long long)dim[0], (long long)dim[1]);
    }
    return infer_set(n, 0, a->dtype, 2, dim);
}

/* x * factor; the factor is a float also for integers. */
static KValue *scaled(Lower *l, KValue *x, float factor) {
    if (factor == 1.0f)
        return x;
    DType t = x->type.dtype;
    KValue *f = kb_cast(&l->b, x, dtype_is_float(t) ? t : DT_F64);
    return kb_cast(&l->b, kb_binary(&l->b, KOP_MUL, f, kb_const_like(&l->b, f->type, (double)factor)), t);
}

ELEMENT(element_gemm) {
    const Value *a = n->in[0];
    bool ta = attr_int(n, "transA", 0) != 0, tb = attr_int(n, "transB", 0) != 0;
    float alpha = attr_float(n, "alpha", 1.0f), beta = attr_float(n, "beta", 1.0f);
    KValue *zero = kb_int(&l->b, lower_compute_type(a->dtype), 0);
    KValue *c = n->nin > 2 && n->in[2] && beta != 0 ? scaled(l, lower_load_broadcast(l, n, 2, idx), beta) : NULL;
    KValue *init = c && alpha == 1.0f ? c : zero;
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "k", 0, a->dim[ta ? 0 : 1], 1, &init);
    KIndex k = lower_iv(l, loop);
    const KIndex at[2] = {ta ? k : idx[0], ta ? idx[0] : k}, to[2] = {tb ? idx[1] : k, tb ? k : idx[1]};
    KValue *factor = lower_load(l, n, 1, to);
    KValue *next = kb_fma(&l->b, lower_load(l, n, 0, at), factor, kb_carried(loop, 0));
    kb_end_for(&l->b, loop, &next);
    KValue *product = kb_result(loop, 0);
    if (alpha == 1.0f)
        return product;
    product = scaled(l, product, alpha);
    return c ? kb_binary(&l->b, KOP_ADD, product, c) : product;
}

MACS(macs_gemm) {
    return (double)value_count(n->out[0]) * (double)n->in[0]->dim[attr_int(n, "transA", 0) ? 0 : 1];
}
