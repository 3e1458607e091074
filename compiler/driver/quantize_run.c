/* SPDX-License-Identifier: Apache-2.0 */
/* Running models over samples. */
#include "driver/quantize_run.h"

#include <math.h>

#include "driver/tune.h"

static int output_index(Graph *g, Value *v) {
    for (int i = 0; i < g->outputs.len; i++)
        if (g->outputs.data[i] == v)
            return i;
    VEC_PUSH(g->arena, &g->outputs, v);
    v->is_output = true;
    return g->outputs.len - 1;
}

bool watch(Watched *w, const Options *o, int n, const char *const *names) {
    Graph *g = w->c.graph;
    w->n_outputs = g->outputs.len;
    w->n = n;
    w->at = ARENA_ARRAY(w->c.arena, int, n + 1);
    for (int i = 0; i < n; i++) {
        Value *v = strmap_get(&g->names, names[i]);
        if (!v) {
            diag_error(w->c.diag, NOWHERE, "internal error: the value \"%s\" is gone", names[i]);
            return false;
        }
        w->at[i] = output_index(g, v);
    }
    w->module = pipeline_optimize(&w->c, o) ? pipeline_lower(&w->c, w->c.target) : NULL;
    w->jit = w->module ? jit_compile(w->c.diag, w->module, JIT_QUICK) : NULL;
    return w->jit != NULL;
}

void watch_end(Watched *w) {
    jit_free(w->jit);
    if (w->c.arena)
        pipeline_close(&w->c);
}

const Tensor *watch_run(Watched *w, const Tensor *input) {
    if (!w->data.result)
        w->data = execute_bind(w->c.arena, w->module, input);
    for (int i = 0; i < w->module->buffers.len && w->module->buffers.data[i]->kind == KBUF_INPUT; i++)
        w->data.in[i] = input[i].bytes;
    return execute_bound(w->c.diag, w->jit, &w->data) ? w->data.result : NULL;
}

/* --- ranges --- */

static bool observe_run(const Watched *w, const Tensor *result, bool distribution, const char *const *names, Observed *values) {
    for (int i = 0; i < w->n; i++) {
        const Tensor *t = &result[w->at[i]];
        if (distribution) {
            observe_distribution(&values[i], t->bytes, t->count);
        } else if (!observe_extremes(&values[i], t->bytes, t->count) && !w->infinite) {
            diag_error(w->c.diag, NOWHERE, "the value \"%s\" is infinite or no number with these inputs", names[i]);
            return false;
        }
    }
    return true;
}

static bool observe_all(Watched *w, const Samples *s, bool distribution, const char *const *names, Observed *values) {
    bool ok = true;
    for (int k = 0; ok && k < s->list.len; k++) {
        tune_progress(w->progress, "%s: sample %d of %d", distribution ? "distributions" : "ranges", k + 1, s->list.len);
        const Tensor *result = watch_run(w, s->list.data[k]);
        ok = result && observe_run(w, result, distribution, names, values);
    }
    tune_progress(w->progress, "%s", "");
    return ok;
}

bool watch_ranges(Watched *w, const Samples *s, CalibrationMethod method, const char *const *names, Observed *values) {
    bool ok = observe_all(w, s, false, names, values);
    if (!ok || method == CALIBRATE_MINMAX)
        return ok;
    for (int i = 0; i < w->n; i++)
        values[i].bin = ARENA_ARRAY(w->c.arena, double, OBSERVED_BINS);
    return observe_all(w, s, true, names, values);
}

/* --- comparison --- */

double agreement_cosine(const Agreement *g) {
    if (g->want <= 0 || g->got <= 0)
        return g->noise > 0 ? 0 : 1;
    return g->product / sqrt(g->want) / sqrt(g->got);
}

double agreement_noise(const Agreement *g) { return g->want > 0 ? g->noise / g->want : g->noise > 0 ? INFINITY : 0; }

void compare_tensors(Agreement *g, const Tensor *want, const Tensor *got) {
    int64_t n = want->count < got->count ? want->count : got->count;
    bool floats = want->dtype == DT_F32 && got->dtype == DT_F32;
    const float *xs = want->bytes, *ys = got->bytes;
    Agreement sum = {0};
    for (int64_t i = 0; i < n; i++) {
        double x = floats ? (double)xs[i] : tensor_at(want, i), y = floats ? (double)ys[i] : tensor_at(got, i);
        sum.product += x * y;
        sum.want += x * x;
        sum.got += y * y;
        sum.noise += (x - y) * (x - y);
    }
    g->product += sum.product;
    g->want += sum.want;
    g->got += sum.got;
    g->noise += sum.noise;
}

static bool score(const Tensor *want, const Tensor *got, const Labels *labels, Scores *s) {
    int64_t rows = labels_score(want, labels->label + s->n, labels->n - s->n, &s->want);
    if (rows < 0 || labels_score(got, labels->label + s->n, labels->n - s->n, &s->got) < 0) {
        s->n = -1;
        return false;
    }
    s->n += rows;
    s->classes = want->rank ? want->dim[want->rank - 1] : 1;
    return true;
}

bool compare_outputs(int n, const Tensor *want, const Tensor *got, const Labels *labels, Agreement *result, Scores *scores) {
    for (int i = 0; i < n; i++)
        compare_tensors(&result[i], &want[i], &got[i]);
    return !labels->label || score(&want[0], &got[0], labels, scores);
}

static bool compare_run(Watched *want, Watched *got, const Tensor *input, const Labels *labels, Agreement *result, Scores *scores) {
    const Tensor *x = watch_run(want, input), *y = x ? watch_run(got, input) : NULL;
    for (int i = 0; y && i < got->n; i++)
        compare_tensors(&result[want->n_outputs + i], &x[want->at[i]], &y[got->at[i]]);
    return y && compare_outputs(want->n_outputs, x, y, labels, result, scores);
}

bool watch_compare(Watched *want, Watched *got, const Samples *s, const Labels *labels, Agreement *result, Scores *scores) {
    bool ok = true;
    for (int k = 0; ok && k < s->list.len; k++) {
        tune_progress(got->progress, "comparison: sample %d of %d", k + 1, s->list.len);
        ok = compare_run(want, got, s->list.data[k], labels, result, scores);
    }
    tune_progress(got->progress, "%s", "");
    return ok;
}
