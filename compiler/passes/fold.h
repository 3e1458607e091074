/* SPDX-License-Identifier: Apache-2.0 */
/* Computing values at compile time. */
#ifndef MLCC_PASSES_FOLD_H
#define MLCC_PASSES_FOLD_H

#include "graph/graph.h"

/* Before the others, when a pass begins: how large a constant may become. */
void fold_begin(Graph *g);
/* Notes which outputs of a node depend on constants (and on shapes) only, and are of a bearable size. Nodes are marked in
 * order, with all types up to them. */
void fold_mark(Node *n);
/* True for constants, and for what fold_mark has found. */
bool fold_is_possible(const Value *v);
/* Replaces the value by a constant. False after a diagnostic. */
bool fold_value(Value *v);

#endif
