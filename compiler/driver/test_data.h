/* SPDX-License-Identifier: Apache-2.0 */
/* ONNX test data: DIR/test_data_set_<k>/{input,output}_<j>.{pb,npy} and DIR/tolerance.txt ("rtol atol"). */
#ifndef MLCC_DRIVER_TEST_DATA_H
#define MLCC_DRIVER_TEST_DATA_H

#include "backend/emit.h"
#include "driver/tensor_file.h"

typedef struct TestSet {
    int n_inputs, n_outputs;
    Tensor *input, *output;
    const char *folder;
} TestSet;

typedef struct TestData {
    int n;
    TestSet *set;
    TestVector *vectors; /* the same as plain pointers */
    double rtol, atol;   /* the backend test's 1e-3 and 1e-7 where there is no tolerance.txt */
} TestData;

/* Reads every set of a case (or a folder that is itself one set) and checks it against the module's inputs and
 * outputs. What --math=fast made approximate may differ by ten times as much. False after a diagnostic. */
bool test_data_read(Arena *a, Diag *d, const KModule *m, const char *folder, bool approximate, TestData *out);

/* True when every element is within atol + rtol * (largest magnitude of want); NaN and infinities must agree. *worst
 * receives the largest difference over that bound. */
bool tensor_close(const Tensor *got, const Tensor *want, double rtol, double atol, double *worst);

#endif
