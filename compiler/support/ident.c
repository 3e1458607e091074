/* SPDX-License-Identifier: Apache-2.0 */
/* C identifiers. */
#include "support/ident.h"

#include <ctype.h>
#include <string.h>

enum { LONGEST = 60 };

/* Words that a parameter or macro of generated code must not be called. */
static const char *const reserved[] = {
    "alignas",  "alignof",   "and",       "arena",    "asm",       "auto",     "bool",          "break",
    "case",     "catch",     "char",      "class",    "compl",     "const",    "constexpr",     "continue",
    "decltype", "default",   "delete",    "do",       "double",    "else",     "enum",          "explicit",
    "export",   "extern",    "false",     "float",    "for",       "friend",   "goto",          "if",
    "inline",   "int",       "linux",     "long",     "main",      "memory",   "mutable",       "namespace",
    "new",      "noexcept",  "not",       "nullptr",  "operator",  "or",       "parallel_for",  "pool",
    "private",  "protected", "public",    "weight_bytes",
    "register", "restrict",  "return",    "short",    "signed",    "sizeof",   "static",        "struct",
    "switch",   "template",  "this",      "throw",    "true",      "try",      "typedef",       "typeid",
    "typename", "union",     "unix",      "unsigned", "using",     "virtual",  "void",          "volatile",
    "weights",  "while",     "xor",       "i386",     "signbit",   "static_assert", "thread_local", "typeof",
};

static int is_reserved(const char *s) {
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (!strcmp(s, reserved[i]))
            return 1;
    return 0;
}

const char *ident_unique(Arena *a, StrMap *taken, const char *name) {
    char text[LONGEST + 2];
    int n = 0;
    for (const char *p = name; *p && n < LONGEST; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < 128 && isalnum(c))
            text[n++] = (char)c;
        else if (n && text[n - 1] != '_')
            text[n++] = '_';
    }
    while (n && text[n - 1] == '_')
        n--;
    text[n] = '\0';
    const char *base = !n ? "value" : isdigit((unsigned char)*text) ? arena_printf(a, "v%s", text) : text;
    const char *id = is_reserved(base) ? arena_printf(a, "%s_1", base) : arena_strdup(a, base);
    base = arena_strdup(a, base);
    if (strmap_get(taken, id)) { /* how far the numbers are taken is remembered under a key that is no identifier */
        const char *key = arena_printf(a, "%s#", base);
        int *last = strmap_get(taken, key);
        if (!last) {
            last = ARENA_NEW(a, int);
            *last = 1;
            strmap_put(a, taken, key, last);
        }
        do
            id = arena_printf(a, "%s_%d", base, ++*last);
        while (strmap_get(taken, id));
    }
    strmap_put(a, taken, id, taken);
    return id;
}
