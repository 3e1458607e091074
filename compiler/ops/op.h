/* SPDX-License-Identifier: Apache-2.0 */
/* The operator table: the only place where graph and kernel meet. An operator is a shape rule and a lowering. */
#ifndef MLCC_OPS_OP_H
#define MLCC_OPS_OP_H

#include "graph/graph.h"
#include "kernel/kernel.h"

typedef struct Lower Lower; /* ops/lower.h */

enum {
    /* The element at an index depends only on the inputs' elements at the same (broadcast) index, and is cheap enough
     * to compute where it is needed: it fuses with producers and consumers. */
    OP_ELEMENTWISE = 1,
    /* Each output element is one input element (or a constant), found by index arithmetic: may be read through. */
    OP_MOVEMENT = 2,
    /* Output 0 has the elements of input 0 in the same row-major order: a Reshape of any name; needs no code when the
     * input is contiguous. */
    OP_RESHAPE = 4,
    /* The element function contains loops (Conv, MatMul, reductions, pooling): it may take an epilogue of elementwise
     * consumers, and is never computed twice. */
    OP_REDUCTION = 8,
    /* Multi-pass operators with an own `lower`; they too store through lower_store once an element, so take epilogues. */
    OP_LOOPS = 16,
    /* Never folded, never merged with an equal node (random numbers). */
    OP_IMPURE = 32,
    /* Depends on the shape of input 0, not on its elements: always constant. */
    OP_SHAPE_ONLY = 64,
    /* Works on (N, C, spatial…) with weights for each channel: fastest with channels innermost in memory. */
    OP_CHANNELS = 128,
    /* Shapes of outputs depend on floating-point inputs too. */
    OP_FLOAT_SHAPES = 256,
    /* Takes and makes integers of less than 8 bits. */
    OP_NARROW = 512,
    /* Makes numbers of constants that are stored in a shorter form: never folded, never merged, read through by its one user. */
    OP_KEPT = 1024,
};

struct Op {
    const char *domain, *name;
    int version; /* the newest opset version at which the operator changed: the one form that mlcc knows */
    int min_in, max_in, min_out, max_out; /* max -1: any number */
    unsigned flags;
    /* Sets dtype and shape of every output from the inputs and attributes; checks all that ONNX demands, and that
     * lowering supports it. A needed constant input that is not constant is an error that names it. Or puts other nodes
     * in n's place (expand.h), which are inferred next; an operator that always does needs no lowering. */
    bool (*infer)(Node *n);
    /* The value of output 0's element at idx (rank indices). NULL for operators with `lower`. */
    KValue *(*element)(Lower *l, const Node *n, const KIndex *idx);
    /* Own loops, for several outputs or passes. */
    void (*lower)(Lower *l, const Node *n);
    /* Multiply-accumulates of one execution, NULL: none. */
    double (*macs)(const Node *n);
};

static inline bool op_is_elementwise(const Node *n) { return n->op && (n->op->flags & OP_ELEMENTWISE) && n->op->element; }

const Op *op_find(const char *domain, const char *name); /* "" and "ai.onnx" are one; NULL: unknown */
const Op *op_at(int i);                                  /* the table in order; NULL past the end */

#endif
