/* SPDX-License-Identifier: Apache-2.0 */
/* What schedules and backends know of a machine; one JSON file of targets/ each (read by driver/target.c). */
#ifndef MLCC_KERNEL_TARGET_H
#define MLCC_KERNEL_TARGET_H

#include <stdbool.h>

typedef struct Target {
    const char *name;
    const char *triple, *cpu, *features, *abi; /* for LLVM; "" where none */
    int pointer_bits;
    int vector_bits;      /* 0: no vectors, scalar C99 */
    int vector_registers;
    bool fma;             /* fused multiply-add in hardware for float32 */
    bool float32, float64; /* in hardware */
    bool dot;             /* x86 VNNI: dot products of four bytes, unsigned times signed, with 512, 256 and 128 bits */
    int fma_per_cycle, fma_latency; /* vector instructions issued a cycle; cycles */
    int l1, l2;           /* data caches in bytes; 0: none */
    const char *c_guard;  /* preprocessor condition under which the vector form compiles; "" for plain C99 only */
    const char *cc, *cflags;    /* how to build for it, used by verify */
    const char *emulator; /* command prefix that runs a program for it; "" runs natively */
} Target;

/* float32 elements in a vector; 1 without vectors. */
static inline int target_lanes(const Target *t) { return t->vector_bits >= 64 ? t->vector_bits / 32 : 1; }

#endif
