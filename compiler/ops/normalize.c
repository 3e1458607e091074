/* SPDX-License-Identifier: Apache-2.0 */
/* Softmax and the normalizations: several passes over the elements that belong together. */
#include <math.h>
#include <string.h>

#include "ops/rules.h"
#include "ops/softmax.h"

/* Sum (or MAX) over dim[d] elements of each axis d of [from, to) of input 0, beginning at idx; term sees the element. */
typedef KValue *Term(Lower *l, KValue *x, KValue *extra);

static KValue *accumulate(Lower *l, const Node *n, KIndex *idx, int from, int to, const int64_t *dim, KOp op, KValue *init,
                          Term *term, KValue *extra) {
    KInstr *loop[GRAPH_MAX_RANK];
    KIndex start[GRAPH_MAX_RANK];
    memcpy(start, idx, (size_t)n->in[0]->rank * sizeof *start);
    for (int d = from; d < to; d++) {
        loop[d] = lower_for(l, KLOOP_REDUCE, "r", 0, dim[d], 1, &init);
        idx[d] = kx_add(l->arena, start[d], lower_iv(l, loop[d]));
        init = kb_carried(loop[d], 0);
    }
    KValue *result = kb_binary(&l->b, op, term(l, lower_load(l, n, 0, idx), extra), init);
    for (int d = to - 1; d >= from; d--) {
        kb_end_for(&l->b, loop[d], &result);
        result = kb_result(loop[d], 0);
    }
    memcpy(idx, start, (size_t)n->in[0]->rank * sizeof *start);
    return result;
}

static KValue *itself(Lower *l, KValue *x, KValue *extra) {
    (void)l, (void)extra;
    return x;
}

static KValue *magnitude(Lower *l, KValue *x, KValue *extra) {
    (void)extra;
    return kb_unary(&l->b, KOP_ABS, x);
}

static KValue *square(Lower *l, KValue *x, KValue *extra) {
    (void)extra;
    return kb_binary(&l->b, KOP_MUL, x, x);
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

KValue *softmax_most(Lower *l, const Node *n, KIndex *idx, int axis, int64_t size, KValue *init) {
    int64_t dim[GRAPH_MAX_RANK];
    dim[axis] = size;
    return accumulate(l, n, idx, axis, axis + 1, dim, KOP_MAX, init, itself, NULL);
}

KValue *softmax_exponentials(Lower *l, const Node *n, KIndex *idx, int axis, int64_t size, KValue *most, KParam *to, KIndex at) {
    KBuilder *b = &l->b;
    KIndex start = idx[axis];
    KValue *sum = kb_const_like(b, most->type, 0);
    KInstr *loop = lower_for(l, KLOOP_PARALLEL, "r", 0, size, 0, NULL); /* apart from the sum: in lanes by any compiler */
    idx[axis] = kx_add(l->arena, start, lower_iv(l, loop));
    kb_store(b, to, kx_add(l->arena, at, lower_iv(l, loop)), shifted_exp(l, lower_load(l, n, 0, idx), most));
    kb_end_for(b, loop, NULL);
    idx[axis] = start;
    loop = lower_for(l, KLOOP_REDUCE, "r", 0, size, 1, &sum);
    KValue *next = kb_binary(b, KOP_ADD, kb_load(b, to, kx_add(l->arena, at, lower_iv(l, loop))), kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    return kb_result(loop, 0);
}

/* Stores exp(x - most) while summing, then scales: each exponential is computed once. */
static void softmax_rows(Lower *l, const Node *n, KIndex *idx, int axis, KValue *most, DType t) {
    KBuilder *b = &l->b;
    int64_t size = n->in[0]->dim[axis];
    KParam *row = lower_scratch(l, t, size);
    KValue *sum = softmax_exponentials(l, n, idx, axis, size, most, row, kx_const(l->arena, 0));
    KValue *scale = kb_binary(b, KOP_DIV, kb_float(b, t, 1), sum);
    KInstr *loop = lower_for(l, KLOOP_PARALLEL, "r", 0, size, 0, NULL);
    idx[axis] = lower_iv(l, loop);
    lower_store(l, n, 0, idx, kb_binary(b, KOP_MUL, kb_load(b, row, idx[axis]), scale));
    kb_end_for(b, loop, NULL);
}

static void log_softmax_rows(Lower *l, const Node *n, KIndex *idx, int axis, KValue *most, DType t) {
    KBuilder *b = &l->b;
    KValue *sum = accumulate(l, n, idx, axis, axis + 1, n->in[0]->dim, KOP_ADD, kb_float(b, t, 0), shifted_exp, most);
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
    KValue *most = accumulate(l, n, idx, axis, axis + 1, n->in[0]->dim, KOP_MAX, kb_float(&l->b, t, -INFINITY), itself, NULL);
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

/* --- BatchNormalization --- */

INFER(infer_batch_normalization) {
    const Value *x = n->in[0];
    bool training = attr_int(n, "training_mode", 0) != 0;
    if (!infer_float(n, 0))
        return false;
    int64_t channels = x->rank > 1 ? x->dim[1] : 1;
    for (int i = 1; i < 5; i++)
        if (!infer_float(n, i) || n->in[i]->rank != 1 || n->in[i]->dim[0] != channels)
            return infer_error(n, "input %d must have one element for each of %lld channels", i, (long long)channels);
    if (!training && ((n->nout > 1 && n->out[1]) || (n->nout > 2 && n->out[2])))
        return infer_error(n, "the running mean and variance are outputs in training mode only");
    if (training && x->rank < 2)
        return infer_error(n, "training mode needs an axis of channels");
    return training ? expand_batch_training(n) : infer_same(n);
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

/* --- LpNormalization: along one axis, divided by the norm; zeros stay zeros --- */

INFER(infer_lp_normalization) {
    int axis;
    int64_t p = attr_int(n, "p", 2);
    if (!infer_float(n, 0) || !infer_axis(n, attr_int(n, "axis", -1), n->in[0]->rank, false, &axis))
        return false;
    if (p != 1 && p != 2)
        return infer_error(n, "attribute \"p\" is %lld; it must be 1 or 2", (long long)p);
    return infer_same(n);
}

LOWER(lower_lp_normalization) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    int axis = (int)attr_int(n, "axis", -1);
    axis += axis < 0 ? x->rank : 0;
    KIndex idx[GRAPH_MAX_RANK];
    KInstr *loop[GRAPH_MAX_RANK], *row;
    KValue *zero = kb_float(b, lower_compute_type(x->dtype), 0), *one = kb_const_like(b, zero->type, 1), *norm;
    int loops = open_axes(l, x->dim, 0, x->rank, axis, idx, loop);
    idx[axis] = kx_const(l->arena, 0);
    if (attr_int(n, "p", 2) == 1)
        norm = accumulate(l, n, idx, axis, axis + 1, n->in[0]->dim, KOP_ADD, zero, magnitude, NULL);
    else
        norm = kb_unary(b, KOP_SQRT, accumulate(l, n, idx, axis, axis + 1, n->in[0]->dim, KOP_ADD, zero, square, NULL));
    norm = kb_select(b, kb_binary(b, KOP_EQ, norm, zero), one, norm);
    row = lower_for(l, KLOOP_PARALLEL, "r", 0, x->dim[axis], 0, NULL);
    idx[axis] = lower_iv(l, row);
    lower_store(l, n, 0, idx, kb_binary(b, KOP_DIV, lower_load(l, n, 0, idx), norm));
    kb_end_for(b, row, NULL);
    close_axes(l, loop, loops);
}

/* --- LRN: divided by a power of the sum of squares over neighbouring channels --- */

INFER(infer_lrn) {
    int64_t size = attr_int(n, "size", 0);
    if (!infer_float(n, 0))
        return false;
    if (n->in[0]->rank < 2)
        return infer_error(n, "the input has no axis of channels");
    if (size < 1 || size > INT32_MAX)
        return infer_error(n, "attribute \"size\" is %lld", (long long)size);
    return infer_same(n);
}

/* x ^ beta; the usual 3/4 by square roots. */
static KValue *power(KBuilder *b, KValue *x, double beta) {
    if (beta == 0.75) {
        KValue *root = kb_unary(b, KOP_SQRT, x);
        return kb_binary(b, KOP_MUL, root, kb_unary(b, KOP_SQRT, root));
    }
    return kb_math(b, KMATH_POW, x, kb_const_like(b, x->type, beta));
}

ELEMENT(element_lrn) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    int64_t size = attr_int(n, "size", 1);
    KIndex at[GRAPH_MAX_RANK];
    memcpy(at, idx, (size_t)x->rank * sizeof *at);
    KValue *sum = kb_float(b, lower_compute_type(x->dtype), 0);
    KValue *from = kx_value(b, kx_add_const(l->arena, idx[1], -((size - 1) / 2)));
    KValue *to = kx_value(b, kx_add_const(l->arena, idx[1], size / 2 + 1));
    from = kb_binary(b, KOP_MAX, from, kb_int(b, DT_INDEX, 0));
    to = kb_binary(b, KOP_MIN, to, kb_int(b, DT_INDEX, x->dim[1]));
    KInstr *loop = kb_for(b, KLOOP_REDUCE, "c", from, to, 1, 1, &sum);
    at[1] = lower_iv(l, loop);
    KValue *next = kb_binary(b, KOP_ADD, square(l, lower_load(l, n, 0, at), NULL), kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    KValue *alpha = kb_const_like(b, sum->type, (double)attr_float(n, "alpha", 1e-4f) / (double)size);
    KValue *bias = kb_const_like(b, sum->type, (double)attr_float(n, "bias", 1));
    KValue *base = kb_fma(b, kb_result(loop, 0), alpha, bias);
    return kb_binary(b, KOP_DIV, lower_load(l, n, 0, idx), power(b, base, (double)attr_float(n, "beta", 0.75f)));
}

/* --- normalization by the mean and variance of a block: dim[d] elements of each axis d of [from, rank) from idx on --- */

static KValue *mean_of(Lower *l, const Node *n, KIndex *idx, int from, const int64_t *dim, Term *term, KValue *extra) {
    DType t = lower_compute_type(n->in[0]->dtype);
    int rank = n->in[0]->rank;
    int64_t count = 1;
    for (int d = from; d < rank; d++)
        count *= dim[d];
    KValue *sum = accumulate(l, n, idx, from, rank, dim, KOP_ADD, kb_float(&l->b, t, 0), term, extra);
    return kb_binary(&l->b, KOP_DIV, sum, kb_float(&l->b, t, (double)count));
}

/* 1 / sqrt(x + epsilon) */
static KValue *inverse_root(Lower *l, const Node *n, KValue *x) {
    KBuilder *b = &l->b;
    KValue *shifted = kb_binary(b, KOP_ADD, x, kb_const_like(b, x->type, (double)attr_float(n, "epsilon", 1e-5f)));
    return kb_binary(b, KOP_DIV, kb_const_like(b, x->type, 1), kb_unary(b, KOP_SQRT, shifted));
}

static void mean_and_scale(Lower *l, const Node *n, KIndex *idx, int from, const int64_t *dim, KValue **mean, KValue **scale) {
    *mean = mean_of(l, n, idx, from, dim, itself, NULL);
    *scale = inverse_root(l, n, mean_of(l, n, idx, from, dim, squared_difference, *mean));
}

/* InstanceNormalization is GroupNormalization with a group for each channel. */
static bool infer_groups(Node *n, int64_t groups) {
    const Value *x = n->in[0];
    if (!infer_float(n, 0) || !infer_one_type(n))
        return false;
    if (x->rank < 2 || n->in[1]->rank != 1 || n->in[2]->rank != 1 || n->in[1]->dim[0] != x->dim[1] ||
        n->in[2]->dim[0] != x->dim[1])
        return infer_error(n, "scale and bias must have one element for each channel");
    if (groups < 0 || (x->dim[1] && (!groups || x->dim[1] % groups)))
        return infer_error(n, "%lld channels do not divide into %lld groups", (long long)x->dim[1], (long long)groups);
    return infer_same(n);
}

INFER(infer_instance_normalization) { return infer_groups(n, n->in[0]->rank > 1 ? n->in[0]->dim[1] : 0); }

INFER(infer_group_normalization) { return infer_groups(n, attr_int(n, "num_groups", -1)); }

static void normalize_groups(Lower *l, const Node *n, int64_t groups) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    KIndex idx[GRAPH_MAX_RANK];
    KInstr *outer[GRAPH_MAX_RANK], *loop[GRAPH_MAX_RANK];
    KValue *mean, *scale;
    int64_t dim[GRAPH_MAX_RANK];
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[1] = groups;
    int loops = open_axes(l, dim, 0, 2, -1, idx, outer);
    dim[1] = groups ? x->dim[1] / groups : 0;
    idx[1] = kx_scale(l->arena, idx[1], dim[1]);
    for (int d = 2; d < x->rank; d++)
        idx[d] = kx_const(l->arena, 0);
    mean_and_scale(l, n, idx, 1, dim, &mean, &scale);
    KIndex first = idx[1];
    int channel = open_axes(l, dim, 1, 2, -1, idx, loop);
    idx[1] = kx_add(l->arena, first, idx[1]);
    scale = kb_binary(b, KOP_MUL, scale, lower_load(l, n, 1, idx + 1));
    KValue *bias = lower_load(l, n, 2, idx + 1);
    int inside = open_axes(l, dim, 2, x->rank, -1, idx, loop + channel);
    KValue *centred = kb_binary(b, KOP_SUB, lower_load(l, n, 0, idx), mean);
    lower_store(l, n, 0, idx, kb_fma(b, centred, scale, bias));
    close_axes(l, loop, channel + inside);
    close_axes(l, outer, loops);
}

LOWER(lower_instance_normalization) { normalize_groups(l, n, n->in[0]->dim[1]); }
LOWER(lower_group_normalization) { normalize_groups(l, n, attr_int(n, "num_groups", 1)); }

/* --- normalization of the axes [axis, rank) --- */

static bool infer_from_axis(Node *n) {
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

INFER(infer_layer_normalization) { return infer_one_type(n) && infer_from_axis(n); }

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
    mean_and_scale(l, n, idx, axis, x->dim, &mean, &scale);
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

/* By the root of the mean square alone. The result has the scale's type. */
INFER(infer_rms_normalization) {
    return infer_float(n, 1) && infer_from_axis(n) && infer_set(n, 0, n->in[1]->dtype, n->in[0]->rank, n->in[0]->dim);
}

LOWER(lower_rms_normalization) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    KIndex idx[GRAPH_MAX_RANK];
    KInstr *outer[GRAPH_MAX_RANK], *loop[GRAPH_MAX_RANK];
    DType t = lower_compute_type(n->out[0]->dtype);
    int axis = (int)attr_int(n, "axis", -1);
    axis += axis < 0 ? x->rank : 0;
    int loops = open_axes(l, x->dim, 0, axis, -1, idx, outer);
    for (int d = axis; d < x->rank; d++)
        idx[d] = kx_const(l->arena, 0);
    KValue *scale = inverse_root(l, n, mean_of(l, n, idx, axis, x->dim, square, NULL));
    int inside = open_axes(l, x->dim, axis, x->rank, -1, idx, loop);
    KValue *y = kb_cast(b, kb_binary(b, KOP_MUL, lower_load(l, n, 0, idx), scale), t);
    lower_store(l, n, 0, idx, kb_binary(b, KOP_MUL, y, kb_cast(b, lower_load_broadcast(l, n, 1, idx), t)));
    close_axes(l, loop, inside);
    close_axes(l, outer, loops);
}
