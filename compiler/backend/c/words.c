/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as initialisers. Words are little endian, as ONNX stores its tensors. */
#include "backend/c/words.h"


enum { PER_LINE = 6 };

Words words_begin(FILE *f) { return (Words){.f = f}; }

int64_t words_count(int64_t bytes) { return bytes > 8 ? (bytes + 7) / 8 : 1; }

static void write_word(Words *w, uint64_t x) {
    char text[24], *p = text + sizeof text;
    *--p = ++w->column % PER_LINE ? ',' : '\n';
    if (*p == '\n')
        *--p = ',';
    if (x < 100000) {
        do
            *--p = (char)('0' + x % 10);
        while (x /= 10);
    } else {
        do
            *--p = "0123456789abcdef"[x & 15];
        while (x >>= 4);
        *--p = 'x';
        *--p = '0';
    }
    fwrite(p, 1, (size_t)(text + sizeof text - p), w->f);
    w->word = 0;
    w->bytes = 0;
}

void words_put(void *words, const void *data, size_t n) {
    Words *w = words;
    const unsigned char *p = data;
    for (; n; n--) {
        w->word |= (uint64_t)*p++ << (8 * w->bytes);
        if (++w->bytes == 8)
            write_word(w, w->word);
    }
}

void words_end(Words *w) {
    if (w->bytes || !w->column)
        write_word(w, w->word);
    if (w->column % PER_LINE)
        fputc('\n', w->f);
}
