/* SPDX-License-Identifier: Apache-2.0 */
/* Samples where none are given. */
#ifndef MLCC_DRIVER_SAMPLES_ROWS_H
#define MLCC_DRIVER_SAMPLES_ROWS_H

#include "driver/samples.h"
#include "graph/graph.h"

/* n samples for a graph that takes integers alone, some of which pick rows of constant tables: rows at random, the same in
 * every call, and ones. False for other graphs. */
bool samples_of_rows(Arena *a, const Graph *g, int n, Samples *out);

#endif
