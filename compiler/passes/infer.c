/* SPDX-License-Identifier: Apache-2.0 */
/* Types and shapes of everything, in order; what a shape rule needs as a constant is folded first. */
#include "ops/op.h"
#include "passes/fold.h"
#include "passes/passes.h"

/* Integer values of at most this many elements may be shapes, axes, sizes: computed as soon as somebody takes them. */
enum { SHAPE_ELEMENTS = 1024 };

static bool report_unsupported(const Graph *g) {
    bool all = true;
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op)
            continue;
        diag_error(g->diag, node_place(n), "the operator %s%s%s is not supported; mlcc check --list-operators shows those that are",
                   n->domain, *n->domain ? ":" : "", n->op_type);
        all = false;
    }
    return all;
}

static bool arity(const Node *n) {
    int nin = n->nin, nout = n->nout;
    while (nin > n->op->min_in && !n->in[nin - 1])
        nin--;
    if (nin < n->op->min_in || (n->op->max_in >= 0 && nin > n->op->max_in)) {
        diag_error(n->graph->diag, node_place(n), "%d inputs; the operator takes %d to %d", n->nin, n->op->min_in, n->op->max_in);
        return false;
    }
    if (nout < n->op->min_out || (n->op->max_out >= 0 && nout > n->op->max_out)) {
        diag_error(n->graph->diag, node_place(n), "%d outputs; the operator gives %d to %d", n->nout, n->op->min_out, n->op->max_out);
        return false;
    }
    for (int i = 0; i < n->op->min_in; i++) {
        if (!n->in[i]) {
            diag_error(n->graph->diag, node_place(n), "input %d is missing", i);
            return false;
        }
    }
    return true;
}

static bool typed_inputs(const Node *n) {
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && (n->in[i]->dtype == DT_NONE || n->in[i]->rank < 0))
            return false;
    return true;
}

static bool is_narrow(const Value *v) { return v && v->dtype != DT_NONE && dtype_stored(v->dtype) != v->dtype; }

static bool narrow_type(const Node *n, unsigned flags, int count, Value *const *v) {
    for (int i = 0; i < count && !(flags & OP_NARROW); i++) {
        if (!is_narrow(v[i]))
            continue;
        diag_error(n->graph->diag, node_place(n), "elements of type %s are not supported here; a Cast before it makes others",
                   dtype_name(v[i]->dtype));
        return false;
    }
    return true;
}

static bool fold_shapes(Node *n) {
    for (int i = 0; i < n->nin; i++) {
        Value *v = n->in[i];
        bool may_be_shape = v && (dtype_is_integer(v->dtype) || (n->op->flags & OP_FLOAT_SHAPES));
        if (may_be_shape && v->kind == VALUE_NODE && value_count(v) <= SHAPE_ELEMENTS &&
            fold_is_possible(v) && !fold_value(v))
            return false;
    }
    return true;
}

bool pass_infer(Graph *g) {
    if (!report_unsupported(g))
        return false;
    int errors = g->diag->errors;
    fold_begin(g);
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!typed_inputs(n)) /* what it needs has failed and was reported */
            continue;
        const Node *before = n->prev;
        const Op *op = n->op;
        bool fits = arity(n) && narrow_type(n, op->flags, n->nin, n->in) && fold_shapes(n) && op->infer(n);
        Node *first = before ? before->next : g->first;
        if (fits && (first != n || n->op != op)) {
            next = first; /* others stand in its place */
            continue;
        }
        fits = fits && narrow_type(n, op->flags, n->nout, n->out);
        for (int i = 0; i < n->nout && g->diag->errors == errors; i++)
            if (n->out[i] && n->out[i]->rank < 0)
                diag_error(g->diag, node_place(n), "output %d is not supported", i);
        if (g->diag->errors == errors)
            fold_mark(n);
    }
    return g->diag->errors == errors;
}
