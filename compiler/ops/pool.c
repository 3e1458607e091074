/* SPDX-License-Identifier: Apache-2.0 */
/* Pooling, local and global. */
#include <math.h>
#include <string.h>

#include "ops/rules.h"
#include "ops/window.h"

static bool pool_window(const Node *n, Window *w) {
    const Value *x = n->in[0];
    int64_t kernel[GRAPH_MAX_RANK];
    if (x->rank < 3)
        return infer_error(n, "the input must have rank 3 or more, not %d", x->rank);
    if (!node_attr(n, "kernel_shape"))
        return infer_error(n, "attribute \"kernel_shape\" is missing");
    return infer_ints_attr(n, "kernel_shape", x->rank - 2, 1, INT32_MAX, 1, kernel) &&
           window_read(n, x, kernel, attr_int(n, "ceil_mode", 0) != 0, w);
}

static bool set_pooled(Node *n) {
    Window w;
    int64_t dim[GRAPH_MAX_RANK];
    const Value *x = n->in[0];
    if (!pool_window(n, &w))
        return false;
    dim[0] = x->dim[0];
    dim[1] = x->dim[1];
    memcpy(dim + 2, w.out, (size_t)w.n * sizeof *dim);
    return infer_set(n, 0, x->dtype, x->rank, dim) && infer_set(n, 1, DT_I64, x->rank, dim);
}

INFER(infer_max_pool) { return infer_numeric(n, 0) && set_pooled(n); }

INFER(infer_average_pool) { return infer_float(n, 0) && set_pooled(n); }

INFER(infer_lp_pool) {
    if (attr_int(n, "p", 2) < 1)
        return infer_error(n, "attribute \"p\" is %lld", (long long)attr_int(n, "p", 2));
    return infer_float(n, 0) && set_pooled(n);
}

/* The least value of a type: neutral for MAX. */
static KValue *lowest(Lower *l, DType t) {
    if (dtype_is_float(t))
        return kb_float(&l->b, t, -INFINITY);
    return kb_int(&l->b, t, dtype_is_signed(t) ? INT64_MIN >> (64 - dtype_bits(t)) : 0);
}

LOWER(lower_max_pool) {
    Window w;
    const Value *x = n->in[0], *y = n->out[0] ? n->out[0] : n->out[1];
    KBuilder *b = &l->b;
    bool indices = n->nout > 1 && n->out[1] && (n->out[1]->uses.len || n->out[1]->is_output);
    pool_window(n, &w);
    LoopNest nest = lower_loops(l, y->rank, y->dim, y);
    KValue *init[2] = {lowest(l, lower_compute_type(x->dtype)), kb_int(b, DT_I64, -1)}, *best[2], *next[2];
    /* The index is that of the first maximum: in order. */
    WindowLoops loops = window_open(l, &w, nest.idx + 2, indices ? KLOOP_SERIAL : KLOOP_REDUCE, indices ? 2 : 1, init);
    KIndex at[GRAPH_MAX_RANK] = {nest.idx[0], nest.idx[1]};
    memcpy(at + 2, loops.at, (size_t)w.n * sizeof *at);
    KValue *element = lower_load(l, n, 0, at);
    next[0] = kb_binary(b, KOP_MAX, element, window_carried(&loops, init, 0));
    if (indices) {
        KIndex flat = kx_const(l->arena, 0);
        bool columns_first = attr_int(n, "storage_order", 0) != 0;
        for (int d = 0; d < x->rank; d++) {
            int64_t stride = 1;
            for (int e = 0; e < x->rank; e++)
                if (d < 2 || !columns_first ? e > d : e >= 2 && e < d)
                    stride *= x->dim[e];
            flat = kx_add(l->arena, flat, kx_scale(l->arena, at[d], stride));
        }
        KValue *here = kb_cast(b, kx_value(b, flat), DT_I64), *so_far = window_carried(&loops, init, 1);
        KValue *first = kb_binary(b, KOP_LT, so_far, kb_int(b, DT_I64, 0));
        KValue *larger = kb_binary(b, KOP_GT, element, window_carried(&loops, init, 0));
        next[1] = kb_select(b, kb_binary(b, KOP_OR, first, larger), here, so_far);
    }
    window_close(l, &loops, next, best);
    lower_store(l, n, 0, nest.idx, best[0]);
    if (indices)
        lower_store(l, n, 1, nest.idx, best[1]);
    lower_end_loops(l, &nest);
}

/* Sum over the window of term(element). */
static KValue *window_sum(Lower *l, const Node *n, const KIndex *idx, const Window *w, KValue *(*term)(Lower *, const Node *, KValue *)) {
    KValue *sum = kb_float(&l->b, lower_compute_type(n->in[0]->dtype), 0);
    WindowLoops loops = window_open(l, w, idx + 2, KLOOP_REDUCE, 1, &sum);
    KIndex at[GRAPH_MAX_RANK] = {idx[0], idx[1]};
    memcpy(at + 2, loops.at, (size_t)w->n * sizeof *at);
    KValue *element = term(l, n, lower_load(l, n, 0, at));
    KValue *next = kb_binary(&l->b, KOP_ADD, element, window_carried(&loops, &sum, 0));
    window_close(l, &loops, &next, &sum);
    return sum;
}

static KValue *itself(Lower *l, const Node *n, KValue *x) {
    (void)l, (void)n;
    return x;
}

ELEMENT(element_average_pool) {
    Window w;
    pool_window(n, &w);
    KValue *sum = window_sum(l, n, idx, &w, itself);
    KValue *count = window_count(l, &w, idx + 2, attr_int(n, "count_include_pad", 0) != 0, sum->type.dtype);
    return kb_binary(&l->b, KOP_DIV, sum, count);
}

static KValue *power(Lower *l, const Node *n, KValue *x) {
    int64_t p = attr_int(n, "p", 2);
    KValue *magnitude = kb_unary(&l->b, KOP_ABS, x);
    if (p == 1)
        return magnitude;
    if (p == 2)
        return kb_binary(&l->b, KOP_MUL, x, x);
    return kb_math(&l->b, KMATH_POW, magnitude, kb_const_like(&l->b, x->type, (double)p));
}

static KValue *root(Lower *l, const Node *n, KValue *sum) {
    int64_t p = attr_int(n, "p", 2);
    if (p == 1)
        return sum;
    if (p == 2)
        return kb_unary(&l->b, KOP_SQRT, sum);
    return kb_math(&l->b, KMATH_POW, sum, kb_const_like(&l->b, sum->type, 1.0 / (double)p));
}

ELEMENT(element_lp_pool) {
    Window w;
    pool_window(n, &w);
    return root(l, n, window_sum(l, n, idx, &w, power));
}

/* --- global: the window is the whole input --- */

static void global_window(const Node *n, Window *w) {
    const Value *x = n->in[0];
    *w = (Window){.n = x->rank - 2};
    for (int d = 0; d < w->n; d++) {
        w->in[d] = w->kernel[d] = x->dim[d + 2];
        w->stride[d] = w->dilation[d] = w->out[d] = 1;
    }
}

INFER(infer_global_pool) {
    const Value *x = n->in[0];
    int64_t dim[GRAPH_MAX_RANK];
    if (x->rank < 2 || !infer_float(n, 0))
        return x->rank < 2 ? infer_error(n, "the input must have rank 2 or more, not %d", x->rank) : false;
    if (attr_int(n, "p", 2) < 1)
        return infer_error(n, "attribute \"p\" is %lld", (long long)attr_int(n, "p", 2));
    for (int d = 0; d < x->rank; d++)
        dim[d] = d < 2 ? x->dim[d] : 1;
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

ELEMENT(element_global_average_pool) {
    Window w;
    int64_t count = 1;
    global_window(n, &w);
    for (int d = 0; d < w.n; d++)
        count *= w.in[d];
    KValue *sum = window_sum(l, n, idx, &w, itself);
    return kb_binary(&l->b, KOP_DIV, sum, kb_const_like(&l->b, sum->type, (double)count));
}

ELEMENT(element_global_lp_pool) {
    Window w;
    global_window(n, &w);
    return root(l, n, window_sum(l, n, idx, &w, power));
}

ELEMENT(element_global_max_pool) {
    Window w;
    global_window(n, &w);
    KValue *best = lowest(l, lower_compute_type(n->in[0]->dtype));
    WindowLoops loops = window_open(l, &w, idx + 2, KLOOP_REDUCE, 1, &best);
    KIndex at[GRAPH_MAX_RANK] = {idx[0], idx[1]};
    memcpy(at + 2, loops.at, (size_t)w.n * sizeof *at);
    KValue *next = kb_binary(&l->b, KOP_MAX, lower_load(l, n, 0, at), window_carried(&loops, &best, 0));
    window_close(l, &loops, &next, &best);
    return best;
}
