/* SPDX-License-Identifier: Apache-2.0 */
/* Writes small ONNX models for the command-line tests: make_model NAME FILE; without arguments it lists the names. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/onnx.pb-c.h"

enum { MOST = 8 };

/* A model under construction; everything lives until the program ends. */
typedef struct Builder {
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Onnx__OperatorSetIdProto opset, other_opset;
    Onnx__OperatorSetIdProto *opsets[2];
    Onnx__ValueInfoProto *inputs[MOST], *outputs[MOST];
    Onnx__NodeProto *nodes[MOST];
    Onnx__TensorProto *tensors[MOST];
} Builder;

#define NEW(name, type, init)                                                                                     \
    type *name = malloc(sizeof *name);                                                                            \
    if (!name)                                                                                                    \
        exit(1);                                                                                                  \
    init(name)

static void begin(Builder *b, int64_t version) {
    onnx__model_proto__init(&b->model);
    onnx__graph_proto__init(&b->graph);
    onnx__operator_set_id_proto__init(&b->opset);
    b->opset.has_version = 1;
    b->opset.version = version;
    b->opsets[0] = &b->opset;
    b->model.has_ir_version = 1;
    b->model.ir_version = 8;
    b->model.n_opset_import = 1;
    b->model.opset_import = b->opsets;
    b->model.graph = &b->graph;
    b->graph.name = (char *)(uintptr_t)"g";
    b->graph.input = b->inputs;
    b->graph.output = b->outputs;
    b->graph.node = b->nodes;
    b->graph.initializer = b->tensors;
}

/* sizes < 0 are written as they are; names[i], where not NULL, makes the dimension symbolic. */
static Onnx__ValueInfoProto *value(const char *name, int rank, const int64_t *sizes, const char *const *names) {
    NEW(v, Onnx__ValueInfoProto, onnx__value_info_proto__init);
    NEW(type, Onnx__TypeProto, onnx__type_proto__init);
    NEW(tensor, Onnx__TypeProto__Tensor, onnx__type_proto__tensor__init);
    NEW(shape, Onnx__TensorShapeProto, onnx__tensor_shape_proto__init);
    shape->dim = calloc((size_t)rank + 1, sizeof *shape->dim);
    for (int i = 0; i < rank; i++) {
        NEW(dim, Onnx__TensorShapeProto__Dimension, onnx__tensor_shape_proto__dimension__init);
        if (names && names[i]) {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            dim->dim_param = (char *)(uintptr_t)names[i];
        } else {
            dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            dim->dim_value = sizes[i];
        }
        shape->dim[shape->n_dim++] = dim;
    }
    tensor->has_elem_type = 1;
    tensor->elem_type = 1;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    v->name = (char *)(uintptr_t)name;
    v->type = type;
    return v;
}

static void input(Builder *b, int rank, const int64_t *sizes, const char *const *names) {
    b->inputs[b->graph.n_input++] = value("x", rank, sizes, names);
}

static void output(Builder *b, const char *name, int rank, const int64_t *sizes) {
    b->outputs[b->graph.n_output++] = value(name, rank, sizes, NULL);
}

/* Inputs as one text, separated by blanks. */
static Onnx__NodeProto *node(Builder *b, const char *domain, const char *op, const char *in, const char *out) {
    NEW(n, Onnx__NodeProto, onnx__node_proto__init);
    n->op_type = (char *)(uintptr_t)op;
    n->domain = (char *)(uintptr_t)domain;
    n->input = calloc(MOST, sizeof *n->input);
    n->output = calloc(1, sizeof *n->output);
    char *text = strdup(in);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        n->input[n->n_input++] = word;
    n->output[n->n_output++] = (char *)(uintptr_t)out;
    n->name = malloc(strlen(out) + 9);
    sprintf(n->name, "node_of_%s", out);
    b->nodes[b->graph.n_node++] = n;
    return n;
}

static void int_attribute(Onnx__NodeProto *n, const char *name, int64_t i) {
    NEW(a, Onnx__AttributeProto, onnx__attribute_proto__init);
    a->name = (char *)(uintptr_t)name;
    a->has_type = 1;
    a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    a->has_i = 1;
    a->i = i;
    n->attribute = calloc(1, sizeof *n->attribute);
    n->attribute[n->n_attribute++] = a;
}

static Onnx__TensorProto *tensor(Builder *b, const char *name, int rank, const int64_t *sizes, size_t bytes) {
    NEW(t, Onnx__TensorProto, onnx__tensor_proto__init);
    t->name = (char *)(uintptr_t)name;
    t->has_data_type = 1;
    t->data_type = 1;
    t->dims = calloc((size_t)rank + 1, sizeof *t->dims);
    for (int i = 0; i < rank; i++)
        t->dims[t->n_dims++] = sizes[i];
    if (bytes) {
        t->has_raw_data = 1;
        t->raw_data.len = bytes;
        t->raw_data.data = calloc(1, bytes);
    }
    b->tensors[b->graph.n_initializer++] = t;
    return t;
}

static void external(Onnx__TensorProto *t, const char *location) {
    NEW(e, Onnx__StringStringEntryProto, onnx__string_string_entry_proto__init);
    e->key = (char *)(uintptr_t)"location";
    e->value = (char *)(uintptr_t)location;
    t->external_data = calloc(1, sizeof *t->external_data);
    t->external_data[t->n_external_data++] = e;
    t->has_data_location = 1;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

static const int64_t small_shape[] = {2, 3};

static void small(Builder *b) {
    input(b, 2, small_shape, NULL);
    node(b, "", "Relu", "x", "y");
    output(b, "y", 2, small_shape);
}

static void symbolic(Builder *b) {
    static const char *const names[] = {"batch", NULL};
    input(b, 2, small_shape, names);
    node(b, "", "Relu", "x", "y");
    b->outputs[b->graph.n_output++] = value("y", 2, small_shape, names);
}

static void unsupported(Builder *b) {
    input(b, 2, small_shape, NULL);
    node(b, "", "NoSuchOperator", "x", "a");
    node(b, "", "Relu", "a", "r");
    node(b, "com.example", "Foo", "r", "b");
    node(b, "", "NoSuchOperator", "b", "y");
    NEW(other, Onnx__OperatorSetIdProto, onnx__operator_set_id_proto__init);
    other->domain = (char *)(uintptr_t)"com.example";
    other->has_version = 1;
    other->version = 1;
    b->opsets[b->model.n_opset_import++] = other;
    output(b, "y", 2, small_shape);
}

static void cyclic(Builder *b) {
    input(b, 2, small_shape, NULL);
    node(b, "", "Add", "x c", "a");
    node(b, "", "Relu", "a", "c");
    output(b, "c", 2, small_shape);
}

static void self_cycle(Builder *b) {
    input(b, 2, small_shape, NULL);
    node(b, "", "Add", "x y", "y");
    output(b, "y", 2, small_shape);
}

static void with_shape(Builder *b, int64_t first, int64_t second) {
    int64_t sizes[] = {first, second};
    input(b, 2, sizes, NULL);
    node(b, "", "Relu", "x", "y");
    output(b, "y", 2, sizes);
}

static void huge(Builder *b) { with_shape(b, (int64_t)1 << 62, 4); }
static void product(Builder *b) { with_shape(b, (int64_t)1 << 40, (int64_t)1 << 40); }
static void negative(Builder *b) { with_shape(b, 2, -3); }

static void rank_100(Builder *b) {
    int64_t sizes[100];
    for (int i = 0; i < 100; i++)
        sizes[i] = 1;
    input(b, 100, sizes, NULL);
    node(b, "", "Relu", "x", "y");
    output(b, "y", 100, sizes);
}

static void undefined_input(Builder *b) {
    input(b, 2, small_shape, NULL);
    node(b, "", "Add", "x nowhere", "y");
    output(b, "y", 2, small_shape);
}

static void undefined_output(Builder *b) {
    input(b, 2, small_shape, NULL);
    node(b, "", "Relu", "x", "y");
    output(b, "nowhere", 2, small_shape);
}

static void defined_twice(Builder *b) {
    input(b, 2, small_shape, NULL);
    node(b, "", "Relu", "x", "y");
    node(b, "", "Neg", "x", "y");
    output(b, "y", 2, small_shape);
}

static void arity(Builder *b) {
    input(b, 2, small_shape, NULL);
    node(b, "", "Add", "x", "y");
    output(b, "y", 2, small_shape);
}

static void convolution(Builder *b, int64_t group) {
    static const int64_t image[] = {1, 4, 5, 5}, weights[] = {2, 4, 3, 3}, result[] = {1, 2, 3, 3};
    input(b, 4, image, NULL);
    tensor(b, "w", 4, weights, 2 * 4 * 3 * 3 * sizeof(float));
    int_attribute(node(b, "", "Conv", "x w", "y"), "group", group);
    output(b, "y", 4, result);
}

static void conv(Builder *b) { convolution(b, 1); }
static void conv_group(Builder *b) { convolution(b, 3); }
static void conv_group_0(Builder *b) { convolution(b, 0); }

static void broadcast(Builder *b) {
    static const int64_t other[] = {2, 4};
    input(b, 2, small_shape, NULL);
    tensor(b, "w", 2, other, 8 * sizeof(float));
    node(b, "", "Add", "x w", "y");
    output(b, "y", 2, small_shape);
}

static void added(Builder *b, int64_t columns, size_t bytes, const char *location) {
    int64_t sizes[] = {2, columns};
    input(b, 2, small_shape, NULL);
    Onnx__TensorProto *t = tensor(b, "w", 2, sizes, bytes);
    if (location)
        external(t, location);
    node(b, "", "Add", "x w", "y");
    output(b, "y", 2, small_shape);
}

static void short_weights(Builder *b) { added(b, 3, 20, NULL); }
static void no_weights(Builder *b) { added(b, 3, 0, NULL); }
static void huge_weights(Builder *b) { added(b, (int64_t)1 << 61, 24, NULL); }
static void external_missing(Builder *b) { added(b, 3, 0, "nowhere.bin"); }
static void external_outside(Builder *b) { added(b, 3, 0, "../../../../../../etc/passwd"); }
static void external_absolute(Builder *b) { added(b, 3, 0, "/etc/passwd"); }

static void no_graph(Builder *b) { b->model.graph = NULL; }

static void no_opset(Builder *b) {
    small(b);
    b->model.n_opset_import = 0;
}

static void future(Builder *b) {
    small(b);
    b->opset.version = 9999;
}

static void no_outputs(Builder *b) {
    small(b);
    b->graph.n_output = 0;
}

static const struct Recipe {
    const char *name;
    void (*build)(Builder *b);
} recipes[] = {
    {"small", small}, {"symbolic", symbolic}, {"conv", conv},
    {"unsupported", unsupported}, {"cyclic", cyclic}, {"self_cycle", self_cycle},
    {"huge", huge}, {"product", product}, {"negative", negative}, {"rank_100", rank_100},
    {"undefined_input", undefined_input}, {"undefined_output", undefined_output}, {"defined_twice", defined_twice},
    {"arity", arity}, {"conv_group", conv_group}, {"conv_group_0", conv_group_0}, {"broadcast", broadcast},
    {"short_weights", short_weights}, {"no_weights", no_weights}, {"huge_weights", huge_weights},
    {"external_missing", external_missing}, {"external_outside", external_outside},
    {"external_absolute", external_absolute}, {"no_graph", no_graph}, {"no_opset", no_opset}, {"future", future},
    {"no_outputs", no_outputs},
};

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        if (argc < 3) {
            puts(recipes[i].name);
            continue;
        }
        if (strcmp(argv[1], recipes[i].name))
            continue;
        static Builder b;
        begin(&b, 17);
        recipes[i].build(&b);
        size_t size = onnx__model_proto__get_packed_size(&b.model);
        uint8_t *bytes = malloc(size);
        FILE *f = bytes ? fopen(argv[2], "wb") : NULL;
        if (!f)
            return 1;
        onnx__model_proto__pack(&b.model, bytes);
        return fwrite(bytes, 1, size, f) != size || fclose(f);
    }
    return argc >= 3;
}
