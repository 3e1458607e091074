/* SPDX-License-Identifier: Apache-2.0 */
/* Operators that ONNX defines by others, and that lose nothing by it: their shape rules put those in their place. */
#include <string.h>

#include "ops/expand.h"
#include "ops/rules.h"

static Value *one_int(Node *n, const char *what, int64_t x) { return ints_before(n, what, 1, 1, &x); }

/* ReduceSum or ReduceMean of everything. */
static Value *reduce_all(Node *n, const char *op, const char *what, Value *x) {
    Value *sum = value_before(n, op, what, 1, &x);
    put_int(sum->def, "keepdims", 0);
    return sum;
}

/* The last thing: n is gone. */
static void finish(Node *n, Value *result) {
    replace_output(n, 0, result);
    node_remove(n);
}

/* --- losses --- */

static const char *const reductions[] = {"mean", "none", "sum"};

static bool check_loss(const Node *n, int *reduction) {
    const Value *x = n->in[0], *target = n->in[1], *weight = n->nin > 2 ? n->in[2] : NULL;
    static const DType integers[] = {DT_I32, DT_I64, DT_NONE};
    if (!infer_float(n, 0) || !infer_type_in(n, 1, integers) || !infer_choice(n, "reduction", reductions, 3, reduction))
        return false;
    if (x->rank < 2 || target->rank != x->rank - 1)
        return infer_error(n, "the scores have rank %d and the targets rank %d", x->rank, target->rank);
    for (int d = 0; d < target->rank; d++)
        if (target->dim[d] != x->dim[d ? d + 1 : 0])
            return infer_error(n, "scores and targets differ in axis %d of the targets", d);
    if (weight && (weight->dtype != x->dtype || weight->rank != 1 || weight->dim[0] != x->dim[1]))
        return infer_error(n, "the weights must be one number of the scores' type for each of %lld classes",
                           (long long)x->dim[1]);
    return true;
}

/* -x[target] * weight[target], 0 where the target is to be ignored; their sum, or mean by the sum of the weights. */
static Value *likelihood_loss(Node *n, Value *x, int reduction) {
    const Attr *ignore = node_attr(n, "ignore_index");
    Value *weight = n->nin > 2 ? n->in[2] : NULL, *target = value_before(n, "Cast", "target", 1, &n->in[1]), *skip = NULL;
    put_int(target->def, "to", dtype_to_onnx(DT_I64));
    if (ignore) {
        const int64_t zero = 0;
        skip = pair_before(n, "Equal", "ignored", target, ints_before(n, "ignore", 0, 1, &ignore->i));
        Value *safe[] = {skip, ints_before(n, "zero", 0, 1, &zero), target};
        target = value_before(n, "Where", "safe", 3, safe);
    }
    Value *axis = one_int(n, "axis", 1);
    Value *picked = pair_before(n, "GatherElements", "picked", x, pair_before(n, "Unsqueeze", "column", target, axis));
    put_int(picked->def, "axis", 1);
    picked = pair_before(n, "Squeeze", "row", picked, axis);
    Value *loss = value_before(n, "Neg", "loss", 1, &picked);
    Value *each = weight ? pair_before(n, "Gather", "weight", weight, target) : NULL;
    if (skip) {
        Value *none = scalar_before(n, "no", n->in[0]->dtype, 0);
        Value *in[] = {skip, none, each ? each : scalar_before(n, "one", n->in[0]->dtype, 1)};
        each = value_before(n, "Where", "weight", 3, in);
    }
    if (each)
        loss = pair_before(n, "Mul", "weighted", loss, each);
    if (!strcmp(reductions[reduction], "none"))
        return loss;
    if (!each && !strcmp(reductions[reduction], "mean"))
        return reduce_all(n, "ReduceMean", "mean", loss);
    Value *sum = reduce_all(n, "ReduceSum", "sum", loss);
    if (!strcmp(reductions[reduction], "sum"))
        return sum;
    return pair_before(n, "Div", "mean", sum, reduce_all(n, "ReduceSum", "weights", each));
}

INFER(infer_likelihood_loss) {
    int reduction;
    if (!check_loss(n, &reduction))
        return false;
    finish(n, likelihood_loss(n, n->in[0], reduction));
    return true;
}

INFER(infer_cross_entropy_loss) {
    int reduction;
    if (!check_loss(n, &reduction))
        return false;
    Value *log_prob = value_before(n, "LogSoftmax", "log_prob", 1, &n->in[0]);
    put_int(log_prob->def, "axis", 1);
    replace_output(n, 1, log_prob);
    finish(n, likelihood_loss(n, log_prob, reduction));
    return true;
}

/* --- (x - mean) / (deviation + 1e-9) over some axes --- */

INFER(infer_mean_variance_normalization) {
    static const int64_t usual[] = {0, 2, 3};
    const Attr *a = node_attr(n, "axes");
    if (!infer_float(n, 0) || (a && a->kind != ATTR_INTS))
        return infer_error(n, "attribute \"axes\" must be a list of integers");
    Value *x = n->in[0], *axes = ints_before(n, "axes", 1, a ? a->n : 3, a ? a->ints : usual);
    Value *centred = pair_before(n, "Sub", "centred", x, pair_before(n, "ReduceMean", "mean", x, axes));
    Value *variance = pair_before(n, "ReduceMean", "variance", pair_before(n, "Mul", "square", centred, centred), axes);
    Value *deviation = value_before(n, "Sqrt", "deviation", 1, &variance);
    deviation = pair_before(n, "Add", "divisor", deviation, scalar_before(n, "epsilon", x->dtype, 1e-9));
    finish(n, pair_before(n, "Div", "normal", centred, deviation));
    return true;
}

/* --- CenterCropPad: a Pad with negative sizes where it crops --- */

INFER(infer_center_crop_pad) {
    const Value *x = n->in[0];
    const Attr *a = node_attr(n, "axes");
    const int64_t *want;
    int64_t pads[2 * GRAPH_MAX_RANK] = {0};
    int count;
    if (a && a->kind != ATTR_INTS)
        return infer_error(n, "attribute \"axes\" must be a list of integers");
    if (!infer_ints(n, 1, &want, &count))
        return false;
    if (count != (a ? a->n : x->rank))
        return infer_error(n, "the shape has %d entries for %d axes", count, a ? a->n : x->rank);
    for (int i = 0; i < count; i++) {
        int d;
        if (!infer_axis(n, a ? a->ints[i] : i, x->rank, false, &d))
            return false;
        if (want[i] < 0 || want[i] > INT64_MAX / 2)
            return infer_error(n, "axis %d would get size %lld", d, (long long)want[i]);
        int64_t more = want[i] - x->dim[d];
        pads[d] = more / 2;
        pads[x->rank + d] = more - more / 2;
    }
    Value *in[] = {n->in[0], ints_before(n, "pads", 1, 2 * x->rank, pads)};
    become(n, "Pad", 2, in);
    return true;
}

/* --- Compress: a Gather of what a constant selects --- */

INFER(infer_compress) {
    Value *x = n->in[0];
    const Value *keep = n->in[1];
    const Attr *a = node_attr(n, "axis");
    const int64_t all = -1;
    int axis = 0;
    if (!value_is_const(keep) || keep->dtype != DT_BOOL || keep->rank != 1)
        return infer_error(n, "the condition must be a constant list of booleans");
    if (a && !infer_axis(n, a->i, x->rank, false, &axis))
        return false;
    int64_t size = a ? x->dim[axis] : value_count(x), count = 0;
    if (keep->dim[0] > size)
        return infer_error(n, "the condition has %lld elements for %lld", (long long)keep->dim[0], (long long)size);
    int64_t *at = ARENA_ARRAY(n->graph->arena, int64_t, keep->dim[0]);
    for (int64_t i = 0; i < keep->dim[0]; i++)
        if (const_int(keep, i))
            at[count++] = i;
    Value *from = graph_const(n->graph, "kept", DT_I64, 1, &count, (Data){at, (size_t)count * sizeof *at});
    Value *in[] = {a ? x : pair_before(n, "Reshape", "flat", x, one_int(n, "all", all)), from};
    become(n, "Gather", 2, in);
    put_int(n, "axis", axis);
    return true;
}

/* --- CausalConvWithState: a convolution by channel of what was and what is --- */

INFER(infer_causal_conv) {
    static const char *const activations[] = {"none", "silu", "swish"};
    Value *x = n->in[0], *w = n->in[1], *bias = n->nin > 2 ? n->in[2] : NULL, *past = n->nin > 3 ? n->in[3] : NULL;
    int activation;
    if (!infer_float(n, 0) || !infer_one_type(n) || !infer_choice(n, "activation", activations, 3, &activation))
        return false;
    if (x->rank != 3 || w->rank != 3 || w->dim[0] != x->dim[1] || w->dim[1] != 1 || w->dim[2] < 1 || x->dim[1] < 1)
        return infer_error(n, "the input must be batch x channels x length, the weights channels x 1 x size");
    const int64_t before = w->dim[2] - 1, pads[] = {0, 0, before, 0, 0, 0};
    if (past && (past->rank != 3 || past->dim[0] != x->dim[0] || past->dim[1] != x->dim[1] || past->dim[2] != before))
        return infer_error(n, "past_state must be batch x channels x %lld", (long long)before);
    if (past) {
        x = pair_before(n, "Concat", "padded", past, x);
        put_int(x->def, "axis", 2);
    } else {
        x = pair_before(n, "Pad", "padded", x, ints_before(n, "pads", 1, 6, pads));
    }
    Value *operands[] = {x, w, bias}, *y = value_before(n, "Conv", "filtered", bias ? 3 : 2, operands);
    put_int(y->def, "group", w->dim[0]);
    if (activation)
        y = value_before(n, "Swish", "activated", 1, &y);
    int64_t length = n->in[0]->dim[2];
    if (n->nout > 1 && n->out[1]) {
        Value *from = one_int(n, "from", length), *to = one_int(n, "to", length + before);
        Value *last[] = {x, from, to, one_int(n, "axis", 2)};
        replace_output(n, 1, value_before(n, "Slice", "state", 4, last));
    }
    finish(n, y);
    return true;
}

/* --- BatchNormalization by the batch's own statistics --- */

/* old * momentum + new * (1 - momentum), in old's type. */
static Value *moved(Node *n, const char *what, Value *old, Value *now) {
    double momentum = (double)attr_float(n, "momentum", 0.9f);
    Value *kept = pair_before(n, "Mul", what, old, scalar_before(n, "momentum", old->dtype, momentum));
    now = pair_before(n, "CastLike", what, now, old);
    return pair_before(n, "Add", what, kept, pair_before(n, "Mul", what, now, scalar_before(n, "rest", old->dtype, 1 - momentum)));
}

bool expand_batch_training(Node *n) {
    Value *x = n->in[0];
    int64_t axes[GRAPH_MAX_RANK], after_channel[GRAPH_MAX_RANK];
    int count = 0;
    for (int d = 0; d < x->rank; d++) {
        if (d != 1)
            axes[count++] = d;
        after_channel[d] = d + 1;
    }
    Value *across = ints_before(n, "axes", 1, count, axes), *spatial = ints_before(n, "spatial", 1, count - 1, after_channel);
    Value *mean = pair_before(n, "ReduceMean", "mean", x, across);
    Value *centred = pair_before(n, "Sub", "centred", x, mean);
    Value *variance = pair_before(n, "ReduceMean", "variance", pair_before(n, "Mul", "square", centred, centred), across);
    for (int i = 0; i < 2; i++) {
        if (i + 1 >= n->nout || !n->out[i + 1])
            continue;
        Value *now = pair_before(n, "Squeeze", i ? "batch_variance" : "batch_mean", i ? variance : mean, across);
        replace_output(n, i + 1, moved(n, i ? "running_variance" : "running_mean", n->in[3 + i], now));
    }
    Value *shifted = pair_before(n, "Add", "shifted", variance,
                           scalar_before(n, "epsilon", x->dtype, (double)attr_float(n, "epsilon", 1e-5f)));
    Value *deviation = value_before(n, "Sqrt", "deviation", 1, &shifted);
    Value *normal = pair_before(n, "Div", "normal", centred, deviation), *p[2];
    for (int i = 0; i < 2; i++) {
        p[i] = pair_before(n, "CastLike", i ? "bias" : "scale", n->in[1 + i], x);
        p[i] = pair_before(n, "Unsqueeze", i ? "bias" : "scale", p[i], spatial);
    }
    finish(n, pair_before(n, "Add", "scaled", pair_before(n, "Mul", "scaled", normal, p[0]), p[1]));
    return true;
}
