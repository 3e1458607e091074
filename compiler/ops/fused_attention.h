/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc.Attention: the scores' softmax along the last axis, times the values. What computes the scores, from their product
 * on, belongs to its group: a block of scores at a time is made, used and forgotten. */
#ifndef MLCC_OPS_FUSED_ATTENTION_H
#define MLCC_OPS_FUSED_ATTENTION_H

#include "graph/graph.h"

/* The product that an attention's scores come from through elementwise nodes of its shape, all of them read by nobody else;
 * NULL where there is none. */
const Node *attention_product(const Value *scores);
/* Whether n is that product, or one of the nodes between it and an attention. */
bool attention_makes_scores(const Node *n);
/* Whether an attention reads the right operand of this product through a copy that it makes itself. */
bool attention_packs_keys(const Node *product);

#endif
