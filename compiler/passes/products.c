/* SPDX-License-Identifier: Apache-2.0 */
/* Products of bytes that were dequantised, where no QuantizeLinear follows at once: they are of integers, and the sum becomes a
 * float. What follows (a normalisation, an activation) joins the kernel, up to the next QuantizeLinear. */
#include "passes/products.h"

#include "ops/op.h"
#include "passes/edit.h"
#include "passes/fold.h"
#include "passes/quantised.h"

/* Output, scales and bias of a product, as it is put together. */
typedef struct Product {
    Node *n;
    Value *y;
    Quantised x, w;
    double factor;   /* besides the scales */
    int rank, axis;  /* of scales and bias as tensors, and their axis of channels */
    Value *bias;     /* NULL: none */
} Product;

static Value *one_node(const Product *p, const char *op, Value *x, Value *y) {
    return edit_node(p->n, op, p->n, y ? 2 : 1, (Value *[]){x, y})->out[0];
}

/* The product of both scales, by channel where the weights' are. */
static Value *scales_of(const Product *p) {
    Graph *g = p->n->graph;
    int64_t count = value_count(p->w.scale), dim[GRAPH_MAX_RANK];
    if (count == 1)
        return graph_const_float(g, graph_fresh_name(g, "scale"),
                                 (float)(const_float(p->x.scale, 0) * const_float(p->w.scale, 0) * p->factor));
    float *scale = ARENA_ARRAY(g->arena, float, count);
    for (int64_t i = 0; i < count; i++)
        scale[i] = (float)(const_float(p->x.scale, 0) * const_float(p->w.scale, i) * p->factor);
    for (int d = 0; d < p->rank; d++)
        dim[d] = d == p->axis ? count : 1;
    return graph_const(g, graph_fresh_name(g, "scales"), DT_F32, p->rank, dim, (Data){scale, (size_t)count * sizeof *scale});
}

static bool finish(const Product *p) {
    Value *y = edit_cast(p->n, p->n, p->y, DT_F32);
    Value *scales = scales_of(p);
    y = one_node(p, "Mul", y, scales);
    return edit_replace(p->n->out[0], p->bias ? one_node(p, "Add", y, p->bias) : y);
}

static bool is_byte(const Quantised *q) { return dtype_size(q->dtype) == 1; }

static bool convolution(Product *p) {
    Node *n = p->n;
    if (!edit_is(n, "Conv") || !quantised_tensor(n->in[0], &p->x) || !is_byte(&p->x) || !quantised_weights(n->in[1], 0, &p->x, &p->w))
        return false;
    p->rank = n->in[0]->rank - 1;
    if (n->nin > 2 && n->in[2]) {
        int64_t dim[GRAPH_MAX_RANK] = {n->in[1]->dim[0]};
        for (int d = 1; d < p->rank; d++)
            dim[d] = 1;
        Value *shape = graph_const_ints(n->graph, graph_fresh_name(n->graph, "shape"), 1, p->rank, dim);
        p->bias = one_node(p, "Reshape", n->in[2], shape);
    }
    Value *in[] = {p->x.x, p->w.x, p->x.zero, p->w.zero};
    p->y = edit_node_with(n, "", "ConvInteger", n, 4, in, n->nattrs, n->attr)->out[0];
    return finish(p);
}

static bool gemm_of(const Product *p, bool *transposed) {
    const Node *n = p->n;
    *transposed = attr_int(n, "transB", 0) != 0;
    return edit_is(n, "Gemm") && !attr_int(n, "transA", 0) && (n->nin < 3 || !n->in[2] || attr_float(n, "beta", 1) == 1);
}

static bool matrices(Product *p) {
    Node *n = p->n;
    bool transposed, gemm = gemm_of(p, &transposed);
    if ((!gemm && !edit_is(n, "MatMul")) || !quantised_tensor(n->in[0], &p->x) || !is_byte(&p->x))
        return false;
    bool weights = n->in[1]->rank == 2 && quantised_weights(n->in[1], transposed ? 0 : 1, &p->x, &p->w);
    if (!weights && (!quantised_tensor(n->in[1], &p->w) || !is_byte(&p->w) || gemm))
        return false;
    p->rank = 1;
    if (gemm) {
        p->factor = (double)attr_float(n, "alpha", 1);
        p->bias = n->nin > 2 ? n->in[2] : NULL;
    }
    Value *w = gemm && transposed ? one_node(p, "Transpose", p->w.x, NULL) : p->w.x, *in[] = {p->x.x, w, p->x.zero, p->w.zero};
    p->y = edit_node_with(n, "", "MatMulInteger", n, 4, in, 0, NULL)->out[0];
    return finish(p);
}

bool product_to_float(Node *n) {
    Product p = {.n = n, .factor = 1};
    if (n->nin < 2 || !n->out[0] || fold_is_possible(n->out[0]) || n->out[0]->dtype != DT_F32)
        return false;
    return convolution(&p) || matrices(&p);
}
