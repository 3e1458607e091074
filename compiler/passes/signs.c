/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between quantised operators get the sign that the machine's dot products take from the left operand: another type,
 * and elements and zero points moved by 128 alike, so that every difference from a zero point stays. */
#include <string.h>

#include "ops/op.h"
#include "ops/quant.h"
#include "passes/edit.h"
#include "passes/passes.h"

enum { MOVES = -1, OTHER = -2 };

/* Quantised operators: which inputs are tensors with a zero point, where that of each and of the output is, and whether
 * the output has the inputs' type. */
static const struct Form {
    const char *domain, *op;
    int n, x[2], zero[2], out_zero;
    bool one_type, is_product;
} forms[] = {
    {"", "QLinearConv", 1, {0}, {2}, 7, false, true},
    {"", "QLinearMatMul", 1, {0}, {2}, 7, false, true},
    {"", "QuantizeLinear", 0, {0}, {0}, 2, false, false},
    {"", "DequantizeLinear", 1, {0}, {2}, OTHER, false, false},
    {"com.microsoft", "QGemm", 1, {0}, {2}, 8, false, true},
    {"com.microsoft", "QLinearAdd", 2, {0, 3}, {2, 5}, 7, true, false},
    {"com.microsoft", "QLinearMul", 2, {0, 3}, {2, 5}, 7, true, false},
    {"com.microsoft", "QLinearAveragePool", 1, {0}, {2}, 4, true, false},
    {"com.microsoft", "QLinearGlobalAveragePool", 1, {0}, {2}, 4, true, false},
    {"com.microsoft", "QLinearSigmoid", 1, {0}, {2}, 4, true, false},
    {"com.microsoft", "QLinearLeakyRelu", 1, {0}, {2}, 4, true, false},
    {"com.microsoft", "QLinearSoftmax", 1, {0}, {2}, 4, true, false},
};

static const struct Form *form_of(const Node *n) {
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (node_is(n, forms[i].domain, forms[i].op))
            return &forms[i];
    return NULL;
}

static bool is_concat(const Node *n) { return node_is(n, "com.microsoft", "QLinearConcat"); }

/* What a Pad puts beside its input is known. */
static bool has_padding(const Node *n) {
    bool number = n->nin < 3 || !n->in[2] || value_is_const(n->in[2]);
    return number && !strcmp(attr_string(n, "mode", "constant"), "constant");
}

static bool is_bound(const Node *n) {
    static const char *const names[] = {"Max", "Min", NULL};
    return edit_is_any(n, names) && n->nin == 2 && value_is_const(n->in[1]) && value_count(n->in[1]) == 1;
}

/* Elements of the outputs are those of input 0, and what Pad puts beside them, or a bound. */
static bool moves(const Node *n) {
    static const char *const names[] = {"Transpose", "Slice", "Split", "MaxPool", "Identity", NULL};
    return (n->op->flags & OP_RESHAPE) || edit_is_any(n, names) || node_is(n, "mlcc", "WindowRows") ||
           (edit_is(n, "Pad") && has_padding(n)) || is_bound(n);
}

/* Where input i's zero point is: an input's index, MOVES, or OTHER where n wants the element as it is. */
static int input_zero(const Node *n, int i) {
    const struct Form *f = form_of(n);
    for (int k = 0; f && k < f->n; k++)
        if (f->x[k] == i)
            return f->zero[k];
    if (is_concat(n) && i >= 2 && i % 3 == 2)
        return i + 2;
    return !f && i == 0 && moves(n) ? MOVES : OTHER;
}

static int output_zero(const Node *n) {
    const struct Form *f = form_of(n);
    return f ? f->out_zero : is_concat(n) ? 1 : moves(n) ? MOVES : OTHER;
}

static bool has_zero(const Node *n, int zero) {
    if (zero < 0 || zero >= n->nin)
        return zero == MOVES;
    return value_is_number(n->in[zero]);
}

/* --- values that change together --- */

typedef struct Signs {
    int *parent;          /* by value id */
    bool *fixed, *wanted; /* of a set's first value: it must stay; a product reads it */
} Signs;

static int first_of(const Signs *s, int id) {
    while (s->parent[id] != id)
        id = s->parent[id] = s->parent[s->parent[id]];
    return id;
}

static void join(Signs *s, const Value *x, const Value *y) {
    int a = first_of(s, x->id), b = first_of(s, y->id);
    s->parent[b] = a;
    s->fixed[a] = s->fixed[a] || s->fixed[b];
    s->wanted[a] = s->wanted[a] || s->wanted[b];
}

static bool is_byte(const Value *v) { return v && dtype_is_byte(v->dtype); }

static void read_node(Signs *s, const Node *n) {
    const struct Form *f = form_of(n);
    const Value *one = NULL; /* all tensors of the node have its type */
    bool together = f ? f->one_type : is_concat(n) || moves(n);
    for (int i = 0; i < n->nin; i++) {
        int zero = input_zero(n, i);
        if (!is_byte(n->in[i]))
            continue;
        int set = first_of(s, n->in[i]->id);
        s->fixed[set] = s->fixed[set] || !has_zero(n, zero) || node_attr(n, "channels_last");
        s->wanted[set] = s->wanted[set] || (f && f->is_product && i == 0);
        if (together && zero != OTHER) {
            if (one)
                join(s, one, n->in[i]);
            one = n->in[i];
        }
    }
    for (int o = 0; o < n->nout; o++) {
        if (!is_byte(n->out[o]))
            continue;
        int set = first_of(s, n->out[o]->id);
        s->fixed[set] = s->fixed[set] || n->out[o]->is_output || !has_zero(n, output_zero(n)) || node_attr(n, "output_dtype");
        if (together && one)
            join(s, one, n->out[o]);
    }
}

/* --- the change --- */

static Value *shifted(Value *zero, DType t) {
    char *byte = ARENA_NEW(zero->graph->arena, char);
    *byte = (char)(const_int(zero, 0) + (t == DT_U8 ? 128 : -128));
    return graph_const(zero->graph, zero->name, t, zero->rank, zero->dim, (Data){byte, 1});
}

static bool changes(const Signs *s, const Value *v, DType t) {
    if (!is_byte(v) || v->dtype == t || v->kind != VALUE_NODE)
        return false;
    int set = first_of(s, v->id);
    return s->wanted[set] && !s->fixed[set];
}

/* What Pad puts beside its input. */
static void shift_padding(Node *n, DType t) {
    enum { VALUE = 2 };
    Value *in[4] = {NULL};
    Value *old = n->nin > VALUE && n->in[VALUE] ? n->in[VALUE] : NULL;
    static const char zero;
    if (!old)
        old = graph_const(n->graph, "zero", n->in[0]->dtype, 0, NULL, (Data){&zero, 1});
    if (n->nin <= VALUE) {
        memcpy(in, n->in, (size_t)n->nin * sizeof *in);
        n->in = arena_dup(n->graph->arena, in, sizeof in);
        n->nin = VALUE + 1;
    }
    node_set_input(n, VALUE, shifted(old, t));
}

static void change_node(const Signs *s, Node *n, DType t) {
    Value **zero = ARENA_ARRAY(n->graph->arena, Value *, n->nin + 1);
    int out = output_zero(n);
    for (int i = 0; i < n->nin; i++) {
        int at = changes(s, n->in[i], t) ? input_zero(n, i) : OTHER;
        if (at >= 0)
            zero[at] = shifted(n->in[at], t);
    }
    if (out >= 0 && changes(s, n->out[0], t))
        zero[out] = shifted(n->in[out], t);
    for (int i = 0, count = n->nin; i < count; i++)
        if (zero[i])
            node_set_input(n, i, zero[i]);
    if (edit_is(n, "Pad") && changes(s, n->in[0], t))
        shift_padding(n, t);
    if (is_bound(n) && changes(s, n->in[0], t))
        node_set_input(n, 1, shifted(n->in[1], t));
}

void pass_signs(Graph *g, const Target *t) {
    DType suits = t ? quant_left_type(t->dot) : DT_NONE;
    if (suits == DT_NONE)
        return;
    Signs s = {ARENA_ARRAY(g->arena, int, g->next_id), ARENA_ARRAY(g->arena, bool, g->next_id), ARENA_ARRAY(g->arena, bool, g->next_id)};
    int ids = g->next_id;
    for (int i = 0; i < ids; i++)
        s.parent[i] = i;
    for (int i = 0; i < g->inputs.len; i++)
        s.fixed[g->inputs.data[i]->id] = true;
    for (int i = 0; i < g->consts.len; i++)
        s.fixed[g->consts.data[i]->id] = true;
    for (const Node *n = g->first; n; n = n->next)
        read_node(&s, n);
    for (Node *n = g->first; n; n = n->next)
        change_node(&s, n, suits);
    for (Node *n = g->first; n; n = n->next)
        for (int o = 0; o < n->nout; o++)
            if (n->out[o] && n->out[o]->id < ids && changes(&s, n->out[o], suits))
                value_set_type(n->out[o], suits, n->out[o]->rank, n->out[o]->dim);
    pass_dead(g);
}
