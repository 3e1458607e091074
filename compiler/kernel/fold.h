/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic of kernel constants, exactly as the generated code computes it. */
#ifndef MLCC_KERNEL_FOLD_H
#define MLCC_KERNEL_FOLD_H

#include "kernel/kernel.h"

typedef union KConst {
    int64_t i;
    double f;
} KConst;

/* x reduced to the type's width; a double rounded to the type's precision. */
int64_t kernel_wrap(DType t, int64_t x);
double kernel_round_to(DType t, double x);

/* False where the operation is not folded. t is the arguments' type. */
bool kernel_fold_unary(KOp op, DType t, KConst x, KConst *r);
bool kernel_fold_binary(KOp op, DType t, KConst x, KConst y, KConst *r);
bool kernel_fold_cast(DType from, DType to, KConst x, KConst *r);

#endif
