/* SPDX-License-Identifier: Apache-2.0 */
/* The order of the passes. */
#include <string.h>

#include "passes/passes.h"

typedef struct Step {
    const char *name;
    bool (*can_fail)(Graph *g);
    bool (*can_fail_targeted)(Graph *g, const Target *t);
    void (*always)(Graph *g);
    void (*targeted)(Graph *g, const Target *t);
    void (*threaded)(Graph *g, const Target *t, int threads);
} Step;

static const Step steps[] = {
    {.name = "infer", .can_fail = pass_infer},
    {.name = "dead", .always = pass_dead},
    {.name = "canonicalize", .always = pass_canonicalize},
    {.name = "cse", .always = pass_cse}, /* one QuantizeLinear where exporters have one for each user */
    {.name = "sink", .always = pass_sink},
    {.name = "raise", .always = pass_raise},
    {.name = "qdq", .always = pass_qdq}, /* before the weights would be folded to floats */
    {.name = "weights", .can_fail_targeted = pass_weights}, /* the others are */
    {.name = "fold", .can_fail = pass_fold},
    {.name = "canonicalize", .always = pass_canonicalize},
    {.name = "cse", .always = pass_cse},
    {.name = "prune", .targeted = pass_prune},
    {.name = "fold", .can_fail = pass_fold}, /* the factors of a BatchNormalization, for fuse_conv */
    {.name = "fuse_conv", .always = pass_fuse_conv},
    {.name = "fold", .can_fail = pass_fold},
    {.name = "swish", .always = pass_swish},
    {.name = "gelu", .always = pass_gelu},
    {.name = "means", .targeted = pass_means},
    {.name = "winograd", .threaded = pass_winograd},
    {.name = "dead", .always = pass_dead},
    {.name = "weight_zeros", .targeted = pass_weight_zeros},
    {.name = "words", .targeted = pass_words},
    {.name = "fixed_weights", .targeted = pass_fixed_weights},
    {.name = "weight_words", .targeted = pass_weight_words},
    {.name = "window_rows", .targeted = pass_window_rows},
    {.name = "attention", .threaded = pass_attention},
    {.name = "signs", .targeted = pass_signs},
    {.name = "group", .always = pass_group},
    {.name = "layout", .targeted = pass_layout},
    {.name = "storage", .always = pass_storage},
    {.name = "strips", .threaded = pass_strips},
    {.name = "plan", .always = pass_plan},
};

bool passes_has(const char *name) {
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (!strcmp(steps[i].name, name))
            return true;
    return false;
}

static void dump(const Graph *g, const char *name, FILE *f) {
    StrBuf text = {0};
    graph_print(&text, g);
    fprintf(f, "// after %s\n%s", name, sb_text(&text));
    sb_free(&text);
}

bool passes_run(Graph *g, const PassOptions *o) {
    g->half_weights = o->half_weights;
    g->fast = o->fast;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const Step *s = &steps[i];
        if ((o->keep_dead && s->targeted == pass_prune) || (!o->fast && s->threaded == pass_winograd))
            continue;
        if ((s->can_fail && !s->can_fail(g)) || (s->can_fail_targeted && !s->can_fail_targeted(g, o->target)))
            return false;
        if (s->always)
            s->always(g);
        if (s->targeted)
            s->targeted(g, o->target);
        if (s->threaded)
            s->threaded(g, o->target, o->threads > 1 ? o->threads : 1);
        if (o->dump_after && o->dump && (!strcmp(o->dump_after, "all") || !strcmp(o->dump_after, s->name)))
            dump(g, s->name, o->dump);
        const char *broken = o->verify ? graph_verify(g, true) : NULL;
        if (broken) {
            diag_error(g->diag, NOWHERE, "internal error: after the pass %s: %s", s->name, broken);
            return false;
        }
    }
    return true;
}
