/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in and out of a module that runs in this process. */
#include "driver/execute.h"

static void print_dims(StrBuf *out, int rank, const int64_t *dim) {
    for (int k = 0; k < rank; k++)
        sb_printf(out, "%s%lld", k ? "x" : "", (long long)dim[k]);
}

void execute_report_misfit(Diag *d, int i, const KBuffer *b, const char *holder, const Tensor *t) {
    StrBuf want = {0}, got = {0};
    print_dims(&want, b->rank, b->dim);
    print_dims(&got, t->rank, t->dim);
    diag_error(d, NOWHERE, "input %d (\"%s\") is %s[%s]; %s holds %s[%s]", i, b->onnx_name, dtype_name(b->dtype), sb_text(&want),
               holder, dtype_name(t->dtype), sb_text(&got));
    sb_free(&want);
    sb_free(&got);
}

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
        execute_report_misfit(d, i, b, "the file", t);
        return false;
    }
    if (n != declared)
        diag_error(d, NOWHERE, "the model has %d input%s; %d given", declared, declared == 1 ? "" : "s", n);
    return n == declared;
}

Tensor *execute_read_inputs(Arena *a, Diag *d, const KModule *m, int n, char *const *path) {
    Tensor *input = ARENA_ARRAY(a, Tensor, n + 1);
    for (int i = 0; i < n; i++)
        if (!tensor_read_file(a, d, path[i], &input[i]))
            return NULL;
    return execute_inputs_fit(d, m, n, input) ? input : NULL;
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

Bound execute_bind(Arena *a, const KModule *m, const Tensor *input) {
    Bound x = {ARENA_ARRAY(a, const void *, m->buffers.len + 1), ARENA_ARRAY(a, void *, m->buffers.len + 1),
               ARENA_ARRAY(a, Tensor, m->buffers.len + 1), 0};
    for (int i = 0; i < m->buffers.len; i++) {
        const KBuffer *b = m->buffers.data[i];
        if (b->kind == KBUF_INPUT)
            x.in[i] = input[i].bytes;
        if (b->kind != KBUF_OUTPUT)
            continue;
        int64_t *dim = arena_dup(a, b->dim, (size_t)b->rank * sizeof *dim);
        x.out[x.n] = arena_array(a, (size_t)b->count + 1, (size_t)dtype_size(b->dtype));
        x.result[x.n] = (Tensor){b->dtype, b->rank, dim, b->count, x.out[x.n]};
        x.n++;
    }
    return x;
}

bool execute_bound(Diag *d, Jit *jit, const Bound *x) {
    int status = jit_run(jit, x->in, x->out);
    if (status)
        diag_error(d, NOWHERE, "the model's run function returned %d", status);
    return !status;
}

Tensor *execute_jit(Arena *a, Diag *d, const KModule *m, Jit *jit, const Tensor *input, int *n_outputs) {
    Bound x = execute_bind(a, m, input);
    *n_outputs = x.n;
    return execute_bound(d, jit, &x) ? x.result : NULL;
}
