/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax and the normalizations: several passes over the elements that belong together. */
#include <math.h>
#include <string.h>

#include "ops/rules.h"

/* Sum (or MAX) over loops of the axes [from, to) of input 0 at idx; term sees the element. */
typedef KValue *Term(Lower *l, KValue *x, KValue *extra);

static KValue *accumulate(Lower *l, const Node *n, KIndex *idx, int from, int to, KOp op, KValue *init, Term *term, KValue *extra) {
    KInstr *loop[GRAPH_MAX_RANK];
    KIndex saved[GRAPH_MAX_RANK];
    memcpy(saved, idx, (size_t)n->in[0]->rank * sizeof *saved);
    for (int d = from; d < to; d++) {
        loop[d] = lower_for(l, KLOOP_REDUCE, "r", 0, n->in[0]->dim[d], 1, &init);
        idx[d] = lower_iv(l, loop[d]);
        init = kb_carried(loop[d], 0);
    }
    KValue *result = kb_binary(&l->b, op, term(l, lower_load(l, n, 0, idx), extra), init);
    for (int d = to - 1; d >= from; d--) {
        kb_end_for(&l->b, loop[d], &result);
        result = kb_result(loop[d], 0);
    }
    memcpy(idx, saved, (size_t)n->in[0]->rank * sizeof *saved);
    return result;
}

static KValue *itself(Lower *l, KValue *x, KValue *extra) {
    (void)l, (void)extra;
    return x;
}

static KValue *shifted_exp(Lower *l, KValue *x, KValue *most) {
    return kb_math(&l->b, KMATH_EXP_LE0, kb_binary(&l->b, KOP_SUB, x, most), NULL);
}

static KValue *squared_difference(Lower *l, KValue *x, KValue *mean) {
    KValue *d = kb_binary(&l->b, KOP_SUB, x, mean);
    return kb_binary(&l->b, KOP_MUL, d, d);
}

/* PARALLEL loops over some axes of a shape; the others' indices stay as they are. */
static int open_axes(Lower *l, const int64_t *dim, int from, int to, int skip, KIndex *idx, KInstr **loop) {
    int n = 0;
    for (int d = from; d < to; d++) {
        if (d == skip)
            continue;
        loop[n] = lower_for(l, KLOOP_PARALLEL, "i", 0, dim[d], 0, NULL);
        idx[d] = lower_iv(l, loop[n++]);
    }
    return n;
}

static void close_axes(Lower *l, KInstr **loop, int n) {
    while (n)
        kb_end_for(&l->b, loop[--n], NULL);
}

/* --- Softmax, LogSoftmax, Hardmax along one axis --- */

INFER(infer_softmax) {
    int axis;
    if (n->in[0]->rank == 0)
        return infer_error(n, "the input is a scalar");
    return infer_float(n, 0) && infer_axis(n, attr_int(n, "axis", -1), n->in[0]->rank, false, &axis) && infer_same(n);
}

typedef enum SoftmaxKind { SOFTMAX, LOG_SOFTMAX, HARDMAX } SoftmaxKind;

/* Stores exp(x - most) while summing, then scales: each exponential is computed once. */
static void softmax_rows(Lower *l, const Node *n, KIndex *idx, int axis, KValue *most, DType t) {
    KBuilder *b = &l->b;
    int64_t size = n->in[0]->dim[axis];
    KParam *row = lower_scratch(l, t, size);
    KValue *sum = kb_float(b, t, 0);
    KInstr *loop = lower_for(l, KLOOP_PARALLEL, "r", 0, size, 0, NULL);
    idx[axis] = lower_iv(l, loop);
    kb_store(b, row, idx[axis], shifted_exp(l, lower_load(l, n, 0, idx), most));
    kb_end_for(b, loop, NULL);
    loop = lower_for(l, KLOOP_REDUCE, "r", 0, size, 1, &sum);
    KValue *next = kb_binary(b, KOP_ADD, kb_load(b, row, lower_iv(l, loop)), kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    KValue *scale = kb_binary(b, KOP_DIV, kb_float(b, t, 1), kb_result(loop, 0));
    loop = lower_for(l, KLOOP_PARALLEL, "r", 0, size, 0, NULL);
    idx[axis] = lower_iv(l, loop);
    lower_store(l, n, 0, idx, kb_binary(b, KOP_MUL, kb_load(b, row, idx[axis]), scale));
    kb_end_for(b, loop, NULL);
}

static void log_softmax_rows(Lower *l, const Node *n, KIndex *idx, int axis, KValue *most, DType t) {
    KBuilder *b = &l->b;
    KValue *sum = accumulate(l, n, idx, axis, axis + 1, KOP_ADD, kb_float(b, t, 0), shifted_exp, most);
    KValue *offset = kb_binary(b, KOP_ADD, most, kb_math(b, KMATH_LOG, sum, NULL));
    KInstr *loop = lower_for(l, KLOOP_PARALLEL, "r", 0, n->in[0]->dim[axis], 0, NULL);
    idx[axis] = lower_iv(l, loop);
    lower_store(l, n, 0, idx, kb_binary(b, KOP_SUB, lower_load(l, n, 0, idx), offset));
    kb_end_for(b, loop, NULL);
}

static void hardmax_rows(Lower *l, const Node *n, KIndex *idx, int axis, KValue *most, DType t) {
    KBuilder *b = &l->b;
    int64_t size = n->in[0]->dim[axis];
    KValue *first = kb_int(b, DT_INDEX, size);
    KInstr *loop = lower_for(l, KLOOP_SERIAL, "r", 0, size, 1, &first);
    idx[axis] = lower_iv(l, loop);
    KValue *hit = kb_binary(b, KOP_EQ, lower_load(l, n, 0, idx), most);
    KValue *here = kb_select(b, hit, kb_iv(loop), kb_int(b, DT_INDEX, size));
    KValue *next = kb_binary(b, KOP_MIN, here, kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    first = kb_result(loop, 0);
    loop = lower_for(l, KLOOP_PARALLEL, "r", 0, size, 0, NULL);
    idx[axis] = lower_iv(l, loop);
    KValue *is_first = kb_binary(b, KOP_EQ, kb_iv(loop), first);
    lower_store(l, n, 0, idx, kb_select(b, is_first, kb_float(b, t, 1), kb_float(b, t, 0)));
    kb_end_for(b, loop, NULL);
}

static void lower_along_axis(Lower *l, const Node *n, SoftmaxKind kind) {
    const Value *x = n->in[0];
    int axis = (int)attr_int(n, "axis", -1);
    axis += axis < 0 ? x->rank : 0;
    KIndex idx[GRAPH_MAX_RANK];
    KInstr *loop[GRAPH_MAX_RANK];
    DType t = lower_compute_type(x->dtype);
    int loops = open_axes(l, x->dim, 0, x->rank, axis, idx, loop);
    idx[axis] = kx_const(l->arena, 0);
    /* The SoftMax scratch row is shared by all rows: they run one after the other. */
    for (int i = 0; i < loops && kind == SOFTMAX; i++)
        loop[i]->loop = KLOOP_SERIAL;
    KValue *most = accumulate(l, n, idx, axis, axis + 1, KOP_MAX, kb_float(&l->b, t, -INFINITY), itself, NULL);
    if (kind == SOFTMAX)
        softmax_rows(l, n, idx, axis, most, t);
    else if (kind == LOG_SOFTMAX)
        log_softmax_rows(l, n, idx, axis, most, t);
    else
        hardmax_rows(l, n, idx, axis, most, t);
    close_axes(l, loop, loops);
}

LOWER(lower_softmax) { lower_along_axis(l, n, SOFTMAX); }
LOWER(lower_log_softmax) { lower_along_axis(l, n, LOG_SOFTMAX); }
LOWER(lower_hardmax) { lower_along_axis(l, n, HARDMAX); }

/* --- BatchNormalization with stored statistics --- */

INFER(infer_batch_normalization) {
    const Value *x = n->in[0];
    if (attr_int(n, "training_mode", 0))
        return infer_error(n, "training mode is not supported");
    if (!infer_float(n, 0))
        return false;
    int64_t channels = x->rank > 1 ? x->dim[1] : 1;
    for (int i = 1; i < 5; i++)
        if (!infer_float(n, i) || n->in[i]->rank != 1 || n->in[i]->dim[0] != channels)
            return infer_error(n, "input %d must have one element for each of %lld channels", i, (long long)channels);
    return infer_same(n);
}

ELEMENT(element_batch_normalization) {
    KBuilder *b = &l->b;
    DType t = lower_compute_type(n->in[0]->dtype);
    KIndex channel[1] = {n->in[0]->rank > 1 ? idx[1] : kx_const(l->arena, 0)};
    KValue *p[5];
    for (int i = 1; i < 5; i++)
        p[i] = kb_cast(b, lower_load(l, n, i, channel), t);
    KValue *deviation = kb_unary(b, KOP_SQRT, kb_binary(b, KOP_ADD, p[4], kb_float(b, t, (double)attr_float(n, "epsilon", 1e-5f))));
    KValue *scale = kb_binary(b, KOP_DIV, p[1], deviation);
    return kb_fma(b, kb_binary(b, KOP_SUB, lower_load(l, n, 0, idx), p[3]), scale, p[2]);
}

/* --- normalization by the mean and variance of the axes [axis, rank) --- */

static void mean_and_scale(Lower *l, const Node *n, KIndex *idx, int axis, KValue **mean, KValue **scale) {
    KBuilder *b = &l->b;
    const Value *x = n->in[0];
    DType t = lower_compute_type(x->dtype);
    int64_t count = 1;
    for (int d = axis; d < x->rank; d++)
        count *= x->dim[d];
    KValue *size = kb_float(b, t, (double)count), *zero = kb_float(b, t, 0);
    *mean = kb_binary(b, KOP_DIV, accumulate(l, n, idx, axis, x->rank, KOP_ADD, zero, itself, NULL), size);
    KValue *variance = kb_binary(b, KOP_DIV, accumulate(l, n, idx, axis, x->rank, KOP_ADD, zero, squared_difference, *mean), size);
    KValue *deviation = kb_unary(b, KOP_SQRT, kb_binary(b, KOP_ADD, variance, kb_float(b, t, (double)attr_float(n, "epsilon", 1e-5f))));
    *scale = kb_binary(b, KOP_DIV, kb_float(b, t, 1), deviation);
}

INFER(infer_instance_normalization) {
    const Value *x = n->in[0];
    if (!infer_float(n, 0) || !infer_one_type(n))
        return false;
    if (x->rank < 2 || n->in[1]->rank != 1 || n->in[2]->rank != 1 || n->in[1]->dim[0] != x->dim[1] || n->in[2]->dim[0] != x->dim[1])
        return infer_error(n, "scale and B must have one element for each channel");
    return infer_same(n);
}

LOWER(lower_instance_normalization) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    KIndex idx[GRAPH_MAX_RANK];
    KInstr *outer[GRAPH_MAX_RANK], *loop[GRAPH_MAX_RANK];
    KValue *mean, *scale;
    int loops = open_axes(l, x->dim, 0, 2, -1, idx, outer);
    mean_and_scale(l, n, idx, 2, &mean, &scale);
    scale = kb_binary(b, KOP_MUL, scale, lower_load(l, n, 1, idx + 1));
    KValue *bias = lower_load(l, n, 2, idx + 1);
    int inside = open_axes(l, x->dim, 2, x->rank, -1, idx, loop);
    KValue *centred = kb_binary(b, KOP_SUB, lower_load(l, n, 0, idx), mean);
    lower_store(l, n, 0, idx, kb_fma(b, centred, scale, bias));
    close_axes(l, loop, inside);
    close_axes(l, outer, loops);
}

INFER(infer_layer_normalization) {
    const Value *x = n->in[0];
    int axis;
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_float(n, 0) || !infer_axis(n, attr_int(n, "axis", -1), x->rank, false, &axis))
        return false;
    for (int i = 1; i < n->nin; i++) {
        if (!n->in[i])
            continue;
        int rank = infer_broadcast(n, x->rank, x->dim, n->in[i]->rank, n->in[i]->dim, dim);
        if (rank < 0)
            return false;
        if (rank != x->rank || memcmp(dim, x->dim, (size_t)rank * sizeof *dim))
            return infer_error(n, "input %d does not broadcast to the input", i);
    }
    for (int d = 0; d < x->rank; d++)
        dim[d] = d < axis ? x->dim[d] : 1;
    DType stash = attr_int(n, "stash_type", 1) == 1 ? DT_F32 : x->dtype;
    return infer_same(n) && infer_set(n, 1, stash, x->rank, dim) && infer_set(n, 2, stash, x->rank, dim);
}

LOWER(lower_layer_normalization) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    KIndex idx[GRAPH_MAX_RANK];
    KInstr *outer[GRAPH_MAX_RANK], *loop[GRAPH_MAX_RANK];
    KValue *mean, *scale;
    int axis = (int)attr_int(n, "axis", -1);
    axis += axis < 0 ? x->rank : 0;
    int loops = open_axes(l, x->dim, 0, axis, -1, idx, outer);
    for (int d = axis; d < x->rank; d++)
        idx[d] = kx_const(l->arena, 0);
    mean_and_scale(l, n, idx, axis, &mean, &scale);
    if (n->nout > 1)
        lower_store(l, n, 1, idx, kb_cast(b, mean, n->out[1] ? lower_compute_type(n->out[1]->dtype) : DT_F32));
    if (n->nout > 2)
        lower_store(l, n, 2, idx, kb_cast(b, scale, n->out[2] ? lower_compute_type(n->out[2]->dtype) : DT_F32));
    int inside = open_axes(l, x->dim, axis, x->rank, -1, idx, loop);
    KValue *y = kb_binary(b, KOP_MUL, kb_binary(b, KOP_SUB, lower_load(l, n, 0, idx), mean), scale);
    y = kb_binary(b, KOP_MUL, y, lower_load_broadcast(l, n, 1, idx));
    if (n->nin > 2 && n->in[2])
        y = kb_binary(b, KOP_ADD, y, lower_load_broadcast(l, n, 2, idx));
    lower_store(l, n, 0, idx, y);
    close_axes(l, loop, inside);
    close_axes(l, outer, loops);
}
