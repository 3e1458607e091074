/* SPDX-License-Identifier: Apache-2.0 */
/* How mlcc.MatMulBlocks has its weights, for passes that make it. */
#ifndef MLCC_OPS_QBLOCK_H
#define MLCC_OPS_QBLOCK_H

#include <stdint.h>

/* Columns that lie side by side, byte by byte: those that are left over make a narrower panel at the end. As many as a
 * tile of registers has, or a few times that. */
enum { PANEL = 128 };

typedef struct Blocks {
    int64_t k, n, bits, size, count; /* depth, columns, bits an element, elements a block, blocks a column */
    int64_t each, bytes, zeros;      /* elements a byte, bytes a block, bytes of a column's packed zero points */
} Blocks;

Blocks blocks_of(int64_t k, int64_t n, int64_t bits, int64_t size);

#endif
