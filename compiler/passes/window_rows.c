/* SPDX-License-Identifier: Apache-2.0 */
/* Machines that multiply four bytes at a time want sums along bytes that lie side by side in fours. A network's first
 * convolution has one or three channels: there, what a window sees of a row is taken for its channels, a view of the padded
 * image, and the weights get zeros for what is read beyond the window. */
#include <string.h>

#include "ops/op.h"
#include "ops/quant.h"
#include "ops/window.h"
#include "passes/edit.h"
#include "passes/passes.h"
#include "support/ints.h"

enum { GROUP = 4, MOST = 8 /* beyond, one rest costs little */, MOST_INPUTS = 9, LARGEST = 16 /* times the image, in its padding */ };

/* Where a convolution's inputs are. */
typedef struct Places {
    int zero, weight, weight_zero;
} Places;

typedef struct Rows {
    Node *n;
    const Places *at;
    Window w;
    int64_t channels, length; /* bytes that become channels, the window's and zeros */
    bool planar;              /* one channel at a time; else all, side by side */
} Rows;

/* Whether the channels of v are planes, as far as that is known before layouts are. */
static bool has_planes(const Value *v) {
    while (v->kind == VALUE_NODE && v->def->op && v->def->op->flags & OP_ELEMENTWISE)
        v = v->def->in[0];
    if (v->kind != VALUE_NODE)
        return true;
    const Node *n = v->def;
    if (edit_is(n, "Transpose")) {
        const Attr *perm = node_attr(n, "perm");
        return !perm || perm->ints[1] != v->rank - 1;
    }
    return !(n->op->flags & OP_CHANNELS);
}

static bool applies(Node *n, const Target *t, Rows *r) {
    static const Places linear = {2, 3, 5}, integer = {2, 1, 3};
    int64_t group;
    *r = (Rows){.n = n, .at = edit_is(n, "QLinearConv") ? &linear : &integer};
    if (!edit_is(n, "QLinearConv") && !edit_is(n, "ConvInteger"))
        return false;
    const Value *x = n->in[0], *k = n->in[r->at->weight];
    if (dtype_size(x->dtype) != 1 || x->rank < 3 || x->rank > GRAPH_MAX_RANK - 1 || !value_is_const(k) || k->dtype != DT_I8 ||
        !quant_is_zero(n, r->at->weight_zero) || !value_count(n->out[0]) || !value_count(x) || !window_conv(n, k, &r->w, &group) || group != 1)
        return false;
    if (quant_has(n, r->at->zero) && value_count(n->in[r->at->zero]) != 1)
        return false;
    int last = r->w.n - 1;
    r->channels = k->dim[1];
    if (r->channels % GROUP == 0 || r->channels > MOST || (r->w.dilation[last] != 1 && r->w.kernel[last] != 1))
        return false;
    int64_t width = r->w.kernel[last], planes = r->channels * round_up(width, GROUP), together = round_up(width * r->channels, GROUP);
    r->planar = r->w.n == 2 && r->w.dilation[0] == 1 && r->channels > 1 && planes <= together && has_planes(x);
    r->length = r->planar ? round_up(width, GROUP) : together;
    double image = 1;
    for (int d = 0; d < r->w.n; d++)
        image *= (double)r->w.before[d] + (double)r->w.in[d] + (double)r->w.after[d];
    if (image * (double)(x->dim[0] * r->channels) > (double)LARGEST * (double)value_count(x))
        return false;
    /* In halves, two products cost one multiplication: where half of them would be with zeros, none is saved. */
    return !(t->dot & DOT_HALVES) || (r->planar ? width : width * r->channels) * 2 > r->length;
}

static Value *weights(const Rows *r) {
    Value *w = r->n->in[r->at->weight];
    Graph *g = w->graph;
    int last = w->rank - 1;
    int64_t dim[GRAPH_MAX_RANK], rows = 1, width = w->dim[last];
    memcpy(dim, w->dim, (size_t)w->rank * sizeof *dim);
    dim[1] = r->length;
    dim[last] = 1;
    for (int d = 2; d < last; d++)
        rows *= w->dim[d];
    dim[2] *= r->planar ? r->channels : 1;
    int64_t row = r->planar ? rows * r->channels : rows, each = r->length * row;
    size_t size = (size_t)(w->dim[0] * each);
    char *to = arena_alloc(g->arena, size + 1);
    memset(to, 0, size + 1);
    for (int64_t o = 0, from = 0; o < w->dim[0]; o++)
        for (int64_t c = 0; c < r->channels; c++)
            for (int64_t k = 0; k < rows; k++)
                for (int64_t i = 0; i < width; i++, from++) {
                    int64_t at = r->planar ? i * row + k * r->channels + c : (i * r->channels + c) * row + k;
                    to[o * each + at] = ((const char *)w->data.bytes)[from];
                }
    return graph_const(g, w->name, w->dtype, w->rank, dim, (Data){to, size});
}

/* The image in its padding, wide enough for what is read beyond the last window. */
static Value *padded(const Rows *r) {
    Node *n = r->n;
    Value *x = n->in[0];
    int64_t pads[2 * GRAPH_MAX_RANK] = {0};
    int last = r->w.n - 1;
    for (int d = 0; d < r->w.n; d++) {
        pads[2 + d] = r->w.before[d];
        pads[x->rank + 2 + d] = r->w.after[d];
    }
    int64_t columns = r->planar ? r->length : divide_up(r->length, r->channels);
    int64_t missing = (r->w.out[last] - 1) * r->w.stride[last] + columns - r->w.before[last] - x->dim[x->rank - 1];
    if (pads[2 * x->rank - 1] < missing)
        pads[2 * x->rank - 1] = missing;
    return edit_padded(n, n, x, pads, quant_has(n, r->at->zero) ? n->in[r->at->zero] : NULL);
}

/* Where the image is copied anyway, it gets the sign that the machine multiplies, if its zero point is known. */
static Value *with_sign(const Rows *r, const Target *t, Value *x, Value **zero) {
    Graph *g = r->n->graph;
    DType suits = quant_left_type(t->dot);
    *zero = quant_has(r->n, r->at->zero) ? r->n->in[r->at->zero] : NULL;
    if (x == r->n->in[0] || suits == DT_NONE || suits == x->dtype || (*zero && !value_is_const(*zero)))
        return x;
    char *byte = ARENA_NEW(g->arena, char);
    static const char bit = (char)-128;
    *byte = (char)((*zero ? const_int(*zero, 0) : 0) + (suits == DT_U8 ? 128 : -128));
    *zero = graph_const(g, graph_fresh_name(g, "zero"), suits, 0, NULL, (Data){byte, 1});
    Value *in[] = {x, graph_const(g, graph_fresh_name(g, "sign"), x->dtype, 0, NULL, (Data){&bit, 1})};
    return edit_cast(r->n, r->n, edit_node(r->n, "BitwiseXor", r->n, 2, in)->out[0], suits);
}

static Value *rows(const Rows *r, Value *x) {
    int last = r->w.n - 1;
    const Attr attr[] = {edit_int("length", r->length), edit_int("stride", r->w.stride[last]), edit_int("count", r->w.out[last]),
                         edit_int("planar", r->planar)};
    return edit_node_with(r->n, "mlcc", "WindowRows", r->n, 1, &x, 4, attr)->out[0];
}

/* Strides or dilations: the last axis is one window now, and planes' rows alternate. */
static Attr spatial(const Rows *r, const char *name, const int64_t *old, int64_t planes) {
    int64_t *x = arena_dup(r->n->graph->arena, old, (size_t)r->w.n * sizeof *x);
    x[0] *= planes;
    x[r->w.n - 1] = 1;
    return (Attr){.name = name, .kind = ATTR_INTS, .n = r->w.n, .ints = x};
}

static void replace(const Rows *r, const Target *t) {
    Node *n = r->n;
    int64_t planes = r->planar ? r->channels : 1;
    int nin = n->nin > r->at->zero ? n->nin : r->at->zero + 1;
    Value *in[MOST_INPUTS] = {NULL}, *zero;
    memcpy(in, n->in, (size_t)n->nin * sizeof *in);
    in[0] = rows(r, with_sign(r, t, padded(r), &zero));
    in[r->at->weight] = weights(r);
    in[r->at->zero] = zero;
    const Attr attr[] = {spatial(r, "strides", r->w.stride, planes), spatial(r, "dilations", r->w.dilation, 1)};
    if (edit_replace(n->out[0], edit_node_with(n, "", n->op_type, n, nin, in, 2, attr)->out[0]))
        node_remove(n);
}

void pass_window_rows(Graph *g, const Target *t) {
    if (!t || !t->dot || t->dot & DOT_ROWS)
        return;
    for (Node *n = g->first, *next; n; n = next) {
        Rows r;
        next = n->next;
        if (applies(n, t, &r))
            replace(&r, t);
    }
    pass_dead(g);
}
