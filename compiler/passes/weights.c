/* SPDX-License-Identifier: Apache-2.0 */
/* Weights that the model has in 2 to 16 bits stay so where float operators take them: a DequantizeLinear of constants is not
 * computed when compiling, which would make 2 to 16 times as many bytes of it, but where the numbers are used. The same with a
 * Cast of 16-bit floating numbers, on request: that saves half the bytes, and the conversion may take longer than it is worth. */
#include <string.h>

#include "ops/op.h"
#include "ops/qblock.h"
#include "passes/edit.h"
#include "passes/fold.h"
#include "passes/passes.h"
#include "support/ints.h"

/* DequantizeLinear of constants, maybe transposed before or after. */
typedef struct Weights {
    const Node *d;
    Value *x, *scale, *zero; /* zero: NULL where absent */
    int axis;                /* of the scales; -1: one for all */
    int64_t block;           /* elements that share a scale along the axis; 0: each index has its own */
    bool turned;             /* the matrix is the other one's transpose */
} Weights;

static bool through_transpose(Value **v) {
    const Node *n = (*v)->kind == VALUE_NODE ? (*v)->def : NULL;
    const Attr *perm = n ? node_attr(n, "perm") : NULL;
    if (!n || !edit_is(n, "Transpose") || (*v)->rank != 2 || (perm && perm->ints[0] != 1))
        return false;
    *v = n->in[0];
    return true;
}

static bool read_weights(Value *v, Weights *w, bool *failed) {
    *w = (Weights){.axis = -1};
    if (!v || v->dtype != DT_F32 || v->kind != VALUE_NODE)
        return false;
    w->turned = through_transpose(&v);
    const Node *d = v->kind == VALUE_NODE ? v->def : NULL;
    if (!d || !edit_is(d, "DequantizeLinear") || d->in[1]->dtype != DT_F32 || !dtype_is_integer(d->in[0]->dtype) ||
        dtype_size(d->in[0]->dtype) > 2 || !fold_is_possible(d->in[0]) || !value_is_const(d->in[1]) ||
        (d->nin > 2 && d->in[2] && !value_is_const(d->in[2])))
        return false;
    w->d = d;
    w->x = d->in[0];
    bool before = through_transpose(&w->x);
    if (!value_is_const(w->x)) {
        w->x = d->in[0];
        before = false;
        *failed = !fold_value(w->x);
        if (*failed)
            return false;
        w->x = d->in[0];
    }
    w->turned ^= before;
    w->scale = d->in[1];
    w->zero = d->nin > 2 ? d->in[2] : NULL;
    w->block = attr_int(d, "block_size", 0);
    if (value_count(w->scale) > 1 || w->block) {
        int64_t axis = attr_int(d, "axis", 1);
        w->axis = (int)(axis < 0 ? axis + v->rank : axis);
        w->axis = before ? 1 - w->axis : w->axis;
    }
    return true;
}

static Value *bytes_const(const Weights *w, const char *name, DType t, int rank, const int64_t *dim, const uint8_t *bytes, int64_t count) {
    Graph *g = w->x->graph;
    return graph_const(g, graph_fresh_name(g, name), t, rank, dim, (Data){bytes, (size_t)count});
}

static int64_t offset_of(DType t) { return dtype_is_signed(t) && dtype_width(t) < 8 ? (int64_t)1 << (dtype_width(t) - 1) : 0; }

/* Element i of elements of t, without a sign where there are several in a byte. */
static uint8_t packed_element(const Value *v, int64_t i) { return (uint8_t)(const_int(v, i) + offset_of(v->dtype)); }

/* --- products with a matrix --- */

/* Column c at place k of the product is element k * step[0] + c * step[1]. */
typedef struct Matrix {
    int64_t k, n, step[2];
    int k_axis;
} Matrix;

static void pack_column(const Value *x, const Matrix *m, const Blocks *p, int64_t c, uint8_t *to) {
    int64_t first = c / PANEL * PANEL, columns = m->n - first < PANEL ? m->n - first : PANEL;
    to += first * p->count * p->bytes + c % PANEL;
    for (int64_t k = 0; k < m->k; k++) {
        int64_t row = k / p->size * p->bytes + k % p->size / p->each;
        to[row * columns] |= (uint8_t)(packed_element(x, k * m->step[0] + c * m->step[1]) << (k % p->size % p->each * p->bits));
    }
}

/* The place of block b of column c among scales and zero points. */
static int64_t scale_place(const Weights *w, const Matrix *m, const Blocks *p, int64_t b, int64_t c) {
    if (w->axis < 0)
        return 0;
    if (!w->block)
        return c;
    return m->k_axis == 0 ? b * m->n + c : c * p->count + b;
}

static Value *packed_zeros(const Weights *w, const Matrix *m, const Blocks *p) {
    DType t = w->x->dtype, to = offset_of(t) || t != DT_I8 ? DT_U8 : DT_I8;
    int64_t rows = p->zeros, middle = to == DT_I8 ? 0 : (int64_t)1 << (p->bits - 1);
    uint8_t *bytes = ARENA_ARRAY(w->x->graph->arena, uint8_t, rows * m->n);
    bool usual = true;
    for (int64_t b = 0; b < p->count; b++)
        for (int64_t c = 0; c < m->n; c++) {
            int64_t place = value_count(w->zero ? w->zero : w->scale) > 1 ? scale_place(w, m, p, b, c) : 0;
            uint8_t z = w->zero ? packed_element(w->zero, place) : (uint8_t)offset_of(t);
            usual &= z == middle;
            bytes[b / p->each * m->n + c] |= (uint8_t)(z << (b % p->each * p->bits));
        }
    return usual ? NULL : bytes_const(w, "zeros", to, 2, (int64_t[]){rows, m->n}, bytes, rows * m->n);
}

static Value *spread_scales(const Weights *w, const Matrix *m, const Blocks *p) {
    float *scales = ARENA_ARRAY(w->x->graph->arena, float, p->count * m->n);
    for (int64_t b = 0; b < p->count; b++)
        for (int64_t c = 0; c < m->n; c++)
            scales[b * m->n + c] = (float)const_float(w->scale, scale_place(w, m, p, b, c));
    Graph *g = w->x->graph;
    return graph_const(g, graph_fresh_name(g, w->scale->name), DT_F32, 2, (int64_t[]){p->count, m->n},
                       (Data){scales, (size_t)(p->count * m->n) * sizeof *scales});
}

static bool read_matrix(const Node *n, const Weights *w, Matrix *m) {
    bool gemm = edit_is(n, "Gemm"), flip = w->turned ^ (gemm && attr_int(n, "transB", 0) != 0);
    const Value *x = w->x, *c = n->nin > 2 ? n->in[2] : NULL;
    if ((!gemm && !edit_is(n, "MatMul")) || x->rank != 2 || !value_count(x) || dtype_size(x->dtype) != 1)
        return false;
    *m = (Matrix){x->dim[flip], x->dim[!flip], {flip ? 1 : x->dim[1], flip ? x->dim[1] : 1}, flip};
    if (gemm && (attr_int(n, "transA", 0) || attr_float(n, "alpha", 1) != 1 ||
                 (c && (attr_float(n, "beta", 1) != 1 || c->rank != 1 || c->dim[0] != m->n))))
        return false;
    return w->axis < 0 || w->axis == (w->block ? m->k_axis : !m->k_axis);
}

static bool pack_matrix(Node *n, const Weights *w) {
    Matrix m;
    if (!read_matrix(n, w, &m))
        return false;
    DType t = w->x->dtype;
    const Blocks p = blocks_of(m.k, m.n, dtype_width(t), w->block && w->block < m.k ? w->block : m.k);
    int64_t rows = p.count * p.bytes;
    uint8_t *bytes = ARENA_ARRAY(n->graph->arena, uint8_t, rows * m.n);
    for (int64_t c = 0; c < m.n; c++)
        pack_column(w->x, &m, &p, c, bytes);
    Value *packed = bytes_const(w, w->x->name, t == DT_I8 ? DT_I8 : DT_U8, 1, (int64_t[]){rows * m.n}, bytes, rows * m.n);
    Value *in[] = {n->in[0], packed, spread_scales(w, &m, &p), NULL, NULL, n->nin > 2 ? n->in[2] : NULL};
    in[3] = packed_zeros(w, &m, &p);
    const Attr attrs[] = {edit_int("K", m.k), edit_int("N", m.n), edit_int("bits", p.bits), edit_int("block_size", p.size)};
    Node *y = edit_node_with(n, "mlcc", "MatMulBlocks", n, 6, in, 4, attrs);
    edit_add_sources(y, w->d);
    return edit_replace(n->out[0], y->out[0]);
}

/* --- weights of any other operator --- */

/* The axis along which elements share a byte: not that of vectors; -1: n does not take such weights there. */
static int shared_axis(const Node *n, int input, int rank) {
    int64_t axis = -1;
    if (input == 1 && (edit_is(n, "Conv") || edit_is(n, "ConvTranspose")))
        axis = edit_is(n, "Conv") ? 1 : 0;
    else if ((input == 1 || input == 2) && (edit_is(n, "LSTM") || edit_is(n, "GRU") || edit_is(n, "RNN")))
        axis = 2;
    else if (input == 0 && edit_is(n, "Gather"))
        axis = attr_int(n, "axis", 0) + (attr_int(n, "axis", 0) < 0 ? rank : 0);
    else if (input < 2 && (edit_is(n, "MatMul") || edit_is(n, "Gemm")))
        axis = rank - (input && rank > 1 ? 2 : 1);
    return axis < rank ? (int)axis : -1;
}

/* The same, or another one where that has one element. */
static int packed_axis(const Node *n, int input, const Value *x) {
    int axis = shared_axis(n, input, x->rank);
    for (int d = x->rank - 1; d > 0 && axis >= 0 && x->dim[axis] < 2; d--)
        axis = x->dim[d] > 1 ? d : axis;
    return axis;
}

static Value *pack_along(const Weights *w, int axis) {
    const Value *x = w->x;
    int64_t dim[GRAPH_MAX_RANK], inner = 1, outer = 1, each = 8 / dtype_width(x->dtype), bits = dtype_width(x->dtype);
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    for (int d = 0; d < x->rank; d++)
        *(d < axis ? &outer : &inner) *= d == axis ? 1 : x->dim[d];
    int64_t size = dim[axis];
    dim[axis] = divide_up(size, each);
    int64_t count = outer * dim[axis] * inner;
    uint8_t *bytes = ARENA_ARRAY(x->graph->arena, uint8_t, count);
    for (int64_t i = 0; i < outer * size * inner; i++) {
        int64_t k = i / inner % size, at = (i / inner / size * dim[axis] + k / each) * inner + i % inner;
        bytes[at] |= (uint8_t)(packed_element(x, i) << (k % each * bits));
    }
    return bytes_const(w, x->name, DT_U8, x->rank, dim, bytes, count);
}

/* Scales or zero points with the rank of the elements; those of narrow elements as bytes. */
static Value *with_rank(const Weights *w, Value *v) {
    int64_t dim[GRAPH_MAX_RANK];
    int rank = w->x->rank;
    for (int d = 0; d < rank; d++)
        dim[d] = w->block ? v->dim[d] : d == w->axis ? value_count(v) : 1;
    if (dtype_width(v->dtype) >= 8)
        return edit_reshaped_const(v, rank, dim);
    uint8_t *bytes = ARENA_ARRAY(v->graph->arena, uint8_t, value_count(v));
    for (int64_t i = 0; i < value_count(v); i++)
        bytes[i] = packed_element(v, i);
    return bytes_const(w, v->name, DT_U8, rank, dim, bytes, value_count(v));
}

/* Signed narrow elements have a zero point even without one. */
static Value *zero_of(const Weights *w) {
    int64_t offset = offset_of(w->x->dtype);
    if (w->zero)
        return value_count(w->zero) == value_count(w->scale) ? with_rank(w, w->zero) : NULL;
    DType t = dtype_width(w->x->dtype) < 8 ? DT_U8 : w->x->dtype;
    const Value *scale = with_rank(w, w->scale);
    int64_t count = value_count(scale) * dtype_size(t);
    uint8_t *bytes = ARENA_ARRAY(w->x->graph->arena, uint8_t, count);
    memset(bytes, (int)offset, (size_t)count); /* which only elements of less than 8 bits have */
    return bytes_const(w, "zeros", t, scale->rank, scale->dim, bytes, count);
}

static bool keep_packed(Node *n, int input, const Weights *w) {
    int axis = w->turned ? -1 : packed_axis(n, input, w->x);
    if (axis < 0 || !value_count(w->x))
        return false;
    bool narrow = dtype_width(w->x->dtype) < 8;
    Value *in[] = {narrow ? pack_along(w, axis) : w->x, NULL, NULL};
    in[1] = with_rank(w, w->scale);
    in[2] = zero_of(w);
    const Attr attrs[] = {edit_int("block_size", w->block ? w->block : 1), edit_int("bits", dtype_width(w->x->dtype)),
                          edit_int("packed_axis", axis), edit_int("size", w->x->dim[axis])};
    Node *y = edit_node_with(n, "mlcc", "Dequantize", w->d, 3, in, narrow ? 4 : 1, attrs);
    node_set_input(n, input, y->out[0]);
    return true;
}

/* Floats that are stored in 16 bits; false where input i is not. */
static bool keep_half(Node *n, int i) {
    const Node *cast = n->in[i]->kind == VALUE_NODE ? n->in[i]->def : NULL;
    if (!n->graph->half_weights || !cast || !edit_is(cast, "Cast") || n->in[i]->dtype != DT_F32 || !value_is_const(cast->in[0]) ||
        !dtype_is_half(cast->in[0]->dtype))
        return false;
    node_set_input(n, i, edit_node_with(n, "mlcc", "Widen", cast, 1, cast->in, cast->nattrs, cast->attr)->out[0]);
    return true;
}

/* Every tile of a convolution's output would make the same numbers again. Where all of them fit the first cache, bytes are not
 * what is scarce. */
static bool better_folded(const Node *n, const Weights *w, const Target *t) {
    bool conv = edit_is(n, "Conv") || edit_is(n, "ConvTranspose");
    return conv && t && target_lanes(t) > 1 && value_count(w->x) * (int64_t)sizeof(float) <= t->l1;
}

static bool keep(Node *n, const Target *t, bool *failed) {
    Weights w;
    for (int i = 0; i < n->nin && i < 3 && !*failed; i++) {
        if (!n->in[i] || shared_axis(n, i, n->in[i]->rank) < 0 || keep_half(n, i) || !read_weights(n->in[i], &w, failed) ||
            better_folded(n, &w, t))
            continue;
        if (i == 1 && pack_matrix(n, &w))
            return true;
        keep_packed(n, i, &w);
    }
    return false;
}

bool pass_weights(Graph *g, const Target *t) {
    bool failed = false;
    fold_begin(g);
    for (Node *n = g->first, *next; n && !failed; n = next) {
        next = n->next;
        if (!(n->out[0] && fold_is_possible(n->out[0])) && keep(n, t, &failed))
            node_remove(n);
    }
    pass_dead(g);
    return !failed;
}
