/* SPDX-License-Identifier: Apache-2.0 */
/* The generated translation unit: weights, kernels, the run function and the descriptor. */
#include "backend/c/print.h"
#include "backend/c/words.h"
#include "backend/interface.h"

static const char preamble[] =
    "#if defined(__cplusplus)\n"
    "#define MLCC_RESTRICT\n"
    "#else\n"
    "#define MLCC_RESTRICT restrict\n"
    "#endif\n"
    "#if defined(__GNUC__)\n"
    "#define MLCC_ALIGN(n) __attribute__((aligned(n)))\n"
    "#define MLCC_INLINE inline __attribute__((always_inline, unused))\n"
    "#define MLCC_SECTION(s) __attribute__((section(s)))\n"
    "#else\n"
    "#define MLCC_ALIGN(n)\n"
    "#define MLCC_INLINE inline\n"
    "#define MLCC_SECTION(s)\n"
    "#endif\n"
    "#if defined(__SSE2__)\n"
    "#include <immintrin.h>\n"
    "#elif defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)\n"
    "#include <arm_mve.h>\n"
    "#elif defined(__ARM_NEON)\n"
    "#include <arm_neon.h>\n"
    "#elif defined(__wasm_simd128__)\n"
    "#include <wasm_simd128.h>\n"
    "#endif\n\n";

static void print_weights_array(FILE *f, Arena *a, const KBuffer *b, const EmitOptions *o) {
    StrBuf comment = {0};
    c_print_comment_text(&comment, b->onnx_name ? b->onnx_name : b->name);
    fprintf(f, "/* %s: %lld of %s */\nstatic const MLCC_ALIGN(64) ", sb_text(&comment), (long long)b->count, dtype_name(b->dtype));
    sb_free(&comment);
    if (o->weights_section)
        fprintf(f, "MLCC_SECTION(\"%s\") ", interface_section(a, o, b->name));
    fprintf(f, "union {\n    uint64_t word[%lld];\n    %s element[%lld];\n} %s_%s = {{\n", (long long)words_count(kbuffer_bytes(b)),
            dtype_c(b->dtype), (long long)(b->count ? b->count : 1), o->prefix, b->name);
    Words w = words_begin(f);
    interface_const_bytes(b, words_put, &w);
    words_end(&w);
    fputs("}};\n\n", f);
}

static void print_weights(FILE *f, Arena *a, const KModule *m, const EmitOptions *o) {
    const char *section = interface_section(a, o, "weights");
    if (o->weights == WEIGHTS_C) {
        for (int i = 0; i < m->buffers.len; i++)
            if (m->buffers.data[i]->kind == KBUF_CONST)
                print_weights_array(f, a, m->buffers.data[i], o);
    } else if (o->weights == WEIGHTS_INCBIN && interface_weights_size(m)) {
        fprintf(f,
                "#if defined(__APPLE__)\n"
                "__asm__(\".const_data\\n.p2align 6\\n.globl _%s_weights\\n_%s_weights:\\n.incbin \\\"%s\\\"\\n.text\\n\");\n"
                "#else\n"
                "__asm__(\".pushsection %s,\\\"a\\\"\\n.p2align 6\\n.globl %s_weights\\n.hidden %s_weights\\n%s_weights:\\n\"\n"
                "        \".incbin \\\"%s\\\"\\n.popsection\\n\");\n"
                "#endif\n"
                "extern const unsigned char %s_weights[%lld];\n\n",
                o->prefix, o->prefix, o->weights_name, section ? section : ".rodata", o->prefix, o->prefix,
                o->prefix, o->weights_name, o->prefix, (long long)interface_weights_size(m));
    }
}

/* --- kernels --- */

static void print_kernels(FILE *f, Arena *a, const KModule *m, const EmitOptions *o) {
    Helpers h = {.arena = a, .target = o->target};
    StrBuf body = {0};
    for (int i = 0; i < m->funcs.len; i++)
        c_print_func(&h, &body, o->prefix, m->funcs.data[i]);
    for (int i = 0; i < m->kernels.len; i++)
        c_print_kernel(&h, &body, o->prefix, m->kernels.data[i]);
    fputs(sb_text(&h.types), f);
    fputs(h.types.len ? "\n" : "", f);
    fputs(sb_text(&h.text), f);
    fputs(h.text.len ? "\n" : "", f);
    fputs(sb_text(&body), f);
    sb_free(&h.types);
    sb_free(&h.text);
    sb_free(&body);
}

/* --- what kernels are called with --- */

static const char *pointer_text(Arena *a, const KModule *m, const KArg *arg, const KParam *p, const EmitOptions *o) {
    const KBuffer *b = arg->buffer;
    const char *c = dtype_c(p->dtype), *constant = p->written ? "" : "const ";
    int64_t at = arg->offset * dtype_size(p->dtype);
    const char *offset = arg->offset ? arena_printf(a, " + %lld", (long long)arg->offset) : "";
    switch (b->kind) {
    case KBUF_INPUT:
    case KBUF_OUTPUT: return arena_printf(a, "%s%s", b->name, offset);
    case KBUF_CONST:
        if (o->weights == WEIGHTS_C)
            return arena_printf(a, "%s_%s.element%s", o->prefix, b->name, offset);
        at += interface_weights_offset(m, b);
        return arena_printf(a, "(const %s *)(const void *)(%s + %lld)", c,
                            o->weights == WEIGHTS_BIN ? "weight_bytes" : arena_printf(a, "%s_weights", o->prefix), (long long)at);
    default:
        return arena_printf(a, "(%s%s *)(%svoid *)(memory + %lld)", constant, c, constant, (long long)(b->arena_offset + at));
    }
}

static bool uses_kind(const KModule *m, KBufferKind kind) {
    for (int i = 0; i < m->calls.len; i++)
        for (int k = 0; k < m->calls.data[i].kernel->params.len; k++)
            if (m->calls.data[i].arg[k].buffer->kind == kind)
                return true;
    return false;
}

static bool buffer_is_used(const KModule *m, const KBuffer *b) {
    for (int i = 0; i < m->calls.len; i++)
        for (int k = 0; k < m->calls.data[i].kernel->params.len; k++)
            if (m->calls.data[i].arg[k].buffer == b)
                return true;
    return false;
}

/* --- parts of kernels, for threads --- */

/* The function that runs one part of a kernel, and the struct of the other arguments. Names from the model do not end in
 * an underscore. */
static const char *task_name(Arena *a, const KKernel *k) { return arena_printf(a, "%s_part_", k->name); }
static const char *context_name(Arena *a, const KKernel *k) { return arena_printf(a, "%s_of_part_", k->name); }

static void print_task(FILE *f, Arena *a, const KKernel *k, const char *prefix) {
    const char *name = task_name(a, k), *context = context_name(a, k), *args = "";
    int n = k->params.len, indices = k->body->nargs - 1;
    fprintf(f, "struct %s_%s {\n", prefix, context);
    for (int i = 0; i < n; i++) {
        const KParam *p = k->params.data[i];
        fprintf(f, "    %s%s *p%d;\n", p->written ? "" : "const ", dtype_c(p->dtype), i);
        args = arena_printf(a, "%sc->p%d, ", args, i);
    }
    for (int i = 0; i < indices; i++) {
        fprintf(f, "    %s i%d;\n", dtype_c(DT_INDEX), i);
        args = arena_printf(a, "%sc->i%d, ", args, i);
    }
    fprintf(f, "};\nstatic void %s_%s(void *context, int part) {\n", prefix, name);
    fprintf(f, "    const struct %s_%s *const c = (const struct %s_%s *)context;\n    %s_%s(%spart);\n}\n\n", prefix, context, prefix,
            context, prefix, k->name, args);
}

static bool has_parts(const KModule *m, const KKernel *k) {
    for (int i = 0; i < m->calls.len; i++)
        if (m->calls.data[i].parts && (!k || m->calls.data[i].kernel == k))
            return true;
    return false;
}

static void print_tasks(FILE *f, Arena *a, const KModule *m, const char *prefix) {
    if (!has_parts(m, NULL))
        return;
    for (int i = 0; i < m->kernels.len; i++)
        if (has_parts(m, m->kernels.data[i]))
            print_task(f, a, m->kernels.data[i], prefix);
    fprintf(f,
            "static void %s_in_parts_(mlcc_parallel_for *parallel_for, void *pool, void (*task)(void *, int), void *context, int parts) {\n"
            "    if (parallel_for)\n"
            "        parallel_for(pool, task, context, parts);\n"
            "    else\n"
            "        for (int i = 0; i < parts; i++)\n"
            "            task(context, i);\n"
            "}\n\n",
            prefix);
}

/* --- the run function --- */

/* The arguments of a call but the last `less`. */
static const char *call_arguments(Arena *a, const KModule *m, const KCall *c, int less, const EmitOptions *o) {
    const char *args = "", *comma = "";
    for (int k = 0; k < c->kernel->params.len; k++, comma = ", ")
        args = arena_printf(a, "%s%s%s", args, comma, pointer_text(a, m, &c->arg[k], c->kernel->params.data[k], o));
    for (int k = 0; k < c->kernel->body->nargs - less; k++, comma = ", ")
        args = arena_printf(a, "%s%s%lld", args, comma, (long long)c->index[k]);
    return args;
}

static void print_call(FILE *f, Arena *a, const KModule *m, const KCall *c, const EmitOptions *o) {
    const char *name = c->kernel->name;
    if (!c->parts) {
        fprintf(f, "    %s_%s(%s);\n", o->prefix, name, call_arguments(a, m, c, 0, o));
        return;
    }
    const char *args = call_arguments(a, m, c, 1, o);
    if (o->threads > 1) {
        const char *task = task_name(a, c->kernel);
        fprintf(f, "    {\n        struct %s_%s context_ = {%s};\n", o->prefix, context_name(a, c->kernel), args);
        fprintf(f, "        %s_in_parts_(parallel_for, pool, %s_%s, &context_, %d);\n    }\n", o->prefix, o->prefix, task, c->parts);
        return;
    }
    for (int i = 0; i < c->parts; i++)
        fprintf(f, "    %s_%s(%s%s%d);\n", o->prefix, name, args, *args ? ", " : "", i);
}

static void print_run(FILE *f, Arena *a, const KModule *m, const EmitOptions *o) {
    const char *upper = interface_upper(a, o->prefix);
    bool arena = uses_kind(m, KBUF_ARENA), weights = o->weights == WEIGHTS_BIN && uses_kind(m, KBUF_CONST);
    if (o->static_arena && arena)
        fprintf(f, "static MLCC_ALIGN(%s_ARENA_ALIGN) unsigned char %s_arena[%s_ARENA_SIZE];\n\n", upper, o->prefix, upper);
    if (o->threads > 1)
        print_tasks(f, a, m, o->prefix);
    fprintf(f, "%s {\n", interface_prototype(a, m, o));
    if (o->threads > 1 && !has_parts(m, NULL))
        fputs("    (void)parallel_for;\n    (void)pool;\n", f);
    if (arena)
        fprintf(f, "    unsigned char *const memory = %s;\n",
                o->static_arena ? arena_printf(a, "%s_arena", o->prefix) : "(unsigned char *)arena");
    else if (!o->static_arena)
        fputs("    (void)arena;\n", f);
    if (weights)
        fputs("    const unsigned char *const weight_bytes = (const unsigned char *)weights;\n", f);
    else if (o->weights == WEIGHTS_BIN)
        fputs("    (void)weights;\n", f);
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if ((b->kind == KBUF_INPUT || b->kind == KBUF_OUTPUT) && !buffer_is_used(m, b))
            fprintf(f, "    (void)%s;\n", b->name);
    }
    for (int i = 0; i < m->calls.len; i++)
        print_call(f, a, m, &m->calls.data[i], o);
    fputs("    return 0;\n}\n\n", f);
}

/* --- the descriptor --- */

static void print_string(FILE *f, const char *s) {
    fputc('"', f);
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 32 || c > 126 || c == '?')
            fprintf(f, "\\%03o", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

static int print_tensors(FILE *f, const KModule *m, const EmitOptions *o, KBufferKind kind, const char *what) {
    int n = 0;
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind != kind)
            continue;
        fprintf(f, "static const int64_t %s_%s_dim_%d[] = {", o->prefix, what, n++);
        for (int k = 0; k < b->rank; k++)
            fprintf(f, "%s%lld", k ? ", " : "", (long long)b->dim[k]);
        fputs(b->rank ? "};\n" : "0};\n", f);
    }
    if (!n)
        return 0;
    fprintf(f, "static const struct mlcc_tensor %s_%s[] = {\n", o->prefix, what);
    n = 0;
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind != kind)
            continue;
        fputs("    {", f);
        print_string(f, b->onnx_name);
        fprintf(f, ", %d, %d, %s_%s_dim_%d, %lld},\n", dtype_to_onnx(b->dtype), b->rank, o->prefix, what, n++, (long long)kbuffer_bytes(b));
    }
    fputs("};\n\n", f);
    return n;
}

static void print_descriptor(FILE *f, Arena *a, const KModule *m, const EmitOptions *o) {
    int in = print_tensors(f, m, o, KBUF_INPUT, "input"), out = print_tensors(f, m, o, KBUF_OUTPUT, "output");
    const char *any = "const void *const *input, void *const *output, const void *weights, void *arena";
    bool threads = o->threads > 1;
    if (threads)
        fprintf(f, "static int %s_run_parallel(%s,\n    mlcc_parallel_for *parallel_for, void *pool) {\n", o->prefix, any);
    else
        fprintf(f, "static int %s_run_any(%s) {\n", o->prefix, any);
    if (o->weights != WEIGHTS_BIN)
        fputs("    (void)weights;\n", f);
    if (o->static_arena)
        fputs("    (void)arena;\n", f);
    if (!in)
        fputs("    (void)input;\n", f);
    if (!out)
        fputs("    (void)output;\n", f);
    fprintf(f, "    return %s_run(", o->prefix);
    int ni = 0, no = 0;
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind == KBUF_INPUT)
            fprintf(f, "%s(const %s *)input[%d]", ni + no ? ", " : "", dtype_c(b->dtype), ni), ni++;
        else if (b->kind == KBUF_OUTPUT)
            fprintf(f, "%s(%s *)output[%d]", ni + no ? ", " : "", dtype_c(b->dtype), no), no++;
    }
    const char *last = arena_printf(a, "%s%s%s", o->weights == WEIGHTS_BIN ? ", weights" : "", o->static_arena ? "" : ", arena",
                                    threads ? ", parallel_for, pool" : "");
    fprintf(f, "%s);\n}\n\n", last + (ni + no || !*last ? 0 : 2));
    if (threads)
        fprintf(f, "static int %s_run_any(%s) {\n    return %s_run_parallel(input, output, weights, arena, 0, 0);\n}\n\n", o->prefix,
                any, o->prefix);
    const char *upper = interface_upper(a, o->prefix);
    fprintf(f, "const struct mlcc_model %s_model = {\n    ", o->prefix);
    print_string(f, m->model_name);
    fputs(", ", f);
    print_string(f, o->generator);
    fprintf(f, ", %d, %d, %s%s, %s%s,\n    %s, %s_ARENA_ALIGN, 0, %lld, %s_run_any, %s, %d,\n};\n", in, out, in ? o->prefix : "0",
            in ? "_input" : "", out ? o->prefix : "0", out ? "_output" : "",
            o->static_arena ? "0" : arena_printf(a, "%s_ARENA_SIZE", upper), upper,
            o->weights == WEIGHTS_BIN ? (long long)interface_weights_size(m) : 0LL, o->prefix,
            threads ? arena_printf(a, "%s_run_parallel", o->prefix) : "0", threads ? o->threads : 1);
}

void emit_c(const KModule *plain, const KModule *vector, const EmitOptions *o, FILE *c, FILE *weights) {
    Arena *a = arena_new();
    StrBuf name = {0};
    c_print_comment_text(&name, plain->model_name);
    fprintf(c, "/* %s, compiled by %s %s */\n#include \"%s\"\n\n#include <string.h>\n\n%s", *sb_text(&name) ? sb_text(&name) : "A model",
            o->generator, o->options, o->header_name, preamble);
    if (vector && c_is_riscv(o->target))
        c_riscv_header(c, o->target);
    sb_free(&name);
    print_weights(c, a, plain, o);
    if (vector) {
        fprintf(c, "#if defined(__GNUC__) && (%s)\n\n", o->target->c_guard);
        print_kernels(c, a, vector, o);
        fputs("#else\n\n", c);
    }
    print_kernels(c, a, plain, o);
    if (vector) {
        fputs("#endif\n\n", c);
        fprintf(c, "#if defined(__GNUC__) && (%s)\n\n", o->target->c_guard);
        print_run(c, a, vector, o);
        fputs("#else\n\n", c);
    }
    print_run(c, a, plain, o);
    if (vector)
        fputs("#endif\n\n", c);
    print_descriptor(c, a, plain, o);
    arena_free(a);
    if (o->weights != WEIGHTS_C)
        emit_weights(plain, weights);
}
