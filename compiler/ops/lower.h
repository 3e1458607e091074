/* SPDX-License-Identifier: Apache-2.0 */
/* Lowering: a group of nodes becomes one kernel. What an operator's lowering may call.
 *
 * Operators speak of logical indices only. Where an element lies (layout, views into other buffers) and whether an
 * input is a buffer or another operator's expression, an output a buffer or the start of an epilogue, is decided here. */
#ifndef MLCC_OPS_LOWER_H
#define MLCC_OPS_LOWER_H

#include "ops/op.h"

/* What lowering may know of the machine, and was told. */
typedef struct LowerOptions {
    unsigned dot; /* Target.dot: products of bytes take the left operand with the sign that suits it */
    bool roomy;   /* tables may be larger than the weights that they are made from */
    bool words;   /* bytes from several places become words cheaply: Target.words */
    bool plain;   /* for a compiler without vectors; tables are the same */
    bool fixed_point; /* products of integers are brought to their output's scale by integers */
    bool slow_halves; /* float16 is converted by several instructions */
    bool wide_halves; /* constants of 16-bit floats that sums read lie as float32 */
    int lanes;    /* float32 in a vector */
    bool threads; /* loops are to be cut into parts that run at once */
} LowerOptions;

struct Lower {
    KBuilder b; /* where instructions go */
    KModule *module;
    KKernel *kernel;
    const Graph *graph;
    Arena *arena;
    LowerOptions options;
    struct LowerState *state; /* lower.c's own */
};

/* Element idx of input i of n in the input's element type (F16 and BF16 come as F32). An inlined producer is evaluated
 * here. */
KValue *lower_load(Lower *l, const Node *n, int i, const KIndex *idx);
/* The same with numpy broadcasting against output 0: idx has output 0's rank. */
KValue *lower_load_broadcast(Lower *l, const Node *n, int i, const KIndex *idx);
/* Stores element idx of output o (x in the output's type; F32 for F16 and BF16), through the epilogue where the group
 * has one. To be called exactly once for each element. An output that nobody wants is dropped. */
void lower_store(Lower *l, const Node *n, int o, const KIndex *idx, KValue *x);

/* An operator's element function: all elements of output 0; or the one at idx, which is to be stored next. */
void lower_elements(Lower *l, const Node *n);
KValue *lower_element(Lower *l, const Node *n, const KIndex *idx);

/* The accumulation type of an element type: F32 for F16, BF16, F32; F64; integers: themselves, narrow ones as stored. */
DType lower_compute_type(DType t);

/* The axes in the order in which v lies in memory, outermost first; as they are counted where it is NULL. */
void lower_order(const Lower *l, int rank, const int64_t *dim, const Value *v, int *order);
/* Loop nest over a shape, outermost first in the order that suits value v's storage (NULL: row-major); all PARALLEL.
 * idx receives the indices by axis. close with lower_end_loops. Axes of size 1 get no loop. */
typedef struct LoopNest {
    int n;
    KInstr *loop[GRAPH_MAX_RANK];
    KIndex idx[GRAPH_MAX_RANK];
} LoopNest;
LoopNest lower_loops(Lower *l, int rank, const int64_t *dim, const Value *v);
void lower_end_loops(Lower *l, LoopNest *nest);

/* The rows (axis 2) that the group is to compute: false, and nothing set, where that is all of them. Then lower_loops keeps to
 * them by itself. */
bool lower_rows(const Lower *l, KIndex *from, KIndex *to);

/* One loop lo <= iv < hi (step 1) of the given kind carrying n values. */
KInstr *lower_for(Lower *l, KLoopKind kind, const char *name, int64_t lo, int64_t hi, int n, KValue *const *init);
KIndex lower_iv(Lower *l, const KInstr *loop);

/* Scratch that lives as long as the kernel runs, from the arena: count elements. */
KParam *lower_scratch(Lower *l, DType t, int64_t count);
/* From now on element idx of input i of n is read from p, at origin + sum of idx[d] * stride[d]: it was stored there. p
 * NULL: no longer. */
void lower_stage(Lower *l, const Node *n, int i, KParam *p, KIndex origin, const int64_t *stride);
/* A constant table made by the compiler (coefficients, trees), count elements of host data, copied. */
KParam *lower_table(Lower *l, const char *name, DType t, int64_t count, const void *data);

/* Lowers a planned graph (groups, storage and arena offsets set) to a module. Never fails: infer has checked all. */
KModule *lower_graph(const Graph *g, Arena *a, const LowerOptions *o);

#endif
