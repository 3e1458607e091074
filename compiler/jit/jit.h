/* SPDX-License-Identifier: Apache-2.0 */
/* Running a module in this process, through LLVM's ORC: folding, `run`, tests. */
#ifndef MLCC_JIT_JIT_H
#define MLCC_JIT_JIT_H

#include "kernel/kernel.h"
#include "kernel/target.h"
#include "support/diag.h"

typedef struct Jit Jit;

typedef enum JitSpeed {
    JIT_QUICK, /* compiled at once, not optimised: for work that runs once */
    JIT_FAST,  /* optimised */
    JIT_BENCH, /* optimised, and jit_run_call works */
} JitSpeed;

/* What JIT_BENCH compiles for from now on, if this machine has its instructions: the architecture is the same, and the
 * vectors are no wider than its own. Otherwise for this machine, as everything else. */
void jit_measure_for(const Target *t);
/* NULL after a diagnostic. The module must stay alive: constants are read in place. */
Jit *jit_compile(Diag *d, const KModule *m, JitSpeed speed);
/* Of a module that begins with the buffers of the one that `with` was compiled of, and has any calls: it shares the arena
 * with it, so that calls of either go on from what calls of the other left, and constants where they lie alike. For
 * jit_run_call; `with` and its module must stay. */
Jit *jit_compile_beside(Diag *d, const KModule *m, const Jit *with);
/* One pointer for each input and each output, in the module's order, row-major. The arena is the Jit's own.
 * Returns what the generated run function returns: 0, or negative. */
int jit_run(Jit *j, const void *const *input, void *const *output);
/* One of the module's calls alone, on what the earlier ones left in the arena. Needs JIT_BENCH. */
int jit_run_call(Jit *j, int call, const void *const *input, void *const *output);
void jit_free(Jit *j);

/* This machine as a target (CPU name and features from LLVM, sizes from the system), in arena memory. */
const Target *jit_native_target(Arena *a);
/* Floating-point operations a second that this core reaches in fused multiply-adds of the target's vectors. */
double jit_peak_flops(Diag *d, const Target *t);

#endif
