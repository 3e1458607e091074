/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of few bits that are computed with as floats: DequantizeLinear of integers in blocks, or Cast of shorter floating
 * numbers, stands before what uses them. */
#include <string.h>

#include "passes/edit.h"
#include "passes/quantize_edit.h"
#include "passes/quantize_weights.h"
#include "support/ints.h"

enum { SMALLEST_CONSTANT = 64 };

/* --- shorter floating numbers --- */

static void shorten(Value *w, DType t) {
    Graph *g = w->graph;
    Value *c = quantize_shorter(w, t);
    Value *y = quantize_node(g->first, g, "", "Cast", w->name, "f", 1, &c, DT_F32);
    node_add_attr(y->def, edit_int("to", dtype_to_onnx(DT_F32)));
    value_replace_all(w, y);
}

/* Half floats end at 65504. */
static bool can_shorten(const Value *w, DType t) {
    if (!quantize_is_weight(w) || value_count(w) < SMALLEST_CONSTANT || !w->uses.len)
        return false;
    for (int64_t i = 0; t == DT_F16 && i < value_count(w); i++)
        if (!(const_float(w, i) >= -65504 && const_float(w, i) <= 65504))
            return false;
    return true;
}

static bool stays(const QuantizePlan *p, const Value *w) {
    for (int i = 0; i < w->uses.len; i++) {
        const QuantizeItem *item = quantize_item(p, w->uses.data[i].node);
        if (item && item->precision)
            return true;
    }
    return false;
}

static void shorten_all(const QuantizePlan *p, DType t) {
    Graph *g = p->graph;
    int n = g->consts.len;
    Value **list = arena_dup(g->arena, g->consts.data, (size_t)n * sizeof *list);
    for (int i = 0; i < n; i++)
        if (can_shorten(list[i], t) && !stays(p, list[i]))
            shorten(list[i], t);
}

/* --- integers in blocks --- */

/* w[o][k] of a matrix that is stored so, or with its axes swapped. */
static float *rows_of(Arena *a, const Value *w, int axis) {
    int64_t outputs = w->dim[axis], depth = w->dim[1 - axis];
    float *x = ARENA_ARRAY(a, float, outputs * depth);
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t k = 0; k < depth; k++)
            x[o * depth + k] = (float)const_float(w, axis ? k * outputs + o : o * depth + k);
    return x;
}

/* Matrix input i of n, whose axis counts outputs: blocks run along the other one. */
static void round_matrix(Node *n, int i, int axis, const QuantizeRecipe *r) {
    Graph *g = n->graph;
    Arena *a = arena_new();
    const Value *w = n->in[i];
    Rounding how = {.outputs = w->dim[axis], .depth = w->dim[1 - axis], .block = r->block, .bits = dtype_width(r->weights)};
    how.gram = i ? quantize_gram(n, how.depth, r) : NULL;
    int64_t blocks = divide_up(how.depth, how.block), outputs = how.outputs, depth = how.depth;
    float *rows = rows_of(a, w, axis), *scale = ARENA_ARRAY(a, float, outputs * blocks);
    int8_t *x = ARENA_ARRAY(a, int8_t, outputs * depth);
    quantize_round(g->arena, &how, rows, x, scale);
    int8_t *stored = ARENA_ARRAY(a, int8_t, outputs * depth);
    float *steps = ARENA_ARRAY(a, float, outputs * blocks);
    for (int64_t o = 0; o < outputs; o++) {
        for (int64_t k = 0; k < depth; k++) {
            stored[axis ? k * outputs + o : o * depth + k] = x[o * depth + k];
            rows[o * depth + k] -= scale[o * blocks + k / how.block] * (float)x[o * depth + k];
        }
        for (int64_t b = 0; b < blocks; b++)
            steps[axis ? b * outputs + o : o * blocks + b] = scale[o * blocks + b];
    }
    if (i)
        quantize_correct_bias(n, r, depth, rows);
    int64_t dim[] = {axis ? blocks : outputs, axis ? outputs : blocks};
    Value *q = quantize_const(g, w->name, dtype_name(r->weights), r->weights, 2, w->dim, stored, (size_t)(outputs * depth));
    Value *s = quantize_const(g, w->name, "s", DT_F32, 2, dim, steps, (size_t)(outputs * blocks) * sizeof *steps);
    arena_free(a);
    quantize_dequantize(n, i, q, s, 1 - axis, how.block);
}

static void round_recurrent(Node *n, int i, DType t, int64_t block) {
    Graph *g = n->graph;
    Arena *a = arena_new();
    const Value *w = n->in[i];
    int64_t depth = w->dim[2], rows = value_count(w) / depth;
    Rounding how = {.outputs = rows, .depth = depth, .block = t == DT_I8 ? depth : block, .bits = dtype_width(t)};
    int64_t blocks = divide_up(depth, how.block), dim[] = {w->dim[0], w->dim[1], blocks};
    float *x = ARENA_ARRAY(a, float, rows * depth), *scale = ARENA_ARRAY(a, float, rows * blocks);
    int8_t *q = ARENA_ARRAY(a, int8_t, rows * depth);
    for (int64_t k = 0; k < rows * depth; k++)
        x[k] = (float)const_float(w, k);
    quantize_round(g->arena, &how, x, q, scale);
    bool by_row = blocks == 1 && w->dim[0] == 1; /* which older runtimes know */
    Value *integers = quantize_const(g, w->name, dtype_name(t), t, 3, w->dim, q, (size_t)(rows * depth));
    Value *scales = quantize_const(g, w->name, "s", DT_F32, by_row ? 1 : 3, by_row ? &rows : dim, scale, (size_t)(rows * blocks) * sizeof *scale);
    arena_free(a);
    quantize_dequantize(n, i, integers, scales, by_row ? 1 : 2, by_row ? 0 : how.block);
}

void quantize_recurrent(Node *n, DType t, int64_t block) {
    for (int i = 1; i <= 2; i++)
        round_recurrent(n, i, t, block);
}

static void round_weights(Node *n, const QuantizeRecipe *r) {
    if (n->in[1]->rank == 2) {
        round_matrix(n, 1, quantize_weight_axis(n), r);
        return;
    }
    ChannelWeights w = quantize_by_channel(n, NULL, r); /* filters: a channel is a block */
    quantize_dequantize(n, 1, w.x, quantize_scales(n, &w), w.axis, 0);
}

void quantize_apply_weights(QuantizePlan *p, const QuantizeRecipe *r) {
    for (int i = 0; i < p->items.len; i++)
        p->items.data[i].dequantized = p->items.data[i].name;
    if (dtype_is_float(r->weights)) {
        shorten_all(p, r->weights);
        return;
    }
    for (Node *n = p->graph->first; n; n = n->next) {
        const QuantizeItem *item = quantize_item(p, n);
        if (!item || item->precision)
            continue;
        if (quantize_weight_axis(n) >= 0)
            round_weights(n, r);
        else if (quantize_is_recurrent(n))
            quantize_recurrent(n, r->weights, r->block);
        else
            round_matrix(n, 0, 0, r);
    }
}
