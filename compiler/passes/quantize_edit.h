/* SPDX-License-Identifier: Apache-2.0 */
/* What the ways to quantise a float graph share: which values and operators they look at, and making constants and nodes. */
#ifndef MLCC_PASSES_QUANTIZE_EDIT_H
#define MLCC_PASSES_QUANTIZE_EDIT_H

#include "graph/graph.h"

enum { WEIGHT_MOST = 127 }; /* -128 is not used: the scale is the same both ways */

/* Float32 values: one computed or given at run time, a constant, a constant of one element. */
bool quantize_is_activation(const Value *v);
bool quantize_is_weight(const Value *v);
bool quantize_is_number(const Value *v);
/* The axis of the weights, input 1, that counts output channels; -1: n is no product of an activation with constant weights. */
int quantize_weight_axis(const Node *n);
/* Gather of rows of a large constant table. */
bool quantize_is_table(const Node *n);
/* LSTM, GRU or RNN with constant weights (inputs 1 and 2). */
bool quantize_is_recurrent(const Node *n);
/* Its output has elements of its input alone. */
bool quantize_moves(const Node *n);
/* v is a product without bias, and add, its user, adds a constant for each column. */
bool quantize_adds_bias(const Node *add, const Value *v);
/* May be of 16 bits in all inputs and outputs that are float32. */
bool quantize_takes_halves(const Node *n);
/* A constant as float16 or bfloat16; what is finite stays finite. */
Value *quantize_shorter(const Value *w, DType t);
/* The channel that element i of v belongs to. */
int64_t quantize_channel(const Value *v, int axis, int64_t i);
double quantize_clamp(double x, double least, double most);
/* Scale of a symmetric range of int8; never 0. */
float quantize_scale(double most);

/* New constants and nodes are called by what they are, and by what they come from where that has a short name: names are
 * most of a small model's file. */
const char *quantize_name(Graph *g, const char *base, const char *what);
Value *quantize_const(Graph *g, const char *base, const char *what, DType t, int rank, const int64_t *dim, const void *bytes,
                      size_t size);
/* The output of a new node before `before`, or at the end; its shape is that of input 0. */
Value *quantize_node(Node *before, Graph *g, const char *domain, const char *op, const char *base, const char *what, int nin,
                     Value *const *in, DType t);
/* A node's output that takes over the name and the users of v. */
void quantize_take_over(Value *v, Value *by);

#endif
