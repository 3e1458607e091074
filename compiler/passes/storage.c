/* SPDX-License-Identifier: Apache-2.0 */
/* Where values lie: parts of a Concat's buffer, views of other values, their operand's place; else a buffer each. */
#include <string.h>

#include "ops/fused_attention.h"
#include "ops/op.h"
#include "ops/rules.h"
#include "passes/edit.h"
#include "passes/passes.h"

/* --- outputs --- */

/* Every output is a node's value of its own. */
static void separate_outputs(Graph *g) {
    for (int i = 0; i < g->outputs.len; i++) {
        const Value *v = g->outputs.data[i];
        bool again = false;
        for (int k = 0; k < i; k++)
            again = again || g->outputs.data[k] == v;
        if (again || v->kind != VALUE_NODE)
            edit_copy_output(g, i);
    }
}

/* --- views --- */

typedef struct View {
    int64_t offset, stride[GRAPH_MAX_RANK];
} View;

/* Strides of the same elements in row-major order under another shape; false where there are none. Runs of axes of equal
 * product are matched; within one, the old axes must be evenly spaced. */
static bool reshape_view(int rank, const int64_t *dim, const int64_t *stride, int new_rank, const int64_t *new_dim, int64_t *out) {
    int64_t d[GRAPH_MAX_RANK], s[GRAPH_MAX_RANK];
    int n = 0, i = 0, j = 0;
    for (int k = 0; k < rank; k++) {
        if (dim[k] == 1)
            continue;
        d[n] = dim[k];
        s[n++] = stride[k];
    }
    while (j < new_rank) {
        if (new_dim[j] == 1) {
            out[j++] = 0;
            continue;
        }
        int from = i, start = j;
        int64_t have = i < n ? d[i++] : 0, want = new_dim[j++];
        while (have != want) {
            if (!have || !want)
                return false;
            if (have < want) {
                if (i == n)
                    return false;
                have *= d[i++];
            } else {
                if (j == new_rank)
                    return false;
                want *= new_dim[j++];
            }
        }
        for (int k = from; k + 1 < i; k++)
            if (s[k] != s[k + 1] * d[k + 1])
                return false;
        int64_t step = s[i - 1];
        for (int k = j - 1; k >= start; k--) {
            out[k] = step;
            step *= new_dim[k];
        }
    }
    return i == n;
}

static int permutation(const Node *n, int d) {
    const Attr *perm = node_attr(n, "perm");
    return perm ? (int)perm->ints[d] : n->in[0]->rank - 1 - d;
}

static int axis_of(const Node *n, int rank) {
    int64_t axis = attr_int(n, "axis", 0);
    return (int)(axis < 0 ? axis + rank : axis);
}

/* Output o of n as a part of input 0's storage. */
static bool forward_view(const Node *n, int o, View *v) {
    const Value *x = n->in[0], *y = n->out[o];
    const Storage *s = &x->storage;
    v->offset = s->offset;
    if (!value_count(x) || !value_count(y))
        return false;
    if (n->op->flags & OP_RESHAPE)
        return reshape_view(x->rank, x->dim, s->stride, y->rank, y->dim, v->stride);
    if (edit_is(n, "Transpose")) {
        for (int d = 0; d < y->rank; d++)
            v->stride[d] = s->stride[permutation(n, d)];
        return true;
    }
    if (edit_is(n, "Slice")) {
        int64_t start[GRAPH_MAX_RANK], step[GRAPH_MAX_RANK];
        if (!slice_view(n, start, step))
            return false;
        for (int d = 0; d < y->rank; d++) {
            v->offset += start[d] * s->stride[d];
            v->stride[d] = step[d] * s->stride[d];
        }
        return true;
    }
    if (edit_is(n, "Split")) {
        int axis = axis_of(n, x->rank);
        for (int k = 0; k < o; k++)
            if (n->out[k])
                v->offset += n->out[k]->dim[axis] * s->stride[axis];
            else
                return false;
        memcpy(v->stride, s->stride, (size_t)x->rank * sizeof *v->stride);
        return true;
    }
    if (edit_is(n, "Expand")) {
        for (int d = 0; d < y->rank; d++) {
            int own = d - (y->rank - x->rank);
            v->stride[d] = own < 0 || x->dim[own] == 1 ? 0 : s->stride[own];
        }
        return true;
    }
    return node_is(n, "mlcc", "WindowRows") && window_rows_view(n, s->stride, v->stride);
}

/* Input 0 as a part of output 0's storage. */
static bool backward_view(const Node *n, View *v) {
    const Value *x = n->in[0], *y = n->out[0];
    const Storage *s = &y->storage;
    v->offset = s->offset;
    if (!value_count(x))
        return false;
    if (n->op->flags & OP_RESHAPE)
        return reshape_view(y->rank, y->dim, s->stride, x->rank, x->dim, v->stride);
    if (!edit_is(n, "Transpose"))
        return false;
    for (int d = 0; d < y->rank; d++)
        v->stride[permutation(n, d)] = s->stride[d];
    return true;
}

static void place(Value *v, Value *root, const View *at) {
    v->storage.root = root;
    v->storage.offset = at->offset;
    if (v->rank)
        memcpy(v->storage.stride, at->stride, (size_t)v->rank * sizeof *at->stride);
}

static bool is_placeable(const Value *v) { return v->kind == VALUE_NODE && !v->is_output && v->storage.root == v; }

/* The strides run through the axes in the same order of size as the value's own would. */
static bool same_order(const Value *v, const View *at) {
    for (int c = 0; c < v->rank; c++)
        for (int d = 0; d < v->rank; d++)
            if (v->dim[c] > 1 && v->dim[d] > 1 && v->storage.stride[c] > v->storage.stride[d] && at->stride[c] < at->stride[d])
                return false;
    return true;
}

static bool is_attention(const Node *n) { return node_is(n, "mlcc", "Attention"); }

static bool is_of_attention(const Value *v) {
    for (const Node *n = v->def; n && n->group == v->def->group; n = n->prev)
        if (is_attention(n))
            return true;
    return false;
}

/* An attention goes through its rows in its own order, wherever they lie. */
static bool may_lie(const Value *v, const View *at) {
    if (is_of_attention(v))
        return v->dim[v->rank - 1] == 1 || at->stride[v->rank - 1] == 1;
    return same_order(v, at);
}

/* Its heads side by side, which would be a copy of what it wrote. */
static bool joins_heads(const Node *n) {
    const Value *x = n->nin ? n->in[0] : NULL;
    if (!(n->op->flags & OP_RESHAPE) || x->kind != VALUE_NODE || x->uses.len != 1 || !edit_is(x->def, "Transpose"))
        return false;
    const Value *heads = x->def->in[0];
    return is_placeable(heads) && heads->uses.len == 1 && is_of_attention(heads);
}

static void place_operands(Node *n) {
    Value *y = n->out[0];
    int axis = axis_of(n, y->rank);
    View at = {.offset = y->storage.offset};
    bool all = true;
    memcpy(at.stride, y->storage.stride, (size_t)y->rank * sizeof *at.stride);
    for (int i = 0; i < n->nin; i++) {
        Value *x = n->in[i];
        bool fits = is_placeable(x) && x->dtype == y->dtype && same_order(x, &at);
        if (fits)
            place(x, y->storage.root, &at);
        all = all && fits;
        at.offset += x->dim[axis] * y->storage.stride[axis];
    }
    if (all)
        n->group = 0;
}

static bool alone(const Node *n) {
    return !(n->prev && n->prev->group == n->group) && !(n->next && n->next->group == n->group);
}

/* From the end: what a Concat joins is computed in its buffer; what is only reshaped for an output or into such a
 * buffer, likewise. */
static void place_backwards(Graph *g) {
    for (Node *n = g->last; n; n = n->prev) {
        Value *y = n->out[0];
        View at;
        if (!y || !alone(n) || !value_count(y))
            continue;
        if (edit_is(n, "Concat"))
            place_operands(n);
        else if ((y->is_output || y->storage.root != y || joins_heads(n)) && n->nin && n->in[0] && is_placeable(n->in[0]) &&
                 n->in[0]->dtype == y->dtype && backward_view(n, &at) && may_lie(n->in[0], &at)) {
            place(n->in[0], y->storage.root, &at);
            n->group = 0;
        }
    }
}

static bool is_view_operator(const Node *n) {
    return (n->op->flags & OP_RESHAPE) || edit_is(n, "Transpose") || edit_is(n, "Slice") || edit_is(n, "Split") ||
           edit_is(n, "Expand") || node_is(n, "mlcc", "WindowRows");
}

/* Walks along the last axis of its right operand, for many rows. */
static bool walks_operand(const Use *u) {
    enum { MANY_ROWS = 4 };
    const Node *n = u->node;
    const Value *x = n->in[0];
    return (edit_is(n, "MatMul") || is_attention(n)) && u->index == 1 && x->rank > 1 && x->dim[x->rank - 2] >= MANY_ROWS &&
           !attention_packs_keys(n);
}

/* A view in which the elements lie apart costs a product more than a copy. */
static bool wants_copy(const Value *y, const View *at) {
    if (y->rank < 2 || y->dim[y->rank - 1] == 1 || at->stride[y->rank - 1] == 1)
        return false;
    for (int i = 0; i < y->uses.len; i++)
        if (walks_operand(&y->uses.data[i]))
            return true;
    return false;
}

static void view_forwards(Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        if (!n->group || !alone(n) || !is_view_operator(n) || !n->in[0] || !n->in[0]->storage.root)
            continue;
        bool all = true;
        for (int o = 0; o < n->nout; o++) {
            Value *y = n->out[o];
            View at;
            if (!y || (!y->uses.len && !y->is_output))
                continue;
            bool fits = is_placeable(y) && forward_view(n, o, &at) && !wants_copy(y, &at);
            if (fits)
                place(y, n->in[0]->storage.root, &at);
            all = all && fits;
        }
        if (all)
            n->group = 0;
    }
}

/* --- in place --- */

typedef struct Uses {
    int *last; /* by root id: the last group, in order of calls, that touches it */
} Uses;

static bool is_inside(const Value *v) { /* no buffer: computed and used within one kernel */
    if (v->kind != VALUE_NODE || v->is_output || !v->def->group)
        return false;
    for (int u = 0; u < v->uses.len; u++)
        if (v->uses.data[u].node->group != v->def->group)
            return false;
    return true;
}

static bool same_place(const Value *x, const Value *y) {
    if (x->storage.offset != y->storage.offset)
        return false;
    for (int d = 0; d < x->rank; d++)
        if (x->dim[d] != 1 && x->storage.stride[d] != y->storage.stride[d])
            return false;
    return true;
}

/* Every member of the group that reads the root reads exactly the element that is stored next. */
static bool reads_in_step(const Node *first, const Node *last, const Value *x, const Value *y) {
    for (const Node *n = first;; n = n->next) {
        for (int i = 0; i < n->nin; i++) {
            const Value *v = n->in[i];
            if (!v || is_inside(v) || v->storage.root != x->storage.root)
                continue;
            if (!(n->op->flags & OP_ELEMENTWISE) || attention_makes_scores(n) || !value_same_shape(v, y) || !same_place(v, x) ||
                !value_same_shape(n->out[0], y))
                return false;
        }
        if (n == last)
            return true;
    }
}

static Value *operand_to_overwrite(const Node *first, const Node *last, const Uses *uses, int call) {
    const Value *y = last->out[0];
    if (!y || y->storage.root != y || y->is_output || !value_count(y))
        return NULL;
    for (const Node *n = first;; n = n->next) {
        for (int i = 0; i < n->nin; i++) {
            Value *x = n->in[i];
            if (!x || x->kind != VALUE_NODE || is_inside(x))
                continue;
            const Value *r = x->storage.root;
            if (r != y && r->kind == VALUE_NODE && !r->is_output && r->dtype == y->dtype && x->dtype == y->dtype &&
                r->buffer_size == y->buffer_size && value_same_shape(x, y) && same_place(x, y) &&
                uses->last[r->id] == call && reads_in_step(first, last, x, y))
                return x;
        }
        if (n == last)
            return NULL;
    }
}

static void touch(int *last, const Node *n, int call) {
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && !is_inside(n->in[i]))
            last[n->in[i]->storage.root->id] = call;
    for (int i = 0; i < n->nout; i++)
        if (n->out[i] && !is_inside(n->out[i]) && last[n->out[i]->storage.root->id] < call)
            last[n->out[i]->storage.root->id] = call;
}

static void reroot(Graph *g, Value *from, Value *to) {
    for (Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            if (n->out[i] && n->out[i]->storage.root == from)
                n->out[i]->storage.root = to;
}

static void reuse_operands(Graph *g) {
    Uses uses = {ARENA_ARRAY(g->arena, int, g->next_id)};
    int call = 0;
    for (const Node *n = g->first; n; n = n->next)
        if (n->group)
            touch(uses.last, n, call += !n->prev || n->prev->group != n->group);
    call = 0;
    for (Node *n = group_from(g->first), *last; n; n = group_from(last->next)) {
        last = group_last(n);
        call++;
        Value *x = operand_to_overwrite(n, last, &uses, call), *y = last->out[0];
        if (!x)
            continue;
        Value *root = x->storage.root;
        uses.last[root->id] = uses.last[y->id];
        reroot(g, y, root);
    }
}

void pass_storage(Graph *g) {
    separate_outputs(g);
    place_backwards(g);
    view_forwards(g);
    reuse_operands(g);
}
