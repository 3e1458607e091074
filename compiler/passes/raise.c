/* SPDX-License-Identifier: Apache-2.0 */
/* QuantizeLinear moves above what only moves elements, where nothing else takes the result: Q(M(x)) becomes M(Q(x)), which
 * computes the same on bytes, and brings the Q to the operators that can make bytes. */
#include "ops/op.h"
#include "passes/edit.h"
#include "passes/fold.h"
#include "passes/passes.h"
#include "passes/quantised.h"

/* Data inputs of n, of which every element of the output is one or the largest of some; 0 where n is something else. */
static int moved_inputs(const Node *n) {
    static const char *const names[] = {"Transpose", "DepthToSpace", "SpaceToDepth", NULL};
    if ((n->op->flags & OP_RESHAPE) || edit_is_any(n, names) || quantised_picks(n))
        return 1;
    return edit_is(n, "Concat") ? n->nin : 0;
}

/* The operator that computes x alone feeds it to n; bytes have been brought down already. */
static bool comes_alone(Value *x, const Node *n) {
    return x->kind == VALUE_NODE && value_only_user(x) == n && x->dtype == DT_F32 && !fold_is_possible(x) &&
           !edit_is(x->def, "DequantizeLinear");
}

typedef VEC(Node *) Nodes;

/* Puts Qs before what is above q in place of both; the new ones go to the list. */
static void raise_above(Node *q, Nodes *all) {
    Quantised to;
    Value *v = q->in[0];
    Node *n = v->kind == VALUE_NODE && value_only_user(v) ? v->def : NULL;
    int count = n ? moved_inputs(n) : 0;
    bool any = false;
    if (!count || !quantised_by(q, &to))
        return;
    for (int i = 0; i < count; i++)
        any |= comes_alone(n->in[i], n);
    if (!any)
        return;
    Arena *a = q->graph->arena;
    Value **in = ARENA_ARRAY(a, Value *, n->nin);
    for (int i = 0; i < n->nin; i++) {
        in[i] = n->in[i];
        if (i >= count)
            continue;
        Value *operands[] = {n->in[i], to.scale, to.zero};
        VEC_PUSH(a, all, edit_node_with(n, "", "QuantizeLinear", q, 3, operands, 0, NULL));
        in[i] = all->data[all->len - 1]->out[0];
    }
    edit_replace(q->out[0], edit_node_with(n, n->domain, n->op_type, n, n->nin, in, n->nattrs, n->attr)->out[0]);
    node_remove(q);
    node_remove(n);
}

void pass_raise(Graph *g) {
    Nodes all = {0};
    for (Node *n = g->first; n; n = n->next)
        if (edit_is(n, "QuantizeLinear"))
            VEC_PUSH(g->arena, &all, n);
    for (int i = 0; i < all.len; i++)
        raise_above(all.data[i], &all);
    pass_dead(g);
}
