/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution of 8-bit integers. The sum runs over products of the elements as they are stored: what the input's zero
 * point adds to it comes from the sums of the weights, which are known when compiling, and is part of the value the sum starts
 * from. That value depends on the output position only near the borders, where taps fall outside. */
#include "ops/qdepthwise.h"
#include "ops/quant.h"
#include "ops/rules.h"
#include "ops/window.h"

/* Which inputs have what; -1: none. */
typedef struct Inputs {
    int zero, weight, weight_zero, bias;
} Inputs;

static const Inputs qlinear_inputs = {2, 3, 5, 8}, integer_inputs = {2, 1, 3, -1};

enum { MOST_CLASSES = 4096, MOST_WORK = 1 << 28 };

/* Output positions along an axis by the taps that meet the input there: positions before `first` and after `last` are
 * classes of their own; those between see all taps. */
typedef struct Classes {
    int64_t first, last, count;
} Classes;

static void taps_inside(const Window *w, int d, int64_t o, int64_t *lo, int64_t *hi) {
    int64_t start = o * w->stride[d] - w->before[d];
    *lo = start < 0 ? (-start + w->dilation[d] - 1) / w->dilation[d] : 0;
    *hi = start >= w->in[d] ? 0 : (w->in[d] - 1 - start) / w->dilation[d] + 1;
    *lo = *lo > w->kernel[d] ? w->kernel[d] : *lo;
    *hi = *hi > w->kernel[d] ? w->kernel[d] : *hi;
}

static Classes classes_of(const Window *w, int d) {
    Classes c = {.last = -1};
    bool found = false;
    /* From both ends: few positions see less than all taps, or there are too many classes anyway. */
    for (int64_t o = 0; o < w->out[d] && !found && o < MOST_CLASSES; o++) {
        int64_t lo, hi;
        taps_inside(w, d, o, &lo, &hi);
        found = lo == 0 && hi == w->kernel[d];
        c.first = found ? o : o + 1;
    }
    for (int64_t o = w->out[d] - 1; found && o >= c.first && c.last < 0 && o >= w->out[d] - MOST_CLASSES; o--) {
        int64_t lo, hi;
        taps_inside(w, d, o, &lo, &hi);
        if (lo == 0 && hi == w->kernel[d])
            c.last = o;
    }
    c.count = c.last >= 0 ? c.first + w->out[d] - c.last : w->out[d];
    return c;
}

/* An output position of the class. */
static int64_t position_of(const Classes *c, int64_t k) { return c->last < 0 || k <= c->first ? k : c->last + k - c->first; }

static KIndex class_at(Lower *l, const Classes *c, KIndex o) {
    KBuilder *b = &l->b;
    if (c->last < 0)
        return o;
    KIndex class = kx_const(l->arena, 0);
    if (c->first)
        class = kx_var(l->arena, kb_binary(b, KOP_MIN, kx_value(b, o), kb_int(b, DT_INDEX, c->first)));
    if (c->count == c->first + 1)
        return class;
    KValue *after = kx_value(b, kx_add_const(l->arena, o, -c->last));
    return kx_add(l->arena, class, kx_var(l->arena, kb_binary(b, KOP_MAX, after, kb_int(b, DT_INDEX, 0))));
}

/* Sum of the weights of an output channel at each tap. */
static int32_t *sums_by_tap(Arena *a, const Value *k, int64_t taps) {
    int32_t *sum = ARENA_ARRAY(a, int32_t, k->dim[0] * taps);
    int64_t at = 0;
    for (int64_t o = 0; o < k->dim[0]; o++)
        for (int64_t c = 0; c < k->dim[1]; c++)
            for (int64_t t = 0; t < taps; t++)
                sum[o * taps + t] += (int32_t)const_int(k, at++);
    return sum;
}

/* Sum over the taps of one class; class and taps are counted with the last axis fastest. */
static int32_t sum_of_class(const Window *w, const Classes *c, int64_t class, const int32_t *by_tap) {
    int64_t lo[GRAPH_MAX_RANK], hi[GRAPH_MAX_RANK], tap[GRAPH_MAX_RANK];
    uint32_t sum = 0;
    for (int d = w->n - 1; d >= 0; d--) {
        taps_inside(w, d, position_of(&c[d], class % c[d].count), &lo[d], &hi[d]);
        class /= c[d].count;
        tap[d] = lo[d];
        if (lo[d] >= hi[d])
            return 0;
    }
    for (;;) {
        int64_t at = 0;
        for (int d = 0; d < w->n; d++)
            at = at * w->kernel[d] + tap[d];
        sum += (uint32_t)by_tap[at];
        int d = w->n - 1;
        for (; d >= 0 && ++tap[d] == hi[d]; d--)
            tap[d] = lo[d];
        if (d < 0)
            return (int32_t)sum;
    }
}

/* Whether the zero point can be taken out of the sum by a table no larger than the weights; machines with vectors of bytes
 * have room for one that is larger. */
static bool plan_classes(const Node *n, const Inputs *in, const Window *w, bool roomy, Classes *c, int64_t *count, int64_t *taps) {
    const Value *k = n->in[in->weight];
    if (!value_is_const(k) || !quant_has(n, in->zero) || value_count(n->in[in->zero]) != 1 || !quant_is_zero(n, in->weight_zero) ||
        (quant_has(n, in->bias) && !value_is_const(n->in[in->bias])))
        return false;
    *count = *taps = 1;
    for (int d = 0; d < w->n; d++) {
        c[d] = classes_of(w, d);
        *taps *= w->kernel[d];
        if (c[d].count > MOST_CLASSES || *count * c[d].count > MOST_CLASSES || !c[d].count)
            return false;
        *count *= c[d].count;
    }
    return *count * (int64_t)sizeof(int32_t) <= *taps * k->dim[1] * (roomy ? 8 : 1) &&
           (double)*count * (double)*taps * (double)k->dim[0] < (double)MOST_WORK;
}

/* bias - zero point * sum of the weights inside, by class and channel. Where the zero point is computed the sums alone come from
 * the table, and meet it here. */
static KValue *start_from_table(Lower *l, const Node *n, const Inputs *in, const Window *w, const Classes *c, int64_t count, int64_t taps,
                                int shift, const KIndex *idx) {
    const Value *k = n->in[in->weight];
    KBuilder *b = &l->b;
    bool known = value_is_const(n->in[in->zero]), bias = quant_has(n, in->bias);
    uint32_t zero = known ? (uint32_t)const_int(n->in[in->zero], 0) + (uint32_t)shift : 1;
    int32_t *by_tap = sums_by_tap(l->arena, k, taps), *table = ARENA_ARRAY(l->arena, int32_t, count * k->dim[0]);
    for (int64_t class = 0; class < count; class++)
        for (int64_t o = 0; o < k->dim[0]; o++) {
            uint32_t own = known && bias ? (uint32_t)const_int(n->in[in->bias], o) : 0;
            table[class * k->dim[0] + o] = (int32_t)(own - zero * (uint32_t)sum_of_class(w, c, class, by_tap + o * taps));
        }
    KIndex at = kx_const(l->arena, 0);
    for (int d = 0; d < w->n; d++)
        at = kx_add(l->arena, kx_scale(l->arena, at, c[d].count), class_at(l, &c[d], idx[d + 2]));
    at = kx_add(l->arena, kx_scale(l->arena, at, k->dim[0]), idx[1]);
    KValue *start = kb_load(b, lower_table(l, arena_printf(l->arena, "%s_bias", n->name), DT_I32, count * k->dim[0], table), at);
    if (known)
        return start;
    KValue *stored = kb_binary(b, KOP_ADD, quant_param(l, n, in->zero, NULL, DT_I32), kb_int(b, DT_I32, shift));
    start = kb_binary(b, KOP_MUL, start, stored);
    return bias ? kb_binary(b, KOP_ADD, start, lower_load(l, n, in->bias, idx + 1)) : start;
}

/* What is taken from the elements, and how those of the input are read. */
typedef struct Operands {
    const Node *n;
    const Inputs *in;
    KValue *zero, *weight_zero;
    bool shifted; /* the input is read with the other sign */
} Operands;

static KValue *product(Lower *l, const KIndex *at, const KIndex *weight, KValue *sum, const void *data) {
    const Operands *o = data;
    KValue *element = lower_load(l, o->n, 0, at);
    KValue *x = quant_centred(l, o->shifted ? quant_shifted(l, element) : element, o->zero);
    KValue *y = quant_centred(l, lower_load(l, o->n, o->in->weight, weight), o->weight_zero);
    return kb_fma(&l->b, x, y, sum);
}

static KValue *convolve(Lower *l, const Node *n, const Inputs *in, const KIndex *idx) {
    Window w;
    Classes classes[GRAPH_MAX_RANK];
    int64_t group, count, taps;
    const Value *k = n->in[in->weight];
    KBuilder *b = &l->b;
    window_conv(n, k, &w, &group);
    KValue *zero = kb_int(b, DT_I32, 0), *weight_zero = zero, *sum;
    if (!quant_is_zero(n, in->weight_zero))
        weight_zero = quant_param(l, n, in->weight_zero, idx[1], DT_I32);
    bool depthwise = quant_is_zero(n, in->weight_zero) && depthwise_suits(l, n, k, &w, group);
    int shift = k->dim[1] % 4 == 0 || depthwise ? quant_shift(l, n->in[0]->dtype) : 0;
    if ((shift || !quant_is_zero(n, in->zero)) && plan_classes(n, in, &w, l->options.roomy, classes, &count, &taps)) {
        sum = start_from_table(l, n, in, &w, classes, count, taps, shift, idx);
    } else {
        depthwise = depthwise && !shift && quant_is_zero(n, in->zero);
        shift = 0;
        zero = quant_param(l, n, in->zero, NULL, DT_I32);
        sum = quant_has(n, in->bias) ? lower_load(l, n, in->bias, idx + 1) : kb_int(b, DT_I32, 0);
    }
    if (depthwise)
        return depthwise_sum(l, n, k, &w, idx, sum, shift != 0);
    const Operands operands = {n, in, zero, weight_zero, shift != 0};
    return window_convolve(l, &w, (GroupChannels){k->dim[1], k->dim[0] / group}, idx, sum, product, &operands);
}

static double macs(const Node *n, const Value *k) {
    return k->dim[0] ? (double)value_count(n->out[0]) * (double)value_count(k) / (double)k->dim[0] : 0;
}

/* --- ConvInteger --- */

static bool infer_operands(const Node *n, const Inputs *in, Window *w) {
    int64_t group;
    const Value *k = n->in[in->weight];
    return (in->bias < 0 ? quant_infer_bytes(n, 0) : quant_infer_element(n, 0)) && quant_infer_bytes(n, in->weight) &&
           window_conv(n, k, w, &group) && quant_infer_param(n, in->zero, n->in[0]->dtype, 0) &&
           quant_infer_param(n, in->weight_zero, k->dtype, k->dim[0]);
}

INFER(infer_conv_integer) {
    Window w;
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_operands(n, &integer_inputs, &w))
        return false;
    window_conv_shape(n, n->in[1], &w, dim);
    return infer_set(n, 0, DT_I32, n->in[0]->rank, dim);
}

ELEMENT(element_conv_integer) { return convolve(l, n, &integer_inputs, idx); }

MACS(macs_conv_integer) { return macs(n, n->in[1]); }

/* --- QLinearConv: x, its scale and zero point, w, its, those of the output, bias with scale x_scale * w_scale --- */

INFER(infer_qlinear_conv) {
    Window w;
    int64_t dim[GRAPH_MAX_RANK];
    const Value *k = n->in[3];
    if (!infer_operands(n, &qlinear_inputs, &w) || !quant_infer_param(n, 1, DT_NONE, 0) || !quant_infer_param(n, 4, DT_NONE, k->dim[0]) ||
        !quant_infer_param(n, 6, DT_NONE, 0) || !quant_infer_element(n, 7) || !quant_infer_param(n, 7, n->in[7]->dtype, 0))
        return false;
    if (quant_has(n, 8) && (n->in[8]->dtype != DT_I32 || n->in[8]->rank != 1 || n->in[8]->dim[0] != k->dim[0]))
        return infer_error(n, "the bias must have one int32 element for each of %lld output channels", (long long)k->dim[0]);
    window_conv_shape(n, k, &w, dim);
    return infer_set(n, 0, n->in[7]->dtype, n->in[0]->rank, dim);
}

ELEMENT(element_qlinear_conv) {
    KValue *sum = convolve(l, n, &qlinear_inputs, idx);
    KValue *fixed = quant_fixed(l, n, 1, &(QuantTerm){sum, 0, 1, 4, idx[1], 1}, 6, n->out[0]->dtype);
    if (fixed)
        return fixed;
    KValue *y = kb_binary(&l->b, KOP_MUL, kb_cast(&l->b, sum, DT_F32), quant_ratio(l, n, 1, 4, 6, idx[1]));
    return quant_round(l, y, quant_param(l, n, 7, NULL, DT_I32), n->out[0]->dtype);
}

MACS(macs_qlinear_conv) { return macs(n, n->in[3]); }
