/* SPDX-License-Identifier: Apache-2.0 */
/* Building and changing graphs. */
#include "graph/graph.h"

#include <assert.h>
#include <string.h>

#include "ops/op.h"

Graph *graph_new(Arena *a, Diag *d, const char *name) {
    Graph *g = ARENA_NEW(a, Graph);
    g->arena = a;
    g->diag = d;
    g->name = name ? name : "";
    g->next_group = 1;
    return g;
}

const char *graph_fresh_name(Graph *g, const char *base) {
    const char *name = base;
    for (int i = 1; strmap_get(&g->names, name); i++)
        name = arena_printf(g->arena, "%s_%d", base, i);
    return name == base ? arena_strdup(g->arena, base) : name;
}

static Value *value_new(Graph *g, ValueKind kind, const char *name) {
    Value *v = ARENA_NEW(g->arena, Value);
    v->kind = kind;
    v->graph = g;
    v->id = g->next_id++;
    v->name = graph_fresh_name(g, name);
    v->rank = -1;
    v->arena_offset = -1;
    strmap_put(g->arena, &g->names, v->name, v);
    return v;
}

void value_set_type(Value *v, DType t, int rank, const int64_t *dim) {
    assert(rank >= 0 && rank <= GRAPH_MAX_RANK);
    v->dtype = t;
    v->rank = rank;
    v->dim = rank ? arena_dup(v->graph->arena, dim, (size_t)rank * sizeof *dim) : NULL;
}

Value *graph_input(Graph *g, const char *name, DType t, int rank, const int64_t *dim) {
    Value *v = value_new(g, VALUE_INPUT, name);
    value_set_type(v, t, rank, dim);
    VEC_PUSH(g->arena, &g->inputs, v);
    return v;
}

Value *graph_const(Graph *g, const char *name, DType t, int rank, const int64_t *dim, Data data) {
    Value *v = value_new(g, VALUE_CONST, name);
    value_set_type(v, t, rank, dim);
    v->data = data;
    VEC_PUSH(g->arena, &g->consts, v);
    return v;
}

Value *graph_const_ints(Graph *g, const char *name, int rank, int n, const int64_t *x) {
    assert(rank == 1 || (rank == 0 && n == 1));
    int64_t dim = n;
    size_t size = (size_t)n * sizeof *x;
    return graph_const(g, name, DT_I64, rank, &dim, (Data){arena_dup(g->arena, x, size), size});
}

Value *graph_const_float(Graph *g, const char *name, float x) {
    return graph_const(g, name, DT_F32, 0, NULL, (Data){arena_dup(g->arena, &x, sizeof x), sizeof x});
}

static void link_before(Node *n, Node *before) {
    Graph *g = n->graph;
    n->next = before;
    n->prev = before ? before->prev : g->last;
    *(n->prev ? &n->prev->next : &g->first) = n;
    *(n->next ? &n->next->prev : &g->last) = n;
}

static void unlink_node(Node *n) {
    *(n->prev ? &n->prev->next : &n->graph->first) = n->next;
    *(n->next ? &n->next->prev : &n->graph->last) = n->prev;
    n->prev = n->next = NULL;
}

static void add_use(Value *v, Node *n, int index, Arena *a) {
    if (v)
        VEC_PUSH(a, &v->uses, ((Use){n, index}));
}

static void drop_use(Value *v, const Node *n, int index) {
    for (int i = 0; v && i < v->uses.len; i++) {
        if (v->uses.data[i].node == n && v->uses.data[i].index == index) {
            v->uses.data[i] = v->uses.data[--v->uses.len];
            return;
        }
    }
    assert(!v);
}

Node *graph_node(Graph *g, Node *before, const char *domain, const char *op_type, const char *name, int nin,
                 Value *const *in, int nout, const char *const *out_names) {
    Node *n = ARENA_NEW(g->arena, Node);
    n->graph = g;
    n->domain = !strcmp(domain, "ai.onnx") ? "" : domain;
    n->op_type = op_type;
    n->op = op_find(domain, op_type);
    n->nin = nin;
    n->in = ARENA_ARRAY(g->arena, Value *, nin);
    for (int i = 0; i < nin; i++) {
        n->in[i] = in[i];
        add_use(in[i], n, i, g->arena);
    }
    n->nout = nout;
    n->out = ARENA_ARRAY(g->arena, Value *, nout);
    for (int i = 0; i < nout; i++) {
        const char *out = out_names && out_names[i] ? out_names[i] : name && *name ? name : op_type;
        n->out[i] = value_new(g, VALUE_NODE, out);
        n->out[i]->def = n;
        n->out[i]->def_index = i;
    }
    n->name = name && *name ? name : nout ? n->out[0]->name : op_type;
    n->sources = n->name;
    link_before(n, before);
    return n;
}

void node_set_input(Node *n, int i, Value *v) {
    if (n->in[i] == v)
        return;
    drop_use(n->in[i], n, i);
    n->in[i] = v;
    add_use(v, n, i, n->graph->arena);
}

void node_add_attr(Node *n, Attr a) {
    for (int i = 0; i < n->nattrs; i++) {
        if (!strcmp(n->attr[i].name, a.name)) {
            n->attr[i] = a;
            return;
        }
    }
    Attr *more = ARENA_ARRAY(n->graph->arena, Attr, n->nattrs + 1);
    if (n->nattrs)
        memcpy(more, n->attr, (size_t)n->nattrs * sizeof *more);
    more[n->nattrs++] = a;
    n->attr = more;
}

void node_remove(Node *n) {
    for (int i = 0; i < n->nout; i++)
        assert(!n->out[i] || (!n->out[i]->uses.len && !n->out[i]->is_output));
    for (int i = 0; i < n->nin; i++)
        drop_use(n->in[i], n, i);
    for (int i = 0; i < n->nout; i++)
        if (n->out[i])
            strmap_put(n->graph->arena, &n->graph->names, n->out[i]->name, NULL);
    unlink_node(n);
}

void node_move_before(Node *n, Node *before) {
    if (n == before)
        return;
    unlink_node(n);
    link_before(n, before);
}

void value_replace_all(Value *old, Value *by) {
    assert(old != by);
    while (old->uses.len) {
        Use u = old->uses.data[old->uses.len - 1];
        node_set_input(u.node, u.index, by);
    }
    if (!old->is_output)
        return;
    Graph *g = old->graph;
    for (int i = 0; i < g->outputs.len; i++)
        if (g->outputs.data[i] == old)
            g->outputs.data[i] = by;
    old->is_output = false;
    by->is_output = true;
}

void value_swap_names(Value *x, Value *y) {
    const char *name = x->name;
    x->name = y->name;
    y->name = name;
    strmap_put(x->graph->arena, &x->graph->names, x->name, x);
    strmap_put(y->graph->arena, &y->graph->names, y->name, y);
}

void graph_remove_const(Graph *g, Value *v) {
    assert(v->kind == VALUE_CONST && !v->uses.len && !v->is_output);
    for (int i = 0; i < g->consts.len; i++) {
        if (g->consts.data[i] == v) {
            memmove(&g->consts.data[i], &g->consts.data[i + 1],
                    (size_t)(g->consts.len - i - 1) * sizeof *g->consts.data);
            g->consts.len--;
            strmap_put(g->arena, &g->names, v->name, NULL);
            return;
        }
    }
}

bool value_is_const(const Value *v) { return v && v->kind == VALUE_CONST; }

bool value_is_number(const Value *v) { return value_is_const(v) && value_count(v) == 1; }

bool dims_count(int rank, const int64_t *dim, int64_t *count) {
    int64_t n = 1;
    bool zero = false;
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0)
            return false;
        if (dim[i] == 0)
            zero = true;
        else if (__builtin_mul_overflow(n, dim[i], &n) || n > PTRDIFF_MAX / 16)
            return false;
    }
    *count = zero ? 0 : n;
    return true;
}

int64_t value_count(const Value *v) {
    int64_t n = 0;
    bool fits = dims_count(v->rank, v->dim, &n);
    assert(fits);
    (void)fits;
    return n;
}

int64_t const_int(const Value *v, int64_t i) {
    const char *p = (const char *)v->data.bytes + i * dtype_size(v->dtype);
    union {
        int8_t i8;
        uint8_t u8;
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
    } u;
    memcpy(&u, p, (size_t)dtype_size(v->dtype));
    switch (v->dtype) {
    case DT_I2:
    case DT_I4:
    case DT_I8: return u.i8;
    case DT_U2:
    case DT_U4:
    case DT_U8:
    case DT_BOOL: return u.u8;
    case DT_I16: return u.i16;
    case DT_U16: return u.u16;
    case DT_I32: return u.i32;
    case DT_U32: return u.u32;
    default: return u.i64;
    }
}

double const_float(const Value *v, int64_t i) {
    const char *p = (const char *)v->data.bytes + i * dtype_size(v->dtype);
    uint16_t h;
    float f;
    double d;
    switch (v->dtype) {
    case DT_F32: memcpy(&f, p, sizeof f); return (double)f;
    case DT_F64: memcpy(&d, p, sizeof d); return d;
    case DT_F16: memcpy(&h, p, sizeof h); return (double)half_to_float(h);
    case DT_BF16: memcpy(&h, p, sizeof h); return (double)bfloat_to_float(h);
    default: return (double)const_int(v, i);
    }
}

bool value_same_shape(const Value *x, const Value *y) {
    return x->rank == y->rank && (x->rank <= 0 || !memcmp(x->dim, y->dim, (size_t)x->rank * sizeof *x->dim));
}

Place node_place(const Node *n) {
    const char *op = n->op_type;
    if (*n->domain)
        op = arena_printf(n->graph->arena, "%s:%s", n->domain, n->op_type);
    return (Place){n->name, op};
}

bool node_is(const Node *n, const char *domain, const char *op_type) {
    return !strcmp(n->op_type, op_type) && !strcmp(n->domain, domain);
}

const Attr *node_attr(const Node *n, const char *name) {
    for (int i = 0; i < n->nattrs; i++)
        if (!strcmp(n->attr[i].name, name))
            return &n->attr[i];
    return NULL;
}

int64_t attr_int(const Node *n, const char *name, int64_t otherwise) {
    const Attr *a = node_attr(n, name);
    return a && a->kind == ATTR_INT ? a->i : otherwise;
}

float attr_float(const Node *n, const char *name, float otherwise) {
    const Attr *a = node_attr(n, name);
    return a && a->kind == ATTR_FLOAT ? a->f : otherwise;
}

const char *attr_string(const Node *n, const char *name, const char *otherwise) {
    const Attr *a = node_attr(n, name);
    return a && a->kind == ATTR_STRING ? a->s : otherwise;
}

Node *group_from(Node *n) {
    while (n && !n->group)
        n = n->next;
    return n;
}

Node *group_last(Node *n) {
    while (n->next && n->next->group == n->group)
        n = n->next;
    return n;
}

Node *value_only_user(const Value *v) {
    if (!v->uses.len || v->is_output)
        return NULL;
    for (int i = 1; i < v->uses.len; i++)
        if (v->uses.data[i].node != v->uses.data[0].node)
            return NULL;
    return v->uses.data[0].node;
}

void storage_row_major(Value *v) {
    v->storage = (Storage){v, 0, ARENA_ARRAY(v->graph->arena, int64_t, v->rank)};
    int64_t stride = 1;
    for (int d = v->rank - 1; d >= 0; d--) {
        v->storage.stride[d] = stride;
        stride *= v->dim[d] > 0 ? v->dim[d] : 1;
    }
    v->buffer_size = value_count(v);
}

bool storage_is_row_major(const Value *v) {
    int64_t stride = 1;
    for (int d = v->rank - 1; d >= 0; d--) {
        if (v->dim[d] != 1 && v->storage.stride[d] != stride)
            return false;
        stride *= v->dim[d];
    }
    return true;
}

const Strips *graph_strips(const Graph *g, int group, int *member) {
    for (int i = 0; i < g->strips.len; i++)
        for (*member = 0; *member < g->strips.data[i]->n; ++*member)
            if (g->strips.data[i]->group[*member] == group)
                return g->strips.data[i];
    return NULL;
}
