/* SPDX-License-Identifier: Apache-2.0 */
/* Removes what no output needs. */
#include "passes/passes.h"

static bool is_dead(const Node *n) {
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && (n->out[i]->uses.len || n->out[i]->is_output))
            return false;
    return true;
}

void pass_dead(Graph *g) {
    for (Node *n = g->last, *prev; n; n = prev) {
        prev = n->prev;
        if (is_dead(n))
            node_remove(n);
    }
    for (int i = g->consts.len - 1; i >= 0; i--)
        if (!g->consts.data[i]->uses.len && !g->consts.data[i]->is_output)
            graph_remove_const(g, g->consts.data[i]);
}
