/* SPDX-License-Identifier: Apache-2.0 */
/* What the ways to quantise a float graph share. */
#include "passes/quantize_edit.h"

#include <float.h>
#include <string.h>

#include "ops/op.h"
#include "passes/edit.h"

enum { SMALLEST_TABLE = 4096, LONGEST_BASE = 12 };

bool quantize_is_activation(const Value *v) {
    return v && v->kind != VALUE_CONST && v->dtype == DT_F32 && value_count(v) > 0 && !(v->kind == VALUE_INPUT && v->is_output);
}

bool quantize_is_weight(const Value *v) { return value_is_const(v) && v->dtype == DT_F32 && value_count(v) > 0; }
bool quantize_is_number(const Value *v) { return quantize_is_weight(v) && value_count(v) == 1; }

int quantize_weight_axis(const Node *n) {
    if (n->nin < 2 || !quantize_is_activation(n->in[0]) || !quantize_is_weight(n->in[1]))
        return -1;
    if (edit_is(n, "Conv"))
        return 0;
    const Value *c = n->nin > 2 ? n->in[2] : NULL;
    bool transposed = attr_int(n, "transB", 0) != 0;
    if (edit_is(n, "MatMul") && n->in[1]->rank == 2 && n->in[0]->rank > 1)
        return 1;
    if (!edit_is(n, "Gemm") || attr_int(n, "transA", 0) || attr_float(n, "alpha", 1) != 1)
        return -1;
    if (c && (attr_float(n, "beta", 1) != 1 || !quantize_is_weight(c) ||
              (value_count(c) != 1 && (!c->rank || c->dim[c->rank - 1] != value_count(c)))))
        return -1;
    return transposed ? 0 : 1;
}

bool quantize_is_table(const Node *n) {
    return edit_is(n, "Gather") && quantize_is_weight(n->in[0]) && n->in[0]->rank == 2 && value_count(n->in[0]) >= SMALLEST_TABLE &&
           !value_is_const(n->in[1]) && !attr_int(n, "axis", 0);
}

bool quantize_is_recurrent(const Node *n) {
    return (edit_is(n, "LSTM") || edit_is(n, "GRU") || edit_is(n, "RNN")) && quantize_is_weight(n->in[1]) && quantize_is_weight(n->in[2]);
}

bool quantize_moves(const Node *n) {
    static const char *const names[] = {"MaxPool", "GlobalMaxPool", "Transpose", "Slice", "Split", "DepthToSpace", "SpaceToDepth",
                                        "Identity", NULL};
    if (!n->nin || !quantize_is_activation(n->in[0]))
        return false;
    if (edit_is(n, "Resize"))
        return !strcmp(attr_string(n, "mode", "nearest"), "nearest");
    if (edit_is(n, "MaxPool") && n->nout > 1 && n->out[1])
        return false;
    return (n->op->flags & OP_RESHAPE) || edit_is_any(n, names);
}

bool quantize_adds_bias(const Node *add, const Value *v) {
    if (!edit_is(add, "Add") || !v->def || !edit_is(v->def, "MatMul") || quantize_weight_axis(v->def) < 0 ||
        !value_same_shape(v, add->out[0]))
        return false;
    const Value *c = add->in[add->in[0] == v];
    return quantize_is_weight(c) && (value_count(c) == 1 || (c->rank && c->dim[c->rank - 1] == value_count(c)));
}

int64_t quantize_channel(const Value *v, int axis, int64_t i) {
    int64_t inner = 1;
    for (int d = axis + 1; d < v->rank; d++)
        inner *= v->dim[d];
    return i / inner % v->dim[axis];
}

double quantize_clamp(double x, double least, double most) { return x < least ? least : x > most ? most : x; }

float quantize_scale(double most) {
    float scale = (float)(most / (int)WEIGHT_MOST);
    return scale >= FLT_MIN ? scale : 1;
}

const char *quantize_name(Graph *g, const char *base, const char *what) {
    return graph_fresh_name(g, strlen(base) <= LONGEST_BASE ? arena_printf(g->arena, "%s_%s", base, what) : what);
}

Value *quantize_const(Graph *g, const char *base, const char *what, DType t, int rank, const int64_t *dim, const void *bytes,
                      size_t size) {
    return graph_const(g, quantize_name(g, base, what), t, rank, dim, (Data){arena_dup(g->arena, bytes, size), size});
}

Value *quantize_node(Node *before, Graph *g, const char *domain, const char *op, const char *base, const char *what, int nin,
                     Value *const *in, DType t) {
    const char *name = quantize_name(g, base, what);
    Node *n = graph_node(g, before, domain, op, name, nin, in, 1, &name);
    value_set_type(n->out[0], t, in[0]->rank, in[0]->dim);
    return n->out[0];
}

void quantize_take_over(Value *v, Value *by) {
    value_swap_names(v, by);
    value_replace_all(v, by);
}
