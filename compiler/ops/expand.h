/* SPDX-License-Identifier: Apache-2.0 */
/* Putting nodes in the place of one, as upgrade rules do, and the shape rules of operators that ONNX defines by others.
 * New values are named after the node's first output, new nodes stand for the same source. */
#ifndef MLCC_OPS_EXPAND_H
#define MLCC_OPS_EXPAND_H

#include "graph/graph.h"

void put_int(Node *n, const char *name, int64_t x);
void put_string(Node *n, const char *name, const char *x);
void resize_inputs(Node *n, int count);

/* Constants: integers of rank 0 or 1, numbers, a scalar of a floating-point type. */
Value *ints_before(Node *n, const char *what, int rank, int count, const int64_t *x);
Value *floats_before(Node *n, const char *what, int count, const float *x);
Value *scalar_before(Node *n, const char *what, DType t, double x);
/* A node of the standard operators before n; its output. */
Value *value_before(Node *n, const char *op, const char *what, int nin, Value *const *in);
Value *pair_before(Node *n, const char *op, const char *what, Value *x, Value *y); /* of two inputs */
/* n with another operator and inputs, without attributes; its outputs stay. */
void become(Node *n, const char *op, int nin, Value *const *in);
/* Output i of n is now `by`, through an Identity before n; n loses it. A node without outputs is to be removed. */
void replace_output(Node *n, int i, Value *by);

#endif
