/* SPDX-License-Identifier: Apache-2.0 */
/* LinearAttention: a matrix of state for each head of keys, which every token decays, corrects and reads. */
#include <math.h>
#include <string.h>

#include "ops/rules.h"

typedef struct Recurrence {
    int64_t batch, tokens, heads, kv_heads, size_k, size_v;
    const Value *past, *decay, *beta;
} Recurrence;

static const Value *input(const Node *n, int i) { return n->nin > i ? n->in[i] : NULL; }

static bool check_gates(const Node *n, const Recurrence *r) {
    static const char *const rules[] = {"gated_delta", "gated", "delta", "linear"};
    int rule;
    if (!infer_choice(n, "update_rule", rules, 4, &rule))
        return false;
    if ((r->decay != NULL) != (rule < 2) || (r->beta != NULL) != (rule % 2 == 0))
        return infer_error(n, "the inputs decay and beta do not fit update_rule \"%s\"", rules[rule]);
    for (int i = 4; i < 6; i++) {
        const Value *g = input(n, i);
        if (!g)
            continue;
        int64_t size = g->rank == 3 ? g->dim[2] : -1, most = i == 4 ? r->kv_heads * r->size_k : 1;
        if (g->dtype != n->in[0]->dtype || g->rank != 3 || g->dim[0] != r->batch || g->dim[1] != r->tokens ||
            (size != r->kv_heads && size != most))
            return infer_error(n, "input %d does not fit the keys", i);
    }
    return true;
}

static bool recurrence_of(const Node *n, Recurrence *r) {
    *r = (Recurrence){.heads = attr_int(n, "q_num_heads", 0), .kv_heads = attr_int(n, "kv_num_heads", 0)};
    r->past = input(n, 3);
    r->decay = input(n, 4);
    r->beta = input(n, 5);
    for (int i = 0; i < 3; i++) {
        const Value *x = n->in[i];
        int64_t heads = i ? r->kv_heads : r->heads;
        if (x->rank != 3 || x->dtype != n->in[0]->dtype || x->dim[0] != n->in[0]->dim[0] || x->dim[1] != n->in[0]->dim[1])
            return infer_error(n, "query, key and value must have rank 3, one type, batch and length");
        if (heads < 1 || x->dim[2] % heads)
            return infer_error(n, "%lld heads do not divide %lld features of input %d", (long long)heads,
                               (long long)x->dim[2], i);
    }
    r->batch = n->in[0]->dim[0];
    r->tokens = n->in[0]->dim[1];
    r->size_k = n->in[0]->dim[2] / r->heads;
    r->size_v = n->in[2]->dim[2] / r->kv_heads;
    if (r->heads % r->kv_heads || n->in[1]->dim[2] / r->kv_heads != r->size_k)
        return infer_error(n, "the heads of query and key do not fit");
    return true;
}

INFER(infer_linear_attention) {
    Recurrence r;
    int64_t width, cells;
    if (!infer_float(n, 0) || !recurrence_of(n, &r) || !check_gates(n, &r))
        return false;
    const int64_t state[] = {r.batch, r.kv_heads, r.size_k, r.size_v};
    if (r.past && (r.past->rank != 4 || memcmp(r.past->dim, state, sizeof state) || !infer_float(n, 3)))
        return infer_error(n, "past_state does not fit the heads");
    if (__builtin_mul_overflow(r.heads, r.size_v, &width) || !dims_count(4, state, &cells))
        return infer_error(n, "the output is too large");
    const int64_t dim[] = {r.batch, r.tokens, width};
    return infer_set(n, 0, n->in[0]->dtype, 3, dim) && infer_set(n, 1, r.past ? r.past->dtype : n->in[0]->dtype, 4, state);
}

/* What the loops inside one head share. */
typedef struct Head {
    Lower *l;
    const Node *n;
    const Recurrence *r;
    KParam *state, *row; /* [size_k, size_v] and [size_v] */
    DType t;
    KIndex batch, head, token;
} Head;

static KIndex cell(const Head *h, KIndex i, KIndex m) { return kx_add(h->l->arena, kx_scale(h->l->arena, i, h->r->size_v), m); }

/* Feature f of a head's part of input i, `size` features a head. */
static KValue *feature(const Head *h, int i, KIndex head, int64_t size, KIndex f) {
    const KIndex at[3] = {h->batch, h->token, kx_add(h->l->arena, kx_scale(h->l->arena, head, size), f)};
    return kb_cast(&h->l->b, lower_load(h->l, h->n, i, at), h->t);
}

static void decay_state(const Head *h) {
    Lower *l = h->l;
    bool each = h->r->decay->dim[2] != h->r->kv_heads;
    KInstr *rows = lower_for(l, KLOOP_PARALLEL, "i", 0, h->r->size_k, 0, NULL);
    KIndex i = lower_iv(l, rows);
    KValue *g = each ? feature(h, 4, h->head, h->r->size_k, i) : feature(h, 4, h->head, 1, kx_const(l->arena, 0));
    g = kb_math(&l->b, KMATH_EXP, g, NULL);
    KInstr *columns = lower_for(l, KLOOP_PARALLEL, "m", 0, h->r->size_v, 0, NULL);
    KIndex at = cell(h, i, lower_iv(l, columns));
    kb_store(&l->b, h->state, at, kb_binary(&l->b, KOP_MUL, kb_load(&l->b, h->state, at), g));
    kb_end_for(&l->b, columns, NULL);
    kb_end_for(&l->b, rows, NULL);
}

/* Sum over i of feature i of the input's head times state [i, m]. */
static KValue *retrieved(const Head *h, int input, KIndex head, KIndex m) {
    Lower *l = h->l;
    KValue *sum = kb_float(&l->b, h->t, 0);
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "i", 0, h->r->size_k, 1, &sum);
    KIndex i = lower_iv(l, loop);
    KValue *x = feature(h, input, head, h->r->size_k, i), *s = kb_load(&l->b, h->state, cell(h, i, m));
    KValue *next = kb_fma(&l->b, x, s, kb_carried(loop, 0));
    kb_end_for(&l->b, loop, &next);
    return kb_result(loop, 0);
}

static void write_state(const Head *h) {
    Lower *l = h->l;
    KBuilder *b = &l->b;
    KInstr *columns = lower_for(l, KLOOP_PARALLEL, "m", 0, h->r->size_v, 0, NULL), *rows;
    KIndex m = lower_iv(l, columns), i;
    KValue *v = feature(h, 2, h->head, h->r->size_v, m);
    if (h->r->beta) {
        KIndex which = h->r->beta->dim[2] == 1 ? kx_const(l->arena, 0) : h->head;
        KValue *rate = feature(h, 5, which, 1, kx_const(l->arena, 0));
        v = kb_binary(b, KOP_MUL, rate, kb_binary(b, KOP_SUB, v, retrieved(h, 1, h->head, m)));
    }
    kb_store(b, h->row, m, v);
    kb_end_for(b, columns, NULL);
    rows = lower_for(l, KLOOP_PARALLEL, "i", 0, h->r->size_k, 0, NULL);
    i = lower_iv(l, rows);
    KValue *k = feature(h, 1, h->head, h->r->size_k, i);
    columns = lower_for(l, KLOOP_PARALLEL, "m", 0, h->r->size_v, 0, NULL);
    m = lower_iv(l, columns);
    kb_store(b, h->state, cell(h, i, m), kb_fma(b, k, kb_load(b, h->row, m), kb_load(b, h->state, cell(h, i, m))));
    kb_end_for(b, columns, NULL);
    kb_end_for(b, rows, NULL);
}

/* The heads of queries that share this one's state. */
static void read_state(const Head *h) {
    Lower *l = h->l;
    const Recurrence *r = h->r;
    float given = attr_float(h->n, "scale", 0);
    double scale = given != 0 ? (double)given : 1 / sqrt(r->size_k ? (double)r->size_k : 1);
    int64_t group = r->heads / r->kv_heads;
    KInstr *queries = lower_for(l, KLOOP_PARALLEL, "g", 0, group, 0, NULL);
    KIndex head = kx_add(l->arena, kx_scale(l->arena, h->head, group), lower_iv(l, queries));
    KInstr *columns = lower_for(l, KLOOP_PARALLEL, "m", 0, r->size_v, 0, NULL);
    KIndex m = lower_iv(l, columns);
    KValue *y = kb_binary(&l->b, KOP_MUL, retrieved(h, 0, head, m), kb_float(&l->b, h->t, scale));
    const KIndex to[3] = {h->batch, h->token, kx_add(l->arena, kx_scale(l->arena, head, r->size_v), m)};
    lower_store(l, h->n, 0, to, kb_cast(&l->b, y, lower_compute_type(h->n->out[0]->dtype)));
    kb_end_for(&l->b, columns, NULL);
    kb_end_for(&l->b, queries, NULL);
}

/* The state from past_state or zero, or to present_state. */
static void move_state(const Head *h, bool out) {
    Lower *l = h->l;
    KBuilder *b = &l->b;
    KInstr *rows = lower_for(l, KLOOP_PARALLEL, "i", 0, h->r->size_k, 0, NULL);
    KInstr *columns = lower_for(l, KLOOP_PARALLEL, "m", 0, h->r->size_v, 0, NULL);
    const KIndex at[4] = {h->batch, h->head, lower_iv(l, rows), lower_iv(l, columns)};
    KIndex here = cell(h, at[2], at[3]);
    if (out)
        lower_store(l, h->n, 1, at, kb_cast(b, kb_load(b, h->state, here), lower_compute_type(h->n->out[1]->dtype)));
    else
        kb_store(b, h->state, here, h->r->past ? kb_cast(b, lower_load(l, h->n, 3, at), h->t) : kb_float(b, h->t, 0));
    kb_end_for(b, columns, NULL);
    kb_end_for(b, rows, NULL);
}

LOWER(lower_linear_attention) {
    Recurrence r;
    recurrence_of(n, &r);
    Head h = {.l = l, .n = n, .r = &r, .t = n->in[0]->dtype == DT_F64 ? DT_F64 : DT_F32};
    int64_t cells = r.size_k * r.size_v;
    h.state = lower_scratch(l, h.t, cells ? cells : 1);
    h.row = lower_scratch(l, h.t, r.size_v ? r.size_v : 1);
    KInstr *batch = lower_for(l, KLOOP_SERIAL, "b", 0, r.batch, 0, NULL);
    KInstr *heads = lower_for(l, KLOOP_SERIAL, "h", 0, r.kv_heads, 0, NULL);
    h.batch = lower_iv(l, batch);
    h.head = lower_iv(l, heads);
    move_state(&h, false);
    KInstr *tokens = lower_for(l, KLOOP_SERIAL, "t", 0, r.tokens, 0, NULL);
    h.token = lower_iv(l, tokens);
    if (r.decay)
        decay_state(&h);
    write_state(&h);
    if (n->out[0])
        read_state(&h);
    kb_end_for(&l->b, tokens, NULL);
    if (n->nout > 1 && n->out[1])
        move_state(&h, true);
    kb_end_for(&l->b, heads, NULL);
    kb_end_for(&l->b, batch, NULL);
}
