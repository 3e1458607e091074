/* SPDX-License-Identifier: Apache-2.0 */
/* Which values of a float graph become bytes, and the nodes that make them so. The pairs stand where pass_qdq and other
 * runtimes look for them: at each input and output of an operator with a form on integers, none inside of what is one
 * operator then (a product, its bias, its ReLU). */
#include "passes/quantize.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "ops/op.h"
#include "passes/edit.h"
#include "passes/passes.h"

enum { SMALLEST_TABLE = 4096 };
enum { WEIGHT_MOST = 127 }; /* -128 is not used: the scale is the same both ways */
static const double bias_most = 1 << 29; /* leaves the sum of products room in 32 bits */

typedef struct Plan {
    QuantizePlan *p;
    bool *may;    /* by value id: computed by what can work on bytes, or an input */
    bool *wanted; /* by value id */
    bool *inside; /* by value id: between operators that become one */
} Plan;

static bool is_one_of(const Node *n, const char *const *names) {
    for (int i = 0; names[i]; i++)
        if (edit_is(n, names[i]))
            return true;
    return false;
}

static bool is_activation(const Value *v) {
    return v && v->kind != VALUE_CONST && v->dtype == DT_F32 && value_count(v) > 0 && !(v->kind == VALUE_INPUT && v->is_output);
}

static bool is_weight(const Value *v) { return value_is_const(v) && v->dtype == DT_F32 && value_count(v) > 0; }
static bool is_number(const Value *v) { return is_weight(v) && value_count(v) == 1; }

/* --- which operators --- */

/* The axis of the weights, input 1, that counts output channels; -1: n is no product with constant weights. */
static int weight_axis(const Node *n) {
    if (n->nin < 2 || !is_activation(n->in[0]) || !is_weight(n->in[1]))
        return -1;
    if (edit_is(n, "Conv"))
        return 0;
    const Value *c = n->nin > 2 ? n->in[2] : NULL;
    bool transposed = attr_int(n, "transB", 0) != 0;
    if (edit_is(n, "MatMul") && n->in[1]->rank == 2 && n->in[0]->rank > 1)
        return 1;
    if (!edit_is(n, "Gemm") || attr_int(n, "transA", 0) || attr_float(n, "alpha", 1) != 1)
        return -1;
    if (c && (attr_float(n, "beta", 1) != 1 || !is_weight(c) ||
              (value_count(c) != 1 && (!c->rank || c->dim[c->rank - 1] != value_count(c)))))
        return -1;
    return transposed ? 0 : 1;
}

static bool is_spatial_mean(const Node *n) {
    const Value *axes = n->nin > 1 ? n->in[1] : NULL;
    if (!edit_is(n, "ReduceMean") || n->in[0]->rank < 3 || !value_is_const(axes) || value_count(axes) != n->in[0]->rank - 2)
        return false;
    for (int64_t i = 0; i < value_count(axes); i++)
        if ((const_int(axes, i) + n->in[0]->rank) % n->in[0]->rank < 2)
            return false;
    return true;
}

/* Its output has elements of its input alone. */
static bool moves(const Node *n) {
    static const char *const names[] = {"MaxPool", "GlobalMaxPool", "Transpose", "Slice", "Split", "DepthToSpace", "SpaceToDepth",
                                        "Identity", NULL};
    if (!n->nin || !is_activation(n->in[0]))
        return false;
    if (edit_is(n, "Resize"))
        return !strcmp(attr_string(n, "mode", "nearest"), "nearest");
    if (edit_is(n, "MaxPool") && n->nout > 1 && n->out[1])
        return false;
    return (n->op->flags & OP_RESHAPE) != 0 || is_one_of(n, names);
}

/* Of one input, element by element: a table. */
static bool is_function(const Node *n) {
    static const char *const names[] = {"Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu",
                                        "Softplus", "Softsign", "Gelu", "Mish", "Swish", "ThresholdedRelu", "PRelu", NULL};
    static const char *const arithmetic[] = {"Add", "Sub", "Mul", "Div", NULL};
    int activations = 0;
    if (!is_one_of(n, names) && !is_one_of(n, arithmetic))
        return false;
    for (int i = 0; i < n->nin; i++) {
        if (is_activation(n->in[i]))
            activations++;
        else if (n->in[i] && !is_number(n->in[i]))
            return false;
    }
    return activations == 1;
}

/* Sums, products and others of values that are bytes by then. What is computed with floats anyway stays as it is. */
static bool joins(const Plan *s, const Node *n) {
    static const char *const names[] = {"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Softmax", NULL};
    bool one = is_function(n) || is_spatial_mean(n);
    if (!one && !is_one_of(n, names))
        return false;
    for (int i = 0; i < n->nin; i++) {
        const Value *v = n->in[i];
        if (is_activation(v) ? !s->may[v->id] : !one)
            return false;
    }
    return true;
}

static bool is_product(const Node *n) {
    return weight_axis(n) >= 0 || (edit_is(n, "MatMul") && is_activation(n->in[0]) && is_activation(n->in[1]));
}

/* --- which values --- */

/* A constant for each column, added to a product. */
static bool adds_bias(const Node *add, const Value *v) {
    if (!edit_is(add, "Add") || !edit_is(v->def, "MatMul") || weight_axis(v->def) < 0 || !value_same_shape(v, add->out[0]))
        return false;
    const Value *c = add->in[add->in[0] == v];
    return is_weight(c) && (value_count(c) == 1 || (c->rank && c->dim[c->rank - 1] == value_count(c)));
}

static bool is_bound(const Node *n) {
    return edit_is(n, "Relu") || (edit_is(n, "Clip") && (n->nin < 2 || !n->in[1] || is_number(n->in[1])) &&
                                  (n->nin < 3 || !n->in[2] || is_number(n->in[2])));
}

/* The value behind bias and bounds, which are part of the same integer operator. */
static Value *whole(const Plan *s, Value *v) {
    Node *user = value_only_user(v);
    if (user && v->def && adds_bias(user, v)) {
        s->inside[v->id] = true;
        v = user->out[0];
        user = value_only_user(v);
    }
    while (user && is_bound(user) && user->in[0] == v) {
        s->inside[v->id] = true;
        v = user->out[0];
        user = value_only_user(v);
    }
    return v;
}

static void want_inputs(const Plan *s, const Node *n) {
    for (int i = 0; i < n->nin; i++)
        if (is_activation(n->in[i]))
            s->wanted[n->in[i]->id] = true;
}

static void choose(const Plan *s) {
    Graph *g = s->p->graph;
    for (int i = 0; i < g->inputs.len; i++)
        s->may[g->inputs.data[i]->id] = true;
    for (Node *n = g->first; n; n = n->next) {
        bool within = false, product = is_product(n);
        for (int i = 0; i < n->nin; i++)
            within = within || (n->in[i] && s->inside[n->in[i]->id]);
        if (within) { /* the operator before has it */
            s->may[n->out[0]->id] = true;
        } else if (product || joins(s, n)) {
            Value *y = whole(s, n->out[0]);
            want_inputs(s, n);
            if (is_activation(y))
                s->wanted[y->id] = true;
            s->may[n->out[0]->id] = true;
        } else if (moves(n)) {
            for (int i = 0; i < n->nout; i++)
                if (n->out[i])
                    s->may[n->out[i]->id] = s->may[n->in[0]->id];
        }
    }
    for (Node *n = g->last; n; n = n->prev) /* bytes are moved, not floats */
        for (int i = 0; moves(n) && i < n->nout; i++)
            if (n->out[i] && s->wanted[n->out[i]->id])
                s->wanted[n->in[0]->id] = true;
    for (Node *n = g->first; n; n = n->next)
        for (int i = 0; moves(n) && i < n->nout; i++)
            if (is_activation(n->out[i]) && s->wanted[n->in[0]->id])
                s->wanted[n->out[i]->id] = true;
}

static void find_sources(const QuantizePlan *p, const Value *v, int depth, QuantizeItem *item) {
    for (int i = 0; v->def && depth && i < v->def->nin; i++) {
        const Value *x = v->def->in[i];
        if (!is_activation(x))
            continue;
        if (p->item_of[x->id] >= 0)
            VEC_PUSH(p->graph->arena, &item->from, p->item_of[x->id]);
        else
            find_sources(p, x, depth - 1, item);
    }
}

/* The node before n in the same integer operator. */
static const Node *inner(const Plan *s, const Node *n) {
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && n->in[i]->def && s->inside[n->in[i]->id])
            return n->in[i]->def;
    return NULL;
}

static void add_item(const Plan *s, Value *v) {
    QuantizePlan *p = s->p;
    if (!v || !s->wanted[v->id])
        return;
    QuantizeItem item = {.value = v, .name = v->name, .layer = v->def, .like = p->items.len};
    if (v->def && moves(v->def) && p->item_of[v->def->in[0]->id] >= 0)
        item.like = p->items.data[p->item_of[v->def->in[0]->id]].like;
    for (const Node *n = v->def; n; n = inner(s, n)) /* a layer is called by its product, not by its ReLU */
        item.layer = n;
    item.has_weights = item.layer && weight_axis(item.layer) >= 0;
    find_sources(p, v, 8, &item);
    p->item_of[v->id] = p->items.len;
    VEC_PUSH(p->graph->arena, &p->items, item);
}

QuantizePlan quantize_plan(Graph *g) {
    QuantizePlan p = {.graph = g};
    Arena *a = g->arena;
    Plan s = {&p, ARENA_ARRAY(a, bool, g->next_id), ARENA_ARRAY(a, bool, g->next_id), ARENA_ARRAY(a, bool, g->next_id)};
    p.item_of = ARENA_ARRAY(a, int, g->next_id);
    for (int i = 0; i < g->next_id; i++)
        p.item_of[i] = -1;
    choose(&s);
    for (int i = 0; i < g->inputs.len; i++)
        add_item(&s, g->inputs.data[i]);
    for (Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            add_item(&s, n->out[i]);
    return p;
}

/* --- the nodes --- */

static Value *new_const(Graph *g, const char *base, const char *what, DType t, int rank, const int64_t *dim,
                        const void *bytes, size_t size) {
    const char *name = graph_fresh_name(g, arena_printf(g->arena, "%s_%s", base, what));
    return graph_const(g, name, t, rank, dim, (Data){arena_dup(g->arena, bytes, size), size});
}

static Value *new_node(Node *before, Graph *g, const char *op, const char *base, const char *what, int nin,
                       Value *const *in, DType t) {
    const char *name = graph_fresh_name(g, arena_printf(g->arena, "%s_%s", base, what));
    Node *n = graph_node(g, before, "", op, name, nin, in, 1, &name);
    value_set_type(n->out[0], t, in[0]->rank, in[0]->dim);
    return n->out[0];
}

static void dequantise_const(Node *n, int i, Value *x, Value *scale, int axis) {
    Value *in[] = {x, scale};
    Value *y = new_node(n, n->graph, "DequantizeLinear", x->name, "dequantized", 2, in, DT_F32);
    if (scale->rank)
        node_add_attr(y->def, (Attr){.name = "axis", .kind = ATTR_INT, .i = axis});
    node_set_input(n, i, y);
}

/* The channel that element i belongs to. */
static int64_t channel_of(const Value *v, int axis, int64_t i) {
    int64_t inner = 1;
    for (int d = axis + 1; d < v->rank; d++)
        inner *= v->dim[d];
    return i / inner % v->dim[axis];
}

/* One for each channel; so large that the bias fits into 32 bits in its steps. */
static float *weight_scales(const Value *w, int axis, const Value *bias, double input_scale) {
    Graph *g = w->graph;
    float *scale = ARENA_ARRAY(g->arena, float, w->dim[axis]);
    for (int64_t i = 0; i < value_count(w); i++) {
        float x = (float)fabs(const_float(w, i)) / (float)WEIGHT_MOST, *s = &scale[channel_of(w, axis, i)];
        *s = x > *s ? x : *s;
    }
    for (int64_t c = 0; c < w->dim[axis]; c++) {
        double b = bias ? fabs(const_float(bias, value_count(bias) > 1 ? c : 0)) : 0, least = b / (input_scale * bias_most);
        if (scale[c] < least)
            scale[c] = (float)least;
        if (scale[c] * input_scale < (double)FLT_MIN)
            scale[c] = scale[c] > 0 ? (float)((double)FLT_MIN / input_scale) : 1;
    }
    return scale;
}

static double clamp(double x, double least, double most) { return x < least ? least : x > most ? most : x; }

static void quantise_bias(Node *n, const float *scale, int64_t channels, double input_scale) {
    Graph *g = n->graph;
    const Value *bias = n->in[2];
    int32_t *b = ARENA_ARRAY(g->arena, int32_t, channels);
    float *step = ARENA_ARRAY(g->arena, float, channels);
    for (int64_t c = 0; c < channels; c++) {
        step[c] = (float)((double)scale[c] * input_scale);
        double x = const_float(bias, value_count(bias) > 1 ? c : 0) / (double)step[c];
        b[c] = (int32_t)nearbyint(clamp(x, -2 * bias_most, 2 * bias_most));
    }
    Value *q = new_const(g, bias->name, "quantized", DT_I32, 1, &channels, b, (size_t)channels * sizeof *b);
    Value *s = new_const(g, bias->name, "scale", DT_F32, 1, &channels, step, (size_t)channels * sizeof *step);
    dequantise_const(n, 2, q, s, 0);
}

/* input_scale 0: the input is float, and so stays the bias. */
static void quantise_weights(Node *n, int axis, double input_scale) {
    Graph *g = n->graph;
    const Value *w = n->in[1], *bias = n->nin > 2 && input_scale > 0 ? n->in[2] : NULL;
    int64_t count = value_count(w), channels = w->dim[axis];
    float *scale = weight_scales(w, axis, is_weight(bias) ? bias : NULL, input_scale > 0 ? input_scale : 1);
    int8_t *x = ARENA_ARRAY(g->arena, int8_t, count);
    for (int64_t i = 0; i < count; i++) {
        double s = (double)scale[channel_of(w, axis, i)];
        x[i] = (int8_t)clamp(nearbyint(const_float(w, i) / s), -WEIGHT_MOST, WEIGHT_MOST);
    }
    if (is_weight(bias))
        quantise_bias(n, scale, channels, input_scale);
    Value *q = new_const(g, w->name, "quantized", DT_I8, w->rank, w->dim, x, (size_t)count);
    Value *s = new_const(g, w->name, "scale", DT_F32, 1, &channels, scale, (size_t)channels * sizeof *scale);
    dequantise_const(n, 1, q, s, axis);
}

/* Rows of a table: one scale for all, so that bytes are picked first and only those multiplied. */
static void quantise_table(Node *n) {
    Graph *g = n->graph;
    const Value *w = n->in[0];
    int64_t count = value_count(w);
    float most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmaxf(most, (float)fabs(const_float(w, i)));
    float scale = most / (float)WEIGHT_MOST >= FLT_MIN ? most / (float)WEIGHT_MOST : 1;
    int8_t *x = ARENA_ARRAY(g->arena, int8_t, count);
    for (int64_t i = 0; i < count; i++)
        x[i] = (int8_t)clamp(nearbyint(const_float(w, i) / (double)scale), -WEIGHT_MOST, WEIGHT_MOST);
    Value *q = new_const(g, w->name, "quantized", DT_I8, w->rank, w->dim, x, (size_t)count);
    dequantise_const(n, 0, q, new_const(g, w->name, "scale", DT_F32, 0, NULL, &scale, sizeof scale), 0);
}

static bool is_table(const Node *n) {
    return edit_is(n, "Gather") && is_weight(n->in[0]) && n->in[0]->rank == 2 && value_count(n->in[0]) >= SMALLEST_TABLE &&
           !value_is_const(n->in[1]) && !attr_int(n, "axis", 0);
}

/* The range must hold 0 exactly: padding and ReLU make it. */
static void set_scale(QuantizeItem *item, DType t) {
    double lo = item->lo < 0 ? item->lo : 0, hi = item->hi > 0 ? item->hi : 0, least = t == DT_I8 ? -128 : 0;
    item->scale = (double)(float)((hi - lo) / 255);
    if (item->scale < (double)FLT_MIN)
        item->scale = 1;
    item->zero = (int64_t)clamp(nearbyint(least - lo / item->scale), least, least + 255);
}

static void quantise_value(QuantizePlan *p, QuantizeItem *item, DType t) {
    Graph *g = p->graph;
    Value *v = item->value;
    Node *before = v->def ? v->def->next : g->first;
    float scale = (float)item->scale;
    int8_t zero = (int8_t)(uint8_t)item->zero;
    Value *params[] = {new_const(g, item->name, "scale", DT_F32, 0, NULL, &scale, sizeof scale),
                       new_const(g, item->name, "zero_point", t, 0, NULL, &zero, sizeof zero)};
    Value *q = new_node(before, g, "QuantizeLinear", item->name, "quantized", 3, (Value *[]){v, params[0], params[1]}, t);
    Value *y = new_node(before, g, "DequantizeLinear", item->name, "dequantized", 3, (Value *[]){q, params[0], params[1]}, DT_F32);
    if (v->is_output)
        value_swap_names(v, y);
    value_replace_all(v, y);
    node_set_input(q->def, 0, v);
    item->dequantized = y->name;
}

static void leave(QuantizePlan *p, int i) {
    QuantizeItem *item = &p->items.data[i];
    item->dequantized = item->name;
    p->item_of[item->value->id] = -1;
}

/* What holds a value's elements stays with it. */
static bool stays(const QuantizePlan *p, const QuantizeItem *item) { return item->stay || p->items.data[item->like].stay; }

static bool weights_stay(const QuantizePlan *p, const Node *n) {
    for (int i = 0; i < p->items.len; i++)
        if (p->items.data[i].layer == n && p->items.data[i].stay == STAY_WEIGHTS)
            return true;
    return false;
}

/* Softmax on bytes has steps of 1/256 everywhere; ONNX Runtime computes wrong numbers with much finer ones. Where the
 * results are all small, as those over many elements are, it is computed with floats. */
static void settle_softmax(QuantizePlan *p, QuantizeItem *item) {
    Value *x = edit_is(item->layer, "Softmax") ? item->layer->in[0] : NULL;
    if (!x || p->item_of[x->id] < 0)
        return;
    if (item->hi >= 0.5) {
        item->hi = 255.0 / 256;
        return;
    }
    if (p->item_of[item->value->id] < 0)
        return;
    Value *kept = value_only_user(x) && x->def && !moves(x->def) ? x : item->value;
    leave(p, p->item_of[kept->id]);
}

void quantize_apply(QuantizePlan *p, DType activations) {
    Graph *g = p->graph;
    for (int i = 0; i < p->items.len; i++)
        if (stays(p, &p->items.data[i]))
            leave(p, i);
        else if (p->items.data[i].layer)
            settle_softmax(p, &p->items.data[i]);
    for (int i = 0; i < p->items.len; i++) {
        QuantizeItem *item = &p->items.data[i], *like = &p->items.data[item->like];
        item->lo = like->lo;
        item->hi = like->hi;
        set_scale(item, activations);
    }
    for (Node *n = g->first; n; n = n->next) {
        int axis = weight_axis(n), x = axis >= 0 ? p->item_of[n->in[0]->id] : -1;
        if (axis >= 0 && !weights_stay(p, n))
            quantise_weights(n, axis, x >= 0 ? p->items.data[x].scale : 0);
        else if (is_table(n))
            quantise_table(n);
    }
    for (int i = 0; i < p->items.len; i++)
        if (p->item_of[p->items.data[i].value->id] >= 0)
            quantise_value(p, &p->items.data[i], activations);
    pass_dead(g);
}
