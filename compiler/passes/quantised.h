/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the patterns of quantised models. */
#ifndef MLCC_PASSES_QUANTISED_H
#define MLCC_PASSES_QUANTISED_H

#include "graph/graph.h"

/* Elements of at most 16 bits that stand for (element - zero) * scale. All but x are constants; without a zero point, zero is a
 * constant 0. */
typedef struct Quantised {
    Value *x, *scale, *zero;
    DType dtype;
    int axis; /* of the channels that have a scale each; -1: one for all */
    const double *sums; /* of weights: the magnitudes of each output channel's elements - zero; NULL where not known */
} Quantised;

bool quantised_is_element(DType t); /* an integer of at most 16 bits */
/* v is the float32 output of a DequantizeLinear of such elements. */
bool quantised_read(Value *v, Quantised *q);
/* The same with 8 or 16 bits, and one scale and zero point for all elements. */
bool quantised_tensor(Value *v, Quantised *q);
/* What a QuantizeLinear of float32 to 8-bit or 16-bit elements with one scale makes of its input; x is its output. */
bool quantised_by(Node *n, Quantised *q);
bool quantised_alike(const Quantised *p, const Quantised *q);
/* The element that a number becomes: rounded, within the type's range. */
int64_t quantised_number(const Quantised *q, double x);
/* A constant scalar of an integer type of 8 to 32 bits. */
Value *quantised_const(Graph *g, const char *name, DType t, int64_t x);
/* A MaxPool or Resize of which every element is one of the input's, and that gives nothing else. */
bool quantised_picks(const Node *n);
/* No zero point but 0. */
bool quantised_is_centred(const Quantised *q);
/* The largest distance of an element from the zero point. */
double quantised_widest(const Quantised *x);
/* Weights with one scale, or one for each index of the given axis, that of output channels, without their zero point where that
 * is possible. Sums of products with x must fit into 32 bits; those of bytes do, up to a bias. */
bool quantised_weights(Value *v, int axis, const Quantised *x, Quantised *q);

/* What n makes of an int32 sum of products that it is replaced by: times the ratio of the scales, rounded, plus its output's zero
 * point. */
Value *quantised_sum(Node *n, Value *sum, Value *ratio, Value *zero);

#endif
