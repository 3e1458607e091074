/* SPDX-License-Identifier: Apache-2.0 */
/* Upgrades that take more than one node. Ranks are mostly unknown here: the forms compute with shapes, which are
 * constants after inference. */
#include "frontend/rewrite.h"
#include "frontend/upgrade.h"

static Value *shape_of(Node *n, const char *what, Value *v, int64_t start) {
    Value *shape = value_before(n, "Shape", what, 1, &v);
    if (start)
        put_int(shape->def, "start", start);
    return shape;
}

static bool missing_input(const Node *n, int i) {
    if (n->nin > i && n->in[i])
        return false;
    diag_error(n->graph->diag, node_place(n), "input %d is missing", i);
    return true;
}

/* The second input aligned with dimension `axis` of the first: 1s appended to its shape up to the first's last. */
static bool align_second(Node *n, int64_t axis) {
    Value *x = n->in[0], *y = n->in[1];
    const int64_t zero = 0, one = 1;
    int rank_x = hint_rank(x), rank_y = hint_rank(y);
    if (rank_x >= 0 && rank_y >= 0) {
        int64_t more = rank_x - (axis < 0 ? axis + rank_x : axis) - rank_y, axes[GRAPH_MAX_RANK];
        if (rank_x + axis < 0 || axis > rank_x || (more < 0 && rank_y > 1) || rank_y + more > GRAPH_MAX_RANK) {
            diag_error(n->graph->diag, node_place(n), "attribute \"axis\": %lld does not align %d dimensions with %d",
                       (long long)axis, rank_y, rank_x);
            return false;
        }
        if (more <= 0)
            return true;
        for (int i = 0; i < more; i++)
            axes[i] = rank_y + i;
        Value *in[] = {y, ints_before(n, "axes", 1, (int)more, axes)};
        node_set_input(n, 1, value_before(n, "Unsqueeze", "aligned", 2, in));
        return true;
    }
    Value *covered = shape_of(n, "covered", x, axis), *shape = shape_of(n, "shape", y, 0);
    Value *covered_rank = shape_of(n, "covered_rank", covered, 0), *rank = shape_of(n, "rank", shape, 0);
    Value *counts[] = {covered_rank, rank}, *none = ints_before(n, "zero", 1, 1, &zero);
    Value *ends[] = {none, value_before(n, "Sub", "missing", 2, counts)};
    Value *pads = value_before(n, "Concat", "pads", 2, ends);
    put_int(pads->def, "axis", 0);
    Value *padding[] = {shape, pads, ints_before(n, "one", 0, 1, &one)};
    Value *reshape[] = {y, value_before(n, "Pad", "aligned_shape", 3, padding)};
    node_set_input(n, 1, value_before(n, "Reshape", "aligned", 2, reshape));
    return true;
}

/* Add and its like below opset 7: with broadcast, the second input's shape is that of some dimensions of the first,
 * the last ones unless `axis` says which the first of them is. */
bool upgrade_axis_broadcast(Node *n) {
    const Attr *axis;
    bool broadcast = attr_int(n, "broadcast", 0) != 0;
    Given given = get_attr(n, "axis", ATTR_INT, &axis);
    if (given == GIVEN_WRONG || missing_input(n, 0) || missing_input(n, 1))
        return false;
    int64_t at = given == GIVEN_YES ? axis->i : 0;
    drop_attr(n, "axis");
    drop_attr(n, "broadcast");
    return !broadcast || given == GIVEN_NO || align_second(n, at);
}

/* Below opset 7 the slope is one number or one a channel. */
bool upgrade_prelu(Node *n) {
    if (missing_input(n, 0) || missing_input(n, 1))
        return false;
    int64_t count;
    Value *slope = n->in[1];
    if (slope->rank >= 0 && dims_count(slope->rank, slope->dim, &count) && count == 1)
        return true;
    return align_second(n, 1);
}

/* Statistics for each element rather than each channel: X[N, …] with all four of shape […]. */
static bool normalize_elements(Node *n) {
    for (int i = 0; i < 5; i++)
        if (missing_input(n, i))
            return false;
    Value *x = n->in[0], *scale = n->in[1], *bias = n->in[2], *mean = n->in[3], *variance = n->in[4];
    Value *sum[] = {variance, scalar_like(n, "epsilon", attr_float(n, "epsilon", 1e-5f), variance)};
    Value *root = value_before(n, "Add", "variance", 2, sum);
    Value *centred[] = {x, mean};
    Value *difference = value_before(n, "Sub", "centred", 2, centred);
    Value *unit[] = {difference, value_before(n, "Sqrt", "deviation", 1, &root)};
    Value *scaled[] = {value_before(n, "Div", "normal", 2, unit), scale};
    Value *shifted[] = {value_before(n, "Mul", "scaled", 2, scaled), bias};
    become(n, "Add", 2, shifted);
    return true;
}

/* Below opset 14 a node computes with the batch's own statistics when it has more outputs than one; below opset 9 it
 * may be per element. */
bool upgrade_batch_normalization(Node *n) {
    bool training = false;
    for (int i = 1; i < n->nout; i++) {
        if (!n->out[i])
            continue;
        training = true;
        if (i > 2 && (n->out[i]->uses.len || n->out[i]->is_output)) {
            diag_error(n->graph->diag, node_place(n), "output \"%s\" exists only while training", n->out[i]->name);
            return false;
        }
    }
    bool spatial = attr_int(n, "spatial", 1) != 0, test = attr_int(n, "is_test", 0) != 0;
    drop_attr(n, "spatial");
    drop_attr(n, "is_test");
    if (training && !test)
        put_int(n, "training_mode", 1);
    if (n->nout > 3)
        n->nout = 3;
    if (spatial)
        return true;
    if (training && !test) {
        diag_error(n->graph->diag, node_place(n), "per-element statistics while training are not supported");
        return false;
    }
    n->nout = 1;
    return normalize_elements(n);
}

/* Softmax, LogSoftmax and Hardmax below opset 13 work on a matrix: all dimensions from `axis` on are one. */
bool upgrade_flat_softmax(Node *n) {
    if (missing_input(n, 0))
        return false;
    Value *x = n->in[0];
    int64_t axis = attr_int(n, "axis", 1);
    int rank = hint_rank(x);
    if (axis == -1 || (rank > 0 && axis == rank - 1)) {
        put_int(n, "axis", -1);
        return true;
    }
    Value *matrix = value_before(n, "Flatten", "matrix", 1, &x);
    put_int(matrix->def, "axis", axis);
    Value *result = value_before(n, n->op_type, "rows", 1, &matrix);
    put_int(result->def, "axis", -1);
    Value *in[] = {result, shape_of(n, "shape", x, 0)};
    become(n, "Reshape", 2, in);
    put_int(n, "allowzero", 1);
    return true;
}

/* Tile-1: how often, and along which axis, as two scalars of the data's own type. */
bool upgrade_tile(Node *n) {
    if (missing_input(n, 0) || missing_input(n, 1) || missing_input(n, 2))
        return false;
    const int64_t one = 1, all = -1;
    Value *vector = ints_before(n, "vector", 1, 1, &one), *flat = ints_before(n, "all", 1, 1, &all), *entry[2];
    for (int i = 0; i < 2; i++) {
        Value *in[] = {n->in[i + 1], vector};
        Value *entry_vector = value_before(n, "Reshape", i ? "axis_vector" : "tiles_vector", 2, in);
        entry[i] = value_before(n, "Cast", i ? "axis" : "tiles", 1, &entry_vector);
        put_int(entry[i]->def, "to", dtype_to_onnx(DT_I64));
    }
    Value *off_on[] = {vector, entry[0]};
    Value *values = value_before(n, "Concat", "repeats_off_on", 2, off_on);
    put_int(values->def, "axis", 0);
    Value *rank = shape_of(n, "rank", shape_of(n, "shape", n->in[0], 0), 0);
    Value *hot[] = {entry[1], rank, values};
    Value *flatten[] = {value_before(n, "OneHot", "repeats_row", 3, hot), flat};
    Value *in[] = {n->in[0], value_before(n, "Reshape", "repeats", 2, flatten)};
    become(n, "Tile", 2, in);
    return true;
}

/* Below opset 21 scale and bias are per group; now per channel: each repeated for the channels of its group. */
bool upgrade_group_normalization(Node *n) {
    const Attr *groups;
    Given given = get_attr(n, "num_groups", ATTR_INT, &groups);
    if (given == GIVEN_WRONG || missing_input(n, 0) || missing_input(n, 1) || missing_input(n, 2))
        return false;
    if (given == GIVEN_NO || groups->i < 1) {
        diag_error(n->graph->diag, node_place(n), "attribute \"num_groups\" must be at least 1");
        return false;
    }
    const int64_t column[] = {groups->i, 1}, all = -1;
    Value *count = ints_before(n, "groups", 1, 1, column), *channels = shape_of(n, "channels", n->in[0], 1);
    put_int(channels->def, "end", 2);
    Value *division[] = {channels, count};
    Value *pair[] = {count, value_before(n, "Div", "group_size", 2, division)};
    Value *shape = value_before(n, "Concat", "group_shape", 2, pair);
    put_int(shape->def, "axis", 0);
    Value *as_column = ints_before(n, "column", 1, 2, column), *as_vector = ints_before(n, "vector", 1, 1, &all);
    for (int i = 1; i < 3; i++) {
        const char *what = i == 1 ? "scale" : "bias";
        Value *one_each[] = {n->in[i], as_column};
        Value *expanded[] = {value_before(n, "Reshape", what, 2, one_each), shape};
        Value *flat[] = {value_before(n, "Expand", what, 2, expanded), as_vector};
        node_set_input(n, i, value_before(n, "Reshape", what, 2, flat));
    }
    return true;
}

/* Below opset 10 the mask of Dropout is of the data's type, not BOOL: a cast takes the old value's place. */
bool upgrade_dropout_mask(Node *n) {
    Value *mask = n->nout > 1 ? n->out[1] : NULL;
    if (missing_input(n, 0))
        return false;
    if (!mask || (!mask->uses.len && !mask->is_output))
        return true;
    Value *in[] = {NULL, n->in[0]};
    const char *name = arena_printf(n->graph->arena, "%.200s_bool", mask->name);
    Node *cast = graph_node(n->graph, n->next, "", "CastLike", n->name, 2, in, 1, &name);
    Value *boolean = cast->out[0];
    cast->sources = n->sources;
    cast->out[0] = mask;
    mask->def = cast;
    mask->def_index = 0;
    n->out[1] = boolean;
    boolean->def = n;
    boolean->def_index = 1;
    node_set_input(cast, 0, boolean);
    return true;
}
