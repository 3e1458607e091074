/* SPDX-License-Identifier: Apache-2.0 */
/* Quantised operators of com.microsoft that are others of the table put together. */
#include <string.h>

#include "ops/expand.h"
#include "ops/quant.h"
#include "ops/rules.h"

static Value *node_of(Node *n, const char *domain, const char *op, int nin, Value *const *in) {
    Node *m = graph_node(n->graph, n, domain, op, n->name, nin, in, 1, NULL);
    m->sources = n->sources;
    return m->out[0];
}

static Value *reshaped(Node *n, const char *what, Value *x, int rank, const int64_t *dim) {
    Value *in[] = {x, ints_before(n, "shape", 1, rank, dim)};
    return value_before(n, "Reshape", what, 2, in);
}

static Value *input(const Node *n, int i) { return quant_has(n, i) ? n->in[i] : NULL; }

/* --- QAttention: input, weights and bias of Q, K and V side by side, scale of the input, of the weights, mask, zero point of
 * the input, of the weights, past keys and values --- */

typedef struct QAttention {
    int64_t batch, places, heads, size, past; /* size: of a head */
} QAttention;

static bool check_attention(const Node *n, QAttention *a) {
    const Value *x = n->in[0], *w = n->in[1], *b = n->in[2], *mask = input(n, 5), *past = input(n, 8);
    *a = (QAttention){.heads = attr_int(n, "num_heads", 0)};
    if (x->rank != 3 || w->rank != 2 || b->rank != 1 || w->dim[0] != x->dim[2] || b->dim[0] != w->dim[1] || b->dtype != DT_F32)
        return infer_error(n, "input, weights and bias do not fit together");
    if (a->heads < 1 || a->heads > INT32_MAX || w->dim[1] % (3 * a->heads))
        return infer_error(n, "attribute \"num_heads\": %lld does not divide a third of %lld columns",
                           (long long)a->heads, (long long)w->dim[1]);
    a->batch = x->dim[0];
    a->places = x->dim[1];
    a->size = w->dim[1] / 3 / a->heads;
    if (past && (past->rank != 5 || past->dtype != DT_F32 || past->dim[0] != 2 || past->dim[1] != a->batch ||
                 past->dim[2] != a->heads || past->dim[4] != a->size))
        return infer_error(n, "the past does not fit the input");
    a->past = past ? past->dim[3] : 0;
    if (attr_int(n, "do_rotary", 0) || attr_int(n, "past_present_share_buffer", 0))
        return infer_error(n, "attributes \"do_rotary\" and \"past_present_share_buffer\" are not supported");
    int64_t all = a->past + a->places;
    bool lengths = mask && mask->rank == 1 && mask->dim[0] == a->batch,
         flags = mask && mask->rank == 2 && mask->dim[0] == a->batch && mask->dim[1] == all;
    bool pairs = mask && mask->rank == 3 && mask->dim[0] == a->batch && mask->dim[1] == a->places && mask->dim[2] == all;
    if (mask && (mask->dtype != DT_I32 || (!lengths && !flags && !pairs)))
        return infer_error(n, "the mask must be int32: lengths, or 0 and 1 for each key, or for each query and key");
    return true;
}

/* What is added to scores of keys that are masked. */
static Value *attention_bias(Node *n, const QAttention *a) {
    Value *mask = n->in[5], *allowed;
    int64_t all = a->past + a->places;
    if (mask->rank == 1) {
        const int64_t one = 1, column[] = {a->batch, 1, 1, 1};
        Value *range[3];
        range[0] = ints_before(n, "first", 0, 1, (int64_t[]){0});
        range[1] = ints_before(n, "end", 0, 1, &all);
        range[2] = ints_before(n, "step", 0, 1, &one);
        Value *in[2];
        in[0] = value_before(n, "Range", "keys", 3, range);
        in[1] = value_before(n, "Cast", "lengths", 1, &mask);
        put_int(in[1]->def, "to", dtype_to_onnx(DT_I64));
        in[1] = reshaped(n, "lengths", in[1], 4, column);
        allowed = value_before(n, "Less", "allowed", 2, in);
    } else {
        const int64_t shape[] = {a->batch, 1, mask->rank == 3 ? a->places : 1, all};
        allowed = reshaped(n, "mask", mask, 4, shape);
        allowed = value_before(n, "Cast", "allowed", 1, &allowed);
        put_int(allowed->def, "to", dtype_to_onnx(DT_BOOL));
    }
    Value *in[] = {allowed, scalar_before(n, "nothing", DT_F32, 0), NULL};
    in[2] = scalar_before(n, "filter", DT_F32, (double)attr_float(n, "mask_filter_value", -10000));
    return value_before(n, "Where", "bias", 3, in);
}

/* Keys (0) or values (1) of the past. */
static Value *past_of(Node *n, int64_t which) {
    Value *in[] = {n->in[8], ints_before(n, "which", 0, 1, &which)};
    return value_before(n, "Gather", which ? "past_values" : "past_keys", 2, in);
}

static Value *joined_present(Node *n, const QAttention *a, Value *keys, Value *values) {
    const int64_t shape[] = {1, a->batch, a->heads, a->past + a->places, a->size};
    Value *in[] = {reshaped(n, "keys", keys, 5, shape), values};
    in[1] = reshaped(n, "values", values, 5, shape);
    Value *y = value_before(n, "Concat", "present", 2, in);
    put_int(y->def, "axis", 0);
    return y;
}

INFER(infer_qattention) {
    QAttention a;
    if (!check_attention(n, &a))
        return false;
    Value *in[] = {n->in[0], n->in[1], n->in[3], n->in[4], input(n, 6), input(n, 7), n->in[2]};
    Value *all = node_of(n, "com.microsoft", "MatMulIntegerToFloat", 7, in), *part[7] = {NULL};
    for (int64_t i = 0; i < 3; i++) {
        const int64_t from = i * a.heads * a.size, to = from + a.heads * a.size, axis = 2;
        Value *cut[] = {all, ints_before(n, "from", 1, 1, &from), NULL, NULL};
        cut[2] = ints_before(n, "to", 1, 1, &to);
        cut[3] = ints_before(n, "axis", 1, 1, &axis);
        part[i] = value_before(n, "Slice", "part", 4, cut);
    }
    part[3] = quant_has(n, 5) ? attention_bias(n, &a) : NULL;
    for (int64_t i = 0; i < 2 && quant_has(n, 8); i++)
        part[4 + i] = past_of(n, i);
    Node *y = graph_node(n->graph, n, "", "Attention", n->name, 6, part, 3, NULL);
    y->sources = n->sources;
    put_int(y, "q_num_heads", a.heads);
    put_int(y, "kv_num_heads", a.heads);
    put_int(y, "is_causal", attr_int(n, "unidirectional", 0) != 0);
    if (attr_float(n, "scale", 0) != 0)
        node_add_attr(y, (Attr){.name = "scale", .kind = ATTR_FLOAT, .f = attr_float(n, "scale", 0)});
    if (n->nout > 1 && n->out[1])
        replace_output(n, 1, joined_present(n, &a, y->out[1], y->out[2]));
    replace_output(n, 0, y->out[0]);
    node_remove(n);
    return true;
}

/* --- DynamicQuantizeLSTM: LSTM's inputs, W and R with their last two axes exchanged, then their scales and zero points --- */

enum { W = 1, R = 2, PLAIN_INPUTS = 8 };

static bool check_recurrent(const Node *n, int i) {
    const Value *w = n->in[i], *scale = n->in[PLAIN_INPUTS + 2 * (i - 1)], *zero = n->in[PLAIN_INPUTS + 2 * (i - 1) + 1];
    if (!quant_infer_bytes(n, i) || w->rank != 3)
        return w->rank == 3 ? false : infer_error(n, "input %d must have rank 3", i);
    bool one = value_count(scale) == w->dim[0] && scale->rank <= 1,
         each = scale->rank == 2 && scale->dim[0] == w->dim[0] && scale->dim[1] == w->dim[2];
    if (scale->dtype != DT_F32 || zero->dtype != w->dtype || (!one && !each) || !value_same_shape(scale, zero))
        return infer_error(n, "scale and zero point of input %d must have one element for each direction, or for each row of a gate", i);
    return true;
}

static Value *recurrent_weights(Node *n, int i) {
    static const int64_t perm[] = {0, 2, 1};
    const Value *scale = n->in[PLAIN_INPUTS + 2 * (i - 1)];
    const int64_t dim[] = {n->in[i]->dim[0], scale->rank == 2 ? scale->dim[1] : 1, 1};
    Value *w = value_before(n, "Transpose", "weights", 1, &n->in[i]);
    node_add_attr(w->def, (Attr){.name = "perm", .kind = ATTR_INTS, .n = 3, .ints = perm});
    Value *in[] = {w, reshaped(n, "scale", n->in[PLAIN_INPUTS + 2 * (i - 1)], 3, dim), n->in[PLAIN_INPUTS + 2 * (i - 1) + 1]};
    in[2] = reshaped(n, "zero", in[2], 3, dim);
    return node_of(n, "mlcc", "Dequantize", 3, in);
}

/* The input as bytes with one scale; the weights stay bytes. */
INFER(infer_dynamic_quantize_lstm) {
    Value *in[PLAIN_INPUTS];
    static const DType floats[] = {DT_F32, DT_NONE};
    for (int i = PLAIN_INPUTS; i < PLAIN_INPUTS + 4; i++)
        if (!quant_has(n, i))
            return infer_error(n, "input %d is missing", i);
    if (!infer_type_in(n, 0, floats) || !check_recurrent(n, W) || !check_recurrent(n, R))
        return false;
    memcpy(in, n->in, sizeof in);
    Node *q = graph_node(n->graph, n, "", "DynamicQuantizeLinear", n->name, 1, &n->in[0], 3, NULL);
    q->sources = n->sources;
    in[0] = value_before(n, "DequantizeLinear", "x", 3, q->out);
    in[W] = recurrent_weights(n, W);
    in[R] = recurrent_weights(n, R);
    Node *y = graph_node(n->graph, n, "", "LSTM", n->name, PLAIN_INPUTS, in, 3, NULL);
    y->sources = n->sources;
    for (int i = 0; i < n->nattrs; i++)
        node_add_attr(y, n->attr[i]);
    put_int(y, "quantise_state", 1);
    for (int i = 0; i < n->nout; i++)
        replace_output(n, i, y->out[i]);
    node_remove(n);
    return true;
}

/* --- GatherBlockQuantized: data, indices, scales, zero points --- */

INFER(infer_gather_blocks) {
    const int64_t axis = attr_int(n, "quantize_axis", 1), block = attr_int(n, "block_size", 128);
    if (dtype_width(n->in[0]->dtype) >= 8 && attr_int(n, "bits", 4) != 8)
        return infer_error(n, "elements of %lld bits in bytes are not supported; int4 and uint4 are", (long long)attr_int(n, "bits", 4));
    if (block < 1)
        return infer_error(n, "attribute \"block_size\" is %lld", (long long)block);
    Value *in[] = {n->in[0], n->in[2], input(n, 3)};
    Value *numbers = value_before(n, "DequantizeLinear", "numbers", 3, in);
    put_int(numbers->def, "axis", axis);
    put_int(numbers->def, "block_size", block);
    Value *rows[] = {numbers, n->in[1]}, *y = value_before(n, "Gather", "rows", 2, rows);
    put_int(y->def, "axis", attr_int(n, "gather_axis", 0));
    replace_output(n, 0, y);
    node_remove(n);
    return true;
}
