/* SPDX-License-Identifier: Apache-2.0 */
/* What the inputs of products are like over samples. */
#ifndef MLCC_DRIVER_QUANTIZE_STATS_H
#define MLCC_DRIVER_QUANTIZE_STATS_H

#include "driver/quantize_run.h"
#include "passes/quantize.h"

/* Of c's graph, which is compiled and closed: QuantizeStats in a, by the names of the inputs of products with constant
 * weights. With gram, also the sums of products of the channels of MatMul's and Gemm's inputs. Samples that have not been
 * read yet are. False after a diagnostic. */
bool stats_collect(Arena *a, Diag *d, const Options *o, Compilation *c, const Diag *progress, bool gram, Samples *s, StrMap *out);

#endif
