/* SPDX-License-Identifier: Apache-2.0 */
/* 3x3 convolutions become mlcc.WinogradConv where transformed tiles are cheaper than the sum over the window. */
#include "ops/winograd.h"

#include "ops/op.h"
#include "ops/window.h"
#include "passes/edit.h"
#include "passes/passes.h"
#include "support/ints.h"

enum {
    FEWEST_CHANNELS = 8,
    NARROW_BITS = 128, /* vectors of fewer bits gain nothing: transforms cost as much as products */
};

/* Costs in multiply-accumulates of one lane, measured on machines that start two vectors of them a cycle. */
static const double
    transform_step = 1, /* an addition or access of a transform */
    near_weight = 1,    /* a weight from the second cache, or one not much farther, once for each band of tiles … */
    far_weight = 12,    /* … and from memory */
    must_gain = 1.1;
enum { NEAR_SIZES = 12 /* of the second cache: what the next one holds */ };

typedef struct Plan {
    const Winograd *w;
    int64_t band; /* rows of tiles at a time */
    double cost;
} Plan;

/* As many rows of tiles as leave room in the cache, in bands that waste least. */
static int64_t band_of(int64_t rows, double row_bytes, double budget) {
    int64_t most = row_bytes > budget ? 1 : (int64_t)(budget / row_bytes), best = 1;
    for (int64_t r = 1; r <= most && r <= rows; r++)
        if (divide_up(rows, r) * r <= divide_up(rows, best) * best)
            best = r;
    return best;
}

static double weight_read(double bytes, const Target *t) { return bytes <= (double)t->l2 * (double)NEAR_SIZES ? near_weight : far_weight; }

static Plan plan(const Node *n, const Window *win, int64_t tile, const Target *t) {
    const Winograd *w = winograd_find(tile);
    double in = (double)n->in[0]->dim[1], out = (double)n->out[0]->dim[1], points = w->side * w->side, weights = points * in * out;
    int64_t rows = divide_up(win->out[0], tile), columns = divide_up(win->out[1], tile);
    /* Few weights may meet few tiles at a time, which takes less memory. */
    double cache = t->l2, budget = weights * 4 <= cache ? cache / 8 : cache;
    Plan p = {.w = w, .band = band_of(rows, points * (double)columns * (in + out) * 4, budget)};
    double bands = (double)divide_up(rows, p.band), tiles = bands * (double)(p.band * columns);
    double forward = tile == 4 ? 216 : 64, backward = tile == 4 ? 190 : 60; /* steps for a tile of one channel */
    p.cost = weights * (tiles + bands * weight_read(weights * 4, t)) + transform_step * tiles * (forward * in + backward * out);
    return p;
}

/* G g Gt of every filter, computed exactly enough that rounding to float is all that is lost: (point, input, output). */
static Value *transformed_weights(Value *v, const Winograd *w) {
    Graph *g = v->graph;
    int64_t outputs = v->dim[0], inputs = v->dim[1], dim[3] = {w->side * w->side, inputs, outputs};
    size_t size = (size_t)(dim[0] * inputs * outputs) * sizeof(float);
    float *u = arena_alloc(g->arena, size);
    for (int64_t pair = 0; pair < inputs * outputs; pair++) {
        int64_t o = pair / inputs, c = pair % inputs;
        for (int i = 0; i < w->side; i++) {
            for (int j = 0; j < w->side; j++) {
                double sum = 0;
                for (int k = 0; k < 9; k++)
                    sum += w->g[i][k / 3] * w->g[j][k % 3] * const_float(v, pair * 9 + k);
                u[((i * w->side + j) * inputs + c) * outputs + o] = (float)sum;
            }
        }
    }
    return graph_const(g, v->name, DT_F32, 3, dim, (Data){u, size});
}

static bool applies(const Node *n, Window *w) {
    int64_t group;
    if (!edit_is(n, "Conv") || !value_is_const(n->in[1]) || n->out[0]->dtype != DT_F32 || n->in[0]->rank != 4 ||
        !window_conv(n, n->in[1], w, &group) || group != 1)
        return false;
    for (int d = 0; d < 2; d++)
        if (w->kernel[d] != 3 || w->stride[d] != 1 || w->dilation[d] != 1 || w->before[d] > 2 || w->after[d] > 2)
            return false;
    return n->in[0]->dim[1] >= FEWEST_CHANNELS && n->out[0]->dim[1] >= FEWEST_CHANNELS && value_count(n->out[0]) > 0;
}

/* Bands for all threads alike. What is computed stays the same: bands only decide when. */
static int64_t band_for(const Plan *p, const Window *win, int threads) {
    int64_t rows = divide_up(win->out[0], p->w->tile), bands = divide_up(divide_up(rows, p->band), threads) * threads;
    return divide_up(rows, bands);
}

static void replace(Graph *g, Node *n, const Window *w, const Plan *p, int threads) {
    int64_t *pads = ARENA_ARRAY(g->arena, int64_t, 4);
    for (int d = 0; d < 2; d++) {
        pads[d] = w->before[d];
        pads[d + 2] = w->after[d];
    }
    const Attr attr[] = {edit_int("tile", p->w->tile), edit_int("rows", band_for(p, w, threads)), edit_int("threads", threads),
                         {.name = "pads", .kind = ATTR_INTS, .n = 4, .ints = pads}};
    Value *bias = n->nin > 2 ? n->in[2] : NULL, *in[3] = {n->in[0], transformed_weights(n->in[1], p->w), bias};
    Node *by = edit_node_with(n, "mlcc", "WinogradConv", n, bias ? 3 : 2, in, 4, attr);
    if (!edit_replace(n->out[0], by->out[0]))
        return;
    const char *how = arena_printf(g->arena, "Winograd F(%dx%d,3x3), bound on the rounding error %.0f times that of the direct sum",
                                   p->w->tile, p->w->tile, winograd_growth(p->w));
    VEC_PUSH(g->arena, &g->approximations, ((NodeNote){n->name, "Conv", how}));
    node_remove(n);
}

/* Machines without caches have no memory to spend. */
void pass_winograd(Graph *g, const Target *t, int threads) {
    if (!t || t->vector_bits < NARROW_BITS || !t->fma || !t->l2)
        return;
    for (Node *n = g->first, *next; n; n = next) {
        Window w;
        next = n->next;
        if (!applies(n, &w))
            continue;
        double kernel = (double)value_count(n->in[1]), direct = kernel * ((double)(w.out[0] * w.out[1]) + weight_read(kernel * 4, t));
        Plan best = {.w = NULL, .cost = direct / must_gain};
        for (int64_t tile = 2; tile <= 4; tile += 2) {
            if (w.in[0] < tile + 2 || w.in[1] < tile + 2)
                continue;
            Plan p = plan(n, &w, tile, t);
            best = p.cost < best.cost ? p : best;
        }
        if (best.w)
            replace(g, n, &w, &best, threads);
    }
}
