/* SPDX-License-Identifier: Apache-2.0 */
/* Elementwise operators: ONNX "Operators.md", numpy broadcasting. NaN goes through Min, Max, Relu and Clip as in numpy. */
#include <math.h>
#include <string.h>

#include "ops/rules.h"

#define X(i) lower_load_broadcast(l, n, i, idx)

static KValue *like(Lower *l, const KValue *x, double c) { return kb_const_like(&l->b, x->type, c); }
static KValue *add(Lower *l, KValue *x, KValue *y) { return kb_binary(&l->b, KOP_ADD, x, y); }
static KValue *sub(Lower *l, KValue *x, KValue *y) { return kb_binary(&l->b, KOP_SUB, x, y); }
static KValue *mul(Lower *l, KValue *x, KValue *y) { return kb_binary(&l->b, KOP_MUL, x, y); }
static KValue *divide(Lower *l, KValue *x, KValue *y) { return kb_binary(&l->b, KOP_DIV, x, y); }
static KValue *less(Lower *l, KValue *x, KValue *y) { return kb_binary(&l->b, KOP_LT, x, y); }
static KValue *math1(Lower *l, KMath f, KValue *x) { return kb_math(&l->b, f, x, NULL); }

/* MIN and MAX of the kernel IR give their second operand on NaN: with x second, NaN in x stays. */
static KValue *at_least(Lower *l, KValue *x, double c) { return kb_binary(&l->b, KOP_MAX, like(l, x, c), x); }
static KValue *at_most(Lower *l, KValue *x, double c) { return kb_binary(&l->b, KOP_MIN, like(l, x, c), x); }

/* --- shape and type rules --- */

INFER(infer_arithmetic) {
    for (int i = 0; i < n->nin; i++)
        if (!infer_present(n, i) || !infer_numeric(n, i))
            return false;
    return infer_elementwise(n);
}

INFER(infer_float_unary) { return infer_float(n, 0) && infer_same(n); }

INFER(infer_numeric_unary) { return infer_numeric(n, 0) && infer_same(n); }

INFER(infer_compare) { return infer_one_type(n) && (n->in[0]->dtype == DT_BOOL || infer_numeric(n, 0)) && infer_broadcast_all(n, DT_BOOL); }

INFER(infer_logical) {
    static const DType allowed[] = {DT_BOOL, DT_NONE};
    return infer_type_in(n, 0, allowed) && infer_elementwise(n);
}

INFER(infer_bitwise) {
    if (!dtype_is_integer(n->in[0]->dtype))
        return infer_error(n, "input 0 has element type %s; an integer type is needed", dtype_name(n->in[0]->dtype));
    return infer_elementwise(n);
}

INFER(infer_bitshift) {
    const char *direction = attr_string(n, "direction", "");
    if (strcmp(direction, "LEFT") && strcmp(direction, "RIGHT"))
        return infer_error(n, "attribute \"direction\" must be LEFT or RIGHT");
    return infer_bitwise(n);
}

INFER(infer_where) {
    if (n->in[0]->dtype != DT_BOOL)
        return infer_error(n, "the condition has element type %s; bool is needed", dtype_name(n->in[0]->dtype));
    if (n->in[1]->dtype != n->in[2]->dtype)
        return infer_error(n, "inputs 1 and 2 have element types %s and %s; they must be the same", dtype_name(n->in[1]->dtype),
                           dtype_name(n->in[2]->dtype));
    return infer_broadcast_all(n, n->in[1]->dtype);
}

INFER(infer_cast) {
    int64_t to = attr_int(n, "to", 0);
    DType t = to > 0 && to < 1000 ? dtype_from_onnx((int32_t)to) : DT_NONE;
    if (t == DT_NONE || t == DT_STRING || n->in[0]->dtype == DT_STRING)
        return infer_error(n, "a cast from %s to ONNX element type %lld is not supported", dtype_name(n->in[0]->dtype), (long long)to);
    return infer_set(n, 0, t, n->in[0]->rank, n->in[0]->dim);
}

INFER(infer_cast_like) {
    if (n->in[0]->dtype == DT_STRING || n->in[1]->dtype == DT_STRING)
        return infer_error(n, "a cast from %s to %s is not supported", dtype_name(n->in[0]->dtype), dtype_name(n->in[1]->dtype));
    return infer_set(n, 0, n->in[1]->dtype, n->in[0]->rank, n->in[0]->dim);
}

INFER(infer_bit_cast) {
    int64_t to = attr_int(n, "to", 0);
    DType from = n->in[0]->dtype, t = to > 0 && to < 1000 ? dtype_from_onnx((int32_t)to) : DT_NONE;
    if (t == DT_NONE || dtype_size(t) == 0 || dtype_size(t) != dtype_size(from))
        return infer_error(n, "the bits of %s are not those of ONNX element type %lld", dtype_name(from), (long long)to);
    return infer_set(n, 0, t, n->in[0]->rank, n->in[0]->dim);
}

INFER(infer_swiglu) {
    if (!value_same_shape(n->in[0], n->in[1]))
        return infer_error(n, "the inputs differ in shape");
    return infer_float(n, 0) && infer_one_type(n) && infer_same(n);
}

INFER(infer_is) { return infer_float(n, 0) && infer_set(n, 0, DT_BOOL, n->in[0]->rank, n->in[0]->dim); }

INFER(infer_pow) { return infer_numeric(n, 0) && infer_numeric(n, 1) && infer_broadcast_all(n, n->in[0]->dtype); }

INFER(infer_clip) {
    if (!infer_numeric(n, 0) || !infer_one_type(n))
        return false;
    for (int i = 1; i < n->nin; i++)
        if (n->in[i] && value_count(n->in[i]) != 1)
            return infer_error(n, "input %d must be a scalar", i);
    return infer_same(n);
}

INFER(infer_prelu) {
    int64_t dim[GRAPH_MAX_RANK];
    if (!infer_numeric(n, 0) || !infer_one_type(n))
        return false;
    int rank = infer_broadcast(n, n->in[0]->rank, n->in[0]->dim, n->in[1]->rank, n->in[1]->dim, dim);
    if (rank < 0)
        return false;
    return infer_same(n) && (rank == n->in[0]->rank || infer_error(n, "the slope does not broadcast to the input"));
}

INFER(infer_gelu) {
    const char *s = attr_string(n, "approximate", "none");
    if (strcmp(s, "none") && strcmp(s, "tanh"))
        return infer_error(n, "attribute \"approximate\" must be none or tanh");
    return infer_float_unary(n);
}

INFER(infer_dropout) {
    if (n->nin > 2 && n->in[2] && !(value_is_number(n->in[2]) && !const_int(n->in[2], 0)))
        return infer_error(n, "training mode is not supported");
    return infer_same(n) && infer_set(n, 1, DT_BOOL, n->in[0]->rank, n->in[0]->dim);
}

/* --- arithmetic --- */

ELEMENT(element_add) { return add(l, X(0), X(1)); }
ELEMENT(element_sub) { return sub(l, X(0), X(1)); }
ELEMENT(element_mul) { return mul(l, X(0), X(1)); }
ELEMENT(element_div) { return divide(l, X(0), X(1)); }
ELEMENT(element_neg) { return kb_unary(&l->b, KOP_NEG, X(0)); }
ELEMENT(element_abs) { return kb_unary(&l->b, KOP_ABS, X(0)); }
ELEMENT(element_sqrt) { return kb_unary(&l->b, KOP_SQRT, X(0)); }

ELEMENT(element_reciprocal) {
    KValue *x = X(0);
    return divide(l, like(l, x, 1), x);
}

ELEMENT(element_sign) {
    KValue *x = X(0), *zero = like(l, x, 0);
    KValue *one = like(l, x, 1), *negative = dtype_is_signed(x->type.dtype) || dtype_is_float(x->type.dtype) ? like(l, x, -1) : zero;
    KValue *below = kb_select(&l->b, less(l, x, zero), negative, zero);
    return kb_select(&l->b, less(l, zero, x), one, below);
}

/* NaN in either operand wins. */
static KValue *min_max(Lower *l, KOp op, KValue *x, KValue *y) {
    KValue *r = kb_binary(&l->b, op, x, y);
    if (!dtype_is_float(x->type.dtype))
        return r;
    return kb_select(&l->b, kb_binary(&l->b, KOP_NE, x, x), x, r);
}

static KValue *fold_inputs(Lower *l, const Node *n, const KIndex *idx, KOp op) {
    KValue *r = X(0);
    for (int i = 1; i < n->nin; i++)
        r = op == KOP_MIN || op == KOP_MAX ? min_max(l, op, r, X(i)) : kb_binary(&l->b, op, r, X(i));
    return r;
}

ELEMENT(element_max) { return fold_inputs(l, n, idx, KOP_MAX); }
ELEMENT(element_min) { return fold_inputs(l, n, idx, KOP_MIN); }
ELEMENT(element_sum) { return fold_inputs(l, n, idx, KOP_ADD); }

ELEMENT(element_mean) {
    KValue *sum = fold_inputs(l, n, idx, KOP_ADD);
    return divide(l, sum, like(l, sum, n->nin));
}

ELEMENT(element_pow) {
    KValue *x = X(0), *y = X(1);
    DType t = x->type.dtype, compute = dtype_is_float(t) && t != DT_F64 && y->type.dtype != DT_F64 ? DT_F32 : DT_F64;
    if (!dtype_is_float(t) && dtype_bits(t) <= 16 && (dtype_is_float(y->type.dtype) ? y->type.dtype == DT_F32 : true))
        compute = DT_F32;
    if (y->def && y->def->op == KOP_CONST && dtype_is_float(t) && dtype_is_float(y->type.dtype)) {
        if (y->def->imm.f == 2)
            return mul(l, x, x);
        if (y->def->imm.f == 0.5)
            return kb_unary(&l->b, KOP_SQRT, x);
        if (y->def->imm.f == 1)
            return x;
    }
    KValue *r = kb_math(&l->b, KMATH_POW, kb_cast(&l->b, x, compute), kb_cast(&l->b, y, compute));
    return kb_cast(&l->b, r, t);
}

ELEMENT(element_mod) {
    KValue *x = X(0), *y = X(1);
    DType t = x->type.dtype;
    bool is_float = dtype_is_float(t);
    KValue *r = is_float ? kb_math(&l->b, KMATH_FMOD, x, y) : kb_binary(&l->b, KOP_REM, x, y);
    if (attr_int(n, "fmod", 0) || !(is_float || dtype_is_signed(t)))
        return r;
    /* Python's sign: the divisor's, also of a zero. */
    KValue *zero = like(l, x, 0);
    if (is_float) {
        KValue *below = kb_binary(&l->b, KOP_LT, y, zero);
        KValue *opposite = kb_binary(&l->b, KOP_XOR, kb_binary(&l->b, KOP_LT, r, zero), below);
        KValue *signed_zero = kb_select(&l->b, below, like(l, x, -0.0), zero);
        return kb_select(&l->b, kb_binary(&l->b, KOP_EQ, r, zero), signed_zero,
                         kb_select(&l->b, opposite, add(l, r, y), r));
    }
    KValue *differs = kb_binary(&l->b, KOP_LT, kb_binary(&l->b, KOP_XOR, r, y), zero);
    KValue *wrong = kb_binary(&l->b, KOP_AND, kb_binary(&l->b, KOP_NE, r, zero), differs);
    return kb_select(&l->b, wrong, add(l, r, y), r);
}

/* --- functions --- */

#define MATH(name, function)                                                                                       \
    ELEMENT(name) { return math1(l, function, X(0)); }
MATH(element_exp, KMATH_EXP)
MATH(element_log, KMATH_LOG)
MATH(element_erf, KMATH_ERF)
MATH(element_sin, KMATH_SIN)
MATH(element_cos, KMATH_COS)
MATH(element_tan, KMATH_TAN)
MATH(element_asin, KMATH_ASIN)
MATH(element_acos, KMATH_ACOS)
MATH(element_atan, KMATH_ATAN)
MATH(element_sinh, KMATH_SINH)
MATH(element_cosh, KMATH_COSH)
MATH(element_asinh, KMATH_ASINH)
MATH(element_acosh, KMATH_ACOSH)
MATH(element_atanh, KMATH_ATANH)
MATH(element_tanh, KMATH_TANH)
MATH(element_sigmoid, KMATH_SIGMOID)
MATH(element_floor, KMATH_FLOOR)
MATH(element_ceil, KMATH_CEIL)
MATH(element_round, KMATH_ROUND)

/* --- comparison, logic, bits --- */

#define BINARY(name, op)                                                                                           \
    ELEMENT(name) { return kb_binary(&l->b, op, X(0), X(1)); }
BINARY(element_equal, KOP_EQ)
BINARY(element_less, KOP_LT)
BINARY(element_less_equal, KOP_LE)
BINARY(element_greater, KOP_GT)
BINARY(element_greater_equal, KOP_GE)
BINARY(element_and, KOP_AND)
BINARY(element_or, KOP_OR)
BINARY(element_xor, KOP_XOR)

ELEMENT(element_not) { return kb_unary(&l->b, KOP_NOT, X(0)); }

ELEMENT(element_bitshift) {
    return kb_binary(&l->b, *attr_string(n, "direction", "L") == 'L' ? KOP_SHL : KOP_SHR, X(0), X(1));
}

ELEMENT(element_isnan) {
    KValue *x = X(0);
    return kb_binary(&l->b, KOP_NE, x, x);
}

ELEMENT(element_isinf) {
    KValue *x = X(0), *no = kb_int(&l->b, DT_BOOL, 0);
    KValue *up = attr_int(n, "detect_positive", 1) ? kb_binary(&l->b, KOP_EQ, x, like(l, x, INFINITY)) : no;
    KValue *down = attr_int(n, "detect_negative", 1) ? kb_binary(&l->b, KOP_EQ, x, like(l, x, -INFINITY)) : no;
    return kb_binary(&l->b, KOP_OR, up, down);
}

ELEMENT(element_where) { return kb_select(&l->b, X(0), X(1), X(2)); }

/* Integers of less than 8 bits keep the low bits, as others do. */
static KValue *narrowed(Lower *l, KValue *x, DType t) {
    KValue *shift = kb_const_like(&l->b, x->type, (double)(dtype_bits(t) - dtype_width(t)));
    return kb_binary(&l->b, KOP_SHR, kb_binary(&l->b, KOP_SHL, x, shift), shift);
}

ELEMENT(element_cast) {
    DType t = n->out[0]->dtype;
    if (dtype_stored(t) == t)
        return kb_cast(&l->b, X(0), lower_compute_type(t));
    return narrowed(l, kb_cast(&l->b, kb_cast(&l->b, X(0), DT_I32), dtype_stored(t)), t);
}

ELEMENT(element_bit_cast) {
    KValue *x = kb_cast(&l->b, X(0), n->in[0]->dtype); /* halves are read as floats */
    if (n->out[0]->dtype == DT_BOOL) /* which has two values only */
        return kb_cast(&l->b, x, DT_BOOL);
    return kb_cast(&l->b, kb_bitcast(&l->b, x, n->out[0]->dtype), lower_compute_type(n->out[0]->dtype));
}

ELEMENT(element_identity) { return X(0); }

LOWER(lower_dropout) {
    const Value *y = n->out[0] ? n->out[0] : n->out[1];
    LoopNest nest = lower_loops(l, y->rank, y->dim, y);
    lower_store(l, n, 0, nest.idx, lower_load(l, n, 0, nest.idx));
    if (n->nout > 1)
        lower_store(l, n, 1, nest.idx, kb_int(&l->b, DT_BOOL, 1));
    lower_end_loops(l, &nest);
}

/* --- activations --- */

ELEMENT(element_relu) { return at_least(l, X(0), 0); }

ELEMENT(element_clip) {
    KValue *x = X(0);
    KIndex none[1] = {0};
    if (n->nin > 1 && n->in[1])
        x = kb_binary(&l->b, KOP_MAX, n->in[1]->rank ? X(1) : lower_load(l, n, 1, none), x);
    if (n->nin > 2 && n->in[2])
        x = kb_binary(&l->b, KOP_MIN, n->in[2]->rank ? X(2) : lower_load(l, n, 2, none), x);
    return x;
}

/* x >= 0 ? x : y */
static KValue *where_negative(Lower *l, KValue *x, KValue *y) { return kb_select(&l->b, less(l, x, like(l, x, 0)), y, x); }

ELEMENT(element_leaky_relu) {
    KValue *x = X(0);
    return where_negative(l, x, mul(l, x, like(l, x, (double)attr_float(n, "alpha", 0.01f))));
}

ELEMENT(element_prelu) {
    KValue *x = X(0);
    if (!dtype_is_signed(x->type.dtype) && !dtype_is_float(x->type.dtype))
        return x;
    return where_negative(l, x, mul(l, x, X(1)));
}

static KValue *exp_minus_one(Lower *l, KValue *x) { return math1(l, KMATH_EXPM1, x); }

ELEMENT(element_elu) {
    KValue *x = X(0);
    return where_negative(l, x, mul(l, like(l, x, (double)attr_float(n, "alpha", 1.0f)), exp_minus_one(l, x)));
}

ELEMENT(element_selu) {
    KValue *x = X(0), *gamma = like(l, x, (double)attr_float(n, "gamma", 1.05070102214813232421875f));
    KValue *alpha = like(l, x, (double)attr_float(n, "alpha", 1.67326319217681884765625f));
    return mul(l, gamma, where_negative(l, x, mul(l, alpha, exp_minus_one(l, x))));
}

ELEMENT(element_celu) {
    KValue *x = X(0), *alpha = like(l, x, (double)attr_float(n, "alpha", 1.0f));
    return where_negative(l, x, mul(l, alpha, exp_minus_one(l, divide(l, x, alpha))));
}

ELEMENT(element_thresholded_relu) {
    KValue *x = X(0), *alpha = like(l, x, (double)attr_float(n, "alpha", 1.0f));
    return kb_select(&l->b, less(l, alpha, x), x, like(l, x, 0));
}

static KValue *hard_sigmoid(Lower *l, KValue *x, double alpha, double beta) {
    return at_least(l, at_most(l, kb_fma(&l->b, x, like(l, x, alpha), like(l, x, beta)), 1), 0);
}

ELEMENT(element_hard_sigmoid) {
    return hard_sigmoid(l, X(0), (double)attr_float(n, "alpha", 0.2f), (double)attr_float(n, "beta", 0.5f));
}

ELEMENT(element_hard_swish) {
    KValue *x = X(0);
    return mul(l, x, hard_sigmoid(l, x, 1.0 / 6, 0.5));
}

ELEMENT(element_swish) {
    KValue *x = X(0);
    double alpha = (double)attr_float(n, "alpha", 1.0f);
    return alpha == 1 ? math1(l, KMATH_SILU, x) : mul(l, x, math1(l, KMATH_SIGMOID, mul(l, x, like(l, x, alpha))));
}

ELEMENT(element_swiglu) { return mul(l, element_swish(l, n, idx), X(1)); }

/* log(1 + exp(x)) without overflow. */
static KValue *softplus(Lower *l, KValue *x) {
    KValue *tail = math1(l, KMATH_LOG1P, math1(l, KMATH_EXP, kb_unary(&l->b, KOP_NEG, kb_unary(&l->b, KOP_ABS, x))));
    return add(l, at_least(l, x, 0), tail);
}

ELEMENT(element_softplus) { return softplus(l, X(0)); }

ELEMENT(element_softsign) {
    KValue *x = X(0);
    return divide(l, x, add(l, like(l, x, 1), kb_unary(&l->b, KOP_ABS, x)));
}

/* x tanh(log(1 + e)) for e = exp(x): the tangent is p / (p + 2) with p = e (e + 2), and 1 where x is 20. */
ELEMENT(element_mish) {
    KValue *x = X(0), *two = like(l, x, 2), *e = math1(l, KMATH_EXP, at_most(l, x, 20)), *p = mul(l, e, add(l, e, two));
    return mul(l, x, divide(l, p, add(l, p, two)));
}

ELEMENT(element_gelu) {
    KValue *x = X(0);
    if (strcmp(attr_string(n, "approximate", "none"), "tanh") != 0)
        return math1(l, KMATH_GELU, x);
    KValue *half = mul(l, x, like(l, x, 0.5)), *cube = mul(l, mul(l, x, x), mul(l, x, like(l, x, 0.044715)));
    KValue *inner = math1(l, KMATH_TANH, mul(l, add(l, x, cube), like(l, x, 0.79788456080286535588)));
    return mul(l, half, add(l, inner, like(l, x, 1)));
}

ELEMENT(element_shrink) {
    KValue *x = X(0), *bias = like(l, x, (double)attr_float(n, "bias", 0.0f)), *lambda = like(l, x, (double)attr_float(n, "lambd", 0.5f));
    KValue *above = kb_select(&l->b, less(l, lambda, x), sub(l, x, bias), like(l, x, 0));
    return kb_select(&l->b, less(l, x, kb_unary(&l->b, KOP_NEG, lambda)), add(l, x, bias), above);
}
