/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in files: NumPy's .npy (NEP 1, version 1.0) and ONNX's TensorProto (.pb). */
#ifndef MLCC_DRIVER_TENSOR_FILE_H
#define MLCC_DRIVER_TENSOR_FILE_H

#include "support/arena.h"
#include "support/diag.h"
#include "support/dtype.h"

typedef struct Tensor {
    DType dtype;
    int rank;
    int64_t *dim;
    int64_t count;
    void *bytes; /* row-major, little endian, aligned */
} Tensor;

/* By the file's suffix: .npy or .pb. False after a diagnostic. */
bool tensor_read_file(Arena *a, Diag *d, const char *path, Tensor *out);
bool tensor_write_npy(Diag *d, const char *path, const Tensor *t);
double tensor_at(const Tensor *t, int64_t i);

#endif
