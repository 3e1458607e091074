/* SPDX-License-Identifier: Apache-2.0 */
/* Weights and activations of 16 bits. Cast stands at the model's inputs and outputs, and around what stays float32: operators
 * that ONNX does not have for these types or that lose much by them, and with float16 numbers that do not fit. */
#include <math.h>

#include "passes/edit.h"
#include "passes/quantize.h"
#include "passes/quantize_edit.h"

static const double BFLOAT_MOST = 0x1.fep127, HALF_MOST = 65504, HALF_LEAST = 0x1p-14; /* the smallest with all bits */
static const double INFINITE = 1e30; /* from here on numbers stand for infinity: masks, bounds that are none */
/* Of activations on samples: others may have larger numbers, and all but the largest are smaller. */
static const double SAMPLE_MOST = 65504 / 2.0, SAMPLE_LEAST = 0x1p-10;

typedef struct Halves {
    QuantizePlan *p;
    DType t;
    bool *half;    /* by value id: computed by what takes 16 bits */
    bool *masks;   /* by value id: some numbers stand for infinity */
    bool *large;   /* by value id: made of numbers that do not fit */
    Value **other; /* by value id: a constant in 16 bits, or what is cast back from a value that is half */
} Halves;

/* Not among them: what makes very large or small numbers of usual ones (powers, exponentials, sums of squares), compares them,
 * or counts with them. */
bool quantize_takes_halves(const Node *n) {
    static const char *const names[] = {
        "Abs", "Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace", "Div", "Elu", "Erf", "Expand", "Flatten",
        "GRU", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "GroupNormalization",
        "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LSTM", "LayerNormalization", "LeakyRelu", "MatMul", "Max",
        "MaxPool", "Mean", "Min", "Mish", "Mul", "Neg", "PRelu", "Pad", "RNN", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu",
        "Reshape", "Resize", "Selu", "Sigmoid", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze",
        "Sub", "Sum", "Swish", "Tanh", "ThresholdedRelu", "Tile", "Transpose", "Unsqueeze", "Where", NULL};
    return edit_is_any(n, names);
}

static bool is_product(const Node *n) {
    static const char *const names[] = {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", NULL};
    return edit_is_any(n, names);
}

/* Large numbers stay so. */
static bool passes_on(const Node *n) {
    static const char *const names[] = {"Add", "Sub", "Mul", "Div", "Where", "Concat", "Expand", "Gather", "Neg", "Max", "Min", "Sum", NULL};
    return quantize_moves(n) || edit_is_any(n, names);
}

/* Resize's scales are float32 in any case. */
static bool is_element(const Node *n, int i) { return n->in[i] && n->in[i]->dtype == DT_F32 && !(i && edit_is(n, "Resize")); }

/* LayerNormalization's statistics too. */
static bool is_result(const Node *n, int i) { return n->out[i] && n->out[i]->dtype == DT_F32 && !(i && edit_is(n, "LayerNormalization")); }

/* --- what fits --- */

typedef struct Numbers {
    bool fit, large, masks;
} Numbers;

static Numbers numbers_of_const(const Value *v) {
    double most = 0;
    bool masks = false;
    for (int64_t i = 0; i < value_count(v); i++) {
        double x = fabs(const_float(v, i));
        masks = masks || x >= INFINITE;
        most = x < INFINITE ? fmax(most, x) : most;
    }
    return (Numbers){most <= HALF_MOST && (masks || most == 0 || most >= HALF_LEAST), most > HALF_MOST, masks};
}

static bool range_fits(QuantizeItem *item) {
    double most = fmax(fabs(item->lo), fabs(item->hi));
    item->outside = most > SAMPLE_MOST || (most > 0 && most < SAMPLE_LEAST);
    return !item->outside;
}

static Numbers numbers_of(const Halves *h, const Value *v) {
    if (h->t != DT_F16)
        return (Numbers){.fit = true};
    if (value_is_const(v))
        return numbers_of_const(v);
    int item = h->p->item_of[v->id];
    Numbers x = {.large = h->large[v->id], .masks = h->masks[v->id]};
    x.fit = !x.large && (x.masks || item < 0 || range_fits(&h->p->items.data[item]));
    return x;
}

static bool is_told_to_stay(const Halves *h, const Value *v) {
    int item = h->p->item_of[v->id];
    return item >= 0 && (h->p->items.data[item].precision == PRECISION_FLOAT || h->p->items.data[item].float_weights);
}

/* Between what is float32 before and behind nothing is gained. */
static bool takes(const Halves *h, const Node *n) {
    bool given = false, halves = false, may = quantize_takes_halves(n), large = false, masks = false;
    for (int i = 0; i < n->nin; i++) {
        if (!is_element(n, i))
            continue;
        Numbers x = numbers_of(h, n->in[i]);
        may = may && x.fit;
        large = large || x.large;
        masks = masks || x.masks;
        given = given || !value_is_const(n->in[i]);
        halves = halves || h->half[n->in[i]->id] || n->in[i]->kind == VALUE_INPUT;
    }
    may = may && (!given || halves || is_product(n));
    for (int i = 0; i < n->nout; i++) {
        if (!is_result(n, i))
            continue;
        h->large[n->out[i]->id] = large && passes_on(n);
        h->masks[n->out[i]->id] = masks && passes_on(n);
        may = numbers_of(h, n->out[i]).fit && !is_told_to_stay(h, n->out[i]) && may;
    }
    return may;
}

static void decide(const Halves *h) {
    for (const Node *n = h->p->graph->first; n; n = n->next) {
        bool half = takes(h, n);
        for (int i = 0; i < n->nout; i++) {
            if (!is_result(n, i))
                continue;
            h->half[n->out[i]->id] = half;
            int item = h->p->item_of[n->out[i]->id];
            if (item >= 0 && !half)
                h->p->items.data[item].precision = PRECISION_FLOAT;
        }
    }
}

/* --- rewriting --- */

Value *quantize_shorter(const Value *w, DType t) {
    Graph *g = w->graph;
    int64_t n = value_count(w);
    double most = t == DT_F16 ? HALF_MOST : BFLOAT_MOST;
    uint16_t *x = ARENA_ARRAY(g->arena, uint16_t, n + 1);
    for (int64_t i = 0; i < n; i++) {
        double y = const_float(w, i);
        if (isfinite(y))
            y = quantize_clamp(y, -most, most);
        x[i] = t == DT_F16 ? float_to_half((float)y) : float_to_bfloat((float)y);
    }
    return quantize_const(g, w->name, dtype_name(t), t, w->rank, w->dim, x, (size_t)n * sizeof *x);
}

static Value *cast(Node *before, Value *v, DType t) {
    Value *y = quantize_node(before, v->graph, "", "Cast", v->name, dtype_name(t), 1, &v, t);
    node_add_attr(y->def, edit_int("to", dtype_to_onnx(t)));
    return y;
}

static bool is_cast_from(const Value *v, DType t) { return v->def && edit_is(v->def, "Cast") && v->def->in[0]->dtype == t; }

static Value *half_of(const Halves *h, Value *v) {
    if (value_is_const(v)) {
        if (!h->other[v->id])
            h->other[v->id] = quantize_shorter(v, h->t);
        return h->other[v->id];
    }
    if (is_cast_from(v, h->t))
        return v->def->in[0];
    for (int i = 0; i < v->uses.len; i++) {
        const Node *user = v->uses.data[i].node;
        if (edit_is(user, "Cast") && user->out[0] && user->out[0]->dtype == h->t)
            return user->out[0];
    }
    return cast(v->def ? v->def->next : v->graph->first, v, h->t);
}

/* The output keeps its name as float32, for those that take it so. */
static void shorten_output(const Halves *h, Value *v) {
    value_set_type(v, h->t, v->rank, v->dim);
    Value *wide = cast(v->def->next, v, DT_F32);
    quantize_take_over(v, wide);
    node_set_input(wide->def, 0, v);
    h->other[v->id] = wide;
}

static void rewrite(const Halves *h, int ids) {
    for (Node *n = h->p->graph->first, *next; n; n = next) {
        bool half = false;
        next = n->next;
        for (int i = 0; i < n->nout; i++)
            half = half || (n->out[i] && n->out[i]->id < ids && h->half[n->out[i]->id]);
        if (!half)
            continue;
        for (int i = 0; i < n->nin; i++)
            if (is_element(n, i))
                node_set_input(n, i, half_of(h, n->in[i]));
        for (int i = 0; i < n->nout; i++)
            if (is_result(n, i))
                shorten_output(h, n->out[i]);
    }
}

void quantize_apply_floats(QuantizePlan *p, const QuantizeRecipe *r) {
    Graph *g = p->graph;
    int ids = g->next_id;
    Halves h = {.p = p, .t = r->weights, .half = ARENA_ARRAY(g->arena, bool, ids), .other = ARENA_ARRAY(g->arena, Value *, ids)};
    h.masks = ARENA_ARRAY(g->arena, bool, ids);
    h.large = ARENA_ARRAY(g->arena, bool, ids);
    decide(&h);
    rewrite(&h, ids);
    for (int i = 0; i < p->items.len; i++) {
        QuantizeItem *item = &p->items.data[i];
        const Value *v = item->value, *wide = h.other[v->id];
        item->dequantized = wide && (wide->uses.len || wide->is_output) ? wide->name : v->name;
    }
}
