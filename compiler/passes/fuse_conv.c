/* SPDX-License-Identifier: Apache-2.0 */
/* Products with and sums of constants for each channel go into the weights and bias of the Conv, ConvTranspose or Gemm
 * before them. The new weights are ordinary nodes on constants, which folding computes. */
#include <string.h>

#include "ops/op.h"
#include "passes/edit.h"
#include "passes/fold.h"
#include "passes/passes.h"

static bool is_linear(const Node *n) { return edit_is(n, "Conv") || edit_is(n, "ConvTranspose") || edit_is(n, "Gemm"); }

/* Axis of the weights that counts output channels; -1 where there is none as a whole. */
static int channel_axis(const Node *n) {
    if (edit_is(n, "Gemm"))
        return attr_int(n, "transB", 0) ? 0 : 1;
    if (edit_is(n, "ConvTranspose"))
        return attr_int(n, "group", 1) == 1 ? 1 : -1;
    return 0;
}

/* The constant operand of a binary node when it holds one element for each channel, or one for all. */
static Value *channel_constant(const Node *n, const Value *x) {
    Value *c = n->in[0] == x ? n->in[1] : n->in[0];
    if (!value_is_const(c) || c->rank > x->rank || n->in[0] == n->in[1])
        return NULL;
    for (int d = 0; d < c->rank; d++) {
        int axis = d + x->rank - c->rank;
        if (c->dim[d] != 1 && (axis != 1 || c->dim[d] != x->dim[1]))
            return NULL;
    }
    return c;
}

static Value *zeros(Graph *g, DType t, int64_t n) {
    size_t size = (size_t)n * (size_t)dtype_size(t);
    return graph_const(g, "zeros", t, 1, &n, (Data){arena_alloc(g->arena, size), size});
}

static Value *bias_of(const Node *n) { return n->nin > 2 ? n->in[2] : NULL; }

static void set_bias(Node *n, Value *bias) {
    if (n->nin > 2) {
        node_set_input(n, 2, bias);
        return;
    }
    Value **in = ARENA_ARRAY(n->graph->arena, Value *, 3);
    memcpy(in, n->in, 2 * sizeof *in);
    n->in = in;
    n->nin = 3;
    node_set_input(n, 2, bias);
}

static Value *combine(Node *n, const char *op, const Node *from, Value *x, Value *y) {
    return edit_node(n, op, from, 2, (Value *[]){x, y})->out[0];
}

static bool scale(Node *n, const Node *m, Value *factor) {
    int axis = channel_axis(n);
    Value *w = n->in[1], *bias = bias_of(n);
    if (axis < 0 || !fold_is_possible(w) || (bias && !fold_is_possible(bias)))
        return false;
    int64_t dim[GRAPH_MAX_RANK], count = value_count(factor);
    for (int d = 0; d < w->rank; d++)
        dim[d] = d == axis ? count : 1;
    node_set_input(n, 1, combine(n, "Mul", m, w, edit_reshaped_const(factor, w->rank, dim)));
    if (bias) /* Gemm's C ends in the channels */
        set_bias(n, combine(n, "Mul", m, bias, edit_reshaped_const(factor, 1, &count)));
    return true;
}

static bool shift(Node *n, const Node *m, Value *offset) {
    Value *bias = bias_of(n);
    if ((bias && !fold_is_possible(bias)) || (edit_is(n, "Gemm") && attr_float(n, "beta", 1.0f) != 1.0f))
        return false;
    int64_t channels = n->out[0]->dim[1], count = value_count(offset);
    if (!bias)
        bias = zeros(n->graph, n->out[0]->dtype, channels);
    set_bias(n, combine(n, "Add", m, bias, edit_reshaped_const(offset, 1, &count)));
    return true;
}

static bool absorb(Node *n) {
    Value *y = n->out[0];
    Node *m = value_only_user(y);
    if (!m || !m->out[0] || !value_same_shape(m->out[0], y) || m->nin != 2 || (y->dtype != DT_F32 && y->dtype != DT_F64))
        return false;
    bool product = edit_is(m, "Mul"), sum = edit_is(m, "Add");
    Value *c = product || sum ? channel_constant(m, y) : NULL;
    if (!c || m->out[0]->dtype != y->dtype || !(product ? scale(n, m, c) : shift(n, m, c)))
        return false;
    edit_add_sources(n, m);
    edit_replace(m->out[0], y);
    node_remove(m);
    return true;
}

void pass_fuse_conv(Graph *g) {
    for (Node *n = g->first; n; n = n->next)
        while (is_linear(n) && absorb(n))
            ;
}
