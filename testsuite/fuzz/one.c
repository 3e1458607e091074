/* SPDX-License-Identifier: Apache-2.0 */
/* One hostile model through the compiler. */
#include "one.h"

#include <stdio.h>
#include <stdlib.h>

#include "backend/emit.h"
#include "driver/target.h"
#include "frontend/frontend.h"
#include "kernel/schedule.h"
#include "ops/lower.h"
#include "passes/passes.h"

static bool broken(const char *what, const char *why) {
    printf("%s: %s\n", what, why);
    return false;
}

/* What is written is looked at by other tests. */
static FILE *nowhere(void) {
    static FILE *f;
    if (!f)
        f = fopen("/dev/null", "wb");
    if (!f)
        abort();
    return f;
}

static bool sound_graph(const Graph *g, bool typed) {
    const char *error = graph_verify(g, typed);
    if (error)
        return broken("the graph", error);
    StrBuf text = {0};
    graph_print(&text, g);
    sb_free(&text);
    return true;
}

static bool sound_module(const KModule *m) {
    const char *error = kernel_module_verify(m);
    return !error || broken("the kernels", error);
}

static bool emits(Diag *d, const Graph *g, const Target *t, Arena *a) {
    EmitOptions o = {.prefix = "net", .header_name = "net.h", .weights_name = "net.weights.bin",
                     .generator = "fuzz", .options = "", .target = t, .threads = 3};
    KModule *plain = lower_graph(g, a, &(LowerOptions){0}), *vector = lower_graph(g, a, &(LowerOptions){0});
    if (!sound_module(plain))
        return false;
    schedule_module(vector, t);
    if (!sound_module(vector))
        return false;
    for (int i = 0; i < vector->kernels.len; i++)
        schedule_parts(vector->kernels.data[i], o.threads);
    if (!sound_module(vector))
        return false;
    emit_c(plain, vector, &o, nowhere(), NULL);
    emit_header(plain, &o, nowhere());
    return emit_llvm(d, vector, &o, OBJECT_LL, nowhere()) || broken("emission", "failed");
}

static bool compiles(Arena *a, Diag *d, Graph *g) {
    const Target *t = target_load(a, d, "x86-64-v3");
    PassOptions o = {.target = t, .verify = true, .fast = true};
    if (!passes_run(g, &o)) {
        if (d->errors == 0)
            return broken("a pass", "failed without a diagnostic");
        return true;
    }
    if (d->errors)
        return broken("the passes", "reported an error and went on");
    return sound_graph(g, true) && emits(d, g, t, a) && (d->errors == 0 || broken("emission", "reported an error"));
}

bool fuzz_one(const void *bytes, size_t size) {
    Arena *a = arena_new();
    Diag d = {.file = "fuzz.onnx"};
    Model *m = frontend_import_bytes(a, &d, "fuzz.onnx", bytes, size, NULL);
    bool kept = d.errors == !m || broken("the frontend", m ? "reported an error and went on" : "has not one diagnostic");
    if (kept && m)
        kept = sound_graph(m->graph, false) && compiles(a, &d, m->graph);
    if (m)
        frontend_close(m);
    arena_free(a);
    return kept;
}
