/* SPDX-License-Identifier: Apache-2.0 */
/* Weights as int8 with a scale for each output channel, and what that does to the bias. */
#include "passes/quantize_weights.h"

#include <math.h>
#include <string.h>

#include "passes/edit.h"
#include "passes/quantize_edit.h"

QuantizeItem *quantize_item(const QuantizePlan *p, const Node *n) {
    for (int i = 0; i < p->items.len; i++)
        if (p->items.data[i].layer == n)
            return &p->items.data[i];
    return NULL;
}

void quantize_dequantize(Node *n, int i, Value *x, Value *scale, int64_t axis, int64_t block) {
    Value *in[] = {x, scale};
    Value *y = quantize_node(n, n->graph, "", "DequantizeLinear", x->name, "f", 2, in, DT_F32);
    if (scale->rank)
        node_add_attr(y->def, edit_int("axis", axis));
    if (block)
        node_add_attr(y->def, edit_int("block_size", block));
    node_set_input(n, i, y);
}

/* --- bias --- */

/* Where a constant for each output channel is added; false where that is nowhere. */
static bool find_bias(Node *n, Node **at, int *input) {
    Node *user = value_only_user(n->out[0]);
    if (edit_is(n, "MatMul")) {
        if (!user || !quantize_adds_bias(user, n->out[0]))
            return false;
        *at = user;
        *input = user->in[0] == n->out[0];
        return true;
    }
    *at = n;
    *input = 2;
    if (n->nin < 3) {
        Value **in = ARENA_ARRAY(n->graph->arena, Value *, 3);
        memcpy(in, n->in, 2 * sizeof *in);
        n->in = in;
        n->nin = 3;
    }
    return attr_float(n, "beta", 1) == 1 && (!n->in[2] || quantize_is_weight(n->in[2]));
}

void quantize_correct_bias(Node *n, const QuantizeRecipe *r, int64_t depth, const float *error) {
    QuantizeStats *s = r->correct_bias && r->stats ? strmap_get(r->stats, n->in[0]->name) : NULL;
    int axis = quantize_weight_axis(n), input;
    int64_t outputs = n->in[1]->dim[axis];
    Node *at;
    bool conv = edit_is(n, "Conv");
    if (!s || s->count <= 0 || !find_bias(n, &at, &input))
        return;
    const Value *bias = at->in[input], *w = n->in[1];
    int64_t group = conv ? attr_int(n, "group", 1) : 1, inner = conv ? depth / w->dim[1] : 1, own = depth / inner;
    float *b = ARENA_ARRAY(n->graph->arena, float, outputs);
    for (int64_t o = 0; o < outputs; o++) {
        double sum = bias ? const_float(bias, value_count(bias) > 1 ? o : 0) : 0;
        for (int64_t k = 0; k < depth; k++)
            sum += (double)error[o * depth + k] * s->sum[o / (outputs / group) * own * (conv ? 1 : 0) + k / inner] / s->count;
        b[o] = (float)sum;
    }
    node_set_input(at, input, quantize_const(n->graph, n->name, "bias", DT_F32, 1, &outputs, b, (size_t)outputs * sizeof *b));
}

/* --- a scale for each channel --- */

static float *channel_scales(const Value *w, int axis, const double *least) {
    float *scale = ARENA_ARRAY(w->graph->arena, float, w->dim[axis]);
    for (int64_t i = 0; i < value_count(w); i++) {
        float x = (float)fabs(const_float(w, i)), *s = &scale[quantize_channel(w, axis, i)];
        *s = x > *s ? x : *s;
    }
    for (int64_t c = 0; c < w->dim[axis]; c++) {
        scale[c] = quantize_scale((double)scale[c]);
        if (least && (double)scale[c] < least[c])
            scale[c] = (float)least[c];
    }
    return scale;
}

/* The largest scale serves all channels where its steps are fine enough for each: such channels stay this much above the noise
 * of rounding. A scale for each takes as much memory as four weights do: what has many weights does not notice. */
static const double fine = 5e-4;
enum { MANY_WEIGHTS = 72 };

static bool one_serves(const Value *w, int axis, const float *scale) {
    double *power = ARENA_ARRAY(w->graph->arena, double, w->dim[axis]), most = 0;
    double depth = (double)value_count(w) / (double)w->dim[axis];
    if (depth >= (double)MANY_WEIGHTS)
        return false;
    for (int64_t i = 0; i < value_count(w); i++)
        power[quantize_channel(w, axis, i)] += const_float(w, i) * const_float(w, i);
    for (int64_t c = 0; c < w->dim[axis]; c++)
        most = power[c] > 0 ? fmax(most, (double)scale[c]) : most;
    for (int64_t c = 0; c < w->dim[axis]; c++)
        if (power[c] > 0 && most * most / 12 * depth > fine * power[c])
            return false;
    return most > 0;
}

static void share_largest(const Value *w, int axis, float *scale) {
    float most = 0;
    for (int64_t i = 0; i < value_count(w); i++)
        most = fmaxf(most, fabs(const_float(w, i)) > 0 ? scale[quantize_channel(w, axis, i)] : 0);
    for (int64_t c = 0; c < w->dim[axis]; c++)
        scale[c] = most;
}

Value *quantize_scales(Node *n, const ChannelWeights *w) {
    return quantize_const(n->graph, n->in[1]->name, "s", DT_F32, w->channels > 1, &w->channels, w->scale, (size_t)w->channels * sizeof *w->scale);
}

static int8_t to_byte(double x, double scale) { return (int8_t)quantize_clamp(nearbyint(x / scale), -WEIGHT_MOST, WEIGHT_MOST); }

QuantizeGram *quantize_gram(const Node *n, int64_t depth, const QuantizeRecipe *r) {
    QuantizeGram *g = r->grams ? strmap_get(r->grams, n->out[0]->name) : NULL;
    return g && g->depth == depth ? g : NULL;
}

/* Rows of weights, one for each output channel, in steps of their scales. */
static void round_rows(const Node *n, const QuantizeRecipe *r, int64_t depth, const float *rows, const float *scale, int8_t *x) {
    Arena *a = arena_new();
    QuantizeGram *gram = quantize_gram(n, depth, r);
    int64_t channels = n->in[1]->dim[quantize_weight_axis(n)], groups = gram ? gram->groups : 1, outputs = channels / groups;
    for (int64_t i = 0; i < groups; i++) {
        Rounding how = {.outputs = outputs, .depth = depth, .block = depth, .bits = 8, .gram = gram, .group = i};
        quantize_round_to_scales(a, &how, rows + i * outputs * depth, x + i * outputs * depth, scale + i * outputs);
    }
    arena_free(a);
}

ChannelWeights quantize_by_channel(Node *n, const double *least, const QuantizeRecipe *r) {
    Graph *g = n->graph;
    int axis = quantize_weight_axis(n);
    const Value *w = n->in[1];
    int64_t count = value_count(w), channels = w->dim[axis], depth = count / channels;
    ChannelWeights out = {NULL, channel_scales(w, axis, least), channels, axis};
    if (one_serves(w, axis, out.scale)) {
        share_largest(w, axis, out.scale);
        out.channels = 1;
    }
    int8_t *x = ARENA_ARRAY(g->arena, int8_t, count), *row = ARENA_ARRAY(g->arena, int8_t, count);
    float *rows = ARENA_ARRAY(g->arena, float, count);
    int64_t *at = ARENA_ARRAY(g->arena, int64_t, count), *filled = ARENA_ARRAY(g->arena, int64_t, channels);
    for (int64_t i = 0; i < count; i++) {
        int64_t c = quantize_channel(w, axis, i);
        at[i] = c * depth + filled[c]++;
        rows[at[i]] = (float)const_float(w, i);
    }
    round_rows(n, r, depth, rows, out.scale, row);
    for (int64_t i = 0; i < count; i++) {
        x[i] = row[at[i]];
        rows[at[i]] = (float)(const_float(w, i) - (double)out.scale[at[i] / depth] * x[i]);
    }
    quantize_correct_bias(n, r, depth, rows);
    out.x = quantize_const(g, w->name, "q", DT_I8, w->rank, w->dim, x, (size_t)count);
    return out;
}

/* Bytes are picked first, and only those multiplied: runtimes would turn the whole table into floats otherwise. */
void quantize_table(Node *n) {
    Graph *g = n->graph;
    const Value *w = n->in[0];
    Value *v = n->out[0];
    int64_t count = value_count(w), columns = w->dim[1];
    float *scale = channel_scales(w, 1, NULL);
    bool one = one_serves(w, 1, scale);
    if (one)
        share_largest(w, 1, scale);
    int8_t *x = ARENA_ARRAY(g->arena, int8_t, count);
    for (int64_t i = 0; i < count; i++)
        x[i] = to_byte(const_float(w, i), (double)scale[i % columns]);
    Value *table = quantize_const(g, w->name, "q", DT_I8, 2, w->dim, x, (size_t)count);
    Value *s = quantize_const(g, w->name, "s", DT_F32, !one, &columns, scale, (size_t)(one ? 1 : columns) * sizeof *scale);
    Value *picked = quantize_node(n, g, "", "Gather", n->name, "i", 2, (Value *[]){table, n->in[1]}, DT_I8);
    value_set_type(picked, DT_I8, v->rank, v->dim);
    Value *y = quantize_node(n, g, "", "DequantizeLinear", n->name, "f", 2, (Value *[]){picked, s}, DT_F32);
    if (!one)
        node_add_attr(y->def, edit_int("axis", v->rank - 1));
    picked->def->name = n->name;
    quantize_take_over(v, y);
    node_remove(n);
}
