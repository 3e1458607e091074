/* SPDX-License-Identifier: Apache-2.0 */
/* What lowering keeps while it builds one kernel; shared by lower.c and lower_graph.c only. */
#ifndef MLCC_OPS_LOWER_STATE_H
#define MLCC_OPS_LOWER_STATE_H

#include "ops/lower.h"

/* A parameter of the kernel being built and what the call passes for it. */
typedef struct Binding {
    KParam *param;
    Value *value;    /* NULL for scratch and tables */
    KBuffer *buffer; /* scratch and tables */
    bool written;
} Binding;

/* A value computed at the index that is just being stored: the epilogue finds its operands here. */
typedef struct Known {
    const Value *value;
    KValue *x;
} Known;

/* Elements of a value that the kernel has in scratch. */
typedef struct Stage {
    const Value *value;
    KParam *param;
    KIndex origin;
    const int64_t *stride;
} Stage;

typedef struct LowerState {
    int group;
    Node *first, *last; /* the group's nodes, adjacent */
    VEC(Binding) bindings;
    VEC(Known) known;
    VEC(Stage) stages;
    const Strips *strips; /* NULL, or the group computes the rows from .. to - 1 at each call, and: */
    int member;
    KIndex from, to, in_base, out_base; /* first rows that the windows hold */
    const KIndex *stored_idx; /* index that `known` speaks of; NULL outside lower_store */
    int stored_rank;
} LowerState;

/* The type in which the elements of v's buffer are stored. */
DType lower_stored_type(const LowerOptions *o, const Value *v);

#endif
