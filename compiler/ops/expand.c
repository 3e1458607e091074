/* SPDX-License-Identifier: Apache-2.0 */
/* Tools for putting nodes in the place of one. */
#include "ops/expand.h"

#include <assert.h>
#include <string.h>

#include "ops/op.h"

void put_int(Node *n, const char *name, int64_t x) { node_add_attr(n, (Attr){.name = name, .kind = ATTR_INT, .i = x}); }

void put_string(Node *n, const char *name, const char *x) {
    node_add_attr(n, (Attr){.name = name, .kind = ATTR_STRING, .s = x, .s_len = strlen(x)});
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

Value *scalar_before(Node *n, const char *what, DType t, double x) {
    float single = (float)x;
    uint16_t half = t == DT_BF16 ? float_to_bfloat(single) : float_to_half(single);
    const void *bytes = t == DT_F64 ? (const void *)&x : t == DT_F32 ? (const void *)&single : (const void *)&half;
    size_t size = (size_t)dtype_size(t);
    assert(dtype_is_float(t));
    return graph_const(n->graph, name_for(n, what), t, 0, NULL, (Data){arena_dup(n->graph->arena, bytes, size), size});
}

Value *pair_before(Node *n, const char *op, const char *what, Value *x, Value *y) {
    Value *in[] = {x, y};
    return value_before(n, op, what, 2, in);
}

void become(Node *n, const char *op, int nin, Value *const *in) {
    n->op_type = op;
    n->op = op_find("", op);
    n->nattrs = 0;
    resize_inputs(n, nin);
    for (int i = 0; i < nin; i++)
        node_set_input(n, i, in[i]);
}

void replace_output(Node *n, int i, Value *by) {
    Value *v = i < n->nout ? n->out[i] : NULL;
    if (!v)
        return;
    Node *m = graph_node(n->graph, n, "", "Identity", n->name, 1, &by, 1, NULL);
    m->sources = n->sources;
    m->out[0] = v;
    v->def = m;
    v->def_index = 0;
    n->out[i] = NULL;
}
