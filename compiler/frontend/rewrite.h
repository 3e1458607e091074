/* SPDX-License-Identifier: Apache-2.0 */
/* Tools for upgrade rules: attributes, inputs and nodes put before the one that is upgraded. */
#ifndef MLCC_FRONTEND_REWRITE_H
#define MLCC_FRONTEND_REWRITE_H

#include "graph/graph.h"

void drop_attr(Node *n, const char *name);
void put_int(Node *n, const char *name, int64_t x);
void put_string(Node *n, const char *name, const char *x);

typedef enum Given { GIVEN_NO, GIVEN_YES, GIVEN_WRONG } Given;
/* An attribute of a kind; GIVEN_WRONG after a diagnostic when it has another kind. */
Given get_attr(const Node *n, const char *name, AttrKind kind, const Attr **out);

void resize_inputs(Node *n, int count);
/* Constants named after the node. */
Value *ints_before(Node *n, const char *what, int rank, int count, const int64_t *x);
Value *floats_before(Node *n, const char *what, int count, const float *x);
/* A scalar of the type of `like`. */
Value *scalar_like(Node *n, const char *what, float x, Value *like);
/* A node of the standard operators before n, which stands for the same source; its output. */
Value *value_before(Node *n, const char *op, const char *what, int nin, Value *const *in);
/* n with another operator and inputs, without attributes; its outputs stay. */
void become(Node *n, const char *op, int nin, Value *const *in);

/* What can be told without inference, for rules that have a shorter form then: DT_NONE and -1 where it cannot. */
DType hint_dtype(const Value *v);
int hint_rank(const Value *v);

#endif
