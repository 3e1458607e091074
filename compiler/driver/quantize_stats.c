/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of the inputs of products: of their channels by themselves, and of pairs of them. The model computes the Gram
 * matrices itself: x' x is a product like others. */
#include "driver/quantize_stats.h"

#include <math.h>

#include "driver/tune.h"
#include "passes/edit.h"
#include "passes/quantize_edit.h"

typedef VEC(const char *) Names;

typedef struct Inputs {
    Names value, gram; /* gram: NULL where there is none */
    VEC(int) axis;
} Inputs;

static Value *add_node(Graph *g, const char *op, int nin, Value *const *in, int rank, const int64_t *dim) {
    Node *n = graph_node(g, NULL, "", op, graph_fresh_name(g, "gram"), nin, in, 1, NULL);
    value_set_type(n->out[0], DT_F32, rank, dim);
    return n->out[0];
}

static const char *add_gram(Graph *g, Value *x) {
    int64_t k = x->dim[x->rank - 1], rows = value_count(x) / k, flat[] = {rows, k}, turned[] = {k, rows}, square[] = {k, k};
    static const int64_t swap[] = {1, 0};
    Value *shape = graph_const_ints(g, graph_fresh_name(g, "shape"), 1, 2, flat);
    Value *r = add_node(g, "Reshape", 2, (Value *[]){x, shape}, 2, flat);
    Value *t = add_node(g, "Transpose", 1, &r, 2, turned);
    node_add_attr(t->def, (Attr){.name = "perm", .kind = ATTR_INTS, .n = 2, .ints = swap});
    return add_node(g, "MatMul", 2, (Value *[]){t, r}, 2, square)->name;
}

static bool has(const Names *names, const char *name) {
    for (int i = 0; i < names->len; i++)
        if (names->data[i] == name)
            return true;
    return false;
}

static void find_inputs(Compilation *c, bool gram, Inputs *in) {
    Graph *g = c->graph;
    const Node *last = g->last;
    for (const Node *n = g->first, *next; n; n = next) {
        next = n == last ? NULL : n->next;
        if (quantize_weight_axis(n) < 0 || has(&in->value, n->in[0]->name))
            continue;
        Value *x = n->in[0];
        bool conv = edit_is(n, "Conv");
        VEC_PUSH(c->arena, &in->value, x->name);
        VEC_PUSH(c->arena, &in->axis, conv ? 1 : x->rank - 1);
        VEC_PUSH(c->arena, &in->gram, gram && !conv ? add_gram(g, x) : NULL);
    }
}

static void add_channels(QuantizeStats *s, const Tensor *t, int axis) {
    const float *x = t->bytes;
    int64_t inner = 1, channels = t->dim[axis];
    for (int d = axis + 1; d < t->rank; d++)
        inner *= t->dim[d];
    for (int64_t i = 0; i < t->count; i++) {
        int64_t c = i / inner % channels;
        s->sum[c] += (double)x[i];
        s->most[c] = fmax(s->most[c], fabs((double)x[i]));
    }
    s->count += (double)t->count / (double)channels;
}

static QuantizeStats *stats_new(Arena *a, int64_t channels, bool gram) {
    QuantizeStats *s = ARENA_NEW(a, QuantizeStats);
    s->arena = a;
    s->channels = channels;
    s->sum = ARENA_ARRAY(a, double, channels);
    s->most = ARENA_ARRAY(a, double, channels);
    if (gram)
        s->gram = ARENA_ARRAY(a, float, channels * channels);
    return s;
}

static bool add_run(Arena *a, const Watched *w, const Inputs *in, const Tensor *sample, StrMap *out) {
    Arena *run = arena_new();
    int n;
    const Tensor *result = execute_jit(run, w->c.diag, w->module, w->jit, sample, &n);
    for (int i = 0; result && i < in->value.len; i++) {
        const Tensor *t = &result[w->at[i]], *g = in->gram.data[i] ? &result[w->at[in->value.len + i]] : NULL;
        const char *name = in->value.data[i];
        QuantizeStats *s = strmap_get(out, name);
        if (!s)
            strmap_put(a, out, arena_strdup(a, name), s = stats_new(a, t->dim[in->axis.data[i]], g != NULL));
        add_channels(s, t, in->axis.data[i]);
        for (int64_t k = 0; g && k < g->count; k++)
            s->gram[k] += ((const float *)g->bytes)[k];
    }
    arena_free(run);
    return result != NULL;
}

bool stats_collect(Arena *a, Diag *d, const Options *o, Compilation *c, const Diag *progress, bool gram, Samples *s, StrMap *out) {
    Watched w = {.c = *c, .progress = progress};
    Inputs in = {0};
    *c = (Compilation){0};
    find_inputs(&w.c, gram, &in);
    Names names = in.value;
    for (int i = 0; i < in.gram.len; i++)
        VEC_PUSH(w.c.arena, &names, in.gram.data[i] ? in.gram.data[i] : in.value.data[i]);
    bool ok = watch(&w, o, names.len, names.data) && (s->list.len || samples_read(a, d, w.module, o->calibrate, o->samples, s));
    for (int k = 0; ok && k < s->list.len; k++) {
        tune_progress(progress, "statistics: sample %d of %d", k + 1, s->list.len);
        ok = add_run(a, &w, &in, s->list.data[k], out);
    }
    tune_progress(progress, "%s", "");
    watch_end(&w);
    return ok;
}
