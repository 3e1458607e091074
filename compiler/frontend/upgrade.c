/* SPDX-License-Identifier: Apache-2.0 */
/* Every opset version to the newest form of each operator: one table of what changed and how to follow. Changes that
 * need no rule, because the newest form with its defaults means the same (more types, new attributes), have no row.
 * What changed when: Changelog.md of ONNX. */
#include "frontend/upgrade.h"

#include <string.h>

#include "frontend/import.h"
#include "frontend/rewrite.h"
#include "ops/op.h"

/* --- attributes that became inputs --- */

static bool ints_to_input(Node *n, const char *name, int input, bool scalar, bool required) {
    const Attr *a;
    Given given = get_attr(n, name, scalar ? ATTR_INT : ATTR_INTS, &a);
    if (given == GIVEN_WRONG)
        return false;
    if (given == GIVEN_NO && required)
        diag_error(n->graph->diag, node_place(n), "attribute \"%s\" is missing", name);
    if (given == GIVEN_NO)
        return !required;
    if (scalar || a->n || required) {
        if (n->nin <= input)
            resize_inputs(n, input + 1);
        node_set_input(n, input, ints_before(n, name, 1, scalar ? 1 : a->n, scalar ? &a->i : a->ints));
    }
    drop_attr(n, name);
    return true;
}

static bool axes_optional(Node *n) { return ints_to_input(n, "axes", 1, false, false); }
static bool axes_required(Node *n) { return ints_to_input(n, "axes", 1, false, true); }
static bool shape_to_input(Node *n) { return ints_to_input(n, "shape", 1, false, true); }
static bool k_to_input(Node *n) { return ints_to_input(n, "k", 1, true, true); }
static bool split_to_input(Node *n) { return ints_to_input(n, "split", 1, false, false); }

static bool slice_to_inputs(Node *n) {
    return ints_to_input(n, "starts", 1, false, true) && ints_to_input(n, "ends", 2, false, true) &&
           ints_to_input(n, "axes", 3, false, false);
}

/* A scalar of the type of the data. */
static bool float_to_input(Node *n, const char *name, int input) {
    const Attr *a;
    Given given = get_attr(n, name, ATTR_FLOAT, &a);
    if (given != GIVEN_YES)
        return given == GIVEN_NO;
    if (!n->nin || !n->in[0])
        return true; /* reported by inference */
    float x = a->f;
    drop_attr(n, name);
    if (n->nin <= input)
        resize_inputs(n, input + 1);
    node_set_input(n, input, scalar_like(n, name, x, n->in[0]));
    return true;
}

static bool clip_to_inputs(Node *n) { return float_to_input(n, "min", 1) && float_to_input(n, "max", 2); }

static bool rename_paddings(Node *n) {
    for (int i = 0; i < n->nattrs; i++)
        if (!strcmp(n->attr[i].name, "paddings"))
            n->attr[i].name = "pads";
    return true;
}

static bool pad_to_inputs(Node *n) {
    if (!ints_to_input(n, "pads", 1, false, true))
        return false;
    if (attr_float(n, "value", 0) != 0 && !strcmp(attr_string(n, "mode", "constant"), "constant"))
        return float_to_input(n, "value", 2);
    drop_attr(n, "value");
    return true;
}

static bool dft_axis_to_input(Node *n) {
    const Attr *a;
    Given given = get_attr(n, "axis", ATTR_INT, &a);
    int64_t axis = given == GIVEN_YES ? a->i : 1;
    if (given == GIVEN_WRONG)
        return false;
    drop_attr(n, "axis");
    resize_inputs(n, 3);
    node_set_input(n, 2, ints_before(n, "axis", 0, 1, &axis));
    return true;
}

/* --- attributes that went away, or whose default or type changed --- */

static bool drop_consumed_inputs(Node *n) {
    drop_attr(n, "consumed_inputs");
    return true;
}

static bool drop_broadcast(Node *n) {
    drop_attr(n, "broadcast");
    return true;
}

static bool drop_output_sequence(Node *n) {
    drop_attr(n, "output_sequence");
    return true;
}

static bool drop_ratio(Node *n) {
    drop_attr(n, "ratio");
    drop_attr(n, "is_test");
    return true;
}

static bool default_axis_1(Node *n) {
    if (!node_attr(n, "axis"))
        put_int(n, "axis", 1);
    return true;
}

static bool default_selu(Node *n) {
    static const Attr old[] = {{.name = "alpha", .kind = ATTR_FLOAT, .f = 1.6732f},
                               {.name = "gamma", .kind = ATTR_FLOAT, .f = 1.0507f}};
    for (int i = 0; i < 2; i++)
        if (!node_attr(n, old[i].name))
            node_add_attr(n, old[i]);
    return true;
}

static bool default_split_count(Node *n) {
    if (n->nin < 2 || !n->in[1])
        put_int(n, "num_outputs", n->nout);
    return true;
}

static bool default_roi_align(Node *n) {
    put_string(n, "coordinate_transformation_mode", "output_half_pixel");
    return true;
}

static bool p_to_int(Node *n) {
    const Attr *a;
    Given given = get_attr(n, "p", ATTR_FLOAT, &a);
    if (given == GIVEN_YES)
        put_int(n, "p", a->f >= 1 && a->f < 1e6f ? (int64_t)a->f : 0);
    return given != GIVEN_WRONG;
}

static bool cast_to_int(Node *n) {
    const Attr *a;
    Given given = get_attr(n, "to", ATTR_STRING, &a);
    if (given != GIVEN_YES)
        return given == GIVEN_NO;
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value_by_name(&onnx__tensor_proto__data_type__descriptor, a->s);
    if (!v) {
        diag_error(n->graph->diag, node_place(n), "attribute \"to\": there is no element type \"%s\"", a->s);
        return false;
    }
    put_int(n, "to", v->value);
    return true;
}

static bool grid_sample_modes(Node *n) {
    const char *mode = attr_string(n, "mode", "bilinear");
    put_string(n, "mode", !strcmp(mode, "bilinear") ? "linear" : !strcmp(mode, "bicubic") ? "cubic" : mode);
    return true;
}

/* --- operators that got another name --- */

static void rename_op(Node *n, const char *op) {
    n->op_type = op;
    n->op = op_find("", op);
}

static bool scatter_to_elements(Node *n) {
    rename_op(n, "ScatterElements");
    return true;
}

/* Upsample-1 scales the last two dimensions of four. */
static bool upsample_factors(Node *n) {
    const Attr *h, *w;
    Given high = get_attr(n, "height_scale", ATTR_FLOAT, &h), wide = get_attr(n, "width_scale", ATTR_FLOAT, &w);
    if (high == GIVEN_WRONG || wide == GIVEN_WRONG)
        return false;
    if (high == GIVEN_NO || wide == GIVEN_NO) {
        diag_error(n->graph->diag, node_place(n), "attribute \"height_scale\" or \"width_scale\" is missing");
        return false;
    }
    float *scales = ARENA_ARRAY(n->graph->arena, float, 4);
    scales[0] = scales[1] = 1;
    scales[2] = h->f;
    scales[3] = w->f;
    drop_attr(n, "height_scale");
    drop_attr(n, "width_scale");
    node_add_attr(n, (Attr){.name = "scales", .kind = ATTR_FLOATS, .n = 4, .floats = scales});
    return true;
}

static bool upsample_scales(Node *n) {
    const Attr *a;
    Given given = get_attr(n, "scales", ATTR_FLOATS, &a);
    if (given == GIVEN_NO)
        diag_error(n->graph->diag, node_place(n), "attribute \"scales\" is missing");
    if (given != GIVEN_YES)
        return false;
    resize_inputs(n, 2);
    node_set_input(n, 1, floats_before(n, "scales", a->n, a->floats));
    drop_attr(n, "scales");
    return true;
}

/* Upsample and Resize-10: coordinates x / scale, rounded down. */
static bool resize_asymmetric(Node *n) {
    rename_op(n, "Resize");
    Value *scales = n->nin > 1 ? n->in[1] : NULL;
    resize_inputs(n, 3);
    node_set_input(n, 1, NULL);
    node_set_input(n, 2, scales);
    const char *mode = attr_string(n, "mode", "nearest");
    put_string(n, "mode", !strcmp(mode, "bilinear") ? "linear" : mode);
    put_string(n, "coordinate_transformation_mode", "asymmetric");
    put_string(n, "nearest_mode", "floor");
    return true;
}

/* Inputs that were not optional in Resize-11 are given without elements where they mean nothing. */
static bool resize_absent(Node *n) {
    for (int i = 1; i < n->nin; i++) {
        Value *v = n->in[i];
        if (value_is_const(v) && v->rank == 1 && v->dim[0] == 0)
            node_set_input(n, i, NULL);
    }
    return true;
}

/* Scan-8 had a batch dimension that no later form has: left to be reported as unsupported. */
static bool unsupported(Node *n) {
    n->op = NULL;
    return true;
}

/* --- the table --- */

/* Rows of one operator apply in order; NULL is every operator. */
static const struct {
    const char *op;
    int first, last; /* opset versions that have the old form */
    UpgradeRule *rule;
} table[] = {
    {NULL, 1, 5, drop_consumed_inputs},
    {"Add", 1, 6, upgrade_axis_broadcast},
    {"And", 1, 6, upgrade_axis_broadcast},
    {"BatchNormalization", 1, 13, upgrade_batch_normalization},
    {"Cast", 1, 5, cast_to_int},
    {"Clip", 1, 10, clip_to_inputs},
    {"Concat", 1, 3, default_axis_1},
    {"DFT", 17, 19, dft_axis_to_input},
    {"Div", 1, 6, upgrade_axis_broadcast},
    {"Dropout", 1, 11, drop_ratio},
    {"Dropout", 1, 9, upgrade_dropout_mask},
    {"Equal", 1, 6, upgrade_axis_broadcast},
    {"GRU", 1, 6, drop_output_sequence},
    {"Gemm", 1, 6, drop_broadcast},
    {"GlobalLpPool", 1, 1, p_to_int},
    {"Greater", 1, 6, upgrade_axis_broadcast},
    {"GridSample", 16, 19, grid_sample_modes},
    {"GroupNormalization", 18, 20, upgrade_group_normalization},
    {"Hardmax", 1, 12, upgrade_flat_softmax},
    {"LSTM", 1, 6, drop_output_sequence},
    {"Less", 1, 6, upgrade_axis_broadcast},
    {"LogSoftmax", 1, 12, upgrade_flat_softmax},
    {"LpPool", 1, 1, p_to_int},
    {"Mul", 1, 6, upgrade_axis_broadcast},
    {"Or", 1, 6, upgrade_axis_broadcast},
    {"PRelu", 1, 6, upgrade_prelu},
    {"Pad", 1, 1, rename_paddings},
    {"Pad", 1, 10, pad_to_inputs},
    {"Pow", 1, 6, upgrade_axis_broadcast},
    {"RNN", 1, 6, drop_output_sequence},
    {"ReduceL1", 1, 17, axes_optional},
    {"ReduceL2", 1, 17, axes_optional},
    {"ReduceLogSum", 1, 17, axes_optional},
    {"ReduceLogSumExp", 1, 17, axes_optional},
    {"ReduceMax", 1, 17, axes_optional},
    {"ReduceMean", 1, 17, axes_optional},
    {"ReduceMin", 1, 17, axes_optional},
    {"ReduceProd", 1, 17, axes_optional},
    {"ReduceSum", 1, 12, axes_optional},
    {"ReduceSumSquare", 1, 17, axes_optional},
    {"Reshape", 1, 4, shape_to_input},
    {"Resize", 10, 10, resize_asymmetric},
    {"Resize", 11, 12, resize_absent},
    {"RoiAlign", 10, 15, default_roi_align},
    {"Scan", 8, 8, unsupported},
    {"Scatter", 9, 28, scatter_to_elements},
    {"Selu", 1, 5, default_selu},
    {"Slice", 1, 9, slice_to_inputs},
    {"Softmax", 1, 12, upgrade_flat_softmax},
    {"Split", 1, 12, split_to_input},
    {"Split", 1, 17, default_split_count},
    {"Squeeze", 1, 12, axes_optional},
    {"Sub", 1, 6, upgrade_axis_broadcast},
    {"Tile", 1, 5, upgrade_tile},
    {"TopK", 1, 9, k_to_input},
    {"Unsqueeze", 1, 12, axes_required},
    {"Upsample", 1, 6, upsample_factors},
    {"Upsample", 1, 8, upsample_scales},
    {"Upsample", 1, 28, resize_asymmetric},
    {"Xor", 1, 6, upgrade_axis_broadcast},
};

int64_t upgrade_newest(const char *domain) {
    if (!*domain || !strcmp(domain, "ai.onnx"))
        return 28;
    return !strcmp(domain, "ai.onnx.ml") ? 5 : 0;
}

/* com.microsoft had these for 16-bit elements before ONNX did; they mean the same. */
static void leave_domain(Node *n) {
    if (!node_is(n, "com.microsoft", "QuantizeLinear") && !node_is(n, "com.microsoft", "DequantizeLinear"))
        return;
    n->domain = "";
    n->op = op_find("", n->op_type);
}

bool upgrade_node(Node *n, int64_t version) {
    leave_domain(n);
    if (*n->domain)
        return true;
    const char *op = n->op_type; /* as in the file: rules may change it */
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (version < table[i].first || version > table[i].last || (table[i].op && strcmp(table[i].op, op) != 0))
            continue;
        if (!table[i].rule(n))
            return false;
    }
    return true;
}
