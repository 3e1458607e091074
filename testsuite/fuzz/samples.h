/* SPDX-License-Identifier: Apache-2.0 */
/* Small models with as many features of the format as fit, to be mutated. */
#ifndef MLCC_TESTSUITE_FUZZ_SAMPLES_H
#define MLCC_TESTSUITE_FUZZ_SAMPLES_H

#include <stddef.h>

typedef struct Sample {
    const char *name;
    void *bytes; /* malloc'ed */
    size_t size;
} Sample;

Sample sample_features(void); /* functions, bodies, sparse and typed tensors, constants, symbols */
Sample sample_old(void);      /* opset 4: attributes that became inputs, old broadcasting */
Sample sample_network(void);  /* what compiles to the end: convolution, recurrence, shape arithmetic, views */

#endif
