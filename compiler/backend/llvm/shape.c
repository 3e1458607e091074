/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions between lanes: splat, pack, extract, reduce, ramp. */
#include "backend/llvm/llvm.h"

static LLVMValueRef lane_number(const Unit *u, int k) { return splat_int(type_int(u, 32, 1), (uint64_t)k); }

/* Lanes first .. first + n - 1 of x and y side by side. */
static LLVMValueRef shuffle(const Unit *u, LLVMValueRef x, LLVMValueRef y, int first, int n, int step) {
    LLVMValueRef *mask = ARENA_ARRAY(u->arena, LLVMValueRef, n);
    for (int k = 0; k < n; k++)
        mask[k] = lane_number(u, first + k * step);
    return LLVMBuildShuffleVector(u->builder, x, y, LLVMConstVector(mask, (unsigned)n), "");
}

LLVMValueRef build_splat(const Unit *u, LLVMValueRef x, int lanes) {
    if (lanes == 1)
        return x;
    LLVMValueRef none = LLVMGetPoison(LLVMVectorType(LLVMTypeOf(x), (unsigned)lanes));
    LLVMValueRef one = LLVMBuildInsertElement(u->builder, none, x, lane_number(u, 0), "");
    return shuffle(u, one, none, 0, lanes, 0);
}

LLVMValueRef build_join(const Unit *u, LLVMValueRef x, LLVMValueRef y) { return shuffle(u, x, y, 0, 2 * type_lanes(LLVMTypeOf(x)), 1); }

static LLVMValueRef take(const Unit *u, LLVMValueRef x, int first, int n) {
    if (n == 1)
        return LLVMBuildExtractElement(u->builder, x, lane_number(u, first), "");
    return shuffle(u, x, LLVMGetPoison(LLVMTypeOf(x)), first, n, 1);
}

static LLVMValueRef reduce(const Unit *u, const KInstr *i, LLVMValueRef x) {
    KOp op = i->op == KOP_REDUCE_ADD ? KOP_ADD : i->op == KOP_REDUCE_MUL ? KOP_MUL : i->op == KOP_REDUCE_MIN ? KOP_MIN : KOP_MAX;
    KType t = i->arg[0]->type;
    for (int n = t.lanes / 2; n; n /= 2)
        x = build_binary(u, op, t.dtype, take(u, x, 0, n), take(u, x, n, n));
    return x;
}

static LLVMValueRef pack(const Unit *u, const KInstr *i, LLVMValueRef *x) {
    int n = i->nargs, lanes = i->arg[0]->type.lanes;
    if (lanes == 1) {
        LLVMValueRef v = LLVMGetPoison(type_of(u, i->result[0]->type));
        for (int k = 0; k < n; k++)
            v = LLVMBuildInsertElement(u->builder, v, x[k], lane_number(u, k), "");
        return v;
    }
    LLVMValueRef *v = ARENA_ARRAY(u->arena, LLVMValueRef, n);
    for (int k = 0; k < n; k++)
        v[k] = x[k];
    for (; n > 1; n /= 2, lanes *= 2)
        for (int k = 0; k < n / 2; k++)
            v[k] = shuffle(u, v[2 * k], v[2 * k + 1], 0, 2 * lanes, 1);
    return v[0];
}

static LLVMValueRef ramp(const Unit *u, const KInstr *i, LLVMValueRef x) {
    int n = i->result[0]->type.lanes;
    LLVMValueRef *step = ARENA_ARRAY(u->arena, LLVMValueRef, n);
    for (int k = 0; k < n; k++)
        step[k] = splat_int(u->index, (uint64_t)k * (uint64_t)i->imm.i);
    return LLVMBuildAdd(u->builder, build_splat(u, x, n), LLVMConstVector(step, (unsigned)n), "");
}

/* The bytes of two vectors behind those of two others, picked in turn. */
static LLVMValueRef words(const Unit *u, const KInstr *i, LLVMValueRef *x) {
    int n = i->arg[0]->type.lanes, lanes = i->result[0]->type.lanes;
    LLVMTypeRef word = type_of(u, i->result[0]->type);
    if (n == 1 || i->nargs == 1) {
        LLVMValueRef sum = NULL;
        for (int k = 0; k < i->nargs; k++) {
            LLVMValueRef byte = LLVMBuildZExt(u->builder, n == 1 ? x[k] : take(u, x[k], (int)i->imm.i, lanes), word, "");
            LLVMValueRef at = LLVMBuildShl(u->builder, byte, splat_int(word, (uint64_t)(8 * k)), "");
            sum = sum ? LLVMBuildOr(u->builder, sum, at, "") : at;
        }
        return sum;
    }
    LLVMValueRef zero = LLVMConstNull(LLVMTypeOf(x[0])), *mask = ARENA_ARRAY(u->arena, LLVMValueRef, 4 * lanes);
    LLVMValueRef low = shuffle(u, x[0], x[1], 0, 2 * n, 1),
                 high = shuffle(u, i->nargs > 2 ? x[2] : zero, i->nargs > 3 ? x[3] : zero, 0, 2 * n, 1);
    for (int k = 0; k < 4 * lanes; k++)
        mask[k] = lane_number(u, k % 4 * n + (int)i->imm.i + k / 4);
    LLVMValueRef bytes = LLVMBuildShuffleVector(u->builder, low, high, LLVMConstVector(mask, (unsigned)(4 * lanes)), "");
    return LLVMBuildBitCast(u->builder, bytes, word, "");
}

LLVMValueRef build_shape(const Unit *u, const KInstr *i, LLVMValueRef *x) {
    switch (i->op) {
    case KOP_SPLAT: return build_splat(u, x[0], i->result[0]->type.lanes);
    case KOP_PACK: return pack(u, i, x);
    case KOP_EXTRACT:
        return i->arg[0]->type.lanes == 1 ? x[0] : take(u, x[0], (int)i->imm.i, i->result[0]->type.lanes);
    case KOP_WORDS: return words(u, i, x);
    case KOP_RAMP: return ramp(u, i, x[0]);
    default: return reduce(u, i, x[0]);
    }
}
