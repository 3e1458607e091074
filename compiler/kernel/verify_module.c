/* SPDX-License-Identifier: Apache-2.0 */
/* The invariants of a module: buffers, names, and the calls of kernels on buffers. */
#include <stdarg.h>
#include <string.h>

#include "kernel/kernel.h"
#include "support/strmap.h"

static const char *problem(const KModule *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const char *problem(const KModule *m, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    const char *text = arena_vprintf(m->arena, format, ap);
    va_end(ap);
    return text;
}

static bool is_identifier(const char *s) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    return s && *s && strspn(s, letters) == strlen(s) && (*s < '0' || *s > '9');
}

static const char *check_const_data(const KModule *m, const KBuffer *b) {
    int64_t n = 1;
    for (int d = 0; d < b->data.rank; d++)
        if (b->data.dim[d] < 0 || __builtin_mul_overflow(n, b->data.dim[d], &n))
            return problem(m, "buffer %d: its data's shape is not sound", b->index);
    if (n != b->count)
        return problem(m, "buffer %d: data of %lld elements for %lld", b->index, (long long)n, (long long)b->count);
    if (n && !b->data.bytes)
        return problem(m, "buffer %d: a constant without data", b->index);
    return NULL;
}

static const char *check_buffer(const KModule *m, int i) {
    const KBuffer *b = m->buffers.data[i];
    int64_t bytes, end;
    if (b->index != i || (int)b->kind < 0 || b->kind > KBUF_ARENA || b->count < 0 || dtype_size(b->dtype) < 1 ||
        __builtin_mul_overflow(b->count, (int64_t)dtype_size(b->dtype), &bytes))
        return problem(m, "buffer %d is not sound", i);
    if (i && b->kind <= KBUF_OUTPUT && m->buffers.data[i - 1]->kind > b->kind)
        return problem(m, "buffer %d: inputs come first, then outputs, then the rest", i);
    if (b->kind <= KBUF_OUTPUT && !is_identifier(b->name))
        return problem(m, "buffer %d: an input or output without a name", i);
    if (b->kind == KBUF_CONST)
        return check_const_data(m, b);
    if (b->kind == KBUF_ARENA && (b->arena_offset < 0 || b->arena_offset % dtype_size(b->dtype) ||
                                  __builtin_add_overflow(b->arena_offset, bytes, &end) || end > m->arena_size))
        return problem(m, "buffer %d: %lld bytes at %lld of an arena of %lld", i, (long long)bytes,
                       (long long)b->arena_offset, (long long)m->arena_size);
    return NULL;
}

/* Bytes that an argument may reach, from the start of its arena, or from its own buffer's start. */
static void reach(const KParam *p, const KArg *a, int64_t *lo, int64_t *hi) {
    int size = dtype_size(p->dtype);
    *lo = (a->buffer->kind == KBUF_ARENA ? a->buffer->arena_offset : 0) + a->offset * size;
    *hi = *lo + p->count * size;
}

static bool overlap(const KParam *p, const KArg *x, const KParam *q, const KArg *y) {
    bool arena = x->buffer->kind == KBUF_ARENA && y->buffer->kind == KBUF_ARENA;
    if (x->buffer != y->buffer && !arena)
        return false;
    int64_t l0, h0, l1, h1;
    reach(p, x, &l0, &h0);
    reach(q, y, &l1, &h1);
    return l0 < h1 && l1 < h0;
}

static const char *check_argument(const KModule *m, const KCall *c, int i) {
    const KParam *p = c->kernel->params.data[i];
    const KArg *a = &c->arg[i];
    const KBuffer *b = a->buffer;
    if (!b || b->index < 0 || b->index >= m->buffers.len || m->buffers.data[b->index] != b)
        return problem(m, "call of %s: %s gets no buffer of the module", c->kernel->name, p->name);
    if (b->dtype != p->dtype)
        return problem(m, "call of %s: %s gets a buffer of %s", c->kernel->name, p->name, dtype_name(b->dtype));
    if (a->offset < 0 || a->offset > b->count || p->count > b->count - a->offset)
        return problem(m, "call of %s: %s needs %lld elements from %lld, buffer %d has %lld", c->kernel->name, p->name,
                       (long long)p->count, (long long)a->offset, b->index, (long long)b->count);
    if (p->written && (b->kind == KBUF_INPUT || b->kind == KBUF_CONST))
        return problem(m, "call of %s: %s is written, buffer %d is not to be", c->kernel->name, p->name, b->index);
    int64_t lo, hi;
    reach(p, a, &lo, &hi);
    if (lo % p->align || ((b->kind == KBUF_ARENA || b->kind == KBUF_CONST) && p->align > m->arena_align) ||
        (b->kind <= KBUF_OUTPUT && p->align > dtype_size(b->dtype)))
        return problem(m, "call of %s: %s is not aligned to %d bytes", c->kernel->name, p->name, p->align);
    for (int j = 0; j < i; j++) {
        const KParam *q = c->kernel->params.data[j];
        if ((p->written || q->written) && (p->noalias || q->noalias) && overlap(p, a, q, &c->arg[j]))
            return problem(m, "call of %s: %s and %s overlap", c->kernel->name, q->name, p->name);
    }
    return NULL;
}

static const char *check_call(const KModule *m, const KCall *c) {
    bool found = false;
    for (int i = 0; i < m->kernels.len && !found; i++)
        found = m->kernels.data[i] == c->kernel;
    if (!found)
        return problem(m, "a call of no kernel of the module");
    if (c->parts < 0 || c->parts == 1 || (c->parts && !c->kernel->body->nargs))
        return problem(m, "call of %s: %d parts", c->kernel->name, c->parts);
    const char *error = NULL;
    for (int i = 0; i < c->kernel->params.len && !error; i++)
        error = check_argument(m, c, i);
    return error;
}

static const char *check_names(const KModule *m) {
    StrMap taken = {0};
    for (int i = 0; i < m->kernels.len + m->funcs.len; i++) {
        bool kernel = i < m->kernels.len;
        const char *name = kernel ? m->kernels.data[i]->name : m->funcs.data[i - m->kernels.len]->name;
        if (!is_identifier(name))
            return problem(m, "\"%s\" is no identifier", name ? name : "");
        if (strmap_get(&taken, name))
            return problem(m, "two kernels or functions are called %s", name);
        strmap_put(m->arena, &taken, name, (void *)(uintptr_t)name);
    }
    return NULL;
}

const char *kernel_module_verify(const KModule *m) {
    const char *error = NULL;
    if (m->arena_size < 0 || m->arena_align < 1 || (m->arena_align & (m->arena_align - 1)))
        return problem(m, "an arena of %lld bytes aligned to %d", (long long)m->arena_size, m->arena_align);
    for (int i = 0; i < m->buffers.len && !error; i++)
        error = check_buffer(m, i);
    if (!error)
        error = check_names(m);
    for (int i = 0; i < m->funcs.len && !error; i++)
        error = kernel_verify(m->funcs.data[i]->body);
    for (int i = 0; i < m->kernels.len && !error; i++)
        error = kernel_verify(m->kernels.data[i]);
    for (int i = 0; i < m->calls.len && !error; i++)
        error = check_call(m, &m->calls.data[i]);
    return error;
}
