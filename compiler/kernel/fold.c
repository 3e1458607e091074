/* SPDX-License-Identifier: Apache-2.0 */
/* Constant arithmetic. */
#include "kernel/fold.h"

int64_t kernel_wrap(DType t, int64_t x) {
    switch (t) {
    case DT_I8: return (int8_t)x;
    case DT_U8: return (uint8_t)x;
    case DT_I16: return (int16_t)x;
    case DT_U16: return (uint16_t)x;
    case DT_I32: return (int32_t)x;
    case DT_U32: return (uint32_t)x;
    case DT_BOOL: return x != 0;
    default: return x;
    }
}

double kernel_round_to(DType t, double x) {
    switch (t) {
    case DT_F32: return (double)(float)x;
    case DT_F16: return (double)half_to_float(float_to_half((float)x));
    case DT_BF16: return (double)bfloat_to_float(float_to_bfloat((float)x));
    default: return x;
    }
}

bool kernel_fold_unary(KOp op, DType t, KConst x, KConst *r) {
    bool f = dtype_is_float(t);
    switch (op) {
    case KOP_NEG:
        if (f)
            r->f = -x.f;
        else
            r->i = kernel_wrap(t, (int64_t)(0 - (uint64_t)x.i));
        return true;
    case KOP_ABS:
        if (f)
            r->f = __builtin_fabs(x.f);
        else
            r->i = dtype_is_signed(t) && x.i < 0 ? kernel_wrap(t, (int64_t)(0 - (uint64_t)x.i)) : x.i;
        return true;
    case KOP_NOT:
        if (f)
            return false;
        r->i = t == DT_BOOL ? !x.i : kernel_wrap(t, ~x.i);
        return true;
    default:
        return false;
    }
}

static bool fold_compare(KOp op, bool less, bool equal, bool ordered, KConst *r) {
    switch (op) {
    case KOP_EQ: r->i = equal; return true;
    case KOP_NE: r->i = !equal; return true;
    case KOP_LT: r->i = less; return true;
    case KOP_LE: r->i = less || equal; return true;
    case KOP_GT: r->i = ordered && !less && !equal; return true;
    case KOP_GE: r->i = ordered && !less; return true;
    default: return false;
    }
}

static bool fold_float(KOp op, DType t, double x, double y, KConst *r) {
    double z;
    switch (op) {
    case KOP_ADD: z = x + y; break;
    case KOP_SUB: z = x - y; break;
    case KOP_MUL: z = x * y; break;
    case KOP_DIV: z = x / y; break;
    case KOP_MIN: z = x < y ? x : y; break;
    case KOP_MAX: z = x > y ? x : y; break;
    default: return fold_compare(op, x < y, x == y, x == x && y == y, r);
    }
    /* Twice as many digits and more: rounding a double result once more is exact for float. */
    r->f = kernel_round_to(t, z);
    return true;
}

static bool fold_signed(KOp op, DType t, int64_t x, int64_t y, int64_t *z) {
    switch (op) {
    case KOP_MIN: *z = x < y ? x : y; return true;
    case KOP_MAX: *z = x > y ? x : y; return true;
    case KOP_DIV:
        if (y == 0)
            *z = 0;
        else
            *z = y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y - (t == DT_INDEX && x % y != 0 && (x < 0) != (y < 0));
        return true;
    case KOP_MUL_HIGH: *z = (x * y) >> 32; return t == DT_I32;
    case KOP_REM:
        if (y == 0)
            *z = x;
        else if (y == -1)
            *z = 0;
        else
            *z = x % y + (t == DT_INDEX && x % y != 0 && (x < 0) != (y < 0) ? y : 0);
        return true;
    case KOP_SHR: *z = y < 0 || y > 63 ? (x < 0 ? -1 : 0) : x >> y; return true;
    default: return false;
    }
}

static bool fold_unsigned(KOp op, uint64_t x, uint64_t y, uint64_t *z) {
    switch (op) {
    case KOP_MIN: *z = x < y ? x : y; return true;
    case KOP_MAX: *z = x > y ? x : y; return true;
    case KOP_DIV: *z = y ? x / y : 0; return true;
    case KOP_REM: *z = y ? x % y : x; return true;
    case KOP_SHR: *z = y > 63 ? 0 : x >> y; return true;
    default: return false;
    }
}

bool kernel_fold_binary(KOp op, DType t, KConst x, KConst y, KConst *r) {
    if (dtype_is_float(t))
        return fold_float(op, t, x.f, y.f, r);
    uint64_t a = (uint64_t)x.i, b = (uint64_t)y.i, z;
    int64_t s;
    bool is_signed = dtype_is_signed(t);
    switch (op) {
    case KOP_ADD: z = a + b; break;
    case KOP_SUB: z = a - b; break;
    case KOP_MUL: z = a * b; break;
    case KOP_AND: z = a & b; break;
    case KOP_OR: z = a | b; break;
    case KOP_XOR: z = a ^ b; break;
    case KOP_SHL: z = b < (uint64_t)(t == DT_INDEX ? 64 : dtype_bits(t)) ? a << b : 0; break;
    default:
        if (is_signed ? fold_signed(op, t, x.i, y.i, &s) : fold_unsigned(op, a, b, &z)) {
            z = is_signed ? (uint64_t)s : z;
            break;
        }
        return fold_compare(op, is_signed ? x.i < y.i : a < b, x.i == y.i, true, r);
    }
    r->i = kernel_wrap(t, (int64_t)z);
    return true;
}

static int64_t saturate(double x, double lo, double hi, int64_t least, int64_t most) {
    return x != x ? 0 : x <= lo ? least : x >= hi ? most : (int64_t)x;
}

static int64_t float_to_integer(DType to, double x) {
    if (to == DT_U64)
        return x >= 0x1p64 ? -1 : x > 0 ? (int64_t)(uint64_t)x : 0;
    int bits = to == DT_INDEX ? 64 : dtype_bits(to);
    bool sign = dtype_is_signed(to);
    int64_t most = bits == 64 ? INT64_MAX : ((int64_t)1 << (sign ? bits - 1 : bits)) - 1;
    int64_t least = sign ? -most - 1 : 0;
    return saturate(x, (double)least, (double)most, least, most);
}

bool kernel_fold_cast(DType from, DType to, KConst x, KConst *r) {
    bool f = dtype_is_float(from), g = dtype_is_float(to);
    if (to == DT_BOOL)
        r->i = f ? x.f != 0 : x.i != 0;
    else if (f && g)
        r->f = kernel_round_to(to, x.f);
    else if (f)
        r->i = float_to_integer(to, x.f);
    else if (g && to == DT_F32)
        r->f = from == DT_U64 ? (double)(float)(uint64_t)x.i : (double)(float)x.i;
    else if (g)
        r->f = kernel_round_to(to, from == DT_U64 ? (double)(uint64_t)x.i : (double)x.i);
    else
        r->i = kernel_wrap(to, x.i);
    return true;
}
