/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of 8 bits and less as words: for machines on which spreading bytes over vectors takes as long as all else that makes
 * numbers of them, or conversions do. A word's elements follow each other in a column, and a mask or a shift singles one out. More
 * rows share the numbers, and what it takes to make them no longer counts. */
#include <string.h>

#include "ops/quant.h"
#include "passes/edit.h"
#include "passes/packed.h"
#include "passes/passes.h"
#include "support/ints.h"

enum { MOST_ROWS = 2, MOST_WITH_TABLES = 8 };

/* Words of 4 bytes at the same places, little endian. */
static Value *words_of(Node *n, const Blocks *b, const Blocks *w) {
    const Value *x = n->in[1];
    int64_t rows = w->count * w->bytes / WORD_BYTES, each = w->bytes / WORD_BYTES;
    const Blocks places = {.n = b->n, .count = 1, .bytes = rows};
    uint8_t *bytes = ARENA_ARRAY(n->graph->arena, uint8_t, rows * b->n * WORD_BYTES), turn = x->dtype == DT_I8 ? 0x80 : 0;
    uint32_t signs = blocks_signs(b->bits);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t c = 0; c < b->n; c++) {
            uint8_t *to = bytes + WORD_BYTES * blocks_place(&places, row, c);
            for (int64_t i = 0; i < WORD_BYTES; i++) {
                int64_t at = row % each * WORD_BYTES + i;
                uint8_t byte = at < b->bytes ? (uint8_t)const_int(x, blocks_place(b, row / each * b->bytes + at, c)) ^ turn : 0;
                to[i] = byte ^ (uint8_t)(signs >> (8 * i));
            }
        }
    const int64_t count = rows * b->n;
    return packed_const(n, 1, DT_I32, 1, &count, bytes);
}

/* Of x by blocks: what a zero point is multiplied with, in place of its place in each weight. NULL where the last block is shorter. */
static Value *sums_of(Node *n, const Blocks *b) {
    Value *x = n->in[0];
    int64_t dim[GRAPH_MAX_RANK], axis = x->rank;
    if (x->rank == GRAPH_MAX_RANK || b->k % b->size || x->dtype != DT_F32)
        return NULL;
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[x->rank - 1] = b->count;
    dim[x->rank] = b->size;
    Graph *g = n->graph;
    const Attr keep = edit_int("keepdims", 0);
    Value *in[] = {x, graph_const_ints(g, graph_fresh_name(g, "blocks"), 1, x->rank + 1, dim)};
    in[0] = edit_node(n, "Reshape", n, 2, in)->out[0];
    in[1] = graph_const_ints(g, graph_fresh_name(g, "axis"), 1, 1, &axis);
    return edit_node_with(n, "", "ReduceSum", n, 2, in, 1, &keep)->out[0];
}

static bool suits(const Node *n, const Blocks *b) { return packed_is_known(n) && (b->bytes % WORD_BYTES == 0 || b->count == 1); }

/* A register holds a number for each of four bits. */
static bool has_tables(const Target *t, int64_t bits) { return bits == 4 && target_lanes(t) >= 16; }

/* As measured. NEON converts in one of its units, and computes in both; halves of bytes need no more there in either form. */
static bool pays(const Target *t, int64_t bits, int64_t rows) {
    int lanes = t ? target_lanes(t) : 1;
    if (lanes == 1 || rows > (has_tables(t, bits) ? MOST_WITH_TABLES : MOST_ROWS))
        return false;
    return lanes > 8 || (lanes == 8 && bits < 8) || (lanes == 4 && bits == 8 && t->widening);
}

void pass_weight_words(Graph *g, const Target *t) {
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (!node_is(n, "mlcc", "MatMulBlocks"))
            continue;
        const Blocks b = packed_blocks(n);
        if (!suits(n, &b) || !pays(t, b.bits, value_count(n->out[0]) / b.n))
            continue;
        const Blocks w = blocks_in_words(b);
        Value *in[] = {n->in[0], words_of(n, &b, &w), n->in[2], NULL, NULL, NULL, NULL};
        in[3] = packed_zeros(n);
        in[5] = quant_has(n, 5) ? n->in[5] : NULL;
        in[6] = in[3] ? sums_of(n, &b) : NULL;
        const Attr attrs[] = {edit_int("K", b.k), edit_int("N", b.n), edit_int("bits", b.bits), edit_int("block_size", b.size),
                              edit_int("words", 1), edit_int("tables", 1)};
        Node *y = edit_node_with(n, "mlcc", "MatMulBlocks", n, 7, in, has_tables(t, b.bits) ? 6 : 5, attrs);
        if (edit_replace(n->out[0], y->out[0]))
            node_remove(n);
    }
    pass_dead(g);
}
