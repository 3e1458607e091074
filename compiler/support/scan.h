/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the IRs' text: a cursor over tokens, with blanks and comments (// to the line's end) skipped before each. The
 * first error stays. */
#ifndef MLCC_SUPPORT_SCAN_H
#define MLCC_SUPPORT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "support/arena.h"

typedef struct Scan {
    Arena *arena;
    const char *p; /* the rest */
    int line;
    const char *error; /* "line 3: …", in the arena */
} Scan;

Scan scan_text(Arena *a, const char *text);
/* Reports and returns false. */
bool scan_fail(Scan *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool scan_at_end(Scan *s);
/* Whether the token comes next. Tokens of letters do not match the start of a longer word. */
bool scan_is(Scan *s, const char *token);
bool scan_accept(Scan *s, const char *token); /* takes it if it comes next */
bool scan_expect(Scan *s, const char *token);
/* Letters, digits, '_' and the characters of `more`; NULL after an error where there are none. */
const char *scan_word(Scan *s, const char *more);
bool scan_is_quoted(Scan *s);
/* What sb_quote wrote; *n (where not NULL) is its length, for it may hold NULs. NULL after an error. */
const char *scan_quoted(Scan *s, size_t *n);
bool scan_int(Scan *s, int64_t *x);
bool scan_small(Scan *s, int *x); /* 0 .. INT_MAX */
/* Decimal, hexadecimal, inf, -inf, nan. */
bool scan_float(Scan *s, double *x);
/* A number; *is_float where it is written as a floating one. */
bool scan_number(Scan *s, int64_t *i, double *f, bool *is_float);

#endif
