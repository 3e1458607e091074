/* SPDX-License-Identifier: Apache-2.0 */
/* A float graph into a quantised one: QuantizeLinear and DequantizeLinear round what has a form on integers. */
#ifndef MLCC_PASSES_QUANTIZE_H
#define MLCC_PASSES_QUANTIZE_H

#include "graph/graph.h"

typedef enum QuantizeStay { STAY_NOT, STAY_VALUE, STAY_WEIGHTS } QuantizeStay;

/* A value that the quantised graph keeps as bytes. */
typedef struct QuantizeItem {
    Value *value;
    const char *name;        /* of the value in the float graph */
    const Node *layer;       /* that computes it; NULL for inputs */
    int like;                /* the item whose range it has, because it holds the same elements; else its own index */
    bool has_weights;        /* the layer's, which become bytes */
    double lo, hi;           /* to be set before quantize_apply, */
    QuantizeStay stay;       /* like what stays float after all: the value, or the layer's weights as well */
    double scale;            /* set by it, like the zero point */
    int64_t zero;
    const char *dequantized; /* of the value that users read instead; set by quantize_apply */
    VEC(int) from;           /* the items it is computed from */
} QuantizeItem;

typedef struct QuantizePlan {
    Graph *graph;
    VEC(QuantizeItem) items;
    int *item_of; /* by value id; -1: none */
} QuantizePlan;

/* For a graph with all types inferred and constants folded. */
QuantizePlan quantize_plan(Graph *g);
/* Activations of type U8 or I8, with ranges as the items say; weights symmetric I8 with a scale for each channel; biases I32.
 * Names of the graph's inputs and outputs stay. */
void quantize_apply(QuantizePlan *p, DType activations);

#endif
