/* SPDX-License-Identifier: Apache-2.0 */
/* From an ONNX file to graph IR. */
#ifndef MLCC_FRONTEND_FRONTEND_H
#define MLCC_FRONTEND_FRONTEND_H

#include "graph/graph.h"

/* --dim NAME=SIZE: fixes a symbolic dimension. */
typedef struct DimBinding {
    const char *name;
    int64_t size;
} DimBinding;

typedef struct ImportOptions {
    int n_dims;
    const DimBinding *dims;
} ImportOptions;

/* Reads the model at path. Weights stay in the mapped file, which stays mapped as long as the arena: the mapping is
 * released by frontend_close. Every operator is in its newest form (upgrade.c), model functions are inlined, Constant
 * nodes are constants. Operators that the table does not know stay as nodes with op NULL. A symbolic dimension without
 * a binding becomes 1, with a note that says how to fix it. NULL after a diagnostic. */
typedef struct Model {
    Graph *graph;
    int64_t ir_version, opset; /* opset of ai.onnx as in the file */
    const char *producer, *domain, *version;
    struct ModelFiles *files;
} Model;
Model *frontend_import(Arena *a, Diag *d, const char *path, const ImportOptions *options);
void frontend_close(Model *m);
/* External data files that were read, for make rules; NULL past the last. */
const char *frontend_file(const Model *m, int i);

/* The same from memory, for fuzzing and tests; external data is looked for relative to path. */
Model *frontend_import_bytes(Arena *a, Diag *d, const char *path, const void *bytes, size_t size,
                             const ImportOptions *options);

/* The graph as an ONNX file, in arena memory, of the oldest opset that has its operators. `version` is the producer's.
 * False after a diagnostic. */
bool frontend_export(Arena *a, Diag *d, const Graph *g, const char *version, const void **bytes, size_t *size);

/* A TensorProto file (test_data_set_k/input_j.pb) as a constant outside any graph; NULL after a diagnostic. */
Value *frontend_read_tensor(Arena *a, Diag *d, const char *path);

#endif
