/* SPDX-License-Identifier: Apache-2.0 */
/* Small models with as many features of the format as fit. */
#include "samples.h"

#include <stdlib.h>
#include <string.h>

#include "../unit/onnx_build.h"

#define A(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name
#define T(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

static Sample pack(Built *b, const char *name) {
    Sample s = {name, NULL, onnx__model_proto__get_packed_size(&b->model)};
    s.bytes = malloc(s.size);
    onnx__model_proto__pack(&b->model, s.bytes);
    build_free(b);
    return s;
}

static void attr_ints(Built *b, Onnx__NodeProto *n, const char *name, size_t count, int64_t *x) {
    Onnx__AttributeProto *a = build_attr(b, n, name, A(INTS));
    a->n_ints = count;
    a->ints = x;
}

static void attr_text(Built *b, Onnx__NodeProto *n, const char *name, const char *x) {
    Onnx__AttributeProto *a = build_attr(b, n, name, A(STRING));
    a->has_s = true;
    a->s = (ProtobufCBinaryData){strlen(x), (uint8_t *)arena_strdup(b->arena, x)};
}

Sample sample_features(void) {
    static float weights[] = {0.5f, -1, 2, 0.25f, 3, -0.5f, 1, 0}, sparse[] = {1, 2};
    static int64_t where[] = {1, 4}, target[] = {2, -1}, perm[] = {1, 0};
    static int32_t halves[] = {0x3c00, 0xbc00, 0, 0x4000};
    Built *b = build_new(17);
    Onnx__GraphProto *g = &b->graph;
    build_input(b, "x", T(FLOAT), "N 4");
    build_input(b, "go", T(BOOL), "");

    Onnx__TensorProto *t = build_initializer(b, "w", T(FLOAT), 2, (const int64_t[]){4, 2});
    t->n_float_data = 8;
    t->float_data = weights;
    t = build_initializer(b, "h", T(FLOAT16), 1, (const int64_t[]){4});
    t->n_int32_data = 4;
    t->int32_data = halves;
    build_raw(b, build_initializer(b, "k", T(FLOAT), 0, NULL), "\0\0\x80?", 4);
    Onnx__SparseTensorProto *s = arena_alloc(b->arena, sizeof *s);
    onnx__sparse_tensor_proto__init(s);
    s->values = build_tensor(b, "z", T(FLOAT), 1, (const int64_t[]){2});
    build_raw(b, s->values, sparse, sizeof sparse);
    s->indices = build_tensor(b, "", T(INT64), 1, (const int64_t[]){2});
    s->indices->n_int64_data = 2;
    s->indices->int64_data = where;
    s->n_dims = 2;
    s->dims = arena_dup(b->arena, (const int64_t[]){4, 2}, 16);
    g->n_sparse_initializer = 1;
    g->sparse_initializer = &s;

    Onnx__FunctionProto *f = build_function(b, "Act", "a limit", "r");
    Onnx__NodeProto *n = build_function_node(b, f, "LeakyRelu", "a", "t");
    build_attr(b, n, "alpha", A(FLOAT))->ref_attr_name = "slope";
    build_function_node(b, f, "Clip", "t limit", "r");
    f = build_function(b, "Twice", "a", "r");
    build_attr_float(b, build_function_node(b, f, "own:Act", "a -", "m"), "slope", 0.1f);
    build_attr_float(b, build_function_node(b, f, "own:Act", "m", "r"), "slope", 0.2f);

    Onnx__GraphProto *yes = build_body(b, "yes"), *no = build_body(b, "no");
    build_node(b, yes, "Add", "p k", "s");
    build_output(b, yes, "s");
    build_node(b, no, "Mul", "p p", "q");
    build_output(b, no, "q");

    n = build_node(b, g, "Constant", "", "shape");
    Onnx__AttributeProto *a = build_attr(b, n, "value_ints", A(INTS));
    a->n_ints = 2;
    a->ints = target;
    build_node(b, g, "Add", "w z", "wz");
    build_node(b, g, "MatMul", "x wz", "p");
    n = build_node(b, g, "If", "go", "branch");
    build_attr(b, n, "then_branch", A(GRAPH))->g = yes;
    build_attr(b, n, "else_branch", A(GRAPH))->g = no;
    build_node(b, g, "own:Twice", "p", "act");
    n = build_node(b, g, "Transpose", "act", "turned");
    attr_ints(b, n, "perm", 2, perm);
    build_node(b, g, "Reshape", "turned shape", "flat");
    build_attr_int(b, build_node(b, g, "Softmax", "flat", "soft"), "axis", 0);
    n = build_node(b, g, "Cast", "h", "hf");
    build_attr_int(b, n, "to", T(FLOAT));
    build_node(b, g, "Mul", "x hf", "scaled");
    build_node(b, g, "LSTM", "x x x - - x", "- last -");
    build_output(b, g, "soft");
    build_output(b, g, "scaled");
    build_output(b, g, "branch");
    return pack(b, "features");
}

Sample sample_old(void) {
    static int64_t pads[] = {0, 0, 1, 1, 0, 0, 1, 1}, kernel[] = {2, 2}, starts[] = {0, 1}, ends[] = {9, -1},
                   shape[] = {0, -1}, axes[] = {1, 2};
    static float weights[2 * 1 * 2 * 2] = {1, -1, 0.5f, 2}, bias[] = {1, 2};
    Built *b = build_new(4); /* Reshape had its shape as an attribute until then */
    Onnx__GraphProto *g = &b->graph;
    b->model.ir_version = 3;
    build_input(b, "x", T(FLOAT), "1 1 6 6");
    build_input(b, "w", T(FLOAT), "2 1 2 2");
    build_raw(b, build_initializer(b, "w", T(FLOAT), 4, (const int64_t[]){2, 1, 2, 2}), weights, sizeof weights);
    build_raw(b, build_initializer(b, "b", T(FLOAT), 1, (const int64_t[]){2}), bias, sizeof bias);
    Onnx__NodeProto *n = build_node(b, g, "Pad", "x", "padded");
    attr_ints(b, n, "pads", 8, pads);
    build_attr_float(b, n, "value", 1);
    attr_ints(b, build_node(b, g, "Conv", "padded w", "conv"), "kernel_shape", 2, kernel);
    n = build_node(b, g, "Add", "conv b", "sum");
    build_attr_int(b, n, "broadcast", 1);
    build_attr_int(b, n, "axis", 1);
    n = build_node(b, g, "BatchNormalization", "sum b b b b", "norm");
    build_attr_int(b, n, "is_test", 1);
    n = build_node(b, g, "Clip", "norm", "clip");
    build_attr_float(b, n, "min", -1);
    build_attr_float(b, n, "max", 6);
    n = build_node(b, g, "MaxPool", "clip", "pool");
    attr_ints(b, n, "kernel_shape", 2, kernel);
    attr_text(b, n, "auto_pad", "SAME_UPPER");
    n = build_node(b, g, "Slice", "pool", "slice");
    attr_ints(b, n, "starts", 2, starts);
    attr_ints(b, n, "ends", 2, ends);
    attr_ints(b, n, "axes", 2, axes);
    n = build_node(b, g, "Upsample", "slice", "up");
    build_attr_float(b, n, "height_scale", 2);
    build_attr_float(b, n, "width_scale", 2);
    n = build_node(b, g, "ReduceMean", "up", "mean");
    attr_ints(b, n, "axes", 2, axes);
    attr_text(b, build_node(b, g, "Cast", "mean", "int"), "to", "INT32");
    build_node(b, g, "Softmax", "up", "soft");
    build_node(b, g, "Dropout", "soft", "drop mask");
    n = build_node(b, g, "Reshape", "drop", "y");
    attr_ints(b, n, "shape", 2, shape);
    build_output(b, g, "y");
    build_output(b, g, "int");
    return pack(b, "old");
}

static void floats(Built *b, const char *name, size_t rank, const int64_t *dim) {
    int64_t n = 1;
    for (size_t i = 0; i < rank; i++)
        n *= dim[i];
    float *x = ARENA_ARRAY(b->arena, float, n);
    for (int64_t i = 0; i < n; i++)
        x[i] = 0.25f * (float)(i % 7 + 1);
    build_raw(b, build_initializer(b, name, T(FLOAT), rank, dim), x, (size_t)n * sizeof *x);
}

static void ints(Built *b, const char *name, size_t n, const int64_t *x) {
    build_raw(b, build_initializer(b, name, T(INT64), 1, (const int64_t[]){(int64_t)n}), x, n * sizeof *x);
}

Sample sample_network(void) {
    static int64_t pads[] = {1, 1, 1, 1}, two[] = {2, 2}, perm[] = {2, 0, 1};
    Built *b = build_new(17);
    Onnx__GraphProto *g = &b->graph;
    build_input(b, "x", T(FLOAT), "1 2 8 8");
    floats(b, "w", 4, (const int64_t[]){4, 2, 3, 3});
    floats(b, "c", 1, (const int64_t[]){4});
    floats(b, "s", 4, (const int64_t[]){1, 1, 4, 4});
    floats(b, "W", 3, (const int64_t[]){1, 12, 4});
    floats(b, "R", 3, (const int64_t[]){1, 12, 3});
    floats(b, "m", 2, (const int64_t[]){3, 5});
    floats(b, "scales", 1, (const int64_t[]){4});
    ints(b, "zero", 1, (const int64_t[]){0});
    ints(b, "one", 1, (const int64_t[]){1});
    ints(b, "rest", 1, (const int64_t[]){-1});
    ints(b, "ends", 1, (const int64_t[]){3});
    ints(b, "sizes", 4, (const int64_t[]){1, 4, 6, 5});
    Onnx__NodeProto *n = build_node(b, g, "Conv", "x w c", "conv");
    attr_ints(b, n, "pads", 4, pads);
    build_node(b, g, "BatchNormalization", "conv c c c c", "norm");
    build_node(b, g, "Relu", "norm", "relu");
    n = build_node(b, g, "MaxPool", "relu", "pool");
    attr_ints(b, n, "kernel_shape", 2, two);
    attr_ints(b, n, "strides", 2, two);
    build_node(b, g, "Resize", "pool - - sizes", "sized");
    build_node(b, g, "Slice", "sized zero ends one", "part");
    build_attr_int(b, build_node(b, g, "Concat", "part sized", "cat"), "axis", 1);
    build_node(b, g, "GlobalAveragePool", "cat", "mean");
    build_node(b, g, "Shape", "pool", "shape");
    build_node(b, g, "Gather", "shape one", "channels");
    build_attr_int(b, build_node(b, g, "Concat", "channels rest", "to"), "axis", 0);
    build_node(b, g, "Mul", "pool s", "scaled");
    build_node(b, g, "Reshape", "scaled to", "rows");
    build_node(b, g, "Unsqueeze", "rows zero", "lifted");
    attr_ints(b, build_node(b, g, "Transpose", "lifted", "steps"), "perm", 3, perm);
    build_attr_int(b, build_node(b, g, "LSTM", "steps W R", "Y last"), "hidden_size", 3);
    build_node(b, g, "Squeeze", "last zero", "state");
    build_node(b, g, "MatMul", "state m", "product");
    build_attr_int(b, build_node(b, g, "Softmax", "product", "y"), "axis", 1);
    build_output(b, g, "y");
    build_output(b, g, "mean");
    return pack(b, "network");
}
