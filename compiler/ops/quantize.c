/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear and DequantizeLinear: one scale a tensor, an axis, or a block of an axis. */
#include "ops/quant.h"
#include "ops/rules.h"
#include "support/ints.h"

static bool infer_scale(const Node *n) {
    const Value *x = n->in[0], *s = n->in[1];
    int64_t block = attr_int(n, "block_size", 0);
    if (!infer_float(n, 1))
        return false;
    if (n->nin > 2 && n->in[2] && !value_same_shape(n->in[2], s) && (value_count(s) != 1 || value_count(n->in[2]) != 1 || block))
        return infer_error(n, "scale and zero point differ in shape");
    if (s->rank == 0 || (s->rank == 1 && s->dim[0] == 1 && block == 0))
        return true;
    int axis;
    if (!infer_axis(n, attr_int(n, "axis", 1), x->rank, false, &axis))
        return false;
    if (block < 0)
        return infer_error(n, "attribute \"block_size\" is %lld", (long long)block);
    if (block == 0)
        return (s->rank == 1 && s->dim[0] == x->dim[axis]) ||
               infer_error(n, "the scale must have one element, or one for each of axis %d", axis);
    if (s->rank != x->rank)
        return infer_error(n, "scale and input differ in rank");
    for (int d = 0; d < x->rank; d++)
        if (s->dim[d] != (d == axis ? divide_up(x->dim[d], block) : x->dim[d]))
            return infer_error(n, "axis %d of the scale does not fit blocks of %lld", d, (long long)block);
    return true;
}

/* The index of an element's scale. */
static void scale_index(Lower *l, const Node *n, const KIndex *idx, KIndex *at) {
    const Value *x = n->in[0], *s = n->in[1];
    int64_t block = attr_int(n, "block_size", 0), axis = attr_int(n, "axis", 1);
    axis += axis < 0 ? x->rank : 0;
    if (block) {
        for (int d = 0; d < x->rank; d++)
            at[d] = d == axis ? kx_div(&l->b, idx[d], block) : idx[d];
    } else {
        at[0] = s->rank == 1 && s->dim[0] > 1 ? idx[axis] : kx_const(l->arena, 0);
    }
}

INFER(infer_dequantize) {
    static const DType allowed[] = {DT_I8, DT_U8, DT_I16, DT_U16, DT_I32, DT_I4, DT_U4, DT_I2, DT_U2, DT_NONE};
    if (!infer_type_in(n, 0, allowed) || !infer_scale(n))
        return false;
    if (n->nin > 2 && n->in[2] && n->in[2]->dtype != n->in[0]->dtype)
        return infer_error(n, "the zero point must have the input's type");
    int64_t to = attr_int(n, "output_dtype", 0);
    DType t = to ? dtype_from_onnx((int32_t)(to & 0xffff)) : n->in[1]->dtype;
    if (!dtype_is_float(t))
        return infer_error(n, "attribute \"output_dtype\" is not a floating-point type");
    return infer_set(n, 0, t, n->in[0]->rank, n->in[0]->dim);
}

ELEMENT(element_dequantize) {
    KIndex at[GRAPH_MAX_RANK];
    KBuilder *b = &l->b;
    scale_index(l, n, idx, at);
    DType t = lower_compute_type(n->out[0]->dtype);
    KValue *x = kb_cast(b, lower_load(l, n, 0, idx), DT_I32), *scale = kb_cast(b, lower_load(l, n, 1, at), t);
    if (n->nin > 2 && n->in[2])
        x = kb_binary(b, KOP_SUB, x, kb_cast(b, lower_load(l, n, 2, at), DT_I32));
    return kb_binary(b, KOP_MUL, kb_cast(b, x, t), scale);
}

INFER(infer_quantize) {
    static const DType allowed[] = {DT_F32, DT_F16, DT_BF16, DT_F64, DT_I32, DT_NONE};
    if (!infer_type_in(n, 0, allowed) || !infer_scale(n))
        return false;
    int64_t to = attr_int(n, "output_dtype", 0);
    DType t = n->nin > 2 && n->in[2] ? n->in[2]->dtype : to ? dtype_from_onnx((int32_t)(to & 0xffff)) : DT_U8;
    if (!dtype_is_integer(t) || dtype_width(t) > 16)
        return infer_error(n, "quantisation to %s is not supported", dtype_name(t));
    return infer_set(n, 0, t, n->in[0]->rank, n->in[0]->dim);
}

ELEMENT(element_quantize) {
    KIndex at[GRAPH_MAX_RANK];
    KBuilder *b = &l->b;
    scale_index(l, n, idx, at);
    DType to = n->out[0]->dtype, t = n->in[0]->dtype == DT_F64 ? DT_F64 : DT_F32;
    KValue *x = kb_cast(b, lower_load(l, n, 0, idx), t), *scale = kb_cast(b, lower_load(l, n, 1, at), t);
    KValue *zero = n->nin > 2 && n->in[2] ? kb_cast(b, lower_load(l, n, 2, at), DT_I32) : kb_int(b, DT_I32, 0);
    x = kb_binary(b, KOP_DIV, x, scale);
    if (t == DT_F32)
        return quant_round(l, x, zero, to);
    KValue *y = kb_binary(b, KOP_ADD, kb_math(b, KMATH_ROUND, x, NULL), kb_cast(b, zero, t));
    if (dtype_width(to) < 8) {
        y = kb_binary(b, KOP_MAX, kb_binary(b, KOP_MIN, y, kb_float(b, t, (double)quant_most(to))),
                      kb_float(b, t, (double)quant_least(to)));
        to = dtype_stored(to);
    }
    return kb_cast(b, y, to); /* saturates */
}

/* --- DynamicQuantizeLinear: scale and zero point from the range of the elements, 0 included --- */

INFER(infer_dynamic_quantize) {
    static const DType allowed[] = {DT_F32, DT_NONE};
    const Value *x = n->in[0];
    return infer_type_in(n, 0, allowed) && infer_set(n, 0, DT_U8, x->rank, x->dim) && infer_set(n, 1, DT_F32, 0, NULL) &&
           infer_set(n, 2, DT_U8, 0, NULL);
}

/* Least and largest element, 0 included. */
static void range(Lower *l, const Node *n, KValue **bounds) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    KIndex idx[GRAPH_MAX_RANK];
    KInstr *loop[GRAPH_MAX_RANK];
    int order[GRAPH_MAX_RANK];
    lower_order(l, x->rank, x->dim, x, order);
    bounds[0] = bounds[1] = kb_float(b, DT_F32, 0);
    for (int d = 0; d < x->rank; d++) {
        loop[d] = lower_for(l, KLOOP_REDUCE, "r", 0, x->dim[order[d]], 2, bounds);
        idx[order[d]] = lower_iv(l, loop[d]);
        bounds[0] = kb_carried(loop[d], 0);
        bounds[1] = kb_carried(loop[d], 1);
    }
    KValue *element = lower_load(l, n, 0, idx);
    bounds[0] = kb_binary(b, KOP_MIN, element, bounds[0]);
    bounds[1] = kb_binary(b, KOP_MAX, element, bounds[1]);
    for (int d = x->rank - 1; d >= 0; d--) {
        kb_end_for(b, loop[d], bounds);
        bounds[0] = kb_result(loop[d], 0);
        bounds[1] = kb_result(loop[d], 1);
    }
}

LOWER(lower_dynamic_quantize) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    KValue *bounds[2], *scale, *zero;
    range(l, n, bounds);
    quant_dynamic(l, bounds[0], bounds[1], &scale, &zero);
    lower_store(l, n, 1, NULL, scale);
    lower_store(l, n, 2, NULL, kb_cast(b, zero, DT_U8));
    LoopNest nest = lower_loops(l, x->rank, x->dim, n->out[0]);
    lower_store(l, n, 0, nest.idx, quant_round(l, kb_binary(b, KOP_DIV, lower_load(l, n, 0, nest.idx), scale), zero, DT_U8));
    lower_end_loops(l, &nest);
}
