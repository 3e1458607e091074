/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc quantize: static post-training quantisation. The model runs on samples to find the ranges of its values; the
 * quantised one is then compared with it, layer by layer, on the same samples. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/quantize_run.h"
#include "driver/version.h"
#include "passes/edit.h"
#include "passes/passes.h"
#include "passes/quantize.h"

enum { MOST_ROUNDS = 32 };

typedef struct Job {
    const Options *o;
    Diag *diag, quiet; /* the second for what has been said already */
    Arena *arena, *round; /* the second for one attempt */
    const Target *target;
    Compilation c;     /* becomes the quantised graph */
    Watched before, after;
    QuantizePlan plan;
    const char **names;       /* of the items' values in the float graph */
    const char **dequantized; /* … in the quantised graph */
    Observed *range;
    QuantizeStay *stay;
    Samples samples;
    Agreement *agreement; /* of the outputs, then of the items */
    const void *bytes; /* the new file */
    size_t size, weights_before, weights_after;
} Job;

/* The model with all that is known of it before it runs: what is written is the same for every target. */
static bool read_model(Job *j, Diag *d, Compilation *c) {
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

static size_t weight_bytes(const Graph *g) {
    size_t size = 0;
    for (int i = 0; i < g->consts.len; i++)
        size += g->consts.data[i]->data.size;
    return size;
}

/* --- steps --- */

static bool make_plan(Job *j) {
    if (!read_model(j, j->diag, &j->c))
        return false;
    j->weights_before = weight_bytes(j->c.graph);
    j->plan = quantize_plan(j->c.graph);
    int n = j->plan.items.len;
    j->stay = ARENA_ARRAY(j->arena, QuantizeStay, n + 1);
    j->range = ARENA_ARRAY(j->arena, Observed, n + 1);
    j->names = ARENA_ARRAY(j->arena, const char *, n + 1);
    j->dequantized = ARENA_ARRAY(j->arena, const char *, n + 1);
    for (int i = 0; i < n; i++)
        j->names[i] = arena_strdup(j->arena, j->plan.items.data[i].name);
    if (!n)
        diag_error(j->diag, NOWHERE, "the model has no float32 operator that works on bytes too");
    return n > 0;
}

static bool calibrate(Job *j) {
    Diag *d = &j->quiet;
    int n = j->plan.items.len;
    if (!read_model(j, d, &j->before.c) || !watch(&j->before, j->o, n, j->names) ||
        !samples_read(j->arena, j->diag, j->before.module, j->o->calibrate, j->o->samples, &j->samples))
        return false;
    if (!watch_ranges(&j->before, &j->samples, j->o->method, j->names, j->range))
        return false;
    for (int i = 0; i < n; i++) {
        double lo, hi;
        calibrated_range(&j->range[i], j->o->method, &lo, &hi);
        j->range[i].lo = lo;
        j->range[i].hi = hi;
    }
    return true;
}

/* The file's bytes are read back: what is compared is what is written. */
static bool convert(Job *j) {
    for (int i = 0; i < j->plan.items.len; i++) {
        QuantizeItem *item = &j->plan.items.data[i];
        item->lo = j->range[i].lo;
        item->hi = j->range[i].hi;
        item->stay = j->stay[i];
    }
    quantize_apply(&j->plan, j->o->activations);
    j->weights_after = weight_bytes(j->c.graph);
    if (!frontend_export(j->round, j->diag, j->c.graph, MLCC_VERSION, &j->bytes, &j->size))
        return false;
    Compilation *c = &j->after.c;
    ImportOptions import = {0, NULL};
    *c = (Compilation){.arena = arena_new(), .diag = &j->quiet, .target = j->target};
    c->model = frontend_import_bytes(c->arena, &j->quiet, j->o->output, j->bytes, j->size, &import);
    c->graph = c->model ? c->model->graph : NULL;
    for (int i = 0; i < j->plan.items.len; i++)
        j->dequantized[i] = j->plan.items.data[i].dequantized;
    return c->model && watch(&j->after, j->o, j->plan.items.len, j->dequantized);
}

/* --- the report --- */

static void print_agreement(const char *what, const char *name, const char *op, const Agreement *g) {
    double noise = agreement_noise(g);
    printf("%-7s cosine %.6f  ", what, agreement_cosine(g));
    if (noise > 0)
        printf("SNR %6.1f dB", -10 * log10(noise));
    else
        printf("exact        ");
    printf("  %s%s%s%s\n", name, op ? " (" : "", op ? op : "", op ? ")" : "");
}

/* The noise that a layer adds to that of what it takes. */
static double own_noise(const QuantizePlan *p, const Agreement *g, int i) {
    const QuantizeItem *item = &p->items.data[i];
    double taken = 0;
    for (int k = 0; k < item->from.len; k++)
        taken = fmax(taken, agreement_noise(&g[item->from.data[k]]));
    return agreement_noise(&g[i]) - taken;
}

static void print_layers(const QuantizePlan *p, const Agreement *g) {
    int worst = -1;
    for (int i = 0; i < p->items.len; i++) {
        const QuantizeItem *item = &p->items.data[i];
        if (item->like != i)
            continue;
        if (item->layer)
            print_agreement("layer", item->layer->name, item->layer->op_type, &g[i]);
        else
            print_agreement("input", item->name, NULL, &g[i]);
        if (worst < 0 || own_noise(p, g, i) > own_noise(p, g, worst))
            worst = i;
    }
    const QuantizeItem *item = &p->items.data[worst];
    printf("most is lost in %s \"%s\"\n", item->layer ? item->layer->op_type : "the input",
           item->layer ? item->layer->name : item->name);
}

static int worst_output(const Job *j) {
    int worst = 0;
    for (int i = 1; i < j->c.graph->outputs.len; i++)
        worst = agreement_cosine(&j->agreement[i]) < agreement_cosine(&j->agreement[worst]) ? i : worst;
    return worst;
}

/* False where an output misses the floor. */
static bool report(Job *j) {
    const Graph *g = j->c.graph;
    int outputs = g->outputs.len, worst = worst_output(j);
    print_layers(&j->plan, j->agreement + outputs);
    for (int i = 0; i < outputs; i++)
        print_agreement("output", g->outputs.data[i]->name, NULL, &j->agreement[i]);
    for (int i = 0; i < j->plan.items.len; i++)
        if (j->stay[i])
            printf("float   %s%s\n", j->names[i], j->stay[i] == STAY_WEIGHTS ? " and the weights before it" : "");
    printf("%d samples; weights %zu bytes, were %zu: %.2f times smaller\n", j->samples.list.len, j->weights_after,
           j->weights_before, (double)j->weights_before / (double)j->weights_after);
    double cosine = agreement_cosine(&j->agreement[worst]);
    if (cosine >= j->o->accuracy_floor)
        return true;
    fflush(stdout);
    diag_error(j->diag, NOWHERE, "output \"%s\" has the cosine %.6f to that of the float model; %g was asked for",
               g->outputs.data[worst]->name, cosine, j->o->accuracy_floor);
    return false;
}

/* --- mixed precision --- */

/* Another layer, the one that adds most noise, stays float: what it computes, then its weights too. */
static bool leave_worst(Job *j, bool *touched) {
    const QuantizePlan *p = &j->plan;
    const Agreement *g = j->agreement + j->c.graph->outputs.len;
    int worst = -1;
    for (int i = 0; i < p->items.len; i++) {
        const QuantizeItem *item = &p->items.data[i];
        bool left = j->stay[i] == STAY_NOT ? item->like == i : j->stay[i] == STAY_VALUE && item->has_weights;
        if (left && !touched[i] && (worst < 0 || own_noise(p, g, i) > own_noise(p, g, worst)))
            worst = i;
    }
    if (worst < 0)
        return false;
    j->stay[worst] = j->stay[worst] == STAY_NOT ? STAY_VALUE : STAY_WEIGHTS;
    return touched[worst] = true;
}

static void end_round(Job *j) {
    watch_end(&j->after);
    j->after = (Watched){.progress = j->diag};
    if (j->round)
        arena_free(j->round);
    j->round = NULL;
}

static bool attempt(Job *j, bool again) {
    end_round(j);
    j->round = arena_new();
    if (again) {
        pipeline_close(&j->c);
        if (!read_model(j, &j->quiet, &j->c))
            return false;
        j->plan = quantize_plan(j->c.graph);
    }
    j->agreement = ARENA_ARRAY(j->round, Agreement, j->c.graph->outputs.len + j->plan.items.len);
    return convert(j) && watch_compare(&j->before, &j->after, &j->samples, j->agreement);
}

/* Some layers at a time, so that a large network needs no more attempts than a small one. */
static bool quantise(Job *j) {
    bool ok = attempt(j, false), more = true;
    while (ok && more && j->o->mixed && agreement_cosine(&j->agreement[worst_output(j)]) < j->o->accuracy_floor) {
        bool *touched = ARENA_ARRAY(j->arena, bool, j->plan.items.len);
        more = leave_worst(j, touched);
        for (int k = MOST_ROUNDS; k <= j->plan.items.len; k += MOST_ROUNDS)
            leave_worst(j, touched);
        ok = attempt(j, true);
    }
    return ok;
}

static bool write_file(const Job *j) {
    Outputs *out = outputs_new(j->diag);
    FILE *f = outputs_open(out, j->o->output);
    if (!f) {
        outputs_discard(out);
        return false;
    }
    fwrite(j->bytes, 1, j->size, f);
    return outputs_commit(out);
}

static bool same_file(const char *x, const char *y) {
    struct stat a, b;
    return !stat(x, &a) && !stat(y, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int usage(const char *what) {
    fprintf(stderr, "mlcc: error: %s; see mlcc quantize --help\n", what);
    return EXIT_USAGE;
}

int verb_quantize(const Options *o) {
    if (!o->output)
        return usage("no output given: -o FILE.onnx");
    if (same_file(o->output, o->operand[0]))
        return usage("the output would overwrite the model");
    if (!o->calibrate)
        return usage("no inputs given: --calibrate PATH");
    if (o->mixed && !(o->accuracy_floor > 0))
        return usage("--mixed needs --accuracy-floor");
    Diag d = {.stream = stderr, .file = o->operand[0], .quiet = o->quiet};
    Job j = {.o = o, .diag = &d, .quiet = d, .arena = arena_new()};
    j.quiet.quiet = true;
    j.before.progress = &d;
    j.target = jit_native_target(j.arena);
    bool ok = make_plan(&j) && calibrate(&j) && quantise(&j) && report(&j) && write_file(&j);
    watch_end(&j.before);
    end_round(&j);
    pipeline_close(&j.c);
    arena_free(j.arena);
    return ok && !fflush(stdout) ? EXIT_DONE : EXIT_FAILED;
}
