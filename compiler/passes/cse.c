/* SPDX-License-Identifier: Apache-2.0 */
/* Equal nodes become one: same operator, inputs and attributes. */
#include <string.h>

#include "ops/op.h"
#include "passes/edit.h"
#include "passes/passes.h"

static bool same_attr(const Attr *x, const Attr *y) {
    if (strcmp(x->name, y->name) || x->kind != y->kind || x->n != y->n)
        return false;
    switch (x->kind) {
    case ATTR_INT: return x->i == y->i;
    case ATTR_FLOAT: return !memcmp(&x->f, &y->f, sizeof x->f);
    case ATTR_STRING: return x->s_len == y->s_len && !memcmp(x->s, y->s, x->s_len);
    case ATTR_INTS: return !x->n || !memcmp(x->ints, y->ints, (size_t)x->n * sizeof *x->ints);
    case ATTR_FLOATS: return !x->n || !memcmp(x->floats, y->floats, (size_t)x->n * sizeof *x->floats);
    default: return false;
    }
}

static bool same_node(const Node *x, const Node *y) {
    if (x->op != y->op || x->nin != y->nin || x->nout != y->nout || x->nattrs != y->nattrs || (x->op->flags & (OP_IMPURE | OP_KEPT)))
        return false;
    for (int i = 0; i < x->nin; i++)
        if (x->in[i] != y->in[i])
            return false;
    for (int i = 0; i < x->nattrs; i++)
        if (!same_attr(&x->attr[i], &y->attr[i]))
            return false;
    return true;
}

static Node *twin(const Node *n) {
    for (int i = 0; i < n->nin; i++) {
        const Value *v = n->in[i];
        for (int u = 0; v && u < v->uses.len && u < 64; u++) {
            Node *m = v->uses.data[u].node;
            if (m != n && same_node(n, m))
                return m;
        }
        if (v)
            return NULL;
    }
    return NULL;
}

void pass_cse(Graph *g) {
    bool *done = ARENA_ARRAY(g->arena, bool, g->next_id);
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        Node *m = twin(n);
        bool before = m && m->out[0] && done[m->out[0]->id];
        for (int i = 0; before && i < n->nout; i++)
            before = !n->out[i] || (m->out[i] && !(n->out[i]->is_output && m->out[i]->is_output));
        if (before) {
            for (int i = 0; i < n->nout; i++)
                if (n->out[i])
                    edit_replace(n->out[i], m->out[i]);
            node_remove(n);
        } else if (n->out[0]) {
            done[n->out[0]->id] = true;
        }
    }
}
