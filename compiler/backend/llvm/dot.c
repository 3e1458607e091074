/* SPDX-License-Identifier: Apache-2.0 */
/* Dot products of the bytes of words, by the instructions that the target has for them. */
#include <string.h>

#include "backend/llvm/llvm.h"

static bool is_arch(const Unit *u, const char *arch) { return !strncmp(u->target->triple, arch, strlen(arch)); }

static LLVMTypeRef lanes_of(const Unit *u, int bits, int lanes) { return type_int(u, bits, lanes); }

static LLVMValueRef as(const Unit *u, LLVMValueRef x, int bits, int lanes) {
    return LLVMBuildBitCast(u->builder, x, lanes_of(u, bits, lanes), "");
}

/* One byte of each lane, as 32 bits. */
static LLVMValueRef byte_of(const Unit *u, LLVMValueRef x, int k, bool sign) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef top = LLVMBuildShl(b, x, splat_int(t, (uint64_t)(24 - 8 * k)), ""), by = splat_int(t, 24);
    return sign ? LLVMBuildAShr(b, top, by, "") : LLVMBuildLShr(b, top, by, "");
}

static LLVMValueRef one_by_one(const Unit *u, bool sign, LLVMValueRef *x) {
    LLVMBuilderRef b = u->builder;
    LLVMValueRef sum = x[2];
    for (int k = 0; k < 4; k++)
        sum = LLVMBuildAdd(b, sum, LLVMBuildMul(b, byte_of(u, x[0], k, sign), byte_of(u, x[1], k, true), ""), "");
    return sum;
}

/* Bytes 0 and 2, or 1 and 3, of each lane, as halves. */
static LLVMValueRef halves_of(const Unit *u, LLVMValueRef x, bool odd, bool sign) {
    LLVMBuilderRef b = u->builder;
    x = as(u, x, 16, 2 * type_lanes(LLVMTypeOf(x)));
    LLVMValueRef by = splat_int(LLVMTypeOf(x), 8);
    if (!odd && !sign)
        return LLVMBuildAnd(b, x, splat_int(LLVMTypeOf(x), 255), "");
    x = odd ? x : LLVMBuildShl(b, x, by, "");
    return sign ? LLVMBuildAShr(b, x, by, "") : LLVMBuildLShr(b, x, by, "");
}

/* The instruction that multiplies halves and adds neighbours, without an addend; NULL where there is none. */
static const char *product_of_halves(const Unit *u, int lanes) {
    if (is_arch(u, "x86_64"))
        return lanes == 4 ? "llvm.x86.sse2.pmadd.wd" : lanes == 8 ? "llvm.x86.avx2.pmadd.wd" : lanes == 16 ? "llvm.x86.avx512.pmaddw.d.512" : NULL;
    return is_arch(u, "wasm") && lanes == 4 ? "llvm.wasm.dot" : NULL;
}

static LLVMValueRef by_halves(const Unit *u, const char *name, bool sign, LLVMValueRef *x) {
    LLVMValueRef sum = x[2];
    for (int odd = 0; odd < 2; odd++) {
        LLVMValueRef pair[] = {halves_of(u, x[0], odd, sign), halves_of(u, x[1], odd, true)};
        sum = LLVMBuildAdd(u->builder, sum, build_intrinsic(u, name, 0, NULL, 2, pair), "");
    }
    return sum;
}

/* Cortex-M: bytes 0 and 2 of a word, or 1 and 3, as two halves of another. */
static LLVMValueRef widened_word(const Unit *u, LLVMValueRef x, bool odd, bool sign) {
    LLVMTypeRef t = LLVMTypeOf(x);
    LLVMValueRef turned[] = {x, x, splat_int(t, 8)};
    if (odd)
        x = build_intrinsic(u, "llvm.fshr", 1, &t, 3, turned);
    return build_intrinsic(u, sign ? "llvm.arm.sxtb16" : "llvm.arm.uxtb16", 0, NULL, 1, &x);
}

static LLVMValueRef by_words(const Unit *u, bool sign, LLVMValueRef *x) {
    LLVMValueRef sum = x[2];
    for (int odd = 0; odd < 2; odd++) {
        LLVMValueRef a[] = {widened_word(u, x[0], odd, sign), widened_word(u, x[1], odd, true), sum};
        sum = build_intrinsic(u, "llvm.arm.smlad", 0, NULL, 3, a);
    }
    return sum;
}

static LLVMValueRef half_of_lanes(const Unit *u, LLVMValueRef x, int first, int n) {
    LLVMValueRef mask[8];
    for (int i = 0; i < n; i++)
        mask[i] = splat_int(type_int(u, 32, 1), (uint64_t)(first + i));
    return LLVMBuildShuffleVector(u->builder, x, LLVMGetPoison(LLVMTypeOf(x)), LLVMConstVector(mask, (unsigned)n), "");
}

/* NEON without dot products: products of 16 bits, whose neighbours' sums fit 16 bits too. */
static LLVMValueRef narrow(const Unit *u, LLVMValueRef *x) {
    LLVMTypeRef halves = lanes_of(u, 16, 8), words = lanes_of(u, 32, 4);
    LLVMValueRef part[2], a = as(u, x[0], 8, 16), b = as(u, x[1], 8, 16);
    for (int i = 0; i < 2; i++)
        part[i] = build_intrinsic(u, "llvm.aarch64.neon.smull", 1, &halves, 2,
                                  (LLVMValueRef[]){half_of_lanes(u, a, 8 * i, 8), half_of_lanes(u, b, 8 * i, 8)});
    LLVMValueRef pairs = build_intrinsic(u, "llvm.aarch64.neon.addp", 1, &halves, 2, part);
    return LLVMBuildAdd(u->builder, x[2], build_intrinsic(u, "llvm.aarch64.neon.saddlp", 2, (LLVMTypeRef[]){words, halves}, 1, &pairs), "");
}

/* --- RISC-V: halves times halves, added to words --- */

static LLVMValueRef scalable(const Unit *u, LLVMValueRef x, LLVMTypeRef t) {
    LLVMTypeRef types[] = {t, LLVMTypeOf(x)};
    LLVMValueRef a[] = {LLVMGetPoison(t), x, splat_int(type_int(u, 64, 1), 0)};
    return build_intrinsic(u, "llvm.vector.insert", 2, types, 3, a);
}

LLVMValueRef build_widening_add(const Unit *u, const KInstr *i, LLVMValueRef *x) {
    enum { BLOCK = 64 }; /* bits of a scalable type's unit */
    LLVMBuilderRef b = u->builder;
    int lanes = i->result[0]->type.lanes, unit = lanes * BLOCK / 128;
    bool splat = i->arg[0]->def && i->arg[0]->def->op == KOP_SPLAT;
    if (!is_arch(u, "riscv64") || !strstr(u->features, "+v,") || lanes < 4 || 32 * lanes > u->target->vector_bits || u->target->vector_bits != 128 ||
        i->result[0]->type.dtype != DT_I32 || !kernel_fits_half(i->arg[0]) || !kernel_fits_half(i->arg[1]))
        return NULL;
    LLVMTypeRef half = type_int(u, 16, 1), index = type_int(u, 64, 1);
    LLVMTypeRef words = LLVMScalableVectorType(type_int(u, 32, 1), (unsigned)unit), halves = LLVMScalableVectorType(half, (unsigned)unit);
    LLVMValueRef left = splat ? LLVMBuildTrunc(b, LLVMBuildExtractElement(b, x[0], splat_int(type_int(u, 32, 1), 0), ""), half, "")
                              : scalable(u, LLVMBuildTrunc(b, x[0], type_int(u, 16, lanes), ""), halves);
    LLVMValueRef right = scalable(u, LLVMBuildTrunc(b, x[1], type_int(u, 16, lanes), ""), halves);
    LLVMTypeRef types[] = {words, splat ? half : halves, halves, index};
    LLVMValueRef a[] = {scalable(u, x[2], words), left, right, splat_int(index, (uint64_t)lanes), splat_int(index, 3)};
    LLVMValueRef sum = build_intrinsic(u, "llvm.riscv.vwmacc", 4, types, 5, a);
    LLVMTypeRef fixed[] = {LLVMTypeOf(x[2]), words};
    return build_intrinsic(u, "llvm.vector.extract", 2, fixed, 2, (LLVMValueRef[]){sum, splat_int(index, 0)});
}

LLVMValueRef build_dot_sum(const Unit *u, LLVMValueRef *x) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef t = LLVMTypeOf(x[0]), one = type_int(u, 32, 1);
    int lanes = type_lanes(t);
    if (is_arch(u, "thumb") && u->target->dot & DOT_ALONG && lanes == 16) {
        LLVMValueRef zero = splat_int(one, 0), a[] = {zero, zero, zero, x[2], x[0], x[1]};
        return build_intrinsic(u, "llvm.arm.mve.vmldava", 1, &t, 6, a);
    }
    LLVMTypeRef wide = type_int(u, 32, lanes);
    LLVMValueRef product = LLVMBuildMul(b, LLVMBuildSExt(b, x[0], wide, ""), LLVMBuildSExt(b, x[1], wide, ""), "");
    return LLVMBuildAdd(b, x[2], build_intrinsic(u, "llvm.vector.reduce.add", 1, &wide, 1, &product), "");
}

/* Lanes of x's elements in that order, as words. */
static LLVMValueRef chosen(const Unit *u, LLVMValueRef x, const int at[4]) {
    LLVMValueRef mask[4];
    for (int i = 0; i < 4; i++)
        mask[i] = splat_int(type_int(u, 32, 1), (uint64_t)at[i]);
    x = LLVMBuildShuffleVector(u->builder, x, LLVMGetPoison(LLVMTypeOf(x)), LLVMConstVector(mask, 4), "");
    return LLVMBuildSExt(u->builder, x, type_int(u, 32, 4), "");
}

LLVMValueRef build_matmul_2x2(const Unit *u, LLVMValueRef *x) {
    LLVMBuilderRef b = u->builder;
    if (is_arch(u, "aarch64") && u->target->dot & DOT_PAIRS) {
        LLVMTypeRef types[] = {LLVMTypeOf(x[2]), LLVMTypeOf(x[0])};
        return build_intrinsic(u, "llvm.aarch64.neon.smmla", 2, types, 3, (LLVMValueRef[]){x[2], x[0], x[1]});
    }
    LLVMValueRef sum = x[2];
    for (int k = 0; k < 8; k++) {
        LLVMValueRef row = chosen(u, x[0], (const int[]){k, k, 8 + k, 8 + k}), column = chosen(u, x[1], (const int[]){k, 8 + k, k, 8 + k});
        sum = LLVMBuildAdd(b, sum, LLVMBuildMul(b, row, column, ""), "");
    }
    return sum;
}

LLVMValueRef build_dot_long(const Unit *u, LLVMValueRef *x) {
    LLVMBuilderRef b = u->builder;
    LLVMTypeRef t = LLVMTypeOf(x[0]);
    LLVMValueRef sum = x[2], by = splat_int(t, 56), byte[2];
    for (int k = 0; k < 64; k += 8) {
        for (int i = 0; i < 2; i++)
            byte[i] = LLVMBuildAShr(b, LLVMBuildShl(b, x[i], splat_int(t, (uint64_t)(56 - k)), ""), by, "");
        sum = LLVMBuildAdd(b, sum, LLVMBuildTrunc(b, LLVMBuildMul(b, byte[0], byte[1], ""), LLVMTypeOf(sum), ""), "");
    }
    return sum;
}

LLVMValueRef build_dot(const Unit *u, bool sign, LLVMValueRef *x) {
    unsigned dot = u->target->dot;
    int lanes = type_lanes(LLVMTypeOf(x[0]));
    bool x86 = is_arch(u, "x86_64"), aarch64 = is_arch(u, "aarch64"), thumb = is_arch(u, "thumb");
    if (x86 && !sign && dot & DOT_U8S8 && (lanes == 4 || lanes == 8 || lanes == 16)) {
        const char *name = lanes == 16  ? "llvm.x86.avx512.vpdpbusd.512"
                           : lanes == 8 ? "llvm.x86.avx512.vpdpbusd.256"
                                        : "llvm.x86.avx512.vpdpbusd.128";
        return build_intrinsic(u, name, 0, NULL, 3, (LLVMValueRef[]){x[2], x[0], x[1]});
    }
    if (aarch64 && dot & (sign ? DOT_S8S8 : DOT_U8S8) && (lanes == 2 || lanes == 4)) {
        LLVMTypeRef types[] = {lanes_of(u, 32, lanes), lanes_of(u, 8, 4 * lanes)};
        LLVMValueRef a[] = {x[2], as(u, x[0], 8, 4 * lanes), as(u, x[1], 8, 4 * lanes)};
        return build_intrinsic(u, sign ? "llvm.aarch64.neon.sdot" : "llvm.aarch64.neon.usdot", 2, types, 3, a);
    }
    if (aarch64 && sign && dot & DOT_NARROW && lanes == 4)
        return narrow(u, x);
    /* x86 has the halves beneath its other products; the JIT meets kernels that were scheduled for other machines. */
    bool has_halves = dot & DOT_HALVES || (x86 && dot && 32 * lanes <= u->target->vector_bits);
    const char *halves = has_halves ? product_of_halves(u, lanes) : NULL;
    if (halves)
        return by_halves(u, halves, sign, x);
    if (thumb && dot & DOT_HALVES && lanes == 1)
        return by_words(u, sign, x);
    return one_by_one(u, sign, x);
}
