/* SPDX-License-Identifier: Apache-2.0 */
/* What schedules and backends know of a machine; one JSON file of targets/ each (read by driver/target.c). */
#ifndef MLCC_KERNEL_TARGET_H
#define MLCC_KERNEL_TARGET_H

#include <stdbool.h>
#include <string.h>

/* What a machine does with the four bytes of one word and those of another: multiplies them pairwise, and adds the products
 * to 32 bits, in one instruction or a few. Schedules and lowering ask for no more than that. */
enum {
    DOT_U8S8 = 1,   /* left ones unsigned, right ones signed */
    DOT_S8S8 = 2,   /* all signed */
    DOT_HALVES = 4, /* whatever their signs: as twice two halves of 16 bits */
    DOT_ALONG = 16, /* all signed, sixteen of each, which lie side by side, summed into one word */
    DOT_ROWS = 32,  /* none, but compilers vectorise sums whose operands both lie along them */
    DOT_PAIRS = 64, /* all signed, eight bytes of two rows with those of two columns: four sums at once */
    DOT_NARROW = 8, /* all signed, and two products must fit 16 bits: none on the right may be -128 */
};

typedef struct Target {
    const char *name;
    const char *triple, *cpu, *features, *abi; /* for LLVM; "" where none */
    int pointer_bits;
    int vector_bits;      /* 0: no vectors, scalar C99 */
    int vector_registers;
    bool fma;             /* fused multiply-add in hardware for float32 */
    bool float32, float64; /* in hardware */
    unsigned dot;         /* of DOT_… */
    bool widening;        /* products of bytes of 16 bits, and sums of words with halves, are single instructions */
    bool words;           /* bytes of several vectors become words in an instruction or two */
    bool saturates;       /* vectors become the nearest integers, and these bytes with saturation, in an instruction or two each */
    int fma_per_cycle, fma_latency; /* vector instructions issued a cycle; cycles */
    int l1, l2;           /* data caches in bytes; 0: none */
    const char *c_guard;  /* preprocessor condition under which the vector form compiles; "" for plain C99 only */
    const char *cc, *cflags;    /* how to build for it, used by verify */
    const char *memory;   /* of the board that firmware runs on (driver/firmware.h); "" where cflags say */
    const char *tuning;   /* the table in tuning/ with schedules that were measured for such machines; "" for none */
    const char *emulator; /* command prefix that runs a program for it; "" runs natively */
} Target;

/* float32 elements in a vector; 1 without vectors. */
static inline int target_lanes(const Target *t) { return t->vector_bits >= 64 ? t->vector_bits / 32 : 1; }

/* Vectors of dot products of one of the kinds, and float32 for what follows. */
static inline bool target_has_dots(const Target *t, unsigned kinds) { return t && t->vector_bits && t->float32 && t->dot & kinds; }

/* float16 becomes float32, and back, in an instruction: every x86 with AVX2 has F16C, and every FPU of a Cortex-M has it. The
 * triple is that of the code; t may be scheduled for only. */
static inline bool target_converts_halves(const Target *t, const char *triple) {
    bool m_profile = !strncmp(triple, "thumbv7em", 9) || !strncmp(triple, "thumbv8", 7);
    bool x86 = !strncmp(triple, "x86_64", 6);
    return !strncmp(triple, "aarch64", 7) || (x86 && t->vector_bits >= 256 && t->fma) || (m_profile && t->float32);
}

#endif
