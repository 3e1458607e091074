/* SPDX-License-Identifier: Apache-2.0 */
/* Reading images between their elements: AffineGrid, GridSample, DeformConv, RoiAlign. And Col2Im, which adds patches
 * to an image. */
#include <math.h>
#include <string.h>

#include "ops/rules.h"
#include "ops/window.h"

static KValue *number(Lower *l, const KValue *like, double x) { return kb_const_like(&l->b, like->type, x); }
static KValue *add(Lower *l, KValue *x, KValue *y) { return kb_binary(&l->b, KOP_ADD, x, y); }
static KValue *sub(Lower *l, KValue *x, KValue *y) { return kb_binary(&l->b, KOP_SUB, x, y); }
static KValue *mul(Lower *l, KValue *x, KValue *y) { return kb_binary(&l->b, KOP_MUL, x, y); }
static KValue *floor_of(Lower *l, KValue *x) { return kb_math(&l->b, KMATH_FLOOR, x, NULL); }

/* Halves are read as float32 already; integers are interpolated in float32, too. */
static DType sample_type(const Node *n, int i) { return n->in[i]->dtype == DT_F64 ? DT_F64 : DT_F32; }

/* --- AffineGrid: theta times the normalized coordinates (x, y, z, 1) of each element --- */

INFER(infer_affine_grid) {
    const Value *theta = n->in[0];
    const int64_t *size;
    int64_t dim[5];
    int count;
    if (!infer_float(n, 0) || !infer_ints(n, 1, &size, &count))
        return false;
    int axes = count - 2;
    if (axes != 2 && axes != 3)
        return infer_error(n, "the size has %d entries; 4 or 5 are needed", count);
    if (theta->rank != 3 || theta->dim[0] != size[0] || theta->dim[1] != axes || theta->dim[2] != axes + 1)
        return infer_error(n, "theta must have shape %lld x %d x %d", (long long)size[0], axes, axes + 1);
    dim[0] = size[0];
    for (int d = 0; d < axes; d++) {
        dim[d + 1] = size[d + 2];
        if (size[d + 2] < 0)
            return infer_error(n, "axis %d would get size %lld", d + 2, (long long)size[d + 2]);
    }
    dim[axes + 1] = axes;
    return infer_set(n, 0, theta->dtype, axes + 2, dim);
}

ELEMENT(element_affine_grid) {
    KBuilder *b = &l->b;
    int axes = n->out[0]->rank - 2;
    bool corners = attr_int(n, "align_corners", 0) != 0;
    KIndex at[3] = {idx[0], idx[axes + 1], kx_const(l->arena, axes)};
    KValue *sum = lower_load(l, n, 0, at);
    for (int j = 0; j < axes; j++) {
        int64_t size = n->out[0]->dim[axes - j];
        KValue *i = kb_cast(b, kx_value(b, idx[axes - j]), sum->type.dtype);
        double step = 2.0 / (double)(corners ? (size > 1 ? size - 1 : 1) : size);
        KValue *where = kb_fma(b, i, number(l, i, step), number(l, i, corners ? -1 : step / 2 - 1));
        at[2] = kx_const(l->arena, j);
        sum = kb_fma(b, lower_load(l, n, 0, at), where, sum);
    }
    return sum;
}

/* --- GridSample --- */

static const char *const grid_modes[] = {"linear", "nearest", "cubic"};
static const char *const grid_paddings[] = {"zeros", "border", "reflection"};
enum { LINEAR, NEAREST, CUBIC };
enum { ZEROS, BORDER, REFLECTION };

INFER(infer_grid_sample) {
    const Value *x = n->in[0], *grid = n->in[1];
    int64_t dim[GRAPH_MAX_RANK];
    int mode, padding, axes = x->rank - 2;
    if (!infer_float(n, 1) || !infer_choice(n, "mode", grid_modes, 3, &mode) ||
        !infer_choice(n, "padding_mode", grid_paddings, 3, &padding))
        return false;
    if ((x->dtype != DT_BOOL || mode != NEAREST) && !infer_numeric(n, 0))
        return false;
    if (axes < 1 || axes > 3 || grid->rank != x->rank || grid->dim[0] != x->dim[0] || grid->dim[x->rank - 1] != axes)
        return infer_error(n, "the grid must have a position of %d coordinates for each element of the output", axes);
    dim[0] = x->dim[0];
    dim[1] = x->dim[1];
    for (int d = 0; d < axes; d++) {
        dim[d + 2] = grid->dim[d + 1];
        if (!x->dim[d + 2] || x->dim[d + 2] > 1 << 24)
            return infer_error(n, "axis %d of the input has size %lld", d + 2, (long long)x->dim[d + 2]);
    }
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

/* A coordinate beyond the borders, reflected until it is within. */
static KValue *reflected(Lower *l, KValue *x, double low, double high) {
    KBuilder *b = &l->b;
    double range = high - low;
    if (range <= 0)
        return number(l, x, low);
    KValue *from = kb_unary(b, KOP_ABS, sub(l, x, number(l, x, low)));
    KValue *turns = floor_of(l, kb_binary(b, KOP_DIV, from, number(l, x, range)));
    KValue *rest = sub(l, from, mul(l, turns, number(l, x, range)));
    KValue *half = mul(l, turns, number(l, x, 0.5));
    KValue *even = kb_binary(b, KOP_EQ, floor_of(l, half), half);
    return kb_select(b, even, add(l, number(l, x, low), rest), sub(l, number(l, x, high), rest));
}

/* What is read along one axis: up to four elements, whether they are in the input, and their weights. */
typedef struct Taps {
    int n;
    KIndex at[4];
    KValue *inside[4], *weight[4]; /* NULL: always; 1 */
} Taps;

/* Keys' kernel with a = -3/4, as GridSample has it. */
static void cubic_weights(Lower *l, KValue *x, KValue **w) {
    KBuilder *b = &l->b;
    const double a = -0.75;
    KValue *one = number(l, x, 1), *y = sub(l, one, x);
    for (int i = 0; i < 2; i++) {
        KValue *near = i ? y : x, *far = add(l, near, one);
        KValue *f = kb_fma(b, number(l, x, a), far, number(l, x, -5 * a));
        f = kb_fma(b, kb_fma(b, f, far, number(l, x, 8 * a)), far, number(l, x, -4 * a));
        KValue *g = kb_fma(b, number(l, x, a + 2), near, number(l, x, -(a + 3)));
        g = kb_fma(b, mul(l, g, near), near, one);
        w[i ? 3 : 0] = f;
        w[i ? 2 : 1] = g;
    }
}

/* An element's index along an axis, from a whole number that may lie outside. */
static void set_tap(Lower *l, Taps *t, int i, KValue *whole, int padding, double low, double high, int64_t size) {
    KBuilder *b = &l->b;
    KValue *last = kb_int(b, DT_INDEX, size - 1), *zero = kb_int(b, DT_INDEX, 0);
    if (padding == REFLECTION)
        whole = reflected(l, whole, low, high);
    KValue *at = kb_cast(b, kb_cast(b, whole, DT_I32), DT_INDEX); /* to int32 saturates */
    if (padding == ZEROS)
        t->inside[i] = kb_binary(b, KOP_AND, kb_binary(b, KOP_GE, at, zero), kb_binary(b, KOP_LE, at, last));
    t->at[i] = kx_var(l->arena, kb_binary(b, KOP_MIN, kb_binary(b, KOP_MAX, at, zero), last));
}

static Taps taps_of(Lower *l, const Node *n, KValue *x, int64_t size, int mode, int padding) {
    Taps t = {.n = mode == NEAREST ? 1 : mode == LINEAR ? 2 : 4};
    KBuilder *b = &l->b;
    bool corners = attr_int(n, "align_corners", 0) != 0;
    double low = corners ? 0 : -0.5, high = (double)size - (corners ? 1 : 0.5);
    KValue *one = number(l, x, 1), *unit = add(l, x, one);
    if (corners)
        x = mul(l, unit, number(l, x, (double)(size - 1) / 2));
    else
        x = kb_fma(b, unit, number(l, x, (double)size / 2), number(l, x, -0.5));
    if (mode == NEAREST)
        x = kb_math(b, KMATH_ROUND, x, NULL);
    if (padding == BORDER) {
        KValue *first = number(l, x, 0), *last = number(l, x, (double)(size - 1));
        KValue *behind = kb_binary(b, KOP_GE, x, number(l, x, low));
        KValue *within = kb_binary(b, KOP_AND, behind, kb_binary(b, KOP_LE, x, number(l, x, high)));
        KValue *clamped = kb_binary(b, KOP_MIN, kb_binary(b, KOP_MAX, x, first), last);
        x = mode == CUBIC ? kb_select(b, within, x, clamped) : clamped; /* the others see no difference */
    } else if (padding == REFLECTION) {
        x = reflected(l, x, low, high);
    }
    if (mode == NEAREST) {
        set_tap(l, &t, 0, x, padding, low, high, size);
        return t;
    }
    KValue *whole = floor_of(l, x), *part = sub(l, x, whole);
    for (int i = 0; i < t.n; i++)
        set_tap(l, &t, i, add(l, whole, number(l, x, i - (mode == CUBIC))), padding, low, high, size);
    if (mode == CUBIC) {
        cubic_weights(l, part, t.weight);
    } else {
        t.weight[0] = sub(l, one, part);
        t.weight[1] = part;
    }
    return t;
}

ELEMENT(element_grid_sample) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    int mode, padding, axes = x->rank - 2, count = 1;
    infer_choice(n, "mode", grid_modes, 3, &mode);
    infer_choice(n, "padding_mode", grid_paddings, 3, &padding);
    KIndex at[GRAPH_MAX_RANK] = {idx[0]}, from[GRAPH_MAX_RANK] = {idx[0], idx[1]};
    memcpy(at + 1, idx + 2, (size_t)axes * sizeof *at);
    Taps taps[3];
    for (int d = 0; d < axes; d++) {
        at[axes + 1] = kx_const(l->arena, axes - 1 - d); /* the grid counts coordinates from the last axis */
        taps[d] = taps_of(l, n, lower_load(l, n, 1, at), x->dim[d + 2], mode, padding);
        count *= taps[d].n;
    }
    KValue *sum = NULL;
    for (int i = 0; i < count; i++) {
        KValue *weight = NULL, *inside = NULL;
        for (int d = axes - 1, rest = i; d >= 0; rest /= taps[d].n, d--) {
            int k = rest % taps[d].n;
            KValue *w = taps[d].weight[k], *in = taps[d].inside[k];
            from[d + 2] = taps[d].at[k];
            weight = !weight ? w : w ? mul(l, weight, w) : weight;
            inside = !inside ? in : in ? kb_binary(b, KOP_AND, inside, in) : inside;
        }
        KValue *v = lower_load(l, n, 0, from);
        if (inside)
            v = kb_select(b, inside, v, number(l, v, 0));
        if (!weight)
            return v;
        DType t = sample_type(n, 0) == DT_F64 || weight->type.dtype == DT_F64 ? DT_F64 : DT_F32;
        v = kb_cast(b, v, t);
        weight = kb_cast(b, weight, t);
        sum = sum ? kb_fma(b, v, weight, sum) : mul(l, v, weight);
    }
    return kb_cast(b, sum, lower_compute_type(x->dtype));
}

/* --- DeformConv: a convolution whose window's elements are each moved by an offset --- */

typedef struct Deform {
    Window w;
    int64_t group, offset_group;
} Deform;

static bool deform_read(const Node *n, Deform *f) {
    const Value *x = n->in[0], *k = n->in[1], *offset = n->in[2], *mask = n->nin > 4 ? n->in[4] : NULL;
    *f = (Deform){.group = attr_int(n, "group", 1), .offset_group = attr_int(n, "offset_group", 1)};
    if (x->rank != 4 || k->rank != 4 || offset->rank != 4)
        return infer_error(n, "input, weights and offsets must have rank 4");
    if (!window_read(n, x, k->dim + 2, false, &f->w))
        return false;
    if (f->group < 1 || f->offset_group < 1 || f->group > INT32_MAX || f->offset_group > INT32_MAX || k->dim[1] > INT32_MAX ||
        x->dim[1] != k->dim[1] * f->group || k->dim[0] % f->group || x->dim[1] % f->offset_group)
        return infer_error(n, "%lld channels do not fit the weights and groups", (long long)x->dim[1]);
    if (x->dim[2] < 1 || x->dim[3] < 1 || x->dim[2] > 1 << 24 || x->dim[3] > 1 << 24)
        return infer_error(n, "the image is empty or too large");
    int64_t taps;
    const int64_t all[] = {f->offset_group, k->dim[2], k->dim[3], 2}, places[] = {x->dim[0], 0, f->w.out[0], f->w.out[1]};
    if (!dims_count(4, all, &taps))
        return infer_error(n, "the window is too large");
    for (int d = 0; d < 4; d++)
        if (offset->dim[d] != (d == 1 ? taps : places[d]) ||
            (mask && (mask->rank != 4 || mask->dim[d] != (d == 1 ? taps / 2 : places[d]))))
            return infer_error(n, "the offsets or the mask do not fit the window and the output");
    return true;
}

INFER(infer_deform_conv) {
    Deform f;
    const Value *bias = n->nin > 3 ? n->in[3] : NULL;
    if (!infer_float(n, 0) || !infer_one_type(n) || !deform_read(n, &f))
        return false;
    if (bias && (bias->rank != 1 || bias->dim[0] != n->in[1]->dim[0]))
        return infer_error(n, "the bias must have one element for each output channel");
    const int64_t dim[] = {n->in[0]->dim[0], n->in[1]->dim[0], f.w.out[0], f.w.out[1]};
    return infer_set(n, 0, n->in[0]->dtype, 4, dim);
}

/* The two elements round a position along an axis; what lies outside counts nothing. */
static Taps moved_taps(Lower *l, KValue *x, int64_t size) {
    Taps t = {.n = 2};
    KValue *whole = floor_of(l, x), *one = number(l, x, 1), *zero = number(l, x, 0);
    t.weight[1] = sub(l, x, whole);
    t.weight[0] = sub(l, one, t.weight[1]);
    for (int i = 0; i < 2; i++) {
        set_tap(l, &t, i, i ? add(l, whole, one) : whole, ZEROS, 0, 0, size);
        t.weight[i] = kb_select(&l->b, t.inside[i], t.weight[i], zero);
    }
    return t;
}

ELEMENT(element_deform_conv) {
    Deform f;
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    deform_read(n, &f);
    const Value *x = n->in[0], *k = n->in[1];
    const Window *w = &f.w;
    int64_t out_per_group = k->dim[0] >= f.group ? k->dim[0] / f.group : 1;
    int64_t per_offset = x->dim[1] >= f.offset_group ? x->dim[1] / f.offset_group : 1;
    KValue *sum = n->nin > 3 && n->in[3] ? lower_load(l, n, 3, idx + 1) : kb_float(b, lower_compute_type(x->dtype), 0);
    const int64_t trips[] = {k->dim[2], k->dim[3], k->dim[1]};
    KInstr *loop[3];
    KIndex i[3];
    for (int d = 0; d < 3; d++) {
        loop[d] = lower_for(l, KLOOP_REDUCE, "k", 0, trips[d], 1, &sum);
        i[d] = lower_iv(l, loop[d]);
        sum = kb_carried(loop[d], 0);
    }
    KIndex channel = kx_add(a, kx_scale(a, kx_div(b, idx[1], out_per_group), k->dim[1]), i[2]);
    KIndex tap = kx_add(a, kx_scale(a, kx_div(b, channel, per_offset), k->dim[2]), i[0]);
    tap = kx_add(a, kx_scale(a, tap, k->dim[3]), i[1]);
    Taps taps[2];
    for (int d = 0; d < 2; d++) {
        KIndex at = kx_add(a, kx_scale(a, idx[d + 2], w->stride[d]), kx_scale(a, i[d], w->dilation[d]));
        const KIndex from[4] = {idx[0], kx_add_const(a, kx_scale(a, tap, 2), d), idx[2], idx[3]};
        KValue *moved = lower_load(l, n, 2, from);
        moved = add(l, moved, kb_cast(b, kx_value(b, kx_add_const(a, at, -w->before[d])), moved->type.dtype));
        taps[d] = moved_taps(l, moved, x->dim[d + 2]);
    }
    KValue *sample = NULL;
    for (int j = 0; j < 4; j++) {
        const KIndex from[4] = {idx[0], channel, taps[0].at[j / 2], taps[1].at[j % 2]};
        KValue *weight = mul(l, taps[0].weight[j / 2], taps[1].weight[j % 2]), *v = lower_load(l, n, 0, from);
        sample = sample ? kb_fma(b, v, weight, sample) : mul(l, v, weight);
    }
    if (n->nin > 4 && n->in[4]) {
        const KIndex from[4] = {idx[0], tap, idx[2], idx[3]};
        sample = mul(l, sample, lower_load(l, n, 4, from));
    }
    const KIndex from[4] = {idx[1], i[2], i[0], i[1]};
    KValue *next = kb_fma(b, sample, lower_load(l, n, 1, from), sum);
    for (int d = 2; d >= 0; d--) {
        kb_end_for(b, loop[d], &next);
        next = kb_result(loop[d], 0);
    }
    return next;
}

MACS(macs_deform_conv) {
    const Value *k = n->in[1];
    return k->dim[0] ? (double)value_count(n->out[0]) * (double)value_count(k) / (double)k->dim[0] : 0;
}

/* --- RoiAlign --- */

static const char *const roi_modes[] = {"avg", "max"};
static const char *const roi_coordinates[] = {"half_pixel", "output_half_pixel"};

INFER(infer_roi_align) {
    const Value *x = n->in[0], *rois = n->in[1], *which = n->in[2];
    int mode, coordinates;
    int64_t height = attr_int(n, "output_height", 1), width = attr_int(n, "output_width", 1);
    int64_t ratio = attr_int(n, "sampling_ratio", 0);
    if (!infer_float(n, 0) || !infer_indices(n, 2) || !infer_choice(n, "mode", roi_modes, 2, &mode) ||
        !infer_choice(n, "coordinate_transformation_mode", roi_coordinates, 2, &coordinates))
        return false;
    if (x->rank != 4 || rois->dtype != x->dtype || rois->rank != 2 || rois->dim[1] != 4 || which->rank != 1 ||
        which->dim[0] != rois->dim[0])
        return infer_error(n, "the input must be images, with four coordinates and an image's number for each region");
    if (height < 1 || width < 1 || height > INT32_MAX || width > INT32_MAX || ratio < 0 || ratio > INT32_MAX)
        return infer_error(n, "the output size or sampling ratio is out of range");
    if (rois->dim[0] && (!x->dim[0] || !x->dim[2] || !x->dim[3]))
        return infer_error(n, "the images are empty");
    const int64_t dim[] = {rois->dim[0], x->dim[1], height, width};
    return infer_set(n, 0, x->dtype, 4, dim);
}

/* One axis of a region: where its bin begins, how far apart and how many the samples are. */
typedef struct Span {
    KValue *start, *step, *count; /* count: INDEX */
} Span;

static Span span_of(Lower *l, const Node *n, const KIndex *idx, int axis) {
    KBuilder *b = &l->b;
    int coordinates, ratio = (int)attr_int(n, "sampling_ratio", 0), first = axis == 2 ? 1 : 0;
    infer_choice(n, "coordinate_transformation_mode", roi_coordinates, 2, &coordinates);
    KValue *end[2];
    for (int i = 0; i < 2; i++) {
        const KIndex at[2] = {idx[0], kx_const(l->arena, first + 2 * i)};
        KValue *x = lower_load(l, n, 1, at);
        end[i] = kb_fma(b, x, number(l, x, (double)attr_float(n, "spatial_scale", 1)), number(l, x, coordinates ? 0 : -0.5));
    }
    KValue *length = sub(l, end[1], end[0]);
    if (coordinates)
        length = kb_binary(b, KOP_MAX, length, number(l, length, 1));
    KValue *bin = kb_binary(b, KOP_DIV, length, number(l, length, (double)n->out[0]->dim[axis]));
    Span s = {.start = kb_fma(b, kb_cast(b, kx_value(b, idx[axis]), bin->type.dtype), bin, end[0])};
    s.count = ratio ? kb_int(b, DT_INDEX, ratio) : kb_cast(b, kb_cast(b, kb_math(b, KMATH_CEIL, bin, NULL), DT_I32), DT_INDEX);
    s.count = ratio ? s.count : kb_binary(b, KOP_MAX, s.count, kb_int(b, DT_INDEX, 0));
    s.step = kb_binary(b, KOP_DIV, bin, kb_cast(b, s.count, bin->type.dtype));
    return s;
}

/* The two elements round sample i of an axis, and their weights, which are 0 outside of the image. */
static Taps sample_taps(Lower *l, const Span *s, KValue *i, int64_t size) {
    KBuilder *b = &l->b;
    Taps t = {.n = 2};
    KValue *centre = add(l, kb_cast(b, i, s->step->type.dtype), number(l, s->step, 0.5));
    KValue *x = kb_fma(b, centre, s->step, s->start), *zero = number(l, x, 0);
    KValue *inside = kb_binary(b, KOP_LE, x, number(l, x, (double)size));
    inside = kb_binary(b, KOP_AND, kb_binary(b, KOP_GE, x, number(l, x, -1)), inside);
    x = kb_binary(b, KOP_MIN, kb_binary(b, KOP_MAX, x, zero), number(l, x, (double)(size - 1)));
    KValue *whole = floor_of(l, x), *part = sub(l, x, whole), *last = kb_int(b, DT_INDEX, size - 1);
    KValue *at = kb_cast(b, kb_cast(b, whole, DT_I32), DT_INDEX);
    at = kb_binary(b, KOP_MIN, kb_binary(b, KOP_MAX, at, kb_int(b, DT_INDEX, 0)), last);
    t.at[0] = kx_var(l->arena, at);
    t.at[1] = kx_var(l->arena, kb_binary(b, KOP_MIN, add(l, at, kb_int(b, DT_INDEX, 1)), last));
    t.weight[0] = kb_select(b, inside, sub(l, number(l, x, 1), part), zero);
    t.weight[1] = kb_select(b, inside, part, zero);
    return t;
}

ELEMENT(element_roi_align) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    int max;
    infer_choice(n, "mode", roi_modes, 2, &max);
    KIndex from[4] = {lower_index(l, lower_load(l, n, 2, idx), x->dim[0]), idx[1]};
    Span down = span_of(l, n, idx, 2), right = span_of(l, n, idx, 3);
    KValue *none = kb_int(b, DT_INDEX, 0), *zero = number(l, down.step, 0), *init = max ? number(l, zero, -INFINITY) : zero;
    KInstr *rows = kb_for(b, KLOOP_REDUCE, "r", none, down.count, 1, 1, &init);
    init = kb_carried(rows, 0);
    Taps y = sample_taps(l, &down, kb_iv(rows), x->dim[2]);
    KInstr *columns = kb_for(b, KLOOP_REDUCE, "c", none, right.count, 1, 1, &init);
    Taps z = sample_taps(l, &right, kb_iv(columns), x->dim[3]);
    KValue *sum = NULL;
    for (int i = 0; i < 4; i++) {
        from[2] = y.at[i / 2];
        from[3] = z.at[i % 2];
        KValue *term = mul(l, mul(l, y.weight[i / 2], z.weight[i % 2]), lower_load(l, n, 0, from));
        sum = !sum ? term : max ? kb_binary(b, KOP_MAX, sum, term) : add(l, sum, term);
    }
    KValue *next = kb_binary(b, max ? KOP_MAX : KOP_ADD, sum, kb_carried(columns, 0));
    kb_end_for(b, columns, &next);
    kb_end_for(b, rows, columns->result);
    KValue *samples = mul(l, kb_cast(b, down.count, zero->type.dtype), kb_cast(b, right.count, zero->type.dtype));
    KValue *any = kb_binary(b, KOP_LT, zero, samples), *result = kb_result(rows, 0);
    if (!max)
        result = kb_binary(b, KOP_DIV, result, kb_binary(b, KOP_MAX, samples, number(l, zero, 1)));
    return kb_select(b, any, result, zero);
}

/* --- Col2Im --- */

static bool col2im_window(const Node *n, Window *w) {
    const int64_t *image, *block;
    int count, blocks;
    if (!infer_ints(n, 1, &image, &count) || !infer_ints(n, 2, &block, &blocks))
        return false;
    if (count != blocks || count < 1 || count > GRAPH_MAX_RANK - 2)
        return infer_error(n, "the image has %d axes and a block %d", count, blocks);
    *w = (Window){.n = count};
    int64_t pads[2 * GRAPH_MAX_RANK];
    if (!infer_ints_attr(n, "strides", count, 1, INT32_MAX, 1, w->stride) ||
        !infer_ints_attr(n, "dilations", count, 1, INT32_MAX, 1, w->dilation) ||
        !infer_ints_attr(n, "pads", 2 * count, 0, INT32_MAX, 0, pads))
        return false;
    for (int d = 0; d < count; d++) {
        if (image[d] < 0 || image[d] > INT32_MAX || block[d] < 1 || block[d] > INT32_MAX)
            return infer_error(n, "axis %d of the image or block has size %lld or %lld", d, (long long)image[d],
                               (long long)block[d]);
        w->out[d] = image[d];
        w->kernel[d] = block[d];
        w->before[d] = pads[d];
        int64_t span = image[d] + pads[d] + pads[count + d] - (w->dilation[d] * (block[d] - 1) + 1);
        w->in[d] = span < 0 ? 0 : span / w->stride[d] + 1;
    }
    return true;
}

INFER(infer_col2im) {
    const Value *x = n->in[0];
    Window w;
    int64_t dim[GRAPH_MAX_RANK], patch, places;
    if (!infer_numeric(n, 0) || !col2im_window(n, &w))
        return false;
    if (x->rank != 3 || !dims_count(w.n, w.kernel, &patch) || !dims_count(w.n, w.in, &places) || x->dim[1] % patch ||
        x->dim[2] != places)
        return infer_error(n, "the input must have the elements of all patches in axis 1 and the places of patches in axis 2");
    dim[0] = x->dim[0];
    dim[1] = x->dim[1] / patch;
    memcpy(dim + 2, w.out, (size_t)w.n * sizeof *dim);
    return infer_set(n, 0, x->dtype, w.n + 2, dim);
}

ELEMENT(element_col2im) {
    Window w;
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    col2im_window(n, &w);
    KInstr *loop[GRAPH_MAX_RANK];
    KValue *inside = kb_int(b, DT_BOOL, 1), *sum = kb_int(b, lower_compute_type(n->in[0]->dtype), 0);
    KIndex row = idx[1], column = kx_const(a, 0);
    for (int d = 0; d < w.n; d++) {
        loop[d] = lower_for(l, KLOOP_REDUCE, "k", 0, w.kernel[d], 1, &sum);
        sum = kb_carried(loop[d], 0);
        KIndex tap = lower_iv(l, loop[d]);
        KIndex reach = kx_add_const(a, kx_sub(a, idx[d + 2], kx_scale(a, tap, w.dilation[d])), w.before[d]);
        KValue *zero = kb_int(b, DT_INDEX, 0), *size = kb_int(b, DT_INDEX, w.in[d]);
        KValue *place = kx_value(b, kx_div(b, reach, w.stride[d]));
        KValue *whole = kb_binary(b, KOP_EQ, kx_value(b, kx_rem(b, reach, w.stride[d])), zero);
        KValue *within = kb_binary(b, KOP_AND, kb_binary(b, KOP_GE, place, zero), kb_binary(b, KOP_LT, place, size));
        inside = kb_binary(b, KOP_AND, inside, kb_binary(b, KOP_AND, whole, within));
        row = kx_add(a, kx_scale(a, row, w.kernel[d]), tap);
        column = kx_add(a, kx_scale(a, column, w.in[d]), kx_var(a, place));
    }
    const KIndex from[3] = {idx[0], row, column};
    KInstr *branch = kb_if(b, inside, 1);
    KValue *next = value_count(n->in[0]) ? add(l, lower_load(l, n, 0, from), sum) : sum;
    kb_else(b, branch, &next);
    kb_end_if(b, branch, &sum);
    KValue *result = kb_result(branch, 0);
    for (int d = w.n - 1; d >= 0; d--) {
        kb_end_for(b, loop[d], &result);
        result = kb_result(loop[d], 0);
    }
    return result;
}
