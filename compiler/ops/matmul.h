/* SPDX-License-Identifier: Apache-2.0 */
/* A part of a matrix product. */
#ifndef MLCC_OPS_MATMUL_H
#define MLCC_OPS_MATMUL_H

#include "ops/lower.h"

/* init and the products of `count` pairs, from `from` on, that element idx of inputs 0 times 1 sums up. */
KValue *matmul_sum(Lower *l, const Node *n, const KIndex *idx, KIndex from, int64_t count, KValue *init);

#endif
