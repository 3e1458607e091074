/* SPDX-License-Identifier: Apache-2.0 */
/* Reductions over axes. */
#include <math.h>
#include <string.h>

#include "ops/rules.h"

/* Which axes go: from the constant input 1, all where it is absent or empty (unless noop_with_empty_axes). */
static bool reduced_axes(const Node *n, bool *gone) {
    const Value *x = n->in[0];
    const int64_t *axes = NULL;
    int count = 0;
    if (n->nin > 1 && n->in[1] && !infer_ints(n, 1, &axes, &count))
        return false;
    bool all = count == 0 && !attr_int(n, "noop_with_empty_axes", 0);
    for (int d = 0; d < x->rank; d++)
        gone[d] = all;
    for (int i = 0; i < count; i++) {
        int axis;
        if (!infer_axis(n, axes[i], x->rank, false, &axis))
            return false;
        gone[axis] = true;
    }
    return true;
}

static bool set_reduced(Node *n, const bool *gone, DType t) {
    const Value *x = n->in[0];
    int64_t dim[GRAPH_MAX_RANK];
    int rank = 0;
    bool keep = attr_int(n, "keepdims", 1) != 0;
    for (int d = 0; d < x->rank; d++) {
        if (!gone[d])
            dim[rank++] = x->dim[d];
        else if (keep)
            dim[rank++] = 1;
    }
    return infer_set(n, 0, t, rank, dim);
}

INFER(infer_reduce) {
    bool gone[GRAPH_MAX_RANK];
    DType t = n->in[0]->dtype;
    if (t != DT_BOOL && !infer_numeric(n, 0))
        return false;
    if (t == DT_BOOL && strcmp(n->op_type, "ReduceMax") && strcmp(n->op_type, "ReduceMin"))
        return infer_numeric(n, 0);
    return reduced_axes(n, gone) && set_reduced(n, gone, t);
}

typedef struct Reduction {
    KInstr *loop[GRAPH_MAX_RANK];
    int n, carried;
    KIndex at[GRAPH_MAX_RANK]; /* index into the input */
} Reduction;

/* Loops over the axes that go; accumulators of BOOL are combined by AND and OR, which no REDUCE loop may. */
static Reduction open_reduction(Lower *l, const Node *n, const bool *gone, const KIndex *idx, int carried, KValue *const *init) {
    const Value *x = n->in[0];
    Reduction r = {.carried = carried};
    bool keep = attr_int(n, "keepdims", 1) != 0;
    KLoopKind kind = x->dtype == DT_BOOL ? KLOOP_SERIAL : KLOOP_REDUCE;
    int out = 0;
    for (int d = 0; d < x->rank; d++) {
        if (!gone[d]) {
            r.at[d] = idx[out++];
            continue;
        }
        out += keep;
        KInstr *loop = lower_for(l, kind, "r", 0, x->dim[d], carried, init);
        r.at[d] = lower_iv(l, loop);
        r.loop[r.n++] = loop;
        init = loop->block[0]->arg + 1;
    }
    return r;
}

static KValue *inner(const Reduction *r, KValue *const *init, int i) { return r->n ? kb_carried(r->loop[r->n - 1], i) : init[i]; }

static void close_reduction(Lower *l, Reduction *r, KValue *const *next, KValue **out) {
    for (int i = r->n - 1; i >= 0; i--) {
        kb_end_for(&l->b, r->loop[i], next);
        next = r->loop[i]->result;
    }
    for (int i = 0; i < r->carried; i++)
        out[i] = next[i];
}

typedef KValue *Term(KBuilder *b, KValue *x, KValue *extra);

static KValue *plain(KBuilder *b, KValue *x, KValue *extra) {
    (void)b, (void)extra;
    return x;
}
static KValue *magnitude(KBuilder *b, KValue *x, KValue *extra) {
    (void)extra;
    return kb_unary(b, KOP_ABS, x);
}
static KValue *square(KBuilder *b, KValue *x, KValue *extra) {
    (void)extra;
    return kb_binary(b, KOP_MUL, x, x);
}
static KValue *shifted_exp(KBuilder *b, KValue *x, KValue *extra) { return kb_math(b, KMATH_EXP, kb_binary(b, KOP_SUB, x, extra), NULL); }

static KValue *reduce(Lower *l, const Node *n, const KIndex *idx, KOp op, KValue *init, Term *term, KValue *extra) {
    bool gone[GRAPH_MAX_RANK];
    reduced_axes(n, gone);
    Reduction r = open_reduction(l, n, gone, idx, 1, &init);
    KValue *x = term(&l->b, lower_load(l, n, 0, r.at), extra);
    KValue *next = kb_binary(&l->b, op, x, inner(&r, &init, 0)), *result;
    close_reduction(l, &r, &next, &result);
    return result;
}

static DType type_of(const Node *n) { return lower_compute_type(n->in[0]->dtype); }

static KValue *sum_of(Lower *l, const Node *n, const KIndex *idx, Term *term) {
    return reduce(l, n, idx, KOP_ADD, kb_int(&l->b, type_of(n), 0), term, NULL);
}

ELEMENT(element_reduce_sum) { return sum_of(l, n, idx, plain); }
ELEMENT(element_reduce_l1) { return sum_of(l, n, idx, magnitude); }
ELEMENT(element_reduce_sum_square) { return sum_of(l, n, idx, square); }
ELEMENT(element_reduce_prod) { return reduce(l, n, idx, KOP_MUL, kb_int(&l->b, type_of(n), 1), plain, NULL); }

/* A float function of a value of any numeric type. */
static KValue *through_float(Lower *l, KValue *x, KValue *(*f)(KBuilder *, KValue *)) {
    DType t = x->type.dtype, g = dtype_is_float(t) ? t : DT_F64;
    return kb_cast(&l->b, f(&l->b, kb_cast(&l->b, x, g)), t);
}
static KValue *root(KBuilder *b, KValue *x) { return kb_unary(b, KOP_SQRT, x); }
static KValue *logarithm(KBuilder *b, KValue *x) { return kb_math(b, KMATH_LOG, x, NULL); }

ELEMENT(element_reduce_l2) { return through_float(l, sum_of(l, n, idx, square), root); }
ELEMENT(element_reduce_log_sum) { return through_float(l, sum_of(l, n, idx, plain), logarithm); }

ELEMENT(element_reduce_mean) {
    KValue *sum = sum_of(l, n, idx, plain);
    int64_t out = value_count(n->out[0]), count = out ? value_count(n->in[0]) / out : 1;
    return kb_binary(&l->b, KOP_DIV, sum, kb_int(&l->b, sum->type.dtype, count));
}

/* The extreme value of a type that every element beats. */
static KValue *extreme(Lower *l, DType t, bool low) {
    if (dtype_is_float(t))
        return kb_float(&l->b, t, low ? -INFINITY : INFINITY);
    if (t == DT_BOOL)
        return kb_int(&l->b, t, !low);
    int bits = dtype_bits(t);
    uint64_t most = bits == 64 ? (dtype_is_signed(t) ? INT64_MAX : UINT64_MAX) : ((uint64_t)1 << (bits - dtype_is_signed(t))) - 1;
    int64_t least = dtype_is_signed(t) ? (int64_t)~most : 0;
    return kb_int(&l->b, t, low ? least : (int64_t)most);
}

static KValue *reduce_extreme(Lower *l, const Node *n, const KIndex *idx, bool max) {
    DType t = type_of(n);
    KOp op = t == DT_BOOL ? (max ? KOP_OR : KOP_AND) : max ? KOP_MAX : KOP_MIN;
    return reduce(l, n, idx, op, extreme(l, t, max), plain, NULL);
}

ELEMENT(element_reduce_max) { return reduce_extreme(l, n, idx, true); }
ELEMENT(element_reduce_min) { return reduce_extreme(l, n, idx, false); }

ELEMENT(element_reduce_log_sum_exp) {
    KBuilder *b = &l->b;
    DType t = type_of(n), g = dtype_is_float(t) ? t : DT_F64;
    if (g != t) { /* integers: rare, straight */
        bool gone[GRAPH_MAX_RANK];
        reduced_axes(n, gone);
        KValue *init = kb_float(b, g, 0), *result;
        Reduction r = open_reduction(l, n, gone, idx, 1, &init);
        KValue *x = kb_math(b, KMATH_EXP, kb_cast(b, lower_load(l, n, 0, r.at), g), NULL);
        KValue *next = kb_binary(b, KOP_ADD, x, inner(&r, &init, 0));
        close_reduction(l, &r, &next, &result);
        return kb_cast(b, kb_math(b, KMATH_LOG, result, NULL), t);
    }
    KValue *most = reduce_extreme(l, n, idx, true);
    KValue *finite = kb_binary(b, KOP_LT, kb_unary(b, KOP_ABS, most), kb_const_like(b, most->type, INFINITY));
    KValue *shift = kb_select(b, finite, most, kb_const_like(b, most->type, 0));
    KValue *sum = reduce(l, n, idx, KOP_ADD, kb_float(b, t, 0), shifted_exp, shift);
    return kb_binary(b, KOP_ADD, kb_math(b, KMATH_LOG, sum, NULL), shift);
}

/* --- ArgMax and ArgMin --- */

static bool arg_axis(const Node *n, bool *gone) {
    int axis;
    if (!infer_axis(n, attr_int(n, "axis", 0), n->in[0]->rank, false, &axis))
        return false;
    for (int d = 0; d < n->in[0]->rank; d++)
        gone[d] = d == axis;
    return true;
}

INFER(infer_arg) {
    bool gone[GRAPH_MAX_RANK];
    if (!infer_numeric(n, 0) || !arg_axis(n, gone))
        return false;
    for (int d = 0; d < n->in[0]->rank; d++)
        if (gone[d] && !n->in[0]->dim[d])
            return infer_error(n, "axis %d is empty", d);
    return set_reduced(n, gone, DT_I64);
}

static KValue *arg(Lower *l, const Node *n, const KIndex *idx, bool max) {
    KBuilder *b = &l->b;
    bool gone[GRAPH_MAX_RANK];
    arg_axis(n, gone);
    int axis = 0;
    while (!gone[axis])
        axis++;
    KValue *init[2] = {extreme(l, type_of(n), max), kb_int(b, DT_I64, -1)}, *next[2], *result[2];
    bool keep = attr_int(n, "keepdims", 1) != 0;
    KIndex at[GRAPH_MAX_RANK];
    for (int d = 0; d < n->in[0]->rank; d++)
        at[d] = d < axis ? idx[d] : d > axis ? idx[keep ? d : d - 1] : NULL;
    KInstr *loop = lower_for(l, KLOOP_SERIAL, "r", 0, n->in[0]->dim[axis], 2, init);
    at[axis] = lower_iv(l, loop);
    KValue *x = lower_load(l, n, 0, at), *best = kb_carried(loop, 0), *where = kb_carried(loop, 1);
    bool last = attr_int(n, "select_last_index", 0) != 0;
    KValue *better = kb_binary(b, max ? (last ? KOP_GE : KOP_GT) : (last ? KOP_LE : KOP_LT), x, best);
    better = kb_binary(b, KOP_OR, better, kb_binary(b, KOP_LT, where, kb_int(b, DT_I64, 0)));
    next[0] = kb_select(b, better, x, best);
    next[1] = kb_select(b, better, kb_cast(b, kx_value(b, at[axis]), DT_I64), where);
    kb_end_for(b, loop, next);
    result[1] = kb_result(loop, 1);
    return result[1];
}

ELEMENT(element_arg_max) { return arg(l, n, idx, true); }
ELEMENT(element_arg_min) { return arg(l, n, idx, false); }
