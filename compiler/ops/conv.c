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

/* --- halves --- */

/* What the windows of one row of outputs see, in float32: converted once, not for each output that it is multiplied for. */
typedef struct Seen {
    KParam *scratch;
    int64_t rows, stride[4]; /* of the input's axes in scratch */
} Seen;

static bool has_channels_inside(const Node *n) {
    const Value *v = n->in[0]->storage.root ? n->in[0] : n->out[0];
    return v->storage.root && v->storage.stride[1] < v->storage.stride[3];
}

static int64_t bytes_of(const Value *v) {
    int64_t rows = v->window ? v->window : v->dim[2];
    return rows * (v->dim[2] ? value_count(v) / v->dim[2] : 0) * dtype_size(v->dtype);
}

/* Scratch memory lies beside what the convolution reads and writes; it may make the arena an eighth larger. */
static bool has_room(const Lower *l, const Node *n, int64_t count) {
    int64_t bytes = count * (int64_t)sizeof(float), arena = l->graph->arena_size;
    return bytes <= arena / 16 || bytes_of(n->in[0]) + bytes_of(n->out[0]) + bytes <= arena + arena / 8;
}

/* Vectors of 512 bits take so long to multiply that several of them hide the conversion of the number that they share. */
static bool converts_rows(const Lower *l, const Node *n, const Window *w, int64_t group, Seen *s) {
    enum { FEWEST_OUTPUTS = 4, FEWEST_TIMES = 3, LONG = 16, MANY_VECTORS = 3, SHORTEST_ROW = 4, LARGEST = 1 << 20 };
    const Value *x = n->in[0], *k = n->in[1];
    if (x->kind == VALUE_NODE && x->def->group == n->group) /* float32 that is read through */
        return false;
    int64_t count, outputs = k->dim[0] / group;
    bool hidden = l->options.lanes >= LONG && outputs >= MANY_VECTORS * l->options.lanes;
    bool often = l->options.slow_halves ? outputs * w->kernel[1] >= FEWEST_TIMES : outputs >= FEWEST_OUTPUTS;
    if (l->options.threads || hidden || !often || !dtype_is_half(x->dtype) || x->rank != 4 || w->out[1] < SHORTEST_ROW)
        return false;
    s->rows = (w->kernel[0] - 1) * w->dilation[0] + 1;
    if (!dims_count(3, (const int64_t[]){s->rows, x->dim[1], x->dim[3]}, &count) || !count || count > LARGEST ||
        !has_room(l, n, count))
        return false;
    bool inside = has_channels_inside(n);
    s->stride[0] = 0;
    s->stride[1] = inside ? 1 : x->dim[3];
    s->stride[2] = x->dim[1] * x->dim[3];
    s->stride[3] = inside ? x->dim[1] : 1;
    return true;
}

/* Input rows from `top` on, those that there are. */
static void convert_rows(Lower *l, const Node *n, const Seen *s, KIndex image, KIndex top) {
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    const Value *x = n->in[0];
    int outer = s->stride[1] == 1 ? 3 : 1, inner = 4 - outer;
    KValue *first = kb_binary(b, KOP_MAX, kx_value(b, kx_scale(a, top, -1)), kb_int(b, DT_INDEX, 0));
    KValue *end = kb_binary(b, KOP_MIN, kx_value(b, kx_sub(a, kx_const(a, x->dim[2]), top)), kb_int(b, DT_INDEX, s->rows));
    KInstr *rows = kb_for(b, KLOOP_SERIAL, "r", first, end, 1, 0, NULL);
    KInstr *i = lower_for(l, KLOOP_PARALLEL, "i", 0, x->dim[outer], 0, NULL), *j = lower_for(l, KLOOP_PARALLEL, "j", 0, x->dim[inner], 0, NULL);
    KIndex at[4] = {image}, r = lower_iv(l, rows), to = kx_scale(a, r, s->stride[2]);
    at[2] = kx_add(a, top, r);
    at[outer] = lower_iv(l, i);
    at[inner] = lower_iv(l, j);
    to = kx_add(a, to, kx_add(a, kx_scale(a, at[outer], s->stride[outer]), at[inner]));
    KValue *y = lower_load(l, n, 0, at);
    kb_store(b, s->scratch, to, y);
    kb_end_for(b, j, NULL);
    kb_end_for(b, i, NULL);
    kb_end_for(b, rows, NULL);
}

static void convolve_row(Lower *l, const Node *n, const Seen *s, KIndex image, KIndex row, KIndex top) {
    const Value *y = n->out[0];
    const int64_t dim[4] = {1, y->dim[1], 1, y->dim[3]};
    lower_stage(l, n, 0, s->scratch, kx_scale(l->arena, top, -s->stride[2]), s->stride);
    LoopNest nest = lower_loops(l, 4, dim, y);
    nest.idx[0] = image;
    nest.idx[2] = row;
    KValue *x = lower_element(l, n, nest.idx);
    lower_stage(l, n, 0, NULL, NULL, NULL);
    lower_store(l, n, 0, nest.idx, x);
    lower_end_loops(l, &nest);
}

LOWER(lower_conv) {
    Window w;
    int64_t group;
    Seen s;
    if (!window_conv(n, n->in[1], &w, &group) || !converts_rows(l, n, &w, group, &s)) {
        lower_elements(l, n);
        return;
    }
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    KIndex from = kx_const(a, 0), to = kx_const(a, w.out[0]);
    lower_rows(l, &from, &to);
    s.scratch = lower_scratch(l, DT_F32, s.rows * s.stride[2]);
    KInstr *images = lower_for(l, KLOOP_SERIAL, "n", 0, n->out[0]->dim[0], 0, NULL);
    KValue *lo = kx_value(b, from), *hi = kx_value(b, to);
    KInstr *rows = kb_for(b, KLOOP_SERIAL, "row", lo, hi, 1, 0, NULL);
    KIndex image = lower_iv(l, images), row = lower_iv(l, rows), top = kx_add_const(a, kx_scale(a, row, w.stride[0]), -w.before[0]);
    convert_rows(l, n, &s, image, top);
    convolve_row(l, n, &s, image, row, top);
    kb_end_for(b, rows, NULL);
    kb_end_for(b, images, NULL);
}

MACS(macs_conv) {
    const Value *k = n->in[1];
    return k->dim[0] ? (double)value_count(n->out[0]) * (double)value_count(k) / (double)k->dim[0] : 0;
}
