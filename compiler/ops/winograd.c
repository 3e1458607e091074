/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc.WinogradConv: a 3x3 convolution of stride 1 by transformed tiles. A band of tile rows at a time, so that what lies
 * between stays in the cache: the tiles of the input are transformed, multiplied, and transformed back. */
#include "ops/winograd.h"

#include <math.h>

#include "ops/rules.h"
#include "support/ints.h"

enum { MOST_BAND = 1 << 16, MOST_THREADS = 1 << 10 };

static const Winograd known[] = {
    {2, 4,
     {{1, 0, -1, 0}, {0, 1, 1, 0}, {0, -1, 1, 0}, {0, 1, 0, -1}},
     {{1, 0, 0}, {1 / 2.0, 1 / 2.0, 1 / 2.0}, {1 / 2.0, -1 / 2.0, 1 / 2.0}, {0, 0, 1}},
     {{1, 1, 1, 0}, {0, 1, -1, -1}}},
    {4, 6,
     {{4, 0, -5, 0, 1, 0}, {0, -4, -4, 1, 1, 0}, {0, 4, -4, -1, 1, 0}, {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}},
     {{1 / 4.0, 0, 0},
      {-1 / 6.0, -1 / 6.0, -1 / 6.0},
      {-1 / 6.0, 1 / 6.0, -1 / 6.0},
      {1 / 24.0, 1 / 12.0, 1 / 6.0},
      {1 / 24.0, -1 / 12.0, 1 / 6.0},
      {0, 0, 1}},
     {{1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}}},
};

const Winograd *winograd_find(int64_t tile) { return tile == 2 ? &known[0] : tile == 4 ? &known[1] : NULL; }

double winograd_growth(const Winograd *w) {
    double most = 0;
    for (int i = 0; i < w->tile; i++) {
        for (int k = 0; k < 3; k++) {
            double sum = 0;
            for (int p = 0; p < w->side; p++)
                for (int j = 0; j < w->side; j++)
                    sum += fabs(w->at[i][p] * w->g[p][k] * w->bt[p][j]);
            most = sum > most ? sum : most;
        }
    }
    return most * most; /* rows, then columns */
}

/* Inputs X (N, C, H, W), U (side * side, C, M) and maybe a bias; attributes tile, rows (of tiles in a band), pads, and threads,
 * each of which has its own scratch and some of the bands. */
typedef struct Shape {
    const Winograd *w;
    int64_t band, threads, images, channels, outputs;
    int64_t in[2], before[2], out[2], tiles[2];
} Shape;

static bool read_shape(const Node *n, Shape *s) {
    const Value *x = n->in[0], *u = n->in[1];
    int64_t pads[4];
    *s = (Shape){.w = winograd_find(attr_int(n, "tile", 0)), .band = attr_int(n, "rows", 1), .threads = attr_int(n, "threads", 1)};
    if (!s->w || s->band < 1 || s->band > MOST_BAND || s->threads < 1 || s->threads > MOST_THREADS)
        return infer_error(n, "attributes \"tile\", \"rows\" and \"threads\" are wrong");
    if (x->rank != 4 || u->rank != 3 || u->dim[0] != s->w->side * s->w->side || u->dim[1] != x->dim[1])
        return infer_error(n, "the transformed weights do not fit the input");
    if (!infer_ints_attr(n, "pads", 4, 0, 2, 0, pads))
        return false;
    s->images = x->dim[0];
    s->channels = x->dim[1];
    s->outputs = u->dim[2];
    for (int d = 0; d < 2; d++) {
        s->in[d] = x->dim[d + 2];
        s->before[d] = pads[d];
        if (s->in[d] < s->w->side || s->in[d] > INT32_MAX)
            return infer_error(n, "the image is smaller than a tile");
        s->out[d] = s->in[d] + pads[d] + pads[d + 2] - 2;
        s->tiles[d] = divide_up(s->out[d], s->w->tile);
    }
    return true;
}

INFER(infer_winograd_conv) {
    Shape s;
    int64_t count;
    const Value *bias = n->nin > 2 ? n->in[2] : NULL;
    if (n->in[0]->dtype != DT_F32 || !infer_one_type(n))
        return infer_error(n, "all inputs must be float32");
    if (!read_shape(n, &s))
        return false;
    if (bias && (bias->rank != 1 || bias->dim[0] != s.outputs))
        return infer_error(n, "the bias must have one element for each output channel");
    if (!dims_count(5, (const int64_t[]){s.threads, n->in[1]->dim[0], s.band, s.tiles[1], s.channels}, &count) ||
        !dims_count(5, (const int64_t[]){s.threads, n->in[1]->dim[0], s.band, s.tiles[1], s.outputs}, &count))
        return infer_error(n, "the image is too large");
    return infer_set(n, 0, DT_F32, 4, (const int64_t[]){s.images, s.outputs, s.out[0], s.out[1]});
}

MACS(macs_winograd_conv) {
    Shape s;
    read_shape(n, &s);
    return (double)s.images * (double)s.tiles[0] * (double)s.tiles[1] * (double)value_count(n->in[1]);
}

/* --- linear combinations with small constants --- */

/* acc + factor * x, where acc may be NULL for nothing and factor 0. */
static KValue *term(KBuilder *b, double factor, KValue *x, KValue *acc) {
    if (factor == 0)
        return acc;
    if (!acc)
        return factor == 1 ? x : kb_binary(b, KOP_MUL, x, kb_const_like(b, x->type, factor));
    if (factor == 1 || factor == -1)
        return kb_binary(b, factor == 1 ? KOP_ADD : KOP_SUB, acc, x);
    return kb_fma(b, x, kb_const_like(b, x->type, factor), acc);
}

/* The sum over every step-th element; it begins where no product is needed. */
static KValue *combine(KBuilder *b, const double *factor, KValue *const *x, int first, int step, int n) {
    KValue *sum = NULL;
    int start = -1;
    for (int i = n - 1; i >= first; i--)
        if ((i - first) % step == 0 && factor[i] == 1)
            start = i;
    if (start >= 0)
        sum = x[start];
    for (int i = first; i < n; i += step)
        if (i != start)
            sum = term(b, factor[i], x[i], sum);
    return sum;
}

/* Bt x. The rows between the first and the last come in pairs that differ in the signs of the odd elements. */
static void forward(KBuilder *b, const Winograd *w, KValue *const *x, KValue **y) {
    int last = w->side - 1;
    y[0] = combine(b, w->bt[0], x, 0, 1, w->side);
    y[last] = combine(b, w->bt[last], x, 0, 1, w->side);
    for (int r = 1; r < last; r += 2) {
        KValue *even = combine(b, w->bt[r], x, 0, 2, w->side), *odd = combine(b, w->bt[r], x, 1, 2, w->side);
        y[r] = kb_binary(b, KOP_ADD, even, odd);
        y[r + 1] = kb_binary(b, KOP_SUB, even, odd);
    }
}

/* At x. Even rows weigh both elements of a pair alike, odd ones with opposite signs. */
static void backward(KBuilder *b, const Winograd *w, KValue *const *x, KValue **y) {
    KValue *sum[WINOGRAD_MOST], *difference[WINOGRAD_MOST];
    int last = w->side - 1;
    for (int p = 1; p < last; p += 2) {
        sum[p] = kb_binary(b, KOP_ADD, x[p], x[p + 1]);
        difference[p] = kb_binary(b, KOP_SUB, x[p], x[p + 1]);
    }
    for (int i = 0; i < w->tile; i++) {
        KValue *acc = term(b, w->at[i][0], x[0], NULL);
        for (int p = 1; p < last; p += 2)
            acc = term(b, w->at[i][p], i % 2 ? difference[p] : sum[p], acc);
        y[i] = term(b, w->at[i][last], x[last], acc);
    }
}

/* --- lowering --- */

typedef struct Work {
    Lower *l;
    const Node *n;
    Shape s;
    int64_t tiles; /* of a band */
    KIndex thread, image, first; /* first output row of the band */
    KIndex end[2]; /* of the input that it may read, and … */
    KIndex out_end[2]; /* of the output that it is to write */
    KParam *v, *m, *y;   /* transformed input and products (point, tile, channel), a tile of outputs (place, channel) */
} Work;

/* x within 0 … end - extent. */
static KIndex clamped(KBuilder *b, KIndex x, int64_t extent, KIndex end) {
    KValue *low = kb_binary(b, KOP_MAX, kx_value(b, x), kb_int(b, DT_INDEX, 0));
    return kx_var(b->arena, kb_binary(b, KOP_MIN, low, kx_value(b, kx_add_const(b->arena, end, -extent))));
}

static KValue *within(KBuilder *b, KIndex from, int64_t extent, KIndex end) {
    KValue *low = kb_binary(b, KOP_GE, kx_value(b, from), kb_int(b, DT_INDEX, 0));
    KValue *high = kb_binary(b, KOP_LE, kx_value(b, from), kx_value(b, kx_add_const(b->arena, end, -extent)));
    return kb_binary(b, KOP_AND, low, high);
}

/* Where the thread's part of a scratch for so many elements begins. */
static KIndex own(const Work *w, int64_t count) { return kx_scale(w->l->arena, w->thread, count); }

static int64_t points_of(const Work *w) { return w->s.w->side * w->s.w->side; }

static KIndex place(Work *w, int64_t at, KIndex tile, int64_t channels, KIndex c) {
    Arena *a = w->l->arena;
    KIndex start = kx_add_const(a, own(w, points_of(w) * w->tiles * channels), at * w->tiles * channels);
    return kx_add(a, start, kx_add(a, kx_scale(a, tile, channels), c));
}

/* Bt d B for the elements x in rows of `side`, stored. */
static void store_forward(Work *w, KValue **x, KIndex tile, KIndex c) {
    KBuilder *b = &w->l->b;
    int side = w->s.w->side;
    KValue *columns[WINOGRAD_MOST * WINOGRAD_MOST], *in[WINOGRAD_MOST], *out[WINOGRAD_MOST];
    for (int j = 0; j < side; j++) {
        for (int i = 0; i < side; i++)
            in[i] = x[i * side + j];
        forward(b, w->s.w, in, out);
        for (int i = 0; i < side; i++)
            columns[i * side + j] = out[i];
    }
    for (int i = 0; i < side; i++) {
        forward(b, w->s.w, columns + i * side, out);
        for (int j = 0; j < side; j++)
            kb_store(b, w->v, place(w, i * side + j, tile, w->s.channels, c), out[j]);
    }
}

/* The elements under a tile; zeros where it reaches beyond the image, which it does only if at_border. */
static void load_tile(Work *w, const KIndex *from, bool at_border, KIndex c, KValue **x) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    int side = w->s.w->side;
    KIndex at[4] = {w->image, c}, start[2];
    for (int d = 0; d < 2 && !at_border; d++)
        start[d] = clamped(b, from[d], side, w->end[d]); /* as it is, but in a range that all can see */
    for (int i = 0; i < side * side; i++) {
        const int offset[2] = {i / side, i % side};
        KValue *inside = NULL;
        for (int d = 0; d < 2; d++) {
            if (!at_border) {
                at[d + 2] = kx_add_const(l->arena, start[d], offset[d]);
                continue;
            }
            KIndex p = kx_add_const(l->arena, from[d], offset[d]);
            KValue *here = within(b, p, 1, w->end[d]);
            inside = inside ? kb_binary(b, KOP_AND, inside, here) : here;
            at[d + 2] = clamped(b, p, 1, w->end[d]);
        }
        x[i] = lower_load(l, w->n, 0, at);
        if (inside)
            x[i] = kb_select(b, inside, x[i], kb_float(b, DT_F32, 0));
    }
}

static void transform_input(Work *w) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    int tile = w->s.w->tile, side = w->s.w->side;
    KValue *x[WINOGRAD_MOST * WINOGRAD_MOST];
    KInstr *rows = lower_for(l, KLOOP_PARALLEL, "r", 0, w->s.band, 0, NULL);
    KInstr *columns = lower_for(l, KLOOP_PARALLEL, "q", 0, w->s.tiles[1], 0, NULL);
    KInstr *channels = lower_for(l, KLOOP_PARALLEL, "c", 0, w->s.channels, 0, NULL);
    KIndex r = lower_iv(l, rows), q = lower_iv(l, columns), c = lower_iv(l, channels);
    KIndex index = kx_add(a, kx_scale(a, r, w->s.tiles[1]), q);
    const KIndex from[2] = {kx_add_const(a, kx_add(a, w->first, kx_scale(a, r, tile)), -w->s.before[0]),
                            kx_add_const(a, kx_scale(a, q, tile), -w->s.before[1])};
    KValue *above = within(b, from[0], side, w->end[0]), *beside = within(b, from[1], side, w->end[1]);
    KInstr *branch = kb_if(b, kb_binary(b, KOP_AND, above, beside), 0);
    load_tile(w, from, false, c, x);
    store_forward(w, x, index, c);
    kb_else(b, branch, NULL);
    load_tile(w, from, true, c, x);
    store_forward(w, x, index, c);
    kb_end_if(b, branch, NULL);
    kb_end_for(b, channels, NULL);
    kb_end_for(b, columns, NULL);
    kb_end_for(b, rows, NULL);
}

static void multiply(Work *w) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    KInstr *points = lower_for(l, KLOOP_PARALLEL, "p", 0, w->n->in[1]->dim[0], 0, NULL);
    KInstr *tiles = lower_for(l, KLOOP_PARALLEL, "t", 0, w->tiles, 0, NULL);
    KInstr *outputs = lower_for(l, KLOOP_PARALLEL, "o", 0, w->s.outputs, 0, NULL);
    KIndex p = lower_iv(l, points), o = lower_iv(l, outputs);
    KIndex line = kx_add(a, own(w, points_of(w) * w->tiles), kx_add(a, kx_scale(a, p, w->tiles), lower_iv(l, tiles)));
    KValue *sum = kb_float(b, DT_F32, 0);
    KInstr *channels = lower_for(l, KLOOP_REDUCE, "c", 0, w->s.channels, 1, &sum);
    KIndex c = lower_iv(l, channels);
    KValue *factor = lower_load(l, w->n, 1, (const KIndex[]){p, c, o});
    KValue *x = kb_load(b, w->v, kx_add(a, kx_scale(a, line, w->s.channels), c));
    KValue *next = kb_fma(b, x, factor, kb_carried(channels, 0));
    kb_end_for(b, channels, &next);
    kb_store(b, w->m, kx_add(a, kx_scale(a, line, w->s.outputs), o), kb_result(channels, 0));
    kb_end_for(b, outputs, NULL);
    kb_end_for(b, tiles, NULL);
    kb_end_for(b, points, NULL);
}

/* At m A of one tile, into a scratch of its own: from there the elements that the image has go on. */
static void transform_back(Work *w, KIndex index) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    int side = w->s.w->side, tile = w->s.w->tile;
    KValue *columns[WINOGRAD_MOST * WINOGRAD_MOST], *in[WINOGRAD_MOST], *out[WINOGRAD_MOST];
    KInstr *outputs = lower_for(l, KLOOP_PARALLEL, "o", 0, w->s.outputs, 0, NULL);
    KIndex o = lower_iv(l, outputs);
    KValue *bias = w->n->nin > 2 && w->n->in[2] ? lower_load(l, w->n, 2, &o) : NULL;
    for (int j = 0; j < side; j++) {
        for (int i = 0; i < side; i++)
            in[i] = kb_load(b, w->m, place(w, i * side + j, index, w->s.outputs, o));
        backward(b, w->s.w, in, out);
        for (int i = 0; i < tile; i++)
            columns[i * side + j] = out[i];
    }
    for (int i = 0; i < tile; i++) {
        backward(b, w->s.w, columns + i * side, out);
        for (int j = 0; j < tile; j++)
            kb_store(b, w->y,
                     kx_add(a, own(w, tile * tile * w->s.outputs), kx_add_const(a, o, (i * tile + j) * w->s.outputs)),
                     bias ? kb_binary(b, KOP_ADD, out[j], bias) : out[j]);
    }
    kb_end_for(b, outputs, NULL);
}

/* Elements of a tile from `from` on that the image has. */
static KInstr *open_rest(Lower *l, const char *name, KIndex from, int64_t tile, KIndex end) {
    KBuilder *b = &l->b;
    KIndex left = kx_sub(l->arena, end, from);
    KValue *to = kb_binary(b, KOP_MIN, kx_value(b, left), kb_int(b, DT_INDEX, tile));
    return kb_for(b, KLOOP_PARALLEL, name, kb_int(b, DT_INDEX, 0), to, 1, 0, NULL);
}

static void transform_output(Work *w) {
    Lower *l = w->l;
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    int tile = w->s.w->tile;
    KInstr *rows = lower_for(l, KLOOP_SERIAL, "r", 0, w->s.band, 0, NULL);
    KInstr *columns = lower_for(l, KLOOP_SERIAL, "q", 0, w->s.tiles[1], 0, NULL);
    KIndex r = lower_iv(l, rows), q = lower_iv(l, columns);
    transform_back(w, kx_add(a, kx_scale(a, r, w->s.tiles[1]), q));
    const KIndex from[2] = {kx_add(a, w->first, kx_scale(a, r, tile)), kx_scale(a, q, tile)};
    KInstr *down = open_rest(l, "i", from[0], tile, w->out_end[0]), *along = open_rest(l, "j", from[1], tile, w->out_end[1]);
    KIndex i = lower_iv(l, down), j = lower_iv(l, along);
    KIndex row = clamped(b, kx_add(a, from[0], i), 1, w->out_end[0]), column = clamped(b, kx_add(a, from[1], j), 1, w->out_end[1]);
    KInstr *outputs = lower_for(l, KLOOP_PARALLEL, "o", 0, w->s.outputs, 0, NULL);
    KIndex o = lower_iv(l, outputs), at = kx_add(a, kx_scale(a, i, tile), j);
    KValue *y = kb_load(b, w->y, kx_add(a, own(w, tile * tile * w->s.outputs), kx_add(a, kx_scale(a, at, w->s.outputs), o)));
    lower_store(l, w->n, 0, (const KIndex[]){w->image, o, row, column}, y);
    kb_end_for(b, outputs, NULL);
    kb_end_for(b, along, NULL);
    kb_end_for(b, down, NULL);
    kb_end_for(b, columns, NULL);
    kb_end_for(b, rows, NULL);
}

/* The thread's share of the bands between two output rows. */
static KInstr *open_bands(Work *w, KIndex from, KIndex to) {
    KBuilder *b = &w->l->b;
    Arena *a = w->l->arena;
    int64_t height = w->s.band * w->s.w->tile;
    KIndex bands = kx_div(b, kx_add_const(a, kx_sub(a, to, from), height - 1), height);
    KIndex first = kx_share(b, w->thread, bands, w->s.threads), end = kx_share(b, kx_add_const(a, w->thread, 1), bands, w->s.threads);
    KValue *start = kx_value(b, kx_add(a, from, kx_scale(a, first, height)));
    KValue *stop = kb_binary(b, KOP_MIN, kx_value(b, kx_add(a, from, kx_scale(a, end, height))), kx_value(b, to));
    return kb_for(b, KLOOP_SERIAL, "band", start, stop, height, 0, NULL);
}

LOWER(lower_winograd_conv) {
    Work w = {.l = l, .n = n};
    read_shape(n, &w.s);
    w.tiles = w.s.band * w.s.tiles[1];
    w.v = lower_scratch(l, DT_F32, w.s.threads * points_of(&w) * w.tiles * w.s.channels);
    w.m = lower_scratch(l, DT_F32, w.s.threads * points_of(&w) * w.tiles * w.s.outputs);
    w.y = lower_scratch(l, DT_F32, w.s.threads * w.s.w->tile * w.s.w->tile * w.s.outputs);
    KInstr *threads = lower_for(l, KLOOP_PARALLEL, "thread", 0, w.s.threads, 0, NULL);
    KInstr *images = lower_for(l, KLOOP_SERIAL, "n", 0, w.s.images, 0, NULL);
    w.thread = lower_iv(l, threads);
    for (int d = 0; d < 2; d++) {
        w.end[d] = kx_const(l->arena, w.s.in[d]);
        w.out_end[d] = kx_const(l->arena, w.s.out[d]);
    }
    KIndex from = kx_const(l->arena, 0), to = w.out_end[0];
    if (lower_rows(l, &from, &to)) { /* of the input there are only the rows that these need */
        KValue *needed = kx_value(&l->b, kx_add_const(l->arena, to, 2 - w.s.before[0]));
        w.end[0] = kx_var(l->arena, kb_binary(&l->b, KOP_MIN, needed, kb_int(&l->b, DT_INDEX, w.s.in[0])));
        w.out_end[0] = to;
    }
    KInstr *bands = open_bands(&w, from, to);
    w.image = lower_iv(l, images);
    w.first = lower_iv(l, bands);
    transform_input(&w);
    multiply(&w);
    transform_output(&w);
    kb_end_for(&l->b, bands, NULL);
    kb_end_for(&l->b, images, NULL);
    kb_end_for(&l->b, threads, NULL);
}
