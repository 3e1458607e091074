/* SPDX-License-Identifier: Apache-2.0 */
/* Which values of a float graph become bytes. The pairs of QuantizeLinear and DequantizeLinear stand where pass_qdq and other
 * runtimes look for them: at each input and output of an operator with a form on integers, none inside of what is one
 * operator then (a product, its bias, its ReLU). */
#include "passes/quantize.h"

#include <string.h>

#include "ops/op.h"
#include "passes/edit.h"
#include "passes/passes.h"
#include "passes/quantize_edit.h"

typedef struct Plan {
    QuantizePlan *p;
    QuantizeKind kind;
    bool *may;    /* by value id: computed by what can work on bytes, or an input */
    bool *wanted; /* by value id */
    bool *inside; /* by value id: between operators that become one */
    bool *taken;  /* by value id: as bytes, by somebody */
    Value **result; /* by id of a node's first output: the value behind the whole, where it could work on bytes */
} Plan;

/* --- which operators --- */

/* Of one input, element by element: a table. */
static bool is_function(const Node *n) {
    static const char *const names[] = {"Relu", "Clip", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu",
                                        "Softplus", "Softsign", "Gelu", "Mish", "Swish", "ThresholdedRelu", "PRelu", NULL};
    static const char *const arithmetic[] = {"Add", "Sub", "Mul", "Div", NULL};
    int activations = 0;
    if (!edit_is_any(n, names) && !edit_is_any(n, arithmetic))
        return false;
    for (int i = 0; i < n->nin; i++) {
        if (quantize_is_activation(n->in[i]))
            activations++;
        else if (n->in[i] && !quantize_is_number(n->in[i]))
            return false;
    }
    return activations == 1;
}

/* Sums, products and others of values that are bytes by then. What is computed with floats anyway stays as it is. */
static bool joins(const Plan *s, const Node *n) {
    static const char *const names[] = {"Add", "Mul", "Concat", "AveragePool", "Softmax", NULL};
    bool one = is_function(n) || edit_is_image_mean(n);
    if (!one && !edit_is_any(n, names))
        return false;
    for (int i = 0; i < n->nin; i++) {
        const Value *v = n->in[i];
        if (quantize_is_activation(v) ? !s->may[v->id] : !one)
            return false;
    }
    return true;
}

static bool is_product(const Node *n) {
    return quantize_weight_axis(n) >= 0 || (edit_is(n, "MatMul") && quantize_is_activation(n->in[0]) && quantize_is_activation(n->in[1]));
}

/* --- which values --- */

static bool is_bound(const Node *n) {
    return edit_is(n, "Relu") || (edit_is(n, "Clip") && (n->nin < 2 || !n->in[1] || quantize_is_number(n->in[1])) &&
                                  (n->nin < 3 || !n->in[2] || quantize_is_number(n->in[2])));
}

/* The value behind bias and bounds, which are part of the same integer operator. */
static Value *whole(const Plan *s, Value *v) {
    Node *user = value_only_user(v);
    if (user && v->def && quantize_adds_bias(user, v)) {
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
        if (quantize_is_activation(n->in[i]))
            s->wanted[n->in[i]->id] = true;
}

/* What could work on bytes, with the value behind each. */
static void find_roles(const Plan *s) {
    Graph *g = s->p->graph;
    for (int i = 0; i < g->inputs.len; i++)
        s->may[g->inputs.data[i]->id] = true;
    for (Node *n = g->first; n; n = n->next) {
        bool within = false, product = is_product(n);
        for (int i = 0; i < n->nin; i++)
            within = within || (n->in[i] && s->inside[n->in[i]->id]);
        if (!n->out[0]) /* none of those below */
            continue;
        if (within) { /* the operator before has it */
            s->may[n->out[0]->id] = true;
        } else if (product || joins(s, n)) {
            s->result[n->out[0]->id] = whole(s, n->out[0]);
            s->may[n->out[0]->id] = true;
        } else if (quantize_moves(n)) {
            for (int i = 0; i < n->nout; i++)
                if (n->out[i])
                    s->may[n->out[i]->id] = s->may[n->in[0]->id];
        }
    }
}

/* Bytes that only what computes with floats takes would be rounded for nothing: products may give floats, and sums, functions
 * and the like stay floats. */
static void find_takers(const Plan *s) {
    Graph *g = s->p->graph;
    for (int i = 0; i < g->outputs.len; i++)
        s->taken[g->outputs.data[i]->id] = true;
    for (const Node *n = g->last; n; n = n->prev) {
        bool takes = false;
        if (!n->out[0])
            continue;
        Value **y = &s->result[n->out[0]->id];
        for (int i = 0; quantize_moves(n) && i < n->nout; i++)
            takes = takes || (n->out[i] && s->taken[n->out[i]->id]);
        if (*y && !is_product(n) && !s->taken[(*y)->id])
            *y = NULL;
        for (int i = 0; (*y || takes) && i < n->nin; i++)
            if (quantize_is_activation(n->in[i]))
                s->taken[n->in[i]->id] = true;
    }
}

static void choose(const Plan *s) {
    Graph *g = s->p->graph;
    find_roles(s);
    find_takers(s);
    for (const Node *n = g->first; n; n = n->next) {
        const Value *y = n->out[0] ? s->result[n->out[0]->id] : NULL;
        if (!y)
            continue;
        want_inputs(s, n);
        if (quantize_is_activation(y) && (s->taken[y->id] || edit_is(n, "Conv")))
            s->wanted[y->id] = true;
    }
    for (Node *n = g->last; n; n = n->prev) /* bytes are moved, not floats */
        for (int i = 0; quantize_moves(n) && i < n->nout; i++)
            if (n->out[i] && s->wanted[n->out[i]->id])
                s->wanted[n->in[0]->id] = true;
    for (Node *n = g->first; n; n = n->next)
        for (int i = 0; quantize_moves(n) && i < n->nout; i++)
            if (quantize_is_activation(n->out[i]) && s->wanted[n->in[0]->id])
                s->wanted[n->out[i]->id] = true;
}

static void find_sources(const QuantizePlan *p, const Value *v, int depth, QuantizeItem *item) {
    for (int i = 0; v->def && depth && i < v->def->nin; i++) {
        const Value *x = v->def->in[i];
        if (!quantize_is_activation(x))
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
    if (s->kind == QUANTIZE_STATIC && v->def && quantize_moves(v->def) && p->item_of[v->def->in[0]->id] >= 0)
        item.like = p->items.data[p->item_of[v->def->in[0]->id]].like;
    for (const Node *n = v->def; n; n = inner(s, n)) /* a layer is called by its product, not by its ReLU */
        item.layer = n;
    find_sources(p, v, 8, &item);
    p->item_of[v->id] = p->items.len;
    VEC_PUSH(p->graph->arena, &p->items, item);
}

/* Products with constant weights, large tables, and what goes through sequences. */
static void choose_weights(const Plan *s) {
    for (const Node *n = s->p->graph->first; n; n = n->next) {
        int i = 0;
        while (i < n->nout && !n->out[i])
            i++;
        if (i < n->nout && (quantize_weight_axis(n) >= 0 || quantize_is_table(n) || quantize_is_recurrent(n)))
            s->wanted[n->out[i]->id] = true;
    }
}

/* Whatever could have 16 bits: if it does depends on the numbers too. */
static void choose_floats(const Plan *s) {
    const Graph *g = s->p->graph;
    for (const Node *n = g->first; n; n = n->next)
        for (int i = 0; quantize_takes_halves(n) && i < n->nout; i++)
            if (quantize_is_activation(n->out[i])) {
                s->wanted[n->out[i]->id] = true;
                want_inputs(s, n);
            }
}

QuantizePlan quantize_plan(Graph *g, QuantizeKind kind) {
    QuantizePlan p = {.graph = g};
    Arena *a = g->arena;
    Plan s = {.p = &p, .kind = kind, .result = ARENA_ARRAY(a, Value *, g->next_id)};
    s.may = ARENA_ARRAY(a, bool, g->next_id);
    s.wanted = ARENA_ARRAY(a, bool, g->next_id);
    s.inside = ARENA_ARRAY(a, bool, g->next_id);
    s.taken = ARENA_ARRAY(a, bool, g->next_id);
    p.item_of = ARENA_ARRAY(a, int, g->next_id);
    for (int i = 0; i < g->next_id; i++)
        p.item_of[i] = -1;
    if (kind == QUANTIZE_STATIC)
        choose(&s);
    else if (kind == QUANTIZE_FLOATS)
        choose_floats(&s);
    else
        choose_weights(&s);
    for (int i = 0; i < g->inputs.len; i++)
        add_item(&s, g->inputs.data[i]);
    for (Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            add_item(&s, n->out[i]);
    return p;
}

/* Nodes keep their names; what lies between them needs no long ones, which stand in a file at each user. */
static void shorten_names(const QuantizePlan *p) {
    enum { LONGEST = 12 };
    Graph *g = p->graph;
    StrMap renamed = {0};
    for (const Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->nout; i++) {
            Value *v = n->out[i];
            if (!v || v->is_output || strlen(v->name) <= LONGEST)
                continue;
            const char *name = graph_fresh_name(g, "v");
            strmap_put(g->arena, &renamed, v->name, (void *)(uintptr_t)name);
            v->name = name;
            strmap_put(g->arena, &g->names, name, v);
        }
    }
    for (int i = 0; i < p->items.len; i++) {
        const char *name = strmap_get(&renamed, p->items.data[i].dequantized);
        p->items.data[i].dequantized = name ? name : p->items.data[i].dequantized;
    }
}

void quantize_apply(QuantizePlan *p, const QuantizeRecipe *r) {
    if (r->kind == QUANTIZE_STATIC)
        quantize_apply_static(p, r);
    else if (r->kind == QUANTIZE_DYNAMIC)
        quantize_apply_dynamic(p, r);
    else if (r->kind == QUANTIZE_FLOATS)
        quantize_apply_floats(p, r);
    else
        quantize_apply_weights(p, r);
    pass_dead(p->graph);
    shorten_names(p);
}
