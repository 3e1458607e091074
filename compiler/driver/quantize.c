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

typedef struct Job {
    const Options *o;
    Diag *diag, quiet; /* the second for what has been said already */
    Arena *arena;
    const Target *target;
    Compilation c;     /* becomes the quantised graph */
    Watched before, after;
    QuantizePlan plan;
    const char **names;       /* of the items' values in the float graph */
    const char **dequantized; /* … in the quantised graph */
    Samples samples;
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
    j->names = ARENA_ARRAY(j->arena, const char *, n + 1);
    j->dequantized = ARENA_ARRAY(j->arena, const char *, n + 1);
    for (int i = 0; i < n; i++)
        j->names[i] = j->plan.items.data[i].name;
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
    Observed *values = ARENA_ARRAY(j->arena, Observed, n);
    if (!watch_ranges(&j->before, &j->samples, j->o->method, j->names, values))
        return false;
    for (int i = 0; i < n; i++)
        calibrated_range(&values[i], j->o->method, &j->plan.items.data[i].lo, &j->plan.items.data[i].hi);
    return true;
}

/* The file's bytes are read back: what is compared is what is written. */
static bool convert(Job *j) {
    quantize_apply(&j->plan, j->o->activations);
    j->weights_after = weight_bytes(j->c.graph);
    if (!frontend_export(j->arena, j->diag, j->c.graph, MLCC_VERSION, &j->bytes, &j->size))
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
        print_agreement(item->layer ? "layer" : "input", item->layer ? item->layer->name : item->name, item->layer ? item->layer->op_type : NULL,
                        &g[i]);
        if (worst < 0 || own_noise(p, g, i) > own_noise(p, g, worst))
            worst = i;
    }
    const QuantizeItem *item = &p->items.data[worst];
    printf("most is lost in %s \"%s\"\n", item->layer ? item->layer->op_type : "the input", item->layer ? item->layer->name : item->name);
}

/* Prints all; false where an output misses the floor. */
static bool report(Job *j) {
    const Graph *g = j->c.graph;
    int outputs = g->outputs.len;
    Agreement *a = ARENA_ARRAY(j->arena, Agreement, outputs + j->plan.items.len);
    if (!watch_compare(&j->before, &j->after, &j->samples, a))
        return false;
    print_layers(&j->plan, a + outputs);
    int worst = 0;
    for (int i = 0; i < outputs; i++) {
        print_agreement("output", g->outputs.data[i]->name, NULL, &a[i]);
        worst = agreement_cosine(&a[i]) < agreement_cosine(&a[worst]) ? i : worst;
    }
    printf("%d samples; weights %zu bytes, were %zu: %.2f times smaller\n", j->samples.list.len, j->weights_after, j->weights_before,
           (double)j->weights_before / (double)j->weights_after);
    double cosine = agreement_cosine(&a[worst]);
    if (cosine >= j->o->accuracy_floor)
        return true;
    fflush(stdout);
    diag_error(j->diag, NOWHERE, "output \"%s\" has the cosine %.6f to that of the float model; %g was asked for",
               g->outputs.data[worst]->name, cosine, j->o->accuracy_floor);
    return false;
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
    Diag d = {.stream = stderr, .file = o->operand[0], .quiet = o->quiet};
    Job j = {.o = o, .diag = &d, .quiet = d, .arena = arena_new()};
    j.quiet.quiet = true;
    j.before.progress = j.after.progress = &d;
    j.target = jit_native_target(j.arena);
    bool ok = make_plan(&j) && calibrate(&j) && convert(&j) && report(&j) && write_file(&j);
    watch_end(&j.before);
    watch_end(&j.after);
    pipeline_close(&j.c);
    arena_free(j.arena);
    return ok && !fflush(stdout) ? EXIT_DONE : EXIT_FAILED;
}
