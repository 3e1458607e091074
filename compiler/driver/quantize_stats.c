/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of the inputs of products: of their channels by themselves, and of pairs of what one sum multiplies. The model
 * computes the Gram matrices itself: x' x is a product like others, and a convolution by unit filters gives all that
 * filters see. */
#include "driver/quantize_stats.h"

#include <math.h>

#include "driver/tune.h"
#include "passes/edit.h"
#include "passes/quantize_edit.h"

typedef VEC(const char *) Names;

enum { DEEPEST = 2048 }; /* a Gram matrix takes the square of it in bytes, and the cube in time */
static const double most_bytes = 256e6;
/* Of samples for Gram matrices, which take as long as several other runs: the least, and how many elements of products'
 * inputs are enough in any case. */
static const double least_samples = 64, most_elements = 1e8;

typedef struct Square {
    const Value *x;
    const char *gram, *product; /* names of what is computed, and of the product's output */
    int64_t groups, depth;
    bool rows; /* of x, not what filters see of it */
} Square;

typedef struct Inputs {
    Names value;
    VEC(int) axis;
    VEC(Square) squares;
} Inputs;

static Value *add_node(Graph *g, const char *op, int nin, Value *const *in, int rank, const int64_t *dim) {
    Node *n = graph_node(g, NULL, "", op, graph_fresh_name(g, "gram"), nin, in, 1, NULL);
    value_set_type(n->out[0], DT_F32, rank, dim);
    return n->out[0];
}

static Value *reshaped(Value *x, int rank, const int64_t *dim) {
    Graph *g = x->graph;
    Value *shape = graph_const_ints(g, graph_fresh_name(g, "shape"), 1, rank, dim);
    return add_node(g, "Reshape", 2, (Value *[]){x, shape}, rank, dim);
}

static Value *transposed(Value *x, const int64_t *axes) {
    int64_t dim[GRAPH_MAX_RANK], *perm = arena_dup(x->graph->arena, axes, (size_t)x->rank * sizeof *perm);
    for (int i = 0; i < x->rank; i++)
        dim[i] = x->dim[axes[i]];
    Value *y = add_node(x->graph, "Transpose", 1, &x, x->rank, dim);
    node_add_attr(y->def, (Attr){.name = "perm", .kind = ATTR_INTS, .n = x->rank, .ints = perm});
    return y;
}

/* x: groups x depth x columns */
static const char *gram_of_columns(Value *x) {
    Value *t = transposed(x, (int64_t[]){0, 2, 1});
    return add_node(x->graph, "MatMul", 2, (Value *[]){x, t}, 3, (int64_t[]){x->dim[0], x->dim[1], x->dim[1]})->name;
}

static const char *gram_of_rows(Value *x, int64_t depth) {
    Value *rows = reshaped(x, 3, (int64_t[]){1, value_count(x) / depth, depth});
    return gram_of_columns(transposed(rows, (int64_t[]){0, 2, 1}));
}

static bool all_are(const Node *n, const char *attr, int64_t x) {
    const Attr *a = node_attr(n, attr);
    for (int i = 0; a && i < a->n; i++)
        if (a->ints[i] != x)
            return false;
    return true;
}

static bool sees_pixels(const Node *n) {
    const Value *w = n->in[1], *y = n->out[0];
    for (int d = 2; d < w->rank; d++)
        if (w->dim[d] != 1 || y->dim[d] != n->in[0]->dim[d])
            return false;
    return all_are(n, "strides", 1) && all_are(n, "pads", 0);
}

/* All that the filters of n see: depth channels for each group, each by a filter with a single 1. */
static Value *seen_by_filters(const Node *n, int64_t groups, int64_t depth) {
    Graph *g = n->graph;
    const Value *w = n->in[1];
    if (sees_pixels(n))
        return n->in[0];
    int64_t channels = groups * depth, dim[GRAPH_MAX_RANK];
    float *unit = ARENA_ARRAY(g->arena, float, channels * depth);
    for (int64_t c = 0; c < channels; c++)
        unit[c * depth + c % depth] = 1;
    for (int d = 0; d < w->rank; d++)
        dim[d] = d ? w->dim[d] : channels;
    Data data = {unit, (size_t)(channels * depth) * sizeof *unit};
    Value *in[] = {n->in[0], graph_const(g, graph_fresh_name(g, "unit"), DT_F32, w->rank, dim, data)};
    for (int d = 0; d < w->rank; d++)
        dim[d] = d == 1 ? channels : n->out[0]->dim[d];
    Value *y = add_node(g, "Conv", 2, in, w->rank, dim);
    for (int i = 0; i < n->nattrs; i++)
        node_add_attr(y->def, n->attr[i]);
    return y;
}

static const char *gram_of_filters(const Node *n, int64_t groups, int64_t depth) {
    Value *x = seen_by_filters(n, groups, depth);
    int64_t samples = x->dim[0], columns = value_count(x) / (samples * groups * depth);
    Value *each = transposed(reshaped(x, 4, (int64_t[]){samples, groups, depth, columns}), (int64_t[]){1, 2, 0, 3});
    return gram_of_columns(reshaped(each, 3, (int64_t[]){groups, depth, samples * columns}));
}

static void add_square(Compilation *c, const Node *n, Inputs *in) {
    bool conv = edit_is(n, "Conv");
    const Value *w = n->in[1];
    int axis = quantize_weight_axis(n);
    Square s = {n->in[0], NULL, n->out[0]->name, conv ? attr_int(n, "group", 1) : 1, value_count(w) / w->dim[axis], !conv};
    double columns = (double)value_count(n->out[0]) / (double)w->dim[axis];
    if (s.depth > DEEPEST || (double)(s.groups * s.depth) * (columns + (double)s.depth) * sizeof(float) > most_bytes)
        return;
    for (int i = 0; !conv && i < in->squares.len; i++) /* matrices of the same value share it */
        if (in->squares.data[i].x == s.x && in->squares.data[i].rows)
            s.gram = in->squares.data[i].gram;
    if (!s.gram)
        s.gram = conv ? gram_of_filters(n, s.groups, s.depth) : gram_of_rows(n->in[0], s.depth);
    VEC_PUSH(c->arena, &in->squares, s);
}

static bool has(const Names *names, const char *name) {
    for (int i = 0; i < names->len; i++)
        if (names->data[i] == name)
            return true;
    return false;
}

static void find_inputs(Compilation *c, StatsKind kind, Inputs *in) {
    Graph *g = c->graph;
    const Node *last = g->last;
    for (const Node *n = g->first, *next; n; n = next) {
        next = n == last ? NULL : n->next;
        if (quantize_weight_axis(n) < 0 || (kind == STATS_OF_MATRICES && edit_is(n, "Conv")))
            continue;
        if (kind == STATS_AND_GRAMS)
            add_square(c, n, in);
        if (has(&in->value, n->in[0]->name))
            continue;
        VEC_PUSH(c->arena, &in->value, n->in[0]->name);
        VEC_PUSH(c->arena, &in->axis, edit_is(n, "Conv") ? 1 : n->in[0]->rank - 1);
    }
}

/* n elements of a channel that lie side by side. */
static void add_elements(QuantizeStats *s, int64_t c, const float *x, int64_t n) {
    double sum = 0;
    float most = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i];
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    }
    s->sum[c] += sum;
    s->most[c] = (double)most > s->most[c] ? (double)most : s->most[c];
}

static void add_rows(QuantizeStats *s, const float *x, int64_t rows) {
    for (int64_t r = 0; r < rows; r++, x += s->channels) {
        for (int64_t c = 0; c < s->channels; c++) {
            double y = fabs((double)x[c]);
            s->sum[c] += (double)x[c];
            s->most[c] = y > s->most[c] ? y : s->most[c];
        }
    }
}

static void add_channels(QuantizeStats *s, const Tensor *t, int axis) {
    const float *x = t->bytes;
    int64_t inner = 1, channels = t->dim[axis];
    for (int d = axis + 1; d < t->rank; d++)
        inner *= t->dim[d];
    int64_t outer = t->count / (inner * channels);
    if (inner == 1)
        add_rows(s, x, outer);
    for (int64_t i = 0; inner > 1 && i < outer * channels; i++)
        add_elements(s, i % channels, x + i * inner, inner);
    s->count += (double)(outer * inner);
}

static QuantizeStats *stats_new(Arena *a, int64_t channels) {
    QuantizeStats *s = ARENA_NEW(a, QuantizeStats);
    s->channels = channels;
    s->sum = ARENA_ARRAY(a, double, channels);
    s->most = ARENA_ARRAY(a, double, channels);
    return s;
}

static QuantizeGram *gram_new(Arena *a, const Square *s) {
    QuantizeGram *g = ARENA_NEW(a, QuantizeGram);
    *g = (QuantizeGram){s->groups, s->depth, ARENA_ARRAY(a, float, s->groups * s->depth * s->depth), a, NULL, NULL};
    return g;
}

/* What add_run adds to: by the place in Inputs, and by name for the caller. */
typedef struct Sums {
    QuantizeStats **stats;
    QuantizeGram **gram; /* the same where matrices share it */
} Sums;

static Sums sums_new(Arena *a, const Watched *w, const Inputs *in, StrMap *stats, StrMap *grams) {
    int n = in->value.len, squares = in->squares.len;
    Sums s = {ARENA_ARRAY(a, QuantizeStats *, n + 1), ARENA_ARRAY(a, QuantizeGram *, squares + 1)};
    for (int i = 0; i < n; i++) {
        const Value *x = w->c.graph->outputs.data[w->at[i]];
        s.stats[i] = stats_new(a, x->dim[in->axis.data[i]]);
        strmap_put(a, stats, arena_strdup(a, in->value.data[i]), s.stats[i]);
    }
    for (int i = 0; i < squares; i++) {
        for (int k = 0; k < i && !s.gram[i]; k++)
            s.gram[i] = w->at[n + k] == w->at[n + i] ? s.gram[k] : NULL;
        if (!s.gram[i])
            s.gram[i] = gram_new(a, &in->squares.data[i]);
        strmap_put(a, grams, arena_strdup(a, in->squares.data[i].product), s.gram[i]);
    }
    return s;
}

static bool add_run(Watched *w, const Inputs *in, const Tensor *sample, const Sums *s) {
    int values = in->value.len;
    const Tensor *result = watch_run(w, sample);
    for (int i = 0; result && i < values; i++)
        add_channels(s->stats[i], &result[w->at[i]], in->axis.data[i]);
    for (int i = 0; result && i < in->squares.len; i++) {
        const Tensor *t = &result[w->at[values + i]];
        bool again = false;
        for (int k = 0; k < i && !again; k++)
            again = s->gram[k] == s->gram[i];
        for (int64_t k = 0; !again && k < t->count; k++)
            s->gram[i]->sum[k] += ((const float *)t->bytes)[k];
    }
    return result != NULL;
}

static int samples_to_take(const Watched *w, const Inputs *in, int all) {
    double elements = 1;
    for (int i = 0; in->squares.len && i < in->value.len; i++)
        elements += (double)value_count(w->c.graph->outputs.data[w->at[i]]);
    return (int)fmin((double)all, fmax(least_samples, most_elements / elements));
}

bool stats_collect(Arena *a, Diag *d, const Options *o, StatsKind kind, Compilation *c, const Diag *progress, Samples *s, StrMap *out,
                   StrMap *grams) {
    Watched w = {.c = *c, .progress = progress};
    Inputs in = {0};
    Names names = {0};
    *c = (Compilation){0};
    find_inputs(&w.c, kind, &in);
    for (int i = 0; i < in.value.len; i++)
        VEC_PUSH(w.c.arena, &names, in.value.data[i]);
    for (int i = 0; i < in.squares.len; i++)
        VEC_PUSH(w.c.arena, &names, in.squares.data[i].gram);
    bool ok = !names.len || (watch(&w, o, names.len, names.data) && (s->list.len || samples_read(a, d, w.module, o->calibrate, o->samples, s)));
    Sums sums = {0};
    if (ok && names.len)
        sums = sums_new(a, &w, &in, out, grams);
    int all = s->list.len, take = samples_to_take(&w, &in, all);
    for (int k = 0; ok && names.len && k < take; k++) {
        tune_progress(progress, "statistics: sample %d of %d", k + 1, take);
        ok = add_run(&w, &in, s->list.data[(int64_t)k * all / take], &sums);
    }
    tune_progress(progress, "%s", "");
    watch_end(&w);
    return ok;
}
