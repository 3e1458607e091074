/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs of many runs of a model, from files. */
#ifndef MLCC_DRIVER_SAMPLES_H
#define MLCC_DRIVER_SAMPLES_H

#include "driver/tensor_file.h"
#include "kernel/kernel.h"

typedef struct Samples {
    VEC(Tensor *) list; /* for each sample its inputs, in the module's order */
} Samples;

/* At most `most` samples from a folder with test_data_set_<k>/input_<j>.pb (or .npy), from a folder of .npy files, a .npy file
 * (both for models with one input) or a .npz file with an array for each input, by its name or as input_<j> or arr_<j>. An
 * array is one sample, or has more of them along its first axis. False after a diagnostic. */
bool samples_read(Arena *a, Diag *d, const KModule *m, const char *path, int most, Samples *out);

#endif
