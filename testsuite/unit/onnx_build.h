/* SPDX-License-Identifier: Apache-2.0 */
/* Small ONNX models built in memory, for tests of the frontend. Lists of names are words with blanks between; "-" is
 * the empty name. */
#ifndef MLCC_TESTSUITE_ONNX_BUILD_H
#define MLCC_TESTSUITE_ONNX_BUILD_H

#include "frontend/frontend.h"
#include "frontend/onnx.pb-c.h"

typedef struct Built {
    Arena *arena;
    Onnx__ModelProto model;
    Onnx__GraphProto graph;
    Diag diag;
    char *said; /* what the diagnostics printed */
    size_t said_size;
    void *bytes; /* the packed model */
    size_t size;
} Built;

Built *build_new(int64_t opset);
void build_free(Built *b);

Onnx__NodeProto *build_node(Built *b, Onnx__GraphProto *g, const char *op, const char *in, const char *out);
Onnx__NodeProto *build_function_node(Built *b, Onnx__FunctionProto *f, const char *op, const char *in, const char *out);
Onnx__FunctionProto *build_function(Built *b, const char *name, const char *in, const char *out);
/* dims is words: numbers, symbols, or "?" for an unknown one; NULL leaves the shape out. */
Onnx__ValueInfoProto *build_input(Built *b, const char *name, int32_t type, const char *dims);
void build_output(Built *b, Onnx__GraphProto *g, const char *name);
Onnx__GraphProto *build_body(Built *b, const char *name);
Onnx__TensorProto *build_tensor(Built *b, const char *name, int32_t type, size_t rank, const int64_t *dim);
Onnx__TensorProto *build_initializer(Built *b, const char *name, int32_t type, size_t rank, const int64_t *dim);
void build_raw(Built *b, Onnx__TensorProto *t, const void *data, size_t size);
Onnx__AttributeProto *build_attr(Built *b, Onnx__NodeProto *n, const char *name, Onnx__AttributeProto__AttributeType type);
void build_attr_int(Built *b, Onnx__NodeProto *n, const char *name, int64_t x);
void build_attr_float(Built *b, Onnx__NodeProto *n, const char *name, float x);
void build_external(Built *b, Onnx__TensorProto *t, const char *key, const char *value);
void build_opset(Built *b, const char *domain, int64_t version);

/* Packs into bytes and size. */
void build_pack(Built *b);
/* Packs and imports; the model is NULL after a diagnostic, which is then in b->said. */
Model *build_import(Built *b, const ImportOptions *options);
Model *build_import_at(Built *b, const char *path, const ImportOptions *options);

#endif
