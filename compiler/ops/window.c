/* SPDX-License-Identifier: Apache-2.0 */
/* Sliding windows. */
#include "ops/window.h"

#include <string.h>

#include "ops/rules.h"

enum { LARGEST = INT32_MAX };

/* auto_pad (ONNX Conv, "SAME_UPPER" …): total padding so that out = ceil(in / stride). */
static void same_padding(Window *w, int d, bool upper) {
    int64_t extent = (w->kernel[d] - 1) * w->dilation[d] + 1;
    int64_t out = (w->in[d] + w->stride[d] - 1) / w->stride[d];
    int64_t total = (out - 1) * w->stride[d] + extent - w->in[d];
    if (total < 0)
        total = 0;
    w->before[d] = upper ? total / 2 : total - total / 2;
    w->after[d] = total - w->before[d];
}

bool window_read(const Node *n, const Value *x, const int64_t *kernel, bool ceil_mode, Window *w) {
    *w = (Window){.n = x->rank - 2};
    int64_t pads[2 * GRAPH_MAX_RANK];
    const char *mode = attr_string(n, "auto_pad", "NOTSET");
    bool same = !strncmp(mode, "SAME_", 5), valid = !strcmp(mode, "VALID");
    if (strcmp(mode, "NOTSET") && strcmp(mode, "SAME_UPPER") && strcmp(mode, "SAME_LOWER") && !valid && *mode)
        return infer_error(n, "attribute \"auto_pad\" is \"%s\"", mode);
    if (!infer_ints_attr(n, "strides", w->n, 1, LARGEST, 1, w->stride) ||
        !infer_ints_attr(n, "dilations", w->n, 1, LARGEST, 1, w->dilation) ||
        !infer_ints_attr(n, "pads", 2 * w->n, 0, LARGEST, 0, pads))
        return false;
    for (int d = 0; d < w->n; d++) {
        w->in[d] = x->dim[d + 2];
        w->kernel[d] = kernel[d];
        if (kernel[d] < 1 || kernel[d] > LARGEST || w->in[d] > (int64_t)LARGEST * 64)
            return infer_error(n, "the kernel's axis %d has size %lld", d, (long long)kernel[d]);
        if (same) {
            same_padding(w, d, mode[5] == 'U');
        } else if (!valid) {
            w->before[d] = pads[d];
            w->after[d] = pads[d + w->n];
        }
        int64_t extent = (kernel[d] - 1) * w->dilation[d] + 1, room = w->in[d] + w->before[d] + w->after[d] - extent;
        if (room < 0)
            return infer_error(n, "the kernel (%lld) is larger than the padded input (%lld) on spatial axis %d", (long long)extent,
                               (long long)(room + extent), d);
        w->out[d] = (room + (ceil_mode ? w->stride[d] - 1 : 0)) / w->stride[d] + 1;
        /* A window that would start in the padding after the input does not count. */
        if (ceil_mode && (w->out[d] - 1) * w->stride[d] >= w->in[d] + w->before[d])
            w->out[d]--;
    }
    return true;
}

bool window_conv(const Node *n, const Value *k, Window *w, int64_t *group) {
    const Value *x = n->in[0];
    *group = attr_int(n, "group", 1);
    if (x->rank < 2 || k->rank != x->rank)
        return infer_error(n, "input and weights have ranks %d and %d; both must be the same and at least 3", x->rank, k->rank);
    const Attr *shape = node_attr(n, "kernel_shape");
    for (int d = 0; shape && shape->kind == ATTR_INTS && d < shape->n; d++)
        if (shape->n != k->rank - 2 || shape->ints[d] != k->dim[d + 2])
            return infer_error(n, "attribute \"kernel_shape\" differs from the weights' shape");
    if (*group < 1)
        return infer_error(n, "attribute \"group\" is %lld", (long long)*group);
    if (!window_read(n, x, k->dim + 2, false, w))
        return false;
    if (k->dim[1] > INT32_MAX || *group > INT32_MAX || x->dim[1] != k->dim[1] * *group)
        return infer_error(n, "the input has %lld channels; the weights take %lld in %lld groups", (long long)x->dim[1],
                           (long long)k->dim[1], (long long)*group);
    if (k->dim[0] % *group)
        return infer_error(n, "attribute \"group\": %lld does not divide %lld output channels", (long long)*group, (long long)k->dim[0]);
    return true;
}

void window_conv_shape(const Node *n, const Value *k, const Window *w, int64_t *dim) {
    dim[0] = n->in[0]->dim[0];
    dim[1] = k->dim[0];
    memcpy(dim + 2, w->out, (size_t)w->n * sizeof *dim);
}

bool window_bias(const Node *n, int64_t channels) {
    if (n->nin < 3 || !n->in[2])
        return true;
    if (n->in[2]->rank != 1 || n->in[2]->dim[0] != channels)
        return infer_error(n, "the bias must have one element for each of %lld output channels", (long long)channels);
    return true;
}

int window_weights(const Node *n) {
    if (!*n->domain && (!strcmp(n->op_type, "Conv") || !strcmp(n->op_type, "ConvInteger")))
        return 1;
    return !*n->domain && !strcmp(n->op_type, "QLinearConv") ? 3 : -1;
}

static bool is_winograd(const Node *n) { return node_is(n, "mlcc", "WinogradConv"); }

int64_t window_rows(const Node *n) {
    return is_winograd(n) ? attr_int(n, "tile", 1) * attr_int(n, "rows", 1) * attr_int(n, "threads", 1) : 1;
}

bool window_of(const Node *n, Window *w) {
    const Attr *shape = node_attr(n, "kernel_shape");
    int64_t group;
    if (!n->in[0] || n->in[0]->rank < 3)
        return false;
    if (is_winograd(n))
        return window_read(n, n->in[0], (const int64_t[]){3, 3}, false, w);
    if (window_weights(n) > 0)
        return window_conv(n, n->in[window_weights(n)], w, &group);
    bool pool = *n->domain ? !strcmp(n->op_type, "QLinearAveragePool") && !attr_int(n, "channels_last", 0)
                           : !strcmp(n->op_type, "MaxPool") || !strcmp(n->op_type, "AveragePool") || !strcmp(n->op_type, "LpPool");
    return pool && shape && window_read(n, n->in[0], shape->ints, attr_int(n, "ceil_mode", 0) != 0, w);
}

/* First and one past the last kernel position that meets the input. */
static void bounds(Lower *l, const Window *w, int d, KIndex o, KValue **lo, KValue **hi) {
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    KIndex start = kx_add_const(a, kx_scale(a, o, w->stride[d]), -w->before[d]); /* input position of kernel position 0 */
    KIndex missing = kx_sub(a, kx_const(a, w->dilation[d] - 1), start);         /* ceil(-start / dilation) */
    KIndex room = kx_sub(a, kx_const(a, w->in[d] - 1 + w->dilation[d]), start);
    *lo = kb_binary(b, KOP_MAX, kx_value(b, kx_div(b, missing, w->dilation[d])), kb_int(b, DT_INDEX, 0));
    *hi = kb_binary(b, KOP_MIN, kx_value(b, kx_div(b, room, w->dilation[d])), kb_int(b, DT_INDEX, w->kernel[d]));
}

WindowLoops window_open(Lower *l, const Window *w, const KIndex *o, KLoopKind kind, int carried, KValue *const *init) {
    static const char *const names[] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};
    WindowLoops r = {.n = w->n, .carried = carried};
    KValue *lo[GRAPH_MAX_RANK], *hi[GRAPH_MAX_RANK];
    for (int d = 0; d < w->n; d++)
        bounds(l, w, d, o[d], &lo[d], &hi[d]);
    for (int d = 0; d < w->n; d++) {
        r.loop[d] = kb_for(&l->b, kind, d < 8 ? names[d] : "k", lo[d], hi[d], 1, carried, init);
        r.k[d] = lower_iv(l, r.loop[d]);
        KIndex start = kx_add_const(l->arena, kx_scale(l->arena, o[d], w->stride[d]), -w->before[d]);
        r.at[d] = kx_add(l->arena, start, kx_scale(l->arena, r.k[d], w->dilation[d]));
        init = r.loop[d]->block[0]->arg + 1;
    }
    return r;
}

KValue *window_carried(const WindowLoops *loops, KValue *const *init, int i) {
    return loops->n ? kb_carried(loops->loop[loops->n - 1], i) : init[i];
}

void window_close(Lower *l, WindowLoops *loops, KValue *const *next, KValue **out) {
    for (int d = loops->n - 1; d >= 0; d--) {
        kb_end_for(&l->b, loops->loop[d], next);
        next = loops->loop[d]->result;
    }
    for (int i = 0; i < loops->carried; i++)
        out[i] = next[i];
}

KValue *window_convolve(Lower *l, const Window *w, GroupChannels c, const KIndex *idx, KValue *sum, WindowTerm *term, const void *data) {
    KIndex first = kx_scale(l->arena, kx_div(&l->b, idx[1], c.out ? c.out : 1), c.in); /* input channel of the group */
    KIndex at[GRAPH_MAX_RANK] = {idx[0]}, weight[GRAPH_MAX_RANK] = {idx[1]};
    WindowLoops loops = window_open(l, w, idx + 2, KLOOP_REDUCE, 1, &sum);
    KValue *carried = window_carried(&loops, &sum, 0);
    KInstr *channels = lower_for(l, KLOOP_REDUCE, "c", 0, c.in, 1, &carried);
    memcpy(at + 2, loops.at, (size_t)w->n * sizeof *at);
    memcpy(weight + 2, loops.k, (size_t)w->n * sizeof *at);
    at[1] = kx_add(l->arena, first, lower_iv(l, channels));
    weight[1] = lower_iv(l, channels);
    KValue *next = term(l, at, weight, kb_carried(channels, 0), data);
    kb_end_for(&l->b, channels, &next);
    window_close(l, &loops, channels->result, &sum);
    return sum;
}

KValue *window_count(Lower *l, const Window *w, const KIndex *o, bool count_padding, DType t) {
    KBuilder *b = &l->b;
    KValue *count = kb_int(b, DT_INDEX, 1);
    for (int d = 0; d < w->n; d++) {
        KValue *lo, *hi;
        Window padded = *w;
        if (count_padding) { /* with ceil_mode a window may even leave the padding */
            padded.in[d] += w->before[d] + w->after[d];
            padded.before[d] = 0;
        }
        bounds(l, &padded, d, o[d], &lo, &hi);
        count = kb_binary(b, KOP_MUL, count, kb_binary(b, KOP_SUB, hi, lo));
    }
    return kb_cast(b, count, t);
}
