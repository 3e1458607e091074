/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of the LLVM backend; the JIT shares them. */
#ifndef MLCC_BACKEND_LLVM_LLVM_H
#define MLCC_BACKEND_LLVM_LLVM_H

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

#include "backend/emit.h"

/* One LLVM module in the making. */
typedef struct Unit {
    Arena *arena;
    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef builder;
    LLVMTypeRef pointer, index; /* index: as wide as a pointer */
    const Target *target;
    const char *prefix;
    const KModule *kernels;
    /* Where constants are in this process, by buffer index; NULL outside of the JIT. */
    const void *const *address;
    const char *cpu, *features; /* as the target machine has them */
    bool native_half;           /* the target converts binary16 with an instruction */
    LLVMValueRef soft_sqrt[DT_COUNT];
    LLVMTypeRef soft_sqrt_type[DT_COUNT];
} Unit;

/* --- unit.c --- */

/* The module with kernels, PREFIX_run and PREFIX_run_any, and with the descriptor PREFIX_model unless for the JIT.
 * address is NULL, or for the JIT. options->weights: WEIGHTS_INCBIN embeds the bytes like WEIGHTS_C. */
void unit_begin(Unit *u, Arena *a, const KModule *m, const EmitOptions *options, LLVMTargetMachineRef machine,
                const void *const *address);
/* Name without prefix of the function like run_any that makes one call alone (options->calls_apart). */
const char *unit_call_name(const Unit *u, int call);
void unit_end(Unit *u);

/* --- function.c --- */

void unit_kernel(Unit *u, const KKernel *k);
void unit_describe_function(const Unit *u, LLVMValueRef function); /* attributes that all functions have */
void unit_func(Unit *u, const KFunc *f);
const char *unit_name(const Unit *u, const char *name); /* with the prefix */

/* --- types.c --- */

LLVMTypeRef type_of(const Unit *u, KType t);          /* of values: BOOL is i1, F16 and BF16 are their bits */
LLVMTypeRef memory_type(const Unit *u, KType t);      /* BOOL is i8 */
LLVMTypeRef type_int(const Unit *u, int bits, int lanes);
LLVMTypeRef type_float(const Unit *u, DType t, int lanes);
int type_bits(const Unit *u, DType t);
int type_lanes(LLVMTypeRef t);
LLVMValueRef splat_int(LLVMTypeRef t, uint64_t x);    /* splat where t is a vector */
LLVMValueRef splat_float(LLVMTypeRef t, double x);
LLVMValueRef const_of(const Unit *u, const KInstr *i);
/* Calls an intrinsic that is overloaded on n types. */
LLVMValueRef build_intrinsic(const Unit *u, const char *name, int n, LLVMTypeRef *types, int nargs, LLVMValueRef *args);
/* A select that a constant condition decides at once. */
LLVMValueRef build_select(const Unit *u, LLVMValueRef c, LLVMValueRef x, LLVMValueRef y);

/* --- arithmetic.c, convert.c, shape.c: one instruction each, lane by lane or between lanes --- */

LLVMValueRef build_arithmetic(Unit *u, const KInstr *i, LLVMValueRef *x);
LLVMValueRef build_binary(const Unit *u, KOp op, DType t, LLVMValueRef x, LLVMValueRef y);
LLVMValueRef build_convert(const Unit *u, const KInstr *i, LLVMValueRef x);
LLVMValueRef build_saturate(const Unit *u, const KInstr *i, LLVMValueRef *x);
LLVMValueRef build_join(const Unit *u, LLVMValueRef x, LLVMValueRef y); /* the lanes of two vectors */
LLVMValueRef build_shape(const Unit *u, const KInstr *i, LLVMValueRef *x);
LLVMValueRef build_splat(const Unit *u, LLVMValueRef x, int lanes);

/* --- dot.c: c plus the products of the bytes of each lane, those of x[0] signed or not --- */

LLVMValueRef build_dot(const Unit *u, bool sign, LLVMValueRef *x);
LLVMValueRef build_dot_long(const Unit *u, LLVMValueRef *x);
LLVMValueRef build_matmul_2x2(const Unit *u, LLVMValueRef *x);
LLVMValueRef build_dot_sum(const Unit *u, LLVMValueRef *x); /* those of all lanes of x[0] and x[1] */

/* The multiply-add i where the target multiplies halves to words and the operands fit; else NULL. */
LLVMValueRef build_widening_add(const Unit *u, const KInstr *i, LLVMValueRef *x);

/* --- sqrt.c: for machines without the instruction --- */

LLVMValueRef build_soft_sqrt(Unit *u, DType t, LLVMValueRef x);

/* --- target.c --- */

/* NULL after a diagnostic. The JIT's code may be anywhere and is always position independent. */
LLVMTargetMachineRef machine_new(Diag *d, const Target *t, LLVMCodeGenOptLevel level);
bool module_optimise(Diag *d, LLVMModuleRef m, LLVMTargetMachineRef machine);
LLVMMemoryBufferRef module_emit(Diag *d, LLVMModuleRef m, LLVMTargetMachineRef machine, LLVMCodeGenFileType type);
/* Every diagnostic that LLVM makes in this context goes to d, errors counted. */
void context_diagnostics(LLVMContextRef context, Diag *d);

#endif
