/* SPDX-License-Identifier: Apache-2.0 */
/* x * Sigmoid(x) -> Swish(x) (ONNX Swish): one division and no product. */
#include "passes/edit.h"
#include "passes/passes.h"

/* The Sigmoid whose product with its own argument n is; NULL where it is none, or others need the Sigmoid too. */
static const Node *gate_of(const Node *n) {
    if (!edit_is(n, "Mul"))
        return NULL;
    for (int i = 0; i < 2; i++) {
        const Value *gate = n->in[i];
        if (gate->kind == VALUE_NODE && edit_is(gate->def, "Sigmoid") && gate->def->in[0] == n->in[1 - i] && value_only_user(gate) == n)
            return gate->def;
    }
    return NULL;
}

void pass_swish(Graph *g) {
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        const Node *gate = gate_of(n);
        if (!gate)
            continue;
        Node *by = edit_node(n, "Swish", gate, 1, gate->in);
        edit_add_sources(by, n);
        if (edit_replace(n->out[0], by->out[0]))
            node_remove(n);
    }
    pass_dead(g);
}
