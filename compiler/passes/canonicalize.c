/* SPDX-License-Identifier: Apache-2.0 */
/* One form for equal things: nodes that do nothing go, batch normalisation becomes a product and a sum, padding joins
 * the convolution behind it. */
#include <string.h>

#include "ops/op.h"
#include "ops/rules.h"
#include "passes/edit.h"
#include "passes/passes.h"

static bool is_plain_slice(const Node *n) {
    int64_t start[GRAPH_MAX_RANK], step[GRAPH_MAX_RANK];
    if (!slice_view(n, start, step))
        return false;
    for (int d = 0; d < n->in[0]->rank; d++)
        if (step[d] != 1 && n->in[0]->dim[d] > 1)
            return false;
    return true;
}

static bool is_identity_perm(const Node *n) {
    const Attr *perm = node_attr(n, "perm");
    int rank = n->in[0]->rank;
    if (!perm)
        return rank <= 1;
    for (int d = 0; d < rank; d++)
        if (perm->ints[d] != d)
            return false;
    return true;
}

/* Output 0 is input 0, element by element. */
static bool does_nothing(const Node *n) {
    const Value *x = n->nin ? n->in[0] : NULL, *y = n->out[0];
    if (!x || !y || x->dtype != y->dtype || !value_same_shape(x, y))
        return false;
    for (int i = 1; i < n->nout; i++)
        if (n->out[i] && (n->out[i]->uses.len || n->out[i]->is_output))
            return false;
    if (n->op->flags & OP_RESHAPE)
        return true;
    if (edit_is(n, "Transpose"))
        return is_identity_perm(n);
    if (edit_is(n, "Slice"))
        return is_plain_slice(n);
    if (edit_is(n, "Concat") || edit_is(n, "Sum") || edit_is(n, "Max") || edit_is(n, "Min") || edit_is(n, "Mean"))
        return n->nin == 1;
    return edit_is(n, "Identity") || edit_is(n, "Dropout") || edit_is(n, "Cast") || edit_is(n, "CastLike") ||
           edit_is(n, "Expand") || edit_is(n, "Tile") || edit_is(n, "Split");
}

/* scale, bias, mean, var of the channels -> x * s + t, computed by folding. */
static bool split_batch_norm(Node *n) {
    const Value *x = n->in[0];
    if (!edit_is(n, "BatchNormalization") || x->rank < 2 || n->nout > 1)
        return false;
    for (int i = 1; i < 5; i++)
        if (!value_is_const(n->in[i]) || n->in[i]->dtype != x->dtype)
            return false;
    int64_t dim[GRAPH_MAX_RANK];
    for (int d = 0; d < x->rank - 1; d++)
        dim[d] = 1;
    dim[0] = x->dim[1];
    Value *in[5];
    for (int i = 1; i < 5; i++)
        in[i] = edit_reshaped_const(n->in[i], x->rank - 1, dim);
    double eps = (double)attr_float(n, "epsilon", 1e-5f);
    DType t = x->dtype;
    if (t != DT_F32 && t != DT_F64)
        return false;
    float eps32 = (float)eps;
    Graph *g = n->graph;
    Value *epsilon = graph_const(g, "epsilon", t, 0, NULL,
                                 t == DT_F64 ? (Data){arena_dup(g->arena, &eps, sizeof eps), sizeof eps}
                                             : (Data){arena_dup(g->arena, &eps32, sizeof eps32), sizeof eps32});
    Value *sum = edit_node(n, "Add", n, 2, (Value *[]){in[4], epsilon})->out[0];
    Value *deviation = edit_node(n, "Sqrt", n, 1, &sum)->out[0];
    Value *factor = edit_node(n, "Div", n, 2, (Value *[]){in[1], deviation})->out[0];
    Value *shift = edit_node(n, "Mul", n, 2, (Value *[]){in[3], factor})->out[0];
    Value *offset = edit_node(n, "Sub", n, 2, (Value *[]){in[2], shift})->out[0];
    Value *product = edit_node(n, "Mul", n, 2, (Value *[]){n->in[0], factor})->out[0];
    Value *y = edit_node(n, "Add", n, 2, (Value *[]){product, offset})->out[0];
    edit_replace(n->out[0], y);
    return true;
}

static bool pads_with(const Node *pad, double number, int64_t *pads) {
    const Value *x = pad->in[0], *given = pad->nin > 2 ? pad->in[2] : NULL;
    if (strcmp(attr_string(pad, "mode", "constant"), "constant") || !value_is_const(pad->in[1]) ||
        (pad->nin > 3 && pad->in[3]) || value_count(pad->in[1]) != 2 * x->rank || (given && !value_is_const(given)))
        return false;
    if ((!given ? 0 : dtype_is_float(given->dtype) ? const_float(given, 0) : (double)const_int(given, 0)) != number)
        return false;
    for (int d = 0; d < 2 * x->rank; d++)
        pads[d] = const_int(pad->in[1], d);
    return true;
}

/* The number that a convolution pads with: the zero point where it has one. */
static bool padding_of(const Node *n, double *number) {
    int zero = edit_is(n, "QLinearConv") || edit_is(n, "ConvInteger") ? 2 : -1;
    const Value *v = zero >= 0 && n->nin > zero ? n->in[zero] : NULL;
    *number = v && value_is_const(v) ? (double)const_int(v, 0) : 0;
    return (edit_is(n, "Conv") || zero >= 0) && (!v || value_is_const(v));
}

/* Conv(Pad(x)) with zeros on spatial axes -> Conv(x) with larger pads. */
static void absorb_padding(Node *n) {
    Value *x = n->nin ? n->in[0] : NULL;
    int64_t pads[2 * GRAPH_MAX_RANK];
    double number;
    if (!padding_of(n, &number) || x->kind != VALUE_NODE || !edit_is(x->def, "Pad") || !pads_with(x->def, number, pads))
        return;
    int spatial = x->rank - 2;
    const Attr *own = node_attr(n, "pads");
    const char *mode = attr_string(n, "auto_pad", "NOTSET");
    if (strcmp(mode, "NOTSET") && strcmp(mode, "VALID"))
        return;
    if (pads[0] || pads[1] || pads[x->rank] || pads[x->rank + 1])
        return;
    int64_t *sum = ARENA_ARRAY(n->graph->arena, int64_t, 2 * spatial);
    for (int d = 0; d < spatial; d++) {
        int64_t before = pads[2 + d], after = pads[x->rank + 2 + d];
        if (before < 0 || after < 0)
            return;
        bool use = own && strcmp(mode, "VALID");
        sum[d] = before + (use ? own->ints[d] : 0);
        sum[spatial + d] = after + (use ? own->ints[spatial + d] : 0);
    }
    node_add_attr(n, (Attr){.name = "pads", .kind = ATTR_INTS, .n = 2 * spatial, .ints = sum});
    node_add_attr(n, (Attr){.name = "auto_pad", .kind = ATTR_STRING, .s = "NOTSET", .s_len = 6});
    const Node *pad = x->def;
    n->sources = arena_printf(n->graph->arena, "%s, %s", pad->sources, n->sources);
    node_set_input(n, 0, pad->in[0]);
}

void pass_canonicalize(Graph *g) {
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (does_nothing(n)) {
            if (edit_replace(n->out[0], n->in[0]))
                node_remove(n);
        } else if (split_batch_norm(n)) {
            node_remove(n);
        } else {
            absorb_padding(n);
        }
    }
    pass_dead(g);
}
