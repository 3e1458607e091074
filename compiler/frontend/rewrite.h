/* SPDX-License-Identifier: Apache-2.0 */
/* Tools for upgrade rules, besides those of ops/expand.h. */
#ifndef MLCC_FRONTEND_REWRITE_H
#define MLCC_FRONTEND_REWRITE_H

#include "ops/expand.h"

void drop_attr(Node *n, const char *name);

typedef enum Given { GIVEN_NO, GIVEN_YES, GIVEN_WRONG } Given;
/* An attribute of a kind; GIVEN_WRONG after a diagnostic when it has another kind. */
Given get_attr(const Node *n, const char *name, AttrKind kind, const Attr **out);

/* A scalar of the type of `like`. */
Value *scalar_like(Node *n, const char *what, float x, Value *like);

/* What can be told without inference, for rules that have a shorter form then: DT_NONE and -1 where it cannot. */
DType hint_dtype(const Value *v);
int hint_rank(const Value *v);

#endif
