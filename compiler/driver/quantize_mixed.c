/* SPDX-License-Identifier: Apache-2.0 */
/* Mixed precision: layers that hurt most get 16 bits or stay float, until the accuracy floor holds. How much the rounding of
 * a value, or of a layer's weights, changes the outputs is measured by itself. In that order values get 16 bits, which cost
 * no memory; where that is not enough layers stay float, those first that gain most for their size. How many that takes is
 * found with a float model that rounds as its switches say, compiled once; quantised models are made of what came out. */
#include <math.h>

#include "driver/quantize_job.h"
#include "driver/tune.h"

enum { FEW_SAMPLES = 8, MANY_OUTPUTS = 700 }; /* numbers of all samples together tell enough */
enum { TRIES = 3 };
static const double most_bytes = 64e6; /* of outputs to compare with */
static const double margin = 0.03;     /* of what may be lost, for what switches know nothing of */

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
    Tensor *input;     /* a sample's, then the switches */
    Tensor **want;     /* float outputs of some samples, */
    Tensor **sample;
    int n_want;        /* this many */
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
    int n = p->w.c.graph->inputs.len;
    p->input = ARENA_ARRAY(j->arena, Tensor, n);
    for (int i = p->switches.first; i < n; i++)
        p->input[i] = (Tensor){.dtype = DT_F32, .count = 1, .bytes = ARENA_NEW(j->arena, float)};
    return watch(&p->w, j->o, 0, NULL);
}

static void set_switch(const Probe *p, int i, bool on) { *(float *)p->input[i].bytes = on; }

static void set_all(const Probe *p, bool on) {
    for (int i = p->switches.first; i < p->w.c.graph->inputs.len; i++)
        set_switch(p, i, on);
}

static const Tensor *probe_run(Probe *p, const Tensor *sample) {
    for (int i = 0; i < p->switches.first; i++)
        p->input[i] = sample[i];
    return watch_run(&p->w, p->input);
}

/* The outputs with all switches off, kept. */
static Tensor *float_run(Probe *p, Arena *a, const Tensor *sample) {
    set_all(p, false);
    const Tensor *y = probe_run(p, sample);
    Tensor *kept = y ? arena_dup(a, y, (size_t)p->w.n_outputs * sizeof *y) : NULL;
    for (int k = 0; kept && k < p->w.n_outputs; k++)
        kept[k].bytes = arena_dup(a, y[k].bytes, (size_t)y[k].count * (size_t)dtype_size(y[k].dtype));
    return kept;
}

static int64_t output_elements(const Probe *p) {
    int64_t n = 0;
    for (int k = 0; k < p->w.n_outputs; k++)
        n += value_count(p->w.c.graph->outputs.data[k]);
    return n > 0 ? n : 1;
}

static bool probe_sample(Probe *p, const Tensor *sample) {
    int first = p->switches.first, n = p->w.c.graph->inputs.len;
    Arena *a = arena_new();
    const Tensor *want = float_run(p, a, sample);
    bool ok = want != NULL;
    for (int i = first; ok && i < n; i++) {
        tune_progress(p->j->diag, "sensitivity: rounding %d of %d", i - first + 1, n - first);
        set_switch(p, i, true);
        const Tensor *got = probe_run(p, sample);
        ok = got != NULL;
        for (int k = 0; ok && k < p->w.n_outputs; k++)
            compare_tensors(&p->result[(i - first) * p->w.n_outputs + k], &want[k], &got[k]);
        set_switch(p, i, false);
    }
    arena_free(a);
    return ok;
}

static bool run_probe(Probe *p) {
    const Samples *s = &p->j->calibration;
    int64_t enough = 1 + MANY_OUTPUTS / output_elements(p);
    int few = enough < FEW_SAMPLES ? (int)enough : FEW_SAMPLES, take = s->list.len < few ? s->list.len : few;
    bool ok = true;
    p->result = ARENA_ARRAY(p->w.c.arena, Agreement, p->w.c.graph->inputs.len * p->w.n_outputs + 1);
    for (int k = 0; ok && k < take; k++)
        ok = probe_sample(p, s->list.data[(int64_t)k * s->list.len / take]);
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
    Probe probe;
    bool foresees;          /* asks the probe instead of making quantised models: */
    double may_lose;        /* how far the quality is from 1 then */
    bool last;              /* the attempt is compared layer by layer, so that it may be the result */
} Search;

static bool find_static_moves(Search *s) {
    QuantizeJob *j = s->j;
    Probe *p = &s->probe;
    if (!make_probe(p) || !run_probe(p))
        return false;
    for (int i = 0; i < j->plan.items.len; i++) {
        const QuantizeItem *item = &j->plan.items.data[i];
        int value = p->switches.value[i], weights = p->switches.weights[i];
        if (item->like == i) /* others hold the same elements */
            VEC_PUSH(j->arena, &s->values, ((Move){i, gain(p, value)}));
        if (weights >= 0)
            VEC_PUSH(j->arena, &s->layers, ((Move){i, gain(p, weights) / (double)p->switches.count[i]}));
    }
    return true;
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

/* Of all samples that have labels; of few where an output is an image or the like. */
static bool keep_float_outputs(Probe *p) {
    const Samples *s = &p->j->data;
    Arena *a = p->w.c.arena;
    double each = (double)output_elements(p), most = most_bytes / sizeof(float) / each, few = (double)(4 * MANY_OUTPUTS) / each;
    if (!p->j->labels.label)
        most = fmin(most, fmax(few, (double)(FEW_SAMPLES / 2)));
    int all = s->list.len, take = most < 1 ? 1 : most < all ? (int)most : all;
    bool ok = true;
    p->want = ARENA_ARRAY(a, Tensor *, take);
    p->sample = ARENA_ARRAY(a, Tensor *, take);
    for (int k = 0; ok && k < take; k++) {
        p->sample[k] = s->list.data[p->j->labels.label ? k : (int64_t)k * all / take];
        ok = (p->want[k] = float_run(p, a, p->sample[k])) != NULL;
    }
    p->n_want = take;
    return ok;
}

/* 16 bits are as good as floats. */
static bool foresee(Search *s) {
    Probe *p = &s->probe;
    Agreement *result = ARENA_ARRAY(p->w.c.arena, Agreement, p->w.n_outputs);
    Scores scores = {0};
    bool ok = p->want || keep_float_outputs(p);
    set_all(p, true);
    for (int i = 0; i < s->n_values; i++)
        set_switch(p, p->switches.value[s->values.data[i].item], false);
    for (int i = 0; i < s->n_layers; i++)
        set_switch(p, p->switches.weights[s->layers.data[i].item], false);
    for (int k = 0; ok && k < p->n_want; k++) {
        tune_progress(s->j->diag, "%d values of 16 bits, %d float layers: sample %d of %d", s->n_values, s->n_layers, k + 1, p->n_want);
        const Tensor *got = probe_run(p, p->sample[k]);
        ok = got && compare_outputs(p->w.n_outputs, p->want[k], got, &s->j->labels, result, &scores);
    }
    tune_progress(s->j->diag, "%s", "");
    s->enough = ok && 1 - quantize_quality_of(p->w.n_outputs, result, &scores) <= s->may_lose;
    return ok;
}

/* False after a diagnostic. */
static bool attempt(Search *s, int *n, int now) {
    QuantizeJob *j = s->j;
    *n = now;
    if (s->foresees)
        return foresee(s);
    for (int i = 0; i < j->plan.items.len; i++) {
        j->precision[i] = PRECISION_8;
        j->float_weights[i] = false;
    }
    for (int i = 0; i < s->n_values; i++)
        j->precision[s->values.data[i].item] = PRECISION_16;
    for (int i = 0; i < s->n_layers; i++)
        j->float_weights[s->layers.data[i].item] = true; /* what it computes becomes an integer all the same, for those behind */
    /* A value of 16 bits that is compared is rounded: within a kernel it would not be. The last attempt compares all. */
    if (!quantize_attempt(j, s->last || j->recipe.kind == QUANTIZE_FLOATS))
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

/* What the probe says is set against a quantised model, and asked for with what it was wrong by. */
static bool search_with_probe(Search *s) {
    double allowed = 1 - s->j->o->accuracy_floor;
    s->may_lose = (1 - margin) * allowed;
    for (int t = 0; t < TRIES && !(t && s->n_layers == s->layers.len); t++) {
        s->n_values = s->n_layers = 0;
        s->foresees = true;
        s->last = false;
        if (!search(s))
            return false;
        s->foresees = false;
        s->last = true;
        if (!attempt(s, &s->n_values, s->n_values))
            return false;
        if (s->enough)
            return true;
        s->may_lose *= (1 - margin) * allowed / (1 - quantize_quality(s->j));
    }
    s->n_values = s->n_layers = 0;
    s->last = false;
    return true;
}

bool quantize_mixed(QuantizeJob *j) {
    Search s = {.j = j, .probe = {.j = j, .w = {.progress = j->diag}}};
    if (quantize_quality(j) >= j->o->accuracy_floor)
        return true;
    bool ok = find_moves(&s) && (j->recipe.kind != QUANTIZE_STATIC || search_with_probe(&s)) && (s.enough || search(&s));
    watch_end(&s.probe.w);
    for (int i = 0; !s.enough && i < j->plan.items.len; i++)
        j->precision[i] = PRECISION_FLOAT;
    return ok && ((s.enough && s.last) || quantize_attempt(j, true));
}
