/* SPDX-License-Identifier: Apache-2.0 */
/* LLVM's types and constants for ours. */
#include <stdlib.h>
#include <string.h>

#include "backend/llvm/llvm.h"

int type_bits(const Unit *u, DType t) {
    return t == DT_INDEX ? u->target->pointer_bits : t == DT_BOOL ? 1 : dtype_bits(t);
}

static LLVMTypeRef lanes_of(LLVMTypeRef t, int lanes) { return lanes == 1 ? t : LLVMVectorType(t, (unsigned)lanes); }

LLVMTypeRef type_int(const Unit *u, int bits, int lanes) {
    return lanes_of(LLVMIntTypeInContext(u->context, (unsigned)bits), lanes);
}

LLVMTypeRef type_float(const Unit *u, DType t, int lanes) {
    return lanes_of(t == DT_F64 ? LLVMDoubleTypeInContext(u->context) : LLVMFloatTypeInContext(u->context), lanes);
}

LLVMTypeRef type_of(const Unit *u, KType t) {
    if (t.dtype == DT_F32 || t.dtype == DT_F64)
        return type_float(u, t.dtype, t.lanes);
    return type_int(u, type_bits(u, t.dtype), t.lanes);
}

LLVMTypeRef memory_type(const Unit *u, KType t) {
    return t.dtype == DT_BOOL ? type_int(u, 8, t.lanes) : type_of(u, t);
}

int type_lanes(LLVMTypeRef t) { return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(t) : 1; }

static LLVMValueRef splat(LLVMTypeRef t, LLVMValueRef one) {
    enum { MOST_LANES = 64 };
    LLVMValueRef few[MOST_LANES];
    int n = type_lanes(t);
    LLVMValueRef *list = n <= MOST_LANES ? few : malloc((size_t)n * sizeof *list);
    for (int i = 0; i < n; i++)
        list[i] = one;
    LLVMValueRef v = LLVMConstVector(list, (unsigned)n);
    if (list != few)
        free(list);
    return v;
}

LLVMValueRef splat_int(LLVMTypeRef t, uint64_t x) {
    if (type_lanes(t) > 1)
        return splat(t, LLVMConstInt(LLVMGetElementType(t), x, false));
    return LLVMConstInt(t, x, false);
}

LLVMValueRef splat_float(LLVMTypeRef t, double x) {
    if (type_lanes(t) > 1)
        return splat(t, LLVMConstReal(LLVMGetElementType(t), x));
    return LLVMConstReal(t, x);
}

LLVMValueRef const_of(const Unit *u, const KInstr *i) {
    KType t = i->result[0]->type;
    LLVMTypeRef type = type_of(u, t);
    if (t.dtype == DT_F32 || t.dtype == DT_F64)
        return splat_float(type, i->imm.f);
    if (t.dtype == DT_F16)
        return splat_int(type, float_to_half((float)i->imm.f));
    if (t.dtype == DT_BF16)
        return splat_int(type, float_to_bfloat((float)i->imm.f));
    return splat_int(type, (uint64_t)i->imm.i);
}

LLVMValueRef build_intrinsic(const Unit *u, const char *name, int n, LLVMTypeRef *types, int nargs, LLVMValueRef *args) {
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    LLVMValueRef f = LLVMGetIntrinsicDeclaration(u->module, id, types, (size_t)n);
    LLVMTypeRef type = LLVMIntrinsicGetType(u->context, id, types, (size_t)n);
    return LLVMBuildCall2(u->builder, type, f, args, (unsigned)nargs, "");
}

LLVMValueRef build_select(const Unit *u, LLVMValueRef c, LLVMValueRef x, LLVMValueRef y) {
    if (x == y)
        return x;
    if (LLVMIsConstant(c)) {
        if (LLVMIsNull(c))
            return y;
        if (c == LLVMConstAllOnes(LLVMTypeOf(c)))
            return x;
    }
    return LLVMBuildSelect(u->builder, c, x, y, "");
}
