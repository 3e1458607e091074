/* SPDX-License-Identifier: Apache-2.0 */
/* What the inputs of products are like over samples. */
#ifndef MLCC_DRIVER_QUANTIZE_STATS_H
#define MLCC_DRIVER_QUANTIZE_STATS_H

#include "driver/quantize_run.h"
#include "passes/quantize.h"

typedef enum StatsKind {
    STATS_OF_MATRICES, /* of inputs of MatMul and Gemm alone */
    STATS,
    STATS_AND_GRAMS
} StatsKind;

/* Of c's graph, which is compiled and closed: QuantizeStats in a, by the names of the inputs of products with constant
 * weights; QuantizeGram by the names of their outputs, but for the largest. Samples that have not been read yet are, where
 * there is such a product. False after a diagnostic. */
bool stats_collect(Arena *a, Diag *d, const Options *o, StatsKind kind, Compilation *c, const Diag *progress, Samples *s, StrMap *out,
                   StrMap *grams);

#endif
