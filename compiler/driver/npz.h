/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy's archives of arrays: a ZIP file of .npy files, stored or deflated. */
#ifndef MLCC_DRIVER_NPZ_H
#define MLCC_DRIVER_NPZ_H

#include "driver/tensor_file.h"

typedef struct NpzArray {
    const char *name; /* without .npy */
    Tensor tensor;
} NpzArray;

typedef struct Npz {
    VEC(NpzArray) arrays;
} Npz;

/* Arrays of types that tensors here do not have, such as strings, are left out. False after a diagnostic. */
bool npz_read(Arena *a, Diag *d, const char *path, Npz *out);

#endif
