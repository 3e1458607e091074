/* SPDX-License-Identifier: Apache-2.0 */
/* Mixed precision: layers that hurt most get 16 bits or stay float, until the accuracy floor holds. How much the rounding of
 * a value, or of a layer's weights, changes the outputs is measured by itself. In that order values get 16 bits, which cost
 * no memory; where that is not enough layers stay float, those first that gain most for their size. */
#include <math.h>

#include "driver/quantize_job.h"
#include "driver/tune.h"

enum { FEW_SAMPLES = 8 };

typedef struct Move {
    int item;
    double gain;
} Move;

typedef VEC(Move) Moves;

/* --- noise at the outputs --- */

typedef struct Probe {
    QuantizeJob *j;
    Watched w;
    QuantizeSwitches switches;
    Agreement *result; /* of each switch and output */
} Probe;

static bool make_probe(Probe *p) {
    QuantizeJob *j = p->j;
    if (!quantize_read(j, &j->quiet, &p->w.c))
        return false;
    QuantizePlan plan = quantize_plan(p->w.c.graph, j->recipe.kind);
    for (int i = 0; i < plan.items.len; i++) {
        plan.items.data[i].lo = j->range[i].lo;
        plan.items.data[i].hi = j->range[i].hi;
    }
    quantize_add_switches(&plan, &j->recipe, &p->switches);
    return watch(&p->w, j->o, 0, NULL);
}

static bool probe_sample(Probe *p, Tensor *input, int n) {
    Arena *a = arena_new();
    int outputs, first = p->switches.first;
    Diag *d = p->w.c.diag;
    const Tensor *want = execute_jit(a, d, p->w.module, p->w.jit, input, &outputs);
    bool ok = want != NULL;
    for (int i = first; ok && i < n; i++) {
        Arena *run = arena_new();
        tune_progress(p->j->diag, "sensitivity: rounding %d of %d", i - first + 1, n - first);
        *(float *)input[i].bytes = 1;
        const Tensor *got = execute_jit(run, d, p->w.module, p->w.jit, input, &outputs);
        ok = got != NULL;
        for (int k = 0; ok && k < p->w.n_outputs; k++)
            compare_tensors(&p->result[(i - first) * p->w.n_outputs + k], &want[k], &got[k]);
        *(float *)input[i].bytes = 0;
        arena_free(run);
    }
    arena_free(a);
    return ok;
}

static bool run_probe(Probe *p) {
    Arena *a = p->w.c.arena;
    const Samples *s = &p->j->calibration;
    int n = p->w.c.graph->inputs.len, take = s->list.len < FEW_SAMPLES ? s->list.len : FEW_SAMPLES;
    bool ok = true;
    p->result = ARENA_ARRAY(a, Agreement, n * p->w.n_outputs + 1);
    for (int k = 0; ok && k < take; k++) {
        const Tensor *sample = s->list.data[(int64_t)k * s->list.len / take];
        Tensor *input = ARENA_ARRAY(a, Tensor, n);
        for (int i = 0; i < n; i++)
            input[i] = i < p->switches.first ? sample[i] : (Tensor){.dtype = DT_F32, .count = 1, .bytes = ARENA_NEW(a, float)};
        ok = probe_sample(p, input, n);
    }
    tune_progress(p->j->diag, "%s", "");
    return ok;
}

static double gain(const Probe *p, int at) {
    double noise = 0;
    for (int k = 0; k < p->w.n_outputs; k++)
        noise = fmax(noise, agreement_noise(&p->result[(at - p->switches.first) * p->w.n_outputs + k]));
    return noise;
}

/* --- the least that is enough --- */

typedef struct Search {
    QuantizeJob *j;
    Moves values, layers;   /* that get 16 bits, that stay float: best first */
    int n_values, n_layers; /* how many of them do */
    bool enough;
} Search;

static bool find_static_moves(Search *s) {
    QuantizeJob *j = s->j;
    Probe p = {.j = j, .w = {.progress = j->diag}};
    bool ok = make_probe(&p) && run_probe(&p);
    for (int i = 0; ok && i < j->plan.items.len; i++) {
        const QuantizeItem *item = &j->plan.items.data[i];
        int value = p.switches.value[i], weights = p.switches.weights[i];
        if (item->like == i) /* others hold the same elements */
            VEC_PUSH(j->arena, &s->values, ((Move){i, gain(&p, value)}));
        if (weights >= 0)
            VEC_PUSH(j->arena, &s->layers, ((Move){i, gain(&p, weights) / (double)p.switches.count[i]}));
    }
    watch_end(&p.w);
    return ok;
}

static void sort(Moves *m) {
    for (int i = 1; i < m->len; i++) {
        Move x = m->data[i];
        int k = i;
        for (; k && m->data[k - 1].gain < x.gain; k--)
            m->data[k] = m->data[k - 1];
        m->data[k] = x;
    }
}

static bool find_moves(Search *s) {
    QuantizeJob *j = s->j;
    if (j->recipe.kind == QUANTIZE_STATIC && !find_static_moves(s))
        return false;
    for (int i = 0; j->recipe.kind != QUANTIZE_STATIC && i < j->plan.items.len; i++)
        VEC_PUSH(j->arena, &s->layers, ((Move){i, quantize_own_noise(j, i)}));
    sort(&s->values);
    sort(&s->layers);
    return true;
}

/* False after a diagnostic. */
static bool attempt(Search *s, int *n, int now) {
    QuantizeJob *j = s->j;
    *n = now;
    for (int i = 0; i < j->plan.items.len; i++) {
        j->precision[i] = PRECISION_8;
        j->float_weights[i] = false;
    }
    for (int i = 0; i < s->n_values; i++)
        j->precision[s->values.data[i].item] = PRECISION_16;
    for (int i = 0; i < s->n_layers; i++)
        j->float_weights[s->layers.data[i].item] = true; /* what it computes becomes an integer all the same, for those behind */
    /* A value of 16 bits that is compared is rounded: within a kernel it would not be. The last attempt compares all. */
    if (!quantize_attempt(j, j->recipe.kind == QUANTIZE_FLOATS))
        return false;
    s->enough = quantize_quality(j) >= j->o->accuracy_floor;
    return true;
}

/* The least *n that is enough: more than `fails`, at most `holds`, which was tried last. */
static bool least(Search *s, int *n, int fails, int holds) {
    int last = holds;
    bool halving = false;
    for (int step = 1; holds - fails > 1; step *= 2) {
        last = halving || fails + step >= holds ? fails + (holds - fails) / 2 : fails + step;
        if (!attempt(s, n, last))
            return false;
        halving = halving || s->enough;
        *(s->enough ? &holds : &fails) = last;
    }
    return last == holds || attempt(s, n, holds);
}

/* 16 bits for all values, then as many float layers as that needs, then no more values than needed. */
static bool search(Search *s) {
    if (!attempt(s, &s->n_values, s->values.len))
        return false;
    if (!s->enough && !attempt(s, &s->n_layers, s->layers.len))
        return false;
    if (!s->enough)
        return true;
    if (s->n_layers && !least(s, &s->n_layers, 0, s->layers.len))
        return false;
    return least(s, &s->n_values, s->n_layers ? -1 : 0, s->values.len);
}

bool quantize_mixed(QuantizeJob *j) {
    Search s = {.j = j};
    if (quantize_quality(j) >= j->o->accuracy_floor)
        return true;
    if (!find_moves(&s) || !search(&s))
        return false;
    for (int i = 0; !s.enough && i < j->plan.items.len; i++)
        j->precision[i] = PRECISION_FLOAT;
    return quantize_attempt(j, true);
}
