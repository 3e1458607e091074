/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of a softmax over some elements of input 0 along an axis: `size` of them from idx on. */
#ifndef MLCC_OPS_SOFTMAX_H
#define MLCC_OPS_SOFTMAX_H

#include "ops/lower.h"

/* The largest of them and init. */
KValue *softmax_most(Lower *l, const Node *n, KIndex *idx, int axis, int64_t size, KValue *init);
/* exp(x - most) of each, stored from `at` on; their sum. */
KValue *softmax_exponentials(Lower *l, const Node *n, KIndex *idx, int axis, int64_t size, KValue *most, KParam *to, KIndex at);

#endif
