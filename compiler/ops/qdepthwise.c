/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolutions of bytes on machines with dot products: the bytes of a column of the window, one row below the other,
 * become words, which are multiplied with the column's weights at once. Outputs side by side share the columns. Rows outside
 * of the image are read from its border, and have no weights. */
#include "ops/qdepthwise.h"

#include "ops/quant.h"
#include "support/ints.h"

enum { WORD = 4, MOST_ROWS = 2 * WORD };

/* No window lies in the padding alone, so that the image's row next to it is one that others of the window's rows are. */
static bool meets_image(const Window *w) {
    int64_t extent = (w->kernel[0] - 1) * w->dilation[0] + 1;
    return w->before[0] < extent && (w->out[0] - 1) * w->stride[0] - w->before[0] < w->in[0];
}

bool depthwise_suits(const Lower *l, const Node *n, const Value *k, const Window *w, int64_t group) {
    const Value *x = n->in[0];
    bool bytes = x->dtype == DT_I8 || x->dtype == DT_U8, depthwise = k->dim[1] == 1 && k->dim[0] == group && group > 1;
    return l->options.words && w->n == 2 && value_is_const(k) && k->dtype == DT_I8 && bytes && depthwise && meets_image(w) &&
           w->kernel[0] > 1 && w->kernel[0] <= MOST_ROWS && x->storage.stride[1] == 1;
}

/* The weights by columns, channels and rows, these in fours. */
static KParam *column_weights(Lower *l, const Node *n, const Value *k, const Window *w, int64_t rows) {
    int64_t count = w->kernel[1] * k->dim[0] * rows, at = 0;
    int8_t *table = ARENA_ARRAY(l->arena, int8_t, count + 1);
    for (int64_t c = 0; c < k->dim[0]; c++)
        for (int64_t i = 0; i < w->kernel[0]; i++)
            for (int64_t j = 0; j < w->kernel[1]; j++)
                table[(j * k->dim[0] + c) * rows + i] = (int8_t)const_int(k, at++);
    return lower_table(l, arena_printf(l->arena, "%s_columns", n->name), DT_I8, count, table);
}

typedef struct Row {
    KIndex at;    /* inside the image */
    KValue *test; /* whether it is the window's row; NULL: always */
} Row;

static Row row_of(Lower *l, const Window *w, KIndex o, int64_t i) {
    KBuilder *b = &l->b;
    int64_t first = i * w->dilation[0] - w->before[0], last = (w->out[0] - 1) * w->stride[0] + first;
    Row r = {kx_add_const(l->arena, kx_scale(l->arena, o, w->stride[0]), first), NULL};
    KValue *at = kx_value(b, r.at), *zero = kb_int(b, DT_INDEX, 0), *most = kb_int(b, DT_INDEX, w->in[0] - 1);
    if (first < 0)
        r.test = kb_binary(b, KOP_GE, at, zero);
    if (last >= w->in[0]) {
        KValue *above = kb_binary(b, KOP_LE, at, most);
        r.test = r.test ? kb_binary(b, KOP_AND, r.test, above) : above;
    }
    if (first < 0)
        at = kb_binary(b, KOP_MAX, at, zero);
    if (last >= w->in[0])
        at = kb_binary(b, KOP_MIN, at, most);
    if (r.test)
        r.at = kx_var(l->arena, at);
    return r;
}

/* The bytes of a word whose rows are in the image; NULL: all. */
static KValue *mask_of(Lower *l, const Row *row, int n) {
    KBuilder *b = &l->b;
    KValue *mask = NULL;
    bool any = false;
    for (int j = 0; j < n; j++) {
        KValue *byte = kb_int(b, DT_I32, (int32_t)(UINT32_C(255) << (8 * j)));
        any = any || row[j].test;
        byte = row[j].test ? kb_select(b, row[j].test, byte, kb_int(b, DT_I32, 0)) : byte;
        mask = mask ? kb_binary(b, KOP_OR, mask, byte) : byte;
    }
    return any ? mask : NULL;
}

/* One axis of the window. */
static Window axis(const Window *w, int d) {
    return (Window){1, {w->kernel[d]}, {w->stride[d]}, {w->dilation[d]}, {w->before[d]}, {w->after[d]}, {w->in[d]}, {w->out[d]}};
}

static KIndex weight_at(Lower *l, const Value *k, KIndex column, KIndex channel, int64_t rows) {
    return kx_scale(l->arena, kx_add(l->arena, kx_scale(l->arena, column, k->dim[0]), channel), rows);
}

static KValue *by_words(Lower *l, const Node *n, const Value *k, const Window *w, KParam *weights, const KIndex *idx, KValue *sum, bool shifted) {
    KBuilder *b = &l->b;
    int count = (int)w->kernel[0];
    int64_t rows = round_up(count, WORD);
    Window columns = axis(w, 1);
    Row row[MOST_ROWS];
    KValue *mask[MOST_ROWS / WORD];
    for (int i = 0; i < count; i++)
        row[i] = row_of(l, w, idx[2], i);
    for (int i = 0; i < count; i += WORD)
        mask[i / WORD] = mask_of(l, row + i, count - i < WORD ? count - i : WORD);
    WindowLoops loops = window_open(l, &columns, idx + 3, KLOOP_REDUCE, 1, &sum);
    KValue *next = window_carried(&loops, &sum, 0);
    KIndex first = weight_at(l, k, loops.k[0], idx[1], rows);
    for (int i = 0; i < count; i += WORD) {
        KValue *byte[WORD];
        int bytes = count - i < WORD ? count - i : WORD;
        for (int j = 0; j < bytes; j++) {
            const KIndex at[] = {idx[0], idx[1], row[i + j].at, loops.at[0]};
            byte[j] = lower_load(l, n, 0, at);
        }
        bool sign = (byte[0]->type.dtype == DT_I8) != shifted;
        KValue *x = kb_words(b, bytes, byte, 0, 1);
        if (shifted)
            x = kb_binary(b, KOP_XOR, x, kb_int(b, DT_I32, (int32_t)0x80808080));
        KValue *y = kb_bitcast(b, kb_load_vector(b, weights, kx_add_const(l->arena, first, i), WORD, 1), DT_I32);
        if (mask[i / WORD])
            y = kb_binary(b, KOP_AND, y, mask[i / WORD]);
        next = kb_dot(b, sign ? KOP_DOT_S8 : KOP_DOT, x, y, next);
    }
    window_close(l, &loops, &next, &sum);
    return sum;
}

/* The same weights, one product after the other. */
static KValue *by_products(Lower *l, const Node *n, const Value *k, const Window *w, KParam *weights, const KIndex *idx, KValue *sum, bool shifted) {
    KBuilder *b = &l->b;
    int64_t rows = round_up(w->kernel[0], WORD);
    WindowLoops loops = window_open(l, w, idx + 2, KLOOP_REDUCE, 1, &sum);
    const KIndex at[] = {idx[0], idx[1], loops.at[0], loops.at[1]};
    KValue *x = lower_load(l, n, 0, at);
    KValue *y = kb_load(b, weights, kx_add(l->arena, weight_at(l, k, loops.k[1], idx[1], rows), loops.k[0]));
    x = kb_cast(b, shifted ? quant_shifted(l, x) : x, DT_I32);
    KValue *next = kb_fma(b, x, kb_cast(b, y, DT_I32), window_carried(&loops, &sum, 0));
    window_close(l, &loops, &next, &sum);
    return sum;
}

KValue *depthwise_sum(Lower *l, const Node *n, const Value *k, const Window *w, const KIndex *idx, KValue *sum, bool shifted) {
    KParam *weights = column_weights(l, n, k, w, round_up(w->kernel[0], WORD));
    return (l->options.plain ? by_products : by_words)(l, n, k, w, weights, idx, sum, shifted);
}
