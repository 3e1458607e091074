/* SPDX-License-Identifier: Apache-2.0 */
/* Small ONNX models built in memory. */
#define _POSIX_C_SOURCE 200809L
#include "onnx_build.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Appends an item to a repeated field. */
#define APPEND(b, list, n, item)                                                                                       \
    do {                                                                                                               \
        void *grown_ = arena_array((b)->arena, (n) + 1, sizeof *(list));                                               \
        if (n)                                                                                                         \
            memcpy(grown_, (list), (n) * sizeof *(list));                                                              \
        (list) = grown_;                                                                                               \
        (list)[(n)++] = (item);                                                                                        \
    } while (0)

#define NEW(b, T, init) ((T *)arena_dup((b)->arena, &(T)init, sizeof(T)))

static char *copy(Built *b, const char *s) { return arena_strdup(b->arena, s); }

static size_t words(Built *b, const char *text, char ***out) {
    size_t n = 0;
    *out = NULL;
    while (*text) {
        size_t k = strcspn(text, " ");
        char *word = k == 1 && *text == '-' ? copy(b, "") : arena_strndup(b->arena, text, k);
        APPEND(b, *out, n, word);
        text += k + (text[k] == ' ');
    }
    return n;
}

void build_opset(Built *b, const char *domain, int64_t version) {
    Onnx__OperatorSetIdProto *o = NEW(b, Onnx__OperatorSetIdProto, ONNX__OPERATOR_SET_ID_PROTO__INIT);
    o->domain = copy(b, domain);
    o->has_version = true;
    o->version = version;
    APPEND(b, b->model.opset_import, b->model.n_opset_import, o);
}

Built *build_new(int64_t opset) {
    Built *b = calloc(1, sizeof *b);
    b->arena = arena_new();
    onnx__model_proto__init(&b->model);
    onnx__graph_proto__init(&b->graph);
    b->model.graph = &b->graph;
    b->model.has_ir_version = true;
    b->model.ir_version = 8;
    if (opset)
        build_opset(b, "", opset);
    b->diag.file = "test.onnx";
    b->diag.stream = open_memstream(&b->said, &b->said_size);
    return b;
}

void build_free(Built *b) {
    fclose(b->diag.stream);
    free(b->said);
    free(b->bytes);
    arena_free(b->arena);
    free(b);
}

static Onnx__NodeProto *new_node(Built *b, const char *op, const char *in, const char *out) {
    Onnx__NodeProto *n = NEW(b, Onnx__NodeProto, ONNX__NODE_PROTO__INIT);
    const char *colon = strchr(op, ':');
    if (colon)
        n->domain = arena_strndup(b->arena, op, (size_t)(colon - op));
    n->op_type = copy(b, colon ? colon + 1 : op);
    n->n_input = words(b, in, &n->input);
    n->n_output = words(b, out, &n->output);
    return n;
}

Onnx__NodeProto *build_node(Built *b, Onnx__GraphProto *g, const char *op, const char *in, const char *out) {
    Onnx__NodeProto *n = new_node(b, op, in, out);
    APPEND(b, g->node, g->n_node, n);
    return n;
}

Onnx__FunctionProto *build_function(Built *b, const char *name, const char *in, const char *out) {
    Onnx__FunctionProto *f = NEW(b, Onnx__FunctionProto, ONNX__FUNCTION_PROTO__INIT);
    f->domain = copy(b, "own");
    f->name = copy(b, name);
    f->n_input = words(b, in, &f->input);
    f->n_output = words(b, out, &f->output);
    f->n_opset_import = b->model.n_opset_import;
    f->opset_import = b->model.opset_import;
    APPEND(b, b->model.functions, b->model.n_functions, f);
    return f;
}

Onnx__NodeProto *build_function_node(Built *b, Onnx__FunctionProto *f, const char *op, const char *in, const char *out) {
    Onnx__NodeProto *n = new_node(b, op, in, out);
    APPEND(b, f->node, f->n_node, n);
    return n;
}

static Onnx__TensorShapeProto *new_shape(Built *b, const char *dims) {
    Onnx__TensorShapeProto *s = NEW(b, Onnx__TensorShapeProto, ONNX__TENSOR_SHAPE_PROTO__INIT);
    char **word;
    size_t n = words(b, dims, &word);
    for (size_t i = 0; i < n; i++) {
        Onnx__TensorShapeProto__Dimension *d =
            NEW(b, Onnx__TensorShapeProto__Dimension, ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT);
        if (isdigit((unsigned char)*word[i]) || *word[i] == '-') {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            d->dim_value = strtoll(word[i], NULL, 10);
        } else if (strcmp(word[i], "?") != 0) {
            d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            d->dim_param = word[i];
        }
        APPEND(b, s->dim, s->n_dim, d);
    }
    return s;
}

Onnx__ValueInfoProto *build_input(Built *b, const char *name, int32_t type, const char *dims) {
    Onnx__TypeProto__Tensor *t = NEW(b, Onnx__TypeProto__Tensor, ONNX__TYPE_PROTO__TENSOR__INIT);
    t->has_elem_type = true;
    t->elem_type = type;
    t->shape = dims ? new_shape(b, dims) : NULL;
    Onnx__ValueInfoProto *v = NEW(b, Onnx__ValueInfoProto, ONNX__VALUE_INFO_PROTO__INIT);
    v->name = copy(b, name);
    v->type = NEW(b, Onnx__TypeProto, ONNX__TYPE_PROTO__INIT);
    v->type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    v->type->tensor_type = t;
    APPEND(b, b->graph.input, b->graph.n_input, v);
    return v;
}

void build_output(Built *b, Onnx__GraphProto *g, const char *name) {
    Onnx__ValueInfoProto *v = NEW(b, Onnx__ValueInfoProto, ONNX__VALUE_INFO_PROTO__INIT);
    v->name = copy(b, name);
    APPEND(b, g->output, g->n_output, v);
}

Onnx__GraphProto *build_body(Built *b, const char *name) {
    Onnx__GraphProto *g = NEW(b, Onnx__GraphProto, ONNX__GRAPH_PROTO__INIT);
    g->name = copy(b, name);
    return g;
}

Onnx__TensorProto *build_tensor(Built *b, const char *name, int32_t type, size_t rank, const int64_t *dim) {
    Onnx__TensorProto *t = NEW(b, Onnx__TensorProto, ONNX__TENSOR_PROTO__INIT);
    t->name = copy(b, name);
    t->has_data_type = true;
    t->data_type = type;
    t->n_dims = rank;
    t->dims = arena_dup(b->arena, dim, rank * sizeof *dim);
    return t;
}

Onnx__TensorProto *build_initializer(Built *b, const char *name, int32_t type, size_t rank, const int64_t *dim) {
    Onnx__TensorProto *t = build_tensor(b, name, type, rank, dim);
    APPEND(b, b->graph.initializer, b->graph.n_initializer, t);
    return t;
}

void build_raw(Built *b, Onnx__TensorProto *t, const void *data, size_t size) {
    t->has_raw_data = true;
    t->raw_data.len = size;
    t->raw_data.data = arena_dup(b->arena, data, size);
}

Onnx__AttributeProto *build_attr(Built *b, Onnx__NodeProto *n, const char *name,
                                 Onnx__AttributeProto__AttributeType type) {
    Onnx__AttributeProto *a = NEW(b, Onnx__AttributeProto, ONNX__ATTRIBUTE_PROTO__INIT);
    a->name = copy(b, name);
    a->has_type = type != ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED;
    a->type = type;
    APPEND(b, n->attribute, n->n_attribute, a);
    return a;
}

void build_attr_int(Built *b, Onnx__NodeProto *n, const char *name, int64_t x) {
    Onnx__AttributeProto *a = build_attr(b, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = true;
    a->i = x;
}

void build_attr_float(Built *b, Onnx__NodeProto *n, const char *name, float x) {
    Onnx__AttributeProto *a = build_attr(b, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = true;
    a->f = x;
}

void build_external(Built *b, Onnx__TensorProto *t, const char *key, const char *value) {
    Onnx__StringStringEntryProto *e = NEW(b, Onnx__StringStringEntryProto, ONNX__STRING_STRING_ENTRY_PROTO__INIT);
    e->key = copy(b, key);
    e->value = copy(b, value);
    APPEND(b, t->external_data, t->n_external_data, e);
    t->has_data_location = true;
    t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

void build_pack(Built *b) {
    free(b->bytes);
    b->size = onnx__model_proto__get_packed_size(&b->model);
    b->bytes = malloc(b->size + 1);
    onnx__model_proto__pack(&b->model, b->bytes);
}

Model *build_import_at(Built *b, const char *path, const ImportOptions *options) {
    build_pack(b);
    Model *m = frontend_import_bytes(b->arena, &b->diag, path, b->bytes, b->size, options);
    fflush(b->diag.stream);
    return m;
}

Model *build_import(Built *b, const ImportOptions *options) { return build_import_at(b, "test.onnx", options); }
