/* SPDX-License-Identifier: Apache-2.0 */
/* RotaryEmbedding: pairs of features are turned by an angle that the place gives. */
#include "ops/rules.h"

typedef struct Rotary {
    int64_t batch, heads, places, size, turned; /* turned: leading features of a head */
    bool flat;                                  /* [batch, places, heads * size], else [batch, heads, places, size] */
} Rotary;

static bool rotary_of(const Node *n, Rotary *r) {
    const Value *x = n->in[0];
    r->flat = x->rank == 3;
    if (x->rank != 3 && x->rank != 4)
        return infer_error(n, "the input has rank %d; 3 or 4 is needed", x->rank);
    r->batch = x->dim[0];
    r->heads = r->flat ? attr_int(n, "num_heads", 0) : x->dim[1];
    r->places = x->dim[r->flat ? 1 : 2];
    if (r->flat && (r->heads < 1 || x->dim[2] % r->heads))
        return infer_error(n, "attribute \"num_heads\": %lld does not divide %lld", (long long)r->heads, (long long)x->dim[2]);
    r->size = r->flat ? x->dim[2] / r->heads : x->dim[3];
    r->turned = attr_int(n, "rotary_embedding_dim", 0);
    if (!r->turned)
        r->turned = r->size;
    if (r->turned < 0 || r->turned > r->size || r->turned % 2)
        return infer_error(n, "%lld of %lld features cannot be turned in pairs", (long long)r->turned, (long long)r->size);
    return true;
}

INFER(infer_rotary_embedding) {
    Rotary r;
    const Value *place = n->nin > 3 ? n->in[3] : NULL;
    if (!infer_float(n, 0) || !rotary_of(n, &r))
        return false;
    if (place && (place->dtype != DT_I64 || place->rank != 2 || place->dim[0] != r.batch || place->dim[1] != r.places))
        return infer_error(n, "position_ids must be one int64 for each of batch and sequence");
    for (int i = 1; i < 3; i++) {
        const Value *c = n->in[i];
        bool by_place = c->rank == 2 && place && (c->dim[0] || !value_count(place));
        bool each = c->rank == 3 && !place && c->dim[0] == r.batch && c->dim[1] == r.places;
        if (!(by_place || each) || c->dtype != n->in[0]->dtype || c->dim[c->rank - 1] != r.turned / 2 || !value_same_shape(c, n->in[1]))
            return infer_error(n, "input %d does not fit the input's shape or type", i);
    }
    return infer_same(n);
}

/* Feature f of head h. */
static void feature(Lower *l, const Rotary *r, const KIndex *at, KIndex f, KIndex *idx) {
    idx[0] = at[0];
    idx[1] = r->flat ? at[1] : at[2];
    idx[2] = r->flat ? kx_add(l->arena, kx_scale(l->arena, at[2], r->size), f) : at[1];
    idx[3] = f;
}

LOWER(lower_rotary_embedding) {
    Rotary r;
    KBuilder *b = &l->b;
    KIndex at[3], angle[3], first[4], second[4];
    KInstr *loop[3], *pair;
    rotary_of(n, &r);
    const int64_t dim[] = {r.batch, r.places, r.heads};
    for (int d = 0; d < 3; d++) {
        loop[d] = lower_for(l, KLOOP_PARALLEL, "i", 0, dim[d], 0, NULL);
        at[d] = lower_iv(l, loop[d]);
    }
    bool by_place = n->nin > 3 && n->in[3];
    angle[0] = by_place ? lower_index(l, lower_load(l, n, 3, at), n->in[1]->dim[0]) : at[0];
    angle[1] = at[1];
    pair = lower_for(l, KLOOP_PARALLEL, "j", 0, r.turned / 2, 0, NULL);
    KIndex j = lower_iv(l, pair);
    angle[by_place ? 1 : 2] = j;
    bool interleaved = attr_int(n, "interleaved", 0) != 0;
    KIndex one = interleaved ? kx_scale(l->arena, j, 2) : j;
    feature(l, &r, at, one, first);
    feature(l, &r, at, kx_add_const(l->arena, one, interleaved ? 1 : r.turned / 2), second);
    KValue *x = lower_load(l, n, 0, first), *y = lower_load(l, n, 0, second);
    KValue *cosine = lower_load(l, n, 1, angle), *sine = lower_load(l, n, 2, angle);
    KValue *real = kb_binary(b, KOP_SUB, kb_binary(b, KOP_MUL, cosine, x), kb_binary(b, KOP_MUL, sine, y));
    KValue *imaginary = kb_binary(b, KOP_ADD, kb_binary(b, KOP_MUL, sine, x), kb_binary(b, KOP_MUL, cosine, y));
    lower_store(l, n, 0, first, real);
    lower_store(l, n, 0, second, imaginary);
    kb_end_for(b, pair, NULL);
    KInstr *rest = lower_for(l, KLOOP_PARALLEL, "j", r.turned, r.size, 0, NULL);
    feature(l, &r, at, lower_iv(l, rest), first);
    lower_store(l, n, 0, first, lower_load(l, n, 0, first));
    kb_end_for(b, rest, NULL);
    for (int d = 2; d >= 0; d--)
        kb_end_for(b, loop[d], NULL);
}
