/* SPDX-License-Identifier: Apache-2.0 */
/* Product, softmax, product: mlcc.Attention. */
#include "ops/fused_attention.h"

#include <string.h>

#include "ops/op.h"
#include "passes/edit.h"
#include "passes/passes.h"
#include "support/ints.h"

enum {
    FEWEST_ROWS = 12, MOST_ROWS = 96, /* of a block: tiles of registers need some … */
    PLAIN_ROWS = 4,                   /* … but not without vectors */
    MANY_ROWS = 4,                    /* fewer gain nothing, but for packed keys; which pay without vectors for no fewer */
    PLAIN_BYTES = 1 << 14,            /* for a block where there are no caches */
};

typedef struct Pattern {
    Node *softmax, *mix;    /* the second product … */
    Node *blind;            /* … and what makes rows of weights zero before it, or NULL */
    const Node *product;
    int64_t matrices, queries, keys, features, size;
} Pattern;

/* --- finding it --- */

static bool is_matrix(const Value *v) { return v->rank >= 2 && (v->dtype == DT_F32 || dtype_is_half(v->dtype)); }

/* Where(rows, 0, weights): the same for all keys of a row. */
static bool is_blind(const Node *n, const Value *weights) {
    if (!edit_is(n, "Where") || n->in[2] != weights || !value_same_shape(n->out[0], weights))
        return false;
    const Value *rows = n->in[0], *zero = n->in[1];
    return (rows->rank == 0 || rows->dim[rows->rank - 1] == 1) && value_is_number(zero) &&
           const_float(zero, 0) == 0;
}

static Node *only_use(const Value *v, int index) {
    return v->uses.len == 1 && !v->is_output && v->uses.data[0].index == index ? v->uses.data[0].node : NULL;
}

/* All scores are for all values: no axis of the values is missing in the weights. */
static bool same_batch(const Value *weights, const Value *y) {
    return weights->rank == y->rank && !memcmp(weights->dim, y->dim, (size_t)(y->rank - 2) * sizeof *y->dim);
}

static bool find(Node *n, Pattern *p) {
    if (!edit_is(n, "Softmax") || !is_matrix(n->out[0]))
        return false;
    const Value *weights = n->out[0], *scores = n->in[0];
    int64_t axis = attr_int(n, "axis", -1);
    if (axis != -1 && axis != weights->rank - 1)
        return false;
    *p = (Pattern){.softmax = n, .product = attention_product(scores), .matrices = 1};
    Node *next = only_use(weights, 2);
    if (next && is_blind(next, weights)) {
        p->blind = next;
        weights = next->out[0];
    }
    p->mix = only_use(weights, 0);
    if (!p->product || !p->mix || !edit_is(p->mix, "MatMul"))
        return false;
    const Value *v = p->mix->in[1], *y = p->mix->out[0], *q = p->product->in[0];
    if (!is_matrix(v) || !is_matrix(q) || !is_matrix(p->product->in[1]) || !same_batch(weights, y) || !value_count(y) ||
        !value_count(weights))
        return false;
    for (int d = 0; d < y->rank - 2; d++)
        p->matrices *= y->dim[d];
    p->queries = y->dim[y->rank - 2];
    p->size = y->dim[y->rank - 1];
    p->keys = weights->dim[y->rank - 1];
    p->features = q->dim[q->rank - 1];
    return true;
}

/* --- sizes of blocks --- */

typedef struct Plan {
    int64_t rows, keys, pieces;
    bool pack;
} Plan;

static int64_t least(int64_t x, int64_t y) { return x < y ? x : y; }

/* As many as fit, in blocks of nearly the same size. */
static int64_t even(int64_t x, int64_t most) { return divide_up(x, divide_up(x, least(x, most < 1 ? 1 : most))); }

/* The keys as they come are read across: a Transpose that was no copy would lie so. */
static bool keys_lie_apart(const Pattern *p) {
    const Value *k = p->product->in[1];
    if (k->kind != VALUE_NODE || !edit_is(k->def, "Transpose") || k->dim[k->rank - 1] == 1)
        return false;
    const Attr *perm = node_attr(k->def, "perm");
    return !perm || perm->ints[k->rank - 1] != k->rank - 1;
}

/* A row's scores fit the cache if all keys' do for a few rows; rows of a block stay near. */
static Plan plan(const Pattern *p, const Target *t, int threads) {
    int64_t near = t->l1 ? t->l1 / 2 : PLAIN_BYTES / 4, far = t->l2 ? t->l2 / 4 : PLAIN_BYTES;
    int64_t few = t->vector_bits ? FEWEST_ROWS : PLAIN_ROWS;
    Plan b = {.pieces = 1, .pack = keys_lie_apart(p) && (t->vector_bits || p->queries >= MANY_ROWS)};
    int64_t rows = least(few, p->queries), row = (int64_t)sizeof(float);
    b.keys = p->keys * rows * row <= far ? p->keys : even(p->keys, far / (2 * rows * row));
    rows = near / (b.keys * row);
    b.rows = even(p->queries, rows < few ? few : least(rows, MOST_ROWS));
    /* Tasks that threads may share: matrices, or parts of them. */
    while (threads > 1 && p->matrices * b.pieces % threads && p->matrices * b.pieces < 4 * threads && b.pieces < threads &&
           (b.pieces + 1) * b.rows <= p->queries)
        b.pieces++;
    return b;
}

/* Scratch of any size that memory can have; some more for what is rounded up. */
static bool fits(const Pattern *p, const Plan *b, int threads) {
    enum { ROOM = 64, SPARE = 16 };
    int64_t count, each = SPARE * (int64_t)threads;
    return p->keys < INT64_MAX - ROOM && dims_count(3, (const int64_t[]){each, b->rows, b->keys + ROOM}, &count) &&
           dims_count(3, (const int64_t[]){each, b->rows, p->size}, &count) &&
           dims_count(3, (const int64_t[]){each, p->features, p->keys + ROOM}, &count);
}

/* --- whether it pays --- */

/* Bytes moved for a fused or a plain attention, each weighed by how far it comes. Threads make no difference: results are the
 * same for any number of them. */
static double weigh(double bytes, double kept, const Target *t) {
    const double near = 1, middle = 2, far = 6;
    return bytes * (kept <= (double)t->l1 ? near : kept <= (double)t->l2 ? middle : far);
}

static bool pays(const Pattern *p, const Plan *b, const Target *t) {
    if (p->queries < MANY_ROWS && !b->pack)
        return false;
    double matrix = 4 * (double)p->keys * (double)p->features, keys = (double)p->matrices * matrix;
    double rows = 4 * (double)p->matrices * (double)p->queries, scores = rows * (double)p->keys, mixed = rows * (double)p->size;
    double block = 4 * (double)b->rows * (double)b->keys, blocks = (double)divide_up(p->keys, b->keys);
    double plain = weigh(7 * scores, scores, t), fused = weigh(6 * scores, block, t);
    if (b->pack) {
        plain += weigh(2 * keys, keys, t);
        fused += weigh(2 * keys, matrix, t);
    }
    if (blocks > 1)
        fused += weigh(2 * mixed * blocks, block, t);
    return fused <= plain;
}

/* --- doing it --- */

static void replace(const Pattern *p, const Plan *b, int threads) {
    Value *in[] = {p->softmax->in[0], p->mix->in[1]}, *y = p->mix->out[0];
    const Attr attr[] = {edit_int("rows", b->rows), edit_int("keys", b->keys), edit_int("pack", b->pack), edit_int("pieces", b->pieces),
                         edit_int("threads", threads)};
    Node *n = edit_node_with(p->mix, "mlcc", "Attention", p->softmax, 2, in, sizeof attr / sizeof *attr, attr), *last = n;
    if (p->blind) {
        edit_add_sources(n, p->blind);
        Value *where[] = {p->blind->in[0], p->blind->in[1], n->out[0]};
        last = edit_node(p->mix, "Where", p->blind, 3, where);
    }
    edit_add_sources(n, p->mix);
    if (!edit_replace(y, last->out[0])) {
        if (last != n)
            node_remove(last);
        node_remove(n);
        return;
    }
    node_remove(p->mix);
    if (p->blind)
        node_remove(p->blind);
    node_remove(p->softmax);
}

void pass_attention(Graph *g, const Target *t, int threads) {
    if (!t)
        return;
    for (Node *n = g->first, *next; n; n = next) {
        Pattern p;
        next = n->next;
        if (!n->op || !find(n, &p))
            continue;
        while (next && (next == p.blind || next == p.mix))
            next = next->next;
        Plan b = plan(&p, t, threads);
        if (fits(&p, &b, threads) && pays(&p, &b, t))
            replace(&p, &b, threads);
    }
}
