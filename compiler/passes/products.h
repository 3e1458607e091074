/* SPDX-License-Identifier: Apache-2.0 */
/* Products of quantised operands whose result is a float. */
#ifndef MLCC_PASSES_PRODUCTS_H
#define MLCC_PASSES_PRODUCTS_H

#include "graph/graph.h"

/* Where n is a Conv, MatMul or Gemm of bytes that were dequantised, its output becomes that of one on integers, times the
 * scales, plus the bias; true, and n is to be removed. */
bool product_to_float(Node *n);

#endif
