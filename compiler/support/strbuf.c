/* SPDX-License-Identifier: Apache-2.0 */
/* A growing text. */
#include "support/strbuf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reserve(StrBuf *b, size_t more) {
    if (b->cap - b->len > more)
        return;
    size_t cap = b->cap ? b->cap : 256;
    while (cap - b->len <= more)
        cap *= 2;
    char *p = realloc(b->data, cap);
    if (!p) {
        fputs("mlcc: error: out of memory\n", stderr);
        exit(1);
    }
    b->data = p;
    b->cap = cap;
}

void sb_write(StrBuf *b, const void *data, size_t n) {
    reserve(b, n);
    if (n)
        memcpy(b->data + b->len, data, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void sb_putc(StrBuf *b, char c) { sb_write(b, &c, 1); }

void sb_puts(StrBuf *b, const char *s) { sb_write(b, s, strlen(s)); }

void sb_vprintf(StrBuf *b, const char *format, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0)
        return;
    reserve(b, (size_t)n);
    vsnprintf(b->data + b->len, (size_t)n + 1, format, ap);
    b->len += (size_t)n;
}

void sb_indent(StrBuf *b, int depth) {
    for (int i = 0; i < depth; i++)
        sb_puts(b, "  ");
}

void sb_printf(StrBuf *b, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    sb_vprintf(b, format, ap);
    va_end(ap);
}

void sb_quote(StrBuf *b, const char *s, size_t n) {
    sb_putc(b, '"');
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\')
            sb_putc(b, '\\');
        if (c < 32 || c == 127)
            sb_printf(b, "\\x%02x", c);
        else
            sb_putc(b, s[i]);
    }
    sb_putc(b, '"');
}

void sb_float(StrBuf *b, double x, bool single) {
    char text[40];
    if (!isfinite(x)) {
        sb_puts(b, isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        double back = single ? (double)strtof(text, NULL) : strtod(text, NULL);
        if (back == x)
            break;
    }
    sb_puts(b, text);
    if (!strpbrk(text, ".e"))
        sb_puts(b, ".0");
}

const char *sb_text(const StrBuf *b) { return b->data ? b->data : ""; }

void sb_free(StrBuf *b) {
    free(b->data);
    *b = (StrBuf){0};
}
