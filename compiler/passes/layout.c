/* SPDX-License-Identifier: Apache-2.0 */
/* Which axis lies innermost in memory: channels of activations round convolutions, output channels of weights, so that
 * vectors run along what the products share least. Only storage changes; shapes and indices stay ONNX's. */
#include <string.h>

#include "ops/op.h"
#include "ops/window.h"
#include "passes/edit.h"
#include "passes/passes.h"

/* Storage by axes from the outermost to the innermost. */
static void set_order(Value *v, const int *axis) {
    int64_t stride = 1;
    for (int k = v->rank - 1; k >= 0; k--) {
        v->storage.stride[axis[k]] = stride;
        stride *= v->dim[axis[k]] > 0 ? v->dim[axis[k]] : 1;
    }
}

static bool channels_last(const Value *v) {
    return v && v->rank >= 3 && v->storage.root && v->storage.stride[1] == 1 && v->dim[1] > 1 &&
           !storage_is_row_major(v);
}

static void set_channels_last(Value *v) {
    int axis[GRAPH_MAX_RANK], n = 0;
    axis[n++] = 0;
    for (int d = 2; d < v->rank; d++)
        axis[n++] = d;
    axis[n] = 1;
    set_order(v, axis);
}

static bool keeps_axes(const Node *n) {
    static const char *const names[] = {"Concat", "Split", "Slice", "Pad", "InstanceNormalization", "DynamicQuantizeLinear", NULL};
    return (n->op->flags & OP_ELEMENTWISE) || edit_is_any(n, names) || node_is(n, "com.microsoft", "QLinearConcat");
}

/* A Reshape that merges or splits spatial axes only. */
static bool keeps_channels(const Node *n) {
    const Value *x = n->in[0], *y = n->out[0];
    return (n->op->flags & OP_RESHAPE) && x->rank >= 3 && y && y->rank >= 3 && x->dim[0] == y->dim[0] && x->dim[1] == y->dim[1];
}

/* Read by a product that takes many channels of one place: they should lie side by side. */
static bool feeds_product(const Value *v) {
    int many = dtype_size(v->dtype) == 1 ? 4 : 8;
    if (v->rank < 3 || v->dim[1] < many || value_count(v) <= v->dim[0] * v->dim[1])
        return false;
    for (int i = 0; i < v->uses.len; i++) {
        const Node *n = v->uses.data[i].node;
        if (v->uses.data[i].index == 0 && (n->op->flags & OP_CHANNELS) && n->op->macs)
            return true;
    }
    return false;
}

/* The windows' rows of all channels should lie side by side, or one channel's behind the other's. */
static const Node *rows_user(const Value *v) {
    const Node *n = value_only_user(v);
    return n && node_is(n, "mlcc", "WindowRows") ? n : NULL;
}

static void set_rows(Value *v, const Node *user) {
    static const int planar[] = {0, 2, 1, 3};
    if (attr_int(user, "planar", 0))
        set_order(v, planar);
    else
        set_channels_last(v);
}

static bool wants_channels_last(const Node *n, const Value *y) {
    if (y->rank < 3 || y->is_output)
        return false;
    if (n->op->flags & OP_CHANNELS)
        return true;
    if (keeps_channels(n))
        return channels_last(n->in[0]);
    if (keeps_axes(n) && feeds_product(y))
        return true;
    for (int i = 0; keeps_axes(n) && i < n->nin; i++)
        if (n->in[i] && n->in[i]->rank == y->rank && channels_last(n->in[i]))
            return true;
    return false;
}

/* Axes of a weight operand, outermost first; false where row-major is right. */
static bool weight_order(const Node *n, int input, const Value *w, int *axis) {
    bool conv = input == window_weights(n);
    bool transposed = (input == 1 && edit_is(n, "ConvTranspose")) || (input == 3 && !strcmp(n->op_type, "QLinearConvTranspose"));
    bool recurrent = edit_is(n, "LSTM") || edit_is(n, "GRU") || edit_is(n, "RNN");
    if (conv || transposed) {
        int k = 0;
        for (int d = 2; d < w->rank; d++)
            axis[k++] = d;
        axis[k++] = conv ? 1 : 0;
        axis[k] = conv ? 0 : 1;
        return true;
    }
    bool gemm = (input == 1 && edit_is(n, "Gemm")) || (input == 3 && !strcmp(n->op_type, "QGemm"));
    if (gemm && attr_int(n, "transB", 0)) {
        axis[0] = 1, axis[1] = 0;
        return true;
    }
    if ((input == 1 || input == 2) && recurrent) {
        axis[0] = 0, axis[1] = 2, axis[2] = 1;
        return true;
    }
    return false;
}

/* A product's output is best made channels last, in vectors, and brought into ONNX's order by a copy. */
static bool wants_copy(const Value *v) {
    if (v->kind != VALUE_NODE || v->rank < 3 || v->dim[1] < 2 || value_count(v) <= v->dim[0] * v->dim[1])
        return false;
    for (const Node *n = v->def; n && n->group == v->def->group; n = n->prev)
        if ((n->op->flags & OP_CHANNELS) && n->op->macs)
            return true;
    return false;
}

/* All that read an input read a copy of it. */
static void copy_input(Graph *g, Value *v) {
    Node *n = graph_node(g, g->first, "", "Identity", v->name, 1, &v, 1, NULL);
    Value *y = n->out[0];
    value_set_type(y, v->dtype, v->rank, v->dim);
    n->group = g->next_group++;
    for (Node *m = n->next; m; m = m->next)
        for (int i = 0; i < m->nin; i++)
            if (m->in[i] == v)
                node_set_input(m, i, y);
}

void pass_layout(Graph *g, const Target *t) {
    for (int i = 0; i < g->inputs.len; i++)
        storage_row_major(g->inputs.data[i]);
    for (int i = 0; i < g->consts.len; i++) {
        Value *v = g->consts.data[i];
        int axis[GRAPH_MAX_RANK];
        storage_row_major(v);
        const Use *use = v->uses.len ? &v->uses.data[0] : NULL;
        if (use && (use->node->op->flags & OP_KEPT) && use->node->out[0]->uses.len) /* scales and zero points lie alike */
            use = &use->node->out[0]->uses.data[0];
        if (t && use && weight_order(use->node, use->index, v, axis))
            set_order(v, axis);
    }
    for (int i = 0; t && i < g->inputs.len; i++)
        if (feeds_product(g->inputs.data[i]))
            copy_input(g, g->inputs.data[i]);
    for (int i = 0; t && i < g->outputs.len; i++)
        if (wants_copy(g->outputs.data[i]))
            edit_copy_output(g, i);
    for (Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->nout; i++) {
            if (!n->out[i])
                continue;
            storage_row_major(n->out[i]);
            if (t && keeps_axes(n) && rows_user(n->out[i]))
                set_rows(n->out[i], rows_user(n->out[i]));
            else if (t && wants_channels_last(n, n->out[i]))
                set_channels_last(n->out[i]);
        }
    }
}
