/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution of any rank. */
#include "ops/rules.h"
#include "ops/window.h"

INFER(infer_conv) {
    Window w;
    int64_t group, dim[GRAPH_MAX_RANK];
    const Value *x = n->in[0], *k = n->in[1];
    if (!infer_float(n, 0) || !infer_one_type(n) || !window_conv(n, k, &w, &group))
        return false;
    window_conv_shape(n, k, &w, dim);
    return window_bias(n, k->dim[0]) && infer_set(n, 0, x->dtype, x->rank, dim);
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
    const Value *k = n->in[1];
    return window_convolve(l, &w, (GroupChannels){k->dim[1], k->dim[0] / group}, idx, sum, product, n);
}

MACS(macs_conv) {
    const Value *k = n->in[1];
    return k->dim[0] ? (double)value_count(n->out[0]) * (double)value_count(k) / (double)k->dim[0] : 0;
}
