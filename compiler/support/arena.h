/* SPDX-License-Identifier: Apache-2.0 */
/* Region memory: everything that one compilation allocates is freed at once. */
#ifndef MLCC_SUPPORT_ARENA_H
#define MLCC_SUPPORT_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct Arena Arena;

Arena *arena_new(void);
void arena_free(Arena *a);

/* Zeroed memory, aligned for any object. Never returns NULL: running out of memory ends the program with a
 * diagnostic and exit status 1. */
void *arena_alloc(Arena *a, size_t size);
/* Zeroed memory for count objects of the given size; a product that overflows counts as out of memory. */
void *arena_array(Arena *a, size_t count, size_t size);
void *arena_dup(Arena *a, const void *data, size_t size);
char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *a, const char *format, va_list ap) __attribute__((format(printf, 2, 0)));

#define ARENA_NEW(a, T) ((T *)arena_alloc(a, sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_array(a, (size_t)(n), sizeof(T)))

/* A growable array in an arena: VEC(T) declares one, zero-initialised is empty. VEC_PUSH evaluates v once. */
#define VEC(T)                                                                                                    \
    struct {                                                                                                      \
        T *data;                                                                                                  \
        int len, cap;                                                                                             \
    }
#define VEC_PUSH(a, v, item)                                                                                      \
    do {                                                                                                          \
        if ((v)->len == (v)->cap)                                                                                 \
            (v)->data = arena_grow(a, (v)->data, (v)->len, &(v)->cap, sizeof *(v)->data);                         \
        (v)->data[(v)->len++] = (item);                                                                           \
    } while (0)
void *arena_grow(Arena *a, void *data, int len, int *cap, size_t size);

#endif
