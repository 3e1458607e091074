/* SPDX-License-Identifier: Apache-2.0 */
/* Region memory in chunks that double up to a limit. */
#include "support/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CHUNK = 1 << 14, LARGEST_CHUNK = 1 << 22 };

typedef struct Chunk Chunk;
struct Chunk {
    Chunk *next;
    size_t used, size;
    max_align_t data[];
};

struct Arena {
    Chunk *chunks; /* the newest first; objects larger than a chunk get one of their own, behind it */
    size_t next_size;
};

static _Noreturn void out_of_memory(void) {
    fputs("mlcc: error: out of memory\n", stderr);
    exit(1);
}

Arena *arena_new(void) {
    Arena *a = calloc(1, sizeof *a);
    if (!a)
        out_of_memory();
    a->next_size = FIRST_CHUNK;
    return a;
}

void arena_free(Arena *a) {
    if (!a)
        return;
    for (Chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(a);
}

static Chunk *new_chunk(size_t size) {
    if (size > PTRDIFF_MAX - sizeof(Chunk))
        out_of_memory();
    Chunk *c = calloc(1, sizeof(Chunk) + size);
    if (!c)
        out_of_memory();
    c->size = size;
    return c;
}

void *arena_alloc(Arena *a, size_t size) {
    const size_t align = _Alignof(max_align_t);
    if (size > PTRDIFF_MAX - align)
        out_of_memory();
    size = (size + align - 1) / align * align;
    Chunk *c = a->chunks;
    if (!c || c->size - c->used < size) {
        if (size > a->next_size / 4 && c) {
            Chunk *own = new_chunk(size);
            own->used = size;
            own->next = c->next;
            c->next = own;
            return own->data;
        }
        c = new_chunk(size > a->next_size ? size : a->next_size);
        c->next = a->chunks;
        a->chunks = c;
        if (a->next_size < LARGEST_CHUNK)
            a->next_size *= 2;
    }
    void *p = (char *)c->data + c->used;
    c->used += size;
    return p;
}

void *arena_array(Arena *a, size_t count, size_t size) {
    if (size && count > SIZE_MAX / size)
        out_of_memory();
    return arena_alloc(a, count * size);
}

void *arena_dup(Arena *a, const void *data, size_t size) {
    void *p = arena_alloc(a, size);
    if (size)
        memcpy(p, data, size);
    return p;
}

char *arena_strdup(Arena *a, const char *s) { return arena_dup(a, s, strlen(s) + 1); }

char *arena_strndup(Arena *a, const char *s, size_t n) {
    char *p = arena_alloc(a, n + 1);
    if (n)
        memcpy(p, s, n);
    return p;
}

char *arena_vprintf(Arena *a, const char *format, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0)
        return arena_strdup(a, "");
    char *p = arena_alloc(a, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, format, ap);
    return p;
}

char *arena_printf(Arena *a, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *p = arena_vprintf(a, format, ap);
    va_end(ap);
    return p;
}

void *arena_grow(Arena *a, void *data, int len, int *cap, size_t size) {
    int larger = *cap ? *cap * 2 : 4;
    if (*cap > INT32_MAX / 2)
        out_of_memory();
    void *p = arena_array(a, (size_t)larger, size);
    if (len)
        memcpy(p, data, (size_t)len * size);
    *cap = larger;
    return p;
}
