/* SPDX-License-Identifier: Apache-2.0 */
/* Tools for upgrade rules. */
#include "frontend/rewrite.h"

#include <string.h>

#include "ops/op.h"

void drop_attr(Node *n, const char *name) {
    for (int i = 0; i < n->nattrs; i++) {
        if (!strcmp(n->attr[i].name, name)) {
            memmove(&n->attr[i], &n->attr[i + 1], (size_t)(n->nattrs - i - 1) * sizeof *n->attr);
            n->nattrs--;
            return;
        }
    }
}

void put_int(Node *n, const char *name, int64_t x) { node_add_attr(n, (Attr){.name = name, .kind = ATTR_INT, .i = x}); }

void put_string(Node *n, const char *name, const char *x) {
    node_add_attr(n, (Attr){.name = name, .kind = ATTR_STRING, .s = x, .s_len = strlen(x)});
}

Given get_attr(const Node *n, const char *name, AttrKind kind, const Attr **out) {
    static const char *const words[] = {
        [ATTR_INT] = "an integer",        [ATTR_FLOAT] = "a number",          [ATTR_STRING] = "a string",
        [ATTR_INTS] = "a list of integers", [ATTR_FLOATS] = "a list of numbers", [ATTR_STRINGS] = "a list of strings",
        [ATTR_TENSOR] = "a tensor",       [ATTR_GRAPH] = "a graph",
    };
    *out = node_attr(n, name);
    if (!*out)
        return GIVEN_NO;
    if ((*out)->kind == kind)
        return GIVEN_YES;
    diag_error(n->graph->diag, node_place(n), "attribute \"%s\" must be %s", name, words[kind]);
    return GIVEN_WRONG;
}

void resize_inputs(Node *n, int count) {
    for (int i = count; i < n->nin; i++)
        node_set_input(n, i, NULL);
    Value **in = ARENA_ARRAY(n->graph->arena, Value *, count);
    for (int i = 0; i < count && i < n->nin; i++)
        in[i] = n->in[i];
    n->in = in;
    n->nin = count;
}

/* Outputs' names are unique, nodes' are not. */
static const char *name_for(const Node *n, const char *what) {
    const char *base = n->op_type;
    for (int i = n->nout - 1; i >= 0; i--)
        if (n->out[i])
            base = n->out[i]->name;
    return arena_printf(n->graph->arena, "%.200s_%s", base, what);
}

Value *ints_before(Node *n, const char *what, int rank, int count, const int64_t *x) {
    return graph_const_ints(n->graph, name_for(n, what), rank, count, x);
}

Value *floats_before(Node *n, const char *what, int count, const float *x) {
    int64_t dim = count;
    size_t size = (size_t)count * sizeof *x;
    return graph_const(n->graph, name_for(n, what), DT_F32, 1, &dim, (Data){arena_dup(n->graph->arena, x, size), size});
}

Value *value_before(Node *n, const char *op, const char *what, int nin, Value *const *in) {
    const char *name = name_for(n, what);
    Node *m = graph_node(n->graph, n, "", op, n->name, nin, in, 1, &name);
    m->sources = n->sources;
    return m->out[0];
}

Value *scalar_like(Node *n, const char *what, float x, Value *like) {
    Arena *a = n->graph->arena;
    double d = (double)x;
    uint16_t h;
    switch (hint_dtype(like)) {
    case DT_F32: return graph_const_float(n->graph, name_for(n, what), x);
    case DT_F64: return graph_const(n->graph, name_for(n, what), DT_F64, 0, NULL, (Data){arena_dup(a, &d, sizeof d), sizeof d});
    case DT_F16:
        h = float_to_half(x);
        return graph_const(n->graph, name_for(n, what), DT_F16, 0, NULL, (Data){arena_dup(a, &h, sizeof h), sizeof h});
    default: {
        Value *in[] = {graph_const_float(n->graph, name_for(n, what), x), like};
        return value_before(n, "CastLike", what, 2, in);
    }
    }
}

void become(Node *n, const char *op, int nin, Value *const *in) {
    n->op_type = op;
    n->op = op_find("", op);
    n->nattrs = 0;
    resize_inputs(n, nin);
    for (int i = 0; i < nin; i++)
        node_set_input(n, i, in[i]);
}

/* Operators whose first output has the element type, or the rank, of their first input. */
static const struct {
    const char *op;
    bool keeps_dtype, keeps_rank;
} keeping[] = {
    {"Abs", true, true},       {"Add", true, false},           {"AveragePool", true, true},
    {"BatchNormalization", true, true}, {"Clip", true, true},  {"Concat", true, true},
    {"Conv", true, true},      {"ConvTranspose", true, true},  {"Div", true, false},
    {"Dropout", true, true},   {"Elu", true, true},            {"Exp", true, true},
    {"Flatten", true, false},  {"Gemm", true, false},          {"GlobalAveragePool", true, true},
    {"GlobalMaxPool", true, true}, {"HardSigmoid", true, true}, {"Identity", true, true},
    {"InstanceNormalization", true, true}, {"LRN", true, true}, {"LeakyRelu", true, true},
    {"Log", true, true},       {"MatMul", true, false},        {"Max", true, false},
    {"MaxPool", true, true},   {"Min", true, false},           {"Mul", true, false},
    {"Neg", true, true},       {"PRelu", true, true},          {"Pad", true, true},
    {"Pow", true, false},      {"Reciprocal", true, true},     {"ReduceMean", true, false},
    {"ReduceSum", true, false}, {"Relu", true, true},          {"Reshape", true, false},
    {"Resize", true, true},    {"Sigmoid", true, true},        {"Slice", true, true},
    {"Softmax", true, true},   {"Split", true, true},          {"Sqrt", true, true},
    {"Squeeze", true, false},  {"Sub", true, false},           {"Sum", true, false},
    {"Tanh", true, true},      {"Transpose", true, true},      {"Unsqueeze", true, false},
    {"Upsample", true, true},
};

enum { MAX_STEPS = 1000 }; /* how far back a hint is looked for */

static const Value *source(const Value *v, bool rank) {
    const Node *n = v->def;
    if (!n || *n->domain || !n->nin || !n->in[0])
        return NULL;
    if (v->def_index && strcmp(n->op_type, "Split") != 0)
        return NULL;
    for (size_t i = 0; i < sizeof keeping / sizeof *keeping; i++)
        if (!strcmp(n->op_type, keeping[i].op))
            return (rank ? keeping[i].keeps_rank : keeping[i].keeps_dtype) ? n->in[0] : NULL;
    return NULL;
}

DType hint_dtype(const Value *v) {
    for (int i = 0; v && i < MAX_STEPS; i++, v = source(v, false))
        if (v->dtype != DT_NONE)
            return v->dtype;
    return DT_NONE;
}

int hint_rank(const Value *v) {
    for (int i = 0; v && i < MAX_STEPS; i++, v = source(v, true)) {
        if (v->rank >= 0)
            return v->rank;
        const Node *n = v->def;
        if (n && !*n->domain && (!strcmp(n->op_type, "Gemm") || !strcmp(n->op_type, "Flatten")))
            return 2;
        if (n && !*n->domain && !strcmp(n->op_type, "Reshape") && n->nin > 1 && value_is_const(n->in[1]) &&
            n->in[1]->rank == 1 && n->in[1]->dim[0] <= GRAPH_MAX_RANK)
            return (int)n->in[1]->dim[0];
    }
    return -1;
}
