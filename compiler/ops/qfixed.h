/* SPDX-License-Identifier: Apache-2.0 */
/* How mlcc.MatMulFixed has its operands, for passes that make it. */
#ifndef MLCC_OPS_QFIXED_H
#define MLCC_OPS_QFIXED_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MOST_DIGITS = 3, /* bytes of a left element, signed, the lowest first */
    LANES = 4,       /* bytes in a word */
    DEEPEST_PART = 128,
};

/* A block's elements, which share a scale, are cut into parts, which share the left operand's. Word t of a part has elements t,
 * t + lane, t + 2 lane … of the left operand; word j of the weights has `each` times as many: those of words j each + s of the
 * left operand are the s-th `bits` bits of its bytes. */
typedef struct Fixed {
    int64_t k, n, bits, size, count; /* depth, columns, bits a weight, elements a block, blocks */
    int64_t each, parts, lane, words; /* weights a byte, parts a block, words a part of the left operand, of the weights */
    int digits; /* 2 or 3 */
} Fixed;

Fixed fixed_of(int64_t k, int64_t n, int64_t bits, int64_t size, int digits);
/* Parts follow each other without gaps, but for what the last one lacks. */
bool fixed_suits(const Fixed *f);

#endif
