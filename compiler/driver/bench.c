/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc bench: how long a model takes on this machine, kernel by kernel, against what the core can do. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>

#include "driver/execute.h"
#include "support/clock.h"

static const double most_runs = 20000, fewest_runs = 5;

typedef struct Bench {
    const KModule *m;
    double peak;    /* FLOP/s */
    int runs;
    double *call;   /* median seconds of each call */
    double whole;   /* … of a run */
    double least;   /* fastest run */
} Bench;

static int by_size(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, by_size);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* --- measuring --- */

static void measure(Bench *b, Arena *a, Jit *jit, const Tensor *input, double seconds) {
    const KModule *m = b->m;
    const Bound x = execute_bind(a, m, input);
    int calls = m->calls.len;
    jit_run(jit, x.in, x.out);
    double start = clock_seconds();
    jit_run(jit, x.in, x.out);
    double once = clock_seconds() - start;
    double wanted = seconds / 2 / (once > 1e-7 ? once : 1e-7);
    b->runs = (int)(wanted > most_runs ? most_runs : wanted < fewest_runs ? fewest_runs : wanted);
    double *whole = ARENA_ARRAY(a, double, b->runs), *apart = ARENA_ARRAY(a, double, (int64_t)calls * b->runs);
    double clock = 1; /* what it takes to read it */
    for (int r = 0; r < b->runs; r++) {
        start = clock_seconds();
        jit_run(jit, x.in, x.out);
        double end = clock_seconds(), again = clock_seconds();
        whole[r] = end - start;
        clock = again - end < clock ? again - end : clock;
        for (int c = 0; c < calls; c++) {
            start = clock_seconds();
            jit_run_call(jit, c, x.in, x.out);
            apart[(int64_t)c * b->runs + r] = clock_seconds() - start;
        }
    }
    b->call = ARENA_ARRAY(a, double, calls);
    for (int c = 0; c < calls; c++) {
        double t = median(apart + (int64_t)c * b->runs, b->runs) - clock;
        b->call[c] = t > 0 ? t : 0;
    }
    b->whole = median(whole, b->runs);
    b->least = whole[0];
}

static double bytes_touched(Arena *a, const KKernel *k) {
    KExtent *e = ARENA_ARRAY(a, KExtent, k->params.len);
    double bytes = 0;
    kernel_extents(k, e);
    for (int i = 0; i < k->params.len; i++)
        if (e[i].hi >= e[i].lo)
            bytes += (double)(e[i].hi - e[i].lo + 1) * dtype_size(k->params.data[i]->dtype);
    return bytes;
}

/* --- reporting --- */

static double sum_of_calls(const Bench *b) {
    double sum = 0;
    for (int c = 0; c < b->m->calls.len; c++)
        sum += b->call[c];
    return sum;
}

static double macs_of(const KModule *m) {
    double macs = 0;
    for (int c = 0; c < m->calls.len; c++)
        macs += (double)m->calls.data[c].macs;
    return macs;
}

/* One line for each kernel, in the order of its first call. */
static void print_kernel(Arena *a, const Bench *b, const KKernel *k, double sum) {
    double t = 0, macs = 0;
    int calls = 0;
    for (int c = 0; c < b->m->calls.len; c++) {
        if (b->m->calls.data[c].kernel != k)
            continue;
        t += b->call[c];
        macs += (double)b->m->calls.data[c].macs;
        calls++;
    }
    double flops = 2 * macs / (t > 1e-9 ? t : 1e-9);
    printf("%10.2f %5.1f%% %6d %10.1f %8.1f %5.1f%% %9.1f  %s: %.50s\n", t * 1e6, sum > 0 ? 100 * t / sum : 0, calls, macs / 1e3,
           flops / 1e9, b->peak > 0 ? 100 * flops / b->peak : 0, calls * bytes_touched(a, k) / 1024, k->name, k->comment);
}

static void print_table(Arena *a, const Bench *b) {
    double sum = sum_of_calls(b), macs = macs_of(b->m), flops = 2 * macs / b->whole;
    printf("%10s %6s %6s %10s %8s %6s %9s  %s\n", "us", "time", "calls", "kMACs", "GFLOP/s", "peak", "KiB", "kernel: nodes");
    for (int c = 0; c < b->m->calls.len; c++) {
        const KKernel *k = b->m->calls.data[c].kernel;
        bool first = true;
        for (int d = 0; d < c && first; d++)
            first = b->m->calls.data[d].kernel != k;
        if (first)
            print_kernel(a, b, k, sum);
    }
    printf("median of %d runs %.2f us, fastest %.2f us; %.3f million MACs, %.1f GFLOP/s, %.1f%% of the core's %.1f\n", b->runs,
           b->whole * 1e6, b->least * 1e6, macs / 1e6, flops / 1e9, b->peak > 0 ? 100 * flops / b->peak : 0, b->peak / 1e9);
}

static void print_json(Arena *a, const Bench *b) {
    cJSON *j = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(j, "calls");
    for (int c = 0; c < b->m->calls.len; c++) {
        const KCall *call = &b->m->calls.data[c];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "kernel", call->kernel->name);
        cJSON_AddStringToObject(item, "nodes", call->comment);
        cJSON_AddNumberToObject(item, "us", b->call[c] * 1e6);
        cJSON_AddNumberToObject(item, "macs", (double)call->macs);
        cJSON_AddNumberToObject(item, "bytes", bytes_touched(a, call->kernel));
        cJSON_AddItemToArray(list, item);
    }
    cJSON_AddNumberToObject(j, "median_us", b->whole * 1e6);
    cJSON_AddNumberToObject(j, "min_us", b->least * 1e6);
    cJSON_AddNumberToObject(j, "runs", b->runs);
    cJSON_AddNumberToObject(j, "macs", macs_of(b->m));
    cJSON_AddNumberToObject(j, "peak_gflops", b->peak / 1e9);
    char *text = cJSON_Print(j);
    puts(text ? text : "{}");
    free(text);
    cJSON_Delete(j);
}

static bool bench(Compilation *c, const Options *o) {
    Arena *a = c->arena;
    KModule *m = pipeline_lower(c, c->target);
    Bench b = {.m = m};
    int n = o->n_operands - 1;
    Tensor *input = !m ? NULL : n ? execute_read_inputs(a, c->diag, m, n, o->operand + 1) : execute_made_up(a, m);
    if (!input)
        return false;
    b.peak = jit_peak_flops(c->diag, c->target);
    jit_measure_for(c->target);
    Jit *jit = jit_compile(c->diag, m, JIT_BENCH);
    if (!jit)
        return false;
    measure(&b, a, jit, input, o->seconds);
    jit_free(jit);
    if (o->json)
        print_json(a, &b);
    else
        print_table(a, &b);
    return true;
}

int verb_bench(const Options *o) { return pipeline_verb(o, bench); }
