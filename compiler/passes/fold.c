/* SPDX-License-Identifier: Apache-2.0 */
/* Constant folding: the cone above the wanted values becomes a graph of its own, which is lowered and run. */
#include "passes/fold.h"

#include <string.h>

#include "jit/jit.h"
#include "ops/lower.h"
#include "passes/passes.h"

/* A constant much larger than what it is made of stays a computation. */
static const int64_t large = 1 << 20;

static bool shape_only(const Node *n) { return (n->op->flags & OP_SHAPE_ONLY) != 0; }

bool fold_is_possible(const Value *v) {
    if (v->kind == VALUE_CONST)
        return true;
    if (v->kind != VALUE_NODE || !v->def->op || (v->def->op->flags & OP_IMPURE) || v->rank < 0)
        return false;
    const Node *n = v->def;
    if (shape_only(n))
        return true;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && !fold_is_possible(n->in[i]))
            return false;
    for (int i = 0; i < n->nattrs; i++)
        if (n->attr[i].kind == ATTR_GRAPH)
            return false;
    return true;
}

/* --- the cone as a graph --- */

typedef struct Cone {
    Graph *g;
    Value **copy; /* by id of the original */
    bool *wanted; /* by id: needed, for the walk */
} Cone;

static void mark(Cone *c, const Value *v) {
    if (c->wanted[v->id])
        return;
    c->wanted[v->id] = true;
    if (v->kind != VALUE_NODE)
        return;
    for (int i = 0; i < v->def->nin; i++)
        if (v->def->in[i])
            mark(c, v->def->in[i]);
}

static Value *copy_of(Cone *c, Value *v) {
    Value **slot = &c->copy[v->id];
    if (!*slot && v->kind == VALUE_CONST)
        *slot = graph_const(c->g, v->name, v->dtype, v->rank, v->dim, v->data);
    else if (!*slot) /* only its shape matters */
        *slot = graph_input(c->g, v->name, v->dtype, v->rank, v->dim);
    return *slot;
}

static void copy_node(Cone *c, const Node *n) {
    Value **in = ARENA_ARRAY(c->g->arena, Value *, n->nin);
    for (int i = 0; i < n->nin; i++)
        in[i] = n->in[i] ? copy_of(c, n->in[i]) : NULL;
    Node *m = graph_node(c->g, NULL, n->domain, n->op_type, n->name, n->nin, in, n->nout, NULL);
    m->nattrs = n->nattrs;
    m->attr = n->attr;
    for (int i = 0; i < n->nout; i++) {
        if (!n->out[i]) {
            m->out[i] = NULL;
            continue;
        }
        value_set_type(m->out[i], n->out[i]->dtype, n->out[i]->rank, n->out[i]->dim);
        c->copy[n->out[i]->id] = m->out[i];
    }
}

static bool is_wanted(const Cone *c, const Node *n) {
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && c->wanted[n->out[i]->id])
            return true;
    return false;
}

/* Nodes below a shape-only node are not needed: their values become inputs of the cone. */
static Graph *build_cone(Graph *g, int n, Value *const *v, Value **result) {
    Cone c = {graph_new(g->arena, g->diag, "constants"), ARENA_ARRAY(g->arena, Value *, g->next_id),
              ARENA_ARRAY(g->arena, bool, g->next_id)};
    for (int i = 0; i < n; i++)
        mark(&c, v[i]);
    for (const Node *m = g->first; m; m = m->next)
        if (is_wanted(&c, m) && fold_is_possible(m->out[0] ? m->out[0] : v[0]))
            copy_node(&c, m);
    for (int i = 0; i < n; i++) {
        result[i] = c.copy[v[i]->id];
        result[i]->is_output = true;
        VEC_PUSH(g->arena, &c.g->outputs, result[i]);
    }
    return c.g;
}

static void replace(Graph *g, Value *v, const void *bytes) {
    size_t size = (size_t)value_count(v) * (size_t)dtype_size(v->dtype);
    Value *by = graph_const(g, v->name, v->dtype, v->rank, v->dim, (Data){bytes, size});
    if (v->is_output) { /* an output is a node's, and keeps its name */
        Node *copy = graph_node(g, NULL, "", "Identity", v->name, 1, &by, 1, NULL);
        value_set_type(copy->out[0], v->dtype, v->rank, v->dim);
        by = copy->out[0];
        value_swap_names(v, by);
    }
    value_replace_all(v, by);
}

bool fold_values(Graph *g, int n, Value *const *v) {
    Value **result = ARENA_ARRAY(g->arena, Value *, n);
    void **out = ARENA_ARRAY(g->arena, void *, n);
    const void **in = ARENA_ARRAY(g->arena, const void *, g->next_id);
    Graph *cone = build_cone(g, n, v, result);
    pass_dead(cone);
    pass_group(cone);
    pass_layout(cone, NULL);
    pass_storage(cone);
    pass_plan(cone);
    for (int i = 0; i < n; i++)
        out[i] = arena_array(g->arena, (size_t)value_count(v[i]) + 1, (size_t)dtype_size(v[i]->dtype));
    Jit *jit = jit_compile(g->diag, lower_graph(cone, g->arena), JIT_QUICK);
    int status = jit ? jit_run(jit, in, out) : -1;
    jit_free(jit);
    if (status) {
        if (jit)
            diag_error(g->diag, NOWHERE, "constant folding failed with status %d", status);
        return false;
    }
    for (int i = 0; i < n; i++)
        replace(g, v[i], out[i]);
    return true;
}

static int64_t bytes_of(const Value *v) { return value_count(v) * dtype_size(v->dtype); }

/* Bytes of the constants that the value is made of. */
static int64_t source_bytes(const Value *v, bool *seen) {
    if (seen[v->id])
        return 0;
    seen[v->id] = true;
    if (v->kind == VALUE_CONST)
        return bytes_of(v);
    int64_t sum = 0;
    for (int i = 0; v->kind == VALUE_NODE && !shape_only(v->def) && i < v->def->nin; i++)
        if (v->def->in[i])
            sum += source_bytes(v->def->in[i], seen);
    return sum;
}

static bool is_worth_it(const Value *v) {
    if (!dtype_bits(v->dtype) || !fold_is_possible(v))
        return false;
    if (v->is_output && !strcmp(v->def->op_type, "Identity") && value_is_const(v->def->in[0]))
        return false; /* has been folded */
    if (bytes_of(v) <= large)
        return true;
    bool *seen = ARENA_ARRAY(v->graph->arena, bool, v->graph->next_id);
    return bytes_of(v) / 2 <= source_bytes(v, seen);
}

/* Wanted are values that something other than folding takes. */
static bool is_taken(const Value *v, const bool *folds) {
    if (v->is_output)
        return true;
    for (int i = 0; i < v->uses.len; i++) {
        const Node *m = v->uses.data[i].node;
        for (int k = 0; k < m->nout; k++)
            if (m->out[k] && !folds[m->out[k]->id])
                return true;
    }
    return false;
}

bool pass_fold(Graph *g) {
    bool *folds = ARENA_ARRAY(g->arena, bool, g->next_id);
    for (const Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            if (n->out[i])
                folds[n->out[i]->id] = is_worth_it(n->out[i]);
    Value **wanted = ARENA_ARRAY(g->arena, Value *, g->next_id);
    int count = 0;
    for (const Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            if (n->out[i] && folds[n->out[i]->id] && is_taken(n->out[i], folds))
                wanted[count++] = n->out[i];
    bool done = !count || fold_values(g, count, wanted);
    pass_dead(g);
    return done;
}
