/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc.Attention: blocks of scores in scratch, their softmax, and the weighted sum of the values. Where not all keys fit,
 * a block of them at a time, with running maxima and sums (Milakov and Gimelshein 2018, Dao et al. 2022). */
#include "ops/fused_attention.h"

#include <math.h>

#include "ops/matmul.h"
#include "ops/op.h"
#include "ops/rules.h"
#include "ops/softmax.h"
#include "support/ints.h"

enum { LONGEST_CHAIN = 16, ROW_ALIGN = 16 /* elements */, MOST_THREADS = 1 << 10 };

/* --- what belongs together --- */

static bool is_read_once(const Value *v) { return v && v->kind == VALUE_NODE && !v->is_output && v->uses.len == 1; }

/* Marks no more than LONGEST_CHAIN nodes from the product on, and their number. */
static int find_chain(const Value *v, const Node **chain, int depth) {
    if (!is_read_once(v) || depth == LONGEST_CHAIN)
        return 0;
    const Node *n = v->def;
    if (node_is(n, "", "MatMul")) {
        chain[0] = n;
        return 1;
    }
    for (int i = 0; op_is_elementwise(n) && i < n->nin; i++) {
        int count = n->in[i] && value_same_shape(n->in[i], v) ? find_chain(n->in[i], chain, depth + 1) : 0;
        if (count) {
            chain[count] = n;
            return count + 1;
        }
    }
    return 0;
}

const Node *attention_product(const Value *scores) {
    const Node *chain[LONGEST_CHAIN];
    return find_chain(scores, chain, 0) ? chain[0] : NULL;
}

/* The attention whose scores come from n; NULL where there is none. */
static const Node *attention_of(const Node *n) {
    const Node *chain[LONGEST_CHAIN], *m = n;
    for (int i = 0; i < LONGEST_CHAIN && m && m->nout && is_read_once(m->out[0]); i++) {
        const Use *use = &m->out[0]->uses.data[0];
        m = use->node;
        if (!node_is(m, "mlcc", "Attention")) {
            m = op_is_elementwise(m) ? m : NULL;
            continue;
        }
        int count = use->index == 0 ? find_chain(m->in[0], chain, 0) : 0;
        for (int k = 0; k < count; k++)
            if (chain[k] == n)
                return m;
        return NULL;
    }
    return NULL;
}

bool attention_makes_scores(const Node *n) { return attention_of(n) != NULL; }

bool attention_packs_keys(const Node *product) {
    const Node *n = attention_of(product);
    return n && attr_int(n, "pack", 0) && attention_product(n->in[0]) == product;
}

/* --- shape --- */

/* Inputs scores (…, queries, keys) and V (…, keys, size). Attributes: rows and keys of a block; pack: keys are copied into
 * the order in which they are read; threads; pieces: into how many tasks the rows of one matrix are cut. */
typedef struct Attention {
    Lower *l;
    const Node *n;
    int batch_axes;
    int64_t matrices, queries, keys, size;
    int64_t rows, block, stride; /* of a row of scores in scratch */
    int64_t threads, pieces;
    const Node *packed; /* the product whose right operand is packed; NULL: none */
    KParam *scores, *keys_copy, *factor, *most, *sum, *mixed;
    KIndex thread; /* scratch is apart for each */
    KIndex idx[GRAPH_MAX_RANK]; /* batch axes are set */
} Attention;

static int64_t padded(int64_t row) { return round_up(row, ROW_ALIGN); }

static bool read_attention(const Node *n, Attention *a) {
    const Value *x = n->in[0], *y = n->out[0];
    *a = (Attention){.n = n, .batch_axes = y->rank - 2, .matrices = 1};
    for (int d = 0; d < a->batch_axes; d++)
        a->matrices *= y->dim[d];
    a->queries = y->dim[y->rank - 2];
    a->size = y->dim[y->rank - 1];
    a->keys = x->dim[x->rank - 1];
    a->rows = attr_int(n, "rows", a->queries);
    a->block = attr_int(n, "keys", a->keys);
    a->threads = attr_int(n, "threads", 1);
    a->pieces = attr_int(n, "pieces", 1);
    a->stride = a->block < ROW_ALIGN ? a->block : padded(a->block);
    return a->rows >= 1 && a->rows <= a->queries && a->block >= 1 && a->block <= a->keys && a->threads >= 1 &&
           a->threads <= MOST_THREADS && a->pieces >= 1 && a->pieces <= MOST_THREADS;
}

INFER(infer_fused_attention) {
    const Value *x = n->in[0], *v = n->in[1];
    Attention a;
    int64_t count;
    if (x->dtype != v->dtype || (x->dtype != DT_F32 && !dtype_is_half(x->dtype)))
        return infer_error(n, "scores and values must be float32, or both of 16 bits");
    if (x->rank < 2 || v->rank < 2 || !infer_matmul(n))
        return infer_error(n, "scores and values must be matrices");
    const Value *y = n->out[0];
    for (int d = 0; d < y->rank - 2; d++)
        if (y->rank != x->rank || y->dim[d] != x->dim[d])
            return infer_error(n, "there are scores for some of the values only");
    if (!read_attention(n, &a) || !dims_count(3, (const int64_t[]){a.threads, a.rows, a.stride}, &count) ||
        !dims_count(3, (const int64_t[]){a.threads, a.rows, a.size}, &count))
        return infer_error(n, "the sizes of blocks are wrong");
    return true;
}

MACS(macs_fused_attention) {
    const Value *x = n->in[0];
    return (double)value_count(n->out[0]) * (double)x->dim[x->rank - 1];
}

/* --- lowering --- */

static KIndex slot(const Attention *a, int64_t size) { return kx_scale(a->l->arena, a->thread, size); }

/* Element i of one of the vectors over the rows of a block. */
static KIndex of_row(const Attention *a, KIndex i) { return kx_add(a->l->arena, slot(a, a->rows), i); }

static KIndex of_scores(const Attention *a, KIndex i, KIndex j) {
    Arena *m = a->l->arena;
    return kx_add(m, slot(a, a->rows * a->stride), kx_add(m, kx_scale(m, i, a->stride), j));
}

static KIndex of_mixed(const Attention *a, KIndex i, KIndex d) {
    Arena *m = a->l->arena;
    return kx_add(m, slot(a, a->rows * a->size), kx_add(m, kx_scale(m, i, a->size), d));
}

typedef struct Plane { /* two nested loops */
    KInstr *outer, *inner;
    KIndex i, j;
} Plane;

static Plane open_plane(Lower *l, const char *outer, int64_t rows, const char *inner, int64_t columns) {
    Plane p;
    p.outer = lower_for(l, KLOOP_PARALLEL, outer, 0, rows, 0, NULL);
    p.inner = lower_for(l, KLOOP_PARALLEL, inner, 0, columns, 0, NULL);
    p.i = lower_iv(l, p.outer);
    p.j = lower_iv(l, p.inner);
    return p;
}

static void close_plane(Lower *l, const Plane *p) {
    kb_end_for(&l->b, p->inner, NULL);
    kb_end_for(&l->b, p->outer, NULL);
}

static void pack_keys(Attention *a) {
    Lower *l = a->l;
    const Value *k = a->packed->in[1];
    int64_t features = k->dim[k->rank - 2], stride = padded(a->keys), strides[GRAPH_MAX_RANK] = {0};
    KIndex at[GRAPH_MAX_RANK];
    Plane p = open_plane(l, "f", features, "j", a->keys);
    for (int d = 0; d < k->rank - 2; d++)
        at[d] = k->dim[d] == 1 ? kx_const(l->arena, 0) : a->idx[a->batch_axes - (k->rank - 2) + d];
    at[k->rank - 2] = p.i;
    at[k->rank - 1] = p.j;
    KIndex origin = slot(a, features * stride), place = kx_add(l->arena, kx_scale(l->arena, p.i, stride), p.j);
    KValue *x = lower_load(l, a->packed, 1, at);
    kb_store(&l->b, a->keys_copy, kx_add(l->arena, origin, place), x);
    close_plane(l, &p);
    strides[k->rank - 2] = stride;
    strides[k->rank - 1] = 1;
    lower_stage(l, a->packed, 1, a->keys_copy, origin, strides);
}

/* Scores of `rows` queries from `row` on and `keys` keys from `key` on go to scratch, and are read from there. */
static void make_scores(Attention *a, KIndex row, int64_t rows, KIndex key, int64_t keys) {
    Lower *l = a->l;
    Arena *m = l->arena;
    int n = a->batch_axes;
    int64_t strides[GRAPH_MAX_RANK] = {0};
    Plane p = open_plane(l, "i", rows, "j", keys);
    a->idx[n] = kx_add(m, row, p.i);
    a->idx[n + 1] = kx_add(m, key, p.j);
    KValue *x = lower_load(l, a->n, 0, a->idx);
    kb_store(&l->b, a->scores, of_scores(a, p.i, p.j), x);
    close_plane(l, &p);
    strides[n] = a->stride;
    strides[n + 1] = 1;
    KIndex origin = kx_sub(m, of_scores(a, kx_const(m, 0), kx_const(m, 0)), kx_add(m, kx_scale(m, row, a->stride), key));
    lower_stage(l, a->n, 0, a->scores, origin, strides);
}

static void forget_scores(Attention *a) { lower_stage(a->l, a->n, 0, NULL, NULL, NULL); }

/* The exponentials of a row that lies in scratch take its place. */
static KValue *exponentials(Attention *a, KIndex i, int64_t keys, KValue *most) {
    KIndex at = of_scores(a, i, kx_const(a->l->arena, 0));
    return softmax_exponentials(a->l, a->n, a->idx, a->batch_axes + 1, keys, most, a->scores, at);
}

/* All keys at once: each row's weights add up to its sum, by which the result is divided. */
static void attend(Attention *a, KIndex row, int64_t rows) {
    Lower *l = a->l;
    KBuilder *b = &l->b;
    KIndex zero = kx_const(l->arena, 0);
    int n = a->batch_axes;
    make_scores(a, row, rows, zero, a->keys);
    KInstr *loop = lower_for(l, KLOOP_PARALLEL, "i", 0, rows, 0, NULL);
    KIndex i = lower_iv(l, loop);
    a->idx[n] = kx_add(l->arena, row, i);
    a->idx[n + 1] = zero;
    KValue *most = softmax_most(l, a->n, a->idx, n + 1, a->keys, kb_float(b, DT_F32, -INFINITY));
    KValue *sum = exponentials(a, i, a->keys, most);
    kb_store(b, a->factor, of_row(a, i), kb_binary(b, KOP_DIV, kb_float(b, DT_F32, 1), sum));
    kb_end_for(b, loop, NULL);
    Plane p = open_plane(l, "i", rows, "d", a->size);
    a->idx[n] = kx_add(l->arena, row, p.i);
    a->idx[n + 1] = p.j;
    KValue *y = matmul_sum(l, a->n, a->idx, zero, a->keys, kb_float(b, DT_F32, 0));
    KValue *scale = kb_load(b, a->factor, of_row(a, p.i));
    forget_scores(a);
    lower_store(l, a->n, 0, a->idx, kb_binary(b, KOP_MUL, y, scale));
    close_plane(l, &p);
}

/* --- a block of keys at a time --- */

static void begin_rows(Attention *a, int64_t rows) {
    Lower *l = a->l;
    KBuilder *b = &l->b;
    KInstr *loop = lower_for(l, KLOOP_PARALLEL, "i", 0, rows, 0, NULL);
    KIndex at = of_row(a, lower_iv(l, loop));
    kb_store(b, a->most, at, kb_float(b, DT_F32, -INFINITY));
    kb_store(b, a->sum, at, kb_float(b, DT_F32, 0));
    kb_end_for(b, loop, NULL);
    Plane p = open_plane(l, "i", rows, "d", a->size);
    kb_store(b, a->mixed, of_mixed(a, p.i, p.j), kb_float(b, DT_F32, 0));
    close_plane(l, &p);
}

/* What was summed up so far shrinks by exp(old - new), where old and new are the largest scores before and with this block.
 * Before a row's first score that is not -inf there is nothing to shrink, and nothing is subtracted. */
static void add_keys(Attention *a, KIndex row, int64_t rows, KIndex key, int64_t keys) {
    Lower *l = a->l;
    KBuilder *b = &l->b;
    int n = a->batch_axes;
    make_scores(a, row, rows, key, keys);
    KInstr *loop = lower_for(l, KLOOP_PARALLEL, "i", 0, rows, 0, NULL);
    KIndex i = lower_iv(l, loop), at = of_row(a, i);
    a->idx[n] = kx_add(l->arena, row, i);
    a->idx[n + 1] = key;
    KValue *never = kb_float(b, DT_F32, -INFINITY), *zero = kb_float(b, DT_F32, 0), *old = kb_load(b, a->most, at);
    KValue *most = softmax_most(l, a->n, a->idx, n + 1, keys, old);
    KValue *none = kb_binary(b, KOP_EQ, most, never), *shift = kb_select(b, none, zero, most);
    KValue *factor = kb_math(b, KMATH_EXP_LE0, kb_binary(b, KOP_SUB, old, shift), NULL);
    KValue *sum = exponentials(a, i, keys, shift);
    sum = kb_fma(b, kb_load(b, a->sum, at), factor, sum);
    kb_store(b, a->most, at, most);
    kb_store(b, a->sum, at, sum);
    kb_store(b, a->factor, at, factor);
    kb_end_for(b, loop, NULL);
    Plane p = open_plane(l, "i", rows, "d", a->size);
    a->idx[n] = kx_add(l->arena, row, p.i);
    a->idx[n + 1] = p.j;
    KValue *before = kb_binary(b, KOP_MUL, kb_load(b, a->mixed, of_mixed(a, p.i, p.j)), kb_load(b, a->factor, of_row(a, p.i)));
    KValue *y = matmul_sum(l, a->n, a->idx, key, keys, before);
    kb_store(b, a->mixed, of_mixed(a, p.i, p.j), y);
    close_plane(l, &p);
    forget_scores(a);
}

static void finish_rows(Attention *a, KIndex row, int64_t rows) {
    Lower *l = a->l;
    KBuilder *b = &l->b;
    Plane p = open_plane(l, "i", rows, "d", a->size);
    a->idx[a->batch_axes] = kx_add(l->arena, row, p.i);
    a->idx[a->batch_axes + 1] = p.j;
    KValue *y = kb_load(b, a->mixed, of_mixed(a, p.i, p.j));
    lower_store(l, a->n, 0, a->idx, kb_binary(b, KOP_DIV, y, kb_load(b, a->sum, of_row(a, p.i))));
    close_plane(l, &p);
}

static void attend_by_blocks(Attention *a, KIndex row, int64_t rows) {
    Lower *l = a->l;
    int64_t blocks = a->keys / a->block, rest = a->keys % a->block;
    begin_rows(a, rows);
    KInstr *loop = lower_for(l, KLOOP_SERIAL, "block", 0, blocks, 0, NULL);
    add_keys(a, row, rows, kx_scale(l->arena, lower_iv(l, loop), a->block), a->block);
    kb_end_for(&l->b, loop, NULL);
    if (rest)
        add_keys(a, row, rows, kx_const(l->arena, a->keys - rest), rest);
    finish_rows(a, row, rows);
}

static void attend_rows(Attention *a, KIndex row, int64_t rows) {
    if (a->block == a->keys)
        attend(a, row, rows);
    else
        attend_by_blocks(a, row, rows);
}

/* --- tasks --- */

/* A loop over what is the part's of so many things. */
static KInstr *open_share(Lower *l, const char *name, KIndex part, int64_t things, int64_t parts) {
    KBuilder *b = &l->b;
    KIndex whole = kx_const(l->arena, things);
    KValue *from = kx_value(b, kx_share(b, part, whole, parts));
    KValue *to = kx_value(b, kx_share(b, kx_add_const(l->arena, part, 1), whole, parts));
    return kb_for(b, KLOOP_SERIAL, name, from, to, 1, 0, NULL);
}

/* The rows of one matrix that belong to a piece. */
static void attend_piece(Attention *a, KIndex piece) {
    Lower *l = a->l;
    KBuilder *b = &l->b;
    int64_t blocks = a->queries / a->rows, rest = a->queries % a->rows;
    KInstr *loop = open_share(l, "rows", piece, blocks, a->pieces);
    attend_rows(a, kx_scale(l->arena, lower_iv(l, loop), a->rows), a->rows);
    kb_end_for(b, loop, NULL);
    if (!rest)
        return;
    KInstr *last = kb_if(b, kb_binary(b, KOP_EQ, kx_value(b, piece), kb_int(b, DT_INDEX, a->pieces - 1)), 0);
    attend_rows(a, kx_const(l->arena, a->queries - rest), rest);
    kb_else(b, last, NULL);
    kb_end_if(b, last, NULL);
}

static void attend_task(Attention *a, KIndex task) {
    Lower *l = a->l;
    KIndex matrix = kx_div(&l->b, task, a->pieces), piece = kx_rem(&l->b, task, a->pieces);
    for (int d = a->batch_axes - 1; d >= 0; d--) {
        int64_t size = a->n->out[0]->dim[d];
        a->idx[d] = d ? kx_rem(&l->b, matrix, size) : matrix;
        matrix = d ? kx_div(&l->b, matrix, size) : matrix;
    }
    if (a->packed)
        pack_keys(a);
    attend_piece(a, piece);
    if (a->packed)
        lower_stage(l, a->packed, 1, NULL, NULL, NULL);
}

static KParam *scratch(const Attention *a, int64_t count) { return lower_scratch(a->l, DT_F32, a->threads * count); }

LOWER(lower_fused_attention) {
    Attention a;
    if (!value_count(n->out[0]) || !read_attention(n, &a))
        return;
    a.l = l;
    a.packed = attr_int(n, "pack", 0) ? attention_product(n->in[0]) : NULL;
    a.scores = scratch(&a, a.rows * a.stride);
    a.factor = scratch(&a, a.rows);
    if (a.packed)
        a.keys_copy = scratch(&a, a.packed->in[1]->dim[a.packed->in[1]->rank - 2] * padded(a.keys));
    if (a.block < a.keys) {
        a.most = scratch(&a, a.rows);
        a.sum = scratch(&a, a.rows);
        a.mixed = scratch(&a, a.rows * a.size);
    }
    KInstr *threads = lower_for(l, KLOOP_PARALLEL, "thread", 0, a.threads, 0, NULL);
    a.thread = lower_iv(l, threads);
    KInstr *loop = open_share(l, "task", a.thread, a.matrices * a.pieces, a.threads);
    attend_task(&a, lower_iv(l, loop));
    kb_end_for(&l->b, loop, NULL);
    kb_end_for(&l->b, threads, NULL);
}
