/* SPDX-License-Identifier: Apache-2.0 */
/* Constant folding: the cone above the wanted values becomes a graph of its own, which is lowered and run. */
#include "passes/fold.h"

#include <string.h>

#include "jit/jit.h"
#include "ops/lower.h"
#include "passes/passes.h"

/* A constant much larger than what it is made of stays a computation. */
static const int64_t large = 1 << 20;

/* A model of a few bytes must not take all memory, or hours: a value is computed up to this size, or some times all that
 * the file brings, and as long as all computations together stay within the operations. */
static const int64_t bearable = 1 << 28, times_the_file = 4;
static const double most_work = 2e10;
enum { TOO_DEAR = 32 }; /* values that are refused before no more are tried */

static int64_t bytes_of(const Value *v) { return value_count(v) * dtype_size(v->dtype); }

static bool shape_only(const Node *n) { return (n->op->flags & OP_SHAPE_ONLY) != 0; }

void fold_begin(Graph *g) {
    int64_t file = 0;
    for (int i = 0; i < g->consts.len; i++)
        if (g->consts.data[i]->data.size < (size_t)(INT64_MAX / 8 - file))
            file += (int64_t)g->consts.data[i]->data.size;
    if (!g->fold.largest)
        g->fold.largest = file > bearable / times_the_file ? file * times_the_file : bearable;
}

static bool depends_on_constants(const Node *n) {
    if (!n->op || (n->op->flags & (OP_IMPURE | OP_KEPT)))
        return false;
    for (int i = 0; i < n->nattrs; i++)
        if (n->attr[i].kind == ATTR_GRAPH)
            return false;
    for (int i = 0; i < n->nin && !shape_only(n); i++)
        if (n->in[i] && !fold_is_possible(n->in[i]))
            return false;
    return true;
}

/* A node is computed whole: one output that is too large spares the others too. */
void fold_mark(Node *n) {
    bool known = depends_on_constants(n);
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && (n->out[i]->rank < 0 || bytes_of(n->out[i]) > n->graph->fold.largest))
            known = false;
    for (int i = 0; i < n->nout; i++)
        if (n->out[i])
            n->out[i]->known = known;
}

bool fold_is_possible(const Value *v) { return v->kind == VALUE_CONST || (v->kind == VALUE_NODE && v->known); }

/* --- the cone as a graph --- */

typedef struct Cone {
    Graph *g;
    Value **copy; /* by id of the original */
    bool *wanted; /* by id: needed, for the walk */
} Cone;

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
        if (n->out[i] && n->out[i]->known && c->wanted[n->out[i]->id])
            return true;
    return false;
}

/* What a shape-only node takes is not computed: it becomes an input of the cone. */
static void mark(Cone *c, const Graph *g) {
    for (const Node *n = g->last; n; n = n->prev)
        for (int i = 0; i < n->nin && is_wanted(c, n) && !shape_only(n); i++)
            if (n->in[i])
                c->wanted[n->in[i]->id] = true;
}

static Graph *build_cone(Arena *a, Graph *g, int n, Value *const *v, Value **result) {
    Cone c = {graph_new(a, g->diag, "constants"), ARENA_ARRAY(a, Value *, g->next_id), ARENA_ARRAY(a, bool, g->next_id)};
    for (int i = 0; i < n; i++)
        c.wanted[v[i]->id] = true;
    mark(&c, g);
    for (const Node *m = g->first; m; m = m->next)
        if (is_wanted(&c, m))
            copy_node(&c, m);
    for (int i = 0; i < n; i++) {
        result[i] = c.copy[v[i]->id];
        result[i]->is_output = true;
        VEC_PUSH(a, &c.g->outputs, result[i]);
    }
    return c.g;
}

static KModule *lower_cone(Graph *cone) {
    pass_dead(cone);
    pass_group(cone);
    pass_layout(cone, NULL);
    pass_storage(cone);
    pass_plan(cone);
    return lower_graph(cone, cone->arena, &(LowerOptions){0});
}

static double work_of(const KModule *m) {
    double sum = 0;
    for (int i = 0; i < m->calls.len; i++) {
        KCount c = kernel_count(m->calls.data[i].kernel);
        sum += c.fmas + c.arithmetic + (c.load_bytes + c.store_bytes) / 4;
    }
    return sum;
}

static void replace(Graph *g, Value *v, const void *bytes) {
    size_t size = (size_t)bytes_of(v);
    Value *by = graph_const(g, v->name, v->dtype, v->rank, v->dim, (Data){bytes, size});
    g->fold.bytes += (int64_t)size;
    if (v->is_output) { /* an output is a node's, and keeps its name */
        Node *copy = graph_node(g, NULL, "", "Identity", v->name, 1, &by, 1, NULL);
        value_set_type(copy->out[0], v->dtype, v->rank, v->dim);
        by = copy->out[0];
        value_swap_names(v, by);
    }
    value_replace_all(v, by);
}

static bool run_cone(Graph *g, const KModule *m, int n, Value *const *v) {
    void **out = ARENA_ARRAY(g->arena, void *, n);
    const void **in = ARENA_ARRAY(g->arena, const void *, m->buffers.len);
    for (int i = 0; i < n; i++)
        out[i] = arena_array(g->arena, (size_t)value_count(v[i]) + 1, (size_t)dtype_size(v[i]->dtype));
    Jit *jit = jit_compile(g->diag, m, JIT_QUICK);
    int status = jit ? jit_run(jit, in, out) : -1;
    if (jit && status)
        diag_error(g->diag, node_place(v[0]->def), "computing \"%s\" from constants failed with status %d", v[0]->name, status);
    jit_free(jit);
    for (int i = 0; i < n && !status; i++)
        replace(g, v[i], out[i]);
    return !status;
}

typedef enum Folded { FOLDED, FOLD_FAILED, FOLD_DEAR } Folded;

/* All in one run of the JIT. */
static Folded fold_values(Graph *g, int n, Value *const *v, double *work) {
    Arena *a = arena_new();
    Value **result = ARENA_ARRAY(a, Value *, n);
    Graph *cone = build_cone(a, g, n, v, result);
    KModule *m = lower_cone(cone);
    Folded done = FOLD_DEAR;
    *work = work_of(m);
    if (g->fold.work + *work <= most_work && m->arena_size <= 4 * g->fold.largest) {
        g->fold.work += *work;
        done = run_cone(g, m, n, v) ? FOLDED : FOLD_FAILED;
    }
    arena_free(a);
    return done;
}

bool fold_value(Value *v) {
    Graph *g = v->graph;
    double work;
    const Node *n = v->def;
    Folded done = fold_values(g, 1, &v, &work);
    if (done == FOLD_DEAR)
        diag_error(g->diag, node_place(n), "computing \"%s\" from constants would take %.3g operations; that is too much", v->name,
                   work);
    return done == FOLDED;
}

/* Those that are too dear stay computations of the model. */
static bool fold_affordable(Graph *g, int n, Value *const *v, int *dear) {
    double work;
    if (*dear >= TOO_DEAR)
        return true;
    Folded done = fold_values(g, n, v, &work);
    if (done != FOLD_DEAR)
        return done == FOLDED;
    if (n == 1) {
        ++*dear;
        return true;
    }
    return fold_affordable(g, n / 2, v, dear) && fold_affordable(g, n - n / 2, v + n / 2, dear);
}

/* --- what is worth it --- */

/* Bytes of the constants that the value is made of. */
static int64_t source_bytes(const Value *v) {
    const Graph *g = v->graph;
    Arena *a = arena_new();
    bool *wanted = ARENA_ARRAY(a, bool, g->next_id);
    int64_t sum = 0;
    wanted[v->id] = true;
    for (const Node *n = v->def; n; n = n->prev) {
        bool taken = false;
        for (int i = 0; i < n->nout; i++)
            taken |= n->out[i] && wanted[n->out[i]->id];
        for (int i = 0; i < n->nin && taken && !shape_only(n); i++) {
            if (!n->in[i] || wanted[n->in[i]->id])
                continue;
            wanted[n->in[i]->id] = true;
            if (n->in[i]->kind == VALUE_CONST)
                sum += bytes_of(n->in[i]);
        }
    }
    arena_free(a);
    return sum;
}

static bool is_worth_it(const Value *v) {
    if (!dtype_bits(v->dtype) || !fold_is_possible(v))
        return false;
    if (v->is_output && !strcmp(v->def->op_type, "Identity") && value_is_const(v->def->in[0]))
        return false; /* has been folded */
    return bytes_of(v) <= large || bytes_of(v) / 2 <= source_bytes(v);
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
    fold_begin(g);
    for (Node *n = g->first; n; n = n->next) {
        fold_mark(n);
        for (int i = 0; i < n->nout; i++)
            if (n->out[i])
                folds[n->out[i]->id] = is_worth_it(n->out[i]);
    }
    Value **wanted = ARENA_ARRAY(g->arena, Value *, g->next_id);
    int count = 0, dear = 0;
    int64_t bytes = g->fold.bytes;
    for (const Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->nout; i++) {
            if (!n->out[i] || !folds[n->out[i]->id] || !is_taken(n->out[i], folds))
                continue;
            bytes += bytes_of(n->out[i]);
            if (bytes <= g->fold.largest)
                wanted[count++] = n->out[i];
        }
    }
    bool done = !count || fold_affordable(g, count, wanted, &dear);
    pass_dead(g);
    return done;
}
