/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes into kernels. A node with loops takes the elementwise nodes behind it as its epilogue, elementwise nodes chain,
 * and index movement is read through by what consumes it once. A group has one value that others see: that of its last
 * node, so its members may stand together right there. */
#include "ops/fused_attention.h"
#include "ops/op.h"
#include "passes/edit.h"
#include "passes/passes.h"

enum { LARGEST_GROUP = 24 };

typedef struct Growth {
    Node *member[LARGEST_GROUP];
    int n;
} Growth;

static bool contains(const Growth *s, const Node *n) {
    for (int i = 0; i < s->n; i++)
        if (s->member[i] == n)
            return true;
    return false;
}

static Value *only_output(const Node *n) {
    for (int i = 1; i < n->nout; i++)
        if (n->out[i] && (n->out[i]->uses.len || n->out[i]->is_output))
            return NULL;
    return n->out[0];
}

/* Values of the group that others use. */
static int visible(const Growth *s) {
    int count = 0;
    for (int i = 0; i < s->n; i++) {
        const Value *v = s->member[i]->out[0];
        bool outside = v->is_output;
        for (int u = 0; u < v->uses.len && !outside; u++)
            outside = !contains(s, v->uses.data[u].node);
        count += outside;
    }
    return count;
}

static bool reads_group(const Growth *s, const Node *n) {
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && n->in[i]->kind == VALUE_NODE && contains(s, n->in[i]->def))
            return true;
    return false;
}

/* Elementwise users of the same shape join in order; the group ends where it last had one visible value. */
static void grow(Growth *s) {
    const Value *shape = s->member[0]->out[0];
    int good = 1;
    for (Node *m = s->member[0]->next; m && s->n < LARGEST_GROUP; m = m->next) {
        if (m->group || !reads_group(s, m))
            continue;
        if (!op_is_elementwise(m) || attention_makes_scores(m) || !only_output(m) || !value_same_shape(m->out[0], shape)) {
            if (visible(s) > 2) /* gone too far for one value to remain */
                break;
            continue;
        }
        s->member[s->n++] = m;
        if (visible(s) == 1)
            good = s->n;
    }
    s->n = good;
}

static void close_group(Graph *g, const Growth *s) {
    int group = g->next_group++;
    Node *last = s->member[s->n - 1];
    for (int i = 0; i < s->n; i++) {
        s->member[i]->group = group;
        if (s->member[i] != last)
            node_move_before(s->member[i], last);
    }
}

static bool is_view_candidate(const Node *n) {
    static const char *const names[] = {"Transpose", "Slice", "Split", "Concat", "Expand", NULL};
    return (n->op->flags & OP_RESHAPE) || edit_is_any(n, names) || node_is(n, "mlcc", "WindowRows");
}

/* Bytes become numbers where m computes with them, which may be more than once for each; products meet each too often. */
static bool takes_bytes(const Node *m) {
    return m->op && !m->op->macs && !(m->op->flags & OP_MOVEMENT) && !is_view_candidate(m) && m->out[0];
}

/* A node is read through by its only user when that evaluates each element at most once; packed constants, bytes that become
 * numbers and inputs that would be rounded are, however often. */
static bool is_read_through(const Node *n) {
    if (attention_makes_scores(n) || edit_rounds_input(n))
        return true;
    if (n->op->flags & OP_KEPT)
        return value_only_user(n->out[0]) && n->out[0]->uses.len == 1;
    if (edit_is(n, "DequantizeLinear"))
        return value_only_user(n->out[0]) && takes_bytes(value_only_user(n->out[0]));
    if (!(n->op->flags & OP_MOVEMENT) || !n->op->element || !only_output(n) || is_view_candidate(n))
        return false;
    const Value *v = n->out[0];
    const Node *m = value_only_user(v);
    if (!m || v->uses.len != 1 || !m->op || !m->out[0] || value_count(m->out[0]) > value_count(v))
        return false;
    return op_is_elementwise(m) ? value_same_shape(m->out[0], v) : false;
}

/* Nodes that are read through, before the members that read them. */
static void prepend(Growth *s) {
    for (int i = 0; i < s->n; i++) {
        Node *n = s->member[i];
        for (int k = 0; k < n->nin && s->n < LARGEST_GROUP; k++) {
            Value *v = n->in[k];
            if (!v || v->kind != VALUE_NODE || v->def->group || contains(s, v->def) || !is_read_through(v->def))
                continue;
            for (int j = s->n; j > i; j--)
                s->member[j] = s->member[j - 1];
            s->member[i] = v->def;
            s->n++;
            i = -1; /* look at all members again */
            break;
        }
    }
}

static bool starts(const Node *n) { return !n->group && n->op && !is_read_through(n); }

/* Each that takes bytes has a DequantizeLinear of its own. */
static void repeat_dequantize(Node *n) {
    Value *v = n->out[0];
    for (int i = v->uses.len - 1; i >= 0 && v->uses.len > 1; i--) {
        Use use = v->uses.data[i];
        if (takes_bytes(use.node))
            node_set_input(use.node, use.index, edit_node_with(use.node, "", n->op_type, n, n->nin, n->in, n->nattrs, n->attr)->out[0]);
    }
}

void pass_group(Graph *g) {
    for (Node *n = g->first; n; n = n->next)
        if (n->op && edit_is(n, "DequantizeLinear") && n->out[0] && n->out[0]->uses.len > 1)
            repeat_dequantize(n);
    VEC(Node *) nodes = {0}; /* closing a group moves its members */
    for (Node *n = g->first; n; n = n->next)
        VEC_PUSH(g->arena, &nodes, n);
    for (int i = 0; i < nodes.len; i++) {
        Node *n = nodes.data[i];
        if (!starts(n))
            continue;
        Growth s = {{n}, 1};
        bool single = only_output(n) && n->out[0];
        if (single && !is_view_candidate(n))
            grow(&s);
        prepend(&s);
        close_group(g, &s);
    }
    for (Node *n = g->first; n; n = n->next)
        if (!n->group)
            n->group = g->next_group++;
}
