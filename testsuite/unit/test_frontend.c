/* SPDX-License-Identifier: Apache-2.0 */
/* frontend/: what becomes of a model, and what is said of one that is wrong. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/wire.h"
#include "onnx_build.h"
#include "unit.h"

#define A(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name
#define T(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

/* x -> Relu -> y, to be changed by each test. */
static Built *simple(void) {
    Built *b = build_new(17);
    build_input(b, "x", T(FLOAT), "2 3");
    build_node(b, &b->graph, "Relu", "x", "y");
    build_output(b, &b->graph, "y");
    return b;
}

/* The import fails with exactly one error, which contains the text. */
static void refused(Built *b, const char *text) {
    ck_assert_ptr_null(build_import(b, NULL));
    ck_assert_int_eq(b->diag.errors, 1);
    ck_assert_msg(strstr(b->said, text) != NULL, "\"%s\" lacks \"%s\"", b->said, text);
    build_free(b);
}

static Graph *accepted(Built *b) {
    Model *m = build_import(b, NULL);
    ck_assert_msg(m != NULL, "%s", b->said);
    ck_assert_int_eq(b->diag.errors, 0);
    return m->graph;
}

static Node *node_of(Graph *g, const char *op) {
    for (Node *n = g->first; n; n = n->next)
        if (!strcmp(n->op_type, op))
            return n;
    ck_abort_msg("there is no node %s", op);
    return NULL;
}

static Value *value_of(Graph *g, const char *name) {
    Value *v = strmap_get(&g->names, name);
    ck_assert_msg(v != NULL, "there is no value %s", name);
    return v;
}

/* --- wire format --- */

START_TEST(varints_are_bounded) {
    const uint8_t ten[] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 7}, eleven[] = {
        128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0};
    uint64_t x;
    WireSpan s = {ten, sizeof ten};
    ck_assert(wire_varint(&s, &x));
    ck_assert_uint_eq(x, UINT64_MAX);
    ck_assert_uint_eq(s.size, 1);
    s = (WireSpan){eleven, sizeof eleven};
    ck_assert(!wire_varint(&s, &x));
    s = (WireSpan){eleven, 3};
    ck_assert(!wire_varint(&s, &x));
    s = (WireSpan){eleven, 0};
    ck_assert(!wire_varint(&s, &x));
}
END_TEST

static const char *wire_error(const void *bytes, size_t size) {
    static char said[1000];
    Arena *a = arena_new();
    Diag d = {.stream = fmemopen(said, sizeof said, "w"), .file = "t"};
    ck_assert_ptr_null(frontend_import_bytes(a, &d, "t", bytes, size, NULL));
    ck_assert_int_eq(d.errors, 1);
    fclose(d.stream);
    arena_free(a);
    return said;
}

START_TEST(malformed_bytes_are_named_by_offset) {
    ck_assert_ptr_nonnull(strstr(wire_error("\x08\x01\x3a\x05\x0a", 5), "at byte 2")); /* a graph that is cut off */
    ck_assert_ptr_nonnull(strstr(wire_error("\x0b", 1), "at byte 0"));                 /* a group */
    ck_assert_ptr_nonnull(strstr(wire_error("\x0f\x00", 2), "at byte 0"));             /* no such wire type */
    ck_assert_ptr_nonnull(strstr(wire_error("\x00\x01", 2), "at byte 0"));             /* field 0 */
    ck_assert_ptr_nonnull(strstr(wire_error("\x38\x01", 2), "\"graph\" of the wrong kind"));
    ck_assert_ptr_nonnull(strstr(wire_error("", 0), "not an ONNX model"));
    ck_assert_ptr_nonnull(strstr(wire_error("\x08\x01", 2), "no graph"));
}
END_TEST

/* Graphs in attributes in nodes in graphs, for ever; written from the innermost. */
START_TEST(nesting_is_bounded) {
    enum { DEPTH = 20000, ROOM = DEPTH * 5 };
    static const uint8_t tags[] = {0x0a, 0x2a, 0x32}; /* graph.node, node.attribute, attribute.g */
    uint8_t *bytes = malloc(ROOM), *p = bytes + ROOM;
    for (int i = DEPTH - 1; i >= 0; i--) {
        size_t n = (size_t)(bytes + ROOM - p);
        uint8_t head[5] = {i ? tags[(i - 1) % 3] : 0x3a};
        int k = 1;
        for (; n >= 128; n >>= 7)
            head[k++] = (uint8_t)(n | 128);
        head[k++] = (uint8_t)n;
        p -= k;
        memcpy(p, head, (size_t)k);
    }
    ck_assert_ptr_nonnull(strstr(wire_error(p, (size_t)(bytes + ROOM - p)), "nested too deep"));
    free(bytes);
}
END_TEST

START_TEST(every_truncation_has_one_diagnostic) {
    Built *b = simple();
    const int64_t dim[] = {2, 3};
    const float w[] = {1, 2, 3, 4, 5, 6};
    build_raw(b, build_initializer(b, "w", T(FLOAT), 2, dim), w, sizeof w);
    accepted(b);
    for (size_t n = 0; n < b->size; n++) {
        Arena *a = arena_new();
        Diag d = {.stream = NULL};
        void *exact = malloc(n ? n : 1); /* so that sanitizers see a byte too many */
        memcpy(exact, b->bytes, n);
        Model *m = frontend_import_bytes(a, &d, "t", exact, n, NULL);
        ck_assert_int_eq(d.errors, m ? 0 : 1);
        free(exact);
        arena_free(a);
    }
    build_free(b);
}
END_TEST

/* --- tensors --- */

START_TEST(raw_and_packed_elements_are_not_copied) {
    Built *b = simple();
    const int64_t dim = 100;
    float w[100] = {1, 2, 3};
    build_raw(b, build_initializer(b, "raw", T(FLOAT), 1, &dim), w, sizeof w);
    Onnx__TensorProto *t = build_initializer(b, "packed", T(FLOAT), 1, &dim);
    t->n_float_data = 100;
    t->float_data = w;
    Graph *g = accepted(b);
    for (int i = 0; i < 2; i++) {
        const Data *d = &value_of(g, i ? "packed" : "raw")->data;
        ck_assert_uint_eq(d->size, sizeof w);
        ck_assert_mem_eq(d->bytes, w, sizeof w);
        ck_assert((const char *)d->bytes > (char *)b->bytes && (const char *)d->bytes < (char *)b->bytes + b->size);
    }
    build_free(b);
}
END_TEST

START_TEST(typed_fields_become_little_endian_bytes) {
    static int32_t small[] = {-1, 2, 1, 0x3c00};
    static uint64_t large[] = {1, UINT64_MAX, 3, 4};
    static int64_t wide[] = {INT64_MIN, -1, 0, 7};
    static double real[] = {0.5, -1, 1e300, 0};
    const int64_t dim = 4;
    static const struct {
        int32_t type;
        size_t size;
        const char *bytes;
    } cases[] = {
        {T(INT8), 4, "\xff\x02\x01\x00"},
        {T(UINT8), 4, "\xff\x02\x01\x00"},
        {T(BOOL), 4, "\x01\x01\x01\x00"},
        {T(INT16), 8, "\xff\xff\x02\x00\x01\x00\x00\x3c"},
        {T(UINT16), 8, "\xff\xff\x02\x00\x01\x00\x00\x3c"},
        {T(FLOAT16), 8, "\xff\xff\x02\x00\x01\x00\x00\x3c"},
        {T(BFLOAT16), 8, "\xff\xff\x02\x00\x01\x00\x00\x3c"},
        {T(INT32), 16, "\xff\xff\xff\xff\x02\x00\x00\x00\x01\x00\x00\x00\x00\x3c\x00\x00"},
        {T(UINT32), 16, "\x01\x00\x00\x00\xff\xff\xff\xff\x03\x00\x00\x00\x04\x00\x00\x00"},
        {T(UINT64), 32, (const char *)large},
        {T(INT64), 32, (const char *)wide},
        {T(DOUBLE), 32, (const char *)real},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Built *b = simple();
        Onnx__TensorProto *t = build_initializer(b, "w", cases[i].type, 1, &dim);
        t->n_int32_data = t->n_uint64_data = t->n_int64_data = t->n_double_data = 4;
        t->int32_data = small; /* the other fields are not looked at */
        t->uint64_data = large;
        t->int64_data = wide;
        t->double_data = real;
        const Value *v = value_of(accepted(b), "w");
        ck_assert_int_eq(v->dtype, dtype_from_onnx(cases[i].type));
        ck_assert_uint_eq(v->data.size, cases[i].size);
        const uint8_t *p = v->data.bytes;
        if (cases[i].type == T(BOOL))
            ck_assert(p[0] == 1 && p[1] == 1 && p[2] == 1);
        else
            ck_assert_mem_eq(p, cases[i].bytes, cases[i].size);
        build_free(b);
    }
}
END_TEST

/* int64_data of a TensorProto file, as numbers one by one and in two packed pieces. */
START_TEST(repeated_fields_come_in_any_pieces) {
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\x08\x03\x10\x07\x38\x05\x38\x06\x38\x07", 10},
        {"\x08\x03\x10\x07\x3a\x01\x05\x3a\x02\x06\x07", 11},
        {"\x0a\x01\x03\x10\x07\x3a\x01\x05\x38\x06\x3a\x01\x07", 13},
    };
    for (size_t i = 0; i < 3; i++) {
        char path[] = "/tmp/mlcc-unit-XXXXXX";
        int fd = mkstemp(path);
        ck_assert_int_eq(write(fd, cases[i].bytes, cases[i].size), (long)cases[i].size);
        close(fd);
        Arena *a = arena_new();
        Diag d = {.stream = stderr};
        Value *v = frontend_read_tensor(a, &d, path);
        unlink(path);
        ck_assert_ptr_nonnull(v);
        ck_assert_int_eq(v->rank, 1);
        for (int k = 0; k < 3; k++)
            ck_assert_int_eq(const_int(v, k), 5 + k);
        arena_free(a);
    }
}
END_TEST

START_TEST(tensors_of_wrong_size_or_type_are_refused) {
    static const struct {
        int32_t type;
        size_t rank;
        int64_t dim[2];
        size_t size;
        const char *text;
    } cases[] = {
        {T(FLOAT), 1, {3}, 8, "initializer \"w\" has 8 bytes of data where its shape needs 12"},
        {T(FLOAT), 1, {-1}, 8, "dimension 0 is negative (-1)"},
        {T(FLOAT), 2, {INT64_C(1) << 62, 4}, 8, "more elements than memory can hold"},
        {T(FLOAT), 1, {INT64_C(1) << 60}, 8, "more elements than memory can hold"},
        {T(STRING), 1, {1}, 8, "element type STRING (8)"},
        {T(FLOAT4E2M1), 1, {1}, 8, "element type FLOAT4E2M1 (23)"},
        {99, 1, {1}, 8, "element type unknown (99)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Built *b = simple();
        build_raw(b, build_initializer(b, "w", cases[i].type, cases[i].rank, cases[i].dim), "01234567", cases[i].size);
        refused(b, cases[i].text);
    }
    Built *b = simple();
    int64_t huge = INT64_C(1) << 40;
    Onnx__TensorProto *t = build_initializer(b, "w", T(FLOAT), 1, &huge);
    float one = 1;
    t->n_float_data = 1;
    t->float_data = &one;
    refused(b, "initializer \"w\" has");
    b = simple();
    build_initializer(b, "w", T(FLOAT), 1, (const int64_t[]){2});
    refused(b, "initializer \"w\" has no elements of its type FLOAT");
}
END_TEST

START_TEST(sparse_tensors_become_dense) {
    static int64_t flat[] = {1, 5}, pairs[] = {0, 1, 1, 2};
    static const float values[] = {7, 8}, dense[] = {0, 7, 0, 0, 0, 8};
    for (int form = 0; form < 3; form++) {
        Built *b = simple();
        Onnx__SparseTensorProto *s = arena_alloc(b->arena, sizeof *s);
        onnx__sparse_tensor_proto__init(s);
        s->values = build_tensor(b, "w", T(FLOAT), 1, (const int64_t[]){2});
        build_raw(b, s->values, values, sizeof values);
        s->indices = build_tensor(b, "", T(INT64), form == 0 ? 1 : 2, (const int64_t[]){2, 2});
        s->indices->n_int64_data = form == 0 ? 2 : 4;
        s->indices->int64_data = form == 0 ? flat : pairs;
        s->n_dims = 2;
        s->dims = arena_dup(b->arena, (const int64_t[]){2, form == 2 ? 2 : 3}, 16);
        b->graph.n_sparse_initializer = 1;
        b->graph.sparse_initializer = &s;
        if (form == 2) {
            refused(b, "index 2 is out of range");
        } else {
            ck_assert_mem_eq(value_of(accepted(b), "w")->data.bytes, dense, sizeof dense);
            build_free(b);
        }
    }
}
END_TEST

START_TEST(external_data_stays_in_the_folder) {
    char folder[] = "/tmp/mlcc-unit-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    char file[64];
    snprintf(file, sizeof file, "%s/w.bin", folder);
    FILE *f = fopen(file, "wb");
    fputs("head0123tail", f);
    fclose(f);
    static const struct {
        const char *location, *offset, *length, *text;
    } cases[] = {
        {"w.bin", "4", "4", NULL},
        {"./w.bin", "4", NULL, NULL},
        {"w.bin", "9", NULL, "ends at byte 12"},
        {"w.bin", "99999999999999999999", NULL, "malformed offset"},
        {"w.bin", "18446744073709551615", NULL, "ends at byte 12"},
        {"w.bin", "-4", NULL, "malformed offset"},
        {"w.bin", "4", "5", "has 5 bytes where its shape needs 4"},
        {"none.bin", "4", NULL, "none.bin\": No such file"},
        {"/etc/passwd", "0", NULL, "not inside the model's folder"},
        {"a/../../w.bin", "0", NULL, "not inside the model's folder"},
        {"", "0", NULL, "no location"},
    };
    char path[64];
    snprintf(path, sizeof path, "%s/m.onnx", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Built *b = simple();
        Onnx__TensorProto *t = build_initializer(b, "w", T(UINT8), 1, (const int64_t[]){4});
        build_external(b, t, "location", cases[i].location);
        build_external(b, t, "offset", cases[i].offset);
        if (cases[i].length)
            build_external(b, t, "length", cases[i].length);
        Model *m = build_import_at(b, path, NULL);
        if (cases[i].text) {
            ck_assert_ptr_null(m);
            ck_assert_int_eq(b->diag.errors, 1);
            ck_assert_msg(strstr(b->said, cases[i].text) != NULL, "%s", b->said);
        } else {
            ck_assert_msg(m != NULL, "%s", b->said);
            ck_assert_mem_eq(value_of(m->graph, "w")->data.bytes, "0123", 4);
            ck_assert_ptr_nonnull(strstr(frontend_file(m, 0), "w.bin"));
            ck_assert_ptr_null(frontend_file(m, 1));
            frontend_close(m);
        }
        build_free(b);
    }
    unlink(file);
    rmdir(folder);
}
END_TEST

/* --- inputs and outputs --- */

START_TEST(symbols_are_bound_or_taken_as_one) {
    Built *b = simple();
    b->graph.n_input = 0;
    build_input(b, "x", T(FLOAT), "N 3 T ?");
    build_input(b, "z", T(INT64), "N ?");
    const DimBinding dims[] = {{"T", 5}, {"z:1", 7}, {"nowhere", 2}};
    Model *m = build_import(b, &(ImportOptions){3, dims});
    ck_assert_ptr_nonnull(m);
    const int64_t x[] = {1, 3, 5, 1}, z[] = {1, 7};
    ck_assert_mem_eq(m->graph->inputs.data[0]->dim, x, sizeof x);
    ck_assert_mem_eq(m->graph->inputs.data[1]->dim, z, sizeof z);
    const char *first = strstr(b->said, "--dim N=SIZE");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(strstr(first + 1, "--dim N=SIZE"));
    ck_assert_ptr_nonnull(strstr(b->said, "--dim x:3=SIZE"));
    ck_assert_ptr_nonnull(strstr(b->said, "warning: no input has a dimension \"nowhere\""));
    build_free(b);
}
END_TEST

START_TEST(inputs_that_cannot_be_are_refused) {
    static const struct {
        int32_t type;
        const char *dims, *text;
    } cases[] = {
        {T(FLOAT), NULL, "input \"x\" has no shape"},
        {T(FLOAT), "2 -3", "dimension 1 is negative (-3)"},
        {T(FLOAT), "4611686018427387904 3", "more elements than memory can hold"},
        {T(FLOAT), "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "17 dimensions"},
        {T(STRING), "2", "element type STRING"},
        {0, "2", "element type UNDEFINED"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Built *b = simple();
        b->graph.n_input = 0;
        build_input(b, "x", cases[i].type, cases[i].dims);
        refused(b, cases[i].text);
    }
    Built *b = simple();
    build_input(b, "x", T(FLOAT), "1");
    refused(b, "two inputs have the name \"x\"");
    b = simple();
    build_input(b, "s", T(FLOAT), "1")->type->value_case = ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
    b->graph.input[1]->type->sequence_type = b->graph.input[0]->type->tensor_type ? arena_alloc(b->arena, 64) : NULL;
    onnx__type_proto__sequence__init(b->graph.input[1]->type->sequence_type);
    refused(b, "input \"s\" is a sequence");
}
END_TEST

START_TEST(initializers_win_over_inputs) {
    Built *b = simple();
    build_input(b, "w", T(FLOAT), "1");
    build_raw(b, build_initializer(b, "w", T(FLOAT), 0, NULL), "\0\0\x80?", 4);
    build_node(b, &b->graph, "Add", "x w", "z");
    build_output(b, &b->graph, "z");
    Graph *g = accepted(b);
    ck_assert_int_eq(g->inputs.len, 1);
    ck_assert(value_is_const(node_of(g, "Add")->in[1]));
    ck_assert(g->outputs.data[1]->is_output);
    build_free(b);
}
END_TEST

/* --- nodes --- */

START_TEST(attributes_of_every_kind) {
    Built *b = simple();
    Onnx__NodeProto *n = b->graph.node[0];
    static int64_t ints[] = {1, -2};
    static float floats[] = {0.5f};
    ProtobufCBinaryData strings[] = {{1, (uint8_t *)"a"}, {0, NULL}};
    build_attr_int(b, n, "i", -7);
    build_attr_float(b, n, "f", 1.5f);
    Onnx__AttributeProto *a = build_attr(b, n, "s", A(STRING));
    a->has_s = true;
    a->s = (ProtobufCBinaryData){3, (uint8_t *)"a\0b"};
    a = build_attr(b, n, "ints", A(INTS));
    a->n_ints = 2;
    a->ints = ints;
    a = build_attr(b, n, "floats", A(UNDEFINED)); /* as in IR versions 1 and 2 */
    a->n_floats = 1;
    a->floats = floats;
    a = build_attr(b, n, "strings", A(STRINGS));
    a->n_strings = 2;
    a->strings = strings;
    build_attr(b, n, "empty", A(INTS));
    a = build_attr(b, n, "tensor", A(TENSOR));
    a->t = build_tensor(b, "", T(INT8), 1, (const int64_t[]){2});
    build_raw(b, a->t, "\x01\x02", 2);
    const Node *m = node_of(accepted(b), "Relu");
    ck_assert_int_eq(attr_int(m, "i", 0), -7);
    ck_assert(attr_float(m, "f", 0) == 1.5f);
    ck_assert_str_eq(attr_string(m, "s", ""), "a");
    ck_assert_uint_eq(node_attr(m, "s")->s_len, 3);
    ck_assert_int_eq(node_attr(m, "ints")->ints[1], -2);
    ck_assert_int_eq(node_attr(m, "floats")->kind, ATTR_FLOATS);
    ck_assert_str_eq(node_attr(m, "strings")->strings[0], "a");
    ck_assert_int_eq(node_attr(m, "empty")->n, 0);
    ck_assert_int_eq(const_int(node_attr(m, "tensor")->tensor, 1), 2);
    build_free(b);
    b = simple();
    build_attr_int(b, b->graph.node[0], "i", 1);
    build_attr_int(b, b->graph.node[0], "i", 2);
    refused(b, "node \"y\" (Relu): attribute \"i\" is given twice");
}
END_TEST

START_TEST(constants_in_every_form) {
    static int64_t ints[] = {4, 5};
    static float floats[] = {0.5f};
    Built *b = simple();
    Onnx__GraphProto *g = &b->graph;
    build_attr_int(b, build_node(b, g, "Constant", "", "i"), "value_int", 3);
    build_attr_float(b, build_node(b, g, "Constant", "", "f"), "value_float", 2.5f);
    Onnx__AttributeProto *a = build_attr(b, build_node(b, g, "Constant", "", "is"), "value_ints", A(INTS));
    a->n_ints = 2;
    a->ints = ints;
    a = build_attr(b, build_node(b, g, "Constant", "", "fs"), "value_floats", A(FLOATS));
    a->n_floats = 1;
    a->floats = floats;
    a = build_attr(b, build_node(b, g, "Constant", "", "t"), "value", A(TENSOR));
    a->t = build_tensor(b, "", T(BOOL), 0, NULL);
    build_raw(b, a->t, "\x01", 1);
    Graph *m = accepted(b);
    ck_assert_int_eq(m->consts.len, 5);
    ck_assert_int_eq(const_int(value_of(m, "i"), 0), 3);
    ck_assert_int_eq(value_of(m, "i")->rank, 0);
    ck_assert(const_float(value_of(m, "f"), 0) == 2.5);
    ck_assert_int_eq(value_of(m, "is")->dim[0], 2);
    ck_assert_int_eq(const_int(value_of(m, "is"), 1), 5);
    ck_assert(const_float(value_of(m, "fs"), 0) == 0.5);
    ck_assert_int_eq(value_of(m, "t")->dtype, DT_BOOL);
    build_free(b);
    b = simple();
    build_node(b, &b->graph, "Constant", "", "c");
    refused(b, "node \"c\" (Constant): it has no value");
}
END_TEST

START_TEST(optional_inputs_and_outputs_may_be_absent) {
    Built *b = simple();
    build_node(b, &b->graph, "LSTM", "x x x - - x - -", "- h -");
    build_output(b, &b->graph, "h");
    build_node(b, &b->graph, "Relu", "x", "-"); /* nothing comes of it */
    const Node *n = node_of(accepted(b), "LSTM");
    ck_assert_int_eq(n->nin, 6);
    ck_assert_ptr_null(n->in[3]);
    ck_assert_ptr_nonnull(n->in[5]);
    ck_assert_int_eq(n->nout, 3);
    ck_assert_ptr_null(n->out[0]);
    ck_assert_str_eq(n->out[1]->name, "h");
    ck_assert_str_eq(n->name, "h");
    ck_assert_ptr_null(n->graph->last->next);
    build_free(b);
}
END_TEST

START_TEST(order_and_names_are_checked) {
    Built *b = simple();
    build_node(b, &b->graph, "Abs", "q", "p");
    build_node(b, &b->graph, "Neg", "y", "q");
    const Graph *g = accepted(b);
    ck_assert_str_eq(g->last->op_type, "Abs");
    ck_assert_ptr_nonnull(strstr(b->said, "warning: node \"q\" (Neg)"));
    build_free(b);
    b = simple();
    build_node(b, &b->graph, "Abs", "q", "p");
    build_node(b, &b->graph, "Neg", "p", "q");
    refused(b, "needs its own output: the graph has a cycle");
    b = simple();
    build_node(b, &b->graph, "Abs", "p", "p");
    refused(b, "node \"p\" (Abs): it needs its own output");
    b = simple();
    build_node(b, &b->graph, "Abs", "x", "y");
    refused(b, "node \"y\" (Abs): output \"y\" is already the output of a node");
    b = simple();
    build_node(b, &b->graph, "Abs", "y", "x");
    refused(b, "has a cycle");
    b = simple();
    build_node(b, &b->graph, "Abs", "nobody", "z");
    refused(b, "node \"z\" (Abs): input \"nobody\" is not defined");
    b = simple();
    build_output(b, &b->graph, "nobody");
    refused(b, "output \"nobody\" is not defined");
    b = simple();
    b->graph.n_output = 0;
    refused(b, "the graph has no outputs");
    b = simple();
    b->graph.node[0]->op_type = NULL;
    refused(b, "a node without an operator");
}
END_TEST

START_TEST(operator_sets_must_be_imported) {
    Built *b = simple();
    b->model.n_opset_import = 0;
    refused(b, "node \"y\" (Relu): the model imports no version of the operator set \"ai.onnx\"");
    b = simple();
    build_opset(b, "ai.onnx.ml", 99);
    refused(b, "version 99 of the operator set \"ai.onnx.ml\" is not known");
    b = simple();
    b->model.n_opset_import = 0;
    b->model.ir_version = 1; /* implies opset 1 */
    accepted(b);
    build_free(b);
    b = simple();
    build_node(b, &b->graph, "strange:Thing", "x", "z");
    const Node *n = node_of(accepted(b), "Thing");
    ck_assert_str_eq(n->domain, "strange");
    ck_assert_ptr_null(n->op);
    build_free(b);
}
END_TEST

/* --- bodies and functions --- */

START_TEST(bodies_see_outer_values) {
    Built *b = simple();
    build_input(b, "c", T(BOOL), "");
    Onnx__GraphProto *yes = build_body(b, "yes"), *no = build_body(b, "no");
    build_node(b, yes, "Neg", "late", "n");
    build_output(b, yes, "n");
    build_output(b, no, "x"); /* an outer value itself */
    Onnx__NodeProto *n = build_node(b, &b->graph, "If", "c", "z");
    build_attr(b, n, "then_branch", A(GRAPH))->g = yes;
    build_attr(b, n, "else_branch", A(GRAPH))->g = no;
    build_node(b, &b->graph, "Abs", "x", "late"); /* the body needs it before */
    Graph *g = accepted(b);
    Node *branch = node_of(g, "If");
    ck_assert_ptr_eq(g->last, branch);
    Graph *body = node_attr(branch, "then_branch")->graph;
    ck_assert_ptr_eq(body->outer, g);
    ck_assert_ptr_eq(body->first->in[0], value_of(g, "late"));
    body = node_attr(branch, "else_branch")->graph;
    ck_assert_str_eq(body->first->op_type, "Identity");
    ck_assert_ptr_eq(body->first->in[0], value_of(g, "x"));
    build_free(b);
}
END_TEST

START_TEST(functions_are_inlined) {
    Built *b = simple();
    Onnx__FunctionProto *inner = build_function(b, "Inner", "a k", "r");
    Onnx__NodeProto *n = build_function_node(b, inner, "LeakyRelu", "a", "t");
    Onnx__AttributeProto *slope = build_attr(b, n, "alpha", A(FLOAT));
    slope->ref_attr_name = "slope";
    build_attr(b, n, "beta", A(FLOAT))->ref_attr_name = "nothing";
    build_function_node(b, inner, "Clip", "t k", "r");
    Onnx__AttributeProto standard = ONNX__ATTRIBUTE_PROTO__INIT, *defaults[] = {&standard};
    standard.name = "slope";
    standard.has_type = standard.has_f = true;
    standard.type = A(FLOAT);
    standard.f = 0.25f;
    inner->n_attribute_proto = 1;
    inner->attribute_proto = defaults;
    Onnx__FunctionProto *outer = build_function(b, "Outer", "a", "r same");
    n = build_function_node(b, outer, "own:Inner", "a", "r");
    build_attr(b, n, "slope", A(FLOAT))->ref_attr_name = "steep";
    build_function_node(b, outer, "Identity", "a", "same");
    n = build_node(b, &b->graph, "own:Outer", "y", "z1 z2");
    build_attr_float(b, n, "steep", 0.5f);
    n->name = "call";
    build_node(b, &b->graph, "own:Outer", "y", "w1");
    build_output(b, &b->graph, "z1");
    build_output(b, &b->graph, "w1");
    Graph *g = accepted(b);
    const Node *first = node_of(g, "LeakyRelu"), *clip = node_of(g, "Clip");
    ck_assert(attr_float(first, "alpha", 0) == 0.5f);
    ck_assert_ptr_null(node_attr(first, "beta"));
    ck_assert_int_eq(clip->nin, 1);
    ck_assert_str_eq(clip->out[0]->name, "z1");
    ck_assert_ptr_nonnull(strstr(first->sources, "call/"));
    ck_assert_str_eq(g->outputs.data[2]->name, "w1");
    const Node *second = g->outputs.data[2]->def->in[0]->def;
    ck_assert(second != first);
    ck_assert(attr_float(second, "alpha", 0) == 0.25f); /* the reference to an absent attribute leaves the default */
    build_free(b);
}
END_TEST

START_TEST(functions_that_cannot_end_are_refused) {
    Built *b = simple();
    build_function_node(b, build_function(b, "F", "a", "r"), "own:G", "a", "r");
    build_function_node(b, build_function(b, "G", "a", "r"), "own:F", "a", "r");
    build_node(b, &b->graph, "own:F", "x", "z");
    refused(b, "calls itself");
    b = simple();
    char name[2] = "a", call[6] = "own:b"; /* each calls the next twice: 2^26 nodes */
    for (; *name < 'z'; name[0]++, call[4]++) {
        Onnx__FunctionProto *f = build_function(b, name, "x", "r");
        build_function_node(b, f, call, "x", "t");
        build_function_node(b, f, call, "t", "r");
    }
    build_function_node(b, build_function(b, "z", "x", "r"), "Relu", "x", "r");
    build_node(b, &b->graph, "own:a", "x", "z");
    refused(b, "more than 250000 nodes with its functions inlined");
    b = simple();
    build_function(b, "F", "a", "r");
    build_node(b, &b->graph, "own:F", "x", "z");
    refused(b, "does not compute its output \"r\"");
    b = simple();
    build_function(b, "F", "a", "a");
    build_node(b, &b->graph, "own:F", "x x", "z");
    refused(b, "has 1 inputs and 1 outputs, the call 2 and 1");
}
END_TEST

/* A function that hands its input through to an output of the model: the output keeps its name. */
START_TEST(outputs_keep_their_names) {
    Built *b = simple();
    build_function(b, "F", "a", "a");
    build_node(b, &b->graph, "own:F", "x", "z");
    build_output(b, &b->graph, "z");
    const Graph *g = accepted(b);
    ck_assert_str_eq(g->outputs.data[1]->name, "z");
    ck_assert_str_eq(g->outputs.data[1]->def->op_type, "Identity");
    build_free(b);
}
END_TEST

/* --- upgrades: that values come out right is shown by testsuite/op/old_opsets.py; here, the forms --- */

START_TEST(known_ranks_and_types_need_no_arithmetic) {
    Built *b = build_new(6);
    build_input(b, "x", T(FLOAT), "2 3");
    build_attr_float(b, build_node(b, &b->graph, "Clip", "x", "c"), "min", 0.5f);
    build_node(b, &b->graph, "Softmax", "c", "s");
    build_output(b, &b->graph, "s");
    Graph *g = accepted(b);
    const Node *clip = node_of(g, "Clip"), *softmax = node_of(g, "Softmax");
    ck_assert_int_eq(clip->nin, 2);
    ck_assert_int_eq(clip->nattrs, 0);
    ck_assert(const_float(clip->in[1], 0) == 0.5);
    ck_assert_int_eq(attr_int(softmax, "axis", 0), -1);
    ck_assert_ptr_eq(g->first->next, g->last);
    build_free(b);
}
END_TEST

START_TEST(rewritten_nodes_keep_name_and_output) {
    Built *b = build_new(11);
    build_input(b, "x", T(FLOAT), "2 3 4");
    build_node(b, &b->graph, "Softmax", "x", "s")->name = "soft";
    build_output(b, &b->graph, "s");
    const Graph *g = accepted(b);
    ck_assert_str_eq(g->outputs.data[0]->name, "s");
    ck_assert_str_eq(g->last->op_type, "Reshape");
    for (const Node *n = g->first; n; n = n->next)
        ck_assert_str_eq(n->sources, "soft");
    build_free(b);
}
END_TEST

START_TEST(wrong_attributes_are_refused) {
    Built *b = build_new(9);
    build_input(b, "x", T(FLOAT), "2 3");
    build_attr_int(b, build_node(b, &b->graph, "Squeeze", "x", "s"), "axes", 1);
    build_output(b, &b->graph, "s");
    refused(b, "node \"s\" (Squeeze): attribute \"axes\" must be a list of integers");
    b = build_new(9);
    build_input(b, "x", T(FLOAT), "2 3");
    build_node(b, &b->graph, "Unsqueeze", "x", "s");
    build_output(b, &b->graph, "s");
    refused(b, "node \"s\" (Unsqueeze): attribute \"axes\" is missing");
}
END_TEST

static Suite *frontend_suite(void) {
    const TTest *const tests[] = {
        varints_are_bounded, malformed_bytes_are_named_by_offset, nesting_is_bounded,
        every_truncation_has_one_diagnostic, raw_and_packed_elements_are_not_copied,
        typed_fields_become_little_endian_bytes, repeated_fields_come_in_any_pieces,
        tensors_of_wrong_size_or_type_are_refused, sparse_tensors_become_dense, external_data_stays_in_the_folder,
        symbols_are_bound_or_taken_as_one, inputs_that_cannot_be_are_refused, initializers_win_over_inputs,
        attributes_of_every_kind, constants_in_every_form, optional_inputs_and_outputs_may_be_absent,
        order_and_names_are_checked, operator_sets_must_be_imported, bodies_see_outer_values, functions_are_inlined,
        functions_that_cannot_end_are_refused, outputs_keep_their_names, known_ranks_and_types_need_no_arithmetic,
        rewritten_nodes_keep_name_and_output, wrong_attributes_are_refused,
    };
    Suite *suite = suite_create("frontend");
    TCase *c = tcase_create("frontend");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(c, tests[i]);
    suite_add_tcase(suite, c);
    return suite;
}

int main(void) { return unit_run("frontend", frontend_suite()); }
