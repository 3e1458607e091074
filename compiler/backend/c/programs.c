/* SPDX-License-Identifier: Apache-2.0 */
/* The programs around a model: --main and --main=embedded. Their texts are runtime/main.c and runtime/embedded.c. */
#include <string.h>

#include "backend/c/words.h"
#include "backend/interface.h"
#include "support/embed.h"

/* A file of runtime/ without its licence line: what is generated is the user's. */
static void print_runtime(FILE *f, const char *name) {
    const char *const *line = embedded_find(name)->line;
    if (strstr(*line, "SPDX-License-Identifier"))
        line++;
    for (; *line; line++)
        fputs(*line, f);
}

void emit_main(const KModule *m, const EmitOptions *o, FILE *f) {
    (void)m;
    fputs("#if !defined(_POSIX_C_SOURCE)\n#define _POSIX_C_SOURCE 200112L /* clock_gettime */\n#endif\n", f);
    fprintf(f, "#include \"%s\"\n\n#define MODEL %s_model\n", o->header_name, o->prefix);
    if (o->weights == WEIGHTS_BIN)
        fprintf(f, "#define MODEL_WEIGHTS \"%s\"\n", o->weights_name);
    if (o->threads > 1)
        fputs("#define MODEL_THREADS 1\n#include \"" THREADS_NAME ".h\"\n", f);
    fputc('\n', f);
    print_runtime(f, "runtime/main.c");
}

void emit_threads(FILE *c, FILE *h) {
    print_runtime(c, "runtime/" THREADS_NAME ".c");
    print_runtime(h, "runtime/" THREADS_NAME ".h");
}

/* --- test vectors --- */

/* After a constant's name. It may be too large for where others go: it lies with the weights. */
static void print_section(FILE *f, Arena *a, const EmitOptions *o, const char *name) {
    const char *section = interface_section(a, o, name);
    if (section)
        fprintf(f, "\n#if defined(__GNUC__)\n    __attribute__((section(\"%s\")))\n#endif\n   ", section);
}

static void print_data(FILE *f, Arena *a, const EmitOptions *o, const char *name, const KBuffer *b, const void *data) {
    fprintf(f, "static const union {\n    uint64_t word[%lld];\n    %s element[%lld];\n} %s", (long long)words_count(kbuffer_bytes(b)),
            dtype_c(b->dtype), (long long)(b->count ? b->count : 1), name);
    print_section(f, a, o, name);
    fputs(" = {{\n", f);
    Words w = words_begin(f);
    words_put(&w, data, (size_t)kbuffer_bytes(b));
    words_end(&w);
    fputs("}};\n\n", f);
}

static void print_sets(FILE *f, Arena *a, const KModule *m, const EmitOptions *o, KBufferKind kind, int n, const TestVector *sets) {
    const char *what = kind == KBUF_INPUT ? "input" : "output";
    char *table = arena_printf(a, "static const void *const test_%s[SETS][%d] = {\n", what, interface_count(m, kind) + 1);
    for (int k = 0; k < n; k++) {
        const void *const *data = kind == KBUF_INPUT ? sets[k].input : sets[k].output;
        table = arena_printf(a, "%s    {", table);
        for (int i = 0, at = 0; i < m->buffers.len; i++) {
            const KBuffer *b = m->buffers.data[i];
            if (b->kind != kind)
                continue;
            const char *name = arena_printf(a, "%s_%d_%d", what, k, at);
            print_data(f, a, o, name, b, data[at++]);
            table = arena_printf(a, "%s&%s, ", table, name);
        }
        table = arena_printf(a, "%sNULL},\n", table);
    }
    fprintf(f, "%s};\n\n", table);
}

static void print_results(FILE *f, const KModule *m) {
    int n = 0;
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind == KBUF_OUTPUT)
            fprintf(f, "static %s result_%d[%lld];\n", dtype_c(b->dtype), n++, (long long)(b->count ? b->count : 1));
    }
    fputs("static void *const result[] = {", f);
    for (int i = 0; i < n; i++)
        fprintf(f, "result_%d, ", i);
    fputs("NULL};\n", f);
}

static void print_weights(FILE *f, Arena *a, const KModule *m, const EmitOptions *o) {
    fprintf(f, "static const union {\n    uint64_t word[%lld];\n    unsigned char byte[%lld];\n} weights\n"
               "#if defined(__GNUC__)\n    __attribute__((aligned(64)))\n#endif\n   ",
            (long long)words_count(interface_weights_size(m)), (long long)interface_weights_size(m) + 1);
    print_section(f, a, o, "weights");
    fputs(" = {{\n", f);
    Words w = words_begin(f);
    interface_weights_bytes(m, words_put, &w);
    words_end(&w);
    fputs("}};\n\n", f);
}

void emit_embedded_main(const KModule *m, const EmitOptions *o, int n, const TestVector *sets, double rtol,
                        double atol, FILE *f) {
    Arena *a = arena_new();
    const char *upper = interface_upper(a, o->prefix);
    bool weights = o->weights == WEIGHTS_BIN && interface_weights_size(m);
    fprintf(f, "#include \"%s\"\n\n#define MODEL %s_model\n", o->header_name, o->prefix);
    fprintf(f, "#define SETS %d\n#define RTOL %.17g\n#define ATOL %.17g\n#define TEST_WEIGHTS %s\n#define ARENA %s\n\n", n, rtol, atol,
            weights ? "&weights" : "NULL", o->static_arena ? "NULL" : "arena");
    if (weights)
        print_weights(f, a, m, o);
    print_sets(f, a, m, o, KBUF_INPUT, n, sets);
    print_sets(f, a, m, o, KBUF_OUTPUT, n, sets);
    print_results(f, m);
    if (!o->static_arena)
        fprintf(f, "static unsigned char arena[%s_ARENA_SIZE + 1]\n#if defined(__GNUC__)\n    __attribute__((aligned(%s_ARENA_ALIGN)))\n"
                   "#endif\n    ;\n", upper, upper);
    fputc('\n', f);
    print_runtime(f, "runtime/embedded.c");
    arena_free(a);
}
