/* SPDX-License-Identifier: Apache-2.0 */
/* x / 2 * (1 + Erf(x / sqrt 2)), in any order -> Gelu(x) (ONNX Gelu), which never computes the error function itself. */
#include <math.h>

#include "passes/edit.h"
#include "passes/passes.h"

/* Constants of float16 models are that exact. */
static bool is_near(const Value *v, double x) {
    return value_is_const(v) && dtype_is_float(v->dtype) && value_count(v) == 1 && fabs(const_float(v, 0) - x) <= 5e-4 * x;
}

/* What n multiplies by a constant near x, or divides by one near 1 / x; NULL where it does neither. */
static Value *scaled_by(const Node *n, double x) {
    if (edit_is(n, "Mul"))
        for (int i = 0; i < 2; i++)
            if (is_near(n->in[i], x))
                return n->in[1 - i];
    return edit_is(n, "Div") && is_near(n->in[1], 1 / x) ? n->in[0] : NULL;
}

static Value *other_operand(const Node *n, const Value *v) { return n->in[n->in[0] == v]; }

/* From the sum on: by x and a half, or by half of x. The node that has both, or NULL. */
static Node *last_product(const Node *sum, const Value *x) {
    bool by_x = false, by_half = false;
    const Value *v = sum->out[0];
    for (Node *n = value_only_user(v); n; v = n->out[0], n = value_only_user(v)) {
        if (scaled_by(n, 0.5) == v && !by_half) {
            by_half = true;
        } else {
            const Value *by = edit_is(n, "Mul") ? other_operand(n, v) : NULL;
            bool half_too = by && by != x && by->kind == VALUE_NODE && scaled_by(by->def, 0.5) == x && !by_half;
            if (!by || by_x || (by != x && !half_too))
                return NULL;
            by_x = true;
            by_half = by_half || half_too;
        }
        if (by_x && by_half)
            return n;
    }
    return NULL;
}

static Node *gelu_of(const Node *erf, Value **x) {
    const Value *in = erf->in[0], *out = erf->out[0];
    *x = in->kind == VALUE_NODE ? scaled_by(in->def, sqrt(0.5)) : NULL;
    const Node *sum = value_only_user(out);
    if (!*x || !sum || !edit_is(sum, "Add") || !is_near(other_operand(sum, out), 1))
        return NULL;
    Node *last = last_product(sum, *x);
    return last && value_same_shape(last->out[0], *x) ? last : NULL;
}

void pass_gelu(Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        Value *x = NULL;
        Node *last = edit_is(n, "Erf") ? gelu_of(n, &x) : NULL;
        if (!last)
            continue;
        Node *by = edit_node(last, "Gelu", n->in[0]->def, 1, &x);
        for (const Node *m = n; m; m = m == last ? NULL : value_only_user(m->out[0]))
            edit_add_sources(by, m);
        edit_replace(last->out[0], by->out[0]);
    }
    pass_dead(g);
}
