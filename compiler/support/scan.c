/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the IRs' text. */
#include "support/scan.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

Scan scan_text(Arena *a, const char *text) { return (Scan){a, text, 1, NULL}; }

bool scan_fail(Scan *s, const char *format, ...) {
    if (s->error)
        return false;
    va_list ap;
    va_start(ap, format);
    s->error = arena_printf(s->arena, "line %d: %s", s->line, arena_vprintf(s->arena, format, ap));
    va_end(ap);
    return false;
}

static void skip_blanks(Scan *s) {
    for (;; s->p++) {
        if (s->p[0] == '/' && s->p[1] == '/')
            s->p += strcspn(s->p, "\n");
        if (!isspace((unsigned char)*s->p))
            return;
        s->line += *s->p == '\n';
    }
}

static bool is_word(char c, const char *more) {
    return isalnum((unsigned char)c) || c == '_' || (c && strchr(more, c));
}

bool scan_at_end(Scan *s) {
    skip_blanks(s);
    return !*s->p;
}

bool scan_is(Scan *s, const char *token) {
    skip_blanks(s);
    size_t n = strlen(token);
    return !s->error && !strncmp(s->p, token, n) && !(is_word(token[n - 1], "") && is_word(s->p[n], ""));
}

bool scan_accept(Scan *s, const char *token) {
    if (!scan_is(s, token))
        return false;
    s->p += strlen(token);
    return true;
}

static const char *rest_of_line(const Scan *s) {
    size_t n = strcspn(s->p, "\n");
    return arena_strndup(s->arena, s->p, n > 24 ? 24 : n);
}

bool scan_expect(Scan *s, const char *token) {
    return scan_accept(s, token) || scan_fail(s, "\"%s\" expected before \"%s\"", token, rest_of_line(s));
}

const char *scan_word(Scan *s, const char *more) {
    skip_blanks(s);
    size_t n = 0;
    while (is_word(s->p[n], more))
        n++;
    if (!n || s->error) {
        scan_fail(s, "a name expected before \"%s\"", rest_of_line(s));
        return NULL;
    }
    s->p += n;
    return arena_strndup(s->arena, s->p - n, n);
}

bool scan_is_quoted(Scan *s) {
    skip_blanks(s);
    return !s->error && *s->p == '"';
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

const char *scan_quoted(Scan *s, size_t *n) {
    if (!scan_expect(s, "\""))
        return NULL;
    char *text = arena_alloc(s->arena, strcspn(s->p, "\n") + 1);
    size_t len = 0;
    for (; *s->p != '"'; s->p++) {
        char c = *s->p;
        if (!c || c == '\n') {
            scan_fail(s, "a text does not end");
            return NULL;
        }
        if (c == '\\') {
            c = *++s->p;
            int high = c == 'x' ? hex_digit(s->p[1]) : 0, low = c == 'x' && high >= 0 ? hex_digit(s->p[2]) : 0;
            if (!c || c == '\n' || high < 0 || low < 0) {
                scan_fail(s, "an escape in a text does not end");
                return NULL;
            }
            if (c == 'x') {
                c = (char)(high * 16 + low);
                s->p += 2;
            }
        }
        text[len++] = c;
    }
    s->p++;
    if (n)
        *n = len;
    return text;
}

bool scan_number(Scan *s, int64_t *i, double *f, bool *is_float) {
    skip_blanks(s);
    if (s->error)
        return false;
    char *int_end, *float_end;
    errno = 0;
    *i = strtoll(s->p, &int_end, 10);
    bool too_large = errno == ERANGE;
    *f = strtod(s->p, &float_end);
    *is_float = float_end > int_end;
    if (float_end == s->p)
        return scan_fail(s, "a number expected before \"%s\"", rest_of_line(s));
    if (!*is_float && too_large)
        return scan_fail(s, "an integer does not fit into 64 bits");
    s->p = *is_float ? float_end : int_end;
    return true;
}

bool scan_int(Scan *s, int64_t *x) {
    double f;
    bool is_float;
    const char *at = s->p;
    if (!scan_number(s, x, &f, &is_float))
        return false;
    if (!is_float)
        return true;
    s->p = at;
    return scan_fail(s, "an integer expected");
}

bool scan_small(Scan *s, int *x) {
    int64_t i = 0;
    if (!scan_int(s, &i))
        return false;
    if (i < 0 || i > INT_MAX)
        return scan_fail(s, "%lld is out of range", (long long)i);
    *x = (int)i;
    return true;
}

bool scan_float(Scan *s, double *x) {
    int64_t i;
    bool is_float;
    return scan_number(s, &i, x, &is_float);
}
