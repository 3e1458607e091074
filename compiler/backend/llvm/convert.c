/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions. Half floats go through integer arithmetic unless the target has an instruction: LLVM would call the
 * compiler's runtime library, which generated code must not need. */
#include <string.h>

#include "backend/llvm/llvm.h"

static LLVMValueRef bits_and(const Unit *u, LLVMValueRef x, uint64_t mask) {
    return LLVMBuildAnd(u->builder, x, splat_int(LLVMTypeOf(x), mask), "");
}

static LLVMValueRef bits_or(const Unit *u, LLVMValueRef x, LLVMValueRef y) { return LLVMBuildOr(u->builder, x, y, ""); }

static LLVMValueRef plus(const Unit *u, LLVMValueRef x, uint64_t c) {
    return LLVMBuildAdd(u->builder, x, splat_int(LLVMTypeOf(x), c), "");
}

static LLVMValueRef left(const Unit *u, LLVMValueRef x, int by) {
    return LLVMBuildShl(u->builder, x, splat_int(LLVMTypeOf(x), (uint64_t)by), "");
}

static LLVMValueRef right(const Unit *u, LLVMValueRef x, int by) {
    return LLVMBuildLShr(u->builder, x, splat_int(LLVMTypeOf(x), (uint64_t)by), "");
}

static LLVMValueRef test(const Unit *u, LLVMIntPredicate p, LLVMValueRef x, uint64_t c) {
    return LLVMBuildICmp(u->builder, p, x, splat_int(LLVMTypeOf(x), c), "");
}

static LLVMTypeRef native_half(const Unit *u, int lanes) {
    LLVMTypeRef half = LLVMHalfTypeInContext(u->context);
    return lanes == 1 ? half : LLVMVectorType(half, (unsigned)lanes);
}

/* x: 16 bits; the result is F32. */
static LLVMValueRef widen(const Unit *u, DType from, LLVMValueRef x) {
    LLVMBuilderRef b = u->builder;
    int lanes = type_lanes(LLVMTypeOf(x));
    LLVMTypeRef word = type_int(u, 32, lanes), real = type_float(u, DT_F32, lanes);
    if (from == DT_F16 && u->native_half)
        return LLVMBuildFPExt(b, LLVMBuildBitCast(b, x, native_half(u, lanes), ""), real, "");
    x = LLVMBuildZExt(b, x, word, "");
    if (from == DT_BF16)
        return LLVMBuildBitCast(b, left(u, x, 16), real, "");
    LLVMValueRef sign = left(u, bits_and(u, x, 0x8000), 16), exponent = bits_and(u, right(u, x, 10), 31);
    LLVMValueRef mantissa = bits_and(u, x, 0x3ff);
    LLVMValueRef tiny = LLVMBuildFMul(b, LLVMBuildSIToFP(b, mantissa, real, ""), splat_float(real, 0x1p-24), "");
    LLVMValueRef special = test(u, LLVMIntEQ, exponent, 31);
    LLVMValueRef high = build_select(u, special, splat_int(word, 0x7f800000), left(u, plus(u, exponent, 112), 23));
    LLVMValueRef normal = bits_or(u, high, left(u, mantissa, 13));
    LLVMValueRef magnitude =
        build_select(u, test(u, LLVMIntEQ, exponent, 0), LLVMBuildBitCast(b, tiny, word, ""), normal);
    return LLVMBuildBitCast(b, bits_or(u, sign, magnitude), real, "");
}

static LLVMValueRef narrow_bfloat(const Unit *u, LLVMValueRef x) {
    LLVMValueRef magnitude = bits_and(u, x, 0x7fffffff), odd = bits_and(u, right(u, x, 16), 1);
    LLVMValueRef rounded = LLVMBuildAdd(u->builder, plus(u, x, 0x7fff), odd, "");
    LLVMValueRef quiet = bits_or(u, right(u, x, 16), splat_int(LLVMTypeOf(x), 0x40));
    return build_select(u, test(u, LLVMIntUGT, magnitude, 0x7f800000), quiet, right(u, rounded, 16));
}

static LLVMValueRef narrow_half(const Unit *u, LLVMValueRef x) {
    enum { HALF = 0x3f000000 }; /* 0.5: adding it rounds a subnormal at the last place */
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef word = LLVMTypeOf(x), real = type_float(u, DT_F32, type_lanes(word));
    LLVMValueRef sign = bits_and(u, right(u, x, 16), 0x8000), m = bits_and(u, x, 0x7fffffff);
    LLVMValueRef nan = bits_or(u, bits_and(u, right(u, m, 13), 0x3ff), splat_int(word, 0x7e00));
    LLVMValueRef sum = LLVMBuildFAdd(b, LLVMBuildBitCast(b, m, real, ""), splat_float(real, 0.5), "");
    LLVMValueRef small = plus(u, LLVMBuildBitCast(b, sum, word, ""), (uint32_t)-HALF);
    LLVMValueRef odd = bits_and(u, right(u, m, 13), 1);
    LLVMValueRef normal = right(u, LLVMBuildAdd(b, plus(u, m, (uint32_t)(0xfff - 0x38000000)), odd, ""), 13);
    LLVMValueRef r = build_select(u, test(u, LLVMIntULT, m, 0x38800000), small, normal);
    r = build_select(u, test(u, LLVMIntUGE, m, 0x477ff000), splat_int(word, 0x7c00), r);
    return bits_or(u, sign, build_select(u, test(u, LLVMIntUGT, m, 0x7f800000), nan, r));
}

/* x: F32; the result is 16 bits. */
static LLVMValueRef narrow(const Unit *u, DType to, LLVMValueRef x) {
    LLVMBuilderRef b = u->builder;
    int lanes = type_lanes(LLVMTypeOf(x));
    LLVMTypeRef small = type_int(u, 16, lanes);
    if (to == DT_F16 && u->native_half)
        return LLVMBuildBitCast(b, LLVMBuildFPTrunc(b, x, native_half(u, lanes), ""), small, "");
    x = LLVMBuildBitCast(b, x, type_int(u, 32, lanes), "");
    return LLVMBuildTrunc(b, to == DT_F16 ? narrow_half(u, x) : narrow_bfloat(u, x), small, "");
}

/* Indices saturate at 2^30, so that the same model computes the same with 32-bit pointers. */
static LLVMValueRef clamp_index(const Unit *u, LLVMValueRef x) {
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef most = splat_int(t, (uint64_t)1 << 30), least = splat_int(t, (uint64_t)-((int64_t)1 << 30));
    x = build_select(u, LLVMBuildICmp(u->builder, LLVMIntSLT, x, most, ""), x, most);
    return build_select(u, LLVMBuildICmp(u->builder, LLVMIntSGT, x, least, ""), x, least);
}

static LLVMValueRef from_float(const Unit *u, DType from, DType to, LLVMValueRef x) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef source = LLVMTypeOf(x), t = type_of(u, (KType){to, type_lanes(source)});
    if (to == DT_BOOL)
        return LLVMBuildFCmp(b, LLVMRealUNE, x, splat_float(source, 0), "");
    if (to == DT_F64 || to == DT_F32)
        return from == to ? x : to == DT_F64 ? LLVMBuildFPExt(b, x, t, "") : LLVMBuildFPTrunc(b, x, t, "");
    const char *name = dtype_is_signed(to) ? "llvm.fptosi.sat" : "llvm.fptoui.sat";
    LLVMValueRef r = build_intrinsic(u, name, 2, (LLVMTypeRef[]){t, source}, 1, &x);
    return to == DT_INDEX ? clamp_index(u, r) : r;
}

static LLVMValueRef from_integer(const Unit *u, DType from, DType to, LLVMValueRef x) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef source = LLVMTypeOf(x), t = type_of(u, (KType){to, type_lanes(source)});
    bool sign = dtype_is_signed(from);
    if (to == DT_BOOL)
        return from == DT_BOOL ? x : LLVMBuildICmp(b, LLVMIntNE, x, splat_int(source, 0), "");
    if (dtype_is_float(to))
        return sign ? LLVMBuildSIToFP(b, x, t, "") : LLVMBuildUIToFP(b, x, t, "");
    int have = type_bits(u, from), want = type_bits(u, to);
    if (have == want)
        return x;
    if (have > want)
        return LLVMBuildTrunc(b, x, t, "");
    return sign ? LLVMBuildSExt(b, x, t, "") : LLVMBuildZExt(b, x, t, "");
}

static LLVMValueRef cast(const Unit *u, DType from, DType to, LLVMValueRef x) {
    if (from == to)
        return x;
    if (dtype_is_half(from))
        return cast(u, DT_F32, to, widen(u, from, x));
    if (dtype_is_half(to))
        return narrow(u, to, cast(u, from, DT_F32, x));
    return dtype_is_float(from) ? from_float(u, from, to, x) : from_integer(u, from, to, x);
}

/* Floats of at most 2^31 to the nearest integers. Without an instruction: doubles from 2^52 to 2^53 are the integers. */
static LLVMValueRef nearest(const Unit *u, LLVMValueRef x) {
    LLVMBuilderRef b = u->builder;
    int lanes = type_lanes(LLVMTypeOf(x));
    LLVMTypeRef word = type_int(u, 32, lanes), from = LLVMTypeOf(x), real = type_float(u, DT_F64, lanes);
    bool x86 = !strncmp(u->target->triple, "x86_64", 6), wide = 32 * lanes <= u->target->vector_bits;
    if (x86 && lanes == 4)
        return build_intrinsic(u, "llvm.x86.sse2.cvtps2dq", 0, NULL, 1, &x);
    if (x86 && lanes == 8 && wide)
        return build_intrinsic(u, "llvm.x86.avx.cvt.ps2dq.256", 0, NULL, 1, &x);
    if (x86 && lanes == 16 && wide) {
        enum { AS_SET = 4 };
        LLVMValueRef a[] = {x, LLVMConstNull(word), splat_int(type_int(u, 16, 1), 0xffff), splat_int(type_int(u, 32, 1), AS_SET)};
        return build_intrinsic(u, "llvm.x86.avx512.mask.cvtps2dq.512", 0, NULL, 4, a);
    }
    if (!strncmp(u->target->triple, "aarch64", 7) && (lanes == 2 || lanes == 4))
        return build_intrinsic(u, "llvm.aarch64.neon.fcvtns", 2, (LLVMTypeRef[]){word, from}, 1, &x);
    LLVMValueRef sum = LLVMBuildFAdd(b, LLVMBuildFPExt(b, x, real, ""), splat_float(real, 0x1.8p52), "");
    return LLVMBuildTrunc(b, LLVMBuildBitCast(b, sum, type_int(u, 64, lanes), ""), word, "");
}

/* By a table of all sixteen, where a register holds it. */
static LLVMValueRef nibble(const Unit *u, LLVMValueRef x) {
    enum { COUNT = 16 };
    LLVMBuilderRef b = u->builder;
    int lanes = type_lanes(LLVMTypeOf(x));
    LLVMTypeRef word = LLVMTypeOf(x), one = type_float(u, DT_F32, 1);
    if (lanes == COUNT && u->target->vector_bits >= 32 * COUNT && !strncmp(u->target->triple, "x86_64", 6)) {
        LLVMValueRef number[COUNT];
        for (int i = 0; i < COUNT; i++)
            number[i] = LLVMConstReal(one, (i - 8) * 0x1p28);
        LLVMValueRef a[] = {LLVMConstVector(number, COUNT), x};
        return build_intrinsic(u, "llvm.x86.avx512.permvar.sf.512", 0, NULL, 2, a);
    }
    LLVMValueRef high = LLVMBuildXor(b, LLVMBuildShl(b, x, splat_int(word, 28), ""), splat_int(word, 0x80000000), "");
    return LLVMBuildSIToFP(b, high, type_float(u, DT_F32, lanes), "");
}

/* NEON: words to halves, and these, twice side by side, to bytes. */
static LLVMValueRef saturate_halves(const Unit *u, bool sign, LLVMValueRef x) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef half = type_int(u, 16, 4), byte = type_int(u, 8, 8);
    LLVMValueRef at[8];
    for (int i = 0; i < 8; i++)
        at[i] = splat_int(type_int(u, 32, 1), (uint64_t)(i % 4));
    x = build_intrinsic(u, "llvm.aarch64.neon.sqxtn", 1, &half, 1, &x);
    x = LLVMBuildShuffleVector(b, x, x, LLVMConstVector(at, 8), "");
    x = build_intrinsic(u, sign ? "llvm.aarch64.neon.sqxtn" : "llvm.aarch64.neon.sqxtun", 1, &byte, 1, &x);
    return LLVMBuildShuffleVector(b, x, x, LLVMConstVector(at, 4), "");
}

static LLVMValueRef saturate(const Unit *u, DType to, LLVMValueRef x) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef t = LLVMTypeOf(x);
    if (!strncmp(u->target->triple, "aarch64", 7) && type_lanes(t) == 4)
        return saturate_halves(u, to == DT_I8, x);
    int64_t least = to == DT_I8 ? INT8_MIN : 0;
    LLVMValueRef bound[] = {x, splat_int(t, (uint64_t)least)};
    bound[0] = build_intrinsic(u, "llvm.smax", 1, &t, 2, bound);
    bound[1] = splat_int(t, (uint64_t)(least + 255));
    x = build_intrinsic(u, "llvm.smin", 1, &t, 2, bound);
    return LLVMBuildTrunc(b, x, type_int(u, 8, type_lanes(t)), "");
}

/* x86: words become halves, these bytes, both with saturation, two vectors at a time and within 128 bits; then the fours of
 * each argument are brought together. */
static LLVMValueRef saturate_x86(const Unit *u, DType to, int n, int lanes, LLVMValueRef *x) {
    static const char *const halves[] = {[1] = "llvm.x86.sse2.packssdw.128", [2] = "llvm.x86.avx2.packssdw", [4] = "llvm.x86.avx512.packssdw.512"};
    static const char *const bytes[][5] = {{[1] = "llvm.x86.sse2.packuswb.128", [2] = "llvm.x86.avx2.packuswb", [4] = "llvm.x86.avx512.packuswb.512"},
                                           {[1] = "llvm.x86.sse2.packsswb.128", [2] = "llvm.x86.avx2.packsswb", [4] = "llvm.x86.avx512.packsswb.512"}};
    int parts = lanes / 4;
    LLVMValueRef pair[2], mask[16];
    pair[0] = build_intrinsic(u, halves[parts], 0, NULL, 2, x);
    pair[1] = n == 4 ? build_intrinsic(u, halves[parts], 0, NULL, 2, x + 2) : pair[0];
    LLVMValueRef z = build_intrinsic(u, bytes[to == DT_I8][parts], 0, NULL, 2, pair);
    z = LLVMBuildBitCast(u->builder, z, type_int(u, 32, lanes), "");
    for (int k = 0; k < n * parts; k++)
        mask[k] = splat_int(type_int(u, 32, 1), (uint64_t)(k % parts * 4 + k / parts));
    z = LLVMBuildShuffleVector(u->builder, z, z, LLVMConstVector(mask, (unsigned)(n * parts)), "");
    return LLVMBuildBitCast(u->builder, z, type_int(u, 8, n * lanes), "");
}

LLVMValueRef build_saturate(const Unit *u, const KInstr *i, LLVMValueRef *x) {
    int lanes = i->arg[0]->type.lanes, n = i->nargs;
    DType to = i->result[0]->type.dtype;
    if (n > 1 && !strncmp(u->target->triple, "x86_64", 6) && (lanes == 4 || ((lanes == 8 || lanes == 16) && 32 * lanes <= u->target->vector_bits)))
        return saturate_x86(u, to, n, lanes, x);
    for (int k = 0; k < n; k++)
        x[k] = saturate(u, to, x[k]);
    for (; n > 1; n /= 2, lanes *= 2)
        for (int k = 0; k < n / 2; k++)
            x[k] = build_join(u, x[2 * k], x[2 * k + 1]);
    return x[0];
}

LLVMValueRef build_convert(const Unit *u, const KInstr *i, LLVMValueRef x) {
    KType from = i->arg[0]->type, to = i->result[0]->type;
    if (i->op == KOP_NEAREST)
        return nearest(u, x);
    if (i->op == KOP_NIBBLE)
        return nibble(u, x);
    if (i->op == KOP_CAST || from.dtype == DT_BOOL || to.dtype == DT_BOOL)
        return cast(u, from.dtype, to.dtype, x);
    return LLVMBuildBitCast(u->builder, x, type_of(u, to), "");
}
