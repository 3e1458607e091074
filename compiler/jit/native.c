/* SPDX-License-Identifier: Apache-2.0 */
/* This machine as a target. */
#define _DEFAULT_SOURCE
#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>
#include <string.h>
#include <unistd.h>

#include "jit/jit.h"

static const char *keep(Arena *a, char *message) {
    const char *s = arena_strdup(a, message);
    LLVMDisposeMessage(message);
    return s;
}

/* "+avx2" in "+avx,+avx2,-sse4a". */
static bool has(const char *features, const char *wanted) {
    size_t n = strlen(wanted);
    for (const char *p = features; (p = strstr(p, wanted)); p += n)
        if ((p == features || p[-1] == ',') && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

static int cache(int name, int otherwise) {
    long size = sysconf(name);
    return size > 0 && size <= 1 << 30 ? (int)size : otherwise;
}

static void describe_x86(Target *t) {
    static const char *const avx512[] = {"+avx512f", "+avx512vl", "+avx512bw", "+avx512dq"};
    bool wide = true;
    for (int i = 0; i < 4; i++)
        wide = wide && has(t->features, avx512[i]);
    bool fma = has(t->features, "+fma"), avx2 = has(t->features, "+avx2") && fma;
    t->fma = fma;
    t->vector_bits = wide && fma ? 512 : avx2 ? 256 : 128;
    t->vector_registers = t->vector_bits == 512 ? 32 : 16;
    t->tuning = t->vector_bits == 512 ? "x86-64-v4" : t->vector_bits == 256 ? "x86-64-v3" : "";
    bool vnni = has(t->features, t->vector_bits == 512 ? "+avx512vnni" : "+avxvnni") && t->vector_bits > 128;
    t->dot = vnni ? DOT_U8S8 : DOT_HALVES;
    t->saturates = true;
    t->words = vnni && t->vector_bits == 512 && has(t->features, "+avx512vbmi");
    t->c_guard = t->vector_bits == 512 && vnni ? "defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512BW__) && "
                                                 "defined(__AVX512DQ__) && defined(__AVX512VNNI__)"
                 : t->vector_bits == 512 ? "defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512BW__) && defined(__AVX512DQ__)"
                 : avx2 && vnni          ? "defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)"
                 : avx2                  ? "defined(__AVX2__) && defined(__FMA__)"
                                         : "defined(__SSE2__)";
}

const Target *jit_native_target(Arena *a) {
    Target *t = ARENA_NEW(a, Target);
    *t = (Target){.name = "native", .abi = "", .c_guard = "", .cc = "cc", .cflags = "-O2 -march=native", .memory = "", .tuning = "", .emulator = ""};
    t->triple = keep(a, LLVMGetDefaultTargetTriple());
    t->cpu = keep(a, LLVMGetHostCPUName());
    t->features = keep(a, LLVMGetHostCPUFeatures());
    t->pointer_bits = (int)sizeof(void *) * 8;
    t->float32 = t->float64 = true;
    t->fma_per_cycle = 2;
    t->fma_latency = 4;
    if (!strncmp(t->triple, "x86_64", 6)) {
        describe_x86(t);
        /* 512-bit vectors are asked for only where schedules chose them. */
        if (t->vector_bits == 512)
            t->features = arena_printf(a, "%s,-prefer-256-bit", t->features);
    } else if (!strncmp(t->triple, "aarch64", 7)) {
        t->vector_bits = 128;
        t->vector_registers = 32;
        t->fma = true;
        t->widening = true;
        bool dotprod = has(t->features, "+dotprod"), pairs = has(t->features, "+i8mm");
        t->saturates = true;
        t->dot = dotprod ? DOT_S8S8 | (pairs ? DOT_PAIRS : 0) : DOT_NARROW;
        t->c_guard = !dotprod ? "defined(__aarch64__) && defined(__ARM_NEON)"
                     : pairs  ? "defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)"
                              : "defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)";
    } else {
        /* Without a vector form that is known to be good: scalars, and their fusing left alone. */
        t->vector_bits = 0;
        t->vector_registers = 0;
    }
    t->l1 = cache(_SC_LEVEL1_DCACHE_SIZE, 32 << 10);
    t->l2 = cache(_SC_LEVEL2_CACHE_SIZE, 512 << 10);
    return t;
}
