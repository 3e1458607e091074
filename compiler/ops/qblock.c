/* SPDX-License-Identifier: Apache-2.0 */
/* com.microsoft.MatMulNBits: a matrix product with weights of 2, 4 or 8 bits, one scale for each block of a column. */
#include "ops/quant.h"
#include "ops/rules.h"

/* Inputs: A, B (columns x blocks x bytes, the first element in the lowest bits), scales, zero points (packed like B, or
 * numbers; the middle of the range where absent), -, bias. */
typedef struct Blocks {
    int64_t k, n, bits, size, count; /* depth, columns, bits an element, elements a block, blocks a column */
} Blocks;

static int64_t bytes_for(const Blocks *b, int64_t elements) { return (elements * b->bits + 7) / 8; }

static bool has_elements(const Node *n, int i, int64_t count) {
    if (!quant_has(n, i) || value_count(n->in[i]) == count)
        return true;
    return infer_error(n, "input %d has %lld elements where %lld are needed", i, (long long)value_count(n->in[i]), (long long)count);
}

static bool read_blocks(const Node *n, Blocks *b) {
    *b = (Blocks){attr_int(n, "K", 0), attr_int(n, "N", 0), attr_int(n, "bits", 4), attr_int(n, "block_size", 0), 0};
    if (b->k < 1 || b->n < 1 || b->k > INT32_MAX || b->n > INT32_MAX)
        return infer_error(n, "attributes \"K\" and \"N\" must be sizes");
    if (b->bits != 2 && b->bits != 4 && b->bits != 8)
        return infer_error(n, "attribute \"bits\" is %lld; 2, 4 and 8 are supported", (long long)b->bits);
    if (b->size < 8 || b->size > INT32_MAX || (b->size & (b->size - 1)))
        return infer_error(n, "attribute \"block_size\" must be a power of 2, and 8 at least");
    b->count = (b->k + b->size - 1) / b->size;
    return true;
}

INFER(infer_matmul_blocks) {
    static const DType floats[] = {DT_F32, DT_F16, DT_BF16, DT_NONE}, bytes[] = {DT_U8, DT_NONE};
    Blocks b;
    const Value *x = n->in[0];
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_type_in(n, 0, floats) || !infer_type_in(n, 1, bytes) || !read_blocks(n, &b))
        return false;
    if (quant_has(n, 4))
        return infer_error(n, "input 4 (the order of groups) is not supported");
    if (x->rank < 1 || x->dim[x->rank - 1] != b.k)
        return infer_error(n, "the last axis of A is not K (%lld)", (long long)b.k);
    bool packed = quant_has(n, 3) && n->in[3]->dtype == DT_U8;
    if (n->in[2]->dtype != x->dtype || (quant_has(n, 3) && !packed && n->in[3]->dtype != x->dtype) || (quant_has(n, 5) && n->in[5]->dtype != x->dtype))
        return infer_error(n, "scales, numbers for zero points and bias must have the type of A");
    if (!has_elements(n, 1, b.n * b.count * bytes_for(&b, b.size)) || !has_elements(n, 2, b.n * b.count) || !has_elements(n, 5, b.n) ||
        !has_elements(n, 3, b.n * (packed ? bytes_for(&b, b.count) : b.count)))
        return false;
    for (int d = 0; d < x->rank; d++)
        dim[d] = x->dim[d];
    dim[x->rank - 1] = b.n;
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

/* Element `flat` of input i, whatever its rank. */
static KValue *load_flat(Lower *l, const Node *n, int i, KIndex flat) {
    const Value *v = n->in[i];
    KIndex at[GRAPH_MAX_RANK];
    for (int d = v->rank - 1; d >= 0; d--) {
        at[d] = d ? kx_rem(&l->b, flat, v->dim[d]) : flat;
        flat = d ? kx_div(&l->b, flat, v->dim[d]) : flat;
    }
    return lower_load(l, n, i, at);
}

/* Number `at` of those that are packed into bytes from `first` on. */
static KValue *unpacked(Lower *l, const Node *n, int i, KIndex first, KIndex at, int64_t bits) {
    KBuilder *b = &l->b;
    KValue *byte = kb_cast(b, load_flat(l, n, i, kx_add(l->arena, first, kx_div(b, at, 8 / bits))), DT_I32);
    KValue *shift = kb_cast(b, kx_value(b, kx_scale(l->arena, kx_rem(b, at, 8 / bits), bits)), DT_I32);
    return kb_binary(b, KOP_AND, kb_binary(b, KOP_SHR, byte, shift), kb_int(b, DT_I32, ((int64_t)1 << bits) - 1));
}

ELEMENT(element_matmul_blocks) {
    Blocks s;
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    int rank = n->in[0]->rank;
    read_blocks(n, &s);
    KIndex column = idx[rank - 1], at[GRAPH_MAX_RANK];
    KValue *sum = quant_has(n, 5) ? kb_cast(b, load_flat(l, n, 5, column), DT_F32) : kb_float(b, DT_F32, 0);
    KInstr *blocks = lower_for(l, KLOOP_REDUCE, "block", 0, s.count, 1, &sum);
    KIndex block = lower_iv(l, blocks), flat = kx_add(a, kx_scale(a, column, s.count), block);
    KValue *zero = kb_float(b, DT_F32, (double)(1 << (s.bits - 1)));
    if (quant_has(n, 3) && n->in[3]->dtype == DT_U8)
        zero = kb_cast(b, unpacked(l, n, 3, kx_scale(a, column, bytes_for(&s, s.count)), block, s.bits), DT_F32);
    else if (quant_has(n, 3))
        zero = load_flat(l, n, 3, flat);
    KValue *scale = load_flat(l, n, 2, flat), *part = kb_float(b, DT_F32, 0), *end = kb_int(b, DT_INDEX, s.size);
    if (s.k % s.size) /* the last block is cut off */
        end = kb_binary(b, KOP_MIN, end, kx_value(b, kx_sub(a, kx_const(a, s.k), kx_scale(a, block, s.size))));
    KInstr *loop = kb_for(b, KLOOP_REDUCE, "k", kb_int(b, DT_INDEX, 0), end, 1, 1, &part);
    KIndex k = lower_iv(l, loop);
    for (int d = 0; d < rank; d++)
        at[d] = d == rank - 1 ? kx_add(a, kx_scale(a, block, s.size), k) : idx[d];
    KValue *element = kb_cast(b, unpacked(l, n, 1, kx_scale(a, flat, bytes_for(&s, s.size)), k, s.bits), DT_F32);
    KValue *next = kb_fma(b, lower_load(l, n, 0, at), kb_binary(b, KOP_SUB, element, zero), kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    next = kb_fma(b, kb_result(loop, 0), scale, kb_carried(blocks, 0));
    kb_end_for(b, blocks, &next);
    return kb_result(blocks, 0);
}

MACS(macs_matmul_blocks) { return (double)value_count(n->out[0]) * (double)attr_int(n, "K", 0); }
