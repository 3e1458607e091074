/* SPDX-License-Identifier: Apache-2.0 */
/* The nodes round values that become bytes, and their weights. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "passes/edit.h"
#include "passes/quantize_edit.h"
#include "passes/quantize_weights.h"

static const double bias_most = 1 << 29; /* leaves the sum of products room in 32 bits */

/* --- weights and biases --- */

/* The least scales with which the bias fits into 32 bits. */
static double *least_scales(const Value *bias, int64_t channels, double input_scale) {
    double *least = ARENA_ARRAY(bias->graph->arena, double, channels);
    for (int64_t c = 0; c < channels; c++) {
        double b = fabs(const_float(bias, value_count(bias) > 1 ? c : 0));
        least[c] = fmax(b / (input_scale * bias_most), (double)FLT_MIN / input_scale);
    }
    return least;
}

/* Biases stay float: pass_qdq and other runtimes round them to steps of input and weights, which have no place of their own
 * then. input_scale 0: the input is float. */
static void quantise_weights(Node *n, double input_scale, const QuantizeRecipe *r) {
    const Value *bias = n->nin > 2 && input_scale > 0 ? n->in[2] : NULL;
    int64_t channels = n->in[1]->dim[quantize_weight_axis(n)];
    ChannelWeights w = quantize_by_channel(n, quantize_is_weight(bias) ? least_scales(bias, channels, input_scale) : NULL, r);
    quantize_dequantize(n, 1, w.x, quantize_scales(n, &w), w.axis, 0);
}

/* --- values --- */

static QuantizePrecision precision(const QuantizePlan *p, const QuantizeItem *item) { return p->items.data[item->like].precision; }

static const double ROOM = 2;

/* The range must hold 0 exactly: padding and ReLU make it. Elements of 16 bits have steps enough for more than the samples
 * showed, in both directions; without a zero point more of their products fit into 32 bits. */
void quantize_set_scale(QuantizeItem *item, DType t) {
    double lo = item->lo < 0 ? item->lo : 0, hi = item->hi > 0 ? item->hi : 0, least = t == DT_U8 ? 0 : -128;
    item->scale = (double)(float)(t == DT_I16 ? ROOM * fmax(-lo, hi) / 32767 : (hi - lo) / 255);
    if (item->scale < (double)FLT_MIN)
        item->scale = 1;
    item->zero = t == DT_I16 ? 0 : (int64_t)quantize_clamp(nearbyint(least - lo / item->scale), least, least + 255);
}

/* The same zero point serves many. */
static Value *zero_point(Graph *g, DType t, int64_t x) {
    const char *name = arena_printf(g->arena, t == DT_I16 ? "wide%d" : "z%d", (int)x);
    Value *v = strmap_get(&g->names, name);
    uint16_t bits = (uint16_t)x; /* little endian: its first byte is the byte */
    size_t size = (size_t)dtype_size(t);
    if (value_is_const(v) && v->dtype == t && !v->rank && v->data.size == size && !memcmp(v->data.bytes, &bits, size))
        return v;
    return graph_const(g, name, t, 0, NULL, (Data){arena_dup(g->arena, &bits, sizeof bits), size});
}

static void quantise_value(QuantizePlan *p, QuantizeItem *item, DType t, Value **scales) {
    Graph *g = p->graph;
    Value *v = item->value, *zero = zero_point(g, t, item->zero), **scale_value = &scales[item->like];
    Node *before = v->def ? v->def->next : g->first;
    float scale = (float)item->scale;
    if (!*scale_value)
        *scale_value = quantize_const(g, item->name, "s", DT_F32, 0, NULL, &scale, sizeof scale);
    Value *params[] = {*scale_value, zero};
    Value *q = quantize_node(before, g, "", "QuantizeLinear", item->name, "q", 3, (Value *[]){v, params[0], params[1]}, t);
    Value *y = quantize_node(before, g, "", "DequantizeLinear", item->name, "f", 3, (Value *[]){q, params[0], params[1]}, DT_F32);
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

static bool weights_stay(const QuantizePlan *p, const Node *n) {
    const QuantizeItem *item = quantize_item(p, n);
    return item && (item->float_weights || precision(p, item) == PRECISION_FLOAT);
}

/* Softmax on bytes has steps of 1/256 everywhere; ONNX Runtime computes wrong numbers with much finer ones. Where the
 * results are all small, as those over many elements are, it is computed with floats. */
static void settle_softmax(QuantizePlan *p, QuantizeItem *item) {
    Value *x = edit_is(item->layer, "Softmax") ? item->layer->in[0] : NULL;
    if (!x || p->item_of[x->id] < 0 || precision(p, item) != PRECISION_8)
        return;
    if (item->hi >= 0.5) {
        item->hi = 255.0 / 256;
        return;
    }
    if (p->item_of[item->value->id] < 0)
        return;
    Value *kept = value_only_user(x) && x->def && !quantize_moves(x->def) ? x : item->value;
    leave(p, p->item_of[kept->id]);
}

static DType type_of(const QuantizePlan *p, const QuantizeItem *item, const QuantizeRecipe *r) {
    return precision(p, item) == PRECISION_16 ? DT_I16 : r->activations;
}

void quantize_apply_static(QuantizePlan *p, const QuantizeRecipe *r) {
    Graph *g = p->graph;
    Value **scales = ARENA_ARRAY(g->arena, Value *, p->items.len + 1);
    for (int i = 0; i < p->items.len; i++)
        if (precision(p, &p->items.data[i]) == PRECISION_FLOAT)
            leave(p, i);
        else if (p->items.data[i].layer)
            settle_softmax(p, &p->items.data[i]);
    for (int i = 0; i < p->items.len; i++) {
        QuantizeItem *item = &p->items.data[i], *like = &p->items.data[item->like];
        item->lo = like->lo;
        item->hi = like->hi;
        quantize_set_scale(item, type_of(p, item, r));
    }
    for (Node *n = g->first; n; n = n->next) {
        bool product = quantize_weight_axis(n) >= 0;
        int x = product ? p->item_of[n->in[0]->id] : -1;
        if (product && !weights_stay(p, n))
            quantise_weights(n, x >= 0 ? p->items.data[x].scale : 0, r);
        else if (quantize_is_recurrent(n))
            quantize_recurrent(n, DT_I8, 0);
    }
    for (int i = 0; i < p->items.len; i++)
        if (p->item_of[p->items.data[i].value->id] >= 0)
            quantise_value(p, &p->items.data[i], type_of(p, &p->items.data[i], r), scales);
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (quantize_is_table(n)) /* another value takes the place of the item's */
            quantize_table(n);
    }
}
