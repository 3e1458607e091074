/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the patterns of quantised models. */
#include "passes/quantised.h"

#include <math.h>
#include <string.h>

#include "ops/quant.h"
#include "passes/edit.h"
#include "passes/fold.h"

bool quantised_is_element(DType t) { return dtype_is_integer(t) && dtype_size(t) <= 2; }

Value *quantised_const(Graph *g, const char *name, DType t, int64_t x) {
    int32_t wide = (int32_t)x; /* little endian: its first byte is the byte */
    size_t size = (size_t)dtype_size(t);
    return graph_const(g, name, t, 0, NULL, (Data){arena_dup(g->arena, &wide, sizeof wide), size});
}

/* Scale and zero point of a (De)QuantizeLinear whose elements have type t. */
static bool read_params(Node *n, DType t, Quantised *q) {
    const Attr *block = node_attr(n, "block_size");
    if ((block && block->i) || n->in[1]->dtype != DT_F32 || !value_is_const(n->in[1]))
        return false;
    bool zero = n->nin > 2 && n->in[2];
    if (zero && !value_is_const(n->in[2]))
        return false;
    q->dtype = t;
    q->scale = n->in[1];
    q->zero = zero ? n->in[2] : NULL;
    q->axis = -1;
    q->sums = NULL;
    for (int64_t i = 0; i < value_count(q->scale); i++) {
        double s = const_float(q->scale, i);
        if (!(s >= 0) || isinf(s))
            return false;
    }
    if (value_count(q->scale) > 1) {
        int64_t axis = attr_int(n, "axis", 1);
        q->axis = (int)(axis < 0 ? axis + n->in[0]->rank : axis);
    }
    return true;
}

/* In the scale's shape. */
static void need_zero(Graph *g, Quantised *q) {
    size_t size = (size_t)value_count(q->scale) * (size_t)dtype_size(q->dtype);
    if (!q->zero)
        q->zero = graph_const(g, "zero", q->dtype, q->scale->rank, q->scale->dim, (Data){arena_alloc(g->arena, size), size});
}

bool quantised_read(Value *v, Quantised *q) {
    if (!v || v->kind != VALUE_NODE || !edit_is(v->def, "DequantizeLinear") || v->dtype != DT_F32 ||
        !quantised_is_element(dtype_stored(v->def->in[0]->dtype)))
        return false;
    Node *n = v->def;
    q->x = n->in[0];
    if (!read_params(n, q->x->dtype, q))
        return false;
    need_zero(v->graph, q);
    return true;
}

bool quantised_tensor(Value *v, Quantised *q) {
    return quantised_read(v, q) && dtype_width(q->dtype) >= 8 && q->axis < 0 && const_float(q->scale, 0) > 0;
}

bool quantised_by(Node *n, Quantised *q) {
    if (!edit_is(n, "QuantizeLinear") || n->in[0]->dtype != DT_F32 || !quantised_is_element(n->out[0]->dtype) || dtype_width(n->out[0]->dtype) < 8)
        return false;
    q->x = n->out[0];
    if (!read_params(n, n->out[0]->dtype, q) || q->axis >= 0 || !(const_float(q->scale, 0) > 0))
        return false;
    need_zero(n->graph, q);
    return true;
}

bool quantised_alike(const Quantised *p, const Quantised *q) {
    return p->dtype == q->dtype && const_float(p->scale, 0) == const_float(q->scale, 0) && const_int(p->zero, 0) == const_int(q->zero, 0);
}

int64_t quantised_number(const Quantised *q, double x) {
    double least = (double)quant_least(q->dtype), most = (double)quant_most(q->dtype);
    double y = nearbyint((double)((float)x / (float)const_float(q->scale, 0))) + (double)const_int(q->zero, 0);
    return y < least || isnan(y) ? (int64_t)least : y > most ? (int64_t)most : (int64_t)y;
}

bool quantised_picks(const Node *n) {
    if (edit_is(n, "MaxPool"))
        return n->nout == 1 || !n->out[1];
    return edit_is(n, "Resize") && !strcmp(attr_string(n, "mode", "nearest"), "nearest") &&
           strcmp(attr_string(n, "coordinate_transformation_mode", "half_pixel"), "tf_crop_and_resize");
}

/* --- operands of products --- */

/* x - zero of constants as I8, computed by folding. */
static void centre(Quantised *q, const Node *d) {
    Graph *g = q->x->graph;
    Node *before = (Node *)d;
    int64_t dim[GRAPH_MAX_RANK], count = value_count(q->zero);
    for (int i = 0; i < q->x->rank; i++)
        dim[i] = i == q->axis ? count : 1;
    Value *zero = edit_reshaped_const(q->zero, q->axis < 0 ? 0 : q->x->rank, dim);
    Value *in[] = {edit_cast(before, d, q->x, DT_I16), NULL};
    in[1] = edit_cast(before, d, zero, DT_I16);
    q->x = edit_cast(before, d, edit_node(before, "Sub", d, 2, in)->out[0], DT_I8);
    q->dtype = DT_I8;
    q->zero = quantised_const(g, "zero", DT_I8, 0);
}

bool quantised_is_centred(const Quantised *q) {
    for (int64_t i = 0; i < value_count(q->zero); i++)
        if (const_int(q->zero, i))
            return false;
    return true;
}

/* Elements of a few bits fit into 8 without their zero point, and so do unsigned ones round 128. */
static bool can_centre(const Quantised *q) {
    if (dtype_stored(q->dtype) != q->dtype)
        return true;
    for (int64_t i = 0; i < value_count(q->zero); i++)
        if (q->dtype != DT_U8 || const_int(q->zero, i) != 128)
            return false;
    return !quantised_is_centred(q);
}

double quantised_widest(const Quantised *x) {
    int64_t zero = const_int(x->zero, 0), below = zero - quant_least(x->dtype), above = quant_most(x->dtype) - zero;
    return (double)(below > above ? below : above);
}

/* By channel of the axis; NULL where the elements are not known. */
static const double *channel_sums(const Quantised *q, int axis) {
    const Value *x = q->x;
    if (!value_is_const(x))
        return NULL;
    int64_t inner = 1, channels = x->dim[axis], count = value_count(x);
    double *sum = ARENA_ARRAY(x->graph->arena, double, channels + 1);
    for (int d = axis + 1; d < x->rank; d++)
        inner *= x->dim[d];
    for (int64_t i = 0; i < count; i++) {
        int64_t c = i / inner % channels;
        sum[c] += fabs((double)(const_int(x, i) - const_int(q->zero, value_count(q->zero) > 1 ? c : 0)));
    }
    return sum;
}

static double largest_sum(const Quantised *q, const double *sums, int axis) {
    int64_t channels = q->x->dim[axis];
    double most = 0;
    if (!sums)
        return 255.0 * (double)value_count(q->x) / (double)(channels ? channels : 1);
    for (int64_t c = 0; c < channels; c++)
        most = sums[c] > most ? sums[c] : most;
    return most;
}

bool quantised_weights(Value *v, int axis, const Quantised *x, Quantised *q) {
    if (!quantised_read(v, q) || dtype_size(q->dtype) != 1 || !fold_is_possible(q->x) || (q->axis >= 0 && q->axis != axis))
        return false;
    int channels = axis < 0 ? 1 : axis;
    const double *sums = channel_sums(q, channels);
    if (dtype_size(x->dtype) > 1 && largest_sum(q, sums, channels) * quantised_widest(x) > (double)INT32_MAX / 2)
        return false;
    q->sums = axis < 0 ? NULL : sums;
    if (can_centre(q))
        centre(q, v->def);
    return true;
}

Value *quantised_sum(Node *n, Value *sum, Value *ratio, Value *zero) {
    Graph *g = n->graph;
    Value *in[] = {edit_cast(n, n, sum, DT_F32), ratio, NULL};
    in[0] = edit_node(n, "Mul", n, 2, in)->out[0];
    in[1] = graph_const_float(g, graph_fresh_name(g, "one"), 1);
    in[2] = zero;
    return edit_node(n, "QuantizeLinear", n, 3, in)->out[0];
}
