/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution and transposed convolution of any rank. */
#include <string.h>

#include "ops/rules.h"
#include "ops/window.h"

static bool infer_bias(const Node *n, int64_t channels) {
    if (n->nin < 3 || !n->in[2])
        return true;
    if (n->in[2]->rank != 1 || n->in[2]->dim[0] != channels)
        return infer_error(n, "the bias must have one element for each of %lld output channels", (long long)channels);
    return true;
}

INFER(infer_conv) {
    Window w;
    int64_t group, dim[GRAPH_MAX_RANK];
    const Value *x = n->in[0], *k = n->in[1];
    if (!infer_float(n, 0) || !infer_one_type(n) || !window_conv(n, k, &w, &group))
        return false;
    window_conv_shape(n, k, &w, dim);
    return infer_bias(n, k->dim[0]) && infer_set(n, 0, x->dtype, x->rank, dim);
}

static KValue *product(Lower *l, const KIndex *at, const KIndex *weight, KValue *sum, const void *data) {
    const Node *n = data;
    KValue *x = lower_load(l, n, 0, at), *factor = lower_load(l, n, 1, weight);
    return kb_fma(&l->b, x, factor, sum);
}

ELEMENT(element_conv) {
    Window w;
    int64_t group;
    window_conv(n, n->in[1], &w, &group);
    DType t = lower_compute_type(n->out[0]->dtype);
    KValue *sum = n->nin > 2 && n->in[2] ? lower_load(l, n, 2, idx + 1) : kb_float(&l->b, t, 0);
    return window_convolve(l, &w, n->in[1], group, idx, sum, product, n);
}

MACS(macs_conv) {
    const Value *k = n->in[1];
    return k->dim[0] ? (double)value_count(n->out[0]) * (double)value_count(k) / (double)k->dim[0] : 0;
}

/* --- ConvTranspose: output position = input position * stride + kernel position * dilation - before --- */

typedef struct Transposed {
    Window w; /* in and out as of this operator */
    int64_t group;
} Transposed;

static bool transposed_read(const Node *n, Transposed *t) {
    const Value *x = n->in[0], *k = n->in[1];
    Window *w = &t->w;
    int64_t pads[2 * GRAPH_MAX_RANK], extra[GRAPH_MAX_RANK], shape[GRAPH_MAX_RANK];
    *t = (Transposed){.group = attr_int(n, "group", 1)};
    if (x->rank < 2 || k->rank != x->rank)
        return infer_error(n, "input and weights have ranks %d and %d; both must be the same and at least 3", x->rank, k->rank);
    w->n = x->rank - 2;
    const char *mode = attr_string(n, "auto_pad", "NOTSET");
    bool fixed = node_attr(n, "output_shape") != NULL, same = !strncmp(mode, "SAME_", 5);
    if (!infer_ints_attr(n, "strides", w->n, 1, INT32_MAX, 1, w->stride) ||
        !infer_ints_attr(n, "dilations", w->n, 1, INT32_MAX, 1, w->dilation) ||
        !infer_ints_attr(n, "pads", 2 * w->n, 0, INT32_MAX, 0, pads) ||
        !infer_ints_attr(n, "output_padding", w->n, 0, INT32_MAX, 0, extra) ||
        (fixed && !infer_ints_attr(n, "output_shape", w->n, 0, INT32_MAX, 0, shape)))
        return false;
    for (int d = 0; d < w->n; d++) {
        w->in[d] = x->dim[d + 2];
        w->kernel[d] = k->dim[d + 2];
        if (w->kernel[d] < 1 || w->kernel[d] > INT32_MAX || w->in[d] < 1 || w->in[d] > INT32_MAX)
            return infer_error(n, "spatial axis %d has sizes %lld and %lld", d, (long long)w->in[d], (long long)w->kernel[d]);
        int64_t full = (w->in[d] - 1) * w->stride[d] + (w->kernel[d] - 1) * w->dilation[d] + 1 + extra[d];
        w->before[d] = pads[d];
        w->after[d] = pads[d + w->n];
        if (fixed || same) {
            int64_t want = fixed ? shape[d] : w->in[d] * w->stride[d], total = full - want;
            if (total < 0) /* the output reaches beyond the last input's window: those elements get no input */
                total = 0;
            w->before[d] = !strcmp(mode, "SAME_UPPER") ? total / 2 : total - total / 2;
            w->out[d] = want;
        } else {
            w->out[d] = full - (strcmp(mode, "VALID") ? w->before[d] + w->after[d] : 0);
            if (!strcmp(mode, "VALID"))
                w->before[d] = 0;
        }
        if (w->out[d] < 0)
            return infer_error(n, "the pads are larger than the output on spatial axis %d", d);
    }
    return true;
}

INFER(infer_conv_transpose) {
    Transposed t;
    const Value *x = n->in[0], *k = n->in[1];
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_float(n, 0) || !infer_one_type(n) || !transposed_read(n, &t))
        return false;
    if (t.group < 1 || x->dim[1] != k->dim[0] || k->dim[0] % t.group)
        return infer_error(n, "%lld input channels do not fit %lld groups of weights for %lld", (long long)x->dim[1], (long long)t.group,
                           (long long)k->dim[0]);
    dim[0] = x->dim[0];
    if (__builtin_mul_overflow(k->dim[1], t.group, &dim[1]))
        return infer_error(n, "the output is too large");
    memcpy(dim + 2, t.w.out, (size_t)t.w.n * sizeof *dim);
    return infer_bias(n, dim[1]) && infer_set(n, 0, x->dtype, x->rank, dim);
}

ELEMENT(element_conv_transpose) {
    Transposed t;
    const Value *x = n->in[0], *k = n->in[1];
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    transposed_read(n, &t);
    const Window *w = &t.w;
    int64_t in_per_group = x->dim[1] / t.group, out_per_group = k->dim[1] ? k->dim[1] : 1;
    KIndex g = kx_div(b, idx[1], out_per_group);
    KIndex at[GRAPH_MAX_RANK] = {idx[0]}, weight[GRAPH_MAX_RANK] = {NULL, kx_rem(b, idx[1], out_per_group)};
    DType type = lower_compute_type(n->out[0]->dtype);
    KValue *sum = n->nin > 2 && n->in[2] ? lower_load(l, n, 2, idx + 1) : kb_float(b, type, 0), *inside = kb_int(b, DT_BOOL, 1);
    KValue *init = sum;
    KInstr *loop[GRAPH_MAX_RANK];
    for (int d = 0; d < w->n; d++) {
        loop[d] = lower_for(l, KLOOP_REDUCE, "k", 0, w->kernel[d], 1, &init);
        init = kb_carried(loop[d], 0);
        KIndex tap = lower_iv(l, loop[d]);
        KIndex reach = kx_add_const(a, kx_sub(a, idx[d + 2], kx_scale(a, tap, w->dilation[d])), w->before[d]);
        KValue *position = kx_value(b, kx_div(b, reach, w->stride[d]));
        KValue *whole = kb_binary(b, KOP_EQ, kx_value(b, kx_rem(b, reach, w->stride[d])), kb_int(b, DT_INDEX, 0));
        KValue *in = kb_binary(b, KOP_AND, kb_binary(b, KOP_GE, position, kb_int(b, DT_INDEX, 0)),
                               kb_binary(b, KOP_LT, position, kb_int(b, DT_INDEX, w->in[d])));
        inside = kb_binary(b, KOP_AND, inside, kb_binary(b, KOP_AND, whole, in));
        at[d + 2] = kx_var(a, position);
        weight[d + 2] = tap;
    }
    KInstr *branch = kb_if(b, inside, 1);
    KInstr *channels = lower_for(l, KLOOP_REDUCE, "c", 0, in_per_group, 1, &init);
    KIndex c = kx_add(a, kx_scale(a, g, in_per_group), lower_iv(l, channels));
    at[1] = weight[0] = c;
    KValue *factor = lower_load(l, n, 1, weight);
    KValue *next = kb_fma(b, lower_load(l, n, 0, at), factor, kb_carried(channels, 0));
    kb_end_for(b, channels, &next);
    kb_else(b, branch, channels->result);
    kb_end_if(b, branch, &init);
    KValue *result = kb_result(branch, 0);
    for (int d = w->n - 1; d >= 0; d--) {
        kb_end_for(b, loop[d], &result);
        result = kb_result(loop[d], 0);
    }
    return result;
}

MACS(macs_conv_transpose) {
    const Value *k = n->in[1];
    return k->dim[0] ? (double)value_count(n->in[0]) * (double)value_count(k) / (double)k->dim[0] : 0;
}
