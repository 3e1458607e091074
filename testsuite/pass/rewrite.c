/* SPDX-License-Identifier: Apache-2.0 */
/* Runs passes on graphs and transformations on kernels, as text.
 *
 *     rewrite FILE...              checks every case of the files
 *     rewrite --update FILE        prints the file with what came out in place of what is expected
 *
 * A file holds cases, each of three parts:
 *
 *     == passes that run, in order ==      or, on a module of kernels, transformations
 *     # what the case shows
 *     graph "before" { … }
 *     -- after --
 *     graph "before" { … }
 *
 * A transformation is "split i 4": its name, the loop by the name of its variable (the first of that name in the text),
 * and a number. Transformations that do not apply print "no: …" before the kernel, which must be unchanged then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"
#include "kernel/rewrite.h"
#include "kernel/schedule.h"
#include "passes/passes.h"
#include "support/file.h"

static const Target target = {
    .name = "test", .pointer_bits = 64, .vector_bits = 128, .vector_registers = 16, .fma = true, .float32 = true,
};

static void run_layout(Graph *g) { pass_layout(g, &target); }

/* Storage that knows of no other order than row-major. */
static void run_rows(Graph *g) { pass_layout(g, NULL); }

static bool run_weights(Graph *g) { return pass_weights(g, NULL); }

static void run_attention(Graph *g) { pass_attention(g, &target, 1); }

static void run_attention3(Graph *g) { pass_attention(g, &target, 3); }

static void run_signs(Graph *g) { pass_signs(g, &(Target){.name = "test", .dot = DOT_U8S8}); }

static void run_means(Graph *g) {
    Target cached = target;
    cached.l1 = 32 << 10;
    pass_means(g, &cached);
}

static void run_prune(Graph *g) { pass_prune(g, NULL); }

static void run_words(Graph *g) {
    Target dots = target;
    dots.dot = DOT_U8S8;
    pass_words(g, &dots);
}

static void run_weight_words(Graph *g) {
    Target wide = target;
    wide.vector_bits = 512;
    pass_weight_words(g, &wide);
}

static void run_fixed_weights(Graph *g) {
    Target dots = target;
    dots.dot = DOT_U8S8;
    g->fast = true;
    pass_fixed_weights(g, &dots);
}

static void run_weight_zeros(Graph *g) {
    Target dots = target;
    dots.dot = DOT_U8S8;
    pass_weight_zeros(g, &dots);
}

static void run_window_rows(Graph *g) {
    Target dots = target;
    dots.dot = DOT_U8S8;
    pass_window_rows(g, &dots);
}

static const struct {
    const char *name;
    void (*run)(Graph *g);
    bool (*can_fail)(Graph *g);
} passes[] = {
    {"infer", NULL, pass_infer},       {"fold", NULL, pass_fold},   {"canonicalize", pass_canonicalize, NULL},
    {"cse", pass_cse, NULL},           {"dead", pass_dead, NULL},   {"fuse_conv", pass_fuse_conv, NULL},
    {"attention", run_attention, NULL}, {"attention3", run_attention3, NULL},
    {"group", pass_group, NULL},       {"layout", run_layout, NULL}, {"rows", run_rows, NULL},
    {"sink", pass_sink, NULL},         {"qdq", pass_qdq, NULL},     {"prune", run_prune, NULL},
    {"weights", NULL, run_weights},   {"raise", pass_raise, NULL},       {"words", run_words, NULL},
    {"storage", pass_storage, NULL},   {"plan", pass_plan, NULL},
    {"swish", pass_swish, NULL},       {"gelu", pass_gelu, NULL},     {"means", run_means, NULL},  {"signs", run_signs, NULL},
    {"weight_zeros", run_weight_zeros, NULL},
    {"window_rows", run_window_rows, NULL}, {"weight_words", run_weight_words, NULL},
    {"fixed_weights", run_fixed_weights, NULL},
};

static bool run_pass(Graph *g, const char *name, StrBuf *out) {
    for (size_t i = 0; i < sizeof passes / sizeof *passes; i++) {
        if (strcmp(passes[i].name, name) != 0)
            continue;
        if (passes[i].can_fail && !passes[i].can_fail(g)) {
            sb_printf(out, "failed: %s\n", name);
            return false;
        }
        if (passes[i].run)
            passes[i].run(g);
        const char *broken = graph_verify(g, true);
        if (broken)
            sb_printf(out, "broken after %s: %s\n", name, broken);
        return !broken;
    }
    sb_printf(out, "no such pass: %s\n", name);
    return false;
}

static void run_passes(Arena *a, char *names, const char *text, StrBuf *out) {
    Diag diag = {.stream = stderr, .quiet = true};
    Graph *g = graph_parse(a, &diag, text);
    if (!g) {
        sb_puts(out, "does not parse\n");
        return;
    }
    for (char *name = strtok(names, " "); name; name = strtok(NULL, " "))
        if (!run_pass(g, name, out))
            return;
    graph_print(out, g);
}

/* --- kernels --- */

static KInstr *loop_named(KBlock *b, const char *name) {
    for (KInstr *i = b->first; i; i = i->next) {
        if (i->op == KOP_FOR && kb_iv(i)->name && !strcmp(kb_iv(i)->name, name))
            return i;
        for (int k = 0; k < 2; k++) {
            KInstr *inner = i->block[k] ? loop_named(i->block[k], name) : NULL;
            if (inner)
                return inner;
        }
    }
    return NULL;
}

static bool transform(KKernel *k, const char *what, KInstr *loop, int64_t n) {
    KInstr *a, *b, *c;
    if (!strcmp(what, "split"))
        return schedule_split(k, loop, n, &a, &b, &c);
    if (!strcmp(what, "interchange"))
        return schedule_interchange(k, loop, &a);
    if (!strcmp(what, "collapse"))
        return schedule_collapse(k, loop, &a);
    if (!strcmp(what, "cut"))
        return schedule_cut(k, loop, n, &a);
    if (!strcmp(what, "unroll"))
        return schedule_unroll(k, loop);
    if (!strcmp(what, "jam"))
        return schedule_jam(k, loop);
    if (!strcmp(what, "vectorize"))
        return schedule_vectorize(k, loop);
    return !strcmp(what, "reduce") && schedule_vectorize_reduction(k, loop, (int)n, 1, &a);
}

static void run_transformations(Arena *a, char *steps, const char *text, StrBuf *out) {
    const char *error = NULL;
    KModule *m = kernel_module_parse(a, text, &error);
    if (!m) {
        sb_printf(out, "does not parse: %s\n", error);
        return;
    }
    KKernel *k = m->kernels.data[0];
    for (char *step = strtok(steps, ";"); step; step = strtok(NULL, ";")) {
        char what[32] = "", name[32] = "";
        long long n = 0;
        sscanf(step, "%31s %31s %lld", what, name, &n);
        KInstr *loop = loop_named(k->body, name);
        if (!strcmp(what, "simplify"))
            kernel_simplify(k);
        else if (!strcmp(what, "schedule"))
            schedule_kernel(k, &target);
        else if (!strcmp(what, "parts"))
            sb_printf(out, schedule_parts(k, atoi(name)) ? "" : "no: parts\n");
        else if (!strcmp(what, "words"))
            schedule_module_words(m);
        else if (!strcmp(what, "saturate"))
            schedule_module_saturate(m, &(Target){.name = "test", .vector_bits = 128, .saturates = true});
        else if (!strcmp(what, "steps"))
            schedule_module_steps(m);
        else if (!strcmp(what, "pairs"))
            schedule_module_pairs(m, &(Target){.dot = DOT_PAIRS});
        else if (!loop || !transform(k, what, loop, n))
            sb_printf(out, "no: %s %s\n", what, name);
        const char *broken = kernel_verify(k);
        if (broken)
            sb_printf(out, "broken after %s: %s\n", what, broken);
    }
    kernel_print(out, k);
}

/* --- files of cases --- */

typedef struct Case {
    char *title, *before, *after; /* each without the lines that mark it */
    const char *note;             /* lines that start with # */
    int line;
} Case;

/* Takes the text up to the next marker at the start of a line, or the end. */
static char *part(Arena *a, const char **p, const char *marker) {
    const char *start = *p;
    while (**p && strncmp(*p, marker, strlen(marker)) != 0) {
        const char *end = strchr(*p, '\n');
        *p = end ? end + 1 : *p + strlen(*p);
    }
    return arena_strndup(a, start, (size_t)(*p - start));
}

static bool next_case(Arena *a, const char *text, const char **p, Case *c) {
    part(a, p, "== ");
    if (!**p)
        return false;
    c->line = 1;
    for (const char *q = text; q < *p; q++)
        c->line += *q == '\n';
    *p += 3;
    size_t n = strcspn(*p, "=\n");
    c->title = arena_strndup(a, *p, n);
    *p += strcspn(*p, "\n");
    *p += **p == '\n';
    const char *note = *p;
    while (**p == '#') {
        *p += strcspn(*p, "\n");
        *p += **p == '\n';
    }
    c->note = arena_strndup(a, note, (size_t)(*p - note));
    c->before = part(a, p, "-- ");
    *p += strcspn(*p, "\n");
    *p += **p == '\n';
    c->after = part(a, p, "== ");
    while (*c->after && c->after[strlen(c->after) - 1] == '\n')
        c->after[strlen(c->after) - 1] = '\0';
    return true;
}

static void run_case(Arena *a, const Case *c, StrBuf *out) {
    char *title = arena_strdup(a, c->title);
    if (strncmp(c->before, "module", 6))
        run_passes(a, title, c->before, out);
    else
        run_transformations(a, title, c->before, out);
}

static int passed, failed;

static void check_case(const char *file, const Case *c, const StrBuf *out) {
    size_t n = strlen(c->after);
    const char *got = sb_text(out);
    if (!strncmp(got, c->after, n) && !strcmp(got + n, "\n")) {
        passed++;
        return;
    }
    failed++;
    printf("FAIL %s:%d: %.*s\n--- expected\n%s\n--- got\n%s", file, c->line, (int)strcspn(c->note, "\n"), c->note, c->after, got);
}

static void update_case(const Case *c, const StrBuf *out) {
    printf("== %s==\n%s%s-- after --\n%s\n", c->title, c->note, c->before, sb_text(out));
}

static void run_file(const char *file, bool update) {
    Arena *a = arena_new();
    Diag diag = {.stream = stderr, .file = file, .quiet = true};
    FileMap f;
    if (!file_map(&diag, file, &f)) {
        failed++;
    } else {
        const char *text = arena_strndup(a, (const char *)f.data, f.size), *p = text;
        Case c;
        for (bool first = true; next_case(a, text, &p, &c); first = false) {
            StrBuf out = {0};
            if (first && update)
                printf("%.*s", (int)(strstr(text, "== ") - text), text);
            run_case(a, &c, &out);
            if (update)
                update_case(&c, &out);
            else
                check_case(file, &c, &out);
            sb_free(&out);
        }
        file_unmap(&f);
    }
    arena_free(a);
}

int main(int argc, char **argv) {
    bool update = argc > 1 && !strcmp(argv[1], "--update");
    for (int i = 1 + update; i < argc; i++)
        run_file(argv[i], update);
    if (update)
        return 0;
    printf("pass: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
