/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products with constant weights of 2, 4 or 8 bits that are packed into bytes and have scales by blocks of a column.
 * com.microsoft.MatMulNBits becomes mlcc.MatMulBlocks, whose operands lie so that vectors run along the columns, and panels of
 * columns are read from one end to the other: the packed weights stay as they are in memory, and become numbers in registers. */
#include <string.h>

#include "ops/expand.h"
#include "ops/qblock.h"
#include "ops/quant.h"
#include "ops/rules.h"
#include "support/ints.h"

Blocks blocks_of(int64_t k, int64_t n, int64_t bits, int64_t size) {
    Blocks b = {.k = k, .n = n, .bits = bits, .size = size, .count = divide_up(k, size), .each = 8 / bits};
    b.bytes = divide_up(size, b.each);
    b.zeros = divide_up(b.count, b.each);
    return b;
}

int64_t blocks_place(const Blocks *b, int64_t row, int64_t c) {
    int64_t first = c / PANEL * PANEL, columns = b->n - first < PANEL ? b->n - first : PANEL;
    return first * b->count * b->bytes + row * columns + c % PANEL;
}

Blocks blocks_in_words(Blocks b) {
    b.words = true;
    b.bytes = round_up(b.bytes, WORD_BYTES);
    return b;
}

static bool has_elements(const Node *n, int i, int64_t count) {
    if (!quant_has(n, i) || value_count(n->in[i]) == count)
        return true;
    return infer_error(n, "input %d has %lld elements where %lld are needed", i, (long long)value_count(n->in[i]), (long long)count);
}

static bool read_blocks(const Node *n, Blocks *b) {
    *b = (Blocks){.k = attr_int(n, "K", 0), .n = attr_int(n, "N", 0), .bits = attr_int(n, "bits", 4), .size = attr_int(n, "block_size", 0)};
    if (b->k < 1 || b->n < 1 || b->k > INT32_MAX / 2 || b->n > INT32_MAX / 2)
        return infer_error(n, "attributes \"K\" and \"N\" must be sizes");
    if (b->bits != 2 && b->bits != 4 && b->bits != 8)
        return infer_error(n, "attribute \"bits\" is %lld; 2, 4 and 8 are supported", (long long)b->bits);
    if (b->size < 1 || b->size > INT32_MAX / 2)
        return infer_error(n, "attribute \"block_size\" is %lld", (long long)b->size);
    *b = blocks_of(b->k, b->n, b->bits, b->size);
    if (attr_int(n, "words", 0))
        *b = blocks_in_words(*b);
    b->tables = attr_int(n, "tables", 0) != 0;
    return true;
}

static bool infer_left(const Node *n, const Blocks *b) {
    static const DType floats[] = {DT_F32, DT_F16, DT_BF16, DT_NONE};
    const Value *x = n->in[0];
    if (!infer_type_in(n, 0, floats))
        return false;
    return (x->rank > 0 && x->dim[x->rank - 1] == b->k) || infer_error(n, "the last axis of A is not K (%lld)", (long long)b->k);
}

static bool infer_columns(Node *n, const Blocks *b) {
    int64_t dim[GRAPH_MAX_RANK];
    const Value *x = n->in[0];
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[x->rank - 1] = b->n;
    return infer_set(n, 0, x->dtype, x->rank, dim);
}

/* --- com.microsoft.MatMulNBits: A, B (columns x blocks x bytes, the first element in the lowest bits), scales, zero points
 * (packed like B, or numbers; the middle of the range where absent), the block of each element of a column, bias --- */

static bool infer_types(const Node *n) {
    static const DType bytes[] = {DT_U8, DT_NONE}, ints[] = {DT_I32, DT_NONE};
    DType t = n->in[0]->dtype;
    bool numbers = quant_has(n, 3) && n->in[3]->dtype != DT_U8;
    if (!infer_type_in(n, 1, bytes) || (quant_has(n, 4) && !infer_type_in(n, 4, ints)))
        return false;
    if (n->in[2]->dtype != t || (numbers && n->in[3]->dtype != t) || (quant_has(n, 5) && n->in[5]->dtype != t))
        return infer_error(n, "scales, numbers for zero points and bias must have the type of A");
    return true;
}

/* The first axis of a matrix of so many rows becomes the last. */
static Value *turned(Node *n, const char *what, Value *x, int64_t rows) {
    static const int64_t perm[] = {1, 0};
    const int64_t dim[] = {rows, value_count(x) / rows};
    Value *in[] = {x, ints_before(n, "rows", 1, 2, dim)};
    Value *matrix = value_before(n, "Reshape", what, 2, in), *y = value_before(n, "Transpose", what, 1, &matrix);
    node_add_attr(y->def, (Attr){.name = "perm", .kind = ATTR_INTS, .n = 2, .ints = perm});
    return y;
}

/* Columns one after the other, as bytes, in panels. */
static Value *in_panels(Node *n, Value *x, const Blocks *b) {
    static const int64_t perm[] = {0, 2, 1};
    int64_t rows = b->count * b->bytes, full = b->n / PANEL * PANEL, flat = -1, zero = 0;
    Value *part[2];
    int parts = 0;
    const int64_t matrix[] = {b->n, rows};
    Value *all[] = {x, ints_before(n, "columns", 1, 2, matrix)};
    x = value_before(n, "Reshape", "weights", 2, all);
    for (int64_t from = 0; from < b->n; from = full ? full : b->n) {
        int64_t to = from < full ? full : b->n;
        Value *cut[] = {x, ints_before(n, "from", 1, 1, &from), NULL, NULL};
        cut[2] = ints_before(n, "to", 1, 1, &to);
        cut[3] = ints_before(n, "axis", 1, 1, &zero);
        const int64_t panels[] = {from < full ? full / PANEL : 1, from < full ? PANEL : to - from, rows};
        Value *shaped[] = {value_before(n, "Slice", "weights", 4, cut), NULL};
        shaped[1] = ints_before(n, "panels", 1, 3, panels);
        Value *y = value_before(n, "Reshape", "weights", 2, shaped);
        y = value_before(n, "Transpose", "weights", 1, &y);
        node_add_attr(y->def, (Attr){.name = "perm", .kind = ATTR_INTS, .n = 3, .ints = perm});
        Value *line[] = {y, ints_before(n, "flat", 1, 1, &flat)};
        part[parts++] = value_before(n, "Reshape", "weights", 2, line);
        if (to == b->n)
            break;
    }
    Value *y = value_before(n, "Concat", "weights", parts, part);
    put_int(y->def, "axis", 0);
    return y;
}

/* Of "accuracy_level": 0 is any, 2 to 4 are as exact as float16, bfloat16 and int8. */
enum { FLOAT32_LEVEL = 1 };

INFER(infer_matmul_nbits) {
    Blocks b;
    if (!read_blocks(n, &b) || !infer_left(n, &b) || !infer_types(n))
        return false;
    if (b.size < 8 || (b.size & (b.size - 1)))
        return infer_error(n, "attribute \"block_size\" must be a power of 2, and 8 at least");
    bool packed = quant_has(n, 3) && n->in[3]->dtype == DT_U8;
    int64_t zeros = packed ? b.zeros : b.count;
    if (!has_elements(n, 1, b.n * b.count * b.bytes) || !has_elements(n, 2, b.n * b.count) || !has_elements(n, 3, b.n * zeros) ||
        !has_elements(n, 4, b.k) || !has_elements(n, 5, b.n))
        return false;
    Value *in[6] = {n->in[0]};
    static const char *const names[] = {"scales", "zeros"};
    in[1] = in_panels(n, n->in[1], &b);
    for (int i = 2; i < 4; i++)
        in[i] = quant_has(n, i) ? turned(n, names[i - 2], n->in[i], b.n) : NULL;
    in[4] = quant_has(n, 4) ? n->in[4] : NULL;
    in[5] = quant_has(n, 5) ? n->in[5] : NULL;
    Node *y = graph_node(n->graph, n, "mlcc", "MatMulBlocks", n->name, 6, in, 1, NULL);
    y->sources = n->sources;
    put_int(y, "K", b.k);
    put_int(y, "N", b.n);
    put_int(y, "bits", b.bits);
    put_int(y, "block_size", b.size);
    if (attr_int(n, "accuracy_level", 0) > FLOAT32_LEVEL)
        put_int(y, "inexact", attr_int(n, "accuracy_level", 0));
    replace_output(n, 0, y->out[0]);
    node_remove(n);
    return true;
}

/* --- mlcc.MatMulBlocks: A, B (bytes x columns, in panels), scales (blocks x columns), zero points (packed along the blocks in bytes of B's
 * type, or numbers; absent: the middle of the range of unsigned elements, 0 of signed ones), the block of each element of a
 * column, bias. Each block begins with a byte of its own; or with a word, where B is int32 (attribute "words"; then all elements
 * are unsigned ones, zero points bytes, if there are any, and the sums of A's elements by blocks may follow; with "tables" some of 4
 * bits are looked up) --- */

INFER(infer_matmul_blocks) {
    static const DType bytes[] = {DT_U8, DT_I8, DT_NONE}, words[] = {DT_I32, DT_NONE};
    Blocks b;
    if (!read_blocks(n, &b) || !infer_left(n, &b) || !infer_type_in(n, 1, b.words ? words : bytes))
        return false;
    DType elements = b.words ? DT_U8 : n->in[1]->dtype;
    bool numbers = quant_has(n, 3) && dtype_is_float(n->in[3]->dtype);
    const int64_t rows[] = {0, 0, b.count, numbers ? b.count : b.zeros};
    if (!has_elements(n, 1, b.n * b.count * b.bytes / (b.words ? WORD_BYTES : 1)) || n->in[1]->rank != 1)
        return n->in[1]->rank == 1 ? false : infer_error(n, "the weights are not in panels");
    for (int i = 2; i < 4; i++)
        if (quant_has(n, i) && (n->in[i]->rank != 2 || n->in[i]->dim[0] != rows[i] || n->in[i]->dim[1] != b.n))
            return infer_error(n, "input %d does not fit %lld columns of %lld elements", i, (long long)b.n, (long long)b.k);
    if ((b.bits < 8 && elements != DT_U8) || (quant_has(n, 3) && !numbers && n->in[3]->dtype != elements) || !infer_float(n, 2) ||
        (b.words ? numbers || quant_has(n, 4) : quant_has(n, 6)))
        return infer_error(n, "the weights are not packed");
    if (quant_has(n, 6) && (n->in[6]->dtype != DT_F32 || n->in[6]->rank != n->in[0]->rank ||
                            value_count(n->in[6]) / b.count != value_count(n->in[0]) / b.k || n->in[6]->dim[n->in[6]->rank - 1] != b.count))
        return infer_error(n, "the sums do not fit");
    for (int i = 4; i < 6; i++)
        if (quant_has(n, i) && (n->in[i]->rank != 1 || (i == 4 ? n->in[i]->dtype != DT_I32 : !infer_float(n, i))))
            return infer_error(n, "input %d must be a vector of int32 or numbers", i);
    return has_elements(n, 4, b.k) && has_elements(n, 5, b.n) && infer_columns(n, &b);
}

/* The lowering's place: the output's index and what holds for its column. */
typedef struct Column {
    Lower *l;
    const Node *n;
    const Blocks *s;
    const KIndex *idx;
    KIndex column, weights; /* weights: of its first byte or word in B */
    int64_t step;           /* from one to the next */
} Column;

/* Of the bits of a byte, those of element number `place`, as I32. */
static KValue *bits_of(const Column *c, KValue *byte, KValue *place) {
    KBuilder *b = &c->l->b;
    if (c->s->bits == 8)
        return byte;
    KValue *shift = kb_binary(b, KOP_MUL, place, kb_int(b, DT_I32, c->s->bits));
    return kb_binary(b, KOP_AND, kb_binary(b, KOP_SHR, byte, shift), kb_int(b, DT_I32, ((int64_t)1 << c->s->bits) - 1));
}

/* Byte or word number `row` of the column. */
static KValue *weights_at(const Column *c, KIndex row) {
    const KIndex at = kx_add(c->l->arena, c->weights, kx_scale(c->l->arena, row, c->step));
    return kb_cast(&c->l->b, lower_load(c->l, c->n, 1, &at), DT_I32);
}

/* NULL: nothing is to be subtracted. I32, or F32 where they are numbers. */
static KValue *zero_of(const Column *c, KIndex block) {
    KBuilder *b = &c->l->b;
    const KIndex at[] = {block, c->column};
    if (!quant_has(c->n, 3))
        return c->n->in[1]->dtype == DT_I8 ? NULL : kb_int(b, DT_I32, (int64_t)1 << (c->s->bits - 1));
    if (dtype_is_float(c->n->in[3]->dtype))
        return kb_cast(b, lower_load(c->l, c->n, 3, at), DT_F32);
    KValue *place = c->s->bits < 8 ? kb_cast(b, kx_value(b, kx_rem(b, block, c->s->each)), DT_I32) : NULL;
    const KIndex packed[] = {kx_div(b, block, c->s->each), c->column};
    return bits_of(c, kb_cast(b, lower_load(c->l, c->n, 3, packed), DT_I32), place);
}

/* element - zero as F32. */
static KValue *centred(const Column *c, KValue *element, KValue *zero) {
    KBuilder *b = &c->l->b;
    bool whole = zero && zero->type.dtype == DT_I32;
    KValue *x = kb_cast(b, whole ? kb_binary(b, KOP_SUB, element, zero) : element, DT_F32);
    return zero && !whole ? kb_binary(b, KOP_SUB, x, zero) : x;
}

/* Number k of the row of A, or of its sums. */
static KValue *left(const Column *c, int input, KIndex k) {
    KIndex at[GRAPH_MAX_RANK];
    int rank = c->n->in[0]->rank;
    memcpy(at, c->idx, (size_t)rank * sizeof *at);
    at[rank - 1] = k;
    return kb_cast(&c->l->b, lower_load(c->l, c->n, input, at), DT_F32);
}

/* sum + the products of the elements that byte `row` holds from element `k` of the column on, `count` of them. */
static KValue *add_byte(const Column *c, KIndex row, KIndex k, int64_t count, KValue *zero, KValue *sum) {
    KBuilder *b = &c->l->b;
    KValue *byte = weights_at(c, row);
    for (int64_t p = 0; p < count; p++)
        sum = kb_fma(b, left(c, 0, kx_add_const(c->l->arena, k, p)), centred(c, bits_of(c, byte, kb_int(b, DT_I32, p)), zero), sum);
    return sum;
}

/* --- elements of words: all as floats 2^(32 - bits) times too large, which their places make the easiest; the scale has the
 * inverse. Nothing is rounded --- */

enum { MANTISSA = 23, EXPONENT_BIAS = 127 };

/* A mask and a conversion make a number of the highest element, a shift and a conversion of the lowest byte. */
static bool is_converted(int64_t bits, int64_t at) {
    return at + bits == WORD_BITS || (bits == 8 && (at == 0 || at + bits > MANTISSA));
}

uint32_t blocks_signs(int64_t bits) {
    uint32_t signs = 0;
    for (int64_t at = 0; at < WORD_BITS; at += bits)
        signs |= is_converted(bits, at) ? UINT32_C(1) << (at + bits - 1) : 0;
    return signs;
}

static double word_factor(int64_t bits) { return (double)(INT64_C(1) << (WORD_BITS - bits)); }

static KValue *masked(KBuilder *b, KValue *x, int64_t bits, int64_t at) {
    uint32_t mask = (UINT32_C(1) << bits) - 1;
    return kb_binary(b, KOP_AND, x, kb_int(b, DT_I32, (int32_t)(mask << at)));
}

/* Shifts and tables take units that logic and subtractions do not: most of the elements, but not all. */
static bool is_looked_up(int64_t at) { return at < 8 || at >= 16; }

/* The element whose lowest bit is bit `at` of the word. */
static KValue *number_of(const Column *c, KValue *word, int64_t at) {
    KBuilder *b = &c->l->b;
    int64_t bits = c->s->bits, up = WORD_BITS - bits - at;
    if (is_converted(bits, at)) {
        KValue *high = up ? kb_binary(b, KOP_SHL, word, kb_int(b, DT_I32, up)) : word;
        return kb_cast(b, at ? masked(b, high, bits, WORD_BITS - bits) : high, DT_F32);
    }
    if (c->s->tables && is_looked_up(at))
        return kb_nibble(b, at ? kb_binary(b, KOP_SHR, word, kb_int(b, DT_I32, at)) : word);
    if (at + bits > MANTISSA) {
        word = kb_binary(b, KOP_SHR, word, kb_int(b, DT_I32, 8));
        at -= 8;
    }
    /* The bits become low ones of the mantissa of a number whose last bit is worth as much as they are to be. */
    int64_t last = WORD_BITS - bits - at;
    double offset = (double)(INT64_C(1) << (MANTISSA + last)) + word_factor(bits) * (double)(1 << (bits - 1));
    KValue *exponent = kb_int(b, DT_I32, (EXPONENT_BIAS + MANTISSA + last) << MANTISSA);
    KValue *x = kb_bitcast(b, kb_binary(b, KOP_OR, masked(b, word, bits, at), exponent), DT_F32);
    return kb_binary(b, KOP_SUB, x, kb_float(b, DT_F32, offset));
}

/* The same for word `row`. zero: what is to be subtracted from the numbers, or NULL. */
static KValue *add_word(const Column *c, KIndex row, KIndex k, int64_t count, KValue *zero, KValue *sum) {
    KBuilder *b = &c->l->b;
    KValue *word = weights_at(c, row);
    for (int64_t p = 0; p < count; p++) {
        KValue *x = number_of(c, word, p * c->s->bits);
        sum = kb_fma(b, left(c, 0, kx_add_const(c->l->arena, k, p)), zero ? kb_binary(b, KOP_SUB, x, zero) : x, sum);
    }
    return sum;
}

static KValue *word_zero_of(const Column *c, KIndex block) {
    KBuilder *b = &c->l->b;
    if (!quant_has(c->n, 3))
        return NULL;
    KValue *zero = kb_binary(b, KOP_SUB, zero_of(c, block), kb_int(b, DT_I32, INT64_C(1) << (c->s->bits - 1)));
    return kb_binary(b, KOP_MUL, kb_cast(b, zero, DT_F32), kb_float(b, DT_F32, word_factor(c->s->bits)));
}

static KValue *scale_of(const Column *c, KIndex block) {
    KBuilder *b = &c->l->b;
    const KIndex at[] = {block, c->column};
    KValue *scale = kb_cast(b, lower_load(c->l, c->n, 2, at), DT_F32);
    return c->s->words ? kb_binary(b, KOP_MUL, scale, kb_float(b, DT_F32, 1 / word_factor(c->s->bits))) : scale;
}

/* sum + scale * the products of a block of `count` elements. */
static KValue *add_block(const Column *c, KIndex block, int64_t count, KValue *sum) {
    KValue *(*add)(const Column *, KIndex, KIndex, int64_t, KValue *, KValue *) = c->s->words ? add_word : add_byte;
    Lower *l = c->l;
    Arena *a = l->arena;
    KBuilder *b = &l->b;
    const Blocks *s = c->s;
    int64_t width = s->words ? WORD_BYTES : 1, each = s->each * width, full = count / each;
    KIndex row = kx_scale(a, block, s->bytes / width), k = kx_scale(a, block, s->size);
    KValue *zero = quant_has(c->n, 6) ? NULL : s->words ? word_zero_of(c, block) : zero_of(c, block), *part = kb_float(b, DT_F32, 0);
    KInstr *loop = lower_for(l, KLOOP_REDUCE, s->words ? "word" : "byte", 0, full, 1, &part);
    KIndex i = lower_iv(l, loop);
    part = add(c, kx_add(a, row, i), kx_add(a, k, kx_scale(a, i, each)), each, zero, kb_carried(loop, 0));
    kb_end_for(b, loop, &part);
    part = kb_result(loop, 0);
    if (count % each)
        part = add(c, kx_add_const(a, row, full), kx_add_const(a, k, full * each), count % each, zero, part);
    if (quant_has(c->n, 6))
        part = kb_fma(b, kb_unary(b, KOP_NEG, word_zero_of(c, block)), left(c, 6, block), part);
    return kb_fma(b, part, scale_of(c, block), sum);
}

/* With an order of blocks of its own: each element has the scale and zero point that it names. */
static KValue *add_ungrouped(const Column *c, KValue *sum) {
    Lower *l = c->l;
    KBuilder *b = &l->b;
    const Blocks *s = c->s;
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "k", 0, s->k, 1, &sum);
    KIndex k = lower_iv(l, loop), block = lower_index(l, lower_load(l, c->n, 4, &k), s->count);
    KIndex inside = kx_rem(b, k, s->size), row = kx_scale(l->arena, kx_div(b, k, s->size), s->bytes);
    row = kx_add(l->arena, row, kx_div(b, inside, s->each));
    const KIndex scale[] = {block, c->column};
    KValue *place = kb_cast(b, kx_value(b, kx_rem(b, inside, s->each)), DT_I32), *element = bits_of(c, weights_at(c, row), place);
    KValue *factor = kb_binary(b, KOP_MUL, centred(c, element, zero_of(c, block)), kb_cast(b, lower_load(l, c->n, 2, scale), DT_F32));
    KValue *next = kb_fma(b, left(c, 0, k), factor, kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    return kb_result(loop, 0);
}

static KValue *column_sum(const Column *c) {
    Lower *l = c->l;
    KBuilder *b = &l->b;
    const Blocks *s = c->s;
    KValue *sum = quant_has(c->n, 5) ? kb_cast(b, lower_load(l, c->n, 5, &c->column), DT_F32) : kb_float(b, DT_F32, 0);
    if (quant_has(c->n, 4))
        return add_ungrouped(c, sum);
    int64_t full = s->k / s->size;
    KInstr *loop = lower_for(l, KLOOP_REDUCE, "block", 0, full, 1, &sum);
    KValue *next = add_block(c, lower_iv(l, loop), s->size, kb_carried(loop, 0));
    kb_end_for(b, loop, &next);
    sum = kb_result(loop, 0);
    return s->k % s->size ? add_block(c, kx_const(l->arena, full), s->k % s->size, sum) : sum;
}

/* Panels of so many columns, from column `first` on. */
static void lower_panels(Lower *l, const Node *n, int64_t rows, int64_t first, int64_t columns, int64_t panels, BlocksSum *sum, const void *data) {
    const Value *y = n->out[0];
    Arena *a = l->arena;
    int64_t dim[GRAPH_MAX_RANK];
    KIndex idx[GRAPH_MAX_RANK];
    memcpy(dim, y->dim, (size_t)y->rank * sizeof *dim);
    dim[y->rank - 1] = 1;
    LoopNest nest = lower_loops(l, y->rank, dim, NULL);
    KInstr *panel = lower_for(l, KLOOP_PARALLEL, "panel", 0, panels, 0, NULL);
    KInstr *column = lower_for(l, KLOOP_PARALLEL, "column", 0, columns, 0, NULL);
    KIndex p = lower_iv(l, panel), i = lower_iv(l, column);
    memcpy(idx, nest.idx, sizeof idx);
    idx[y->rank - 1] = kx_add_const(a, kx_add(a, kx_scale(a, p, columns), i), first);
    KIndex weights = kx_add_const(a, kx_add(a, kx_scale(a, p, columns * rows), i), first * rows);
    lower_store(l, n, 0, idx, sum(l, n, idx, weights, columns, data));
    kb_end_for(&l->b, column, NULL);
    kb_end_for(&l->b, panel, NULL);
    lower_end_loops(l, &nest);
}

void blocks_lower(Lower *l, const Node *n, int64_t columns, int64_t rows, BlocksSum *sum, const void *data) {
    int64_t full = columns / PANEL;
    if (full)
        lower_panels(l, n, rows, 0, PANEL, full, sum, data);
    if (columns % PANEL)
        lower_panels(l, n, rows, full * PANEL, columns % PANEL, 1, sum, data);
}

static KValue *sum_at(Lower *l, const Node *n, const KIndex *idx, KIndex weights, int64_t step, const void *data) {
    const Column c = {l, n, data, idx, idx[n->out[0]->rank - 1], weights, step};
    return column_sum(&c);
}

LOWER(lower_matmul_blocks) {
    Blocks s;
    read_blocks(n, &s);
    blocks_lower(l, n, s.n, s.count * s.bytes / (s.words ? WORD_BYTES : 1), sum_at, &s);
}

MACS(macs_matmul_blocks) { return (double)value_count(n->out[0]) * (double)attr_int(n, "K", 0); }

/* --- mlcc.Dequantize: DequantizeLinear of constants that stay small; its users compute the numbers where they need them.
 * Elements of 2 or 4 bits are packed along an axis, unsigned --- */

typedef struct Packed {
    int axis; /* of packing; -1: elements are bytes */
    int64_t bits, size;
} Packed;

static Packed read_packed(const Node *n) {
    int64_t bits = attr_int(n, "bits", 8);
    return (Packed){bits < 8 ? (int)attr_int(n, "packed_axis", 0) : -1, bits, attr_int(n, "size", 0)};
}

/* Scale and zero points have the output's rank, and along each axis its size, or 1, or one for each block. */
INFER(infer_unpacked) {
    Packed p = read_packed(n);
    const Value *x = n->in[0], *s = n->in[1];
    int64_t dim[GRAPH_MAX_RANK], block = attr_int(n, "block_size", 1), each = p.axis < 0 ? 1 : 8 / (p.bits == 2 ? 2 : 4);
    if (!quant_infer_element(n, 0) || !infer_present(n, 1))
        return false;
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    bool fits = block > 0 && s->dtype == DT_F32 && s->rank == x->rank &&
                (!quant_has(n, 2) || (n->in[2]->dtype == x->dtype && value_same_shape(n->in[2], s)));
    if (p.axis >= 0)
        fits = fits && (p.bits == 2 || p.bits == 4) && p.axis < x->rank && x->dtype == DT_U8 && p.size > 0 &&
               (p.size - 1) / each + 1 == x->dim[p.axis];
    if (fits && p.axis >= 0)
        dim[p.axis] = p.size;
    for (int d = 0; fits && d < x->rank; d++)
        fits = s->dim[d] == 1 || s->dim[d] == dim[d] || (dim[d] > 0 && s->dim[d] == (dim[d] - 1) / block + 1);
    return fits ? infer_set(n, 0, DT_F32, x->rank, dim) : infer_error(n, "elements, scales and zero points do not fit");
}

static void scale_at(Lower *l, const Node *n, const KIndex *idx, KIndex *at) {
    const Value *y = n->out[0], *s = n->in[1];
    int64_t block = attr_int(n, "block_size", 1);
    for (int d = 0; d < s->rank; d++)
        at[d] = s->dim[d] == 1 ? kx_const(l->arena, 0) : s->dim[d] == y->dim[d] ? idx[d] : kx_div(&l->b, idx[d], block);
}

ELEMENT(element_unpacked) {
    Packed p = read_packed(n);
    KBuilder *b = &l->b;
    KIndex at[GRAPH_MAX_RANK];
    memcpy(at, idx, (size_t)n->in[0]->rank * sizeof *at);
    if (p.axis >= 0)
        at[p.axis] = kx_div(b, idx[p.axis], 8 / p.bits);
    KValue *x = kb_cast(b, lower_load(l, n, 0, at), DT_I32);
    if (p.axis >= 0) {
        KValue *place = kb_cast(b, kx_value(b, kx_scale(l->arena, kx_rem(b, idx[p.axis], 8 / p.bits), p.bits)), DT_I32);
        x = kb_binary(b, KOP_AND, kb_binary(b, KOP_SHR, x, place), kb_int(b, DT_I32, ((int64_t)1 << p.bits) - 1));
    }
    scale_at(l, n, idx, at);
    if (!quant_is_zero(n, 2))
        x = kb_binary(b, KOP_SUB, x, kb_cast(b, lower_load(l, n, 2, at), DT_I32));
    return kb_binary(b, KOP_MUL, kb_cast(b, x, DT_F32), lower_load(l, n, 1, at));
}
