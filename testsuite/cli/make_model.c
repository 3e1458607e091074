/* SPDX-License-Identifier: Apache-2.0 */
/* Writes small ONNX models for the command-line tests: make_model NAME FILE; without arguments it lists the names. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../unit/onnx_build.h"

enum { FLOAT = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT };

/* A node whose name is node_of_ and its output's. */
static Onnx__NodeProto *node(Built *b, const char *op, const char *in, const char *out) {
    Onnx__NodeProto *n = build_node(b, &b->graph, op, in, out);
    n->name = arena_printf(b->arena, "node_of_%s", out);
    return n;
}

/* x -> Relu -> y. */
static void relu(Built *b, const char *dims) {
    build_input(b, "x", FLOAT, dims);
    node(b, "Relu", "x", "y");
    build_output(b, &b->graph, "y");
}

static void small(Built *b) { relu(b, "2 3"); }
static void symbolic(Built *b) { relu(b, "batch 3"); }
static void huge(Built *b) { relu(b, "4611686018427387904 4"); }
static void product(Built *b) { relu(b, "1099511627776 1099511627776"); }
static void negative(Built *b) { relu(b, "2 -3"); }

static void rank_100(Built *b) {
    char dims[200];
    for (int i = 0; i < 100; i++)
        memcpy(dims + 2 * i, "1 ", 2);
    dims[199] = '\0';
    relu(b, dims);
}

static void unsupported(Built *b) {
    build_input(b, "x", FLOAT, "2 3");
    build_opset(b, "com.example", 1);
    node(b, "NoSuchOperator", "x", "a");
    node(b, "Relu", "a", "r");
    node(b, "com.example:Foo", "r", "b");
    node(b, "NoSuchOperator", "b", "y");
    build_output(b, &b->graph, "y");
}

static void cyclic(Built *b) {
    build_input(b, "x", FLOAT, "2 3");
    node(b, "Add", "x c", "a");
    node(b, "Relu", "a", "c");
    build_output(b, &b->graph, "c");
}

/* y = op(inputs), for a node that is wrong in some way. */
static Onnx__NodeProto *one_node(Built *b, const char *dims, const char *op, const char *in) {
    build_input(b, "x", FLOAT, dims);
    Onnx__NodeProto *n = node(b, op, in, "y");
    build_output(b, &b->graph, "y");
    return n;
}

static void self_cycle(Built *b) { one_node(b, "2 3", "Add", "x y"); }
static void undefined_input(Built *b) { one_node(b, "2 3", "Add", "x nowhere"); }
static void arity(Built *b) { one_node(b, "2 3", "Add", "x"); }

static void undefined_output(Built *b) {
    relu(b, "2 3");
    b->graph.output[0]->name = arena_strdup(b->arena, "nowhere");
}

static void defined_twice(Built *b) {
    relu(b, "2 3");
    node(b, "Neg", "x", "y");
}

/* An initializer w of zeros; bytes may be fewer than its shape says. */
static Onnx__TensorProto *weights(Built *b, size_t rank, const int64_t *dim, size_t bytes) {
    static const float zeros[72];
    Onnx__TensorProto *t = build_initializer(b, "w", FLOAT, rank, dim);
    if (bytes)
        build_raw(b, t, zeros, bytes);
    return t;
}

static void convolution(Built *b, int64_t group) {
    static const int64_t dim[] = {2, 4, 3, 3};
    weights(b, 4, dim, 72 * sizeof(float));
    build_attr_int(b, one_node(b, "1 4 5 5", "Conv", "x w"), "group", group);
}

static void conv(Built *b) { convolution(b, 1); }
static void conv_group(Built *b) { convolution(b, 3); }
static void conv_group_0(Built *b) { convolution(b, 0); }

/* The middle of many networks: 3x3, 64 to 64 channels, 56x56. */
static void conv_3x3(Built *b) {
    static const int64_t dim[] = {64, 64, 3, 3};
    enum { COUNT = 64 * 64 * 3 * 3 };
    float *w = arena_array(b->arena, COUNT, sizeof *w);
    for (int i = 0; i < COUNT; i++)
        w[i] = (float)(i * 37 % 101 - 50) / 64;
    build_raw(b, build_initializer(b, "w", FLOAT, 4, dim), w, COUNT * sizeof *w);
    Onnx__AttributeProto *pads = build_attr(b, one_node(b, "1 64 56 56", "Conv", "x w"), "pads",
                                            ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    static int64_t one[] = {1, 1, 1, 1};
    pads->n_ints = 4;
    pads->ints = one;
}

/* Seven matrices of 112 places attend to themselves; the input has another shape, that of conv_3x3. */
static void attention(Built *b) {
    static const int64_t three[] = {3}, none[] = {1}, shape[] = {7, 112, 256};
    static const float scale[] = {1.0f / 256};
    static int64_t perm[] = {0, 2, 1};
    build_input(b, "x", FLOAT, "1 64 56 56");
    build_raw(b, build_initializer(b, "shape", ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, three), shape, sizeof shape);
    build_raw(b, build_initializer(b, "scale", FLOAT, 1, none), scale, sizeof scale);
    node(b, "Reshape", "x shape", "q");
    Onnx__AttributeProto *order = build_attr(b, node(b, "Transpose", "q", "k"), "perm", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    order->n_ints = 3;
    order->ints = perm;
    node(b, "MatMul", "q k", "product");
    node(b, "Mul", "product scale", "scores");
    node(b, "Softmax", "scores", "weights");
    node(b, "MatMul", "weights q", "y");
    build_output(b, &b->graph, "y");
}

static void added(Built *b, int64_t columns, size_t bytes, const char *location) {
    int64_t dim[] = {2, columns};
    Onnx__TensorProto *t = weights(b, 2, dim, bytes);
    if (location)
        build_external(b, t, "location", location);
    one_node(b, "2 3", "Add", "x w");
}

static void broadcast(Built *b) { added(b, 4, 32, NULL); }
static void short_weights(Built *b) { added(b, 3, 20, NULL); }
static void no_weights(Built *b) { added(b, 3, 0, NULL); }
static void huge_weights(Built *b) { added(b, (int64_t)1 << 61, 24, NULL); }
static void external_missing(Built *b) { added(b, 3, 0, "nowhere.bin"); }
static void external_outside(Built *b) { added(b, 3, 0, "../../../../../../etc/passwd"); }
static void external_absolute(Built *b) { added(b, 3, 0, "/etc/passwd"); }

/* A chain of nodes that each take their input twice: 2 to the 60 paths lead to the first. */
static void doubled(Built *b, const char *op, const char *first) {
    const char *last = first;
    for (int i = 0; i < 60; i++) {
        char *out = arena_printf(b->arena, "d%d", i);
        Onnx__NodeProto *n = node(b, op, arena_printf(b->arena, "%s %s", last, last), out);
        if (!strcmp(op, "Concat"))
            build_attr_int(b, n, "axis", 0);
        last = out;
    }
    one_node(b, "2 3", "Add", arena_printf(b->arena, "x %s", last));
}

static void doubled_constant(Built *b) {
    weights(b, 1, (const int64_t[]){3}, 12);
    doubled(b, "Add", "w");
}

static void doubled_size(Built *b) {
    weights(b, 1, (const int64_t[]){3}, 12);
    doubled(b, "Concat", "w");
}

static void shape_constant(Built *b, const char *name, int64_t rows, int64_t columns) {
    int64_t x[] = {rows, columns}, dim = 2;
    build_raw(b, build_initializer(b, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, &dim), x, sizeof x);
}

/* A scalar that is made of 2 to the 40 numbers. */
static void huge_constant(Built *b) {
    shape_constant(b, "s", 1 << 20, 1 << 20);
    node(b, "ConstantOfShape", "s", "c");
    build_attr_int(b, node(b, "ReduceSum", "c", "r"), "keepdims", 0);
    one_node(b, "2 3", "Add", "x r");
}

/* A shape that takes 2 to the 39 multiplications. */
static void dear_shape(Built *b) {
    shape_constant(b, "s", 1 << 13, 1 << 13);
    node(b, "ConstantOfShape", "s", "c");
    node(b, "MatMul", "c c", "m");
    build_attr_int(b, node(b, "ReduceMax", "m", "r"), "keepdims", 0);
    build_attr_int(b, node(b, "Cast", "r", "i"), "to", ONNX__TENSOR_PROTO__DATA_TYPE__INT64);
    node(b, "ConstantOfShape", "i", "e");
    one_node(b, "2 3", "Add", "x e");
}

static void no_graph(Built *b) { b->model.graph = NULL; }

static void no_opset(Built *b) {
    small(b);
    b->model.n_opset_import = 0;
}

static void future(Built *b) {
    small(b);
    b->model.opset_import[0]->version = 9999;
}

static void no_outputs(Built *b) {
    small(b);
    b->graph.n_output = 0;
}

#define RECIPE(name) {#name, name}
static const struct Recipe {
    const char *name;
    void (*build)(Built *b);
} recipes[] = {
    RECIPE(small), RECIPE(symbolic), RECIPE(conv), RECIPE(conv_3x3), RECIPE(attention), RECIPE(unsupported), RECIPE(cyclic), RECIPE(self_cycle), RECIPE(huge),
    RECIPE(product), RECIPE(negative), RECIPE(rank_100), RECIPE(undefined_input), RECIPE(undefined_output),
    RECIPE(defined_twice), RECIPE(arity), RECIPE(conv_group), RECIPE(conv_group_0), RECIPE(broadcast),
    RECIPE(short_weights), RECIPE(no_weights), RECIPE(huge_weights), RECIPE(external_missing), RECIPE(external_outside),
    RECIPE(external_absolute), RECIPE(no_graph), RECIPE(no_opset), RECIPE(future), RECIPE(no_outputs),
    RECIPE(doubled_constant), RECIPE(doubled_size), RECIPE(huge_constant), RECIPE(dear_shape),
};

static int write_model(const struct Recipe *r, const char *path) {
    Built *b = build_new(17);
    r->build(b);
    build_pack(b);
    FILE *f = fopen(path, "wb");
    int bad = !f || fwrite(b->bytes, 1, b->size, f) != b->size;
    if (f && fclose(f))
        bad = 1;
    build_free(b);
    return bad;
}

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        if (argc < 3)
            puts(recipes[i].name);
        else if (!strcmp(argv[1], recipes[i].name))
            return write_model(&recipes[i], argv[2]);
    }
    return argc >= 3;
}
