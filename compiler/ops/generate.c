/* SPDX-License-Identifier: Apache-2.0 */
/* Operators whose elements come from shapes, indices or attributes rather than from data. */
#include <math.h>

#include "ops/rules.h"

/* --- Shape and Size: known when compiling; the passes fold them, this is for those that are graph outputs --- */

static void shape_range(const Node *n, int64_t *start, int64_t *end) {
    int64_t rank = n->in[0]->rank;
    *start = attr_int(n, "start", 0);
    *end = attr_int(n, "end", rank);
    *start += *start < 0 ? rank : 0;
    *end += *end < 0 ? rank : 0;
    *start = *start < 0 ? 0 : *start > rank ? rank : *start;
    *end = *end < *start ? *start : *end > rank ? rank : *end;
}

INFER(infer_shape) {
    int64_t start, end;
    shape_range(n, &start, &end);
    int64_t dim = end - start;
    return infer_set(n, 0, DT_I64, 1, &dim);
}

INFER(infer_size) { return infer_set(n, 0, DT_I64, 0, NULL); }

ELEMENT(element_shape) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    if (n->out[0]->rank == 0)
        return kb_int(b, DT_I64, value_count(x));
    int64_t start, end;
    shape_range(n, &start, &end);
    KValue *r = kb_int(b, DT_I64, 0);
    for (int64_t d = start; d < end; d++) {
        KValue *here = kb_binary(b, KOP_EQ, kx_value(b, idx[0]), kb_int(b, DT_INDEX, d - start));
        r = kb_select(b, here, kb_int(b, DT_I64, x->dim[d]), r);
    }
    return r;
}

/* --- constants of a computed shape --- */

INFER(infer_constant_of_shape) {
    const int64_t *dim;
    int rank;
    const Attr *a = node_attr(n, "value");
    if (!infer_ints(n, 0, &dim, &rank))
        return false;
    if (a && (a->kind != ATTR_TENSOR || value_count(a->tensor) != 1))
        return infer_error(n, "attribute \"value\" must be one element");
    return infer_set(n, 0, a ? a->tensor->dtype : DT_F32, rank, dim);
}

ELEMENT(element_constant_of_shape) {
    (void)idx;
    const Attr *a = node_attr(n, "value");
    DType t = lower_compute_type(n->out[0]->dtype);
    if (!a)
        return kb_float(&l->b, DT_F32, 0);
    return dtype_is_float(t) ? kb_float(&l->b, t, const_float(a->tensor, 0)) : kb_int(&l->b, t, const_int(a->tensor, 0));
}

INFER(infer_range) {
    for (int i = 0; i < 3; i++) {
        if (!value_is_const(n->in[i]))
            return infer_error(n, "input %d (\"%s\") must be constant; it is computed at run time", i, n->in[i]->name);
        if (value_count(n->in[i]) != 1 || !infer_numeric(n, i))
            return infer_error(n, "input %d must be one number", i);
    }
    if (!infer_one_type(n))
        return false;
    double start = const_float(n->in[0], 0), limit = const_float(n->in[1], 0), delta = const_float(n->in[2], 0);
    double count = delta == 0 ? NAN : ceil((limit - start) / delta);
    if (!(count <= 0x1p40))
        return infer_error(n, "the range from %g to %g by %g has no end", start, limit, delta);
    int64_t dim = count > 0 ? (int64_t)count : 0;
    return infer_set(n, 0, n->in[0]->dtype, 1, &dim);
}

ELEMENT(element_range) {
    static const KIndex none[1];
    KValue *start = lower_load(l, n, 0, none), *delta = lower_load(l, n, 2, none);
    KValue *i = kb_cast(&l->b, kx_value(&l->b, idx[0]), start->type.dtype);
    return kb_binary(&l->b, KOP_ADD, start, kb_binary(&l->b, KOP_MUL, i, delta));
}

/* Windows of signal processing: sums of cosines. */
INFER(infer_window) {
    const int64_t *size;
    int count;
    int64_t to = attr_int(n, "output_datatype", 1);
    DType t = to > 0 && to < 1000 ? dtype_from_onnx((int32_t)to) : DT_NONE;
    if (!infer_ints(n, 0, &size, &count))
        return false;
    if (count != 1 || size[0] < 0 || n->in[0]->rank)
        return infer_error(n, "the size must be one number, not negative");
    if (!dtype_is_float(t) && !dtype_is_integer(t))
        return infer_error(n, "attribute \"output_datatype\" is %lld", (long long)to);
    return infer_set(n, 0, t, 1, size);
}

/* a - b cos(x) + c cos(2x), once round over the window. */
static KValue *window(Lower *l, const Node *n, const KIndex *idx, double a, double c1, double c2) {
    KBuilder *b = &l->b;
    int64_t size = n->out[0]->dim[0], around = attr_int(n, "periodic", 1) ? size : size > 1 ? size - 1 : 1;
    DType t = lower_compute_type(n->out[0]->dtype), g = dtype_is_float(t) ? t : DT_F32;
    KValue *i = kb_cast(b, kx_value(b, idx[0]), g);
    KValue *x = kb_binary(b, KOP_MUL, i, kb_float(b, g, 6.28318530717958647692 / (double)around));
    KValue *y = kb_fma(b, kb_math(b, KMATH_COS, x, NULL), kb_float(b, g, -c1), kb_float(b, g, a));
    if (c2 != 0)
        y = kb_fma(b, kb_math(b, KMATH_COS, kb_binary(b, KOP_ADD, x, x), NULL), kb_float(b, g, c2), y);
    return kb_cast(b, y, t);
}

ELEMENT(element_hann_window) { return window(l, n, idx, 0.5, 0.5, 0); }
ELEMENT(element_hamming_window) { return window(l, n, idx, 25.0 / 46, 21.0 / 46, 0); }
ELEMENT(element_blackman_window) { return window(l, n, idx, 0.42, 0.5, 0.08); }

INFER(infer_one_hot) {
    const Value *x = n->in[0], *depth = n->in[1];
    int axis;
    int64_t dim[GRAPH_MAX_RANK + 1];
    if (!infer_numeric(n, 0) || !infer_numeric(n, 1))
        return false;
    if (!value_is_const(depth) || value_count(depth) != 1)
        return infer_error(n, "the depth must be a constant number");
    double d = const_float(depth, 0);
    if (!(d >= 1 && d < 0x1p40) || value_count(n->in[2]) != 2)
        return infer_error(n, "the depth is %g and there are %lld values", d, (long long)value_count(n->in[2]));
    if (!infer_axis(n, attr_int(n, "axis", -1), x->rank, true, &axis))
        return false;
    for (int k = 0; k <= x->rank; k++)
        dim[k] = k < axis ? x->dim[k] : k == axis ? (int64_t)d : x->dim[k - 1];
    return infer_set(n, 0, n->in[2]->dtype, x->rank + 1, dim);
}

ELEMENT(element_one_hot) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    int axis = (int)attr_int(n, "axis", -1), k = 0;
    axis += axis < 0 ? x->rank + 1 : 0;
    KIndex at[GRAPH_MAX_RANK], off[1] = {kx_const(l->arena, 0)}, on[1] = {kx_const(l->arena, 1)};
    for (int d = 0; d <= x->rank; d++)
        if (d != axis)
            at[k++] = idx[d];
    KValue *i = kb_cast(b, lower_load(l, n, 0, at), DT_I64), *depth = kb_int(b, DT_I64, n->out[0]->dim[axis]);
    i = kb_select(b, kb_binary(b, KOP_LT, i, kb_int(b, DT_I64, 0)), kb_binary(b, KOP_ADD, i, depth), i);
    KValue *hit = kb_binary(b, KOP_EQ, i, kb_cast(b, kx_value(b, idx[axis]), DT_I64));
    KValue *no = lower_load(l, n, 2, off);
    return kb_select(b, hit, lower_load(l, n, 2, on), no);
}

INFER(infer_eye_like) {
    int64_t to = attr_int(n, "dtype", dtype_to_onnx(n->in[0]->dtype));
    DType t = to > 0 && to < 1000 ? dtype_from_onnx((int32_t)to) : DT_NONE;
    if (n->in[0]->rank != 2 || t == DT_NONE || t == DT_STRING)
        return infer_error(n, "a matrix of a numeric type is needed");
    return infer_set(n, 0, t, 2, n->in[0]->dim);
}

ELEMENT(element_eye_like) {
    KBuilder *b = &l->b;
    DType t = lower_compute_type(n->out[0]->dtype);
    KIndex diagonal = kx_add_const(l->arena, idx[0], attr_int(n, "k", 0));
    KValue *hit = kb_binary(b, KOP_EQ, kx_value(b, idx[1]), kx_value(b, diagonal));
    return kb_select(b, hit, kb_int(b, t, 1), kb_int(b, t, 0));
}

INFER(infer_trilu) {
    if (n->in[0]->rank < 2)
        return infer_error(n, "the input must be a matrix or a batch of them");
    if (n->nin > 1 && n->in[1] && (n->in[1]->dtype != DT_I64 || value_count(n->in[1]) != 1))
        return infer_error(n, "k must be one int64");
    return infer_same(n);
}

ELEMENT(element_trilu) {
    KBuilder *b = &l->b;
    static const KIndex none[1];
    int rank = n->in[0]->rank;
    KIndex zero[1] = {kx_const(l->arena, 0)};
    KValue *k = n->nin > 1 && n->in[1] ? kb_cast(b, lower_load(l, n, 1, n->in[1]->rank ? zero : none), DT_INDEX) : kb_int(b, DT_INDEX, 0);
    KValue *x = lower_load(l, n, 0, idx);
    KValue *diagonal = kb_binary(b, KOP_ADD, kx_value(b, idx[rank - 2]), k), *column = kx_value(b, idx[rank - 1]);
    KValue *keep = kb_binary(b, attr_int(n, "upper", 1) ? KOP_GE : KOP_LE, column, diagonal);
    return kb_select(b, keep, x, kb_const_like(b, x->type, 0));
}
