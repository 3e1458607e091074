/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a quantisation: the model runs on samples to find the ranges and statistics of its values; the quantised one
 * is then compared with it, layer by layer. */
#include "driver/quantize_job.h"

#include <string.h>

#include "driver/quantize_stats.h"
#include "driver/samples_rows.h"
#include "driver/version.h"
#include "passes/edit.h"
#include "passes/passes.h"

static const double EQUAL_SHARE = 0.5, UNEVEN = 5; /* of the largest channel's range to the usual one */
enum { MADE_UP = 4 };                              /* samples */

/* The model with all that is known of it before it runs: what is written is the same for every target. */
static bool read_plain(QuantizeJob *j, Diag *d, Compilation *c) {
    if (!pipeline_import(c, d, j->o, j->o->operand[0], j->target))
        return false;
    Graph *g = c->graph;
    for (const Node *n = g->first; n; n = n->next) {
        if (!edit_is(n, "QuantizeLinear") && strncmp(n->op_type, "QLinear", 7) != 0)
            continue; /* a DequantizeLinear of constants is a way to store weights */
        diag_error(d, node_place(n), "the model is quantised already");
        return false;
    }
    if (!pass_infer(g))
        return false;
    pass_dead(g);
    pass_canonicalize(g);
    if (!pass_fold(g))
        return false;
    pass_canonicalize(g);
    pass_cse(g);
    if (!pass_fold(g))
        return false;
    pass_fuse_conv(g);
    if (!pass_fold(g))
        return false;
    pass_dead(g);
    return true;
}

static bool to_floats(const Options *o) {
    return o->quantize == QUANTIZE_FLOATS || (o->quantize == QUANTIZE_WEIGHTS && dtype_is_float(o->weight_type));
}

/* Without being told: where channels differ much. */
static bool smooths_itself(const Options *o) {
    return !o->keep_uneven && (o->quantize == QUANTIZE_DYNAMIC || (o->calibrate && o->quantize == QUANTIZE_STATIC));
}

/* The same in the form that loses least: the ranges of channels are evened out. */
bool quantize_read(QuantizeJob *j, Diag *d, Compilation *c) {
    if (!read_plain(j, d, c))
        return false;
    if (j->o->equalize)
        quantize_equalize(c->graph, &j->for_smoothing, EQUAL_SHARE);
    if (j->o->smooth > 0)
        quantize_smooth(c->graph, &j->for_smoothing, j->o->smooth, 0);
    else if (smooths_itself(j->o))
        quantize_smooth(c->graph, &j->for_smoothing, EQUAL_SHARE, UNEVEN);
    pass_dead(c->graph);
    return true;
}

static size_t weight_bytes(const Graph *g) {
    size_t size = 0;
    for (int i = 0; i < g->consts.len; i++) {
        const Value *v = g->consts.data[i];
        size += ((size_t)value_count(v) * (size_t)(v->dtype == DT_BOOL ? 8 : dtype_width(v->dtype)) + 7) / 8;
    }
    return size;
}

/* --- steps --- */

static bool make_plan(QuantizeJob *j) {
    if (!quantize_read(j, j->diag, &j->c))
        return false;
    j->weights_before = weight_bytes(j->c.graph);
    j->plan = quantize_plan(j->c.graph, j->recipe.kind);
    int n = j->plan.items.len;
    j->precision = ARENA_ARRAY(j->arena, QuantizePrecision, n + 1);
    j->float_weights = ARENA_ARRAY(j->arena, bool, n + 1);
    j->range = ARENA_ARRAY(j->arena, Observed, n + 1);
    j->names = ARENA_ARRAY(j->arena, const char *, n + 1);
    j->dequantized = ARENA_ARRAY(j->arena, const char *, n + 1);
    for (int i = 0; i < n; i++)
        j->names[i] = arena_strdup(j->arena, j->plan.items.data[i].name);
    if (!n)
        diag_error(j->diag, NOWHERE, "%s", j->recipe.kind == QUANTIZE_STATIC   ? "the model has no float32 operator that works on bytes too"
                                           : j->recipe.kind == QUANTIZE_FLOATS ? "the model has no float32 operator that takes 16 bits too"
                                                                               : "the model has no product with constant float32 weights");
    return n > 0;
}

static bool wants_gram(const QuantizeJob *j) {
    return !to_floats(j->o) && j->o->calibrate && !j->o->plain_rounding;
}

/* Samples that are made up tell which channels are large, not how to round for them. */
static bool collect_for_smoothing(QuantizeJob *j) {
    Compilation c = {0};
    Samples made = {0};
    bool ok = read_plain(j, j->diag, &c);
    if (ok && (j->o->calibrate || samples_of_rows(j->arena, c.graph, MADE_UP, &made)))
        return stats_collect(j->arena, j->diag, j->o, j->o->equalize ? STATS : STATS_OF_MATRICES, &c, j->diag,
                             made.list.len ? &made : &j->calibration, &j->for_smoothing, NULL);
    pipeline_close(&c);
    return ok;
}

static bool collect_for_rounding(QuantizeJob *j) {
    Compilation c = {0};
    if (quantize_read(j, &j->quiet, &c))
        return stats_collect(j->arena, j->diag, j->o, wants_gram(j) ? STATS_AND_GRAMS : STATS, &c, j->diag, &j->calibration,
                             &j->for_rounding, &j->grams);
    pipeline_close(&c);
    return false;
}

static bool find_ranges(QuantizeJob *j) {
    bool floats = j->recipe.kind == QUANTIZE_FLOATS;
    CalibrationMethod method = floats ? CALIBRATE_MINMAX : j->o->method;
    if (j->recipe.kind != QUANTIZE_STATIC && !(floats && j->recipe.weights == DT_F16))
        return true;
    j->before.infinite = floats;
    if (!watch_ranges(&j->before, &j->calibration, method, j->names, j->range))
        return false;
    for (int i = 0; i < j->plan.items.len; i++) {
        double lo, hi;
        calibrated_range(&j->range[i], method, &lo, &hi);
        j->range[i].lo = lo;
        j->range[i].hi = hi;
    }
    return true;
}

/* Labels belong to the samples that are compared. */
static bool read_labels(QuantizeJob *j) {
    if (!j->o->data)
        return true;
    if (!labels_read(j->arena, j->diag, j->o->data, &j->labels))
        return false;
    int64_t each = j->labels.n / j->data.list.len;
    if (j->data.list.len < j->o->samples && each * j->data.list.len != j->labels.n) {
        diag_error(j->diag, NOWHERE, "\"%s\" holds %lld labels for %d samples", j->o->data, (long long)j->labels.n, j->data.list.len);
        return false;
    }
    return true;
}

static bool read_samples(QuantizeJob *j) {
    const Options *o = j->o;
    const KModule *m = j->before.module;
    if (o->calibrate && !j->calibration.list.len && !samples_read(j->arena, j->diag, m, o->calibrate, o->samples, &j->calibration))
        return false;
    j->data = j->calibration;
    if (o->data && !samples_read(j->arena, j->diag, m, o->data, o->samples, &j->data))
        return false;
    if (!o->calibrate)
        j->calibration = j->data;
    return read_labels(j);
}

/* All that is known before the first attempt. */
static bool prepare(QuantizeJob *j) {
    const Options *o = j->o;
    bool smooths = o->smooth > 0 || o->equalize || smooths_itself(o);
    if ((smooths && !collect_for_smoothing(j)) || !make_plan(j))
        return false;
    if ((j->recipe.correct_bias || wants_gram(j)) && !collect_for_rounding(j))
        return false;
    j->recipe.stats = &j->for_rounding;
    j->recipe.grams = &j->grams;
    if (!o->calibrate && !o->data)
        return true;
    return quantize_read(j, &j->quiet, &j->before.c) && watch(&j->before, o, j->plan.items.len, j->names) && read_samples(j) &&
           find_ranges(j);
}

/* The file's bytes are read back: what is compared is what is written. */
static bool convert(QuantizeJob *j, bool layers) {
    for (int i = 0; i < j->plan.items.len; i++) {
        QuantizeItem *item = &j->plan.items.data[i];
        item->lo = j->range[i].lo;
        item->hi = j->range[i].hi;
        item->precision = j->precision[i];
        item->float_weights = j->float_weights[i];
    }
    quantize_apply(&j->plan, &j->recipe);
    for (int i = 0; j->recipe.kind == QUANTIZE_FLOATS && i < j->plan.items.len; i++)
        j->precision[i] = j->plan.items.data[i].precision;
    j->weights_after = weight_bytes(j->c.graph);
    if (!frontend_export(j->round, j->diag, j->c.graph, MLCC_VERSION, &j->bytes, &j->size))
        return false;
    if (!j->data.list.len)
        return true;
    Compilation *c = &j->after.c;
    ImportOptions import = {0, NULL};
    *c = (Compilation){.arena = arena_new(), .diag = &j->quiet, .target = j->target};
    c->model = frontend_import_bytes(c->arena, &j->quiet, j->o->operand[0], j->bytes, j->size, &import);
    c->graph = c->model ? c->model->graph : NULL;
    for (int i = 0; i < j->plan.items.len; i++)
        j->dequantized[i] = j->plan.items.data[i].dequantized;
    return c->model && watch(&j->after, j->o, layers ? j->plan.items.len : 0, j->dequantized);
}

static bool compare(QuantizeJob *j) {
    j->scores = (Scores){0};
    if (!j->data.list.len || watch_compare(&j->before, &j->after, &j->data, &j->labels, j->agreement, &j->scores))
        return true;
    if (j->scores.n < 0)
        diag_error(j->diag, NOWHERE, "\"%s\" holds a label that is no class of the first output, or too few", j->o->data);
    return false;
}

static void end_round(QuantizeJob *j) {
    watch_end(&j->after);
    j->after = (Watched){.progress = j->diag};
    if (j->round)
        arena_free(j->round);
    j->round = NULL;
}

bool quantize_attempt(QuantizeJob *j, bool layers) {
    bool again = j->round != NULL; /* the first plan is made when ranges are sought */
    end_round(j);
    j->round = arena_new();
    if (again) {
        pipeline_close(&j->c);
        if (!quantize_read(j, &j->quiet, &j->c))
            return false;
        j->plan = quantize_plan(j->c.graph, j->recipe.kind);
    }
    j->agreement = ARENA_ARRAY(j->round, Agreement, j->c.graph->outputs.len + j->plan.items.len);
    return convert(j, layers) && compare(j);
}

/* --- one call --- */

const char *quantize_misuse(const Options *o) {
    bool data = o->calibrate || o->data;
    if (o->quantize == QUANTIZE_STATIC && !data)
        return "no inputs given: --calibrate PATH";
    if (o->mixed && !(o->accuracy_floor > 0))
        return "--mixed needs --accuracy-floor";
    if (o->accuracy_floor > 0 && !data)
        return "--accuracy-floor needs --data or --calibrate";
    if (o->equalize && !o->calibrate)
        return "--equalize needs --calibrate";
    if (o->smooth > 0 && !o->calibrate)
        return "--smooth needs --calibrate";
    return NULL;
}

static bool corrects_bias(const Options *o) {
    return o->calibrate && !o->keep_bias && !to_floats(o);
}

bool quantize_model(QuantizeJob *j, Diag *d, const Options *o, FILE *report) {
    *j = (QuantizeJob){.own = *o, .diag = d, .quiet = *d, .arena = arena_new()};
    j->own.tuning = j->own.dump_after = NULL;
    j->own.threads = 0;
    j->own.fast_math = j->own.half_weights = false;
    j->o = &j->own;
    j->quiet.quiet = true;
    j->before.progress = d;
    j->target = jit_native_target(j->arena);
    j->recipe = (QuantizeRecipe){o->quantize, o->activations, o->weight_type, o->block, corrects_bias(o), NULL, NULL};
    if (!prepare(j) || !quantize_attempt(j, true) || (o->mixed && !quantize_mixed(j)))
        return false;
    if (report) {
        quantize_report(j, report);
        fflush(report);
    }
    return quantize_meets_floor(j);
}

void quantize_end(QuantizeJob *j) {
    watch_end(&j->before);
    end_round(j);
    pipeline_close(&j->c);
    arena_free(j->arena);
}
