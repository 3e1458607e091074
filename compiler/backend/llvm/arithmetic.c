/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic, comparisons and selection, scalars and vectors alike. */
#include <assert.h>
#include <string.h>

#include "backend/llvm/llvm.h"

static bool is_float(DType t) { return dtype_is_float(t); }

/* --- division: the machine's own traps or is undefined for zero and for the least integer by -1 --- */

static LLVMValueRef equals(const Unit *u, LLVMValueRef x, uint64_t c) {
    return LLVMBuildICmp(u->builder, LLVMIntEQ, x, splat_int(LLVMTypeOf(x), c), "");
}

/* The power of two that a positive constant divisor is, or -1. */
static int power_of_two(LLVMValueRef y) {
    if (!LLVMIsAConstantInt(y))
        return -1;
    int64_t c = LLVMConstIntGetSExtValue(y);
    if (c <= 0 || (c & (c - 1)))
        return -1;
    return __builtin_ctzll((unsigned long long)c);
}

static LLVMValueRef index_division(const Unit *u, KOp op, LLVMValueRef x, LLVMValueRef y) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef t = LLVMTypeOf(x);
    int shift = power_of_two(y);
    if (shift >= 0 && op == KOP_DIV)
        return LLVMBuildAShr(b, x, splat_int(t, (uint64_t)shift), "");
    if (shift >= 0)
        return LLVMBuildAnd(b, x, splat_int(t, ((uint64_t)1 << shift) - 1), "");
    LLVMValueRef zero = splat_int(t, 0), none = equals(u, y, 0);
    LLVMValueRef by = build_select(u, none, splat_int(t, 1), y);
    LLVMValueRef r = LLVMBuildSRem(b, x, by, "");
    LLVMValueRef opposite = LLVMBuildICmp(b, LLVMIntSLT, LLVMBuildXor(b, r, by, ""), zero, "");
    LLVMValueRef low = LLVMBuildAnd(b, LLVMBuildICmp(b, LLVMIntNE, r, zero, ""), opposite, "");
    if (op == KOP_REM)
        return build_select(u, none, x, LLVMBuildAdd(b, r, build_select(u, low, by, zero), ""));
    LLVMValueRef q = LLVMBuildSub(b, LLVMBuildSDiv(b, x, by, ""), LLVMBuildZExt(b, low, t, ""), "");
    return build_select(u, none, zero, q);
}

static LLVMValueRef division(const Unit *u, KOp op, DType dtype, LLVMValueRef x, LLVMValueRef y) {
    if (dtype == DT_INDEX)
        return index_division(u, op, x, y);
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef zero = splat_int(t, 0), one = splat_int(t, 1), none = equals(u, y, 0);
    bool div = op == KOP_DIV;
    if (!dtype_is_signed(dtype)) {
        LLVMValueRef by = build_select(u, none, one, y);
        LLVMValueRef r = div ? LLVMBuildUDiv(b, x, by, "") : LLVMBuildURem(b, x, by, "");
        return build_select(u, none, div ? zero : x, r);
    }
    LLVMValueRef minus = equals(u, y, UINT64_MAX);
    LLVMValueRef by = build_select(u, LLVMBuildOr(b, none, minus, ""), one, y);
    LLVMValueRef r = div ? LLVMBuildSDiv(b, x, by, "") : LLVMBuildSRem(b, x, by, "");
    r = build_select(u, minus, div ? LLVMBuildNeg(b, x, "") : zero, r);
    return build_select(u, none, div ? zero : x, r);
}

static LLVMValueRef shift(const Unit *u, KOp op, DType dtype, LLVMValueRef x, LLVMValueRef y) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef t = LLVMTypeOf(x);
    uint64_t bits = (uint64_t)type_bits(u, dtype);
    LLVMValueRef fits = LLVMBuildICmp(b, LLVMIntULT, y, splat_int(t, bits), ""), zero = splat_int(t, 0);
    if (op == KOP_SHR && dtype_is_signed(dtype))
        return LLVMBuildAShr(b, x, build_select(u, fits, y, splat_int(t, bits - 1)), "");
    LLVMValueRef by = build_select(u, fits, y, zero);
    return build_select(u, fits, op == KOP_SHL ? LLVMBuildShl(b, x, by, "") : LLVMBuildLShr(b, x, by, ""), zero);
}

/* --- comparisons --- */

static LLVMValueRef compare(const Unit *u, KOp op, DType t, LLVMValueRef x, LLVMValueRef y) {
    static const LLVMRealPredicate real[] = {LLVMRealOEQ, LLVMRealUNE, LLVMRealOLT, LLVMRealOLE, LLVMRealOGT, LLVMRealOGE};
    static const LLVMIntPredicate sign[] = {LLVMIntEQ, LLVMIntNE, LLVMIntSLT, LLVMIntSLE, LLVMIntSGT, LLVMIntSGE};
    static const LLVMIntPredicate none[] = {LLVMIntEQ, LLVMIntNE, LLVMIntULT, LLVMIntULE, LLVMIntUGT, LLVMIntUGE};
    int k = (int)op - (int)KOP_EQ;
    if (is_float(t))
        return LLVMBuildFCmp(u->builder, real[k], x, y, "");
    return LLVMBuildICmp(u->builder, dtype_is_signed(t) ? sign[k] : none[k], x, y, "");
}

static LLVMValueRef upper_half(const Unit *u, LLVMValueRef x, LLVMValueRef y) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef t = LLVMTypeOf(x), wide = type_int(u, 64, type_lanes(t));
    LLVMValueRef z = LLVMBuildMul(b, LLVMBuildSExt(b, x, wide, ""), LLVMBuildSExt(b, y, wide, ""), "");
    return LLVMBuildTrunc(b, LLVMBuildLShr(b, z, splat_int(wide, 32), ""), t, "");
}

/* The first n of x's lanes, and from there on the first ones again. */
static LLVMValueRef lanes_of(const Unit *u, LLVMValueRef x, int n) {
    LLVMValueRef at[8];
    int has = type_lanes(LLVMTypeOf(x));
    for (int i = 0; i < n; i++)
        at[i] = splat_int(type_int(u, 32, 1), (uint64_t)(i % has));
    return LLVMBuildShuffleVector(u->builder, x, x, LLVMConstVector(at, (unsigned)n), "");
}

static LLVMValueRef extreme(const Unit *u, KOp op, DType t, LLVMValueRef x, LLVMValueRef y) {
    /* NEON has no vectors of four bytes: LLVM would make halves of them. */
    bool bytes = dtype_bits(t) == 8 && type_lanes(LLVMTypeOf(x)) == 4 && !strncmp(u->target->triple, "aarch64", 7);
    if (bytes) {
        x = lanes_of(u, x, 8);
        y = lanes_of(u, y, 8);
    }
    x = build_select(u, compare(u, op == KOP_MIN ? KOP_LT : KOP_GT, t, x, y), x, y);
    return bytes ? lanes_of(u, x, 4) : x;
}

LLVMValueRef build_binary(const Unit *u, KOp op, DType t, LLVMValueRef x, LLVMValueRef y) {
    LLVMBuilderRef b = u->builder;
    bool f = is_float(t), index = t == DT_INDEX;
    switch (op) {
    case KOP_ADD: return f ? LLVMBuildFAdd(b, x, y, "") : index ? LLVMBuildNSWAdd(b, x, y, "") : LLVMBuildAdd(b, x, y, "");
    case KOP_SUB: return f ? LLVMBuildFSub(b, x, y, "") : index ? LLVMBuildNSWSub(b, x, y, "") : LLVMBuildSub(b, x, y, "");
    case KOP_MUL: return f ? LLVMBuildFMul(b, x, y, "") : index ? LLVMBuildNSWMul(b, x, y, "") : LLVMBuildMul(b, x, y, "");
    case KOP_MUL_HIGH: return upper_half(u, x, y);
    case KOP_DIV: return f ? LLVMBuildFDiv(b, x, y, "") : division(u, op, t, x, y);
    case KOP_REM: return division(u, op, t, x, y);
    case KOP_MIN:
    case KOP_MAX: return extreme(u, op, t, x, y);
    case KOP_AND: return LLVMBuildAnd(b, x, y, "");
    case KOP_OR: return LLVMBuildOr(b, x, y, "");
    case KOP_XOR: return LLVMBuildXor(b, x, y, "");
    case KOP_SHL:
    case KOP_SHR: return shift(u, op, t, x, y);
    default: return compare(u, op, t, x, y);
    }
}

/* --- the rest --- */

static LLVMValueRef absolute(const Unit *u, DType t, LLVMValueRef x) {
    LLVMTypeRef type = LLVMTypeOf(x);
    if (is_float(t))
        return build_intrinsic(u, "llvm.fabs", 1, &type, 1, &x);
    if (!dtype_is_signed(t))
        return x;
    LLVMValueRef negative = LLVMBuildICmp(u->builder, LLVMIntSLT, x, splat_int(type, 0), "");
    return build_select(u, negative, LLVMBuildNeg(u->builder, x, ""), x);
}

static LLVMValueRef multiply_add(const Unit *u, DType t, LLVMValueRef *x) {
    LLVMTypeRef type = LLVMTypeOf(x[0]);
    if (is_float(t) && u->target->fma && (t == DT_F32 || u->target->float64))
        return build_intrinsic(u, "llvm.fma", 1, &type, 3, x);
    return build_binary(u, KOP_ADD, t, build_binary(u, KOP_MUL, t, x[0], x[1]), x[2]);
}

static LLVMValueRef square_root(Unit *u, DType t, LLVMValueRef x) {
    LLVMTypeRef type = LLVMTypeOf(x);
    if (t == DT_F64 ? u->target->float64 : u->target->float32)
        return build_intrinsic(u, "llvm.sqrt", 1, &type, 1, &x);
    return build_soft_sqrt(u, t, x);
}

LLVMValueRef build_arithmetic(Unit *u, const KInstr *i, LLVMValueRef *x) {
    DType t = i->arg[0]->type.dtype;
    switch (i->op) {
    case KOP_FMA: {
        LLVMValueRef sum = build_widening_add(u, i, x);
        return sum ? sum : multiply_add(u, t, x);
    }
    case KOP_DOT: return build_dot(u, false, x);
    case KOP_DOT_S8: return build_dot(u, true, x);
    case KOP_DOT_LONG: return build_dot_long(u, x);
    case KOP_DOT_SUM: return build_dot_sum(u, x);
    case KOP_MATMUL_2X2: return build_matmul_2x2(u, x);
    case KOP_NEG: return is_float(t) ? LLVMBuildFNeg(u->builder, x[0], "") : LLVMBuildNeg(u->builder, x[0], "");
    case KOP_ABS: return absolute(u, t, x[0]);
    case KOP_SQRT: return square_root(u, t, x[0]);
    case KOP_NOT: return LLVMBuildNot(u->builder, x[0], "");
    case KOP_SELECT: return build_select(u, x[0], x[1], x[2]);
    default:
        assert(i->nargs == 2);
        return build_binary(u, i->op, t, x[0], x[1]);
    }
}
