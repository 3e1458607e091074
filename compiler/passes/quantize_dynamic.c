/* SPDX-License-Identifier: Apache-2.0 */
/* Products of bytes whose left side is quantised when they run: x W becomes
 *     q, s, z = DynamicQuantizeLinear(x);  y = Cast(MatMulInteger(q, W8, z)) * (s * scale of W's columns)
 * and the same with ConvInteger. Runtimes know this form, and fuse it. */
#include "passes/edit.h"
#include "passes/quantize_edit.h"
#include "passes/quantize_weights.h"

typedef struct Bytes {
    Value *x, *scale, *zero;
} Bytes;

/* Products of the same value share its bytes. */
static Bytes dynamic_bytes(Value *x) {
    Graph *g = x->graph;
    for (int i = 0; i < x->uses.len; i++) {
        const Node *n = x->uses.data[i].node;
        if (edit_is(n, "DynamicQuantizeLinear"))
            return (Bytes){n->out[0], n->out[1], n->out[2]};
    }
    const char *names[] = {quantize_name(g, x->name, "q"), quantize_name(g, x->name, "step"), quantize_name(g, x->name, "zero")};
    Node *n = graph_node(g, x->def ? x->def->next : g->first, "", "DynamicQuantizeLinear", names[0], 1, &x, 3, names);
    value_set_type(n->out[0], DT_U8, x->rank, x->dim);
    value_set_type(n->out[1], DT_F32, 0, NULL);
    value_set_type(n->out[2], DT_U8, 0, NULL);
    return (Bytes){n->out[0], n->out[1], n->out[2]};
}

static Value *plus(Node *before, Graph *g, Value *y, Value *bias, bool by_channel) {
    if (!bias)
        return y;
    if (by_channel) {
        int64_t dim[GRAPH_MAX_RANK] = {1, bias->dim[0]};
        for (int d = 2; d < y->rank; d++)
            dim[d] = 1;
        bias = edit_reshaped_const(bias, y->rank, dim);
    }
    return quantize_node(before, g, "", "Add", before->name, "sum", 2, (Value *[]){y, bias}, DT_F32);
}

/* The weights of Gemm as MatMul takes them. */
static Value *upright(Node *n, Value *x) {
    if (!attr_int(n, "transB", 0))
        return x;
    Graph *g = n->graph;
    int64_t rows = x->dim[1], columns = x->dim[0], dim[] = {rows, columns};
    const int8_t *from = x->data.bytes;
    int8_t *to = ARENA_ARRAY(g->arena, int8_t, rows * columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[i * columns + j] = from[j * rows + i];
    return quantize_const(g, x->name, "upright", DT_I8, 2, dim, to, (size_t)(rows * columns));
}

static void make_product(Node *n, const QuantizeRecipe *r) {
    Graph *g = n->graph;
    bool conv = edit_is(n, "Conv");
    Value *y = n->out[0];
    ChannelWeights w = quantize_by_channel(n, NULL, r);
    Bytes x = dynamic_bytes(n->in[0]);
    Value *in[] = {x.x, conv ? w.x : upright(n, w.x), x.zero}, *bias = n->nin > 2 ? n->in[2] : NULL;
    Value *sum = quantize_node(n, g, "", conv ? "ConvInteger" : "MatMulInteger", n->name, "i", 3, in, DT_I32);
    value_set_type(sum, DT_I32, y->rank, y->dim);
    sum->def->name = n->name;
    for (int i = 0; conv && i < n->nattrs; i++)
        node_add_attr(sum->def, n->attr[i]);
    int64_t dim[GRAPH_MAX_RANK] = {w.channels, 1, 1, 1};
    int rank = w.channels == 1 ? 0 : conv ? y->rank - 1 : 1;
    for (int d = 1; d < rank; d++)
        dim[d] = 1;
    Value *scale = quantize_const(g, n->in[1]->name, "s", DT_F32, rank, dim, w.scale, (size_t)w.channels * sizeof *w.scale);
    Value *step = quantize_node(n, g, "", "Mul", n->name, "step", 2, (Value *[]){scale, x.scale}, DT_F32);
    Value *floats = quantize_node(n, g, "", "Cast", n->name, "f", 1, &sum, DT_F32);
    node_add_attr(floats->def, edit_int("to", dtype_to_onnx(DT_F32)));
    Value *scaled = quantize_node(n, g, "", "Mul", n->name, "scaled", 2, (Value *[]){floats, step}, DT_F32);
    quantize_take_over(y, plus(n, g, scaled, bias, conv));
    node_remove(n);
}

void quantize_apply_dynamic(QuantizePlan *p, const QuantizeRecipe *r) {
    Graph *g = p->graph;
    for (int i = 0; i < p->items.len; i++)
        p->items.data[i].dequantized = p->items.data[i].name;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        const QuantizeItem *item = quantize_item(p, n);
        if (!item || item->precision)
            continue;
        if (quantize_weight_axis(n) >= 0)
            make_product(n, r);
        else if (quantize_is_recurrent(n))
            quantize_recurrent(n, DT_I8, 0);
        else
            quantize_table(n);
    }
}
