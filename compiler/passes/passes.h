/* SPDX-License-Identifier: Apache-2.0 */
/* Passes over the graph IR: one file and one function each; the order is passes_run's. A pass that can fail by the
 * user's fault returns bool and has reported. */
#ifndef MLCC_PASSES_PASSES_H
#define MLCC_PASSES_PASSES_H

#include "graph/graph.h"
#include "kernel/target.h"

typedef struct PassOptions {
    const Target *target;
    const char *dump_after; /* name of a pass after which the graph is printed to dump; NULL: none; "all" */
    FILE *dump;
    bool verify;            /* run the verifier between passes */
    int threads;            /* how many the code is for; 0 as 1 */
    bool keep_dead;         /* without the pass that removes channels */
    bool half_weights;      /* float16 and bfloat16 constants stay so where they are weights */
    bool fast;              /* results may be less exact where that is faster: pass_winograd, pass_fixed_weights */
} PassOptions;

/* Types and shapes of everything, folding constants on the way where a shape rule needs them. Reports every node that
 * mlcc does not support at once. */
bool pass_infer(Graph *g);
bool pass_fold(Graph *g);          /* nodes of constants only run through the JIT and become constants */
void pass_canonicalize(Graph *g);  /* Identity, Dropout, no-op Reshape …; one form of equal things */
void pass_sink(Graph *g);          /* DequantizeLinear below what only moves elements */
void pass_raise(Graph *g);         /* QuantizeLinear above what only moves elements */
void pass_qdq(Graph *g);           /* operators between DequantizeLinear and QuantizeLinear become integer ones */
/* Constants of 2 to 16 bits that float operators take stay so, but small ones where the target has caches. */
bool pass_weights(Graph *g, const Target *t);
void pass_prune(Graph *g, const Target *t); /* channels of quantised networks that change nothing */
void pass_cse(Graph *g);
void pass_dead(Graph *g);          /* nodes and constants that no output needs */
void pass_fuse_conv(Graph *g);     /* BatchNormalization, Mul, Add of constants into Conv and Gemm weights and bias */
void pass_swish(Graph *g);         /* x * Sigmoid(x) */
void pass_gelu(Graph *g);          /* x / 2 * (1 + Erf(x / sqrt 2)) */
void pass_means(Graph *g, const Target *t); /* of images by way of their rows, for machines with caches */
/* 3x3 convolutions by transformed tiles, where that is faster: fewer products, larger rounding errors. */
void pass_winograd(Graph *g, const Target *t, int threads);
void pass_weight_zeros(Graph *g, const Target *t); /* weights less their zero point become signed bytes */
void pass_words(Graph *g, const Target *t); /* products of two computed matrices, for the same machines */
/* Products with weights of few bits by integers of 24 bits, where the graph is fast or the node allows it. */
void pass_fixed_weights(Graph *g, const Target *t);
void pass_weight_words(Graph *g, const Target *t); /* weights of few bits as words, for machines with long vectors */
void pass_window_rows(Graph *g, const Target *t); /* the first convolution's channels, for machines that multiply four bytes at once */
/* Softmax between two products becomes mlcc.Attention, which never has all scores at a time, where that is no slower. */
void pass_attention(Graph *g, const Target *t, int threads);
void pass_signs(Graph *g, const Target *t); /* bytes between quantised operators as the machine multiplies them */
void pass_group(Graph *g);         /* nodes into kernels */
void pass_layout(Graph *g, const Target *t); /* storage order of activations and weights: channels last round Conv … */
/* Views: Reshape, Split, Slice, Concat, Transpose without code (their nodes get group 0); in-place outputs. Afterwards
 * every value that a kernel touches has storage, and the graph outputs are distinct VALUE_NODE values that are their own
 * row-major roots (an Identity node copies where an input, a constant or another output would be returned). */
void pass_storage(Graph *g);
/* Chains over large images are computed some rows at a time; threads, each with a cache, share the rows. */
void pass_strips(Graph *g, const Target *t, int threads);
void pass_plan(Graph *g);          /* arena offsets */

bool passes_run(Graph *g, const PassOptions *options);
bool passes_has(const char *name); /* is there a pass of that name? */

#endif
