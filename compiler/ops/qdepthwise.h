/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolutions of bytes as dot products along the rows of the kernel. */
#ifndef MLCC_OPS_QDEPTHWISE_H
#define MLCC_OPS_QDEPTHWISE_H

#include "ops/window.h"

/* Whether a convolution with weights k, which have no zero point, is one that the machine should compute so. */
bool depthwise_suits(const Lower *l, const Node *n, const Value *k, const Window *w, int64_t group);
/* Its sum of products at output index idx, from `sum` on; shifted: the input is read with the other sign. */
KValue *depthwise_sum(Lower *l, const Node *n, const Value *k, const Window *w, const KIndex *idx, KValue *sum, bool shifted);

#endif
