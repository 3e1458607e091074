/* SPDX-License-Identifier: Apache-2.0 */
/* Tools for upgrade rules. */
#include "frontend/rewrite.h"

#include <string.h>


void drop_attr(Node *n, const char *name) {
    for (int i = 0; i < n->nattrs; i++) {
        if (!strcmp(n->attr[i].name, name)) {
            memmove(&n->attr[i], &n->attr[i + 1], (size_t)(n->nattrs - i - 1) * sizeof *n->attr);
            n->nattrs--;
            return;
        }
    }
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

Value *scalar_like(Node *n, const char *what, float x, Value *like) {
    DType t = hint_dtype(like);
    if (dtype_is_float(t))
        return scalar_before(n, what, t, (double)x);
    Value *in[] = {scalar_before(n, what, DT_F32, (double)x), like};
    return value_before(n, "CastLike", what, 2, in);
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
