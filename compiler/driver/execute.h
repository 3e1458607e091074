/* SPDX-License-Identifier: Apache-2.0 */
/* Executing a module on tensors in this process. */
#ifndef MLCC_DRIVER_EXECUTE_H
#define MLCC_DRIVER_EXECUTE_H

#include "driver/pipeline.h"
#include "driver/tensor_file.h"
#include "jit/jit.h"

/* The tensors match the module's inputs in number, type and shape; else false after a diagnostic. */
bool execute_inputs_fit(Diag *d, const KModule *m, int n, const Tensor *input);
/* That the tensor, which is in `holder`, is not for input i, which is b. */
void execute_report_misfit(Diag *d, int i, const KBuffer *b, const char *holder, const Tensor *t);
/* Inputs from files, which fit; NULL after a diagnostic. */
Tensor *execute_read_inputs(Arena *a, Diag *d, const KModule *m, int n, char *const *path);
/* Inputs for measuring: the same in every run. */
Tensor *execute_made_up(Arena *a, const KModule *m);
/* What jit_run takes: the bytes of the inputs and of outputs in arena memory. */
typedef struct Bound {
    const void **in;
    void **out;
    Tensor *result; /* the outputs */
    int n;
} Bound;

Bound execute_bind(Arena *a, const KModule *m, const Tensor *input);
bool execute_bound(Diag *d, Jit *jit, const Bound *x); /* false after a diagnostic */
/* Runs once. The outputs, in arena memory; NULL after a diagnostic. */
Tensor *execute_jit(Arena *a, Diag *d, const KModule *m, Jit *jit, const Tensor *input, int *n_outputs);

#endif
