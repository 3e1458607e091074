/* SPDX-License-Identifier: Apache-2.0 */
/* Attention as other operators: softmax(softcap(Q K^T scale) + bias) V. Heads that share a key are rows of one matrix
 * product, so that keys and values are never repeated. */
#include <math.h>

#include "ops/expand.h"
#include "ops/rules.h"

typedef struct Attention {
    Node *n;
    Value *q, *k, *v;              /* by batch, head, place, feature */
    Value *mask, *lengths;         /* NULL: absent */
    DType t;
    int64_t batch, heads, kv_heads, queries, keys, past; /* keys and past: with, and of, the past ones */
    int64_t left, right;           /* window, -1: open */
    bool causal;
} Attention;

static Value *reshaped(Node *n, const char *what, Value *x, int rank, const int64_t *dim) {
    return pair_before(n, "Reshape", what, x, ints_before(n, "shape", 1, rank, dim));
}

static Value *permuted(Node *n, const char *what, Value *x, const int64_t *perm) {
    Value *y = value_before(n, "Transpose", what, 1, &x);
    int64_t *ints = arena_dup(n->graph->arena, perm, 4 * sizeof *perm);
    node_add_attr(y->def, (Attr){.name = "perm", .kind = ATTR_INTS, .n = 4, .ints = ints});
    return y;
}

static Value *joined(Node *n, const char *what, Value *x, Value *y) {
    Value *all = pair_before(n, "Concat", what, x, y);
    put_int(all->def, "axis", 2);
    return all;
}

/* --- what the shape rule demands --- */

static int64_t heads_of(const Node *n, const Value *x, const char *attribute) {
    if (x->rank == 4)
        return x->dim[1];
    int64_t heads = attr_int(n, attribute, 0);
    if (heads < 1 || x->dim[2] % heads) {
        infer_error(n, "attribute \"%s\": %lld does not divide a size of %lld", attribute, (long long)heads,
                    (long long)x->dim[2]);
        return -1;
    }
    return heads;
}

static bool check_operands(Attention *a) {
    const Node *n = a->n;
    for (int i = 0; i < 3; i++) {
        const Value *x = n->in[i];
        if (!infer_float(n, i))
            return false;
        if ((x->rank != 3 && x->rank != 4) || x->rank != n->in[0]->rank || x->dim[0] != a->batch)
            return infer_error(n, "Q, K and V must have the same rank, 3 or 4, and the same batch");
    }
    a->heads = heads_of(n, n->in[0], "q_num_heads");
    a->kv_heads = heads_of(n, n->in[1], "kv_num_heads");
    int64_t heads_v = heads_of(n, n->in[2], "kv_num_heads");
    if (a->heads < 0 || a->kv_heads < 0 || heads_v < 0)
        return false;
    if (heads_v != a->kv_heads || (a->heads && (!a->kv_heads || a->heads % a->kv_heads)))
        return infer_error(n, "%lld heads of Q do not divide among %lld of K and %lld of V", (long long)a->heads,
                           (long long)a->kv_heads, (long long)heads_v);
    int places = n->in[0]->rank - 2;
    if (n->in[1]->dim[places] != n->in[2]->dim[places])
        return infer_error(n, "K and V have different lengths");
    int64_t size_q = n->in[0]->rank == 4 ? n->in[0]->dim[3] : n->in[0]->dim[2] / a->heads;
    int64_t size_k = n->in[1]->rank == 4 ? n->in[1]->dim[3] : n->in[1]->dim[2] / a->kv_heads;
    if (n->in[1]->dtype != n->in[0]->dtype || size_q != size_k)
        return infer_error(n, "Q and K differ in type or head size");
    a->queries = n->in[0]->dim[places];
    a->keys = n->in[1]->dim[places];
    return true;
}

static bool check_past(Attention *a) {
    const Node *n = a->n;
    Value *const *past = n->in + 4;
    bool keys = n->nin > 4 && past[0], values = n->nin > 5 && past[1];
    if (keys != values)
        return infer_error(n, "past_key and past_value belong together");
    if (!keys)
        return true;
    for (int i = 0; i < 2; i++) {
        const Value *x = n->in[1 + i];
        int64_t size = x->rank == 4 ? x->dim[3] : x->dim[2] / a->kv_heads;
        if (past[i]->dtype != x->dtype || past[i]->rank != 4 || past[i]->dim[0] != a->batch || past[i]->dim[1] != a->kv_heads ||
            past[i]->dim[2] != past[0]->dim[2] || past[i]->dim[3] != size)
            return infer_error(n, "input %d does not continue input %d", 4 + i, 1 + i);
    }
    a->past = past[0]->dim[2];
    return true;
}

static bool check_masks(Attention *a) {
    const Node *n = a->n;
    a->mask = n->nin > 3 ? n->in[3] : NULL;
    a->lengths = n->nin > 6 ? n->in[6] : NULL;
    if (a->lengths && (a->past || a->lengths->dtype != DT_I64 || a->lengths->rank != 1 || a->lengths->dim[0] != a->batch))
        return infer_error(n, "nonpad_kv_seqlen must be one int64 for each of the batch, and without past keys");
    const int64_t full[] = {a->batch, a->heads, a->queries, a->past + a->keys};
    if (a->mask && (a->mask->rank < 1 || a->mask->rank > 4))
        return infer_error(n, "the mask has rank %d", a->mask->rank);
    for (int d = 0; a->mask && d < a->mask->rank; d++) {
        int64_t size = a->mask->dim[d], most = full[4 - a->mask->rank + d];
        if (d == a->mask->rank - 1 ? size > most : size != 1 && size != most)
            return infer_error(n, "the mask does not broadcast to the scores: axis %d has size %lld, not %lld", d, (long long)size,
                               (long long)most);
    }
    a->left = attr_int(n, "left_window_size", -1);
    a->right = attr_int(n, "right_window_size", -1);
    if (a->left < -1 || a->right < -1 || a->left > INT32_MAX || a->right > INT32_MAX)
        return infer_error(n, "the window sizes must be -1 or more");
    return true;
}

static bool check_attributes(const Node *n) {
    int64_t mode = attr_int(n, "qk_matmul_output_mode", 0), precision = attr_int(n, "softmax_precision", 1);
    DType t = precision > 0 && precision < 1000 ? dtype_from_onnx((int32_t)precision) : DT_NONE;
    if (mode < 0 || mode > 3)
        return infer_error(n, "attribute \"qk_matmul_output_mode\" is %lld", (long long)mode);
    if (!dtype_is_float(t))
        return infer_error(n, "attribute \"softmax_precision\" is %lld", (long long)precision);
    return true;
}

/* --- the bias --- */

static Value *counting(Attention *a, const char *what, int64_t count, bool column) {
    int64_t *x = ARENA_ARRAY(a->n->graph->arena, int64_t, count);
    const int64_t shape[] = {count, 1};
    for (int64_t i = 0; i < count; i++)
        x[i] = i;
    Value *v = graph_const(a->n->graph, what, DT_I64, column ? 2 : 1, shape, (Data){x, (size_t)count * sizeof *x});
    return v;
}

static Value *both(Node *n, Value *x, Value *y) { return x ? pair_before(n, "And", "allowed", x, y) : y; }

/* Which keys a query may see, by order alone: BOOL that broadcasts to the scores; NULL: all. */
static Value *allowed_keys(Attention *a) {
    Node *n = a->n;
    Value *allowed = NULL, *place = counting(a, "places", a->past + a->keys, false);
    const int64_t by_batch[] = {-1, 1, 1, 1};
    Value *lengths = a->lengths ? reshaped(n, "lengths", a->lengths, 4, by_batch) : NULL;
    if (a->causal || a->left >= 0 || a->right >= 0) {
        Value *query = counting(a, "queries", a->queries, true), *offset = ints_before(n, "past", 0, 1, &a->past);
        if (lengths)
            offset = pair_before(n, "Sub", "offset", lengths, ints_before(n, "count", 0, 1, &a->queries));
        query = pair_before(n, "Add", "query_places", query, offset);
        if (a->causal)
            allowed = pair_before(n, "LessOrEqual", "causal", place, query);
        if (a->left >= 0) {
            Value *first = pair_before(n, "Sub", "first", query, ints_before(n, "left", 0, 1, &a->left));
            allowed = both(n, allowed, pair_before(n, "LessOrEqual", "left", first, place));
        }
        if (a->right >= 0) {
            Value *last = pair_before(n, "Add", "last", query, ints_before(n, "right", 0, 1, &a->right));
            allowed = both(n, allowed, pair_before(n, "LessOrEqual", "right", place, last));
        }
    }
    return lengths ? both(n, allowed, pair_before(n, "Less", "present", place, lengths)) : allowed;
}

/* The mask as numbers of the scores' type or BOOL, with -inf or false at the keys it does not reach. */
static Value *whole_mask(Attention *a) {
    Node *n = a->n;
    Value *mask = a->mask;
    int64_t pads[8] = {0}, missing = a->past + a->keys - mask->dim[mask->rank - 1];
    if (mask->dtype != DT_BOOL && mask->dtype != a->t) {
        mask = value_before(n, "Cast", "mask", 1, &mask);
        put_int(mask->def, "to", dtype_to_onnx(a->t));
    }
    if (!missing)
        return mask;
    int rank = a->mask->rank;
    pads[2 * rank - 1] = missing;
    Value *in[] = {mask, ints_before(n, "pads", 1, 2 * rank, pads), NULL};
    if (a->mask->dtype != DT_BOOL)
        in[2] = scalar_before(n, "never", a->t, -INFINITY);
    return value_before(n, "Pad", "mask", in[2] ? 3 : 2, in);
}

/* What is added to the scores; NULL: nothing. */
static Value *bias_of(Attention *a) {
    Node *n = a->n;
    Value *allowed = allowed_keys(a), *mask = a->mask ? whole_mask(a) : NULL;
    if (mask && a->mask->dtype == DT_BOOL) {
        allowed = both(n, allowed, mask);
        mask = NULL;
    }
    if (!allowed)
        return mask;
    Value *never = scalar_before(n, "never", a->t, -INFINITY);
    Value *in[] = {allowed, mask ? mask : scalar_before(n, "zero", a->t, 0), never};
    return value_before(n, "Where", "bias", 3, in);
}

/* --- the products --- */

/* [batch, places, heads * size] to [batch, heads, places, size] */
static Value *split_heads(Node *n, const char *what, Value *x, int64_t heads) {
    static const int64_t perm[] = {0, 2, 1, 3};
    if (x->rank == 4)
        return x;
    const int64_t dim[] = {x->dim[0], x->dim[1], heads, x->dim[2] / heads};
    return permuted(n, what, reshaped(n, what, x, 4, dim), perm);
}

static Value *scores_of(Attention *a, int64_t size) {
    static const int64_t perm[] = {0, 1, 3, 2};
    Node *n = a->n;
    float scale = attr_float(n, "scale", 0);
    double factor = node_attr(n, "scale") ? (double)scale : 1 / sqrt(size ? (double)size : 1);
    Value *q = pair_before(n, "Mul", "scaled", a->q, scalar_before(n, "scale", a->t, factor));
    const int64_t rows[] = {a->batch, a->kv_heads, a->kv_heads ? a->heads / a->kv_heads * a->queries : 0, size};
    if (a->heads != a->kv_heads)
        q = reshaped(n, "rows", q, 4, rows);
    return pair_before(n, "MatMul", "scores", q, permuted(n, "keys", a->k, perm));
}

/* Scores, weights … by head, where heads that share a key are rows of one matrix. */
static Value *by_head(Attention *a, Value *rows) {
    const int64_t full[] = {a->batch, a->heads, a->queries, a->past + a->keys};
    return a->heads != a->kv_heads ? reshaped(a->n, "scores", rows, 4, full) : rows;
}

/* The bias for such rows. */
static Value *bias_by_row(Attention *a, Value *bias) {
    Node *n = a->n;
    int64_t mask[4] = {1, 1, 1, 1}, shared = a->kv_heads ? a->heads / a->kv_heads : 0;
    if (!bias || a->heads == a->kv_heads)
        return bias;
    for (int d = 0; a->mask && d < a->mask->rank; d++)
        mask[4 - a->mask->rank + d] = a->mask->dim[d];
    bool by_query = mask[2] != 1 || a->causal || a->left >= 0 || a->right >= 0;
    if (mask[1] == 1 && !by_query)
        return bias;
    const int64_t batch = a->lengths ? a->batch : mask[0], keys = a->past + a->keys;
    const int64_t full[] = {batch, mask[1] == 1 ? shared : a->heads, a->queries, keys};
    const int64_t rows[] = {batch, mask[1] == 1 ? 1 : a->kv_heads, shared * a->queries, keys};
    Value *all = pair_before(n, "Expand", "bias", bias, ints_before(n, "shape", 1, 4, full));
    return reshaped(n, "bias", all, 4, rows);
}

/* Softmax in the precision that is asked for; rows that may see nothing are zeros. */
static Value *weights_of(Attention *a, Value *scores, Value *bias) {
    Node *n = a->n;
    int64_t wanted = attr_int(n, "softmax_precision", dtype_to_onnx(a->t)), own = dtype_to_onnx(a->t);
    if (wanted != own) {
        scores = value_before(n, "Cast", "precise", 1, &scores);
        put_int(scores->def, "to", wanted);
    }
    Value *weights = value_before(n, "Softmax", "weights", 1, &scores);
    if (wanted != own) {
        weights = value_before(n, "Cast", "weights", 1, &weights);
        put_int(weights->def, "to", own);
    }
    if (!bias || (a->causal && !a->mask && !a->lengths && a->left < 0 && a->right < 0)) /* each sees itself */
        return weights;
    const int64_t last = -1;
    Value *most = pair_before(n, "ReduceMax", "most", bias, ints_before(n, "last", 1, 1, &last));
    Value *never = scalar_before(n, "never", a->t, -INFINITY), *zero = scalar_before(n, "zero", a->t, 0);
    Value *in[] = {pair_before(n, "Equal", "blind", most, never), zero, weights};
    return value_before(n, "Where", "weights", 3, in);
}

static Value *result_of(Attention *a, Value *weights, int64_t size) {
    static const int64_t perm[] = {0, 2, 1, 3};
    Node *n = a->n;
    const int64_t full[] = {a->batch, a->heads, a->queries, size}, flat[] = {a->batch, a->queries, a->heads * size};
    Value *v = a->v;
    if (n->in[2]->dtype != a->t) {
        v = value_before(n, "Cast", "values", 1, &v);
        put_int(v->def, "to", dtype_to_onnx(a->t));
    }
    Value *y = pair_before(n, "MatMul", "mixed", weights, v);
    if (a->heads != a->kv_heads)
        y = reshaped(n, "mixed", y, 4, full);
    return n->in[0]->rank == 4 ? y : reshaped(n, "joined", permuted(n, "joined", y, perm), 3, flat);
}

INFER(infer_attention) {
    Attention a = {.n = n, .t = n->in[0]->dtype, .batch = n->in[0]->rank > 0 ? n->in[0]->dim[0] : 0};
    a.causal = attr_int(n, "is_causal", 0) != 0;
    int64_t mode = attr_int(n, "qk_matmul_output_mode", 0);
    if (!check_operands(&a) || !check_past(&a) || !check_masks(&a) || !check_attributes(n))
        return false;
    int64_t count, size_q = n->in[0]->rank == 4 ? n->in[0]->dim[3] : n->in[0]->dim[2] / a.heads;
    int64_t size_v = n->in[2]->rank == 4 ? n->in[2]->dim[3] : n->in[2]->dim[2] / a.kv_heads;
    const int64_t largest[] = {a.batch, a.heads, a.queries, a.past + a.keys, size_v};
    if (!dims_count(5, largest, &count))
        return infer_error(n, "the scores are too large");
    a.q = split_heads(n, "q", n->in[0], a.heads);
    a.k = split_heads(n, "k", n->in[1], a.kv_heads);
    a.v = split_heads(n, "v", n->in[2], a.kv_heads);
    if (n->nin > 5 && n->in[4]) {
        a.k = joined(n, "keys", n->in[4], a.k);
        a.v = joined(n, "values", n->in[5], a.v);
    }
    replace_output(n, 1, a.k);
    replace_output(n, 2, a.v);
    Value *scores = scores_of(&a, size_q), *bias = bias_by_row(&a, bias_of(&a));
    Value *shown = scores;
    float softcap = attr_float(n, "softcap", 0);
    if (softcap > 0) {
        Value *cap = scalar_before(n, "softcap", a.t, (double)softcap), *part = pair_before(n, "Div", "capped", scores, cap);
        scores = pair_before(n, "Mul", "capped", value_before(n, "Tanh", "capped", 1, &part), cap);
    }
    if (mode == 1)
        shown = scores;
    if (bias)
        scores = pair_before(n, "Add", "biased", scores, bias);
    Value *weights = weights_of(&a, scores, bias);
    if (n->nout > 3 && n->out[3])
        replace_output(n, 3, by_head(&a, mode == 3 ? weights : mode == 2 ? scores : shown));
    replace_output(n, 0, result_of(&a, weights, size_v));
    node_remove(n);
    return true;
}
