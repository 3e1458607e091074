/* SPDX-License-Identifier: Apache-2.0 */
/* mlcc run: executes a model on files, through the JIT. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/execute.h"
#include "driver/target.h"

bool execute_inputs_fit(Diag *d, const KModule *m, int n, const Tensor *input) {
    int declared = 0;
    for (int i = 0; i < m->buffers.len && m->buffers.data[i]->kind == KBUF_INPUT; i++) {
        const KBuffer *b = m->buffers.data[i];
        declared++;
        if (i >= n)
            continue;
        const Tensor *t = &input[i];
        bool same = t->dtype == b->dtype && t->rank == b->rank;
        for (int k = 0; same && k < b->rank; k++)
            same = t->dim[k] == b->dim[k];
        if (same)
            continue;
        StrBuf want = {0}, got = {0};
        for (int k = 0; k < b->rank; k++)
            sb_printf(&want, "%s%lld", k ? "x" : "", (long long)b->dim[k]);
        for (int k = 0; k < t->rank; k++)
            sb_printf(&got, "%s%lld", k ? "x" : "", (long long)t->dim[k]);
        diag_error(d, NOWHERE, "input %d (\"%s\") is %s[%s]; the file holds %s[%s]", i, b->onnx_name,
                   dtype_name(b->dtype), sb_text(&want), dtype_name(t->dtype), sb_text(&got));
        sb_free(&want);
        sb_free(&got);
        return false;
    }
    if (n != declared)
        diag_error(d, NOWHERE, "the model has %d input%s; %d given", declared, declared == 1 ? "" : "s", n);
    return n == declared;
}

/* Floats in -1 .. 1, the same in every run; other types are 0. */
static void fill(Tensor *t) {
    uint32_t state = 1;
    for (int64_t i = 0; i < t->count; i++) {
        state = state * 1664525u + 1013904223u;
        double x = (double)(state >> 8) / (1 << 23) - 1;
        if (t->dtype == DT_F32)
            ((float *)t->bytes)[i] = (float)x;
        else if (t->dtype == DT_F64)
            ((double *)t->bytes)[i] = x;
    }
}

Tensor *execute_made_up(Arena *a, const KModule *m) {
    Tensor *t = ARENA_ARRAY(a, Tensor, m->buffers.len + 1);
    for (int i = 0; i < m->buffers.len && m->buffers.data[i]->kind == KBUF_INPUT; i++) {
        const KBuffer *b = m->buffers.data[i];
        t[i] = (Tensor){b->dtype, b->rank, arena_dup(a, b->dim, (size_t)b->rank * sizeof *b->dim), b->count,
                        arena_array(a, (size_t)b->count + 1, (size_t)dtype_size(b->dtype))};
        fill(&t[i]);
    }
    return t;
}

Tensor *execute_jit(Arena *a, Diag *d, const KModule *m, Jit *jit, const Tensor *input, int *n_outputs) {
    const void **in = ARENA_ARRAY(a, const void *, m->buffers.len + 1);
    void **out = ARENA_ARRAY(a, void *, m->buffers.len + 1);
    Tensor *result = ARENA_ARRAY(a, Tensor, m->buffers.len + 1);
    int n = 0;
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind == KBUF_INPUT)
            in[i] = input[i].bytes;
        if (b->kind != KBUF_OUTPUT)
            continue;
        int64_t *dim = arena_dup(a, b->dim, (size_t)b->rank * sizeof *dim);
        void *bytes = arena_array(a, (size_t)b->count + 1, (size_t)dtype_size(b->dtype));
        result[n] = (Tensor){b->dtype, b->rank, dim, b->count, bytes};
        out[n] = bytes;
        n++;
    }
    *n_outputs = n;
    int status = jit_run(jit, in, out);
    if (status)
        diag_error(d, NOWHERE, "the model's run function returned %d", status);
    return status ? NULL : result;
}

static void print_tensor(const char *name, const Tensor *t) {
    printf("%s %s[", name, dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++)
        printf("%s%lld", i ? "," : "", (long long)t->dim[i]);
    printf("]");
    for (int64_t i = 0; i < t->count && i < 100; i++)
        printf(" %.9g", tensor_at(t, i));
    puts(t->count > 100 ? " ..." : "");
}

static bool deliver(Arena *a, Diag *d, const Options *o, const KModule *m, int n, const Tensor *result) {
    if (o->out_dir && mkdir(o->out_dir, 0777) < 0 && errno != EEXIST) {
        diag_error(d, NOWHERE, "cannot make \"%s\": %s", o->out_dir, strerror(errno));
        return false;
    }
    int k = 0;
    for (int i = 0; i < m->buffers.len && k < n; i++) {
        if (m->buffers.data[i]->kind != KBUF_OUTPUT)
            continue;
        if (!o->out_dir)
            print_tensor(m->buffers.data[i]->onnx_name, &result[k]);
        else if (!tensor_write_npy(d, arena_printf(a, "%s/output_%d.npy", o->out_dir, k), &result[k]))
            return false;
        k++;
    }
    return fflush(stdout) == 0;
}

int verb_run(const Options *o) {
    const char *path = o->operand[0];
    Diag d = {.stream = stderr, .file = path, .quiet = o->quiet};
    Compilation c = {0};
    Arena *a = arena_new();
    const Target *target = jit_native_target(a);
    KModule *m = pipeline_open(&c, &d, o, path, target) ? pipeline_lower(&c, target) : NULL;
    bool ok = m != NULL;
    if (ok) {
        int n = o->n_operands - 1, n_outputs = 0;
        Tensor *input = ARENA_ARRAY(a, Tensor, n + 1);
        for (int i = 0; ok && i < n; i++)
            ok = tensor_read_file(a, &d, o->operand[1 + i], &input[i]);
        ok = ok && execute_inputs_fit(&d, m, n, input);
        Jit *jit = ok ? jit_compile(&d, m, JIT_FAST) : NULL;
        Tensor *result = jit ? execute_jit(a, &d, m, jit, input, &n_outputs) : NULL;
        ok = result && deliver(a, &d, o, m, n_outputs, result);
        jit_free(jit);
    }
    pipeline_close(&c);
    arena_free(a);
    return ok ? EXIT_DONE : EXIT_FAILED;
}
