/* SPDX-License-Identifier: Apache-2.0 */
/* Operators on quantised elements that are no products: arithmetic, pooling, joins, softmax, tables. */
#include <string.h>

#include "ops/quant.h"
#include "ops/rules.h"
#include "ops/window.h"

/* Inputs x, x + 1 and x + 2 are elements, their scale and zero point. */
static bool infer_quantised(const Node *n, int x) {
    return infer_present(n, x) && infer_present(n, x + 1) && quant_infer_element(n, x) &&
           quant_infer_param(n, x + 1, DT_NONE, 0) && quant_infer_param(n, x + 2, n->in[x]->dtype, 0);
}

/* Scale and zero point of the output in inputs s and s + 1, which give its type (the first input's where absent). */
static bool infer_result(const Node *n, int s, DType *t) {
    if (!infer_present(n, s))
        return false;
    *t = quant_has(n, s + 1) ? n->in[s + 1]->dtype : n->in[0]->dtype;
    return quant_infer_param(n, s, DT_NONE, 0) && quant_infer_param(n, s + 1, *t, 0) &&
           (!quant_has(n, s + 1) || quant_infer_element(n, s + 1));
}

static KValue *centred_integer(Lower *l, KValue *element, const Node *n, int zero) {
    return quant_centred(l, element, quant_param(l, n, zero, NULL, DT_I32));
}

/* The largest magnitude of (element - zero point). */
static double span(const Value *v) { return (double)(quant_most(v->dtype) - quant_least(v->dtype)); }

/* (element - zero point) as F32. */
static KValue *centred(Lower *l, KValue *element, const Node *n, int zero) {
    return kb_cast(&l->b, centred_integer(l, element, n, zero), DT_F32);
}

static KValue *rounded(Lower *l, const Node *n, KValue *y, int zero) {
    return quant_round(l, y, quant_param(l, n, zero, NULL, DT_I32), n->out[0]->dtype);
}

/* --- com.microsoft.QLinearAdd, QLinearMul: A, its scale and zero point, B, its, those of C --- */

INFER(infer_qlinear_binary) {
    DType t;
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_quantised(n, 0) || !infer_quantised(n, 3) || !infer_result(n, 6, &t))
        return false;
    int rank = infer_broadcast(n, n->in[0]->rank, n->in[0]->dim, n->in[3]->rank, n->in[3]->dim, dim);
    return rank >= 0 && infer_set(n, 0, t, rank, dim);
}

ELEMENT(element_qlinear_add) {
    KBuilder *b = &l->b;
    KValue *p = centred_integer(l, lower_load_broadcast(l, n, 0, idx), n, 2), *x = kb_cast(b, p, DT_F32);
    KValue *q = centred_integer(l, lower_load_broadcast(l, n, 3, idx), n, 5), *y = kb_cast(b, q, DT_F32);
    const QuantTerm term[] = {{p, span(n->in[0]), 1, -1, NULL, 1}, {q, span(n->in[3]), 4, -1, NULL, 1}};
    KValue *fixed = quant_fixed(l, n, 2, term, 6, n->out[0]->dtype);
    if (fixed)
        return fixed;
    KValue *first = kb_binary(b, KOP_MUL, x, quant_ratio(l, n, 1, -1, 6, NULL));
    return rounded(l, n, kb_fma(b, y, quant_ratio(l, n, 4, -1, 6, NULL), first), 7);
}

ELEMENT(element_qlinear_mul) {
    KBuilder *b = &l->b;
    KValue *x = quant_centred(l, lower_load_broadcast(l, n, 0, idx), quant_param(l, n, 2, NULL, DT_I32));
    KValue *y = quant_centred(l, lower_load_broadcast(l, n, 3, idx), quant_param(l, n, 5, NULL, DT_I32));
    bool wide = dtype_size(n->in[0]->dtype) > 1 || dtype_size(n->in[3]->dtype) > 1; /* then their product has up to 32 bits */
    KValue *whole = kb_binary(b, KOP_MUL, x, y);
    QuantTerm term = {whole, span(n->in[0]) * span(n->in[3]), 1, 4, NULL, 1};
    KValue *fixed = wide ? NULL : quant_fixed(l, n, 1, &term, 6, n->out[0]->dtype);
    if (fixed)
        return fixed;
    KValue *product = wide ? kb_binary(b, KOP_MUL, kb_cast(b, x, DT_F32), kb_cast(b, y, DT_F32)) : kb_cast(b, whole, DT_F32);
    return rounded(l, n, kb_binary(b, KOP_MUL, product, quant_ratio(l, n, 1, 4, 6, NULL)), 7);
}

/* --- com.microsoft.QLinearSigmoid, QLinearLeakyRelu: X, its scale and zero point, those of Y --- */

INFER(infer_qlinear_unary) {
    DType t;
    return infer_quantised(n, 0) && infer_result(n, 3, &t) && infer_set(n, 0, t, n->in[0]->rank, n->in[0]->dim);
}

static KValue *real(Lower *l, const Node *n, const KIndex *idx) {
    return kb_binary(&l->b, KOP_MUL, centred(l, lower_load(l, n, 0, idx), n, 2), quant_param(l, n, 1, NULL, DT_F32));
}

static KValue *quantised(Lower *l, const Node *n, KValue *y) {
    return rounded(l, n, kb_binary(&l->b, KOP_DIV, y, quant_param(l, n, 3, NULL, DT_F32)), 4);
}

ELEMENT(element_qlinear_sigmoid) { return quantised(l, n, kb_math(&l->b, KMATH_SIGMOID, real(l, n, idx), NULL)); }

ELEMENT(element_qlinear_leaky_relu) {
    KValue *x = real(l, n, idx), *slope = kb_float(&l->b, DT_F32, (double)attr_float(n, "alpha", 0.01f));
    KValue *negative = kb_binary(&l->b, KOP_LT, x, kb_float(&l->b, DT_F32, 0));
    return quantised(l, n, kb_select(&l->b, negative, kb_binary(&l->b, KOP_MUL, x, slope), x));
}

/* --- com.microsoft.QLinearAveragePool, QLinearGlobalAveragePool: X, its scale and zero point, those of Y --- */

/* Axis of the tensor that spatial axis d is. */
static int spatial_axis(const Node *n, int d) { return attr_int(n, "channels_last", 0) ? d + 1 : d + 2; }

static bool pool_window(const Node *n, bool global, Window *w) {
    const Value *x = n->in[0];
    Value moved = *x;
    int64_t kernel[GRAPH_MAX_RANK], dim[GRAPH_MAX_RANK];
    int spatial = x->rank - 2;
    if (spatial < 1)
        return infer_error(n, "the input must have rank 3 or more, not %d", x->rank);
    for (int d = 0; d < spatial; d++)
        dim[d + 2] = x->dim[spatial_axis(n, d)];
    moved.dim = dim;
    if (global) {
        *w = (Window){.n = spatial};
        for (int d = 0; d < spatial; d++) {
            w->in[d] = w->kernel[d] = dim[d + 2];
            w->stride[d] = w->dilation[d] = w->out[d] = 1;
        }
        return true;
    }
    if (!node_attr(n, "kernel_shape"))
        return infer_error(n, "attribute \"kernel_shape\" is missing");
    return infer_ints_attr(n, "kernel_shape", spatial, 1, INT32_MAX, 1, kernel) &&
           window_read(n, &moved, kernel, attr_int(n, "ceil_mode", 0) != 0, w);
}

static bool infer_pool(Node *n, bool global) {
    Window w;
    DType t;
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_quantised(n, 0) || !infer_result(n, 3, &t) || !pool_window(n, global, &w))
        return false;
    memcpy(dim, n->in[0]->dim, (size_t)n->in[0]->rank * sizeof *dim);
    for (int d = 0; d < w.n; d++)
        dim[spatial_axis(n, d)] = w.out[d];
    return infer_set(n, 0, t, n->in[0]->rank, dim);
}

INFER(infer_qlinear_average_pool) { return infer_pool(n, false); }

INFER(infer_qlinear_global_average_pool) { return infer_pool(n, true); }

/* The sum is exact, and so is its quotient where both scales are one. */
static KValue *average(Lower *l, const Node *n, const KIndex *idx, bool global) {
    Window w;
    KBuilder *b = &l->b;
    KIndex o[GRAPH_MAX_RANK], at[GRAPH_MAX_RANK];
    KValue *zero = quant_param(l, n, 2, NULL, DT_I32), *sum = kb_int(b, DT_I32, 0);
    pool_window(n, global, &w);
    memcpy(at, idx, (size_t)n->in[0]->rank * sizeof *at);
    for (int d = 0; d < w.n; d++)
        o[d] = global ? kx_const(l->arena, 0) : idx[spatial_axis(n, d)];
    WindowLoops loops = window_open(l, &w, o, KLOOP_REDUCE, 1, &sum);
    for (int d = 0; d < w.n; d++)
        at[spatial_axis(n, d)] = loops.at[d];
    KValue *next = kb_binary(b, KOP_ADD, kb_cast(b, lower_load(l, n, 0, at), DT_I32), window_carried(&loops, &sum, 0));
    window_close(l, &loops, &next, &sum);
    KValue *inside = window_count(l, &w, o, false, DT_I32);
    KValue *count = window_count(l, &w, o, !global && attr_int(n, "count_include_pad", 0) != 0, DT_F32);
    sum = kb_binary(b, KOP_SUB, sum, kb_binary(b, KOP_MUL, inside, zero));
    const KInstr *known = count->def;
    if (known && known->op == KOP_CONST && known->imm.f > 0 && known->imm.f < 0x1p14) {
        QuantTerm term = {sum, span(n->in[0]) * known->imm.f, 1, -1, NULL, 1 / known->imm.f};
        KValue *fixed = quant_fixed(l, n, 1, &term, 3, n->out[0]->dtype);
        if (fixed)
            return fixed;
    }
    KValue *y = kb_binary(b, KOP_DIV, kb_cast(b, sum, DT_F32), count);
    return rounded(l, n, kb_binary(b, KOP_MUL, y, quant_ratio(l, n, 1, -1, 3, NULL)), 4);
}

ELEMENT(element_qlinear_average_pool) { return average(l, n, idx, false); }

ELEMENT(element_qlinear_global_average_pool) { return average(l, n, idx, true); }

/* --- com.microsoft.QLinearWhere: a condition, X, its scale and zero point, Y, its, those of the output --- */

INFER(infer_qlinear_where) {
    DType t;
    int64_t part[GRAPH_MAX_RANK], dim[GRAPH_MAX_RANK];
    if (n->in[0]->dtype != DT_BOOL)
        return infer_error(n, "the condition must be bool");
    if (!infer_quantised(n, 1) || !infer_quantised(n, 4) || !infer_result(n, 7, &t))
        return false;
    int rank = infer_broadcast(n, n->in[1]->rank, n->in[1]->dim, n->in[4]->rank, n->in[4]->dim, part);
    if (rank >= 0)
        rank = infer_broadcast(n, rank, part, n->in[0]->rank, n->in[0]->dim, dim);
    return rank >= 0 && infer_set(n, 0, quant_has(n, 8) ? t : n->in[1]->dtype, rank, dim);
}

/* An element of input x in steps of the output's scale, input s, rounded. */
static KValue *rescaled(Lower *l, const Node *n, KValue *element, int x, int s) {
    element = centred_integer(l, element, n, x + 2);
    KValue *fixed = quant_fixed(l, n, 1, &(QuantTerm){element, span(n->in[x]), x + 1, -1, NULL, 1}, s, n->out[0]->dtype);
    if (fixed)
        return fixed;
    return rounded(l, n, kb_binary(&l->b, KOP_MUL, kb_cast(&l->b, element, DT_F32), quant_ratio(l, n, x + 1, -1, s, NULL)), s + 1);
}

ELEMENT(element_qlinear_where) {
    KValue *x = rescaled(l, n, lower_load_broadcast(l, n, 1, idx), 1, 7), *y = rescaled(l, n, lower_load_broadcast(l, n, 4, idx), 4, 7);
    return kb_select(&l->b, lower_load_broadcast(l, n, 0, idx), x, y);
}

/* --- com.microsoft.QLinearReduceMean: X, its scale and zero point, those of Y; attribute axes --- */

static bool mean_axes(const Node *n, bool *gone) {
    const Attr *axes = node_attr(n, "axes");
    int rank = n->in[0]->rank;
    bool given = axes && axes->kind == ATTR_INTS && axes->n;
    for (int d = 0; d < rank; d++)
        gone[d] = !given;
    for (int i = 0; given && i < axes->n; i++) {
        int axis;
        if (!infer_axis(n, axes->ints[i], rank, false, &axis))
            return false;
        gone[axis] = true;
    }
    return true;
}

INFER(infer_qlinear_mean) {
    DType t;
    bool gone[GRAPH_MAX_RANK];
    int64_t dim[GRAPH_MAX_RANK];
    int rank = 0;
    if (!infer_quantised(n, 0) || !infer_result(n, 3, &t) || !mean_axes(n, gone))
        return false;
    for (int d = 0; d < n->in[0]->rank; d++) {
        if (!gone[d] || attr_int(n, "keepdims", 1))
            dim[rank++] = gone[d] ? 1 : n->in[0]->dim[d];
    }
    return infer_set(n, 0, t, rank, dim);
}

/* Exact up to the division. */
ELEMENT(element_qlinear_mean) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    bool gone[GRAPH_MAX_RANK], keep = attr_int(n, "keepdims", 1) != 0;
    KIndex at[GRAPH_MAX_RANK];
    KInstr *loop[GRAPH_MAX_RANK];
    KValue *zero = quant_param(l, n, 2, NULL, DT_I32), *sum = kb_int(b, DT_I32, 0);
    int64_t count = 1;
    int kept = 0, loops = 0;
    mean_axes(n, gone);
    for (int d = 0; d < x->rank; d++) {
        if (!gone[d]) {
            at[d] = idx[kept++];
            continue;
        }
        kept += keep;
        count *= x->dim[d];
        loop[loops] = lower_for(l, KLOOP_REDUCE, "r", 0, x->dim[d], 1, &sum);
        at[d] = lower_iv(l, loop[loops]);
        sum = kb_carried(loop[loops++], 0);
    }
    sum = kb_binary(b, KOP_ADD, quant_centred(l, lower_load(l, n, 0, at), zero), sum);
    while (loops--) {
        kb_end_for(b, loop[loops], &sum);
        sum = kb_result(loop[loops], 0);
    }
    QuantTerm term = {sum, count < 1 << 14 ? span(x) * (double)count : 0, 1, -1, NULL, count ? 1 / (double)count : 0};
    KValue *fixed = quant_fixed(l, n, 1, &term, 3, n->out[0]->dtype);
    if (fixed)
        return fixed;
    KValue *y = kb_binary(b, KOP_DIV, kb_cast(b, sum, DT_F32), kb_float(b, DT_F32, (double)count));
    return rounded(l, n, kb_binary(b, KOP_MUL, y, quant_ratio(l, n, 1, -1, 3, NULL)), 4);
}

/* --- com.microsoft.QLinearConcat: scale and zero point of Y, then each tensor with its own --- */

INFER(infer_qlinear_concat) {
    int axis, rank = 0;
    int64_t dim[GRAPH_MAX_RANK];
    if (!quant_infer_element(n, 1) || !quant_infer_param(n, 0, DT_NONE, 0) || !quant_infer_param(n, 1, n->in[1]->dtype, 0))
        return false;
    if (n->nin < 5 || (n->nin - 2) % 3)
        return infer_error(n, "%d inputs; after the first two they come in threes", n->nin);
    if (!node_attr(n, "axis"))
        return infer_error(n, "attribute \"axis\" is missing");
    for (int i = 2; i < n->nin; i += 3) {
        const Value *x = n->in[i];
        if (!infer_quantised(n, i))
            return false;
        if (i == 2) {
            rank = x->rank;
            memcpy(dim, x->dim, (size_t)rank * sizeof *dim);
            if (!infer_axis(n, attr_int(n, "axis", 0), rank, false, &axis))
                return false;
            continue;
        }
        bool fits = x->rank == rank;
        for (int d = 0; fits && d < rank; d++)
            fits = d == axis || x->dim[d] == dim[d];
        if (!fits)
            return infer_error(n, "inputs 2 and %d differ in more than axis %d", i, axis);
        if (__builtin_add_overflow(dim[axis], x->dim[axis], &dim[axis]))
            return infer_error(n, "the output is too large");
    }
    return infer_set(n, 0, n->in[1]->dtype, rank, dim);
}

LOWER(lower_qlinear_concat) {
    const Value *y = n->out[0];
    int64_t axis = attr_int(n, "axis", 0), at = 0;
    axis += axis < 0 ? y->rank : 0;
    for (int i = 2; i < n->nin; i += 3) {
        const Value *x = n->in[i];
        LoopNest nest = lower_loops(l, x->rank, x->dim, y);
        KIndex to[GRAPH_MAX_RANK];
        memcpy(to, nest.idx, sizeof to);
        to[axis] = kx_add_const(l->arena, to[axis], at);
        lower_store(l, n, 0, to, rescaled(l, n, lower_load(l, n, i, nest.idx), i, 0));
        lower_end_loops(l, &nest);
        at += x->dim[axis];
    }
}

/* --- com.microsoft.QLinearSoftmax: X, its scale and zero point, those of Y. The zero point of X cancels --- */

INFER(infer_qlinear_softmax) {
    int axis;
    if (n->in[0]->rank == 0)
        return infer_error(n, "the input is a scalar");
    if (attr_int(n, "opset", 13) < 13 && attr_int(n, "axis", 1) != n->in[0]->rank - 1 && attr_int(n, "axis", 1) != -1)
        return infer_error(n, "a softmax over several axes is not supported");
    return infer_axis(n, attr_int(n, "axis", -1), n->in[0]->rank, false, &axis) && infer_qlinear_unary(n);
}

LOWER(lower_qlinear_softmax) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    int64_t axis = attr_int(n, "axis", -1), outer[GRAPH_MAX_RANK];
    axis += axis < 0 ? x->rank : 0;
    memcpy(outer, x->dim, (size_t)x->rank * sizeof *outer);
    int64_t size = outer[axis];
    outer[axis] = 1;
    KParam *row = lower_scratch(l, DT_F32, size);
    LoopNest nest = lower_loops(l, x->rank, outer, NULL);
    KIndex idx[GRAPH_MAX_RANK];
    memcpy(idx, nest.idx, sizeof idx);
    KValue *scale = quant_param(l, n, 1, NULL, DT_F32), *most = kb_int(b, DT_I32, INT32_MIN), *sum = kb_float(b, DT_F32, 0);
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "r", 0, size, 1, &most);
    idx[axis] = lower_iv(l, loop);
    KValue *next = kb_binary(b, KOP_MAX, kb_cast(b, lower_load(l, n, 0, idx), DT_I32), kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    most = kb_result(loop, 0);
    loop = lower_for(l, KLOOP_PARALLEL, "r", 0, size, 0, NULL);
    idx[axis] = lower_iv(l, loop);
    KValue *below = kb_cast(b, quant_centred(l, lower_load(l, n, 0, idx), most), DT_F32);
    kb_store(b, row, idx[axis], kb_math(b, KMATH_EXP_LE0, kb_binary(b, KOP_MUL, below, scale), NULL));
    kb_end_for(b, loop, NULL);
    loop = lower_for(l, KLOOP_REDUCE, "r", 0, size, 1, &sum);
    next = kb_binary(b, KOP_ADD, kb_load(b, row, lower_iv(l, loop)), kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    sum = kb_result(loop, 0);
    loop = lower_for(l, KLOOP_PARALLEL, "r", 0, size, 0, NULL);
    idx[axis] = lower_iv(l, loop);
    KValue *y = kb_binary(b, KOP_DIV, kb_load(b, row, idx[axis]), sum);
    lower_store(l, n, 0, idx, quantised(l, n, y));
    kb_end_for(b, loop, NULL);
    lower_end_loops(l, &nest);
}

/* --- mlcc.Lookup: a function of 8-bit elements as a table of its 256 values, in the order of the elements' bit patterns --- */

INFER(infer_lookup) {
    const Value *table = n->in[1];
    if (!quant_infer_bytes(n, 0))
        return false;
    if (table->rank != 1 || table->dim[0] != 256)
        return infer_error(n, "the table must have 256 elements");
    return infer_set(n, 0, table->dtype, n->in[0]->rank, n->in[0]->dim);
}

ELEMENT(element_lookup) {
    KBuilder *b = &l->b;
    KValue *x = lower_load(l, n, 0, idx);
    KValue *pattern = x->type.dtype == DT_U8 ? x : kb_bitcast(b, x, DT_U8);
    const KIndex at = kx_var(l->arena, kb_cast(b, pattern, DT_INDEX));
    return lower_load(l, n, 1, &at);
}
