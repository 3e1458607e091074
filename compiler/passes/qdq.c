/* SPDX-License-Identifier: Apache-2.0 */
/* Quantised models in the form that exporters write: float operators between DequantizeLinear and QuantizeLinear. From
 * each QuantizeLinear upwards, the float operators become one on integers. A ReLU or Clip between them is a bound of the
 * result, mostly that of its type already. What has no form on integers stays float, and is noted with the reason. */
#include <math.h>
#include <string.h>

#include "ops/op.h"
#include "passes/edit.h"
#include "passes/fold.h"
#include "passes/passes.h"
#include "passes/products.h"
#include "passes/quantised.h"

/* What a QuantizeLinear asks for. */
typedef struct Wanted {
    Node *before; /* where new nodes go */
    Quantised to;
    int64_t least, most; /* bounds of the elements */
    const Node *path[8]; /* what is replaced, for the names */
    int npath;
} Wanted;

static void replaces(Wanted *w, const Node *n) {
    if (w->npath < (int)(sizeof w->path / sizeof *w->path))
        w->path[w->npath++] = n;
}

static Value *new_node(const Wanted *w, const char *domain, const char *op, const Node *from, int nin, Value *const *in, int nattrs,
                       const Attr *attr) {
    return edit_node_with(w->before, domain, op, from, nin, in, nattrs, attr)->out[0];
}

static bool only_user(const Value *v) { return value_only_user(v) != NULL; }

/* --- products --- */

static double scale_at(const Value *scale, int64_t i) { return const_float(scale, value_count(scale) > 1 ? i : 0); }

/* The whole sum must fit into 32 bits, not what it starts from alone. */
static double largest_bias(const Quantised *x, const Quantised *w, int64_t channels, int64_t i) {
    if (dtype_size(x->dtype) > 1)
        return (double)INT32_MAX / 2;
    bool centred = w->sums && quantised_is_centred(w);
    double magnitudes = centred ? w->sums[i] : 255 * (double)value_count(w->x) / (double)channels;
    return (double)INT32_MAX - 255 * magnitudes;
}

/* The bias in steps of x's scale times that of the weights, as int32; NULL where it does not fit. */
static Value *integer_bias(Value *bias, const Quantised *x, const Quantised *w, int64_t channels) {
    Graph *g = bias->graph;
    const Value *source = bias;
    const Node *d = bias->kind == VALUE_NODE ? bias->def : NULL;
    bool dequantised = d && edit_is(d, "DequantizeLinear") && d->in[0]->dtype == DT_I32 && value_is_const(d->in[1]) &&
                       (d->nin < 3 || !d->in[2] || value_is_const(d->in[2]));
    if (dequantised)
        source = d->in[0];
    int64_t count = value_count(source);
    if (!value_is_const(source) || (count != channels && count != 1) || (!dequantised && source->dtype != DT_F32))
        return NULL;
    int32_t *b = ARENA_ARRAY(g->arena, int32_t, channels);
    for (int64_t i = 0; i < channels; i++) {
        int64_t at = count > 1 ? i : 0;
        double step = const_float(x->scale, 0) * scale_at(w->scale, i), number;
        if (dequantised) {
            double own = scale_at(d->in[1], i);
            int64_t zero = d->nin > 2 && d->in[2] ? const_int(d->in[2], value_count(d->in[2]) > 1 ? i : 0) : 0;
            number = (double)(const_int(source, at) - zero);
            if (fabs(own - step) > 1e-5 * step)
                number = nearbyint(number * own / step);
        } else {
            number = nearbyint(const_float(source, at) / step);
        }
        if (!(fabs(number) <= largest_bias(x, w, channels, i)))
            return NULL;
        b[i] = (int32_t)number;
    }
    return graph_const(g, graph_fresh_name(g, bias->name), DT_I32, 1, &channels, (Data){b, (size_t)channels * sizeof *b});
}

static Value *make_conv(Wanted *t, const Node *n) {
    Quantised x, w;
    if (!edit_is(n, "Conv") || !quantised_tensor(n->in[0], &x) || !quantised_weights(n->in[1], 0, &x, &w))
        return NULL;
    Value *in[] = {x.x, x.scale, x.zero, w.x, w.scale, w.zero, t->to.scale, t->to.zero, NULL};
    bool bias = n->nin > 2 && n->in[2];
    if (bias && !(in[8] = integer_bias(n->in[2], &x, &w, n->in[1]->dim[0])))
        return NULL;
    return new_node(t, "", "QLinearConv", n, bias ? 9 : 8, in, n->nattrs, n->attr);
}

/* Scales of channels count those of one group. */
static Value *make_conv_transpose(Wanted *t, const Node *n) {
    Quantised x, w;
    int64_t group = attr_int(n, "group", 1);
    if (!edit_is(n, "ConvTranspose") || !quantised_tensor(n->in[0], &x) || !quantised_weights(n->in[1], group == 1 ? 1 : -1, &x, &w))
        return NULL;
    Value *in[] = {x.x, x.scale, x.zero, w.x, w.scale, w.zero, t->to.scale, t->to.zero, NULL};
    bool bias = n->nin > 2 && n->in[2];
    if (bias && !(in[8] = integer_bias(n->in[2], &x, &w, n->in[1]->dim[1] * group)))
        return NULL;
    return new_node(t, "mlcc", "QLinearConvTranspose", n, bias ? 9 : 8, in, n->nattrs, n->attr);
}

/* x times weights of two axes, plus a bias; x may have any rank. */
static Value *make_qgemm(Wanted *t, const Node *n, const Quantised *x, const Quantised *w, bool transposed, Value *bias) {
    Graph *g = n->graph;
    const Value *y = t->before->in[0];
    int64_t columns = w->x->dim[transposed ? 0 : 1], rows = 1;
    Value *c = bias ? integer_bias(bias, x, w, columns) : NULL, *a = x->x;
    if ((bias && !c) || a->rank < 2)
        return NULL;
    if (a->rank > 2) {
        for (int d = 0; d < a->rank - 1; d++)
            rows *= a->dim[d];
        Value *shape = graph_const_ints(g, "rows", 1, 2, (int64_t[]){rows, a->dim[a->rank - 1]});
        a = edit_node(t->before, "Reshape", n, 2, (Value *[]){a, shape})->out[0];
    }
    const Attr attr = edit_int("transB", transposed);
    Value *in[] = {a, x->scale, x->zero, w->x, w->scale, w->zero, c, t->to.scale, t->to.zero};
    Value *z = new_node(t, "com.microsoft", "QGemm", n, 9, in, 1, &attr);
    if (x->x->rank == 2)
        return z;
    Value *shape = graph_const_ints(g, "shape", 1, y->rank, y->dim);
    return edit_node(t->before, "Reshape", n, 2, (Value *[]){z, shape})->out[0];
}

static Value *make_gemm(Wanted *t, const Node *n) {
    Quantised x, w;
    bool transposed = attr_int(n, "transB", 0) != 0;
    Value *c = n->nin > 2 ? n->in[2] : NULL;
    if (!edit_is(n, "Gemm") || attr_int(n, "transA", 0) || attr_float(n, "alpha", 1) != 1 || (c && attr_float(n, "beta", 1) != 1))
        return NULL;
    if (!quantised_tensor(n->in[0], &x) || !quantised_weights(n->in[1], transposed ? 0 : 1, &x, &w) ||
        (c && value_count(c) != 1 && c->dim[c->rank - 1] != value_count(c)))
        return NULL;
    return make_qgemm(t, n, &x, &w, transposed, c);
}

static Value *make_matmul(Wanted *t, const Node *n, Value *bias) {
    Quantised x, y;
    if (!edit_is(n, "MatMul") || !quantised_tensor(n->in[0], &x))
        return NULL;
    if (n->in[1]->rank == 2 && n->in[0]->rank > 1 && quantised_weights(n->in[1], 1, &x, &y))
        return make_qgemm(t, n, &x, &y, false, bias);
    if (bias || !quantised_tensor(n->in[1], &y) || dtype_size(x.dtype) != 1 || dtype_size(y.dtype) != 1)
        return NULL;
    Value *in[] = {x.x, x.scale, x.zero, y.x, y.scale, y.zero, t->to.scale, t->to.zero};
    return new_node(t, "", "QLinearMatMul", n, 8, in, 0, NULL);
}

/* MatMul and a constant for each column. */
static Value *make_biased(Wanted *t, const Node *n) {
    for (int i = 0; edit_is(n, "Add") && i < 2; i++) {
        Value *product = n->in[i], *bias = n->in[1 - i];
        if (product->kind != VALUE_NODE || !edit_is(product->def, "MatMul") || !only_user(product) || !value_same_shape(product, n->out[0]))
            continue;
        if (value_count(bias) != 1 && (!bias->rank || bias->dim[bias->rank - 1] != value_count(bias)))
            continue;
        replaces(t, product->def);
        return make_matmul(t, product->def, bias);
    }
    return NULL;
}

/* --- other operators --- */

static Value *make_binary(Wanted *t, const Node *n) {
    Quantised x, y;
    bool sum = edit_is(n, "Add");
    if ((!sum && !edit_is(n, "Mul")) || !quantised_tensor(n->in[0], &x) || !quantised_tensor(n->in[1], &y))
        return NULL;
    Value *in[] = {x.x, x.scale, x.zero, y.x, y.scale, y.zero, t->to.scale, t->to.zero};
    return new_node(t, "com.microsoft", sum ? "QLinearAdd" : "QLinearMul", n, 8, in, 0, NULL);
}

static Value *make_average(Wanted *t, const Node *n) {
    Quantised x;
    bool local = edit_is(n, "AveragePool");
    if ((!local && !edit_is_image_mean(n)) || !quantised_tensor(n->in[0], &x))
        return NULL;
    if (dtype_size(x.dtype) > 1 &&
        (double)value_count(x.x) * quantised_widest(&x) > (double)INT32_MAX * (double)(x.x->dim[0] * x.x->dim[1]))
        return NULL;
    Value *in[] = {x.x, x.scale, x.zero, t->to.scale, t->to.zero};
    if (local)
        return new_node(t, "com.microsoft", "QLinearAveragePool", n, 5, in, n->nattrs, n->attr);
    Value *y = new_node(t, "com.microsoft", "QLinearGlobalAveragePool", n, 5, in, 0, NULL);
    if (value_same_shape(y, n->out[0]))
        return y;
    Value *shape = graph_const_ints(n->graph, "shape", 1, n->out[0]->rank, n->out[0]->dim);
    return edit_node(t->before, "Reshape", n, 2, (Value *[]){y, shape})->out[0];
}

/* The mean over any axes; a sum is the mean of elements whose scale is larger. */
static Value *make_mean(Wanted *t, const Node *n) {
    Quantised x;
    bool sum = edit_is(n, "ReduceSum");
    const Value *axes = n->nin > 1 ? n->in[1] : NULL;
    if ((!sum && !edit_is(n, "ReduceMean")) || !quantised_tensor(n->in[0], &x) || (axes && !value_is_const(axes)) ||
        !value_count(n->out[0]) || ((!axes || !value_count(axes)) && attr_int(n, "noop_with_empty_axes", 0)))
        return NULL;
    int64_t count = value_count(x.x) / value_count(n->out[0]), given = axes ? value_count(axes) : 0,
            *list = ARENA_ARRAY(n->graph->arena, int64_t, given);
    for (int64_t i = 0; i < given; i++)
        list[i] = const_int(axes, i);
    if (!count || (double)count * quantised_widest(&x) > (double)INT32_MAX)
        return NULL;
    float scale = (float)const_float(x.scale, 0) * (float)count;
    Value *in[] = {x.x, sum ? graph_const_float(n->graph, "scale", scale) : x.scale, x.zero, t->to.scale, t->to.zero};
    const Attr attrs[] = {{.name = "axes", .kind = ATTR_INTS, .n = (int)given, .ints = list},
                          edit_int("keepdims", attr_int(n, "keepdims", 1))};
    return new_node(t, "com.microsoft", "QLinearReduceMean", n, 5, in, 2, attrs);
}

static Value *make_softmax(Wanted *t, const Node *n) {
    Quantised x;
    if (!edit_is(n, "Softmax") || !quantised_tensor(n->in[0], &x))
        return NULL;
    Value *in[] = {x.x, x.scale, x.zero, t->to.scale, t->to.zero};
    return new_node(t, "com.microsoft", "QLinearSoftmax", n, 5, in, n->nattrs, n->attr);
}

static Value *make_concat(Wanted *t, const Node *n) {
    if (!edit_is(n, "Concat"))
        return NULL;
    int nin = 2 + 3 * n->nin;
    Value **in = ARENA_ARRAY(n->graph->arena, Value *, nin);
    in[0] = t->to.scale;
    in[1] = t->to.zero;
    for (int i = 0; i < n->nin; i++) {
        Quantised x;
        if (!quantised_tensor(n->in[i], &x))
            return NULL;
        in[2 + 3 * i] = x.x;
        in[3 + 3 * i] = x.scale;
        in[4 + 3 * i] = x.zero;
    }
    return new_node(t, "com.microsoft", "QLinearConcat", n, nin, in, n->nattrs, n->attr);
}

/* --- functions of one element: a table --- */

enum { LONGEST_FUNCTION = 32 };

/* Whether v is computed from one dequantised value and numbers, element by element. */
static bool is_function(Value *v, const Value *shape, Value **source, int *left) {
    Quantised q;
    if (value_is_const(v))
        return value_count(v) == 1 && dtype_bits(v->dtype);
    if (v->kind != VALUE_NODE || !value_same_shape(v, shape))
        return false;
    if (quantised_tensor(v, &q)) {
        bool same = !*source || *source == v;
        *source = v;
        return same;
    }
    const Node *n = v->def;
    if (--*left < 0 || *n->domain || !(n->op->flags & OP_ELEMENTWISE) || n->nout != 1 || edit_is(n, "DequantizeLinear"))
        return false;
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] && !is_function(n->in[i], shape, source, left))
            return false;
    return true;
}

/* The same function of x, a vector. */
static Value *apply_function(const Wanted *t, Value *v, const Value *source, Value *x) {
    if (v == source)
        return x;
    if (value_is_const(v))
        return v->rank ? graph_const(v->graph, graph_fresh_name(v->graph, v->name), v->dtype, 0, NULL, v->data) : v;
    Node *n = v->def;
    Value **in = ARENA_ARRAY(n->graph->arena, Value *, n->nin);
    for (int i = 0; i < n->nin; i++)
        in[i] = n->in[i] ? apply_function(t, n->in[i], source, x) : NULL;
    return new_node(t, "", n->op_type, n, n->nin, in, n->nattrs, n->attr);
}

/* All elements of a type in the order of their bits. */
static Value *all_bytes(Graph *g, DType t) {
    static const int64_t count = 256;
    uint8_t *bytes = arena_alloc(g->arena, (size_t)count);
    for (int64_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)i;
    return graph_const(g, graph_fresh_name(g, "elements"), t, 1, &count, (Data){bytes, (size_t)count});
}

static Value *make_table(Wanted *t, Value *v) {
    Quantised x;
    Value *source = NULL;
    int left = LONGEST_FUNCTION;
    if (!is_function(v, v, &source, &left) || !source || !quantised_tensor(source, &x))
        return NULL;
    if (v == source && quantised_alike(&x, &t->to))
        return x.x;
    if (dtype_size(x.dtype) != 1)
        return NULL;
    const Node *q = t->before;
    Value *in[] = {all_bytes(q->graph, x.dtype), x.scale, x.zero};
    Value *y = apply_function(t, v, source, edit_node(t->before, "DequantizeLinear", q, 3, in)->out[0]);
    Value *out[] = {y, t->to.scale, t->to.zero};
    Value *lookup[] = {x.x, edit_node(t->before, "QuantizeLinear", q, 3, out)->out[0]};
    return new_node(t, "mlcc", "Lookup", v == source ? q : v->def, 2, lookup, 0, NULL);
}

/* Functions that come as operators on 8 bits; a few elements are computed as they are. */
static bool tabulate(Node *n) {
    if ((!node_is(n, "com.microsoft", "QLinearSigmoid") && !node_is(n, "com.microsoft", "QLinearLeakyRelu")) ||
        value_count(n->in[0]) <= 256 || dtype_size(n->in[0]->dtype) != 1 || fold_is_possible(n->in[0]))
        return false;
    Value **in = ARENA_ARRAY(n->graph->arena, Value *, n->nin);
    for (int i = 1; i < n->nin; i++) {
        if (n->in[i] && !value_is_const(n->in[i]))
            return false;
        in[i] = n->in[i];
    }
    in[0] = all_bytes(n->graph, n->in[0]->dtype);
    Value *lookup[] = {n->in[0], edit_node_with(n, n->domain, n->op_type, n, n->nin, in, n->nattrs, n->attr)->out[0]};
    return edit_replace(n->out[0], edit_node_with(n, "mlcc", "Lookup", n, 2, lookup, 0, NULL)->out[0]);
}

/* --- from each QuantizeLinear upwards --- */

static void tighten(Wanted *t, const Node *n, double lo, double hi) {
    int64_t least = quantised_number(&t->to, lo), most = quantised_number(&t->to, hi);
    t->least = least < t->least ? t->least : least > t->most ? t->most : least;
    t->most = most > t->most ? t->most : most < t->least ? t->least : most;
    replaces(t, n);
}

static bool bound_of(const Node *n, int i, double otherwise, double *x) {
    bool given = n->nin > i && n->in[i];
    *x = otherwise;
    if (given && value_is_const(n->in[i]))
        *x = const_float(n->in[i], 0);
    return !given || value_is_const(n->in[i]);
}

/* The second of two inputs is a number. */
static bool bound_beside(const Node *n, double *x) {
    if (n->nin != 2 || !value_is_const(n->in[1]) || value_count(n->in[1]) != 1 || n->in[1]->rank > n->in[0]->rank)
        return false;
    *x = const_float(n->in[1], 0);
    return !isnan(*x);
}

/* Above the bounds that v is clipped to. */
static Value *above_bounds(Wanted *t, Value *v) {
    while (v->kind == VALUE_NODE && only_user(v)) {
        const Node *n = v->def;
        double lo, hi;
        if (edit_is(n, "Relu"))
            tighten(t, n, 0, INFINITY);
        else if (edit_is(n, "Clip") && bound_of(n, 1, -INFINITY, &lo) && bound_of(n, 2, INFINITY, &hi) && lo <= hi)
            tighten(t, n, lo, hi);
        else if (edit_is(n, "Max") && bound_beside(n, &lo))
            tighten(t, n, lo, INFINITY);
        else if (edit_is(n, "Min") && bound_beside(n, &hi))
            tighten(t, n, -INFINITY, hi);
        else
            break;
        v = n->in[0];
    }
    return v;
}

static Value *make_integer(Wanted *t, Value *v) {
    static Value *(*const makers[])(Wanted *, const Node *) = {make_conv,    make_conv_transpose, make_gemm,    make_biased, make_binary,
                                                               make_average, make_mean,           make_softmax, make_concat};
    if (v->kind != VALUE_NODE)
        return NULL;
    Value *y = NULL;
    for (size_t i = 0; !y && i < sizeof makers / sizeof *makers; i++)
        y = makers[i](t, v->def);
    return y ? y : make_matmul(t, v->def, NULL);
}

static Value *bounded(const Wanted *t, Value *y) {
    Quantised any = t->to;
    Graph *g = y->graph;
    if (t->least > quantised_number(&any, -INFINITY))
        y = edit_node(t->before, "Max", y->def, 2, (Value *[]){y, quantised_const(g, "least", any.dtype, t->least)})->out[0];
    if (t->most < quantised_number(&any, INFINITY))
        y = edit_node(t->before, "Min", y->def, 2, (Value *[]){y, quantised_const(g, "most", any.dtype, t->most)})->out[0];
    return y;
}

static bool fold_quantise(Node *q) {
    Wanted t = {.before = q};
    if (!quantised_by(q, &t.to) || fold_is_possible(q->out[0]))
        return false;
    t.least = quantised_number(&t.to, -INFINITY);
    t.most = quantised_number(&t.to, INFINITY);
    Value *v = above_bounds(&t, q->in[0]), *y = NULL;
    bool used_alone = v == q->in[0] ? only_user(v) : true;
    if (v->kind == VALUE_NODE && (used_alone || !v->def->op->macs))
        y = make_integer(&t, v);
    if (y) {
        replaces(&t, v->def);
        y = bounded(&t, y);
    } else {
        y = make_table(&t, q->in[0]); /* bounds are part of the function */
    }
    if (!y || !edit_replace(q->out[0], y))
        return false;
    for (int i = t.npath - 1; i >= 0 && y->kind == VALUE_NODE; i--)
        edit_add_sources(y->def, t.path[i]);
    if (y->kind == VALUE_NODE)
        edit_add_sources(y->def, q);
    return true;
}

/* --- what stays float --- */

static bool is_quantised(const Graph *g) {
    for (const Node *n = g->first; n; n = n->next)
        if (edit_is(n, "QuantizeLinear"))
            return true;
    return false;
}

/* Computed in registers, with those before and behind it, between bytes that are read and written. */
static bool is_between_bytes(const Node *n) {
    Quantised q;
    const Node *m = value_only_user(n->out[0]);
    bool reads = op_is_elementwise(n) && m &&
                 (edit_is(m, "QuantizeLinear") || (op_is_elementwise(m) && value_same_shape(m->out[0], n->out[0])));
    for (int i = 0; i < n->nin && reads; i++) {
        Value *v = n->in[i];
        bool number = v && v->kind == VALUE_NODE && dtype_is_float(v->dtype) && !fold_is_possible(v) && !quantised_read(v, &q);
        reads = !number || (op_is_elementwise(v->def) && value_only_user(v) && value_same_shape(v, n->out[0]));
    }
    return reads;
}

static bool is_float_work(const Node *n) {
    const Value *y = n->nout ? n->out[0] : NULL;
    return y && dtype_is_float(y->dtype) && !fold_is_possible(y) && !edit_is(n, "DequantizeLinear") && !(n->op->flags & OP_MOVEMENT) &&
           !is_between_bytes(n);
}

static const char *why_float(const Node *n) {
    Quantised q;
    Arena *a = n->graph->arena;
    for (int i = 0; i < n->nin && i < 2; i++) {
        Value *v = n->in[i];
        if (!v || value_is_const(v) || !dtype_is_float(v->dtype) || quantised_tensor(v, &q) || (i && quantised_read(v, &q)))
            continue;
        return arena_printf(a, "input %d (\"%s\") is not of 8 or 16 bits with one scale and zero point", i, v->name);
    }
    const Node *m = value_only_user(n->out[0]);
    while (m && (edit_is(m, "Relu") || edit_is(m, "Clip")))
        m = value_only_user(m->out[0]);
    if (!m || !edit_is(m, "QuantizeLinear"))
        return "no QuantizeLinear takes its output alone";
    if (!quantised_by((Node *)m, &q))
        return "its output is not quantised to 8 or 16 bits with one scale and zero point";
    if (!n->op->macs)
        return "mlcc has no form of it on integers: it computes in registers, from bytes to bytes";
    if (n->nin > 1 && quantised_read(n->in[1], &q) && dtype_size(q.dtype) > 1)
        return "its weights have more than 8 bits";
    if (n->nin > 1 && value_is_const(n->in[1]) && dtype_is_float(n->in[1]->dtype))
        return "its weights are not quantised";
    if (quantised_read(n->in[0], &q) && dtype_size(q.dtype) > 1)
        return "sums of products with elements of 16 bits may not fit into 32 bits";
    return "mlcc has no form of it on integers, or not with these weights and attributes";
}

/* One note for each node of the model. */
static void note_floats(Graph *g) {
    const char *last = "";
    for (const Node *n = g->first; n; n = n->next) {
        if (!is_float_work(n) || !strcmp(n->name, last))
            continue;
        bool product = edit_is(n, "Cast") && n->in[0]->dtype == DT_I32 && n->in[0]->kind == VALUE_NODE;
        const char *why = product ? "its products are of integers, but no QuantizeLinear takes its result" : why_float(n);
        VEC_PUSH(g->arena, &g->floats, ((NodeNote){n->name, product ? n->in[0]->def->op_type : n->op_type, why}));
        last = n->name;
    }
}

void pass_qdq(Graph *g) {
    bool quantised = is_quantised(g);
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (tabulate(n) || (quantised && fold_quantise(n)))
            node_remove(n);
    }
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (product_to_float(n))
            node_remove(n);
    }
    pass_dead(g);
    if (quantised)
        note_floats(g);
}
