/* SPDX-License-Identifier: Apache-2.0 */
/* What rewriting passes share. */
#include "passes/edit.h"

#include <assert.h>
#include <string.h>

#include "ops/op.h"
#include "passes/fold.h"

Node *edit_node_with(Node *before, const char *domain, const char *op_type, const Node *from, int nin, Value *const *in, int nattrs,
                     const Attr *attr) {
    int outputs = op_find(domain, op_type)->min_out;
    Node *n = graph_node(before->graph, before, domain, op_type, from->name, nin, in, outputs > 1 ? outputs : 1, NULL);
    n->sources = from->sources;
    for (int i = 0; i < nattrs; i++)
        node_add_attr(n, attr[i]);
    bool fits = n->op->infer(n);
    assert(fits);
    (void)fits;
    fold_mark(n);
    return n;
}

Node *edit_node(Node *before, const char *op_type, const Node *from, int nin, Value *const *in) {
    return edit_node_with(before, "", op_type, from, nin, in, 0, NULL);
}

Value *edit_cast(Node *before, const Node *from, Value *x, DType t) {
    const Attr to = edit_int("to", dtype_to_onnx(t));
    return edit_node_with(before, "", "Cast", from, 1, &x, 1, &to)->out[0];
}

Value *edit_padded(Node *before, const Node *from, Value *x, const int64_t *pads, Value *fill) {
    Graph *g = before->graph;
    int count = 2 * x->rank, any = 0;
    for (int i = 0; i < count; i++)
        any = any || pads[i];
    if (!any)
        return x;
    Value *in[] = {x, graph_const_ints(g, graph_fresh_name(g, "pads"), 1, count, pads), fill};
    return edit_node(before, "Pad", from, fill ? 3 : 2, in)->out[0];
}

bool edit_replace(Value *old, Value *by) {
    if (old->is_output) {
        if (by->kind != VALUE_NODE || by->is_output)
            return false;
        value_swap_names(old, by);
    }
    value_replace_all(old, by);
    return true;
}

void edit_copy_output(Graph *g, int i) {
    Value *v = g->outputs.data[i];
    Node *n = graph_node(g, NULL, "", "Identity", v->name, 1, &v, 1, NULL);
    Value *y = n->out[0];
    value_set_type(y, v->dtype, v->rank, v->dim);
    storage_row_major(y);
    if (v->kind == VALUE_NODE) {
        n->sources = v->def->sources;
        value_swap_names(v, y);
    }
    n->group = g->next_group++;
    y->is_output = true;
    g->outputs.data[i] = y;
    bool elsewhere = false;
    for (int k = 0; k < g->outputs.len; k++)
        elsewhere = elsewhere || g->outputs.data[k] == v;
    v->is_output = elsewhere;
}

void edit_add_sources(Node *to, const Node *from) {
    size_t m = strlen(from->sources);
    for (const char *p = to->sources; m && (p = strstr(p, from->sources)); p++)
        if ((p == to->sources || p[-1] == ' ') && (!p[m] || p[m] == ','))
            return;
    to->sources = arena_printf(to->graph->arena, "%s, %s", to->sources, from->sources);
}

Value *edit_reshaped_const(Value *v, int rank, const int64_t *dim) {
    return graph_const(v->graph, v->name, v->dtype, rank, dim, v->data);
}

bool edit_is(const Node *n, const char *op_type) { return node_is(n, "", op_type); }

bool edit_is_any(const Node *n, const char *const *op_types) {
    while (*op_types && !edit_is(n, *op_types))
        op_types++;
    return *op_types != NULL;
}

bool edit_is_image_mean(const Node *n) {
    const Value *x = n->in[0], *axes = n->nin > 1 ? n->in[1] : NULL;
    bool seen[GRAPH_MAX_RANK] = {false};
    if (edit_is(n, "GlobalAveragePool"))
        return true;
    if (!edit_is(n, "ReduceMean") || x->rank < 3 || !value_is_const(axes))
        return false;
    for (int64_t i = 0; i < value_count(axes); i++) {
        int64_t d = const_int(axes, i);
        seen[d < 0 ? d + x->rank : d] = true;
    }
    for (int d = 0; d < x->rank; d++)
        if (seen[d] != (d >= 2))
            return false;
    return true;
}

bool edit_rounds_input(const Node *n) {
    enum { FEW_CHANNELS = 7 }; /* more should lie side by side, which is work for a copy */
    if (!edit_is(n, "Cast") || !n->out[0] || n->out[0]->is_output || n->out[0]->uses.len != 1)
        return false;
    const Value *x = n->in[0];
    const Use *use = &n->out[0]->uses.data[0];
    return x->kind == VALUE_INPUT && x->dtype == DT_F32 && dtype_is_half(n->out[0]->dtype) && x->rank == 4 && x->dim[1] <= FEW_CHANNELS &&
           edit_is(use->node, "Conv") && use->index == 0;
}
