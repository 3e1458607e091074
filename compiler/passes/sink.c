/* SPDX-License-Identifier: Apache-2.0 */
/* DequantizeLinear moves below what only moves elements or picks some: M(D(x)) becomes D(M(x)), which computes the same
 * in a quarter of the memory, and brings the D to the operators that can do without. */
#include <string.h>

#include "ops/op.h"
#include "passes/edit.h"
#include "passes/fold.h"
#include "passes/passes.h"
#include "passes/quantised.h"

/* Operators with one data input, whose every element is one of the input's, or the largest of some. */
static bool picks_elements(const Node *n) {
    static const char *const names[] = {"Transpose", "Slice", "Split", "Gather", "DepthToSpace", "SpaceToDepth",
                                        "Identity", "Expand", "Tile", "GatherElements", "GatherND", "ReverseSequence",
                                        "GlobalMaxPool", "ReduceMax", "ReduceMin", NULL};
    return (n->op->flags & OP_RESHAPE) || edit_is_any(n, names) || quantised_picks(n);
}

/* Scales for each channel stay where the axis is known to go. */
static bool follow_axis(const Node *n, Quantised *q) {
    if (q->axis < 0)
        return true;
    const Attr *perm = node_attr(n, "perm");
    if (!edit_is(n, "Transpose"))
        return false;
    int rank = n->in[0]->rank;
    for (int d = 0; d < rank; d++) {
        if ((perm ? perm->ints[d] : rank - 1 - d) == q->axis) {
            q->axis = d;
            return true;
        }
    }
    return false;
}

/* Output i of n is that of m, dequantised. */
static void dequantise_output(Node *n, int i, Value *x, const Quantised *q) {
    const Attr axis = edit_int("axis", q->axis);
    Value *in[] = {x, q->scale, q->zero};
    Node *d = edit_node_with(n, "", "DequantizeLinear", n, 3, in, q->axis >= 0 ? 1 : 0, &axis);
    edit_replace(n->out[i], d->out[0]);
}

/* Outputs that are no numbers (places of elements) are as they were. */
static void sink_through(Node *n, int nin, Value *const *in, const Quantised *q) {
    Node *m = graph_node(n->graph, n, n->domain, n->op_type, n->name, nin, in, n->nout, NULL);
    m->sources = n->sources;
    m->nattrs = n->nattrs;
    m->attr = n->attr;
    for (int i = 0; i < n->nout; i++) {
        if (!n->out[i])
            m->out[i] = NULL;
        else
            value_set_type(m->out[i], n->out[i]->dtype == DT_F32 ? q->dtype : n->out[i]->dtype, n->out[i]->rank, n->out[i]->dim);
    }
    fold_mark(m);
    for (int i = 0; i < n->nout; i++) {
        if (n->out[i] && n->out[i]->dtype == DT_F32)
            dequantise_output(n, i, m->out[i], q);
        else if (n->out[i])
            edit_replace(n->out[i], m->out[i]);
    }
}

static bool sink_one(Node *n) {
    Quantised q;
    if (!picks_elements(n) || !n->in[0] || !quantised_read(n->in[0], &q) || !follow_axis(n, &q))
        return false;
    if (dtype_stored(q.dtype) != q.dtype && !(n->op->flags & OP_NARROW))
        return false;
    Value **in = ARENA_ARRAY(n->graph->arena, Value *, n->nin);
    memcpy(in, n->in, (size_t)n->nin * sizeof *in);
    in[0] = q.x;
    sink_through(n, n->nin, in, &q);
    return true;
}

/* The padding must be an element of the input's kind. */
static bool sink_pad(Node *n) {
    Quantised q;
    if (!edit_is(n, "Pad") || !quantised_tensor(n->in[0], &q))
        return false;
    bool constant = !strcmp(attr_string(n, "mode", "constant"), "constant"), value = n->nin > 2 && n->in[2];
    if (constant && value && !value_is_const(n->in[2]))
        return false;
    double pad = constant && value ? const_float(n->in[2], 0) : 0;
    int64_t element = quantised_number(&q, pad);
    if ((float)(element - const_int(q.zero, 0)) * (float)const_float(q.scale, 0) != (float)pad)
        return false;
    Value *in[4] = {q.x, n->in[1], quantised_const(n->graph, "padding", q.dtype, element), n->nin > 3 ? n->in[3] : NULL};
    sink_through(n, n->nin > 3 ? 4 : 3, in, &q);
    return true;
}

/* max(x, 0) is max(element, zero point). */
static bool sink_relu(Node *n) {
    Quantised q;
    if (!edit_is(n, "Relu") || !quantised_tensor(n->in[0], &q))
        return false;
    dequantise_output(n, 0, edit_node(n, "Max", n, 2, (Value *[]){q.x, q.zero})->out[0], &q);
    return true;
}

/* Elements of several inputs, from `from` on, that stand for numbers in the same way. */
static bool sink_alike(Node *n) {
    Quantised first, q;
    int from = edit_is(n, "Where");
    if ((!from && !edit_is(n, "Concat") && !edit_is(n, "Max") && !edit_is(n, "Min")) || !quantised_tensor(n->in[from], &first))
        return false;
    Value **in = ARENA_ARRAY(n->graph->arena, Value *, n->nin);
    for (int i = 0; i < n->nin; i++) {
        if (i >= from && (!quantised_tensor(n->in[i], &q) || !quantised_alike(&q, &first)))
            return false;
        in[i] = i < from ? n->in[i] : q.x;
    }
    sink_through(n, n->nin, in, &first);
    return true;
}

/* The order of elements is that of numbers. */
static bool sink_order(Node *n) {
    Quantised q;
    if ((!edit_is(n, "TopK") && !edit_is(n, "ArgMax") && !edit_is(n, "ArgMin")) || !quantised_tensor(n->in[0], &q))
        return false;
    Value *in[] = {q.x, n->nin > 1 ? n->in[1] : NULL};
    sink_through(n, n->nin, in, &q);
    return true;
}

void pass_sink(Graph *g) {
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (sink_one(n) || sink_pad(n) || sink_relu(n) || sink_alike(n) || sink_order(n))
            node_remove(n);
    }
    pass_dead(g);
}
