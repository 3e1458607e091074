/* SPDX-License-Identifier: Apache-2.0 */
/* Tuning for another machine: the model with one kernel changed is built by the target's compiler, and measured by a
 * command that runs programs there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/build.h"
#include "driver/compile.h"
#include "driver/execute.h"
#include "driver/tune.h"
#include "support/clock.h"

static const double least_gain = 0.01; /* of the whole model's time, twice */
static const double least_share = 0.02;
static const double run_seconds = 0.1;

typedef struct Remote {
    Compilation *c;
    const Options *o;
    Build build;
    KModule *plain; /* unscheduled */
    const char *command;
    double start;
} Remote;

typedef struct Weighed {
    const KKernel *k;
    double work;
} Weighed;

/* Instructions that a kernel's calls execute, roughly: the order in which kernels are worth tuning. */
static double work_of(const KModule *m, const KKernel *k) {
    KCount one = kernel_count(k);
    double calls = 0;
    for (int i = 0; i < m->calls.len; i++)
        calls += m->calls.data[i].kernel == k;
    return calls * (one.fmas + one.arithmetic + (one.load_bytes + one.store_bytes) / 4);
}

static int by_work(const void *x, const void *y) {
    double a = ((const Weighed *)x)->work, b = ((const Weighed *)y)->work;
    return (a < b) - (a > b);
}

static Weighed *weigh(const Remote *r, int *n) {
    Weighed *w = ARENA_ARRAY(r->c->arena, Weighed, r->plain->kernels.len + 1);
    double whole = 0;
    for (int i = 0; i < r->plain->kernels.len; i++) {
        w[i] = (Weighed){r->plain->kernels.data[i], work_of(r->plain, r->plain->kernels.data[i])};
        whole += w[i].work;
    }
    qsort(w, (size_t)r->plain->kernels.len, sizeof *w, by_work);
    for (*n = 0; *n < r->plain->kernels.len && w[*n].work >= least_share * whole;)
        ++*n;
    return w;
}

static bool write_inputs(Remote *r) {
    Arena *a = r->c->arena;
    const KModule *m = r->plain;
    const Tensor *input = execute_made_up(a, m);
    r->command = arena_printf(a, "cd %s && %s ./net --bench %g", build_quoted(a, r->build.work), r->o->run_command, run_seconds);
    for (int i = 0; i < m->buffers.len && m->buffers.data[i]->kind == KBUF_INPUT; i++) {
        if (!tensor_write_npy(r->c->diag, arena_printf(a, "%s/input_%d.npy", r->build.work, i), &input[i]))
            return false;
        r->command = arena_printf(a, "%s input_%d.npy", r->command, i);
    }
    return true;
}

static bool run(Remote *r, double *us) {
    if (!build_shell(&r->build, "the command", r->command))
        return false;
    char text[400];
    build_log(&r->build, text, sizeof text);
    const char *at = strstr(text, "\"min_us\": ");
    if (at && sscanf(at, "\"min_us\": %lf", us) == 1 && *us > 0)
        return true;
    diag_error(r->c->diag, NOWHERE, "the command did not print what the program measured: %s", text);
    return false;
}

/* Builds the model as c->tuning says; its fastest run in microseconds. */
static bool measure(Remote *r, double *us) {
    Options o = *r->o;
    o.main = MAIN_HOST;
    o.prefix = NULL;
    return compile_write(r->c, &o, o.operand[0], arena_printf(r->c->arena, "%s/net.c", r->build.work), NULL) &&
           build_program(&r->build, ".c", false) && run(r, us);
}

static bool time_is_out(const Remote *r) { return clock_seconds() - r->start > r->o->seconds; }

/* Keeps, of a kernel's candidates, the one that makes the model fastest; *best is the model's time so far. A gain has to
 * show again, after a run of what it is compared with. */
static bool tune_kernel(Remote *r, const KKernel *k, int round, double *best) {
    Compilation *c = r->c;
    uint64_t hash = schedule_hash(k);
    const ScheduleEntry *e = schedule_find(&c->tuning, hash);
    ScheduleChoice chosen = e ? e->choice : (ScheduleChoice){0};
    Candidates all = tune_candidates(c->arena, k, c->target, chosen, round);
    for (int i = 0; i < all.choice.len && !time_is_out(r); i++) {
        ScheduleChoice other = all.choice.data[i];
        double us, again;
        if (!memcmp(&other, &chosen, sizeof other))
            continue;
        schedule_put(c->arena, &c->tuning, (ScheduleEntry){hash, other});
        bool ok = measure(r, &us), faster = ok && us < (1 - least_gain) * *best;
        if (faster) {
            schedule_put(c->arena, &c->tuning, (ScheduleEntry){hash, chosen});
            ok = measure(r, &again);
            *best = again < *best ? again : *best;
            schedule_put(c->arena, &c->tuning, (ScheduleEntry){hash, other});
            ok = ok && measure(r, &again);
            us = again < us ? again : us;
            faster = ok && us < (1 - least_gain) * *best && again < *best;
        }
        if (faster) {
            printf("%s: %.2f us, before %.2f\n", k->name, us, *best);
            *best = us;
            chosen = other;
        }
        schedule_put(c->arena, &c->tuning, (ScheduleEntry){hash, chosen});
        if (!ok)
            return false;
    }
    return true;
}

static bool tune(Remote *r) {
    int n;
    const Weighed *w = weigh(r, &n);
    double first, best;
    if (!measure(r, &first))
        return false;
    best = first;
    for (int round = 0; round < TUNE_ROUNDS; round++)
        for (int i = 0; i < n && !time_is_out(r); i++) {
            tune_progress(r->c->diag, "round %d of %d: kernel %d of %d, %.2f us, at first %.2f", round + 1, TUNE_ROUNDS, i + 1, n,
                          best, first);
            if (!tune_kernel(r, w[i].k, round, &best))
                return false;
        }
    tune_progress(r->c->diag, "%s", "");
    printf("the model takes %.2f us, before %.2f\n", best, first);
    return true;
}

bool tune_elsewhere(Compilation *c, const Options *o) {
    if (build_is_firmware(c->target)) {
        diag_error(c->diag, NOWHERE, "target \"%s\" has no system to run programs that measure", c->target->name);
        return false;
    }
    Remote r = {.c = c, .o = o, .start = clock_seconds(), .plain = pipeline_unscheduled(c, c->target)};
    r.build = (Build){.arena = c->arena, .diag = c->diag, .target = c->target, .cc = o->cc};
    if (!build_begin(&r.build))
        return false;
    bool ok = write_inputs(&r) && tune(&r);
    build_end(&r.build);
    return ok;
}
