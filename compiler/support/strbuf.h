/* SPDX-License-Identifier: Apache-2.0 */
/* A growing text, used by every printer. */
#ifndef MLCC_SUPPORT_STRBUF_H
#define MLCC_SUPPORT_STRBUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct StrBuf {
    char *data; /* NUL-terminated once anything was added; owned (malloc) */
    size_t len, cap;
} StrBuf;

void sb_putc(StrBuf *b, char c);
void sb_puts(StrBuf *b, const char *s);
void sb_indent(StrBuf *b, int depth);
void sb_write(StrBuf *b, const void *data, size_t n);
void sb_printf(StrBuf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sb_vprintf(StrBuf *b, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
/* n bytes between quotes, with escapes where scan_quoted needs them. */
void sb_quote(StrBuf *b, const char *s, size_t n);
/* The shortest decimals that read back as x; always with a point, an exponent, or inf or nan. `single`: as a float. */
void sb_float(StrBuf *b, double x, bool single);
/* The text, "" when nothing was added. */
const char *sb_text(const StrBuf *b);
void sb_free(StrBuf *b);

#endif
