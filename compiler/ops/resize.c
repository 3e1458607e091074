/* SPDX-License-Identifier: Apache-2.0 */
/* Resize. Each axis is resampled on its own: where an output position reads and with what weights is known to the
 * compiler, and becomes index arithmetic where it is regular, else tables. */
#include <math.h>

#include "ops/rules.h"
#include "support/ints.h"

/* Inputs. */
enum { IN_X, IN_ROI, IN_SCALES, IN_SIZES };

enum {
    MOST_UNROLLED = 16,      /* loads of one output element without a loop */
    MOST_ENTRIES = 1 << 26,  /* of one axis's tables */
};

typedef enum Mode { NEAREST, LINEAR, CUBIC, MODES } Mode;
typedef enum Coordinates {
    HALF_PIXEL, HALF_PIXEL_SYMMETRIC, PYTORCH_HALF_PIXEL, ALIGN_CORNERS, ASYMMETRIC, TF_CROP_AND_RESIZE, COORDINATES
} Coordinates;
typedef enum Rounding { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, FLOOR, CEIL, ROUNDINGS } Rounding;
typedef enum Policy { STRETCH, NOT_LARGER, NOT_SMALLER, POLICIES } Policy;

typedef struct Axis {
    bool same; /* output position i is input position i */
    int64_t in, out;
    double scale, roi[2];
    /* Output position o is the sum of `taps` elements from first[o] on, times weight[o * taps …] (NULL: one tap of
     * weight 1). start is first before it was brought into the input. */
    int64_t taps, *first, *start;
    double *weight;
    int64_t inside[2]; /* output positions that are not extrapolated: from, up to */
} Axis;

typedef struct Resize {
    int rank;
    Mode mode;
    Coordinates coordinates;
    Rounding rounding;
    bool antialias, exclude_outside;
    double cubic_a;
    Axis axis[GRAPH_MAX_RANK];
} Resize;

/* --- attributes and sizes --- */

static bool read_attributes(const Node *n, Resize *r, Policy *policy) {
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coordinates[] = {"half_pixel",    "half_pixel_symmetric", "pytorch_half_pixel",
                                              "align_corners", "asymmetric",           "tf_crop_and_resize"};
    static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller"};
    int mode = 0, coordinate = 0, rounding = 0, p = 0;
    if (!infer_choice(n, "mode", modes, MODES, &mode) ||
        !infer_choice(n, "coordinate_transformation_mode", coordinates, COORDINATES, &coordinate) ||
        !infer_choice(n, "nearest_mode", roundings, ROUNDINGS, &rounding) ||
        !infer_choice(n, "keep_aspect_ratio_policy", policies, POLICIES, &p))
        return false;
    r->mode = (Mode)mode;
    r->coordinates = (Coordinates)coordinate;
    r->rounding = (Rounding)rounding;
    *policy = (Policy)p;
    r->antialias = attr_int(n, "antialias", 0) != 0;
    r->exclude_outside = attr_int(n, "exclude_outside", 0) != 0;
    r->cubic_a = (double)attr_float(n, "cubic_coeff_a", -0.75f);
    if (r->antialias && r->mode == NEAREST)
        return infer_error(n, "attribute \"antialias\" needs mode linear or cubic");
    return true;
}

/* The axes that roi, scales and sizes speak of, in order. */
static bool read_axes(const Node *n, int *axis, int *count) {
    int rank = n->in[IN_X]->rank;
    const Attr *a = node_attr(n, "axes");
    bool seen[GRAPH_MAX_RANK] = {false};
    if (!a || a->kind != ATTR_INTS) {
        for (int d = 0; d < rank; d++)
            axis[d] = d;
        *count = rank;
        return true;
    }
    *count = 0;
    for (int i = 0; i < a->n; i++) {
        int d;
        if (!infer_axis(n, a->ints[i], rank, false, &d))
            return false;
        if (seen[d])
            return infer_error(n, "attribute \"axes\" has axis %d twice", d);
        seen[d] = true;
        axis[(*count)++] = d;
    }
    return true;
}

static bool given(const Node *n, int input) {
    const Value *v = input < n->nin ? n->in[input] : NULL;
    return v && !(v->rank == 1 && v->dim[0] == 0);
}

/* A constant input of exactly count floating-point numbers. */
static bool check_floats(const Node *n, int input, const char *what, int count) {
    const Value *v = n->in[input];
    if (!infer_float(n, input))
        return false;
    if (!value_is_const(v))
        return infer_error(n, "input %d (%s) must be constant", input, what);
    if (v->rank != 1 || v->dim[0] != count)
        return infer_error(n, "input %d (%s) must have %d elements", input, what, count);
    return true;
}

static bool read_roi(const Node *n, Resize *r, const int *axis, int count) {
    if (r->coordinates != TF_CROP_AND_RESIZE)
        return true;
    if (!given(n, IN_ROI))
        return infer_error(n, "tf_crop_and_resize needs input %d (roi)", IN_ROI);
    if (!check_floats(n, IN_ROI, "roi", 2 * count))
        return false;
    for (int i = 0; i < count; i++) {
        r->axis[axis[i]].roi[0] = const_float(n->in[IN_ROI], i);
        r->axis[axis[i]].roi[1] = const_float(n->in[IN_ROI], i + count);
    }
    return true;
}

static bool read_scales(const Node *n, Resize *r, const int *axis, int count) {
    if (!check_floats(n, IN_SCALES, "scales", count))
        return false;
    for (int i = 0; i < count; i++) {
        Axis *a = &r->axis[axis[i]];
        a->scale = const_float(n->in[IN_SCALES], i);
        if (!(a->scale > 0) || !isfinite(a->scale))
            return infer_error(n, "scale %d is %g", i, a->scale);
        /* In single precision, as the shape rule of ONNX: 10 * 0.7 is 7. */
        double size = (double)floorf((float)a->in * (float)a->scale);
        if (size > 0x1p40)
            return infer_error(n, "scale %d gives a size of %g", i, size);
        a->out = (int64_t)size;
    }
    return true;
}

static bool read_sizes(const Node *n, Resize *r, const int *axis, int count, Policy policy) {
    const int64_t *size;
    int sizes;
    double chosen = 0;
    if (!infer_ints(n, IN_SIZES, &size, &sizes))
        return false;
    if (sizes != count)
        return infer_error(n, "input %d (sizes) must have %d elements", IN_SIZES, count);
    for (int i = 0; i < count; i++) {
        Axis *a = &r->axis[axis[i]];
        if (size[i] < 0 || (size[i] > 0 && a->in == 0))
            return infer_error(n, "axis %d of size %lld cannot become %lld", axis[i], (long long)a->in, (long long)size[i]);
        a->out = size[i];
        a->scale = a->in ? (double)size[i] / (double)a->in : 1;
        if (i == 0 || (policy == NOT_LARGER ? a->scale < chosen : a->scale > chosen))
            chosen = a->scale;
    }
    for (int i = 0; i < count && policy != STRETCH; i++) {
        Axis *a = &r->axis[axis[i]];
        double rounded = floor(chosen * (double)a->in + 0.5);
        if (rounded > 0x1p40)
            return infer_error(n, "axis %d would have size %g", axis[i], rounded);
        a->scale = chosen;
        a->out = (int64_t)rounded;
    }
    return true;
}

/* Elements that contribute to one, before those outside are counted in. */
static double kernel_size(const Resize *r, const Axis *a) {
    double shrink = r->antialias && a->scale < 1 ? a->scale : 1;
    if (r->mode == NEAREST)
        return 1;
    return 2 - 2 * (floor(-(r->mode == CUBIC ? 2 : 1) / shrink) + 1);
}

static bool read_resize(const Node *n, Resize *r) {
    const Value *x = n->in[IN_X];
    int axis[GRAPH_MAX_RANK], count;
    Policy policy;
    *r = (Resize){.rank = x->rank};
    for (int d = 0; d < x->rank; d++)
        r->axis[d] = (Axis){.in = x->dim[d], .out = x->dim[d], .scale = 1, .roi = {0, 1}};
    if (!read_attributes(n, r, &policy) || !read_axes(n, axis, &count) || !read_roi(n, r, axis, count))
        return false;
    if (given(n, IN_SCALES) == given(n, IN_SIZES))
        return infer_error(n, "exactly one of scales and sizes must be given");
    if (given(n, IN_SCALES) ? !read_scales(n, r, axis, count) : !read_sizes(n, r, axis, count, policy))
        return false;
    for (int d = 0; d < x->rank; d++) {
        Axis *a = &r->axis[d];
        a->same = a->in == a->out && (a->scale == 1 || !a->in) && a->roi[0] == 0 && a->roi[1] == 1;
        if (!a->same && (a->in >= MOST_ENTRIES || kernel_size(r, a) * (double)a->out > (double)MOST_ENTRIES))
            return infer_error(n, "resizing axis %d from %lld to %lld is not supported: it is too large", d, (long long)a->in,
                               (long long)a->out);
    }
    return true;
}

INFER(infer_resize) {
    Resize r;
    int64_t dim[GRAPH_MAX_RANK];
    DType t = n->in[IN_X]->dtype;
    if (!read_resize(n, &r))
        return false;
    if (t == DT_STRING || (t == DT_BOOL && r.mode != NEAREST))
        return infer_error(n, "elements of type %s cannot be interpolated", dtype_name(t));
    for (int d = 0; d < r.rank; d++)
        dim[d] = r.axis[d].out;
    return infer_set(n, 0, t, r.rank, dim);
}

/* --- coordinates and weights of one axis --- */

static double coordinate(const Resize *r, const Axis *a, int64_t o) {
    double x = (double)o, in = (double)a->in, out = a->scale * in;
    switch (r->coordinates) {
    case ALIGN_CORNERS:
        return out == 1 ? 0 : x * (in - 1) / (out - 1);
    case ASYMMETRIC:
        return x / a->scale;
    case TF_CROP_AND_RESIZE: {
        double extent = (a->roi[1] - a->roi[0]) * (in - 1);
        return (out == 1 ? extent / 2 : x * extent / (out - 1)) + a->roi[0] * (in - 1);
    }
    case PYTORCH_HALF_PIXEL:
        return out == 1 ? -0.5 : (x + 0.5) / a->scale - 0.5;
    case HALF_PIXEL_SYMMETRIC:
        return in / 2 * (1 - (double)a->out / out) + (x + 0.5) / a->scale - 0.5;
    case HALF_PIXEL:
    default:
        return (x + 0.5) / a->scale - 0.5;
    }
}

static double rounded(Rounding mode, double x) {
    double below = floor(x), rest = x - below;
    switch (mode) {
    case FLOOR: return below;
    case CEIL: return ceil(x);
    case ROUND_PREFER_CEIL: return rest >= 0.5 ? below + 1 : below;
    case ROUND_PREFER_FLOOR:
    default: return rest > 0.5 ? below + 1 : below;
    }
}

static double cubic(double a, double x) {
    x = fabs(x);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* The weights of the n elements around a position; the one at n/2 - 1 lies at distance `ratio` to the left. */
static void weigh(const Resize *r, const Axis *a, double ratio, int64_t n, double *w) {
    double shrink = r->antialias && a->scale < 1 ? a->scale : 1, sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = ((double)(i - n / 2 + 1) - ratio) * shrink;
        w[i] = r->mode == CUBIC ? cubic(r->cubic_a, x) : fmax(1 - fabs(x), 0);
        sum += w[i];
    }
    for (int64_t i = 0; i < n && r->antialias && sum != 0; i++)
        w[i] /= sum;
}

static void drop_outside(const Axis *a, int64_t start, int64_t n, double *w) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (start + i < 0 || start + i >= a->in)
            w[i] = 0;
        sum += w[i];
    }
    for (int64_t i = 0; i < n && sum != 0; i++)
        w[i] /= sum;
}

/* Where every output position is one input element, there are no weights. */
static void drop_weights(Axis *a) {
    for (int64_t o = 0; o < a->out; o++) {
        int ones = 0, others = 0;
        for (int64_t k = 0; k < a->taps; k++) {
            ones += a->weight[o * a->taps + k] == 1;
            others += a->weight[o * a->taps + k] != 0;
        }
        if (ones != 1 || others != 1)
            return;
    }
    for (int64_t o = 0; o < a->out; o++) {
        int64_t k = 0;
        while (a->weight[o * a->taps + k] != 1)
            k++;
        a->first[o] += k;
    }
    a->start = a->first;
    a->weight = NULL;
    a->taps = 1;
}

static void plan_axis(Arena *arena, const Resize *r, Axis *a) {
    int64_t n = (int64_t)kernel_size(r, a);
    double *w = ARENA_ARRAY(arena, double, n);
    a->taps = n < a->in ? n : a->in;
    a->first = ARENA_ARRAY(arena, int64_t, a->out);
    a->start = n == a->taps ? ARENA_ARRAY(arena, int64_t, a->out) : a->first;
    a->weight = r->mode == NEAREST ? NULL : ARENA_ARRAY(arena, double, a->out * a->taps);
    a->inside[0] = a->out;
    for (int64_t o = 0; o < a->out; o++) {
        double x = coordinate(r, a, o);
        if (r->coordinates != TF_CROP_AND_RESIZE || (x >= 0 && x <= (double)(a->in - 1))) {
            a->inside[0] = o < a->inside[0] ? o : a->inside[0];
            a->inside[1] = o + 1;
        }
        x = fmin(fmax(x, -0x1p40), 0x1p40);
        if (r->mode == NEAREST) {
            a->start[o] = (int64_t)rounded(r->rounding, x);
            a->first[o] = clamp_int(a->start[o], 0, a->in - 1);
            continue;
        }
        double below = floor(x), ratio = x - below;
        int64_t start = (int64_t)below - n / 2 + 1;
        weigh(r, a, ratio, n, w);
        if (r->exclude_outside)
            drop_outside(a, start, n, w);
        a->start[o] = start;
        a->first[o] = clamp_int(start, 0, a->in - a->taps);
        for (int64_t i = 0; i < n; i++)
            a->weight[o * a->taps + clamp_int(start + i, 0, a->in - 1) - a->first[o]] += w[i];
    }
    if (a->weight)
        drop_weights(a);
}

/* --- code --- */

/* start[o] = base + (a * o + b) / c for every o. */
typedef struct Line {
    int64_t base, a, b, c;
} Line;

static int64_t next_change(const int64_t *x, int64_t from, int64_t n) {
    int64_t i = from + 1;
    while (i < n && x[i] == x[from])
        i++;
    return i;
}

static bool fits(const Line *line, const int64_t *x, int64_t n) {
    for (int64_t o = 0; o < n; o++)
        if (x[o] != line->base + (line->a * o + line->b) / line->c)
            return false;
    return true;
}

static bool find_line(const Axis *a, Line *line) {
    const int64_t *x = a->start;
    int64_t n = a->out;
    *line = (Line){x[0], n > 1 ? x[1] - x[0] : 0, 0, 1};
    if (fits(line, x, n))
        return true;
    /* Runs of c equal indices; the first and the last may be shorter. */
    int64_t one = next_change(x, 0, n), two = next_change(x, one, n);
    int64_t c = two < n || two - one > one ? two - one : one;
    *line = (Line){x[0], 1, c - one, c};
    return one <= c && fits(line, x, n);
}

static KIndex from_table(Lower *l, const Axis *a, KIndex o) {
    int32_t *entries = ARENA_ARRAY(l->arena, int32_t, a->out);
    for (int64_t i = 0; i < a->out; i++)
        entries[i] = (int32_t)a->first[i];
    KParam *table = lower_table(l, "resize_index", DT_I32, a->out, entries);
    return kx_var(l->arena, kb_cast(&l->b, kb_load(&l->b, table, o), DT_INDEX));
}

/* The first input element for output position o. */
static KIndex first_element(Lower *l, const Axis *a, KIndex o) {
    KBuilder *b = &l->b;
    Line line;
    if (a->same)
        return o;
    if (!find_line(a, &line))
        return from_table(l, a, o);
    KIndex x = kx_add_const(l->arena, kx_scale(l->arena, o, line.a), line.b);
    if (line.c > 1)
        x = kx_div(b, x, line.c);
    x = kx_add_const(l->arena, x, line.base);
    bool below = false, above = false;
    for (int64_t i = 0; i < a->out; i++) {
        below |= a->start[i] < a->first[i];
        above |= a->start[i] > a->first[i];
    }
    if (below)
        x = kx_var(l->arena, kb_binary(b, KOP_MAX, kx_value(b, x), kb_int(b, DT_INDEX, 0)));
    if (above)
        x = kx_var(l->arena, kb_binary(b, KOP_MIN, kx_value(b, x), kb_int(b, DT_INDEX, a->in - a->taps)));
    return x;
}

static KParam *weight_table(Lower *l, const Axis *a, DType t) {
    int64_t count = a->out * a->taps;
    if (t == DT_F64)
        return lower_table(l, "resize_weight", t, count, a->weight);
    float *w = ARENA_ARRAY(l->arena, float, count);
    for (int64_t i = 0; i < count; i++)
        w[i] = (float)a->weight[i];
    return lower_table(l, "resize_weight", t, count, w);
}

typedef struct Sampling {
    Lower *l;
    const Node *n;
    const Resize *r;
    DType t; /* of the arithmetic */
    KIndex from[GRAPH_MAX_RANK], at[GRAPH_MAX_RANK]; /* first element; the element that is being read */
    KIndex row[GRAPH_MAX_RANK];                     /* where the output position's weights begin */
    KParam *table[GRAPH_MAX_RANK];                  /* NULL: no weights */
    bool unrolled[GRAPH_MAX_RANK];
    KValue *weight[GRAPH_MAX_RANK][MOST_UNROLLED];
} Sampling;

/* The weighted sum over the axes from d on. */
static KValue *sample(Sampling *s, int d) {
    KBuilder *b = &s->l->b;
    while (d < s->r->rank && !s->table[d]) {
        s->at[d] = s->from[d];
        d++;
    }
    if (d == s->r->rank)
        return kb_cast(b, lower_load(s->l, s->n, IN_X, s->at), s->t);
    int64_t taps = s->r->axis[d].taps;
    if (s->unrolled[d]) {
        KValue *sum = NULL;
        for (int k = 0; k < taps; k++) {
            s->at[d] = kx_add_const(s->l->arena, s->from[d], k);
            KValue *x = sample(s, d + 1), *w = s->weight[d][k];
            sum = sum ? kb_fma(b, x, w, sum) : kb_binary(b, KOP_MUL, x, w);
        }
        return sum;
    }
    KValue *zero = kb_float(b, s->t, 0);
    KInstr *loop = lower_for(s->l, KLOOP_REDUCE, "k", 0, taps, 1, &zero);
    KIndex k = lower_iv(s->l, loop);
    s->at[d] = kx_add(s->l->arena, s->from[d], k);
    KValue *x = sample(s, d + 1), *w = kb_load(b, s->table[d], kx_add(s->l->arena, s->row[d], k));
    KValue *next = kb_fma(b, x, w, kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    return kb_result(loop, 0);
}

static void prepare_axes(Sampling *s, const KIndex *idx) {
    Lower *l = s->l;
    int64_t loads = 1;
    for (int d = s->r->rank - 1; d >= 0; d--) {
        const Axis *a = &s->r->axis[d];
        s->from[d] = first_element(l, a, idx[d]);
        if (!a->weight)
            continue;
        s->table[d] = weight_table(l, a, s->t);
        s->row[d] = kx_scale(l->arena, idx[d], a->taps);
        s->unrolled[d] = a->taps * loads <= MOST_UNROLLED;
        if (!s->unrolled[d])
            continue;
        loads *= a->taps;
        for (int k = 0; k < a->taps; k++)
            s->weight[d][k] = kb_load(&l->b, s->table[d], kx_add_const(l->arena, s->row[d], k));
    }
}

/* x, or extrapolation_value where the position on some axis lies outside the input. */
static KValue *extrapolate(Lower *l, const Node *n, const Resize *r, const KIndex *idx, KValue *x) {
    KBuilder *b = &l->b;
    KValue *outside = kb_int(b, DT_BOOL, 0);
    for (int d = 0; d < r->rank; d++) {
        const Axis *a = &r->axis[d];
        if (a->same)
            continue;
        KValue *o = kx_value(b, idx[d]);
        outside = kb_binary(b, KOP_OR, outside, kb_binary(b, KOP_LT, o, kb_int(b, DT_INDEX, a->inside[0])));
        outside = kb_binary(b, KOP_OR, outside, kb_binary(b, KOP_GE, o, kb_int(b, DT_INDEX, a->inside[1])));
    }
    KValue *otherwise = kb_float(b, DT_F64, (double)attr_float(n, "extrapolation_value", 0));
    return kb_select(b, outside, kb_cast(b, otherwise, x->type.dtype), x);
}

ELEMENT(element_resize) {
    Resize r;
    KBuilder *b = &l->b;
    DType to = lower_compute_type(n->out[0]->dtype);
    read_resize(n, &r);
    for (int d = 0; d < r.rank; d++)
        if (!r.axis[d].same && r.axis[d].out)
            plan_axis(l->arena, &r, &r.axis[d]);
        else
            r.axis[d].same = true;
    bool weighted = false;
    for (int d = 0; d < r.rank; d++)
        weighted |= r.axis[d].weight != NULL;
    Sampling s = {.l = l, .n = n, .r = &r, .t = to};
    if (weighted && !dtype_is_float(to))
        s.t = dtype_bits(to) <= 16 ? DT_F32 : DT_F64;
    prepare_axes(&s, idx);
    KValue *x = extrapolate(l, n, &r, idx, sample(&s, 0));
    return dtype_is_float(to) || !weighted ? x : kb_cast(b, kb_math(b, KMATH_ROUND, x, NULL), to); /* saturates */
}
