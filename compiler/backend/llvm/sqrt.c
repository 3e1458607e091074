/* SPDX-License-Identifier: Apache-2.0 */
/* Correctly rounded square roots in integers, for machines that have no instruction: a function in kernel IR. */
#include "backend/llvm/llvm.h"

/* x > 0 and finite: digit by digit, on a mantissa with an even exponent. Subnormals are scaled by an even power. */
static KValue *root_of(KBuilder *b, KValue *x, DType t) {
    bool f = t == DT_F32;
    DType u = f ? DT_U32 : DT_U64;
    int mantissa = f ? 23 : 52, bias = f ? 127 : 1023;
    uint64_t hidden = (uint64_t)1 << mantissa;
    KValue *tiny = kb_binary(b, KOP_LT, x, kb_float(b, t, f ? 0x1p-126 : 0x1p-1022));
    KValue *scaled = kb_select(b, tiny, kb_binary(b, KOP_MUL, x, kb_float(b, t, 0x1p64)), x);
    KValue *bits = kb_bitcast(b, scaled, u), *one = kb_int(b, u, 1);
    KValue *exponent = kb_binary(b, KOP_SHR, bits, kb_int(b, u, mantissa));
    KValue *m = kb_binary(b, KOP_OR, kb_binary(b, KOP_AND, bits, kb_int(b, u, (int64_t)(hidden - 1))), kb_int(b, u, (int64_t)hidden));
    /* The bias is odd: an even biased exponent means an odd one. */
    KValue *odd = kb_binary(b, KOP_EQ, kb_binary(b, KOP_AND, exponent, one), kb_int(b, u, 0));
    KValue *m1 = kb_binary(b, KOP_SHL, m, one), *m2 = kb_binary(b, KOP_SHL, m, kb_int(b, u, 2));
    KValue *init[] = {kb_select(b, odd, m2, m1), kb_int(b, u, 0), kb_int(b, u, 0), kb_int(b, u, (int64_t)(hidden << 1))};
    KInstr *loop = kb_for(b, KLOOP_SERIAL, NULL, kb_int(b, DT_INDEX, 0), kb_int(b, DT_INDEX, mantissa + 2), 1, 4, init);
    KValue *rest = kb_carried(loop, 0), *sum = kb_carried(loop, 1), *root = kb_carried(loop, 2), *bit = kb_carried(loop, 3);
    KValue *next = kb_binary(b, KOP_ADD, sum, bit), *fits = kb_binary(b, KOP_LE, next, rest);
    KValue *left = kb_select(b, fits, kb_binary(b, KOP_SUB, rest, next), rest);
    kb_end_for(b, loop,
               (KValue *[]){kb_binary(b, KOP_SHL, left, one), kb_select(b, fits, kb_binary(b, KOP_ADD, next, bit), sum),
                            kb_select(b, fits, kb_binary(b, KOP_ADD, root, bit), root), kb_binary(b, KOP_SHR, bit, one)});
    KValue *r = kb_result(loop, 2);
    r = kb_binary(b, KOP_SHR, kb_binary(b, KOP_ADD, r, kb_binary(b, KOP_AND, r, one)), one);
    /* (e - bias - odd) / 2 + bias - 1, which the mantissa's hidden bit raises by one; never negative on the way */
    KValue *up = kb_binary(b, KOP_ADD, exponent, kb_int(b, u, bias));
    KValue *half = kb_binary(b, KOP_SUB, kb_binary(b, KOP_SHR, up, one), one);
    KValue *y = kb_bitcast(b, kb_binary(b, KOP_ADD, r, kb_binary(b, KOP_SHL, half, kb_int(b, u, mantissa))), t);
    return kb_select(b, tiny, kb_binary(b, KOP_MUL, y, kb_float(b, t, 0x1p-32)), y);
}

static KFunc *sqrt_function(Arena *a, DType t) {
    KModule *m = kernel_module_new(a);
    KFunc *f = ARENA_NEW(a, KFunc);
    KType type = {t, 1};
    f->name = arena_printf(a, "sqrt_%s", dtype_name(t));
    f->result = type;
    f->nargs = 1;
    f->body = kernel_new(m, f->name);
    f->body->body = kernel_block_new(f->body, NULL, 1, &type);
    KBuilder b = kb_at_end(f->body, f->body->body);
    KValue *x = f->body->body->arg[0], *zero = kb_float(&b, t, 0);
    KValue *finite = kb_binary(&b, KOP_LT, x, kb_float(&b, t, (double)__builtin_inf()));
    KValue *usual = kb_binary(&b, KOP_AND, kb_binary(&b, KOP_GT, x, zero), finite);
    KInstr *branch = kb_if(&b, usual, 1);
    kb_else(&b, branch, (KValue *[]){root_of(&b, x, t)});
    KValue *nan = kb_binary(&b, KOP_SUB, x, x);
    KValue *other = kb_select(&b, kb_binary(&b, KOP_LT, x, zero), kb_binary(&b, KOP_DIV, nan, nan), x);
    kb_end_if(&b, branch, &other);
    kb_yield(&b, 1, (KValue *[]){kb_result(branch, 0)});
    return f;
}

LLVMValueRef build_soft_sqrt(Unit *u, DType t, LLVMValueRef x) {
    LLVMBuilderRef b = u->builder;
    if (!u->soft_sqrt[t]) {
        LLVMBasicBlockRef here = LLVMGetInsertBlock(b);
        KFunc *f = sqrt_function(u->arena, t);
        unit_func(u, f);
        u->soft_sqrt[t] = LLVMGetNamedFunction(u->module, unit_name(u, f->name));
        u->soft_sqrt_type[t] = LLVMGlobalGetValueType(u->soft_sqrt[t]);
        LLVMPositionBuilderAtEnd(b, here);
    }
    int lanes = type_lanes(LLVMTypeOf(x));
    if (lanes == 1)
        return LLVMBuildCall2(b, u->soft_sqrt_type[t], u->soft_sqrt[t], &x, 1, "");
    LLVMValueRef y = LLVMGetPoison(LLVMTypeOf(x));
    for (int k = 0; k < lanes; k++) {
        LLVMValueRef at = splat_int(type_int(u, 32, 1), (uint64_t)k);
        LLVMValueRef one = LLVMBuildExtractElement(b, x, at, "");
        one = LLVMBuildCall2(b, u->soft_sqrt_type[t], u->soft_sqrt[t], &one, 1, "");
        y = LLVMBuildInsertElement(b, y, one, at, "");
    }
    return y;
}
