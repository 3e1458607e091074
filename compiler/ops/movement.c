/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that move elements without computing. */
#include <string.h>

#include "ops/rules.h"
#include "support/ints.h"

/* --- Reshape and its kin: the same elements in the same order --- */

static bool set_reshaped(Node *n, int rank, const int64_t *dim) {
    int64_t count;
    const Value *x = n->in[0];
    if (!dims_count(rank, dim, &count) || count != value_count(x))
        return infer_error(n, "the new shape does not hold the input's %lld elements", (long long)value_count(x));
    return infer_set(n, 0, x->dtype, rank, dim);
}

INFER(infer_reshape) {
    const int64_t *want;
    int rank;
    const Value *x = n->in[0];
    if (!infer_ints(n, 1, &want, &rank))
        return false;
    if (rank > GRAPH_MAX_RANK)
        return infer_error(n, "the new shape has %d axes; mlcc supports up to %d", rank, GRAPH_MAX_RANK);
    int64_t dim[GRAPH_MAX_RANK], known = 1;
    int open = -1;
    bool allow_zero = attr_int(n, "allowzero", 0) != 0;
    for (int d = 0; d < rank; d++) {
        dim[d] = want[d];
        if (want[d] == 0 && !allow_zero) {
            if (d >= x->rank)
                return infer_error(n, "entry %d of the new shape is 0 but the input has only %d axes", d, x->rank);
            dim[d] = x->dim[d];
        }
        if (dim[d] == -1 && open >= 0)
            return infer_error(n, "the new shape has more than one -1");
        if (dim[d] < -1)
            return infer_error(n, "entry %d of the new shape is %lld", d, (long long)dim[d]);
        if (dim[d] == -1)
            open = d;
        else if (__builtin_mul_overflow(known, dim[d], &known))
            return infer_error(n, "the new shape is too large");
    }
    if (open >= 0) {
        if (known == 0 || value_count(x) % known)
            return infer_error(n, "the input's %lld elements do not divide into the new shape", (long long)value_count(x));
        dim[open] = value_count(x) / known;
    }
    return set_reshaped(n, rank, dim);
}

INFER(infer_flatten) {
    const Value *x = n->in[0];
    int axis;
    if (!infer_axis(n, attr_int(n, "axis", 1), x->rank, true, &axis))
        return false;
    int64_t axis_attr = attr_int(n, "axis", 1);
    axis = (int)(axis_attr < 0 ? axis_attr + x->rank : axis_attr);
    int64_t dim[2] = {1, 1};
    for (int d = 0; d < x->rank; d++)
        dim[d >= axis] *= x->dim[d];
    return set_reshaped(n, 2, dim);
}

/* Marks the axes that an optional input names in the given rank. */
static bool read_axes(const Node *n, int input, int rank, bool *marked) {
    const int64_t *axes;
    int count;
    memset(marked, 0, GRAPH_MAX_RANK * sizeof *marked);
    if (!infer_ints(n, input, &axes, &count))
        return false;
    for (int i = 0; i < count; i++) {
        int axis;
        if (!infer_axis(n, axes[i], rank, false, &axis))
            return false;
        if (marked[axis])
            return infer_error(n, "axis %d is named twice", axis);
        marked[axis] = true;
    }
    return true;
}

INFER(infer_squeeze) {
    const Value *x = n->in[0];
    bool gone[GRAPH_MAX_RANK], listed = n->nin > 1 && n->in[1];
    int64_t dim[GRAPH_MAX_RANK];
    int rank = 0;
    if (listed && !read_axes(n, 1, x->rank, gone))
        return false;
    for (int d = 0; d < x->rank; d++) {
        bool drop = listed ? gone[d] : x->dim[d] == 1;
        if (drop && x->dim[d] != 1)
            return infer_error(n, "axis %d has size %lld, not 1", d, (long long)x->dim[d]);
        if (!drop)
            dim[rank++] = x->dim[d];
    }
    return set_reshaped(n, rank, dim);
}

INFER(infer_unsqueeze) {
    const Value *x = n->in[0];
    const int64_t *axes;
    int count;
    bool added[GRAPH_MAX_RANK];
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_ints(n, 1, &axes, &count))
        return false;
    int rank = x->rank + count, from = 0;
    if (rank > GRAPH_MAX_RANK)
        return infer_error(n, "the output has rank %d; mlcc supports up to %d", rank, GRAPH_MAX_RANK);
    if (!read_axes(n, 1, rank, added))
        return false;
    for (int d = 0; d < rank; d++)
        dim[d] = added[d] ? 1 : x->dim[from++];
    return set_reshaped(n, rank, dim);
}

ELEMENT(element_reshape) {
    const Value *x = n->in[0], *y = n->out[0];
    KIndex from[GRAPH_MAX_RANK];
    KIndex flat = kx_const(l->arena, 0);
    int64_t stride = 1;
    for (int d = y->rank - 1; d >= 0; d--) {
        flat = kx_add(l->arena, flat, kx_scale(l->arena, idx[d], stride));
        stride *= y->dim[d];
    }
    for (int d = x->rank - 1; d >= 0; d--) {
        bool outermost = true;
        for (int e = 0; e < d; e++)
            outermost = outermost && x->dim[e] == 1;
        int64_t size = x->dim[d] ? x->dim[d] : 1;
        from[d] = size == 1 ? kx_const(l->arena, 0) : outermost ? flat : kx_rem(&l->b, flat, size);
        if (!outermost)
            flat = kx_div(&l->b, flat, size);
        else
            flat = kx_const(l->arena, 0);
    }
    return lower_load(l, n, 0, from);
}

/* --- Transpose --- */

static bool permutation(const Node *n, int rank, int *perm) {
    const Attr *a = node_attr(n, "perm");
    unsigned seen = 0;
    if (a && (a->kind != ATTR_INTS || a->n != rank))
        return infer_error(n, "attribute \"perm\" must have %d entries", rank);
    for (int d = 0; d < rank; d++) {
        int64_t p = a ? a->ints[d] : rank - 1 - d;
        if (p < 0 || p >= rank || (seen >> p & 1u))
            return infer_error(n, "attribute \"perm\" is not a permutation of %d axes", rank);
        seen |= 1u << p;
        perm[d] = (int)p;
    }
    return true;
}

INFER(infer_transpose) {
    int perm[GRAPH_MAX_RANK];
    int64_t dim[GRAPH_MAX_RANK];
    const Value *x = n->in[0];
    if (!permutation(n, x->rank, perm))
        return false;
    for (int d = 0; d < x->rank; d++)
        dim[d] = x->dim[perm[d]];
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

ELEMENT(element_transpose) {
    int perm[GRAPH_MAX_RANK];
    KIndex from[GRAPH_MAX_RANK];
    permutation(n, n->in[0]->rank, perm);
    for (int d = 0; d < n->in[0]->rank; d++)
        from[perm[d]] = idx[d];
    return lower_load(l, n, 0, from);
}

/* --- Slice --- */

typedef struct SliceAxis {
    int64_t start, step, count;
} SliceAxis;

static SliceAxis slice_axis(int64_t start, int64_t end, int64_t step, int64_t size) {
    if (start < 0)
        start = start < -size ? -1 : start + size;
    if (end < 0)
        end = end < -size ? -1 : end + size;
    if (step > 0) {
        start = clamp_int(start, 0, size);
        end = clamp_int(end, 0, size);
        return (SliceAxis){start, step, end > start ? (end - start - 1) / step + 1 : 0};
    }
    start = clamp_int(start, size ? -1 : 0, size - 1);
    end = clamp_int(end, -1, size - 1);
    return (SliceAxis){start, step, start > end && step ? (start - end - 1) / -(step < -INT32_MAX ? -INT32_MAX : step) + 1 : 0};
}

static bool slice_axes(const Node *n, SliceAxis *out) {
    const Value *x = n->in[0];
    const int64_t *start, *end, *axes = NULL, *step = NULL;
    int count, other;
    bool seen[GRAPH_MAX_RANK] = {false};
    for (int d = 0; d < x->rank; d++)
        out[d] = (SliceAxis){0, 1, x->dim[d]};
    if (!infer_ints(n, 1, &start, &count) || !infer_ints(n, 2, &end, &other))
        return false;
    bool same = other == count;
    if (n->nin > 3 && n->in[3]) {
        if (!infer_ints(n, 3, &axes, &other))
            return false;
        same = same && other == count;
    }
    if (n->nin > 4 && n->in[4]) {
        if (!infer_ints(n, 4, &step, &other))
            return false;
        same = same && other == count;
    }
    if (!same)
        return infer_error(n, "starts, ends, axes and steps differ in length");
    for (int i = 0; i < count; i++) {
        int axis;
        if (!infer_axis(n, axes ? axes[i] : i, x->rank, false, &axis))
            return false;
        if (step && step[i] == 0)
            return infer_error(n, "the step of axis %d is 0", axis);
        if (seen[axis])
            return infer_error(n, "axis %d is named twice", axis);
        seen[axis] = true;
        out[axis] = slice_axis(start[i], end[i], step ? step[i] : 1, x->dim[axis]);
    }
    return true;
}

INFER(infer_slice) {
    SliceAxis axis[GRAPH_MAX_RANK];
    int64_t dim[GRAPH_MAX_RANK];
    if (!slice_axes(n, axis))
        return false;
    for (int d = 0; d < n->in[0]->rank; d++)
        dim[d] = axis[d].count;
    return infer_set(n, 0, n->in[0]->dtype, n->in[0]->rank, dim);
}

ELEMENT(element_slice) {
    SliceAxis axis[GRAPH_MAX_RANK];
    KIndex from[GRAPH_MAX_RANK];
    slice_axes(n, axis);
    for (int d = 0; d < n->in[0]->rank; d++)
        from[d] = kx_add_const(l->arena, axis[d].count > 1 ? kx_scale(l->arena, idx[d], axis[d].step) : kx_const(l->arena, 0),
                               axis[d].start);
    return lower_load(l, n, 0, from);
}

bool slice_view(const Node *n, int64_t *start, int64_t *step) {
    SliceAxis axis[GRAPH_MAX_RANK];
    if (!slice_axes(n, axis))
        return false;
    for (int d = 0; d < n->in[0]->rank; d++) {
        start[d] = axis[d].start;
        step[d] = axis[d].step;
    }
    return true;
}

/* --- Split and Concat --- */

static bool split_sizes(const Node *n, int *axis, int64_t *size) {
    const Value *x = n->in[0];
    if (!infer_axis(n, attr_int(n, "axis", 0), x->rank, false, axis))
        return false;
    int64_t whole = x->dim[*axis], sum = 0;
    if (n->nin > 1 && n->in[1]) {
        const int64_t *want;
        int count;
        if (!infer_ints(n, 1, &want, &count))
            return false;
        if (count != n->nout)
            return infer_error(n, "there are %d sizes for %d outputs", count, n->nout);
        for (int i = 0; i < count; i++) {
            if (want[i] < 0 || want[i] > whole - sum)
                return infer_error(n, "the sizes do not add up to %lld", (long long)whole);
            sum += size[i] = want[i];
        }
        return sum == whole || infer_error(n, "the sizes do not add up to %lld", (long long)whole);
    }
    int64_t parts = attr_int(n, "num_outputs", n->nout);
    if (parts != n->nout)
        return infer_error(n, "attribute \"num_outputs\" is %lld; the node has %d outputs", (long long)parts, n->nout);
    int64_t each = divide_up(whole, parts);
    for (int i = 0; i < n->nout; i++) {
        size[i] = clamp_int(whole - sum, 0, each);
        sum += size[i];
    }
    return true;
}

INFER(infer_split) {
    int axis;
    int64_t *size = ARENA_ARRAY(n->graph->arena, int64_t, n->nout), dim[GRAPH_MAX_RANK];
    if (!split_sizes(n, &axis, size))
        return false;
    for (int i = 0; i < n->nout; i++) {
        memcpy(dim, n->in[0]->dim, (size_t)n->in[0]->rank * sizeof *dim);
        dim[axis] = size[i];
        if (!infer_set(n, i, n->in[0]->dtype, n->in[0]->rank, dim))
            return false;
    }
    return true;
}

/* The part lies where it belongs in the whole, from `at` on along the axis. It may belong there twice, and lie there once. */
static bool is_in_place(const Value *part, const Value *whole, int64_t axis, int64_t at) {
    const Storage *s = &part->storage, *t = &whole->storage;
    if (!s->root || s->root != t->root || s->offset != t->offset + at * t->stride[axis])
        return false;
    for (int d = 0; d < part->rank; d++)
        if (part->dim[d] > 1 && s->stride[d] != t->stride[d])
            return false;
    return true;
}

LOWER(lower_split) {
    int axis;
    int64_t *size = ARENA_ARRAY(l->arena, int64_t, n->nout), at = 0;
    split_sizes(n, &axis, size);
    for (int i = 0; i < n->nout; i++) {
        const Value *y = n->out[i];
        if (y && !is_in_place(y, n->in[0], axis, at)) {
            LoopNest nest = lower_loops(l, y->rank, y->dim, y);
            KIndex from[GRAPH_MAX_RANK];
            memcpy(from, nest.idx, sizeof from);
            from[axis] = kx_add_const(l->arena, from[axis], at);
            lower_store(l, n, i, nest.idx, lower_load(l, n, 0, from));
            lower_end_loops(l, &nest);
        }
        at += size[i];
    }
}

INFER(infer_concat) {
    int axis;
    int64_t dim[GRAPH_MAX_RANK];
    const Value *x = n->in[0];
    if (!infer_one_type(n) || !infer_axis(n, attr_int(n, "axis", 0), x->rank, false, &axis))
        return false;
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    for (int i = 1; i < n->nin; i++) {
        const Value *v = n->in[i];
        bool fits = v && v->rank == x->rank;
        for (int d = 0; fits && d < x->rank; d++)
            fits = d == axis || v->dim[d] == x->dim[d];
        if (!fits)
            return infer_error(n, "inputs 0 and %d differ in more than axis %d", i, axis);
        if (__builtin_add_overflow(dim[axis], v->dim[axis], &dim[axis]))
            return infer_error(n, "the output is too large");
    }
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

LOWER(lower_concat) {
    const Value *y = n->out[0];
    int64_t axis = attr_int(n, "axis", 0), at = 0;
    axis += axis < 0 ? y->rank : 0;
    for (int i = 0; i < n->nin; i++) {
        const Value *x = n->in[i];
        if (!is_in_place(x, y, axis, at)) {
            LoopNest nest = lower_loops(l, x->rank, x->dim, y);
            KIndex to[GRAPH_MAX_RANK];
            memcpy(to, nest.idx, sizeof to);
            to[axis] = kx_add_const(l->arena, to[axis], at);
            lower_store(l, n, 0, to, lower_load(l, n, i, nest.idx));
            lower_end_loops(l, &nest);
        }
        at += x->dim[axis];
    }
}

/* --- Gather and its kin: indices from a tensor, negative ones count from the end, clamped into range --- */

bool infer_indices(const Node *n, int input) {
    static const DType allowed[] = {DT_I32, DT_I64, DT_NONE};
    return infer_type_in(n, input, allowed);
}

KIndex lower_index(Lower *l, KValue *i, int64_t size) {
    KBuilder *b = &l->b;
    KValue *at = kb_cast(b, i, DT_INDEX), *zero = kb_int(b, DT_INDEX, 0);
    KValue *negative = kb_binary(b, KOP_LT, at, zero);
    at = kb_select(b, negative, kb_binary(b, KOP_ADD, at, kb_int(b, DT_INDEX, size)), at);
    at = kb_binary(b, KOP_MIN, kb_binary(b, KOP_MAX, at, zero), kb_int(b, DT_INDEX, size ? size - 1 : 0));
    return kx_var(l->arena, at);
}

INFER(infer_gather) {
    const Value *x = n->in[0], *i = n->in[1];
    int axis, rank = 0;
    int64_t dim[2 * GRAPH_MAX_RANK];
    if (!infer_indices(n, 1) || !infer_axis(n, attr_int(n, "axis", 0), x->rank, false, &axis))
        return false;
    for (int d = 0; d < axis; d++)
        dim[rank++] = x->dim[d];
    for (int d = 0; d < i->rank; d++)
        dim[rank++] = i->dim[d];
    for (int d = axis + 1; d < x->rank; d++)
        dim[rank++] = x->dim[d];
    if (x->dim[axis] == 0 && value_count(i))
        return infer_error(n, "axis %d of the data is empty", axis);
    return infer_set(n, 0, x->dtype, rank, dim);
}

ELEMENT(element_gather) {
    const Value *x = n->in[0], *i = n->in[1];
    int64_t axis = attr_int(n, "axis", 0);
    axis += axis < 0 ? x->rank : 0;
    KIndex from[GRAPH_MAX_RANK];
    for (int d = 0; d < x->rank; d++)
        from[d] = d < axis ? idx[d] : d > axis ? idx[d + i->rank - 1] : NULL;
    from[axis] = lower_index(l, lower_load(l, n, 1, idx + axis), x->dim[axis]);
    return lower_load(l, n, 0, from);
}

INFER(infer_gather_elements) {
    const Value *x = n->in[0], *i = n->in[1];
    int axis;
    if (!infer_indices(n, 1) || !infer_axis(n, attr_int(n, "axis", 0), x->rank, false, &axis))
        return false;
    if (i->rank != x->rank)
        return infer_error(n, "data and indices have ranks %d and %d", x->rank, i->rank);
    for (int d = 0; d < x->rank; d++)
        if (d != axis ? i->dim[d] > x->dim[d] : x->dim[d] == 0 && value_count(i))
            return infer_error(n, "axis %d of the indices is larger than the data's", d);
    return infer_set(n, 0, x->dtype, i->rank, i->dim);
}

ELEMENT(element_gather_elements) {
    const Value *x = n->in[0];
    int64_t axis = attr_int(n, "axis", 0);
    axis += axis < 0 ? x->rank : 0;
    KIndex from[GRAPH_MAX_RANK];
    memcpy(from, idx, (size_t)x->rank * sizeof *from);
    from[axis] = lower_index(l, lower_load(l, n, 1, idx), x->dim[axis]);
    return lower_load(l, n, 0, from);
}

INFER(infer_gather_nd) {
    const Value *x = n->in[0], *i = n->in[1];
    static const DType allowed[] = {DT_I64, DT_NONE};
    int64_t batch = attr_int(n, "batch_dims", 0), dim[2 * GRAPH_MAX_RANK];
    int rank = 0;
    if (!infer_type_in(n, 1, allowed))
        return false;
    if (i->rank < 1 || batch < 0 || batch >= i->rank || batch > x->rank || i->dim[i->rank - 1] < 1 ||
        i->dim[i->rank - 1] > x->rank - batch)
        return infer_error(n, "batch_dims and the last axis of the indices do not fit the data's rank %d", x->rank);
    for (int d = 0; d < batch; d++)
        if (x->dim[d] != i->dim[d])
            return infer_error(n, "data and indices differ in batch axis %d", d);
    for (int d = 0; d < i->rank - 1; d++)
        dim[rank++] = i->dim[d];
    for (int d = (int)(batch + i->dim[i->rank - 1]); d < x->rank; d++)
        dim[rank++] = x->dim[d];
    return infer_set(n, 0, x->dtype, rank, dim);
}

ELEMENT(element_gather_nd) {
    const Value *x = n->in[0], *i = n->in[1];
    int batch = (int)attr_int(n, "batch_dims", 0), depth = (int)i->dim[i->rank - 1];
    KIndex from[GRAPH_MAX_RANK], at[GRAPH_MAX_RANK];
    memcpy(at, idx, (size_t)(i->rank - 1) * sizeof *at);
    for (int d = 0; d < batch; d++)
        from[d] = idx[d];
    for (int k = 0; k < depth; k++) {
        at[i->rank - 1] = kx_const(l->arena, k);
        from[batch + k] = lower_index(l, lower_load(l, n, 1, at), x->dim[batch + k]);
    }
    for (int d = batch + depth; d < x->rank; d++)
        from[d] = idx[i->rank - 1 + d - batch - depth];
    return lower_load(l, n, 0, from);
}

/* --- repetition --- */

INFER(infer_expand) {
    const int64_t *want;
    int count;
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_ints(n, 1, &want, &count))
        return false;
    if (count > GRAPH_MAX_RANK)
        return infer_error(n, "the new shape has %d axes; mlcc supports up to %d", count, GRAPH_MAX_RANK);
    int rank = infer_broadcast(n, n->in[0]->rank, n->in[0]->dim, count, want, dim);
    return rank >= 0 && infer_set(n, 0, n->in[0]->dtype, rank, dim);
}

ELEMENT(element_expand) { return lower_load_broadcast(l, n, 0, idx); }

INFER(infer_tile) {
    const Value *x = n->in[0];
    const int64_t *repeats;
    int count;
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_ints(n, 1, &repeats, &count))
        return false;
    if (count != x->rank)
        return infer_error(n, "there are %d repeats for %d axes", count, x->rank);
    for (int d = 0; d < count; d++)
        if (repeats[d] < 0 || __builtin_mul_overflow(x->dim[d], repeats[d], &dim[d]))
            return infer_error(n, "repeat %d is %lld", d, (long long)repeats[d]);
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

ELEMENT(element_tile) {
    const Value *x = n->in[0];
    KIndex from[GRAPH_MAX_RANK];
    for (int d = 0; d < x->rank; d++)
        from[d] = x->dim[d] == n->out[0]->dim[d] ? idx[d] : kx_rem(&l->b, idx[d], x->dim[d] ? x->dim[d] : 1);
    return lower_load(l, n, 0, from);
}

/* --- Pad --- */

static bool pads_of(const Node *n, int64_t *before, int64_t *after) {
    const Value *x = n->in[0];
    const int64_t *pads, *axes = NULL;
    int count, naxes = x->rank;
    if (!infer_ints(n, 1, &pads, &count))
        return false;
    if (n->nin > 3 && n->in[3] && !infer_ints(n, 3, &axes, &naxes))
        return false;
    if (count != 2 * naxes)
        return infer_error(n, "there are %d pads for %d axes", count, naxes);
    for (int d = 0; d < x->rank; d++)
        before[d] = after[d] = 0;
    for (int i = 0; i < naxes; i++) {
        int axis;
        if (!infer_axis(n, axes ? axes[i] : i, x->rank, false, &axis))
            return false;
        before[axis] = pads[i];
        after[axis] = pads[i + naxes];
    }
    return true;
}

INFER(infer_pad) {
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    const Value *x = n->in[0];
    const char *mode = attr_string(n, "mode", "constant");
    int64_t before[GRAPH_MAX_RANK], after[GRAPH_MAX_RANK], dim[GRAPH_MAX_RANK];
    bool known = false;
    for (int i = 0; i < 4; i++)
        known = known || !strcmp(mode, modes[i]);
    if (!known)
        return infer_error(n, "attribute \"mode\" is \"%s\"", mode);
    if (!pads_of(n, before, after))
        return false;
    if (n->nin > 2 && n->in[2] && (n->in[2]->dtype != x->dtype || value_count(n->in[2]) != 1))
        return infer_error(n, "the padding value must be one element of the input's type");
    for (int d = 0; d < x->rank; d++) {
        int64_t most = (int64_t)1 << 40;
        if (before[d] < -most || before[d] > most || after[d] < -most || after[d] > most)
            return infer_error(n, "the pads of axis %d are out of range", d);
        dim[d] = x->dim[d] + before[d] + after[d];
        if (dim[d] < 0)
            return infer_error(n, "axis %d would get size %lld", d, (long long)dim[d]);
        bool grows = before[d] > 0 || after[d] > 0;
        if (grows && strcmp(mode, "constant") && x->dim[d] == 0 && dim[d])
            return infer_error(n, "axis %d is empty and cannot be padded in mode %s", d, mode);
    }
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

/* Where the padded index lies in the input: by mode, for the parts outside. */
static KIndex pad_source(Lower *l, const char *mode, KIndex at, int64_t size) {
    KBuilder *b = &l->b;
    if (!strcmp(mode, "edge")) {
        KValue *v = kb_binary(b, KOP_MAX, kx_value(b, at), kb_int(b, DT_INDEX, 0));
        return kx_var(l->arena, kb_binary(b, KOP_MIN, v, kb_int(b, DT_INDEX, size - 1)));
    }
    if (!strcmp(mode, "wrap"))
        return kx_rem(b, at, size);
    if (size == 1)
        return kx_const(l->arena, 0);
    int64_t period = 2 * (size - 1);
    KValue *v = kx_value(b, kx_rem(b, at, period));
    v = kb_binary(b, KOP_MIN, v, kb_binary(b, KOP_SUB, kb_int(b, DT_INDEX, period), v));
    return kx_var(l->arena, kb_binary(b, KOP_MIN, v, kb_int(b, DT_INDEX, size - 1))); /* so that the range is seen */
}

ELEMENT(element_pad) {
    const Value *x = n->in[0];
    const char *mode = attr_string(n, "mode", "constant");
    int64_t before[GRAPH_MAX_RANK], after[GRAPH_MAX_RANK];
    KIndex from[GRAPH_MAX_RANK];
    KBuilder *b = &l->b;
    KValue *inside = kb_int(b, DT_BOOL, 1);
    pads_of(n, before, after);
    for (int d = 0; d < x->rank; d++) {
        from[d] = kx_add_const(l->arena, idx[d], -before[d]);
        if (before[d] <= 0 && after[d] <= 0)
            continue;
        if (strcmp(mode, "constant")) {
            from[d] = pad_source(l, mode, from[d], x->dim[d]);
            continue;
        }
        KValue *at = kx_value(b, from[d]), *zero = kb_int(b, DT_INDEX, 0), *size = kb_int(b, DT_INDEX, x->dim[d]);
        inside = kb_binary(b, KOP_AND, inside, kb_binary(b, KOP_AND, kb_binary(b, KOP_GE, at, zero), kb_binary(b, KOP_LT, at, size)));
    }
    if (inside->def->op == KOP_CONST)
        return lower_load(l, n, 0, from);
    static const KIndex none[1];
    KValue *fill = n->nin > 2 && n->in[2] ? lower_load(l, n, 2, none) : kb_int(b, lower_compute_type(x->dtype), 0);
    KInstr *branch = kb_if(b, inside, 1);
    KValue *element = value_count(x) ? lower_load(l, n, 0, from) : fill;
    kb_else(b, branch, &element);
    kb_end_if(b, branch, &fill);
    return kb_result(branch, 0);
}

/* --- blocks to channels and back --- */

static bool is_depth_first(const Node *n) { return !strcmp(attr_string(n, "mode", "DCR"), "DCR"); }

static bool blocks(const Node *n, int64_t *block) {
    *block = attr_int(n, "blocksize", 0);
    if (!is_depth_first(n) && strcmp(attr_string(n, "mode", "DCR"), "CRD"))
        return infer_error(n, "attribute \"mode\" must be DCR or CRD");
    if (n->in[0]->rank != 4)
        return infer_error(n, "the input must have rank 4, not %d", n->in[0]->rank);
    if (*block < 1 || *block > 1 << 16)
        return infer_error(n, "attribute \"blocksize\" is %lld", (long long)*block);
    return true;
}

INFER(infer_depth_to_space) {
    const Value *x = n->in[0];
    int64_t s;
    if (!blocks(n, &s))
        return false;
    if (x->dim[1] % (s * s))
        return infer_error(n, "%lld channels do not divide by blocksize squared", (long long)x->dim[1]);
    const int64_t dim[4] = {x->dim[0], x->dim[1] / (s * s), x->dim[2] * s, x->dim[3] * s};
    return infer_set(n, 0, x->dtype, 4, dim);
}

ELEMENT(element_depth_to_space) {
    int64_t s = attr_int(n, "blocksize", 1), channels = n->out[0]->dim[1];
    KIndex y = kx_div(&l->b, idx[2], s), x = kx_div(&l->b, idx[3], s);
    KIndex by = kx_rem(&l->b, idx[2], s), bx = kx_rem(&l->b, idx[3], s), c;
    KIndex within = kx_add(l->arena, kx_scale(l->arena, by, s), bx);
    if (is_depth_first(n))
        c = kx_add(l->arena, kx_scale(l->arena, within, channels), idx[1]);
    else
        c = kx_add(l->arena, kx_scale(l->arena, idx[1], s * s), within);
    const KIndex from[4] = {idx[0], c, y, x};
    return lower_load(l, n, 0, from);
}

INFER(infer_space_to_depth) {
    const Value *x = n->in[0];
    int64_t s;
    if (!blocks(n, &s))
        return false;
    if (x->dim[2] % s || x->dim[3] % s)
        return infer_error(n, "%lldx%lld does not divide by the blocksize", (long long)x->dim[2], (long long)x->dim[3]);
    const int64_t dim[4] = {x->dim[0], x->dim[1] * s * s, x->dim[2] / s, x->dim[3] / s};
    return infer_set(n, 0, x->dtype, 4, dim);
}

ELEMENT(element_space_to_depth) {
    int64_t s = attr_int(n, "blocksize", 1), channels = n->in[0]->dim[1] ? n->in[0]->dim[1] : 1;
    bool depth_first = is_depth_first(n);
    int64_t unit = depth_first ? channels : s * s;
    KIndex outer = kx_div(&l->b, idx[1], unit), inner = kx_rem(&l->b, idx[1], unit);
    KIndex c = depth_first ? inner : outer, within = depth_first ? outer : inner;
    KIndex y = kx_add(l->arena, kx_scale(l->arena, idx[2], s), kx_div(&l->b, within, s));
    KIndex x = kx_add(l->arena, kx_scale(l->arena, idx[3], s), kx_rem(&l->b, within, s));
    const KIndex from[4] = {idx[0], c, y, x};
    return lower_load(l, n, 0, from);
}

/* --- ReverseSequence: the first elements of each of the batch, backwards --- */

INFER(infer_reverse_sequence) {
    const Value *x = n->in[0], *length = n->in[1];
    int batch, time;
    if (!infer_axis(n, attr_int(n, "batch_axis", 1), x->rank, false, &batch) ||
        !infer_axis(n, attr_int(n, "time_axis", 0), x->rank, false, &time))
        return false;
    if (batch == time)
        return infer_error(n, "batch and time are the same axis");
    if (length->dtype != DT_I64 || length->rank != 1 || length->dim[0] != x->dim[batch])
        return infer_error(n, "sequence_lens must be one int64 for each of the batch");
    return infer_same(n);
}

ELEMENT(element_reverse_sequence) {
    const Value *x = n->in[0];
    KBuilder *b = &l->b;
    int batch, time;
    infer_axis(n, attr_int(n, "batch_axis", 1), x->rank, false, &batch);
    infer_axis(n, attr_int(n, "time_axis", 0), x->rank, false, &time);
    KIndex from[GRAPH_MAX_RANK];
    memcpy(from, idx, (size_t)x->rank * sizeof *from);
    KValue *at = kx_value(b, idx[time]), *length = kb_cast(b, lower_load(l, n, 1, &idx[batch]), DT_INDEX);
    KValue *mirrored = kb_binary(b, KOP_SUB, kb_binary(b, KOP_SUB, length, kb_int(b, DT_INDEX, 1)), at);
    from[time] = lower_index(l, kb_select(b, kb_binary(b, KOP_LT, at, length), mirrored, at), x->dim[time]);
    return lower_load(l, n, 0, from);
}
