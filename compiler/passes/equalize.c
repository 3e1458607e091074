/* SPDX-License-Identifier: Apache-2.0 */
/* Float graphs that lose less when they are quantised: factors for channels move between layers. What makes a channel is
 * divided, what takes it multiplied, by the same number; the function stays. (Nagel et al. 2019; Xiao et al. 2022.) */
#include <math.h>
#include <stdlib.h>

#include "passes/edit.h"
#include "passes/quantize.h"
#include "passes/quantize_edit.h"

static const double least_range = 1e-3; /* of the largest channel's */
static const double few = 32;           /* elements of a channel, whose range says little */

/* A constant input of a node, in floats that may be changed. */
typedef struct Numbers {
    float *x;
    int64_t count;
} Numbers;

static Numbers own(Node *n, int i) {
    Graph *g = n->graph;
    const Value *v = n->in[i];
    Numbers out = {ARENA_ARRAY(g->arena, float, value_count(v)), value_count(v)};
    for (int64_t k = 0; k < out.count; k++)
        out.x[k] = (float)const_float(v, k);
    node_set_input(n, i, graph_const(g, graph_fresh_name(g, v->name), DT_F32, v->rank, v->dim, (Data){out.x, (size_t)out.count * sizeof *out.x}));
    return out;
}

/* The channel of a product's input that element i of its weights multiplies. */
static int64_t input_channel(const Node *n, int64_t i) {
    const Value *w = n->in[1];
    if (!edit_is(n, "Conv"))
        return quantize_channel(w, 1 - quantize_weight_axis(n), i);
    int64_t outputs = w->dim[0] / attr_int(n, "group", 1);
    return quantize_channel(w, 0, i) / outputs * w->dim[1] + quantize_channel(w, 1, i);
}

/* How much the weights of each input channel matter: against the largest of the same output, whose scale they share. */
static void weights_of_channels(const Node *n, double *most) {
    const Value *w = n->in[1];
    int axis = quantize_weight_axis(n);
    double *row = ARENA_ARRAY(n->graph->arena, double, w->dim[axis]);
    for (int64_t i = 0; i < value_count(w); i++) {
        double *r = &row[quantize_channel(w, axis, i)];
        *r = fmax(*r, fabs(const_float(w, i)));
    }
    for (int64_t i = 0; i < value_count(w); i++) {
        double r = row[quantize_channel(w, axis, i)], *m = &most[input_channel(n, i)];
        if (r > 0)
            *m = fmax(*m, fabs(const_float(w, i)) / r);
    }
}

/* What channels are divided by, so that this share of their range moves into the weights behind them. Channels that were
 * almost nothing on the samples may be more elsewhere. */
static float *factors(Arena *a, const QuantizeStats *s, const double *weights, double share) {
    float *f = ARENA_ARRAY(a, float, s->channels);
    double most = 0;
    for (int64_t c = 0; c < s->channels; c++)
        most = fmax(most, s->most[c]);
    for (int64_t c = 0; c < s->channels; c++) {
        double range = fmax(s->most[c], least_range * most);
        f[c] = range > 0 && weights[c] > 0 ? (float)(pow(range, share) / pow(weights[c], 1 - share)) : 1;
    }
    return f;
}

/* --- between two layers --- */

typedef struct Pair {
    Node *from, *to;
    Node *adds; /* a MatMul's bias */
    int64_t channels;
    Numbers w, bias, next; /* bias: count 0 where there is none */
} Pair;

/* f(s x) = s f(x) for s > 0, channel by channel. */
static bool is_homogeneous(const Node *n) {
    static const char *const names[] = {"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity", NULL};
    return !(n->nout > 1 && n->out[1]) && edit_is_any(n, names);
}

static bool find_pair(Node *n, Pair *p) {
    if (quantize_weight_axis(n) < 0)
        return false;
    *p = (Pair){.from = n, .channels = n->in[1]->dim[quantize_weight_axis(n)]};
    Value *v = n->out[0];
    Node *user = value_only_user(v);
    if (user && quantize_adds_bias(user, v)) {
        p->adds = user;
        v = user->out[0];
        user = value_only_user(v);
    } else if (n->nin > 2 && n->in[2] && !quantize_is_weight(n->in[2])) {
        return false;
    }
    while (user && is_homogeneous(user)) {
        v = user->out[0];
        user = value_only_user(v);
    }
    p->to = user;
    return user && user->in[0] == v && quantize_weight_axis(user) >= 0 && user->in[1] != n->in[1] && edit_is(user, "Conv") == edit_is(n, "Conv") &&
           v->dim[edit_is(n, "Conv") ? 1 : v->rank - 1] == p->channels;
}

static void make_own(Pair *pairs, int n) {
    for (int i = 0; i < n; i++) {
        Pair *p = &pairs[i];
        int at = p->adds ? p->adds->in[0] == p->from->out[0] : 2;
        Node *biased = p->adds ? p->adds : p->from;
        for (int k = 0; k < i; k++) /* in a chain a layer is of two pairs */
            if (pairs[k].to == p->from)
                p->w = pairs[k].next;
        if (!p->w.count)
            p->w = own(p->from, 1);
        if (at < biased->nin && biased->in[at])
            p->bias = own(biased, at);
        p->next = own(p->to, 1);
    }
}

static void divide(Pair *p, const float *f) {
    int axis = quantize_weight_axis(p->from);
    for (int64_t i = 0; i < p->w.count; i++)
        p->w.x[i] /= f[quantize_channel(p->from->in[1], axis, i)];
    for (int64_t i = 0; i < p->next.count; i++)
        p->next.x[i] *= f[input_channel(p->to, i)];
    for (int64_t c = 0; c < p->bias.count; c++)
        p->bias.x[c] /= f[c];
}

/* One number for all channels would have to become many. */
static bool bias_fits(const Pair *p) {
    const Node *biased = p->adds ? p->adds : p->from;
    int at = p->adds ? p->adds->in[0] == p->from->out[0] : 2;
    return at >= biased->nin || !biased->in[at] || value_count(biased->in[at]) == p->channels;
}

int quantize_equalize(Graph *g, const StrMap *stats, double share) {
    VEC(Pair) pairs = {0};
    Pair p;
    for (Node *n = g->first; n; n = n->next)
        if (find_pair(n, &p) && bias_fits(&p) && strmap_get(stats, p.to->in[0]->name))
            VEC_PUSH(g->arena, &pairs, p);
    make_own(pairs.data, pairs.len);
    for (int i = 0; i < pairs.len; i++) {
        const Pair *q = &pairs.data[i];
        double *weights = ARENA_ARRAY(g->arena, double, q->channels);
        bool alone = edit_is(q->to, "Conv") && q->to->in[1]->dim[1] == 1; /* no other channel shares the filter's scale */
        weights_of_channels(q->to, weights);
        divide(&pairs.data[i], factors(g->arena, strmap_get(stats, q->to->in[0]->name), weights, alone ? 1 : share));
    }
    return pairs.len;
}

/* --- between activations and weights --- */

static bool is_matrix_product(const Node *n) { return quantize_weight_axis(n) >= 0 && !edit_is(n, "Conv"); }

/* NULL where nothing is to be done. */
static float *factors_of_users(const Value *x, const QuantizeStats *s, double share) {
    Arena *a = x->graph->arena;
    double *weights = ARENA_ARRAY(a, double, s->channels);
    int products = 0;
    for (int u = 0; u < x->uses.len; u++) {
        const Node *n = x->uses.data[u].node;
        if (!is_matrix_product(n) || x->uses.data[u].index)
            continue;
        products++;
        weights_of_channels(n, weights);
    }
    return products ? factors(a, s, weights, share) : NULL;
}

static bool only_products(const Value *x) {
    for (int u = 0; u < x->uses.len; u++)
        if (!is_matrix_product(x->uses.data[u].node) || x->uses.data[u].index)
            return false;
    return !x->is_output;
}

/* A normalisation multiplies its channels anyway. */
static bool divide_normalization(Value *x, const float *f, int64_t channels) {
    Node *n = x->def;
    if (!n || !edit_is(n, "LayerNormalization") || !only_products(x) || x->def_index)
        return false;
    for (int i = 1; i < n->nin; i++)
        if (n->in[i] && (!quantize_is_weight(n->in[i]) || value_count(n->in[i]) != channels))
            return false;
    for (int i = 1; i < n->nin && n->in[i]; i++) {
        Numbers own_numbers = own(n, i);
        for (int64_t c = 0; c < channels; c++)
            own_numbers.x[c] /= f[c];
    }
    return true;
}

static Value *divided(Value *x, const float *f, int64_t channels) {
    Graph *g = x->graph;
    float *back = ARENA_ARRAY(g->arena, float, channels);
    for (int64_t c = 0; c < channels; c++)
        back[c] = 1 / f[c];
    Value *by = quantize_const(g, x->name, "factors", DT_F32, 1, &channels, back, (size_t)channels * sizeof *back);
    return quantize_node(x->def ? x->def->next : g->first, g, "", "Mul", x->name, "smooth", 2, (Value *[]){x, by}, DT_F32);
}

static int by_size(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

/* The largest range of a channel against that of most. */
static double unevenness(Arena *a, const QuantizeStats *s) {
    double *range = arena_dup(a, s->most, (size_t)s->channels * sizeof *range);
    qsort(range, (size_t)s->channels, sizeof *range, by_size);
    double usual = range[s->channels / 2];
    return usual > 0 ? range[s->channels - 1] / usual : 1;
}

static bool smooth(Value *x, const QuantizeStats *s, double share, double uneven) {
    double range = unevenness(x->graph->arena, s);
    if (!isfinite(range) || range < uneven || (uneven > 0 && s->count < few))
        return false;
    float *f = factors_of_users(x, s, share);
    if (!f)
        return false;
    Value *y = divide_normalization(x, f, s->channels) ? x : divided(x, f, s->channels);
    Use *uses = arena_dup(x->graph->arena, x->uses.data, (size_t)x->uses.len * sizeof *uses);
    for (int u = 0, n = x->uses.len; u < n; u++) {
        Node *m = uses[u].node;
        if (!is_matrix_product(m) || uses[u].index)
            continue;
        Numbers w = own(m, 1);
        for (int64_t i = 0; i < w.count; i++)
            w.x[i] *= f[input_channel(m, i)];
        if (y != x)
            node_set_input(m, 0, y);
    }
    return true;
}

int quantize_smooth(Graph *g, const StrMap *stats, double share, double uneven) {
    VEC(Value *) values = {0};
    for (const Node *n = g->first; n; n = n->next) {
        bool seen = !is_matrix_product(n);
        for (int i = 0; i < values.len && !seen; i++)
            seen = values.data[i] == n->in[0];
        if (!seen)
            VEC_PUSH(g->arena, &values, n->in[0]);
    }
    int count = 0;
    for (int i = 0; i < values.len; i++) {
        const QuantizeStats *s = strmap_get(stats, values.data[i]->name);
        count += s && smooth(values.data[i], s, share, uneven);
    }
    return count;
}
