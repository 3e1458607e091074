/* SPDX-License-Identifier: Apache-2.0 */
/* Products of floats with weights of few bits where results may be less exact: as integers, on machines that multiply four bytes at
 * a time. */
#include "ops/qfixed.h"
#include "ops/quant.h"
#include "passes/edit.h"
#include "passes/packed.h"
#include "passes/passes.h"

/* Of MatMulNBits' "accuracy_level": the input may be rounded to bytes. */
enum { BYTES_LEVEL = 4 };

/* Element i of block `block` of column c, unsigned; 0 beyond the block. */
static uint8_t weight_at(const Value *x, const Blocks *b, int64_t block, int64_t i, int64_t c) {
    if (i >= b->size)
        return 0;
    uint8_t byte = (uint8_t)const_int(x, blocks_place(b, block * b->bytes + i / b->each, c)) ^ (x->dtype == DT_I8 ? 0x80 : 0);
    return (uint8_t)(byte >> (i % b->each * b->bits)) & (uint8_t)((1 << b->bits) - 1);
}

/* Words as ops/qfixed.h says, in the same panels, little endian. */
static Value *words_of(Node *n, const Blocks *b, const Fixed *f, bool is_signed) {
    const Blocks places = {.n = b->n, .count = 1, .bytes = f->count * f->parts * f->words};
    int64_t count = places.bytes * b->n;
    uint8_t *bytes = ARENA_ARRAY(n->graph->arena, uint8_t, count * LANES), turn = is_signed && b->bits == 8 ? 0x80 : 0;
    for (int64_t row = 0; row < places.bytes; row++)
        for (int64_t c = 0; c < b->n; c++)
            for (int64_t i = 0; i < LANES * f->each; i++) {
                int64_t part = row / f->words, word = row % f->words * f->each + i / LANES;
                int64_t at = part % f->parts * f->lane * LANES + i % LANES * f->lane + word;
                uint8_t w = weight_at(n->in[1], b, part / f->parts, at, c) ^ turn;
                bytes[LANES * blocks_place(&places, row, c) + i % LANES] |= (uint8_t)(w << (i / LANES * b->bits));
            }
    return packed_const(n, 1, DT_I32, 1, &count, bytes);
}

static bool suits(const Node *n, const Fixed *f) {
    const Value *x = n->in[0];
    return x->dtype == DT_F32 && x->rank > 0 && x->rank + 2 <= GRAPH_MAX_RANK && n->in[2]->dtype == DT_F32 && packed_is_known(n) && fixed_suits(f);
}

/* Products of the same value share its integers. */
static Node *fixed_point(Node *n, const Fixed *f, int nattrs, const Attr *attrs) {
    const Value *x = n->in[0];
    for (int i = 0; i < x->uses.len; i++) {
        Node *user = x->uses.data[i].node;
        const Value *words = node_is(user, "mlcc", "FixedPoint") ? user->out[0] : NULL;
        const int64_t *shape = words ? &words->dim[words->rank - 3] : NULL;
        if (words && shape[0] == f->count * f->parts && shape[1] == f->digits && shape[2] == f->lane)
            return user;
    }
    return edit_node_with(n, "mlcc", "FixedPoint", n, 1, n->in, nattrs, attrs);
}

static void replace(Node *n, const Blocks *b, const Fixed *f, bool is_signed) {
    const Attr attrs[] = {edit_int("K", b->k), edit_int("N", b->n), edit_int("bits", b->bits), edit_int("block_size", b->size),
                          edit_int("digits", f->digits), edit_int("signed", is_signed)};
    Node *x = fixed_point(n, f, 5, attrs);
    Value *in[] = {x->out[0], x->out[1], x->out[2], words_of(n, b, f, is_signed), n->in[2], NULL, NULL};
    in[5] = packed_zeros(n);
    in[6] = quant_has(n, 5) ? n->in[5] : NULL;
    Node *y = edit_node_with(n, "mlcc", "MatMulFixed", n, 7, in, 6, attrs);
    Graph *g = n->graph;
    if (!edit_replace(n->out[0], y->out[0]))
        return;
    const char *how = arena_printf(g->arena, "inputs as integers of %d bits with one factor for 128 elements or less", 8 * f->digits);
    if (g->fast)
        VEC_PUSH(g->arena, &g->approximations, ((NodeNote){n->name, "MatMul", how}));
    node_remove(n);
}

void pass_fixed_weights(Graph *g, const Target *t) {
    bool dots = target_has_dots(t, DOT_U8S8 | DOT_S8S8) && !(t->dot & DOT_ALONG);
    for (Node *n = g->first, *next; n && dots; n = next) {
        next = n->next;
        if (!node_is(n, "mlcc", "MatMulBlocks") || (!g->fast && !attr_int(n, "inexact", 0)))
            continue;
        const Blocks b = packed_blocks(n);
        const Fixed f = fixed_of(b.k, b.n, b.bits, b.size, attr_int(n, "inexact", 0) == BYTES_LEVEL ? 2 : MOST_DIGITS);
        if (suits(n, &f))
            replace(n, &b, &f, !(t->dot & DOT_U8S8));
    }
    pass_dead(g);
}
