/* SPDX-License-Identifier: Apache-2.0 */
/* Tuning for this machine: all candidates of a kernel are compiled into this process, and take turns in runs of the
 * whole model, so that each finds the data and the caches as the model leaves them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/execute.h"
#include "driver/tune.h"
#include "support/clock.h"

static const double least_share = 0.002; /* of the model's time: what a kernel must take to be tuned */
static const double least_gain = 0.02;   /* of a kernel's time, in both halves of the measurements */

enum {
    MOST_CALLS = 8, /* of a kernel, that are measured */
    IN_A_ROW = 2,   /* runs that a candidate has one after the other: the first one finds its code in no cache */
    FIRST_CUT = 2 * IN_A_ROW, /* runs, after which candidates that are far off leave; again at twice as many */
    MOST_RUNS = 60,
};

typedef struct Try {
    ScheduleChoice choice;
    double least[2]; /* seconds, of even and of odd turns */
    double now;      /* in this pass */
    int runs;
    bool out;
} Try;

/* A kernel that is tuned. */
typedef struct Subject {
    uint64_t hash;
    const char *name;
    int *call; /* its calls in the module, the first MOST_CALLS of them */
    int n_calls, all_calls;
    double cost; /* seconds of all its calls in a run */
    ScheduleChoice best;
    double before, after; /* as measured last, by the cost rules and by choice; 0: not measured */
    Jit *jit;      /* this round's candidates: calls t * n_calls … are those of try t */
    Try *tries;
    int n_tries, turn;
} Subject;

typedef struct Tuner {
    Arena *arena;
    Diag *d;
    const Target *target;
    const KModule *m;   /* scheduled */
    KModule *plain;     /* the same, unscheduled */
    Jit *jit;
    Bound data;
    double *cost;       /* of each call */
    Subject *subject;   /* the most expensive first */
    int n;
    Subject **of_call;  /* whose measured call it is, NULL where none's */
    int *place;         /* … and which of them */
    double start, seconds;
} Tuner;

static double elapsed(const Tuner *t) { return clock_seconds() - t->start; }

static double time_call(const Tuner *t, Jit *jit, int call) {
    double start = clock_seconds();
    jit_run_call(jit, call, t->data.in, t->data.out);
    return clock_seconds() - start;
}

/* --- what costs most --- */

static void measure_costs(Tuner *t) {
    enum { RUNS = 3 };
    int n = t->m->calls.len;
    t->cost = ARENA_ARRAY(t->arena, double, n + 1);
    for (int r = 0; r < RUNS; r++)
        for (int c = 0; c < n; c++) {
            double x = time_call(t, t->jit, c);
            t->cost[c] = r == 0 || x < t->cost[c] ? x : t->cost[c];
        }
}

static int by_cost(const void *x, const void *y) {
    double a = ((const Subject *)x)->cost, b = ((const Subject *)y)->cost;
    return (a < b) - (a > b);
}

static Subject subject_of(const Tuner *t, int kernel) {
    const KKernel *k = t->plain->kernels.data[kernel];
    Subject s = {.hash = schedule_hash(k), .name = k->name, .call = ARENA_ARRAY(t->arena, int, MOST_CALLS)};
    for (int c = 0; c < t->plain->calls.len; c++) {
        if (t->plain->calls.data[c].kernel != k)
            continue;
        if (s.n_calls < MOST_CALLS)
            s.call[s.n_calls++] = c;
        s.all_calls++;
        s.cost += t->cost[c];
    }
    return s;
}

static void choose_subjects(Tuner *t, const ScheduleTable *so_far) {
    int n = t->plain->kernels.len;
    double whole = 0;
    for (int c = 0; c < t->m->calls.len; c++)
        whole += t->cost[c];
    t->subject = ARENA_ARRAY(t->arena, Subject, n + 1);
    for (int i = 0; i < n; i++) {
        Subject s = subject_of(t, i);
        const ScheduleEntry *e = schedule_find(so_far, s.hash);
        s.best = e ? e->choice : (ScheduleChoice){0};
        if (s.n_calls && s.cost >= least_share * whole)
            t->subject[t->n++] = s;
    }
    qsort(t->subject, (size_t)t->n, sizeof *t->subject, by_cost);
    t->of_call = ARENA_ARRAY(t->arena, Subject *, t->m->calls.len + 1);
    t->place = ARENA_ARRAY(t->arena, int, t->m->calls.len + 1);
    for (int i = 0; i < t->n; i++)
        for (int j = 0; j < t->subject[i].n_calls; j++) {
            t->of_call[t->subject[i].call[j]] = &t->subject[i];
            t->place[t->subject[i].call[j]] = j;
        }
}

/* --- a round --- */

/* Every candidate may want its constants in another order: it gets descriptions of its own. */
static void own_constants(Tuner *t, KModule *m, KCall *call) {
    int n = call->kernel->params.len;
    KArg *arg = arena_dup(t->arena, call->arg, (size_t)n * sizeof *arg);
    for (int i = 0; i < n; i++) {
        if (arg[i].buffer->kind != KBUF_CONST)
            continue;
        KBuffer *own = arena_dup(t->arena, arg[i].buffer, sizeof *own);
        own->index = m->buffers.len;
        VEC_PUSH(t->arena, &m->buffers, own);
        arg[i].buffer = own;
    }
    call->arg = arg;
}

/* Those that lie as before are the old ones. */
static void share_constants(KCall *call, const KCall *old) {
    for (int i = 0; i < call->kernel->params.len; i++)
        if (!call->arg[i].buffer->data.panel)
            call->arg[i].buffer = old->arg[i].buffer;
}

static bool compile_tries(Tuner *t, Subject *s, int round) {
    const KCall *first = &t->plain->calls.data[s->call[0]];
    Candidates c = tune_candidates(t->arena, first->kernel, t->target, s->best, round);
    s->n_tries = c.choice.len;
    if (s->n_tries < 2)
        return true;
    KModule m = *t->plain;
    memset(&m.kernels, 0, sizeof m.kernels);
    memset(&m.calls, 0, sizeof m.calls);
    memset(&m.buffers, 0, sizeof m.buffers);
    for (int i = 0; i < t->plain->buffers.len; i++)
        VEC_PUSH(t->arena, &m.buffers, t->plain->buffers.data[i]);
    s->tries = ARENA_ARRAY(t->arena, Try, s->n_tries);
    s->turn = 0;
    for (int i = 0; i < s->n_tries; i++) {
        s->tries[i] = (Try){.choice = c.choice.data[i], .least = {INFINITY, INFINITY}};
        VEC_PUSH(t->arena, &m.kernels, c.kernel.data[i]);
        for (int j = 0; j < s->n_calls; j++) {
            KCall call = t->plain->calls.data[s->call[j]];
            call.kernel = c.kernel.data[i];
            own_constants(t, &m, &call);
            VEC_PUSH(t->arena, &m.calls, call);
        }
    }
    schedule_module_panels(&m, t->target);
    for (int i = 0; i < m.calls.len; i++)
        share_constants(&m.calls.data[i], &t->plain->calls.data[s->call[i % s->n_calls]]);
    s->jit = jit_compile_beside(t->d, &m, t->jit);
    return s->jit != NULL;
}

static double least_of(const Try *x) { return x->least[0] < x->least[1] ? x->least[0] : x->least[1]; }

static void next_turn(Subject *s) {
    do
        s->turn = (s->turn + 1) % s->n_tries;
    while (s->tries[s->turn].out);
}

/* Candidates that have run some times and are far behind leave; the cost rules' own is the measure and stays. */
static void cut(Subject *s) {
    double best = INFINITY;
    for (int i = 0; i < s->n_tries; i++)
        if (s->tries[i].runs >= FIRST_CUT && least_of(&s->tries[i]) < best)
            best = least_of(&s->tries[i]);
    for (int i = 0; i < s->n_tries; i++) {
        Try *x = &s->tries[i];
        double margin = x->runs >= 2 * FIRST_CUT ? 1.04 : 1.15;
        if (i > 0 && x->runs >= FIRST_CUT && least_of(x) > margin * best)
            x->out = true;
    }
}

/* One run of the model, with one candidate of each kernel in place. */
static bool pass(Tuner *t) {
    bool wanted = false;
    for (int c = 0; c < t->m->calls.len; c++) {
        Subject *s = t->of_call[c];
        if (s && s->jit)
            s->tries[s->turn].now += time_call(t, s->jit, s->turn * s->n_calls + t->place[c]);
        else
            jit_run_call(t->jit, c, t->data.in, t->data.out);
    }
    for (int i = 0; i < t->n; i++) {
        Subject *s = &t->subject[i];
        if (!s->jit)
            continue;
        Try *x = &s->tries[s->turn];
        double *least = &x->least[x->runs++ / IN_A_ROW & 1];
        *least = x->now < *least ? x->now : *least;
        x->now = 0;
        wanted = wanted || x->runs < MOST_RUNS;
        if (x->runs % IN_A_ROW == 0) {
            cut(s);
            next_turn(s);
        }
    }
    return wanted;
}

/* The fastest, if it is faster than the cost rules' in both halves. */
static void decide(Subject *s) {
    const Try *rule = &s->tries[0], *best = rule;
    for (int i = 1; i < s->n_tries; i++)
        if (s->tries[i].runs >= 2 * IN_A_ROW && least_of(&s->tries[i]) < least_of(best))
            best = &s->tries[i];
    if (rule->runs < 2 * IN_A_ROW)
        return; /* too few to tell */
    for (int h = 0; h < 2; h++)
        if (best->least[h] > (1 - least_gain) * rule->least[h])
            best = rule;
    s->best = best->choice;
    s->before = least_of(rule);
    s->after = least_of(best);
}

static bool run_round(Tuner *t, int round) {
    double begin = elapsed(t), until = t->seconds * (round + 1) / (double)TUNE_ROUNDS, half = begin + (until - begin) / 2;
    bool ok = true;
    for (int i = 0; ok && i < t->n && (i == 0 || elapsed(t) < half); i++) {
        tune_progress(t->d, "round %d of %d: compiling kernel %d of %d", round + 1, TUNE_ROUNDS, i + 1, t->n);
        ok = compile_tries(t, &t->subject[i], round);
    }
    bool wanted = ok;
    int least = 0; /* passes in which every candidate has a turn in both halves */
    for (int i = 0; i < t->n; i++)
        if (t->subject[i].jit && 2 * IN_A_ROW * t->subject[i].n_tries > least)
            least = 2 * IN_A_ROW * t->subject[i].n_tries;
    for (int passes = 0; wanted && (elapsed(t) < until || passes < least); passes++) {
        wanted = pass(t);
        tune_progress(t->d, "round %d of %d: run %d, %.0f s of %.0f", round + 1, TUNE_ROUNDS, passes + 1, elapsed(t), t->seconds);
    }
    for (int i = 0; i < t->n; i++) {
        if (ok && t->subject[i].jit)
            decide(&t->subject[i]);
        jit_free(t->subject[i].jit);
        t->subject[i].jit = NULL;
    }
    tune_progress(t->d, "%s", "");
    return ok;
}

/* --- the result --- */

static void describe(char *text, size_t size, ScheduleChoice c) {
    size_t n = 0;
    text[0] = '\0';
    for (const ScheduleField *f = schedule_fields; f->name && n < size; f++)
        if (*schedule_field(&c, f))
            n += (size_t)snprintf(text + n, size - n, "%s%s %d", n ? ", " : "", f->name, *schedule_field(&c, f));
}

/* The whole model with all choices, in turns with what it was before; the fastest run of each, in seconds. */
static bool compare_whole(Tuner *t, Compilation *c, double *before, double *after) {
    enum { FEWEST = 6, MOST = 500 };
    KModule *m = pipeline_lower(c, c->target);
    Jit *jit = m ? jit_compile_beside(t->d, m, t->jit) : NULL, *each[2] = {t->jit, jit};
    double *least[2] = {before, after}, start = clock_seconds();
    if (!jit)
        return false;
    *before = *after = INFINITY;
    for (int r = 0; r < FEWEST || (r < MOST && clock_seconds() - start < t->seconds / 20); r++) {
        tune_progress(t->d, "comparing: run %d", r + 1);
        for (int i = 0; i < 2; i++) {
            jit_run(each[i], t->data.in, t->data.out);
            double begin = clock_seconds();
            jit_run(each[i], t->data.in, t->data.out);
            double x = clock_seconds() - begin;
            *least[i] = x < *least[i] ? x : *least[i];
        }
    }
    tune_progress(t->d, "%s", "");
    jit_free(jit);
    return true;
}

static void report(const Tuner *t) {
    double before = 0, after = 0;
    printf("%10s %10s  %s\n", "us before", "after", "kernel: choice");
    for (int i = 0; i < t->n; i++) {
        const Subject *s = &t->subject[i];
        char text[200];
        describe(text, sizeof text, s->best);
        double scale = (double)s->all_calls / s->n_calls * 1e6;
        before += s->before * scale;
        after += s->after * scale;
        if (s->before > s->after)
            printf("%10.2f %10.2f  %s: %s\n", s->before * scale, s->after * scale, s->name, text);
    }
    printf("%10.2f %10.2f  all %d kernels measured\n", before, after, t->n);
}

static void keep(const Tuner *t, Compilation *c) {
    for (int i = 0; i < t->n; i++) {
        const Subject *s = &t->subject[i];
        if (s->before > 0)
            schedule_put(c->arena, &c->tuning, (ScheduleEntry){s->hash, s->best});
    }
}

bool tune_here(Compilation *c, const Options *o) {
    Tuner t = {.arena = c->arena, .d = c->diag, .target = c->target, .seconds = o->seconds, .start = clock_seconds()};
    t.m = pipeline_lower(c, c->target);
    t.plain = pipeline_unscheduled(c, c->target);
    jit_measure_for(c->target);
    t.jit = t.m ? jit_compile(t.d, t.m, JIT_BENCH) : NULL;
    if (!t.jit)
        return false;
    t.data = execute_bind(t.arena, t.m, execute_made_up(t.arena, t.m));
    measure_costs(&t);
    choose_subjects(&t, &c->tuning);
    bool ok = true;
    for (int round = 0; ok && round < TUNE_ROUNDS && (round == 0 || elapsed(&t) < t.seconds); round++)
        ok = run_round(&t, round);
    if (ok) {
        double before, after;
        keep(&t, c);
        report(&t);
        ok = compare_whole(&t, c, &before, &after);
        if (ok)
            printf("%10.2f %10.2f  the whole model\n", before * 1e6, after * 1e6);
    }
    jit_free(t.jit);
    return ok;
}
