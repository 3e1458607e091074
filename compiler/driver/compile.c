/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc MODEL -o OUT. */
#include "driver/compile.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "driver/quantize_job.h"
#include "driver/target.h"
#include "driver/test_data.h"
#include "driver/version.h"
#include "support/file.h"

static const char *const forms[] = {".c", ".o", ".s", ".ll", NULL};
typedef enum Form { FORM_C, FORM_O, FORM_S, FORM_LL, FORM_NONE } Form;

static Form form_of(const char *path) {
    for (int i = 0; forms[i]; i++)
        if (file_has_suffix(path, forms[i]))
            return (Form)i;
    return FORM_NONE;
}

/* "dir/net.c" gives "dir/net". */
static char *stem_of(Arena *a, const char *path) {
    return arena_strndup(a, path, (size_t)(strrchr(path, '.') - path));
}

static bool is_identifier(const char *s) {
    if (!isalpha((unsigned char)*s) && *s != '_')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_')
            return false;
    return true;
}

static const char *prefix_from(Arena *a, const char *stem) {
    const char *base = file_name(stem);
    char *p = arena_printf(a, "%s%s", isdigit((unsigned char)*base) || !*base ? "model_" : "", base);
    for (char *c = p; *c; c++)
        if (!isalnum((unsigned char)*c) || (unsigned char)*c > 127)
            *c = '_';
    return p;
}

static const char *printable(Arena *a, const char *s) {
    char *p = arena_strdup(a, s);
    for (char *c = p; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '_';
    return p;
}

/* The options that change the code, for its first comment: the same on every machine. */
static const char *option_text(Arena *a, const Compilation *c, const Options *o) {
    static const char *const weights[] = {"", " --weights=incbin", " --weights=bin"};
    char *text = arena_printf(a, "--target %s%s%s", c->target->name, weights[o->weights],
                              o->static_arena ? " --static-arena" : "");
    if (o->fast_math)
        text = arena_printf(a, "%s --math=fast", text);
    if (o->requant != REQUANT_BY_TARGET)
        text = arena_printf(a, "%s --requant=%s", text, o->requant == REQUANT_FIXED ? "fixed" : "float");
    if (o->threads > 1)
        text = arena_printf(a, "%s --threads=%d", text, o->threads);
    if (o->tuning)
        text = arena_printf(a, "%s --tuning %s", text, printable(a, file_name(o->tuning)));
    if (o->half_weights)
        text = arena_printf(a, "%s --half-weights", text);
    if (o->quantize)
        text = arena_printf(a, "%s --quantize=%s", text, options_quantize_name(o));
    for (int i = 0; i < o->n_dims; i++)
        text = arena_printf(a, "%s --dim %s=%lld", text, o->dims[i].name, (long long)o->dims[i].size);
    return text;
}

/* What --math=fast made less exact, for the header. */
static const char *const *notes(Arena *a, const Graph *g) {
    const char **text = ARENA_ARRAY(a, const char *, g->approximations.len + 1);
    for (int i = 0; i < g->approximations.len; i++)
        text[i] = arena_printf(a, "%s: %s", g->approximations.data[i].node, g->approximations.data[i].text);
    return text;
}

static void make_name(FILE *f, const char *s) {
    for (; *s; s++) {
        if (*s == ' ' || *s == '#' || *s == '\\')
            fputc('\\', f);
        if (*s == '$')
            fputc('$', f);
        fputc(*s, f);
    }
}

static void also_make_name(FILE *f, const char *s) {
    fputs(" \\\n  ", f);
    make_name(f, s);
}

static bool write_depfile(Outputs *out, const Compilation *c, const Options *o, const char *model, const char *stem,
                          const char *output) {
    FILE *f = outputs_open(out, o->depfile_name ? o->depfile_name : arena_printf(c->arena, "%s.d", stem));
    if (!f)
        return false;
    make_name(f, o->depfile_target ? o->depfile_target : output);
    fputs(": ", f);
    make_name(f, model);
    const char *name = NULL;
    for (int i = 0; (name = frontend_file(c->model, i)); i++) {
        also_make_name(f, name);
    }
    if (target_is_file(o->target))
        also_make_name(f, o->target);
    if (o->tuning && strcmp(o->tuning, "none") != 0)
        also_make_name(f, o->tuning);
    if (o->quantize && o->calibrate)
        also_make_name(f, o->calibrate);
    if (o->quantize && o->data)
        also_make_name(f, o->data);
    fputc('\n', f);
    return true;
}

/* Beside the output, under their own names: programs of several models share them. */
static bool write_threads(Outputs *out, const Compilation *c, const char *stem) {
    const char *base = arena_printf(c->arena, "%.*s" THREADS_NAME, (int)(file_name(stem) - stem), stem);
    FILE *code = outputs_open(out, arena_printf(c->arena, "%s.c", base));
    FILE *header = code ? outputs_open(out, arena_printf(c->arena, "%s.h", base)) : NULL;
    if (!header)
        return false;
    emit_threads(code, header);
    return true;
}

static bool write_main(Outputs *out, const Compilation *c, const Options *o, const KModule *m, const EmitOptions *e,
                       const char *stem) {
    FILE *f = outputs_open(out, arena_printf(c->arena, "%s_main.c", stem));
    if (!f)
        return false;
    if (o->main == MAIN_HOST) {
        emit_main(m, e, f);
        return e->threads < 2 || write_threads(out, c, stem);
    }
    TestData data;
    if (!test_data_read(c->arena, c->diag, m, o->test_data, c->graph->approximations.len > 0, &data))
        return false;
    emit_embedded_main(m, e, data.n, data.vectors, data.rtol, data.atol, f);
    return true;
}

static bool write_code(Outputs *out, Compilation *c, const EmitOptions *e, Form form, const char *stem,
                       const char *output, const KModule **module) {
    FILE *f = outputs_open(out, output), *weights = NULL;
    if (!f)
        return false;
    if (e->weights != WEIGHTS_C) {
        weights = outputs_open(out, arena_printf(c->arena, "%s.weights.bin", stem));
        if (!weights)
            return false;
    }
    if (form != FORM_C) {
        static const ObjectFormat formats[] = {[FORM_O] = OBJECT_O, [FORM_S] = OBJECT_S, [FORM_LL] = OBJECT_LL};
        KModule *m = pipeline_lower(c, c->target);
        *module = m;
        if (m && weights)
            emit_weights(m, weights);
        return m && emit_llvm(c->diag, m, e, formats[form], f);
    }
    Target plain = *c->target;
    plain.vector_bits = 0;
    bool vectors = c->target->vector_bits && *c->target->c_guard;
    KModule *vector = vectors ? pipeline_lower(c, c->target) : NULL;
    if (vectors && !vector)
        return false;
    KModule *m = vectors ? pipeline_lower_beside(c, &plain, vector) : pipeline_lower(c, &plain);
    *module = m;
    if (m)
        emit_c(m, vector, e, f, weights);
    return m != NULL;
}

bool compile_write(Compilation *c, const Options *o, const char *model_path, const char *output, const KModule **module) {
    Form form = form_of(output);
    const char *stem = stem_of(c->arena, output);
    EmitOptions e = {
        .prefix = o->prefix ? o->prefix : prefix_from(c->arena, stem),
        .header_name = arena_printf(c->arena, "%s.h", file_name(stem)),
        .weights_name = arena_printf(c->arena, "%s.weights.bin", file_name(stem)),
        .weights_section = o->weights_section,
        .generator = "mlcc " MLCC_VERSION,
        .options = option_text(c->arena, c, o),
        .n_notes = c->graph->approximations.len,
        .note = notes(c->arena, c->graph),
        .static_arena = o->static_arena,
        .threads = o->threads,
        /* Machine code holds its weights in any case: there is nothing to include. */
        .weights = o->weights == WEIGHTS_INCBIN && form != FORM_C ? WEIGHTS_C : o->weights,
        .target = c->target,
    };
    Outputs *out = outputs_new(c->diag);
    const KModule *m = NULL;
    bool ok = write_code(out, c, &e, form, stem, output, &m);
    FILE *h = ok ? outputs_open(out, arena_printf(c->arena, "%s.h", stem)) : NULL;
    if (h)
        emit_header(m, &e, h);
    ok = h && (o->main == MAIN_NONE || write_main(out, c, o, m, &e, stem));
    ok = ok && (!o->depfile || write_depfile(out, c, o, model_path, stem, output));
    if (module)
        *module = m;
    if (ok)
        return outputs_commit(out);
    outputs_discard(out);
    return false;
}

static int usage(const char *text, const char *arg) {
    fprintf(stderr, "mlcc: error: %s%s; see mlcc --help\n", text, arg);
    return EXIT_USAGE;
}

static void dump_kernels(const KModule *m) {
    StrBuf text = {0};
    kernel_module_print(&text, m);
    fputs(sb_text(&text), stdout);
    sb_free(&text);
}

/* The quantised model, as if it had been read from a file. */
static bool open_quantised(QuantizeJob *j, Compilation *c, Diag *d, const Options *o, const Target *target) {
    Options own = *o; /* the model's symbolic dimensions are numbers by now */
    if (!quantize_model(j, d, o, NULL))
        return false;
    quantize_note(j);
    own.n_dims = 0;
    own.half_weights = own.half_weights || dtype_is_float(own.weight_type);
    return pipeline_import_bytes(c, d, &own, o->operand[0], j->bytes, j->size, target) && pipeline_optimize(c, &own);
}

int verb_compile(const Options *o) {
    const char *path = o->operand[0];
    bool dump = o->dump_kernels || o->dump_after;
    if (!o->output && !dump)
        return usage("no output given: -o FILE", "");
    if (o->output && file_is_same(o->output, path))
        return usage("the output would overwrite the model: ", path);
    if (o->output && form_of(o->output) == FORM_NONE)
        return usage("the output's suffix must be .c, .o, .s or .ll: ", o->output);
    if (o->prefix && !is_identifier(o->prefix))
        return usage("--prefix must be a C identifier: ", o->prefix);
    if (o->main == MAIN_EMBEDDED && !o->test_data)
        return usage("--main=embedded needs --test-data DIR", "");
    if (o->quantize && quantize_misuse(o))
        return usage(quantize_misuse(o), "");
    Diag d = {.stream = stderr, .file = path, .quiet = o->quiet};
    Arena *a = arena_new();
    Compilation c = {0};
    const Target *target = target_load(a, &d, o->target);
    if (!target) {
        arena_free(a);
        return EXIT_USAGE;
    }
    QuantizeJob job = {0};
    bool ok = o->quantize ? open_quantised(&job, &c, &d, o, target) : pipeline_open(&c, &d, o, path, target);
    KModule *m = ok && o->dump_kernels ? pipeline_lower(&c, target) : NULL;
    if (m)
        dump_kernels(m);
    if (ok && o->output)
        ok = compile_write(&c, o, path, o->output, NULL);
    pipeline_close(&c);
    if (o->quantize)
        quantize_end(&job);
    arena_free(a);
    if (dump && fflush(stdout))
        ok = false;
    return ok ? EXIT_DONE : EXIT_FAILED;
}
