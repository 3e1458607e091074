/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in files: NumPy's .npy (NEP 1, version 1.0) and ONNX's TensorProto (.pb). */
#ifndef MLCC_DRIVER_TENSOR_FILE_H
#define MLCC_DRIVER_TENSOR_FILE_H

#include "support/arena.h"
#include "support/diag.h"
#include "support/dtype.h"
#include "support/file.h"

typedef struct Tensor {
    DType dtype;
    int rank;
    int64_t *dim;
    int64_t count;
    void *bytes; /* row-major, little endian, aligned */
} Tensor;

/* By the file's suffix: .npy or .pb. False after a diagnostic. */
bool tensor_read_file(Arena *a, Diag *d, const char *path, Tensor *out);
/* FOLDER/KIND_<j>.pb or .npy; NULL where neither is there. */
const char *tensor_in_folder(Arena *a, const char *folder, const char *kind, int j);
/* The content of a .npy file. NULL, or why it is none; tensor_npy_type is one of the reasons. */
const char *tensor_parse_npy(Arena *a, const FileMap *content, Tensor *out);
extern const char tensor_npy_type[];
bool tensor_write_npy(Diag *d, const char *path, const Tensor *t);
double tensor_at(const Tensor *t, int64_t i);

#endif
