/* SPDX-License-Identifier: Apache-2.0 */
/* The way a model takes, as far as every verb goes it. */
#include "driver/pipeline.h"

#include <string.h>

#include "driver/target.h"
#include "driver/tuning.h"
#include "ops/lower.h"
#include "passes/passes.h"

static bool start(Compilation *c, Diag *d, const Options *o, const Target *target) {
    *c = (Compilation){.arena = arena_new(), .diag = d, .target = target};
    if (o->tuning && !strcmp(o->tuning, "none"))
        return true;
    return tuning_shipped(c->arena, d, target, &c->shipped) && (!o->tuning || tuning_read(c->arena, d, o->tuning, target, &c->tuning));
}

bool pipeline_import(Compilation *c, Diag *d, const Options *o, const char *model_path, const Target *target) {
    ImportOptions import = {o->n_dims, o->dims};
    if (!start(c, d, o, target))
        return false;
    c->model = frontend_import(c->arena, d, model_path, &import);
    c->graph = c->model ? c->model->graph : NULL;
    return c->model != NULL;
}

bool pipeline_import_bytes(Compilation *c, Diag *d, const Options *o, const char *path, const void *bytes, size_t size,
                           const Target *target) {
    ImportOptions import = {o->n_dims, o->dims};
    if (!start(c, d, o, target))
        return false;
    c->model = frontend_import_bytes(c->arena, d, path, bytes, size, &import);
    c->graph = c->model ? c->model->graph : NULL;
    return c->model != NULL;
}

bool pipeline_optimize(Compilation *c, const Options *o) {
    c->verify_ir = o->verify_ir;
    c->threads = o->threads;
    c->requant = o->requant;
    PassOptions passes = {
        .target = c->target,
        .dump_after = o->dump_after,
        .dump = o->dump_after ? stdout : NULL,
        .verify = o->verify_ir,
        .threads = o->threads,
        .keep_dead = o->keep_dead,
        .half_weights = o->half_weights,
        .fast = o->fast_math,
    };
    return passes_run(c->graph, &passes);
}

bool pipeline_open(Compilation *c, Diag *d, const Options *o, const char *model_path, const Target *target) {
    return pipeline_import(c, d, o, model_path, target) && pipeline_optimize(c, o);
}

int pipeline_verb(const Options *o, bool (*work)(Compilation *c, const Options *o)) {
    const char *path = o->operand[0];
    Diag d = {.stream = stderr, .file = path, .quiet = o->quiet};
    Arena *a = arena_new();
    Compilation c = {0};
    const Target *target = target_load(a, &d, o->target);
    bool ok = target && pipeline_open(&c, &d, o, path, target) && work(&c, o);
    pipeline_close(&c);
    arena_free(a);
    return !target ? EXIT_USAGE : fflush(stdout) || !ok ? EXIT_FAILED : EXIT_DONE;
}

static bool sound(const Compilation *c, const KModule *m, const char *when) {
    const char *broken = c->verify_ir ? kernel_module_verify(m) : NULL;
    if (broken)
        diag_error(c->diag, NOWHERE, "internal error: after %s: %s", when, broken);
    return !broken;
}

/* A tuning file may serve several models; it should serve this one too. */
static void expect_tuned(Compilation *c, const KModule *m) {
    if (c->tuning_warned || !c->tuning.entries.len)
        return;
    c->tuning_warned = true;
    for (int i = 0; i < m->kernels.len; i++)
        if (schedule_find(&c->tuning, schedule_hash(m->kernels.data[i])))
            return;
    diag_warning(c->diag, NOWHERE, "no kernel of this model is in the tuning file");
}

/* The form for compilers without vectors. */
static bool is_plain(const Compilation *c, const Target *target) { return target->vector_bits < c->target->vector_bits; }

KModule *pipeline_unscheduled(Compilation *c, const Target *target) {
    bool fixed = c->requant == REQUANT_BY_TARGET ? !target->float32 : c->requant == REQUANT_FIXED;
    LowerOptions o = {.dot = target->dot & ~(unsigned)DOT_ROWS, .roomy = c->target->vector_bits && target->l1, .fixed_point = fixed,
                      .words = c->target->words && c->target->dot & (DOT_U8S8 | DOT_S8S8), .plain = is_plain(c, target), .threads = c->threads > 1,
                      .slow_halves = !target_converts_halves(c->target, c->target->triple), .lanes = target_lanes(c->target)};
    o.wide_halves = o.slow_halves && !c->graph->half_weights;
    KModule *m = lower_graph(c->graph, c->arena, &o);
    schedule_module_dots(m, target, is_plain(c, target));
    return m;
}

KModule *pipeline_lower(Compilation *c, const Target *target) {
    KModule *m = pipeline_unscheduled(c, target);
    if (!sound(c, m, "lowering"))
        return NULL;
    expect_tuned(c, m);
    ScheduleTable all = {0};
    for (int i = 0; i < c->shipped.entries.len; i++)
        schedule_put(c->arena, &all, c->shipped.entries.data[i]);
    for (int i = 0; i < c->tuning.entries.len; i++)
        schedule_put(c->arena, &all, c->tuning.entries.data[i]);
    schedule_module_as(m, target, &all);
    schedule_module_panels(m, target);
    schedule_module_parts(m, c->threads);
    return sound(c, m, "scheduling") ? m : NULL;
}

KModule *pipeline_lower_beside(Compilation *c, const Target *target, const KModule *like) {
    KModule *m = pipeline_unscheduled(c, target);
    schedule_module_panels_as(m, like);
    schedule_module(m, target);
    schedule_module_parts(m, c->threads);
    return sound(c, m, "scheduling") ? m : NULL;
}

void pipeline_close(Compilation *c) {
    if (c->model)
        frontend_close(c->model);
    arena_free(c->arena);
    *c = (Compilation){0};
}
