/* SPDX-License-Identifier: Apache-2.0 */
/* The generated interface: names, prototype, header, weights file. */
#include "backend/interface.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "backend/c/print.h"
#include "support/embed.h"
#include "support/ints.h"

enum { WEIGHTS_ALIGN = 64 };

const char *interface_upper(Arena *a, const char *prefix) {
    char *s = arena_strdup(a, prefix);
    for (char *p = s; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    return s;
}

static const char *shape_text(Arena *a, const KBuffer *b) {
    const char *s = "";
    for (int i = 0; i < b->rank; i++)
        s = arena_printf(a, "%s%s%lld", s, i ? "*" : "", (long long)b->dim[i]);
    return b->count && b->rank ? s : "1";
}

const char *interface_prototype(Arena *a, const KModule *m, const EmitOptions *o) {
    char *s = arena_printf(a, "int %s_run(", o->prefix);
    const char *comma = "";
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind != KBUF_INPUT && b->kind != KBUF_OUTPUT)
            continue;
        s = arena_printf(a, "%s%s%s%s %s[%s]", s, comma, b->kind == KBUF_INPUT ? "const " : "", dtype_c(b->dtype), b->name,
                         shape_text(a, b));
        comma = ", ";
    }
    if (o->weights == WEIGHTS_BIN) {
        s = arena_printf(a, "%s%sconst void *weights", s, comma);
        comma = ", ";
    }
    if (!o->static_arena) {
        s = arena_printf(a, "%s%svoid *arena", s, comma);
        comma = ", ";
    }
    if (o->threads > 1)
        return arena_printf(a, "%s%smlcc_parallel_for *parallel_for, void *pool)", s, comma);
    return arena_printf(a, "%s%s)", s, *comma ? "" : "void");
}

/* --- weights --- */

const char *interface_section(Arena *a, const EmitOptions *o, const char *name) {
    const char *section = o->weights_section, *star = section ? strchr(section, '*') : NULL;
    return star ? arena_printf(a, "%.*s%s%s", (int)(star - section), section, name, star + 1) : section;
}

typedef struct Reader {
    const KData *data;
    size_t size; /* of an element */
    void (*put)(void *to, const void *data, size_t n);
    void *to;
    int64_t width; /* of the panel that is being read */
} Reader;

static void read_axis(const Reader *r, int axis, const char *p) {
    const KData *d = r->data;
    if (axis == d->rank) {
        r->put(r->to, p, r->size);
        return;
    }
    bool cut = d->panel && axis == d->panel_axis;
    int64_t n = cut ? r->width : d->dim[axis];
    if (axis == d->rank - 1 && d->stride[axis] == 1) {
        r->put(r->to, p, (size_t)n * r->size);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        read_axis(r, axis + 1, p + (size_t)(i * d->stride[axis]) * r->size);
}

void interface_const_bytes(const KBuffer *b, void (*put)(void *to, const void *data, size_t n), void *to) {
    const KData *d = &b->data;
    Reader r = {d, (size_t)dtype_size(b->dtype), put, to, 0};
    if (!b->count)
        return;
    if (!d->panel) {
        read_axis(&r, 0, d->bytes);
        return;
    }
    for (int64_t first = 0; first < d->dim[d->panel_axis]; first += d->panel) {
        int64_t left = d->dim[d->panel_axis] - first;
        r.width = left < d->panel ? left : d->panel;
        read_axis(&r, 0, (const char *)d->bytes + (size_t)(first * d->stride[d->panel_axis]) * r.size);
    }
}

static int64_t padded_size(const KBuffer *b) { return round_up(kbuffer_bytes(b), WEIGHTS_ALIGN); }

int64_t interface_weights_offset(const KModule *m, const KBuffer *wanted) {
    int64_t at = 0;
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b == wanted)
            break;
        if (b->kind == KBUF_CONST)
            at += padded_size(b);
    }
    return at;
}

int64_t interface_weights_size(const KModule *m) { return interface_weights_offset(m, NULL); }

void interface_weights_bytes(const KModule *m, void (*put)(void *to, const void *data, size_t n), void *to) {
    static const char zeros[WEIGHTS_ALIGN];
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind != KBUF_CONST)
            continue;
        interface_const_bytes(b, put, to);
        put(to, zeros, (size_t)(padded_size(b) - kbuffer_bytes(b)));
    }
}

int interface_count(const KModule *m, KBufferKind kind) {
    int n = 0;
    for (int i = 0; i < m->buffers.len; i++)
        n += m->buffers.data[i]->kind == kind;
    return n;
}

static void write_file(void *to, const void *data, size_t n) { fwrite(data, 1, n, to); }

void emit_weights(const KModule *m, FILE *f) {
    interface_weights_bytes(m, write_file, f);
}

/* --- header --- */

static void print_interface_comment(FILE *f, Arena *a, const KModule *m) {
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind != KBUF_INPUT && b->kind != KBUF_OUTPUT)
            continue;
        StrBuf name = {0};
        c_print_comment_text(&name, b->onnx_name);
        const char *shape = "";
        for (int k = 0; k < b->rank; k++)
            shape = arena_printf(a, "%s%s%lld", shape, k ? "," : "", (long long)b->dim[k]);
        fprintf(f, " *   %s  %s: \"%s\", %s[%s]\n", b->kind == KBUF_INPUT ? "in " : "out", b->name, sb_text(&name),
                dtype_name(b->dtype), shape);
        sb_free(&name);
    }
}

static void print_notes(FILE *f, const EmitOptions *o) {
    for (int i = 0; i < o->n_notes; i++) {
        StrBuf text = {0};
        c_print_comment_text(&text, o->note[i]);
        fprintf(f, "%s%s", i ? "\n * " : "\n/* Approximate: ", sb_text(&text));
        sb_free(&text);
    }
    if (o->n_notes)
        fputs(" */\n", f);
}

void emit_header(const KModule *m, const EmitOptions *o, FILE *h) {
    Arena *a = arena_new();
    const char *upper = interface_upper(a, o->prefix);
    char *descriptor = embedded_text(embedded_find("runtime/descriptor.h"));
    StrBuf name = {0};
    c_print_comment_text(&name, m->model_name);
    fprintf(h, "/* %s, compiled by %s %s */\n", *sb_text(&name) ? sb_text(&name) : "A model", o->generator, o->options);
    fprintf(h, "#ifndef %s_MLCC_H\n#define %s_MLCC_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n", upper, upper);
    fprintf(h, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    if (o->static_arena)
        fprintf(h, "/* Bytes of scratch memory inside the code. */\n");
    else
        fprintf(h, "/* Bytes of scratch memory that the caller provides, and their alignment. */\n");
    fprintf(h, "#define %s_ARENA_SIZE %lld\n#define %s_ARENA_ALIGN %d\n", upper, (long long)m->arena_size, upper, m->arena_align);
    if (o->weights == WEIGHTS_BIN)
        fprintf(h, "/* Bytes of %s, to be passed as weights, aligned to 64. */\n#define %s_WEIGHTS_SIZE %lld\n", o->weights_name, upper,
                (long long)interface_weights_size(m));
    bool threads = o->threads > 1;
    if (threads)
        fprintf(h, "\n%s", descriptor);
    print_notes(h, o);
    fprintf(h, "\n/* Runs the model and returns 0. Row-major tensors:\n");
    print_interface_comment(h, a, m);
    if (threads)
        fprintf(h, " * parallel_for gets work in %d parts; NULL: the calling thread does all. The results are the same.\n", o->threads);
    fprintf(h, " * Writes nothing but the outputs%s. */\n%s;\n\n",
            o->static_arena ? " and its own arena: one call at a time" : " and the arena",
            interface_prototype(a, m, o));
    fprintf(h, "%s%sextern const struct mlcc_model %s_model;\n\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n", threads ? "" : descriptor,
            threads ? "" : "\n", o->prefix);
    sb_free(&name);
    free(descriptor);
    arena_free(a);
}
