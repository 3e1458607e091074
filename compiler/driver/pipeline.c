/* SPDX-License-Identifier: Apache-2.0 */
/* The way a model takes, as far as every verb goes it. */
#include "driver/pipeline.h"

#include "kernel/schedule.h"
#include "ops/lower.h"
#include "passes/passes.h"

bool pipeline_open(Compilation *c, Diag *d, const Options *o, const char *model_path, const Target *target) {
    *c = (Compilation){.arena = arena_new(), .diag = d, .target = target};
    ImportOptions import = {o->n_dims, o->dims};
    c->model = frontend_import(c->arena, d, model_path, &import);
    if (!c->model)
        return false;
    c->graph = c->model->graph;
    PassOptions passes = {target, o->dump_after, o->dump_after ? stdout : NULL, o->verify_ir};
    return passes_run(c->graph, &passes);
}

KModule *pipeline_lower(Compilation *c, const Target *target) {
    KModule *m = lower_graph(c->graph, c->arena);
    schedule_module(m, target);
    return m;
}

void pipeline_close(Compilation *c) {
    if (c->model)
        frontend_close(c->model);
    arena_free(c->arena);
    *c = (Compilation){0};
}
