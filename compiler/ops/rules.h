/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that ops.def names, by family, and what shape rules share. */
#ifndef MLCC_OPS_RULES_H
#define MLCC_OPS_RULES_H

#include "ops/lower.h"

/* An operator's functions come in these four shapes. */
#define INFER(name) bool name(Node *n)
#define ELEMENT(name) KValue *name(Lower *l, const Node *n, const KIndex *idx)
#define LOWER(name) void name(Lower *l, const Node *n)
#define MACS(name) double name(const Node *n)

/* --- shared by shape rules (infer.c) --- */

/* Reports and returns false. */
bool infer_error(const Node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Sets output i's type (nothing for an output that nobody wants); false, reported, when the size overflows. */
bool infer_set(Node *n, int i, DType t, int rank, const int64_t *dim);
/* An axis attribute or value in -rank .. rank-1 made non-negative (rank rather than rank-1 where `end` allows). */
bool infer_axis(const Node *n, int64_t axis, int rank, bool end, int *out);
/* numpy broadcasting of two shapes into out (rank returned), -1 after a report. */
int infer_broadcast(const Node *n, int rank_x, const int64_t *x, int rank_y, const int64_t *y, int64_t *out);
/* The elements of an integer constant input in the arena; false, reported, where it is not constant. n_out entries. */
bool infer_ints(const Node *n, int input, const int64_t **out, int *n_out);
/* An INTS attribute of exactly count entries within least .. most; `otherwise` in each where it is absent. */
bool infer_ints_attr(const Node *n, const char *name, int count, int64_t least, int64_t most, int64_t otherwise, int64_t *out);
/* Which of the choices a STRING attribute is; the first where it is absent. */
bool infer_choice(const Node *n, const char *name, const char *const *choices, int count, int *out);
/* Input i of one of the types in a NONE-terminated list; a number; a floating-point number; present at all. */
bool infer_type_in(const Node *n, int i, const DType *allowed);
bool infer_numeric(const Node *n, int i);
bool infer_float(const Node *n, int i);
bool infer_present(const Node *n, int i);
bool infer_indices(const Node *n, int i); /* int32 or int64 (movement.c) */
/* The loaded index as one within 0 .. size-1. ONNX forbids others; clamping keeps a bad one from reading elsewhere. */
KIndex lower_index(Lower *l, KValue *i, int64_t size);
bool infer_one_type(const Node *n);           /* all inputs of input 0's type */
bool infer_broadcast_all(Node *n, DType t);   /* output 0: the broadcast of all inputs */
INFER(infer_same);                            /* output 0 as input 0 */
INFER(infer_elementwise);                     /* broadcast of all inputs, all of one type */

bool expand_batch_training(Node *n); /* BatchNormalization in training mode becomes other nodes (functions.c) */
bool slice_view(const Node *n, int64_t *start, int64_t *step); /* of Slice: first index and step of each axis (movement.c) */
/* Strides of mlcc.WindowRows' output in the storage of its input, which has the given ones; false where there are none. */
bool window_rows_view(const Node *n, const int64_t *from, int64_t *stride);

/* --- the operators, by file; ops.def says what belongs to what --- */

#include "ops/families.h"

#endif
