/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of a graph. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

/* A graph under check and those around it. */
typedef struct Level {
    const Graph *graph;
    struct Level *outer;
    const Value **visible; /* by id: what a node may use at the place reached */
    int *uses;             /* by id: inputs met that are this value */
} Level;

typedef struct Check {
    const Graph *graph; /* the outermost one under check */
    Arena *temporary;
    bool typed;
    VEC(const Node *) nodes; /* of all levels; sorted for the check of use lists */
    const char *error;
} Check;

static bool fail(Check *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool fail(Check *c, const char *format, ...) {
    if (c->error)
        return false;
    va_list ap;
    va_start(ap, format);
    c->error = arena_vprintf(c->graph->arena, format, ap);
    va_end(ap);
    return false;
}

/* --- values --- */

static bool check_type(Check *c, const Value *v) {
    int64_t n;
    if ((int)v->dtype < 0 || v->dtype >= DT_COUNT || v->dtype == DT_INDEX)
        return fail(c, "value %s has no tensor's element type", v->name);
    if (v->rank < -1 || v->rank > GRAPH_MAX_RANK)
        return fail(c, "value %s has rank %d", v->name, v->rank);
    if (v->rank >= 0 && !dims_count(v->rank, v->dim, &n))
        return fail(c, "value %s has an impossible shape", v->name);
    if (c->typed && (v->dtype == DT_NONE || v->rank < 0))
        return fail(c, "value %s has no type", v->name);
    return true;
}

static bool check_storage(Check *c, const Value *v) {
    const Value *root = v->storage.root;
    if (!root)
        return v->arena_offset < 0 || fail(c, "value %s has a place in the arena, but no storage", v->name);
    if (root->storage.root != root || root->graph != v->graph)
        return fail(c, "value %s lies in %s, which is no root", v->name, root->name);
    if (root->dtype != v->dtype || v->rank < 0 || (v->rank && !v->storage.stride))
        return fail(c, "value %s lies in %s, which has other elements", v->name, root->name);
    int64_t lo = v->storage.offset, hi = lo, reach;
    for (int d = 0; d < v->rank; d++) {
        int64_t *end = v->storage.stride[d] < 0 ? &lo : &hi, size = d == 2 && v->window ? v->window : v->dim[d];
        if (size > 1 && (__builtin_mul_overflow(size - 1, v->storage.stride[d], &reach) ||
                              __builtin_add_overflow(*end, reach, end)))
            return fail(c, "the strides of value %s overflow", v->name);
    }
    if (value_count(v) && (lo < 0 || hi >= root->buffer_size))
        return fail(c, "value %s takes elements %lld to %lld of %s, which has %lld", v->name, (long long)lo,
                    (long long)hi, root->name, (long long)root->buffer_size);
    if (v->arena_offset < 0)
        return true;
    int64_t size = dtype_size(v->dtype), end;
    if (root != v || v->kind != VALUE_NODE || v->is_output)
        return fail(c, "value %s has a place in the arena and should not", v->name);
    if (v->arena_offset % (size ? size : 1) || __builtin_mul_overflow(v->buffer_size, size, &end) ||
        __builtin_add_overflow(end, v->arena_offset, &end) || end > v->graph->arena_size)
        return fail(c, "value %s does not fit into the arena at %lld", v->name, (long long)v->arena_offset);
    return true;
}

static bool check_value(Check *c, Level *l, const Value *v, ValueKind kind) {
    if (!v || !v->name)
        return fail(c, "graph %s holds a value without a name", l->graph->name);
    if (v->kind != kind || v->graph != l->graph || v->id < 0 || v->id >= l->graph->next_id)
        return fail(c, "value %s is not of the graph and kind it stands in", v->name);
    if (l->visible[v->id])
        return fail(c, "value %s is defined twice", v->name);
    if (strmap_get(&l->graph->names, v->name) != v)
        return fail(c, "value %s is not known by its name", v->name);
    l->visible[v->id] = v;
    return check_type(c, v) && check_storage(c, v);
}

static bool check_const(Check *c, const Value *v) {
    int64_t n;
    if (v->dtype == DT_NONE || v->rank < 0 || !dims_count(v->rank, v->dim, &n))
        return fail(c, "constant %s has no type", v->name);
    if (v->dtype == DT_STRING)
        return true;
    if (v->data.size != (uint64_t)n * (uint64_t)dtype_size(v->dtype) || (v->data.size && !v->data.bytes))
        return fail(c, "constant %s has %zu bytes of data", v->name, v->data.size);
    return true;
}

/* --- nodes --- */

static bool check_graph(Check *c, const Graph *g, Level *outer);

static bool check_input(Check *c, Level *l, const Node *n, const Value *v) {
    for (Level *at = l; at; at = at->outer) {
        if (at->graph != v->graph)
            continue;
        if (v->id < 0 || v->id >= at->graph->next_id || at->visible[v->id] != v)
            return fail(c, "node %s uses value %s, which is not defined before it", n->name, v->name);
        at->uses[v->id]++;
        return true;
    }
    for (const Graph *g = c->graph->outer; g; g = g->outer)
        if (g == v->graph)
            return true; /* around the graph that was asked about */
    return fail(c, "node %s uses value %s of another graph", n->name, v->name);
}

static bool check_node(Check *c, Level *l, const Node *n) {
    if (n->graph != l->graph || !n->op_type || !n->domain || !n->name || !n->sources || n->nin < 0 || n->nout < 0)
        return fail(c, "graph %s holds a node that is not sound", l->graph->name);
    if (n->group < 0 || n->group >= l->graph->next_group)
        return fail(c, "node %s is in group %d, which was never made", n->name, n->group);
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && !check_input(c, l, n, n->in[i]))
            return false;
    for (int i = 0; i < n->nattrs; i++) {
        const Graph *body = n->attr[i].kind == ATTR_GRAPH ? n->attr[i].graph : NULL;
        if (n->attr[i].kind == ATTR_GRAPH && (!body || body->outer != l->graph))
            return fail(c, "node %s: the body %s does not know its graph", n->name, n->attr[i].name);
        if (body && !check_graph(c, body, l))
            return false;
    }
    for (int i = 0; i < n->nout; i++) {
        const Value *v = n->out[i];
        if (!v)
            continue;
        if (!check_value(c, l, v, VALUE_NODE))
            return false;
        if (v->def != n || v->def_index != i)
            return fail(c, "value %s does not know that node %s defines it", v->name, n->name);
    }
    VEC_PUSH(c->temporary, &c->nodes, n);
    return true;
}

/* --- groups: nothing that depends on a group feeds it, but its own nodes --- */

static bool check_group(Check *c, const Node *first, int *after) {
    const Node *last = first;
    bool together = true, apart = false;
    for (const Node *n = first->next; n; n = n->next) {
        if (n->group != first->group) {
            apart = true;
            continue;
        }
        last = n;
        together = together && !apart;
    }
    for (const Node *n = first; !together; n = n->next) {
        bool inside = n->group == first->group, behind = false;
        for (int i = 0; i < n->nin; i++) {
            const Value *v = n->in[i];
            if (!v || v->kind != VALUE_NODE || v->graph != n->graph)
                continue;
            if (inside && after[v->id] == first->group)
                return fail(c, "group %d is not convex: node %s uses %s, which depends on the group", n->group, n->name,
                            v->name);
            behind = behind || after[v->id] == first->group || v->def->group == first->group;
        }
        for (int i = 0; i < n->nout && behind && !inside; i++)
            if (n->out[i])
                after[n->out[i]->id] = first->group;
        if (n == last)
            break;
    }
    return true;
}

static bool check_groups(Check *c, const Graph *g) {
    bool *met = ARENA_ARRAY(c->temporary, bool, g->next_group);
    int *after = ARENA_ARRAY(c->temporary, int, g->next_id);
    for (const Node *n = g->first; n; n = n->next) {
        if (!n->group || met[n->group])
            continue;
        met[n->group] = true;
        if (!check_group(c, n, after))
            return false;
    }
    return true;
}

/* --- graphs --- */

static bool check_outputs(Check *c, Level *l) {
    const Graph *g = l->graph;
    bool *listed = ARENA_ARRAY(c->temporary, bool, g->next_id);
    for (int i = 0; i < g->outputs.len; i++) {
        const Value *v = g->outputs.data[i];
        if (!v)
            return fail(c, "graph %s has an output without a value", g->name);
        if (v->graph != g && g->outer)
            continue; /* a body may hand on what it sees around it */
        if (v->graph != g || l->visible[v->id] != v)
            return fail(c, "output %s is not of graph %s", v->name, g->name);
        listed[v->id] = true;
    }
    for (int i = 0; i < g->next_id; i++)
        if (l->visible[i] && l->visible[i]->is_output != listed[i])
            return fail(c, "value %s %s", l->visible[i]->name,
                        listed[i] ? "is an output and is not marked so" : "is marked as an output and is none");
    return true;
}

static bool check_graph(Check *c, const Graph *g, Level *outer) {
    Level *l = ARENA_NEW(c->temporary, Level);
    *l = (Level){g, outer, ARENA_ARRAY(c->temporary, const Value *, g->next_id),
                 ARENA_ARRAY(c->temporary, int, g->next_id)};
    for (int i = 0; i < g->inputs.len; i++)
        if (!check_value(c, l, g->inputs.data[i], VALUE_INPUT))
            return false;
    for (int i = 0; i < g->consts.len; i++)
        if (!check_value(c, l, g->consts.data[i], VALUE_CONST) || !check_const(c, g->consts.data[i]))
            return false;
    const Node *before = NULL;
    for (const Node *n = g->first; n; before = n, n = n->next) {
        if (n->prev != before)
            return fail(c, "the list of nodes is broken before %s", n->name ? n->name : "?");
        if (!check_node(c, l, n))
            return false;
    }
    if (g->last != before)
        return fail(c, "the list of nodes of graph %s is broken at its end", g->name);
    for (int i = 0; i < g->next_id; i++)
        if (l->visible[i] && l->uses[i] != l->visible[i]->uses.len)
            return fail(c, "value %s knows of %d uses and has %d", l->visible[i]->name, l->visible[i]->uses.len,
                        l->uses[i]);
    return check_outputs(c, l) && check_groups(c, g);
}

static int by_address(const void *x, const void *y) {
    uintptr_t p = (uintptr_t) * (const Node *const *)x, q = (uintptr_t) * (const Node *const *)y;
    return (p > q) - (p < q);
}

static bool check_uses_of(Check *c, const Value *v) {
    for (int i = 0; v && i < v->uses.len; i++) {
        Use u = v->uses.data[i];
        if (!bsearch(&u.node, c->nodes.data, (size_t)c->nodes.len, sizeof *c->nodes.data, by_address))
            return fail(c, "value %s is used by a node that is not in the graph", v->name);
        if (u.index < 0 || u.index >= u.node->nin || u.node->in[u.index] != v)
            return fail(c, "value %s is not input %d of node %s", v->name, u.index, u.node->name);
    }
    return true;
}

static bool check_uses(Check *c) {
    if (c->nodes.len)
        qsort(c->nodes.data, (size_t)c->nodes.len, sizeof *c->nodes.data, by_address);
    for (int i = 0; i < c->graph->inputs.len; i++)
        if (!check_uses_of(c, c->graph->inputs.data[i]))
            return false;
    for (int i = 0; i < c->graph->consts.len; i++)
        if (!check_uses_of(c, c->graph->consts.data[i]))
            return false;
    for (int k = 0; k < c->nodes.len; k++)
        for (int i = 0; i < c->nodes.data[k]->nout; i++)
            if (!check_uses_of(c, c->nodes.data[k]->out[i]))
                return false;
    return true;
}

const char *graph_verify(const Graph *g, bool typed) {
    Check c = {.graph = g, .temporary = arena_new(), .typed = typed};
    if (check_graph(&c, g, NULL))
        check_uses(&c);
    arena_free(c.temporary);
    return c.error;
}
