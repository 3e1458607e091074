/* SPDX-License-Identifier: Apache-2.0 */
/* A float graph into a quantised one, in one of four ways: QuantizeLinear and DequantizeLinear round what has a form on
 * integers; products of bytes whose activations are quantised when they run; weights of few bits that are computed with
 * as floats; or floating numbers of 16 bits. */
#ifndef MLCC_PASSES_QUANTIZE_H
#define MLCC_PASSES_QUANTIZE_H

#include "graph/graph.h"

typedef enum QuantizeKind { QUANTIZE_NOT, QUANTIZE_STATIC, QUANTIZE_DYNAMIC, QUANTIZE_WEIGHTS, QUANTIZE_FLOATS } QuantizeKind;

/* What samples say of the input of a product: about its channels (axis 1 of Conv, the last one otherwise). */
typedef struct QuantizeStats {
    int64_t channels;
    double count;         /* elements of a channel */
    double *sum, *most;   /* of each channel: its elements' sum, and largest magnitude */
} QuantizeStats;

/* … and of the numbers that the weights of one output are multiplied with: Conv's in the order of its filters. */
typedef struct QuantizeGram {
    int64_t groups, depth;
    float *sum;           /* of products of two of them: groups x depth x depth */
    Arena *arena;         /* for the next two, */
    float *factor;        /* made of sum when it is first used, */
    int *order;           /* like the order of rounding; groups x depth */
} QuantizeGram;

typedef struct QuantizeRecipe {
    QuantizeKind kind;
    DType activations;    /* static: U8 or I8 */
    DType weights;        /* QUANTIZE_WEIGHTS: I8, I4, F16 or BF16; QUANTIZE_FLOATS: F16 or BF16, activations too */
    int64_t block;        /* … how many integers share a scale */
    bool correct_bias;    /* takes the mean error of the weights' rounding into the bias; needs stats */
    const StrMap *stats;  /* QuantizeStats by the name of a product's input; may be NULL */
    const StrMap *grams;  /* QuantizeGram by the name of its output; may be NULL, or have it not for all */
} QuantizeRecipe;

/* As what an item's value is kept: bytes, 16 bits (QUANTIZE_STATIC alone), or a float, with the layer's weights. */
typedef enum QuantizePrecision { PRECISION_8, PRECISION_16, PRECISION_FLOAT } QuantizePrecision;

/* A value that the quantised graph keeps as bytes, or computes from bytes. */
typedef struct QuantizeItem {
    Value *value;
    const char *name;        /* of the value in the float graph */
    const Node *layer;       /* that computes it; NULL for inputs */
    int like;                /* the item whose range it has, because it holds the same elements; else its own index */
    double lo, hi;           /* QUANTIZE_STATIC, and QUANTIZE_FLOATS if known: to be set before quantize_apply, */
    QuantizePrecision precision; /* like this, for items that are like no other (QUANTIZE_FLOATS sets it where one stays float32), */
    bool float_weights;      /* and the layer's weights stay float in any case */
    double scale;            /* set by it, like the zero point */
    int64_t zero;
    bool outside;            /* QUANTIZE_FLOATS: set where the range does not fit */
    const char *dequantized; /* of the value that users read instead; set by quantize_apply */
    VEC(int) from;           /* the items it is computed from */
} QuantizeItem;

typedef struct QuantizePlan {
    Graph *graph;
    VEC(QuantizeItem) items;
    int *item_of; /* by value id; -1: none */
} QuantizePlan;

/* For a graph with all types inferred and constants folded. */
QuantizePlan quantize_plan(Graph *g, QuantizeKind kind);
/* QUANTIZE_STATIC: activations with ranges as the items say; weights symmetric I8 with a scale for each channel; biases I32.
 * Names of the graph's inputs and outputs stay. */
void quantize_apply(QuantizePlan *p, const QuantizeRecipe *r);
/* Scale and zero point of the item's range. */
void quantize_set_scale(QuantizeItem *item, DType t);
void quantize_apply_static(QuantizePlan *p, const QuantizeRecipe *r);
void quantize_apply_dynamic(QuantizePlan *p, const QuantizeRecipe *r);
void quantize_apply_weights(QuantizePlan *p, const QuantizeRecipe *r);
void quantize_apply_floats(QuantizePlan *p, const QuantizeRecipe *r);

/* --- what each rounding does alone --- */

/* Scalar inputs of the graph behind its own: 0 leaves a value as it is, 1 rounds it to bytes; or the weights of its layer. */
typedef struct QuantizeSwitches {
    int first;
    int *value, *weights; /* by item, the input's number; -1: none */
    int64_t *count;       /* of the weights */
} QuantizeSwitches;

/* For QUANTIZE_STATIC, in place of quantize_apply: a float graph with switches. Ranges are set. */
void quantize_add_switches(QuantizePlan *p, const QuantizeRecipe *r, QuantizeSwitches *out);

/* --- graphs that lose less --- */

/* Channels of values between two layers in ranges more alike: what makes them is divided, and what takes them multiplied, by a
 * factor for each, so that a part of their range (share, between 0 and 1) moves into the weights. Returns how many values were
 * changed. */
int quantize_equalize(Graph *g, const StrMap *stats, double share);
/* The same at the inputs of MatMul and Gemm, whatever makes them, where the largest channel's range is that many times the usual
 * one's. */
int quantize_smooth(Graph *g, const StrMap *stats, double share, double uneven);

#endif
