/* SPDX-License-Identifier: Apache-2.0 */
/* Topological order. ONNX demands that files list nodes in one; files that do not are sorted, cycles are refused. */
#include <string.h>

#include "frontend/import.h"

Place proto_place(Import *im, const Onnx__NodeProto *p) {
    const char *name = text_or_empty(p->name), *domain = text_or_empty(p->domain), *op = text_or_empty(p->op_type);
    for (size_t i = 0; !*name && i < p->n_output; i++)
        name = p->output[i];
    if (*domain && strcmp(domain, "ai.onnx") != 0)
        op = arena_printf(im->arena, "%.200s:%.200s", domain, op);
    return (Place){name, op};
}

typedef struct Locals Locals;
struct Locals { /* names that bodies define for themselves, innermost first */
    const Locals *outer;
    StrMap names;
};

typedef struct Order {
    Import *im;
    const StrMap *producers;
    VEC(int) needs; /* of all nodes, one after another */
} Order;

static void need(Order *o, const Locals *l, const char *name) {
    for (; l; l = l->outer)
        if (strmap_get(&l->names, name))
            return;
    intptr_t producer = (intptr_t)strmap_get(o->producers, name);
    if (producer)
        VEC_PUSH(o->im->arena, &o->needs, (int)producer - 1);
}

static void need_node(Order *o, const Locals *l, const Onnx__NodeProto *p);

/* What a body captures from the graphs round it. */
static void need_graph(Order *o, const Locals *outer, const Onnx__GraphProto *g) {
    Arena *a = o->im->arena;
    Locals l = {.outer = outer};
    for (size_t i = 0; i < g->n_input; i++)
        strmap_put(a, &l.names, text_or_empty(g->input[i]->name), &l);
    for (size_t i = 0; i < g->n_initializer; i++)
        strmap_put(a, &l.names, text_or_empty(g->initializer[i]->name), &l);
    for (size_t i = 0; i < g->n_sparse_initializer; i++)
        if (g->sparse_initializer[i]->values)
            strmap_put(a, &l.names, text_or_empty(g->sparse_initializer[i]->values->name), &l);
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            strmap_put(a, &l.names, g->node[i]->output[k], &l);
    for (size_t i = 0; i < g->n_node; i++)
        need_node(o, &l, g->node[i]);
    for (size_t i = 0; i < g->n_output; i++)
        need(o, &l, text_or_empty(g->output[i]->name));
}

static void need_node(Order *o, const Locals *l, const Onnx__NodeProto *p) {
    for (size_t i = 0; i < p->n_input; i++)
        need(o, l, p->input[i]);
    for (size_t i = 0; i < p->n_attribute; i++)
        if (p->attribute[i]->g)
            need_graph(o, l, p->attribute[i]->g);
}

static bool index_producers(Import *im, const char *where, size_t n, Onnx__NodeProto *const *node,
                            StrMap *producers) {
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < node[i]->n_output; k++) {
            const char *name = node[i]->output[k];
            if (!*name)
                continue;
            if (strmap_get(producers, name)) {
                diag_error(im->diag, proto_place(im, node[i]), "%soutput \"%s\" is already the output of a node",
                           where, name);
                return false;
            }
            strmap_put(im->arena, producers, name, (void *)(intptr_t)(i + 1));
        }
    }
    return true;
}

/* Depth first from every node in file order, so that a sorted file keeps its order. The stack is explicit: a chain
 * may be as long as the file. */
static bool visit_all(const Order *o, const int *start, int n, Onnx__NodeProto *const *node, int *order) {
    Import *im = o->im;
    enum { NEW, OPEN, DONE };
    char *state = arena_alloc(im->arena, (size_t)n);
    int *stack = ARENA_ARRAY(im->arena, int, n), *next = ARENA_ARRAY(im->arena, int, n), done = 0;
    for (int i = 0; i < n; i++)
        next[i] = start[i];
    for (int root = 0; root < n; root++) {
        int depth = 0;
        if (state[root] == NEW) {
            state[root] = OPEN;
            stack[depth++] = root;
        }
        while (depth) {
            int i = stack[depth - 1];
            if (next[i] == start[i + 1]) {
                state[i] = DONE;
                order[done++] = i;
                depth--;
                continue;
            }
            int before = o->needs.data[next[i]++];
            if (state[before] == OPEN) {
                diag_error(im->diag, proto_place(im, node[before]), "it needs its own output: the graph has a cycle");
                return false;
            }
            if (state[before] == NEW) {
                state[before] = OPEN;
                stack[depth++] = before;
            }
        }
    }
    return true;
}

int *order_nodes(Import *im, const char *where, size_t n, Onnx__NodeProto *const *node, StrMap *producers) {
    if (!index_producers(im, where, n, node, producers))
        return NULL;
    Order o = {.im = im, .producers = producers};
    int *start = ARENA_ARRAY(im->arena, int, n + 1), *order = ARENA_ARRAY(im->arena, int, n + 1);
    for (size_t i = 0; i < n; i++) {
        need_node(&o, NULL, node[i]);
        start[i + 1] = o.needs.len;
    }
    if (!visit_all(&o, start, (int)n, node, order))
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (order[i] != (int)i) {
            diag_warning(im->diag, proto_place(im, node[order[i]]),
                         "%sthe file lists nodes before those they depend on; sorted", where);
            break;
        }
    }
    return order;
}
