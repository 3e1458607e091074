/* SPDX-License-Identifier: Apache-2.0 */
/* What both backends share: options of the generated interface. */
#ifndef MLCC_BACKEND_EMIT_H
#define MLCC_BACKEND_EMIT_H

#include <stdio.h>

#include "kernel/kernel.h"
#include "kernel/target.h"
#include "support/diag.h"

typedef enum WeightsMode { WEIGHTS_C, WEIGHTS_INCBIN, WEIGHTS_BIN } WeightsMode;

typedef struct EmitOptions {
    const char *prefix;          /* C identifier before every global symbol: net -> net_run, NET_ARENA_SIZE, net_model */
    const char *header_name;     /* "net.h", as the .c includes it */
    const char *weights_name;    /* "net.weights.bin": file name for incbin and bin */
    const char *weights_section; /* NULL: the compiler's default; a '*' is a constant's name */
    const char *generator;       /* "mlcc 0.1.0", for the first comment */
    const char *options;         /* command-line options that matter, for the first comment; no paths */
    int n_notes;                 /* lines about the results, for the header */
    const char *const *note;
    bool static_arena;
    int threads; /* calls of kernels in parts go through the caller's parallel_for; 0 or 1: they run one after the other */
    WeightsMode weights;
    const Target *target;
    bool calls_apart; /* LLVM: also a function for each call of a kernel alone */
} EmitOptions;

/* The generated interface, prefix net (the same from C and from LLVM):
 *
 *     #define NET_ARENA_SIZE 23040
 *     #define NET_ARENA_ALIGN 64
 *     enum { NET_E… }                            error codes
 *     int net_run(const float input_1[1*49*10*1], …, float Identity[1*12], …[, const void *weights], void *arena
 *                 [, mlcc_parallel_for *parallel_for, void *pool]);
 *     extern const struct mlcc_model net_model;  the descriptor, runtime/descriptor.h
 *
 * With --weights=bin the weights pointer stands before arena, with --threads the last two after it; with
 * --static-arena there is no arena parameter; where the arena size is 0 the parameter stays and may be NULL. */

/* Writing to a stream cannot fail here: whoever opened it asks it in the end, and knows its name (outputs_commit). */

/* backend/c: the translation unit. `plain` is the module unscheduled for vectors; `vector` is NULL or the same module
 * scheduled for options->target, printed under options->target->c_guard with plain in the #else. Both share buffers,
 * plan and weights. weights receives the bytes for incbin and bin, NULL for WEIGHTS_C. */
void emit_c(const KModule *plain, const KModule *vector, const EmitOptions *options, FILE *c, FILE *weights);
void emit_header(const KModule *m, const EmitOptions *options, FILE *h);
/* The host program of --main, in terms of the descriptor only. */
void emit_main(const KModule *m, const EmitOptions *options, FILE *c);
/* The pool of threads beside that program, the same for all models: THREADS_NAME.c and .h. */
#define THREADS_NAME "mlcc_threads"
void emit_threads(FILE *c, FILE *h);
/* The bare-metal program of --main=embedded with test vectors: for each set, raw bytes of every input and output. */
typedef struct TestVector {
    const void *const *input, *const *output;
} TestVector;
void emit_embedded_main(const KModule *m, const EmitOptions *options, int n, const TestVector *sets,
                        double rtol, double atol, FILE *c);

/* The bytes of all constants in the packed order and at the offsets that --weights=incbin and bin read, from C as from
 * LLVM (backend/weights.c). */
void emit_weights(const KModule *m, FILE *weights);

/* backend/llvm; false after a diagnostic: a processor that LLVM does not know, a constant beyond its limits. */
typedef enum ObjectFormat { OBJECT_LL, OBJECT_S, OBJECT_O } ObjectFormat;
bool emit_llvm(Diag *d, const KModule *m, const EmitOptions *options, ObjectFormat format, FILE *out);

#endif
