/* SPDX-License-Identifier: Apache-2.0 */
/* How fast this machine multiplies and adds: a kernel of independent fused multiply-adds in registers, timed. */
#include "jit/jit.h"
#include "support/clock.h"

enum { CHAINS = 12, ITERATIONS = 200000, ROUNDS = 5 };

static KModule *chains_module(Arena *a, const Target *t) {
    int lanes = target_lanes(t);
    KModule *m = kernel_module_new(a);
    KBuffer *in = kernel_buffer(m, KBUF_INPUT, "x", DT_F32, (int64_t)2 * lanes);
    KBuffer *out = kernel_buffer(m, KBUF_OUTPUT, "y", DT_F32, (int64_t)CHAINS * lanes);
    KKernel *k = kernel_new(m, "chains");
    KParam *x = kernel_param(k, "x", DT_F32, in->count, false), *y = kernel_param(k, "y", DT_F32, out->count, true);
    KBuilder b = kb_at_end(k, k->body);
    KValue *scale = kb_load_vector(&b, x, kx_const(a, 0), lanes, 1), *add = kb_load_vector(&b, x, kx_const(a, lanes), lanes, 1);
    KValue *sum[CHAINS], *next[CHAINS];
    for (int i = 0; i < CHAINS; i++)
        sum[i] = kb_const_like(&b, scale->type, i);
    KInstr *loop = kb_for(&b, KLOOP_SERIAL, "i", kb_int(&b, DT_INDEX, 0), kb_int(&b, DT_INDEX, ITERATIONS), 1, CHAINS, sum);
    for (int i = 0; i < CHAINS; i++)
        next[i] = kb_fma(&b, kb_carried(loop, i), scale, add);
    kb_end_for(&b, loop, next);
    for (int i = 0; i < CHAINS; i++)
        kb_store_vector(&b, y, kx_const(a, (int64_t)i * lanes), kb_result(loop, i), 1);
    kb_yield(&b, 0, NULL);
    VEC_PUSH(a, &m->kernels, k);
    KArg *arg = ARENA_ARRAY(a, KArg, 2);
    arg[0].buffer = in;
    arg[1].buffer = out;
    VEC_PUSH(a, &m->calls, ((KCall){.kernel = k, .arg = arg}));
    return m;
}

double jit_peak_flops(Diag *d, const Target *t) {
    Arena *a = arena_new();
    int lanes = target_lanes(t);
    Jit *j = jit_compile(d, chains_module(a, t), JIT_FAST);
    double best = 0;
    if (j) {
        float *x = ARENA_ARRAY(a, float, 2 * lanes), *y = ARENA_ARRAY(a, float, CHAINS * lanes);
        const void *input[] = {x};
        void *output[] = {y};
        for (int i = 0; i < 2 * lanes; i++)
            x[i] = 0.5f;
        for (int i = 0; i < ROUNDS; i++) {
            double start = clock_seconds();
            jit_run(j, input, output);
            double rate = 2.0 * (double)(CHAINS * lanes) * (double)ITERATIONS / (clock_seconds() - start);
            best = rate > best ? rate : best;
        }
    }
    jit_free(j);
    arena_free(a);
    return best;
}
