/* SPDX-License-Identifier: Apache-2.0 */
/* Channels of quantised networks that nobody needs go, with the weights that compute them and those that read them. A
 * channel may go where each product that reads it has only zeros for it, or where its elements are all one number, known
 * from the bounds of what it is computed from, which the products then have in their bias. What works channel by channel
 * passes a channel on; a sum needs it in both operands. Nothing is rounded otherwise than before: the outputs keep their
 * bits. */
#include <math.h>
#include <string.h>

#include "ops/op.h"
#include "ops/quant.h"
#include "ops/window.h"
#include "passes/edit.h"
#include "passes/passes.h"
#include "passes/quantised.h"

enum { MOST_CHANNELS = 1 << 16 };

typedef enum Kind {
    OTHER,     /* needs and makes all channels */
    DENSE,     /* QLinearConv, QGemm: every input channel for every output channel */
    DEPTHWISE, /* QLinearConv */
    UNARY,     /* each channel by itself */
    SUM,       /* QLinearAdd */
} Kind;

typedef struct Channels {
    int64_t n, kept;
    int *lo, *hi; /* bounds of the elements */
    bool *gone;
    bool *stays; /* told so by keep_some */
} Channels;

typedef struct Pruning {
    Graph *g;
    Kind *kind;      /* by id of the output */
    Channels **of;   /* by id; NULL where channels are not followed */
    bool **unread;   /* by id of a DENSE output: input channels with zeros only */
    Value **by;      /* by id: the value with fewer channels */
    int ids;         /* later values are new ones */
    int64_t together; /* channels are kept in groups of so many */
} Pruning;

/* NULL where channels are not followed. */
static Channels *channels_of(const Pruning *p, const Value *v) { return v && v->id < p->ids ? p->of[v->id] : NULL; }

static Kind kind_at(const Pruning *p, const Value *y) { return y && y->id < p->ids ? p->kind[y->id] : OTHER; }

/* --- products --- */

static bool is_gemm(const Node *n) { return node_is(n, "com.microsoft", "QGemm"); }

static int bias_input(const Node *n) { return is_gemm(n) ? 6 : 8; }
static int scale_output(const Node *n) { return is_gemm(n) ? 7 : 6; }

typedef struct Weights {
    const uint8_t *bytes;
    const Value *zero; /* NULL: 0 */
    bool is_signed;
    int out_axis, in_axis;
    int64_t outs, ins, taps, out_stride, in_stride;
} Weights;

static Weights weights_of(const Node *n) {
    const Value *w = n->in[3];
    bool columns = is_gemm(n) && !attr_int(n, "transB", 0);
    Weights r = {.bytes = w->data.bytes, .is_signed = w->dtype == DT_I8, .out_axis = columns, .in_axis = !columns, .taps = 1};
    r.zero = quant_is_zero(n, 5) ? NULL : n->in[5];
    r.outs = w->dim[r.out_axis];
    r.ins = w->dim[r.in_axis];
    for (int d = 2; d < w->rank; d++)
        r.taps *= w->dim[d];
    r.out_stride = columns ? 1 : r.ins * r.taps;
    r.in_stride = columns ? r.outs : r.taps;
    return r;
}

/* Without its zero point. */
static int64_t weight_at(const Weights *w, int64_t out, int64_t in, int64_t tap) {
    uint8_t x = w->bytes[out * w->out_stride + in * w->in_stride + tap];
    int64_t zero = w->zero ? const_int(w->zero, value_count(w->zero) > 1 ? out : 0) : 0;
    return (w->is_signed ? (int8_t)x : x) - zero;
}

static bool has_padding(const Node *n) {
    Window w;
    int64_t group;
    bool any = false;
    if (is_gemm(n) || n->in[0]->rank < 3 || !window_conv(n, n->in[3], &w, &group))
        return false;
    for (int d = 0; d < w.n; d++) /* the last window may end early, too */
        any |= w.before[d] > 0 || (w.out[d] - 1) * w.stride[d] + (w.kernel[d] - 1) * w.dilation[d] - w.before[d] >= w.in[d];
    return any;
}

static bool is_number(const Node *n, int i) { return quant_has(n, i) && value_is_number(n->in[i]); }

static bool is_scale(const Node *n, int i) { return is_number(n, i) && const_float(n->in[i], 0) > 0 && !isinf(const_float(n->in[i], 0)); }

static bool is_known(const Node *n, int i) { return !quant_has(n, i) || value_is_const(n->in[i]); }

static Kind kind_of_product(const Node *n) {
    int y = scale_output(n), bias = bias_input(n);
    const Value *w = n->in[3];
    if (!is_scale(n, 1) || !is_number(n, 2) || !value_is_const(w) || !dtype_is_byte(w->dtype) || !value_is_const(n->in[4]) ||
        !is_known(n, 5) || !is_scale(n, y) || !is_number(n, y + 1) || !is_known(n, bias) || n->in[4]->rank > 1)
        return OTHER;
    if (is_gemm(n)) {
        const Value *c = quant_has(n, bias) ? n->in[bias] : NULL;
        bool by_column = !c || value_count(c) == 1 || (c->rank == 1 && c->dim[0] == n->out[0]->dim[1]);
        return by_column && !attr_int(n, "transA", 0) && attr_float(n, "alpha", 1) == 1 ? DENSE : OTHER;
    }
    int64_t group = attr_int(n, "group", 1);
    if (group == 1)
        return DENSE;
    return group == n->in[0]->dim[1] && group == w->dim[0] ? DEPTHWISE : OTHER;
}

static bool is_average(const Node *n) {
    bool average = !strcmp(n->op_type, "QLinearAveragePool") || !strcmp(n->op_type, "QLinearGlobalAveragePool");
    return average && !attr_int(n, "channels_last", 0) && is_scale(n, 1) && is_number(n, 2) && is_scale(n, 3) && is_number(n, 4);
}

static bool is_lookup(const Node *n) {
    return node_is(n, "mlcc", "Lookup") && dtype_is_byte(n->in[0]->dtype) && value_is_const(n->in[1]);
}

static bool is_bound(const Node *n) {
    return (edit_is(n, "Max") || edit_is(n, "Min")) && n->nin == 2 && is_number(n, 1) &&
           value_same_shape(n->in[0], n->out[0]);
}

static bool keeps_channels(const Node *n) {
    const Value *x = n->in[0], *y = n->out[0];
    return (n->op->flags & OP_RESHAPE) && x->rank >= 2 && y->rank >= 2 && x->dim[0] == y->dim[0] && x->dim[1] == y->dim[1];
}

static bool is_sum(const Node *n) {
    return !strcmp(n->op_type, "QLinearAdd") && n->nin == 8 && value_same_shape(n->in[0], n->in[3]) && is_scale(n, 1) &&
           is_number(n, 2) && is_scale(n, 4) && is_number(n, 5) && is_scale(n, 6) && is_number(n, 7);
}

static Kind kind_of(const Node *n) {
    if (n->nout != 1 || !n->out[0] || n->out[0]->rank < 2 || !n->nin || !n->in[0] || n->in[0]->rank < 2)
        return OTHER;
    if (edit_is(n, "QLinearConv") || (is_gemm(n) && quant_has(n, 8)))
        return kind_of_product(n);
    if (is_average(n) || is_lookup(n) || is_bound(n) || keeps_channels(n) || (edit_is(n, "MaxPool") && n->nout == 1))
        return UNARY;
    return is_sum(n) ? SUM : OTHER;
}

/* --- bounds --- */

static void bounds_of(const Pruning *p, const Value *v, int64_t c, int *lo, int *hi) {
    const Channels *ch = channels_of(p, v);
    *lo = ch ? ch->lo[c] : (int)quant_least(v->dtype);
    *hi = ch ? ch->hi[c] : (int)quant_most(v->dtype);
}

/* As the generated code rounds. */
static int element_of(float x, const Node *n, int zero) {
    int64_t z = const_int(n->in[zero], 0);
    DType t = n->in[zero]->dtype;
    float least = (float)(quant_least(t) - z), most = (float)(quant_most(t) - z);
    x = x > least ? x : least;
    return (int)(nearbyintf(x < most ? x : most) + (float)z);
}

static bool fits_int32(int64_t x) { return x >= INT32_MIN && x <= INT32_MAX; }

static void product_bounds(const Pruning *p, const Node *n, const Weights *w, bool padding, int64_t o, int *lo, int *hi) {
    int y = scale_output(n), bias = bias_input(n);
    int64_t zero = const_int(n->in[2], 0);
    int64_t least = quant_has(n, bias) ? const_int(n->in[bias], value_count(n->in[bias]) > 1 ? o : 0) : 0, most = least;
    bool depthwise = kind_at(p, n->out[0]) == DEPTHWISE;
    for (int64_t c = 0; c < w->ins; c++) {
        int from, to;
        bounds_of(p, n->in[0], depthwise ? o : c, &from, &to);
        int64_t a = from - zero, b = to - zero;
        if (padding && a > 0)
            a = 0;
        if (padding && b < 0)
            b = 0;
        for (int64_t t = 0; t < w->taps; t++) {
            int64_t k = weight_at(w, o, c, t);
            least += k > 0 ? k * a : k * b;
            most += k > 0 ? k * b : k * a;
        }
    }
    float ratio = quant_ratio_of(n, 1, 4, y, o);
    if (!fits_int32(least) || !fits_int32(most) || !(ratio >= 0))
        return;
    *lo = element_of((float)least * ratio, n, y + 1);
    *hi = element_of((float)most * ratio, n, y + 1);
}

static int average_of(const Node *n, int x) {
    return element_of((float)(x - const_int(n->in[2], 0)) * quant_ratio_of(n, 1, -1, 3, 0), n, 4);
}

/* A target may round the product before it adds. */
static void sum_bounds(const Node *n, int x, int y, int *lo, int *hi) {
    float factor = quant_ratio_of(n, 4, -1, 6, 0), first = (float)(x - const_int(n->in[2], 0)) * quant_ratio_of(n, 1, -1, 6, 0);
    float number = (float)(y - const_int(n->in[5], 0)), product = number * factor;
    int fused = element_of(fmaf(number, factor, first), n, 7), apart = element_of(product + first, n, 7);
    *lo = fused < apart ? fused : apart;
    *hi = fused < apart ? apart : fused;
}

static void unary_bounds(const Node *n, int from, int to, int *lo, int *hi) {
    *lo = from;
    *hi = to;
    if (is_average(n)) {
        int zero = (int)const_int(n->in[2], 0);
        bool padded = attr_int(n, "count_include_pad", 0) != 0;
        *lo = average_of(n, padded && zero < from ? zero : from);
        *hi = average_of(n, padded && zero > to ? zero : to);
    } else if (is_lookup(n)) {
        *lo = *hi = (int)const_int(n->in[1], from & 255);
        for (int x = from; x <= to; x++) {
            int y = (int)const_int(n->in[1], x & 255);
            *lo = y < *lo ? y : *lo;
            *hi = y > *hi ? y : *hi;
        }
    } else if (is_bound(n)) {
        int bound = (int)const_int(n->in[1], 0);
        bool least = edit_is(n, "Max");
        *lo = least == (from < bound) ? bound : from;
        *hi = least == (to < bound) ? bound : to;
    }
}

static Channels *new_channels(Pruning *p, const Value *v) {
    Channels *ch = ARENA_NEW(p->g->arena, Channels);
    ch->n = v->dim[1];
    ch->lo = ARENA_ARRAY(p->g->arena, int, ch->n);
    ch->hi = ARENA_ARRAY(p->g->arena, int, ch->n);
    ch->gone = ARENA_ARRAY(p->g->arena, bool, ch->n);
    ch->stays = ARENA_ARRAY(p->g->arena, bool, ch->n);
    for (int64_t c = 0; c < ch->n; c++) {
        ch->lo[c] = (int)quant_least(v->dtype);
        ch->hi[c] = (int)quant_most(v->dtype);
        ch->gone[c] = !v->is_output;
    }
    return ch;
}

static bool *find_unread(const Pruning *p, const Weights *w) {
    bool *unread = ARENA_ARRAY(p->g->arena, bool, w->ins);
    for (int64_t c = 0; c < w->ins; c++) {
        unread[c] = true;
        for (int64_t o = 0; unread[c] && o < w->outs; o++)
            for (int64_t t = 0; unread[c] && t < w->taps; t++)
                unread[c] = !weight_at(w, o, c, t);
    }
    return unread;
}

static void find_bounds(Pruning *p, const Node *n) {
    const Value *y = n->out[0];
    Kind kind = kind_of(n);
    if (kind == OTHER || !quantised_is_element(y->dtype) || !quantised_is_element(n->in[0]->dtype) || (kind == SUM && !quantised_is_element(n->in[3]->dtype)) || y->dim[1] > MOST_CHANNELS || !value_count(y))
        return;
    Channels *ch = new_channels(p, y);
    bool product = kind == DENSE || kind == DEPTHWISE, padding = product && has_padding(n);
    Weights w = product ? weights_of(n) : (Weights){0};
    p->kind[y->id] = kind;
    for (int64_t c = 0; c < ch->n; c++) {
        int from, to, from2, to2;
        if (product) {
            product_bounds(p, n, &w, padding, c, &ch->lo[c], &ch->hi[c]);
            continue;
        }
        bounds_of(p, n->in[0], c, &from, &to);
        if (kind == UNARY) {
            unary_bounds(n, from, to, &ch->lo[c], &ch->hi[c]);
            continue;
        }
        bounds_of(p, n->in[3], c, &from2, &to2);
        int unused;
        sum_bounds(n, from, from2, &ch->lo[c], &unused);
        sum_bounds(n, to, to2, &unused, &ch->hi[c]);
    }
    p->of[y->id] = ch;
    if (kind == DENSE)
        p->unread[y->id] = find_unread(p, &w);
}

/* --- which channels may go: all, but for the reasons found here --- */

static bool is_gone(const Pruning *p, const Value *v, int64_t c) {
    const Channels *ch = channels_of(p, v);
    return ch && ch->gone[c];
}

static bool reader_allows(const Pruning *p, const Use *u, const Value *v, int64_t c) {
    const Node *n = u->node;
    const Channels *ch = channels_of(p, v);
    const Value *y = n->nout ? n->out[0] : NULL;
    Kind kind = kind_at(p, y);
    if (kind == SUM)
        return (u->index == 0 || u->index == 3) && is_gone(p, y, c);
    if (u->index != 0 || kind == OTHER)
        return false;
    if (kind != DENSE)
        return is_gone(p, y, c);
    bool constant = ch->lo[c] == ch->hi[c];
    return p->unread[y->id][c] || (constant && (ch->lo[c] == const_int(n->in[2], 0) || !has_padding(n)));
}

static bool may_go(const Pruning *p, const Value *v, int64_t c) {
    const Node *n = v->def;
    Kind kind = kind_at(p, v);
    if ((kind == DEPTHWISE || kind == UNARY || kind == SUM) && !is_gone(p, n->in[0], c))
        return false;
    if (kind == SUM && !is_gone(p, n->in[3], c))
        return false;
    if (channels_of(p, v)->stays[c])
        return false;
    for (int i = 0; i < v->uses.len; i++)
        if (!reader_allows(p, &v->uses.data[i], v, c))
            return false;
    return true;
}

/* One round over all values, last first; false when nothing changed. */
static bool settle(Pruning *p) {
    bool changed = false;
    for (Node *n = p->g->last; n; n = n->prev) {
        Channels *ch = n->nout ? channels_of(p, n->out[0]) : NULL;
        for (int64_t c = 0; ch && c < ch->n; c++) {
            if (ch->gone[c] && !may_go(p, n->out[0], c)) {
                ch->gone[c] = false;
                changed = true;
            }
        }
    }
    return changed;
}

/* A tensor keeps at least one channel, and whole groups of them. */
static bool keep_some(Pruning *p) {
    bool changed = false;
    for (Node *n = p->g->first; n; n = n->next) {
        Channels *ch = n->nout ? channels_of(p, n->out[0]) : NULL;
        if (!ch)
            continue;
        ch->kept = 0;
        for (int64_t c = 0; c < ch->n; c++)
            ch->kept += !ch->gone[c];
        int64_t more = ch->kept ? (p->together - ch->kept % p->together) % p->together : 1;
        for (int64_t c = 0; c < ch->n && more; c++) {
            if (ch->gone[c] && !ch->stays[c]) {
                ch->stays[c] = changed = true;
                more--;
            }
        }
    }
    return changed;
}

/* --- the smaller network --- */

static bool shrinks(const Pruning *p, const Value *v) {
    const Channels *ch = channels_of(p, v);
    return ch && ch->kept < ch->n;
}

static Value *smaller(const Pruning *p, Value *v) { return v && v->id >= 0 && v->id < p->ids && p->by[v->id] ? p->by[v->id] : v; }

/* A vector's elements of the channels that remain. */
static Value *remaining(const Pruning *p, Value *v, const Value *of) {
    const Channels *ch = channels_of(p, of);
    if (!v || value_count(v) == 1 || !shrinks(p, of))
        return v;
    size_t size = (size_t)dtype_size(v->dtype);
    uint8_t *bytes = arena_alloc(p->g->arena, (size_t)ch->kept * size);
    int64_t k = 0;
    for (int64_t c = 0; c < ch->n; c++)
        if (!ch->gone[c])
            memcpy(bytes + (size_t)k++ * size, (const uint8_t *)v->data.bytes + (size_t)c * size, size);
    return graph_const(p->g, v->name, v->dtype, 1, &ch->kept, (Data){bytes, (size_t)ch->kept * size});
}

static bool goes(const Pruning *p, const Value *v, int64_t c) { return is_gone(p, v, c) && shrinks(p, v); }

static Value *smaller_weights(const Pruning *p, const Node *n) {
    Value *v = n->in[3];
    const Value *x = n->in[0], *y = n->out[0];
    Weights w = weights_of(n);
    bool depthwise = kind_at(p, y) == DEPTHWISE;
    int64_t dim[GRAPH_MAX_RANK], count = 1, at[GRAPH_MAX_RANK] = {0}, k = 0;
    memcpy(dim, v->dim, (size_t)v->rank * sizeof *dim);
    dim[w.out_axis] = channels_of(p, y)->kept;
    if (!depthwise && shrinks(p, x))
        dim[w.in_axis] = channels_of(p, x)->kept;
    for (int d = 0; d < v->rank; d++)
        count *= dim[d];
    uint8_t *bytes = arena_alloc(p->g->arena, (size_t)count);
    for (int64_t i = 0; i < value_count(v); i++) {
        if (!goes(p, y, at[w.out_axis]) && (depthwise || !goes(p, x, at[w.in_axis])))
            bytes[k++] = w.bytes[i];
        for (int d = v->rank - 1; d >= 0 && ++at[d] == v->dim[d]; d--)
            at[d] = 0;
    }
    return graph_const(p->g, v->name, v->dtype, v->rank, dim, (Data){bytes, (size_t)count});
}

/* With what the channels that go have added to each sum. */
static Value *new_bias(const Pruning *p, const Node *n) {
    const Value *x = n->in[0], *y = n->out[0], *old = quant_has(n, bias_input(n)) ? n->in[bias_input(n)] : NULL;
    const Channels *ch = channels_of(p, y);
    Weights w = weights_of(n);
    int64_t zero = const_int(n->in[2], 0), k = 0;
    int32_t *b = ARENA_ARRAY(p->g->arena, int32_t, ch->kept);
    for (int64_t o = 0; o < ch->n; o++) {
        uint32_t sum = old ? (uint32_t)const_int(old, value_count(old) > 1 ? o : 0) : 0;
        if (goes(p, y, o))
            continue;
        for (int64_t c = 0; kind_at(p, y) == DENSE && c < w.ins; c++)
            for (int64_t t = 0; goes(p, x, c) && t < w.taps; t++)
                sum += (uint32_t)(weight_at(&w, o, c, t) * (channels_of(p, x)->lo[c] - zero));
        b[k++] = (int32_t)sum;
    }
    return graph_const(p->g, graph_fresh_name(p->g, arena_printf(p->g->arena, "%.200s_bias", n->name)), DT_I32, 1, &ch->kept,
                       (Data){b, (size_t)ch->kept * sizeof *b});
}

static Node *smaller_product(const Pruning *p, Node *n) {
    int bias = bias_input(n);
    Value **in = ARENA_ARRAY(p->g->arena, Value *, 9);
    memcpy(in, n->in, (size_t)n->nin * sizeof *in);
    in[0] = smaller(p, n->in[0]);
    in[3] = smaller_weights(p, n);
    in[4] = remaining(p, n->in[4], n->out[0]);
    in[5] = quant_has(n, 5) ? remaining(p, n->in[5], n->out[0]) : NULL;
    in[bias] = new_bias(p, n);
    const Attr group = edit_int("group", channels_of(p, n->out[0])->kept);
    Attr *attr = ARENA_ARRAY(p->g->arena, Attr, n->nattrs + 1);
    int nattrs = 0;
    for (int i = 0; i < n->nattrs; i++)
        if (strcmp(n->attr[i].name, "group"))
            attr[nattrs++] = n->attr[i];
    if (kind_at(p, n->out[0]) == DEPTHWISE)
        attr[nattrs++] = group;
    return edit_node_with(n, n->domain, n->op_type, n, 9, in, nattrs, attr);
}

static Node *smaller_node(const Pruning *p, Node *n) {
    const Value *y = n->out[0];
    Value **in = ARENA_ARRAY(p->g->arena, Value *, n->nin);
    for (int i = 0; i < n->nin; i++)
        in[i] = smaller(p, n->in[i]);
    if (edit_is(n, "Reshape")) {
        int64_t dim[GRAPH_MAX_RANK];
        memcpy(dim, y->dim, (size_t)y->rank * sizeof *dim);
        dim[1] = channels_of(p, y)->kept;
        in[1] = graph_const_ints(p->g, "shape", 1, y->rank, dim);
    }
    return edit_node_with(n, n->domain, n->op_type, n, n->nin, in, n->nattrs, n->attr);
}

static void shrink(Pruning *p, Node *n) {
    Value *y = n->nout ? n->out[0] : NULL;
    const Channels *ch = channels_of(p, y);
    if (!ch || (!shrinks(p, y) && !shrinks(p, n->in[0])))
        return;
    bool product = kind_at(p, y) == DENSE || kind_at(p, y) == DEPTHWISE;
    Node *m = product ? smaller_product(p, n) : smaller_node(p, n);
    if (!shrinks(p, y)) {
        edit_replace(y, m->out[0]);
        return;
    }
    p->by[y->id] = m->out[0];
    if (product)
        diag_note(p->g->diag, node_place(n), "%lld of %lld channels do nothing and are removed",
                  (long long)(ch->n - ch->kept), (long long)ch->n);
}

static bool is_quantised(const Graph *g) {
    for (const Node *n = g->first; n; n = n->next)
        if (edit_is(n, "QLinearConv") || is_gemm(n))
            return true;
    return false;
}

void pass_prune(Graph *g, const Target *t) {
    int ids = g->next_id;
    if (!is_quantised(g))
        return;
    Pruning p = {g, ARENA_ARRAY(g->arena, Kind, ids), ARENA_ARRAY(g->arena, Channels *, ids), ARENA_ARRAY(g->arena, bool *, ids),
                 ARENA_ARRAY(g->arena, Value *, ids), ids, t && t->dot & DOT_ALONG ? 16 : t && t->dot & ~(unsigned)DOT_ROWS ? 4 : 1};
    for (const Node *n = g->first; n; n = n->next)
        find_bounds(&p, n);
    do
        while (settle(&p))
            ;
    while (keep_some(&p));
    Node *last = g->last;
    for (Node *n = g->first, *next; n; n = next) {
        next = n == last ? NULL : n->next;
        shrink(&p, n);
    }
    pass_dead(g);
}
