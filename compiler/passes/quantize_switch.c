/* SPDX-License-Identifier: Apache-2.0 */
/* What each rounding does alone: a float graph in which every value can be rounded to bytes, and every layer computed with
 * rounded weights, as further inputs of the graph say when it runs. One compilation serves all questions. */
#include <string.h>

#include "passes/edit.h"
#include "passes/passes.h"
#include "passes/quantize_edit.h"
#include "passes/quantize_weights.h"

static Value *operator(Node *before, const char *op, Value *x, Value *y) {
    return quantize_node(before, x->graph, "", op, "switch", op, y ? 2 : 1, (Value *[]){x, y}, DT_F32);
}

static Value *number(Graph *g, double x) { return graph_const_float(g, graph_fresh_name(g, "number"), (float)x); }

/* What used v so far takes v + switch * change. Returns the switch. */
static int add_switch(Value *v, Value *change, const Use *uses, int n) {
    Graph *g = v->graph;
    Value *by = graph_input(g, graph_fresh_name(g, "switch"), DT_F32, 0, NULL);
    Node *before = change->def->next;
    Value *y = operator(before, "Add", v, operator(before, "Mul", change, by));
    for (int u = 0; u < n; u++)
        node_set_input(uses[u].node, uses[u].index, y);
    for (int i = 0; i < g->outputs.len; i++)
        if (g->outputs.data[i] == v)
            g->outputs.data[i] = y;
    y->is_output = v->is_output;
    v->is_output = false;
    return g->inputs.len - 1;
}

static Use *users(const Value *v) { return arena_dup(v->graph->arena, v->uses.data, (size_t)v->uses.len * sizeof(Use)); }

static int switch_value(QuantizeItem *item) {
    Value *v = item->value;
    Graph *g = v->graph;
    Node *before = v->def ? v->def->next : g->first;
    const Use *uses = users(v);
    int n = v->uses.len;
    quantize_set_scale(item, DT_U8);
    double step = item->scale, lo = -(double)item->zero, hi = 255 - (double)item->zero;
    Value *steps = operator(before, "Round", operator(before, "Mul", v, number(g, 1 / step)), NULL);
    steps = operator(before, "Max", steps, number(g, lo));
    steps = operator(before, "Min", steps, number(g, hi));
    Value *rounded = operator(before, "Mul", steps, number(g, step));
    return add_switch(v, operator(before, "Sub", rounded, v), uses, n);
}

/* The same product of what rounding changes in the weights, with what that changes in the bias. */
static Value *change_of_weights(Node *n, const QuantizeRecipe *r) {
    Graph *g = n->graph;
    const Value *w = n->in[1];
    QuantizeRecipe plain = *r; /* the graph's own bias stays */
    int axis = quantize_weight_axis(n);
    plain.correct_bias = false;
    ChannelWeights rounded = quantize_by_channel(n, NULL, &plain);
    int64_t count = value_count(w), channels = w->dim[axis], depth = count / channels;
    float *change = ARENA_ARRAY(g->arena, float, count), *error = ARENA_ARRAY(g->arena, float, count);
    int64_t *filled = ARENA_ARRAY(g->arena, int64_t, channels);
    for (int64_t i = 0; i < count; i++) {
        int64_t c = quantize_channel(w, axis, i);
        change[i] = rounded.scale[c] * (float)((const int8_t *)rounded.x->data.bytes)[i] - (float)const_float(w, i);
        error[c * depth + filled[c]++] = -change[i];
    }
    Value *in[] = {n->in[0], quantize_const(g, w->name, "change", DT_F32, w->rank, w->dim, change, (size_t)count * sizeof *change)};
    Node *m = graph_node(g, n->next, "", n->op_type, quantize_name(g, n->name, "change"), 2, in, 1, NULL);
    value_set_type(m->out[0], DT_F32, n->out[0]->rank, n->out[0]->dim);
    for (int i = 0; i < n->nattrs; i++)
        node_add_attr(m, n->attr[i]);
    quantize_correct_bias(m, r, depth, error);
    return m->out[0];
}

void quantize_add_switches(QuantizePlan *p, const QuantizeRecipe *r, QuantizeSwitches *out) {
    Arena *a = p->graph->arena;
    int n = p->items.len;
    *out = (QuantizeSwitches){p->graph->inputs.len, ARENA_ARRAY(a, int, n + 1), ARENA_ARRAY(a, int, n + 1), ARENA_ARRAY(a, int64_t, n + 1)};
    for (int i = 0; i < n; i++) {
        Node *layer = (Node *)p->items.data[i].layer;
        out->value[i] = out->weights[i] = -1;
        if (!layer || quantize_weight_axis(layer) < 0)
            continue;
        Value *y = layer->out[0];
        out->count[i] = value_count(layer->in[1]);
        const Use *uses = users(y);
        int used = y->uses.len;
        out->weights[i] = add_switch(y, change_of_weights(layer, r), uses, used);
    }
    for (int i = 0; i < n; i++) /* weights first: they are known by the names of the inputs */
        if (p->items.data[i].like == i)
            out->value[i] = switch_value(&p->items.data[i]);
    pass_dead(p->graph);
}
