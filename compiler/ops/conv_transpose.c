/* SPDX-License-Identifier: Apache-2.0 */
/* Transposed convolution of any rank: output position = input position * stride + kernel position * dilation - before.
 *
 * Output positions that leave the same remainder by the stride (a phase) meet every stride-th kernel position, and are an
 * ordinary convolution of stride 1 with those. So nothing is multiplied by the zeros between inputs, and no border needs a
 * test (Shi et al. 2016, "Is the deconvolution layer the same as a convolutional layer?"). */
#include <string.h>

#include "ops/quant.h"
#include "ops/rules.h"
#include "ops/window.h"

/* Which inputs have what; -1: none. */
typedef struct Inputs {
    int zero, weight, weight_zero, bias;
} Inputs;

static const Inputs float_inputs = {-1, 1, -1, 2}, quantised_inputs = {2, 3, 5, 8};

typedef struct Transposed {
    Window w; /* in and out as of this operator */
    int64_t group;
    const Inputs *in;
} Transposed;

static bool transposed_read(const Node *n, Transposed *t) {
    const Inputs *in = *n->domain ? &quantised_inputs : &float_inputs;
    const Value *x = n->in[0], *k = n->in[in->weight];
    Window *w = &t->w;
    int64_t pads[2 * GRAPH_MAX_RANK], extra[GRAPH_MAX_RANK], shape[GRAPH_MAX_RANK];
    *t = (Transposed){.group = attr_int(n, "group", 1), .in = in};
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

/* --- phases --- */

/* Consecutive phases of one axis that differ in nothing but their number: the outputs first + u + stride * q for u < phases
 * and q < outputs, which meet the kernel positions tap + u + step * j, j < taps, at input positions q - before +
 * dilation * (taps - 1 - j). */
typedef struct Part {
    int64_t first, phases, outputs;
    int64_t tap, step, taps;
    int64_t before, dilation;
} Part;

enum {
    MOST_PARTS = 64,   /* of an axis */
    MOST_LOOPS = 1024, /* of all axes */
};

static int64_t divisor(int64_t x, int64_t y) { return y ? divisor(y, x % y) : x; }

/* The phase p alone. */
static Part part_at(const Window *w, int d, int64_t p) {
    int64_t stride = w->stride[d], dilation = w->dilation[d], kernel = w->kernel[d], reach = p + w->before[d];
    int64_t common = divisor(dilation, stride), tap = dilation == 1 ? reach % stride : 0;
    while (dilation != 1 && tap < kernel && tap < stride && (tap * dilation - reach) % stride)
        tap++;
    Part r = {.first = p, .phases = 1, .tap = tap, .step = stride / common, .dilation = dilation / common};
    r.outputs = w->out[d] > p ? (w->out[d] - p - 1) / stride + 1 : 0;
    if (tap < kernel && (tap * dilation - reach) % stride == 0)
        r.taps = (kernel - tap - 1) / r.step + 1;
    r.before = (r.taps - 1) * r.dilation - (reach - tap * dilation) / stride;
    return r;
}

/* The parts of axis d in order, not more than MOST_PARTS; -1 where that is too few. */
static int parts_of(const Window *w, int d, Part *part) {
    int64_t stride = w->stride[d];
    int n = 0;
    if (w->dilation[d] > 1) {
        if (stride > MOST_PARTS)
            return -1;
        for (int64_t p = 0; p < stride && p < w->out[d]; p++)
            part[n++] = part_at(w, d, p);
        return n;
    }
    /* Where the first kernel position wraps, the number of kernel positions falls, and that of outputs. */
    const int64_t wrap = (stride - w->before[d] % stride) % stride, last = (w->kernel[d] % stride + wrap) % stride;
    const int64_t out = w->out[d] % stride;
    for (int64_t p = 0, next; p < stride && p < w->out[d]; p = next) {
        next = stride;
        next = wrap > p && wrap < next ? wrap : next;
        next = last > p && last < next ? last : next;
        next = out > p && out < next ? out : next;
        part[n] = part_at(w, d, p);
        part[n++].phases = next - p;
    }
    return n;
}

/* Shape of the output; the operands' types have been checked. */
static bool infer_shape_of(Node *n, Transposed *found, int64_t *dim) {
    Transposed t;
    if (!transposed_read(n, &t))
        return false;
    const Value *x = n->in[0], *k = n->in[t.in->weight];
    *found = t;
    if (t.group < 1 || x->dim[1] != k->dim[0] || k->dim[0] % t.group)
        return infer_error(n, "%lld input channels do not fit %lld groups of weights for %lld", (long long)x->dim[1], (long long)t.group,
                           (long long)k->dim[0]);
    dim[0] = x->dim[0];
    if (__builtin_mul_overflow(k->dim[1], t.group, &dim[1]))
        return infer_error(n, "the output is too large");
    memcpy(dim + 2, t.w.out, (size_t)t.w.n * sizeof *dim);
    for (int d = 0, loops = 1; d < t.w.n; d++) {
        Part part[MOST_PARTS];
        int parts = parts_of(&t.w, d, part);
        loops *= parts > 1 ? parts : 1;
        if (parts < 0 || loops > MOST_LOOPS)
            return infer_error(n, "strides and dilations split the output in more than %d ways; this is not supported", MOST_LOOPS);
    }
    return true;
}

INFER(infer_conv_transpose) {
    Transposed t;
    int64_t dim[GRAPH_MAX_RANK];
    return infer_float(n, 0) && infer_one_type(n) && infer_shape_of(n, &t, dim) && window_bias(n, dim[1]) &&
           infer_set(n, 0, n->in[0]->dtype, n->in[0]->rank, dim);
}

/* --- mlcc.QLinearConvTranspose: inputs as of QLinearConv --- */

INFER(infer_qlinear_conv_transpose) {
    Transposed t;
    int64_t dim[GRAPH_MAX_RANK];
    if (!quant_infer_element(n, 0) || !quant_infer_bytes(n, 3) || !infer_shape_of(n, &t, dim))
        return false;
    if (!quant_infer_param(n, 1, DT_NONE, 0) || !quant_infer_param(n, 2, n->in[0]->dtype, 0) || !quant_infer_param(n, 4, DT_NONE, dim[1]) ||
        !quant_infer_param(n, 5, n->in[3]->dtype, dim[1]) || !quant_infer_param(n, 6, DT_NONE, 0) || !quant_infer_element(n, 7) ||
        !quant_infer_param(n, 7, n->in[7]->dtype, 0))
        return false;
    if (quant_has(n, 8) && (n->in[8]->dtype != DT_I32 || n->in[8]->rank != 1 || n->in[8]->dim[0] != dim[1]))
        return infer_error(n, "the bias must have one int32 element for each of %lld output channels", (long long)dim[1]);
    return infer_set(n, 0, n->in[7]->dtype, n->in[0]->rank, dim);
}

/* --- lowering --- */

typedef struct Work {
    const Node *n;
    const Transposed *t;
    Part part[GRAPH_MAX_RANK];
    KIndex phase[GRAPH_MAX_RANK]; /* within its part */
    KValue *zero, *weight_zero;   /* of quantised elements */
} Work;

static KValue *product(Lower *l, const KIndex *at, const KIndex *weight, KValue *sum, const void *data) {
    const Work *k = data;
    Arena *a = l->arena;
    int64_t per_group = k->n->in[k->t->in->weight]->dim[1];
    KIndex own[GRAPH_MAX_RANK] = {at[1], kx_rem(&l->b, weight[0], per_group)};
    for (int d = 0; d < k->t->w.n; d++) {
        const Part *p = &k->part[d];
        KIndex tap = kx_sub(a, kx_const(a, p->tap + p->step * (p->taps - 1)), kx_scale(a, weight[d + 2], p->step));
        own[d + 2] = kx_add(a, tap, k->phase[d]);
    }
    KValue *x = lower_load(l, k->n, 0, at), *factor = lower_load(l, k->n, k->t->in->weight, own);
    if (k->zero) {
        x = quant_centred(l, x, k->zero);
        factor = quant_centred(l, factor, k->weight_zero);
    }
    return kb_fma(&l->b, x, factor, sum);
}

/* The elements of one part of each axis. */
static void lower_parts(Lower *l, Work *k) {
    const Node *n = k->n;
    const Value *y = n->out[0];
    const Window *whole = &k->t->w;
    Window w = {.n = whole->n};
    KBuilder *b = &l->b;
    KInstr *phases[GRAPH_MAX_RANK];
    int64_t dim[GRAPH_MAX_RANK] = {y->dim[0], y->dim[1]};
    bool any = true;
    for (int d = 0; d < w.n; d++) {
        const Part *p = &k->part[d];
        w.in[d] = whole->in[d];
        w.kernel[d] = p->taps;
        w.stride[d] = 1;
        w.dilation[d] = p->dilation;
        w.before[d] = p->before;
        dim[d + 2] = w.out[d] = p->outputs;
        any = any && p->taps;
        phases[d] = p->phases > 1 ? lower_for(l, KLOOP_PARALLEL, "u", 0, p->phases, 0, NULL) : NULL;
        k->phase[d] = phases[d] ? lower_iv(l, phases[d]) : kx_const(l->arena, 0);
    }
    LoopNest nest = lower_loops(l, y->rank, dim, y);
    KIndex idx[GRAPH_MAX_RANK] = {nest.idx[0], nest.idx[1]};
    for (int d = 0; d < w.n; d++) {
        KIndex phase = kx_add_const(l->arena, k->phase[d], k->part[d].first);
        idx[d + 2] = kx_add(l->arena, kx_scale(l->arena, nest.idx[d + 2], whole->stride[d]), phase);
    }
    const Inputs *in = k->t->in;
    bool quantised = in->zero >= 0;
    KValue *sum = quant_has(n, in->bias) ? lower_load(l, n, in->bias, idx + 1)
                                         : kb_int(b, quantised ? DT_I32 : lower_compute_type(y->dtype), 0);
    if (quantised) {
        k->zero = quant_param(l, n, in->zero, NULL, DT_I32);
        k->weight_zero = quant_param(l, n, in->weight_zero, idx[1], DT_I32);
    }
    GroupChannels channels = {n->in[0]->dim[1] / k->t->group, n->in[in->weight]->dim[1]};
    if (any)
        sum = window_convolve(l, &w, channels, nest.idx, sum, product, k);
    KValue *fixed = quantised ? quant_fixed(l, n, 1, &(QuantTerm){sum, 0, 1, 4, idx[1], 1}, 6, y->dtype) : NULL;
    if (fixed) {
        sum = fixed;
    } else if (quantised) {
        sum = kb_binary(b, KOP_MUL, kb_cast(b, sum, DT_F32), quant_ratio(l, n, 1, 4, 6, idx[1]));
        sum = quant_round(l, sum, quant_param(l, n, 7, NULL, DT_I32), y->dtype);
    }
    lower_store(l, n, 0, idx, sum);
    lower_end_loops(l, &nest);
    for (int d = w.n - 1; d >= 0; d--)
        if (phases[d])
            kb_end_for(b, phases[d], NULL);
}

LOWER(lower_conv_transpose) {
    Transposed t;
    Part part[GRAPH_MAX_RANK][MOST_PARTS];
    int count[GRAPH_MAX_RANK];
    int64_t all = 1;
    transposed_read(n, &t);
    for (int d = 0; d < t.w.n; d++)
        all *= count[d] = parts_of(&t.w, d, part[d]);
    for (int64_t i = 0; i < all; i++) {
        Work k = {.n = n, .t = &t};
        int64_t rest = i;
        for (int d = t.w.n - 1; d >= 0; d--) {
            k.part[d] = part[d][rest % count[d]];
            rest /= count[d];
        }
        lower_parts(l, &k);
    }
}

MACS(macs_conv_transpose) {
    const Value *k = n->in[*n->domain ? quantised_inputs.weight : float_inputs.weight];
    return k->dim[0] ? (double)value_count(n->in[0]) * (double)value_count(k) / (double)k->dim[0] : 0;
}
