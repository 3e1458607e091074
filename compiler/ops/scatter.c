/* SPDX-License-Identifier: Apache-2.0 */
/* Writing elements at computed places: what was there is copied to scratch first, updates follow in their order. */
#include <string.h>

#include "ops/rules.h"

typedef enum Reduction { NONE, ADD, MUL, MAX, MIN } Reduction;
static const char *const reductions[] = {"none", "add", "mul", "max", "min"};

static bool infer_reduction(const Node *n) {
    int how;
    if (!infer_choice(n, "reduction", reductions, 5, &how))
        return false;
    if (n->in[2]->dtype != n->in[0]->dtype)
        return infer_error(n, "updates and data differ in element type");
    return how == NONE || infer_numeric(n, 0);
}

/* --- a copy in scratch --- */

typedef struct Board {
    KParam *at;
    DType t;
    int rank;
    const int64_t *dim;
    int64_t stride[GRAPH_MAX_RANK];
} Board;

static Board new_board(Lower *l, DType t, int rank, const int64_t *dim) {
    Board s = {.t = t, .rank = rank, .dim = dim};
    int64_t count = 1;
    for (int d = rank - 1; d >= 0; d--) {
        s.stride[d] = count;
        count *= dim[d];
    }
    s.at = lower_scratch(l, t, count ? count : 1);
    return s;
}

static KIndex place(Lower *l, const Board *s, const KIndex *idx) {
    KIndex at = kx_const(l->arena, 0);
    for (int d = 0; d < s->rank; d++)
        at = kx_add(l->arena, at, kx_scale(l->arena, idx[d], s->stride[d]));
    return at;
}

static KValue *board_load(Lower *l, const Board *s, KIndex at) {
    return kb_cast(&l->b, kb_load(&l->b, s->at, at), lower_compute_type(s->t));
}

static void board_store(Lower *l, const Board *s, KIndex at, KValue *x) {
    kb_store(&l->b, s->at, at, kb_cast(&l->b, x, s->t));
}

static void copy_input(Lower *l, const Node *n, const Board *s) {
    LoopNest nest = lower_loops(l, s->rank, s->dim, NULL);
    board_store(l, s, place(l, s, nest.idx), lower_load(l, n, 0, nest.idx));
    lower_end_loops(l, &nest);
}

static void copy_output(Lower *l, const Node *n, const Board *s) {
    LoopNest nest = lower_loops(l, s->rank, s->dim, n->out[0]);
    lower_store(l, n, 0, nest.idx, board_load(l, s, place(l, s, nest.idx)));
    lower_end_loops(l, &nest);
}

static void update(Lower *l, const Node *n, const Board *s, KIndex at, KValue *x) {
    static const KOp ops[] = {[ADD] = KOP_ADD, [MUL] = KOP_MUL, [MAX] = KOP_MAX, [MIN] = KOP_MIN};
    int how;
    infer_choice(n, "reduction", reductions, 5, &how);
    board_store(l, s, at, how == NONE ? x : kb_binary(&l->b, ops[how], board_load(l, s, at), x));
}

/* Loops over axes [from, to) of a shape, one after the other: updates may meet. */
static int serial_loops(Lower *l, const int64_t *dim, int from, int to, KLoopKind kind, KIndex *idx, KInstr **loop) {
    for (int d = from; d < to; d++) {
        loop[d] = lower_for(l, kind, "u", 0, dim[d], 0, NULL);
        idx[d] = lower_iv(l, loop[d]);
    }
    return to;
}

static void end_loops(Lower *l, KInstr **loop, int count) {
    while (count)
        kb_end_for(&l->b, loop[--count], NULL);
}

/* --- ScatterElements --- */

INFER(infer_scatter_elements) {
    const Value *x = n->in[0], *i = n->in[1];
    int axis;
    if (!infer_indices(n, 1) || !infer_reduction(n) || !infer_axis(n, attr_int(n, "axis", 0), x->rank, false, &axis))
        return false;
    if (i->rank != x->rank || !value_same_shape(i, n->in[2]))
        return infer_error(n, "indices and updates must have one shape, and the data's rank");
    for (int d = 0; d < x->rank; d++)
        if (d != axis ? i->dim[d] > x->dim[d] : x->dim[d] == 0 && value_count(i))
            return infer_error(n, "axis %d of the indices is larger than the data's", d);
    return infer_same(n);
}

LOWER(lower_scatter_elements) {
    const Value *x = n->in[0], *i = n->in[1];
    int64_t axis = attr_int(n, "axis", 0);
    axis += axis < 0 ? x->rank : 0;
    KIndex idx[GRAPH_MAX_RANK], to[GRAPH_MAX_RANK];
    KInstr *loop[GRAPH_MAX_RANK];
    Board s = new_board(l, x->dtype, x->rank, x->dim);
    copy_input(l, n, &s);
    int loops = serial_loops(l, i->dim, 0, i->rank, KLOOP_SERIAL, idx, loop);
    memcpy(to, idx, (size_t)x->rank * sizeof *to);
    to[axis] = lower_index(l, lower_load(l, n, 1, idx), x->dim[axis]);
    update(l, n, &s, place(l, &s, to), lower_load(l, n, 2, idx));
    end_loops(l, loop, loops);
    copy_output(l, n, &s);
}

/* --- ScatterND --- */

INFER(infer_scatter_nd) {
    const Value *x = n->in[0], *i = n->in[1], *u = n->in[2];
    if (!infer_indices(n, 1) || !infer_reduction(n))
        return false;
    int64_t depth = i->rank ? i->dim[i->rank - 1] : 0;
    if (i->rank < 1 || depth < 1 || depth > x->rank)
        return infer_error(n, "the last axis of the indices does not fit the data's rank %d", x->rank);
    if (u->rank != i->rank - 1 + x->rank - (int)depth)
        return infer_error(n, "the updates have rank %d", u->rank);
    for (int d = 0; d < u->rank; d++)
        if (u->dim[d] != (d < i->rank - 1 ? i->dim[d] : x->dim[d - (i->rank - 1) + depth]))
            return infer_error(n, "axis %d of the updates has size %lld", d, (long long)u->dim[d]);
    for (int d = 0; d < depth; d++)
        if (!x->dim[d] && value_count(u))
            return infer_error(n, "axis %d of the data is empty", d);
    return infer_same(n);
}

LOWER(lower_scatter_nd) {
    const Value *x = n->in[0], *i = n->in[1], *u = n->in[2];
    int outer = i->rank - 1, depth = (int)i->dim[outer];
    KIndex idx[GRAPH_MAX_RANK], at[GRAPH_MAX_RANK], to[GRAPH_MAX_RANK];
    KInstr *loop[GRAPH_MAX_RANK];
    Board s = new_board(l, x->dtype, x->rank, x->dim);
    copy_input(l, n, &s);
    serial_loops(l, u->dim, 0, outer, KLOOP_SERIAL, idx, loop);
    memcpy(at, idx, (size_t)outer * sizeof *at);
    for (int k = 0; k < depth; k++) {
        at[outer] = kx_const(l->arena, k);
        to[k] = lower_index(l, lower_load(l, n, 1, at), x->dim[k]);
    }
    int loops = serial_loops(l, u->dim, outer, u->rank, KLOOP_PARALLEL, idx, loop);
    for (int d = depth; d < x->rank; d++)
        to[d] = idx[outer + d - depth];
    update(l, n, &s, place(l, &s, to), lower_load(l, n, 2, idx));
    end_loops(l, loop, loops);
    copy_output(l, n, &s);
}

/* --- MaxUnpool: values go where MaxPool found them, in a tensor of the size that it would have had --- */

static bool unpooled(const Node *n, int64_t *dim) {
    const Value *x = n->in[0];
    int spatial = x->rank - 2;
    int64_t kernel[GRAPH_MAX_RANK], stride[GRAPH_MAX_RANK], pads[2 * GRAPH_MAX_RANK];
    if (spatial < 1)
        return infer_error(n, "the input has rank %d; at least 3 is needed", x->rank);
    if (!infer_ints_attr(n, "kernel_shape", spatial, 1, INT32_MAX, 1, kernel) ||
        !infer_ints_attr(n, "strides", spatial, 1, INT32_MAX, 1, stride) ||
        !infer_ints_attr(n, "pads", 2 * spatial, 0, INT32_MAX, 0, pads))
        return false;
    dim[0] = x->dim[0];
    dim[1] = x->dim[1];
    for (int d = 0; d < spatial; d++) {
        if (__builtin_mul_overflow(x->dim[d + 2] - 1, stride[d], &dim[d + 2]) || dim[d + 2] > INT64_MAX / 2)
            return infer_error(n, "the output is too large");
        dim[d + 2] += kernel[d] - pads[d] - pads[spatial + d];
        if (dim[d + 2] < 1)
            return infer_error(n, "axis %d would get size %lld", d + 2, (long long)dim[d + 2]);
    }
    return true;
}

INFER(infer_max_unpool) {
    const Value *x = n->in[0];
    int64_t dim[GRAPH_MAX_RANK], count;
    const int64_t *want;
    int given;
    if (!infer_float(n, 0) || !infer_indices(n, 1) || !unpooled(n, dim))
        return false;
    if (!value_same_shape(x, n->in[1]))
        return infer_error(n, "values and indices differ in shape");
    if (!dims_count(x->rank, dim, &count))
        return infer_error(n, "the output is too large");
    if (n->nin < 3 || !n->in[2])
        return infer_set(n, 0, x->dtype, x->rank, dim);
    if (!infer_ints(n, 2, &want, &given))
        return false;
    if (given != x->rank)
        return infer_error(n, "the output shape has %d entries", given);
    for (int d = 0; d < given; d++)
        if (want[d] < dim[d])
            return infer_error(n, "axis %d of the output shape is smaller than %lld", d, (long long)dim[d]);
    return infer_set(n, 0, x->dtype, given, want);
}

LOWER(lower_max_unpool) {
    const Value *x = n->in[0], *y = n->out[0];
    KBuilder *b = &l->b;
    int64_t dim[GRAPH_MAX_RANK], count;
    KIndex idx[GRAPH_MAX_RANK];
    KInstr *loop[GRAPH_MAX_RANK];
    KValue *zero = kb_int(b, lower_compute_type(x->dtype), 0), *inside = kb_int(b, DT_BOOL, 1);
    unpooled(n, dim);
    dims_count(x->rank, dim, &count);
    Board s = new_board(l, x->dtype, x->rank, dim);
    LoopNest clear = lower_loops(l, 1, &count, NULL);
    board_store(l, &s, clear.idx[0], zero);
    lower_end_loops(l, &clear);
    int loops = serial_loops(l, x->dim, 0, x->rank, KLOOP_SERIAL, idx, loop);
    board_store(l, &s, lower_index(l, lower_load(l, n, 1, idx), count), lower_load(l, n, 0, idx));
    end_loops(l, loop, loops);
    LoopNest nest = lower_loops(l, y->rank, y->dim, y);
    for (int d = 0; d < x->rank; d++) {
        if (y->dim[d] == dim[d])
            continue;
        KValue *size = kb_int(b, DT_INDEX, dim[d]), *last = kb_int(b, DT_INDEX, dim[d] ? dim[d] - 1 : 0);
        KValue *at = kx_value(b, nest.idx[d]);
        inside = kb_binary(b, KOP_AND, inside, kb_binary(b, KOP_LT, at, size));
        idx[d] = kx_var(l->arena, kb_binary(b, KOP_MIN, at, last));
    }
    for (int d = 0; d < x->rank; d++)
        idx[d] = y->dim[d] == dim[d] ? nest.idx[d] : idx[d];
    lower_store(l, n, 0, nest.idx, kb_select(b, inside, board_load(l, &s, place(l, &s, idx)), zero));
    lower_end_loops(l, &nest);
}

/* --- TensorScatter: a row of updates for each of the batch, read from where it went --- */

INFER(infer_tensor_scatter) {
    static const char *const modes[] = {"linear", "circular"};
    const Value *x = n->in[0], *u = n->in[1], *first = n->nin > 2 ? n->in[2] : NULL;
    int axis, mode;
    if (!infer_choice(n, "mode", modes, 2, &mode) || !infer_axis(n, attr_int(n, "axis", -2), x->rank, false, &axis))
        return false;
    if (axis == 0)
        return infer_error(n, "axis 0 is the batch");
    if (u->rank != x->rank || u->dtype != x->dtype)
        return infer_error(n, "cache and update differ in rank or element type");
    for (int d = 0; d < x->rank; d++)
        if (d == axis ? u->dim[d] > x->dim[d] : u->dim[d] != x->dim[d])
            return infer_error(n, "the update does not fit the cache in axis %d", d);
    if (first && (first->dtype != DT_I64 || first->rank != 1 || first->dim[0] != x->dim[0]))
        return infer_error(n, "write_indices must be one int64 for each of the batch");
    return infer_same(n);
}

ELEMENT(element_tensor_scatter) {
    const Value *x = n->in[0], *u = n->in[1];
    KBuilder *b = &l->b;
    int64_t axis = attr_int(n, "axis", -2), size;
    axis += axis < 0 ? x->rank : 0;
    size = u->dim[axis];
    if (!size)
        return lower_load(l, n, 0, idx);
    KIndex from[GRAPH_MAX_RANK];
    memcpy(from, idx, (size_t)x->rank * sizeof *from);
    KValue *at = kx_value(b, idx[axis]), *zero = kb_int(b, DT_INDEX, 0);
    if (n->nin > 2 && n->in[2])
        at = kb_binary(b, KOP_SUB, at, kb_cast(b, lower_load(l, n, 2, idx), DT_INDEX));
    if (*attr_string(n, "mode", "linear") == 'c')
        at = kb_binary(b, KOP_REM, at, kb_int(b, DT_INDEX, x->dim[axis])); /* REM of indices is never negative */
    KValue *inside = kb_binary(b, KOP_AND, kb_binary(b, KOP_GE, at, zero), kb_binary(b, KOP_LT, at, kb_int(b, DT_INDEX, size)));
    at = kb_binary(b, KOP_MIN, kb_binary(b, KOP_MAX, at, zero), kb_int(b, DT_INDEX, size - 1));
    from[axis] = kx_var(l->arena, at);
    KValue *updated = lower_load(l, n, 1, from);
    return kb_select(b, inside, updated, lower_load(l, n, 0, idx));
}
