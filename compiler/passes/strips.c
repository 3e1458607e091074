/* SPDX-License-Identifier: Apache-2.0 */
/* Chains of groups over large images are computed some rows at a time: expand, depthwise and project of one strip, then
 * of the next. What lies between them then needs a window of rows instead of a whole buffer, and never leaves the cache
 * (the patches of MCUNetV2, Lin et al. 2021, without computing anything twice: rows that the next strip needs again move
 * to the start of the window). */
#include "ops/op.h"
#include "ops/window.h"
#include "passes/edit.h"
#include "passes/passes.h"

enum {
    LONGEST = 16,
    SMALL_MEMORY = 32 << 10, /* without caches: buffers from this size on are worth a window */
    MOST_STRIPS = 64,
};

/* Rows of the input that row r needs: r * stride - before … + extent - 1. */
typedef struct Rows {
    int64_t extent, stride, before;
} Rows;

typedef struct Member {
    Node *first, *last;
    Value *value;
    Rows rows; /* how it reads the member before it */
} Member;

typedef struct Chain {
    Member member[LONGEST];
    int n;
} Chain;

static bool read_rows(const Node *n, int input, Rows *r) {
    Window w;
    if (op_is_elementwise(n) && n->in[input]->rank == n->out[0]->rank && n->in[input]->dim[2] == n->out[0]->dim[2]) {
        *r = (Rows){1, 1, 0};
        return true;
    }
    if (input || !window_of(n, &w))
        return false;
    *r = (Rows){(w.kernel[0] - 1) * w.dilation[0] + 1, w.stride[0], w.before[0]};
    return true;
}

/* An image whose rows lie one behind the other, in a buffer of its own. */
static bool has_rows(const Value *v, const bool *shared) {
    if (shared[v->id] || v->kind != VALUE_NODE || v->rank < 4 || v->dim[0] != 1 || v->dim[2] < 4 ||
        v->storage.root != v || v->storage.offset)
        return false;
    for (int d = 1; d < v->rank; d++)
        if (v->dim[d] != 1 && v->storage.stride[d] > v->storage.stride[2])
            return false;
    return value_count(v) == v->dim[2] * v->storage.stride[2];
}

/* The group's one value for others, of which any rows can be computed alone. */
static Value *rows_value(Node *first, Node *last) {
    Value *y = last->out[0];
    if (!y || y->rank < 4 || y->dim[0] != 1)
        return NULL;
    for (Node *n = first;; n = n->next) {
        Window w;
        if (edit_rounds_input(n))
            continue;
        if ((!op_is_elementwise(n) && !window_of(n, &w)) || n->nout > 1 || !value_same_shape(n->out[0], y))
            return NULL;
        if (n == last)
            return y;
    }
}

/* All readers of v are in the group, and read it in the same way. */
static bool only_reader(const Value *v, const Node *first, Rows *rows) {
    Rows r;
    if (v->is_output || !v->uses.len)
        return false;
    for (int i = 0; i < v->uses.len; i++) {
        const Use *u = &v->uses.data[i];
        if (u->node->group != first->group || !read_rows(u->node, u->index, &r))
            return false;
        if (i && (r.extent != rows->extent || r.stride != rows->stride || r.before != rows->before))
            return false;
        *rows = r;
    }
    return true;
}

/* How the member reads root, which is not the value of the member before it: 0 not at all, 1 at the rows that it
 * computes, 2 otherwise. */
static int reads_root(const Member *m, const Value *root) {
    int how = 0;
    for (const Node *n = m->first;; n = n->next) {
        for (int i = 0; i < n->nin; i++) {
            Rows r;
            if (!n->in[i] || n->in[i]->storage.root != root || (n->in[i]->kind == VALUE_NODE && n->in[i]->def->group == m->first->group))
                continue;
            bool step = read_rows(n, i, &r) && r.extent == 1 && r.stride == 1 && !r.before;
            how = step && how < 2 ? 1 : 2;
        }
        if (n == m->last)
            return how;
    }
}

/* The last value may stand in place of an operand only if its rows have been read by then. */
static bool may_overwrite(const Chain *c) {
    const Value *root = c->member[c->n - 1].value->storage.root;
    if (root == c->member[c->n - 1].value)
        return true;
    for (int i = 0; i < c->n; i++) {
        if (i && c->member[i].rows.stride != 1)
            return false;
        int how = reads_root(&c->member[i], root);
        if (how == 2 || (how == 1 && i && i < c->n - 1))
            return false;
    }
    return true;
}

/* 16-bit floating numbers count as float32: as many rows, in half the memory. */
static int64_t element_bytes(const Value *v) { return dtype_is_half(v->dtype) ? (int64_t)sizeof(float) : dtype_size(v->dtype); }

static int64_t row_bytes(const Value *v) { return v->storage.stride[2] * element_bytes(v); }

static int64_t limit(int64_t x, int64_t lo, int64_t hi) { return x < lo ? lo : x > hi ? hi : x; }

/* One walk over the image in strips of `height` rows of the last value: the windows' sizes and, where steps are wanted,
 * what to do. False where rows would have to move onto themselves. */
static bool walk(const Chain *c, int64_t height, int64_t *window, Arena *a, Strips *s) {
    int64_t done[LONGEST] = {0}, base[LONGEST] = {0}, need[LONGEST], from[LONGEST];
    int last = c->n - 1;
    const int64_t rows = c->member[last].value->dim[2];
    for (int i = 0; i < c->n; i++)
        window[i] = 0;
    while (done[last] < rows) {
        need[last] = limit(done[last] + height, 0, rows);
        for (int i = last; i > 0; i--) {
            const Rows *r = &c->member[i].rows;
            int64_t most = c->member[i - 1].value->dim[2];
            need[i - 1] = limit((need[i] - 1) * r->stride - r->before + r->extent, done[i - 1], most);
            from[i - 1] = limit(done[i] * r->stride - r->before, 0, most);
        }
        for (int i = 0; i < last; i++) {
            if (from[i] > base[i] && need[i] > done[i]) {
                int64_t kept = done[i] > from[i] ? done[i] - from[i] : 0;
                if (kept > from[i] - base[i])
                    return false;
                if (s && kept)
                    VEC_PUSH(a, &s->steps, ((StripStep){true, i, from[i], done[i], 0, base[i]}));
                base[i] = from[i];
            }
            window[i] = need[i] - base[i] > window[i] ? need[i] - base[i] : window[i];
        }
        for (int i = 0; i <= last; i++) {
            if (s && need[i] > done[i])
                VEC_PUSH(a, &s->steps, ((StripStep){false, i, done[i], need[i], i ? base[i - 1] : 0, i < last ? base[i] : 0}));
            done[i] = need[i];
        }
    }
    return true;
}

static int64_t windows_bytes(const Chain *c, const int64_t *window) {
    int64_t sum = 0;
    for (int i = 0; i < c->n - 1; i++)
        sum += window[i] * row_bytes(c->member[i].value);
    return sum;
}

/* What the height of strips should be a multiple of. */
static int64_t grain(const Chain *c) {
    int64_t most = 1;
    for (int i = 0; i < c->n; i++)
        for (const Node *n = c->member[i].first;; n = n->next) {
            int64_t rows = window_rows(n);
            most = rows > most ? rows : most;
            if (n == c->member[i].last)
                break;
        }
    return most;
}

/* The tallest strips whose windows fit; where none fit, the lowest that save three quarters of the memory. */
static int64_t strip_height(const Chain *c, int64_t budget) {
    int64_t rows = c->member[c->n - 1].value->dim[2], window[LONGEST], whole = 0, best = 0;
    for (int i = 0; i < c->n - 1; i++)
        whole += c->member[i].value->dim[2] * row_bytes(c->member[i].value);
    int64_t step = grain(c);
    for (int64_t h = rows / 2 / step * step; h > 0 && rows <= h * MOST_STRIPS; h -= step) {
        if (!walk(c, h, window, NULL, NULL))
            continue;
        int64_t bytes = windows_bytes(c, window);
        if (bytes * 4 <= whole)
            best = h;
        if (bytes <= budget && bytes * 2 <= whole)
            return h;
    }
    return best;
}

static void make(Graph *g, const Chain *c, int64_t height) {
    int64_t window[LONGEST];
    Strips *s = ARENA_NEW(g->arena, Strips);
    s->n = c->n;
    s->group = ARENA_ARRAY(g->arena, int, c->n);
    s->value = ARENA_ARRAY(g->arena, Value *, c->n);
    walk(c, height, window, g->arena, s);
    for (int i = 0; i < c->n; i++) {
        Value *v = c->member[i].value;
        s->group[i] = c->member[i].first->group;
        s->value[i] = v;
        if (i < c->n - 1) {
            v->window = window[i];
            v->buffer_size = window[i] * v->storage.stride[2];
        }
    }
    VEC_PUSH(g->arena, &g->strips, s);
}

/* The longest chain from a group on whose values between are large. */
static Chain chain_from(Node *first, const bool *shared, int64_t large) {
    Chain c = {.n = 0};
    Rows rows = {0};
    for (Node *n = first, *last; n && c.n < LONGEST; n = group_from(last->next)) {
        last = group_last(n);
        Value *y = rows_value(n, last);
        if (!y || (c.n && !only_reader(c.member[c.n - 1].value, n, &rows)))
            break;
        c.member[c.n++] = (Member){n, last, y, rows};
        if (!has_rows(y, shared) || value_count(y) * element_bytes(y) < large)
            break;
    }
    while (c.n > 1 && !may_overwrite(&c))
        c.n--;
    return c;
}

/* By id: the values in whose storage others lie: views, and what is computed in their place. */
static bool *shared_storage(Graph *g) {
    bool *shared = ARENA_ARRAY(g->arena, bool, g->next_id);
    for (const Node *n = g->first; n; n = n->next)
        for (int i = 0; i < n->nout; i++)
            if (n->out[i] && n->out[i]->storage.root && n->out[i]->storage.root != n->out[i])
                shared[n->out[i]->storage.root->id] = true;
    return shared;
}

void pass_strips(Graph *g, const Target *t, int threads) {
    if (!t)
        return;
    int64_t large = t->l2 ? t->l2 / 2 : SMALL_MEMORY, budget = t->l2 ? (int64_t)t->l2 / 3 * threads : SMALL_MEMORY;
    const bool *shared = shared_storage(g);
    for (Node *n = group_from(g->first), *next; n; n = next) {
        next = group_from(group_last(n)->next);
        Chain c = chain_from(n, shared, large);
        for (; c.n > 1; c.n--) {
            int64_t height = may_overwrite(&c) ? strip_height(&c, budget) : 0;
            if (!height)
                continue;
            make(g, &c, height);
            next = group_from(c.member[c.n - 1].last->next);
            break;
        }
    }
}
