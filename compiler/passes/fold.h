/* SPDX-License-Identifier: Apache-2.0 */
/* Computing values at compile time. */
#ifndef MLCC_PASSES_FOLD_H
#define MLCC_PASSES_FOLD_H

#include "graph/graph.h"

/* True for a node's output that depends on constants (and on shapes) only. All types up to it are known. */
bool fold_is_possible(const Value *v);
/* Replaces the values by constants, all in one run of the JIT. False after a diagnostic. */
bool fold_values(Graph *g, int n, Value *const *v);

#endif
