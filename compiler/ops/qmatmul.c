/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products of 8-bit integers. As in convolution, what the left zero point adds to a sum comes from the sums of the
 * right operand's columns, which are known when compiling where the operand is. */
#include "ops/expand.h"
#include "ops/quant.h"
#include "ops/rules.h"

/* Which inputs have what; -1: none. */
typedef struct Inputs {
    int right, zero, right_zero, bias;
    bool transposed, right_transposed;
} Inputs;

static const Inputs integer_inputs = {1, 2, 3, -1, false, false}, qlinear_inputs = {3, 2, 5, -1, false, false};

static Inputs qgemm_inputs(const Node *n) {
    return (Inputs){3, 2, 5, 6, attr_int(n, "transA", 0) != 0, attr_int(n, "transB", 0) != 0};
}

/* The parts of an output index: batch axes, row, column; NULL where the operand is a vector. */
typedef struct OutputPlace {
    const KIndex *batch;
    int nbatch;
    KIndex row, column;
} OutputPlace;

static OutputPlace place_of(const Node *n, const Inputs *in, const KIndex *idx) {
    const Value *x = n->in[0], *y = n->in[in->right];
    int rank = n->out[0]->rank, nbatch = rank - (x->rank > 1) - (y->rank > 1);
    return (OutputPlace){idx, nbatch, x->rank > 1 ? idx[nbatch] : NULL, y->rank > 1 ? idx[rank - 1] : NULL};
}

static void operand_index(Lower *l, const Value *v, const OutputPlace *p, KIndex row, KIndex column, KIndex *at) {
    int own = v->rank > 2 ? v->rank - 2 : 0;
    for (int d = 0; d < own; d++)
        at[d] = v->dim[d] == 1 ? kx_const(l->arena, 0) : p->batch[p->nbatch - own + d];
    if (v->rank > 1) {
        at[own] = row;
        at[own + 1] = column;
    } else {
        at[0] = row ? row : column;
    }
}

/* A scale or zero point: one, one for each row (of the right operand: column), or of the operand's rank. */
static KValue *param_at(Lower *l, const Node *n, int i, bool right, const OutputPlace *p, DType t) {
    KIndex at[GRAPH_MAX_RANK], zero = kx_const(l->arena, 0), place = right ? p->column : p->row;
    if (!quant_has(n, i))
        return kb_int(&l->b, t, 0);
    const Value *v = n->in[i];
    if (v->rank > 1)
        operand_index(l, v, p, right ? zero : place, right ? place : zero, at);
    else
        at[0] = place;
    for (int d = 0; d < v->rank; d++)
        at[d] = v->dim[d] == 1 || !at[d] ? zero : at[d];
    return kb_cast(&l->b, lower_load(l, n, i, at), t);
}

static bool infer_param(const Node *n, int i, int operand, bool right, bool transposed, DType t) {
    if (!quant_has(n, i))
        return true;
    const Value *v = n->in[i], *x = n->in[operand];
    bool rows = right == transposed; /* channels are the operand's rows, counted as it is stored */
    int64_t channels = x->rank > 1 ? x->dim[x->rank - (rows ? 2 : 1)] : 0;
    if (v->rank <= 1 || value_count(v) == 1)
        return quant_infer_param(n, i, t, channels);
    if (t == DT_NONE ? !infer_float(n, i) : v->dtype != t)
        return t != DT_NONE && infer_error(n, "input %d has element type %s where %s is needed", i, dtype_name(v->dtype),
                                           dtype_name(t));
    bool fits = v->rank == x->rank;
    for (int d = 0; fits && d < v->rank; d++)
        fits = v->dim[d] == 1 || (v->dim[d] == x->dim[d] && d != x->rank - (rows ? 1 : 2));
    return fits || infer_error(n, "input %d does not fit the rows or columns of input %d", i, operand);
}

static bool columns_known(const Node *n, const Inputs *in) {
    const Value *y = n->in[in->right];
    return value_is_const(y) && y->rank == 2 && quant_is_zero(n, in->right_zero);
}

/* bias - zero * sum of the column; zero 0 where the sums themselves are wanted, negated. */
static KValue *from_columns(Lower *l, const Node *n, const Inputs *in, int32_t zero, const Value *bias, KIndex column) {
    const Value *y = n->in[in->right];
    int64_t columns = y->dim[in->right_transposed ? 0 : 1], depth = y->dim[in->right_transposed ? 1 : 0];
    uint32_t *table = ARENA_ARRAY(l->arena, uint32_t, columns);
    for (int64_t k = 0; k < depth; k++)
        for (int64_t c = 0; c < columns; c++)
            table[c] -= (uint32_t)const_int(y, in->right_transposed ? c * depth + k : k * columns + c);
    for (int64_t c = 0; c < columns; c++)
        table[c] = table[c] * (uint32_t)zero + (bias ? (uint32_t)const_int(bias, value_count(bias) > 1 ? c : 0) : 0);
    return kb_load(&l->b, lower_table(l, arena_printf(l->arena, "%s_bias", n->name), DT_I32, columns, table), column);
}

/* What the sum starts from; *zero is what remains to be subtracted from each element on the left. */
static KValue *start(Lower *l, const Node *n, const Inputs *in, const OutputPlace *p, const KIndex *idx, int *shift, KValue **zero) {
    KBuilder *b = &l->b;
    const Value *bias = quant_has(n, in->bias) ? n->in[in->bias] : NULL;
    bool by_column = bias && value_is_const(bias) && (value_count(bias) == 1 || bias->dim[bias->rank - 1] == value_count(bias));
    *shift = columns_known(n, in) ? quant_shift(l, n->in[0]->dtype) : 0;
    if ((*shift || !quant_is_zero(n, in->zero)) && columns_known(n, in)) {
        *zero = kb_int(b, DT_I32, 0);
        if (quant_has(n, in->zero) && value_is_number(n->in[in->zero]) && (!bias || by_column))
            return from_columns(l, n, in, (int32_t)const_int(n->in[in->zero], 0) + *shift, bias, p->column);
        KValue *stored = kb_binary(b, KOP_ADD, param_at(l, n, in->zero, false, p, DT_I32), kb_int(b, DT_I32, *shift));
        KValue *sum = kb_binary(b, KOP_MUL, from_columns(l, n, in, 1, NULL, p->column), stored);
        return bias ? kb_binary(b, KOP_ADD, sum, lower_load_broadcast(l, n, in->bias, idx)) : sum;
    }
    *zero = param_at(l, n, in->zero, false, p, DT_I32);
    return bias ? lower_load_broadcast(l, n, in->bias, idx) : kb_int(b, DT_I32, 0);
}

static KValue *multiply(Lower *l, const Node *n, const Inputs *in, const KIndex *idx) {
    const Value *x = n->in[0], *y = n->in[in->right];
    OutputPlace p = place_of(n, in, idx);
    KIndex at[GRAPH_MAX_RANK], to[GRAPH_MAX_RANK];
    int shift;
    KValue *zero, *sum = start(l, n, in, &p, idx, &shift, &zero), *right_zero = kb_int(&l->b, DT_I32, 0);
    if (!quant_is_zero(n, in->right_zero))
        right_zero = param_at(l, n, in->right_zero, true, &p, DT_I32);
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "k", 0, x->dim[x->rank - (in->transposed ? 2 : 1)], 1, &sum);
    KIndex k = lower_iv(l, loop);
    operand_index(l, x, &p, in->transposed ? k : p.row, in->transposed ? p.row : k, at);
    operand_index(l, y, &p, in->right_transposed ? p.column : k, in->right_transposed ? k : p.column, to);
    KValue *element = lower_load(l, n, 0, at);
    KValue *left = quant_centred(l, shift ? quant_shifted(l, element) : element, zero),
           *right = quant_centred(l, lower_load(l, n, in->right, to), right_zero);
    KValue *next = kb_fma(&l->b, left, right, kb_carried(loop, 0));
    kb_end_for(&l->b, loop, &next);
    return kb_result(loop, 0);
}

/* numpy.matmul's shape. */
static bool infer_product(Node *n, const Inputs *in, int scale, int right_scale, DType t) {
    const Value *x = n->in[0], *y = n->in[in->right];
    int64_t dim[GRAPH_MAX_RANK];
    if (!(scale < 0 ? quant_infer_bytes(n, 0) : quant_infer_element(n, 0)) || !quant_infer_bytes(n, in->right))
        return false;
    if (x->rank < 1 || y->rank < 1)
        return infer_error(n, "scalars cannot be multiplied as matrices");
    int64_t k = x->dim[x->rank - (in->transposed ? 2 : 1)], k2 = y->dim[y->rank > 1 ? y->rank - (in->right_transposed ? 1 : 2) : 0];
    if (k != k2)
        return infer_error(n, "the inner sizes %lld and %lld differ", (long long)k, (long long)k2);
    if (!infer_param(n, in->zero, 0, false, in->transposed, x->dtype) || !infer_param(n, scale, 0, false, in->transposed, DT_NONE) ||
        !infer_param(n, in->right_zero, in->right, true, in->right_transposed, y->dtype) ||
        !infer_param(n, right_scale, in->right, true, in->right_transposed, DT_NONE))
        return false;
    int rank = infer_broadcast(n, x->rank > 2 ? x->rank - 2 : 0, x->dim, y->rank > 2 ? y->rank - 2 : 0, y->dim, dim);
    if (rank < 0)
        return false;
    if (x->rank > 1)
        dim[rank++] = x->dim[x->rank - (in->transposed ? 1 : 2)];
    if (y->rank > 1)
        dim[rank++] = y->dim[y->rank - (in->right_transposed ? 2 : 1)];
    return infer_set(n, 0, t, rank, dim);
}

static double macs(const Node *n, bool transposed) {
    const Value *x = n->in[0];
    return (double)value_count(n->out[0]) * (double)x->dim[x->rank - (transposed ? 2 : 1)];
}

INFER(infer_matmul_integer) { return infer_product(n, &integer_inputs, -1, -1, DT_I32); }

ELEMENT(element_matmul_integer) { return multiply(l, n, &integer_inputs, idx); }

MACS(macs_qmatmul) { return macs(n, false); }

/* --- QLinearMatMul: x, its scale and zero point, y, its, those of the output --- */

/* Scales of left, right and output together. */
static KValue *ratio(Lower *l, const Node *n, const OutputPlace *p, int scale, int right_scale, int out_scale) {
    KBuilder *b = &l->b;
    bool by_column = value_count(n->in[scale]) == 1 && (out_scale < 0 || value_count(n->in[out_scale]) == 1) &&
                     n->in[right_scale]->rank < 2;
    if (by_column)
        return quant_ratio(l, n, scale, right_scale, out_scale, p->column);
    KValue *r = kb_binary(b, KOP_MUL, param_at(l, n, scale, false, p, DT_F32), param_at(l, n, right_scale, true, p, DT_F32));
    return out_scale < 0 ? r : kb_binary(b, KOP_DIV, r, param_at(l, n, out_scale, false, p, DT_F32));
}

static bool infer_output(const Node *n, int scale, int zero) {
    return quant_infer_element(n, zero) && quant_infer_param(n, scale, DT_NONE, 0) && quant_infer_param(n, zero, n->in[zero]->dtype, 0);
}

INFER(infer_qlinear_matmul) { return infer_output(n, 6, 7) && infer_product(n, &qlinear_inputs, 1, 4, n->in[7]->dtype); }

ELEMENT(element_qlinear_matmul) {
    OutputPlace p = place_of(n, &qlinear_inputs, idx);
    KValue *sum = multiply(l, n, &qlinear_inputs, idx);
    KValue *fixed = quant_fixed(l, n, 1, &(QuantTerm){sum, 0, 1, 4, p.column, 1}, 6, n->out[0]->dtype);
    if (fixed)
        return fixed;
    KValue *y = kb_binary(&l->b, KOP_MUL, kb_cast(&l->b, sum, DT_F32), ratio(l, n, &p, 1, 4, 6));
    return quant_round(l, y, quant_param(l, n, 7, NULL, DT_I32), n->out[0]->dtype);
}

/* --- com.microsoft.QGemm: a, its scale and zero point, b, its, C (int32), those of the output; float without them --- */

INFER(infer_qgemm) {
    Inputs in = qgemm_inputs(n);
    bool quantised = quant_has(n, 7) && quant_has(n, 8);
    if (n->in[0]->rank != 2 || n->in[3]->rank != 2)
        return infer_error(n, "A and B have ranks %d and %d; both must be 2", n->in[0]->rank, n->in[3]->rank);
    if ((quantised && !infer_output(n, 7, 8)) || (!quantised && (quant_has(n, 7) || quant_has(n, 8))))
        return quantised ? false : infer_error(n, "the output has a scale without a zero point, or the reverse");
    if (!infer_product(n, &in, 1, 4, quantised ? n->in[8]->dtype : DT_F32))
        return false;
    if (!quant_has(n, 6))
        return true;
    int64_t dim[GRAPH_MAX_RANK];
    const Value *c = n->in[6], *y = n->out[0];
    if (!y)
        return true;
    if (c->dtype != DT_I32)
        return infer_error(n, "C has element type %s where i32 is needed", dtype_name(c->dtype));
    int rank = infer_broadcast(n, 2, y->dim, c->rank, c->dim, dim);
    if (rank < 0)
        return false;
    return (rank == 2 && dim[0] == y->dim[0] && dim[1] == y->dim[1]) || infer_error(n, "C does not broadcast to the output");
}

ELEMENT(element_qgemm) {
    Inputs in = qgemm_inputs(n);
    KBuilder *b = &l->b;
    OutputPlace p = place_of(n, &in, idx);
    float alpha = attr_float(n, "alpha", 1.0f);
    bool quantised = quant_has(n, 8);
    KValue *sum = multiply(l, n, &in, idx);
    QuantTerm term = {sum, 0, 1, 4, p.column, (double)alpha};
    KValue *fixed = quantised ? quant_fixed(l, n, 1, &term, 7, n->out[0]->dtype) : NULL;
    if (fixed)
        return fixed;
    sum = kb_cast(b, sum, DT_F32);
    KValue *y =
        kb_binary(b, KOP_MUL, sum,
                  kb_binary(b, KOP_MUL, ratio(l, n, &p, 1, 4, quantised ? 7 : -1), kb_float(b, DT_F32, (double)alpha)));
    return quantised ? quant_round(l, y, quant_param(l, n, 8, NULL, DT_I32), n->out[0]->dtype) : y;
}

MACS(macs_qgemm) { return macs(n, attr_int(n, "transA", 0) != 0); }

/* --- com.microsoft.MatMulIntegerToFloat: A, B, their scales, their zero points, bias (float) --- */

static const Inputs to_float_inputs = {1, 4, 5, -1, false, false};

INFER(infer_matmul_to_float) {
    if (!infer_product(n, &to_float_inputs, 2, 3, n->in[2]->dtype))
        return false;
    if (!quant_has(n, 6) || !n->out[0])
        return true;
    const Value *bias = n->in[6], *y = n->out[0];
    bool fits = bias->rank == 1 && y->rank && bias->dim[0] == y->dim[y->rank - 1] && bias->dtype == y->dtype;
    return fits || infer_error(n, "the bias must have one element of the output's type for each column");
}

ELEMENT(element_matmul_to_float) {
    KBuilder *b = &l->b;
    OutputPlace p = place_of(n, &to_float_inputs, idx);
    DType t = lower_compute_type(n->out[0]->dtype);
    KValue *sum = kb_cast(b, multiply(l, n, &to_float_inputs, idx), t);
    KValue *scale = kb_cast(b, ratio(l, n, &p, 2, 3, -1), t);
    return quant_has(n, 6) ? kb_fma(b, sum, scale, lower_load_broadcast(l, n, 6, idx)) : kb_binary(b, KOP_MUL, sum, scale);
}

/* --- com.microsoft.DynamicQuantizeMatMul: A (float), B, its scale and zero point, bias --- */

INFER(infer_dynamic_quantize_matmul) {
    Graph *g = n->graph;
    Value *x = n->in[0], *zero = quant_has(n, 3) ? n->in[3] : NULL, *bias = quant_has(n, 4) ? n->in[4] : NULL;
    Node *q = graph_node(g, n, "", "DynamicQuantizeLinear", n->name, 1, &x, 3, NULL);
    Value *in[] = {q->out[0], n->in[1], q->out[1], n->in[2], q->out[2], zero, bias};
    Node *y = graph_node(g, n, "com.microsoft", "MatMulIntegerToFloat", n->name, 7, in, 1, NULL);
    q->sources = y->sources = n->sources;
    replace_output(n, 0, y->out[0]);
    node_remove(n);
    return true;
}
