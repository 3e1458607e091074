/* SPDX-License-Identifier: Apache-2.0 */
/* The way a model takes, as far as every verb goes it. */
#include "driver/pipeline.h"

#include "kernel/schedule.h"
#include "ops/lower.h"
#include "passes/passes.h"

bool pipeline_import(Compilation *c, Diag *d, const Options *o, const char *model_path, const Target *target) {
    *c = (Compilation){.arena = arena_new(), .diag = d, .target = target};
    ImportOptions import = {o->n_dims, o->dims};
    c->model = frontend_import(c->arena, d, model_path, &import);
    c->graph = c->model ? c->model->graph : NULL;
    return c->model != NULL;
}

bool pipeline_optimize(Compilation *c, const Options *o) {
    c->verify_ir = o->verify_ir;
    c->threads = o->threads;
    PassOptions passes = {c->target, o->dump_after, o->dump_after ? stdout : NULL, o->verify_ir, o->threads};
    return passes_run(c->graph, &passes);
}

bool pipeline_open(Compilation *c, Diag *d, const Options *o, const char *model_path, const Target *target) {
    return pipeline_import(c, d, o, model_path, target) && pipeline_optimize(c, o);
}

static bool sound(const Compilation *c, const KModule *m, const char *when) {
    const char *broken = c->verify_ir ? kernel_module_verify(m) : NULL;
    if (broken)
        diag_error(c->diag, NOWHERE, "internal error: after %s: %s", when, broken);
    return !broken;
}

KModule *pipeline_lower(Compilation *c, const Target *target) {
    KModule *m = lower_graph(c->graph, c->arena);
    if (!sound(c, m, "lowering"))
        return NULL;
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
