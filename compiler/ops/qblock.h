/* SPDX-License-Identifier: Apache-2.0 */
/* How mlcc.MatMulBlocks has its weights, for passes that make it. */
#ifndef MLCC_OPS_QBLOCK_H
#define MLCC_OPS_QBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "ops/lower.h"

/* Columns that lie side by side, byte by byte: those that are left over make a narrower panel at the end. As many as a
 * tile of registers has, or a few times that. */
enum { PANEL = 128 };

typedef struct Blocks {
    int64_t k, n, bits, size, count; /* depth, columns, bits an element, elements a block, blocks a column */
    int64_t each, bytes, zeros;      /* elements a byte, bytes a block, bytes of a column's packed zero points */
    bool tables;                     /* of words of 4 bits: the machine looks those up */
    bool words;                      /* a block's bytes stand in int32 words, the first in the low bits: bytes counts those of them */
} Blocks;

enum { WORD_BITS = 32, WORD_BYTES = 4 };

Blocks blocks_of(int64_t k, int64_t n, int64_t bits, int64_t size);
/* Where byte `row` of column c lies: panels begin where those before them end. */
int64_t blocks_place(const Blocks *b, int64_t row, int64_t c);
/* The same in words. */
Blocks blocks_in_words(Blocks b);
/* Elements of a word are unsigned, so many above their values: half their range. But for some, which become numbers by another
 * way: their sign bit is turned. Those bits of a word. */
uint32_t blocks_signs(int64_t bits);

/* The element of a product at an output index; its column's first weight lies at `weights`, and each next one `step` on. */
typedef KValue *BlocksSum(Lower *l, const Node *n, const KIndex *idx, KIndex weights, int64_t step, const void *data);
/* All elements of output 0, panel by panel; a column has so many rows of weights. */
void blocks_lower(Lower *l, const Node *n, int64_t columns, int64_t rows, BlocksSum *sum, const void *data);

#endif
