/* SPDX-License-Identifier: Apache-2.0 */
/* What passes that store the weights of mlcc.MatMulBlocks anew share. */
#ifndef MLCC_PASSES_PACKED_H
#define MLCC_PASSES_PACKED_H

#include "graph/graph.h"
#include "ops/qblock.h"

Blocks packed_blocks(const Node *n);
/* Weights and zero points are constant bytes, in blocks that follow each other. */
bool packed_is_known(const Node *n);
/* The zero points as unsigned bytes; NULL where there are none. */
Value *packed_zeros(Node *n);
/* A constant in place of one of its inputs. */
Value *packed_const(Node *n, int input, DType t, int rank, const int64_t *dim, const void *data);

#endif
