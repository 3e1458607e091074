/* SPDX-License-Identifier: Apache-2.0 */
/* Products of floats with weights of 2 to 8 bits by machines that multiply four bytes at a time: the floats become integers of 24
 * bits with a factor for each part of a row, so that nothing is off by more than 2^-24 of the largest there, or twice that; three
 * products of bytes give the exact sum of these. Where that suffices, 16 bits and two products. */
#include <string.h>

#include "ops/qblock.h"
#include "ops/qfixed.h"
#include "ops/quant.h"
#include "ops/rules.h"
#include "support/ints.h"

Fixed fixed_of(int64_t k, int64_t n, int64_t bits, int64_t size, int digits) {
    Fixed f = {.k = k, .n = n, .bits = bits, .size = size, .count = divide_up(k, size), .each = 8 / bits, .digits = digits};
    f.parts = divide_up(size, DEEPEST_PART);
    f.words = divide_up(divide_up(size, f.parts), LANES * f.each);
    f.lane = f.words * f.each;
    return f;
}

bool fixed_suits(const Fixed *f) { return f->count == 1 || f->parts * f->lane * LANES == f->size; }

static bool read_fixed(const Node *n, Fixed *f) {
    const int64_t k = attr_int(n, "K", 0), columns = attr_int(n, "N", 0), bits = attr_int(n, "bits", 0);
    const int64_t size = attr_int(n, "block_size", 0), digits = attr_int(n, "digits", 0);
    if (k < 1 || columns < 1 || k > INT32_MAX / 2 || columns > INT32_MAX / 2 || (bits != 2 && bits != 4 && bits != 8) || size < 1 ||
        size > INT32_MAX / 2 || (digits != 2 && digits != MOST_DIGITS))
        return infer_error(n, "sizes are missing");
    *f = fixed_of(k, columns, bits, size, (int)digits);
    return fixed_suits(f) || infer_error(n, "blocks do not end with words");
}

/* --- mlcc.FixedPoint: words of digits (.., parts, digits, words), the value of a part's last digit, the sums of its digits --- */

INFER(infer_fixed_point) {
    static const DType floats[] = {DT_F32, DT_NONE};
    const Value *x = n->in[0];
    int64_t dim[GRAPH_MAX_RANK];
    Fixed f;
    if (!read_fixed(n, &f) || !infer_type_in(n, 0, floats))
        return false;
    if (x->rank < 1 || x->rank + 2 > GRAPH_MAX_RANK || x->dim[x->rank - 1] != f.k)
        return infer_error(n, "the last axis is not K (%lld)", (long long)f.k);
    memcpy(dim, x->dim, (size_t)x->rank * sizeof *dim);
    dim[x->rank - 1] = f.count * f.parts;
    dim[x->rank] = f.digits;
    dim[x->rank + 1] = f.lane;
    return infer_set(n, 0, DT_I32, x->rank + 2, dim) && infer_set(n, 1, DT_F32, x->rank, dim) && infer_set(n, 2, DT_I32, x->rank + 1, dim);
}

/* A part of a row of the input. */
typedef struct Part {
    Lower *l;
    const Node *n;
    const Fixed *f;
    KIndex *idx;  /* of the row, with room for more */
    KIndex first; /* element */
    bool whole;   /* all elements of all parts exist */
} Part;

/* Element `at` of the part; 0 beyond the row's end. */
static KValue *element_at(const Part *p, KIndex at) {
    KBuilder *b = &p->l->b;
    Arena *a = p->l->arena;
    KIndex idx[GRAPH_MAX_RANK], k = kx_add(a, p->first, at);
    int last = p->n->in[0]->rank - 1;
    memcpy(idx, p->idx, (size_t)last * sizeof *idx);
    idx[last] = k;
    if (p->whole)
        return lower_load(p->l, p->n, 0, idx);
    KValue *place = kx_value(b, k), *end = kb_int(b, DT_INDEX, p->f->k - 1);
    idx[last] = kx_var(a, kb_binary(b, KOP_MIN, place, end));
    KValue *x = lower_load(p->l, p->n, 0, idx);
    return kb_select(b, kb_binary(b, KOP_LE, place, end), x, kb_float(b, DT_F32, 0));
}

/* Every digit is at most 127. */
static double largest(const Fixed *f) { return f->digits == 2 ? 127 * 257 : 127 * 65793; }

enum { MANTISSA = 23, BIAS = 127, LEAST_EXPONENT = 24 };

/* From the largest magnitude: 2^e by which the part is multiplied, and 2^-e, which is NaN where something is not finite. */
static void factors(const Part *p, KValue *most, KValue *flaw, KValue **up, KValue **down) {
    KBuilder *b = &p->l->b;
    int point = 8 * p->f->digits - 2; /* bits below the highest of the largest magnitude */
    /* What is so close to the next power of 2 that its digits do not suffice gets that one's exponent. */
    most = kb_binary(b, KOP_MUL, most, kb_float(b, DT_F32, (double)(float)((double)(2 << point) / largest(p->f))));
    KValue *exponent = kb_binary(b, KOP_SHR, kb_bitcast(b, most, DT_I32), kb_int(b, DT_I32, MANTISSA));
    exponent = kb_binary(b, KOP_MAX, exponent, kb_int(b, DT_I32, LEAST_EXPONENT));
    KValue *bits = kb_binary(b, KOP_SUB, kb_int(b, DT_I32, 2 * BIAS + point), exponent);
    *up = kb_bitcast(b, kb_binary(b, KOP_SHL, bits, kb_int(b, DT_I32, MANTISSA)), DT_F32);
    bits = kb_binary(b, KOP_SUB, exponent, kb_int(b, DT_I32, point));
    *down = kb_binary(b, KOP_ADD, kb_bitcast(b, kb_binary(b, KOP_SHL, bits, kb_int(b, DT_I32, MANTISSA)), DT_F32), flaw);
}

/* The digits as I32. */
static void digits_of(const Part *p, KIndex at, KValue *up, KValue **digit) {
    KBuilder *b = &p->l->b;
    KValue *x = kb_binary(b, KOP_MUL, element_at(p, at), up);
    x = kb_binary(b, KOP_MAX, kb_binary(b, KOP_MIN, x, kb_float(b, DT_F32, largest(p->f))), kb_float(b, DT_F32, -largest(p->f)));
    KValue *rest = kb_nearest(b, x), *bits = kb_int(b, DT_I32, 24), *byte = kb_int(b, DT_I32, 8);
    for (int d = 0, last = p->f->digits - 1; d <= last; d++) {
        digit[d] = d < last ? kb_binary(b, KOP_SHR, kb_binary(b, KOP_SHL, rest, bits), bits) : rest;
        rest = d < last ? kb_binary(b, KOP_SHR, kb_binary(b, KOP_SUB, rest, digit[d]), byte) : rest;
    }
}

/* The largest magnitude, and 0, or NaN where an element is not finite. */
static void survey(const Part *p, KValue **most, KValue **flaw) {
    KBuilder *b = &p->l->b;
    KValue *found[] = {kb_float(b, DT_F32, 0), kb_float(b, DT_F32, 0)};
    KInstr *loop = lower_for(p->l, KLOOP_REDUCE, "k", 0, p->f->lane * LANES, 2, found);
    KValue *x = element_at(p, lower_iv(p->l, loop));
    found[0] = kb_binary(b, KOP_MAX, kb_unary(b, KOP_ABS, x), kb_carried(loop, 0));
    found[1] = kb_fma(b, x, kb_float(b, DT_F32, 0), kb_carried(loop, 1));
    kb_end_for(b, loop, found);
    *most = kb_result(loop, 0);
    *flaw = kb_result(loop, 1);
}

/* As floats, which are exact, and summed in vectors. */
static void store_sums(const Part *p, KValue *up) {
    KBuilder *b = &p->l->b;
    int last = p->n->in[0]->rank - 1;
    KValue *sum[MOST_DIGITS], *digit[MOST_DIGITS];
    for (int d = 0; d < p->f->digits; d++)
        sum[d] = kb_float(b, DT_F32, 0);
    KInstr *loop = lower_for(p->l, KLOOP_REDUCE, "k", 0, p->f->lane * LANES, p->f->digits, sum);
    digits_of(p, lower_iv(p->l, loop), up, digit);
    for (int d = 0; d < p->f->digits; d++)
        sum[d] = kb_binary(b, KOP_ADD, kb_cast(b, digit[d], DT_F32), kb_carried(loop, d));
    kb_end_for(b, loop, sum);
    for (int d = 0; d < p->f->digits; d++) {
        p->idx[last + 1] = kx_const(p->l->arena, d);
        lower_store(p->l, p->n, 2, p->idx, kb_cast(b, kb_result(loop, d), DT_I32));
    }
}

static void store_words(const Part *p, KValue *up) {
    KBuilder *b = &p->l->b;
    Arena *a = p->l->arena;
    int last = p->n->in[0]->rank - 1;
    KInstr *loop = lower_for(p->l, KLOOP_PARALLEL, "word", 0, p->f->lane, 0, NULL);
    KIndex t = lower_iv(p->l, loop);
    KValue *word[MOST_DIGITS] = {NULL}, *digit[MOST_DIGITS];
    for (int64_t i = 0; i < LANES; i++) {
        digits_of(p, kx_add_const(a, t, i * p->f->lane), up, digit);
        for (int d = 0; d < p->f->digits; d++) {
            KValue *byte = i < LANES - 1 ? kb_binary(b, KOP_AND, digit[d], kb_int(b, DT_I32, 255)) : digit[d];
            byte = kb_binary(b, KOP_SHL, byte, kb_int(b, DT_I32, 8 * i));
            word[d] = word[d] ? kb_binary(b, KOP_OR, word[d], byte) : byte;
        }
    }
    for (int d = 0; d < p->f->digits; d++) {
        p->idx[last + 1] = kx_const(a, d);
        p->idx[last + 2] = t;
        lower_store(p->l, p->n, 0, p->idx, word[d]);
    }
    kb_end_for(b, loop, NULL);
}

LOWER(lower_fixed_point) {
    const Value *step = n->out[1];
    Fixed f;
    read_fixed(n, &f);
    LoopNest nest = lower_loops(l, step->rank, step->dim, NULL);
    KIndex part = nest.idx[step->rank - 1];
    KValue *most, *flaw, *up, *down;
    const Part p = {l, n, &f, nest.idx, kx_scale(l->arena, part, f.lane * LANES), f.count * f.parts * f.lane * LANES == f.k};
    survey(&p, &most, &flaw);
    factors(&p, most, flaw, &up, &down);
    lower_store(l, n, 1, nest.idx, down);
    store_sums(&p, up);
    store_words(&p, up);
    lower_end_loops(l, &nest);
}

/* --- mlcc.MatMulFixed: what FixedPoint gives, words of weights (in panels of columns), scales (blocks x columns), zero points
 * (packed along the blocks in bytes; absent: the middle of the range), bias. Weights are unsigned; those of 8 bits are half their range
 * less with the attribute "signed", for machines that multiply signed bytes --- */

enum { WORDS, STEP, SUMS, WEIGHTS, SCALES, ZEROS, COLUMN_BIAS };

INFER(infer_matmul_fixed) {
    const Value *x = n->in[WORDS], *step = n->in[STEP];
    int64_t dim[GRAPH_MAX_RANK];
    Fixed f;
    if (!read_fixed(n, &f))
        return false;
    bool fits = x->dtype == DT_I32 && x->rank > 2 && step->dtype == DT_F32 && step->rank == x->rank - 2 && n->in[SUMS]->dtype == DT_I32 &&
                n->in[SUMS]->rank == x->rank - 1 && x->dim[x->rank - 1] == f.lane && x->dim[x->rank - 2] == f.digits &&
                x->dim[x->rank - 3] == f.count * f.parts && value_count(step) * f.digits == value_count(n->in[SUMS]);
    fits = fits && n->in[WEIGHTS]->dtype == DT_I32 && n->in[WEIGHTS]->rank == 1 &&
           value_count(n->in[WEIGHTS]) == f.count * f.parts * f.words * f.n && n->in[SCALES]->dtype == DT_F32 &&
           n->in[SCALES]->rank == 2 && n->in[SCALES]->dim[0] == f.count && n->in[SCALES]->dim[1] == f.n;
    if (fits && quant_has(n, ZEROS))
        fits = n->in[ZEROS]->dtype == DT_U8 && n->in[ZEROS]->rank == 2 && n->in[ZEROS]->dim[0] == divide_up(f.count, f.each) &&
               n->in[ZEROS]->dim[1] == f.n;
    if (fits && quant_has(n, COLUMN_BIAS))
        fits = dtype_is_float(n->in[COLUMN_BIAS]->dtype) && n->in[COLUMN_BIAS]->rank == 1 && n->in[COLUMN_BIAS]->dim[0] == f.n;
    if (!fits)
        return infer_error(n, "the operands do not fit");
    memcpy(dim, x->dim, (size_t)(x->rank - 3) * sizeof *dim);
    dim[x->rank - 3] = f.n;
    return infer_set(n, 0, DT_F32, x->rank - 2, dim);
}

/* The lowering's place: a row, and what holds for its column. */
typedef struct Sum {
    Lower *l;
    const Node *n;
    const Fixed *f;
    const KIndex *idx; /* of the output */
    KIndex weights;  /* the column's first word */
    int64_t step;    /* to the next */
    KOp dot;
    bool is_signed;  /* the weights */
} Sum;

/* Element `digit`, and word `at` where there are words, of a part. */
static KValue *of_part(const Sum *s, int input, KIndex part, int64_t digit, KIndex at) {
    KIndex idx[GRAPH_MAX_RANK];
    int rows = s->n->out[0]->rank - 1;
    memcpy(idx, s->idx, (size_t)rows * sizeof *idx);
    idx[rows] = part;
    idx[rows + 1] = kx_const(s->l->arena, digit);
    idx[rows + 2] = at;
    return lower_load(s->l, s->n, input, idx);
}

/* What is to be subtracted from each of the block's weights; NULL: nothing. */
static KValue *zero_of(const Sum *s, KIndex block) {
    KBuilder *b = &s->l->b;
    int64_t middle = INT64_C(1) << (s->f->bits - 1);
    if (!quant_has(s->n, ZEROS))
        return s->is_signed ? NULL : kb_int(b, DT_I32, middle);
    const KIndex at[] = {kx_div(b, block, s->f->each), s->idx[s->n->out[0]->rank - 1]};
    KValue *zero = kb_cast(b, lower_load(s->l, s->n, ZEROS, at), DT_I32);
    if (s->f->bits < 8) {
        KValue *shift = kb_cast(b, kx_value(b, kx_scale(s->l->arena, kx_rem(b, block, s->f->each), s->f->bits)), DT_I32);
        zero = kb_binary(b, KOP_AND, kb_binary(b, KOP_SHR, zero, shift), kb_int(b, DT_I32, 2 * middle - 1));
    }
    return s->is_signed ? kb_binary(b, KOP_SUB, zero, kb_int(b, DT_I32, middle)) : zero;
}

/* One word of weights, of which each `bits` of all bytes are multiplied at once. */
static void add_word(const Sum *s, KIndex part, KIndex j, KValue **sum) {
    KBuilder *b = &s->l->b;
    Arena *a = s->l->arena;
    const Fixed *f = s->f;
    KIndex row = kx_add(a, kx_scale(a, part, f->words), j), at = kx_add(a, s->weights, kx_scale(a, row, s->step));
    KValue *word = lower_load(s->l, s->n, WEIGHTS, &at);
    int64_t mask = ((INT64_C(1) << f->bits) - 1) * 0x01010101;
    for (int64_t i = 0; i < f->each; i++) {
        KValue *w = i ? kb_binary(b, KOP_SHR, word, kb_int(b, DT_I32, i * f->bits)) : word;
        w = f->each > 1 ? kb_binary(b, KOP_AND, w, kb_int(b, DT_I32, mask)) : w;
        for (int d = 0; d < f->digits; d++)
            sum[d] = kb_dot(b, s->dot, w, of_part(s, WORDS, part, d, kx_add_const(a, kx_scale(a, j, f->each), i)), sum[d]);
    }
}

/* sum + the value of a part. */
static KValue *add_part(const Sum *s, KIndex part, KValue *zero, KValue *sum) {
    KBuilder *b = &s->l->b;
    KValue *all[MOST_DIGITS];
    int digits = s->f->digits;
    for (int d = 0; d < digits; d++)
        all[d] = zero ? kb_binary(b, KOP_MUL, of_part(s, SUMS, part, d, NULL), kb_unary(b, KOP_NEG, zero)) : kb_int(b, DT_I32, 0);
    KInstr *loop = lower_for(s->l, KLOOP_REDUCE, "word", 0, s->f->words, digits, all);
    for (int d = 0; d < digits; d++)
        all[d] = kb_carried(loop, d);
    add_word(s, part, lower_iv(s->l, loop), all);
    kb_end_for(b, loop, all);
    /* The lower two fit 31 bits: 128 products of bytes each. */
    KValue *low = kb_binary(b, KOP_ADD, kb_result(loop, 0), kb_binary(b, KOP_SHL, kb_result(loop, 1), kb_int(b, DT_I32, 8)));
    KValue *value = kb_cast(b, low, DT_F32);
    if (digits == MOST_DIGITS)
        value = kb_fma(b, kb_cast(b, kb_result(loop, 2), DT_F32), kb_float(b, DT_F32, 65536), value);
    return kb_fma(b, value, of_part(s, STEP, part, 0, NULL), sum);
}

static KValue *row_sum(const Sum *s) {
    Lower *l = s->l;
    KBuilder *b = &l->b;
    Arena *a = l->arena;
    KIndex column = s->idx[s->n->out[0]->rank - 1];
    KValue *sum = quant_has(s->n, COLUMN_BIAS) ? kb_cast(b, lower_load(l, s->n, COLUMN_BIAS, &column), DT_F32) : kb_float(b, DT_F32, 0);
    KInstr *blocks = lower_for(l, KLOOP_REDUCE, "block", 0, s->f->count, 1, &sum);
    KIndex block = lower_iv(l, blocks);
    KValue *zero = zero_of(s, block), *value = kb_float(b, DT_F32, 0);
    KInstr *parts = lower_for(l, KLOOP_REDUCE, "part", 0, s->f->parts, 1, &value);
    value = add_part(s, kx_add(a, kx_scale(a, block, s->f->parts), lower_iv(l, parts)), zero, kb_carried(parts, 0));
    kb_end_for(b, parts, &value);
    const KIndex scale[] = {block, column};
    sum = kb_fma(b, kb_result(parts, 0), lower_load(l, s->n, SCALES, scale), kb_carried(blocks, 0));
    kb_end_for(b, blocks, &sum);
    return kb_result(blocks, 0);
}

static KValue *sum_at(Lower *l, const Node *n, const KIndex *idx, KIndex weights, int64_t step, const void *data) {
    const Fixed *f = data;
    bool is_signed = attr_int(n, "signed", 0) != 0;
    const Sum s = {l, n, f, idx, weights, step, is_signed ? KOP_DOT_S8 : KOP_DOT, is_signed && f->bits == 8};
    return row_sum(&s);
}

LOWER(lower_matmul_fixed) {
    Fixed f;
    read_fixed(n, &f);
    blocks_lower(l, n, f.n, f.count * f.parts * f.words, sum_at, &f);
}

MACS(macs_matmul_fixed) { return (double)value_count(n->out[0]) * (double)attr_int(n, "K", 0); }
