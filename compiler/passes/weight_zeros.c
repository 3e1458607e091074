/* SPDX-License-Identifier: Apache-2.0 */
/* Products of bytes with constant weights that have zero points. The difference of two bytes has nine bits; moved by a number
 * that all weights share it has eight, and can be multiplied four at a time. That number, often 0, times the sum of the inputs,
 * which all channels see alike, is subtracted from the products. */
#include <string.h>

#include "ops/op.h"
#include "ops/quant.h"
#include "ops/window.h"
#include "passes/edit.h"
#include "passes/fold.h"
#include "passes/passes.h"
#include "passes/quantised.h"

enum { FEWEST_CHANNELS = 8, FEWEST_INPUTS = 16 /* sums need little memory then */, MOST_PRODUCTS = (1 << 24) / 255 /* their sum is exact in a float */ };

/* Which inputs have what; -1: none. The output's scale and zero point are side by side. */
typedef struct Places {
    int right, zero, right_zero, scale, right_scale, out_scale, bias;
} Places;

static const Places integer = {1, 2, 3, -1, -1, -1, -1}, linear = {3, 2, 5, 1, 4, 6, 8}, gemm = {3, 2, 5, 1, 4, 7, 6};

/* Weights that several products share stay shared. */
typedef struct Made {
    const Value *from, *zero;
    bool turned;
    Value *weights;
} Made;

typedef VEC(Made) MadeList;

/* A product that is rewritten. */
typedef struct Product {
    Node *n;
    const Places *at;
    bool window, transposed;  /* a convolution; weights lie by channel, as those of convolutions do */
    int64_t channels, depth;  /* depth: products a channel */
    MadeList *made;
    int64_t rest;             /* weights are stored as so much more than they are without their zero point */
} Product;

static bool read_node(Node *n, Product *p) {
    bool conv = edit_is(n, "QLinearConv") || edit_is(n, "ConvInteger"), general = node_is(n, "com.microsoft", "QGemm");
    if (!conv && !general && !edit_is(n, "QLinearMatMul") && !edit_is(n, "MatMulInteger"))
        return false;
    bool ints = edit_is(n, "ConvInteger") || edit_is(n, "MatMulInteger");
    *p = (Product){.n = n, .at = general ? &gemm : ints ? &integer : &linear, .window = conv};
    p->transposed = conv || (general && attr_int(n, "transB", 0));
    const Value *w = n->in[p->at->right];
    if (!n->out[0] || quant_is_zero(n, p->at->right_zero) || !value_is_const(n->in[p->at->right_zero]) || !value_is_const(w) || !value_count(w) ||
        (!conv && w->rank != 2))
        return false;
    p->channels = w->dim[p->transposed ? 0 : 1];
    p->depth = value_count(w) / p->channels;
    int64_t zeros = value_count(n->in[p->at->right_zero]);
    return zeros == 1 || zeros == p->channels;
}

static int64_t weight_at(const Product *p, int64_t c, int64_t k) {
    return const_int(p->n->in[p->at->right], p->transposed ? c * p->depth + k : k * p->channels + c);
}

static int64_t zero_at(const Product *p, int64_t c) {
    const Value *zero = p->n->in[p->at->right_zero];
    return const_int(zero, value_count(zero) > 1 ? c : 0);
}

/* The least rest of the zero points with which all weights fit bytes; false where none does. */
static bool find_rest(Product *p, int64_t least) {
    int64_t from = INT64_MIN, to = INT64_MAX;
    for (int64_t c = 0; c < p->channels; c++)
        for (int64_t k = 0; k < p->depth; k++) {
            int64_t x = weight_at(p, c, k) - zero_at(p, c);
            from = least - x > from ? least - x : from;
            to = 127 - x < to ? 127 - x : to;
        }
    p->rest = from > 0 ? from : to < 0 ? to : 0;
    return from <= to;
}

/* Of I8; by row where the product is written anew, which takes them so. */
static Value *smaller_weights(const Product *p, bool by_row) {
    Value *w = p->n->in[p->at->right], *zero = p->n->in[p->at->right_zero];
    bool turned = by_row && p->transposed && !p->window;
    for (int i = 0; i < p->made->len; i++) {
        const Made *m = &p->made->data[i];
        if (m->from == w && m->zero == zero && m->turned == turned)
            return m->weights;
    }
    int8_t *x = ARENA_ARRAY(w->graph->arena, int8_t, value_count(w));
    for (int64_t c = 0; c < p->channels; c++)
        for (int64_t k = 0; k < p->depth; k++)
            x[p->transposed && !turned ? c * p->depth + k : k * p->channels + c] = (int8_t)(weight_at(p, c, k) - zero_at(p, c) + p->rest);
    const int64_t turned_dim[] = {p->depth, p->channels};
    Value *made = graph_const(w->graph, w->name, DT_I8, w->rank, turned ? turned_dim : w->dim, (Data){x, (size_t)value_count(w)});
    VEC_PUSH(w->graph->arena, p->made, ((Made){w, zero, turned, made}));
    return made;
}

static void centre(const Product *p) {
    node_set_input(p->n, p->at->right, smaller_weights(p, false));
    node_set_input(p->n, p->at->right_zero, graph_const(p->n->graph, "zero", DT_I8, 0, NULL, (Data){"", 1}));
}

/* --- with a rest --- */

static int64_t inputs_of(const Product *p) { return p->n->in[0]->dim[p->window ? 1 : p->n->in[0]->rank - 1]; }

static bool is_scalar(const Node *n, int i) { return i < 0 || (quant_has(n, i) && value_is_number(n->in[i])); }

static bool suits(const Product *p) {
    const Node *n = p->n;
    const Places *at = p->at;
    if (!dtype_is_byte(n->in[0]->dtype) || fold_is_possible(n->in[0]) || p->channels < FEWEST_CHANNELS || p->depth > MOST_PRODUCTS ||
        attr_int(n, "group", 1) != 1 || attr_int(n, "transA", 0))
        return false;
    if (quant_has(n, at->zero) && value_count(n->in[at->zero]) != 1)
        return false;
    if ((!p->window && n->in[0]->rank < 2) || inputs_of(p) < FEWEST_INPUTS)
        return false;
    if (at->scale < 0)
        return true;
    const Value *right = n->in[at->right_scale], *bias = quant_has(n, at->bias) ? n->in[at->bias] : NULL;
    bool by_channel = value_is_const(right) && (value_count(right) == 1 || (right->rank == 1 && value_count(right) == p->channels));
    bool bias_fits = !bias || value_count(bias) == 1 || (bias->rank && bias->dim[bias->rank - 1] == value_count(bias));
    return is_scalar(n, at->scale) && is_scalar(n, at->out_scale) && is_scalar(n, at->out_scale + 1) && by_channel && bias_fits;
}

/* The shape in which numbers by channel meet the product. */
static int channel_dims(const Product *p, int64_t *dim) {
    int rank = p->window ? p->n->in[0]->rank - 1 : 1;
    dim[0] = p->channels;
    for (int d = 1; d < rank; d++)
        dim[d] = 1;
    return rank;
}

static Value *binary(const Product *p, const char *op, Value *x, Value *y) { return edit_node(p->n, op, p->n, 2, (Value *[]){x, y})->out[0]; }

static Value *of_integers(const Product *p, Value *w, int nattrs, const Attr *attr) {
    Node *n = p->n;
    Value *in[] = {n->in[0], w, quant_has(n, p->at->zero) ? n->in[p->at->zero] : NULL};
    return edit_node_with(n, "", p->window ? "ConvInteger" : "MatMulInteger", n, 3, in, nattrs, attr)->out[0];
}

/* With zeros where windows reach beyond the input. */
static Value *padded(const Product *p, Value *x, const Window *w) {
    int64_t pads[2 * GRAPH_MAX_RANK] = {0};
    for (int d = 0; d < w->n; d++) {
        pads[d + 2] = w->before[d];
        pads[w->n + 2 + d + 2] = w->after[d];
    }
    return edit_padded(p->n, p->n, x, pads, NULL);
}

/* What each window sees: whole numbers that floats hold exactly. */
static Value *window_sums(const Product *p, Value *x) {
    Node *n = p->n;
    Graph *g = n->graph;
    Window w;
    int64_t group, taps = 1, dim[GRAPH_MAX_RANK] = {1, 1};
    bool point = true;
    window_conv(n, n->in[p->at->right], &w, &group);
    for (int d = 0; d < w.n; d++) {
        dim[d + 2] = w.kernel[d];
        taps *= w.kernel[d];
        point = point && w.kernel[d] == 1 && w.out[d] == w.in[d];
    }
    if (point)
        return x;
    float *ones = ARENA_ARRAY(g->arena, float, taps);
    for (int64_t i = 0; i < taps; i++)
        ones[i] = 1;
    Value *filter = graph_const(g, graph_fresh_name(g, "ones"), DT_F32, w.n + 2, dim, (Data){ones, (size_t)taps * sizeof *ones});
    Value *in[] = {padded(p, edit_cast(n, n, x, DT_F32), &w), filter};
    const Attr attr[] = {{.name = "strides", .kind = ATTR_INTS, .n = w.n, .ints = arena_dup(g->arena, w.stride, (size_t)w.n * sizeof *w.stride)},
                         {.name = "dilations", .kind = ATTR_INTS, .n = w.n, .ints = arena_dup(g->arena, w.dilation, (size_t)w.n * sizeof *w.dilation)}};
    return edit_cast(n, n, edit_node_with(n, "", "Conv", n, 2, in, 2, attr)->out[0], DT_I32);
}

/* Of the inputs without their zero point, for each row or window. */
static Value *input_sums(const Product *p) {
    Node *n = p->n;
    Graph *g = n->graph;
    int64_t inputs = inputs_of(p), dim[GRAPH_MAX_RANK] = {1};
    for (int d = 1; d < GRAPH_MAX_RANK; d++)
        dim[d] = 1;
    dim[p->window] = inputs;
    int8_t *ones = ARENA_ARRAY(g->arena, int8_t, inputs);
    memset(ones, 1, (size_t)inputs);
    Value *w = graph_const(g, graph_fresh_name(g, "ones"), DT_I8, p->window ? n->in[0]->rank : 2, dim, (Data){ones, (size_t)inputs});
    Value *x = of_integers(p, w, 0, NULL);
    return p->window ? window_sums(p, x) : x;
}

static Value *integer_product(const Product *p) {
    Node *n = p->n;
    Value *y = of_integers(p, smaller_weights(p, true), p->window ? n->nattrs : 0, n->attr);
    return binary(p, "Sub", y, binary(p, "Mul", input_sums(p), quantised_const(n->graph, "rest", DT_I32, p->rest)));
}

static Value *ratios(const Product *p) {
    const Node *n = p->n;
    Graph *g = n->graph;
    const Places *at = p->at;
    int64_t dim[GRAPH_MAX_RANK], count = value_count(n->in[at->right_scale]);
    int rank = channel_dims(p, dim);
    float *ratio = ARENA_ARRAY(g->arena, float, count), alpha = attr_float(n, "alpha", 1);
    for (int64_t c = 0; c < count; c++)
        ratio[c] = quant_ratio_of(n, at->scale, at->right_scale, at->out_scale, c) * alpha;
    return graph_const(g, graph_fresh_name(g, "ratio"), DT_F32, count > 1 ? rank : 0, dim, (Data){ratio, (size_t)count * sizeof *ratio});
}

/* As the product itself would have been rounded. */
static Value *requantised(const Product *p, Value *y) {
    Node *n = p->n;
    const Places *at = p->at;
    if (quant_has(n, at->bias)) {
        int64_t dim[GRAPH_MAX_RANK];
        int rank = channel_dims(p, dim);
        Value *bias = n->in[at->bias], *shape = p->window ? graph_const_ints(n->graph, graph_fresh_name(n->graph, "shape"), 1, rank, dim) : NULL;
        y = binary(p, "Add", y, shape ? binary(p, "Reshape", bias, shape) : bias);
    }
    return quantised_sum(n, y, ratios(p), n->in[at->out_scale + 1]);
}

static void rewrite(const Product *p) {
    Value *y = integer_product(p);
    if (edit_replace(p->n->out[0], p->at->scale < 0 ? y : requantised(p, y)))
        node_remove(p->n);
}

void pass_weight_zeros(Graph *g, const Target *t) {
    unsigned dot = t ? t->dot : 0;
    MadeList made = {0};
    bool worthwhile = target_has_dots(t, DOT_U8S8 | DOT_S8S8);
    for (Node *n = g->first, *next; n; n = next) {
        Product p;
        next = n->next;
        if (!read_node(n, &p))
            continue;
        p.made = &made;
        if (!find_rest(&p, dot & DOT_NARROW ? -127 : -128))
            continue;
        if (!p.rest)
            centre(&p);
        else if (worthwhile && suits(&p))
            rewrite(&p);
    }
    pass_dead(g);
}
