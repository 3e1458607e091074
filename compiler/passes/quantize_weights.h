/* SPDX-License-Identifier: Apache-2.0 */
/* Weights as integers. */
#ifndef MLCC_PASSES_QUANTIZE_WEIGHTS_H
#define MLCC_PASSES_QUANTIZE_WEIGHTS_H

#include "passes/quantize.h"

/* The item whose layer is n; NULL where there is none. */
QuantizeItem *quantize_item(const QuantizePlan *p, const Node *n);

/* Int8 weights of a product, with a scale for each output channel (axis of input 1), or one for all where that is as good. */
typedef struct ChannelWeights {
    Value *x;
    float *scale;
    int64_t channels; /* that have a scale: 1 or all */
    int axis;
} ChannelWeights;

/* least[c] bounds the scale from below; may be NULL. With r->correct_bias, the bias is changed to suit. */
ChannelWeights quantize_by_channel(Node *n, const double *least, const QuantizeRecipe *r);
/* Its scales as a constant that DequantizeLinear takes. */
Value *quantize_scales(Node *n, const ChannelWeights *w);
/* Input i of n becomes the dequantised x. */
void quantize_dequantize(Node *n, int i, Value *x, Value *scale, int64_t axis, int64_t block);
/* In place of n, which picks rows of a table (input 0): int8, with a scale for each column. */
void quantize_table(Node *n);
/* Weights of LSTM and the like: rows of integers with a scale for each row (I8), or block of one (I4). */
void quantize_recurrent(Node *n, DType t, int64_t block);
/* Adds to the bias of product n what the rounding of its weights takes away, on average over the samples: error[o][k] of
 * `depth` weights for each output channel. Nothing where there is no place for it. */
void quantize_correct_bias(Node *n, const QuantizeRecipe *r, int64_t depth, const float *error);

/* --- quantize_round.c --- */

/* Integers of `bits` bits for a matrix of outputs x depth weights, with a scale for each block of a row's elements. */
typedef struct Rounding {
    int64_t outputs, depth, block;
    int bits;
    QuantizeGram *gram; /* of depth; later elements make up for the errors of earlier ones. NULL: they do not */
    int64_t group;      /* of gram */
} Rounding;

/* NULL where there is none that fits. */
QuantizeGram *quantize_gram(const Node *n, int64_t depth, const QuantizeRecipe *r);
/* x: outputs x depth; scale: outputs x blocks. */
void quantize_round(Arena *a, const Rounding *r, const float *w, int8_t *x, float *scale);
void quantize_round_to_scales(Arena *a, const Rounding *r, const float *w, int8_t *x, const float *scale);

#endif
